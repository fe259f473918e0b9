"""The bench: every case trained, predicted from the probe, and set beside each other; resumed where it stopped."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError, read_text

from ..errors import InputError
from ..machine_fit.calibrate import StepMachine
from ..output import write_atomically
from .models import BenchCase
from .predict import PredictedStep, predicted
from .worker import Trained, train_case

SCHEMA: Final = 1
KIND: Final = "trainyard bench"
SHIPPED: Final = "epyc-4-one-thread.bench.json"


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """A case: its step measured (median and quartiles, ``steps`` of them) and predicted [s]; of several ranks the share
    of the exchange that ran beside compute, measured and predicted, and the share of a step that the exchange would
    take alone, as predicted. ``unpriced`` calls no suite of the probe has. ``largest`` is where the time was predicted
    to go: seconds by kind of call. Of ``sittings`` at different times, the last was ``apart`` from those before, as a
    logarithm."""

    name: str
    ranks: int
    measured_s: float
    low_quartile_s: float
    high_quartile_s: float
    steps: int
    predicted_s: float
    largest: Mapping[str, float]
    unpriced: Mapping[str, int]
    overlap_measured: float | None = None
    overlap_predicted: float | None = None
    exchange_share: float | None = None
    sittings: int = 1
    apart: float | None = None

    @property
    def error(self) -> float:
        """ln(predicted / measured)."""
        return math.log(self.predicted_s / self.measured_s)


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    """All cases of a bench: when and on which machine they ran, how much else ran on it (``load``), which laws priced
    them with their held-out median errors, and the cases."""

    date: str
    machine: Mapping[str, Any]
    load: float | None
    laws: Mapping[str, float]
    results: tuple[BenchResult, ...]

    def median_error(self, shared: bool) -> float | None:
        """The median |ln(predicted / measured)| of cases of one process, or of several."""
        errors = [abs(r.error) for r in self.results if (r.ranks > 1) == shared]
        return statistics.median(errors) if errors else None

    @property
    def median_apart(self) -> float | None:
        """How far the last sitting was from those before in the median: what no prediction can be nearer than."""
        found = [r.apart for r in self.results if r.apart is not None]
        return statistics.median(found) if found else None

    @property
    def overlap_distance(self) -> float | None:
        """The mean distance of the measured from the predicted share of the exchange beside compute."""
        found = [
            abs(r.overlap_measured - r.overlap_predicted)
            for r in self.results
            if r.overlap_measured is not None and r.overlap_predicted is not None
        ]
        return statistics.mean(found) if found else None


_LARGEST: Final = 5


def result_of(case: BenchCase, trained: Trained, p: PredictedStep) -> BenchResult:
    """The measured and the predicted step of a case as one."""
    t, largest = trained.timing, sorted(p.by_kind.items(), key=lambda kv: -kv[1])[:_LARGEST]
    return BenchResult(
        name=case.name, ranks=case.ranks, measured_s=_short(t.median_s), low_quartile_s=_short(t.low_quartile_s),
        high_quartile_s=_short(t.high_quartile_s), steps=t.samples, predicted_s=_short(p.whole_s),
        largest={name: _short(s) for name, s in largest}, unpriced=p.unknown,
        overlap_measured=None if trained.overlap_share is None else round(trained.overlap_share, 3),
        overlap_predicted=round(p.shared.overlap_share, 3) if p.shared else None,
        exchange_share=round(p.shared.alone_s / p.whole_s, 3) if p.shared else None,
    )  # fmt: skip


def pooled(before: BenchResult, again: BenchResult) -> BenchResult:
    """A case that was trained again later: the geometric mean of the sittings' medians, their outermost quartiles, the
    mean of their overlaps; the prediction is the later one, which no sitting enters."""
    n = before.sittings
    overlap = again.overlap_measured
    if overlap is not None and before.overlap_measured is not None:
        overlap = round((n * before.overlap_measured + overlap) / (n + 1), 3)
    return replace(
        again,
        measured_s=_short(math.exp((n * math.log(before.measured_s) + math.log(again.measured_s)) / (n + 1))),
        low_quartile_s=min(before.low_quartile_s, again.low_quartile_s),
        high_quartile_s=max(before.high_quartile_s, again.high_quartile_s),
        steps=before.steps + again.steps,
        overlap_measured=overlap,
        sittings=n + 1,
        apart=round(abs(math.log(again.measured_s / before.measured_s)), 4),
    )


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def laws_of(machine: StepMachine) -> dict[str, float]:
    """Held-out median errors of the laws that price steps."""
    return {name: round(fit.median, 4) for name, fit in machine.fits.items() if fit.median}


def run_bench(
    cases: Sequence[BenchCase], machine: StepMachine, *, report: BenchReport, seconds: float,
    save: Callable[[BenchReport], None], tell: Callable[[str], None],
    train: Callable[..., Trained] = train_case,
    sittings: int = 1,
) -> BenchReport:  # fmt: skip
    """Train and predict the cases that a report does not have yet; it is saved after each. All cases are gone through
    ``sittings`` times, so that what else runs on the machine for some minutes does not decide about one of them.

    Raises
    ------
    InputError
        Where the probe determines no laws of calls.
    """
    if machine.steps is None:
        raise InputError(
            "bench: the probe lacks what prices a step; go on with --suites memory,layers,training,attention,"
            "embedding,recurrent,launch,collectives,neighbours."
        )
    done = {result.name: result for result in report.results}
    turns = [case for _ in range(sittings) for case in cases]
    for place, case in enumerate(turns):
        before = done.get(case.name)
        if before is not None and before.sittings > place // len(cases):
            continue
        trained = train(case, seconds=seconds)
        priced = predicted(trained.calls, machine.steps, ranks=case.ranks, neighbours=machine.neighbours)
        result = result_of(case, trained, priced)
        done[case.name] = pooled(before, result) if before else result
        report = replace(report, results=tuple(done.values()))
        save(report)
        tell(f"{place + 1} of {len(turns)}: {line_of(result)}")
    return report


def line_of(r: BenchResult) -> str:
    """A case in one line."""
    text = (
        f"{r.name}: {r.measured_s * 1e3:.4g} ms measured, {r.predicted_s * 1e3:.4g} predicted "
        f"({math.expm1(r.error):+.1%})"
    )
    if r.overlap_measured is not None and r.overlap_predicted is not None:
        text += f"; {r.overlap_measured:.0%} of the exchange beside compute, {r.overlap_predicted:.0%} predicted"
    return text + (f"; not priced: {', '.join(sorted(r.unpriced))}" if r.unpriced else "")


def as_dict(report: BenchReport) -> dict[str, Any]:
    """The report as it is stored."""
    return {"schema": SCHEMA, "kind": KIND, **asdict(report), "medians": {
        "one process": report.median_error(False), "several processes": report.median_error(True)}}  # fmt: skip


def write_bench(path: str | Path, report: BenchReport) -> None:
    """Write a report, all of it or nothing."""
    write_atomically(path, json.dumps(as_dict(report), indent=1) + "\n")


def shipped_bench() -> BenchReport:
    """The bench of the machine whose probe ships."""
    return report_of((files("simulator") / "data" / "probes" / SHIPPED).read_text(encoding="utf-8"), SHIPPED)


def read_bench(path: str | Path) -> BenchReport:
    """Read a report. Raises `InputError` saying what is wrong with the file."""
    try:
        text = read_text(str(path), name=str(path), too_large="a bench has tens of cases")
    except DataFileError as error:
        raise InputError(*error.problems) from None
    return report_of(text, str(path))


def report_of(text: str, path: str) -> BenchReport:
    """The report that a file's text holds. Raises `InputError` as `read_bench` does."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({' '.join(str(error).split())[:120]}).") from None
    if not isinstance(data, dict) or data.get("kind") != KIND or data.get("schema") != SCHEMA:
        raise InputError(f'{path}: not a file of `trainyard bench`; it would say "kind": "{KIND}", schema {SCHEMA}.')
    try:
        results = tuple(BenchResult(**row) for row in data["results"])
        if not all(r.measured_s > 0 and r.predicted_s > 0 for r in results):
            raise ValueError("seconds are not all above 0")
        return BenchReport(
            date=str(data["date"]), machine=dict(data["machine"]), load=data.get("load"), laws=dict(data["laws"]),
            results=results,
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:120]}.") from None
