from itertools import pairwise

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import (
    TopologyError,
    fat_tree,
    fat_tree_route,
    fat_tree_routes,
    fat_tree_shape,
    fully_connected,
    hops,
    hybrid_cube_mesh,
    shortest_route,
    torus,
    torus_route,
)

dims = st.lists(st.integers(1, 5), min_size=1, max_size=3).map(tuple)


def is_a_path(topology, route):
    return all(topology.graph.has_edge(a, b) for a, b in pairwise(route))


@settings(deadline=None)
@given(dims=dims, wrap=st.booleans(), data=st.data())
def test_a_torus_route_is_as_short_as_any(dims, wrap, data):
    topology = torus(dims, wrap=wrap)
    a, b = (data.draw(st.sampled_from(topology.endpoints)) for _ in range(2))
    route = torus_route(dims, a, b, wrap=wrap)
    assert (route[0], route[-1]) == (a, b)
    assert is_a_path(topology, route)
    assert len(route) - 1 == hops(topology, a, b)


def test_a_torus_route_goes_along_the_first_dimension_first_and_up_when_it_is_equal():
    assert torus_route((4, 3), (0, 0), (2, 2)) == ((0, 0), (1, 0), (2, 0), (2, 2))
    assert torus_route((4, 3), (0, 0), (2, 2), wrap=False) == ((0, 0), (1, 0), (2, 0), (2, 1), (2, 2))


@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("oversubscription", [1.0, 3.0])
def test_fat_tree_routes_are_all_the_shortest_routes(levels, oversubscription):
    arguments = {"endpoints": 14, "radix": 4, "levels": levels, "oversubscription": oversubscription}
    if levels == 2:
        arguments["endpoints"] = 8
    tree, shape = fat_tree(**arguments), fat_tree_shape(**arguments)
    for a in tree.endpoints:
        for b in tree.endpoints:
            by_formula = [fat_tree_route(shape, a, b, choice=i) for i in range(fat_tree_routes(shape, a, b))]
            by_search = [tuple(route) for route in nx.all_shortest_paths(tree.graph, a, b)]
            assert len(set(by_formula)) == len(by_formula)
            assert set(by_formula) == set(by_search)


def test_a_choice_beyond_the_last_route_starts_again():
    shape = fat_tree_shape(endpoints=16, radix=4, levels=3)
    assert fat_tree_routes(shape, 0, 15) == 4
    assert fat_tree_route(shape, 0, 15, choice=5) == fat_tree_route(shape, 0, 15, choice=1)


def test_a_shortest_route_has_both_ends():
    assert shortest_route(fully_connected(3), 0, 2) == (0, "switch", 2)
    assert shortest_route(fully_connected(3), 1, 1) == (1,)


def test_questions_about_what_is_not_there_are_refused():
    with pytest.raises(TopologyError, match="no vertex 9"):
        shortest_route(fully_connected(3), 0, 9)
    with pytest.raises(TopologyError, match="no route from 0 to 2"):
        shortest_route(hybrid_cube_mesh([(0, 1, 1), (2, 3, 1)]), 0, 2)
    with pytest.raises(TopologyError, match=r"\(4, 0\) is not a coordinate of a torus of \(4, 3\)"):
        torus_route((4, 3), (0, 0), (4, 0))
    with pytest.raises(TopologyError, match="no end point 8; 0 to 7"):
        fat_tree_route(fat_tree_shape(endpoints=8, radix=4), 0, 8)
