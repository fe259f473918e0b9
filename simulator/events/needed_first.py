"""Gradients exchanged in the order in which the next forward pass needs them, across the border between two steps.

The exchange runs on under the next forward pass, whose blocks wait for their own gradients and update only. All
gradients of a step have arrived before its next forward pass is through, so that steps repeat from the beginning of a
last backward pass to the next. That span is the step here: last backward pass, then the forward pass of the next step's
first micro-batch, then the others.

References: Jayarajan et al., Priority-based parameter propagation, 2019; Peng et al., A generic communication scheduler
for distributed DNN training acceleration, 2019.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Generator, Sequence
from itertools import accumulate, pairwise

from simpy import Environment, Event

from simulator.events.machine import Machine
from simulator.events.rank import Process, Rank
from simulator.events.release import Release
from simulator.events.streams import Exchange, Show
from simulator.events.world import World
from simulator.schedules import Task, order_alone
from simulator.stepspec import BlockSpec, StepSpec, StepTime


class NeedStream:
    """Stream of a group that runs, piece by piece, what all members have issued and the next forward pass needs first.

    A piece that runs is not interrupted. Leaves out: several pieces on their way at once.
    """

    def __init__(self, env: Environment, machine: Machine, members: Sequence[int], show: Show | None) -> None:
        self._env = env
        self._machine = machine
        self._members = tuple(members)
        self._show = show
        self._missing: dict[int, int] = {}
        self._exchanges: dict[int, Exchange] = {}
        self._ready: list[tuple[int, str, list[int]]] = []
        self._running = False

    def issue(self, need: int, name: str, pieces_ps: Sequence[int], cause: int) -> Exchange:
        """One member's part of the exchange that is needed as the ``need``-th."""
        exchange = self._exchanges.setdefault(need, Exchange())
        exchange.event = exchange.event or self._env.event()
        missing = self._missing[need] = self._missing.get(need, len(self._members)) - 1
        if missing == 0:
            exchange.cause = cause
            heapq.heappush(self._ready, (need, name, list(reversed(pieces_ps))))
            if not self._running:
                self._running = True
                self._env.process(self._drain())
        return exchange

    def _drain(self) -> Generator[Event, None, None]:
        while self._ready:
            need, name, pieces_ps = self._ready[0]
            start_ps, length_ps = int(self._env.now), pieces_ps.pop()
            exchange = self._exchanges[need]
            yield self._machine.run("reduce", length_ps, self._members)
            if self._show is not None:
                exchange.place = self._show(name, start_ps, int(self._env.now) - start_ps, exchange.cause)
            if not pieces_ps:
                # Others may have come before it meanwhile.
                self._ready.remove((need, name, pieces_ps))
                heapq.heapify(self._ready)
                exchange.done_ps = int(self._env.now)
                assert exchange.event is not None
                exchange.event.succeed()
        self._running = False


def in_pieces(duration_ps: int, count: int) -> list[int]:
    """A duration in ``count`` parts, alike but for rounding, together exactly the whole [ps]."""
    return [(i + 1) * duration_ps // count - i * duration_ps // count for i in range(count)]


def shares(total_ps: int, weights: Sequence[int]) -> list[int]:
    """A duration shared out by weights, in whole picoseconds, exactly all of it [ps]."""
    weights = weights if sum(weights) else [1] * len(weights)
    ends = [total_ps * part // sum(weights) for part in accumulate(weights, initial=0)]
    return [end - begin for begin, end in pairwise(ends)]


def streams_of(world: World) -> list[NeedStream]:
    """A stream for each kind of data group."""
    return [
        NeedStream(world.env, world.machine, members, world.shown(members, "data", "data"))
        for members in world.roles.data_groups
    ]


class NeededRank(Rank):
    """One rank whose step goes from a last backward pass to the next."""

    def __init__(self, world: World, role: int, release: Release, streams: Sequence[NeedStream]) -> None:
        super().__init__(world, role)
        self._by_need = release
        self._stream = streams[self._role.data_group]

    def run(self) -> Process:
        """The rank's whole step."""
        env, spec = self._env, self._spec
        yield env.timeout(spec.fixed_ps)
        self._show("compute", "fixed", "fixed", 0, spec.fixed_ps)
        (last,) = deque(self._order(), maxlen=1)
        exchanges = yield from self._backward(last)
        for task in self._order():
            if task == last:
                break
            if task.kind == "forward" and exchanges:
                yield from self._forward(exchanges)
                exchanges = []
            elif self._follows_blocks:
                yield from self._block_by_block(self._passes_of[task.kind, 0], release=False)
            else:
                yield from self._whole(task, self._passes_of[task.kind, 0])
        self.finished_ps = int(env.now)
        self.finished = True

    def _order(self) -> Generator[Task, None, None]:
        yield from order_alone(self._spec.schedule, self._spec.micro_batches, 1)

    def _backward(self, task: Task) -> Generator[Event, None, list[tuple[BlockSpec, Exchange]]]:
        """The last backward pass; exchanges in the order of the forward pass."""
        blocks = list(self._passes_of[task.kind, 0].visits())
        issued: list[tuple[BlockSpec, Exchange]] = []
        for place, block in enumerate(blocks):
            yield from self._block(task.kind, block)
            pieces_ps = in_pieces(block.reduce_ps, self._by_need.pieces.get(block.name, 1))
            need = len(blocks) - 1 - place
            issued.append((block, self._stream.issue(need, f"reduce {block.name}", pieces_ps, self._cause)))
        return issued[::-1]

    def _forward(self, exchanges: Sequence[tuple[BlockSpec, Exchange]]) -> Process:
        """The forward pass behind it: every block waits for its own gradients, and is updated when they are there."""
        update_ps = shares(self._optimizer_ps, [block.reduce_ps for block, _ in exchanges])
        for (block, exchange), own_ps in zip(exchanges, update_ps, strict=True):
            waited_ps = int(self._env.now)
            yield from self._wait_for(exchange)
            self.stalled_ps += int(self._env.now) - waited_ps
            start_ps = int(self._env.now)
            yield from self._compute("optimizer", own_ps, 1)
            self.update_ps += int(self._env.now) - start_ps
            self._show("compute", f"update {block.name}", "optimizer", start_ps)
            yield from self._block("forward", block)


def step_time(spec: StepSpec, ranks: Sequence[NeededRank]) -> StepTime:
    """Parts of the step, seen from the rank that computes longest; what others make it wait is exchange too."""
    pace = max(ranks, key=lambda rank: rank.busy_ps + rank.update_ps)
    total_ps = max(rank.finished_ps for rank in ranks)
    return StepTime(
        engine="events",
        compute_ps=pace.compute_ps,
        tensor_ps=pace.tensor_ps,
        pipeline_ps=0,
        bubble_ps=0,
        data_ps=total_ps - spec.fixed_ps - pace.busy_ps - pace.update_ps,
        optimizer_ps=pace.update_ps,
        fixed_ps=spec.fixed_ps,
    )
