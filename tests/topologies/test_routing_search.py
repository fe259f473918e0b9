from itertools import pairwise, product

import networkx as nx
import pytest

from topologies.cube_mesh import hybrid_cube_mesh
from topologies.dragonfly import dragonfly
from topologies.fat_tree import fat_tree
from topologies.fully_connected import fully_connected
from topologies.hypercube import hypercube
from topologies.metrics import hops
from topologies.rail import rail_optimised
from topologies.routing_search import ecmp_router, valiant_router
from topologies.small_world import small_world
from topologies.topology import TopologyError
from topologies.torus import torus

TOPOLOGIES = {
    "fat tree": fat_tree(endpoints=16, radix=4, levels=3),
    "torus": torus((4, 4)),
    "hypercube": hypercube(8),
    "small world": small_world(20, neighbours=4, rewired=0.3),
    "dragonfly": dragonfly(groups=4, routers_per_group=3, endpoints_per_router=1, global_links=1),
    "rails": rail_optimised(fully_connected(2), servers=4, servers_per_unit=2, radix=8),
}
each_topology = pytest.mark.parametrize("topology", TOPOLOGIES.values(), ids=TOPOLOGIES)


@each_topology
def test_a_hashed_route_is_one_of_the_shortest(topology):
    router = ecmp_router(topology, seed=1)
    for a, b in product(topology.endpoints, repeat=2):
        way = router(a, b)
        assert way in {tuple(found) for found in nx.all_shortest_paths(topology.graph, a, b)}
        assert router(a, b) == way == ecmp_router(topology, seed=1)(a, b)


@each_topology
def test_over_many_seeds_every_shortest_route_is_taken(topology):
    a, b = topology.endpoints[0], topology.endpoints[-1]
    shortest = {tuple(found) for found in nx.all_shortest_paths(topology.graph, a, b)}
    assert {ecmp_router(topology, seed=seed)(a, b) for seed in range(40 * len(shortest))} == shortest


@each_topology
def test_a_detour_is_a_walk_along_links_that_arrives(topology):
    router = valiant_router(topology, seed=1)
    turned = 0
    for a, b in product(topology.endpoints, repeat=2):
        way = router(a, b)
        assert (way[0], way[-1]) == (a, b)
        assert all(topology.graph.has_edge(x, y) for x, y in pairwise(way))
        assert len(way) - 1 >= hops(topology, a, b)
        turned += len(way) - 1 > hops(topology, a, b)
    assert turned > 0
    assert router(topology.endpoints[0], topology.endpoints[0]) == (topology.endpoints[0],)


def test_parallel_links_are_taken_as_often_as_there_are_more_of_them():
    two_ways = hybrid_cube_mesh([(0, 1, 3), (1, 3, 1), (0, 2, 1), (2, 3, 1)])
    over_one = sum(ecmp_router(two_ways, seed=seed)(0, 3)[1] == 1 for seed in range(1000))
    assert abs(over_one / 1000 - 0.75) < 0.07  # five standard deviations


@pytest.mark.parametrize("kind", [ecmp_router, valiant_router])
def test_questions_about_what_is_not_there_are_refused(kind):
    router = kind(hybrid_cube_mesh([(0, 1, 1), (2, 3, 1)]))
    with pytest.raises(TopologyError, match="no vertex 9"):
        router(0, 9)
    with pytest.raises(TopologyError, match="no route from 0 to 2"):
        router(0, 2)
