"""DualPipe: micro-batches enter at both ends, so that every rank holds two stages and forward meets backward passes.

Half of the micro-batches go down the ranks (chunk 0, micro-batches 0 to m / 2 - 1), half go up (chunk 1, the others):
rank ``i`` holds stage ``i`` for the first and stage ``p - 1 - i`` for the second, so that a pipeline holds two copies
of the model. In between each rank runs a forward pass one way and a backward pass the other way in turn. Those two
wait for nothing of each other, so that the exchanges of one may run under the compute of the other. At both ends
weight gradients run apart.

Leaves out: that a forward and a backward pass run at once, kernel by kernel. Here they run one after the other and each
passes on what it has when it is done.

References
----------
DeepSeek-AI, DeepSeek-V3 Technical Report, 2024, arXiv:2412.19437, section 3.2.1 and table 2; deepseek-ai/DualPipe.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from simulator.schedules.task import EQUAL_PASSES, PassTimes, Task, Traits, check_not_interleaved, check_shape

TRAITS: Final = Traits(route="both_ways", sends_hold=False, parameter_copies=2)


def order(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> Iterator[Task]:
    """Tasks of one rank in the order it runs them, made as they are asked for. Raises ValueError."""
    _check(stage, stages, micro_batches, virtual_stages)
    return _tasks(stage, stages, micro_batches)


def _check(stage: int, stages: int, micro_batches: int, virtual_stages: int) -> None:
    check_shape(stage=stage, stages=stages, micro_batches=micro_batches, virtual_stages=virtual_stages)
    check_not_interleaved("dualpipe", virtual_stages)
    if stages % 2:
        raise ValueError(f"dualpipe: {stages} stages; must be even, for example {stages + 1}.")
    if micro_batches % 2 or micro_batches < 2 * stages:
        nearest = max(2 * stages, micro_batches + micro_batches % 2)
        raise ValueError(
            f"dualpipe: {micro_batches} micro-batches on {stages} stages; "
            f"must be even and at least twice the stages, for example {nearest}."
        )


class _Way:
    """The micro-batches of one direction on one rank, counted as they go."""

    def __init__(self, chunk: int, first: int) -> None:
        self.chunk = chunk
        self.forward_next = self.backward_next = first

    def forward(self) -> Task:
        self.forward_next += 1
        return Task("forward", self.forward_next - 1, self.chunk)

    def backward(self) -> Task:
        self.backward_next += 1
        return Task("backward", self.backward_next - 1, self.chunk)


def _tasks(stage: int, stages: int, micro_batches: int) -> Iterator[Task]:
    half = stages // 2
    near = min(stage, stages - 1 - stage)  # steps to the nearer end
    left = half - 1 - near  # steps to the middle
    # `own` enters at the nearer end, `other` comes from the far one.
    down, up = _Way(0, 0), _Way(1, micro_batches // 2)
    own, other = (down, up) if stage < half else (up, down)
    waiting: list[Task] = []

    def inputs(way: _Way) -> Task:
        whole = way.backward()
        waiting.append(whole._replace(kind="backward_weight"))
        return whole._replace(kind="backward_input")

    for _ in range(2 * left):
        yield own.forward()
    for _ in range(near + 1):
        yield own.forward()
        yield other.forward()
    for _ in range(left):
        yield inputs(other)
        yield waiting.pop(0)
        yield other.forward()
    for _ in range(micro_batches // 2 - stages + near + 1):
        yield own.forward()
        yield other.backward()
        yield other.forward()
        yield own.backward()
    for _ in range(left):
        yield other.backward()
        yield other.forward()
        yield own.backward()
    # The last backward passes alternate; from the middle of them on their weight gradients run apart.
    for k in range(2 * (near + 1)):
        way = own if k % 2 else other
        yield inputs(way) if k > near else way.backward()
    for _ in range(left):
        yield waiting.pop(0)
        yield inputs(own)
    yield from waiting


def activations_in_flight(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Most activations held at once, in units of a stage's activations of one micro-batch: ``p + 1``, both ways."""
    _check(stage, stages, micro_batches, virtual_stages)
    return float(stages + 1)


def weight_gradients_waiting(stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> float:
    """Micro-batches held whose weight gradients alone are still to come when most activations are held: none."""
    return 0.0


def bubble_fraction(stages: int, micro_batches: int, virtual_stages: int = 1, times: PassTimes = EQUAL_PASSES) -> float:
    """Idle time over useful time of a rank, stages alike, sends free.

    ``(p/2 - 1) max(F + B - W, 2 (F - W)) / (m (F + B + W))`` for ``W <= F`` and ``B <= F + W``; beyond that a little
    more. The paper has ``(p/2 - 1)(F&B + B' - 3 W)`` in time, ``B' = B + W`` the whole backward pass and ``F&B`` a
    forward and a backward pass that run at once and both pass on their results at the end; without gain from it,
    ``F&B = F + B'``, that is ``(p/2 - 1) B`` more than here where each passes on its result when it has it.
    """
    _check(0, stages, micro_batches, virtual_stages)
    ahead = times.forward - times.backward_weight
    idle = (stages // 2 - 1) * max(ahead + times.backward_input, 2.0 * ahead)
    return idle / (micro_batches * times.all)


def weight_versions(stage: int, stages: int, micro_batches: int) -> int:
    """Versions of the weights that a stage keeps: one (of each of its two stages)."""
    return 1
