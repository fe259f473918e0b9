"""Interleaved 1F1B: each rank holds ``v`` chunks of the model, which divides the bubble by ``v``.

Chunk ``c`` of rank ``i`` is virtual stage ``c p + i``. Ranks take the micro-batches in groups of ``p``: a group goes
through chunk 0, then through chunk 1, and so on; backward passes take the chunks from the last to the first. Rank ``i``
warms up with ``2 (p - i - 1) + (v - 1) p`` forward passes of a chunk, then runs forward and backward passes in turn.

References
----------
Narayanan et al., Efficient Large-Scale Language Model Training on GPU Clusters Using Megatron-LM, 2021,
section 2.2.2; `forward_backward_pipelining_with_interleaving` in Megatron-LM. Activations: Korthikanti et al.,
Reducing Activation Recomputation in Large Transformer Models, 2022, section 4.2.3.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_shape

TRAITS: Final = Traits(round_is_stages=True)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    warm_up = _warm_up_tasks(stage, stages, micro_batches, virtual_stages)
    return _tasks(warm_up, stages, micro_batches, virtual_stages)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    if micro_batches % stages:
        nearest = max(stages, round(micro_batches / stages) * stages)
        raise ValueError(
            f"interleaved: {micro_batches} micro-batches on {stages} stages; "
            f"must be a multiple of the stages, for example {nearest}."
        )


def _warm_up_tasks(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> int:
    return min(2 * (stages - stage - 1) + (virtual_stages - 1) * stages, micro_batches * virtual_stages)


def _tasks(warm_up: int, stages: int, micro_batches: int, virtual_stages: int) -> Iterator[Task]:
    def forward(k: int) -> Task:
        group, place = divmod(k, stages * virtual_stages)
        return Task("forward", group * stages + place % stages, place // stages)

    def backward(k: int) -> Task:
        group, place = divmod(k, stages * virtual_stages)
        return Task("backward", group * stages + place % stages, virtual_stages - 1 - place // stages)

    total = micro_batches * virtual_stages
    for k in range(warm_up):
        yield forward(k)
    for k in range(total - warm_up):
        yield forward(warm_up + k)
        yield backward(k)
    for k in range(total - warm_up, total):
        yield backward(k)


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> float:
    """Most activations held at once, in units of the stage's activations of one micro-batch.

    ``min(2 (p - i - 1) + (v - 1) p + 1, m v) / v``; on the first stage ``p (1 + (p - 1) / (p v))``, Korthikanti's
    factor on what 1F1B holds there.
    """
    _check(stage, stages, micro_batches, virtual_stages)
    warm_up = _warm_up_tasks(stage, stages, micro_batches, virtual_stages)
    return min(warm_up + 1, micro_batches * virtual_stages) / virtual_stages


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank, ``(p - 1) / (v m)``, for stages that are alike and sends that are free."""
    _check(0, stages, micro_batches, virtual_stages)
    return (stages - 1) / (virtual_stages * micro_batches)


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches held whose weight gradients alone are still to come: none, both gradients come together."""
    return 0.0


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one."""
    return 1
