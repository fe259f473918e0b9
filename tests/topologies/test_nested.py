import pytest

from topologies import (
    TopologyError,
    bisection_links,
    degree,
    diameter,
    fat_tree,
    fully_connected,
    hops,
    links_by_tier,
    nested,
    ring,
    torus,
)

SERVER = fully_connected(8, links_per_endpoint=6)


def test_counts_add_up_over_servers_and_planes():
    network = fat_tree(endpoints=8, radix=4)
    cluster = nested(SERVER, network, nics_per_server=4)
    assert len(cluster.endpoints) == 64
    assert cluster.endpoints[:2] == ((0, 0), (0, 1))
    assert len(cluster.vertices("nic")) == 8 * 4
    assert len(cluster.vertices("switch")) == 8 + len(network.vertices("switch"))
    planes = {tier: 4 * links for tier, links in links_by_tier(network).items()}
    assert links_by_tier(cluster) == {"host": 64, "scale_up": 8 * links_by_tier(SERVER)["scale_up"], **planes}


def test_a_chip_keeps_its_links_and_gains_one_to_its_nic():
    cluster = nested(SERVER, fully_connected(2, tier="scale_out"), nics_per_server=8)
    assert {degree(cluster, chip) for chip in cluster.endpoints} == {6 + 1}
    assert {degree(cluster, nic) for nic in cluster.vertices("nic")} == {1 + 1}


@pytest.mark.parametrize(
    ("nics", "chips_of_each"), [(1, [8]), (2, [4, 4]), (3, [3, 3, 2]), (4, [2] * 4), (8, [1] * 8), (16, [1] * 16)]
)
def test_chips_are_shared_out_over_nics_in_order(nics, chips_of_each):
    cluster = nested(SERVER, fully_connected(2, tier="scale_out"), nics_per_server=nics)
    assert [
        sum(link["tier"] == "host" for link in cluster.graph[1, ("nic", i)].values()) for i in range(nics)
    ] == chips_of_each


def test_hops_within_a_server_under_a_leaf_and_across_the_spine():
    cluster = nested(SERVER, fat_tree(endpoints=8, radix=4), nics_per_server=8)
    assert hops(cluster, (0, 0), (0, 7)) == 2  # over the server's switch
    assert hops(cluster, (0, 0), (1, 0)) == 4  # NIC, leaf, NIC
    assert hops(cluster, (0, 0), (7, 7)) == 6  # NIC, leaf, spine, leaf, NIC
    assert diameter(cluster) == 6


def test_no_server_is_split_when_only_the_network_is_cut():
    cluster = nested(SERVER, fully_connected(4, tier="scale_out"), nics_per_server=8)
    assert bisection_links(cluster, tier="scale_out") == 2 * 8


@pytest.mark.parametrize("nics", [1, 2, 8])
def test_the_network_of_a_cluster_is_cut_like_the_network_alone_once_per_nic(nics):
    network = torus((4, 2), tier="scale_out")
    cluster = nested(SERVER, network, nics_per_server=nics)
    assert bisection_links(cluster, tier="scale_out") == nics * bisection_links(network)


def test_nics_of_servers_joined_directly_meet_their_like():
    cluster = nested(SERVER, ring(3, tier="scale_out"), nics_per_server=2)
    assert cluster.graph.has_edge((0, ("nic", 1)), (1, ("nic", 1)))
    assert not cluster.graph.has_edge((0, ("nic", 0)), (1, ("nic", 1)))


def test_it_nests_again():
    rack = nested(fully_connected(2), fully_connected(2, tier="scale_out"), nics_per_server=1)
    pod = nested(rack, fully_connected(3, tier="spine"), nics_per_server=1, tier_nic="uplink")
    assert len(pod.endpoints) == 12
    assert pod.endpoints[0] == (0, (0, 0))
    assert pod.tiers == ("host", "scale_out", "scale_up", "spine", "uplink")


def test_a_server_needs_a_nic():
    with pytest.raises(TopologyError, match="nested: nics_per_server is 0; a whole number, at least 1"):
        nested(SERVER, ring(2), nics_per_server=0)
