"""Every end point one switch, or one link, away from every other: NVSwitch servers, and cliques such as MI300X."""

from __future__ import annotations

import itertools

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


def fully_connected(
    endpoints: int, *, tier: str = "scale_up", links_per_endpoint: int | None = None, switched: bool = True
) -> Topology:
    """Chips 0 .. n-1, each joined to all others.

    Parameters
    ----------
    links_per_endpoint
        Links that leave each chip. Through a switch: any number, default 1. Without a switch they are shared out evenly
        over the n-1 others, so a multiple of n-1, default n-1 (one link per pair).
    switched
        True: a star around one switch vertex, "switch". The switch chips of a real server (six in a DGX A100) are
        folded into it: every one of them has the same links to every chip. False: a clique.

    Notes
    -----
    Bisection, with k links per chip: floor(n/2) k through a switch; floor(n/2) ceil(n/2) k / (n-1) in a clique.
    """
    where = "fully_connected"
    check_count(where, "endpoints", endpoints)
    if links_per_endpoint is None:
        links_per_endpoint = 1 if switched else max(1, endpoints - 1)
    check_count(where, "links_per_endpoint", links_per_endpoint)
    graph = nx.Graph()
    graph.add_nodes_from(range(endpoints), kind="chip")
    if switched:
        graph.add_node("switch", kind="switch")
        graph.add_edges_from(
            ((chip, "switch") for chip in range(endpoints)), tier=tier, count=links_per_endpoint, derate=1.0
        )
        bisection = endpoints // 2 * links_per_endpoint
    else:
        per_pair = _links_per_pair(endpoints, links_per_endpoint)
        graph.add_edges_from(itertools.combinations(range(endpoints), 2), tier=tier, count=per_pair, derate=1.0)
        bisection = (endpoints // 2) * (endpoints - endpoints // 2) * per_pair
    name = f"{'star' if switched else 'clique'} of {endpoints}"
    return Topology(name=name, graph=graph, endpoints=tuple(range(endpoints)), bisection=bisection)


def _links_per_pair(endpoints: int, links_per_endpoint: int) -> int:
    others = max(1, endpoints - 1)
    if links_per_endpoint % others:
        legal = max(1, round(links_per_endpoint / others)) * others
        raise TopologyError(
            f"fully_connected: links_per_endpoint is {links_per_endpoint}; without a switch a multiple of the {others} "
            f"other chips. Nearest: {legal}."
        )
    return links_per_endpoint // others
