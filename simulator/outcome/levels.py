"""Checkpoints of several levels: near ones that are quick and survive little, far ones that survive everything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from simulator.outcome.failures import RunError


@dataclass(frozen=True, kw_only=True)
class Level:
    """One level. ``every``: of the checkpoints, that many-th goes here; ``stall_s``: how long training stands still.

    ``rate_per_s``: failures that need a checkpoint of this level, or one farther away; ``restart_s``: to start again
    from it.
    """

    name: str
    every: int
    stall_s: float
    restart_s: float
    rate_per_s: float

    def __post_init__(self) -> None:
        values = (self.stall_s, self.restart_s, self.rate_per_s)
        if self.every < 1 or not all(math.isfinite(value) and value >= 0 for value in values):
            raise RunError(f"Level {self.name!r}: every is at least 1; durations and the rate are 0 or more.")


def levels_expected_s(training_s: float, levels: Sequence[Level]) -> float:
    """Expected time of one segment with checkpoints of several levels, the nearest first [s].

    With E_p the time to the end of a pattern from its p-th segment, lambda the sum of all rates and s_p the segment
    with its checkpoint's stand-still,

    .. math:: E_p = \\frac{1 - e^{-\\lambda s_p}}{\\lambda} + e^{-\\lambda s_p} E_{p+1}
              + (1 - e^{-\\lambda s_p}) \\sum_i \\frac{\\lambda_i}{\\lambda} (F_i + E_{q_i(p)})

    where a failure of level i goes back to q_i(p), the last checkpoint of that level or a farther one, which takes F_i;
    a pattern ends with the farthest level. The mean over the pattern. Moody et al. 2010, SC'10 (multi-level
    checkpointing), walk the same chain. Leaves out: writes beside training; failures during a restart that need a
    farther level than it began with.

    Raises
    ------
    RunError
        Where levels do not nest (each ``every`` a multiple of the nearer one's), or segments hardly ever end.
    """
    everies = [level.every for level in levels]
    if not levels or everies[0] != 1 or any(far % near for near, far in pairwise(everies)):
        raise RunError(
            f"levels: every {everies}; legal: the nearest takes each checkpoint (1), each farther one a multiple of "
            "the one before."
        )
    pattern = everies[-1]
    rate = sum(level.rate_per_s for level in levels)
    stall_s = [next(lv.stall_s for lv in reversed(levels) if (p + 1) % lv.every == 0) for p in range(pattern)]
    if not rate:
        return training_s + sum(stall_s) / pattern
    if rate * (training_s * pattern + sum(stall_s)) > 500:
        raise RunError("levels: the farthest checkpoints are so rare that runs hardly ever end; legal: more of them.")
    matrix, right = np.eye(pattern), np.zeros(pattern)
    for p in range(pattern):
        passes = math.exp(-rate * (training_s + stall_s[p]))
        right[p] = (1 - passes) / rate
        if p + 1 < pattern:
            matrix[p, p + 1] -= passes
        for level in levels:
            share = (1 - passes) * level.rate_per_s / rate
            # A restart may fail: e^{lambda R} - 1 over lambda, as with one level.
            right[p] += share * math.expm1(rate * level.restart_s) / rate
            matrix[p, p - p % level.every] -= share
    return float(np.linalg.solve(matrix, right)[0]) / pattern
