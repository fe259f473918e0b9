"""The wires inside one server as a graph: its chips, and the processors, switches and cards between them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import replace

import networkx as nx

import hwmodels.catalog as hardware
import topologies
from hwmodels.server import Server, ServerError
from topologies.nvswitch import nvswitch
from topologies.topology import Topology
from topologies.wafer import wafer


def server_topology(server: Server, *, cards: bool = False) -> Topology:
    """Chips 0 .. n-1 of one server and what joins them; with ``cards`` its network cards ("nic", i) too.

    Processors, ("host", i), are there where chips meet through them: in a PCIe tree, and where the chips' own links
    leave them in several parts (Summit's two triangles). A card sits on a processor if there are any, else on chips as
    in `topologies.nested`: chip i has card floor(i cards / n), or card i is on chip floor(i n / cards).
    """
    chips = _chips(server)
    graph = nx.Graph(chips.graph)
    hosts: list[Hashable] = [("host", i) for i in range(server.sockets) if ("host", i) in graph]
    if not hosts and not nx.is_connected(graph):
        hosts = [("host", i) for i in range(server.sockets)]
        graph.add_nodes_from(hosts, kind="host")
        for chip in range(server.chips):
            host = hosts[chip * len(hosts) // server.chips]
            graph.add_edge(chip, host, tier="host", count=server.host_links_per_chip, derate=1.0)
        graph.add_edges_from(itertools.combinations(hosts, 2), tier="socket", count=1, derate=1.0)
    if cards:
        _add_cards(graph, server, hosts)
    return Topology(name=server.id, graph=graph, endpoints=tuple(range(server.chips)), bisection=chips.bisection)


def _chips(server: Server) -> Topology:
    shape, links, n = server.scale_up, server.scale_up_links_per_chip, server.chips
    if server.pairs:
        return topologies.hybrid_cube_mesh(server.pairs)
    if shape == "pcie_tree":
        per_switch, per_root = (server.chips_per_switch or n), (server.switches_per_root or 1)
        return topologies.pcie_tree(n, chips_per_switch=per_switch, switches_per_root=per_root, tier_root="socket")
    if shape == "torus":
        dims = server.torus_dims or (n,)
        # A slice of a pod's torus wraps around in the pod, not in the host.
        own = links == 2 * len(dims) and min(dims) > 2
        grid = topologies.torus(dims, wrap=own)
        number = {at: chip for chip, at in enumerate(grid.endpoints)}
        return replace(grid, graph=nx.relabel_nodes(grid.graph, number), endpoints=tuple(range(n)))
    if n == 1 or shape in ("wafer", "none"):
        graph = nx.Graph()
        graph.add_nodes_from(range(n), kind="chip")
        return Topology(name=server.id, graph=graph, endpoints=tuple(range(n)))
    if server.switches:
        per_board = server.switches // server.switch_boards
        each, rest = divmod(links, per_board)
        spread = tuple(each + (i < rest) for i in range(per_board))
        return nvswitch(
            n, links_to_switches=spread, boards=server.switch_boards, trunk_links=server.trunk_links, name=server.id
        )
    return topologies.fully_connected(n, links_per_endpoint=links)


def _add_cards(graph: nx.Graph, server: Server, hosts: list[Hashable]) -> None:
    cards = [("nic", i) for i in range(server.nics)]
    graph.add_nodes_from(cards, kind="nic")
    n, m = server.chips, len(cards)
    if hosts:
        pairs: list[tuple[Hashable, Hashable]] = [(hosts[i * len(hosts) // m], card) for i, card in enumerate(cards)]
    elif n >= m:
        pairs = [(chip, cards[chip * m // n]) for chip in range(n)] if m else []
    else:
        pairs = [(i * n // m, card) for i, card in enumerate(cards)]
    graph.add_edges_from(pairs, tier="nic", count=1, derate=1.0)


def wafer_topology(server: Server, *, tiles_per_reticle: tuple[int, int] = (1, 1)) -> Topology:
    """The mesh of a wafer in tiles; links inside a reticle have the tier "wafer", across a border "reticle".

    A link stands for the wires of all cores along a tile's edge: see `wafer_rates`.
    """
    if server.wafer is None:
        raise ServerError(f"Server {server.id!r} is no wafer; scale_up is {server.scale_up!r}.")
    rows, columns = tiles_per_reticle
    w = server.wafer
    if not (1 <= rows <= w.core_rows // w.reticle_rows and 1 <= columns <= w.core_columns // w.reticle_columns):
        raise ServerError(
            f"Server {server.id!r}: tiles_per_reticle is {tiles_per_reticle}; 1 to "
            f"{w.core_rows // w.reticle_rows} rows, 1 to {w.core_columns // w.reticle_columns} columns."
        )
    return wafer(w.reticle_rows * rows, w.reticle_columns * columns, reticle=(rows, columns))


def wafer_rates(server: Server, *, tiles_per_reticle: tuple[int, int] = (1, 1)) -> dict[str, tuple[float, float]]:
    """(rate of one link one way [B/s], latency [s]) of the tiers of `wafer_topology`.

    A tile of a x b cores has b links up and down and a to the sides; the narrower count is used for both. Latency: one
    cycle per core crossed. Leaves out that a border between reticles may be slower: no figure is published.
    """
    w = server.wafer
    if w is None:
        raise ServerError(f"Server {server.id!r} is no wafer; scale_up is {server.scale_up!r}.")
    link = hardware.link(w.link)
    rows = w.core_rows / w.reticle_rows / tiles_per_reticle[0]
    columns = w.core_columns / w.reticle_columns / tiles_per_reticle[1]
    rate = (min(rows, columns) * link.bandwidth_byte_per_s, math.sqrt(rows * columns) * link.latency_s)
    return {"wafer": rate, "reticle": rate}
