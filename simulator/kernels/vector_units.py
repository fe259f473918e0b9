"""Vector units of GPUs as products see them: what they issue, how addresses reach memory, which tiles libraries ship.

AMD's fp32 matrix cores are counted here too: their products have the same shapes of tiles and the same depth.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .kernel_constants import KernelSpec
from .optable import Floats
from .settings import Settings

#: Tiles of C (rows, columns) of vendor libraries. cuBLAS names its kernels by them (sgemm_128x128, 128x64, 64x64,
#: 32x128, 32x32_sliced, gemmSN for thin products); Tensile's macro-tiles are alike.
TILES: Final = (
    (128, 128), (256, 64), (128, 64), (64, 128), (64, 64), (128, 32), (32, 128), (32, 32), (64, 16), (16, 64),
)  # fmt: skip
#: Elements of k that a tile takes at a time, and what its rows along k bring of one row then [B]: a memory sector.
STEP: Final = 8.0
SECTOR_BYTE: Final = 32.0
#: Elements of C whose accumulators a core's registers hold: two tiles of 128 x 128 in 256 KiB beside the operands.
RESIDENT_ELEMENTS: Final = 32768
MOST_RESIDENT: Final = 16
#: Depth of k below which a split no longer pays for its start.
SMALLEST_SPLIT: Final = 64.0

#: Architectures whose cores issue one instruction per clock and scheduler: with 128 lanes a core, every load takes a
#: multiply-add's slot. Maxwell and Pascal issue two; cores of 64 lanes have every other slot free. The cost counts
#: instructions (`issue_cost`); it was lowered by hand from 0.20 because H100's published median of linear layers, 0.71
#: of peak (sitar-lab/NeuSight@6945927), leaves no room for more. L4's rows cannot tell it from the power limit.
ONE_ISSUE: Final = ("turing", "ampere", "ada", "hopper", "blackwell")
FULL_ISSUE_LANES: Final = 100.0
ISSUE_COST: Final = 0.12

#: Architectures whose addresses go to memory channels without hashing: 16 channels of 256 B each, so that rows a
#: multiple of 4 KiB apart all meet in one channel. The cost of it was fitted to MI25 and Vega FE and is held fixed.
PLAIN_CHANNELS: Final = ("gcn", "vega")
CHANNEL_BYTE: Final = 256.0
CHANNELS_BYTE: Final = 4096
CHANNEL_COST: Final = 0.25

#: Kernels for batches: cuBLAS has fewer than for single products and splits no k. What the libraries of the measured
#: tables picked: Ampere and later one tile of 128 x 128; Kepler to Pascal tiles at least 128 columns wide, squares only
#: where C fits into one.
BATCH_ONE_TILE: Final = ("ampere", "ada", "hopper", "blackwell")
BATCH_WIDE_TILES: Final = ("fermi", "kepler", "maxwell", "pascal")
SMALLEST_BATCH_SIDE: Final = 32
#: Libraries that ship few tiles for thin products: up to how many columns (of more than 4) a product is thin there, and
#: the least elements of C of a tile that takes it; its sides are 64 at least. DeepBench's sheets show both: on M40 with
#: CUDA 7.5, 4096 x 16, 32 and 64 by k = 4096 take 786, 789 and 703 us; on P100 with CUDA 8, 16 columns take 404 us,
#: 64 take 324.
THIN_ON_WIDE_TILES: Final[Mapping[str, tuple[float, int]]] = {"cudnn-5": (64.0, 8192), "cudnn-6": (16.0, 4096)}
SMALLEST_THIN_SIDE: Final = 64
#: Depth of k that each part of a split keeps in libraries that split only very deep products: M40's 512 x 32 by
#: k = 512 takes 93 us, about what four tiles take that walk all of k. Set by hand between DeepBench's k of
#: 4096 and 500000.
SPLIT_OF_LIBRARY: Final[Mapping[str, float]] = {"cudnn-5": 8192.0}

#: Rows of an operand that the tiles under way at one time walk along together.
WALKED_ROWS: Final = 1500.0

_SPECS: Final = (
    KernelSpec(
        name="fma_ramp_s", unit="s", prior=4e-6, low=5e-7, high=3e-5, spread=0.5,
        meaning="start and end of a kernel",
    ),
    KernelSpec(
        name="fma_rate", unit="1", prior=0.97, low=0.3, high=1.25, spread=0.1, levels={"library": 0.2},
        meaning="multiply-adds of the inner loop against the peak at the highest clock; above 1 it takes back what is "
        "overstated elsewhere (`fma_exposed`, boost clocks above the stated one)",
    ),
    KernelSpec(
        name="fma_cache_byte_per_clock", unit="B/clock/core", prior=24.0, low=4.0, high=256.0, spread=0.2,
        levels={"architecture": 0.5}, meaning="operands into a core's tile",
    ),
    KernelSpec(
        name="fma_fill_clock", unit="clock", prior=2500.0, low=50.0, high=40000.0, spread=0.7,
        meaning="filling and draining a tile",
    ),
    KernelSpec(
        name="fma_step_clock", unit="clock", prior=300.0, low=20.0, high=5000.0, spread=0.5,
        meaning="latency of 8 elements of k that a core with too few tiles waits for",
    ),
    KernelSpec(
        name="fma_split_s", unit="s", prior=2e-6, low=1e-7, high=2e-5, spread=0.5, meaning="adding up the parts of k",
    ),
    KernelSpec(
        name="fma_exposed", unit="1", prior=0.3, low=0.01, high=1.0, spread=0.5,
        meaning="share of the shorter of two overlapping activities that is not hidden",
    ),
    KernelSpec(
        name="fma_memory_rate", unit="1", prior=0.8, low=0.2, high=1.0, spread=0.15,
        meaning="bandwidth of the main memory against the nominal one",
    ),
    KernelSpec(
        name="fma_narrow_load", unit="1", prior=2.0, low=1.0, high=16.0, spread=0.5,
        meaning="loads of an operand whose rows are no whole number of 16 bytes, against one whose rows are",
    ),
    KernelSpec(
        name="fma_turn", unit="1", prior=0.05, low=0.001, high=1.0, spread=0.5,
        meaning="multiply-adds lost to turning tiles round where both operands lie along k",
    ),
    KernelSpec(
        name="fma_far_row_per_clock", unit="1/clock/core", prior=0.1, low=1e-3, high=10.0, spread=0.7,
        levels={"chip": 0.7},
        meaning="sectors of rows beyond the reach of address translation that a core gets",
    ),
    KernelSpec(
        name="fma_far_byte", unit="B", prior=1.5e8, low=1e7, high=1e10, spread=0.7,
        meaning="reach of address translation",
    ),
    KernelSpec(
        name="fma_energy", unit="1", prior=1.0, low=0.2, high=5.0, spread=0.3,
        meaning="energy of a FLOP against the table `power.VECTOR_FLOP_J`",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}


def of_architecture(settings: Settings, words: Collection[str]) -> NDArray[np.bool_]:
    """Whether the chip's architecture is among the words; shape (rows,)."""
    return np.array([s.chip.architecture in words for s in settings.distinct], dtype=bool)[settings.row]


def of_library(settings: Settings, words: Collection[str]) -> NDArray[np.bool_]:
    """Whether the library is among the words; shape (rows,)."""
    return np.array([s.library in words for s in settings.distinct], dtype=bool)[settings.row]


def smallest_split(settings: Settings) -> Floats:
    """Least depth of k that a part of a split keeps; shape (rows,)."""
    return np.array([SPLIT_OF_LIBRARY.get(s.library, SMALLEST_SPLIT) for s in settings.distinct])[settings.row]


def lanes(settings: Settings) -> Floats:
    """Multiply-adds a core does in a clock at peak; shape (rows,)."""
    return np.asarray(settings.peak_flop_per_s / (2.0 * settings.cores * settings.clock_hz))


def issue_cost(settings: Settings) -> Floats:
    """Issue slots of the inner loop per multiply-add; shape (rows,).

    An 8 x 8 block of a thread needs 64 multiply-adds, 4 wide loads and its share of the loop's counters and barriers.
    """
    full = of_architecture(settings, ONE_ISSUE) & (lanes(settings) > FULL_ISSUE_LANES)
    return np.where(full, 1.0 + ISSUE_COST, 1.0)


def channel_conflict(settings: Settings, row_byte: Floats) -> Floats:
    """Loads that queue because rows a power of two apart share memory channels, per load; shape (rows,).

    .. math:: q = a \\, (\\gcd(row, 4096) / 256 - 1)
    """
    plain = of_architecture(settings, PLAIN_CHANNELS)
    if not plain.any():
        return np.zeros(settings.rows)
    sharing = np.maximum(np.gcd(row_byte.astype(np.int64), CHANNELS_BYTE) / CHANNEL_BYTE, 1.0)
    return np.where(plain, CHANNEL_COST * (sharing - 1.0), 0.0)
