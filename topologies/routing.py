"""Routes: the vertices a message passes, by search for any topology, by formula for tori and fat trees."""

from __future__ import annotations

from collections.abc import Hashable

import networkx as nx

from topologies.fat_tree import FatTreeShape
from topologies.topology import Topology, TopologyError, check_count
from topologies.torus import check_dims


def shortest_route(topology: Topology, a: Hashable, b: Hashable) -> tuple[Hashable, ...]:
    """A route of fewest hops from `a` to `b`, both included; the same one every time.

    Every vertex forwards, chips too. Raises `TopologyError` if a vertex is unknown or there is no route.
    """
    for vertex in (a, b):
        if vertex not in topology.graph:
            raise TopologyError(f"Topology {topology.name!r}: no vertex {vertex!r}.")
    try:
        return tuple(nx.shortest_path(topology.graph, a, b))
    except nx.NetworkXNoPath:
        raise TopologyError(f"Topology {topology.name!r}: no route from {a!r} to {b!r}.") from None


def torus_route(
    dims: tuple[int, ...], a: tuple[int, ...], b: tuple[int, ...], *, wrap: bool = True
) -> tuple[tuple[int, ...], ...]:
    """The dimension-order route from `a` to `b`, both included: first along dimension 0, then 1, ...

    Along each dimension the shorter way round; upwards where both are equal. As long as any shortest route.
    """
    dims = check_dims("torus_route", dims)
    for at in (a, b):
        if len(at) != len(dims) or not all(0 <= x < size for x, size in zip(at, dims, strict=True)):
            raise TopologyError(f"torus_route: {at!r} is not a coordinate of a torus of {dims}.")
    route = [tuple(a)]
    for axis, size in enumerate(dims):
        ahead = b[axis] - a[axis]
        if wrap:
            ahead %= size
            if ahead > size // 2:
                ahead -= size
        for _ in range(abs(ahead)):
            here = route[-1]
            step = (here[axis] + (1 if ahead > 0 else -1)) % size
            route.append((*here[:axis], step, *here[axis + 1 :]))
    return tuple(route)


def fat_tree_routes(shape: FatTreeShape, a: int, b: int) -> int:
    """Routes of equal length between two end points: one per switch at the level where they meet."""
    _check_endpoints(shape, a, b)
    if shape.leaf_of(a) == shape.leaf_of(b):
        return 1
    return shape.middles if shape.pod_of(a) == shape.pod_of(b) else shape.middles * shape.cores_per_middle


def fat_tree_route(shape: FatTreeShape, a: int, b: int, *, choice: int = 0) -> tuple[Hashable, ...]:
    """The route up to the lowest level where `a` and `b` meet and down again, both included.

    Parameters
    ----------
    choice
        Which of the `fat_tree_routes` routes of equal length, modulo their number; a hash of the flow, say.
    """
    check_count("fat_tree_route", "choice", choice, least=0)
    choice %= fat_tree_routes(shape, a, b)
    if a == b:
        return (a,)
    if shape.leaf_of(a) == shape.leaf_of(b):
        return (a, shape.leaf(a), b)
    middle, core = choice % shape.middles, choice // shape.middles
    up, down = shape.middle(shape.pod_of(a), middle), shape.middle(shape.pod_of(b), middle)
    over: tuple[Hashable, ...] = (up,) if up == down else (up, ("core", middle, core), down)
    return (a, shape.leaf(a), *over, shape.leaf(b), b)


def _check_endpoints(shape: FatTreeShape, *endpoints: int) -> None:
    for endpoint in endpoints:
        if not 0 <= endpoint < shape.endpoints:
            raise TopologyError(f"fat tree: no end point {endpoint!r}; 0 to {shape.endpoints - 1}.")
