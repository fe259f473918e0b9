"""One forward, one backward (1F1B, PipeDream-Flush): as long as GPipe, but at most ``p`` micro-batches in flight.

Rank ``i`` of ``p`` warms up with ``p - i - 1`` forward passes, then runs forward and backward passes in turn, then
cools down with the backward passes that are left.

References
----------
Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, 2021,
section 2.2.1; `forward_backward_pipelining_without_interleaving` in Megatron-LM.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_not_interleaved, check_shape

TRAITS: Final = Traits()


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them, made as they are asked for. Raises ValueError."""
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("1f1b", virtual_stages)
    return _tasks(min(stages - stage - 1, micro_batches), micro_batches)


def _tasks(warm_up: int, micro_batches: int) -> Iterator[Task]:
    for micro_batch in range(warm_up):
        yield Task("forward", micro_batch)
    for micro_batch in range(micro_batches - warm_up):
        yield Task("forward", warm_up + micro_batch)
        yield Task("backward", micro_batch)
    for micro_batch in range(micro_batches - warm_up, micro_batches):
        yield Task("backward", micro_batch)


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Most activations held at once, in units of the stage's activations of one micro-batch: ``min(p - i, m)``."""
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("1f1b", virtual_stages)
    return float(min(stages - stage, micro_batches))


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 1, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank, ``(p - 1) / m``, for stages that are alike and sends that are free."""
    check_shape(stage=0, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("1f1b", virtual_stages)
    return (stages - 1) / micro_batches


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches held whose weight gradients alone are still to come: none, both gradients come together."""
    return 0.0


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one."""
    return 1
