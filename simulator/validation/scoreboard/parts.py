"""Scores of parts of the runs: errors, yardsticks, intervals, order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...calibration.slopes import moves_of, owners_of
from ...constants import Constants
from ...kernels.optable import Floats, Ints
from ..sweeps import QUESTION, Order, Sweep, order_of, per_layout, sweeps_of
from .dimensions import DIMENSIONS, ORDERED
from .runs_scored import RunsScored
from .yardsticks import interval_score

#: A choice may differ in its batch too; what is compared is then the time of a sample.
_SWEEP_QUESTION: Final = tuple(name for name in QUESTION if name != "global_batch")
#: Parts of fewer runs have no figures of their intervals.
LEAST_FOR_INTERVALS: Final = 30


@dataclass(frozen=True, kw_only=True)
class Score:
    """Scores of one part of the runs.

    Errors are |ln(predicted / measured)| of step times: ``macro`` the mean over the means of (source, model, chip)
    groups, ``mean``, ``median`` and ``p90`` over runs, ``bias`` the mean with its sign (above 0: predicted too slow).
    ``utilisation`` and ``roofline`` are the macro errors of the two yardsticks, ``skill`` is 1 - error / the smaller
    of theirs. ``sweeps`` of four settings or more have a mean ``rank`` correlation of the times of a sample
    and a ``regret`` of the setting that we would choose, beside constant utilisation's. ``held`` is the share of runs
    inside their 80 % interval, ``width`` the median of high / low, ``score`` the mean interval score beside that of
    constant utilisation's conformal interval. ``constants`` is how many fitted constants touch any of the runs.
    """

    name: str
    runs: int
    groups: int
    constants: int
    macro: float
    mean: float
    median: float
    p90: float
    bias: float
    utilisation: float
    roofline: float
    skill: float
    sweeps: int
    rank: float | None
    utilisation_rank: float | None
    regret: float | None
    regret_p90: float | None
    utilisation_regret: float | None
    held: float
    width: float
    score: float
    conformal_held: float
    conformal_width: float
    conformal_score: float


@dataclass(frozen=True, kw_only=True)
class _Orders:
    """Sweeps of a table by the words they count under, with what each way of predicting makes of them."""

    first: tuple[int, ...]
    rank: Floats
    regret: Floats
    utilisation_rank: Floats
    utilisation_regret: Floats


def scores(runs: RunsScored, constants: Constants) -> Mapping[str, tuple[Score, ...]]:
    """Scores by dimension: of every word of it, the most runs first."""
    orders = _orders(runs)
    owners = owners_of([job.context for job in runs.jobs])
    moves = moves_of(owners)
    fitted = np.array([key in constants.values for key in moves.all_keys])
    rows = [runs.table.rows[i] for i in runs.index]
    found: dict[str, tuple[Score, ...]] = {}
    for dimension, words_of in DIMENSIONS.items():
        members: dict[str, list[int]] = {}
        for position, (row, job) in enumerate(zip(rows, runs.jobs, strict=True)):
            for word in words_of(row, job):
                members.setdefault(word, []).append(position)
        order = ORDERED.get(dimension) or sorted(members, key=lambda word: (-len(members[word]), word))
        found[dimension] = tuple(
            score_of(word, runs, np.array(members[word]), _touching(moves.touching, fitted, members[word]), orders)
            for word in order
            if word in members
        )
    return found


def _touching(touching: Ints, fitted: Floats, members: Sequence[int]) -> int:
    """How many fitted constants touch any of some runs."""
    keys = np.unique(touching[list(members)])
    return int(fitted[keys[keys >= 0]].sum())


def macro_of(error: Floats, groups: Sequence[object]) -> float:
    """Mean over groups of the mean size of their errors."""
    members: dict[object, list[float]] = {}
    for group, value in zip(groups, np.abs(error).tolist(), strict=True):
        members.setdefault(group, []).append(value)
    return float(np.mean([np.mean(values) for values in members.values()]))


def score_of(name: str, runs: RunsScored, members: Ints, constants: int, orders: _Orders) -> Score:
    """The scores of some runs."""
    groups = [runs.jobs[p].group for p in members]
    error = runs.error[members]
    macro = macro_of(error, groups)
    utilisation = macro_of(runs.utilisation_error[members], groups)
    roofline = macro_of(runs.roofline_error[members], groups)
    low, high = runs.low[members], runs.high[members]
    below, above = runs.conformal_low[members], runs.conformal_high[members]
    inside = np.isin(orders.first, members)
    least = min(utilisation, roofline)
    return Score(
        name=name, runs=len(members), groups=len(set(groups)), constants=constants, macro=macro,
        mean=float(np.mean(np.abs(error))), median=float(np.median(np.abs(error))),
        p90=float(np.quantile(np.abs(error), 0.9, method="inverted_cdf")), bias=float(np.mean(error)),
        utilisation=utilisation, roofline=roofline, skill=1.0 - macro / least if least > 0.0 else 0.0,
        sweeps=int(inside.sum()), rank=_mean(orders.rank[inside]),
        utilisation_rank=_mean(orders.utilisation_rank[inside]), regret=_mean(orders.regret[inside]),
        regret_p90=_p90(orders.regret[inside]), utilisation_regret=_mean(orders.utilisation_regret[inside]),
        held=float(np.mean((low <= 0.0) & (high >= 0.0))), width=float(np.median(np.exp(high - low))),
        score=float(np.mean(interval_score(low, high))),
        conformal_held=float(np.mean((below <= 0.0) & (above >= 0.0))),
        conformal_width=float(np.median(np.exp(above - below))),
        conformal_score=float(np.mean(interval_score(below, above))),
    )  # fmt: skip


def _mean(values: Floats) -> float | None:
    return float(values.mean()) if len(values) else None


def _p90(values: Floats) -> float | None:
    return float(np.quantile(values, 0.9, method="inverted_cdf")) if len(values) else None


def _orders(runs: RunsScored) -> _Orders:
    """Sweeps of one source, model, chip, number of chips and software whose layout or batch differs."""
    position = {index: p for p, index in enumerate(runs.index)}
    sweeps: tuple[Sweep, ...] = sweeps_of(runs.table, _SWEEP_QUESTION)
    ours: list[Order] = []
    theirs: list[Order] = []
    for sweep in sweeps:
        batch = np.array([runs.table.jobs[rows[0]].parallelism.global_batch for rows in sweep.rows])
        for seconds, into in ((runs.step_s, ours), (runs.utilisation_s, theirs)):
            value = {i: float(seconds[position[i]]) for rows in sweep.rows for i in rows}
            into.append(order_of(sweep.measured_s / batch, per_layout(sweep.rows, value) / batch))
    return _Orders(
        first=tuple(position[sweep.rows[0][0]] for sweep in sweeps),
        rank=np.array([o.rank for o in ours]), regret=np.array([o.regret for o in ours]),
        utilisation_rank=np.array([o.rank for o in theirs]), utilisation_regret=np.array([o.regret for o in theirs]),
    )  # fmt: skip
