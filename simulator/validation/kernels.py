"""`trainyard validate kernels`: predict every row of a table of measured kernels, and keep the record honest.

Held out by "shapes" (each shape predicted with constants fitted without it, on any chip), by "chips" (each chip without
any of its rows) or by "generations" (each architecture without any of its chips' rows). Predictions use configuration
columns only.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.calibration.kernel_fit import fit_kernels
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings, silicon

from .kernel_baseline import roofline_s
from .kernel_record import KernelRecord, record_of
from .kernel_rows import COMMON_COLUMNS, KernelJob, resolve_kernel
from .kernel_suites import FAMILIES
from .kernel_suites.family import Row, RowError
from .measured_table import (
    HeldOutRows,
    MeasuredTable,
    MeasuredValidation,
    PricedRow,
    prediction_lines,
    read_measured_table,
)
from .runs import TableError

HOLDS: Final = ("chips", "shapes", "generations")
#: Shapes are dealt to this many folds.
SHAPE_FOLDS: Final = 5

Constants = Mapping[str, KernelConstants]
Mask = NDArray[np.bool_]


KernelTable = MeasuredTable[KernelJob]
KernelValidation = MeasuredValidation[KernelJob, KernelRecord]


def read_kernel_table(path: Path) -> KernelTable:
    """Read and resolve a table. Raises `TableError` where it is no table of kernels."""
    return read_measured_table(
        path, needed=("kernel", "chip", "precision"), resolve=lambda row: resolve_kernel(row, FAMILIES),
        refusal=RowError,
    )  # fmt: skip


def _measured(table: KernelTable, family: str) -> list[int]:
    """Rows of a family with a measured value and no flag."""
    return [i for i in table.used if table.jobs[i].family == family]


def price_rows(
    family: str, rows: Sequence[Row], jobs: Sequence[KernelJob], constants: KernelConstants
) -> tuple[Floats, Floats]:
    """Predicted seconds of rows and how far their candidate chips are apart, a factor >= 1; shapes (rows,)."""
    entry = FAMILIES[family]
    most = max(len(job.settings) for job in jobs)
    logs = np.zeros((most, len(rows)))
    shapes = entry.read(rows)
    for place in range(most):
        settings = Settings.of([job.settings[min(place, len(job.settings) - 1)] for job in jobs])
        logs[place] = np.log(entry.observed_s(shapes, settings, constants.rows(settings)))
    return np.exp(logs.mean(axis=0)), np.exp(logs.max(axis=0) - logs.min(axis=0))


def fold_label(hold: str, family: str, row: Row, setting: Setting) -> str:
    """The fold of a row: the same wherever and in whatever order the rows stand."""
    if hold == "chips":
        return silicon(setting.chip)
    if hold == "generations":
        return setting.chip.architecture
    shape = "|".join(row.get(column, "") for column in FAMILIES[family].columns)
    return str(int(hashlib.sha256(shape.encode()).hexdigest(), 16) % SHAPE_FOLDS)


@dataclass(frozen=True, kw_only=True)
class Fitting:
    """What a fit of one family needs, ready to travel to a worker; arrays have shape (rows,)."""

    family: str
    rows: tuple[Row, ...]
    settings: tuple[Setting, ...]
    measured_s: Floats
    groups: tuple[str, ...]

    def fit(self, weight: Floats | None = None) -> KernelConstants:
        """Constants fitted on the rows that have weight."""
        entry = FAMILIES[self.family]
        settings, shapes = Settings.of(self.settings), entry.read(self.rows)
        fitted = fit_kernels(
            lambda values: entry.observed_s(shapes, settings, values),
            entry.specs, settings, self.measured_s, self.groups, weight=weight,
        )  # fmt: skip
        return fitted.constants


def fitting_of(table: KernelTable, family: str) -> Fitting:
    """The measured rows of a family, chips of several candidates at their first."""
    index = _measured(table, family)
    rows = tuple(table.rows[i] for i in index)
    return Fitting(
        family=family,
        rows=rows,
        settings=tuple(table.jobs[i].settings[0] for i in index),
        measured_s=np.array([table.measured_s[i] for i in index]),
        groups=tuple("|".join(row.get(c, "") for c in ("kernel", "suite", "chip", "precision")) for row in rows),
    )


def fit_all_kernels(
    table: KernelTable, *, progress: Callable[[str], None] = lambda _: None
) -> dict[str, KernelConstants]:
    """Constants of every family fitted on all its measured rows: for plans and for rows without a measured value."""
    fitted = {}
    for family in FAMILIES:
        if _measured(table, family):
            fitted[family] = fitting_of(table, family).fit()
            progress(f"{family}: {fitted[family].count} deviations fitted")
    return fitted


def hold_out(table: KernelTable, hold: str, *, progress: Callable[[str], None] = lambda _: None) -> HeldOutRows:
    """Predict every measured row with constants fitted without its fold.

    Raises
    ------
    TableError
        Where a table has too few measured rows.
    """
    if hold not in HOLDS:
        raise TableError(f"kernels are held out by {', '.join(HOLDS)}; not by {hold!r}.")
    if len(table.measured_s) < 20:
        raise TableError(f"--held-out needs at least 20 measured rows; the table has {len(table.measured_s)}.")
    tasks: list[tuple[Fitting, str, Mask, list[int]]] = []
    for family in FAMILIES:
        index = _measured(table, family)
        if not index:
            continue
        fitting = fitting_of(table, family)
        labels = np.array([fold_label(hold, family, r, s) for r, s in zip(fitting.rows, fitting.settings, strict=True)])
        for label in sorted(set(labels.tolist())):
            inside = labels == label
            tasks.append((fitting, label, inside, [index[i] for i in np.flatnonzero(inside)]))
    predicted: dict[int, float] = {}
    counts: dict[str, int] = {}
    for (fitting, label, _, members), (values, count) in zip(tasks, _work_through(tasks), strict=True):
        predicted.update(zip(members, values.tolist(), strict=True))
        counts[fitting.family] = max(counts.get(fitting.family, 0), count)
        progress(f"{fitting.family} without {hold} {label}: {len(members)} rows predicted")
    order = sorted(predicted)
    base = roofline_s([table.rows[i] for i in order], [table.jobs[i].settings[0] for i in order])
    return HeldOutRows(
        hold=hold, predicted_s=predicted, baseline_s=dict(zip(order, base.tolist(), strict=True)),
        constants=sum(counts.values()),
    )  # fmt: skip


def _work_through(tasks: Sequence[tuple[Fitting, str, Mask, list[int]]]) -> Iterator[tuple[Floats, int]]:
    work = [(fitting, inside) for fitting, _, inside, _ in tasks]
    workers = min(os.cpu_count() or 1, len(tasks))
    if workers == 1 or sum(len(t[3]) for t in tasks) < 1000:
        yield from map(_predict_without, work)
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_predict_without, work)


def _predict_without(task: tuple[Fitting, Mask]) -> tuple[Floats, int]:
    fitting, inside = task
    constants = fitting.fit(weight=(~inside).astype(float))
    entry = FAMILIES[fitting.family]
    rows = [row for row, chosen in zip(fitting.rows, inside, strict=True) if chosen]
    settings = Settings.of([s for s, chosen in zip(fitting.settings, inside, strict=True) if chosen])
    return entry.observed_s(entry.read(rows), settings, constants.rows(settings)), constants.count


def predict_kernels(table: KernelTable, *, constants: Constants, record: KernelRecord) -> KernelValidation:
    """Predictions of all rows with one set of constants."""
    predicted, spread = _priced(table, table.jobs, constants)
    return _validation(table, predicted, spread, record, "", sum(c.count for c in constants.values()))


def _priced(
    table: KernelTable, rows: Collection[int], constants: Constants
) -> tuple[dict[int, float], dict[int, float]]:
    """Predicted seconds of some rows, and how far their candidate chips are apart, by row index."""
    predicted: dict[int, float] = {}
    spread: dict[int, float] = {}
    for family, entry in FAMILIES.items():
        index = [i for i in rows if table.jobs[i].family == family]
        if not index:
            continue
        fitted = constants.get(family) or KernelConstants(specs=entry.specs)
        seconds, apart = price_rows(family, [table.rows[i] for i in index], [table.jobs[i] for i in index], fitted)
        predicted.update(zip(index, seconds.tolist(), strict=True))
        spread.update(zip(index, apart.tolist(), strict=True))
    return predicted, spread


def predict_kernels_held_out(
    table: KernelTable, hold: str, *, progress: Callable[[str], None] = lambda _: None
) -> KernelValidation:
    """Predict every measured row of a table with constants fitted without its fold; rows without a measured value are
    predicted with constants fitted on all others."""
    held = hold_out(table, hold, progress=progress)
    record = record_of(table, {hold: held})
    predicted = dict(held.predicted_s)
    spread = dict.fromkeys(predicted, 1.0)
    rest = [i for i in table.jobs if i not in predicted]
    if rest:
        more, apart = _priced(table, rest, fit_all_kernels(table, progress=progress))
        predicted |= more
        spread |= apart
    return _validation(table, predicted, spread, record, hold, held.constants)


def _validation(
    table: KernelTable, predicted: Mapping[int, float], spread: Mapping[int, float], record: KernelRecord, hold: str,
    constants: int,
) -> KernelValidation:  # fmt: skip
    def price(index: int, job: KernelJob) -> PricedRow:
        seconds, apart = predicted[index], spread[index] ** 0.5
        factors = record.factors(job, hold)
        low, high = (seconds * factors[0] / apart, seconds * factors[1] * apart) if factors else (None, None)
        assumed = _assumed(table.rows[index], job)
        return PricedRow(predicted=seconds, low=low, high=high, extrapolated=record.unseen(job), assumed=assumed)

    order = sorted(table.jobs)
    base = roofline_s([table.rows[i] for i in order], [table.jobs[i].settings[0] for i in order])
    return KernelValidation(
        table=table, predictions=prediction_lines(table, price), record=record, hold=hold, constants=constants,
        baseline_s=dict(zip(order, base.tolist(), strict=True)),
    )  # fmt: skip


def _assumed(row: Row, job: KernelJob) -> str:
    notes = []
    if len(job.settings) > 1:
        notes.append("chip is one of " + ", ".join(s.chip.id for s in job.settings))
    if not job.settings[0].library:
        notes.append(f"library {row.get('library') or 'not stated'}: as others of the chip")
    return "; ".join(notes)


#: Every column a prediction may look at.
COLUMNS: Final = tuple(dict.fromkeys(COMMON_COLUMNS + tuple(c for f in FAMILIES.values() for c in f.columns)))
