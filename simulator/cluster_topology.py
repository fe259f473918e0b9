"""The wires of a cluster as a graph: chips inside servers, servers on their network, and the rate of every tier.

Tiers: "scale_up" joins chips (or a chip and its switch); "host" a chip and its processor; "socket" two processors;
"nic" a network card and what it sits on; "scale_out" a card and its switch; "spine", "core", "local", "global", "torus"
are links between switches. Which shape of network is built from which words stands in `simulator.networks`.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Final

import networkx as nx

import hwmodels.catalog as hardware
from hwmodels.server import Server
from topologies.topology import Topology, TopologyError

from .cluster import Cluster, ClusterError
from .network_builders import BUILDERS, WHOLE
from .server_topology import server_topology

__all__ = ["cluster_topology", "joined", "server_topology", "tier_rates"]

#: One switch more on the way [s], by the family of the cards, all recalled; other families: a switch of Ethernet.
_SWITCH_HOP_S: Final = {"infiniband": 1.3e-7, "omni-path": 1.1e-7, "gemini": 1.05e-7, "aries": 1.0e-7}
_ETHERNET_HOP_S: Final = 5e-7
_SLOT: Final = "pcie3-x16"
#: Links between switches; where the system names no link for them they are as fast as a card.
_NETWORK_TIERS: Final = ("spine", "core", "local", "global", "torus")


def cluster_topology(cluster: Cluster, *, servers: int) -> Topology:
    """The first ``servers`` servers of a cluster on its network; end points are its chips, server by server.

    Of switched networks only what these servers reach is built, with the links that the whole machine has. Tori of
    chips are built as the most even slice of that many chips.

    Vertices of a server are (server, vertex) with server 0, 1, ...; a torus of chips, an IPU pod and SwarmX are graphs
    of their builder's own naming.

    Raises
    ------
    ClusterError
        If the system has fewer servers, has no network at all, or its network cannot hold them.
    """
    if isinstance(servers, bool) or not isinstance(servers, int) or not 1 <= servers <= cluster.max_servers:
        raise ClusterError(
            f"servers is {servers!r}, but {cluster.id} has {cluster.max_servers}; legal: 1 to {cluster.max_servers}."
        )
    server = hardware.server(cluster.server)
    shape = cluster.wires.shape
    if server.chips != cluster.chips_per_server:
        raise ClusterError(
            f"{cluster.id}: {cluster.chips_per_server} chips per server, but the wires of {server.id} are known for "
            f"{server.chips}."
        )
    if shape == "single_server" and servers > 1:
        raise ClusterError(f"{cluster.id}: servers is {servers}, but no network joins its servers; legal: 1.")
    try:
        if shape in WHOLE:
            found = WHOLE[shape](cluster.wires, server, servers)
        elif shape == "single_server" or not server.nics:
            if servers > 1:
                raise ClusterError(
                    f"{cluster.id}: {server.id} has no network card, so nothing joins {servers} servers."
                )
            found = server_topology(server)
        else:
            found = _on_network(cluster, server, servers)
    except TopologyError as error:
        raise ClusterError(f"{cluster.id}: {error}") from None
    if not nx.is_connected(found.graph):
        part = min(nx.connected_components(found.graph), key=len)
        raise ClusterError(
            f"{cluster.id}: its wires fall apart; {len(part)} vertices such as {min(part, key=str)!r} reach no other."
        )
    return found


def _on_network(cluster: Cluster, server: Server, servers: int) -> Topology:
    builder = BUILDERS[cluster.wires.shape]
    outer, per_card = builder(cluster.wires, server, servers)
    inner = server_topology(server, cards=True)
    return joined(inner, outer, servers=servers, cards=server.nics, per_card=per_card)


def joined(inner: Topology, outer: Topology, *, servers: int, cards: int, per_card: bool) -> Topology:
    """Copies of a server with cards in the place of the end points of a network.

    With ``per_card`` the outer end points are cards, those of a server one after another. Otherwise they are servers,
    and, as in `topologies.nested`, every card has the end point's links and links between switches are there once per
    card: one plane each, drawn over one another.
    """
    graph = nx.Graph()
    ports: dict[Hashable, list[Hashable]] = {}
    for i in range(servers):
        graph.add_nodes_from(((i, v), {"kind": kind}) for v, kind in inner.graph.nodes(data="kind"))
        graph.add_edges_from(((i, a), (i, b), dict(link)) for a, b, link in inner.graph.edges(data=True))
        own: list[Hashable] = [(i, ("nic", k)) for k in range(cards)]
        if per_card:
            ports.update((outer.endpoints[i * cards + k], [card]) for k, card in enumerate(own))
        else:
            ports[outer.endpoints[i]] = own
    planes = 1 if per_card else cards
    for vertex, kind in outer.graph.nodes(data="kind"):
        if vertex not in ports:
            graph.add_node(("network", vertex), kind=kind)
            ports[vertex] = [("network", vertex)]
    for a, b, link in outer.graph.edges(data=True):
        here, there = ports[a], ports[b]
        both_switches = len(here) == len(there) == 1 and here[0][0] == there[0][0] == "network"  # type: ignore[index]
        if both_switches:
            graph.add_edge(here[0], there[0], **{**link, "count": link["count"] * planes})
        else:
            width = max(len(here), len(there))
            pairs = zip(here * (width // len(here)), there * (width // len(there)), strict=True)
            graph.add_edges_from((x, y, dict(link)) for x, y in pairs)
    return Topology(
        name=f"{servers} x {inner.name} on {outer.name}",
        graph=graph,
        endpoints=tuple((i, chip) for i in range(servers) for chip in inner.endpoints),
    )


def tier_rates(cluster: Cluster) -> dict[str, tuple[float, float]]:
    """(rate of one link one way [B/s], latency [s]) of every tier that `cluster_topology` can have.

    A card's rate is what a step is priced with, so an oversubscription of the system lowers it; a slot is never
    narrower than its card. The latency of a card, from memory to memory, is shared by its two ends; links through a
    switch inside a server share theirs likewise. Nominal rates: what software achieves of them is fitted elsewhere.
    """
    server = hardware.server(cluster.server)
    bound = {tier: hardware.link(name) for tier, name in cluster.wires.links.items()}
    rates: dict[str, tuple[float, float]] = {}
    if server.scale_up_link:
        up = hardware.link(server.scale_up_link)
        direct = bool(server.pairs) or server.scale_up == "torus" or cluster.wires.shape == "ipu_pod"
        rates["scale_up"] = (up.bandwidth_byte_per_s, up.latency_s if direct else up.latency_s / 2)
    slot_byte_per_s, slot_s = _slot(server)
    rates["host"] = (slot_byte_per_s, slot_s)
    if server.socket_link:
        socket = hardware.link(server.socket_link)
        rates["socket"] = (socket.bandwidth_byte_per_s, socket.latency_s)
    if server.nics:
        card = hardware.link(server.nic_link)
        own = cluster.out_byte_per_s / server.nics if not _of_chips(cluster, server) else card.bandwidth_byte_per_s
        rates["nic"] = (max(slot_byte_per_s, card.bandwidth_byte_per_s), 0.0)
        rates["scale_out"] = (own, cluster.out_latency_s / 2)
        hop_s = _SWITCH_HOP_S.get(card.family, _ETHERNET_HOP_S)
        rates |= dict.fromkeys(_NETWORK_TIERS, (card.bandwidth_byte_per_s, hop_s))
    return rates | {tier: (link.bandwidth_byte_per_s, link.latency_s) for tier, link in bound.items()}


def _of_chips(cluster: Cluster, server: Server) -> bool:
    return cluster.wires.shape == "torus" and server.scale_up == "torus"


def _slot(server: Server) -> tuple[float, float]:
    """What joins a chip to its processor: the file's link, else the chip's own slot."""
    link = hardware.link(server.host_link or _SLOT)
    own = hardware.chip(server.chip).host_bandwidth_byte_per_s
    return (link.bandwidth_byte_per_s if server.host_link or own is None else own), link.latency_s
