"""Matrix units (tensor cores, matrix cores) of GPUs by architecture, and the constants of products that run on them.

What the tables say of each architecture is recalled from the makers' documents named beside it, not read again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hwmodels.chip import Chip

from .kernel_constants import KernelSpec
from .settings import PRECISION_WORDS

#: Words that run on matrix units in this model; fp32 and fp64 products are `gemm`'s, on whichever unit.
WORDS: Final = ("tf32", "fp16", "bf16", "fp8", "fp4", "int8")

#: Tiles of C (rows, columns) that vendor libraries ship (CUTLASS and hipBLASLt sources name their kernels by them).
TILES: Final = (
    (256, 256), (256, 128), (128, 256), (128, 128), (128, 64), (64, 128), (256, 64), (64, 256), (64, 64), (128, 32),
    (32, 128), (64, 32), (32, 64), (64, 16), (16, 64),
)  # fmt: skip
#: Largest tile whose fp32 accumulators a core holds beside its operands [elements]. A CDNA unit has 512 KiB of
#: registers, an NVIDIA multiprocessor 256 KiB, of which tiles take half (AMD CDNA 3 white paper; NVIDIA H100 white
#: paper). On Blackwell they lie in 256 KiB of tensor memory, twice, so that a tile is written while the next is
#: computed (PTX ISA, tcgen05).
LARGEST_TILE: Final[Mapping[str, float]] = {"cdna": 65536.0, "cdna2": 65536.0, "cdna3": 65536.0, "cdna4": 65536.0}
USUAL_TILE: Final = 32768.0
WRITES_BESIDE: Final = ("blackwell",)
#: Architectures whose cores work on a tile in pairs, each loading half of the columns' operand (PTX ISA, cta_group).
PAIRED_FROM_ROWS: Final = 128
PAIRED: Final = ("blackwell",)
#: Architectures that bring operands into shared memory through registers: every step along k waits for them. Ampere
#: and later copy asynchronously (CUDA Programming Guide, asynchronous copies).
THROUGH_REGISTERS: Final = ("volta", "turing", "cdna", "cdna2", "cdna3", "cdna4")
#: Architectures whose products wait for all of their operands' traffic: a fit by architecture put
#: `matrix_cache_exposed` at its upper limit of 1 on MI355X and at 0.06 to 0.13 on NVIDIA's. CDNA 1 to 3 are taken to be
#: like MI355X.
ONE_AFTER_ANOTHER: Final = ("cdna", "cdna2", "cdna3", "cdna4")
#: Architectures whose matrix units read 32-bit operands along k only; those along n are turned on the way (PTX ISA:
#: wgmma transposes 16-bit operands only, ldmatrix likewise).
TURNS_32_BIT: Final = ("ampere", "ada", "hopper")
#: Share of `Chip.l2_byte` that is a cache of the cores: on CDNA 3 and later that figure is the 256 MiB cache on the
#: memory's side of the fabric, and each of 8 dies has 4 MiB on the cores' side (ROCm, GPU architecture table).
NEAR_SHARE: Final[Mapping[str, float]] = {"cdna3": 0.125, "cdna4": 0.125}

#: Elements of k that one step brings in, and the least depth that a split leaves to each part.
STEP: Final = 64.0
LEAST_DEPTH: Final = 256.0
#: Share of the board's power that is left for the products; the rest leaks, or feeds memory and idle parts.
POWER_SHARE: Final = 0.8
#: Rows shorter than whole 16-byte loads slow the traffic by (bytes / 16) to this power (DeepBench's rows with 35
#: columns and with k = 1530; not fitted further).
NARROW_POWER: Final = 0.3

_SPECS: Final = (
    KernelSpec(
        name="matrix_ramp_s", unit="s", prior=3.5e-6, low=5e-7, high=2e-5, spread=0.5, levels={"architecture": 0.4},
        meaning="start and end of a kernel",
    ),
    KernelSpec(
        name="matrix_rate", unit="1", prior=0.9, low=0.3, high=1.0, spread=0.05, levels={"library": 0.1},
        meaning="of the peak, while a tile's operands are at hand",
    ),
    KernelSpec(
        name="matrix_cache_byte_per_clock", unit="B/clock/core", prior=64.0, low=8.0, high=256.0, spread=0.2,
        meaning="operands that a core takes in",
    ),
    KernelSpec(
        name="matrix_cache_exposed", unit="1", prior=0.12, low=0.01, high=1.0, spread=0.5,
        meaning="of the shorter of products and operand traffic, not hidden behind the longer",
    ),
    KernelSpec(
        name="matrix_step_clock", unit="clock", prior=400.0, low=1.0, high=3000.0, spread=0.5,
        meaning="latency of a step along k where operands pass through registers",
    ),
    KernelSpec(
        name="matrix_fill_clock", unit="clock", prior=1000.0, low=50.0, high=20000.0, spread=0.5,
        meaning="filling and draining of a tile's pipeline",
    ),
    KernelSpec(
        name="matrix_split_reach", unit="1", prior=64.0, low=4.0, high=1024.0, spread=0.5,
        meaning="elements of C for each of k up to which libraries split k",
    ),
    KernelSpec(
        name="matrix_memory_rate", unit="1", prior=0.8, low=0.2, high=1.0, spread=0.15,
        meaning="of the main memory's nominal rate",
    ),
    KernelSpec(
        name="matrix_resident_byte_per_clock", unit="B/clock/core", prior=16.0, low=2.0, high=64.0, spread=0.4,
        levels={"architecture": 0.3}, meaning="operands and results that stay in the shared cache, first touch",
    ),
    KernelSpec(
        name="matrix_write_exposed", unit="1", prior=0.6, low=0.01, high=1.0, spread=0.5,
        levels={"architecture": 0.3},
        meaning="of the writing of C, not hidden behind the products",
    ),
    KernelSpec(
        name="matrix_flop_pj", unit="pJ/FLOP", prior=0.6, low=0.05, high=5.0, spread=0.2, levels={"architecture": 0.25},
        meaning="energy of a 16-bit operation at the highest clock; as the bytes of an element for other words",
    ),
    KernelSpec(
        name="matrix_turn", unit="1", prior=1.7, low=1.0, high=4.0, spread=0.3,
        meaning="traffic of 32-bit operands that must be turned, against those that need not",
    ),
    KernelSpec(
        name="matrix_along_k", unit="1", prior=1.8, low=1.0, high=4.0, spread=0.3,
        meaning="DRAM time of an operand contiguous along k, where operands pass through registers",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}


def near_cache_byte(chip: Chip) -> float:
    """Shared cache on the cores' side of the fabric [B]."""
    return chip.l2_byte * NEAR_SHARE.get(chip.architecture, 1.0)


def on_matrix_units(chip: Chip, precision: str) -> bool:
    """Whether this model prices products of a precision on a chip: a GPU with matrix units for that word."""
    word = PRECISION_WORDS[precision][0]
    if word == "int8" and chip.architecture == "volta":
        return False
    return chip.kind == "gpu" and chip.has_matrix_units and word in WORDS and word in chip.peak_flop_per_s
