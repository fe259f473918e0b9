from collections import Counter
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import (
    TopologyError,
    degree,
    edge_disjoint_rings,
    fat_tree,
    fully_connected,
    hybrid_cube_mesh,
    nested,
    ring,
    ring_capacity,
    torus,
)

# NVIDIA/go-gpuallocator @ 876e7b7, gpuallocator/common_test.go
DGX1_V100 = hybrid_cube_mesh(
    (
        *((0, 1, 1), (0, 2, 1), (0, 3, 2), (0, 4, 2), (1, 2, 2), (1, 3, 1), (1, 5, 2), (2, 3, 2)),
        *((2, 6, 1), (3, 7, 1), (4, 5, 1), (4, 6, 1), (4, 7, 2), (5, 6, 2), (5, 7, 1), (6, 7, 2)),
    ),
    links_per_chip=6,
)


def assert_rings_are_disjoint(topology, rings, members):
    used = Counter()
    for one in rings:
        assert sorted(one) == sorted(members)
        used.update(pairwise((*one, one[0])))
    for (a, b), times in used.items():
        assert times <= topology.graph.edges[a, b]["count"]


@pytest.mark.parametrize(("chips", "rings"), [(2, 1), (3, 2), (4, 4), (7, 4), (8, 6)])
def test_the_first_chips_of_a_dgx1_v100_have_the_rings_that_measured_all_reduce_shows(chips, rings):
    # Large all-reduces on chips 0..n-1 (VIA-Research/vTrain @ f8dda84, trace/v100) run at 22.5, 45.1, 85.4, 87.1 and
    # 134.5 GB/s of bus bandwidth: 22.5 GB/s a ring within 6 %.
    assert ring_capacity(DGX1_V100, range(chips)) == rings


def test_five_chips_of_a_dgx1_v100_have_no_ring_of_their_own():
    # Chip 4 is wired to chip 0 alone among them. Measured 37.2 GB/s, over other paths: not ours to count.
    assert ring_capacity(DGX1_V100, range(5)) == 0


def test_six_chips_of_a_dgx1_v100_have_one_pair_of_rings():
    assert ring_capacity(DGX1_V100, range(6)) == 2


def test_a_dgx1_p100_has_a_ring_per_link_of_a_chip():
    p100 = hybrid_cube_mesh([(a, b, 1) for a, b in DGX1_V100.graph.edges], links_per_chip=4)
    assert ring_capacity(p100, p100.endpoints) == 4


@pytest.mark.parametrize("chips", [3, 4, 6, 7, 8])
def test_rings_of_every_subset_use_each_direction_of_a_link_once(chips):
    for members in combinations(range(8), chips):
        rings = edge_disjoint_rings(DGX1_V100, members)
        assert_rings_are_disjoint(DGX1_V100, rings, members)
        assert len(rings) <= min(
            sum(c for _, b, c in DGX1_V100.graph.edges(a, data="count") if b in members) for a in members
        )


def test_two_chips_have_as_many_rings_as_links():
    assert [ring_capacity(DGX1_V100, pair) for pair in [(0, 1), (0, 3), (3, 0), (0, 5)]] == [1, 2, 2, 0]


@pytest.mark.parametrize(("n", "rings"), [(3, 2), (4, 2), (5, 4), (6, 4), (7, 6), (8, 7)])
def test_a_complete_graph_splits_into_directed_rings_except_at_four_and_six(n, rings):
    # Tillson 1980: the complete digraph of n vertices is n-1 directed Hamiltonian cycles, unless n is 4 or 6.
    clique = fully_connected(n, switched=False)
    assert ring_capacity(clique, clique.endpoints) == rings


def test_parallel_links_make_up_for_the_exception_at_four():
    assert ring_capacity(fully_connected(4, switched=False, links_per_endpoint=12), range(4)) == 12


@pytest.mark.parametrize("n", [3, 8, 40, 1500])
def test_a_ring_holds_itself_and_its_reverse(n):
    rings = edge_disjoint_rings(ring(n))
    assert rings == (tuple(range(n)), (0, *range(n - 1, 0, -1)))


def test_a_torus_of_two_dimensions_has_four_rings():
    assert ring_capacity(torus((3, 3)), torus((3, 3)).endpoints) == 4
    assert ring_capacity(torus((4, 4)), torus((4, 4)).endpoints) == 4


@pytest.mark.parametrize("links", [1, 6, 18])
def test_chips_on_a_switch_have_a_ring_per_link(links):
    star = fully_connected(8, links_per_endpoint=links)
    assert edge_disjoint_rings(star, (5, 1, 3)) == ((5, 1, 3),) * links
    cluster = nested(star, fat_tree(endpoints=2, radix=4), nics_per_server=8)
    assert ring_capacity(cluster, [(1, chip) for chip in range(8)]) == links


def test_chips_under_different_switches_have_no_ring_of_their_own():
    assert ring_capacity(fat_tree(endpoints=8, radix=4), (0, 7)) == 0


pairs = list(combinations(range(5), 2))


@settings(deadline=None, max_examples=40)
@given(counts=st.lists(st.integers(0, 3), min_size=len(pairs), max_size=len(pairs)), extra=st.sampled_from(pairs))
def test_another_link_never_takes_a_ring_away(counts, extra):
    # A line of chips underneath keeps every chip linked.
    links = {pair: count + (pair[1] == pair[0] + 1) for pair, count in zip(pairs, counts, strict=True)}
    before = hybrid_cube_mesh([(*pair, count) for pair, count in links.items() if count])
    links[extra] += 1
    after = hybrid_cube_mesh([(*pair, count) for pair, count in links.items() if count])
    rings = edge_disjoint_rings(before)
    assert_rings_are_disjoint(before, rings, before.endpoints)
    assert len(rings) <= min(degree(before, chip) for chip in before.endpoints)
    assert len(rings) <= ring_capacity(after, after.endpoints) <= len(rings) + 2


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ((), "ring over 0 chips; a ring needs at least 2"),
        ((0,), "a ring needs at least 2"),
        ((0, 1, 0), "lists one of them twice"),
        ((0, 8), "8 is not an end point"),
    ],
)
def test_members_that_cannot_form_a_ring_are_refused(members, message):
    with pytest.raises(TopologyError, match=message):
        ring_capacity(DGX1_V100, members)


def test_a_search_that_is_too_large_gives_up():
    large = torus((8, 8))
    with pytest.raises(TopologyError, match=r"64 chips: no answer after .* steps of search\. Ask for fewer members"):
        ring_capacity(large, large.endpoints)
