"""Which pass a slice of the timeline belongs to, and which send brought what a pass waited for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from simulator.events.roles import Grid, Roles, find_roles
from simulator.events.trace import Timeline
from simulator.schedules import SCHEDULES
from simulator.schedules.route import Stop, neighbours
from simulator.schedules.task import Kind
from simulator.stepspec import StepSpec

_PASS: Final = re.compile(r"(send )?(forward|backward input|backward weight|backward) (\d+)(?: chunk (\d+))?(?=$|,)")


class NamedPass(NamedTuple):
    """A pass of one micro-batch through one chunk of a rank."""

    kind: Kind
    micro_batch: int
    chunk: int = 0


def pass_of(name: str) -> NamedPass | None:
    """The pass that a slice is, sends or sums up, by its name; None for a block, an update or an exchange."""
    found = _PASS.match(name)
    if found is None:
        return None
    kind: Kind = found[2].replace(" ", "_")  # type: ignore[assignment]
    return NamedPass(kind, int(found[3]), int(found[4] or 0))


def without_micro_batch(name: str) -> str:
    """A slice's name with nothing in it that differs between micro-batches: ``send forward``, ``block forward``."""
    return _PASS.sub(lambda found: f"{found[1] or ''}{found[2]}", name, count=1)


def messages(timeline: Timeline, spec: StepSpec, roles: Roles | None = None) -> list[tuple[int, int]]:
    """Places of what sends between ranks and of the pass that receives it, in the order of sending.

    A message is sent by its send, or where sends take no time by the pass itself. Without ``roles`` one rank of every
    stage speaks for all, as in the engine.
    """
    ranks = len(spec.stages)
    known = roles or find_roles(Grid(stages=ranks))
    stops = neighbours(SCHEDULES[spec.schedule].TRAITS.route, ranks, spec.micro_batches, spec.virtual_stages)
    ran: dict[tuple[int, NamedPass], int] = {}
    sent: dict[tuple[int, NamedPass], int] = {}
    for place, item in enumerate(timeline.slices):
        named = pass_of(item.name) if item.category in ("pass", "pipeline") else None
        if named is not None:
            (ran if item.category == "pass" else sent)[item.stage, named] = place
    pairs = []
    for (number, named), envelope in ran.items():
        role = known.roles[number]
        target = _target(stops, Stop(role.stage, named.chunk), named.kind)
        if target is None or target.rank == role.stage:
            continue
        # A rank may run whole backward passes where its neighbour runs their halves apart.
        kinds: tuple[Kind, ...] = ("forward",) if named.kind == "forward" else ("backward", "backward_input")
        there = (
            ran.get((role.column[target.rank], NamedPass(kind, named.micro_batch, target.chunk))) for kind in kinds
        )
        received = next((place for place in there if place is not None), None)
        if received is not None:
            pairs.append((sent.get((number, named), envelope), received))
    return sorted(pairs, key=lambda pair: (timeline.slices[pair[0]].start_ps, pair))


def _target(stops: Mapping[Stop, tuple[Stop | None, Stop | None, int]], stop: Stop, kind: Kind) -> Stop | None:
    if stop not in stops or kind == "backward_weight":
        return None
    before, behind, _ = stops[stop]
    return behind if kind == "forward" else before


def held_micro_batches(timeline: Timeline, stage: int) -> list[tuple[int, int]]:
    """When a rank's activations in flight change [ps], and how many chunks' worth of micro-batches it then holds.

    A micro-batch is held from the beginning of its forward pass through a chunk to the end of its last backward pass
    there, the one for weight gradients where that runs apart. With v chunks, v of them are one micro-batch.
    """
    begins: dict[tuple[int, int], int] = {}
    ends: dict[tuple[int, int], int] = {}
    for item in timeline.slices:
        named = pass_of(item.name) if item.stage == stage and item.category == "pass" else None
        if named is None:
            continue
        key = (named.micro_batch, named.chunk)
        if named.kind == "forward":
            begins[key] = item.start_ps
        else:
            ends[key] = max(ends.get(key, 0), item.end_ps)
    steps: dict[int, int] = {}
    for times, change in ((begins, 1), (ends, -1)):
        for time_ps in times.values():
            steps[time_ps] = steps.get(time_ps, 0) + change
    held, result = 0, []
    for time_ps in sorted(steps):
        if steps[time_ps]:
            held += steps[time_ps]
            result.append((time_ps, held))
    return result
