"""Seconds of matrix products on the matrix units (tensor cores, matrix cores) of a GPU.

.. math:: t = t_{ramp} + t_{cores} / \\varphi \\oplus_w t_{memory}, \\qquad
          t_{cores} \\oplus_w t_{memory} = \\max(t_{cores}, t_{memory}) + w \\min(t_{cores}, t_{write})

C is cut into tiles, and a core walks k through one tile after another; the library takes the tile and the split of k
that finish first (`_walk`). The results of a wave are all written when it ends, so that a share w of the writing is
not hidden. The clock falls by phi where the products would draw more than the board's power.

Left out: the order in which tiles are visited, so that operands are read from DRAM once; clusters of cores that share
what they load on Hopper; groups of a batch that differ in size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .gemm import GemmShapes
from .kernel_time import KernelTime
from .matrix_units import (
    LARGEST_TILE,
    LEAST_DEPTH,
    NARROW_POWER,
    ONE_AFTER_ANOTHER,
    PAIRED,
    PAIRED_FROM_ROWS,
    POWER_SHARE,
    STEP,
    THROUGH_REGISTERS,
    TILES,
    TURNS_32_BIT,
    USUAL_TILE,
    WRITES_BESIDE,
    near_cache_byte,
)
from .optable import Floats
from .settings import Settings

Values = Mapping[str, Floats]

#: Names of the choices, two for each tile, as `_best_walk` counts them.
_NAMES: Final = tuple(f"{rows}x{columns}{suffix}" for rows, columns in TILES for suffix in ("", " split k"))


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """Rates of each row's chip in seconds; every array has shape (rows,)."""

    cores: Floats
    second_per_flop: Floats  # of one core at its peak
    slowness: Floats  # 1 / matrix_rate
    load_s: Floats  # of one element of an operand
    paired: Floats
    beside: Floats
    exposed: Floats
    step_s: Floats  # per element of k
    fill_s: Floats
    join_s: Floats  # of the parts of a split k, and for each part
    join_part_s: Floats
    largest_tile: Floats


def _architecture(settings: Settings, words: tuple[str, ...]) -> Floats:
    """1 where the row's chip is of one of the architectures, else 0; shape (rows,)."""
    return np.array([float(s.chip.architecture in words) for s in settings.distinct])[settings.row]


def _look_up(settings: Settings, table: Mapping[str, float], default: float) -> Floats:
    return np.array([table.get(s.chip.architecture, default) for s in settings.distinct])[settings.row]


def _narrow(x: GemmShapes, element_byte: Floats) -> Floats:
    """Slow-down of the traffic by operands whose rows are not whole 16-byte loads; shape (rows,)."""
    row_a = np.where(x.a_layout > 0.0, x.k, x.m).astype(np.int64)
    row_b = np.where(x.b_layout > 0.0, x.k, x.n).astype(np.int64)
    halves = np.rint(2.0 * element_byte * np.gcd(row_a, row_b)).astype(np.int64)
    return np.asarray((np.gcd(halves, 32) / 32.0) ** -NARROW_POWER)


def _machine(x: GemmShapes, settings: Settings, values: Values) -> _Machine:
    byte, second_per_clock = settings.element_byte, 1.0 / settings.clock_hz
    turned = (byte == 4.0) * _architecture(settings, TURNS_32_BIT) * (1.0 - x.a_layout * x.b_layout)
    traffic = (1.0 + turned * (values["matrix_turn"] - 1.0)) * _narrow(x, byte)
    second_per_byte = traffic * second_per_clock / values["matrix_cache_byte_per_clock"]
    fill_s = values["matrix_fill_clock"] * second_per_clock
    outputs = x.batch * x.m * x.n
    steep = outputs / (values["matrix_split_reach"] * x.k)
    return _Machine(
        cores=settings.cores,
        second_per_flop=settings.cores / settings.peak_flop_per_s,
        slowness=1.0 / values["matrix_rate"],
        load_s=byte * second_per_byte,
        paired=_architecture(settings, PAIRED),
        beside=_architecture(settings, WRITES_BESIDE),
        exposed=np.where(_architecture(settings, ONE_AFTER_ANOTHER) > 0.0, 1.0, values["matrix_cache_exposed"]),
        step_s=_architecture(settings, THROUGH_REGISTERS) * values["matrix_step_clock"] * second_per_clock / STEP,
        fill_s=fill_s,
        join_s=fill_s * (1.0 + steep * steep),
        join_part_s=8.0 * outputs * second_per_byte / settings.cores,
        largest_tile=_look_up(settings, LARGEST_TILE, USUAL_TILE),
    )


@dataclass(frozen=True)
class _Walk:
    """Cores' time of one choice of tile and split, and what it is made of [s]; every array has shape (rows,)."""

    padded: Floats
    waves: Floats
    library: Floats
    traffic: Floats
    depth: Floats

    @property
    def total(self) -> Floats:
        return np.asarray(self.waves + self.library + self.traffic + self.depth)


def _loaded(rows: Floats | float, columns: Floats | float, h: _Machine) -> Floats:
    """Elements that a core loads for each element of k of a tile; shape (rows,)."""
    return np.asarray(rows + columns - 0.5 * columns * h.paired * np.asarray(rows >= PAIRED_FROM_ROWS))


def _walk(
    x: GemmShapes, h: _Machine, tiles: Floats, rows: Floats | float, columns: Floats | float, split: Floats
) -> _Walk:
    """Time of all cores with one tile, k in `split` parts, at the highest clock.

    .. math:: t = \\lceil T s / c \\rceil \\left( \\tfrac{k}{s} (t_{mul} \\oplus_x t_{load} + t_{step}) + t_{fill}
              \\right) + [s > 1] \\left( t_{fill} (1 + (mn / rk)^2) + 8 s m n / b \\right)

    with T tiles in all, c cores, per element of k `2 rows columns` FLOP and `rows + columns` elements loaded, x the
    share of the shorter not hidden. The square is no cost of silicon: beyond r libraries are seen not to split though
    it would pay. `_best_walk` computes the same total for all tiles.
    """
    waves = np.ceil(tiles * split / h.cores)
    product = rows * columns * 2.0 * h.second_per_flop
    multiply = product * h.slowness
    load = _loaded(rows, columns, h) * h.load_s
    both = np.maximum(multiply, load) + h.exposed * np.minimum(multiply, load)
    fill = h.fill_s * (1.0 + (waves - 1.0) * (1.0 - h.beside))
    walked = waves * x.k / split
    return _Walk(
        padded=tiles * x.k * product / h.cores,
        waves=walked * product,
        library=walked * (multiply - product),
        traffic=walked * (both - multiply),
        depth=walked * h.step_s + fill + np.where(split > 1.0, h.join_s + split * h.join_part_s, 0.0),
    )


def _best_walk(x: GemmShapes, h: _Machine) -> tuple[_Walk, NDArray[np.int64]]:
    """The fastest of all tiles, whole k or k split until the cores are full, and twice its tile's index (+1: split)."""
    best = np.full(x.rows, np.inf)
    choice = np.zeros(x.rows, dtype=np.int64)
    deepest = np.maximum(x.k / LEAST_DEPTH, 1.0)
    per_core = 1.0 / h.cores
    sequel = h.fill_s * (1.0 - h.beside)  # filling of every wave after the first
    down = {rows: x.batch * np.ceil(x.m / rows) for rows in {rows for rows, _ in TILES}}
    across = {columns: np.ceil(x.n / columns) for columns in {columns for _, columns in TILES}}
    flop_s = 2.0 * h.second_per_flop * h.slowness
    for index, (rows, columns) in enumerate(TILES):
        tiles = down[rows] * across[columns]
        multiply, load = (rows * columns) * flop_s, _loaded(rows, columns, h) * h.load_s
        both = np.maximum(multiply, load) + h.exposed * np.minimum(multiply, load) + h.step_s
        if rows * columns > USUAL_TILE:
            both = np.where(rows * columns <= h.largest_tile, both, np.inf)
        whole_k = x.k * both
        total = np.ceil(tiles * per_core) * (whole_k + sequel)
        better = total < best
        np.copyto(best, total, where=better)
        np.copyto(choice, 2 * index, where=better)
        split = np.minimum(np.maximum(np.floor(h.cores / tiles), 1.0), deepest)
        # Split tiles fill the cores once at most; where nothing is split this is worse than the whole, never chosen.
        total = whole_k / split + sequel + h.join_s + split * h.join_part_s
        better = (total < best) & (split > 1.0)
        np.copyto(best, total, where=better)
        np.copyto(choice, 2 * index + 1, where=better)
    rows_of, columns_of = np.array(TILES, dtype=np.float64).T
    tile_rows, tile_columns = rows_of[choice // 2], columns_of[choice // 2]
    tiles = x.batch * np.ceil(x.m / tile_rows) * np.ceil(x.n / tile_columns)
    split = np.minimum(np.maximum(np.floor(h.cores / tiles), 1.0), deepest)
    return _walk(x, h, tiles, tile_rows, tile_columns, np.where(choice % 2 == 1, split, 1.0)), choice


def gemm_matrix_time(shapes: GemmShapes, settings: Settings, values: Values) -> KernelTime:
    """Device time of products on matrix units.

    Parameters
    ----------
    shapes
        C[m, n] = A[m, k] B[k, n], `batch` times, and how A and B lie in memory.
    settings
        Chip, precision and library of each row; the precisions are out of `matrix_units.WORDS`.
    values
        Constants of `matrix_units.SPECS`, each of shape (rows,).

    Notes
    -----
    Results are stored in 16 bit for words of 16 bit and fewer, in 32 bit for tf32. A kernel that is repeated finds its
    bytes in the shared cache as far as they fit: of F bytes F^2 / (F + cache) come from or go to DRAM.
    """
    x, byte = shapes, settings.element_byte
    machine = _machine(x, settings, values)
    walk, choice = _best_walk(x, machine)
    cores_s = walk.total

    flop, outputs = x.flop, x.batch * x.m * x.n
    written = outputs * np.maximum(byte, 2.0)
    operands_along_k = x.batch * x.k * byte * (x.a_layout * x.m + x.b_layout * x.n)
    footprint = x.batch * x.k * byte * (x.m + x.n) + written
    near = np.array([near_cache_byte(s.chip) for s in settings.distinct])[settings.row]
    outside = footprint / (footprint + near)
    slow = _architecture(settings, THROUGH_REGISTERS) * (values["matrix_along_k"] - 1.0)
    dram_rate = values["matrix_memory_rate"] * settings.dram_byte_per_s
    near_rate = np.maximum(values["matrix_resident_byte_per_clock"] * settings.cores * settings.clock_hz, dram_rate)
    second_per_byte = outside / dram_rate + (1.0 - outside) / near_rate
    memory_s = footprint * second_per_byte + slow * operands_along_k * outside / dram_rate
    # A wave's accumulators are all that can wait for the end where tiles are written beside the products.
    last = np.where(machine.beside > 0.0, np.minimum(outputs, machine.cores * USUAL_TILE) / outputs, 1.0)
    write_s = last * written * second_per_byte

    # Power at the highest clock over what the board allows; dynamic power falls as the square of the clock.
    watt = values["matrix_flop_pj"] * 1e-12 * (byte / 2.0) * flop / cores_s
    excess = (watt / (POWER_SHARE * settings.tdp_w)) ** 2
    slowed = np.sqrt(np.sqrt(np.sqrt(1.0 + excess * excess)))
    clocked_s = cores_s * slowed
    together = np.maximum(clocked_s, memory_s) + values["matrix_write_exposed"] * np.minimum(clocked_s, write_s)

    useful = flop / settings.peak_flop_per_s
    parts = {
        "arithmetic": useful,
        "padding": walk.padded - useful,
        "waves": walk.waves - walk.padded,
        "depth": walk.depth,
        "clock": clocked_s - cores_s,
        "library": walk.library,
        "memory": walk.traffic + together - clocked_s,
        "ramp": values["matrix_ramp_s"],
    }
    device_s = values["matrix_ramp_s"] + together
    beyond_cache = np.maximum(footprint - settings.l2_byte, 0.0)
    return KernelTime(
        device_s=device_s,
        bound_s=np.maximum(useful, beyond_cache / settings.dram_byte_per_s),
        flop=flop,
        dram_byte=footprint * outside,
        cache_byte=footprint * (1.0 - outside),
        parts=parts,
        algorithm=tuple(_NAMES[i] for i in choice.tolist()),
    )
