"""Links of a topology and the ways over them."""

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest

from simulator.flows import FlowError, Wires
from topologies import Topology, fat_tree, fat_tree_shape, hybrid_cube_mesh, ring, shortest_route, torus, torus_route
from topologies import routing_regular as regular
from topologies.cube_mesh import DGX1_V100_LINKS

ONE = (10e9, 1e-6)
BOTH = {"scale_out": ONE, "spine": (5e9, 2e-6)}
SHAPES = {
    "ring": ring(7),
    "torus": torus((3, 4)),
    "cube mesh": hybrid_cube_mesh(DGX1_V100_LINKS),
    "fat tree": fat_tree(endpoints=16, radix=4, levels=3),
    "pair": ring(2),
    "star": fat_tree(endpoints=5, radix=8),
}


def wires_of(topology, **more):
    return Wires.of(topology, {tier: (1e9 * (1 + i), 1e-6) for i, tier in enumerate(topology.tiers)}, **more)


def pairs(topology):
    n = len(topology.endpoints)
    a, b = np.divmod(np.arange(n * n), n)
    return a[a != b], b[a != b]


@pytest.mark.parametrize("routing", ["shortest", "hashed", "sprayed"])
@pytest.mark.parametrize("name", SHAPES)
def test_every_way_leads_from_source_to_target_by_fewest_hops(name, routing):
    topology = SHAPES[name]
    wires = wires_of(topology, routing=routing)
    source, target = pairs(topology)
    routes = wires.routes(source, target)
    for index, (a, b) in enumerate(zip(source, target, strict=True)):
        entry = slice(routes.start[index], routes.start[index + 1])
        links, factor = routes.link[entry], routes.factor[entry]
        hops = len(shortest_route(topology, topology.endpoints[a], topology.endpoints[b])) - 1
        assert factor.sum() == pytest.approx(hops)  # shares of all ways add up to one on each hop
        net = np.bincount(wires.graph.tail[links], factor, len(wires.vertices))
        net -= np.bincount(wires.graph.head[links], factor, len(wires.vertices))
        expected = np.zeros(len(wires.vertices))
        expected[wires.rank[a]], expected[wires.rank[b]] = 1, -1  # what enters a switch leaves it
        assert net == pytest.approx(expected)
        if routing != "sprayed":
            assert len(links) == hops
            assert (wires.graph.head[links[:-1]] == wires.graph.tail[links[1:]]).all()  # in order
        assert wires.route(int(a), int(b)) == tuple(links.tolist())


@pytest.mark.parametrize("name", SHAPES)
def test_capacity_is_count_times_derate_times_bandwidth_each_way(name):
    topology = SHAPES[name]
    a, b = next(iter(topology.graph.edges))
    degraded = topology.degraded(a, b, derate=0.25)
    wires = wires_of(degraded)
    for x, y, data in degraded.graph.edges(data=True):
        bandwidth = 1e9 * (1 + degraded.tiers.index(data["tier"]))
        for link in (wires.link(x, y), wires.link(y, x)):
            assert wires.capacity_byte_per_s[link] == data["count"] * data["derate"] * bandwidth
    assert len(wires.capacity_byte_per_s) == 2 * topology.graph.number_of_edges()
    assert wires.link(a, b) != wires.link(b, a)


def test_latency_is_the_sum_over_the_way():
    wires = Wires.of(fat_tree(endpoints=16, radix=4, levels=3), BOTH)
    routes = wires.routes([0, 0, 0], [1, 2, 15])
    assert wires.latency_of(routes) == pytest.approx([2e-6, 2e-6 + 2 * 2e-6, 2e-6 + 4 * 2e-6])


def test_spraying_bundles_switches_that_are_alike():
    tree = fat_tree(endpoints=128, radix=8, levels=3)
    wires = Wires.of(tree, BOTH, routing="sprayed")
    # 128 chips, 32 leaves, 8 pods' aggregations, 1 core: a tree in which every level carries all there is.
    assert len(wires.vertices) == 128 + 32 + 8 + 1
    assert sorted(set(wires.capacity_byte_per_s)) == [10e9, 4 * 5e9, 16 * 5e9]
    assert len(wires.route(0, 127)) == 6


def test_spraying_past_a_slow_link_still_splits_evenly():
    tree = fat_tree(endpoints=8, radix=4)
    slow = tree.degraded(("leaf", 0), ("spine", 0), derate=0.5)
    wires = Wires.of(slow, BOTH, routing="sprayed")
    links, factor = wires.split_route(0, 7)
    shares = dict(zip(links, factor, strict=True))
    assert sorted(shares.values()) == pytest.approx([0.5, 0.5, 0.5, 0.5, 1, 1])
    assert shares[wires.link(("leaf", 0), ("spine", 0))] == 0.5


def test_hashing_uses_every_way_depends_on_the_seed_and_on_nothing_else():
    tree = fat_tree(endpoints=64, radix=16)
    source, target = pairs(tree)
    first, again, other = (Wires.of(tree, BOTH, routing="hashed", seed=s).routes(source, target) for s in (1, 1, 2))
    assert (first.link == again.link).all()
    assert not (first.link == other.link).all()
    few = Wires.of(tree, BOTH, routing="hashed", seed=1).routes(source[100:200], target[100:200])
    assert (few.link == first.link[first.start[100] : first.start[200]]).all()
    spines = np.bincount(first.link, minlength=len(Wires.of(tree, BOTH).latency_s))[2 * 64 :]
    assert spines.min() > 0.7 * spines.mean()
    assert spines.max() < 1.3 * spines.mean()


def test_a_router_decides():
    dims = (4, 4)
    topology = torus(dims)
    wires = Wires.of(topology, {"scale_up": ONE}, lambda a, b: torus_route(dims, a, b))
    way = torus_route(dims, topology.endpoints[1], topology.endpoints[10])
    assert wires.route(1, 10) == tuple(wires.link(a, b) for a, b in pairwise(way))


@pytest.mark.parametrize("way", [[], [(0, 0), (2, 2)], [(0, 0), (0, 1)], [(0, 1), (2, 2)]])
def test_a_router_that_errs_is_named(way):
    wires = Wires.of(torus((4, 4)), {"scale_up": ONE}, lambda a, b: way)
    with pytest.raises(FlowError, match="the router's way from"):
        wires.route(0, 10)


def test_a_link_table_with_routes_by_formula_gives_the_same_lengths():
    shape = fat_tree_shape(endpoints=64, radix=8, levels=3)
    table = regular.links(shape)
    wires = Wires.of_links(table, BOTH, lambda a, b: regular.ecmp_routes(shape, a, b), ranks=64)
    searched = Wires.of(fat_tree(endpoints=64, radix=8, levels=3), BOTH)
    source, target = pairs(fat_tree(endpoints=64, radix=8, levels=3))
    by_formula, by_search = wires.routes(source, target), searched.routes(source, target)
    assert (by_formula.start == by_search.start).all()
    assert wires.latency_of(by_formula) == pytest.approx(searched.latency_of(by_search))
    assert np.sort(wires.capacity_byte_per_s).tolist() == np.sort(searched.capacity_byte_per_s).tolist()


def test_a_formula_that_errs_is_named():
    shape = fat_tree_shape(endpoints=64, radix=8, levels=3)
    wires = Wires.of_links(regular.links(shape), BOTH, lambda a, b: regular.routes(shape, b, a), ranks=64)
    with pytest.raises(FlowError, match="does not lead from source to target"):
        wires.routes([0], [9])


def parted():
    graph = nx.Graph()
    graph.add_nodes_from(range(4), kind="chip")
    graph.add_edges_from([(0, 1), (2, 3)], tier="scale_out")
    return Topology(name="two pairs", graph=graph, endpoints=(0, 1, 2, 3))


@pytest.mark.parametrize("routing", ["shortest", "hashed", "sprayed"])
def test_a_graph_in_parts_is_named(routing):
    with pytest.raises(FlowError, match="no route from 0 to 2; the graph is in parts"):
        Wires.of(parted(), {"scale_out": ONE}, routing=routing).route(0, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda t: Wires.of(t, {"scale_out": ONE}), "no rate for tier 'spine'"),
        (lambda t: Wires.of(t, {"scale_out": ONE, "spines": ONE}), "Did you mean 'spine' by 'spines'?"),
        (lambda t: Wires.of(t, BOTH | {"spine": (0, 1e-6)}), "bandwidth of 0 B/s; above 0, finite"),
        (lambda t: Wires.of(t, BOTH | {"spine": (1e9, -1e-6)}), "latency of -1e-06 s; 0 or more"),
        (lambda t: Wires.of(t, BOTH, routing="hash"), "Did you mean 'hashed'?"),
        (lambda t: Wires.of(t, BOTH).route(3, 3), "rank 3 sends to itself"),
        (lambda t: Wires.of(t, BOTH).route(0, 16), "target 16 is no rank; 0 to 15"),
        (lambda t: Wires.of(t, BOTH).route(-1, 1), "source -1 is no rank"),
        (lambda t: Wires.of(t, BOTH).routes([0.5], [1]), "source is of type float64; whole numbers"),
        (lambda t: Wires.of(t, BOTH).link(0, 1), "no link from 0 to 1"),
    ],
)
def test_bad_input_is_one_clear_line(build, message):
    with pytest.raises(FlowError) as caught:
        build(fat_tree(endpoints=16, radix=4, levels=3))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
