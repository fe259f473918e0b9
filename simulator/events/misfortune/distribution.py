"""Many repetitions of a step: their distribution, with how sure each of its figures is."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import stats

from simulator.events.misfortune.laws import Floats, MisfortuneError
from simulator.events.misfortune.streams import Streams

#: Figures of a distribution -> the share of steps below it; the mean stands beside them.
QUANTILES: Final[Mapping[str, float]] = {"median": 0.5, "p95": 0.95, "p99": 0.99}
#: How sure an interval is, two-sided.
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class StepDistribution:
    """Step times of independent repetitions [s], in ascending order.

    ``intervals`` hold 95 % confidence intervals of "mean" and of `QUANTILES`; an end is None where so few repetitions
    do not bound it. ``asked`` repetitions were wanted; ``ended`` says why there are no more: "all", "precise" (the p95
    is known well enough), "interrupted". ``method`` is "repetitions", or "replicas" where the slowest of many replicas
    was worked out from simulated single ones.
    """

    seconds: tuple[float, ...] = field(repr=False)
    asked: int
    intervals: Mapping[str, tuple[float | None, float | None]]
    ended: str = "all"
    method: str = "repetitions"
    simulated: int = 0

    @property
    def repetitions(self) -> int:
        """How many steps the figures rest on."""
        return len(self.seconds)

    @property
    def mean_s(self) -> float:
        """Mean step [s]."""
        return float(np.mean(self.seconds))

    def quantile_s(self, share: float) -> float:
        """The time [s] that so large a share of steps does not exceed, straight between neighbours."""
        return float(np.quantile(np.asarray(self.seconds), share))

    def figure_s(self, name: str) -> float:
        """ "mean", or a word of `QUANTILES` [s]."""
        return self.mean_s if name == "mean" else self.quantile_s(QUANTILES[name])


def distribution(
    seconds: Sequence[float], *, asked: int | None = None, ended: str = "all", simulated: int | None = None
) -> StepDistribution:
    """Figures of independent repetitions, whose intervals rest on nothing but their number.

    A quantile's interval runs between order statistics (binomial, no law assumed: Conover, Practical Nonparametric
    Statistics, 1999, section 3.2), the mean's is Student's. Raises MisfortuneError without repetitions.
    """
    values = np.sort(np.asarray(seconds, dtype=float))
    if values.size == 0:
        raise MisfortuneError("distribution: no repetition was finished; at least 1.")
    intervals = {"mean": _mean_interval(values)}
    intervals.update({name: quantile_interval(values, share) for name, share in QUANTILES.items()})
    return StepDistribution(
        seconds=tuple(values.tolist()),
        asked=values.size if asked is None else asked,
        intervals=intervals,
        ended=ended,
        simulated=values.size if simulated is None else simulated,
    )


def quantile_interval(values: Floats, share: float) -> tuple[float | None, float | None]:
    """Interval of a quantile between two of the sorted values; None where it lies outside of them.

    The number of values below the quantile is binomial (n, share): the ends are the order statistics at its 2.5 % and
    97.5 % points.
    """
    n, half = values.size, (1 - CONFIDENCE) / 2
    low, high = int(stats.binom.ppf(half, n, share)), int(stats.binom.ppf(1 - half, n, share)) + 1
    return (float(values[low - 1]) if low >= 1 else None, float(values[high - 1]) if high <= n else None)


def _mean_interval(values: Floats) -> tuple[float | None, float | None]:
    if values.size < 2:
        return None, None
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / math.sqrt(values.size)
    reach = float(stats.t.ppf((1 + CONFIDENCE) / 2, values.size - 1)) * error
    return mean - reach, mean + reach


def run_many(
    simulate_once: Callable[[int, Streams], float],
    repetitions: int,
    seed: int,
    *,
    precision: float | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> StepDistribution:
    """Repeat a step: ``simulate_once(repetition, streams)`` gives seconds, from streams of that repetition alone.

    With ``precision`` it ends as soon as the half width of the p95's interval is at most that share of it (looked at
    whenever the repetitions have grown by a tenth, from 100 on). A keyboard interrupt ends it too; what was finished by
    then is valid, and the result says how much that is.

    Raises
    ------
    MisfortuneError
        For fewer than 1 repetition.
    KeyboardInterrupt
        Where nothing was finished yet.
    """
    if repetitions < 1:
        raise MisfortuneError(f"run_many: {repetitions} repetitions; at least 1.")
    streams, seconds, ended, look = Streams(seed=seed), list[float](), "all", 100
    try:
        for repetition in range(repetitions):
            seconds.append(simulate_once(repetition, streams.within("repetition", repetition)))
            if progress is not None:
                progress(len(seconds), repetitions)
            if precision is not None and len(seconds) >= look:
                look = math.ceil(1.1 * look)
                if _precise(seconds, precision):
                    ended = "precise"
                    break
    except KeyboardInterrupt:
        if not seconds:
            raise
        ended = "interrupted"
    if len(seconds) == repetitions:
        ended = "all"
    return distribution(seconds, asked=repetitions, ended=ended)


def _precise(seconds: Sequence[float], precision: float) -> bool:
    values = np.sort(np.asarray(seconds))
    low, high = quantile_interval(values, QUANTILES["p95"])
    if low is None or high is None:
        return False
    return (high - low) / 2 <= precision * float(np.quantile(values, QUANTILES["p95"]))
