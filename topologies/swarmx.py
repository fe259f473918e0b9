"""SwarmX: a tree of switches that copies weights on the way down to the wafers and adds gradients on the way up."""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from topologies.topology import Topology, check_count

#: Entry k: links cut so that k end points of a subtree are not on the side of its root. A switch without any end point,
#: and an end point, which is its own root and cannot be on another side.
_NONE: NDArray[np.int64] = np.array([0])
_LEAF: NDArray[np.int64] = np.array([0, 2**40])


def swarmx(
    systems: int,
    *,
    fan_out: int = 4,
    links_per_system: int = 12,
    memories: int = 1,
    stores_are_endpoints: bool = True,
    tier: str = "scale_out",
) -> Topology:
    """Systems 0 .. n-1 at the leaves, the weight stores ("memory", i) at the root.

    Parameters
    ----------
    fan_out
        Systems, or switches, below one switch; the last of a level may have fewer. At least 2.
    links_per_system
        Links of a system. Every switch has as many upwards: one stream of weights passes, whatever the number below,
        for the switch copies it (and adds up the gradients that come back).
    memories
        Weight stores, all at the root, with links_per_system links each.
    stores_are_endpoints
        False: the end points are the systems alone, as of a collective among them.

    Returns
    -------
    Switches are ("switch", level, i) from level 1 above the systems up to a single one. End points: systems, then
    weight stores (kind "host") if they are any.

    Notes
    -----
    Levels: the least k with fan_out^k >= n, at least 1. Between two systems up to 2 k hops, from a store k + 1.

    Bisection: exact, by the fewest links cut so that k end points are not on the side of their subtree's root, added
    up from the leaves.

    Leaves out: how the streams of several stores are split. The fan-out of real switches is not published; the links
    are (12 x 100 Gbit/s a system; Cerebras pages).
    """
    where = "swarmx"
    check_count(where, "systems", systems)
    check_count(where, "fan_out", fan_out, least=2)
    check_count(where, "links_per_system", links_per_system)
    check_count(where, "memories", memories, least=0)
    graph = nx.Graph()
    graph.add_nodes_from(range(systems), kind="chip")
    below: list[int | tuple[str, int, int]] = list(range(systems))
    cuts = [_LEAF] * systems
    level = 0
    while level == 0 or len(below) > 1:
        level += 1
        switches = [("switch", level, i) for i in range(-(-len(below) // fan_out))]
        graph.add_nodes_from(switches, kind="switch")
        for i, lower in enumerate(below):
            graph.add_edge(lower, switches[i // fan_out], tier=tier, count=links_per_system, derate=1.0)
        cuts = [_joined(_NONE, cuts[i : i + fan_out]) for i in range(0, len(cuts), fan_out)]
        below = [*switches]
    stores = [("memory", i) for i in range(memories)]
    graph.add_nodes_from(stores, kind="host")
    graph.add_edges_from(((store, below[0]) for store in stores), tier=tier, count=links_per_system, derate=1.0)
    senders = stores if stores_are_endpoints else []
    endpoints = (*range(systems), *senders)
    across = _joined(cuts[0], [_LEAF] * len(senders))
    half = len(endpoints) // 2
    return Topology(
        name=f"SwarmX of {systems}",
        graph=graph,
        endpoints=endpoints,
        bisection=links_per_system * int(across[[half, len(endpoints) - half]].min()),
    )


def _joined(root: NDArray[np.int64], children: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The cuts of a root with more children, each of them on its side, or on the other for one link."""
    for child in children:
        side = np.minimum(child, 1 + child[::-1])
        short, long = sorted((root, side), key=len)
        root = np.full(len(root) + len(side) - 1, 2**40)
        for k, cut in enumerate(short):
            root[k : k + len(long)] = np.minimum(root[k : k + len(long)], long + cut)
    return root
