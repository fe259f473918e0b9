from itertools import product

import pytest

from topologies.dragonfly_plus import dragonfly_plus, dragonfly_plus_shape
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError

SIZES = [(2, 3, 2, 4), (4, 2, 3, 3), (5, 2, 2, 1), (1, 3, 2, 1)]


@pytest.mark.parametrize(("groups", "leaves", "spines", "links"), SIZES)
def test_counts(groups, leaves, spines, links):
    topology = dragonfly_plus(
        groups=groups, leaves=leaves, spines=spines, endpoints_per_leaf=4, links_per_pair=links, leaf_links=2
    )
    tiers = {"local": groups * leaves * spines * 2, "scale_out": groups * leaves * 4}
    assert links_by_tier(topology) == tiers | ({"global": links * groups * (groups - 1) // 2} if groups > 1 else {})
    assert {degree(topology, ("leaf", g, i)) for g in range(groups) for i in range(leaves)} == {4 + 2 * spines}
    up = [degree(topology, ("spine", g, i)) - 2 * leaves for g in range(groups) for i in range(spines)]
    assert sum(up) == links * groups * (groups - 1)
    assert max(up) - min(up) <= 1
    assert diameter(topology) == (5 if groups > 1 else 4)


def test_where_there_is_a_closed_form_of_the_bisection_it_is_the_exact_cut():
    looked_at = 0
    for groups, leaves, spines, endpoints, links, bundle in product(
        (2, 4), (1, 2), (1, 2), (1, 2, 3), (1, 2, 4), (1, 3)
    ):
        if groups * (leaves * (1 + endpoints) + spines) > 16:
            continue
        topology = dragonfly_plus(
            groups=groups,
            leaves=leaves,
            spines=spines,
            endpoints_per_leaf=endpoints,
            links_per_pair=links,
            leaf_links=bundle,
        )
        if topology.bisection is not None:
            assert bisection_links(topology) == exact_bisection_links(topology)
            looked_at += 1
    assert looked_at > 15


def test_a_closed_form_that_is_there():
    topology = dragonfly_plus(groups=2, leaves=2, spines=2, endpoints_per_leaf=2, links_per_pair=2, leaf_links=2)
    assert topology.bisection == 2 == exact_bisection_links(topology)


def test_cells_of_juwels_booster():
    # 20 cells of 48 servers with 4 cards, 10 links between cells, switches of 40 ports.
    shape = dragonfly_plus_shape(
        groups=20,
        leaves=10,
        spines=10,
        endpoints_per_leaf=20,
        links_per_pair=10,
        leaf_links=2,
        endpoints=936 * 4,
        radix=40,
    )
    assert shape.endpoints == 3744
    assert shape.diameter == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spines": 0}, "spines is 0; a whole number, at least 1"),
        ({"endpoints": 25}, "endpoints is 25; at most 24 .* Nearest: groups=5"),
        ({"radix": 3}, "a leaf needs 4 ports, but radix is 3. Nearest: radix=4"),
        ({"radix": 5, "links_per_pair": 3}, "a spine needs 8 ports, but radix is 5. Nearest: radix=8"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    parameters = {"groups": 4, "leaves": 3, "spines": 2, "endpoints_per_leaf": 2, "links_per_pair": 1}
    with pytest.raises(TopologyError, match=message):
        dragonfly_plus(**(parameters | change))
