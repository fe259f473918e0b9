"""Tile and wave quantisation of matrix products on chips with many cores.

A library cuts C[m, n] into tiles, gives each core one tile at a time and walks the k dimension; the last wave
and the ragged tiles are paid in full. Where the tiles are too few for the cores it may split k.
"""

from __future__ import annotations

import numpy as np

from .optable import Floats

#: Tiles (rows, columns, rate against the best tile) that vendor libraries ship for matrix units and for FMA units.
MATRIX_TILES = ((256, 128, 1.00), (128, 256, 1.00), (128, 128, 0.96), (128, 64, 0.82), (64, 128, 0.82), (64, 64, 0.66))
VECTOR_TILES = ((128, 128, 1.00), (128, 64, 0.95), (64, 128, 0.95), (64, 64, 0.88), (32, 32, 0.60))
SPLITS = (1, 2, 4, 8, 16)

#: Depth of k that a tile's prologue and epilogue cost, on matrix units and on FMA units [elements of k]. A matrix unit
#: eats k an order of magnitude faster, so that the same latency costs it more depth.
MATRIX_DEPTH_RAMP = 256.0
VECTOR_DEPTH_RAMP = 64.0


def tiled_flop(*, batch: Floats, m: Floats, n: Floats, k: Floats, cores: Floats, matrix_unit: bool) -> Floats:
    """Work a tiled product costs a chip, idle cores and ragged edges included.

    .. math:: W = \\min_{tile, s} 2 \\lceil T s / c \\rceil c \\, t_m t_n (k / s + k_0) / e_{tile},
              \\quad T = batch \\lceil m / t_m \\rceil \\lceil n / t_n \\rceil

    Parameters
    ----------
    batch, m, n, k
        shape (rows,), the product's extents.
    cores
        shape (rows,), cores (SMs) of the chip.
    matrix_unit
        Whether matrix-unit tiles (else FMA tiles) are on offer.

    Returns
    -------
    shape (rows,) [FLOP]; at least 2 batch m n k.

    Notes
    -----
    Leaves out: L2 reuse between tiles, stream-k schedules, clusters of cores.
    """
    depth_ramp = MATRIX_DEPTH_RAMP if matrix_unit else VECTOR_DEPTH_RAMP
    best = np.full(m.shape, np.inf)
    for rows, columns, rate in MATRIX_TILES if matrix_unit else VECTOR_TILES:
        tiles = batch * np.ceil(m / rows) * np.ceil(n / columns)
        for split in SPLITS:
            waves = np.ceil(tiles * split / cores)
            depth = np.maximum(k / split, 1.0) + depth_ramp * (1.0 if split == 1 else 2.0)
            best = np.minimum(best, waves * cores * (2.0 * rows * columns / rate) * depth)
    # A product that fills the chip many times over pays the depth ramp only once per tile; never less than the work.
    return np.asarray(np.maximum(best, 2.0 * batch * m * n * k))


#: Rate of 16-bit matrix-unit products whose row length is a multiple of so many elements and no more: below 8 (16
#: bytes) loads are no longer whole vectors and libraries fall back to slower kernels (NVIDIA, Matrix Multiplication
#: Background User's Guide, section "Tensor Core Requirements"; steps below 8 as the layout scans of BLOOM show,
#: arXiv:2211.05100).
ALIGNMENT_RATE = ((8, 1.0), (4, 0.45), (2, 0.35), (1, 0.30))


def alignment_rate(*lengths: Floats) -> Floats:
    """Rate of a matrix-unit product against an aligned one, by the worst of its row lengths; shape (rows,)."""
    worst = np.ones_like(lengths[0])
    for length in lengths:
        whole = np.rint(length)
        rate = np.full_like(worst, ALIGNMENT_RATE[-1][1])
        for multiple, value in reversed(ALIGNMENT_RATE):
            rate = np.where(whole % multiple == 0, value, rate)
        worst = np.minimum(worst, rate)
    return worst


def systolic_flop(*, batch: Floats, m: Floats, n: Floats, k: Floats, side: float) -> Floats:
    """Work a product costs a systolic array of `side` x `side` cells: n and k padded to the array, fill and drain paid.

    .. math:: W = 2 \\, batch \\, (m + 2 s / \\lceil n / s \\rceil) \\lceil n / s \\rceil s \\lceil k / s \\rceil s

    Leaves out: sharing a chip's arrays between products. shape (rows,) [FLOP]
    """
    columns = np.ceil(n / side)
    return np.asarray(2.0 * batch * (m + 2.0 * side / columns) * columns * side * np.ceil(k / side) * side)
