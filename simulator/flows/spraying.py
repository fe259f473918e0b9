"""Ideal spraying: switches that are alike as one, and all links between two such cells as one."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from topologies import Topology

from .colours import alike
from .shares import Floats, Ints


def cells_of(
    topology: Topology, vertices: tuple[Hashable, ...], rank: Ints, tail: Ints, head: Ints, marks: Floats
) -> Ints:
    """Cells of switches that are alike seen from the end points, each of which is a cell of its own."""
    kinds = dict(topology.graph.nodes(data="kind"))
    words = {kind: index for index, kind in enumerate(sorted(set(kinds.values())))}
    colour = np.array([words[kinds[vertex]] for vertex in vertices], np.int64)
    colour[rank] = len(words) + np.arange(len(rank))
    if not len(tail):
        return colour
    kind = np.unique(marks, axis=0, return_inverse=True)[1].reshape(-1)
    return alike(colour, tail, head, kind)


def merged(
    cell: Ints, tail: Ints, head: Ints, count: Floats, one_byte_per_s: Floats, latency_s: Floats
) -> tuple[Ints, Ints, Floats, Floats, Floats]:
    """All links between two cells as one: their number, the slowest's rate, the slowest's latency.

    Even shares wait for the slowest; a cell is left by a shortest route for another cell only.
    """
    apart = cell[tail] != cell[head]
    a, b = cell[tail[apart]], cell[head[apart]]
    cells = int(cell.max()) + 1
    key, first, inverse = np.unique(a * cells + b, return_index=True, return_inverse=True)
    rate, latency = np.full(len(key), np.inf), np.zeros(len(key))
    np.minimum.at(rate, inverse, one_byte_per_s[apart])
    np.maximum.at(latency, inverse, latency_s[apart])
    return a[first], b[first], np.bincount(inverse, count[apart], len(key)).astype(np.float64), rate, latency
