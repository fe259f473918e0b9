import networkx as nx
import pytest

from topologies.hypercube import HypercubeShape, hypercube
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError


@pytest.mark.parametrize("d", range(8))
@pytest.mark.parametrize("links", [1, 3])
def test_every_chip_has_a_link_for_each_dimension_and_half_of_all_chips_are_cut(d, links):
    cube = hypercube(2**d, links=links, tier="ici")
    assert all(degree(cube, chip) == d * links for chip in cube.endpoints)
    assert links_by_tier(cube) == ({"ici": d * 2**d // 2 * links} if d else {})
    assert diameter(cube) == d == HypercubeShape(chips=2**d).dimensions
    assert bisection_links(cube) == (2**d // 2 * links if d else 0)
    assert nx.is_isomorphic(cube.graph, nx.hypercube_graph(d)) or d == 0  # networkx has no vertex there


@pytest.mark.parametrize("d", range(1, 5))
def test_the_bisection_is_the_exact_cut(d):
    assert bisection_links(hypercube(2**d)) == exact_bisection_links(hypercube(2**d))


@pytest.mark.parametrize(("chips", "nearest"), [(3, 2), (12, 8), (13, 16), (1000, 1024)])
def test_other_numbers_than_powers_of_two_are_refused(chips, nearest):
    with pytest.raises(TopologyError, match=f"hypercube: chips is {chips}; a power of two. Nearest: {nearest}"):
        hypercube(chips)


def test_counts_are_checked():
    with pytest.raises(TopologyError, match="chips is 0; a whole number, at least 1"):
        hypercube(0)
    with pytest.raises(TopologyError, match="links is 0"):
        hypercube(8, links=0)
