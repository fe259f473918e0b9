"""Seconds of a matrix product on the vector units of a GPU, or on AMD's fp32 matrix cores.

.. math:: t = t_{ramp} + \\frac{t_{core}}{\\phi} \\oplus t_{DRAM}, \\qquad a \\oplus b = \\max(a, b) + x \\min(a, b)

C is cut into tiles; a core takes :math:`w` of them, :math:`r` at a time, and walks along k:

.. math:: t_{core} f = \\min_{tile, s} \\; \\frac{k}{s} \\max(w b, \\lceil w / r \\rceil (b + l))
          + \\lceil w / r \\rceil c_{fill} + c_{split}, \\qquad b = t_m t_n c_{fma} \\oplus (t_m c_a + t_n c_b)

where l is the latency of a step, c_fma the clocks of a multiply-add and c_a, c_b those of an element of the operands.
phi is the clock that the board's power allows (`power.clock_fraction`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .gemm import GemmShapes
from .kernel_time import KernelTime
from .optable import Floats
from .power import NO_HEAT, Cooling, clock_fraction, dynamic_w, idle_w, sustained_w, vector_flop_j
from .settings import Settings
from .vector_units import (
    BATCH_ONE_TILE,
    BATCH_WIDE_TILES,
    MOST_RESIDENT,
    RESIDENT_ELEMENTS,
    SECTOR_BYTE,
    SMALLEST_BATCH_SIDE,
    SMALLEST_THIN_SIDE,
    STEP,
    THIN_ON_WIDE_TILES,
    TILES,
    WALKED_ROWS,
    channel_conflict,
    issue_cost,
    lanes,
    of_architecture,
    of_library,
    smallest_split,
)

Values = Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class _Core:
    """Clocks of a core: of a multiply-add, of an element of A's and of B's column of a tile, of a step's latency per
    element of k, of a tile's fill, of a split's start, and of a byte of C summed by all cores; shape (rows,)."""

    fma: Floats
    a: Floats
    b: Floats
    step: Floats
    fill: Floats
    split: Floats
    sum_byte: Floats
    exposed: Floats


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """The tile and split the library takes: rows and columns, parts of k, their clocks; shape (rows,)."""

    rows: Floats
    columns: Floats
    split: Floats
    clocks: Floats


def far_share(x: GemmShapes, *, byte: Floats, reach_byte: Floats) -> Floats:
    """Share of loads along k that miss the reach of address translation; shape (rows,).

    .. math:: p = \\frac{S^2}{S^2 + R^2}, \\quad S = k e (\\min(m, M) + \\min(n, M))

    Tiles under way walk up to M rows of an operand at a time, each row k elements long: every step along k touches all
    these rows again, each in another page. Only operands that lie along k count.
    """
    rows = np.minimum(x.m, WALKED_ROWS) * x.a_layout + np.minimum(x.n, WALKED_ROWS) * x.b_layout
    ratio = rows * x.k * byte / reach_byte
    return np.asarray(ratio * ratio / (1.0 + ratio * ratio))


def _core(x: GemmShapes, settings: Settings, v: Values) -> _Core:
    byte = settings.element_byte
    along_a, along_b = x.a_layout, x.b_layout
    vector = 16.0 / byte
    load = byte / v["fma_cache_byte_per_clock"]
    miss = far_share(x, byte=byte, reach_byte=v["fma_far_byte"]) * byte / (SECTOR_BYTE * v["fma_far_row_per_clock"])
    queue = channel_conflict(settings, x.k * byte)
    clocks = []
    for along, across in ((along_a, x.m), (along_b, x.n)):
        length = np.where(along > 0.0, x.k, across)
        narrow = np.where(np.mod(length, vector) > 0.0, v["fma_narrow_load"], 1.0)
        clocks.append(load * (narrow + queue * along) + miss * along)
    return _Core(
        fma=issue_cost(settings) * (1.0 + v["fma_turn"] * along_a * along_b) / (lanes(settings) * v["fma_rate"]),
        a=clocks[0],
        b=clocks[1],
        step=v["fma_step_clock"] / STEP,
        fill=v["fma_fill_clock"],
        split=v["fma_split_s"] * settings.clock_hz,
        sum_byte=1.0 / (v["fma_cache_byte_per_clock"] * settings.cores),
        exposed=v["fma_exposed"],
    )


def _both(a: Floats, b: Floats, exposed: Floats) -> Floats:
    """Two activities that overlap but for a share of the shorter one; shape (rows,)."""
    return np.asarray(np.maximum(a, b) + exposed * np.minimum(a, b))


def _refused(x: GemmShapes, settings: Settings) -> list[NDArray[np.bool_] | None]:
    """For each of `TILES`, the rows whose library does not take it; None: no row."""
    batched = x.batch > 1.0
    one = batched & of_architecture(settings, BATCH_ONE_TILE)
    wide = batched & of_architecture(settings, BATCH_WIDE_TILES)
    beyond_square = wide & (np.maximum(x.m, x.n) > 64.0)
    side = np.minimum(x.m, x.n)
    thin = [
        ((side > 4.0) & (side <= widest) & of_library(settings, (library,)), least)
        for library, (widest, least) in THIN_ON_WIDE_TILES.items()
    ]
    refused: list[NDArray[np.bool_] | None] = []
    for rows, columns in TILES:
        small = min(rows, columns)
        out = np.zeros(x.rows, dtype=bool)
        if small < SMALLEST_BATCH_SIDE:
            out |= batched
        elif rows == columns and rows < 128:
            out |= beyond_square
        elif columns < 128 or rows < 64:
            out |= wide
        for those, least in thin:
            if small < SMALLEST_THIN_SIDE or rows * columns < least:
                out |= those
        if small < 128:
            out |= one
        refused.append(out if out.any() else None)
    return refused


def _choose(x: GemmShapes, core: _Core, cores: Floats, settings: Settings) -> _Choice:
    """The candidate that finishes first."""
    best = np.full(x.rows, np.inf)
    rows, columns, parts = np.ones(x.rows), np.ones(x.rows), np.ones(x.rows)
    c_byte = 8.0 * x.batch * x.m * x.n * core.sum_byte
    most = np.where(x.batch > 1.0, 1.0, np.maximum(np.floor(x.k / smallest_split(settings)), 1.0))
    depth = np.ceil(x.k / STEP) * STEP
    for (tm, tn), out in zip(TILES, _refused(x, settings), strict=True):
        tiles = x.batch * np.ceil(x.m / tm) * np.ceil(x.n / tn)
        resident = float(min(max(RESIDENT_ELEMENTS // (tm * tn), 1), MOST_RESIDENT))
        body = _both((tm * tn) * core.fma, tm * core.a + tn * core.b, core.exposed)
        latent = body + core.step
        fill = np.clip(np.floor(resident * cores / tiles), 1.0, most)
        for split in (None, fill):
            if split is None:
                each = np.ceil(tiles / cores)
                rounds = np.ceil(each / resident)
                clocks = depth * np.maximum(each * body, rounds * latent) + rounds * core.fill
            else:
                # All parts run at once: at most `resident` on a core.
                each = np.ceil(tiles * split / cores)
                clocks = np.ceil(x.k / (split * STEP)) * STEP * np.maximum(each * body, latent) + core.fill
                clocks = np.where(split > 1.0, clocks + core.split + (split + 1.0) * c_byte, np.inf)
            if out is not None:
                clocks = np.where(out, np.inf, clocks)
            better = clocks < best
            best = np.where(better, clocks, best)
            rows[better], columns[better] = tm, tn
            parts = np.where(better, 1.0 if split is None else split, parts)
    return _Choice(rows=rows, columns=columns, split=parts, clocks=best)


def gemm_vector_time(x: GemmShapes, settings: Settings, values: Values, *, cooling: Cooling = NO_HEAT) -> KernelTime:
    """Device time of products on vector units.

    Parameters
    ----------
    x, settings
        The products and what they run on; shape (rows,).
    values
        Constants of `vector_units.SPECS` by row.
    cooling
        How well the card is cooled in the long run; by default as well as its power limit asks for.

    Returns
    -------
    Times and parts; the part "library" is what is left of the core's time beyond whole tiles at peak, negative where
    `fma_rate` is above 1.

    Notes
    -----
    Leaves out: the order of the tiles and what it does to the L2, Strassen-like algorithms, a choice of tile that is
    not the best, beta != 0, the energy of the main memory. Operands that fit into the L2 are taken to be there
    (benchmarks repeat a call).
    """
    clock, cores, byte = settings.clock_hz, settings.cores, settings.element_byte
    core = _core(x, settings, values)
    choice = _choose(x, core, cores, settings)
    core_s = choice.clocks / clock
    out_byte = np.maximum(byte, 2.0)
    foot_byte = x.batch * ((x.m * x.k + x.k * x.n) * byte + x.m * x.n * out_byte)
    dram_byte = foot_byte * foot_byte / (foot_byte + settings.l2_byte)
    dram_s = dram_byte / (values["fma_memory_rate"] * settings.dram_byte_per_s)
    tiles = x.batch * np.ceil(x.m / choice.rows) * np.ceil(x.n / choice.columns)
    padded_flop = 2.0 * tiles * choice.rows * choice.columns * x.k
    # Power while the cores run, whatever the memory does meanwhile: else a faster memory could slow a product down.
    draw_w = dynamic_w(
        flop=padded_flop,
        flop_j=values["fma_energy"] * vector_flop_j(settings),
        dram_byte=np.zeros(settings.rows),
        seconds=core_s,
    )
    limit_w = sustained_w(settings, seconds=core_s, cooling=cooling)
    slow_s = core_s / clock_fraction(dynamic_w=draw_w, idle_w=idle_w(settings), limit_w=limit_w)
    flop, peak = x.flop, settings.peak_flop_per_s
    bound_s = np.maximum(flop / peak, np.maximum(foot_byte - settings.l2_byte, 0.0) / settings.dram_byte_per_s)
    ramp_s = values["fma_ramp_s"]
    device_s = np.maximum(ramp_s + _both(slow_s, dram_s, core.exposed), bound_s)
    # The same time told as a story: useful work, whole tiles, idle cores, depth, then what the kernels lose.
    useful_s, padded_s = flop / peak, padded_flop / peak
    each = np.ceil(tiles * choice.split / cores)
    filled_s = 2.0 * each * cores * choice.rows * choice.columns * (x.k / choice.split) / peak
    depth_s = np.minimum(core.fill / clock, np.maximum(core_s - filled_s, 0.0))
    parts = {
        "arithmetic": useful_s,
        "padding": padded_s - useful_s,
        "waves": filled_s - padded_s,
        "depth": depth_s,
        "clock": slow_s - core_s,
        "memory": _both(slow_s, dram_s, core.exposed) - slow_s,
        "ramp": ramp_s,
    }
    parts["library"] = device_s - sum(parts.values())
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=flop,
        dram_byte=dram_byte,
        cache_byte=tiles * (choice.rows + choice.columns) * x.k * byte,
        parts={name: np.asarray(part) for name, part in parts.items()},
    )


def tile_names(x: GemmShapes, settings: Settings, values: Values) -> tuple[str, ...]:
    """The tile and split chosen for each row, as in "128x64/4"."""
    choice = _choose(x, _core(x, settings, values), settings.cores, settings)
    return tuple(f"{m:.0f}x{n:.0f}/{s:.0f}" for m, n, s in zip(choice.rows, choice.columns, choice.split, strict=True))
