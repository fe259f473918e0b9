"""ZB-1p (ZB-H1): weight gradients run apart, with the memory of 1F1B; a third of its bubble where passes are alike.

References
----------
Qi et al., Zero Bubble Pipeline Parallelism, 2023, arXiv:2401.10241, section 2.1 and table 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules import zero_bubble
from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_not_interleaved, check_shape

TRAITS: Final = Traits(update="by_rank", sends_hold=False)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    return zero_bubble.tasks(stages - 1 - stage, stage, micro_batches)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("zb1p", virtual_stages)


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Most micro-batches of which a stage still needs activations, ``min(p, m)``.

    Of these, up to `weight_gradients_waiting` need only what their weight gradients read.
    """
    _check(stage, stages, micro_batches, virtual_stages)
    return float(min(stages, micro_batches))


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches whose weight gradients are still to come when most activations are held.

    ``min(i, m - p + i)``, none if that is negative.
    """
    _check(stage, stages, micro_batches, virtual_stages)
    return float(max(0, min(stage, micro_batches - stages + stage)))


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 1, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank, for ``m >= p``, stages that are alike and sends that are free.

    ``(p - 1)(F + B - W) / (m (F + B + W))`` where ``W <= F``, the paper's; else ``(p - 1) B / (m (F + B + W))``.
    """
    _check(0, stages, micro_batches, virtual_stages)
    idle = (stages - 1) * (times.backward_input + max(0.0, times.forward - times.backward_weight))
    return idle / (micro_batches * times.all)


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one."""
    return 1
