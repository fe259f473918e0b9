"""`ModeRun`: what a run of one mode has shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from simulator.events.modes.record import Interval, Record
from simulator.modes.job import ModeJob
from simulator.stepspec import PICOSECONDS_PER_SECOND

Ints = NDArray[np.int64]

#: Parts of a run whose rates are taken for independent.
BATCHES: Final = 20
CONFIDENCE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class ModeRun:
    """One run, its warm-up left out.

    Attributes
    ----------
    samples_per_s, low_per_s, high_per_s
        Samples a second, and its 95 % confidence interval from the means of 20 batches.
    updates_per_s, updates, warm_up
        Updates of the shared parameters ("gossip": of any model); how many were counted and how many left out.
    staleness
        Updates applied by others between an update's reading and itself -> updates that had so many, ascending.
    most_ahead
        Steps that some worker had done more than the slowest when it began another, at most; 0 where nobody counts.
    idle_share
        Share of workers' time in which they did not compute.
    dropped_share
        Mini-batches thrown away, of those begun (backups).
    server_utilisation
        Share of time in which the busiest port was held ("gossip": of workers' ports, in the mean).
    byte_per_s
        Bytes over the network a second, both ways.
    """

    job: ModeJob
    seed: int
    samples_per_s: float
    low_per_s: float
    high_per_s: float
    updates_per_s: float
    updates: int
    warm_up: int
    staleness: Mapping[int, int]
    most_ahead: int
    idle_share: float
    dropped_share: float
    server_utilisation: float
    byte_per_s: float

    @property
    def mean_staleness(self) -> float:
        """Mean over updates."""
        return sum(value * count for value, count in self.staleness.items()) / sum(self.staleness.values())

    def staleness_at(self, share: float) -> int:
        """The least staleness that this share of updates do not exceed."""
        reached = np.cumsum(list(self.staleness.values()))
        place = int(np.searchsorted(reached, share * reached[-1]))
        return list(self.staleness)[min(place, len(reached) - 1)]


def result_of(job: ModeJob, record: Record, seed: int) -> ModeRun:
    """Read the record of a run that is over."""
    at = np.array(record.at_ps, dtype=np.int64)
    begin, end = int(at[record.warm_up - 1]), int(at[-1])
    counted = len(at) - record.warm_up
    span_s = (end - begin) / PICOSECONDS_PER_SECOND
    rate = counted / span_s if span_s else float("inf")
    low, high = _confidence(at[record.warm_up - 1 :], rate)
    values, counts = np.unique(np.array(record.staleness[record.warm_up :], dtype=np.int64), return_counts=True)
    held = [_inside(intervals, begin, end) for intervals in record.ports.values()]
    # Ports of workers are many and alike; those of servers are few, and the busiest limits.
    use = float(np.mean(held)) if job.mode == "gossip" else max(held, default=0.0)
    return ModeRun(
        job=job, seed=seed, samples_per_s=rate * record.samples, low_per_s=low * record.samples,
        high_per_s=high * record.samples, updates_per_s=rate, updates=counted, warm_up=record.warm_up,
        staleness=dict(zip(values.tolist(), counts.tolist(), strict=True)), most_ahead=record.most_ahead,
        idle_share=max(0.0, 1.0 - _inside(record.computing, begin, end) / job.workers),
        dropped_share=record.dropped / max(len(record.computing), 1), server_utilisation=use,
        byte_per_s=record.moved_byte / len(at) * rate,
    )  # fmt: skip


def _inside(intervals: Sequence[Interval], begin: int, end: int) -> float:
    """Time of intervals that lies inside a window, over the window's length."""
    if not intervals or end <= begin:
        return 0.0
    starts, ends = np.array(intervals, dtype=np.int64).T
    return float(np.sum(np.maximum(np.minimum(ends, end) - np.maximum(starts, begin), 0)) / (end - begin))


def _confidence(at: Ints, rate: float) -> tuple[float, float]:
    """Interval of the rate from the rates of batches of as many updates each (Law and Carson, 1979)."""
    size = (len(at) - 1) // BATCHES
    times = at[: BATCHES * size + 1 : size].astype(float) / PICOSECONDS_PER_SECOND
    took = np.diff(times)
    if size == 0 or not took.all():
        return rate, rate
    mean = float(np.mean(took))
    half = float(np.std(took, ddof=1) / np.sqrt(BATCHES) * stats.t.ppf((1.0 + CONFIDENCE) / 2.0, BATCHES - 1)) / mean
    return rate / (1.0 + half), rate / max(1.0 - half, 1e-9)
