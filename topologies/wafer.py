"""A wafer: a mesh of cores or of coarser tiles, cut by the borders of the reticles it was exposed in."""

from __future__ import annotations

from typing import Final

from topologies.topology import Topology, TopologyError, check_count
from topologies.torus import torus

#: Tiles of the largest wafer that is built: a graph of all 850,000 cores would answer nothing that this does not.
MOST_TILES: Final = 65_536


def wafer(
    rows: int, columns: int, *, reticle: tuple[int, int], tier: str = "wafer", tier_reticle: str = "reticle"
) -> Topology:
    """Tiles at (row, column), each joined to its neighbours in its row and its column; no wrap-around.

    Parameters
    ----------
    reticle
        Rows and columns of tiles in one reticle. `rows` and `columns` are multiples of them.
    tier
        Of the links within a reticle.
    tier_reticle
        Of the links across a border between reticles.

    Notes
    -----
    Links: R (C-1) + C (R-1), of which R (C/c - 1) + C (R/r - 1) across borders. One link stands for all wires between
    two tiles. The bisection is that of a mesh, see `torus`.

    Leaves out: spare rows, broken cores and the routes around them; the links at the rim to the outside.

    Raises
    ------
    TopologyError
        If a size is not a whole number of reticles, or there are more tiles than `MOST_TILES`.
    """
    where = "wafer"
    check_count(where, "rows", rows)
    check_count(where, "columns", columns)
    if not isinstance(reticle, tuple) or len(reticle) != 2:
        raise TopologyError(f"{where}: reticle is {reticle!r}; (rows, columns) of tiles, such as (8, 8).")
    for name, size, tiles in zip(("rows", "columns"), (rows, columns), reticle, strict=True):
        check_count(where, f"reticle {name}", tiles)
        if size % tiles:
            legal = max(1, round(size / tiles)) * tiles
            raise TopologyError(f"{where}: {name} is {size}, with {tiles} in a reticle; a multiple. Nearest: {legal}.")
    if rows * columns > MOST_TILES:
        raise TopologyError(
            f"{where}: {rows} x {columns} are {rows * columns} tiles; at most {MOST_TILES}. Let one tile stand for "
            "several cores."
        )
    mesh = torus((rows, columns), tier=tier, wrap=False)
    graph = mesh.graph.copy()
    for a, b in graph.edges:
        if any(i // tiles != j // tiles for i, j, tiles in zip(a, b, reticle, strict=True)):
            graph.edges[a, b]["tier"] = tier_reticle
    name = f"wafer of {rows}x{columns}"
    return Topology(name=name, graph=graph, endpoints=mesh.endpoints, bisection=mesh.bisection)


def wse(*, tiles: tuple[int, int] = (1, 1)) -> Topology:
    """A Cerebras wafer: 12 rows of 7 reticles, all three generations (recalled), each of `tiles` rows and columns."""
    if not isinstance(tiles, tuple) or len(tiles) != 2:
        raise TopologyError(f"wse: tiles is {tiles!r}; (rows, columns) of tiles in a reticle, such as (4, 4).")
    for name, count in zip(("rows", "columns"), tiles, strict=True):
        check_count("wse", f"{name} of tiles", count)
    return wafer(12 * tiles[0], 7 * tiles[1], reticle=tiles)
