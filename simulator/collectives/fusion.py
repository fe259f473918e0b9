"""Gradients grouped into buckets, sent while the backward pass runs, in order or by priority: what stays exposed.

Tensors come in the order in which the backward pass finishes them, last layer first, unless a docstring says forward
order. One exchange runs at a time, as on one communication stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .checks import counts, numbers, together, word
from .rounds import CollectiveError

MIB: Final = 2**20
#: "reach": a bucket closes once it holds at least its size (PyTorch's DistributedDataParallel). "fit": before it would
#: hold more, a larger tensor alone (Horovod).
RULES: Final = ("reach", "fit")


@dataclass(frozen=True, kw_only=True)
class Fusion:
    """How a framework groups gradients.

    ``bucket_byte`` and, for the first bucket only, ``first_bucket_byte`` (0: as the others) [B]; 0 sends every tensor
    alone. ``cycle_s``: tensors are collected only at multiples of it (0: at once) [s].
    """

    rule: str
    bucket_byte: int
    first_bucket_byte: int = 0
    cycle_s: float = 0.0

    def __post_init__(self) -> None:
        word("Fusion", "rule", self.rule, RULES)
        counts("Fusion", "bucket_byte", self.bucket_byte)
        counts("Fusion", "first_bucket_byte", self.first_bucket_byte)
        numbers("Fusion", "cycle_s", self.cycle_s)


#: PyTorch's defaults: 25 MiB, the first bucket 1 MiB so that the exchange starts early.
DDP: Final = Fusion(rule="reach", bucket_byte=25 * MIB, first_bucket_byte=MIB)
#: Horovod's defaults until 0.20 and from 0.21.0 (its release notes: 5 ms to 1 ms, 64 MB to 128 MB).
HOROVOD: Final = Fusion(rule="fit", bucket_byte=64 * MIB, cycle_s=5e-3)
HOROVOD_2020: Final = Fusion(rule="fit", bucket_byte=128 * MIB, cycle_s=1e-3)


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """Messages of one step in the order they are sent: bytes [B], when their last tensor is there [s], and which
    bucket each tensor went into."""

    byte: Ints
    ready_s: Floats
    bucket_of: Ints


def fill(fusion: Fusion, *, tensor_byte: ArrayLike, ready_s: ArrayLike) -> Buckets:
    """Group tensors greedily in the order given.

    A bucket is ready with its last tensor, or at the next multiple of the cycle. With a cycle only tensors that are
    ready at the same tick share a bucket. One dimension; ``ready_s`` must not fall.
    """
    size = counts("fusion.fill", "tensor_byte", tensor_byte)
    ready = _in_order(ready_s, size.shape)
    if fusion.cycle_s:
        # 1e-9 of a tick forgives a finish time that is a tick but for rounding.
        ready = fusion.cycle_s * np.ceil(ready / fusion.cycle_s - 1e-9)
    bucket_of = np.empty(size.size, dtype=np.int64)
    bucket, held = 0, 0
    for i, one in enumerate(map(int, size)):
        limit = fusion.first_bucket_byte if bucket == 0 and fusion.first_bucket_byte else fusion.bucket_byte
        apart = bool(fusion.cycle_s) and i > 0 and ready[i] > ready[i - 1]
        full = held >= limit if fusion.rule == "reach" else held + one > limit
        if i > 0 and (apart or full):
            bucket, held = bucket + 1, 0
        bucket_of[i] = bucket
        held += one
    if not size.size:
        return Buckets(byte=size, ready_s=ready, bucket_of=bucket_of)
    starts = np.flatnonzero(np.diff(bucket_of, prepend=-1))
    return Buckets(byte=np.add.reduceat(size, starts), ready_s=np.maximum.reduceat(ready, starts), bucket_of=bucket_of)


def cost_s(
    message_byte: ArrayLike, *, call_s: ArrayLike, byte_per_s: ArrayLike, slice_byte: ArrayLike = np.inf
) -> Floats:
    """Seconds of one message in equal calls of at most ``slice_byte``: every call pays its floor [s].

    .. math:: t = \\lceil M / s \\rceil t_{call} + M / \\beta

    ``byte_per_s`` is what the exchange makes of the message (its algorithm's bandwidth), the floor what one call costs
    inside the framework. Shapes broadcast.
    """
    where = "fusion.cost_s"
    size, rate = numbers(where, "message_byte", message_byte), numbers(where, "byte_per_s", byte_per_s, above=True)
    limit = np.asarray(slice_byte, dtype=np.float64)
    if not (limit > 0).all():
        raise CollectiveError(f"{where}: slice_byte is {limit.min():g}; above 0, or inf for messages that stay whole.")
    calls = np.where(size > 0, np.maximum(1.0, np.ceil(size / limit)), 0.0)
    return np.asarray(calls * numbers(where, "call_s", call_s) + size / rate)


def in_order_end_s(ready_s: ArrayLike, busy_s: ArrayLike) -> Floats:
    """When each of a queue's jobs ends, one at a time in the order given, each not before it is ready [s].

    .. math:: e_i = \\max_{j \\le i} \\left(r_j + \\sum_{m=j}^{i} c_m\\right)

    the recursion e_i = max(e_{i-1}, r_i) + c_i unrolled, so that it is one running maximum along the last axis; other
    axes broadcast.
    """
    where = "in_order_end_s"
    ready, busy = together(where, ready_s=numbers(where, "ready_s", ready_s), busy_s=numbers(where, "busy_s", busy_s))
    done = np.cumsum(busy, axis=-1)
    return np.asarray(done + np.maximum.accumulate(ready - (done - busy), axis=-1))


def exposed_s(*, ready_s: ArrayLike, busy_s: ArrayLike, backward_end_s: ArrayLike) -> Floats:
    """How much longer the exchange takes than the backward pass it hides under; buckets along the last axis [s]."""
    end = in_order_end_s(ready_s, busy_s)
    last = end[..., -1] if end.shape[-1] else np.zeros(end.shape[:-1])
    return np.asarray(np.maximum(0.0, last - numbers("exposed_s", "backward_end_s", backward_end_s)))


def priority_end_s(ready_s: ArrayLike, busy_s: ArrayLike) -> Floats:
    """When each layer's gradient has been exchanged if front layers go first; layers in forward order [s].

    Layer l is sent whenever no layer before it waits. All layers before it become ready after it, so it ends with the
    busy period that its own start opens:

    .. math:: e_l = r_l + \\sum_{m=j}^{l} c_m, \\quad j = \\max\\{j \\le l : r_{j-1} \\ge r_l + \\sum_{m=j}^{l} c_m\\}

    Exact where a message can be interrupted anywhere. With slices the front layer waits at most one slice more, others
    also for layers ahead of them that become ready meanwhile; `cost_s` knows what calls of slices cost. Layers along
    the last axis, ``ready_s`` falling; other axes broadcast. References: Jayarajan et al., Priority-based parameter
    propagation, 2019; Peng et al., A generic communication scheduler, 2019.
    """
    where = "priority_end_s"
    ready, busy = together(where, ready_s=numbers(where, "ready_s", ready_s), busy_s=numbers(where, "busy_s", busy_s))
    if (np.diff(ready, axis=-1) > 0).any():
        raise CollectiveError(
            f"{where}: ready_s rises along the layers; give forward order, where the front is ready last."
        )
    end = ready + busy
    running = np.ones(end.shape, dtype=bool)
    for back in range(1, end.shape[-1]):
        # Whoever is `back` layers ahead of a layer joins its busy period if it arrives before that ends.
        running[..., :back] = False
        joins = running[..., back:] & (ready[..., :-back] < end[..., back:])
        end[..., back:] += np.where(joins, busy[..., :-back], 0.0)
        running[..., back:] = joins
        if not joins.any():
            break
    return np.asarray(end)


def forward_delay_s(*, arrived_s: ArrayLike, forward_s: ArrayLike, backward_end_s: ArrayLike) -> Floats:
    """How much the next forward pass is held up when each layer waits only for its own parameters [s].

    ``arrived_s``: when a layer's exchange ended, ``forward_s``: its forward time, both in forward order along the last
    axis. The delay is the end of the pass less that of a pass that waits for nothing. Leaves out: the update's time.
    """
    start = numbers("forward_delay_s", "backward_end_s", backward_end_s)
    arrived = np.maximum(numbers("forward_delay_s", "arrived_s", arrived_s), start[..., None])
    busy = numbers("forward_delay_s", "forward_s", forward_s)
    ends = in_order_end_s(arrived, busy)
    last = ends[..., -1] if ends.shape[-1] else start
    return np.asarray(np.maximum(0.0, last - start - np.sum(busy, axis=-1)))


def _in_order(ready_s: ArrayLike, shape: tuple[int, ...]) -> Floats:
    ready = numbers("fusion.fill", "ready_s", ready_s)
    if len(shape) != 1 or ready.shape != shape:
        raise CollectiveError(
            f"fusion.fill: {shape} tensors and {ready.shape} finish times; one of each, one dimension."
        )
    if (np.diff(ready) < 0).any():
        raise CollectiveError(
            "fusion.fill: ready_s falls; give tensors in the order in which the backward pass ends them."
        )
    return ready
