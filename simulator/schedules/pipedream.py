"""PipeDream: 1F1B that never drains, each micro-batch a mini-batch of its own that updates the weights.

Rank ``i`` keeps ``p - i`` micro-batches in flight. Each must meet, on its way back, the weights it met on its way
forth, so that a rank keeps ("stashes") as many versions of them. A step of ``m`` micro-batches takes ``m`` rounds of
the steady state: what an order holds beyond them are the first forward passes of the next step.

Leaves out: what late gradients cost in quality (a stage's gradient is ``p - 1 - i`` updates old).

References
----------
Harlap et al., PipeDream: Fast and Efficient Pipeline Parallel DNN Training, 2018, arXiv:1806.03377, sections 3.2, 3.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_not_interleaved, check_shape

TRAITS: Final = Traits(update="each_micro_batch", sends_hold=False)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> Iterator[Task]:
    """``m`` rounds of one rank, from an empty pipeline, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    return tasks(stages - 1 - stage, micro_batches)


def tasks(warm_up: int, micro_batches: int) -> Iterator[Task]:
    """Some forward passes, then a forward and a backward pass in turn, without end but for the count of the latter."""
    for micro_batch in range(warm_up):
        yield Task("forward", micro_batch)
    for micro_batch in range(micro_batches):
        yield Task("forward", warm_up + micro_batch)
        yield Task("backward", micro_batch)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("pipedream", virtual_stages)


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Most activations held at once, in units of the stage's activations of one micro-batch: ``p - i``."""
    _check(stage, stages, micro_batches, virtual_stages)
    return float(stages - stage)


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches held whose weight gradients alone are still to come: none, both gradients come together."""
    return 0.0


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 1, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank in the steady state, stages alike, sends free: 0."""
    _check(0, stages, micro_batches, virtual_stages)
    return 0.0


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps, one for each micro-batch in flight: ``p - i``."""
    return stages - stage
