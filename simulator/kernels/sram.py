"""Seconds of kernels on machines whose memory is spread over their tiles (Graphcore IPU).

A call is a row of bulk-synchronous phases: all tiles receive their operands (exchange), all compute, all exchange
partial sums and add them, with a barrier before each. The slowest tile decides every phase; phases do not overlap.

Left out: contention and distance on the exchange (no more than a quarter of its latency under full load, Jia et al.
2019), the placement of tensors before and after, host traffic, several chips, block sparsity. What holds whatever the
constants: products at the peak, and what does not fit in the tiles once at the far memory's nominal rate.

Sources: Jia, Tillman, Maggioni, Scarpazza 2019, Dissecting the Graphcore IPU Architecture via Microbenchmarking,
arXiv:1912.03413 (secondary copies of its abstract and review were read: 6 clocks to the local memory, 31.1 and
124.5 TFLOP/s peak). Its best products, 18.9 TFLOP/s in fp32 and 58.9 in mixed precision, are as remembered.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from .gemm import GemmShapes
from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats
from .settings import Settings

Values = Mapping[str, Floats]

#: Rows of measured tables that this model was fitted on or scored by.
MEASURED_ROWS: Final = 0

_SPECS: Final = (
    KernelSpec(
        name="sram_rate", unit="1", prior=0.75, low=0.3, high=1.0, spread=0.2, levels={"architecture": 0.1},
        meaning="of the clocks of a tile's products that its code takes besides loading weights",
    ),
    KernelSpec(
        name="sram_exchange_fraction", unit="1", prior=0.85, low=0.3, high=1.0, spread=0.2,
        levels={"architecture": 0.1}, meaning="of the fabric's nominal rate",
    ),
    KernelSpec(
        name="sram_sync_s", unit="s", prior=1e-6, low=1e-7, high=1e-5, spread=0.5, levels={"architecture": 0.2},
        meaning="one barrier of all tiles and the start of the phase behind it",
    ),
    KernelSpec(
        name="sram_usable", unit="1", prior=0.8, low=0.3, high=1.0, spread=0.2,
        meaning="of a tile's memory that tensors have beside code and exchange buffers",
    ),
)  # fmt: skip
SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}

#: A tile's product unit works on 16 outputs; along k on 16 elements of 2 bytes or less and 8 of 4. Recalled from
#: Graphcore's Poplar documentation.
UNIT_OUTPUTS: Final = 16.0
UNIT_DEPTH_BYTE: Final = 32.0
PARTIAL_BYTE: Final = 4.0
#: Shares of m, and of k, that a product may be cut into; the rest of the tiles share n.
ROW_CUTS: Final = (1, 2, 4, 8, 16, 24, 32, 38, 64, 128, 256)
DEPTH_CUTS: Final = (1, 2, 4, 16)


class SramError(ValueError):
    """Work that a machine of SRAM cannot hold."""


@dataclass(frozen=True, kw_only=True)
class Tiles:
    """Facts of the settings as columns, shape (rows,): tiles, peak of one [FLOP/s], its memory for tensors [B], its
    load rate, and its share of the exchange, sustained [B/s]."""

    count: Floats
    flop_per_s: Floats
    memory_byte: Floats
    load_byte_per_s: Floats
    exchange_byte_per_s: Floats

    @classmethod
    def of(cls, settings: Settings, values: Values) -> Tiles:
        """Gathered from the chips of the settings."""
        for setting in settings.distinct:
            chip = setting.chip
            if chip.kind != "sram":
                raise SramError(f"chip {chip.id!r} is of kind {chip.kind}; this model is for sram.")
            if chip.fabric_bandwidth_byte_per_s is None:
                raise SramError(f"chip {chip.id!r} has no fabric_bandwidth_byte_per_s; the exchange cannot be priced.")
        fabric = [setting.chip.fabric_bandwidth_byte_per_s or 0.0 for setting in settings.distinct]
        load = [s.chip.on_chip_bandwidth_byte_per_s or s.chip.memory_bandwidth_byte_per_s for s in settings.distinct]
        memory = [setting.chip.memory_byte for setting in settings.distinct]
        row, count = settings.row, settings.cores
        return cls(
            count=count,
            flop_per_s=settings.peak_flop_per_s / count,
            memory_byte=np.array(memory)[row] * values["sram_usable"] / count,
            load_byte_per_s=np.array(load)[row] / count,
            exchange_byte_per_s=np.array(fabric)[row] * values["sram_exchange_fraction"] / count,
        )


def streamed_byte(footprint_byte: Floats, settings: Settings, usable: Floats | float, *, refuse: bool = True) -> Floats:
    """What the tiles cannot hold, max(0, footprint - usable capacity), and the far memory can; shape (rows,) [B].

    ``refuse=False`` leaves the check of the far memory's capacity to the caller (a step checks its memory as a whole);
    without far memory the host's streams.

    Raises
    ------
    SramError
        If something is left over and the chip has no far memory, or not enough.
    """
    chips = [setting.chip for setting in settings.distinct]
    room = np.array([chip.memory_byte for chip in chips])[settings.row] * usable
    far = np.array([chip.far_memory_byte or 0.0 for chip in chips])[settings.row]
    beyond = np.maximum(0.0, footprint_byte - room)
    if refuse and np.any(beyond > far):
        i = int(np.argmax(beyond - far))
        chip = chips[settings.row[i]]
        raise SramError(
            f"row {i} needs {footprint_byte[i]:.3g} byte; {chip.id} has {room[i]:.3g} in its tiles and {far[i]:.3g} "
            "behind them. Use a smaller batch, or more chips."
        )
    return np.asarray(beyond)


def _far_byte_per_s(settings: Settings) -> Floats:
    rates = [
        s.chip.far_memory_bandwidth_byte_per_s or s.chip.host_bandwidth_byte_per_s or np.inf for s in settings.distinct
    ]
    return np.array(rates)[settings.row]


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A product cut into rows x columns x depth blocks, and what the slowest tile does, shape (rows,).

    Products with ragged units, those with tiles left idle, and weight loads, in seconds at the peak; bytes that the
    tile receives as operands and as partial sums; phases between barriers.
    """

    padded_s: Floats
    idle_s: Floats
    load_s: Floats
    operand_byte: Floats
    partial_byte: Floats
    phases: Floats


def grids(x: GemmShapes, element_byte: Floats, tiles: Tiles) -> Iterator[Grid]:
    """Every grid on offer: `ROW_CUTS` x `DEPTH_CUTS`, columns from the tiles that remain for one of the batch.

    A batch above the tiles goes in rounds. Operands that do not fit beside each other in a tile arrive in passes along
    k, each with its own exchange and computing. A tile cuts the patches of a convolution out of the pixels it receives.
    """
    rounds = np.ceil(x.batch / tiles.count)
    share = np.maximum(np.floor(tiles.count / x.batch), 1.0)
    unit_depth = UNIT_DEPTH_BYTE / np.maximum(element_byte, 2.0)
    share_a, share_b = x.a_elements / (x.m * x.k), x.b_elements / (x.k * x.n)
    for cut_k in DEPTH_CUTS:
        for cut_m in ROW_CUTS:
            cut_n = np.floor(share / (cut_m * cut_k))
            legal = (cut_n >= 1.0) & (cut_m <= x.m) & (cut_k <= x.k)
            columns = np.ceil(x.n / np.maximum(cut_n, 1.0))
            rows, depth = np.ceil(x.m / cut_m), np.ceil(x.k / cut_k)
            outputs = np.ceil(columns / UNIT_OUTPUTS) * UNIT_OUTPUTS
            steps = np.ceil(depth / unit_depth) * unit_depth
            block = 2.0 * rows * outputs * steps / tiles.flop_per_s
            whole = np.ceil(x.n / UNIT_OUTPUTS) * UNIT_OUTPUTS * np.ceil(x.k / unit_depth) * unit_depth
            even = 2.0 * x.batch * x.m * whole / (tiles.flop_per_s * tiles.count)
            operand = (rows * depth * share_a + depth * columns * share_b) * element_byte
            result = rows * columns * PARTIAL_BYTE
            passes = np.ceil(operand / np.maximum(tiles.memory_byte - result, tiles.memory_byte / 8.0))
            split = cut_k > 1
            yield Grid(
                padded_s=np.where(legal, even, np.inf),
                idle_s=np.where(legal, rounds * block, np.inf),
                load_s=rounds * outputs * steps * element_byte / tiles.load_byte_per_s,
                operand_byte=rounds * operand,
                partial_byte=rounds * result * (cut_k - 1.0) / cut_k,
                phases=rounds * (2.0 * passes + (2.0 if split else 0.0)),
            )


def sram_gemm_time(
    x: GemmShapes, settings: Settings, values: Values, *, footprint_byte: Floats | None = None, refuse: bool = True
) -> KernelTime:
    """Device time of C[m, n] = A[m, k] B[k, n], batch times, on the grid of tiles that finishes first.

    .. math:: t = p \\, t_{sync} + \\frac{F_{tile} / P_{tile} + B_{weights} / \\beta_{load}}{r} + \\frac{B_{in} +
              B_{partial}}{\\beta_{exchange}} + \\frac{2 B_{partial}}{\\beta_{load}} + t_{stream}

    ``footprint_byte`` [B] is what the program keeps (default: the operands and the result); what the tiles cannot hold
    of it is streamed in, once a call.
    """
    tiles = Tiles.of(settings, values)
    element = settings.element_byte
    rate, sync = values["sram_rate"], values["sram_sync_s"]
    best = np.full(x.rows, np.inf)
    kept: dict[str, Floats] = {name: np.zeros(x.rows) for name in Grid.__dataclass_fields__}
    for grid in grids(x, element, tiles):
        total = _phase_s(grid, tiles, rate, sync)
        better = total < best
        best = np.where(better, total, best)
        for name in kept:
            kept[name] = np.where(better, getattr(grid, name), kept[name])
    flop = 2.0 * x.batch * x.m * x.n * x.k
    useful = flop / settings.peak_flop_per_s
    operands = x.batch * (x.a_elements + x.b_elements + x.m * x.n) * element
    footprint = np.maximum(operands, 0.0 if footprint_byte is None else footprint_byte)
    far = streamed_byte(footprint, settings, values["sram_usable"], refuse=refuse)
    streamed = far / _far_byte_per_s(settings)
    padded, idle = np.maximum(kept["padded_s"], useful), np.maximum(kept["idle_s"], useful)
    idle = np.maximum(idle, padded)
    core = (idle + kept["load_s"]) / rate
    exchange = (kept["operand_byte"] + kept["partial_byte"]) / tiles.exchange_byte_per_s
    steps = kept["phases"] * sync + 2.0 * kept["partial_byte"] / tiles.load_byte_per_s
    return KernelTime(
        device_s=core + exchange + steps + streamed,
        bound_s=np.maximum(useful, streamed_byte(footprint, settings, 1.0, refuse=refuse) / _far_byte_per_s(settings)),
        flop=flop,
        dram_byte=far,
        cache_byte=(kept["operand_byte"] + kept["partial_byte"]) * tiles.count,
        parts={
            "arithmetic": useful,
            "padding": padded - useful,
            "waves": idle - padded,
            "depth": kept["load_s"],
            "library": core - idle - kept["load_s"],
            "memory": exchange + streamed,
            "steps": steps,
        },
    )


def _phase_s(grid: Grid, tiles: Tiles, rate: Floats, sync: Floats) -> Floats:
    compute = (grid.idle_s + grid.load_s) / rate + 2.0 * grid.partial_byte / tiles.load_byte_per_s
    exchange = (grid.operand_byte + grid.partial_byte) / tiles.exchange_byte_per_s
    return np.asarray(compute + exchange + grid.phases * sync)


def sram_vector_time(
    words: Floats, exchanged_words: Floats, settings: Settings, values: Values, *, footprint_byte: Floats | None = None
) -> KernelTime:
    """Device time of element-wise kernels and reductions.

    .. math:: t = t_{sync} (1 + [B_x > 0]) + w e / \\beta_{load} + B_x / \\beta_{exchange} + t_{stream}

    ``words`` elements read and written by all tiles in their own memory, ``exchanged_words`` that change tiles (rows of
    a normalisation that lie across tiles); shape (rows,). Leaves out the arithmetic: a tile loads more slowly than it
    adds.
    """
    tiles = Tiles.of(settings, values)
    size = settings.element_byte
    footprint = np.maximum(words * size, 0.0 if footprint_byte is None else footprint_byte)
    far = streamed_byte(footprint, settings, values["sram_usable"])
    streamed = far / _far_byte_per_s(settings)
    local = words * size / (tiles.load_byte_per_s * tiles.count)
    exchange = exchanged_words * size / (tiles.exchange_byte_per_s * tiles.count)
    steps = values["sram_sync_s"] * np.where(exchanged_words > 0.0, 2.0, 1.0)
    return KernelTime(
        device_s=local + exchange + steps + streamed,
        bound_s=np.maximum(local, streamed_byte(footprint, settings, 1.0) / _far_byte_per_s(settings)),
        flop=np.zeros(settings.rows),
        dram_byte=far,
        cache_byte=exchanged_words * size,
        parts={"memory": local + exchange + streamed, "steps": np.asarray(steps)},
    )
