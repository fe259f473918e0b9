"""Step times in closed form, for whole batches of strategies at once.

The equations are those of `composition.bound`, which is their plain, scalar twin; tests hold the two equal to the
tick. Here they run over arrays: axes S (strategies), R (roles of stages: first, middle, last), G (blocks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .constants import Constants
from .kernels.optable import Floats, Ints
from .lowering import ROLES, Lowered
from .pricing import price, ticks
from .stepspec import GRADIENT_MODES, PARTS, PICOSECONDS_PER_SECOND, SCHEDULES, BlockSpec, StageSpec, StepSpec, StepTime

_SHARDED = GRADIENT_MODES.index("sharded")
_BACKWARD = GRADIENT_MODES.index("backward")
_AFTER = GRADIENT_MODES.index("after")
_ROLE_NAMES = ("first", "middle", "last")

#: Micro-batches of sharded passes that are followed one by one; from then on every one takes as long as the last.
_FOLLOWED = 4


@dataclass(frozen=True, kw_only=True)
class StepBatch:
    """Priced strategies in whole picoseconds: what many `StepSpec` hold, as columns."""

    lowered: Lowered
    forward_ps: Ints  # (S, G)
    backward_ps: Ints
    forward_tensor_ps: Ints
    backward_tensor_ps: Ints
    gather_ps: Ints
    reduce_ps: Ints
    send_ps: Ints  # (S,)
    fixed_ps: Ints
    reduce_after_ps: Ints  # (S, R)
    optimizer_ps: Ints
    update_gather_ps: Ints

    def spec(self, index: int) -> StepSpec:
        """One strategy as a `StepSpec`, for the event engine and for reading."""
        low = self.lowered
        virtual = int(low.virtual_stages[index])
        stages: list[StageSpec] = []
        for role in range(ROLES):
            repeats = low.repeat[index, role]
            for _ in range(int(low.role_stages[index, role])):
                stages.append(
                    StageSpec(
                        name=f"stage {len(stages)} ({_ROLE_NAMES[role]})" if low.pp[index] > 1 else "stage 0",
                        chunks=tuple(
                            tuple(self._block(index, g, int(count)) for g, count in enumerate(chunk) if count)
                            for chunk in split_chunks(repeats, virtual)
                        ),
                        reduce_after_ps=int(self.reduce_after_ps[index, role]),
                        optimizer_ps=int(self.optimizer_ps[index, role]),
                        update_gather_ps=int(self.update_gather_ps[index, role]),
                    )
                )
        return StepSpec(
            stages=tuple(stages), micro_batches=int(low.micro_batches[index]),
            schedule=SCHEDULES[low.schedule[index]], gradient_mode=GRADIENT_MODES[low.gradient_mode[index]],
            send_ps=int(self.send_ps[index]), fixed_ps=int(self.fixed_ps[index]),
        )  # fmt: skip

    def _block(self, index: int, block: int, repeat: int) -> BlockSpec:
        low = self.lowered
        name = low.block_names[block] if block < len(low.block_names) else f"block {block}"
        values = {
            f: int(getattr(self, f)[index, block])
            for f in ("forward_ps", "backward_ps", "forward_tensor_ps", "backward_tensor_ps", "gather_ps", "reduce_ps")
        }
        return BlockSpec(name=name, repeat=repeat, **values)


def split_chunks(repeats: Ints, virtual_stages: int) -> Ints:
    """Blocks of a stage over its virtual stages, shape (v, G).

    The most repeated block is spread, early chunks taking one more where it does not divide; blocks before it stay in
    the first chunk, blocks after it in the last.
    """
    chunks = np.zeros((virtual_stages, len(repeats)), np.int64)
    spread = int(np.argmax(repeats))
    chunks[0, :spread] = repeats[:spread]
    chunks[-1, spread + 1 :] = repeats[spread + 1 :]
    share, rest = divmod(int(repeats[spread]), virtual_stages)
    chunks[:, spread] = share + (np.arange(virtual_stages) < rest)
    return chunks


@dataclass(frozen=True, kw_only=True)
class StepTimes:
    """Step times of a batch; every field has shape (S,) [ps]. Parts as in `StepTime`."""

    compute_ps: Ints
    tensor_ps: Ints
    pipeline_ps: Ints
    bubble_ps: Ints
    data_ps: Ints
    optimizer_ps: Ints
    fixed_ps: Ints

    @property
    def total_ps(self) -> Ints:
        """Length of every step [ps]."""
        return np.asarray(sum(getattr(self, f"{part}_ps") for part in PARTS), dtype=np.int64)

    @property
    def total_s(self) -> Floats:
        """Length of every step [s]."""
        return np.asarray(self.total_ps / PICOSECONDS_PER_SECOND)

    def __getitem__(self, index: int) -> StepTime:
        return StepTime(engine="analytic", **{f"{part}_ps": int(getattr(self, f"{part}_ps")[index]) for part in PARTS})


def batch(lowered: Lowered, constants: Constants) -> StepBatch:
    """Price lowered strategies and round their durations to picoseconds, once."""
    d = price(lowered, constants)
    names = ("forward", "backward", "forward_tensor", "backward_tensor", "gather", "reduce", "send", "fixed", "reduce_after", "optimizer", "update_gather")  # fmt: skip
    return StepBatch(lowered=lowered, **{f"{name}_ps": ticks(getattr(d, f"{name}_s")) for name in names})


def step_times(steps: StepBatch) -> StepTimes:
    """Every strategy's step time; see `composition.bound` for the equations."""
    low = steps.lowered
    v, m = low.virtual_stages, low.micro_batches
    first_forward = _stage_sum(low, steps.forward_ps + steps.forward_tensor_ps)
    first_backward = _stage_sum(low, steps.backward_ps + steps.backward_tensor_ps)
    forward_sends, backward_sends = _sends(low)
    forward = first_forward + forward_sends * steps.send_ps[:, None]
    backward = first_backward + backward_sends * steps.send_ps[:, None]
    both = forward + backward
    present = low.role_stages > 0
    pace = np.argmax(np.where(present, both, -1), axis=1)
    rows = np.arange(low.strategies)
    slowest = both[rows, pace]
    total = np.sum(both * low.role_stages, axis=1)
    pipeline = m * slowest + _divide_up(total - slowest, v)
    gradients = _gradients_done(steps, pipeline, backward)
    sharded = np.flatnonzero(low.gradient_mode == _SHARDED)
    if len(sharded):
        gradients[sharded] = _sharded_ps(steps, sharded)
    compute = m * _stage_sum(low, steps.forward_ps + steps.backward_ps)[rows, pace]
    tensor = m * _stage_sum(low, steps.forward_tensor_ps + steps.backward_tensor_ps)[rows, pace]
    return StepTimes(
        compute_ps=compute, tensor_ps=tensor, pipeline_ps=m * slowest - compute - tensor,
        bubble_ps=pipeline - m * slowest, data_ps=gradients - pipeline,
        optimizer_ps=np.max(np.where(present, steps.optimizer_ps, 0), axis=1)
        + np.max(np.where(present, steps.update_gather_ps, 0), axis=1),
        fixed_ps=steps.fixed_ps,
    )  # fmt: skip


def evaluate(lowered: Lowered, constants: Constants) -> StepTimes:
    """Price and compose in one call."""
    return step_times(batch(lowered, constants))


def _divide_up(dividend: Ints, divisor: Ints) -> Ints:
    return np.asarray(-(-dividend // divisor), dtype=np.int64)


def _stage_sum(low: Lowered, per_block: Ints) -> Ints:
    """Sum of a per-block quantity over each role's blocks; (S, G) -> (S, R)."""
    return np.asarray(np.sum(low.repeat * per_block[:, None, :], axis=2), dtype=np.int64)


def _sends(low: Lowered) -> tuple[Ints, Ints]:
    """Sends of one micro-batch by role and direction, (S, R) each: none out of the model's ends."""
    v, several = low.virtual_stages, low.pp > 1
    forward = np.stack([v, v, v - 1], axis=1) * several[:, None]
    backward = np.stack([v - 1, v, v], axis=1) * several[:, None]
    return forward, backward


def _gradients_done(steps: StepBatch, pipeline: Ints, backward: Ints) -> Ints:
    """When the last gradient is exchanged, modes "none", "after" and "backward"; (S,) [ps]."""
    low = steps.lowered
    v = low.virtual_stages
    # Stages later in the pipeline end their last backward pass earlier, by the passes that still run before them. Of
    # the middle stages the first ends last.
    before = np.stack(
        [np.zeros_like(pipeline), backward[:, 0], backward[:, 0] + backward[:, 1] * np.maximum(low.pp - 2, 0)], axis=1
    )
    left = pipeline[:, None] - _divide_up(before, v[:, None])
    exposed = np.where((low.gradient_mode == _AFTER)[:, None], steps.reduce_after_ps, 0)
    overlapped = np.flatnonzero(low.gradient_mode == _BACKWARD)
    if len(overlapped):
        exposed[overlapped] = _exposed_ps(steps, overlapped)
    end = np.where(low.role_stages > 0, left + exposed, 0)
    return np.maximum(pipeline, np.max(end, axis=1))


def _exposed_ps(steps: StepBatch, chosen: Ints) -> Ints:
    """Exchange that does not hide under the last backward pass, mode "backward"; (chosen, R) [ps].

    Within a run of like blocks the end of the stream is linear in the position, so that its maximum stands at the run's
    first or last block.
    """
    low = steps.lowered
    repeat = low.repeat[chosen]
    v = low.virtual_stages[chosen][:, None]
    spread = np.argmax(repeat, axis=2)
    index = np.arange(repeat.shape[2])
    at = index[None, None, :] == spread[:, :, None]
    after = index[None, None, :] > spread[:, :, None]
    first_chunk = np.where(at, _divide_up(repeat, v[:, :, None]), np.where(after & (v > 1)[:, :, None], 0, repeat))
    reduce_ps = steps.reduce_ps[chosen][:, None, :]
    unit = (steps.backward_ps + steps.backward_tensor_ps)[chosen][:, None, :]
    to_come = np.sum(first_chunk * reduce_ps, axis=2)
    end = to_come + np.sum((repeat - first_chunk) * reduce_ps, axis=2)
    ready = np.zeros_like(end)
    for block in range(repeat.shape[2] - 1, -1, -1):
        count, time, cost = first_chunk[:, :, block], unit[:, :, block], reduce_ps[:, :, block]
        some = count > 0
        at_first = ready + time + to_come
        at_last = ready + count * time + to_come - (count - 1) * cost
        end = np.where(some, np.maximum(end, np.maximum(at_first, at_last)), end)
        ready = ready + count * time
        to_come = to_come - count * cost
    return np.maximum(0, end - ready)


def _sharded_ps(steps: StepBatch, chosen: Ints) -> Ints:
    """All passes of strategies whose parameters are gathered block by block; (chosen,) [ps].

    The recurrence of `composition.sharded_passes_ps`, over arrays; identical micro-batches are followed until they are
    periodic.
    """
    low = steps.lowered
    repeat = low.repeat[chosen, 0]
    micro_batches = low.micro_batches[chosen]
    forward = (steps.forward_ps + steps.forward_tensor_ps)[chosen]
    backward = (steps.backward_ps + steps.backward_tensor_ps)[chosen]
    gather, reduce_ps = steps.gather_ps[chosen], steps.reduce_ps[chosen]
    zero = np.zeros(len(chosen), np.int64)
    reduced_two_ago, reduced, begun, done, to_reduce = (zero.copy() for _ in range(5))
    no_reduce = np.ones(len(chosen), bool)
    blocks = range(repeat.shape[1])
    ends: list[Ints] = []
    for _ in range(int(min(_FOLLOWED, micro_batches.max()))):
        for order, time, is_forward in ((blocks, forward, True), (reversed(blocks), backward, False)):
            for block in order:
                for position in range(int(repeat[:, block].max())):
                    active = position < repeat[:, block]
                    gathered = np.maximum(reduced_two_ago, begun) + gather[:, block]
                    before = np.where(no_reduce, gathered, np.maximum(gathered, done) + to_reduce)
                    start = np.maximum(done, gathered)
                    finish = start + time[:, block]
                    reduced_two_ago = np.where(active, before, reduced_two_ago)
                    begun = np.where(active, start, begun)
                    done = np.where(active, finish, done)
                    reduced = np.where(active, before, reduced)
                    no_reduce = np.where(active, is_forward, no_reduce)
                    to_reduce = np.where(active, 0 if is_forward else reduce_ps[:, block], to_reduce)
        ends.append(np.maximum(done, reduced) + np.where(no_reduce, 0, to_reduce))
    followed = np.stack(ends)
    last = np.minimum(micro_batches, len(ends)) - 1
    rows = np.arange(len(chosen))
    period = np.where(last > 0, followed[last, rows] - followed[np.maximum(last - 1, 0), rows], 0)
    return np.asarray(followed[last, rows] + (micro_batches - 1 - last) * period, dtype=np.int64)
