"""Servers on a network: every end point of an outer topology becomes a copy of an inner one."""

from __future__ import annotations

from collections.abc import Hashable

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


def nested(inner: Topology, outer: Topology, *, nics_per_server: int, tier_nic: str = "host") -> Topology:
    """One copy of `inner` (a server) in the place of every end point of `outer` (the network as one NIC sees it).

    Parameters
    ----------
    nics_per_server
        NICs of a server. Each takes the outer end point's place: it has that end point's links, so a server has
        nics_per_server times as many, and every link between outer switches is there nics_per_server times too (one
        plane, or rail, per NIC, with its switches folded onto those of the other planes). Where outer end points are
        joined directly, as in a torus, NIC i of one server is joined to NIC i of the other.
    tier_nic
        Of the link between a chip and its NIC; one link. With n chips in the server, chip i has NIC
        floor(i nics / n), or if there are more NICs than chips, NIC i is on chip floor(i n / nics).

    Returns
    -------
    End points are (server, chip), with servers and chips named as in `outer` and `inner`; all other vertices of a
    server are (server, vertex), its NICs (server, ("nic", i)). Switches of `outer` keep their names.

    Notes
    -----
    Leaves out the host between chip and NIC. The bisection is not known in closed form: ask `bisection_links` of one
    tier, or of `outer` times nics_per_server.
    """
    check_count("nested", "nics_per_server", nics_per_server)
    graph = nx.Graph()
    nics = tuple(("nic", i) for i in range(nics_per_server))
    if clash := [nic for nic in nics if nic in inner.graph]:
        raise TopologyError(
            f"nested: {inner.name!r} has a vertex {clash[0]!r} already, which is the name of a NIC here."
        )
    chips = inner.endpoints
    for server in outer.endpoints:
        graph.add_nodes_from(((server, v), {"kind": kind}) for v, kind in inner.graph.nodes(data="kind"))
        graph.add_edges_from(((server, a), (server, b), dict(link)) for a, b, link in inner.graph.edges(data=True))
        graph.add_nodes_from(((server, nic) for nic in nics), kind="nic")
        for i in range(max(len(chips), len(nics))):
            chip, nic = (
                (chips[i], nics[i * len(nics) // len(chips)])
                if len(chips) >= len(nics)
                else (chips[i * len(chips) // len(nics)], nics[i])
            )
            graph.add_edge((server, chip), (server, nic), tier=tier_nic, count=1, derate=1.0)
    _add_network(graph, outer, nics)
    name = f"{len(outer.endpoints)} x {inner.name} on {outer.name}"
    endpoints = tuple((server, chip) for server in outer.endpoints for chip in chips)
    return Topology(name=name, graph=graph, endpoints=endpoints)


def _add_network(graph: nx.Graph, outer: Topology, nics: tuple[tuple[str, int], ...]) -> None:
    servers = set(outer.endpoints)
    for vertex, kind in outer.graph.nodes(data="kind"):
        if vertex in servers:
            continue
        if vertex in graph:
            raise TopologyError(f"nested: vertex {vertex!r} of {outer.name!r} has the name of a vertex of a server.")
        graph.add_node(vertex, kind=kind)

    def ports(vertex: Hashable) -> list[Hashable]:
        return [(vertex, nic) for nic in nics] if vertex in servers else [vertex] * len(nics)

    for a, b, link in outer.graph.edges(data=True):
        if a in servers or b in servers:
            graph.add_edges_from((here, there, dict(link)) for here, there in zip(ports(a), ports(b), strict=True))
        else:
            graph.add_edge(a, b, **{**link, "count": link["count"] * len(nics)})
