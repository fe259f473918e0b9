"""The links of a network as arrays: what routes by formula point into, and what large topologies are built from."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topologies.topology import Topology, TopologyError

Ints: TypeAlias = NDArray[np.int64]

#: What fills a row of routes behind the last link.
NO_LINK = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class LinkTable:
    """E edges of a network, each of them two directed links.

    Parameters
    ----------
    u, v
        (E,) vertex numbers. Link e leads from u[e] to v[e] and link e + E back. End points are the vertices from 0 on,
        in rank order.
    tiers, tier
        The words, and (E,) which of them each edge has.
    count
        (E,) parallel links that an edge stands for in each direction.
    vertices
        How many there are; the numbers are 0 .. vertices-1.

    Leaves out: derates. Multiply the capacities of the links concerned instead.
    """

    u: Ints
    v: Ints
    tiers: tuple[str, ...]
    tier: Ints
    count: Ints
    vertices: int

    @property
    def edges(self) -> int:
        """Edges; there are twice as many links."""
        return len(self.u)

    @property
    def source(self) -> Ints:
        """(2 E,) the vertex that each link leaves."""
        return np.concatenate([self.u, self.v])

    @property
    def target(self) -> Ints:
        """(2 E,) the vertex that each link enters."""
        return np.concatenate([self.v, self.u])

    @property
    def link_count(self) -> Ints:
        """(2 E,) parallel links of each directed link."""
        return np.concatenate([self.count, self.count])

    @property
    def link_tier(self) -> Ints:
        """(2 E,) index into `tiers` of each directed link."""
        return np.concatenate([self.tier, self.tier])


def link_table(vertices: int, parts: Iterable[tuple[Ints, Ints, str, Ints | int]]) -> LinkTable:
    """The table of edges given in parts (u, v, tier, count), numbered in the order given."""
    parts = list(parts)
    tiers = tuple(dict.fromkeys(tier for _, _, tier, _ in parts))
    return LinkTable(
        u=_joined(u for u, _, _, _ in parts),
        v=_joined(v for _, v, _, _ in parts),
        tiers=tiers,
        tier=_joined(np.full(len(u), tiers.index(tier)) for u, _, tier, _ in parts),
        count=_joined(np.broadcast_to(np.asarray(count), np.shape(u)) for u, _, _, count in parts),
        vertices=vertices,
    )


def table_of(topology: Topology) -> tuple[LinkTable, tuple[Hashable, ...]]:
    """The link table of any topology, and the names of its vertices in the order of their numbers."""
    ends = set(topology.endpoints)
    names = (*topology.endpoints, *(vertex for vertex in topology.graph if vertex not in ends))
    number = {name: i for i, name in enumerate(names)}
    edges = [(number[a], number[b], link["tier"], link["count"]) for a, b, link in topology.graph.edges(data=True)]
    tiers = topology.tiers
    columns = np.array([(a, b, tiers.index(tier), count) for a, b, tier, count in edges], np.int64).reshape(-1, 4).T
    table = LinkTable(u=columns[0], v=columns[1], tiers=tiers, tier=columns[2], count=columns[3], vertices=len(names))
    return table, names


def topology_of(
    table: LinkTable,
    *,
    name: str,
    endpoints: int,
    names: list[Hashable],
    kinds: Callable[[int], str] | None = None,
    bisection: int | None = None,
) -> Topology:
    """The topology with the edges of `table`; vertex i is called names[i].

    The first `endpoints` vertices are chips and all others switches, unless `kinds` says what vertex i is.
    """
    graph = nx.Graph()
    kind = kinds or (lambda i: "chip" if i < endpoints else "switch")
    graph.add_nodes_from((names[i], {"kind": kind(i)}) for i in range(table.vertices))
    columns = (table.u.tolist(), table.v.tolist(), table.tier.tolist(), table.count.tolist())
    graph.add_edges_from(
        (names[u], names[v], _attributes(table.tiers[tier], count)) for u, v, tier, count in zip(*columns, strict=True)
    )
    return Topology(name=name, graph=graph, endpoints=tuple(names[:endpoints]), bisection=bisection)


def left_packed(routes: Ints) -> Ints:
    """(T, H) routes with the gaps between their links moved behind the last one; columns that nobody uses dropped."""
    order = np.argsort(routes == NO_LINK, axis=1, kind="stable")
    packed = np.take_along_axis(routes, order, axis=1)
    longest = int((packed != NO_LINK).sum(axis=1).max(initial=0))
    return packed[:, :longest]


def hops_of(routes: Ints) -> Ints:
    """(T,) links of each route."""
    hops: Ints = (routes != NO_LINK).sum(axis=1, dtype=np.int64)
    return hops


def directed(edge: Ints, forward: NDArray[np.bool_], edges: int) -> Ints:
    """The link along `edge` from u to v where `forward`, else back."""
    link: Ints = edge + np.where(forward, 0, edges)
    return link


def pair_index(i: Ints, j: Ints, n: int) -> Ints:
    """Number of the unordered pair {i, j} of n things, in the order (0,1), (0,2) ... (1,2) ... of np.triu_indices."""
    low, high = np.minimum(i, j), np.maximum(i, j)
    index: Ints = low * n - low * (low + 1) // 2 + (high - low - 1)
    return index


def as_endpoints(where: str, values: Any, endpoints: int) -> Ints:
    """`values` as an array of end points, or a `TopologyError` that names the first that is none."""
    found = np.asarray(values)
    if found.dtype.kind not in "iu" or found.ndim != 1:
        raise TopologyError(f"{where}: end points are {values!r}; a list of whole numbers, 0 to {endpoints - 1}.")
    if len(outside := found[(found < 0) | (found >= endpoints)]):
        raise TopologyError(f"{where}: no end point {int(outside[0])}; 0 to {endpoints - 1}.")
    return found.astype(np.int64)


def _joined(parts: Iterable[Any]) -> Ints:
    return np.concatenate([np.zeros(0, np.int64), *(np.asarray(part, np.int64) for part in parts)])


def _attributes(tier: str, count: int) -> dict[str, object]:
    return {"tier": tier, "count": count, "derate": 1.0}
