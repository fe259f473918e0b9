"""Routes by formula on meshes and tori, all at once: dimension order, as arrays of links."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from topologies.link_table import NO_LINK, Ints, LinkTable, as_endpoints, directed, left_packed, link_table
from topologies.torus import TorusShape


def torus_links(shape: TorusShape) -> LinkTable:
    """The links of a torus: first those of the end points, if routers are not chips, then dimension by dimension.

    Vertices are the end points in order and then, if they are not the chips themselves, the routers; places of the grid
    are numbered with the last dimension fastest.
    """
    places = np.arange(shape.routers)
    first = shape.endpoints if shape.endpoints_per_router else 0
    parts: list[tuple[Ints, Ints, str, int]] = []
    if shape.endpoints_per_router:
        ends = np.arange(shape.endpoints)
        parts.append((ends, first + ends // shape.endpoints_per_router, shape.tier_endpoint, 1))
    for axis, size in enumerate(shape.dims):
        stride, per_line = _stride(shape, axis), _edges_per_line(shape, axis)
        at = places // stride % size
        here = places[at < per_line]
        there = here + np.where(at[at < per_line] == size - 1, stride * (1 - size), stride)
        # Edges are numbered line by line: line, then position along it.
        order = np.argsort(_line(here, stride, size) * per_line + here // stride % size, kind="stable")
        count = shape.links[axis] * (2 if shape.wrap[axis] and size == 2 else 1)
        parts.append((first + here[order], first + there[order], shape.tier, count))
    return link_table(first + shape.routers, parts)


def torus_routes(shape: TorusShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links from a[t] to b[t], NO_LINK behind the last: dimension 0 first, then 1, ...

    Along each dimension the shorter way round. Where both are equal, `choice` even goes upwards and odd downwards in
    the first such dimension, its next bit decides in the second, and so on.
    """
    a, b = as_endpoints("torus", a, shape.endpoints), as_endpoints("torus", b, shape.endpoints)
    choice = np.broadcast_to(np.asarray(choice, np.int64), a.shape)
    edges = _edges(shape)
    columns: list[Ints] = []
    per_router = shape.endpoints_per_router
    here, goal = (a // per_router, b // per_router) if per_router else (a, b)
    ties = np.zeros_like(a)
    for axis, size in enumerate(shape.dims):
        ahead = goal // _stride(shape, axis) % size - here // _stride(shape, axis) % size
        if shape.wrap[axis]:
            ahead %= size
            tie = (2 * ahead == size) & (size > 2)  # between two places both ways round are one edge
            down = np.where(tie, (choice >> ties) & 1 == 1, 2 * ahead > size)
            ahead -= np.where(down, size, 0)
            ties = ties + tie
        for link, moved in _along(shape, axis, here, ahead):
            columns.append(link)
            here = moved
    if per_router:
        away = a != b
        columns.insert(0, np.where(away, a, NO_LINK))
        columns.append(np.where(away, b + edges, NO_LINK))
    return left_packed(np.stack(columns, axis=1) if columns else np.zeros((len(a), 0), np.int64))


def torus_choices(shape: TorusShape, a: Any, b: Any) -> Ints:
    """(T,) routes that `torus_routes` chooses from: 2 for each dimension where both ways round are equally long."""
    a, b = as_endpoints("torus", a, shape.endpoints), as_endpoints("torus", b, shape.endpoints)
    per_router = max(1, shape.endpoints_per_router)
    routes: Ints = np.ones_like(a)
    for axis, size in enumerate(shape.dims):
        ahead = (b // per_router // _stride(shape, axis) - a // per_router // _stride(shape, axis)) % size
        routes *= np.where(shape.wrap[axis] & (size > 2) & (2 * ahead == size), 2, 1)
    return routes


def _along(shape: TorusShape, axis: int, here: Ints, ahead: Ints) -> Iterator[tuple[Ints, Ints]]:
    """Step by step along one dimension: the link taken (NO_LINK where a message has arrived) and the place after it."""
    size, stride = shape.dims[axis], _stride(shape, axis)
    per_line, base, edges = _edges_per_line(shape, axis), _first_edge(shape, axis), _edges(shape)
    line, up = _line(here, stride, size), ahead > 0
    for step in range(int(np.abs(ahead).max(initial=0))):
        at = here // stride % size
        lower = np.where(up, at, (at - 1) % size)  # the edge is named after the end from which it leads upwards
        lower = np.where(per_line == 1, 0, lower)  # two places: one edge, both ways round on it
        forward = up if per_line > 1 else at == 0
        moves = step < np.abs(ahead)
        link = np.where(moves, directed(base + line * per_line + lower, forward, edges), NO_LINK)
        after = (at + np.where(up, 1, -1)) % size
        here = np.where(moves, here + (after - at) * stride, here)
        yield link, here


def _stride(shape: TorusShape, axis: int) -> int:
    stride = 1
    for size in shape.dims[axis + 1 :]:
        stride *= size
    return stride


def _edges_per_line(shape: TorusShape, axis: int) -> int:
    size = shape.dims[axis]
    return size if shape.wrap[axis] and size > 2 else size - 1


def _line(places: Ints, stride: int, size: int) -> Ints:
    """Which of the lines along a dimension a place is on."""
    line: Ints = places // (stride * size) * stride + places % stride
    return line


def _first_edge(shape: TorusShape, axis: int) -> int:
    before = sum(shape.routers // shape.dims[i] * _edges_per_line(shape, i) for i in range(axis))
    return before + (shape.endpoints if shape.endpoints_per_router else 0)


def _edges(shape: TorusShape) -> int:
    return _first_edge(shape, len(shape.dims))
