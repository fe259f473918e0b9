"""The slowest of many replicas from a few simulated ones.

Replicas that only meet where gradients are exchanged are independent until then, and everything after is a maximum and
a sum. So a step of n replicas takes *exactly* the maximum of n independent steps of one: it holds for exchanges after
the last backward pass and for those under it, block by block, since no path leads from an exchange back into a pass.
Where parameters are gathered before every block (sharding) there are such paths, and the maximum is a lower bound.

A replica that is a pipeline has no law in closed form (maxima and sums of its pieces). Its steps are simulated, a law
is fitted, and the maximum of n is drawn from that by u^(1/n).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from simulator.events.misfortune.laws import Floats, MisfortuneError

#: Share of the simulated steps, from above, to which a power or exponential tail is fitted.
_TAIL_SHARE = 0.15


@dataclass(frozen=True, kw_only=True)
class ReplicaLaw:
    """Law of one replica's step [s]: the measured quantiles, and beyond them a fitted tail.

    ``method``: "certain"; "gamma" (three moments, a shifted gamma: many pieces make a light tail), or "tail" (measured
    quantiles with a generalised Pareto tail by probability-weighted moments, Hosking & Wallis 1987, where the sample's
    skewness says that few pieces decide).
    """

    seconds: Floats = field(repr=False)
    method: str
    skew: float = 0.0
    threshold_s: float = 0.0
    tail_scale_s: float = 0.0
    tail_shape: float = 0.0

    def isf(self, q: Floats) -> Floats:
        """Quantile from above [s]."""
        q = np.asarray(q, dtype=float)
        if self.method == "certain":
            return np.full(q.shape, self.seconds[0])
        if self.method == "gamma":
            return np.asarray(
                stats.pearson3.isf(q, self.skew, loc=self.seconds.mean(), scale=self.seconds.std(ddof=1)), dtype=float
            )
        body = np.quantile(self.seconds, 1 - q)
        beyond = np.minimum(q / _TAIL_SHARE, 1.0)
        tail = self.threshold_s + stats.genpareto.isf(beyond, self.tail_shape, scale=self.tail_scale_s)
        return np.where(q < _TAIL_SHARE, tail, body)

    def ppf(self, p: Floats) -> Floats:
        """Quantile [s]."""
        if self.method == "tail":
            return self.isf(1 - np.asarray(p, dtype=float))
        if self.method == "certain":
            return np.full(np.shape(p), self.seconds[0])
        return np.asarray(
            stats.pearson3.ppf(p, self.skew, loc=self.seconds.mean(), scale=self.seconds.std(ddof=1)), dtype=float
        )


def replica_law(seconds: Sequence[float]) -> ReplicaLaw:
    """The law of a replica's step from simulated ones. Raises MisfortuneError for fewer than 2 that differ."""
    values = np.sort(np.asarray(seconds, dtype=float))
    if values.size == 0:
        raise MisfortuneError("replica_law: no simulated step; at least 1.")
    if values[-1] == values[0]:
        return ReplicaLaw(seconds=values, method="certain")
    if values.size < 20:
        raise MisfortuneError(f"replica_law: {values.size} simulated steps; at least 20 where they differ.")
    skew = float(stats.skew(values, bias=False))
    if skew < 1.2:
        return ReplicaLaw(seconds=values, method="gamma", skew=max(skew, -0.5))
    over = values[values > np.quantile(values, 1 - _TAIL_SHARE)]
    threshold = float(np.quantile(values, 1 - _TAIL_SHARE))
    excess = np.sort(over - threshold)
    places = (np.arange(1, excess.size + 1) - 0.35) / excess.size
    first, second = float(excess.mean()), float(np.mean(excess * (1 - places)))
    shape = min(0.5, max(-0.5, 2 - first / (first - 2 * second))) if first > 2 * second else 0.5
    return ReplicaLaw(
        seconds=values, method="tail", threshold_s=threshold, tail_shape=shape, tail_scale_s=first * (1 - shape)
    )
