"""A step as a graph of tasks for each rank, as trace formats want it: what runs, how long alone, after what.

Built from the step's specification and its schedule alone, not from what the engine ran: whoever replays the graph,
with sends that meet their receives, gets the step where nothing contends.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from simulator.schedules import SCHEDULES, Task, order_alone, settled
from simulator.schedules.route import Stop, blocks_at, neighbours, stop_chunks
from simulator.schedules.task import Kind
from simulator.stepspec import BlockSpec, StepSpec

#: "host" holds the rank without computing; a "meeting" is of all ranks of the pipeline and takes no time.
TaskKind = Literal["compute", "host", "collective", "send", "receive", "meeting"]


@dataclass(frozen=True, kw_only=True, slots=True)
class RankTask:
    """One task of one rank.

    ``after``: tasks before it on its stream, which only keep order. ``needs``: tasks whose results it uses. A send and
    its receive name each other's rank as ``peer`` and carry the same ``tag``. ``purpose`` says what a task is for, as a
    slice's category does, ``block`` and ``direction`` whose work it is.
    """

    number: int
    name: str
    kind: TaskKind
    purpose: str
    duration_ps: int = 0
    after: tuple[int, ...] = ()
    needs: tuple[int, ...] = ()
    peer: int = -1
    tag: int = -1
    collective: str = ""
    block: str = ""
    direction: str = ""


def rank_tasks(spec: StepSpec, rank: int) -> Iterator[RankTask]:
    """The tasks of one pipeline rank in an order in which everything comes after what it waits for.

    Tasks of no duration are left out but for sends, receives and meetings. Numbers begin at 0 and have no gaps.
    """
    return _Graph(spec, rank).tasks()


def _compute_ps(kind: Kind, block: BlockSpec) -> int:
    split = {"backward_input": block.backward_ps - block.weight_ps, "backward_weight": block.weight_ps}
    return split.get(kind, block.forward_ps if kind == "forward" else block.backward_ps)


_TENSOR: Final = {
    "forward": "forward_tensor_ps",
    "backward": "backward_tensor_ps",
    "backward_input": "backward_tensor_ps",
}


class _Graph:
    """Puts tasks behind each other. ``_lane`` is what the compute stream did last, ``_data`` the data stream."""

    def __init__(self, spec: StepSpec, rank: int) -> None:
        self._spec = spec
        self._rank = rank
        self._traits = SCHEDULES[spec.schedule].TRAITS
        self._number = 0
        self._lane: tuple[int, ...] = ()
        self._data: tuple[int, ...] = ()
        self._links: dict[int, tuple[int, ...]] = {}
        self._needed: tuple[int, ...] = ()  # what the next task of the compute stream uses
        self._gathered: tuple[int, ...] = ()
        self._received: dict[int, set[int]] = {}
        ranks = len(spec.stages)
        self._stops = neighbours(self._traits.route, ranks, spec.micro_batches, spec.virtual_stages)
        self._chunks = range(stop_chunks(self._traits.route, spec.virtual_stages))
        held = sorted({blocks_at(self._traits.route, Stop(rank, chunk), ranks).rank for chunk in self._chunks})
        self._held = [spec.stages[i] for i in held]

    def tasks(self) -> Iterator[RankTask]:
        spec = self._spec
        sharded = spec.gradient_mode == "sharded"
        if spec.fixed_ps:
            yield self._next("fixed", "host", "fixed", duration_ps=spec.fixed_ps)
        yield from self._sharded() if sharded else self._passes()
        update = "together" if sharded else self._traits.update
        if update != "each_micro_batch":
            yield from self._update(meets=update == "together" and len(spec.stages) > 1)

    def _task(self, name: str, kind: TaskKind, purpose: str, **rest: object) -> RankTask:
        self._number += 1
        return RankTask(number=self._number - 1, name=name, kind=kind, purpose=purpose, **rest)  # type: ignore[arg-type]

    def _next(self, name: str, kind: TaskKind, purpose: str, **rest: object) -> RankTask:
        """The next task of the compute stream."""
        task = self._task(name, kind, purpose, after=self._lane, needs=self._needed, **rest)
        self._lane, self._needed = (task.number,), ()
        return task

    def _behind(
        self, name: str, purpose: str, duration_ps: int, collective: str, block: str = ""
    ) -> Iterator[RankTask]:
        """The next task of the data stream, issued now."""
        if duration_ps:
            task = self._task(
                name, "collective", purpose, duration_ps=duration_ps, after=self._data,
                needs=(*self._lane, *self._needed), collective=collective, block=block,
            )  # fmt: skip
            self._data = (task.number,)
            yield task

    def _passes(self) -> Iterator[RankTask]:
        spec = self._spec
        each = self._traits.update == "each_micro_batch"
        order = self._order(self._rank)
        upcoming = next(order, None)
        while upcoming is not None:
            task, upcoming = upcoming, next(order, None)
            releases = spec.gradient_mode == "backward" and (upcoming is None or (each and task.kind == "backward"))
            yield from self._pass(task, releases)
            if each and task.kind == "backward":
                yield from self._update(meets=False)

    def _pass(self, task: Task, releases: bool) -> Iterator[RankTask]:
        source, target = self._ends(task)
        named = f"{task.kind.replace('_', ' ')} {task.micro_batch}" + (
            f" chunk {task.chunk}" if len(self._chunks) > 1 else ""
        )
        if source is not None and source.rank != self._rank:
            received = self._task(
                f"receive {named}", "receive", "pipeline", peer=source.rank, tag=self._tag(task, task.chunk)
            )
            yield received
            self._needed = (*self._needed, received.number)
        if releases:
            for chunk in reversed(self._chunks):
                if chunk != task.chunk:
                    for block in _one_by_one(self._blocks(chunk)[::-1]):
                        yield from self._reduce(block)
        blocks = self._blocks(task.chunk)
        for block in _one_by_one(blocks if task.kind == "forward" else blocks[::-1]):
            yield from self._block(task, block)
            if releases:
                yield from self._reduce(block)
        if target is None or target.rank == self._rank:
            return
        rest = {"duration_ps": self._spec.send_ps, "peer": target.rank, "tag": self._tag(task, target.chunk)}
        if self._traits.update == "each_micro_batch" and rest["tag"] not in self._received_by(target.rank):
            return
        if self._traits.sends_hold:
            yield self._next(f"send {named}", "send", "pipeline", **rest)
        else:
            before, needs = self._links.get(target.rank, ()), (*self._lane, *self._needed)
            sent = self._task(f"send {named}", "send", "pipeline", after=before, needs=needs, **rest)
            self._links[target.rank] = (sent.number,)
            yield sent

    def _block(self, task: Task, block: BlockSpec) -> Iterator[RankTask]:
        named = f"{block.name} {task.kind.replace('_', ' ')} {task.micro_batch}"
        whose = {"block": block.name, "direction": task.kind}
        compute_ps = _compute_ps(task.kind, block)
        if compute_ps:
            yield self._next(named, "compute", "compute", duration_ps=compute_ps, **whose)
        tensor_ps = getattr(block, _TENSOR[task.kind]) if task.kind in _TENSOR else 0
        if tensor_ps:
            yield self._next(
                f"exchange {named}", "collective", "tensor", duration_ps=tensor_ps, collective="all_reduce", **whose
            )

    def _reduce(self, block: BlockSpec) -> Iterator[RankTask]:
        word = "reduce_scatter" if self._spec.gradient_mode == "sharded" else "all_reduce"
        yield from self._behind(f"reduce {block.name}", "data", block.reduce_ps, word, block.name)

    def _update(self, *, meets: bool) -> Iterator[RankTask]:
        if self._spec.gradient_mode == "after":
            for stage in self._held:
                yield from self._behind("reduce gradients", "data", stage.reduce_after_ps, "all_reduce")
        self._needed = (*self._needed, *(number for number in self._data if number not in self._lane))
        if meets:
            yield self._next("gradients done", "meeting", "data", collective="barrier")
        optimizer_ps = sum(stage.optimizer_ps for stage in self._held)
        if optimizer_ps:
            yield self._next("update", "compute", "optimizer", duration_ps=optimizer_ps)
        if meets:
            yield self._next("updated", "meeting", "optimizer", collective="barrier")
        gather_ps = sum(stage.update_gather_ps for stage in self._held)
        if gather_ps:
            yield self._next(
                "gather updated parameters", "collective", "optimizer", duration_ps=gather_ps, collective="all_gather"
            )

    def _sharded(self) -> Iterator[RankTask]:
        spec = self._spec
        visits = [
            (task, block)
            for task in order_alone(spec.schedule, spec.micro_batches, spec.virtual_stages)
            for block in _one_by_one(self._blocks(task.chunk)[:: 1 if task.kind == "forward" else -1])
        ]
        for place, (task, block) in enumerate(visits):
            if not place:
                yield from self._gather(block)
            self._needed = (*self._needed, *self._gathered)
            if place + 1 < len(visits):
                yield from self._gather(visits[place + 1][1])
            yield from self._block(task, block)
            if task.kind == "backward":
                yield from self._reduce(block)

    def _gather(self, block: BlockSpec) -> Iterator[RankTask]:
        yield from self._behind(f"gather {block.name}", "data", block.gather_ps, "all_gather", block.name)
        self._gathered = self._data if block.gather_ps else ()

    def _received_by(self, rank: int) -> set[int]:
        """Tags of what another rank receives before its run is cut off, which one that never drains has to be."""
        if rank not in self._received:
            tasks = list(self._order(rank))
            self._received[rank] = {self._tag(task, task.chunk) for task in tasks if task.kind != "backward_weight"}
        return self._received[rank]

    def _order(self, rank: int) -> Iterator[Task]:
        spec, ranks = self._spec, len(self._spec.stages)
        many = settled(spec.schedule, ranks) + spec.micro_batches
        return SCHEDULES[spec.schedule].order(rank, ranks, many, spec.virtual_stages)

    def _ends(self, task: Task) -> tuple[Stop | None, Stop | None]:
        if task.kind == "backward_weight":
            return None, None
        before, behind, _ = self._stops[Stop(self._rank, task.chunk)]
        return (before, behind) if task.kind == "forward" else (behind, before)

    def _tag(self, task: Task, chunk: int) -> int:
        """The same number at both ends: micro-batch, direction, and the chunk that receives."""
        return (task.micro_batch * len(self._chunks) + chunk) * 2 + (task.kind != "forward")

    def _blocks(self, chunk: int) -> tuple[BlockSpec, ...]:
        stage, own = blocks_at(self._traits.route, Stop(self._rank, chunk), len(self._spec.stages))
        return self._spec.stages[stage].chunks[own]


def _one_by_one(blocks: tuple[BlockSpec, ...]) -> Iterator[BlockSpec]:
    for block in blocks:
        for _ in range(block.repeat):
            yield block
