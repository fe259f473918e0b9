"""Pipeline schedules: in which order a rank runs its passes, and what that order holds and wastes.

One file per schedule with the same three functions; `SCHEDULES` finds it by the word a `StepSpec` uses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Protocol

from simulator.schedules import gpipe, interleaved, one_f_one_b
from simulator.schedules.task import Task

__all__ = ["SCHEDULES", "Schedule", "Task"]


class Schedule(Protocol):
    """What a schedule's file holds."""

    def order(self, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
        """Tasks of one rank in the order it runs them. Raises ValueError where the shape cannot be."""

    def activations_in_flight(self, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> float:
        """Most activations held at once, in units of the stage's activations of one micro-batch."""

    def bubble_fraction(self, stages: int, micro_batches: int, virtual_stages: int) -> float:
        """Idle time over useful time of a rank, for stages that are alike and sends that are free."""


SCHEDULES: Final[dict[str, Schedule]] = {"gpipe": gpipe, "1f1b": one_f_one_b, "interleaved": interleaved}
