from collections import Counter
from itertools import combinations, pairwise, permutations, product

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from topologies import (
    Topology,
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
from topologies.cube_mesh import DGX1_P100_LINKS, DGX1_V100_LINKS
from topologies.node import summit_node
from topologies.ring_search import Budget, Path, all_rings
from topologies.rings import Relay, RingSet, rings_with_relays

DGX1_V100 = hybrid_cube_mesh(DGX1_V100_LINKS, links_per_chip=6)
DGX1_P100 = hybrid_cube_mesh(DGX1_P100_LINKS, links_per_chip=4)
BOTH = pytest.mark.parametrize("mesh", [DGX1_V100, DGX1_P100], ids=["v100", "p100"])


def assert_rings_are_disjoint(topology, rings, members):
    used = Counter()
    for one in rings:
        assert sorted(one) == sorted(members)
        used.update(pairwise((*one, one[0])))
    for (a, b), times in used.items():
        assert times <= topology.graph.edges[a, b]["count"]


def test_five_chips_of_a_dgx1_v100_have_no_ring_of_their_own():
    # Chip 4 is wired to chip 0 alone among them.
    assert ring_capacity(DGX1_V100, range(5)) == 0


def test_six_chips_of_a_dgx1_v100_have_one_pair_of_rings():
    assert ring_capacity(DGX1_V100, range(6)) == 2


def test_a_dgx1_p100_has_a_ring_per_link_of_a_chip():
    assert ring_capacity(DGX1_P100, DGX1_P100.endpoints) == 4


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


# --- relays -----------------------------------------------------------------------------------------------------


def assert_set_is_possible(topology, found, members):
    used = Counter()
    for order, relays in zip(found.rings, found.relays, strict=True):
        assert order[0] == members[0]
        assert sorted(order) == sorted(members)
        through = {(a, b): r for a, r, b in relays}
        assert len(through) == len(relays)
        for a, b in pairwise((*order, order[0])):
            assert ((a, b) in through) != topology.graph.has_edge(a, b)  # relayed exactly where it has to be
            used.update([(a, through[a, b]), (through[a, b], b)] if (a, b) in through else [(a, b)])
    for (a, b), times in used.items():
        assert times <= topology.graph.edges[a, b]["count"]


def most_rings(topology, members, through):
    """The same number by another road: every ring by permutation, the largest set of them by linear programming."""
    links = {arc: d["count"] for a, b, d in topology.graph.edges(data=True) for arc in ((a, b), (b, a))}
    candidates = {}
    for order in permutations(members[1:]):
        steps = list(pairwise((members[0], *order, members[0])))
        ways = [
            [((a, b),)] if (a, b) in links else [((a, r), (r, b)) for r in through if {(a, r), (r, b)} <= links.keys()]
            for a, b in steps
        ]
        for way in product(*ways):
            arcs = Counter(arc for step in way for arc in step)
            if all(n <= links[arc] for arc, n in arcs.items()):
                relayed = sum(len(step) == 2 for step in way)
                candidates.setdefault(relayed, []).append(arcs)
    if not candidates:
        return 0, 0
    rings = candidates[min(candidates)]
    matrix = np.array([[arcs[arc] for arcs in rings] for arc in links])
    best = milp(-np.ones(len(rings)), constraints=LinearConstraint(matrix, ub=list(links.values())), integrality=1)
    return min(candidates), round(-best.fun)


@BOTH
@pytest.mark.parametrize("outsiders", [False, True])
@pytest.mark.parametrize("size", [2, 3, 4, 5])
def test_the_largest_set_is_what_an_integer_programme_finds(mesh, size, outsiders):
    for members in combinations(range(8), size):
        through = range(8) if outsiders else members
        found = rings_with_relays(mesh, members, through=range(8) if outsiders else None)
        assert_set_is_possible(mesh, found, members)
        assert (max(found.relayed_hops, default=0), len(found)) == most_rings(mesh, members, through)


@BOTH
@pytest.mark.parametrize("size", range(2, 9))
def test_where_there_are_direct_rings_there_are_no_others(mesh, size):
    for members in combinations(range(8), size):
        if direct := edge_disjoint_rings(mesh, members):
            found = rings_with_relays(mesh, members)
            assert found.rings == direct
            assert set(found.relayed_hops) == {0}
            assert not any(found.relayed)


@BOTH
@pytest.mark.parametrize("size", range(2, 9))
def test_the_order_of_the_members_changes_no_number(mesh, size):
    for members in combinations(range(8), size):
        one, other = (rings_with_relays(mesh, order) for order in (members, members[::-1]))
        assert one.relayed_hops == other.relayed_hops


@pytest.mark.parametrize(("mesh", "pairs"), [(DGX1_V100, {0: 12, 1: 8, 2: 8}), (DGX1_P100, {0: 12, 1: 16})])
def test_a_pair_has_a_ring_per_link_and_none_without(mesh, pairs):
    assert Counter(len(rings_with_relays(mesh, pair)) for pair in combinations(range(8), 2)) == pairs


def test_five_chips_relay_through_the_first_of_them():
    found = rings_with_relays(DGX1_V100, range(5))
    assert len(found) == 2
    assert found.relayed == (True, True)
    assert found.relayed_hops == (1, 1)
    assert all(step.through == 0 and 4 in (step.source, step.target) for (step,) in found.relays)
    assert len(rings_with_relays(DGX1_P100, range(5))) == 1  # one link from 0 to 4 carries the way there and back


def test_other_chips_relay_only_if_they_may():
    # 0 and 5 have no link; 1 and 4 are wired to both, with one link in the weaker half each.
    assert rings_with_relays(DGX1_V100, (0, 5)) == RingSet(rings=(), relays=())
    found = rings_with_relays(DGX1_V100, (0, 5), through=DGX1_V100.endpoints)
    assert found.rings == ((0, 5),) * 2
    assert found.relays == ((Relay(0, 1, 5), Relay(5, 1, 0)), (Relay(0, 4, 5), Relay(5, 4, 0)))
    assert len(rings_with_relays(DGX1_V100, (0, 5), through=[4])) == 1
    assert len(rings_with_relays(DGX1_V100, range(5), through=DGX1_V100.endpoints)) == 4  # measured: 2


@pytest.mark.parametrize(
    ("members", "rings", "relayed"),
    [((0, 1, 4, 5), 2, 0), ((0, 2, 5, 7), 0, 0), ((0, 3, 4, 7), 2, 0), ((1, 2, 5, 6), 2, 0), ((0, 1, 6), 0, 0)],
)
def test_members_that_are_not_the_first_ones(members, rings, relayed):
    found = rings_with_relays(DGX1_V100, members)
    assert (len(found), sum(found.relayed_hops)) == (rings, relayed)


def test_a_tree_of_chips_is_toured_there_and_back():
    # On a line 0 - 1 - 2 the way back from 2 to 0 passes 1: links 2 - 1 and 1 - 0, which the way there does not use.
    line = hybrid_cube_mesh([(0, 1, 1), (1, 2, 1)])
    assert rings_with_relays(line) == RingSet(rings=((0, 1, 2),), relays=((Relay(2, 1, 0),),))
    # On a star 1, 2, 3 around 0: out and back on each link.
    star = hybrid_cube_mesh([(0, 1, 1), (0, 2, 1), (0, 3, 1)])
    assert rings_with_relays(star).relayed_hops == (2,)
    # With arms of two links there is none: the ends are too far from each other.
    spider = hybrid_cube_mesh([(0, 1, 1), (0, 2, 1), (0, 3, 1), (1, 4, 1), (2, 5, 1), (3, 6, 1)])
    assert rings_with_relays(spider) == RingSet(rings=(), relays=())


def test_no_ring_asks_twice_for_a_link_that_is_there_once():
    # Round a square 0 - 1 - 2 - 3 the ring 0 2 1 3 passes from 1 to 2 twice: on the way to 2, and on the way to 3.
    once = {arc: 1 for a, b in pairwise((0, 1, 2, 3, 0)) for arc in ((a, b), (b, a))}
    rings, more = (
        all_rings(4, free, Budget("square", 4), through=range(4), relays=4) for free in (once, dict.fromkeys(once, 2))
    )
    twice = Path((0, 2, 1, 3), (1, -1, 2, -1))
    assert twice.arcs()[1, 2] == 2
    assert twice not in rings
    assert twice in more
    assert all(set(ring.arcs().values()) == {1} for ring in rings)


def test_relays_do_not_pass_processors():
    assert len(rings_with_relays(summit_node(), (0, 3))) == 0
    assert len(rings_with_relays(summit_node(), (0, 1, 2))) == 4


def test_the_chips_of_one_server_in_a_cluster_relay_as_on_their_own():
    cluster = nested(DGX1_V100, fat_tree(endpoints=2, radix=4), nics_per_server=4)
    found = rings_with_relays(cluster, [(1, chip) for chip in range(5)])
    assert found.relayed_hops == (1, 1)
    assert {step.through for (step,) in found.relays} == {(1, 0)}


def test_end_points_that_are_no_chips_do_not_relay():
    line = nx.Graph()
    line.add_nodes_from((0, 2), kind="chip")
    line.add_node(1, kind="host")
    line.add_edges_from([(0, 1), (1, 2)], tier="x")
    assert len(rings_with_relays(Topology(name="line", graph=line, endpoints=(0, 1, 2)))) == 0


def test_chips_on_a_switch_need_no_relays():
    star = fully_connected(4, links_per_endpoint=6)
    assert rings_with_relays(star).relayed == (False,) * 6


@pytest.mark.parametrize(
    ("through", "message"), [([9], "9 cannot relay; it is not a chip here"), (["switch"], "'switch' cannot relay")]
)
def test_only_chips_relay(through, message):
    with pytest.raises(TopologyError, match=message):
        rings_with_relays(DGX1_V100, (0, 5), through=through)


def test_a_set_says_of_every_ring_what_is_relayed():
    with pytest.raises(TopologyError, match="2 rings, but relays of 1; one per ring"):
        RingSet(rings=((0, 1), (1, 0)), relays=((),))
