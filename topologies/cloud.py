"""Ethernet clouds: servers in racks, racks in pods, pods on a core, with a taper at each level, switches folded."""

from __future__ import annotations

import math

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


def ethernet_cloud(
    *,
    servers: int,
    servers_per_rack: int,
    racks_per_pod: int | None = None,
    oversubscription: float = 1.0,
    oversubscription_pod: float = 1.0,
    links_per_server: int = 1,
    tier_rack: str = "scale_out",
    tier_pod: str = "spine",
    tier_core: str = "core",
) -> Topology:
    """End points 0 .. n-1 in racks ("rack", i), those in pods ("pod", i), those on one "core".

    Parameters
    ----------
    servers
        End points; racks and pods fill in order. For a server of several cards: nest it (`nested`), or say
        `links_per_server`.
    racks_per_pod
        Default: all racks are one pod, and there is no core.
    oversubscription, oversubscription_pod
        What can go into a full rack (pod) over what can leave it; at least 1, and any number, as the trunk above is
        the next whole number of links, derated to fit. A rack or pod that is partly empty has the whole trunk.

    Notes
    -----
    All switches of one level of a rack or pod are one vertex and their links one trunk, as if traffic were spread
    evenly over all equal paths; what a hash that meets itself costs is left out (see `clos` for the switches one by
    one).

    Bisection, where pods (or, in one pod, racks) are full and even in number: half the links of the narrowest level.
    """
    where = "ethernet_cloud"
    check_count(where, "servers", servers)
    check_count(where, "servers_per_rack", servers_per_rack)
    check_count(where, "links_per_server", links_per_server)
    racks = math.ceil(servers / servers_per_rack)
    per_pod = racks if racks_per_pod is None else racks_per_pod
    check_count(where, "racks_per_pod", per_pod)
    pods = math.ceil(racks / per_pod)
    rack_trunk, rack_derate = _trunk("oversubscription", servers_per_rack * links_per_server, oversubscription)
    into_pod = per_pod * servers_per_rack * links_per_server / oversubscription
    pod_trunk, pod_derate = _trunk("oversubscription_pod", into_pod, oversubscription_pod)
    graph = nx.Graph()
    graph.add_nodes_from(range(servers), kind="chip")
    graph.add_nodes_from((("rack", rack) for rack in range(racks)), kind="switch")
    for server in range(servers):
        rack = ("rack", server // servers_per_rack)
        graph.add_edge(server, rack, tier=tier_rack, count=links_per_server, derate=1.0)
    if racks > 1:
        graph.add_nodes_from((("pod", pod) for pod in range(pods)), kind="switch")
        for i in range(racks):
            graph.add_edge(("rack", i), ("pod", i // per_pod), tier=tier_pod, count=rack_trunk, derate=rack_derate)
    if pods > 1:
        graph.add_node("core", kind="switch")
        for pod in range(pods):
            graph.add_edge(("pod", pod), "core", tier=tier_core, count=pod_trunk, derate=pod_derate)
    full = servers == racks * servers_per_rack and racks == pods * per_pod
    widths = [servers * links_per_server, *([racks * rack_trunk] * (racks > 1)), *([pods * pod_trunk] * (pods > 1))]
    top = pods if pods > 1 else racks if racks > 1 else servers
    return Topology(
        name=f"cloud of {servers}",
        graph=graph,
        endpoints=tuple(range(servers)),
        bisection=min(widths) // 2 if full and top % 2 == 0 else 0 if servers == 1 else None,
    )


def _trunk(name: str, into: float, oversubscription: float) -> tuple[int, float]:
    """Whole links that carry `into` / oversubscription, and the share of them that makes it exact."""
    if (
        isinstance(oversubscription, bool)
        or not isinstance(oversubscription, int | float)
        or not (math.isfinite(oversubscription) and oversubscription >= 1)
    ):
        raise TopologyError(f"ethernet_cloud: {name} is {oversubscription!r}; a finite number, at least 1.")
    links = max(1, math.ceil(into / oversubscription - 1e-9))
    return links, min(1.0, into / oversubscription / links)
