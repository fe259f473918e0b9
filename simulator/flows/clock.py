"""The clock of a flow simulation: flows enter, share, and leave; whole picoseconds."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import Final

from .refill import Refill
from .shares import FlowError, Sharing

PS_PER_S: Final = 1e12
_ENTERS, _LEAVES = 0, 1


def to_ps(seconds: float) -> int:
    """The nearest whole picosecond."""
    return round(seconds * PS_PER_S)


def finish_ps(
    sharing: Sharing,
    *,
    byte: Sequence[float],
    start_ps: Sequence[int],
    latency_ps: Sequence[int],
    after: Sequence[Sequence[int]] = (),
) -> tuple[list[int], Refill]:
    """When each flow's last byte has arrived [ps], and the shares' state with its counts of work.

    A flow starts at `start_ps` or when all flows it comes `after` have finished, whichever is later; waits its latency,
    in which it takes no share; then sends its bytes at its max-min fair share of the moment. With 0 bytes it finishes
    after its latency. With infinitely many it never does and its finish is -1; nothing may come after it.

    All that happens in one picosecond happens together, and shares are settled once.
    """
    flows = len(byte)
    refill = Refill(sharing)
    waits = [len(set(before)) for before in after] or [0] * flows
    releases: list[list[int]] = [[] for _ in range(flows)]
    for flow, before in enumerate(after):
        for earlier in dict.fromkeys(before):
            releases[earlier].append(flow)
    finish = [-1] * flows
    left, rate = [float(size) for size in byte], [0.0] * flows
    since, version = [0] * flows, [0] * flows
    queue = [(start_ps[f] + latency_ps[f], _ENTERS, f, 0) for f in range(flows) if waits[f] == 0]
    heapq.heapify(queue)
    endless = float("inf")
    while queue:
        now = queue[0][0]
        entering: list[int] = []
        leaving: list[int] = []
        while queue and queue[0][0] == now:
            _, what, flow, stamp = heapq.heappop(queue)
            if what == _LEAVES:
                if stamp != version[flow]:
                    continue
                leaving.append(flow)
            elif left[flow] > 0:
                entering.append(flow)
                continue
            finish[flow] = now
            for later in releases[flow]:
                waits[later] -= 1
                if waits[later] == 0:
                    heapq.heappush(queue, (max(start_ps[later], now) + latency_ps[later], _ENTERS, later, 0))
        if not entering and not leaving:
            continue
        for flow in refill.change(close=leaving, open=entering):
            new = refill.rate_byte_per_s(flow)
            if new == rate[flow]:
                continue
            left[flow] = max(0.0, left[flow] - rate[flow] * ((now - since[flow]) / PS_PER_S))
            rate[flow], since[flow] = new, now
            version[flow] += 1
            if left[flow] < endless:
                heapq.heappush(queue, (now + round(left[flow] / new * PS_PER_S), _LEAVES, flow, version[flow]))
    stuck = [flow for flow in range(flows) if finish[flow] < 0 and left[flow] < endless]
    if stuck:
        circle = ", ".join(map(str, stuck[:5])) + (", ..." if len(stuck) > 5 else "")
        raise FlowError(f"flows: {circle} never start; they wait for one another or for a flow without end.")
    return finish, refill
