import sys

import networkx as nx
import pytest

from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.small_world import small_world
from topologies.topology import TopologyError


@pytest.mark.parametrize(("n", "k"), [(8, 2), (8, 4), (12, 4), (14, 6), (40, 6), (6, 4), (7, 6), (10, 6), (11, 8)])
def test_without_moved_links_it_is_a_lattice(n, k):
    lattice = small_world(n, neighbours=k, rewired=0)
    assert {degree(lattice, chip) for chip in lattice.endpoints} == {k}
    assert links_by_tier(lattice) == {"scale_up": n * k // 2}
    assert diameter(lattice) == -(-(n // 2) // (k // 2))
    assert bisection_links(lattice) == (k // 2) * (k // 2 + 1)


def test_every_small_lattice_is_cut_exactly():
    for n in range(3, 14):
        for k in range(2, n, 2):
            lattice = small_world(n, neighbours=k, rewired=0)
            assert bisection_links(lattice) == exact_bisection_links(lattice)


@pytest.mark.parametrize("rewired", [0.1, 0.5, 1.0])
def test_moved_links_stay_as_many_and_bring_chips_closer(rewired):
    world = small_world(200, neighbours=4, rewired=rewired, seed=1)
    assert links_by_tier(world) == {"scale_up": 400}
    assert nx.is_connected(world.graph)
    assert diameter(world) < diameter(small_world(200, neighbours=4, rewired=0))
    assert world.bisection is None


def test_a_seed_decides_which_links_are_moved():
    one, again, other = (small_world(30, neighbours=4, rewired=0.5, seed=seed) for seed in (1, 1, 2))
    assert set(one.graph.edges) == set(again.graph.edges) != set(other.graph.edges)


def test_the_share_of_moved_links_is_about_the_chance():
    lattice, world = (small_world(2000, neighbours=6, rewired=p, seed=3) for p in (0, 0.25))
    kept = sum(lattice.graph.has_edge(a, b) for a, b in world.graph.edges) / 6000
    assert abs(kept - 0.75) < 0.03  # five standard deviations of 6,000 draws


def test_a_network_that_always_falls_apart_is_refused(monkeypatch):
    monkeypatch.setattr(sys.modules["topologies.small_world"], "DRAWS", 1)
    message = "1 draws of 1000 chips with 2 neighbours and 1 of .* fell apart. Take more"
    with pytest.raises(TopologyError, match=message):
        small_world(1000, neighbours=2, rewired=1.0, seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chips": 2}, "chips is 2; a whole number, at least 3"),
        ({"neighbours": 3}, "neighbours is 3; an even number, 2 to 8 for 10 chips. Nearest: 4"),
        ({"neighbours": 10}, "neighbours is 10; an even number, 2 to 8 .* Nearest: 8"),
        ({"rewired": 1.5}, "rewired is 1.5; a share, 0 to 1"),
        ({"rewired": float("nan")}, "rewired is nan; a share"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    parameters = {"chips": 10, "neighbours": 4, "rewired": 0.1} | change
    with pytest.raises(TopologyError, match=message):
        small_world(parameters.pop("chips"), **parameters)
