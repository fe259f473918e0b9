"""Kernels that move bytes: gathers and scatters of table rows, copies on a chip and to its host, optimizer updates.

No suite measures these. The priors of launches, streams, the cache and pinned copies were set by eye on
micro-benchmarks (te42kyfo/gpu-benches@1c36d50: streams, small kernels, one copy from the host); the tests hold them
to some of the same figures, which shows that they fit, not that they predict. The others are recalled or assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from workloads.optimizer import Optimizer

from .kernel_constants import KernelConstants, KernelSpec
from .kernel_time import KernelTime
from .optable import Floats, Ints
from .settings import Settings

#: Bytes that DRAM moves at least: two sectors of HBM2 or GDDR6, one burst of HBM3 (recalled) [B].
BURST_BYTE: Final = 64.0
#: Working sets, in shares of the shared cache, that it serves whole and not at all.
CACHE_WHOLE: Final = 0.75
CACHE_NONE: Final = 1.05
#: Tensors that one multi-tensor launch takes (NVIDIA Apex, multi_tensor_apply, by operand lists; recalled).
TENSORS_PER_LAUNCH: Final = 36.0
#: Cycles between two atomic additions to one address in the shared cache (assumed; no measured rows).
ATOMIC_CYCLES: Final = 2.0
#: Directions of a copy.
ON_CHIP: Final = 0
HOST_TO_CHIP: Final = 1
CHIP_TO_HOST: Final = 2

SPECS: Final = {
    spec.name: spec
    for spec in (
        KernelSpec(
            name="movement_launch", unit="s", prior=1.4e-6, low=0.5e-6, high=10e-6, spread=0.5,
            meaning="start of a kernel and of its first loads, launched ahead",
        ),
        KernelSpec(
            name="movement_dram", unit="1", prior=0.86, low=0.3, high=1.0, spread=0.15,
            meaning="share of nominal bandwidth of streams that read and write",
        ),
        KernelSpec(
            name="movement_cache", unit="byte", prior=20.0, low=4.0, high=64.0, spread=0.3,
            meaning="bytes a core moves from and to the shared cache in a cycle",
        ),
        KernelSpec(
            name="movement_scattered", unit="1", prior=0.75, low=0.2, high=1.0, spread=0.3,
            meaning="rate of bursts at random addresses against streams (no measured rows)",
        ),
        KernelSpec(
            name="movement_host_latency", unit="s", prior=10e-6, low=2e-6, high=50e-6, spread=0.5,
            meaning="start of a copy to or from the host (recalled)",
        ),
        KernelSpec(
            name="movement_pinned", unit="1", prior=0.79, low=0.5, high=1.0, spread=0.15,
            meaning="share of the host link's rate that a copy from pinned memory reaches",
        ),
        KernelSpec(
            name="movement_pageable", unit="1", prior=0.4, low=0.1, high=1.0, spread=0.4,
            meaning="the same from pageable memory, staged through a pinned buffer (recalled)",
        ),
    )
}  # fmt: skip

Values = Mapping[str, Floats]


def prior_values(settings: Settings) -> dict[str, Floats]:
    """The constants as they stand without a fit, row by row."""
    return KernelConstants(specs=SPECS).rows(settings)


@dataclass(frozen=True, kw_only=True)
class GatherShapes:
    """Look-ups in tables of embeddings; every column has shape (rows,).

    ``table`` rows of ``width`` elements, ``lookups`` of them read (or, with ``add``, added to from gradients in the
    order they come). ``hottest`` is how often the commonest row is looked up; 0 for evenly spread look-ups.
    """

    add: NDArray[np.bool_]
    table: Floats
    width: Floats
    lookups: Floats
    hottest: Floats
    index_byte: Floats


@dataclass(frozen=True, kw_only=True)
class CopyShapes:
    """Copies; ``way`` is ON_CHIP, HOST_TO_CHIP or CHIP_TO_HOST, ``byte`` what is copied [B]. ``pinned``: the host's
    memory is page-locked. ``warm``: the operands were touched just before, so that a cache may hold them."""

    way: Ints
    byte: Floats
    pinned: NDArray[np.bool_]
    warm: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class UpdateShapes:
    """Optimizer updates of ``parameters`` in ``tensors`` tensors.

    ``words`` read and written and ``flop`` executed for each parameter (`workloads.optimizer`), in words of
    ``word_byte``; ``copy_byte`` written besides (a 16-bit copy of the weights; 0: none). ``fused``: one multi-tensor
    pass; else one kernel for each operation on each tensor, two words in and one out.
    """

    parameters: Floats
    tensors: Floats
    words: Floats
    flop: Floats
    word_byte: Floats
    copy_byte: Floats
    fused: NDArray[np.bool_]

    @classmethod
    def of(
        cls, rule: Optimizer, *, parameters: Floats, tensors: Floats, word_byte: float = 4.0, copy_byte: float = 0.0,
        fused: bool = True,
    ) -> UpdateShapes:  # fmt: skip
        """Updates by one rule."""
        ones = np.ones_like(parameters)
        return cls(
            parameters=parameters,
            tensors=tensors,
            words=ones * rule.read_write_words_per_parameter,
            flop=ones * rule.flop_per_parameter,
            word_byte=ones * word_byte,
            copy_byte=ones * copy_byte,
            fused=np.full(parameters.shape, fused),
        )


def cached_share(working_byte: Floats, settings: Settings) -> Floats:
    """Share of a working set that is touched over and over and that the shared cache serves: 1 up to three quarters of
    its capacity, none from its capacity on, a line between (caches that replace the oldest lose all at once)."""
    size = np.maximum(settings.l2_byte, 1.0)
    share = (CACHE_NONE - working_byte / size) / (CACHE_NONE - CACHE_WHOLE)
    return np.where(settings.l2_byte > 0, np.clip(share, 0.0, 1.0), 0.0)


def distinct_rows(table: Floats, lookups: Floats) -> Floats:
    """Rows of a table that evenly spread look-ups touch, on average: :math:`V (1 - (1 - 1/V)^N)`."""
    return np.asarray(-table * np.expm1(lookups * np.log1p(-1.0 / np.maximum(table, 1.0 + 1e-9))))


def copy_time(shapes: CopyShapes, settings: Settings, values: Values) -> KernelTime:
    """Time of copies.

    On a chip :math:`t = t_0 + 2 b / B`, b read and b written, at the cache's rate for the share of a warm working set
    that it holds; to or from the host :math:`t = t_h + b / (\\eta B_h)`.

    Raises
    ------
    ValueError
        For a copy to or from the host on a chip whose host link has no rate in the catalogue.
    """
    to_host = shapes.way != ON_CHIP
    host_rate = np.array([s.chip.host_bandwidth_byte_per_s or 0.0 for s in settings.distinct])[settings.row]
    missing = to_host & (host_rate <= 0.0)
    if missing.any():
        name = settings.distinct[settings.row[np.argmax(missing)]].chip.id
        raise ValueError(
            f"copy_time: chip {name!r} has no host_bandwidth; its data file needs one for copies to a host."
        )
    host_rate = np.where(to_host, host_rate, 1.0)
    streamed = _streamed(2.0 * shapes.byte, np.where(shapes.warm, 2.0 * shapes.byte, np.inf), settings, values)
    share = np.where(shapes.pinned, values["movement_pinned"], values["movement_pageable"])
    moved_s = np.where(to_host, shapes.byte / (host_rate * share), streamed.seconds)
    ramp_s = np.where(to_host, values["movement_host_latency"], values["movement_launch"])
    bound_s = np.where(to_host, shapes.byte / host_rate, streamed.bound_s)
    device_s = np.maximum(ramp_s + moved_s, bound_s)
    nothing = np.zeros_like(shapes.byte)
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=nothing,
        dram_byte=np.where(to_host, shapes.byte, streamed.dram_byte),
        cache_byte=np.where(to_host, shapes.byte, 2.0 * shapes.byte),
        parts={"memory": device_s - ramp_s, "ramp": ramp_s},
    )


def gather_time(shapes: GatherShapes, settings: Settings, values: Values) -> KernelTime:
    """Time of look-ups in tables of embeddings, and of adding gradients to them.

    A look-up moves whole bursts: :math:`64 \\lceil w b / 64 \\rceil` bytes; rows looked up again come from the cache as
    far as it holds the rows touched. The result is written (or the gradient read) as a stream. Adding reads and writes
    each distinct row, passes every element through the cache's atomic units, and serialises on the commonest row:

    .. math:: t \\ge n_{hot} \\, \\tau / f

    Notes
    -----
    Left out: sorting look-ups first (which removes the serial part for a pass over the indices), pooling.
    """
    element = settings.element_byte
    row_byte = BURST_BYTE * np.ceil(shapes.width * element / BURST_BYTE)
    distinct = np.minimum(distinct_rows(shapes.table, shapes.lookups), shapes.lookups)
    kept = cached_share(distinct * row_byte, settings)
    missed = distinct + (shapes.lookups - distinct) * (1.0 - kept)
    useful_byte = shapes.lookups * shapes.width * element
    table_byte = missed * row_byte * np.where(shapes.add, 2.0, 1.0)
    flat_byte = useful_byte + shapes.lookups * shapes.index_byte
    rate = settings.dram_byte_per_s * values["movement_dram"]
    dram_s = flat_byte / rate + table_byte / (rate * values["movement_scattered"])
    cache_byte = flat_byte + shapes.lookups * row_byte * np.where(shapes.add, 2.0, 1.0)
    cache_s = cache_byte / _cache_rate(settings, values)
    hottest = np.maximum(shapes.hottest, np.ceil(shapes.lookups / np.maximum(shapes.table, 1.0)))
    serial_s = np.where(shapes.add, hottest * ATOMIC_CYCLES / settings.clock_hz, 0.0)
    ramp_s = values["movement_launch"]
    memory_s = np.maximum(dram_s, cache_s)
    least_byte = np.maximum(flat_byte + distinct * shapes.width * element - settings.l2_byte, 0.0)
    bound_s = least_byte / settings.dram_byte_per_s
    device_s = np.maximum(ramp_s + np.maximum(memory_s, serial_s), bound_s)
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=np.where(shapes.add, shapes.lookups * shapes.width, 0.0),
        dram_byte=flat_byte + table_byte,
        cache_byte=cache_byte,
        parts={"memory": memory_s, "steps": device_s - ramp_s - memory_s, "ramp": ramp_s},
    )


def update_time(shapes: UpdateShapes, settings: Settings, values: Values) -> KernelTime:
    """Time of optimizer updates.

    .. math:: t = n t_0 + P (w b + c) / B

    with n launches: :math:`\\lceil tensors / 36 \\rceil` multi-tensor ones, or one for each operation on each tensor
    (then w is three words an operation). Each launch waits for the one before.
    """
    launches = np.where(
        shapes.fused, np.ceil(shapes.tensors / TENSORS_PER_LAUNCH), shapes.tensors * np.maximum(shapes.flop, 1.0)
    )
    words = np.where(shapes.fused, shapes.words, 3.0 * np.maximum(shapes.flop, 1.0))
    byte = shapes.parameters * (words * shapes.word_byte + shapes.copy_byte)
    # Fused passes touch every word once, so that no cache helps; separate ones touch the state over and over.
    held = np.where(shapes.fused, np.inf, shapes.parameters * shapes.words * shapes.word_byte)
    streamed = _streamed(byte, held, settings, values)
    flop = shapes.parameters * shapes.flop
    peak = settings.peak_flop_per_s
    bound_s = np.maximum(streamed.bound_s, flop / peak)
    ramp_s = launches * values["movement_launch"]
    device_s = np.maximum(ramp_s + streamed.seconds, bound_s)
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=flop,
        dram_byte=streamed.dram_byte,
        cache_byte=byte,
        parts={"memory": device_s - ramp_s, "ramp": ramp_s},
    )


@dataclass(frozen=True, kw_only=True)
class _Streamed:
    seconds: Floats
    bound_s: Floats
    dram_byte: Floats


def _cache_rate(settings: Settings, values: Values) -> Floats:
    return np.asarray(values["movement_cache"] * settings.cores * settings.clock_hz)


def _streamed(byte: Floats, working_byte: Floats, settings: Settings, values: Values) -> _Streamed:
    """Streams of `byte` bytes over a working set (infinite: touched once), from the cache as far as that holds it."""
    kept = cached_share(working_byte, settings)
    missed_s = byte * (1.0 - kept) / (settings.dram_byte_per_s * values["movement_dram"])
    # A cache is never slower than the memory behind it.
    kept_rate = np.maximum(_cache_rate(settings, values), settings.dram_byte_per_s)
    least_byte = np.where(kept > 0.0, 0.0, np.maximum(byte - settings.l2_byte, 0.0))
    return _Streamed(
        seconds=missed_s + byte * kept / kept_rate,
        bound_s=least_byte / settings.dram_byte_per_s,
        dram_byte=byte * (1.0 - kept),
    )
