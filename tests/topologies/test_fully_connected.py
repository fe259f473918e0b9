import pytest

from topologies import (
    TopologyError,
    bisection_links,
    degree,
    diameter,
    exact_bisection_links,
    fully_connected,
    links_by_tier,
)


@pytest.mark.parametrize("n", [1, 2, 3, 8, 16])
@pytest.mark.parametrize("links", [1, 6, 18])
def test_a_star_has_k_links_per_chip_and_half_of_all_in_its_bisection(n, links):
    star = fully_connected(n, links_per_endpoint=links)
    assert all(degree(star, chip) == links for chip in star.endpoints)
    assert degree(star, "switch") == n * links
    assert links_by_tier(star) == {"scale_up": n * links}
    assert diameter(star) == (2 if n > 1 else 0)
    assert bisection_links(star) == n // 2 * links == exact_bisection_links(star)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 8])
def test_a_clique_has_a_link_per_pair_and_cuts_half_times_half(n):
    clique = fully_connected(n, switched=False, tier="xgmi")
    assert all(degree(clique, chip) == n - 1 for chip in clique.endpoints)
    assert clique.graph.number_of_edges() == n * (n - 1) // 2
    assert diameter(clique) == (1 if n > 1 else 0)
    assert bisection_links(clique) == (n // 2) * (n - n // 2) == exact_bisection_links(clique)
    assert clique.tiers == (("xgmi",) if n > 1 else ())


def test_a_clique_shares_its_links_out_evenly():
    perlmutter = fully_connected(4, switched=False, links_per_endpoint=12)
    assert {link["count"] for _, _, link in perlmutter.graph.edges(data=True)} == {4}
    assert bisection_links(perlmutter) == 16


def test_a_clique_refuses_links_that_do_not_share_out():
    with pytest.raises(
        TopologyError, match=r"links_per_endpoint is 8; without a switch a multiple of the 3 .* Nearest: 9"
    ):
        fully_connected(4, switched=False, links_per_endpoint=8)


@pytest.mark.parametrize("n", [0, -1, 2.0, True, None])
def test_it_needs_a_whole_number_of_end_points(n):
    with pytest.raises(TopologyError, match=r"endpoints is .*; a whole number, at least 1"):
        fully_connected(n)
