"""Seconds of convolutions on many-core CPUs, as direct kernels generated for the shape run them.

Channels of the result run along the vector lanes; a thread takes (image, block of channels, rows of pixels). A strided
backward pass to the data has no kernel of its own: each core multiplies one image and scatters the columns. Winograd's
algorithm is not among the choices: the measured 3x3 kernels are no faster than the pointwise ones.

Left out: NUMA, conversion between layouts, dilation, groups. What holds whatever the constants: the direct algorithm's
products at the peak rate, and the bytes beyond all caches together at the memory's nominal rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .cpu import SPECS as GEMM_SPECS
from .cpu_core import CpuError, Machine, Values, memory_s, register_rate, resident_share
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Settings

#: Passes of a convolution, by the index that ``CpuConvShapes.direction`` holds.
FORWARD, BACKWARD_DATA, BACKWARD_WEIGHTS = 0, 1, 2

_SPECS: Final = (
    KernelSpec(
        name="cpu_conv_fraction", unit="1", prior=0.9, low=0.3, high=1.0, spread=0.2, levels={"architecture": 0.15},
        meaning="of the peak in the best register tile of a direct convolution",
    ),
    KernelSpec(
        name="cpu_weights_fraction", unit="1", prior=0.76, low=0.2, high=1.0, spread=0.3,
        meaning="of that, in the pass to the weights: every product loads a new element",
    ),
    KernelSpec(
        name="cpu_strided_fraction", unit="1", prior=0.68, low=0.2, high=1.0, spread=0.3,
        meaning="of that, forward with a stride and a window: neighbours in the register tile share no cache line",
    ),
    KernelSpec(
        name="cpu_mesh_byte_per_clock", unit="B/clock/core", prior=4.0, low=0.5, high=32.0, spread=0.5,
        levels={"architecture": 0.15}, meaning="fetched by a core from beyond its own cache",
    ),
    KernelSpec(
        name="cpu_turned_load", unit="1", prior=3.5, low=1.0, high=10.0, spread=0.4,
        meaning="bytes of pointwise weights read across their layout, against along it",
    ),
    KernelSpec(
        name="cpu_scatter_clock", unit="clock", prior=12.0, low=1.0, high=100.0, spread=0.5,
        meaning="to add one column element to the data gradient",
    ),
    KernelSpec(
        name="cpu_plain_flop_per_clock", unit="FLOP/clock/core", prior=13.0, low=0.5, high=64.0, spread=0.7,
        meaning="plain loops where no kernel serves (backward of padded pointwise layers), one image a core",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = dict(GEMM_SPECS) | {spec.name: spec for spec in _SPECS}

#: A plain loop over the data gradient loads and stores every sum beside its product; over the weights sums stay put.
PLAIN_STORES: Final = 4.0
#: Zeros are written to lines that the core first fetches.
WRITE_ALLOCATE: Final = 2.0

ALGORITHMS: Final = ("direct", "columns", "plain")
_VECTORS: Final = (1, 2, 4)
_ROWS: Final = (0, 1, 4, 7, 14)
_SPLITS: Final = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, kw_only=True)
class CpuConvShapes:
    """Convolutions, each field of shape (rows,): n images of c channels, h x w pixels, k filters of r x s.

    ``direction`` is `FORWARD`, `BACKWARD_DATA` or `BACKWARD_WEIGHTS`.
    """

    n: Floats
    c: Floats
    h: Floats
    w: Floats
    k: Floats
    r: Floats
    s: Floats
    pad_h: Floats
    pad_w: Floats
    stride_h: Floats
    stride_w: Floats
    direction: NDArray[np.int64]

    @property
    def rows(self) -> int:
        """Number of kernels."""
        return len(self.n)

    @property
    def h_out(self) -> Floats:
        """Rows of the result."""
        return np.asarray(np.floor((self.h + 2.0 * self.pad_h - self.r) / self.stride_h) + 1.0)

    @property
    def w_out(self) -> Floats:
        """Columns of the result."""
        return np.asarray(np.floor((self.w + 2.0 * self.pad_w - self.s) / self.stride_w) + 1.0)

    @property
    def flop(self) -> Floats:
        """Products and sums of the direct algorithm, the same in every pass [FLOP]."""
        return 2.0 * self.n * self.h_out * self.w_out * self.k * self.c * self.r * self.s

    @property
    def pointwise(self) -> NDArray[np.bool_]:
        """Filters of one pixel."""
        return np.asarray(self.r * self.s == 1.0)

    @property
    def strided(self) -> NDArray[np.bool_]:
        """A stride above 1."""
        return np.asarray(self.stride_h * self.stride_w > 1.0)


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to share a convolution out, shape (rows,): FLOP with ragged blocks, with idle cores too, with the depth
    too; seconds of the cores; bytes from beyond their caches; seconds of bringing partial sums together."""

    padded_flop: Floats
    waves_flop: Floats
    depth_flop: Floats
    core_s: Floats
    mesh_byte: Floats
    partial_s: Floats


def _in_private(byte: Floats, machine: Machine) -> Floats:
    """Share of a task's working set that its core's own cache serves; shape (rows,)."""
    return np.asarray(1.0 / (1.0 + (byte / machine.private_byte) ** 8))


def _direct(x: CpuConvShapes, settings: Settings, m: Machine, v: Values) -> Iterator[_Way]:
    """Forward and backward-data: a task is (image, vectors of channels, rows of the result)."""
    back = x.direction == BACKWARD_DATA
    along, deep = np.where(back, x.c, x.k), np.where(back, x.k, x.c)
    lanes = m.lanes
    depth = deep * x.r * x.s
    high, wide = x.h_out, x.w_out
    # The pass to the data of a strided pointwise layer reads its operand densely.
    step_h, step_w = np.where(back, 1.0, x.stride_h), np.where(back, 1.0, x.stride_w)
    rate = m.peak_flop_per_s / m.cores * v["cpu_conv_fraction"]
    rate = rate * np.where(x.strided & ~x.pointwise, v["cpu_strided_fraction"], 1.0)
    turned = np.where(back & x.pointwise, v["cpu_turned_load"], 1.0)
    mesh = v["cpu_mesh_byte_per_clock"] * settings.clock_hz
    for rows in _ROWS:
        pieces = np.ceil(high / np.minimum(high, rows)) if rows else np.ones_like(high)
        taken = np.ceil(high / pieces)
        run = np.where(x.pointwise, taken * wide, wide)
        register = run / np.ceil(run / m.accumulators)
        lines = np.where(
            x.pointwise, taken * wide * step_h * step_w, ((taken - 1.0) * step_h + x.r) * np.where(back, wide, x.w)
        )
        image = settings.element_byte * deep * lines
        for vectors in _VECTORS:
            stacked = np.clip(np.floor(m.accumulators / register), 1.0, vectors)
            tasks = x.n * pieces * np.ceil(along / (vectors * lanes))
            waves = np.ceil(tasks / m.cores)
            area = 2.0 * vectors * lanes * taken * wide
            weights = settings.element_byte * vectors * lanes * depth
            fetched = weights * turned + image * (1.0 - _in_private(image + weights, m))
            yield _Way(
                padded_flop=tasks * area * depth,
                waves_flop=waves * m.cores * area * depth,
                depth_flop=waves * m.cores * area * (depth + v["cpu_depth"]),
                core_s=waves * (
                    area * (depth + v["cpu_depth"]) / (rate * register_rate(m, stacked, register)) + fetched / mesh
                ),
                mesh_byte=tasks * fetched,
                partial_s=np.zeros(x.rows),
            )  # fmt: skip


def _to_weights(x: CpuConvShapes, settings: Settings, m: Machine, v: Values) -> Iterator[_Way]:
    """Backward-weights: a task is (block of filters, block of channels, share of the images), its sums added after."""
    lanes = m.lanes
    channels = np.minimum(x.c, lanes)
    pixels = x.h_out * x.w_out
    rate = m.peak_flop_per_s / m.cores * v["cpu_conv_fraction"] * v["cpu_weights_fraction"]
    blocks = np.ceil(x.k / lanes) * np.ceil(x.c / lanes)
    image = settings.element_byte * (lanes * pixels + channels * x.h * x.w)
    # One pass over the pixels serves a pointwise filter; a window comes back to them.
    local = np.where(x.pointwise, 1.0, _in_private(image, m))
    cache = m.cache_byte_per_s / m.cores
    mesh = v["cpu_mesh_byte_per_clock"] * settings.clock_hz
    weight_byte = settings.element_byte * x.k * x.c * x.r * x.s
    for split in _SPLITS:
        images = np.ceil(x.n / split)
        copies = np.ceil(x.n / images)
        tasks = blocks * copies
        waves = np.ceil(tasks / m.cores)
        area = 2.0 * lanes * channels * x.r * x.s * images
        yield _Way(
            padded_flop=tasks * area * pixels,
            waves_flop=waves * m.cores * area * pixels,
            depth_flop=waves * m.cores * area * (pixels + v["cpu_depth"]),
            core_s=waves * (
                area * (pixels + v["cpu_depth"]) / rate + images * image * (local / cache + (1.0 - local) / mesh)
            ),
            mesh_byte=tasks * images * image * (1.0 - local),
            partial_s=np.where(
                copies > 1.0,
                2.0 * copies * weight_byte / (settings.dram_byte_per_s * v["cpu_memory_fraction"]), 0.0,
            ),
        )  # fmt: skip


def cpu_conv_time(
    x: CpuConvShapes,
    settings: Settings,
    values: Values,
    *,
    footprint_byte: Floats | None = None,
    mode: str = "flat",
) -> KernelTime:
    """Device time of convolutions.

    .. math:: t = t_{sync} + \\min_{way} \\left( \\max(t_{cores}, t_{memory}) + t_{partial} \\right) + t_{zero}

    t_cores is whole waves of tasks, each its products and the bytes it fetches from beyond its core's cache; t_memory
    the data, weights and result once; t_zero writes the pixels that a strided pointwise layer's gradient leaves zero.
    Where no direct kernel serves, one core takes one image: "columns" (a product, then a scatter of its columns) for
    a strided window's data gradient, "plain" loops for the backward passes of padded pointwise layers.
    ``footprint_byte`` and ``mode`` as in `cpu.cpu_gemm_time`.
    """
    if np.any((x.h_out < 1.0) | (x.w_out < 1.0)):
        i = int(np.argmax((x.h_out < 1.0) | (x.w_out < 1.0)))
        raise CpuError(
            f"row {i}: a filter of {x.r[i]:g} x {x.s[i]:g} does not fit into {x.h[i]:g} x {x.w[i]:g} pixels padded by "
            f"{x.pad_h[i]:g} x {x.pad_w[i]:g}; no result is left."
        )
    m, flop, peak = Machine.of(settings, values), x.flop, settings.peak_flop_per_s
    back, to_weights = x.direction == BACKWARD_DATA, x.direction == BACKWARD_WEIGHTS
    columns = back & x.strided & ~x.pointwise
    plain = x.pointwise & (x.pad_h + x.pad_w > 0.0) & (back | to_weights)
    gradient_zeros = back & x.strided & x.pointwise & ~plain
    size = settings.element_byte
    data, result = size * x.n * x.c * x.h * x.w, size * x.n * x.k * x.h_out * x.w_out
    weights = size * x.k * x.c * x.r * x.s
    touched = np.where(x.pointwise, np.minimum(data, size * x.n * x.c * x.h_out * x.w_out), data)
    byte = np.where(to_weights, touched + result + 2.0 * weights, touched + result + weights)
    footprint = np.maximum(data + result + weights, 0.0 if footprint_byte is None else footprint_byte)
    hit = resident_share(byte, m, values)
    far = memory_s(byte, footprint, settings, mode=mode)
    waiting = (1.0 - hit) * far / values["cpu_memory_fraction"] + hit * byte / m.cache_byte_per_s
    best = np.full(x.rows, np.inf)
    kept: dict[str, Floats] = {name: np.zeros(x.rows) for name in _Way.__dataclass_fields__}
    for mine, ways in ((~to_weights, _direct), (to_weights, _to_weights)):
        if not mine.any():
            continue
        for way in ways(x, settings, m, values):
            total = np.maximum(way.core_s, waiting) + way.partial_s
            better = mine & (total < best)
            best = np.where(better, total, best)
            for name in kept:
                kept[name] = np.where(better, getattr(way, name), kept[name])
    zeros = (1.0 - resident_share(data, m, values)) * memory_s(data, footprint, settings, mode=mode)
    zeros = np.where(gradient_zeros, WRITE_ALLOCATE * zeros / values["cpu_memory_fraction"], 0.0)
    images = np.ceil(x.n / m.cores)
    scatter = x.c * x.r * x.s * x.h_out * x.w_out * values["cpu_scatter_clock"] / settings.clock_hz
    product = flop / x.n / (peak / m.cores * values["cpu_conv_fraction"])
    loop = flop / x.n / (values["cpu_plain_flop_per_clock"] * settings.clock_hz)
    alone = np.where(columns, product, loop * np.where(back, PLAIN_STORES, 1.0))
    other = columns | plain
    # A plain loop never beats the direct kernel's products.
    core = np.where(other, np.maximum(images * alone, flop / peak), kept["core_s"])
    steps = np.where(columns, images * scatter, np.where(other, 0.0, kept["partial_s"] + zeros))
    busy = np.maximum(core, waiting)
    ragged = {name: np.where(other, flop, kept[name]) for name in ("padded_flop", "waves_flop", "depth_flop")}
    sync = np.array(values["cpu_sync_s"], dtype=np.float64)
    beyond = np.maximum(0.0, 1.0 - m.cached_byte / np.maximum(byte, 1.0))
    return KernelTime(
        device_s=busy + steps + sync,
        bound_s=np.maximum(flop / peak, beyond * far),
        flop=flop,
        dram_byte=(1.0 - hit) * byte,
        cache_byte=hit * byte + np.where(other, 0.0, kept["mesh_byte"]),
        parts={
            "arithmetic": flop / peak,
            "padding": (ragged["padded_flop"] - flop) / peak,
            "waves": (ragged["waves_flop"] - ragged["padded_flop"]) / peak,
            "depth": (ragged["depth_flop"] - ragged["waves_flop"]) / peak,
            "library": core - ragged["depth_flop"] / peak,
            "memory": busy - core,
            "steps": steps,
            "ramp": sync,
        },
        algorithm=tuple(ALGORITHMS[i] for i in np.where(columns, 1, np.where(plain, 2, 0))),
    )
