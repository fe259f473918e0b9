"""A ring: each chip joined to the next, the last to the first."""

from __future__ import annotations

import networkx as nx

from topologies.topology import Topology, check_count


def ring(n: int, *, tier: str = "scale_up") -> Topology:
    """Chips 0 .. n-1 in a ring.

    Two chips are joined by one edge of count 2 (both ways round are a link of their own, as in a torus), one chip by
    nothing. Each chip has 2 links and the bisection is 2, for every n above 1.
    """
    check_count("ring", "n", n)
    graph = nx.Graph()
    graph.add_nodes_from(range(n), kind="chip")
    if n == 2:
        graph.add_edge(0, 1, tier=tier, count=2, derate=1.0)
    elif n > 2:
        graph.add_edges_from(((chip, (chip + 1) % n) for chip in range(n)), tier=tier, count=1, derate=1.0)
    return Topology(name=f"ring of {n}", graph=graph, endpoints=tuple(range(n)), bisection=2 if n > 1 else 0)
