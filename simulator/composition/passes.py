"""What the passes of a step take on each rank, summed from its blocks, in exact integers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.schedules import SCHEDULES, Traits, forward_order
from simulator.schedules.route import Neighbours, Stop, blocks_at, neighbours, stop_chunks
from simulator.schedules.task import Kind, Task
from simulator.stepspec import BlockSpec, StageSpec, StepSpec


def compute_ps(kind: Kind, block: BlockSpec) -> int:
    """What one pass through one of such blocks computes [ps]."""
    if kind == "forward":
        return block.forward_ps
    if kind == "backward":
        return block.backward_ps
    return block.weight_ps if kind == "backward_weight" else block.backward_ps - block.weight_ps


def tensor_ps(kind: Kind, block: BlockSpec) -> int:
    """Tensor-parallel collectives of the same [ps]."""
    if kind == "forward":
        return block.forward_tensor_ps
    return 0 if kind == "backward_weight" else block.backward_tensor_ps


def pass_ps(kind: Kind, blocks: Sequence[BlockSpec]) -> int:
    """One pass of one micro-batch through blocks, without its send [ps]."""
    return sum(b.repeat * (compute_ps(kind, b) + tensor_ps(kind, b)) for b in blocks)


def in_backward_order(blocks: Sequence[BlockSpec]) -> Iterator[BlockSpec]:
    """Every block by itself, the last first."""
    for block in reversed(blocks):
        for _ in range(block.repeat):
            yield block


@dataclass(frozen=True)
class Pipeline:
    """The ranks of a step: what they hold, how often it runs, and what they wait for."""

    spec: StepSpec

    @property
    def traits(self) -> Traits:
        """What the schedule tells of itself."""
        return SCHEDULES[self.spec.schedule].TRAITS

    @property
    def stops(self) -> dict[Stop, Neighbours]:
        """Every chunk of every rank, and what stands before and behind it."""
        spec = self.spec
        return neighbours(self.traits.route, len(spec.stages), spec.micro_batches, spec.virtual_stages)

    @property
    def chunks(self) -> range:
        """Chunks of a rank that micro-batches stop at."""
        return range(stop_chunks(self.traits.route, self.spec.virtual_stages))

    @property
    def micro_batches(self) -> int:
        """Micro-batches that stop at each."""
        return self.spec.micro_batches // (2 if self.traits.route == "both_ways" else 1)

    def blocks(self, stop: Stop) -> tuple[BlockSpec, ...]:
        """Blocks that run at a stop."""
        stage, chunk = blocks_at(self.traits.route, stop, len(self.spec.stages))
        return self.spec.stages[stage].chunks[chunk]

    def stages_of(self, rank: int) -> list[StageSpec]:
        """The stages that a rank holds."""
        places = {blocks_at(self.traits.route, Stop(rank, c), len(self.spec.stages)).rank for c in self.chunks}
        return [self.spec.stages[i] for i in sorted(places)]

    def order(self, rank: int, micro_batches: int) -> Iterator[Task]:
        """The tasks of a rank."""
        if self.spec.forward_only:
            shape = (len(self.spec.stages), micro_batches, self.spec.virtual_stages)
            return forward_order(self.spec.schedule, rank, *shape)
        entry = SCHEDULES[self.spec.schedule]
        return entry.order(rank, len(self.spec.stages), micro_batches, self.spec.virtual_stages)

    def compute_ps(self, rank: int) -> int:
        """Compute of a rank in a step [ps]."""
        blocks = [b for c in self.chunks for b in self.blocks(Stop(rank, c))]
        return self.micro_batches * sum(b.repeat * (b.forward_ps + b.backward_ps) for b in blocks)

    def tensor_ps(self, rank: int) -> int:
        """Tensor-parallel collectives of a rank in a step [ps]."""
        blocks = [b for c in self.chunks for b in self.blocks(Stop(rank, c))]
        return self.micro_batches * sum(b.repeat * (b.forward_tensor_ps + b.backward_tensor_ps) for b in blocks)

    def held_ps(self, rank: int) -> int:
        """Time that sends hold a rank in a step [ps]."""
        if not self.traits.sends_hold:
            return 0
        stops = self.stops
        # Forward passes send on what is behind them, backward passes to what is before.
        around = [stops[Stop(rank, c)] for c in self.chunks]
        ends = [one.behind for one in around]
        if not self.spec.forward_only:
            ends += [one.before for one in around]
        return self.micro_batches * self.spec.send_ps * sum(end is not None and end.rank != rank for end in ends)

    def update_ps(self, rank: int) -> int:
        """Update of a rank's parameters and fetch of those that others updated [ps]."""
        return sum(stage.optimizer_ps + stage.update_gather_ps for stage in self.stages_of(rank))
