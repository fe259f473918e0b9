"""A whole run drawn many times: failures one after the other, months in milliseconds.

The same clock as `run_clock`, walked failure by failure; the two share their inputs and nothing else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.outcome.failures import Failures, RunError
from simulator.outcome.run_clock import RunWork

Floats = NDArray[np.float64]

#: Failures of all runs together above which nothing is drawn.
_MOST_FAILURES: Final = 3_000_000
#: The same where runs are walked one by one.
_MOST_WALKED: Final = 100_000


@dataclass(frozen=True, kw_only=True)
class RunDraws:
    """Durations [s] and failures of so many runs, in the order they were drawn."""

    time_s: Floats
    failures: NDArray[np.int64]

    def quantile(self, share: float) -> float:
        """What that share of the runs did not exceed [s]."""
        return float(np.quantile(self.time_s, share))

    def within(self, limit_s: float) -> float:
        """Share of the runs that were over in that time."""
        return float(np.mean(self.time_s <= limit_s))


def draw_runs(
    work: RunWork, failures: Failures, *, runs: int = 1000, seed: int = 0, factors: Floats | None = None
) -> RunDraws:
    """Draw so many runs.

    ``factors`` multiply the step time of each run: how far a predicted step may be off. Repairs are exponential.

    Raises
    ------
    RunError
        Where failures are so many that runs hardly end.
    """
    factor = np.ones(runs) if factors is None else np.asarray(factors, dtype=float)
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed)))
    useful_s = work.useful_s * factor
    steps = work.checkpoint_every or work.steps
    segment_s = useful_s * min(steps, work.steps) / work.steps + work.stall_s
    last_s = useful_s * (work.steps - (work.checkpoints - 1) * steps) / work.steps + work.stall_s
    rate = failures.rate_per_s
    if rate and float(segment_s.max() + work.write_s + failures.restart_s) * rate > 20:
        raise RunError(
            f"run: something fails every {1 / rate:,.0f} s on average, and {segment_s.max():,.0f} s from checkpoint to "
            "checkpoint hardly ever pass without. Legal: checkpoints closer together."
        )
    if not rate:
        whole = work.startup_s + (work.checkpoints - 1) * segment_s + last_s + work.write_s
        return RunDraws(time_s=whole, failures=np.zeros(runs, np.int64))
    if failures.elastic_replicas:
        return _elastic(work, failures, segment_s, last_s, stream)
    return _waiting(work, failures, segment_s, last_s, stream)


def _waiting(
    work: RunWork, failures: Failures, segment_s: Floats, last_s: Floats, stream: np.random.Generator
) -> RunDraws:
    """All runs at once, one failure of each in a turn; a run without a server waits for the next repaired one."""
    runs, rate, write_s = segment_s.size, failures.rate_per_s, work.write_s
    time_s, counts = np.full(runs, float(work.startup_s)), np.zeros(runs, np.int64)
    left = np.full(runs, work.checkpoints, np.int64)
    loading_s = np.zeros(runs)  # what lies before training in this stretch
    ready_s = np.zeros((runs, failures.spares))  # when each spare server can be used
    active = np.arange(runs)
    turns = 0
    while active.size:
        turns += active.size
        if turns > _MOST_FAILURES:
            raise RunError(f"run: more than {_MOST_FAILURES:,} failures in {runs} runs; legal: rarer ones, or fewer.")
        until_s = stream.exponential(1 / rate, active.size)
        ahead_s = (left[active] - 1) * segment_s[active] + last_s[active] + write_s + loading_s[active]
        over = until_s >= ahead_s
        time_s[active[over]] += ahead_s[over]
        active, until_s = active[~over], until_s[~over]
        kept = np.floor((until_s - loading_s[active] - write_s) / segment_s[active])
        left[active] -= np.clip(kept, 0, left[active] - 1).astype(np.int64)
        loading_s[active] = failures.restart_s
        time_s[active] += until_s
        counts[active] += 1
        if failures.repair_s and failures.server_rate_per_s:
            taken = active[stream.random(active.size) < failures.server_rate_per_s / rate]
            back_s = time_s[taken] + stream.exponential(failures.repair_s, taken.size)
            pool = np.sort(np.column_stack([ready_s[taken], back_s]), axis=1)
            time_s[taken] = np.maximum(time_s[taken], pool[:, 0])
            ready_s[taken] = pool[:, 1:]
        time_s[active] += failures.down_s
    return RunDraws(time_s=time_s, failures=counts)


def _elastic(
    work: RunWork, failures: Failures, segment_s: Floats, last_s: Floats, stream: np.random.Generator
) -> RunDraws:
    """Run by run: servers that are in repair beyond the spares slow the rest down until they are back."""
    times, counts = [], []
    total = 0
    for run in range(segment_s.size):
        time_s, many = _one_elastic(
            work, failures, float(segment_s[run]), float(last_s[run]), stream, most=_MOST_WALKED - total
        )
        total += many
        times.append(time_s)
        counts.append(many)
    return RunDraws(time_s=np.asarray(times), failures=np.asarray(counts, np.int64))


def _one_elastic(
    work: RunWork, failures: Failures, segment_s: float, last_s: float, stream: np.random.Generator, *, most: int
) -> tuple[float, int]:
    replicas, share = failures.elastic_replicas, failures.server_rate_per_s / failures.rate_per_s
    back: list[float] = []  # when servers return
    clock_s, many, left, loading_s = work.startup_s, 0, work.checkpoints, 0.0
    while True:
        fails_s = clock_s + float(stream.exponential(1 / failures.rate_per_s))
        ahead_s = (left - 1) * segment_s + last_s + work.write_s + loading_s
        done_s = 0.0  # progress since the last failure, in seconds at full speed
        while True:
            speed = max(1, replicas - max(0, len(back) - failures.spares)) / replicas
            until_s = min(fails_s, back[0] if back else math.inf)
            if done_s + speed * (until_s - clock_s) >= ahead_s:
                return clock_s + (ahead_s - done_s) / speed, many
            done_s += speed * (until_s - clock_s)
            clock_s = until_s
            if until_s == fails_s:
                break
            heappop(back)
        many += 1
        if many > most:
            raise RunError(
                f"run: with more than {_MOST_WALKED:,} failures its replicas hardly get on; legal: rarer failures, "
                "shorter repairs, or fewer runs."
            )
        left -= min(max(0, math.floor((done_s - loading_s - work.write_s) / segment_s)), left - 1)
        loading_s = failures.restart_s
        if stream.random() < share and failures.repair_s:
            heappush(back, clock_s + float(stream.exponential(failures.repair_s)))
        clock_s += failures.down_s
        while back and back[0] <= clock_s:
            heappop(back)
