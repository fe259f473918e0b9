"""Products with a sparse matrix: compressed rows, dense blocks, two of four, and zeros that a chip skips."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from .kernel_constants import KernelSpec
from .kernel_time import KernelTime
from .optable import Floats, Ints
from .settings import Settings

#: How the zeros are stored: compressed rows; dense blocks; two of each four; or a dense product whose zeros a chip may
#: skip as they come (activations after a rectifier, pruned weights).
CSR: Final = 0
BLOCK: Final = 1
TWO_OF_FOUR: Final = 2
SKIPPED: Final = 3
BLOCK_SIDES: Final = (8.0, 16.0, 32.0, 64.0)

#: Bytes of the smallest piece that the caches of a GPU move [B] (a sector of NVIDIA's caches; AMD moves 64 to 128;
#: recalled).
SECTOR_BYTE: Final = 32.0
#: Columns of the tile that one core keeps in registers in a product of blocks.
BLOCK_COLUMNS: Final = 128.0
#: Metadata of two-of-four: two bits for each kept element [B].
PAIR_INDEX_BYTE: Final = 0.25
#: Kinds of chips whose cores start a product only when a value that is not zero arrives: Cerebras' dataflow triggers
#: (S. Lie, "Cerebras Architecture Deep Dive", IEEE Micro 43(3), 2023; recalled, not read again).
SKIPPING_KINDS: Final = ("wafer",)

SPECS: Final = {
    spec.name: spec
    for spec in (
        KernelSpec(
            name="sparse_launch", unit="s", prior=5e-6, low=1e-6, high=30e-6, spread=0.5,
            meaning="start of a kernel and of its first loads",
        ),
        KernelSpec(
            name="sparse_gather", unit="byte", prior=32.0, low=4.0, high=128.0, spread=0.5,
            levels={"architecture": 0.2}, meaning="bytes of scattered sectors that a core loads in a cycle",
        ),
        KernelSpec(
            name="sparse_stream", unit="1", prior=0.8, low=0.3, high=1.0, spread=0.2,
            meaning="share of nominal bandwidth at which values and indices stream",
        ),
        # No rows were measured for the two below.
        KernelSpec(
            name="sparse_block", unit="1", prior=0.7, low=0.2, high=1.0, spread=0.3,
            meaning="rate of a product of dense blocks against peak, without loads",
        ),
        KernelSpec(
            name="sparse_structured", unit="1", prior=0.65, low=0.2, high=1.0, spread=0.3,
            meaning="rate of two-of-four matrix units against their sparse peak",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SparseShapes:
    """Products of a sparse [m, k] and a dense [k, n] matrix; every column has shape (rows,).

    ``density`` is the share of elements that are stored (CSR, BLOCK: of blocks) or not zero (SKIPPED); two of four
    has 0.5 whatever it says. ``side`` is the side of a block [elements]. ``column_major``: columns of the dense matrix
    are contiguous, so that a nonzero gathers one word of each column; else it loads n contiguous words.
    """

    form: Ints
    m: Floats
    n: Floats
    k: Floats
    density: Floats
    side: Floats
    index_byte: Floats
    column_major: NDArray[np.bool_]

    @property
    def rows(self) -> int:
        """Number of products."""
        return len(self.m)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> SparseShapes:
        """Some of the products."""
        return SparseShapes(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    def with_density(self, density: Floats) -> SparseShapes:
        """The same products at another density."""
        return SparseShapes(**{f.name: getattr(self, f.name) for f in fields(self)} | {"density": density})


def sectors_per_nonzero(density: Floats, element_byte: Floats) -> Floats:
    """Sectors that the nonzeros of a row touch in one column, for each nonzero.

    .. math:: s = (1 - (1 - d)^{e}) / (e d), \\quad e = 32 / b

    with e the elements of a sector [1] and nonzeros spread evenly at random. 1 when sparse, 1 / e when dense.
    """
    per_sector = SECTOR_BYTE / element_byte
    sparse = np.maximum(density, 1e-12)
    return np.asarray(-np.expm1(per_sector * np.log1p(-np.minimum(sparse, 1.0 - 1e-15))) / (per_sector * sparse))


def executed_density(density: Floats, settings: Settings) -> Floats:
    """Share of the products that a chip executes when operands hold zeros: `density` if it skips them, else 1."""
    skips = np.array([s.chip.kind in SKIPPING_KINDS for s in settings.distinct])[settings.row]
    return np.where(skips, density, 1.0)


def sparse_time(shapes: SparseShapes, settings: Settings, values: Mapping[str, Floats]) -> KernelTime:
    """Device time of sparse products.

    .. math:: t = t_0 + \\sqrt{a^2 + b^2}, \\quad b = \\mathrm{bytes} / (\\eta B)

    with b the streaming of values, indices, and the dense operands once, and a

    - compressed rows: gathered sectors, :math:`32 s d m k n / (\\lambda f c)` if the dense matrix is column-major (s by
      `sectors_per_nonzero`), :math:`\\lceil n b / 32 \\rceil` sectors a nonzero else, on c cores at clock f;
    - blocks: rounds of tiles of (side x 128), each :math:`k d` deep, on c cores, with their loads;
    - two of four: 2 m n k / (multiplier peak share), where a chip has it, else the dense rate;
    - skipped zeros: 2 m n k d / peak on chips that skip, else all of it.

    Notes
    -----
    Left out: uneven rows, conversion to the format, sparse results. Blocks, two of four and skipped zeros rest on
    assumed shares: no measured rows.
    """
    form, m, n, k = shapes.form, shapes.m, shapes.n, shapes.k
    element, cores, clock = settings.element_byte, settings.cores, settings.clock_hz
    peak = settings.peak_flop_per_s
    structured = form == TWO_OF_FOUR
    density = np.where(structured, 0.5, np.where(form == SKIPPED, executed_density(shapes.density, settings), 1.0))
    density = np.where((form == CSR) | (form == BLOCK), shapes.density, density)
    multiplier = np.array([s.chip.sparse_multiplier for s in settings.distinct])[settings.row]
    matrix = settings.on_matrix_units
    # Skipping is not the multiplier's business: a wafer's multiplier is its maker's claim for the same thing.
    doubled = structured & matrix & (multiplier > 1.0)
    dense_flop = 2.0 * m * n * k
    executed = dense_flop * np.where(structured & ~doubled, 1.0, density)

    nonzero = density * m * k
    blocks = nonzero / shapes.side**2
    index_byte = np.select(
        [form == CSR, form == BLOCK, structured],
        [shapes.index_byte * (nonzero + m), shapes.index_byte * (blocks + m / shapes.side), PAIR_INDEX_BYTE * nonzero],
        default=np.zeros(shapes.rows),
    )
    stored = np.where(form == SKIPPED, m * k, nonzero)
    dram_byte = element * (stored + k * n + m * n) + index_byte

    sectors = np.where(
        shapes.column_major, sectors_per_nonzero(density, element) * n, np.ceil(n * element / SECTOR_BYTE)
    )
    gathered_byte = SECTOR_BYTE * sectors * nonzero
    load = values["sparse_gather"]
    gather_s = gathered_byte / (load * cores * clock)

    columns = np.minimum(BLOCK_COLUMNS, n)
    tiles = np.ceil(m / shapes.side) * np.ceil(n / columns)
    fma = peak / 2.0 / cores / clock
    cycles = shapes.side * columns / (fma * values["sparse_block"]) + (shapes.side + columns) * element / load
    block_s = np.ceil(tiles / cores) * density * k * cycles / clock
    block_byte = tiles * (shapes.side + columns) * element * density * k

    # What a chip executes at its peak: products that are there, or, on two-of-four units, all of them faster.
    least_s = np.where(doubled, dense_flop / (peak * multiplier), executed / peak)
    rated_s = least_s / np.where(structured, values["sparse_structured"], values["sparse_block"])
    worked_s = np.select([form == CSR, form == BLOCK], [np.maximum(gather_s, least_s), block_s], rated_s)
    streamed_s = dram_byte / (settings.dram_byte_per_s * values["sparse_stream"])

    held = settings.l2_byte + settings.on_chip_byte
    bound_s = np.maximum(least_s, np.maximum(dram_byte - held, 0.0) / settings.dram_byte_per_s)
    launch = values["sparse_launch"]
    device_s = np.maximum(launch + np.hypot(worked_s, streamed_s), bound_s)
    # Gathering is memory's time; the tiles' and units' own losses are the library's.
    worked_s = np.where(form == CSR, least_s, worked_s)
    return KernelTime(
        device_s=device_s,
        bound_s=bound_s,
        flop=executed,
        dram_byte=dram_byte,
        cache_byte=np.select([form == CSR, form == BLOCK], [gathered_byte, block_byte], dram_byte),
        parts={
            "arithmetic": least_s,
            "library": worked_s - least_s,
            "memory": device_s - launch - worked_s,
            "ramp": launch,
        },
    )


def break_even_density(
    shapes: SparseShapes, settings: Settings, values: Mapping[str, Floats], dense_s: Floats, *, tolerance: float = 1e-9
) -> Floats:
    """Largest density at which a product in its sparse form takes no longer than `dense_s`; shape (rows,).

    Solved by halving on `sparse_time`, which never falls with density: at the density returned the two times agree to
    `tolerance`. 0 where the sparse form is slower even when it holds next to nothing, 1 where it is never slower.
    Two of four has no density to solve for: 1 where it is no slower, else 0.
    """

    def slower(density: Floats) -> NDArray[np.bool_]:
        return np.asarray(sparse_time(shapes.with_density(density), settings, values).device_s > dense_s)

    never, always = ~slower(np.ones(shapes.rows)), slower(np.full(shapes.rows, tolerance))
    low, high = np.zeros(shapes.rows), np.ones(shapes.rows)
    while np.max(high - low, initial=0.0) > 0.01 * tolerance:
        middle = 0.5 * (low + high)
        over = slower(middle)
        low, high = np.where(over, low, middle), np.where(over, middle, high)
    return np.where(never, 1.0, np.where(always, 0.0, low))
