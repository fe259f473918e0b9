import pytest

from topologies import TopologyError, bisection_links, degree, diameter, hybrid_cube_mesh, links_by_tier
from topologies.cube_mesh import DGX1_P100_LINKS, DGX1_V100_LINKS


def test_every_chip_of_a_dgx1_v100_has_six_links():
    mesh = hybrid_cube_mesh(DGX1_V100_LINKS, links_per_chip=6)
    assert mesh.endpoints == tuple(range(8))
    assert [degree(mesh, chip) for chip in mesh.endpoints] == [6] * 8
    assert links_by_tier(mesh) == {"scale_up": 24}
    assert diameter(mesh) == 2


def test_six_links_join_the_halves_of_a_dgx1_v100():
    assert bisection_links(hybrid_cube_mesh(DGX1_V100_LINKS)) == 2 + 2 + 1 + 1  # 0-4, 1-5, 2-6, 3-7


def test_four_links_join_the_halves_of_a_dgx1_p100():
    p100 = hybrid_cube_mesh(DGX1_P100_LINKS, links_per_chip=4)
    assert {degree(p100, chip) for chip in p100.endpoints} == {4}
    assert bisection_links(p100) == 4


def test_the_order_of_the_links_does_not_matter():
    one, other = (
        hybrid_cube_mesh(DGX1_V100_LINKS),
        hybrid_cube_mesh([(b, a, n) for a, b, n in reversed(DGX1_V100_LINKS)]),
    )
    assert one.endpoints == other.endpoints
    assert all(one.graph.edges[edge] == other.graph.edges[edge] for edge in one.graph.edges)


@pytest.mark.parametrize(
    ("links", "message"),
    [
        ([], "links is empty"),
        ([(0, 1)], r"links\[0\] is \(0, 1\); \(chip a, chip b, parallel links\)"),
        ([(0, 1, 0)], "parallel links is 0; a whole number, at least 1"),
        ([(-1, 1, 1)], "chip a is -1; a whole number, at least 0"),
        ([(0, 1, 1), (1, 0, 1)], r"links\[1\] = \(1, 0, 1\) repeats a pair"),
        ([(0, 2, 1)], r"chip 1 of 0\.\.2 has no link"),
        ([(1, 1, 1), (0, 1, 1)], "joins a vertex to itself"),
        ([(0, 1, 4), (1, 2, 3)], "chip 1 has 7 links; at most 6"),
    ],
)
def test_an_adjacency_that_cannot_be_is_refused(links, message):
    with pytest.raises(TopologyError, match=message):
        hybrid_cube_mesh(links, links_per_chip=6)
