"""A PCIe tree: chips under switches, switches under host processors, hosts joined to each other."""

from __future__ import annotations

import itertools
import math

import networkx as nx

from topologies.topology import Topology, check_count


def pcie_tree(
    chips: int,
    *,
    chips_per_switch: int,
    switches_per_root: int,
    nics_per_switch: int = 0,
    tier: str = "scale_up",
    tier_root: str = "host",
) -> Topology:
    """Chips 0 .. n-1 on PCIe switches ("switch", i), those on the root ports of hosts ("host", i).

    One link from a chip to its switch and from a switch to its host. Chips and switches fill in order; the last of
    each may be partly empty.

    Parameters
    ----------
    nics_per_switch
        NICs on each switch beside its chips, one link each: ("nic", i), in the order of the switches. A DGX-1 has 1.
    tier
        Of the PCIe links.
    tier_root
        Of the links between hosts, one per pair (QPI, UPI, Infinity Fabric); there are none with one host.

    Notes
    -----
    Bisection: exact for any filling, by the least cost of having k of its chips on the other side, added up over
    switches and hosts.
    """
    where = "pcie_tree"
    check_count(where, "chips", chips)
    check_count(where, "chips_per_switch", chips_per_switch)
    check_count(where, "switches_per_root", switches_per_root)
    check_count(where, "nics_per_switch", nics_per_switch, least=0)
    graph = nx.Graph()
    graph.add_nodes_from(range(chips), kind="chip")
    switches = math.ceil(chips / chips_per_switch)
    hosts = math.ceil(switches / switches_per_root)
    graph.add_nodes_from((("switch", i) for i in range(switches)), kind="switch")
    graph.add_nodes_from((("host", i) for i in range(hosts)), kind="host")
    for chip in range(chips):
        graph.add_edge(chip, ("switch", chip // chips_per_switch), tier=tier, count=1, derate=1.0)
    for i in range(switches):
        graph.add_edge(("switch", i), ("host", i // switches_per_root), tier=tier, count=1, derate=1.0)
    for nic in range(switches * nics_per_switch):
        graph.add_node(("nic", nic), kind="nic")
        graph.add_edge(("nic", nic), ("switch", nic // nics_per_switch), tier=tier, count=1, derate=1.0)
    for a, b in itertools.combinations(range(hosts), 2):
        graph.add_edge(("host", a), ("host", b), tier=tier_root, count=1, derate=1.0)
    sizes = [min(chips_per_switch, chips - i * chips_per_switch) for i in range(switches)]
    by_host = [sizes[i : i + switches_per_root] for i in range(0, switches, switches_per_root)]
    return Topology(
        name=f"PCIe tree of {chips}", graph=graph, endpoints=tuple(range(chips)), bisection=_bisection(by_host)
    )


def _bisection(by_host: list[list[int]]) -> int:
    half = sum(map(sum, by_host)) // 2
    # (hosts on the left, chips on the left) -> fewest links cut below the hosts
    best = {(0, 0): 0}
    for sizes in by_host:
        cost = _cuts_below_host(sizes)
        chips = len(cost) - 1
        grown: dict[tuple[int, int], int] = {}
        for (left_hosts, left), cut in best.items():
            for k in range(chips + 1):
                for key, more in (((left_hosts, left + k), cost[k]), ((left_hosts + 1, left + k), cost[chips - k])):
                    grown[key] = min(grown.get(key, cut + more), cut + more)
        best = grown
    return min(
        cut + left_hosts * (len(by_host) - left_hosts) for (left_hosts, left), cut in best.items() if left == half
    )


def _cuts_below_host(sizes: list[int]) -> list[int]:
    """Entry k: fewest links cut so that k chips are not on their host's side."""
    cost = [0]
    for size in sizes:
        # A switch stays with its host (k chip links cut), or leaves it (its own link, and those of chips that stay).
        one = [min(k, 1 + size - k) for k in range(size + 1)]
        cost = [
            min(cost[k - j] + one[j] for j in range(size + 1) if 0 <= k - j < len(cost))
            for k in range(len(cost) + size)
        ]
    return cost
