"""The wires of clusters: every shipped system builds, is connected, has a rate for each tier, and is what was built."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import networkx as nx
import pytest

import hwmodels.catalog as hardware
import topologies
from hwmodels.server import Server
from simulator.cluster import Cluster, ClusterError, build_cluster, system, system_ids
from simulator.cluster_topology import cluster_topology, joined, server_topology, tier_rates
from simulator.flows.wires import Wires
from simulator.network_builders import first_endpoints, most_even_slice
from simulator.networks import SHAPES, Network
from topologies import Topology, TopologyError, links_by_tier, nested

SYSTEMS = system_ids()
#: Servers that share no wire with another: their systems are built as one server.
SIZES = (1, 2, 4, 16)


@cache
def whole_of(name: str) -> Topology:
    cluster = system(name).cluster
    return cluster_topology(cluster, servers=cluster.max_servers)


def sizes(cluster: Cluster) -> list[int]:
    """As many of SIZES as the system has; pods of IPUs come whole."""
    return [n for n in SIZES if n <= cluster.max_servers]


def degree(topology: Topology, vertex: object) -> int:
    return sum(count for _, _, count in topology.graph.edges(vertex, data="count"))


# --- every system ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_builds_with_all_its_chips_connected(name: str) -> None:
    cluster = system(name).cluster
    for servers in sizes(cluster):
        found = cluster_topology(cluster, servers=servers)
        assert len(found.endpoints) == servers * cluster.chips_per_server
        assert nx.is_connected(found.graph)
        assert {found.graph.nodes[chip]["kind"] for chip in found.endpoints} == {"chip"}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_tier_of_every_system_has_a_rate_and_wires_take_them(name: str) -> None:
    cluster = system(name).cluster
    servers = min(4, cluster.max_servers)
    found, rates = cluster_topology(cluster, servers=servers), tier_rates(cluster)
    assert set(found.tiers) <= set(rates)
    for rate, latency_s in rates.values():
        assert 1e9 <= rate <= 5e11
        assert 0.0 <= latency_s <= 5e-5
    wires = Wires.of(found, rates)
    assert len(wires.rank) == len(found.endpoints)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_server_sends_into_its_network_what_a_step_is_priced_with(name: str) -> None:
    cluster = system(name).cluster
    server = hardware.server(cluster.server)
    if not server.nics or cluster.network in ("torus", "ipu_pod") or cluster.max_servers < 2:
        return
    found, rates = cluster_topology(cluster, servers=2), tier_rates(cluster)
    own = {v for v in found.graph if isinstance(v, tuple) and v[0] == 0} if cluster.network != "swarmx" else {0}
    leaving = sum(
        link["count"] * rates[link["tier"]][0]
        for a, b, link in found.graph.edges(data=True)
        if (a in own) != (b in own)
    )
    assert leaving == pytest.approx(cluster.out_byte_per_s)


@pytest.mark.parametrize("name", SYSTEMS)
def test_the_chips_links_of_a_server_are_those_of_its_file(name: str) -> None:
    server = hardware.server(system(name).cluster.server)
    chips = server_topology(server)
    for chip in range(server.chips):
        ends = [link for _, _, link in chips.graph.edges(chip, data=True) if link["tier"] == "scale_up"]
        links = sum(link["count"] for link in ends)
        if server.scale_up == "torus":
            assert links <= server.scale_up_links_per_chip
        elif server.mesh_links:
            assert links == sum(count for a, b, count in server.mesh_links if chip in (a, b))
        else:
            assert links == server.scale_up_links_per_chip


@pytest.mark.parametrize(
    "name",
    [n for n in SYSTEMS if system(n).cluster.max_chips <= 2400]
    + ["tpu-v5p-pod", "summit"],  # the largest: tests/nightly
)
def test_the_whole_of_a_system_builds(name: str) -> None:
    assert len(whole_of(name).endpoints) == system(name).cluster.max_chips


# --- servers on networks ------------------------------------------------------------------------------------------


def alike(a: Topology, b: Topology) -> bool:
    """The same links between the same numbers, whatever the tiers and switches are called."""
    same = nx.algorithms.isomorphism.categorical_edge_match("count", 1)
    kinds = nx.algorithms.isomorphism.categorical_node_match("kind", "")
    return bool(nx.is_isomorphic(a.graph, b.graph, edge_match=same, node_match=kinds))


def test_joining_by_planes_is_what_nested_does() -> None:
    server = replace(hardware.server("dgx-a100"), switches=0)
    outer = topologies.fat_tree(endpoints=5, radix=4, levels=3)
    ours = joined(server_topology(server, cards=True), outer, servers=5, cards=8, per_card=False)
    theirs = nested(server_topology(server), outer, nics_per_server=8, tier_nic="nic")
    assert links_by_tier(ours) == links_by_tier(theirs)
    assert alike(ours, theirs)


def test_joining_card_by_card_keeps_the_network_as_it_is() -> None:
    server = hardware.server("perlmutter-node")
    outer = topologies.fat_tree(endpoints=8, radix=8)
    ours = joined(server_topology(server, cards=True), outer, servers=2, cards=4, per_card=True)
    assert links_by_tier(ours)["scale_out"] == 8
    assert len(ours.vertices("switch")) == len(outer.vertices("switch"))


def test_summit_reaches_across_the_machine_in_the_hops_of_three_levels() -> None:
    whole = whole_of("summit")
    # chip - processor - card - leaf - aggregation - core - aggregation - leaf - card - processor - chip
    assert nx.shortest_path_length(whole.graph, whole.endpoints[0], whole.endpoints[-1]) == 10


def test_a_group_of_frontier_is_128_servers_and_three_switches_across() -> None:
    cluster = system("frontier").cluster
    group, two = (cluster_topology(cluster, servers=n) for n in (128, 129))
    assert len(group.vertices("switch")) == 32
    assert len(two.vertices("switch")) == 64
    assert {"local", "global"} <= set(two.tiers)
    # As many links from one group to the next as the whole machine has between any two.
    crossing = sum(c for _, _, tier, c in edges(two) if tier == "global")
    whole = whole_of("frontier")
    assert crossing == sum(c for _, _, tier, c in edges(whole) if tier == "global") // math.comb(74, 2)


def edges(topology: Topology) -> list[tuple[object, object, str, int]]:
    return [(a, b, link["tier"], link["count"]) for a, b, link in topology.graph.edges(data=True)]


def test_a_part_of_titan_has_the_distances_of_the_whole() -> None:
    cluster = system("titan").cluster
    whole, part = whole_of("titan").graph, cluster_topology(cluster, servers=2000).graph
    for a, b in ((0, 1), (0, 2), (0, 47), (0, 767), (0, 768), (5, 1999), (700, 1400)):
        assert nx.shortest_path_length(whole, (a, 0), (b, 0)) == nx.shortest_path_length(part, (a, 0), (b, 0))


def test_the_wires_of_titan_run_at_what_a_gemini_has() -> None:
    rates = tier_rates(system("titan").cluster)
    assert rates["torus"] == (4.7e9, 105e-9)
    assert rates["scale_out"][0] == 8.3e9


def test_meta_on_roce_tapers_above_its_pods_only() -> None:
    whole = whole_of("meta-24k-roce")
    up = dict.fromkeys((1, 2), 0)
    for a, b, tier, count in edges(whole):
        if tier == "spine":
            up[min(v[1][1] for v in (a, b))] += count  # type: ignore[index]
    assert up[1] == 3072 * 8
    assert up[2] == pytest.approx(3072 * 8 / 7, rel=0.02)


@pytest.mark.parametrize(("generation", "name"), [("v2", "tpu-v2-pod"), ("v3", "tpu-v3-pod"), ("v5e", "tpu-v5e-pod")])
def test_a_whole_pod_is_a_torus_and_a_quarter_of_it_is_not(generation: str, name: str) -> None:
    cluster = system(name).cluster
    whole = cluster_topology(cluster, servers=cluster.max_servers)
    part = cluster_topology(cluster, servers=cluster.max_servers // 4)
    assert {degree(whole, chip) for chip in whole.endpoints} == {4}
    assert min(degree(part, chip) for chip in part.endpoints) == 2


@pytest.mark.parametrize("name", [n for n in SYSTEMS if system(n).cluster.network == "torus"])
def test_chips_of_one_host_follow_one_another(name: str) -> None:
    cluster = system(name).cluster
    found = cluster_topology(cluster, servers=min(4, cluster.max_servers))
    host = hardware.server(cluster.server).torus_dims
    each = math.prod(host)
    for first in range(0, len(found.endpoints), each):
        corner = found.endpoints[first]
        for chip in found.endpoints[first : first + each]:
            offset = [x - c for x, c in zip(chip, corner, strict=True)]  # type: ignore[call-overload]
            assert all(0 <= o < side for o, side in zip(offset, host, strict=True))


def test_bow_pods_are_joined_by_gateways() -> None:
    whole = cluster_topology(system("bow-pod256").cluster, servers=64)
    assert links_by_tier(whole)["scale_out"] == 64
    assert tier_rates(system("bow-pod256").cluster)["scale_out"][0] == 12.5e9


def test_swarmx_has_wafers_only_for_ranks() -> None:
    whole = cluster_topology(system("condor-galaxy-1").cluster, servers=64)
    assert whole.endpoints == tuple(range(64))
    assert {degree(whole, wafer) for wafer in range(64)} == {12}


def test_slices_are_as_even_as_they_can_be() -> None:
    assert most_even_slice((16, 20, 28), 6144) == (16, 16, 24)
    assert most_even_slice((32, 32), 8) == (2, 4)
    with pytest.raises(TopologyError, match=r"torus 4x4: no slice has 7 chips\. Nearest: 6\."):
        most_even_slice((4, 4), 7)


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_joins_four_servers(shape: str, tmp_path: Path) -> None:
    square = tmp_path / "square.toml"
    square.write_text("\n".join(f'[[link]]\na = "s{i}"\nb = "s{(i + 1) % 4}"\ntier = "scale_out"' for i in range(4)))
    parameters: dict[str, Any] = {
        "clos": {"children": (2, 2, 4)},
        "mesh": {"dims": (4, 4)},
        "gemini": {"dims": (4, 4, 4)},
        "dragonfly": {"groups": 5, "routers_per_group": 4, "endpoints_per_router": 2, "global_links": 1},
        "aries": {"groups": 2},
        "slingshot": {"groups": 2},
        "dragonfly_plus": {"groups": 4, "leaves": 2, "spines": 2, "endpoints_per_leaf": 4, "links_per_pair": 2},
        "small_world": {"neighbours": 2},
        "rail": {"servers_per_unit": 2},
        "cloud": {"servers_per_rack": 2, "racks_per_pod": 1, "oversubscription": 2.0, "oversubscription_pod": 2.0},
        "ipu_pod": {"machines": 4},
        "graph": {"file": str(square)},
    }.get(shape, {})
    box = {"torus": "tpu-v4-4", "ipu_pod": "bow-2000", "swarmx": "cs-3", "single_server": "dgx-a100"}
    cluster = made(box.get(shape, "polaris-node"), 4, shape, **parameters)
    servers = 1 if shape == "single_server" else 4
    found = cluster_topology(cluster, servers=servers)
    assert len(found.endpoints) == servers * cluster.chips_per_server
    assert nx.is_connected(found.graph)
    assert set(found.tiers) <= set(tier_rates(cluster))


# --- what cannot be -------------------------------------------------------------------------------------------------


def made(server: Server | str, servers: int, shape: str, **parameters: int | float | tuple[int, ...] | str) -> Cluster:
    box = hardware.server(server) if isinstance(server, str) else server
    return build_cluster(
        id="made", name="Made", server=box, servers=servers, network=Network(shape=shape, parameters=parameters)
    )


@pytest.mark.parametrize("servers", [0, -1, 561, True, 2.0, "2"])
def test_more_servers_than_the_system_has_are_refused(servers: object) -> None:
    with pytest.raises(ClusterError, match=r"^servers is .*, but selene has 560; legal: 1 to 560\.$"):
        cluster_topology(system("selene").cluster, servers=servers)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cluster", "servers", "message"),
    [
        (made("dgx-a100", 99, "fat_tree", radix=4, levels=2), 99, r"^made: fat_tree: 99 endpoints, but 2 levels of"),
        (made("dgx-a100", 99, "fat_tree", radix=3), 9, r"^made: fat_tree: .*radix"),
        (made("dgx-a100", 99, "clos", children=(2, 4)), 9, r"^made: clos: 9 servers, but children \[2, 4\] hold 8\.$"),
        (made("dgx-a100", 9, "clos", children=(4, 4), parents=(1,)), 9, r"^made: clos: parents has 1 values; one per"),
        (made("dgx-a100", 99, "mesh", dims=(4, 4)), 17, r"^made: torus 4x4: no slice has 17 chips\. Nearest: 16\.$"),
        (made("dgx-a100", 9, "hypercube"), 6, r"^made: hypercube: chips is 6; a power of two\. Nearest: [48]\.$"),
        (made("xc50-node", 999, "aries", groups=2), 800, r"^made: aries: 800 end points, .* Nearest: groups = 3\.$"),
        (made("perlmutter-node", 999, "slingshot", groups=1), 129, r"^made: slingshot: 516 .* Nearest: groups = 2\.$"),
        (made("xk7-node", 99, "gemini", dims=(2, 2, 2)), 17, r"^made: gemini: 17 servers, but .* have 16 places\.$"),
        (made("bow-2000", 64, "ipu_pod", machines=16), 17, r"^made: ipu_pod: 17 machines; .* Nearest: 16\.$"),
        (made("tpu-v4-4", 64, "torus", dims=(4, 4, 4), generation="v4"), 3, r"^made: torus 4x4x4: no slice has 12"),
        (made("tpu-v4-4", 64, "torus", dims=(4, 4)), 1, r"^made: torus: dims has 2 axes, but .* tpu-v4-4 have 3\.$"),
        (made("summit-node", 64, "rail"), 2, r"^made: rail: the cards of summit-node sit on processors"),
        (made("dgx-a100", 640, "rail", servers_per_unit=64, radix=64), 65, r"^made: rail_optimised: a leaf of 64 ser"),
        (made("deepbench-10-gpu", 2, "single_server"), 2, r"^made: servers is 2, but no network joins its serv"),
        (made("deepbench-10-gpu", 2, "fat_tree"), 2, r"^made: deepbench-10-gpu has no network card, so noth"),
        (made("dgx-a100", 9, "torus"), 2, r"^made: torus: the chips of dgx-a100 are no part of a torus; scale_up is"),
        (made("dgx-a100", 9, "ipu_pod", machines=4), 2, r"^made: ipu_pod: a machine has 4 chips; dgx-a100 has 8\.$"),
        (made("dgx-a100", 9, "swarmx"), 2, r"^made: swarmx: joins systems of one chip with ports; dgx-a100 has 8"),
        (made("dgx-a100", 5, "small_world", neighbours=6), 5, r"^made: small_world: neighbours is 6; an even number"),
    ],
    ids=lambda value: value.wires.shape if isinstance(value, Cluster) else None,
)  # fmt: skip
def test_networks_that_cannot_be_are_refused_in_one_line(cluster: Cluster, servers: int, message: str) -> None:
    with pytest.raises(ClusterError, match=message) as refusal:
        cluster_topology(cluster, servers=servers)
    assert "\n" not in str(refusal.value)


def test_a_server_whose_chips_reach_nothing_is_refused() -> None:
    apart = replace(hardware.server("gh200-node"), chips=2)
    alone = made(apart, 1, "single_server")
    # The catalogue's server has one chip: a cluster of more has wires that nobody described.
    with pytest.raises(ClusterError, match=r"^made: 2 chips per server, but the wires of gh200-node are known"):
        cluster_topology(alone, servers=1)


def test_a_network_has_no_more_end_points_than_it_has() -> None:
    with pytest.raises(TopologyError, match=r"ring of 4: 5 end points, but it has 4\."):
        first_endpoints(topologies.ring(4), 5)


def test_a_tier_without_a_link_is_refused_by_the_wires() -> None:
    cluster = system("selene").cluster
    rates = {tier: rate for tier, rate in tier_rates(cluster).items() if tier != "scale_out"}
    with pytest.raises(ValueError, match="scale_out"):
        Wires.of(cluster_topology(cluster, servers=2), rates)
