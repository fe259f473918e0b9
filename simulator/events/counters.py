"""What a trace shows as curves: how busy a rank's communication streams are, and what its memory holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from simulator.events.pass_names import held_micro_batches
from simulator.events.trace import COMMUNICATION_STREAMS, Timeline

#: Stretches that a step is cut into for the load of links.
STRETCHES: Final = 200


@dataclass(frozen=True, kw_only=True)
class RoleMemory:
    """What a rank of one role holds all the time, and what one micro-batch in flight adds, all its chunks together."""

    steady_byte: float
    micro_batch_byte: float
    chunks: int = 1


def link_load(timeline: Timeline, stage: int, *, stretches: int = STRETCHES) -> Iterator[tuple[int, dict[str, float]]]:
    """Share of every stretch of the step that each communication stream of a rank is busy: (when [ps], by stream).

    Only streams that ever run are there; equal stretches that follow each other come once; the last is at the end, 0.
    """
    mine = [item for item in timeline.slices if item.stage == stage and item.communicates]
    streams = [stream for stream in COMMUNICATION_STREAMS if any(item.stream == stream for item in mine)]
    end_ps = timeline.end_ps
    if not streams or not end_ps:
        return
    width_ps = -(-end_ps // stretches)
    busy_ps = {stream: [0] * (-(-end_ps // width_ps)) for stream in streams}
    for item in mine:
        for stretch in range(item.start_ps // width_ps, (item.end_ps - 1) // width_ps + 1):
            begin_ps = stretch * width_ps
            inside_ps = min(item.end_ps, begin_ps + width_ps) - max(item.start_ps, begin_ps)
            busy_ps[item.stream][stretch] += inside_ps
    before: dict[str, float] = {}
    for stretch in range(len(busy_ps[streams[0]])):
        long_ps = min(width_ps, end_ps - stretch * width_ps)
        now = {stream: round(busy_ps[stream][stretch] / long_ps, 4) for stream in streams}
        if now != before:
            yield stretch * width_ps, now
        before = now
    yield end_ps, dict.fromkeys(streams, 0.0)


def memory_in_use(timeline: Timeline, stage: int, memory: RoleMemory) -> Iterator[tuple[int, dict[str, int]]]:
    """Bytes on a rank's chip whenever they change: (when [ps], what is always there and activations in flight).

    Leaves out what is there inside a pass only (a block replayed, logits, temporaries of the update).
    """
    always = round(memory.steady_byte)
    yield 0, {"parameters and state": always, "activations": 0}
    for time_ps, held in held_micro_batches(timeline, stage):
        activations = round(held * memory.micro_batch_byte / memory.chunks)
        yield time_ps, {"parameters and state": always, "activations": activations}
