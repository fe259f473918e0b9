"""`trainyard validate convergence`: predict every row of a table of convergence, and keep the record honest.

Held out by "points" (all that was measured of a network at one batch) or by "sources" (all that one round or entry
measured of a network): its answer comes from curves without it, under constants fitted without its fold. Predictions
use configuration columns only (`points.COLUMNS`).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from ..convergence_calibration import ConvergenceRecord, point_class, shipped_points
from ..deviations_file import HeldOutErrors
from ..outcome.convergence.points import HOLDS, Point, PointError
from ..outcome.convergence.pooling import Pool, PoolConstants, PooledAnswer, fit_pool
from .convergence_baseline import interpolated
from .convergence_rows import ConvergenceJob, measured_value, resolve_convergence
from .measured_table import MeasuredTable, MeasuredValidation, read_measured_table
from .runs import Prediction, TableError, weighted_quantile

#: Keys are dealt to this many folds; constants are fitted without one at a time.
FOLDS: Final = 5
_FEWEST_ROWS: Final = 20
_NEEDED: Final = ("task", "model", "batch", "target", "unit")
_CONSTANTS: Final = len(fields(PoolConstants))
NO_POINT: Final = "prior only: 0 measured points of this task, training set and unit"

ConvergenceTable = MeasuredTable[ConvergenceJob]
ConvergenceValidation = MeasuredValidation[ConvergenceJob, ConvergenceRecord]


def read_convergence_table(path: Path) -> ConvergenceTable:
    """Read and resolve a table; ``measured_s`` holds its answers in each row's own unit.

    Raises
    ------
    TableError
        Where it is no table of convergence.
    """
    return read_measured_table(
        path, needed=_NEEDED, resolve=resolve_convergence, refusal=PointError, value=measured_value
    )


def members_of(table: ConvergenceTable, *, without: frozenset[int] = frozenset()) -> list[tuple[Point, float]]:
    """Points with a measured answer and no flag, in the unit of their curves."""
    return [
        (table.jobs[i].point, table.measured_s[i] * table.jobs[i].point.per_unit)
        for i in table.used
        if i not in without
    ]


@dataclass(frozen=True, kw_only=True)
class HeldOutPoints:
    """Held-out answers by row index: in the row's own unit, its spread of ln, the yardstick's; rows whose curve had
    nothing left are in none."""

    hold: str
    predicted_s: Mapping[int, float]
    answers: Mapping[int, PooledAnswer]
    baseline_s: Mapping[int, float]
    constants: int


def hold_out(table: ConvergenceTable, hold: str, *, progress: Callable[[str], None] = lambda _: None) -> HeldOutPoints:
    """Predict every measured row from curves without its key, under constants fitted without the fold of its key.

    Raises
    ------
    TableError
        Where a table has too few measured rows.
    """
    if hold not in HOLDS:
        raise TableError(f"convergence is held out by {', '.join(HOLDS)}; not by {hold!r}.")
    if len(table.used) < _FEWEST_ROWS:
        raise TableError(f"--held-out needs at least {_FEWEST_ROWS} measured rows; the table has {len(table.used)}.")
    folds: dict[int, list[int]] = {}
    for i in table.used:
        folds.setdefault(_fold(table.jobs[i].point.key(hold)), []).append(i)
    members = members_of(table)
    predicted: dict[int, float] = {}
    answers: dict[int, PooledAnswer] = {}
    baseline: dict[int, float] = {}
    for number, (_, rows) in enumerate(sorted(folds.items())):
        pool = Pool(members, fit_pool(members_of(table, without=frozenset(rows))))
        for i in rows:
            point = table.jobs[i].point
            key = point.key(hold)
            answer = pool.answer(point, without=frozenset({key}))
            yardstick = interpolated(point, [m for m in members if m[0].key(hold) != key])
            if answer is None or yardstick is None:
                continue
            answers[i] = answer
            predicted[i], baseline[i] = math.exp(answer.log_mean) / point.per_unit, yardstick / point.per_unit
        progress(f"fold {number + 1} of {len(folds)}: {len(rows)} rows held out by {hold}")
    return HeldOutPoints(hold=hold, predicted_s=predicted, answers=answers, baseline_s=baseline, constants=_CONSTANTS)


def _fold(key: str) -> int:
    """The fold of a key: the same wherever and in whatever order the rows stand."""
    return int(hashlib.sha256(key.encode()).hexdigest(), 16) % FOLDS


def record_of(table: ConvergenceTable, held: Mapping[str, HeldOutPoints]) -> ConvergenceRecord:
    """The record of a table's held-out answers, by way of holding out."""
    classes: dict[str, HeldOutErrors] = {}
    for hold, result in held.items():
        parts: dict[str, list[int]] = {}
        for i in result.predicted_s:
            parts.setdefault(point_class(table.jobs[i].point), []).append(i)
        for name, index in sorted(parts.items()):
            classes[f"{hold}/{name}"] = _errors(table, result, index)
    return ConvergenceRecord(classes=classes)


def _errors(table: ConvergenceTable, result: HeldOutPoints, index: list[int]) -> HeldOutErrors:
    error = np.array([math.log(result.predicted_s[i] / table.measured_s[i]) for i in index])
    base = np.abs([math.log(result.baseline_s[i] / table.measured_s[i]) for i in index])
    spread = np.array([result.answers[i].log_spread for i in index])
    groups: dict[object, list[int]] = {}
    for position, i in enumerate(index):
        groups.setdefault(table.jobs[i].group, []).append(position)
    weight = np.array([1.0 / math.sqrt(len(groups[table.jobs[i].group])) for i in index])

    def macro(size: np.ndarray) -> float:
        return float(np.mean([np.mean(size[members]) for members in groups.values()]))

    return HeldOutErrors(
        rows=len(index), groups=len(groups), macro=macro(np.abs(error)), mean=float(np.mean(np.abs(error))),
        median=float(np.median(np.abs(error))), baseline_macro=macro(base), baseline_median=float(np.median(base)),
        spread=math.sqrt(float(np.mean(error**2))), low=weighted_quantile(-error / spread, weight, 0.1),
        high=weighted_quantile(-error / spread, weight, 0.9),
    )  # fmt: skip


def predict_convergence(
    table: ConvergenceTable, *, constants: PoolConstants, record: ConvergenceRecord
) -> ConvergenceValidation:
    """Predictions of all rows from the points that ship and one set of constants."""
    return _predicted(table, Pool(shipped_points(), constants), record)


def _predicted(table: ConvergenceTable, pool: Pool, record: ConvergenceRecord) -> ConvergenceValidation:
    answered = ((i, pool.answer(job.point)) for i, job in table.jobs.items())
    answers = {i: answer for i, answer in answered if answer is not None}
    members = shipped_points()
    baseline = {
        i: found / table.jobs[i].point.per_unit
        for i in table.used
        if (found := interpolated(table.jobs[i].point, members)) is not None
    }
    return _validation(table, answers, baseline, record, "")


def predict_convergence_held_out(
    table: ConvergenceTable, hold: str, *, progress: Callable[[str], None] = lambda _: None
) -> ConvergenceValidation:
    """Predict every measured row of a table from curves without its key; rows without a measured value from curves of
    all others."""
    held = hold_out(table, hold, progress=progress)
    record = record_of(table, {hold: held})
    answers = dict(held.answers)
    rest = [i for i in table.jobs if i not in table.used]
    if rest:
        members = members_of(table)
        pool = Pool(members, fit_pool(members))
        answers |= {i: found for i in rest if (found := pool.answer(table.jobs[i].point)) is not None}
    return _validation(table, answers, held.baseline_s, record, hold)


def _validation(
    table: ConvergenceTable, answers: Mapping[int, PooledAnswer], baseline: Mapping[int, float],
    record: ConvergenceRecord, hold: str,
) -> ConvergenceValidation:  # fmt: skip
    refused = dict(table.refused) | {i: NO_POINT for i in table.jobs if i not in answers}
    lines = []
    for index, row in enumerate(table.rows):
        job, answer = table.jobs.get(index), answers.get(index)
        predicted: float | None = None
        ends: tuple[float, float] | None = None
        if job is not None and answer is not None:
            predicted = math.exp(answer.log_mean) / job.point.per_unit
            found = record.interval(answer, job.point, hold=hold or "points")
            ends = (found[0] / job.point.per_unit, found[1] / job.point.per_unit) if found else None
        lines.append(
            Prediction(
                row=row.get("row") or str(index), measured=row.get("value") or "", predicted=predicted,
                low=ends[0] if ends else None, high=ends[1] if ends else None, reason=refused.get(index, ""),
                extrapolated=_outside(job.point, answer) if job and answer else "",
                assumed="; ".join(job.point.assumed) if job and answer else "",
            )
        )  # fmt: skip
    answered = MeasuredTable(rows=table.rows, jobs=table.jobs, refused=refused, measured_s=table.measured_s)
    return MeasuredValidation(
        table=answered, predictions=tuple(lines), record=record, hold=hold, constants=_CONSTANTS, baseline_s=baseline
    )


def _outside(point: Point, answer: PooledAnswer) -> str:
    """In what a point lies outside everything that was measured; "" if in nothing."""
    notes = []
    if not answer.own_points:
        notes.append(f"0 measured points of {point.network}; {answer.points} of other networks on its training set")
    if point.batch is not None and point.batch > answer.largest_batch * (1.0 + 1e-9):
        notes.append(f"batch {point.batch:g}; reached up to {answer.largest_batch:g}")
    return "; ".join(notes)
