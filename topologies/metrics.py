"""What can be counted on any topology: hops, degrees, links by tier, links across the narrowest split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import Final

import networkx as nx
import numpy as np

from topologies.rings import edge_disjoint_rings, ring_capacity
from topologies.routing import shortest_route
from topologies.topology import Topology, TopologyError, nearest

__all__ = [
    "bisection_links",
    "degree",
    "diameter",
    "edge_disjoint_rings",
    "exact_bisection_links",
    "hops",
    "links_by_tier",
    "ring_capacity",
]

#: Exact cuts try all 2^(n-1) splits of n vertices; half a million of them take a fraction of a second.
EXACT_VERTICES: Final = 20


def hops(topology: Topology, a: Hashable, b: Hashable) -> int:
    """Links on a shortest route from `a` to `b`. Every vertex forwards, chips too; parallel links are one hop."""
    return len(shortest_route(topology, a, b)) - 1


def diameter(topology: Topology) -> int:
    """The largest number of hops between two end points; 0 for one end point.

    Raises `TopologyError` if some end points have no route to each other.
    """
    # End points with the same neighbours see the same distances: one of each such set is enough.
    representative = {frozenset(topology.graph[endpoint]): endpoint for endpoint in topology.endpoints}
    longest = 0
    for start in representative.values():
        distance = nx.single_source_shortest_path_length(topology.graph, start)
        for end in topology.endpoints:
            if end not in distance:
                raise TopologyError(f"Topology {topology.name!r}: no route from {start!r} to {end!r}.")
            longest = max(longest, distance[end])
    return longest


def degree(topology: Topology, vertex: Hashable) -> int:
    """Links that leave a vertex, each of the parallel ones counted."""
    if vertex not in topology.graph:
        raise TopologyError(f"Topology {topology.name!r}: no vertex {vertex!r}.")
    return sum(link["count"] for link in topology.graph[vertex].values())


def links_by_tier(topology: Topology) -> dict[str, int]:
    """Links of each tier, each of the parallel ones counted; tiers in alphabetical order."""
    links: Counter[str] = Counter()
    for _, _, link in topology.graph.edges(data=True):
        links[link["tier"]] += link["count"]
    return {tier: links[tier] for tier in topology.tiers}


def bisection_links(topology: Topology, *, tier: str | None = None) -> int:
    """Links across the narrowest split of the end points into two halves (sizes that differ by 1 at most).

    Other vertices go to whichever side cuts fewer links. The builder's closed form where there is one, else
    `exact_bisection_links`; tests hold the two equal. Counts links of one direction: a link carries as much back.

    Parameters
    ----------
    tier
        Only links of this tier may be cut; what other tiers join stays together, and the halves are as equal as that
        allows. With "scale_out" on servers in a network: no server is split.

    Raises
    ------
    TopologyError
        If there is no closed form and the topology is too large to cut exactly, or no split cuts only this tier.
    """
    if topology.bisection is not None and (tier is None or topology.tiers == (tier,)):
        return topology.bisection
    return exact_bisection_links(topology, tier=tier)


def exact_bisection_links(topology: Topology, *, tier: str | None = None) -> int:
    """As `bisection_links`, but always by trying every split; for up to 20 vertices that can be split."""
    where = f"Topology {topology.name!r}"
    if tier is not None and tier not in topology.tiers:
        raise TopologyError(
            f"{where}: no links of tier {tier!r}; it has {', '.join(topology.tiers) or 'no links'}."
            f"{nearest(tier, topology.tiers)}"
        )
    endpoints, links = _held_together(topology, tier)
    if len(endpoints) > EXACT_VERTICES:
        raise TopologyError(
            f"{where}: no closed form for this bisection, and {len(endpoints)} vertices are too many for an exact cut "
            f"(at most {EXACT_VERTICES}). Ask for one tier, or ask the topologies it was built from."
        )
    split = np.arange(1 << (len(endpoints) - 1))  # bit i: vertex i is on the left; the last vertex never is
    on_left = sum(((split >> i & 1) * count for i, count in enumerate(endpoints)), start=np.zeros_like(split))
    imbalance = np.abs(2 * on_left - sum(endpoints))
    if 1 < sum(endpoints) == imbalance.min():
        raise TopologyError(f"{where}: all end points stay together if only links of tier {tier!r} are cut.")
    split = split[imbalance == imbalance.min()]
    cut = sum((((split >> a ^ split >> b) & 1) * count for (a, b), count in links.items()), start=np.zeros_like(split))
    return int(cut.min())


def _held_together(topology: Topology, tier: str | None) -> tuple[list[int], dict[tuple[int, int], int]]:
    """End points in each set of vertices that links of other tiers join, and links between the sets."""
    edges = topology.graph.edges(data=True)
    others = nx.Graph()
    others.add_nodes_from(topology.graph)
    others.add_edges_from((a, b) for a, b, link in edges if tier is not None and link["tier"] != tier)
    group = {vertex: i for i, members in enumerate(nx.connected_components(others)) for vertex in members}
    endpoints = Counter(group[endpoint] for endpoint in topology.endpoints)
    links: Counter[tuple[int, int]] = Counter()
    for a, b, link in edges:
        if group[a] != group[b]:
            links[group[a], group[b]] += link["count"]
    return [endpoints[i] for i in range(max(group.values()) + 1)], dict(links)
