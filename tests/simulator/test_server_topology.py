"""The wires inside servers: as the builders of known machines have them; wafers in tiles."""

from __future__ import annotations

import networkx as nx
import pytest

import hwmodels.catalog as hardware
import topologies
from hwmodels.server import ServerError
from simulator.server_topology import server_topology, wafer_rates, wafer_topology
from topologies import Topology, links_by_tier
from topologies.node import frontier_node, mi300x_node, perlmutter_node, sierra_node, summit_node
from topologies.nvswitch import dgx2, dgx_a100, dgx_b200, nvl72

# --- servers as they are known from elsewhere ----------------------------------------------------------------------


def alike(a: Topology, b: Topology) -> bool:
    """The same links between the same numbers, whatever the tiers and switches are called."""
    same = nx.algorithms.isomorphism.categorical_edge_match("count", 1)
    kinds = nx.algorithms.isomorphism.categorical_node_match("kind", "")
    return bool(nx.is_isomorphic(a.graph, b.graph, edge_match=same, node_match=kinds))


@pytest.mark.parametrize(
    ("server", "known"),
    [
        ("dgx-2", dgx2()),
        ("dgx-a100", dgx_a100()),
        ("dgx-b200", dgx_b200()),
        ("perlmutter-node", perlmutter_node(chips_only=True)),
        ("oam-mi300x", mi300x_node(chips_only=True)),
        ("gb200-nvl72", nvl72()),
    ],
)
def test_a_server_of_the_catalogue_is_wired_as_the_builder_of_its_kind(server: str, known: Topology) -> None:
    assert alike(server_topology(hardware.server(server)), known)


@pytest.mark.parametrize(("server", "known"), [("summit-node", summit_node()), ("sierra-node", sierra_node())])
def test_power9_servers_meet_at_their_processors_cards_and_all(server: str, known: Topology) -> None:
    assert alike(server_topology(hardware.server(server), cards=True), known)


def test_any_two_modules_of_frontier_have_two_links_as_their_dies_have() -> None:
    dies = frontier_node(chips_only=True).graph
    pairs = {
        (a // 2, b // 2): sum(dies.edges[x, y]["count"] for x in (a, a + 1) for y in (b, b + 1) if dies.has_edge(x, y))
        for a in range(0, 8, 2)
        for b in range(a + 2, 8, 2)
    }
    found = {(a, b): count for a, b, count in hardware.server("frontier-node").mesh_links}
    assert found == pairs


@pytest.mark.parametrize(
    ("server", "switches", "hosts"),
    [("deepbench-8-gpu", 4, 2), ("deepbench-10-gpu", 2, 1), ("p2.16xlarge", 4, 2), ("tencent-p40-node", 4, 2)],
)
def test_pcie_trees_have_their_switches_and_roots(server: str, switches: int, hosts: int) -> None:
    tree = server_topology(hardware.server(server))
    assert len(tree.vertices("switch")) == switches
    assert len(tree.vertices("host")) == hosts
    assert links_by_tier(tree).get("socket", 0) == hosts - 1


def test_a_tree_that_the_file_does_not_describe_is_one_switch() -> None:
    assert len(server_topology(hardware.server("pcie3-cards")).vertices("switch")) == 1


@pytest.mark.parametrize(("id", "diameter"), [("tpu-v3-8", 2), ("tpu-v5e-8", 4), ("trn1.32xlarge", 4), ("tpu-v4-4", 2)])
def test_hosts_of_pods_are_meshes_and_servers_of_a_torus_wrap_around(id: str, diameter: int) -> None:
    assert topologies.diameter(server_topology(hardware.server(id))) == diameter


# --- wafers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", ["cs-1", "cs-2", "cs-3"])
def test_a_wafer_is_84_reticles_whose_border_is_a_tier(id: str) -> None:
    server = hardware.server(id)
    mesh = wafer_topology(server, tiles_per_reticle=(2, 2))
    assert len(mesh.endpoints) == 84 * 4
    assert set(mesh.tiers) == {"wafer", "reticle"} == set(wafer_rates(server))
    assert server_topology(server).endpoints == (0,)


def test_tiles_of_a_wafer_have_the_links_of_their_cores() -> None:
    server = hardware.server("cs-2")
    rate, latency_s = wafer_rates(server)["wafer"]
    assert rate == pytest.approx(996 / 12 * hardware.link("wafer-fabric-2").bandwidth_byte_per_s)
    assert 8e-8 < latency_s < 1.1e-7
    half = wafer_rates(server, tiles_per_reticle=(2, 2))["wafer"]
    assert half == pytest.approx((rate / 2, latency_s / 2))


@pytest.mark.parametrize(
    ("id", "tiles", "message"),
    [
        ("cs-2", (0, 1), r"^Server 'cs-2': tiles_per_reticle is \(0, 1\); 1 to 83 rows, 1 to 108 columns\.$"),
        ("dgx-a100", (1, 1), r"^Server 'dgx-a100' is no wafer; scale_up is 'fully_connected'\.$"),
    ],
)
def test_tiles_that_cannot_be_are_refused(id: str, tiles: tuple[int, int], message: str) -> None:
    with pytest.raises(ServerError, match=message):
        wafer_topology(hardware.server(id), tiles_per_reticle=tiles)
