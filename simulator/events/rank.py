"""The process of one role: its tasks in order, its streams, and what it has counted so far."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from simpy import Event

from simulator.events.passes import Pass, compute_of, pass_name, pass_of, tensor_of
from simulator.events.release import Messages
from simulator.events.streams import Exchange, Stream
from simulator.events.world import World, scaled
from simulator.schedules import SCHEDULES, Task, forward_order, order_alone, settled
from simulator.schedules.route import Stop, blocks_at, stop_chunks
from simulator.schedules.task import KINDS, Kind
from simulator.stepspec import BlockSpec

Process = Generator[Event, None, None]


class Rank:
    """One rank, which speaks for all of its role.

    Where nobody but its likes exchanges with it inside layers, and nothing is shared, a pass is one wait; else every
    block is followed by itself.
    """

    def __init__(self, world: World, role: int) -> None:
        self._world = world
        self._env = world.env
        self._spec = spec = world.spec
        self._number = role
        self._role = me = world.roles.roles[role]
        self._machine = world.machine
        self._timeline = world.timeline
        self._traits = SCHEDULES[spec.schedule].TRAITS
        self._data = world.data[me.data_group]
        self._rounds = world.rounds[me.inner_group]
        self._meeting_ranks = world.roles.meeting(role)
        self._messages = Messages(world.release)
        self._follows_blocks = self._rounds is not None or world.machine.contended
        ranks, route = len(spec.stages), self._traits.route
        chunks = range(stop_chunks(route, spec.virtual_stages))
        held = sorted({blocks_at(route, Stop(me.stage, chunk), ranks).rank for chunk in chunks})
        _, data = world.slownesses(role)
        self._optimizer_ps = scaled(sum(spec.stages[i].optimizer_ps for i in held), me.compute)
        self._fetch_ps = scaled(sum(spec.stages[i].update_gather_ps for i in held), data)
        self._after_ps = [scaled(spec.stages[i].reduce_after_ps, data) for i in held]
        links: dict[int, Stream] = {}
        self._passes_of = {(k, c): pass_of(world, role, k, c, links) for k in KINDS for c in chunks}
        self._last: Exchange | None = None
        self._cause = -1
        self._pieces = 0
        self.compute_ps = self.tensor_ps = self.send_ps = self.stalled_ps = self.update_ps = 0
        self._begun = False
        self.begun_ps = 0
        self.passes_done_ps = self.gradients_done_ps = self.finished_ps = 0
        self.finished = False

    @property
    def waits_inside(self) -> bool:
        """Whether ranks of other roles exchange with it inside layers."""
        return self._rounds is not None

    @property
    def busy_ps(self) -> int:
        """Time that passes and the sends behind them held the rank."""
        return self.compute_ps + self.tensor_ps + self.send_ps

    def run(self) -> Process:
        """The rank's whole step."""
        env, spec, world = self._env, self._spec, self._world
        yield env.timeout(spec.fixed_ps)
        self._show("compute", "fixed", "fixed", 0, spec.fixed_ps)

        together = self._traits.update == "together" or spec.gradient_mode == "sharded"
        yield from self._sharded_passes() if spec.gradient_mode == "sharded" else self._passes()
        self.passes_done_ps = int(env.now)
        if spec.forward_only:
            yield world.gradients_done.arrive(self._cause)
        elif together or self._traits.update == "by_rank":
            yield from self._exchange_what_is_left()
            if together:
                yield world.gradients_done.arrive(self._cause)
                self._cause = world.gradients_done.cause
            self.gradients_done_ps = int(env.now)
            yield from self._update()
            if together:
                yield world.updated.arrive(self._cause)
                self._cause = world.updated.cause
            yield from self._fetch()
        self.finished_ps = int(env.now)
        self.finished = True

    def _exchange_what_is_left(self) -> Process:
        if self._spec.gradient_mode == "after":
            for after_ps in self._after_ps:
                self._issue("reduce", "reduce gradients", after_ps)
        yield from self._wait_for(self._last)

    def _update(self) -> Process:
        start_ps = int(self._env.now)
        yield from self._compute("optimizer", self._optimizer_ps, 1)
        self._show("compute", "update", "optimizer", start_ps)

    def _fetch(self) -> Process:
        start_ps = int(self._env.now)
        yield self._machine.run("update_gather", self._fetch_ps, (self._number,))
        self._show("data", "gather updated parameters", "optimizer", start_ps)

    def _tasks(self, micro_batches: int) -> Iterator[Task]:
        spec, stages = self._spec, len(self._spec.stages)
        if spec.forward_only:
            return forward_order(spec.schedule, self._role.stage, stages, micro_batches, spec.virtual_stages)
        return SCHEDULES[spec.schedule].order(self._role.stage, stages, micro_batches, spec.virtual_stages)

    def _passes(self) -> Process:
        env = self._env
        each = self._traits.update == "each_micro_batch" and not self._spec.forward_only
        early = settled(self._spec.schedule, len(self._spec.stages)) if each else 0
        # Only in its last pass does anything happen inside a pass; the others are one wait each.
        releases = self._spec.gradient_mode == "backward"
        tasks = self._tasks(early + self._spec.micro_batches)
        upcoming = next(tasks, None)
        while upcoming is not None:
            task, upcoming = upcoming, next(tasks, None)
            this = self._passes_of[task.kind, task.chunk]
            if this.source is not None:
                arrival = this.source.arrival(task.micro_batch - this.first_micro_batch)
                if arrival is not None:
                    yield arrival
                    self._cause = this.source.cause
            if not self._begun:
                self._begun, self.begun_ps = True, int(env.now)
            start_ps = int(env.now)
            if releases and (upcoming is None or (each and task.kind == "backward")):
                self._release_other_chunks(task.chunk)
                yield from self._block_by_block(this, release=True)
                yield from self._hold_for_send(task, this)
            elif self._follows_blocks:
                yield from self._block_by_block(this, release=False)
                yield from self._hold_for_send(task, this)
            else:
                yield from self._whole(task, this)
            if self._timeline is not None:
                self._show("passes", pass_name(task, self._spec), "pass", start_ps, cause=False)
            self._hand_on(task, this)
            if each and task.kind == "backward":
                yield from self._update_at_once()
                if task.micro_batch == early - 1:
                    self._begin_to_count()

    def _whole(self, task: Task, this: Pass) -> Process:
        """A pass of which nothing inside concerns anybody else."""
        start_ps = int(self._env.now)
        compute_ps = this.compute_ps
        if self._world.delays is not None:
            compute_ps = sum(
                self._delayed(this.kind, compute_of(this.kind, b), self._meeting_ranks) for b in this.visits()
            )
        yield self._env.timeout(compute_ps + this.held_ps - this.compute_ps)
        self.compute_ps += compute_ps
        self.tensor_ps += this.tensor_ps
        self.send_ps += this.held_ps - this.work_ps
        if self._timeline is None:
            return
        name = pass_name(task, self._spec)
        late = self._world.delays is not None
        if not late and (self._timeline.every_block or task.micro_batch in (0, self._spec.micro_batches - 1)):
            end_ps = start_ps
            for block in this.visits():
                end_ps = self._show_block(task.kind, block, end_ps)
        else:
            self._show("compute", f"{name}, all blocks", "compute", start_ps, compute_ps)
            end_ps = start_ps + compute_ps + this.tensor_ps
            self._show("tensor", f"{name}, all blocks", "tensor", start_ps + compute_ps, this.tensor_ps)
        if self._traits.sends_hold:
            self._show("pipeline", f"send {name}", "pipeline", end_ps, this.send_ps)

    def _block_by_block(self, this: Pass, *, release: bool) -> Process:
        for block in this.visits():
            yield from self._block(this.kind, block)
            if release:
                self._release(self._messages.add(block.name, block.reduce_ps))
        if release:
            self._release(self._messages.rest())

    def _release(self, message: tuple[str, int] | None) -> None:
        if message is not None:
            name, duration_ps = message
            self._issue("reduce", f"reduce {name}", duration_ps)

    def _block(self, kind: Kind, block: BlockSpec) -> Process:
        env = self._env
        start_ps = int(env.now)
        name = f"{block.name} {kind.replace('_', ' ')}"
        yield from self._compute(kind, compute_of(kind, block), self._meeting_ranks)
        self.compute_ps += int(env.now) - start_ps
        self._show("compute", name, "compute", start_ps)
        tensor_ps = tensor_of(kind, block)
        if not tensor_ps:
            return
        computed_ps = start_ps = int(env.now)
        if self._rounds is None:
            yield self._machine.run("tensor", tensor_ps, (self._number,))
        else:
            exchange = self._rounds.join(tensor_ps, self._cause)
            assert exchange.event is not None
            yield exchange.event
            start_ps, self._cause = exchange.start_ps, exchange.cause
        self.tensor_ps += int(env.now) - computed_ps
        self._show("tensor", name, "tensor", start_ps)

    def _compute(self, kind: str, base_ps: int, ranks: int) -> Process:
        if base_ps:
            yield self._machine.run("compute", self._delayed(kind, base_ps, ranks), (self._number,))

    def _delayed(self, kind: str, base_ps: int, ranks: int) -> int:
        delays = self._world.delays
        if delays is None:
            return base_ps
        self._pieces += 1
        return delays.ps(self._number, kind, self._pieces - 1, base_ps, ranks)

    def _hold_for_send(self, task: Task, this: Pass) -> Process:
        if this.held_ps == this.work_ps:
            return
        start_ps = int(self._env.now)
        yield self._machine.run("send", this.send_ps, (self._number,), (this.receiver,))
        self.send_ps += int(self._env.now) - start_ps
        self._show("pipeline", f"send {pass_name(task, self._spec)}", "pipeline", start_ps)

    def _hand_on(self, task: Task, this: Pass) -> None:
        target = this.target
        if target is None:
            return
        if this.link is None or self._traits.sends_hold:
            target.deliver(self._cause)
            return
        name = f"send {pass_name(task, self._spec)}"
        sent = this.link.issue(self._number, "send", name, this.send_ps, self._cause)
        if sent.done_ps is not None and sent.done_ps <= self._env.now:
            target.deliver(sent.place if sent.place >= 0 else self._cause)
            return
        there: Event
        if sent.done_ps is not None:
            there = self._env.timeout(sent.done_ps - int(self._env.now))
        else:
            there = sent.event = self._env.event()
        there.callbacks.append(lambda _: target.deliver(sent.place))

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

    def _release_other_chunks(self, chunk: int) -> None:
        for (kind, other), whole in reversed(self._passes_of.items()):
            if kind == "backward" and other != chunk:
                for block in whole.visits():
                    self._release(self._messages.add(block.name, block.reduce_ps))

    def _sharded_visits(self) -> Iterator[tuple[Task, BlockSpec]]:
        spec = self._spec
        for task in order_alone(spec.schedule, spec.micro_batches, spec.virtual_stages):
            if spec.forward_only and task.kind != "forward":
                continue
            for block in self._passes_of[task.kind, task.chunk].visits():
                yield task, block

    def _sharded_passes(self) -> Process:
        env = self._env
        visits = self._sharded_visits()
        upcoming = next(visits, None)
        gathered = None if upcoming is None else self._gather(upcoming[1])
        pass_start_ps: int | None = None
        while upcoming is not None:
            task, block = upcoming
            waited_ps = int(env.now)
            yield from self._wait_for(gathered)
            self.stalled_ps += int(env.now) - waited_ps
            pass_start_ps = int(env.now) if pass_start_ps is None else pass_start_ps
            upcoming = next(visits, None)
            if upcoming is not None:
                gathered = self._gather(upcoming[1])
            yield from self._block(task.kind, block)
            if task.kind == "backward":
                self._issue("reduce", f"reduce {block.name}", block.reduce_ps)
            if upcoming is None or upcoming[0] is not task:
                self._show("passes", pass_name(task, self._spec), "pass", pass_start_ps, cause=False)
                pass_start_ps = None

    def _gather(self, block: BlockSpec) -> Exchange:
        return self._issue("gather", f"gather {block.name}", block.gather_ps)

    def _issue(self, kind: str, name: str, duration_ps: int) -> Exchange:
        self._last = self._data.issue(self._number, kind, name, duration_ps, self._cause)
        return self._last

    def _wait_for(self, exchange: Exchange | None) -> Process:
        if exchange is None:
            return
        before_ps = int(self._env.now)
        yield from exchange.wait(self._env)
        if self._env.now > before_ps:
            self._cause = exchange.place

    def _show(
        self,
        stream: str,
        name: str,
        category: str,
        start_ps: int,
        duration_ps: int | None = None,
        *,
        cause: bool = True,
    ) -> None:
        """Record what ran until now, or for so long; the next thing on this rank follows from it."""
        if self._timeline is None:
            return
        length_ps = int(self._env.now) - start_ps if duration_ps is None else duration_ps
        place = self._timeline.add(
            self._number, stream, name, category, start_ps, length_ps, self._cause if cause else -1
        )
        if cause:
            self._cause = place

    def _show_block(self, kind: Kind, block: BlockSpec, start_ps: int) -> int:
        compute_ps, tensor_ps = compute_of(kind, block), tensor_of(kind, block)
        name = f"{block.name} {kind.replace('_', ' ')}"
        self._show("compute", name, "compute", start_ps, compute_ps)
        self._show("tensor", name, "tensor", start_ps + compute_ps, tensor_ps)
        return start_ps + compute_ps + tensor_ps
