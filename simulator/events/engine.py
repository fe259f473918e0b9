"""One training step, event by event, on SimPy.

One process per pipeline stage (a rank that stands for all its tensor- and data-parallel peers) runs the tasks of the
schedule in order on its compute stream. Beside it an in-order data-parallel stream runs gathers and gradient
exchanges. Time is a whole number of picoseconds. Waits come out of the order of events; no formula of the closed
form is used here.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from simpy import Environment, Event

from simulator.events.trace import Timeline
from simulator.schedules import SCHEDULES, Task
from simulator.schedules.task import Kind
from simulator.stepspec import BlockSpec, StepSpec, StepSpecError, StepTime

_Process = Generator[Event, None, None]


def simulate(spec: StepSpec, *, timeline: Timeline | None = None) -> StepTime:
    """Run one step and say where its time went [ps].

    A pass begins when its input has arrived and the rank is free. A send holds the sender's compute stream for
    `send_ps`; the receiver may begin when it is over, and a receiver that is not ready yet delays nobody (its buffer
    is posted). In mode "backward" the stage's last backward pass releases gradients block by block; those of its
    other chunks are released when that pass begins. In mode "sharded" the gather of the next block is issued when the
    block before it begins to compute, a reduce when its block's backward is done. Update, then fetch of updated
    parameters, are phases that all stages enter together.

    The parts are those of the stage whose compute stream is busy longest (the first of equals): what it computed,
    waited for in tensor-parallel collectives and sends, waited for on the data stream. The bubble is what is left.

    Memory grows neither with micro-batches nor with blocks, only with stages, unless a `timeline` records them.

    Leaves out: contention between streams for links, chips and memory; jitter.

    Raises
    ------
    StepSpecError
        In mode "sharded" with more than one pipeline stage.
    """
    if spec.gradient_mode == "sharded" and len(spec.stages) > 1:
        raise StepSpecError(
            f'StepSpec: gradient_mode "sharded" with {len(spec.stages)} pipeline stages; it needs 1. '
            'With a pipeline use "backward" or "after".'
        )
    env = Environment()
    pipeline = _Pipeline.of(spec, env)
    ranks = [_Rank(env, spec, i, pipeline, timeline) for i in range(len(spec.stages))]
    for rank in ranks:
        env.process(rank.run())
    env.run()
    if not all(rank.finished for rank in ranks):
        raise RuntimeError(f"The {spec.schedule} schedule deadlocked; this is our mistake, not the input's.")

    pace = max(ranks, key=lambda rank: rank.busy_ps)  # max keeps the first of equals
    passes_done_ps = max(rank.passes_done_ps for rank in ranks)
    stalled_ps = pace.stalled_ps
    return StepTime(
        engine="events",
        compute_ps=pace.compute_ps,
        tensor_ps=pace.tensor_ps,
        pipeline_ps=pace.send_ps,
        bubble_ps=passes_done_ps - spec.fixed_ps - pace.busy_ps - stalled_ps,
        data_ps=stalled_ps + pipeline.gradients_done.met_at_ps - passes_done_ps,
        optimizer_ps=int(env.now) - pipeline.gradients_done.met_at_ps,
        fixed_ps=spec.fixed_ps,
    )


class _Channel:
    """What crosses into one chunk in one direction. Micro-batches come in order, so a count stands for the queue."""

    __slots__ = ("_arrived", "_env", "_waiting")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._arrived = 0
        self._waiting: Event | None = None

    def arrival(self, micro_batch: int) -> Event | None:
        """None if it is here already, else the event of the next arrival, which is the one a receiver waits for."""
        if self._arrived > micro_batch:
            return None
        self._waiting = self._env.event()
        return self._waiting

    def deliver(self) -> None:
        self._arrived += 1
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.succeed()


class _Meeting:
    """A point that all stages reach before any goes on."""

    def __init__(self, env: Environment, stages: int) -> None:
        self._env = env
        self._missing = stages
        self._all_here = env.event()
        self.met_at_ps = 0

    def arrive(self) -> Event:
        self._missing -= 1
        if self._missing == 0:
            self.met_at_ps = int(self._env.now)
            self._all_here.succeed()
        return self._all_here


class _DataStream:
    """In-order stream of one stage's data-parallel group: what is issued runs as soon as all before it is done."""

    def __init__(self, env: Environment, stage: int, timeline: Timeline | None) -> None:
        self._env = env
        self._stage = stage
        self._timeline = timeline
        self.free_ps = 0

    def issue(self, name: str, duration_ps: int) -> int:
        """Put one collective into the stream; when it will be done [ps]."""
        start_ps = max(int(self._env.now), self.free_ps)
        self.free_ps = start_ps + duration_ps
        if self._timeline is not None:
            self._timeline.add(self._stage, "data", name, "data", start_ps, duration_ps)
        return self.free_ps


@dataclass(frozen=True, kw_only=True)
class _Pipeline:
    """What the stages share: channels by virtual stage (chunk x stages + stage), and where they meet."""

    into_forward: list[_Channel]
    into_backward: list[_Channel]
    gradients_done: _Meeting
    updated: _Meeting

    @classmethod
    def of(cls, spec: StepSpec, env: Environment) -> _Pipeline:
        stages = len(spec.stages)
        return cls(
            into_forward=[_Channel(env) for _ in range(stages * spec.virtual_stages)],
            into_backward=[_Channel(env) for _ in range(stages * spec.virtual_stages)],
            gradients_done=_Meeting(env, stages),
            updated=_Meeting(env, stages),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Pass:
    """One chunk in one direction: its blocks in running order, their sums, where input comes from and output goes."""

    kind: Kind
    blocks: tuple[BlockSpec, ...]
    compute_ps: int
    tensor_ps: int
    send_ps: int
    source: _Channel | None
    target: _Channel | None
    held_ps: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "held_ps", self.compute_ps + self.tensor_ps + self.send_ps)

    def visits(self) -> Iterator[BlockSpec]:
        for block in self.blocks:
            for _ in range(block.repeat):
                yield block


def _compute_ps(kind: Kind, block: BlockSpec) -> int:
    return block.forward_ps if kind == "forward" else block.backward_ps


def _tensor_ps(kind: Kind, block: BlockSpec) -> int:
    return block.forward_tensor_ps if kind == "forward" else block.backward_tensor_ps


class _Rank:
    """One stage's rank: its process, its data stream and what it has counted so far."""

    def __init__(
        self, env: Environment, spec: StepSpec, index: int, pipeline: _Pipeline, timeline: Timeline | None
    ) -> None:
        self._env = env
        self._spec = spec
        self._stage = spec.stages[index]
        self._index = index
        self._pipeline = pipeline
        self._timeline = timeline
        self._data = _DataStream(env, index, timeline)
        self._forward = [self._pass("forward", chunk) for chunk in range(spec.virtual_stages)]
        self._backward = [self._pass("backward", chunk) for chunk in range(spec.virtual_stages)]
        self.compute_ps = self.tensor_ps = self.send_ps = self.stalled_ps = self.passes_done_ps = 0
        self.finished = False
        if timeline is not None:
            timeline.name_stage(index, self._stage.name)

    @property
    def busy_ps(self) -> int:
        return self.compute_ps + self.tensor_ps + self.send_ps

    def _pass(self, kind: Kind, chunk: int) -> _Pass:
        stages = len(self._spec.stages)
        here = chunk * stages + self._index
        if kind == "forward":
            channels, there = self._pipeline.into_forward, here + 1
            has_source = here > 0
        else:
            # The model's last chunk turns around on its own rank, which the order itself guarantees.
            channels, there = self._pipeline.into_backward, here - 1
            has_source = here < len(channels) - 1
        has_target = 0 <= there < len(channels)
        blocks = self._stage.chunks[chunk] if kind == "forward" else self._stage.chunks[chunk][::-1]
        return _Pass(
            kind=kind,
            blocks=blocks,
            compute_ps=sum(block.repeat * _compute_ps(kind, block) for block in blocks),
            tensor_ps=sum(block.repeat * _tensor_ps(kind, block) for block in blocks),
            send_ps=self._spec.send_ps if has_target and stages > 1 else 0,
            source=channels[here] if has_source else None,
            target=channels[there] if has_target else None,
        )

    def _tasks(self) -> Iterator[Task]:
        spec = self._spec
        schedule = SCHEDULES[spec.schedule]
        return schedule.order(self._index, len(spec.stages), spec.micro_batches, spec.virtual_stages)

    def run(self) -> _Process:
        env, spec, stage = self._env, self._spec, self._stage
        yield env.timeout(spec.fixed_ps)
        self._show("compute", "fixed", "fixed", 0, spec.fixed_ps)

        yield from self._sharded_passes() if spec.gradient_mode == "sharded" else self._passes()
        self.passes_done_ps = int(env.now)

        if spec.gradient_mode == "after":
            self._data.issue("reduce gradients", stage.reduce_after_ps)
        if self._data.free_ps > env.now:
            yield env.timeout(self._data.free_ps - env.now)
        yield self._pipeline.gradients_done.arrive()

        self._show("compute", "update", "optimizer", int(env.now), stage.optimizer_ps)
        yield env.timeout(stage.optimizer_ps)
        yield self._pipeline.updated.arrive()

        self._show("data", "gather updated parameters", "optimizer", int(env.now), stage.update_gather_ps)
        yield env.timeout(stage.update_gather_ps)
        self.finished = True

    def _passes(self) -> _Process:
        env, timeline = self._env, self._timeline
        forward, backward = self._forward, self._backward
        # Only in its last backward pass does anything happen inside a pass; the others are one wait each.
        releases = self._spec.gradient_mode == "backward"
        last_task = Task("backward", self._spec.micro_batches - 1)
        for task in self._tasks():
            kind, micro_batch, chunk = task
            this = forward[chunk] if kind == "forward" else backward[chunk]
            if this.source is not None:
                arrival = this.source.arrival(micro_batch)
                if arrival is not None:
                    yield arrival
            if timeline is not None:
                self._show_pass(task, this, int(env.now))
            if releases and task == last_task:
                yield from self._releasing_pass(this)
            else:
                yield env.timeout(this.held_ps)
            self.compute_ps += this.compute_ps
            self.tensor_ps += this.tensor_ps
            self.send_ps += this.send_ps
            if this.target is not None:
                this.target.deliver()

    def _releasing_pass(self, this: _Pass) -> _Process:
        for other in reversed(self._backward[1:]):
            for block in other.visits():
                self._data.issue(f"reduce {block.name}", block.reduce_ps)
        for block in this.visits():
            yield self._env.timeout(block.backward_ps + block.backward_tensor_ps)
            self._data.issue(f"reduce {block.name}", block.reduce_ps)
        if this.send_ps:
            yield self._env.timeout(this.send_ps)

    def _sharded_visits(self) -> Iterator[tuple[Task, BlockSpec]]:
        for task in self._tasks():
            this = self._forward[task.chunk] if task.kind == "forward" else self._backward[task.chunk]
            for block in this.visits():
                yield task, block

    def _sharded_passes(self) -> _Process:
        env = self._env
        visits = self._sharded_visits()
        upcoming = next(visits, None)
        gathered_ps = 0 if upcoming is None else self._gather(upcoming[1])
        pass_start_ps: int | None = None
        while upcoming is not None:
            task, block = upcoming
            if gathered_ps > env.now:
                self.stalled_ps += gathered_ps - int(env.now)
                yield env.timeout(gathered_ps - env.now)
            start_ps = int(env.now)
            pass_start_ps = start_ps if pass_start_ps is None else pass_start_ps
            upcoming = next(visits, None)
            if upcoming is not None:
                gathered_ps = self._gather(upcoming[1])
            compute_ps, tensor_ps = _compute_ps(task.kind, block), _tensor_ps(task.kind, block)
            self._show_block(task.kind, block, start_ps)
            yield env.timeout(compute_ps + tensor_ps)
            self.compute_ps += compute_ps
            self.tensor_ps += tensor_ps
            if task.kind == "backward":
                self._data.issue(f"reduce {block.name}", block.reduce_ps)
            if upcoming is None or upcoming[0] is not task:
                self._show("passes", _pass_name(task, self._spec), "pass", pass_start_ps, int(env.now) - pass_start_ps)
                pass_start_ps = None

    def _gather(self, block: BlockSpec) -> int:
        return self._data.issue(f"gather {block.name}", block.gather_ps)

    def _show(self, stream: str, name: str, category: str, start_ps: int, duration_ps: int) -> None:
        if self._timeline is not None:
            self._timeline.add(self._index, stream, name, category, start_ps, duration_ps)

    def _show_block(self, kind: Kind, block: BlockSpec, start_ps: int) -> int:
        compute_ps, tensor_ps = _compute_ps(kind, block), _tensor_ps(kind, block)
        if self._timeline is not None:
            name = f"{block.name} {kind}"
            self._show("compute", name, "compute", start_ps, compute_ps)
            self._show("tensor", name, "tensor", start_ps + compute_ps, tensor_ps)
        return start_ps + compute_ps + tensor_ps

    def _show_pass(self, task: Task, this: _Pass, start_ps: int) -> None:
        assert self._timeline is not None
        name = _pass_name(task, self._spec)
        self._show("passes", name, "pass", start_ps, this.held_ps)
        if self._timeline.every_block or task.micro_batch in (0, self._spec.micro_batches - 1):
            end_ps = start_ps
            for block in this.visits():
                end_ps = self._show_block(task.kind, block, end_ps)
        else:
            self._show("compute", f"{name}, all blocks", "compute", start_ps, this.compute_ps)
            self._show("tensor", f"{name}, all blocks", "tensor", start_ps + this.compute_ps, this.tensor_ps)
            end_ps = start_ps + this.compute_ps + this.tensor_ps
        self._show("pipeline", f"send {name}", "pipeline", end_ps, this.send_ps)


def _pass_name(task: Task, spec: StepSpec) -> str:
    chunk = f" chunk {task.chunk}" if spec.virtual_stages > 1 else ""
    return f"{task.kind} {task.micro_batch}{chunk}"
