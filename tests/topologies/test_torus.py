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
from topologies.torus import torus_shape

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


@settings(deadline=None, max_examples=60)
@given(data=st.data(), dims=small_dims)
def test_where_mixed_dimensions_have_a_closed_form_it_is_the_exact_cut(data, dims):
    wrap = data.draw(st.tuples(*[st.booleans()] * len(dims)))
    links = data.draw(st.tuples(*[st.integers(1, 3)] * len(dims)))
    topology = torus(dims, wrap=wrap, links=links)
    if topology.bisection is not None:
        assert bisection_links(topology) == exact_bisection_links(topology)


@pytest.mark.parametrize(
    ("dims", "wrap", "links", "cut"),
    [
        ((8, 16), (False, True), 1, 16),
        ((4, 16), (False, True), 1, 8),
        ((4, 4), (False, True), (2, 1), 8),
        ((2, 6), True, (3, 1), 4),
        ((3, 4), (False, True), (1, 1), None),
        ((3, 5), (False, True), (1, 1), None),
    ],
)
def test_mixed_dimensions_are_cut_across_the_weakest_even_one(dims, wrap, links, cut):
    assert torus(dims, wrap=wrap, links=links).bisection == cut


@settings(deadline=None)
@given(data=st.data(), dims=few_dims)
def test_links_and_wrap_of_each_dimension_add_up(data, dims):
    wrap = data.draw(st.tuples(*[st.booleans()] * len(dims)))
    links = data.draw(st.tuples(*[st.integers(1, 3)] * len(dims)))
    topology = torus(dims, wrap=wrap, links=links)
    along = [
        math.prod(dims) // size * (size - 1 + (1 if wraps and size > 1 else 0)) * count
        for size, wraps, count in zip(dims, wrap, links, strict=True)
    ]
    assert sum(links_by_tier(topology).values()) == sum(along)
    assert diameter(topology) == torus_shape(dims, wrap=wrap, links=links).diameter


@pytest.mark.parametrize("wrap", [True, False])
def test_one_value_for_all_dimensions_is_that_value_for_each(wrap):
    one, each = torus((3, 4), wrap=wrap, links=2), torus((3, 4), wrap=(wrap, wrap), links=(2, 2))
    assert one.name == each.name == f"3x4 {'torus' if wrap else 'mesh'}"
    assert one.bisection == each.bisection == 2 * torus((3, 4), wrap=wrap).bisection
    assert set(one.graph.edges) == set(each.graph.edges)
    assert torus((3, 4), wrap=(True, False)).name == "3x4 partly wrapped torus"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"wrap": (True,)}, r"wrap is \(True,\); one value for all, or one for each of the 2 dimensions"),
        ({"wrap": (1, 0)}, r"wrap\[0\] is 1; True or False"),
        ({"links": (1, 0)}, r"links\[1\] is 0; a whole number, at least 1"),
        ({"links": 0}, r"links\[0\] is 0"),
        ({"links": "22"}, "links is '22'; one value for all"),
    ],
)
def test_bad_values_for_dimensions_are_refused(arguments, message):
    with pytest.raises(TopologyError, match=message):
        torus((4, 4), **arguments)
