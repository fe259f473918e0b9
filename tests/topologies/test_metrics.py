import pytest

from topologies import (
    Topology,
    TopologyError,
    bisection_links,
    degree,
    diameter,
    exact_bisection_links,
    fat_tree,
    fully_connected,
    hops,
    hybrid_cube_mesh,
    links_by_tier,
    pcie_tree,
    ring,
    torus,
)


@pytest.mark.parametrize("topology", [fat_tree(endpoints=11, radix=4, levels=3), torus((3, 4)), fully_connected(5)])
def test_the_diameter_is_the_largest_number_of_hops(topology):
    assert diameter(topology) == max(hops(topology, a, b) for a in topology.endpoints for b in topology.endpoints)


def test_end_points_without_a_route_have_no_diameter():
    with pytest.raises(TopologyError, match="no route from"):
        diameter(hybrid_cube_mesh([(0, 1, 1), (2, 3, 1)]))


def test_a_split_along_nothing_cuts_nothing():
    assert bisection_links(hybrid_cube_mesh([(0, 1, 5), (2, 3, 5)])) == 0


def test_a_single_end_point_has_no_bisection():
    assert exact_bisection_links(fully_connected(1)) == 0


def test_the_cut_counts_parallel_links():
    assert bisection_links(hybrid_cube_mesh([(0, 1, 3), (1, 2, 2), (2, 3, 3)])) == 2


def test_a_cut_of_one_tier_keeps_together_what_others_join():
    tree = pcie_tree(8, chips_per_switch=2, switches_per_root=2, tier="pcie")
    assert bisection_links(tree, tier="host") == 1
    # The hosts are one vertex then; two of the four switches leave it.
    assert bisection_links(tree, tier="pcie") == 2


def test_halves_are_as_equal_as_what_stays_together_allows():
    # Three switches of 2 chips: 4 and 2 is the best split, and it cuts one switch's uplink.
    three = fat_tree(endpoints=6, radix=4)
    assert bisection_links(three, tier="spine") == 2


def test_a_tier_that_splits_nothing_is_refused():
    # Nothing but a second switch lies beyond the trunk: cutting it leaves the chips together.
    star = fully_connected(4).graph.copy()
    star.add_node("far", kind="switch")
    star.add_edge("switch", "far", tier="trunk")
    with pytest.raises(TopologyError, match="all end points stay together if only links of tier 'trunk' are cut"):
        bisection_links(Topology(name="star", graph=star, endpoints=(0, 1, 2, 3)), tier="trunk")


def test_an_unknown_tier_is_refused():
    with pytest.raises(TopologyError, match=r"no links of tier 'spin'; it has scale_out, spine\. Did you mean 'spine'"):
        bisection_links(fat_tree(endpoints=8, radix=4), tier="spin")


def test_a_large_topology_without_a_closed_form_is_refused():
    line = hybrid_cube_mesh([(i, i + 1, 1) for i in range(24)])
    with pytest.raises(TopologyError, match=r"no closed form .* 25 vertices are too many .*\(at most 20\)"):
        bisection_links(line)


def test_a_closed_form_serves_any_size_when_its_only_tier_is_named():
    assert bisection_links(torus((32, 32), tier="ici"), tier="ici") == 64


def test_degree_of_a_stranger_is_refused():
    with pytest.raises(TopologyError, match="no vertex 'x'"):
        degree(ring(3), "x")


def test_links_are_counted_by_tier_in_alphabetical_order():
    assert list(links_by_tier(pcie_tree(4, chips_per_switch=1, switches_per_root=2)).items()) == [
        ("host", 1),
        ("scale_up", 8),
    ]
