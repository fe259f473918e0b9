import math

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import (
    TopologyError,
    bisection_links,
    degree,
    diameter,
    exact_bisection_links,
    links_by_tier,
    ring,
    torus,
)

few_dims = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
small_dims = few_dims.filter(lambda dims: math.prod(dims) <= 14)


@settings(deadline=None)
@given(dims=few_dims)
def test_every_chip_of_a_torus_has_two_links_per_dimension(dims):
    topology = torus(dims)
    links = 2 * sum(size > 1 for size in dims)
    assert len(topology.endpoints) == math.prod(dims)
    assert all(degree(topology, chip) == links for chip in topology.endpoints)
    assert sum(links_by_tier(topology).values()) == math.prod(dims) * links // 2


@settings(deadline=None)
@given(dims=few_dims)
def test_diameters_add_up_over_dimensions(dims):
    assert diameter(torus(dims)) == sum(size // 2 for size in dims)
    assert diameter(torus(dims, wrap=False)) == sum(size - 1 for size in dims)


@settings(deadline=None)
@given(dims=few_dims)
def test_a_mesh_has_one_link_fewer_per_line(dims):
    lines = sum(math.prod(dims) // size * (size - 1) for size in dims)
    assert sum(links_by_tier(torus(dims, wrap=False)).values()) == lines


@settings(deadline=None)
@given(dims=small_dims, wrap=st.booleans())
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(dims, wrap):
    topology = torus(dims, wrap=wrap)
    assert bisection_links(topology) == exact_bisection_links(topology)


@pytest.mark.parametrize(("dims", "links"), [((16, 16), 32), ((4, 4, 4), 32), ((16, 20, 28), 640), ((32,), 2)])
def test_the_bisection_of_an_even_torus_is_two_links_per_line_of_the_longest_dimension(dims, links):
    assert bisection_links(torus(dims)) == links == 2 * math.prod(dims) // max(dims)


@pytest.mark.parametrize("n", [1, 2, 3, 8])
def test_a_torus_of_one_dimension_is_a_ring(n):
    one, other = torus((n,)), ring(n)
    assert nx.is_isomorphic(one.graph, other.graph, edge_match=lambda a, b: a == b)
    assert one.bisection == other.bisection


def test_wrapping_a_dimension_of_two_gives_one_edge_of_two_links():
    assert set(torus((2, 2)).graph.edges[(0, 0), (0, 1)].items()) >= {("count", 2)}
    assert set(torus((2, 2), wrap=False).graph.edges[(0, 0), (0, 1)].items()) >= {("count", 1)}


def test_a_torus_of_twos_without_wrap_is_a_hypercube():
    assert nx.is_isomorphic(torus((2, 2, 2, 2), wrap=False).graph, nx.hypercube_graph(4))


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ((), "dims is"),
        (4, "dims is 4; one whole number per dimension"),
        ((4, 0), r"dims\[1\] is 0; a whole number, at least 1"),
    ],
)
def test_bad_dimensions_are_refused(dims, message):
    with pytest.raises(TopologyError, match=message):
        torus(dims)
