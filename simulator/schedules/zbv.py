"""ZB-V: two chunks a rank, down the ranks and back up, with the memory of 1F1B and no bubble where passes are alike.

Chunk 0 of rank ``i`` is virtual stage ``i``, chunk 1 is virtual stage ``2 p - 1 - i``: rank 0 holds the model's first
chunk and its last. Rank ``i`` warms up with ``2 (p - i) - 1`` forward passes through chunk 0, ``i`` turns of a forward
pass through each chunk, and ``p - i`` forward passes through chunk 1, each followed by both halves of its backward
pass. From there on each round is a forward pass and both halves of a backward pass for one chunk and then for the
other. Micro-batches that a short run has not are left out of the order of a long one.

References
----------
Qi et al., Zero Bubble Pipeline Parallelism, 2023, arXiv:2401.10241, section 6; `ScheduleZBVZeroBubble` in PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from typing import Final

from simulator.schedules.task import EQUAL_PASSES, Kind, PassTimes, Task, Traits, check_shape

TRAITS: Final = Traits(route="v", update="by_rank", sends_hold=False)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 2) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    longer = max(micro_batches, 2 * stages - 1)
    return (task for task in _tasks(stage, stages, longer) if task.micro_batch < micro_batches)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    if virtual_stages != 2:
        raise ValueError(f"zbv: {virtual_stages} virtual stages; this schedule has 2.")


def _tasks(stage: int, stages: int, micro_batches: int) -> Iterator[Task]:
    passes = {(kind, chunk): _numbered(kind, chunk) for kind in ("forward", "backward_input", "backward_weight")
              for chunk in (0, 1)}  # fmt: skip

    def some(chunk: int, *kinds: Kind) -> Iterator[Task]:
        for kind in kinds:
            yield next(passes[kind, chunk])

    rounds = micro_batches - stages
    begun = 2 * (stages - stage) - 1
    yield from islice(passes["forward", 0], begun)
    for _ in range(stage):
        yield from some(1, "forward")
        yield from some(0, "forward")
    for _ in range(stages - stage):
        yield from some(1, "forward", "backward_input", "backward_weight")
    for k in range(rounds):
        if begun + stage + k < micro_batches:
            yield from some(0, "forward")
        yield from some(0, "backward_input", "backward_weight")
        yield from some(1, "forward", "backward_input", "backward_weight")
    for _ in range(stage):
        yield from some(0, "backward_input")
        yield from some(1, "backward_input")
    for _ in range(stages - stage):
        yield from some(0, "backward_input", "backward_weight")
    # Stage i has i weight gradients left of each chunk.
    for chunk in (1, 0):
        yield from islice(passes["backward_weight", chunk], stage)


def _numbered(kind: Kind, chunk: int) -> Iterator[Task]:
    return (Task(kind, micro_batch, chunk) for micro_batch in count())


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 2) -> float:
    """Most activations held at once, in units of the stage's activations of one micro-batch.

    ``min(2 p, m + min(m, i + 1)) / 2``: ``p`` from ``2 p - 1`` micro-batches on, as 1F1B.
    """
    _check(stage, stages, micro_batches, virtual_stages)
    return min(2 * stages, micro_batches + min(micro_batches, stage + 1)) / 2


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 2) -> float:
    """Micro-batches held whose weight gradients alone are still to come when most activations are held: none."""
    return 0.0


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 2, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank, for ``m >= 2 p - 1``, stages that are alike and sends that are free.

    ``(p - 1)(F + B - 2 W) / (2 m (F + B + W))`` for ``F = B >= W``, with the times of one chunk; 0 where all are alike.
    The paper has the latter only. Where forward and backward passes differ the longest path knows.
    """
    _check(0, stages, micro_batches, virtual_stages)
    idle = (stages - 1) * max(0.0, times.forward + times.backward_input - 2.0 * times.backward_weight)
    return idle / (2 * micro_batches * times.all)


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one."""
    return 1
