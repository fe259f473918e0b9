"""`trainyard validate collectives`: predict every row of a table of measured collectives, and keep the record honest.

Held out by "groups" (each set of ranks and collective of a system with constants fitted without it, in ten folds) or by
"systems" (each system without any of its rows). Predictions use configuration columns only
(`collective_rows.COLUMNS`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from simulator.calibration.kernel_fit import fit_kernels
from simulator.collectives.exchange import Exchanges
from simulator.collectives.library_cost import SPECS, chosen, exchange_s
from simulator.kernels.kernel_constants import KernelConstants

from ..collective_calibration import CollectiveRecord
from .collective_baseline import fit_alpha_beta
from .collective_record import record_of, unseen
from .collective_rows import CollectiveJob, resolve_collective
from .collective_software import CollectiveRowError
from .measured_table import (
    HeldOutRows,
    MeasuredTable,
    MeasuredValidation,
    PricedRow,
    prediction_lines,
    read_measured_table,
)
from .runs import Prediction, TableError

#: Beyond this a row loses weight in the fit: a library that changes its algorithm is further off than a kernel.
OUTLIER: Final = 0.35

HOLDS: Final = ("groups", "systems")
#: Groups are dealt to this many folds.
GROUP_FOLDS: Final = 10
_FEWEST_ROWS: Final = 20
_NEEDED: Final = ("collective", "chip", "ranks", "size_bytes")


CollectiveTable = MeasuredTable[CollectiveJob]
CollectiveValidation = MeasuredValidation[CollectiveJob, CollectiveRecord]


def read_collective_table(path: Path) -> CollectiveTable:
    """Read and resolve a table. Raises `TableError` where it is no table of collectives."""
    return read_measured_table(path, needed=_NEEDED, resolve=resolve_collective, refusal=CollectiveRowError)


def exchanges_of(jobs: Iterable[CollectiveJob]) -> Exchanges:
    """The exchanges of jobs, in order."""
    listed = list(jobs)
    return Exchanges.of(
        [(job.wires, job.collective, job.algorithm) for job in listed], [job.message_byte for job in listed]
    )


def fold_label(hold: str, job: CollectiveJob) -> str:
    """The fold of a job: the same wherever and in whatever order the rows stand."""
    if hold == "systems":
        return job.system
    system, ranks, collective = job.group
    digest = hashlib.sha256(f"{system}|{collective}|{ranks}".encode()).hexdigest()
    return str(int(digest, 16) % GROUP_FOLDS)


def fit_collectives(table: CollectiveTable, *, without: frozenset[int] = frozenset()) -> KernelConstants:
    """Constants fitted on the measured rows of a table that are not left out."""
    index = [i for i in table.used if i not in without]
    jobs = [table.jobs[i] for i in index]
    exchanges = exchanges_of(jobs)
    return fit_kernels(
        lambda values: exchange_s(exchanges, values), SPECS, exchanges,
        np.array([table.measured_s[i] for i in index]), [job.group for job in jobs],
        outlier=OUTLIER,
    ).constants  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class HeldOutCollectives(HeldOutRows):
    """Held-out predictions, the alpha-beta pairs' on the same folds, and the algorithms chosen."""

    chosen: Mapping[int, str]


def hold_out(
    table: CollectiveTable, hold: str, *, progress: Callable[[str], None] = lambda _: None
) -> HeldOutCollectives:
    """Predict every measured row with constants fitted without its fold.

    Raises
    ------
    TableError
        Where a table has too few measured rows.
    """
    if hold not in HOLDS:
        raise TableError(f"collectives are held out by {', '.join(HOLDS)}; not by {hold!r}.")
    if len(table.used) < _FEWEST_ROWS:
        raise TableError(f"--held-out needs at least {_FEWEST_ROWS} measured rows; the table has {len(table.used)}.")
    folds: dict[str, list[int]] = {}
    for i in table.used:
        folds.setdefault(fold_label(hold, table.jobs[i]), []).append(i)
    if len(folds) < 2:
        raise TableError(f"--held-out by {hold} needs at least 2 {hold} with measured rows.")
    predicted: dict[int, float] = {}
    baseline: dict[int, float] = {}
    algorithms: dict[int, str] = {}
    most = 0
    for label, members in sorted(folds.items()):
        constants = fit_collectives(table, without=frozenset(members))
        seconds, words = _priced(table, members, constants)
        predicted |= seconds
        algorithms |= words
        baseline |= _baseline(table, members, without=frozenset(members))
        most = max(most, constants.count)
        progress(f"without {hold} {label}: {len(members)} rows predicted")
    return HeldOutCollectives(hold=hold, predicted_s=predicted, baseline_s=baseline, chosen=algorithms, constants=most)


def _priced(
    table: CollectiveTable, index: Sequence[int], constants: KernelConstants
) -> tuple[dict[int, float], dict[int, str]]:
    """Predicted seconds and chosen algorithms of some rows, by row index."""
    if not index:
        return {}, {}
    exchanges = exchanges_of(table.jobs[i] for i in index)
    values = constants.rows(exchanges)
    seconds, words = exchange_s(exchanges, values), chosen(exchanges, values)
    return dict(zip(index, seconds.tolist(), strict=True)), dict(zip(index, words, strict=True))


def _baseline(
    table: CollectiveTable, index: Sequence[int], *, without: frozenset[int] = frozenset()
) -> dict[int, float]:
    """Seconds of the alpha-beta pairs fitted on the measured rows that are not left out."""
    rest = [i for i in table.used if i not in without]
    if not rest or not index:
        return {}
    jobs = [table.jobs[i] for i in index]
    pairs = fit_alpha_beta([table.jobs[i] for i in rest], np.array([table.measured_s[i] for i in rest]), only=jobs)
    return dict(zip(index, pairs.seconds(jobs).tolist(), strict=True))


def predict_collectives(
    table: CollectiveTable, *, constants: KernelConstants, record: CollectiveRecord
) -> CollectiveValidation:
    """Predictions of all rows with one set of constants."""
    predicted, algorithms = _priced(table, sorted(table.jobs), constants)
    return CollectiveValidation(
        table=table, predictions=_lines(table, predicted, algorithms, record, ""), record=record, hold="",
        constants=constants.count, baseline_s=_baseline(table, table.used),
    )  # fmt: skip


def predict_collectives_held_out(
    table: CollectiveTable, hold: str, *, progress: Callable[[str], None] = lambda _: None
) -> CollectiveValidation:
    """Predict every measured row of a table with constants fitted without its fold; rows without a measured value are
    predicted with constants fitted on all others."""
    held = hold_out(table, hold, progress=progress)
    record = record_of(table, {hold: held})
    predicted, algorithms = dict(held.predicted_s), dict(held.chosen)
    rest = [i for i in table.jobs if i not in predicted]
    if rest:
        more, words = _priced(table, rest, fit_collectives(table))
        predicted |= more
        algorithms |= words
    return CollectiveValidation(
        table=table, predictions=_lines(table, predicted, algorithms, record, hold), record=record, hold=hold,
        constants=held.constants, baseline_s=held.baseline_s,
    )  # fmt: skip


def _lines(
    table: CollectiveTable, predicted: Mapping[int, float], algorithms: Mapping[int, str], record: CollectiveRecord,
    hold: str,
) -> tuple[Prediction, ...]:  # fmt: skip
    def price(index: int, job: CollectiveJob) -> PricedRow:
        seconds = predicted[index]
        factors = record.factors(job.size_class, fabric=job.fabric, system=job.system, hold=hold)
        low, high = (seconds * factors[0], seconds * factors[1]) if factors else (None, None)
        assumed = "; ".join(text for text in (*job.assumed, f"algorithm {algorithms[index]}") if text)
        return PricedRow(predicted=seconds, low=low, high=high, extrapolated=unseen(record, job), assumed=assumed)

    return prediction_lines(table, price)
