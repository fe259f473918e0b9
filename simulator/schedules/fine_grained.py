"""Fine-grained pipelined back-propagation: one layer a stage, one sample at a time, updates without waiting.

Every stage runs a forward pass and a backward pass in each turn and updates its weights at once. A sample's error comes
back to stage ``i`` after ``2 (p - 1 - i)`` turns, so that the stage holds that many activations and one more, but one
version of the weights only: the way back meets newer weights than the way forth did. Nothing drains. A step of ``m``
micro-batches takes ``m`` turns of the steady state.

Leaves out: what late and inconsistent weights cost in quality, and what mends it.

References
----------
Kosson et al., Pipelined Backpropagation at Scale: Training Large Models without Batches, 2020, arXiv:2003.11666,
section 2; Petrowski et al., Performance analysis of a pipelined backpropagation parallel algorithm, 1993.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules import pipedream
from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_not_interleaved, check_shape

TRAITS: Final = Traits(update="each_micro_batch", sends_hold=False)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> Iterator[Task]:
    """``m`` turns of one rank, from an empty pipeline, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    return pipedream.tasks(2 * (stages - 1 - stage), micro_batches)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("fine-grained", virtual_stages)


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Most activations held at once, in units of the stage's activations of one micro-batch: ``2 (p - i) - 1``."""
    _check(stage, stages, micro_batches, virtual_stages)
    return float(2 * (stages - stage) - 1)


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches held whose weight gradients alone are still to come: none, both gradients come together."""
    return 0.0


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 1, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank in the steady state, stages alike, sends free: 0."""
    _check(0, stages, micro_batches, virtual_stages)
    return 0.0


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one, whatever a micro-batch met on its way forth."""
    return 1
