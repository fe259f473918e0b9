"""Device seconds of kernels: ramp + max(arithmetic, memory traffic), for whole tables at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..kept import once_per_object
from .optable import ATTENTION, BACKWARD, CONV, PASSES, RECURRENT, SCAN, THIN, VECTOR, Floats, Ints, OpTable


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one (chip, stack, recipe) sustains; each field has shape (contexts,), `product_flop_per_s` (contexts, 2).

    ``product_flop_per_s[:, 0]`` is the rate of large products in the recipe's multiply precision, ``[:, 1]`` in its
    storage precision. ``conv_fraction``, ``attention_fraction`` and ``attention_backward_fraction`` are what
    convolutions and fused attention reach of it;
    ``traffic_scale`` multiplies the bytes of element-wise kernels, ``thin_traffic`` those of convolutions of thin
    groups, whose multiply-adds run at ``thin_flop_per_s``. ``recurrent_flop_per_s`` is the peak that calls on
    recurrent layers are counted against. ``scan_fraction``: what products inside a chunked scan
    reach of the kernel model's rate. ``in_flight_byte_per_s`` is what the cores can keep on their way to and from
    memory in element-wise kernels (`occupancy`). ``cached_byte`` [B] is the working set up to which element-wise
    kernels are fast, ``cache_speed`` how much faster than beyond; 0 and 1 where nobody measured them.
    """

    product_flop_per_s: Floats
    conv_fraction: Floats
    attention_fraction: Floats
    attention_backward_fraction: Floats
    memory_byte_per_s: Floats
    in_flight_byte_per_s: Floats
    ramp_s: Floats
    compute_scale: Floats
    traffic_scale: Floats
    thin_traffic: Floats
    thin_flop_per_s: Floats
    recurrent_flop_per_s: Floats
    scan_fraction: Floats
    host_s_per_launch: Floats
    cached_byte: Floats
    cache_speed: Floats


def cached_share(byte: Floats, cached_byte: Floats) -> Floats:
    """Share of a kernel's bytes that the caches serve, 1 / (1 + (B / B_c)^4), 0 where nothing is known of them.

    Empirical: a working set well within the caches is served by them, one well beyond by the memory. Leaves out what
    ran before the kernel. Shapes as given.
    """
    ratio = np.divide(byte, cached_byte, out=np.full(np.shape(byte), np.inf), where=cached_byte > 0.0)
    return np.asarray(1.0 / (1.0 + np.minimum(ratio, 1e6) ** 4) * (cached_byte > 0.0))


class _Places(NamedTuple):
    """Rows of a table by what their rate depends on."""

    conv: Ints
    attention_forward: Ints
    attention_backward: Ints
    scan: Ints
    thin: Ints
    recurrent: Ints
    vector: Ints


@once_per_object
def _places(table: OpTable) -> _Places:
    kind, back = table.kind, table.phase == BACKWARD
    attention = kind == ATTENTION
    masks = (
        kind == CONV, attention & ~back, attention & back, kind == SCAN, kind == THIN, kind == RECURRENT,
        kind == VECTOR,
    )  # fmt: skip
    return _Places(*map(np.flatnonzero, masks))


def kernel_seconds(table: OpTable, rates: Rates, context: Ints) -> Floats:
    """Device time of every row.

    .. math:: t = n_{launch} t_{ramp} + \\max(W / (r \\, f), B / \\beta)

    with the work W (what the kernel model adds included), the sustained rate r, the kind's fraction f, the traffic B
    and the sustained bandwidth beta. In element-wise kernels 1 / beta is the sum of that of DRAM and that of what the
    cores keep on its way. Leaves out: overlap between kernels, cache reuse between kernels. ``context`` has
    shape (rows,). Returns shape (rows,) [s].
    """
    fraction = np.ones(table.rows)
    at = _places(table)
    fraction[at.conv] = rates.conv_fraction[context[at.conv]]
    fraction[at.attention_forward] = rates.attention_fraction[context[at.attention_forward]]
    fraction[at.attention_backward] = rates.attention_backward_fraction[context[at.attention_backward]]
    fraction[at.scan] = rates.scan_fraction[context[at.scan]]
    arithmetic = table.work / (rates.product_flop_per_s[context, table.rate] * fraction)
    arithmetic *= rates.compute_scale[context]
    arithmetic[at.thin] = table.flop[at.thin] / rates.thin_flop_per_s[context[at.thin]]
    arithmetic[at.recurrent] = table.work[at.recurrent] / rates.recurrent_flop_per_s[context[at.recurrent]]
    traffic = table.byte / rates.memory_byte_per_s[context]
    traffic[at.vector] += table.byte[at.vector] / rates.in_flight_byte_per_s[context[at.vector]]
    traffic[at.vector] *= rates.traffic_scale[context[at.vector]]
    if rates.cached_byte.any():
        own = context[at.vector]
        each = table.byte[at.vector] / np.maximum(table.launches[at.vector], 1.0)
        traffic[at.vector] *= 1.0 - cached_share(each, rates.cached_byte[own]) * (1.0 - 1.0 / rates.cache_speed[own])
    traffic[at.thin] *= rates.thin_traffic[context[at.thin]]
    return np.asarray(table.launches * rates.ramp_s[context] + np.maximum(arithmetic, traffic))


def block_seconds(table: OpTable, rates: Rates, shape_context: Ints, blocks: int) -> tuple[Floats, Floats]:
    """Device and host time of every block of every shape, by pass.

    ``shape_context`` has shape (shapes,). Returns two arrays of shape (PASSES, shapes, blocks) [s]: device time and
    the host's time to issue the kernels.
    """
    shapes = len(shape_context)
    context = shape_context[table.shape]
    cell = (table.phase * shapes + table.shape) * blocks + table.block
    size = PASSES * shapes * blocks
    device = np.bincount(cell, kernel_seconds(table, rates, context), size)
    host = np.bincount(cell, table.issued * rates.host_s_per_launch[context], size)
    # NumPy's stubs give sums of weights the type of counts.
    return _floats(device).reshape(PASSES, shapes, blocks), _floats(host).reshape(PASSES, shapes, blocks)


def _floats(values: NDArray[Any]) -> Floats:
    return np.asarray(values, dtype=np.float64)
