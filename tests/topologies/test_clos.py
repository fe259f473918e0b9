from fractions import Fraction
from itertools import product
from math import prod

import networkx as nx
import pytest

from topologies.clos import clos, clos_shape
from topologies.fat_tree import fat_tree
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError


@pytest.mark.parametrize(
    ("children", "parents", "links"),
    [((4,), (1,), (1,)), ((3, 4), (1, 2), (1, 2)), ((2, 2, 3), (1, 2, 2), (1, 1, 3)), ((2, 3), (2, 3), (1, 1))],
)
def test_counts_and_degrees(children, parents, links):
    shape = clos_shape(children, parents=parents, links=links)
    topology = clos(children, parents=parents, links=links)
    assert len(topology.endpoints) == prod(children) == shape.endpoints
    for level in range(1, shape.levels + 1):
        switches = [v for v in topology.vertices("switch") if v[1] == level]
        assert len(switches) == shape.switches(level)
        assert {degree(topology, switch) for switch in switches} == {shape.radices[level - 1]}
    assert diameter(topology) == shape.diameter == 2 * shape.levels


def test_a_full_fat_tree_is_a_clos_network():
    tree = fat_tree(endpoints=16, radix=4, levels=3)
    same = clos((2, 2, 4), parents=(1, 2, 2), radix=4)
    assert nx.is_isomorphic(tree.graph, same.graph)
    assert tree.bisection == same.bisection


def test_the_closed_form_of_the_bisection_equals_the_exact_cut():
    looked_at = 0
    for levels in (1, 2, 3):
        for children in product(*[(1, 2, 3, 4)] * levels):
            for wires in product((1, 2, 3), repeat=levels):
                for parents in (wires, (1,) * levels):
                    shape = clos_shape(children, parents=parents, links=wires)
                    if sum(map(shape.switches, range(levels + 1))) > 11:
                        continue
                    topology = clos(children, parents=parents, links=wires)
                    if topology.bisection is not None:
                        assert bisection_links(topology) == exact_bisection_links(topology)
                        looked_at += 1
    assert looked_at > 200


@pytest.mark.parametrize(("children", "even"), [((4,), True), ((3, 2), True), ((2, 3), False), ((3, 2, 1), True)])
def test_there_is_a_closed_form_where_the_top_splits_evenly(children, even):
    assert (clos(children).bisection is not None) == even


def test_metas_cluster_of_24_thousand():
    # 16 chips under a rack switch, 192 racks in a pod without taper, 8 pods; 28 links up for 192 down is 1 : 6.86, the
    # nearest to the published 1 : 7 that whole links give.
    shape = clos_shape((16, 192, 8), parents=(1, 16, 28), tiers=("scale_out", "spine", "core"))
    assert shape.endpoints == 24_576
    assert shape.oversubscription == (Fraction(1), Fraction(192, 28))
    assert shape.radices == (32, 192 + 28, 8)
    small = clos((2, 2, 4), parents=(1, 2, 1), tiers=("scale_out", "spine", "core"))
    assert links_by_tier(small) == {"core": 8 * 1, "scale_out": 16, "spine": 16}
    assert bisection_links(small) == 4  # tapered by two above the pod


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"children": ()}, "one for each level, at least one level"),
        ({"children": (2, 2), "parents": (1,)}, "children 2, parents 1, links 2, tiers 2 values; one for each level"),
        ({"children": (2, 0)}, r"children\[1\] is 0; a whole number, at least 1"),
        ({"children": (2, 2), "links": (1, -1)}, r"links\[1\] is -1"),
        ({"children": (8, 2), "parents": (1, 4), "radix": 10}, "a switch of level 1 needs 12 ports, and radix is 10"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    arguments = dict(arguments)
    with pytest.raises(TopologyError, match=message):
        clos(arguments.pop("children"), **arguments)
