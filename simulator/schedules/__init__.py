"""Pipeline schedules: in which order a rank runs its passes, and what that order holds and wastes.

One file per schedule with the same functions; `SCHEDULES` finds it by the word a `StepSpec` uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from simulator.schedules import (
    dualpipe,
    fine_grained,
    gpipe,
    interleaved,
    one_f_one_b,
    pipedream,
    zb1p,
    zb2p,
    zbv,
)
from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits

__all__ = ["SCHEDULES", "PassTimes", "Schedule", "Task", "Traits", "forward_order", "order_alone", "settled"]


class Schedule(Protocol):
    """What a schedule's file holds."""

    @property
    def TRAITS(self) -> Traits:  # noqa: N802
        """What an engine must know beside the order."""

    def order(self, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
        """Tasks of one rank in the order it runs them. Raises ValueError where the shape cannot be."""

    def activations_in_flight(self, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> float:
        """Most activations held at once, in units of the stage's activations of one micro-batch."""

    def weight_gradients_waiting(self, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> float:
        """How many of these wait for their weight gradients only, and hold no more than those read."""

    def bubble_fraction(
        self, stages: int, micro_batches: int, virtual_stages: int, times: PassTimes = EQUAL_PASSES
    ) -> float:
        """Idle time over useful time of a rank, for stages that are alike and sends that are free."""

    def weight_versions(self, stage: int, stages: int, micro_batches: int) -> int:
        """Versions of the weights that a stage keeps."""


SCHEDULES: Final[dict[str, Schedule]] = {
    "gpipe": gpipe,
    "1f1b": one_f_one_b,
    "interleaved": interleaved,
    "zb1p": zb1p,
    "zb2p": zb2p,
    "zbv": zbv,
    "dualpipe": dualpipe,
    "pipedream": pipedream,
    "fine-grained": fine_grained,
}


def order_alone(schedule: str, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
    """Tasks of a rank that is a whole pipeline: GPipe as ever, else every micro-batch forth and back."""
    chunks = range(virtual_stages)
    if schedule == "gpipe":
        yield from gpipe.order(0, 1, micro_batches, virtual_stages)
        return
    for micro_batch in range(micro_batches):
        yield from (Task("forward", micro_batch, chunk) for chunk in chunks)
        yield from (Task("backward", micro_batch, chunk) for chunk in reversed(chunks))


def forward_order(schedule: str, rank: int, stages: int, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
    """The forward passes of a rank in the order its schedule runs them, where nothing else is run.

    A pipeline that never drains runs ahead into the next step; here it stops at the last micro-batch.
    """
    order = SCHEDULES[schedule].order(rank, stages, micro_batches, virtual_stages)
    return (task for task in order if task.kind == "forward" and task.micro_batch < micro_batches)


def settled(schedule: str, stages: int) -> int:
    """Micro-batches that run before a step is timed: enough to fill a pipeline that never drains, else none."""
    return 4 * stages if SCHEDULES[schedule].TRAITS.update == "each_micro_batch" else 0
