"""Seconds of kernels on arrays of multipliers that are fed by explicit copies: TPU, Gaudi, Trainium, Ascend, SambaNova.

An array of R x C cells keeps one operand still and streams the others past it. TPU and Trainium keep a tile of the
weights (R of k by C of n) and stream m; the next tile is shifted in behind, so that a tile takes max(m, R) clocks.
Gaudi, Ascend and SambaNova keep a tile of the result (R of m by C of n) and stream k; its drain is hidden likewise.
On-chip memory holds blocks of the operands; what does not fit is read again from main memory.

Left out: sharing the arrays between products, sparsity, scaling of 8-bit operands, collective traffic, conflicts in
the on-chip memory. What holds whatever the constants: products at the peak, and every operand once at the main memory's
nominal rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .gemm import GemmShapes
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Setting, Settings

Values = Mapping[str, Floats]

_SPECS: Final = (
    KernelSpec(
        name="systolic_rate", unit="1", prior=0.965, low=0.5, high=1.0, spread=0.05, levels={"architecture": 0.05},
        meaning="clocks in which an array that has work does it",
    ),
    KernelSpec(
        name="systolic_memory_fraction", unit="1", prior=0.85, low=0.4, high=1.0, spread=0.15,
        levels={"architecture": 0.1}, meaning="of the main memory's nominal rate",
    ),
    KernelSpec(
        name="systolic_ramp_s", unit="s", prior=3e-6, low=2e-7, high=3e-5, spread=0.7, levels={"architecture": 0.3},
        meaning="start and end of a kernel",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}

#: Architectures whose arrays keep weights; the others keep results. Jouppi et al. 2017 (TPU); AWS Neuron documentation,
#: NKI, "moving" and "stationary" operands; Gaudi, Ascend and SambaNova as remembered from their makers' papers.
KEEPS_WEIGHTS: Final = ("tpu", "neuron")
#: Rows and columns of one vector register, in 4-byte words: TPU 8 sublanes x 128 lanes, Neuron 128 partitions, vectors
#: of 256 bytes on Gaudi and Ascend. Recalled from the makers' documentation.
VECTOR_SHAPE: Final[Mapping[str, tuple[float, float]]] = {
    "tpu": (8.0, 128.0), "neuron": (128.0, 1.0), "gaudi": (1.0, 64.0), "ascend": (1.0, 64.0),
    "reconfigurable": (1.0, 16.0),
}  # fmt: skip
#: Below this many products a clock, cell by cell, a rate word is served by the vector units and not by the arrays.
LEAST_PRODUCTS_A_CLOCK: Final = 0.125
#: Ways to share the streamed extent out over arrays, and heights of result blocks beside the square one [arrays].
SPLITS: Final = (1, 2, 4, 8, 16, 32)
HEIGHTS: Final = (1, 2, 4, 8, 16, 32)
ACCUMULATOR_BYTE: Final = 4.0


def products_a_clock(setting: Setting) -> float:
    """Products that one cell finishes in a clock at the peak of the setting's precision; 0 on the vector units."""
    chip = setting.chip
    assert chip.matrix_tile is not None  # `Chip` gives every systolic chip one
    rows, columns = chip.matrix_tile
    rate = setting.peak_flop_per_s / (2.0 * chip.cores * rows * columns * chip.clock_hz)
    return rate if rate >= LEAST_PRODUCTS_A_CLOCK else 0.0


def vector_flop_per_s(setting: Setting) -> float:
    """Rate of the chip's vector units [FLOP/s]; where no source has it, one element for each column of the arrays in a
    clock (as TPU v1's activation unit)."""
    chip = setting.chip
    for word in ("fp32", "bf16", "fp16"):
        if word in chip.vector_peak_flop_per_s:
            return chip.vector_peak_flop_per_s[word]
    assert chip.matrix_tile is not None
    rows, columns = chip.matrix_tile
    array_rate = 2.0 * chip.cores * rows * columns * chip.clock_hz
    fp32 = chip.peak_flop_per_s.get("fp32", np.inf)
    return fp32 if fp32 < LEAST_PRODUCTS_A_CLOCK * array_rate else chip.cores * columns * chip.clock_hz


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """Facts of the settings as columns, shape (rows,): extent of an array, arrays, clocks a second that finish one
    product a cell, whether the arrays keep weights, bytes of on-chip memory for blocks (half of it: the other half is
    being filled)."""

    high: Floats
    wide: Floats
    count: Floats
    step_hz: Floats
    keeps_weights: NDArray[np.bool_]
    block_byte: Floats

    @classmethod
    def of(cls, settings: Settings) -> Arrays:
        """Gathered from the chips of the settings."""
        distinct = settings.distinct
        for setting in distinct:
            if setting.chip.kind != "systolic":
                raise ValueError(
                    f"chip {setting.chip.id!r} is of kind {setting.chip.kind}; this model is for systolic."
                )
        tiles = [setting.chip.matrix_tile or (0, 0) for setting in distinct]

        def rows(column: list[float]) -> Floats:
            return np.array(column, dtype=np.float64)[settings.row]

        return cls(
            high=rows([float(tile[0]) for tile in tiles]),
            wide=rows([float(tile[1]) for tile in tiles]),
            count=settings.cores,
            step_hz=rows([setting.chip.clock_hz * products_a_clock(setting) for setting in distinct]),
            keeps_weights=np.array([s.chip.architecture in KEEPS_WEIGHTS for s in distinct])[settings.row],
            block_byte=(settings.on_chip_byte + settings.l2_byte) / 2.0,
        )


@dataclass(frozen=True, kw_only=True)
class _Way:
    """One way to run a product, in steps of an array (one product a cell), shape (rows,): useful and ragged work shared
    evenly; with idle arrays; with operand tiles that take longer than the stream, fill and drain."""

    padded: Floats
    waves: Floats
    total: Floats


def _ways(x: GemmShapes, a: Arrays) -> Iterator[_Way]:
    """Every way on offer: which operand stays (B, or A by computing the transposed result), and the split."""
    for m, n in ((x.m, x.n), (x.n, x.m)):
        down = np.where(a.keeps_weights, x.k, m)
        stream = np.where(a.keeps_weights, m, x.k)
        tiles = x.batch * np.ceil(down / a.high) * np.ceil(n / a.wide)
        for split in SPLITS:
            part = np.ceil(stream / split)
            turns = np.ceil(tiles * np.ceil(stream / part) / a.count)
            yield _Way(
                padded=tiles * stream / a.count,
                waves=turns * part,
                # A tile takes as long as the next one needs to be shifted in; the first and the last are not hidden.
                total=(turns - 1.0) * np.maximum(part, a.high) + part + 2.0 * a.high + a.wide - 2.0,
            )


def array_steps(x: GemmShapes, a: Arrays) -> tuple[Floats, Floats, Floats]:
    """Steps of the arrays in the best way: (even share of whole tiles, with idle arrays, all); each of shape (rows,).

    .. math:: S = \\min_{way, s} (\\lceil T s / c \\rceil - 1) \\max(\\lceil l / s \\rceil, R) + \\lceil l / s \\rceil
              + 2 R + C - 2

    T tiles of the operand that stays, l the extent that streams, c arrays of R x C cells.
    """
    best = _Way(padded=np.full(x.rows, np.inf), waves=np.full(x.rows, np.inf), total=np.full(x.rows, np.inf))
    for way in _ways(x, a):
        better = way.total < best.total
        best = _Way(
            padded=np.where(better, way.padded, best.padded),
            waves=np.where(better, way.waves, best.waves),
            total=np.where(better, way.total, best.total),
        )
    return best.padded, best.waves, best.total


def traffic_byte(x: GemmShapes, element_byte: Floats, a: Arrays) -> Floats:
    """Bytes between main memory and on-chip memory in the blocking that moves fewest; shape (rows,) [B].

    .. math:: Q = \\min \\{ A \\lceil n / b_n \\rceil + B + C, \\; A + B \\lceil m / b_m \\rceil + C, \\;
              A \\lceil n / b_n \\rceil + B \\lceil m / b_m \\rceil + C \\}

    In turn: a panel of k x b_n weights stays and A streams; a panel of b_m x k stays and B streams; a block of
    b_m x b_n results stays (4 bytes each) and both stream. Never below A + B + C. A and B are the distinct elements of
    the operands: the patches of a convolution are cut from the image on the chip.
    """
    size_a, size_b = x.a_elements * element_byte, x.b_elements * element_byte
    result = x.m * x.n * element_byte
    best = np.full(x.rows, np.inf)
    for stays, streams, extent in ((size_b, size_a, x.n), (size_a, size_b, x.m)):
        panel = np.floor(a.block_byte * extent / stays)
        passes = np.ceil(extent / np.maximum(panel, 1.0))
        best = np.where(panel >= 1.0, np.minimum(best, streams * passes + stays), best)
    square = np.maximum(np.floor(np.sqrt(a.block_byte / ACCUMULATOR_BYTE) / a.high), 1.0)
    for height in (*HEIGHTS, square):
        rows = np.minimum(a.high * height, x.m)
        columns = np.maximum(np.floor(a.block_byte / (ACCUMULATOR_BYTE * rows)), 1.0)
        best = np.minimum(best, size_a * np.ceil(x.n / columns) + size_b * np.ceil(x.m / rows))
    return np.asarray(x.batch * (best + result))


def systolic_gemm_time(
    x: GemmShapes, settings: Settings, values: Values, *, activations_stay: bool = False
) -> KernelTime:
    """Device time of C[m, n] = A[m, k] B[k, n], batch times.

    .. math:: t = t_{ramp} + \\max(S / (f r), Q / (\\beta e))

    with the steps S of `array_steps`, the bytes Q of `traffic_byte`, and the sustained shares r and e. Precisions that
    the arrays do not have run on the vector units at their peak. With ``activations_stay`` A and C are in on-chip
    memory before and after (a compiler that fuses a chain of layers), where both fit in half of it.
    """
    a = Arrays.of(settings)
    flop = 2.0 * x.batch * x.m * x.n * x.k
    useful = flop / settings.peak_flop_per_s
    on_arrays = a.step_hz > 0.0
    padded, waves, total = array_steps(x, a)
    hz = np.where(on_arrays, a.step_hz, 1.0)
    pieces = [np.where(on_arrays, steps / hz, useful) for steps in (padded, waves, total)]
    # The peak of a data sheet is rounded; whole tiles never take less than the products do at it.
    padded_s, waves_s, total_s = (np.maximum(piece, useful) for piece in pieces)
    core = total_s / values["systolic_rate"]
    size = settings.element_byte
    byte = traffic_byte(x, size, a)
    weights = x.batch * x.b_elements * size
    once = x.batch * (x.a_elements + x.b_elements + x.m * x.n) * size
    if activations_stay:
        acts = x.batch * (x.a_elements + x.m * x.n) * size
        stay = acts <= a.block_byte
        byte, once = np.where(stay, weights, byte), np.where(stay, weights, once)
    waiting = byte / (settings.dram_byte_per_s * values["systolic_memory_fraction"])
    busy = np.maximum(core, waiting)
    ramp = np.array(values["systolic_ramp_s"], dtype=np.float64)
    return KernelTime(
        device_s=busy + ramp,
        bound_s=np.maximum(useful, once / settings.dram_byte_per_s),
        flop=flop,
        dram_byte=byte,
        cache_byte=np.zeros(x.rows),
        parts={
            "arithmetic": useful,
            "padding": padded_s - useful,
            "waves": waves_s - padded_s,
            "depth": total_s - waves_s,
            "library": core - total_s,
            "memory": busy - core,
            "ramp": ramp,
        },
    )


def systolic_vector_time(
    rows: Floats, columns: Floats, words: Floats, flop: Floats, settings: Settings, values: Values
) -> KernelTime:
    """Device time of element-wise kernels on `rows` x `columns` elements.

    .. math:: t = t_{ramp} + \\max(F N / P_{vector}, w N e / \\beta), \\quad
              N = \\lceil r / r_0 \\rceil r_0 \\lceil c / c_0 \\rceil c_0

    ``words`` elements read and written and ``flop`` for each element; both extents are padded to the vector registers
    (r_0 x c_0), in memory as well. shape (rows,). Leaves out the reductions' trees and exponentials' own units.
    """
    Arrays.of(settings)
    shapes = [VECTOR_SHAPE.get(s.chip.architecture, (1.0, 1.0)) for s in settings.distinct]
    high, wide = (np.array([shape[i] for shape in shapes])[settings.row] for i in (0, 1))
    peak = np.array([vector_flop_per_s(s) for s in settings.distinct])[settings.row]
    useful = rows * columns * flop / peak
    elements = np.ceil(rows / high) * high * np.ceil(columns / wide) * wide
    core = elements * flop / peak
    byte = words * elements * settings.element_byte
    busy = np.maximum(core, byte / (settings.dram_byte_per_s * values["systolic_memory_fraction"]))
    ramp = np.array(values["systolic_ramp_s"], dtype=np.float64)
    least = words * rows * columns * settings.element_byte / settings.dram_byte_per_s
    return KernelTime(
        device_s=busy + ramp,
        bound_s=np.maximum(useful, least),
        flop=rows * columns * flop,
        dram_byte=byte,
        cache_byte=np.zeros(settings.rows),
        parts={"arithmetic": useful, "padding": core - useful, "memory": busy - core, "ramp": ramp},
    )
