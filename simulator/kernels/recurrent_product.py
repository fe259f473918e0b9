"""The product of one step: tiles walked along the depth, or a thin kernel that streams the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .optable import Floats
from .recurrent_library import MIDDLE, NARROW, SPLITS, THIN, TILES, StepRules
from .settings import Settings

Flags = NDArray[np.bool_]
#: Bytes of a weight in a kernel that widens 16-bit words as it loads them: it loads as many words as one of 32 bit.
WIDENED_BYTE: Final = 4.0
#: Share of the shared cache that weights keep from one step to the next.
CACHE_SHARE: Final = 0.75


@dataclass(frozen=True, kw_only=True)
class Product:
    """Time of products and where it goes; every column has shape (rows,).

    ``seconds`` [s] is without ``split_s`` [s], the sum of a split depth. ``busy_s`` [s] is what the product occupies
    the chip for, had it other work to do while it waits. The parts ``padding_s`` to ``memory_s`` [s] and flop / peak
    add up to ``seconds``.
    """

    seconds: Floats
    busy_s: Floats
    split_s: Floats
    padding_s: Floats
    waves_s: Floats
    library_s: Floats
    depth_s: Floats
    memory_s: Floats
    flop: Floats
    weight_byte: Floats
    dram_byte: Floats
    cache_byte: Floats
    resident: Floats
    thin: Floats
    columns: Floats

    @classmethod
    def nothing(cls, rows: int) -> Product:
        """No products."""
        return cls(**{f.name: np.zeros(rows) for f in fields(cls)})

    def plus(self, other: Product, times: Floats) -> Product:
        """This and `times` the other."""
        return Product(**{f.name: getattr(self, f.name) + times * getattr(other, f.name) for f in fields(self)})

    def algorithm(self) -> tuple[str, ...]:
        """What runs the product: "resident", "thin" or the columns of its tile."""
        widths = sorted({columns for _, columns in TILES})
        names = np.array([*(f"tile-{width}" for width in widths), "thin", "resident"], dtype=object)
        tile = np.searchsorted(widths, self.columns)
        code = np.where(self.resident > 0, len(widths) + 1, np.where(self.thin > 0, len(widths), tile))
        return tuple(names[code])


@dataclass(frozen=True, kw_only=True)
class _Walk:
    """Cycles of one element of depth, row by row: q tiles cost q (area share + loads + each) + once."""

    fma: Floats
    share: Floats
    load: Floats
    each: Floats
    once: Floats
    slow: Flags

    def work(self, rows: Floats | float, columns: Floats | float) -> Floats:
        """Cycles of one tile's multiply-adds and loads."""
        return np.asarray(rows * columns / (self.fma * self.share) + (rows + columns) * self.load)

    def cycles(self, queue: Floats, work: Floats) -> Floats:
        """Cycles of `queue` tiles on one core."""
        walked = queue * (work + self.each) + self.once
        return np.where(self.slow, np.hypot(queue * work, self.once), walked) if self.slow.any() else walked


def product(
    *, m: Floats, n: Floats, k: Floats, forward: Flags, step: Flags, resident: Flags, rules: StepRules,
    settings: Settings, values: Mapping[str, Floats],
) -> Product:  # fmt: skip
    """The fastest product of m x k weights and k x n columns that the library has on offer.

    A core that has q of the tiles works on each element of depth for

    .. math:: c = q (t_m t_n / r + (t_m + t_n) b / \\lambda) + d  [cycles]

    with r the multiply-adds of a core in a cycle (peak times the fitted share), b the bytes of a word, lambda the bytes
    it loads from the shared cache, d the latency that a lone tile cannot hide (q d where a core takes one tile at a
    time; joined by the root of squares where the kernel waits for each slice of depth anyhow). A split s divides the
    depth and multiplies the tiles. Joined by the p-norm ``recurrent_overlap`` with the weights' time from memory.

    A thin kernel reads the weights once for each few columns; what it reads again comes from memory in the share
    w / (w + reuse cache).
    """
    element, cores, cycle_s = settings.element_byte, settings.cores, 1.0 / settings.clock_hz
    walk = _walk(n, forward, step, rules, settings, values)
    rows, columns, split, split_s = _fastest_tile(m, n, k, forward, step, walk, settings, values)
    tiles = np.ceil(m / rows) * np.ceil(n / columns)
    queue = np.ceil(tiles * split / cores)
    work = walk.work(rows, columns)
    depth_s = k / split * cycle_s
    walked_s = walk.cycles(queue, work) * depth_s
    area_s = rows * columns / walk.fma * cycle_s
    tiled_s, padded_s, ideal_s = queue * area_s * k / split, tiles / cores * area_s * k, m * n * k / walk.fma / cores
    ideal_s = ideal_s * cycle_s

    rate = settings.dram_byte_per_s * values["recurrent_dram"]
    weight = m * k * element
    missed = np.where(resident, 0.0, np.maximum(weight - np.where(step, CACHE_SHARE, 0.0) * settings.l2_byte, 0.0))
    norm = values["recurrent_overlap"]
    joined_s = walked_s * (1.0 + (missed / rate / walked_s) ** norm) ** (1.0 / norm)

    per_pass = rules.thin_columns
    passes = np.ceil(n / np.maximum(per_pass, 1.0))
    loaded = m * k * np.where(rules.widened, WIDENED_BYTE, element)
    again = loaded / (loaded + values["recurrent_reuse"] * settings.l2_byte)
    first = np.maximum(loaded - CACHE_SHARE * settings.l2_byte, 0.0)
    thin_byte = first + (passes - 1.0) * np.minimum(loaded * again, first)
    cached_s = passes * loaded / (values["recurrent_load"] * cores) * cycle_s
    thin_s = np.maximum(np.maximum(thin_byte / rate, cached_s), ideal_s)
    thin = step & ~resident & (per_pass > 0) & (n <= THIN) & (forward | (thin_s < joined_s + split_s))

    seconds = np.where(thin, thin_s, joined_s)
    dram_byte = np.where(thin, thin_byte, missed)
    lost = {
        "padding_s": padded_s - ideal_s,
        "waves_s": tiled_s - padded_s,
        "library_s": (1.0 / walk.share - 1.0) * tiled_s,
        "depth_s": walked_s - queue * work * depth_s,
    }
    # Rounding leaves a product without waste a few ulps below zero.
    lost = {name: np.where(thin, 0.0, np.maximum(value, 0.0)) for name, value in lost.items()}
    return Product(
        seconds=seconds,
        busy_s=np.maximum(padded_s / walk.share, dram_byte / rate),
        split_s=np.where(thin, 0.0, split_s),
        memory_s=seconds - ideal_s - lost["padding_s"] - lost["waves_s"] - lost["library_s"] - lost["depth_s"],
        flop=2.0 * m * n * k,
        weight_byte=weight,
        dram_byte=dram_byte,
        cache_byte=np.where(thin, passes * loaded, tiles * (rows + columns) * k * element),
        resident=resident.astype(float),
        thin=thin.astype(float),
        columns=columns,
        **lost,
    )


def _walk(
    n: Floats, forward: Flags, step: Flags, rules: StepRules, settings: Settings, values: Mapping[str, Floats]
) -> _Walk:
    matrix = settings.on_matrix_units
    narrow = (n > THIN) & (n <= NARROW)
    widened = step & rules.widened & (n > THIN)
    slow = (step & narrow & rules.slow_narrow) | widened
    latency = np.where(matrix, values["recurrent_matrix_depth"], values["recurrent_depth"])
    latency = latency * np.where(slow, values["recurrent_slow"], 1.0)
    # Rows of halves are read along the depth, one word at a time, in a narrow forward product.
    latency = latency * np.where(widened & narrow & forward, values["recurrent_slow"], 1.0)
    alone = step & rules.one_tile_a_core & ~slow
    return _Walk(
        fma=settings.peak_flop_per_s / 2.0 / settings.cores / settings.clock_hz,
        share=np.where(matrix, values["recurrent_matrix"], values["recurrent_fma"]),
        load=settings.element_byte / values["recurrent_load"],
        each=np.where(alone, latency, 0.0),
        once=np.where(alone, 0.0, latency),
        slow=slow,
    )


def _fastest_tile(
    m: Floats, n: Floats, k: Floats, forward: Flags, step: Flags, walk: _Walk, settings: Settings,
    values: Mapping[str, Floats],
) -> tuple[Floats, Floats, Floats, Floats]:  # fmt: skip
    """Rows, columns and split of the fastest tile on offer, and the time of adding up the split."""
    wanted = np.where(n <= NARROW, float(NARROW), float(MIDDLE))
    # A kernel that waits for each slice has tiles of 128 rows and at most 64 columns; where a core takes one tile at a
    # time, narrow tiles are left to that kernel.
    least_columns = np.where((walk.each > 0.0) & (n > NARROW), float(MIDDLE), 0.0)
    # Backward steps are several times as deep as wide: their depth is split while there are fewer tiles than cores.
    divisible = np.where(step, ~forward & ~walk.slow, True)
    depth_s = k / settings.clock_hz
    best = np.full(m.shape, np.inf)
    index = np.zeros(m.shape, dtype=np.int64)
    for i, (rows, columns) in enumerate(TILES):
        offered = np.where(walk.slow, (wanted == columns) & (rows == 128), columns >= least_columns)
        spread = np.ceil(m / rows) * np.ceil(n / columns) / settings.cores
        work = walk.work(rows, columns)
        divided = offered & divisible & (~step | (spread < 1.0))
        for j, split in enumerate(SPLITS if divided.any() else SPLITS[:1]):
            seconds = walk.cycles(np.ceil(spread * split), work) * (depth_s / split)
            seconds = seconds + j * values["recurrent_split"]
            better = (divided if j else offered) & (seconds < best)
            best[better] = seconds[better]
            index[better] = i * len(SPLITS) + j
    shape, times = np.divmod(index, len(SPLITS))
    rows_of, columns_of = np.array(TILES, dtype=np.float64).T[:, shape]
    return rows_of, columns_of, np.array(SPLITS, dtype=np.float64)[times], times * values["recurrent_split"]
