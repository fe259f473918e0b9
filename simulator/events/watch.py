"""How far a step has come while it runs."""

from __future__ import annotations

from collections.abc import Callable

from simulator.events.trace import Timeline
from simulator.schedules import SCHEDULES, order_alone, settled
from simulator.stepspec import StepSpec


class WatchedTimeline(Timeline):
    """A timeline that tells how many passes are done; with ``most=0`` it records nothing and only tells."""

    def __init__(
        self, told: Callable[[int], None], *, every_block: bool = False, most: int | None = None, each: int = 1
    ) -> None:
        super().__init__(every_block=every_block, most=most)
        self.passes_done = 0
        self.reached_ps = 0
        self._told = told
        self._each = each

    def add(
        self, stage: int, stream: str, name: str, category: str, start_ps: int, duration_ps: int, cause: int = -1
    ) -> int:
        """Record one slice; every `each` passes, say how many are done."""
        if category == "pass":
            self.passes_done += 1
            self.reached_ps = max(self.reached_ps, start_ps + duration_ps)
            if self.passes_done % self._each == 0:
                self._told(self.passes_done)
        return super().add(stage, stream, name, category, start_ps, duration_ps, cause)


def passes_of_step(spec: StepSpec) -> int:
    """Passes that a step runs on all stages together, those that fill a pipeline which never drains included."""
    stages = len(spec.stages)
    if spec.gradient_mode == "sharded":
        return sum(1 for _ in order_alone(spec.schedule, spec.micro_batches, spec.virtual_stages))
    many = settled(spec.schedule, stages) + spec.micro_batches
    return stages * sum(1 for _ in SCHEDULES[spec.schedule].order(0, stages, many, spec.virtual_stages))


def most_block_slices(spec: StepSpec) -> int:
    """Slices of blocks that a step recorded block by block has at most: three passes, two of them with collectives."""
    visits = sum(block.repeat for stage in spec.stages for block in stage.blocks)
    return 5 * visits * (settled(spec.schedule, len(spec.stages)) + spec.micro_batches)
