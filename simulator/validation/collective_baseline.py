"""The yardstick of collective predictions: one latency and one rate for each pair of fabrics, as in a textbook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy.optimize import least_squares

from simulator.calibration.weights import group_weight
from simulator.kernels.optable import Floats

from .collective_rows import CollectiveJob

#: The pair that stands for fabrics without measured rows.
_POOLED: Final = ""
_BOUNDS: Final = (np.log([1e-7, 1e6]), np.log([1e1, 1e14]))


def ring_volume(collective: str, ranks: int) -> float:
    """Bytes that a rank sends for each byte of the full tensor on a ring:

    .. math:: v = 2 (n - 1) / n

    for an all-reduce, half of it for an all-gather, a reduce-scatter and an all-to-all, and 1 for a permutation.
    """
    if collective == "permute":
        return 1.0
    return (2.0 if collective == "all_reduce" else 1.0) * (ranks - 1) / ranks


@dataclass(frozen=True, kw_only=True)
class AlphaBeta:
    """Fitted (seconds a call, bytes a second) by pair of fabrics; "" for all others."""

    pairs: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def seconds(self, jobs: Sequence[CollectiveJob]) -> Floats:
        """Seconds of jobs,

        .. math:: t = \\alpha + v S / \\beta

        with the ring's volume v a byte and the full tensor S. Knows no algorithms, protocols, hops or switches. Shape
        (jobs,).
        """
        found = np.array([self.pairs.get(job.fabric) or self.pairs[_POOLED] for job in jobs]).reshape(-1, 2)
        return np.asarray(found[:, 0] + _moved_byte(jobs) / found[:, 1])


def fit_alpha_beta(
    jobs: Sequence[CollectiveJob], measured_s: Floats, *, only: Sequence[CollectiveJob] | None = None
) -> AlphaBeta:
    """One pair for each pair of fabrics and one for all together, least squares of ln(predicted / measured).

    A group of n rows counts as sqrt(n) do, as in the fit it is compared with. ``only`` restricts the fit to the
    fabrics of these jobs.
    """
    fabrics = np.array([job.fabric for job in jobs])
    weight = np.sqrt(group_weight([job.group for job in jobs], np.ones(len(jobs))))
    moved = _moved_byte(jobs)
    wanted = sorted(set(fabrics) if only is None else set(fabrics) & {job.fabric for job in only})
    pairs = {_POOLED: _fit(moved, measured_s, weight)}
    for name in wanted:
        inside = fabrics == name
        pairs[str(name)] = _fit(moved[inside], measured_s[inside], weight[inside])
    return AlphaBeta(pairs=pairs)


def _moved_byte(jobs: Sequence[CollectiveJob]) -> Floats:
    return np.array([ring_volume(job.collective, job.wires.ranks) * job.message_byte for job in jobs])


def _fit(moved: Floats, measured_s: Floats, weight: Floats) -> tuple[float, float]:
    low, high = _BOUNDS
    start = np.clip(np.log([measured_s.min(), np.max(moved / measured_s)]), low + 1e-6, high - 1e-6)

    def residual(x: Floats) -> Floats:
        return np.asarray(weight * np.log((np.exp(x[0]) + moved / np.exp(x[1])) / measured_s))

    alpha, beta = np.exp(least_squares(residual, start, bounds=_BOUNDS).x)
    return float(alpha), float(beta)
