"""Servers whose chips are wired pair by pair: the hybrid cube mesh of DGX-1, Summit's triangles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count

#: (chip a, chip b, parallel links) of a DGX-1 with V100; also of p3.16xlarge and other servers of that board
#: (NVIDIA/go-gpuallocator@876e7b7, gpuallocator/common_test.go).
DGX1_V100_LINKS: Final = (
    *((0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 4, 2), (1, 2, 2), (1, 3, 1), (1, 5, 2), (2, 3, 2)),
    *((2, 6, 1), (3, 7, 1), (4, 5, 1), (4, 6, 1), (4, 7, 2), (5, 6, 2), (5, 7, 1), (6, 7, 2)),
)
#: The same pairs with P100, which has four links: one each (same source); also of Big Basin.
DGX1_P100_LINKS: Final = tuple((a, b, 1) for a, b, _ in DGX1_V100_LINKS)


def hybrid_cube_mesh(
    links: Sequence[tuple[int, int, int]], *, links_per_chip: int | None = None, tier: str = "scale_up"
) -> Topology:
    """Chips 0 .. n-1 from their adjacency.

    Parameters
    ----------
    links
        (chip a, chip b, parallel links), each pair once. The largest chip sets n; every chip below it needs a link.
    links_per_chip
        Link ports of one chip; no chip may have more links. Default: not checked.

    Notes
    -----
    No closed form: `bisection_links` cuts it exactly.
    """
    where = "hybrid_cube_mesh"
    if not links:
        raise TopologyError(f"{where}: links is empty; at least one (chip a, chip b, parallel links).")
    graph = nx.Graph()
    degree: Counter[int] = Counter()
    for i, link in enumerate(links):
        if len(link) != 3:
            raise TopologyError(f"{where}: links[{i}] is {link!r}; (chip a, chip b, parallel links).")
        a, b, count = link
        for name, value, least in (("chip a", a, 0), ("chip b", b, 0), ("parallel links", count, 1)):
            check_count(f"{where}: links[{i}] = {link!r}", name, value, least=least)
        if graph.has_edge(a, b):
            raise TopologyError(f"{where}: links[{i}] = {link!r} repeats a pair; give each pair once, with its count.")
        graph.add_edge(a, b, tier=tier, count=count, derate=1.0)
        degree[a] += count
        degree[b] += count
    chips = range(max(degree) + 1)
    if missing := [chip for chip in chips if chip not in degree]:
        raise TopologyError(f"{where}: chip {missing[0]} of 0..{chips[-1]} has no link; number the chips without gaps.")
    if links_per_chip is not None:
        check_count(where, "links_per_chip", links_per_chip)
        for chip in chips:
            if degree[chip] > links_per_chip:
                raise TopologyError(f"{where}: chip {chip} has {degree[chip]} links; at most {links_per_chip}.")
    ordered = nx.Graph()
    ordered.add_nodes_from(chips, kind="chip")
    ordered.add_edges_from(graph.edges(data=True))
    return Topology(name=f"cube mesh of {len(chips)}", graph=ordered, endpoints=tuple(chips))
