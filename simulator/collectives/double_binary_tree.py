"""Two binary trees over the same ranks, each for half of the message: a rank forwards in one and only listens in the
other, so that all links work all the time."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from . import closed_form
from .closed_form import arrays, ceil_log2, check_collective, check_counts, chunk_byte, time_s, whole
from .rounds import Round, chunk_bounds, mirrored, moves, rooted

COLLECTIVES: Final = ("broadcast", "reduce", "all_reduce")
#: Chunks of each half where none are asked for.
CHUNKS: Final = 16

Edge = tuple[int, int]


def rounds(collective: str, ranks: int, message_byte: int, *, chunks: int = CHUNKS, root: int = 0) -> tuple[Round, ...]:
    """Chunks go down both trees at once; each step of one level has two rounds, one for either colour of edges.

    Chunks 0, 2, 4, ... of 2 C take the first tree, the others the second. In step s, chunk c of a tree goes from depth
    s - c to depth s - c + 1. Edges of one colour have no sender and no receiver in common, so that no rank sends or
    receives two transfers at once. A reduce runs backwards; the all-reduce is a reduce followed by a broadcast (both
    at once would need the same time: the links are busy). There are no more chunks than a half has bytes.
    """
    check_collective("double_binary_tree", collective, COLLECTIVES)
    check_counts("double_binary_tree", ranks, message_byte)
    whole("double_binary_tree", "chunks", chunks, least=1)
    parts = max(1, min(int(chunks), message_byte // 2))
    down = _broadcast(ranks, message_byte, parts) if ranks > 1 else []
    up = mirrored(down, reduces=True)
    return rooted({"broadcast": down, "reduce": up, "all_reduce": up + down}[collective], ranks, root)


def _broadcast(ranks: int, message_byte: int, chunks: int) -> list[Round]:
    bounds = chunk_bounds(message_byte, 2 * chunks)
    trees = two_trees(ranks)
    colours = edge_colours(trees)
    source, target, colour, depth, tree = (
        np.array(column)
        for column in zip(
            *((a, b, colours[t][a, b], depth, t) for t, edges in enumerate(trees) for (a, b), depth in edges.items()),
            strict=True,
        )
    )
    found: list[Round] = []
    for step in range(chunks + int(depth.max()) - 1):
        chunk = step - depth + 1
        for now in range(2):
            on = (colour == now) & (chunk >= 0) & (chunk < chunks)
            piece = 2 * chunk[on] + tree[on]
            found += moves(source[on], target[on], bounds[piece], bounds[piece + 1])
    return found


def two_trees(ranks: int) -> tuple[dict[Edge, int], dict[Edge, int]]:
    """Both trees below rank 0: edge (parent, child) -> depth of the child.

    The first is the in-order binary tree of 1 .. n-1, where the lowest set bit of a number is its height, so that
    only even numbers have children. The second is its mirror image where n - 1 is even and the same shifted by one
    where it is odd, so that there only odd numbers do.
    """
    last = ranks - 1
    parent = {j: _parent(j, last) for j in range(1, ranks)}
    depth = {0: 0}
    for j in sorted(parent, key=lambda j: -(j & -j)):
        depth[j] = depth[parent[j]] + 1
    other = {0: 0} | {j: last + 1 - j if last % 2 == 0 else j % last + 1 for j in parent}
    first = {(above, j): depth[j] for j, above in parent.items()}
    return first, {(other[a], other[b]): d for (a, b), d in first.items()}


def _parent(j: int, last: int) -> int:
    bit = j & -j
    above = (j ^ bit) | (bit << 1)
    return above if above <= last else j ^ bit


def edge_colours(trees: tuple[dict[Edge, int], dict[Edge, int]]) -> tuple[dict[Edge, int], dict[Edge, int]]:
    """Colour 0 or 1 of every edge: different for the two edges below a rank and for the two edges above it.

    An edge shares its sender with one other at most and its receiver with one, so that the constraints form paths and
    even cycles, which two colours fill.
    """
    ends: dict[tuple[str, int], list[tuple[int, Edge]]] = defaultdict(list)
    for t, edges in enumerate(trees):
        for edge in edges:
            ends["from", edge[0]].append((t, edge))
            ends["to", edge[1]].append((t, edge))
    colour: dict[tuple[int, Edge], int] = {}
    for start in ((t, edge) for t, edges in enumerate(trees) for edge in edges):
        if start in colour:
            continue
        colour[start], reached = 0, [start]
        while reached:
            here = reached.pop()
            for there in ends["from", here[1][0]] + ends["to", here[1][1]]:
                if there != here and there not in colour:
                    colour[there] = 1 - colour[here]
                    reached.append(there)
    first, second = ({edge: colour[t, edge] for edge in edges} for t, edges in enumerate(trees))
    return first, second


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike,
    chunks: ArrayLike = CHUNKS,
) -> Floats:
    """Time over two binary trees of height h = ceil(log2 n) that carry C chunks each.

    .. math:: t = 2 (C + h - 1) \\left(\\alpha + \\frac{S}{2 C \\beta}\\right)

    and twice that for an all-reduce; exactly so where 2 C divides S. Else, with s_0 the bytes of the first chunk and
    S_1 of all chunks of the first tree, the largest transfers of all rounds hold 2 S_1 + 2 (h - 1) s_0 bytes (three
    ranks: S and the first chunk of both trees; two ranks: S). Zero for one rank and for an empty message. Arguments
    broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: the reduction arithmetic. Reference: P. Sanders, J.
    Speck and J. L. Traeff, Two-tree algorithms for full bandwidth broadcast, reduction and scan, Parallel Computing,
    2009.
    """
    check_collective("double_binary_tree", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "double_binary_tree", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    asked = whole("double_binary_tree", "chunks", chunks, least=1)
    parts = np.maximum(1.0, np.minimum(asked, np.floor(message / 2.0)))
    height = ceil_log2(n)
    q, more = chunk_byte(message, 2.0 * parts)
    # Where only the very first chunk is larger, rounds of the filling in which the first tree has no edge are shorter:
    # one at depth 1, and one at depth 2 where the tree's top has a single child.
    lone = 1.0 + ((n == np.exp2(height - 1.0) + 1.0) & (n > 3))
    larger = np.minimum(more, 1.0)
    byte = (
        2.0 * (parts * q + np.ceil(more / 2.0)) + 2.0 * (height - 1.0) * (q + larger) - np.where(more == 1, lone, 0.0)
    )
    byte = np.where(n == 3, message + 2.0 * q + larger + (more > 1), byte)
    byte = np.where(n == 2, message, byte)
    steps = 2.0 * (parts + height - 1.0)
    # A single byte takes the first tree alone.
    steps = np.where(message == 1, np.where(n > 3, 2.0 * height - lone, n - 1.0), steps)
    time = time_s(steps, byte, latency, rate) * (2.0 if collective == "all_reduce" else 1.0)
    return np.where((n > 1) & (message > 0), time, 0.0)


def best_chunks(*, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike) -> Floats:
    """Chunks of each half with the least time, where latency and filling the trees balance.

    .. math:: C = \\sqrt{(h - 1) S / (2 \\alpha \\beta)}

    rounded, at least 1 and at most one for two bytes.
    """
    n, message, latency, rate = arrays(
        "double_binary_tree", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    half = message / 2.0
    fill = ceil_log2(n) - 1.0
    return closed_form.best_chunks(fill, message=half, latency=latency, rate=rate, most=np.floor(half))
