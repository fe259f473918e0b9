"""Step times in closed form, for whole batches of strategies at once.

The equations are those of `composition`, which is their plain, scalar twin; tests hold the two equal to the
tick. Here they run over arrays: axes S (strategies), R (roles of stages: first, middle, last), G (blocks).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .constants import Constants
from .kernels.optable import Floats, Ints
from .lowering import ROLES, Lowered
from .pricing import price, ticks
from .stepspec import GRADIENT_MODES, PARTS, PICOSECONDS_PER_SECOND, SCHEDULES, BlockSpec, StageSpec, StepSpec, StepTime
from .traffic import Traffic

_SHARDED = GRADIENT_MODES.index("sharded")
_BACKWARD = GRADIENT_MODES.index("backward")
_AFTER = GRADIENT_MODES.index("after")
_GPIPE = SCHEDULES.index("gpipe")
_INTERLEAVED = SCHEDULES.index("interleaved")
_ROLE_NAMES = ("first", "middle", "last")

#: Micro-batches of sharded passes that are followed one by one, at most; from then on each takes as long as the last.
_FOLLOWED = 64


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


def batch(lowered: Lowered, constants: Constants, traffic: Traffic | None = None) -> StepBatch:
    """Price lowered strategies and round their durations to picoseconds, once."""
    d = price(lowered, constants, traffic)
    names = (
        "forward", "backward", "forward_tensor", "backward_tensor", "gather", "reduce", "send", "fixed",
        "reduce_after", "optimizer", "update_gather",
    )  # fmt: skip
    return StepBatch(lowered=lowered, **{f"{name}_ps": ticks(getattr(d, f"{name}_s")) for name in names})


def step_times(steps: StepBatch) -> StepTimes:
    """Every strategy's step time; see `composition.bound` for the equations."""
    low = steps.lowered
    m = low.micro_batches
    passes = _passes(steps)
    both = passes.forward + passes.backward
    present = low.role_stages > 0
    pace = np.argmax(np.where(present, both, -1), axis=1)
    rows = np.arange(low.strategies)
    busy = m * both[rows, pace]
    done = np.where((low.schedule == _GPIPE)[:, None], _gpipe_done(low, passes), _chains_done(low, passes))
    pipeline = done[:, 0]
    gradients = _gradients_done(steps, done)
    sharded = np.flatnonzero(low.gradient_mode == _SHARDED)
    if len(sharded):
        gradients[sharded] = _sharded_ps(steps, sharded)
    compute = m * _stage_sum(low, steps.forward_ps + steps.backward_ps)[rows, pace]
    tensor = m * _stage_sum(low, steps.forward_tensor_ps + steps.backward_tensor_ps)[rows, pace]
    return StepTimes(
        compute_ps=compute, tensor_ps=tensor, pipeline_ps=busy - compute - tensor,
        bubble_ps=pipeline - busy, data_ps=gradients - pipeline,
        optimizer_ps=np.max(np.where(present, steps.optimizer_ps, 0), axis=1)
        + np.max(np.where(present, steps.update_gather_ps, 0), axis=1),
        fixed_ps=steps.fixed_ps,
    )  # fmt: skip


def evaluate(lowered: Lowered, constants: Constants, traffic: Traffic | None = None) -> StepTimes:
    """Price and compose in one call; ``traffic`` as in `pricing.price`."""
    return step_times(batch(lowered, constants, traffic))


def _divide_up(dividend: Ints, divisor: Ints) -> Ints:
    return np.asarray(-(-dividend // divisor), dtype=np.int64)


def _stage_sum(low: Lowered, per_block: Ints) -> Ints:
    """Sum of a per-block quantity over each role's blocks; (S, G) -> (S, R)."""
    return np.asarray(np.sum(low.repeat * per_block[:, None, :], axis=2), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class _Passes:
    """Passes of one micro-batch by role, sends included; (S, R) each [ps]."""

    forward: Ints  # through all chunks
    backward: Ints
    first_forward: Ints  # through the first chunk
    first_backward: Ints
    last_forward: Ints  # through the last chunk
    last_backward: Ints


def _passes(steps: StepBatch) -> _Passes:
    low = steps.lowered
    forward, backward = steps.forward_ps + steps.forward_tensor_ps, steps.backward_ps + steps.backward_tensor_ps
    chunks = low.virtual_stages[:, None]
    send = np.where(low.pp > 1, steps.send_ps, 0)[:, None]
    # Nothing is sent after the model's last chunk, nor back before its first.
    no_forward, no_backward = np.array([0, 0, 1]), np.array([1, 0, 0])
    whole = (
        _stage_sum(low, forward) + (chunks - no_forward) * send,
        _stage_sum(low, backward) + (chunks - no_backward) * send,
    )
    if (low.virtual_stages == 1).all():
        first, last = whole, whole
    else:
        single = chunks == 1
        at_first, at_last = _first_chunk(low.repeat, low.virtual_stages), _last_chunk(low.repeat, low.virtual_stages)
        first = (
            np.sum(at_first * forward[:, None, :], axis=2) + (1 - no_forward * single) * send,
            np.sum(at_first * backward[:, None, :], axis=2) + (1 - no_backward) * send,
        )
        last = (
            np.sum(at_last * forward[:, None, :], axis=2) + (1 - no_forward) * send,
            np.sum(at_last * backward[:, None, :], axis=2) + (1 - no_backward * single) * send,
        )
    return _Passes(
        forward=whole[0], backward=whole[1], first_forward=first[0], first_backward=first[1],
        last_forward=last[0], last_backward=last[1],
    )  # fmt: skip


def _first_chunk(repeat: Ints, virtual_stages: Ints) -> Ints:
    """Blocks in the first chunk of `split_chunks`; (S, R, G)."""
    v = virtual_stages[:, None, None]
    at, _, after = _around_spread(repeat)
    return np.asarray(np.where(at, _divide_up(repeat, v), np.where(after & (v > 1), 0, repeat)), dtype=np.int64)


def _last_chunk(repeat: Ints, virtual_stages: Ints) -> Ints:
    """Blocks in the last chunk of `split_chunks`; (S, R, G)."""
    v = virtual_stages[:, None, None]
    at, before, _ = _around_spread(repeat)
    return np.asarray(np.where(at, repeat // v, np.where(before & (v > 1), 0, repeat)), dtype=np.int64)


def _around_spread(repeat: Ints) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Where the block stands that is spread over chunks, what is before and what after it; (S, R, G) each."""
    spread = np.argmax(repeat, axis=2)[:, :, None]
    index = np.arange(repeat.shape[2])
    return index == spread, index < spread, index > spread


def _gpipe_done(low: Lowered, passes: _Passes) -> Ints:
    """End of the last backward pass by role under GPipe; a middle stage is the first of its kind; (S, R) [ps]."""
    count, present = low.role_stages, low.role_stages > 0
    forward, backward = np.where(present, passes.forward, 0), np.where(present, passes.backward, 0)
    more = (low.micro_batches - 1)[:, None]
    turned = np.sum(forward * count, axis=1, keepdims=True) + more * np.max(forward, axis=1, keepdims=True)
    behind = np.cumsum((backward * count)[:, ::-1], axis=1)[:, ::-1]
    slowest = np.maximum.accumulate(backward[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(turned + behind + more * slowest, dtype=np.int64)


def _chains_done(low: Lowered, passes: _Passes) -> Ints:
    """End of the last backward pass by role under 1F1B, interleaved or not; (S, R) [ps].

    The chains of `composition.last_passes_done_ps`, with its letters. Middle stages are alike, so that a chain's length
    depends on its stage ``k`` only through its place. Between the places where a minimum in the count ``a`` changes
    sides the length is a sum and maximum of linear functions of ``k``, hence convex, hence largest at either end of
    such a run: the first and the last stage, and of the middle ones the two outermost and those on both sides of the
    changes (at most two), are enough. Of all middle stages the first ends its last backward pass last.
    """
    p, m, v = low.pp[:, None], low.micro_batches[:, None], low.virtual_stages[:, None]
    several, single = p > 2, v == 1
    stride = 1 + (low.schedule == _INTERLEAVED)[:, None]
    most = m * v - 1 - (v - 1) * p
    # Columns: the first stage, middle stages, the last stage. `change` is the last stage before a change.
    changes = [p - 1 - -(-most // stride)]
    if (stride > 1).any():
        changes.append(p - 1 - -(-(p - 1) // stride))
    places = np.concatenate([np.ones_like(p), *(c + d for c in changes for d in (0, 1)), p - 2], axis=1)
    places = np.clip(places, 1, np.maximum(p - 2, 1))
    k = np.concatenate([np.zeros_like(p), places, p - 1], axis=1)
    role = np.array([0, *[1] * places.shape[1], 2])
    present = (low.role_stages > 0)[:, role]
    f, b, g, h = passes.first_forward, passes.first_backward, passes.last_forward, passes.last_backward
    middles = low.role_stages[:, 1][:, None]
    # How many middle stages are before and behind stage k.
    before = np.where(role == 0, 0, np.where(role == 1, k - 1, middles))
    behind = np.where(role == 0, middles, np.where(role == 1, middles - k, 0))
    past_first, ends_later = role > 0, (role < 2) & (p > 1)
    lead_f, lead_b = (past_first * x[:, :1] + before * x[:, 1:2] for x in (f, b))
    down_g, down_h = (ends_later * x[:, 2:] + behind * x[:, 1:2] for x in (g, h))
    trip = down_g + down_h

    wanted = stride * (p - 1 - k)
    apart = wanted < most
    count = np.minimum(wanted, most)
    in_last = np.minimum(count, p - 1)
    first_wait = trip - (in_last * g[:, role] + (count - in_last) * f[:, role])
    returning = in_last * h[:, role] + (count - in_last) * b[:, role]
    last_wait = trip - returning
    handed = np.where(single, count, p - 1)

    def idle(taken: Ints) -> Ints:
        """Waits of a chain, (S, columns); `taken` is D."""
        fed_in, taken_in = np.where(single, fed, 0), np.where(single, taken, 0)
        two = np.maximum(fed_in, first_wait) + np.maximum(taken_in, last_wait)
        one = np.maximum(np.maximum(fed_in + taken_in, first_wait + taken_in), fed_in + last_wait)
        return np.asarray(np.where(single, 0, fed + taken) + np.where(apart, two, one), dtype=np.int64)

    def upstream(x: Ints, start: int) -> Ints:
        """Excess of the slowest stage from the one of role `start` up to k over k's; (S, columns)."""
        excess = np.zeros(k.shape, np.int64)
        for r in range(start, 2):
            counts = (role > r) & (low.role_stages[:, r] > 0)[:, None]
            excess = np.maximum(excess, np.where(counts, x[:, r : r + 1] - x[:, role], 0))
        return excess

    fed = handed * upstream(f, 0)
    busy = m * (passes.forward + passes.backward)[:, role]
    base = lead_f + busy + lead_b
    nothing = np.iinfo(np.int64).min // 4  # room to add to it
    whole = np.where(present, base + idle(handed * upstream(b, 0)), nothing)
    later = np.where(present, base + idle(handed * upstream(b, 1)), nothing)
    done_first = np.max(whole, axis=1)
    done_middle = np.max(later[:, 1:], axis=1) - b[:, 0]
    # The last stage sends nothing on and nothing comes back to it: all it may do is be fed late.
    done_last = (lead_f + busy + fed)[:, -1]

    # Held up by the last forward pass of an earlier stage.
    start = np.where(
        single, np.where(apart, np.maximum(fed, first_wait), fed), fed + np.where(apart, np.maximum(0, first_wait), 0)
    )
    rest = h + p * (passes.backward - h)
    sent_down = np.where(present, lead_f + busy + start - returning - rest[:, role] + down_g, nothing)
    # On its way up a pass may leave the chain at any middle stage; a length linear in its place, so at either end.
    last_sent_down = np.max(sent_down[:, :-1], axis=1)
    to_first = sent_down[:, 0] + (middles[:, 0] - 1) * h[:, 1]
    to_last = last_sent_down + (middles[:, 0] - 1) * b[:, 1]
    done_middle = np.maximum(done_middle, np.maximum(to_first, to_last) + h[:, 2] + rest[:, 1])
    done_last = np.maximum(done_last, last_sent_down + rest[:, 2])
    done_middle = np.maximum(done_middle, done_last + middles[:, 0] * b[:, 1])
    next_done = np.where(several[:, 0], done_middle, done_last)
    done_first = np.where(low.pp > 1, np.maximum(done_first, next_done + b[:, 0]), done_first)
    return np.stack([done_first, np.where(several[:, 0], done_middle, 0), np.where(low.pp > 1, done_last, 0)], axis=1)


def _gradients_done(steps: StepBatch, done: Ints) -> Ints:
    """When the last gradient is exchanged, modes "none", "after" and "backward"; (S,) [ps].

    ``done`` is when the last backward pass ends by role, (S, R); of the middle stages the first counts.
    """
    low = steps.lowered
    exposed = np.where((low.gradient_mode == _AFTER)[:, None], steps.reduce_after_ps, 0)
    overlapped = np.flatnonzero(low.gradient_mode == _BACKWARD)
    if len(overlapped):
        exposed[overlapped] = _exposed_ps(steps, overlapped)
    return np.asarray(np.max(np.where(low.role_stages > 0, done + exposed, 0), axis=1), dtype=np.int64)


def _exposed_ps(steps: StepBatch, chosen: Ints) -> Ints:
    """Exchange that does not hide under the last backward pass and its send, mode "backward"; (chosen, R) [ps].

    Within a run of like blocks the end of the stream is linear in the position, so that its maximum stands at the run's
    first or last block.
    """
    low = steps.lowered
    repeat = low.repeat[chosen]
    first_chunk = _first_chunk(repeat, low.virtual_stages[chosen])
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
    # The first stage sends nothing back.
    ready = ready + np.where(low.pp > 1, steps.send_ps, 0)[chosen][:, None] * np.array([0, 1, 1])
    return np.asarray(np.maximum(0, end - ready), dtype=np.int64)


def _sharded_ps(steps: StepBatch, chosen: Ints) -> Ints:
    """All passes of strategies whose parameters are gathered block by block; (chosen,) [ps].

    The recurrence of `composition.sharded_passes_ps`, over arrays. GPipe runs all forward passes first, the others
    forward and backward in turn.
    """
    gpipe = steps.lowered.schedule[chosen] == SCHEDULES.index("gpipe")
    result = np.zeros(len(chosen), np.int64)
    for members, turns in ((~gpipe, ((True, False),)), (gpipe, ((True,), (False,)))):
        if members.any():
            visits = _ShardedVisits(steps, chosen[members])
            for passes in turns:
                visits.follow(passes)
            result[members] = np.maximum(visits.done, visits.reduced) + visits.to_reduce
    return result


class _ShardedVisits:
    """Where the compute stream and the data stream of sharded strategies stand, block after block; fields (rows,) [ps].

    ``reduced``: the data stream is done with what came before the last gather. ``begun`` and ``done``: the last block's
    compute. ``to_reduce``: the gradient exchange that waits for it, 0 in a forward pass.
    """

    def __init__(self, steps: StepBatch, chosen: Ints) -> None:
        low = steps.lowered
        self.repeat = low.repeat[chosen, 0]
        self.micro_batches = low.micro_batches[chosen]
        self.forward = (steps.forward_ps + steps.forward_tensor_ps)[chosen]
        self.backward = (steps.backward_ps + steps.backward_tensor_ps)[chosen]
        self.gather, self.reduce = steps.gather_ps[chosen], steps.reduce_ps[chosen]
        self.reduced, self.begun, self.done, self.to_reduce = (np.zeros(len(chosen), np.int64) for _ in range(4))
        self.no_reduce = np.ones(len(chosen), bool)

    def follow(self, passes: tuple[bool, ...]) -> None:
        """Run the passes (True: forward) of every micro-batch.

        Each micro-batch does the same, so that once the streams stand to each other as they stood one micro-batch
        before, every further one takes as long as the last. Rows are followed until that is so.
        """
        rows = np.arange(len(self.done))
        apart_before = done_before = None
        for followed in range(1, _FOLLOWED + 1):
            for is_forward in passes:
                self._run(rows, is_forward)
            left = self.micro_batches[rows] - followed
            done, reduced, begun = self.done[rows], self.reduced[rows], self.begun[rows]
            apart = np.stack([np.maximum(reduced, begun) - done, reduced - done])
            steady = left == 0
            if apart_before is not None and done_before is not None:
                # What is still unlike after many micro-batches differs by next to nothing.
                steady |= np.all(apart == apart_before, axis=0) | (followed == _FOLLOWED)
                shift = np.where(steady, left * (done - done_before), 0)
                for state in (self.reduced, self.begun, self.done):
                    state[rows] += shift
            rows, apart_before, done_before = rows[~steady], apart[:, ~steady], done[~steady]
            if not len(rows):
                return

    def _run(self, rows: Ints, is_forward: bool) -> None:
        """One pass over all blocks of one micro-batch."""
        repeat, gather, reduce_ps = self.repeat[rows], self.gather[rows], self.reduce[rows]
        time = (self.forward if is_forward else self.backward)[rows]
        reduced, begun, done, to_reduce = (a[rows] for a in (self.reduced, self.begun, self.done, self.to_reduce))
        no_reduce = self.no_reduce[rows]
        blocks = range(repeat.shape[1])
        for block in blocks if is_forward else reversed(blocks):
            for position in range(int(repeat[:, block].max())):
                active = position < repeat[:, block]
                gathered = np.maximum(reduced, begun) + gather[:, block]
                start = np.maximum(done, gathered)
                finish = start + time[:, block]
                before = np.where(no_reduce, gathered, np.maximum(gathered, done) + to_reduce)
                reduced = np.where(active, before, reduced)
                begun = np.where(active, start, begun)
                done = np.where(active, finish, done)
                no_reduce = np.where(active, is_forward, no_reduce)
                to_reduce = np.where(active, 0 if is_forward else reduce_ps[:, block], to_reduce)
        self.reduced[rows], self.begun[rows], self.done[rows] = reduced, begun, done
        self.to_reduce[rows], self.no_reduce[rows] = to_reduce, no_reduce
