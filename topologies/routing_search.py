"""Routes by search on any topology, one at a time: hashed over equal paths (ECMP), and over a random third vertex."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeAlias

import networkx as nx

from topologies.routing_hash import ecmp_choice
from topologies.topology import Topology, TopologyError

#: (from, to) -> the vertices on the way, both included.
Router: TypeAlias = Callable[[Hashable, Hashable], tuple[Hashable, ...]]


def ecmp_router(topology: Topology, *, seed: int = 0) -> Router:
    """Routes of fewest hops; where several neighbours are equally near to the goal, a hash says which is next.

    The hash is of (seed, source, target, hop), as each switch on the way makes its own; parallel links count as that
    many neighbours. The same pair of vertices always takes the same route. Distances to a goal are searched once.
    """
    number = {vertex: i for i, vertex in enumerate(topology.graph)}
    to_goal: dict[Hashable, dict[Hashable, int]] = {}

    def route(a: Hashable, b: Hashable) -> tuple[Hashable, ...]:
        for vertex in (a, b):
            if vertex not in number:
                raise TopologyError(f"Topology {topology.name!r}: no vertex {vertex!r}.")
        if b not in to_goal:
            to_goal[b] = nx.single_source_shortest_path_length(topology.graph, b)
        distance = to_goal[b]
        if a not in distance:
            raise TopologyError(f"Topology {topology.name!r}: no route from {a!r} to {b!r}.")
        way = [a]
        while way[-1] != b:
            nearer = [
                neighbour
                for neighbour, link in topology.graph[way[-1]].items()
                if distance[neighbour] < distance[way[-1]]
                for _ in range(link["count"])
            ]
            way.append(nearer[int(ecmp_choice(number[a], number[b], seed=seed, salt=len(way))) % len(nearer)])
        return tuple(way)

    return route


def valiant_router(topology: Topology, *, seed: int = 0) -> Router:
    """Routes to a random third vertex and from there to the goal, both as `ecmp_router` has them [1]_.

    The third vertex is a switch to which an end point is joined, or any end point where chips are joined directly. It
    is drawn by hash, so the same pair always turns at the same one.

    References
    ----------
    .. [1] L. G. Valiant, A scheme for fast parallel communication, SIAM Journal on Computing, 1982.
    """
    number = {vertex: i for i, vertex in enumerate(topology.graph)}
    kinds = topology.graph.nodes(data="kind")
    joined = {v for end in topology.endpoints for v in topology.graph[end] if kinds[v] == "switch"}
    turns = sorted(joined, key=number.__getitem__) or list(topology.endpoints)
    out, back = (ecmp_router(topology, seed=seed + leg) for leg in (0, 1))

    def route(a: Hashable, b: Hashable) -> tuple[Hashable, ...]:
        direct = out(a, b)
        if a == b:
            return direct
        turn = turns[int(ecmp_choice(number[a], number[b], seed=seed, salt=-1)) % len(turns)]
        return (*out(a, turn), *back(turn, b)[1:])

    return route
