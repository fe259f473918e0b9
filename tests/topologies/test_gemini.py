import math
from itertools import product

import pytest

from topologies.gemini import gemini, gemini_shape
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError


@pytest.mark.parametrize("dims", [(3, 4, 5), (4, 4, 4), (5, 3, 3)])
def test_a_router_has_two_nodes_and_ten_links_to_neighbours(dims):
    machine = gemini(dims)
    routers = math.prod(dims)
    assert len(machine.endpoints) == 2 * routers
    assert all(degree(machine, node) == 1 for node in machine.endpoints)
    assert {degree(machine, router) for router in machine.vertices("switch")} == {2 + 4 + 2 + 4}
    assert links_by_tier(machine) == {"scale_out": 2 * routers, "torus": 5 * routers}
    assert diameter(machine) == gemini_shape(dims).diameter == 2 + sum(size // 2 for size in dims)


def test_links_along_y_are_half_as_wide():
    graph = gemini((3, 3, 3)).graph
    at = ("router", 1, 1, 1)
    assert graph.edges[at, ("router", 2, 1, 1)]["count"] == 2
    assert graph.edges[at, ("router", 1, 2, 1)]["count"] == 1
    assert graph.edges[at, ("router", 1, 1, 2)]["count"] == 2


def test_titan():
    shape = gemini_shape()
    assert (shape.routers, shape.endpoints, shape.diameter) == (9600, 19_200, 12 + 8 + 12 + 2)
    # Across y: 25 x 24 lines, both ways round, one link; z would be 25 x 16 x 2 x 2 = 1,600.
    assert bisection_links(gemini()) == 2 * 25 * 24


def test_where_there_is_a_closed_form_of_the_bisection_it_is_the_exact_cut():
    looked_at = 0
    for dims in product((1, 2, 3, 4), repeat=3):
        for nodes in (1, 2, 3):
            if math.prod(dims) * (1 + nodes) > 16:
                continue
            machine = gemini(dims, nodes_per_router=nodes)
            if machine.bisection is not None:
                assert bisection_links(machine) == exact_bisection_links(machine)
                looked_at += 1
    assert looked_at > 15


def test_what_cannot_be_is_refused():
    with pytest.raises(TopologyError, match=r"gemini: dims is \(4, 4\); routers along x, y and z"):
        gemini((4, 4))
    with pytest.raises(TopologyError, match="nodes_per_router is 0; a whole number, at least 1"):
        gemini((4, 4, 4), nodes_per_router=0)
