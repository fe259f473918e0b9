"""Where micro-batches go: the stops of a pipeline in order, and whose blocks run at each."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from simulator.schedules.task import Route


class Stop(NamedTuple):
    """One chunk of one rank."""

    rank: int
    chunk: int


def stop_chunks(route: Route, virtual_stages: int) -> int:
    """Chunks of a rank that micro-batches stop at: one more where they come both ways."""
    return 2 if route == "both_ways" else virtual_stages


def blocks_at(route: Route, stop: Stop, stages: int) -> Stop:
    """The stage (as `rank`) and its chunk whose blocks run at a stop."""
    return Stop(stages - 1 - stop.rank, 0) if route == "both_ways" and stop.chunk else stop


@lru_cache(maxsize=256)
def ways(route: Route, stages: int, virtual_stages: int) -> tuple[tuple[Stop, ...], ...]:
    """Stops in the order of forward passes, for each way that micro-batches go through the ranks."""
    down = range(stages)
    if route == "v":
        return (tuple(Stop(i, 0) for i in down) + tuple(Stop(i, 1) for i in reversed(down)),)
    if route == "both_ways":
        return tuple(Stop(i, 0) for i in down), tuple(Stop(i, 1) for i in reversed(down))
    return (tuple(Stop(i, c) for c in range(virtual_stages) for i in down),)


class Neighbours(NamedTuple):
    """The stops before and behind one, None at either end, and the first micro-batch of its way."""

    before: Stop | None
    behind: Stop | None
    first_micro_batch: int


@lru_cache(maxsize=256)
def neighbours(route: Route, stages: int, micro_batches: int, virtual_stages: int) -> dict[Stop, Neighbours]:
    """What stands before and behind every stop."""
    found = {}
    for way, stops in enumerate(ways(route, stages, virtual_stages)):
        for place, stop in enumerate(stops):
            before = stops[place - 1] if place else None
            behind = stops[place + 1] if place + 1 < len(stops) else None
            found[stop] = Neighbours(before, behind, way * (micro_batches // 2))
    return found
