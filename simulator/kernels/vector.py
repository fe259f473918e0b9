"""Element-wise kernels, normalisation and softmax over rows, on chips with many cores over a cache and DRAM.

The bytes decide, and what serves them: DRAM, or the cache that all cores share where a launch finds what the one before
left, or where a row that is walked more than once is still there from its first walk. Normalisation and softmax over
short rows are bound by what a core issues per row instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats, Ints
from .settings import Settings


@dataclass(frozen=True, kw_only=True)
class VectorOp:
    """What one operation reads and writes per element, and how much it computes.

    ``reads`` and ``writes`` count tensors of rows x cols; ``flop`` is per element, the fewest the formula needs.
    """

    reads: int
    writes: int
    flop: float


#: Operations by name. Element-wise ones do not care where a row ends.
OPS: Final[Mapping[str, VectorOp]] = {
    "add": VectorOp(reads=2, writes=1, flop=1.0),
    "mul": VectorOp(reads=2, writes=1, flop=1.0),
    "div": VectorOp(reads=2, writes=1, flop=1.0),
    "add_scalar": VectorOp(reads=1, writes=1, flop=1.0),
    "relu": VectorOp(reads=1, writes=1, flop=1.0),
    "gelu": VectorOp(reads=1, writes=1, flop=8.0),
    "tanh": VectorOp(reads=1, writes=1, flop=4.0),
    "layernorm": VectorOp(reads=1, writes=1, flop=7.0),
    "softmax": VectorOp(reads=1, writes=1, flop=4.0),
}
OP_WORDS: Final = tuple(OPS)
LAYERNORM: Final = OP_WORDS.index("layernorm")
SOFTMAX: Final = OP_WORDS.index("softmax")

#: Threads that a core holds at a time (CUDA C++ Programming Guide, table "Technical Specifications per Compute
#: Capability"; AMD: 40 or 32 wavefronts of 64, CDNA instruction set guides; as remembered).
RESIDENT_THREADS: Final[Mapping[str, float]] = {
    "fermi": 1536, "kepler": 2048, "maxwell": 2048, "pascal": 2048, "volta": 2048, "turing": 1024, "ampere": 2048,
    "ada": 1536, "hopper": 2048, "blackwell": 2048,
    "gcn": 2560, "vega": 2560, "cdna": 2560, "cdna2": 2048, "cdna3": 2048, "cdna4": 2048,
}  # fmt: skip
#: Share of `Chip.on_chip_byte` per core that keeps global loads: all of it where cache and shared memory are one (Volta
#: and later), else what is left beside shared memory (24 of 88 KiB on P100, 48 of 144 on P4, 16 of 80 on CDNA; Kepler's
#: global loads pass it by). As remembered from the makers' tuning guides.
NEAR_SHARE: Final[Mapping[str, float]] = {
    "fermi": 0.25, "kepler": 0.05, "maxwell": 0.2, "pascal": 0.3, "volta": 1.0, "turing": 0.67, "ampere": 1.0,
    "ada": 1.0, "hopper": 1.0, "blackwell": 1.0,
    "gcn": 0.2, "vega": 0.2, "cdna": 0.2, "cdna2": 0.2, "cdna3": 0.33, "cdna4": 0.2,
}  # fmt: skip
#: Libraries whose block softmax keeps rows of whole vectors in shared memory, up to so many bytes (PyTorch 2.4, as
#: remembered; 2.1 on NVIDIA shows no sign of it).
KEEPS_ROWS: Final = ("torch-rocm",)
KEPT_ROW_BYTE: Final = 64.0 * 1024.0
#: Makers whose threads run 64 in lockstep.
AMD: Final = ("gcn", "vega", "cdna", "cdna2", "cdna3", "cdna4")
#: What a core can take from the shared cache at most [B/clock], on both makers' chips; as remembered.
L2_BYTE_PER_CLOCK: Final = 64.0
#: Board power up to which a card is fed by its slot alone: narrow GDDR memory that keeps its check bits in
#: line, as remembered. Copies on T4 run at 239 of 320 GB/s (geoffxy/habitat@5f01e52).
SLOT_W: Final = 75.0
#: Longest row that PyTorch's softmax keeps in the registers of one warp [elements]; longer rows are walked three times
#: by a block (maximum, sum, result), as `aten/src/ATen/native/cuda/SoftMax.cu` has it, as remembered.
WARP_SOFTMAX: Final = 1024.0
#: Elements that a thread loads at once: 16 bytes.
VECTOR_BYTE: Final = 16.0
#: Loads that a loop over single elements is worth, beside those in it.
REMAINDER_LOADS: Final = 2.5
#: How steeply hits fall where the rows at work outgrow a core's own cache.
NEAR_STEEPNESS: Final = 8.0
#: Start and end of a kernel [s]: kernels of 64 KiB launched back to back on a stream take 1.6 to 2.6 us on five chips
#: (te42kyfo/gpu-benches@1c36d50, gpu-small-kernels); the median.
RAMP_S: Final = 2.05e-6
#: Sharpness of the corner between the limits of a kernel.
CORNER: Final = 3.5

SPECS: Final[Mapping[str, KernelSpec]] = {
    spec.name: spec
    for spec in (
        KernelSpec(
            name="vector_dram_share", unit="1", prior=0.85, low=0.4, high=0.98, spread=0.1,
            levels={"architecture": 0.08, "chip": 0.05},
            meaning="sustained share of the nominal DRAM rate",
        ),
        KernelSpec(
            name="vector_slot_dram_share", unit="1", prior=0.77, low=0.4, high=0.98, spread=0.1,
            meaning="the same on cards fed by their slot alone",
        ),
        KernelSpec(
            name="vector_l2_share", unit="1", prior=0.4, low=0.1, high=1.0, spread=0.4,
            meaning="sustained share of what the cores can take from the shared cache",
        ),
        KernelSpec(
            name="vector_l2_keep", unit="1", prior=0.65, low=0.2, high=1.0, spread=0.3,
            meaning="share of the shared cache in which a launch, or a walk, finds what the one before left",
        ),
        KernelSpec(
            name="vector_near_keep", unit="1", prior=0.87, low=0.2, high=1.0, spread=0.3, levels={"architecture": 0.3},
            meaning="the same share of a core's own cache",
        ),
        KernelSpec(
            name="vector_miss_steepness", unit="1", prior=4.0, low=1.0, high=12.0, spread=0.4,
            meaning="how steeply hits fall where the footprint outgrows the cache",
        ),
        KernelSpec(
            name="layernorm_row_cycles", unit="cycle", prior=400.0, low=10.0, high=4000.0, spread=0.8,
            meaning="time of a core per row of a normalisation, for its reductions",
        ),
        KernelSpec(
            name="layernorm_group_cycles", unit="cycle", prior=150.0, low=5.0, high=2000.0, spread=0.8,
            levels={"architecture": 0.15},
            meaning="time of a core per 128 elements of a normalisation",
        ),
        KernelSpec(
            name="softmax_group_cycles", unit="cycle", prior=13.0, low=1.0, high=500.0, spread=0.5,
            levels={"architecture": 0.15},
            meaning="time of a core per load of 32 threads, of up to four elements each, in each walk of a softmax",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VectorShapes:
    """``op`` indexes `OP_WORDS`; tensors hold ``rows`` x ``cols`` elements; every array has shape (n,)."""

    op: Ints
    rows: Floats
    cols: Floats


def _reads(op: Ints) -> Floats:
    return np.array([float(entry.reads) for entry in OPS.values()])[op]


def _tensors(op: Ints) -> Floats:
    return np.array([float(entry.reads + entry.writes) for entry in OPS.values()])[op]


def _of_architecture(settings: Settings, table: Mapping[str, float], default: float) -> Floats:
    return np.array([table.get(s.chip.architecture, default) for s in settings.distinct])[settings.row]


def softmax_walk(cols: Floats, element_byte: Floats) -> tuple[Floats, Floats, Floats]:
    """How PyTorch's softmax walks a row: (threads per row, steps of work per thread and walk, walks); shapes (n,).

    Up to `WARP_SOFTMAX` a warp holds the row, padded to a power of two, in registers. Longer rows get a block of a
    power of two of threads, at least half of the vector loads that the row has and at most 512; what is left over after
    whole rounds of vector loads is loaded one by one. A step is one load, of up to four elements.
    """
    wide = VECTOR_BYTE / element_byte
    half = np.floor(np.minimum(np.floor(cols / wide), 1024.0) / 2.0)
    threads = np.maximum(np.exp2(np.ceil(np.log2(np.maximum(half, 1.0)))), 32.0)
    rounds = np.floor(cols / (wide * threads))
    single = np.ceil((cols - rounds * wide * threads) / threads)
    # What is left over takes a loop of its own in every walk; so does the head of a row that starts between vectors.
    single += REMAINDER_LOADS * (single > 0.0) * (1.0 + (np.mod(cols, wide) > 0.0))
    padded = np.exp2(np.ceil(np.log2(np.maximum(cols, 32.0))))
    short = cols <= WARP_SOFTMAX
    steps = np.where(short, padded / 32.0, rounds * wide / 4.0 + single)
    return np.where(short, 32.0, threads), steps, np.where(short, 1.0, 3.0)


def found(footprint_byte: Floats, cache_byte: Floats, steepness: Floats) -> Floats:
    """Share of bytes found in a cache that holds `cache_byte`; shape (n,).

    .. math:: h = 1 / (1 + (F / C)^k)

    Smooth, since replacement is not strictly by age; never more than fits: h F <= C for k >= 1.
    """
    return np.asarray(1.0 / (1.0 + (footprint_byte / np.maximum(cache_byte, 1.0)) ** steepness))


def vector_time(shapes: VectorShapes, settings: Settings, values: Mapping[str, Floats]) -> KernelTime:
    """Device time of vector kernels.

    .. math:: t = t_{ramp} + t_p + (t_{dram} + t_{issue} - t_p) / w, \\qquad
              t_p = \\left(t_{dram}^p + t_{l2}^p + t_{issue}^p\\right)^{1/p}

    with w >= 1 waves of rows (the second term for operations over rows only, and never below zero), DRAM traffic
    B (1 - h) and its sustained share of the nominal rate, cache traffic at a share of what the cores can take, and the
    cycles that a core spends per row. Rows walked n times read (n - 1) times more, out of the core's own cache or the
    shared one as far as the rows at work fit.

    Notes
    -----
    Leaves out: rows that are not whole vectors in normalisation (another kernel), split rows, transcendentals beside
    the bytes (no chip since 2010 is bound by them in fp32).
    """
    op, cols, rows = shapes.op, shapes.cols, shapes.rows
    element = settings.element_byte
    is_norm, is_softmax = op == LAYERNORM, op == SOFTMAX
    size = rows * cols * element
    least = size * _tensors(op)
    l2 = settings.l2_byte
    architectures = [s.chip.architecture for s in settings.distinct]
    amd = np.array([word in AMD for word in architectures])[settings.row]

    threads, loads, walks = softmax_walk(cols, element)
    warp = np.where(amd, 64.0, 32.0)
    norm_threads = np.where(amd, 256.0, 128.0)
    threads = np.where(is_norm, norm_threads, threads)
    walks = np.where(is_norm, 2.0, np.where(is_softmax, walks, 1.0))
    resident = np.maximum(np.floor(_of_architecture(settings, RESIDENT_THREADS, 2048.0) / threads), 1.0)
    at_work = np.minimum(resident, np.ceil(rows / settings.cores)) * cols * element
    near = settings.on_chip_byte / settings.cores * _of_architecture(settings, NEAR_SHARE, 1.0)
    missed = 1.0 - found(at_work, values["vector_near_keep"] * near, np.full_like(rows, NEAR_STEEPNESS))
    missed *= 1.0 - found(at_work * settings.cores, values["vector_l2_keep"] * l2, values["vector_miss_steepness"])
    keeps = np.array([s.library in KEEPS_ROWS for s in settings.distinct])[settings.row]
    whole = (np.mod(cols * element, VECTOR_BYTE) == 0.0) & (cols * element < KEPT_ROW_BYTE)
    missed = np.where(keeps & is_softmax & whole, 0.0, missed)
    kept = found(least, values["vector_l2_keep"] * l2, values["vector_miss_steepness"])
    reread = size * (walks - 1.0) * missed
    dram_byte = (least + reread) * (1.0 - kept)
    cache_byte = least + size * (walks - 1.0)

    slot = settings.tdp_w <= SLOT_W
    share = np.where(slot, values["vector_slot_dram_share"], values["vector_dram_share"])
    dram_s = dram_byte / (settings.dram_byte_per_s * share)
    l2_rate = settings.cores * settings.clock_hz * L2_BYTE_PER_CLOCK
    l2_s = cache_byte / (l2_rate * values["vector_l2_share"])
    norm_cycles = values["layernorm_row_cycles"] + values["layernorm_group_cycles"] * np.ceil(
        cols * element / (VECTOR_BYTE * warp)
    ) * (warp / 32.0)
    softmax_cycles = values["softmax_group_cycles"] * loads * walks * threads / 32.0
    cycles = np.where(is_norm, norm_cycles, np.where(is_softmax, softmax_cycles, 0.0))
    issue_s = np.ceil(rows / settings.cores) * cycles / settings.clock_hz

    bound_s = np.maximum(np.maximum(least - l2, 0.0) / settings.dram_byte_per_s, least / l2_rate)
    # The first blocks on all cores load together and compute together; only later ones find each other's gaps.
    waves = np.maximum(rows / (resident * settings.cores), 1.0)
    joined = (dram_s**CORNER + l2_s**CORNER + issue_s**CORNER) ** (1.0 / CORNER)
    joined = joined + np.where(cycles > 0.0, np.maximum(dram_s + issue_s - joined, 0.0) / waves, 0.0)
    work_s = np.maximum(joined, bound_s)
    ramp_s = np.full_like(rows, RAMP_S)
    steps_s = np.minimum(issue_s, work_s)
    return KernelTime(
        device_s=ramp_s + work_s,
        bound_s=bound_s,
        flop=rows * cols * np.array([entry.flop for entry in OPS.values()])[op],
        dram_byte=dram_byte,
        cache_byte=cache_byte,
        parts={"memory": work_s - steps_s, "steps": steps_s, "ramp": ramp_s},
    )
