from collections import Counter
from itertools import combinations

import pytest

from topologies.cube_mesh import DGX1_P100_LINKS, DGX1_V100_LINKS, hybrid_cube_mesh
from topologies.fat_tree import fat_tree
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, hops, links_by_tier
from topologies.nested import nested
from topologies.node import (
    dgx1_node,
    frontier_node,
    mi300x_node,
    perlmutter_node,
    sierra_node,
    summit_node,
)
from topologies.pcie_tree import pcie_tree
from topologies.rings import ring_capacity
from topologies.topology import TopologyError

NODES = [dgx1_node, summit_node, sierra_node, perlmutter_node, frontier_node, mi300x_node]


# chips, processors, NICs, chip-to-chip links per chip, links by tier
@pytest.mark.parametrize(
    ("build", "chips", "hosts", "nics", "links_per_chip", "tiers"),
    [
        (dgx1_node, 8, 2, 4, 6, {"host": 1, "pcie": 8 + 4 + 4, "scale_up": 24}),
        (lambda **how: dgx1_node("p100", **how), 8, 2, 4, 4, {"host": 1, "pcie": 16, "scale_up": 16}),
        (summit_node, 6, 2, 2, 4, {"host": 1, "pcie": 2, "scale_up": 6 * 2 + 6 * 2}),
        (sierra_node, 4, 2, 2, 3, {"host": 1, "pcie": 2, "scale_up": 2 * 3 + 4 * 3}),
        (perlmutter_node, 4, 1, 4, 12, {"pcie": 8, "scale_up": 6 * 4}),
        (frontier_node, 8, 1, 4, 7, {"chip_host": 8, "pcie": 4, "scale_up": 28}),
        (mi300x_node, 8, 2, 8, 7, {"host": 1, "pcie": 24, "scale_up": 28}),
    ],
)
def test_a_node_has_what_its_users_guide_says(build, chips, hosts, nics, links_per_chip, tiers):
    node, bare = build(), build(chips_only=True)
    assert node.endpoints == bare.endpoints == tuple(range(chips))
    assert (len(node.vertices("host")), len(node.vertices("nic"))) == (hosts, nics)
    assert links_by_tier(node) == tiers
    assert {degree(bare, chip) for chip in bare.endpoints} == {links_per_chip}
    assert set(bare.graph) == set(bare.endpoints)
    assert diameter(node) <= 5


@pytest.mark.parametrize("build", NODES)
def test_every_nic_and_every_processor_is_reached_from_every_chip(build):
    node = build()
    for vertex in (*node.vertices("nic"), *node.vertices("host")):
        assert all(hops(node, chip, vertex) <= 6 for chip in node.endpoints)


@pytest.mark.parametrize("build", NODES)
def test_the_chips_of_a_node_go_into_a_cluster(build):
    cluster = nested(build(chips_only=True), fat_tree(endpoints=2, radix=4), nics_per_server=4)
    assert len(cluster.endpoints) == 2 * len(build().endpoints)


@pytest.mark.parametrize(("generation", "links"), [("v100", DGX1_V100_LINKS), ("p100", DGX1_P100_LINKS)])
def test_the_mesh_of_a_dgx1_is_the_cube_mesh(generation, links):
    mesh, bare = hybrid_cube_mesh(links), dgx1_node(generation, chips_only=True)
    assert {frozenset(e): mesh.graph.edges[e] for e in mesh.graph.edges} == {
        frozenset(e): bare.graph.edges[e] for e in bare.graph.edges
    }
    assert bisection_links(bare) == (6 if generation == "v100" else 4)
    assert ring_capacity(dgx1_node(generation), range(8)) == ring_capacity(mesh, range(8))


def test_the_rest_of_a_dgx1_is_its_pcie_tree():
    tree = pcie_tree(8, chips_per_switch=2, switches_per_root=2, nics_per_switch=1, tier="pcie")
    node = dgx1_node()
    rest = {frozenset(e): link for *e, link in node.graph.edges(data=True) if link["tier"] != "scale_up"}
    assert rest == {frozenset(e): link for *e, link in tree.graph.edges(data=True)}


def test_a_dgx1_with_one_nic_has_it_on_the_first_switch():
    assert set(dgx1_node(nics=1).graph["nic", 0]) == {("switch", 0)}
    assert set(dgx1_node(nics=2).graph["nic", 1]) == {("switch", 2)}
    assert dgx1_node(nics=0).vertices("nic") == ()


def test_summit_is_two_triangles_joined_by_the_x_bus_alone():
    node = summit_node()
    for triangle, host in (((0, 1, 2), ("host", 0)), ((3, 4, 5), ("host", 1))):
        for a, b in combinations((*triangle, host), 2):
            assert node.graph.edges[a, b]["count"] == 2
    assert bisection_links(node) == 1
    assert node.graph.edges[("host", 0), ("host", 1)]["tier"] == "host"
    assert hops(node, 0, 3) == 3
    assert ring_capacity(node, (0, 1, 2)) == 4
    assert ring_capacity(node, range(6)) == 0


def test_every_pair_of_perlmutter_has_four_links():
    bare = perlmutter_node(chips_only=True)
    assert all(bare.graph.edges[pair]["count"] == 4 for pair in combinations(range(4), 2))
    assert bisection_links(bare) == 2 * 2 * 4
    assert ring_capacity(bare, range(4)) == 12


def test_frontier_has_four_links_in_a_module_and_two_between_any_two_modules():
    bare = frontier_node(chips_only=True)
    assert all(bare.graph.edges[2 * i, 2 * i + 1]["count"] == 4 for i in range(4))
    between = Counter()
    for a, b, link in bare.graph.edges(data=True):
        between[a // 2, b // 2] += link["count"] if a // 2 != b // 2 else 0
    assert all(between[min(pair), max(pair)] + between[max(pair), min(pair)] == 2 for pair in combinations(range(4), 2))
    # Three links of every GCD leave its module: one neighbour over one, one over two.
    for gcd in range(8):
        assert sorted(link["count"] for link in bare.graph[gcd].values()) == [1, 2, 4]
    assert exact_bisection_links(bare) == 2 * 2 * 2  # two modules against two
    assert diameter(bare) == 2


def test_chips_of_an_mi300x_node_are_all_neighbours():
    bare = mi300x_node(chips_only=True)
    assert diameter(bare) == 1
    assert bisection_links(bare) == 16
    assert ring_capacity(bare, range(8)) == 7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": "v10"}, r"generation is 'v10'; v100 or p100\. Did you mean 'v100'\?"),
        ({"nics": -1}, "nics is -1; a whole number, at least 0"),
    ],
)
def test_a_dgx1_that_was_never_built_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        dgx1_node(**change)
