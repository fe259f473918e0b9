"""Seconds of kernels on many-core CPUs: vector FMA ports, private caches, and a near and a far memory.

.. math:: t = t_{sync} + (t_{cores}^p + t_{memory}^p)^{1/p}

C is cut into blocks, one thread a core takes block after block; inside, a tile of accumulators lives in the vector
registers. Rows of C run along the vector lanes. Convolutions are in `cpu_conv`.

Left out: NUMA (sockets, sub-NUMA clusters), more than one thread a core, the clock that wide vectors allow (inside
the library's fraction), huge pages. What holds whatever the constants: products at the peak rate, and the bytes beyond
all caches together at the memory's nominal rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .cpu_core import Machine, Values, memory_s, register_rate, resident_share
from .gemm import GemmShapes
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Settings

_SPECS: Final = (
    KernelSpec(
        name="cpu_gemm_fraction", unit="1", prior=0.77, low=0.3, high=1.0, spread=0.2, levels={"architecture": 0.15},
        meaning="of the peak in the best register tile: the clock under wide vectors, packing, prefetches",
    ),
    KernelSpec(
        name="cpu_memory_fraction", unit="1", prior=0.65, low=0.3, high=1.0, spread=0.2, levels={"architecture": 0.1},
        meaning="of the main memory's nominal rate",
    ),
    KernelSpec(
        name="cpu_cache_byte_per_clock", unit="B/clock/core", prior=32.0, low=4.0, high=64.0, spread=0.3,
        levels={"architecture": 0.15}, meaning="read by a core from the caches that hold its part",
    ),
    KernelSpec(
        name="cpu_resident", unit="1", prior=0.68, low=0.2, high=1.0, spread=0.3,
        meaning="share of all caches together that a working set may fill before half of it comes from memory",
    ),
    KernelSpec(
        name="cpu_sync_s", unit="s", prior=1e-5, low=1e-6, high=1e-4, spread=0.5, levels={"architecture": 0.2},
        meaning="start and join of all threads",
    ),
    KernelSpec(
        name="cpu_overlap", unit="1", prior=1.5, low=1.0, high=8.0, spread=0.3,
        meaning="p of the p-norm: 1 adds work and memory, large overlaps them wholly",
    ),
    KernelSpec(
        name="cpu_depth", unit="elements of k", prior=15.0, low=1.0, high=200.0, spread=0.5,
        meaning="of k that loading and storing a register tile costs",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}

#: Blocks of C on offer (vectors of rows, columns) and ways to split k over threads.
BLOCKS: Final = tuple((u, w) for u in (1, 2, 4, 8) for w in (8, 16, 28, 112))
SPLITS: Final = (1, 4, 16)
#: Times all threads meet in one product: operands packed, product done.
MEETINGS: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """C cut into blocks of one size, shape (rows,): how many there are, FLOP of one step along k in a block, seconds of
    that step in one core, bytes that it reads, and seconds of reading them."""

    count: Floats
    step_flop: Floats
    step_s: Floats
    step_byte: Floats
    read_s: Floats

    @classmethod
    def of(
        cls,
        x: GemmShapes,
        settings: Settings,
        machine: Machine,
        values: Values,
        vectors: Floats | float,
        width: Floats | float,
    ) -> Blocks:
        """Blocks of ``vectors`` vectors x ``width`` columns."""
        # A product of few rows is computed transposed, so that its columns fill the lanes.
        turned = (x.m < machine.lanes) & (x.n > x.m)
        m, n = np.where(turned, x.n, x.m), np.where(turned, x.m, x.n)
        rows = vectors * machine.lanes
        columns = np.minimum(width, machine.accumulators)
        stacked = np.clip(np.floor(machine.accumulators / columns), 1.0, vectors)
        rate = machine.peak_flop_per_s / machine.cores * values["cpu_gemm_fraction"]
        step_flop = 2.0 * rows * width
        step_byte = (rows + width) * settings.element_byte
        return cls(
            count=x.batch * np.ceil(m / rows) * np.ceil(n / width),
            step_flop=step_flop,
            step_s=step_flop / (rate * register_rate(machine, stacked, columns)),
            step_byte=step_byte,
            read_s=step_byte * machine.cores / machine.cache_byte_per_s,
        )

    def core_s(self, k: Floats, split: Floats | float, cores: Floats, depth: Floats) -> Floats:
        """Seconds of the busiest core, k shared out over ``split`` threads; shape (rows,).

        .. math:: t = \\lceil T s / c \\rceil \\left( (k / s + k_0) t_{step} + (k / s) t_{read} \\right)
        """
        share = k / split
        return np.asarray(np.ceil(self.count * split / cores) * ((share + depth) * self.step_s + share * self.read_s))


def partial_s(x: GemmShapes, settings: Settings, machine: Machine, values: Values, split: Floats | float) -> Floats:
    """Seconds to write and add the partial sums of a shared k, and to meet once more; shape (rows,)."""
    byte = 2.0 * split * x.batch * x.m * x.n * settings.element_byte
    return np.asarray(np.where(np.asarray(split) > 1.0, byte / machine.cache_byte_per_s + values["cpu_sync_s"], 0.0))


def cpu_gemm_time(
    shapes: GemmShapes,
    settings: Settings,
    values: Values,
    *,
    footprint_byte: Floats | None = None,
    mode: str = "flat",
    refuse: bool = True,
) -> KernelTime:
    """Device time of C[m, n] = A[m, k] B[k, n], batch times.

    .. math:: t = 2 t_{sync} + \\min_{block, s} \\left( (t_{cores}^p + t_{memory}^p)^{1/p} + t_{partial} \\right)

    with t_cores from whole blocks, whole waves of blocks over the cores, and operands read from the caches; t_memory
    from the operands and the result (read and written), the part of them that fits in all caches at the caches' rate.

    ``footprint_byte`` [B] is what the running program keeps in memory (default: the operands); it decides the share
    that lies in the far memory.
    """
    machine = Machine.of(settings, values)
    words = shapes.batch * (shapes.m * shapes.k + shapes.k * shapes.n + 2.0 * shapes.m * shapes.n)
    byte = words * settings.element_byte
    footprint = np.maximum(byte, 0.0 if footprint_byte is None else footprint_byte)
    hit = resident_share(byte, machine, values)
    far = memory_s(byte, footprint, settings, mode=mode, refuse=refuse)
    waiting = (1.0 - hit) * far / values["cpu_memory_fraction"] + hit * byte / machine.cache_byte_per_s
    p = values["cpu_overlap"]
    fastest = {split: np.full(settings.rows, np.inf) for split in SPLITS}
    chosen = {split: np.zeros(settings.rows, dtype=np.int64) for split in SPLITS}
    for i, (vectors, width) in enumerate(BLOCKS):
        blocks = Blocks.of(shapes, settings, machine, values, float(vectors), float(width))
        for split in SPLITS:
            # Ways that share k alike differ in the cores' seconds alone.
            core = blocks.core_s(shapes.k, float(split), machine.cores, values["cpu_depth"])
            chosen[split] = np.where(core < fastest[split], i, chosen[split])
            fastest[split] = np.minimum(core, fastest[split])
    shared = waiting**p
    best, index, split_of = np.full(settings.rows, np.inf), chosen[1], np.ones(settings.rows)
    for split in SPLITS:
        total = (fastest[split] ** p + shared) ** (1.0 / p)
        total = total + partial_s(shapes, settings, machine, values, float(split))
        better = total < best
        best = np.where(better, total, best)
        index, split_of = np.where(better, chosen[split], index), np.where(better, float(split), split_of)
    sizes = np.array(BLOCKS, dtype=np.float64)[index]
    blocks = Blocks.of(shapes, settings, machine, values, sizes[:, 0], sizes[:, 1])
    core = blocks.core_s(shapes.k, split_of, machine.cores, values["cpu_depth"])
    adding = partial_s(shapes, settings, machine, values, split_of)
    flop = 2.0 * shapes.batch * shapes.m * shapes.n * shapes.k
    peak = machine.peak_flop_per_s
    padded = blocks.count * blocks.step_flop * shapes.k
    whole = np.ceil(blocks.count * split_of / machine.cores) * machine.cores * blocks.step_flop
    waves, depth = whole * shapes.k / split_of, whole * values["cpu_depth"]
    beyond = np.maximum(0.0, 1.0 - machine.cached_byte / np.maximum(byte, 1.0))
    meeting = np.array(MEETINGS * values["cpu_sync_s"], dtype=np.float64)
    return KernelTime(
        device_s=best + meeting,
        bound_s=np.maximum(flop / peak, beyond * far),
        flop=flop,
        dram_byte=(1.0 - hit) * byte,
        cache_byte=hit * byte + blocks.count * shapes.k * blocks.step_byte,
        parts={
            "arithmetic": flop / peak,
            "padding": (padded - flop) / peak,
            "waves": (waves - padded) / peak,
            "depth": depth / peak,
            "library": core - (waves + depth) / peak,
            "memory": best - adding - core,
            "steps": adding,
            "ramp": meeting,
        },
    )


def cpu_vector_time(
    byte: Floats, flop: Floats, settings: Settings, values: Values, *, mode: str = "flat"
) -> KernelTime:
    """Device time of kernels that move bytes and do little with them (element-wise, normalisation, optimizer).

    .. math:: t = t_{sync} + \\max(F / P, t_{memory})

    ``byte`` [B] read and written, ``flop`` [FLOP], shape (rows,).
    """
    machine = Machine.of(settings, values)
    hit = resident_share(byte, machine, values)
    far = memory_s(byte, byte, settings, mode=mode)
    waiting = (1.0 - hit) * far / values["cpu_memory_fraction"] + hit * byte / machine.cache_byte_per_s
    arithmetic = flop / machine.peak_flop_per_s
    beyond = np.maximum(0.0, 1.0 - machine.cached_byte / np.maximum(byte, 1.0))
    busy = np.maximum(arithmetic, waiting)
    return KernelTime(
        device_s=busy + values["cpu_sync_s"],
        bound_s=np.maximum(arithmetic, beyond * far),
        flop=flop,
        dram_byte=(1.0 - hit) * byte,
        cache_byte=hit * byte,
        parts={
            "arithmetic": arithmetic,
            "memory": busy - arithmetic,
            "ramp": np.array(values["cpu_sync_s"], dtype=np.float64),
        },
    )
