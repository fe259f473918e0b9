import pytest

from topologies import TopologyError, bisection_links, degree, diameter, exact_bisection_links, links_by_tier, ring


@pytest.mark.parametrize("n", [2, 3, 4, 9, 16])
def test_every_chip_has_two_links_and_every_split_cuts_two(n):
    topology = ring(n, tier="ici")
    assert all(degree(topology, chip) == 2 for chip in topology.endpoints)
    assert links_by_tier(topology) == {"ici": n}
    assert diameter(topology) == n // 2
    assert bisection_links(topology) == 2 == exact_bisection_links(topology)


def test_a_ring_of_two_is_one_edge_of_two_links():
    assert list(ring(2).graph.edges(data="count")) == [(0, 1, 2)]


def test_a_ring_of_one_has_no_links():
    assert links_by_tier(ring(1)) == {}
    assert bisection_links(ring(1)) == 0


def test_a_ring_of_none_is_refused():
    with pytest.raises(TopologyError, match="ring: n is 0; a whole number, at least 1"):
        ring(0)
