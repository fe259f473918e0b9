"""Routes by formula against search, all pairs of small networks; one list of networks for all laws."""

from dataclasses import replace
from itertools import product

import networkx as nx
import numpy as np
import pytest

from topologies.clos import clos, clos_names, clos_shape
from topologies.dragonfly import dragonfly_names, dragonfly_of
from topologies.dragonfly_plus import dragonfly_plus, dragonfly_plus_names, dragonfly_plus_shape
from topologies.dragonfly_shape import dragonfly_shape
from topologies.fat_tree import fat_tree, fat_tree_shape
from topologies.gemini import gemini, gemini_shape
from topologies.hypercube import HypercubeShape, hypercube
from topologies.link_table import NO_LINK, hops_of, table_of
from topologies.metrics import diameter
from topologies.routing_fat_tree import fat_tree_names
from topologies.routing_hash import ecmp_choice
from topologies.routing_regular import REGULAR, choices, ecmp_routes, links, routes, valiant_routes
from topologies.topology import TopologyError
from topologies.torus import torus, torus_shape
from topologies.tpu import tpu_slice, tpu_slice_shape


def of_torus(dims, **arguments):
    topology = torus(dims, **arguments)
    return torus_shape(dims, **arguments), topology, list(topology.endpoints)


def of_gemini(dims):
    routers = [("router", *at) for at in product(*map(range, dims))]
    return gemini_shape(dims), gemini(dims), [*range(2 * len(routers)), *routers]


def of_tpu(generation, dims):
    topology = tpu_slice(generation, dims)
    return tpu_slice_shape(generation, dims), topology, list(topology.endpoints)


def of_fat_tree(**arguments):
    shape = fat_tree_shape(**arguments)
    return shape, fat_tree(**arguments), fat_tree_names(shape)


def of_clos(children, **arguments):
    shape = clos_shape(children, **arguments)
    return shape, clos(children, **arguments), clos_names(shape)


def of_hypercube(chips, **arguments):
    return HypercubeShape(chips=chips, **arguments), hypercube(chips, **arguments), list(range(chips))


def of_dragonfly(**arguments):
    shape = dragonfly_shape(**arguments)
    return shape, dragonfly_of(shape), dragonfly_names(shape)


def of_dragonfly_plus(**arguments):
    shape = dragonfly_plus_shape(**arguments)
    return shape, dragonfly_plus(**arguments), dragonfly_plus_names(shape)


DRAGONFLY = {"routers_per_group": 4, "endpoints_per_router": 2}
NETWORKS = {
    "ring": of_torus((7,)),
    "pair": of_torus((2,)),
    "torus": of_torus((4, 3)),
    "torus with dimensions of one and two": of_torus((1, 4, 2)),
    "mesh": of_torus((3, 4), wrap=False),
    "partly wrapped": of_torus((4, 2, 3), wrap=(True, False, True), links=(1, 2, 3)),
    "tpu v4 cube": of_tpu("v4", (4, 4, 4)),
    "tpu v5e half pod": of_tpu("v5e", (2, 16)),
    "gemini": of_gemini((3, 2, 4)),
    "gemini of one router": of_gemini((1, 1, 1)),
    "fat tree": of_fat_tree(endpoints=8, radix=4),
    "fat tree of three levels": of_fat_tree(endpoints=14, radix=4, levels=3),
    "tapered fat tree": of_fat_tree(endpoints=20, radix=8, oversubscription=3.0),
    "one leaf": of_fat_tree(endpoints=3, radix=8),
    "clos": of_clos((2, 3, 2), parents=(1, 2, 3), links=(1, 2, 1)),
    "clos of two rails": of_clos((3, 2), parents=(2, 2)),
    "star": of_clos((5,)),
    "hypercube": of_hypercube(16),
    "hypercube of one": of_hypercube(1),
    "dragonfly": of_dragonfly(groups=9, global_links=2, **DRAGONFLY),
    "dragonfly with bundles": of_dragonfly(groups=4, links_per_pair=6, **DRAGONFLY),
    "dragonfly partly filled": of_dragonfly(groups=5, links_per_pair=3, endpoints=31, **DRAGONFLY),
    "dragonfly of two groups": of_dragonfly(groups=2, links_per_pair=1, **DRAGONFLY),
    "dragonfly of one group": of_dragonfly(groups=1, links_per_pair=1, **DRAGONFLY),
    "dragonfly of chassis": of_dragonfly(
        groups=3, routers_per_group=6, endpoints_per_router=2, links_per_pair=4, chassis=2, chassis_links=3
    ),
    "dragonfly+": of_dragonfly_plus(groups=4, leaves=3, spines=2, endpoints_per_leaf=2, links_per_pair=1),
    "dragonfly+ with bundles": of_dragonfly_plus(groups=3, leaves=2, spines=2, endpoints_per_leaf=3, links_per_pair=5),
}
HIERARCHICAL = {name for name in NETWORKS if name.startswith("dragonfly")}
each_network = pytest.mark.parametrize("name", NETWORKS)


def all_pairs(shape):
    return (axis.ravel() for axis in np.meshgrid(*[np.arange(shape.endpoints)] * 2, indexing="ij"))


def ways(table, found, a):
    """Each route as the vertices it passes, after checking that every link starts where the one before it ended."""
    source, target = table.source, table.target
    result = []
    for start, row in zip(a.tolist(), found.tolist(), strict=True):
        used = [link for link in row if link != NO_LINK]
        assert row == used + [NO_LINK] * (len(row) - len(used))
        way = [start]
        for link in used:
            assert source[link] == way[-1]
            way.append(int(target[link]))
        result.append(way)
    return result


def searched(name, topology, names, shape):
    """Fewest hops between all end points; in a dragonfly over links of the two groups alone."""
    lengths = {}
    group = {}
    if name in HIERARCHICAL:
        group = {vertex: vertex[1] for vertex in topology.graph if isinstance(vertex, tuple)}
        group |= {end: group[next(iter(topology.graph[end]))] for end in topology.endpoints}
    for a in names[: shape.endpoints]:
        for other in sorted(set(group.values())) or [None]:
            near = [v for v in topology.graph if other is None or group[v] in (group[a], other)]
            found = nx.single_source_shortest_path_length(topology.graph.subgraph(near), a)
            lengths |= {(a, b): found[b] for b in near if other is None or group[b] == other}
    return lengths


@each_network
def test_the_link_table_is_the_graph(name):
    shape, topology, names = NETWORKS[name]
    table = links(shape)
    by_table = {
        frozenset((names[u], names[v])): (table.tiers[tier], count)
        for u, v, tier, count in zip(*map(np.ndarray.tolist, (table.u, table.v, table.tier, table.count)), strict=True)
    }
    by_graph = {frozenset((a, b)): (link["tier"], link["count"]) for a, b, link in topology.graph.edges(data=True)}
    assert by_table == by_graph
    assert table.edges == len(by_graph)
    assert table.vertices == len(names) == len(topology.graph)
    assert tuple(names[: shape.endpoints]) == topology.endpoints


@each_network
@pytest.mark.parametrize("choice", [0, 1, 5])
def test_every_route_arrives_and_is_as_short_as_by_search(name, choice):
    shape, topology, names = NETWORKS[name]
    a, b = all_pairs(shape)
    found = ways(links(shape), routes(shape, a, b, choice), a)
    length = searched(name, topology, names, shape)
    for start, end, way in zip(a.tolist(), b.tolist(), found, strict=True):
        assert way[-1] == end
        assert len(way) - 1 == length[names[start], names[end]]


@each_network
def test_all_choices_are_different_routes_and_then_they_start_again(name):
    shape, _, _ = NETWORKS[name]
    a, b = all_pairs(shape)
    several = choices(shape, a, b)
    found = [routes(shape, a, b, choice).tolist() for choice in range(several.max() + 1)]
    for t, many in enumerate(several.tolist()):
        wide = [tuple(link for link in rows[t] if link != NO_LINK) for rows in found]
        if name.startswith("hypercube"):  # a first bit that does not differ leads to the route of the next that does
            assert len(set(wide[:many])) == max(1, int(a[t] ^ b[t]).bit_count())
        else:
            assert len(set(wide[:many])) == many
        assert all(wide[choice] == wide[choice % many] for choice in range(len(wide)))


@pytest.mark.parametrize("name", sorted({*NETWORKS} - HIERARCHICAL - {"hypercube", "hypercube of one"}))
def test_where_links_are_single_the_choices_are_all_the_shortest_routes_or_those_in_order_of_dimension(name):
    shape, topology, names = NETWORKS[name]
    a, b = all_pairs(shape)
    several = choices(shape, a, b).tolist()
    number = {vertex: i for i, vertex in enumerate(names)}
    for start, end, many in zip(a.tolist(), b.tolist(), several, strict=True):
        by_search = {
            tuple(number[v] for v in way) for way in nx.all_shortest_paths(topology.graph, names[start], names[end])
        }
        pair = np.array([start] * many), np.array([end] * many)
        by_formula = {tuple(way) for way in ways(links(shape), routes(shape, *pair, np.arange(many)), pair[0])}
        assert by_formula <= by_search
        if "torus" not in name and "gemini" not in name and "mesh" not in name and "wrapped" not in name:
            assert len(by_formula) == len(by_search) or "tpu" in name or name in ("pair", "ring")


@each_network
def test_the_diameter_of_the_shape_is_that_of_the_longest_route(name):
    shape, topology, _ = NETWORKS[name]
    if not hasattr(shape, "diameter"):
        return
    longest = hops_of(routes(shape, *all_pairs(shape))).max(initial=0)
    assert longest <= shape.diameter
    if name not in HIERARCHICAL or name in ("dragonfly", "dragonfly+"):  # others have gateways close to every router
        assert longest == shape.diameter
    if name not in HIERARCHICAL:
        assert longest == diameter(topology)
    else:
        assert longest >= diameter(topology)


@each_network
@pytest.mark.parametrize("router", [ecmp_routes, valiant_routes])
def test_hashed_routes_arrive_and_a_seed_decides(name, router):
    shape, _, _ = NETWORKS[name]
    a, b = all_pairs(shape)
    one, again, other = (router(shape, a, b, seed=seed) for seed in (3, 3, 4))
    assert one.tolist() == again.tolist()
    for end, way in zip(b.tolist(), ways(links(shape), one, a), strict=True):
        assert way[-1] == end
    if choices(shape, a, b).max() > 1 and name not in ("pair", "hypercube of one"):
        assert one.tolist() != other.tolist()


@each_network
def test_ecmp_is_as_short_as_minimal_and_valiant_no_shorter(name):
    shape, topology, names = NETWORKS[name]
    a, b = all_pairs(shape)
    assert (hops_of(ecmp_routes(shape, a, b, seed=1)) == hops_of(routes(shape, a, b))).all()
    # Over a third group can be shorter than a minimal route of a dragonfly, but not than any route at all.
    lengths = dict(nx.all_pairs_shortest_path_length(topology.graph))
    shortest = [lengths[names[x]][names[y]] for x, y in zip(a, b, strict=True)]
    assert (hops_of(valiant_routes(shape, a, b, seed=1)) >= shortest).all()


@pytest.mark.parametrize("name", ["dragonfly", "dragonfly of chassis", "dragonfly with bundles", "dragonfly+"])
def test_valiant_between_groups_crosses_a_third_one_and_no_more(name):
    shape, topology, names = NETWORKS[name]
    a, b = all_pairs(shape)
    table = links(shape)
    across = table.link_tier == table.tiers.index("global")
    group = [v[1] if isinstance(v, tuple) else next(iter(topology.graph[v]))[1] for v in names]
    thirds = set()
    found = valiant_routes(shape, a, b, seed=2)
    for start, end, row, way in zip(a.tolist(), b.tolist(), found.tolist(), ways(table, found, a), strict=True):
        crossed = sum(bool(across[link]) for link in row if link != NO_LINK)
        seen = {group[v] for v in way}
        if group[start] == group[end]:
            assert crossed == 0
        else:
            assert crossed == 2
            assert len(seen) == 3
            thirds |= seen - {group[start], group[end]}
    assert len(thirds) == shape.groups


def test_hashed_choices_are_spread_evenly():
    a, b = (x.ravel() for x in np.meshgrid(np.arange(200), np.arange(200)))
    counts = np.bincount(ecmp_choice(a, b, seed=7) % 16, minlength=16)
    assert abs(counts / 2500 - 1).max() < 0.1  # five standard deviations of a fair draw
    assert (ecmp_choice(a, b, seed=7) != ecmp_choice(b, a, seed=7))[a != b].all()
    assert ecmp_choice(3, 4).shape == ()


def test_a_table_can_be_taken_from_any_topology():
    topology = NETWORKS["dragonfly"][1]
    table, names = table_of(topology)
    assert names[: len(topology.endpoints)] == topology.endpoints
    assert {frozenset((names[u], names[v])) for u, v in zip(table.u, table.v, strict=True)} == {
        frozenset(edge) for edge in topology.graph.edges
    }
    assert table.link_count.sum() == 2 * sum(count for _, _, count in topology.graph.edges(data="count"))


def test_every_regular_network_is_looked_at():
    assert {type(shape) for shape, _, _ in NETWORKS.values()} == set(REGULAR)


@each_network
def test_end_points_that_are_not_there_are_refused(name):
    shape, _, _ = NETWORKS[name]
    n = shape.endpoints
    with pytest.raises(TopologyError, match=f"no end point {n}; 0 to {n - 1}"):
        routes(shape, [0], [n])
    with pytest.raises(TopologyError, match="no end point -1"):
        choices(shape, [-1], [0])
    with pytest.raises(TopologyError, match=r"end points are \[0.5\]; a list of whole numbers"):
        ecmp_routes(shape, [0.5], [0])


def test_a_shape_without_formulas_is_refused():
    with pytest.raises(TopologyError, match=r"no routes by formula for int; for FatTreeShape, .* ecmp_router"):
        routes(3, [0], [0])


def test_no_routes_are_an_empty_array():
    for shape, _, _ in NETWORKS.values():
        assert routes(shape, [0], [0]).shape == (1, 0)
        none = np.zeros(0, np.int64)
        assert routes(shape, none, none).shape == (0, 0)


def test_parallel_links_between_groups_are_dealt_out_to_all_routers_alike():
    shape = dragonfly_shape(groups=5, links_per_pair=7, **DRAGONFLY)
    table = links(shape)
    across = table.tier == table.tiers.index("global")
    held = np.bincount(
        np.concatenate([table.u[across], table.v[across]]),
        np.concatenate([table.count[across]] * 2),
        minlength=table.vertices,
    )[shape.endpoints :]
    assert held.sum() == 2 * 7 * 10
    assert held.max() - held.min() <= 1
    assert replace(shape, links_per_pair=1).gateways == 1
