"""`trainyard validate runs`: predict every row of a table of measured runs, and keep the record honest.

Predictions use configuration columns only (`rows.COLUMNS`). With ``held_out`` every (source, model, chip) group is
predicted with constants fitted without it; otherwise with the constants of a shipped calibration.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from ..calibration.fit import fit
from ..calibration.slopes import merged, moves_of, owners_of
from ..calibration_data import FamilyRecord, Record, load
from ..constants import Constants
from ..kernels.optable import Floats
from .baseline import baseline_step_s
from .evaluate import JobTable, job_table
from .fold_fits import FoldFits
from .memory_rows import memory_gb
from .rows import MEMORY_METRIC, METRICS, RunJob, Unsupported, read_rows, resolve

#: Groups, or whole sources, are dealt to this many folds; each is predicted with constants fitted on the others.
FOLDS: Final = 20
#: What can be held out together: the runs of one source, model and chip, or all runs of one source.
HOLDS: Final = ("groups", "sources")
#: Runs that a table needs to be cross-fitted.
LEAST_RUNS: Final = 20
#: How many groups' worth of the family's spread a stack's own spread is pulled by.
_PULL: Final = 3.0
OUTPUT_COLUMNS: Final = (
    "row",
    "measured",
    "predicted",
    "low",
    "high",
    "status",
    "reason",
    "extrapolated",
    "engine",
    "assumed",
)


class TableError(ValueError):
    """A table of measured runs that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of measured runs: rows as they stand, jobs of those that can be predicted, reasons for the rest.

    ``jobs`` are rows of step times and rates, ``memory_jobs`` rows of memory.
    """

    rows: tuple[Mapping[str, str], ...]
    jobs: Mapping[int, RunJob]
    memory_jobs: Mapping[int, RunJob]
    refused: Mapping[int, str]
    primary: tuple[int, ...]
    measured_s: Mapping[int, float]


def read_table(path: Path, *, keep: Callable[[Mapping[str, str]], bool] = lambda _: True) -> Table:
    """Read and resolve a table, or the rows of it to ``keep``. Raises `TableError` where it is no table of runs."""
    try:
        rows = tuple(read_rows(path))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: not a CSV table in UTF-8 ({error}).") from error
    missing = [c for c in ("source", "model", "chip", "metric", "num_chips") if not rows or c not in rows[0]]
    if missing:
        raise TableError(f"{path}: {'no rows' if not rows else 'columns missing: ' + ', '.join(missing)}.")
    rows = tuple(filter(keep, rows))
    jobs: dict[int, RunJob] = {}
    memory_jobs: dict[int, RunJob] = {}
    refused: dict[int, str] = {}
    measured: dict[int, float] = {}
    for index, row in enumerate(rows):
        try:
            job = resolve(row)
        except Unsupported as error:
            refused[index] = str(error)
            continue
        except (ValueError, LookupError) as error:
            # One cell that cannot be read or a size that no workload has must not cost the other rows their answer.
            refused[index] = f"the row cannot be read: {error}"
            continue
        if job.metric == MEMORY_METRIC:
            memory_jobs[index] = job
            continue
        jobs[index] = job
        value = finite_number(row.get("value"))
        if value is not None and value > 0:
            measured[index] = job.step_s(value)
    return Table(
        rows=rows,
        jobs=jobs,
        memory_jobs=memory_jobs,
        refused=refused,
        primary=_primary(rows, jobs, measured),
        measured_s=measured,
    )


def finite_number(text: str | None) -> float | None:
    """The number in a cell; None where there is none, or none that is finite."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _primary(
    rows: Sequence[Mapping[str, str]], jobs: Mapping[int, RunJob], measured: Mapping[int, float]
) -> tuple[int, ...]:
    """One row per run, that of its first metric in the order of `METRICS`; flagged rows are left out."""
    best: dict[tuple[str, str], int] = {}
    for index, job in jobs.items():
        row = rows[index]
        if row.get("flag") or index not in measured:
            continue
        key = (row["source"], row.get("run_id") or f"row {index}")
        if key not in best or METRICS.index(job.metric) < METRICS.index(jobs[best[key]].metric):
            best[key] = index
    return tuple(sorted(best.values()))


def fold_of(group: tuple[str, str, str], hold: str = HOLDS[0]) -> int:
    """The fold of a group, by the hash of its name or, where sources are held out, of its source's: the same wherever
    and in whatever order its rows stand."""
    return int(hashlib.sha256("|".join(group if hold == HOLDS[0] else group[:1]).encode()).hexdigest(), 16) % FOLDS


@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """Cross-fitted step times of a table's primary runs and what follows from them; arrays have shape (primary,).

    ``hold`` says what was held out together (`HOLDS`).
    """

    index: tuple[int, ...]
    step_s: Floats
    baseline_s: Floats
    measured_s: Floats
    fold_constants: Mapping[int, Constants] = field(default_factory=dict)
    hold: str = HOLDS[0]

    @property
    def error(self) -> Floats:
        """ln(predicted / measured) step time."""
        return np.asarray(np.log(self.step_s / self.measured_s))

    @property
    def baseline_error(self) -> Floats:
        """The same of the constant-utilisation baseline."""
        return np.asarray(np.log(self.baseline_s / self.measured_s))


def cross_fit(
    table: Table, lowered: JobTable | None = None, *, hold: str = HOLDS[0],
    progress: Callable[[str], None] = lambda _: None,
) -> CrossFit:  # fmt: skip
    """Fit `FOLDS` times, each time without one fold of groups or sources (``hold``), and predict that fold.

    ``lowered`` are the table's primary runs, for callers that have them.
    """
    index = table.primary
    jobs = [table.jobs[i] for i in index]
    measured = np.array([table.measured_s[i] for i in index])
    if len(jobs) < LEAST_RUNS:
        raise TableError(
            f"--held-out needs at least {LEAST_RUNS} runs with a measured value; the table has {len(jobs)}."
        )
    lowered = job_table(jobs) if lowered is None else lowered
    folds = np.array([fold_of(job.group, hold) for job in jobs])
    if len(np.unique(folds)) < 2:
        found = sorted({job.group[0] for job in jobs})
        raise TableError(
            f"--held-out --by {hold}: all {len(jobs)} runs would be left out at once ({', '.join(found[:3])}); "
            f"legal: a table of several {hold}, or without --held-out."
        )
    step = np.zeros(len(jobs))
    constants: dict[int, Constants] = {}
    fits = FoldFits(
        lowered=lowered, measured_s=measured, owners=owners_of([job.context for job in jobs]),
        groups=tuple(job.group for job in jobs), folds=folds,
    )  # fmt: skip
    for fold, fitted in fits.without_each():
        inside = folds == fold
        constants[fold] = fitted
        step[inside] = lowered.step_s(fitted)[inside]
        progress(f"fold {fold + 1} of {FOLDS}: {int(inside.sum())} runs predicted")
    return CrossFit(
        index=index,
        step_s=step,
        baseline_s=baseline_step_s(jobs, measured, folds),
        measured_s=measured,
        fold_constants=constants,
        hold=hold,
    )


def fit_all(table: Table) -> Constants:
    """Constants fitted on all primary runs of a table: for plans and for rows without a measured value."""
    jobs = [table.jobs[i] for i in table.primary]
    measured = np.array([table.measured_s[i] for i in table.primary])
    lowered = job_table(jobs)
    owners, groups = owners_of([j.context for j in jobs]), [j.group for j in jobs]
    moves = merged(moves_of(owners), lowered.depending_on)
    return fit(lowered.step_s, measured, owners, groups, moved_s=lowered.moved_s, moves=moves).constants


def record_of(table: Table, crossed: CrossFit) -> Record:
    """The record: errors by kind of run, spread by stack, what was seen."""
    jobs = [table.jobs[i] for i in crossed.index]
    error, base = crossed.error, crossed.baseline_error
    by_stack: dict[str, dict[object, list[float]]] = {}
    by_family: dict[str, dict[object, list[int]]] = {}
    for position, job in enumerate(jobs):
        by_stack.setdefault(job.context.stack.id, {}).setdefault(job.group, []).append(error[position])
        by_family.setdefault(job.family, {}).setdefault(job.group, []).append(position)
    family_of_stack = {job.context.stack.id: job.family for job in jobs}
    mean_square = {
        family: float(np.median([np.mean(error[members] ** 2) for members in groups.values()])) * 2.0
        for family, groups in by_family.items()
    }
    spread = {
        stack: math.sqrt(
            (sum(float(np.mean(np.square(e))) for e in groups.values()) + _PULL * mean_square[family_of_stack[stack]])
            / (len(groups) + _PULL)
        )
        for stack, groups in by_stack.items()
    }
    families: dict[str, FamilyRecord] = {}
    for family, groups in by_family.items():
        positions = [p for members in groups.values() for p in members]
        weight = np.array([1.0 / math.sqrt(len(groups[jobs[p].group])) for p in positions])
        scaled = np.array([-error[p] / spread[jobs[p].context.stack.id] for p in positions])
        families[family] = FamilyRecord(
            runs=len(positions),
            groups=len(groups),
            macro=_macro(error, groups),
            median=float(np.median(np.abs(error[positions]))),
            baseline_macro=_macro(base, groups),
            spread=math.sqrt(mean_square[family]),
            low=weighted_quantile(scaled, weight, 0.1),
            high=weighted_quantile(scaled, weight, 0.9),
        )
    largest: dict[str, int] = {}
    for job in jobs:
        word = job.context.cluster.chip.architecture
        largest[word] = max(largest.get(word, 0), job.parallelism.chips)
    seen = frozenset(f"{j.family}/{j.context.cluster.chip.architecture}/{j.context.stack.id}" for j in jobs)
    return Record(
        families=families,
        stack_spread=spread,
        stack_groups={s: len(g) for s, g in by_stack.items()},
        largest=largest,
        seen=seen,
    )


def _macro(error: Floats, groups: Mapping[object, Sequence[int]]) -> float:
    return float(np.mean([np.mean(np.abs(error[list(members)])) for members in groups.values()]))


def weighted_quantile(values: Floats, weights: Floats, level: float) -> float:
    """The value below which a share ``level`` of the weight lies."""
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, level * total[-1])])


def extrapolations(job: RunJob, record: Record) -> tuple[str, ...]:
    """In what a job lies outside everything that was checked."""
    chip = job.context.cluster.chip.architecture
    notes = []
    if f"{job.family}/{chip}/{job.context.stack.id}" not in record.seen:
        notes.append(f"no checked {job.family} run of stack {job.context.stack.id} on {chip}")
    if job.parallelism.chips > 2 * record.largest.get(chip, 0):
        notes.append(f"{job.parallelism.chips} chips; checked up to {record.largest.get(chip, 0)} on {chip}")
    return tuple(notes)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One output line of `validate`."""

    row: str
    measured: str
    predicted: float | None
    low: float | None
    high: float | None
    reason: str
    extrapolated: str
    assumed: str


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """Predictions of a table, line by line, and the cross-fitted record where one was made."""

    table: Table
    predictions: tuple[Prediction, ...]
    record: Record
    held_out: bool
    constants: int
    crossed: CrossFit | None = None


def predict(table: Table, *, constants: Constants, record: Record) -> tuple[Prediction, ...]:
    """Predictions of all rows with one set of constants."""
    order = sorted(table.jobs)
    step = job_table([table.jobs[i] for i in order]).step_s(constants) if order else np.zeros(0)
    return _lines(table, dict(zip(order, step.tolist(), strict=True)), record)


def _lines(table: Table, step_s: Mapping[int, float], record: Record) -> tuple[Prediction, ...]:
    lines = []
    for index, row in enumerate(table.rows):
        number, measured = row.get("row") or str(index), row.get("value") or ""
        if index in table.jobs:
            lines.append(_step_line(number, measured, table.jobs[index], step_s[index], record))
        elif index in table.memory_jobs:
            lines.append(_memory_line(number, measured, table.memory_jobs[index]))
        else:
            lines.append(_refusal(number, measured, table.refused[index]))
    return tuple(lines)


def _step_line(number: str, measured: str, job: RunJob, step_s: float, record: Record) -> Prediction:
    outside = extrapolations(job, record)
    factors = record.factors(job.family, job.context.stack.id, extrapolated=bool(outside))
    ends = sorted(job.metric_value(step_s * f) for f in factors) if factors else [None, None]
    return Prediction(
        row=number,
        measured=measured,
        predicted=job.metric_value(step_s),
        low=ends[0],
        high=ends[1],
        reason="",
        extrapolated="; ".join(outside),
        assumed="; ".join((*job.assumed, f"stack {job.context.stack.id}")),
    )


def _memory_line(number: str, measured: str, job: RunJob) -> Prediction:
    try:
        reading = memory_gb(job)
    except Unsupported as error:
        return _refusal(number, measured, str(error))
    return Prediction(
        row=number,
        measured=measured,
        predicted=reading.predicted,
        low=reading.low,
        high=reading.high,
        reason="",
        extrapolated="",
        assumed="; ".join((*reading.assumed, f"stack {job.context.stack.id}")),
    )


def _refusal(number: str, measured: str, reason: str) -> Prediction:
    return Prediction(
        row=number, measured=measured, predicted=None, low=None, high=None, reason=reason, extrapolated="", assumed=""
    )


def validate_runs(
    path: Path,
    *,
    held_out: bool = False,
    hold: str = HOLDS[0],
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> ValidationResult:
    """Predict a table of measured runs.

    With ``held_out`` the constants are cross-fitted on the table itself (rows that are not the first metric of their
    run share its fold's constants), ``hold`` out together; otherwise ``calibration`` names the shipped constants.
    """
    table = read_table(path)
    progress(f"{len(table.rows)} rows, {len(table.jobs)} with a job, {len(table.primary)} runs")
    if not held_out:
        shipped = load(calibration)
        lines = predict(table, constants=shipped.constants, record=shipped.record)
        return ValidationResult(
            table=table,
            predictions=lines,
            record=shipped.record,
            held_out=False,
            constants=len(shipped.constants.values),
        )
    return predict_runs_held_out(table, hold=hold, progress=progress)


def predict_runs_held_out(
    table: Table, *, hold: str = HOLDS[0], progress: Callable[[str], None] = lambda _: None
) -> ValidationResult:
    """Predict every row of a table with constants fitted without the row's group, or without its whole source."""
    order = sorted(table.jobs)
    place = {index: position for position, index in enumerate(order)}
    lowered = job_table([table.jobs[i] for i in order])
    progress("all jobs are lowered")
    primary = lowered.only(np.array([place[i] for i in table.primary], dtype=np.int64))
    crossed = cross_fit(table, primary, hold=hold, progress=progress)
    record = record_of(table, crossed)
    # Rows of a fold that no primary run is in have constants of any fold.
    any_fold = min(crossed.fold_constants)
    folds = np.array([fold_of(table.jobs[i].group, hold) for i in order])
    folds = np.where(np.isin(folds, list(crossed.fold_constants)), folds, any_fold)
    step_s = np.zeros(len(order))
    for fold, constants in crossed.fold_constants.items():
        step_s[folds == fold] = lowered.step_s(constants)[folds == fold]
    step = dict(zip(order, step_s.tolist(), strict=True))
    count = max(len(c.values) for c in crossed.fold_constants.values())
    return ValidationResult(
        table=table,
        predictions=_lines(table, step, record),
        record=record,
        held_out=True,
        constants=count,
        crossed=crossed,
    )


def predictions_csv(predictions: Sequence[Prediction]) -> str:
    """The predictions as CSV text, one line per input line, in order."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(OUTPUT_COLUMNS)
    for p in predictions:
        if p.predicted is None:
            writer.writerow([p.row, p.measured, "", "", "", "unsupported", p.reason, "", "", ""])
        else:
            numbers = ["" if v is None else f"{v:.6g}" for v in (p.predicted, p.low, p.high)]
            writer.writerow([p.row, p.measured, *numbers, "predicted", "", p.extrapolated, "analytic", p.assumed])
    return out.getvalue()
