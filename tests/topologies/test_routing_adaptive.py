import numpy as np
import pytest

from topologies.dragonfly_plus import dragonfly_plus_shape
from topologies.dragonfly_shape import dragonfly_shape
from topologies.link_table import NO_LINK, hops_of
from topologies.routing_adaptive import KNOWS, adaptive_routes, link_byte
from topologies.routing_hash import ecmp_choice
from topologies.routing_regular import ecmp_routes, links, valiant_routes
from topologies.topology import TopologyError

SHAPES = {
    "dragonfly": dragonfly_shape(groups=9, routers_per_group=4, endpoints_per_router=2, global_links=2),
    "chassis": dragonfly_shape(
        groups=4, routers_per_group=6, endpoints_per_router=2, links_per_pair=4, chassis=2, chassis_links=3
    ),
    "dragonfly+": dragonfly_plus_shape(groups=5, leaves=4, spines=4, endpoints_per_leaf=4, links_per_pair=4),
}
each_shape = pytest.mark.parametrize("name", SHAPES)


def random_pairs(shape, messages, seed=0):
    draw = np.random.default_rng(seed)
    return draw.integers(0, shape.endpoints, messages), draw.integers(0, shape.endpoints, messages)


def next_group(shape):
    """Every end point sends to its like in the next group: the pattern that minimal routing bears worst."""
    a = np.arange(shape.endpoints)
    return a, (a + shape.endpoints // shape.groups) % shape.endpoints


def busiest(shape, found):
    table = links(shape)
    return (link_byte(table, found, 1.0) / table.link_count).max()


@each_shape
@pytest.mark.parametrize("knows", KNOWS)
@pytest.mark.parametrize("batch", [1, 64])
def test_every_message_takes_one_of_its_two_routes(name, knows, batch):
    shape = SHAPES[name]
    a, b = random_pairs(shape, 500)
    minimal, detour = ecmp_routes(shape, a, b), valiant_routes(shape, a, b)
    found, away = adaptive_routes(links(shape), minimal, detour, 100.0, knows=knows, batch=batch)
    for t in range(500):
        expected = (detour if away[t] else minimal)[t]
        assert found[t][found[t] != NO_LINK].tolist() == expected[expected != NO_LINK].tolist()


@each_shape
def test_one_message_alone_takes_the_minimal_route(name):
    shape = SHAPES[name]
    for a, b in zip(*random_pairs(shape, 20), strict=True):
        minimal, detour = ecmp_routes(shape, [a], [b]), valiant_routes(shape, [a], [b])
        assert not adaptive_routes(links(shape), minimal, detour, 1.0)[1].any()


@each_shape
def test_to_the_next_group_adaptive_routing_spreads_what_minimal_piles_up(name):
    shape = SHAPES[name]
    a, b = next_group(shape)
    minimal, detour = ecmp_routes(shape, a, b), valiant_routes(shape, a, b)
    found, away = adaptive_routes(links(shape), minimal, detour, 1.0, batch=1)
    assert 0 < away.sum() < len(a)
    assert busiest(shape, found) < busiest(shape, minimal)


def test_on_a_dragonfly_of_one_link_between_groups_a_group_sends_all_of_it_over_that_link():
    shape = SHAPES["dragonfly"]
    a, b = next_group(shape)
    assert busiest(shape, ecmp_routes(shape, a, b)) == 8  # 4 routers of 2 end points


@each_shape
def test_even_traffic_stays_mostly_minimal(name):
    shape = SHAPES[name]
    a, b = random_pairs(shape, 4000)
    minimal, detour = ecmp_routes(shape, a, b), valiant_routes(shape, a, b)
    found, away = adaptive_routes(links(shape), minimal, detour, 1.0, batch=1)
    assert away.mean() < 0.35
    assert hops_of(found).mean() < hops_of(detour).mean()


def one_by_one(table, minimal, detour, byte, knows):
    """The rule in words, message after message."""
    degree = np.bincount(np.concatenate([table.u, table.v]), minlength=table.vertices)
    source, target, count = table.source, table.target, table.link_count
    load = np.zeros(len(source))
    away = []
    for t in range(len(minimal)):
        cost = []
        for row in (minimal[t], detour[t]):
            used = [link for link in row if link != NO_LINK]
            inner = [link for link in used if degree[source[link]] > 1 and degree[target[link]] > 1]
            seen = inner if knows == "path" else inner[:1]
            cost.append(max((load[link] / count[link] for link in seen), default=0.0) * len(inner))
        away.append(cost[0] > cost[1])
        for link in (detour if away[-1] else minimal)[t]:
            if link != NO_LINK:
                load[link] += byte[t]
    return away


@each_shape
@pytest.mark.parametrize("knows", KNOWS)
def test_deciding_in_arrays_is_deciding_one_by_one(name, knows):
    shape = SHAPES[name]
    a, b = random_pairs(shape, 300, seed=5)
    b[::3] = next_group(shape)[1][a[::3]]
    byte = np.random.default_rng(6).integers(1, 64, 300).astype(float)  # sums are exact
    minimal, detour = ecmp_routes(shape, a, b), valiant_routes(shape, a, b)
    away = adaptive_routes(links(shape), minimal, detour, byte, knows=knows, batch=1)[1]
    assert away.tolist() == one_by_one(links(shape), minimal, detour, byte, knows)


@each_shape
@pytest.mark.parametrize("knows", KNOWS)
def test_other_traffic_is_gone_round(name, knows):
    shape = SHAPES[name]
    table = links(shape)
    a, b = next_group(shape)
    minimal, detour = ecmp_routes(shape, a[:1], b[:1]), valiant_routes(shape, a[:1], b[:1])
    load = np.zeros(2 * table.edges)
    load[minimal[0]] = 1e6
    load[detour[0]] = np.where(np.isin(detour[0], minimal[0]), load[detour[0]], 1.0)
    shared = np.isin(detour[0][1:2] if knows == "first_link" else detour[0][1:-1], minimal[0]).any()
    assert adaptive_routes(table, minimal, detour, 1.0, knows=knows, load_byte=load)[1][0] == (not shared)


def test_bytes_are_conserved_over_links():
    shape = SHAPES["dragonfly"]
    a, b = random_pairs(shape, 200)
    found = ecmp_routes(shape, a, b)
    byte = np.arange(200)
    crossing = link_byte(links(shape), found, byte)
    assert crossing.sum() == (byte * hops_of(found)).sum()
    assert crossing[: shape.endpoints].sum() == byte[a != b].sum()  # everything leaves its end point once


def test_bad_questions_are_refused():
    shape = SHAPES["dragonfly"]
    found = ecmp_routes(shape, [0], [9])
    with pytest.raises(TopologyError, match="knows is 'all'; one of path, first_link"):
        adaptive_routes(links(shape), found, found, 1.0, knows="all")
    with pytest.raises(TopologyError, match="batch is 0; a whole number, at least 1"):
        adaptive_routes(links(shape), found, found, 1.0, batch=0)


def test_a_seed_of_any_size_is_one():
    assert ecmp_choice([1], [2], seed=-1).tolist() == ecmp_choice([1], [2], seed=2**64 - 1).tolist()
