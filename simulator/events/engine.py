"""One training step, event by event, on SimPy.

One process per role (a rank that stands for all that do the same, see `roles`) runs the tasks of the schedule in order
on its compute stream. Beside it an in-order data-parallel stream runs gathers and gradient exchanges, one for each kind
of group, and where sends do not hold the rank one stream for each rank it sends to. Time is a whole number of
picoseconds. Waits come out of the order of events; no formula of the closed form is used here.
"""

from __future__ import annotations

from collections.abc import Sequence

from simpy import Environment

from simulator.events.needed_first import NeededRank, step_time, streams_of
from simulator.events.rank import Rank
from simulator.events.trace import Timeline
from simulator.events.world import Surroundings, World
from simulator.schedules import SCHEDULES
from simulator.stepspec import StepSpec, StepSpecError, StepTime


def simulate(spec: StepSpec, around: Surroundings | None = None, *, timeline: Timeline | None = None) -> StepTime:
    """Run one step and say where its time went [ps].

    A pass begins when its input has arrived and the rank is free. A send holds the sender's compute stream for
    `send_ps`, or runs beside it, by schedule; the receiver may begin when it is over, and a receiver that is not ready
    yet delays nobody (its buffer is posted). In mode "backward" the rank's last pass releases gradients block by block;
    those of its other chunks are released when that pass begins. In mode "sharded" the gather of the next block is
    issued when the block before it begins to compute, a reduce when its block's backward is done. An exchange among
    several roles begins when the last of them has issued it and its stream is free.

    Where ranks update together, update, then fetch of updated parameters, are phases that all enter together. The parts
    are those of the rank whose compute stream is busy longest (the first of equals): what it computed, waited for in
    tensor-parallel collectives and sends, waited for on the data stream. The bubble is what is left.

    Where each rank updates by itself it does so as soon as its gradients are exchanged. The step is as long as the rank
    that is longest at it from its first pass on, for the next step follows rank by rank; parts are the busiest rank's.

    Where each micro-batch updates the weights, a rank does so after every backward pass. The pipeline is run full
    first; the step is counted on the rank busy longest, from the end of a backward pass to that of the `m`-th after it.

    With `forward_only` a rank's run ends with its last forward pass, the step with the last one of all.

    Memory grows neither with micro-batches nor with blocks, only with roles, unless a `timeline` records them.

    ``around`` says who is there and what is unlike about some, what work shares, how chance delays it and when
    gradients leave; without it one rank of every stage speaks for all, and all work takes its own time.

    Leaves out, with contention: what lies between servers (a fat tree's spine); another kind of server for ranks of one
    role, whose first rank's server speaks for all.

    Raises
    ------
    StepSpecError
        In mode "sharded" with more than one pipeline stage.
    ValueError
        Where the schedule cannot have that shape.
    """
    if spec.gradient_mode == "sharded" and len(spec.stages) > 1:
        raise StepSpecError(
            f'StepSpec: gradient_mode "sharded" with {len(spec.stages)} pipeline stages; it needs 1. '
            'With a pipeline use "backward" or "after".'
        )
    env = Environment()
    world = World(env, spec, around or Surroundings(), timeline)
    roles = range(len(world.roles.roles))
    if world.release is not None and world.release.needed_first:
        streams = streams_of(world)
        by_need = [NeededRank(world, role, world.release, streams) for role in roles]
        _run(env, spec, by_need)
        return step_time(spec, by_need)
    ranks = [Rank(world, role) for role in roles]
    _run(env, spec, ranks)
    update = SCHEDULES[spec.schedule].TRAITS.update
    if update == "together" or spec.gradient_mode == "sharded" or spec.forward_only:
        return _together(spec, ranks, world)
    return _by_rank(spec, ranks) if update == "by_rank" else _each_micro_batch(spec, ranks)


def _run(env: Environment, spec: StepSpec, ranks: Sequence[Rank]) -> None:
    """Let all ranks do their step."""
    for rank in ranks:
        env.process(rank.run())
    env.run()
    if not all(rank.finished for rank in ranks):
        raise RuntimeError(f"The {spec.schedule} schedule deadlocked; this is our mistake, not the input's.")


def _pace(rank: Rank) -> tuple[int, int]:
    """Who is busy longest; of those that wait for each other inside layers, who computes longest."""
    return rank.busy_ps, rank.compute_ps if rank.waits_inside else 0


def _together(spec: StepSpec, ranks: list[Rank], world: World) -> StepTime:
    pace = max(ranks, key=_pace)  # max keeps the first of equals
    passes_done_ps = max(rank.passes_done_ps for rank in ranks)
    return StepTime(
        engine="events",
        compute_ps=pace.compute_ps,
        tensor_ps=pace.tensor_ps,
        pipeline_ps=pace.send_ps,
        bubble_ps=passes_done_ps - spec.fixed_ps - pace.busy_ps - pace.stalled_ps,
        data_ps=pace.stalled_ps + world.gradients_done.met_at_ps - passes_done_ps,
        optimizer_ps=max(rank.finished_ps for rank in ranks) - world.gradients_done.met_at_ps,
        fixed_ps=spec.fixed_ps,
    )


def _by_rank(spec: StepSpec, ranks: list[Rank]) -> StepTime:
    pace = max(ranks, key=_pace)
    longest_ps = max(rank.finished_ps - rank.begun_ps for rank in ranks)
    return StepTime(
        engine="events",
        compute_ps=pace.compute_ps,
        tensor_ps=pace.tensor_ps,
        pipeline_ps=pace.send_ps,
        bubble_ps=longest_ps - pace.busy_ps - (pace.finished_ps - pace.passes_done_ps),
        data_ps=pace.gradients_done_ps - pace.passes_done_ps,
        optimizer_ps=pace.finished_ps - pace.gradients_done_ps,
        fixed_ps=spec.fixed_ps,
    )


def _each_micro_batch(spec: StepSpec, ranks: list[Rank]) -> StepTime:
    pace = max(ranks, key=lambda rank: rank.busy_ps + rank.stalled_ps + rank.update_ps)
    return StepTime(
        engine="events",
        compute_ps=pace.compute_ps,
        tensor_ps=pace.tensor_ps,
        pipeline_ps=pace.send_ps,
        bubble_ps=pace.finished_ps - pace.begun_ps - pace.busy_ps - pace.stalled_ps - pace.update_ps,
        data_ps=pace.stalled_ps,
        optimizer_ps=pace.update_ps,
        fixed_ps=spec.fixed_ps,
    )
