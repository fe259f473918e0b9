"""One rank of a step as a process: its tasks in order, its streams, and what it has counted so far."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from simpy import Environment, Event

from simulator.events.streams import Channel, Meeting, Stream
from simulator.events.trace import Timeline
from simulator.schedules import SCHEDULES, Task, order_alone, settled
from simulator.schedules.route import Stop, blocks_at, neighbours, stop_chunks
from simulator.schedules.task import KINDS, Kind
from simulator.stepspec import BlockSpec, StepSpec

Process = Generator[Event, None, None]


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """What the ranks share: a channel into every stop each way, and where they meet."""

    forth: dict[Stop, Channel]
    back: dict[Stop, Channel]
    gradients_done: Meeting
    updated: Meeting

    @classmethod
    def of(cls, spec: StepSpec, env: Environment) -> Pipeline:
        """The pipeline of a step, empty."""
        route, ranks = SCHEDULES[spec.schedule].TRAITS.route, len(spec.stages)
        stops = neighbours(route, ranks, spec.micro_batches, spec.virtual_stages)
        return cls(
            forth={stop: Channel(env) for stop in stops},
            back={stop: Channel(env) for stop in stops},
            gradients_done=Meeting(env, ranks),
            updated=Meeting(env, ranks),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One chunk in one direction: its blocks in running order, their sums, where input comes from and output goes."""

    kind: Kind
    blocks: tuple[BlockSpec, ...]
    compute_ps: int
    tensor_ps: int
    source: Channel | None
    target: Channel | None
    link: Stream | None  # None where nothing crosses to another rank
    send_ps: int
    held_ps: int  # how long it holds the rank
    first_micro_batch: int
    work_ps: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "work_ps", self.compute_ps + self.tensor_ps)

    def visits(self) -> Iterator[BlockSpec]:
        """Every block by itself."""
        for block in self.blocks:
            for _ in range(block.repeat):
                yield block


def _compute_ps(kind: Kind, block: BlockSpec) -> int:
    if kind == "backward_input":
        return block.backward_ps - block.weight_ps
    return {"forward": block.forward_ps, "backward": block.backward_ps}.get(kind, block.weight_ps)


def _tensor_ps(kind: Kind, block: BlockSpec) -> int:
    if kind == "backward_weight":
        return 0
    return block.forward_tensor_ps if kind == "forward" else block.backward_tensor_ps


class Rank:
    """One rank: its process, its streams and what it has counted so far."""

    def __init__(
        self, env: Environment, spec: StepSpec, index: int, pipeline: Pipeline, timeline: Timeline | None
    ) -> None:
        self._env = env
        self._spec = spec
        self._index = index
        self._pipeline = pipeline
        self._timeline = timeline
        self._traits = SCHEDULES[spec.schedule].TRAITS
        ranks, route = len(spec.stages), self._traits.route
        self._data = Stream(env, index, "data", "data", timeline)
        self._links: dict[int, Stream] = {}
        chunks = range(stop_chunks(route, spec.virtual_stages))
        held = sorted({blocks_at(route, Stop(index, chunk), ranks).rank for chunk in chunks})
        self._stages = [spec.stages[i] for i in held]
        self._passes_of = {(kind, chunk): self._pass(kind, Stop(index, chunk)) for kind in KINDS for chunk in chunks}
        self.compute_ps = self.tensor_ps = self.send_ps = self.stalled_ps = self.update_ps = 0
        self._begun = False
        self.begun_ps = 0
        self.passes_done_ps = self.gradients_done_ps = self.finished_ps = 0
        self.finished = False
        if timeline is not None:
            timeline.name_stage(index, spec.stages[index].name)

    @property
    def busy_ps(self) -> int:
        """Time that passes and the sends behind them held the rank."""
        return self.compute_ps + self.tensor_ps + self.send_ps

    def _pass(self, kind: Kind, stop: Stop) -> Pass:
        spec, route, ranks = self._spec, self._traits.route, len(self._spec.stages)
        before, behind, first = neighbours(route, ranks, spec.micro_batches, spec.virtual_stages)[stop]
        stage, chunk = blocks_at(route, stop, ranks)
        blocks = spec.stages[stage].chunks[chunk]
        blocks = blocks if kind == "forward" else blocks[::-1]
        if kind == "backward_weight":
            source = target = None
        else:
            source, target = (before, behind) if kind == "forward" else (behind, before)
        channels = self._pipeline.forth if kind == "forward" else self._pipeline.back
        link = None
        if target is not None and target.rank != stop.rank:
            name = "pipeline back" if target.rank < stop.rank and not self._traits.sends_hold else "pipeline"
            link = self._links.setdefault(target.rank, Stream(self._env, self._index, name, "pipeline", self._timeline))
        compute_ps = sum(block.repeat * _compute_ps(kind, block) for block in blocks)
        tensor_ps = sum(block.repeat * _tensor_ps(kind, block) for block in blocks)
        send_ps = spec.send_ps if link is not None else 0
        return Pass(
            kind=kind,
            blocks=blocks,
            compute_ps=compute_ps,
            tensor_ps=tensor_ps,
            # A chunk that turns around on its own rank is next in the order anyway.
            source=channels[stop] if source is not None else None,
            target=channels[target] if target is not None else None,
            link=link,
            send_ps=send_ps,
            held_ps=compute_ps + tensor_ps + (send_ps if self._traits.sends_hold else 0),
            first_micro_batch=first,
        )

    def _tasks(self, micro_batches: int) -> Iterator[Task]:
        spec = self._spec
        return SCHEDULES[spec.schedule].order(self._index, len(spec.stages), micro_batches, spec.virtual_stages)

    def run(self) -> Process:
        """The rank's whole step."""
        env, spec = self._env, self._spec
        yield env.timeout(spec.fixed_ps)
        self._show("compute", "fixed", "fixed", 0, spec.fixed_ps)

        together = self._traits.update == "together" or spec.gradient_mode == "sharded"
        yield from self._sharded_passes() if spec.gradient_mode == "sharded" else self._passes()
        self.passes_done_ps = int(env.now)
        if together or self._traits.update == "by_rank":
            yield from self._exchange_what_is_left()
            if together:
                yield self._pipeline.gradients_done.arrive()
            self.gradients_done_ps = int(env.now)
            yield from self._update()
            if together:
                yield self._pipeline.updated.arrive()
            yield from self._fetch()
        self.finished_ps = int(env.now)
        self.finished = True

    def _exchange_what_is_left(self) -> Process:
        if self._spec.gradient_mode == "after":
            for stage in self._stages:
                self._data.issue("reduce gradients", stage.reduce_after_ps)
        if self._data.free_ps > self._env.now:
            yield self._env.timeout(self._data.free_ps - self._env.now)

    def _update(self) -> Process:
        optimizer_ps = sum(stage.optimizer_ps for stage in self._stages)
        self._show("compute", "update", "optimizer", int(self._env.now), optimizer_ps)
        yield self._env.timeout(optimizer_ps)

    def _fetch(self) -> Process:
        gather_ps = sum(stage.update_gather_ps for stage in self._stages)
        self._show("data", "gather updated parameters", "optimizer", int(self._env.now), gather_ps)
        yield self._env.timeout(gather_ps)

    def _passes(self) -> Process:
        env, timeline, passes = self._env, self._timeline, self._passes_of
        each = self._traits.update == "each_micro_batch"
        early = settled(self._spec.schedule, len(self._spec.stages))
        # Only in its last pass does anything happen inside a pass; the others are one wait each.
        releases = self._spec.gradient_mode == "backward"
        tasks = self._tasks(early + self._spec.micro_batches)
        upcoming = next(tasks, None)
        while upcoming is not None:
            task, upcoming = upcoming, next(tasks, None)
            kind, micro_batch, chunk = task
            this = passes[kind, chunk]
            if this.source is not None:
                arrival = this.source.arrival(micro_batch - this.first_micro_batch)
                if arrival is not None:
                    yield arrival
            if not self._begun:
                self._begun, self.begun_ps = True, int(env.now)
            if timeline is not None:
                self._show_pass(task, this, int(env.now))
            if releases and (upcoming is None or (each and kind == "backward")):
                yield from self._releasing_pass(this, chunk)
            else:
                yield env.timeout(this.held_ps)
            self._hand_on(task, this)
            self.compute_ps += this.compute_ps
            self.tensor_ps += this.tensor_ps
            self.send_ps += this.held_ps - this.work_ps
            if each and kind == "backward":
                yield from self._update_at_once()
                if micro_batch == early - 1:
                    self._begin_to_count()

    def _hand_on(self, task: Task, this: Pass) -> None:
        if this.target is None:
            return
        if this.link is None or self._traits.sends_hold:
            this.target.deliver()
            return
        there_ps = this.link.issue(f"send {_pass_name(task, self._spec)}", this.send_ps)
        if there_ps > self._env.now:
            self._env.timeout(there_ps - self._env.now).callbacks.append(this.target.deliver)
        else:
            this.target.deliver()

    def _update_at_once(self) -> Process:
        done_ps = int(self._env.now)
        yield from self._exchange_what_is_left()
        exchanged_ps = int(self._env.now)
        yield from self._update()
        yield from self._fetch()
        self.stalled_ps += exchanged_ps - done_ps
        self.update_ps += int(self._env.now) - exchanged_ps

    def _begin_to_count(self) -> None:
        self.begun_ps = int(self._env.now)
        self.compute_ps = self.tensor_ps = self.send_ps = self.stalled_ps = self.update_ps = 0

    def _releasing_pass(self, this: Pass, chunk: int) -> Process:
        for (kind, other), whole in reversed(self._passes_of.items()):
            if kind == "backward" and other != chunk:
                for block in whole.visits():
                    self._data.issue(f"reduce {block.name}", block.reduce_ps)
        for block in this.visits():
            yield self._env.timeout(_compute_ps(this.kind, block) + _tensor_ps(this.kind, block))
            self._data.issue(f"reduce {block.name}", block.reduce_ps)
        if this.held_ps > this.work_ps:
            yield self._env.timeout(this.held_ps - this.work_ps)

    def _sharded_visits(self) -> Iterator[tuple[Task, BlockSpec]]:
        spec = self._spec
        for task in order_alone(spec.schedule, spec.micro_batches, spec.virtual_stages):
            for block in self._passes_of[task.kind, task.chunk].visits():
                yield task, block

    def _sharded_passes(self) -> Process:
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
            name = f"{block.name} {kind.replace('_', ' ')}"
            self._show("compute", name, "compute", start_ps, compute_ps)
            self._show("tensor", name, "tensor", start_ps + compute_ps, tensor_ps)
        return start_ps + compute_ps + tensor_ps

    def _show_pass(self, task: Task, this: Pass, start_ps: int) -> None:
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
            end_ps = start_ps + this.work_ps
        if self._traits.sends_hold:
            self._show("pipeline", f"send {name}", "pipeline", end_ps, this.send_ps)


def _pass_name(task: Task, spec: StepSpec) -> str:
    chunked = stop_chunks(SCHEDULES[spec.schedule].TRAITS.route, spec.virtual_stages) > 1
    return f"{task.kind.replace('_', ' ')} {task.micro_batch}{f' chunk {task.chunk}' if chunked else ''}"
