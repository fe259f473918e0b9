"""When every rank begins and ends its passes, task by task, in exact integers; nothing contends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from simulator.composition.exchange import exposed_ps
from simulator.composition.passes import Pipeline, pass_ps
from simulator.schedules import settled
from simulator.schedules.route import Stop
from simulator.schedules.task import KINDS, Task


@dataclass(frozen=True, kw_only=True, slots=True)
class RankTimes:
    """When a rank begins its first task and ends its last, from the first forward pass of all on [ps].

    In a pipeline that never drains ``begun`` is the end of the last backward pass before the step.
    """

    begun: int
    done: int


class RanTask(NamedTuple):
    """A task as it ran on a rank, and when the rank was free again: after a send or an update that held it [ps]."""

    rank: int
    task: Task
    begin_ps: int
    end_ps: int
    free_ps: int


def rank_times(pipeline: Pipeline) -> list[RankTimes]:
    """When every rank begins and ends; see `ran_tasks`."""
    stages = len(pipeline.spec.stages)
    early = 0 if pipeline.spec.forward_only else settled(pipeline.spec.schedule, stages)
    begun, done = [-1] * stages, [0] * stages
    for rank, task, begin_ps, _, free_ps in ran_tasks(pipeline):
        done[rank] = free_ps
        if early and task == Task("backward", early - 1):
            begun[rank] = free_ps
        elif not early and begun[rank] < 0:
            begun[rank] = begin_ps
    return [RankTimes(begun=b, done=c) for b, c in zip(begun, done, strict=True)]


def ran_tasks(pipeline: Pipeline) -> Iterator[RanTask]:
    """Run every rank's order as soon as inputs arrive; the tasks of a rank come in their order.

    A task begins when the one before it on its rank is over and its input is here. A send holds the rank, or begins
    when the one before it to the same rank is over. Where every micro-batch updates the weights that holds the rank
    after each backward pass, when the gradient is on its way already; `settled` micro-batches run before the step.

    Raises
    ------
    ValueError
        Where the schedule cannot have that shape.
    """
    spec, stops = pipeline.spec, pipeline.stops
    stages = len(spec.stages)
    early = 0 if spec.forward_only else settled(spec.schedule, stages)
    orders = [pipeline.order(i, early + spec.micro_batches) for i in range(stages)]
    upcoming = [next(order, None) for order in orders]
    clock = [0] * stages
    link_free = [[0] * stages for _ in range(stages)]
    arrived: dict[tuple[Stop, str, int], int] = {}
    holds, each = pipeline.traits.sends_hold, pipeline.traits.update == "each_micro_batch"
    after = [exposed_ps(pipeline, i) + pipeline.update_ps(i) if each else 0 for i in range(stages)]
    duration = {(kind, stop): pass_ps(kind, pipeline.blocks(stop)) for stop in stops for kind in KINDS}

    def run(rank: int, task: Task) -> RanTask | None:
        """Run one task; None while its input is not here."""
        stop, forth = Stop(rank, task.chunk), task.kind == "forward"
        if task.kind == "backward_weight":
            end = clock[rank] + duration[task.kind, stop]
            return RanTask(rank, task, clock[rank], end, end)
        way = "forth" if forth else "back"
        before, behind, _ = stops[stop]
        source, target = (before, behind) if forth else (behind, before)
        begin = clock[rank]
        if source is not None:
            arrival = arrived.pop((stop, way, task.micro_batch), None)
            if arrival is None:
                return None
            begin = max(begin, arrival)
        end = there = begin + duration[task.kind, stop]
        if target is not None and target.rank != rank:
            there = (end if holds else max(end, link_free[rank][target.rank])) + spec.send_ps
            link_free[rank][target.rank] = there
        if target is not None:
            arrived[target, way, task.micro_batch] = there
        return RanTask(rank, task, begin, end, there if holds else end + (0 if forth else after[rank]))

    while any(task is not None for task in upcoming):
        moved = False
        for rank in range(stages):
            while (task := upcoming[rank]) is not None and (ran := run(rank, task)) is not None:
                clock[rank] = ran.free_ps
                upcoming[rank] = next(orders[rank], None)
                moved = True
                yield ran
        if not moved:
            raise RuntimeError(f"The {spec.schedule} schedule deadlocked; this is our mistake, not the input's.")
