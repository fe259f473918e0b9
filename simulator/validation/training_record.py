"""How far held-out predictions of whole trainings were off, and which part of it is rate and which length."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..outcome.convergence.pooling import PoolConstants, fit_pool
from .convergence_rows import measured_value
from .runs import Table, weighted_quantile
from .training_constants import TrainingConstants
from .training_lengths import pooled
from .training_rows import TIME
from .training_runs import HeldOutPools, Trainings, predict_training


@dataclass(frozen=True, kw_only=True)
class HeldOutTraining:
    """A held-out row of a whole training: ln(predicted / measured), its spread, and where the rate of the run was
    measured too, the part of the error that is the rate's (ln of measured over predicted rate), else None; the rest is
    the length's."""

    index: int
    metric: str
    group: tuple[str, str, str]
    error: float
    spread: float
    rate_error: float | None


def fit_lengths(table: Table, trainings: Trainings) -> dict[str, PoolConstants]:
    """Spreads under which the lengths of a table are the least surprising, by what is counted."""
    points = pooled(trainings.lengths(table).values())
    return {c: fit_pool([m for m in points if m[0].counted == c]) for c in ("epochs", "samples")}


def hold_out_trainings(
    table: Table, trainings: Trainings, constants: Mapping[str, PoolConstants]
) -> tuple[tuple[HeldOutTraining, ...], int]:
    """Every measured row without a flag from lengths without its group, and how many had too little left."""
    lengths = trainings.lengths(table)
    pools = HeldOutPools(lengths, constants)
    found: list[HeldOutTraining] = []
    unanswered = 0
    for i, training in trainings.rows.items():
        measured = measured_value(table.rows[i])
        if measured is None or table.rows[i].get("flag"):
            continue
        answer = predict_training(i, training, trainings, pools.without(training))
        if answer is None:
            unanswered += 1
            continue
        rate = None
        if training.metric == TIME and lengths[i].measured_rate:
            # length = time x measured rate; predicted rate = batch / step.
            rate = math.log(lengths[i].value / measured * trainings.step_s[i] / training.batch)
        found.append(
            HeldOutTraining(
                index=i, metric=training.metric, group=training.group, error=answer[0] - math.log(measured),
                spread=answer[1], rate_error=rate,
            )
        )  # fmt: skip
    return tuple(found), unanswered


def record_of(held: tuple[HeldOutTraining, ...]) -> dict[str, Mapping[str, float]]:
    """The record by metric: see `TrainingConstants`."""
    record: dict[str, Mapping[str, float]] = {}
    for metric in sorted({h.metric for h in held}):
        rows = [h for h in held if h.metric == metric]
        groups: dict[object, list[float]] = {}
        for h in rows:
            groups.setdefault(h.group, []).append(abs(h.error))
        weight = np.array([1.0 / math.sqrt(len(groups[h.group])) for h in rows])
        scaled = np.array([-h.error / h.spread for h in rows])
        entry = {
            "rows": len(rows), "groups": len(groups),
            "macro": float(np.mean([np.mean(v) for v in groups.values()])),
            "mean": float(np.mean([abs(h.error) for h in rows])),
            "median": float(np.median([abs(h.error) for h in rows])),
            "low": weighted_quantile(scaled, weight, 0.1), "high": weighted_quantile(scaled, weight, 0.9),
        }  # fmt: skip
        parts = [(h.rate_error, h.error - h.rate_error) for h in rows if h.rate_error is not None]
        if parts:
            entry |= {
                "split_rows": len(parts),
                "rate_median": float(np.median(np.abs([p[0] for p in parts]))),
                "length_median": float(np.median(np.abs([p[1] for p in parts]))),
                "rate_mean": float(np.mean(np.abs([p[0] for p in parts]))),
                "length_mean": float(np.mean(np.abs([p[1] for p in parts]))),
            }  # fmt: skip
        record[metric] = entry
    return record


def fitted(
    table: Table, trainings: Trainings, *, steps: str
) -> tuple[TrainingConstants, tuple[HeldOutTraining, ...], int]:
    """Constants fitted on a table, its held-out rows, how many had too little left; ``steps`` as in the constants."""
    constants = fit_lengths(table, trainings)
    held, unanswered = hold_out_trainings(table, trainings, constants)
    return TrainingConstants(constants=constants, record=record_of(held), steps=steps), held, unanswered
