"""How fast large networks are built and routed, against the plainest way to do the same on the same machine.

Not part of the tests: ``python -m pytest tests/benchmarks -q -s``. Every figure that is asserted is a ratio, or a
number of bytes, so that a slow or busy machine changes none; seconds are printed.
"""

import subprocess
import sys
import time

import networkx as nx
import numpy as np

from topologies.dragonfly import dragonfly_names, dragonfly_of
from topologies.dragonfly_shape import dragonfly_shape
from topologies.fat_tree import fat_tree_shape
from topologies.link_table import hops_of
from topologies.routing import fat_tree_route
from topologies.routing_adaptive import adaptive_routes
from topologies.routing_hash import ecmp_choice
from topologies.routing_regular import ecmp_routes, links, routes, valiant_routes
from topologies.routing_search import ecmp_router
from topologies.torus import torus_shape

MESSAGES = 65_536
DRAGONFLY = dragonfly_shape(groups=128, routers_per_group=32, endpoints_per_router=16, global_links=16)


def seconds(work, repeat=1):
    """CPU time of the quickest of some runs, and the last result."""
    best, result = float("inf"), None
    for _ in range(repeat):
        begin = time.process_time()
        result = work()
        best = min(best, time.process_time() - begin)
    return best, result


def pairs(endpoints, messages=MESSAGES):
    draw = np.random.default_rng(0)
    return draw.integers(0, endpoints, messages), draw.integers(0, endpoints, messages)


def test_a_dragonfly_of_65536_chips_is_built_and_routed():
    built_s, topology = seconds(lambda: dragonfly_of(DRAGONFLY))
    assert len(topology.endpoints) == 65_536
    table, names = links(DRAGONFLY), dragonfly_names(DRAGONFLY)

    def plain():
        graph = nx.Graph()
        graph.add_nodes_from(names)
        for u, v in zip(table.u.tolist(), table.v.tolist(), strict=True):
            graph.add_edge(names[u], names[v], tier="scale_out", count=1, derate=1.0)

    plain_s, _ = seconds(plain)
    a, b = pairs(DRAGONFLY.endpoints)
    routed_s, found = seconds(lambda: ecmp_routes(DRAGONFLY, a, b))
    detour_s, detour = seconds(lambda: valiant_routes(DRAGONFLY, a, b))
    adaptive_s, (_, away) = seconds(lambda: adaptive_routes(table, found, detour, 1.0))
    router = ecmp_router(topology)
    searched_s, ways = seconds(lambda: [router(x, y) for x, y in zip(a[:20].tolist(), b[:20].tolist(), strict=True)])
    assert all(len(way) - 1 <= hops for way, hops in zip(ways, hops_of(found[:20]).tolist(), strict=True))
    ratio = (searched_s / 20) / (routed_s / MESSAGES)
    print(
        f"\n65,536 chips, {table.edges:,} edges: built in {built_s:.2f} s ({built_s / plain_s:.1f} times a bare "
        f"graph); "
        f"65,536 routes in {routed_s:.2f} s minimal, {detour_s:.2f} s Valiant, {adaptive_s:.2f} s adaptive "
        f"({away.mean():.0%} detours); {ratio:,.0f} times as fast as by search"
    )
    assert built_s < 12 * plain_s
    assert ratio > 1000


def test_memory_of_the_same():
    program = """
import resource, numpy
from topologies.dragonfly import dragonfly_of
from topologies.dragonfly_shape import dragonfly_shape
from topologies.routing_regular import ecmp_routes
shape = dragonfly_shape(groups=128, routers_per_group=32, endpoints_per_router=16, global_links=16)
topology = dragonfly_of(shape)
draw = numpy.random.default_rng(0)
ecmp_routes(shape, draw.integers(0, 65536, 65536), draw.integers(0, 65536, 65536))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    used = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    print(f"\n65,536 chips built and routed in {int(used) / 1e6:.2f} GB")
    assert int(used) * 1024 < 1e9


def test_a_hundred_thousand_end_points_of_a_fat_tree():
    shape = fat_tree_shape(endpoints=100_000, radix=74, levels=3)
    a, b = np.arange(100_000), np.random.default_rng(1).permutation(100_000)
    choice = ecmp_choice(a, b)
    table_s, table = seconds(lambda: links(shape))
    all_s, found = seconds(lambda: routes(shape, a, b, choice))
    sample = range(0, 100_000, 50)
    one_s, ways = seconds(lambda: [fat_tree_route(shape, int(a[i]), int(b[i]), choice=int(choice[i])) for i in sample])
    assert [len(way) - 1 for way in ways] == hops_of(found)[::50].tolist()
    ratio = (one_s / len(sample)) / (all_s / 100_000)
    print(
        f"\n100,000 end points, {table.edges:,} edges: table in {table_s:.2f} s, 100,000 routes in {all_s:.2f} s, "
        f"{ratio:,.0f} times as fast as one at a time"
    )
    assert ratio > 10


def test_a_hundred_thousand_chips_of_a_torus():
    shape = torus_shape((48, 48, 44))
    a, b = pairs(shape.endpoints, 100_000)
    all_s, found = seconds(lambda: routes(shape, a, b))
    one_s, _ = seconds(lambda: [routes(shape, a[i : i + 1], b[i : i + 1]) for i in range(20)])
    ratio = (one_s / 20) / (all_s / 100_000)
    hops = hops_of(found).mean()
    print(
        f"\n101,376 chips of a torus: 100,000 routes of {hops:.0f} hops in {all_s:.2f} s, {ratio:,.0f} times one by one"
    )
    assert ratio > 20
