"""Curves over numbers of chips: predicted against measured scaling efficiency, beside linear scaling."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ...kernels.optable import Floats
from .runs_scored import RunsScored

#: Columns that the runs of one curve share.
_CURVE: Final = (
    "source", "model", "model_params", "chip", "chip_memory_gb", "seq_len", "image_size", "precision", "software",
    "intra_node_link", "inter_node_link", "optimizer", "allreduce_algorithm", "input_data", "accumulation", "kind",
    "recompute", "sharding", "schedule",
)  # fmt: skip


#: A measured efficiency above this says that the smallest number of chips was slowed by something else.
MOST_EFFICIENCY: Final = 1.5
#: Measured and predicted efficiency beyond the smallest number of chips.
_Curve = tuple[Floats, Floats]


@dataclass(frozen=True, kw_only=True)
class ScalingScore:
    """Curves of one source, or of all: ``points`` beyond the smallest number of chips of each.

    ``error`` is the mean over curves of the mean |predicted - measured| efficiency, ``median`` over points, ``linear``
    what linear scaling (efficiency 1) misses; as shares, so that 0.05 is five points. ``skill`` is 1 - error / linear.
    ``stalled`` curves are left out: see `scaling_scores`.
    """

    name: str
    curves: int
    stalled: int
    points: int
    error: float
    median: float
    linear: float
    skill: float


def scaling_scores(
    runs: RunsScored, programs: Mapping[str, str]
) -> tuple[tuple[ScalingScore, ...], tuple[ScalingScore, ...]]:
    r"""Scores of all curves together and by source, most points first; and of programs, by a pattern of their sources.

    A curve holds the runs of one source, model, machine, software and batch of a chip, cut alike but for the number of
    replicas, on at least two numbers of chips. Of both, measured and predicted,

    .. math:: efficiency(N) = \frac{rate(N) / N}{rate(N_0) / N_0}

    with N_0 the smallest number of chips of the curve. Repeated runs count with the geometric mean of their times.
    Curves of more than `MOST_EFFICIENCY` somewhere are left out and counted under "stalled": their first point is no
    base for the others.
    """
    curves: dict[object, dict[int, list[int]]] = {}
    for position, (index, job) in enumerate(zip(runs.index, runs.jobs, strict=True)):
        row, p = runs.table.rows[index], job.parallelism
        share = p.global_batch / p.chips
        key = (*(row.get(c, "") for c in _CURVE), p.tp, p.pp, p.cp, p.ep, p.micro_batch, share, job.context.stack.id)
        curves.setdefault(key, {}).setdefault(p.chips, []).append(position)
    found: dict[str, list[_Curve]] = {}
    for members in curves.values():
        if len(members) < 2:
            continue
        chips = sorted(members)
        # Like shares of the batch: the efficiency is the time of the smallest over that of the larger.
        efficiency = []
        for seconds in (runs.measured_s, runs.step_s):
            log_s = np.array([np.mean(np.log(seconds[members[n]])) for n in chips])
            efficiency.append(np.exp(log_s[0] - log_s[1:]))
        source = runs.jobs[members[chips[0]][0]].group[0]
        found.setdefault(source, []).append((efficiency[0], efficiency[1]))
    if not found:
        return (), ()
    by_source = [_score(source, parts) for source, parts in found.items()]
    every = _score("all", [part for parts in found.values() for part in parts])
    named = []
    for name, pattern in programs.items():
        parts = [part for source, found_here in found.items() if re.search(pattern, source) for part in found_here]
        named += [_score(name, parts)] if parts else []
    return (every, *sorted(by_source, key=lambda s: (-s.points, s.name))), tuple(named)


def _score(name: str, curves: Sequence[_Curve]) -> ScalingScore:
    def mean(values: Sequence[Floats]) -> float:
        return float(np.mean([np.mean(v) for v in values])) if values else 0.0

    kept = [curve for curve in curves if np.max(curve[0]) <= MOST_EFFICIENCY]
    missed = [np.abs(predicted - measured) for measured, predicted in kept]
    error, linear = mean(missed), mean([np.abs(1.0 - measured) for measured, _ in kept])
    return ScalingScore(
        name=name, curves=len(kept), stalled=len(curves) - len(kept), points=sum(len(m) for m in missed), error=error,
        median=float(np.median(np.concatenate(missed))) if missed else 0.0, linear=linear,
        skill=1.0 - error / linear if linear > 0.0 else 0.0,
    )  # fmt: skip
