"""1F1B, interleaved or not, and GPipe in closed form, by the roles of stages: the chains of `composition.chains`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..kernels.optable import Ints
from ..lowering import Lowered
from ..stepspec import SCHEDULES
from .layers import RoleBlocks
from .steps import StepBatch

_INTERLEAVED = SCHEDULES.index("interleaved")


def stage_sum(repeats: Ints, per_block: Ints) -> Ints:
    """Sum of a per-block quantity over each role's blocks; (S, G) -> (S, R)."""
    return np.asarray(np.sum(repeats * per_block[:, None, :], axis=2), dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Passes of one micro-batch by role, sends included; (S, R) each [ps]."""

    forward: Ints  # through all chunks
    backward: Ints
    first_forward: Ints  # through the first chunk
    first_backward: Ints
    last_forward: Ints  # through the last chunk
    last_backward: Ints


def role_passes(steps: StepBatch, blocks: RoleBlocks) -> Passes:
    """Passes of every role, the sends that hold it included."""
    low = steps.lowered
    forward, backward = steps.forward_ps + steps.forward_tensor_ps, steps.backward_ps + steps.backward_tensor_ps
    chunks = low.virtual_stages[:, None]
    send = np.where(low.pp > 1, steps.send_ps, 0)[:, None]
    # Nothing is sent after the model's last chunk, nor back before its first.
    no_forward, no_backward = np.array([0, 0, 1]), np.array([1, 0, 0])
    whole = (
        stage_sum(blocks.whole, forward) + (chunks - no_forward) * send,
        stage_sum(blocks.whole, backward) + (chunks - no_backward) * send,
    )
    if (low.virtual_stages == 1).all():
        first, last = whole, whole
    else:
        single = chunks == 1
        first = (
            stage_sum(blocks.first, forward) + (1 - no_forward * single) * send,
            stage_sum(blocks.first, backward) + (1 - no_backward) * send,
        )
        last = (
            stage_sum(blocks.last, forward) + (1 - no_forward) * send,
            stage_sum(blocks.last, backward) + (1 - no_backward * single) * send,
        )
    return Passes(
        forward=whole[0], backward=whole[1], first_forward=first[0], first_backward=first[1],
        last_forward=last[0], last_backward=last[1],
    )  # fmt: skip


def gpipe_done(low: Lowered, passes: Passes) -> Ints:
    """End of the last backward pass by role under GPipe; a middle stage is the first of its kind; (S, R) [ps]."""
    count, present = low.role_stages, low.role_stages > 0
    forward, backward = np.where(present, passes.forward, 0), np.where(present, passes.backward, 0)
    more = (low.micro_batches - 1)[:, None]
    turned = np.sum(forward * count, axis=1, keepdims=True) + more * np.max(forward, axis=1, keepdims=True)
    behind = np.cumsum((backward * count)[:, ::-1], axis=1)[:, ::-1]
    slowest = np.maximum.accumulate(backward[:, ::-1], axis=1)[:, ::-1]
    return np.asarray(turned + behind + more * slowest, dtype=np.int64)


def chains_done(low: Lowered, passes: Passes) -> Ints:
    """End of the last backward pass by role under 1F1B, interleaved or not; (S, R) [ps].

    The chains of `composition.chains.last_passes_done_ps`, with its letters. Middle stages are alike, so that a chain's
    length depends on its stage ``k`` only through its place. Between the places where a minimum in the count ``a``
    changes sides the length is a sum and maximum of linear functions of ``k``, hence convex, hence largest at either
    end of such a run: the first and the last stage, and of the middle ones the two outermost and those on both sides of
    the changes (at most two), are enough. Of all middle stages the first ends its last backward pass last.
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
