"""Halo exchange: neighbours in a divided domain send one another the cells next to their common face."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, ceil_div, check_collective, check_counts, require, whole
from .rounds import CollectiveError, Round

COLLECTIVES: Final = ("halo_exchange",)


def rounds(
    collective: str,
    ranks: int,
    message_byte: int,
    *,
    grid: Sequence[int],
    cells: Sequence[int],
    width: int = 1,
    periodic: bool = True,
) -> tuple[Round, ...]:
    """Two rounds for each divided dimension: every rank sends a face forwards, then one backwards.

    Parameters
    ----------
    message_byte
        Of the whole domain; a multiple of its cells. [B]
    grid
        Ranks along each dimension; the last one runs fastest in rank order.
    cells
        Cells of the whole domain along each dimension, dealt out as evenly as can be, first ranks first.
    width
        Layers of cells that a neighbour needs to see.
    periodic
        Whether the last rank along a dimension is the first one's neighbour.

    Notes
    -----
    Faces only; edges and corners of the halo are left out. What is sent where is a matter of geometry, so that the
    rounds have no pieces.
    """
    check_collective("halo", collective, COLLECTIVES)
    check_counts("halo", ranks, message_byte)
    grid, cells = tuple(map(int, grid)), tuple(map(int, cells))
    if math.prod(grid) != ranks or len(grid) != len(cells) or min(grid, default=0) < 1:
        raise CollectiveError(
            f"halo: grid {grid} over cells {cells} for {ranks} ranks; as many sizes in both, the grid's product the "
            "number of ranks."
        )
    if message_byte % math.prod(cells):
        raise CollectiveError(
            f"halo: message_byte is {message_byte} for {math.prod(cells)} cells; the same whole bytes for each."
        )
    for axis, (parts, size) in enumerate(zip(grid, cells, strict=True)):
        if parts > 1 and not 1 <= width <= size // parts:
            raise CollectiveError(_too_wide(axis, width, size // parts))
    at = np.unravel_index(np.arange(ranks), grid)
    extent = [size // parts + (one < size % parts) for one, parts, size in zip(at, grid, cells, strict=True)]
    face_byte = width * message_byte // math.prod(cells)
    found = []
    for axis, parts in enumerate(grid):
        across: Ints = np.prod([extent[other] for other in range(len(grid)) if other != axis], axis=0, dtype=np.int64)
        for way in (1, -1):
            to = at[axis] + way
            reached = (parts > 1) & ((to % parts == to) | periodic)
            source = np.flatnonzero(reached)
            if not len(source) or not face_byte:
                continue
            moved = [one if other != axis else to % parts for other, one in enumerate(at)]
            target = np.ravel_multi_index(moved, grid)
            byte = np.broadcast_to(across * face_byte, (ranks,))
            found.append(Round(source=source, target=target[source], byte=byte[source]))
    return tuple(found)


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike,
    grid: Sequence[ArrayLike],
    cells: Sequence[ArrayLike],
    width: ArrayLike = 1,
    periodic: bool = True,
) -> Floats:
    """Time of a halo exchange, one direction after the other.

    .. math:: t = \\sum_{a : P_a > 1} 2 (\\alpha + \\frac{w b}{\\beta} \\prod_{c \\ne a} \\lceil N_c / P_c \\rceil)

    with P the grid of ranks, N the cells, w the layers and b = S / prod N the bytes of a cell. The same whether
    periodic or not: a rank in the middle has both neighbours. Zero for one rank and for an empty message. Arguments
    broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: packing of faces that do not lie together in memory,
    edges and corners. Reference: W. Gropp, E. Lusk and A. Skjellum, Using MPI, 3rd edition, 2014, chapter 4.
    """
    check_collective("halo", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "halo", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    parts = [whole("halo", "a size of grid", size, least=1) for size in grid]
    sizes = [whole("halo", "a size of cells", size, least=1) for size in cells]
    layers = whole("halo", "width", width, least=1)
    if len(parts) != len(sizes) or not parts:
        raise CollectiveError(f"halo: grid has {len(parts)} dimensions, cells {len(sizes)}; as many in both.")
    product = np.asarray(math.prod(parts), np.float64)
    require("halo", "ranks", np.asarray(n + 0.0 * product), n == product, "the product of grid")
    for axis, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        fits = (part == 1) | (layers <= np.floor(size / part))
        if not np.all(fits):
            raise CollectiveError(_too_wide(axis, float(layers.max()), float(np.floor(size / part).min())))
    cell_byte = message / np.asarray(math.prod(sizes), np.float64)
    time = np.zeros(())
    for axis in range(len(parts)):
        others = [ceil_div(sizes[c], parts[c]) for c in range(len(parts)) if c != axis]
        face = layers * cell_byte * math.prod(others)
        time = time + np.where(parts[axis] > 1, 2.0 * (latency + face / rate), 0.0)
    return np.where(message > 0, time, 0.0)


def _too_wide(axis: int, width: float, room: float) -> str:
    return (
        f"halo: width is {width:g}, but some rank has {room:g} layers along dimension {axis}; from 1 to that many, or "
        "fewer ranks along it."
    )
