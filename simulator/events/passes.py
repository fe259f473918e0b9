"""One chunk in one direction on one role: its blocks in running order, their lengths, whom it hears from and feeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from simulator.events.roles import Role
from simulator.events.streams import Channel, Stream
from simulator.events.world import World, scaled
from simulator.schedules import SCHEDULES, Task
from simulator.schedules.route import Stop, blocks_at, stop_chunks
from simulator.schedules.task import Kind
from simulator.stepspec import BLOCK_DURATIONS, BlockSpec, StepSpec

_COMPUTED: Final = ("forward_ps", "backward_ps", "weight_ps")
_INSIDE: Final = ("forward_tensor_ps", "backward_tensor_ps")


@dataclass(frozen=True, kw_only=True, slots=True)
class Pass:
    """One chunk in one direction on one role.

    ``held_ps`` is how long it holds the rank: its work, and the send behind it where sends hold.
    """

    kind: Kind
    blocks: tuple[BlockSpec, ...]
    compute_ps: int
    tensor_ps: int
    source: Channel | None
    target: Channel | None
    link: Stream | None  # None where nothing crosses to another rank
    receiver: int
    send_ps: int
    held_ps: int
    first_micro_batch: int
    work_ps: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "work_ps", self.compute_ps + self.tensor_ps)

    def visits(self) -> Iterator[BlockSpec]:
        """Every block by itself."""
        for block in self.blocks:
            for _ in range(block.repeat):
                yield block


def compute_of(kind: Kind, block: BlockSpec) -> int:
    """What a block computes in one kind of pass [ps]."""
    if kind == "backward_input":
        return block.backward_ps - block.weight_ps
    return {"forward": block.forward_ps, "backward": block.backward_ps}.get(kind, block.weight_ps)


def tensor_of(kind: Kind, block: BlockSpec) -> int:
    """What a block exchanges inside in one kind of pass [ps]."""
    if kind == "backward_weight":
        return 0
    return block.forward_tensor_ps if kind == "forward" else block.backward_tensor_ps


def blocks_of(role: Role, blocks: tuple[BlockSpec, ...], inner: float, data: float) -> tuple[BlockSpec, ...]:
    """Blocks as a role runs them: its compute and the exchanges of its inner and data groups, each stretched."""
    if role.compute == inner == data == 1.0 and not role.blocks:
        return blocks

    def factor(name: str, block: BlockSpec) -> float:
        if name in _COMPUTED:
            return role.compute * role.blocks.get(block.name, 1.0)
        return inner if name in _INSIDE else data

    def stretched(block: BlockSpec) -> BlockSpec:
        durations = {name: scaled(getattr(block, name), factor(name, block)) for name in BLOCK_DURATIONS}
        return BlockSpec(name=block.name, repeat=block.repeat, **durations)

    return tuple(map(stretched, blocks))


def pass_of(world: World, role: int, kind: Kind, chunk: int, links: dict[int, Stream]) -> Pass:
    """One pass of a role. ``links`` collects its streams to other ranks."""
    spec, me = world.spec, world.roles.roles[role]
    traits, ranks = SCHEDULES[spec.schedule].TRAITS, len(spec.stages)
    stop = Stop(me.stage, chunk)
    before, behind, first = world.stops[stop]
    stage, held_chunk = blocks_at(traits.route, stop, ranks)
    blocks = blocks_of(me, spec.stages[stage].chunks[held_chunk], *world.slownesses(role))
    blocks = blocks if kind == "forward" else blocks[::-1]
    if kind == "backward_weight":
        source = target = None
    else:
        source, target = (before, behind) if kind == "forward" else (behind, before)
    channels = world.forth if kind == "forward" else world.back
    link, receiver, send_ps = None, role, 0
    if target is not None and target.rank != stop.rank:
        receiver = me.column[target.rank]
        name = "pipeline back" if target.rank < stop.rank and not traits.sends_hold else "pipeline"
        if target.rank not in links:
            links[target.rank] = Stream(
                world.env, world.machine, (role,), receivers=(receiver,), show=world.shown((role,), name, "pipeline")
            )
        link = links[target.rank]
        send_ps = scaled(spec.send_ps, world.slowness((role, receiver)))
    compute_ps = sum(block.repeat * compute_of(kind, block) for block in blocks)
    tensor_ps = sum(block.repeat * tensor_of(kind, block) for block in blocks)
    return Pass(
        kind=kind,
        blocks=blocks,
        compute_ps=compute_ps,
        tensor_ps=tensor_ps,
        # A chunk that turns around on its own rank is next in the order anyway.
        source=channels[role, chunk] if source is not None else None,
        target=channels[world.target(role, target)] if target is not None else None,
        link=link,
        receiver=receiver,
        send_ps=send_ps,
        held_ps=compute_ps + tensor_ps + (send_ps if traits.sends_hold else 0),
        first_micro_batch=first,
    )


def pass_name(task: Task, spec: StepSpec) -> str:
    """What a pass is called: "forward 3 chunk 1"."""
    chunked = stop_chunks(SCHEDULES[spec.schedule].TRAITS.route, spec.virtual_stages) > 1
    return f"{task.kind.replace('_', ' ')} {task.micro_batch}{f' chunk {task.chunk}' if chunked else ''}"
