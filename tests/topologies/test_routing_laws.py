"""What routes by formula must do at any size: hang together, stay short, and load links as theory says."""

import numpy as np
import pytest

from topologies.clos import clos_shape
from topologies.dragonfly import aries_shape, slingshot_shape
from topologies.dragonfly_plus import dragonfly_plus_shape
from topologies.dragonfly_shape import dragonfly_shape
from topologies.fat_tree import fat_tree_shape
from topologies.gemini import gemini_shape
from topologies.hypercube import HypercubeShape
from topologies.link_table import NO_LINK, hops_of
from topologies.routing_adaptive import link_byte
from topologies.routing_regular import choices, ecmp_routes, links, routes, valiant_routes
from topologies.torus import torus_shape
from topologies.tpu import tpu_slice_shape

LARGE = {
    "dragonfly of 65,536": dragonfly_shape(
        groups=128, routers_per_group=32, endpoints_per_router=16, global_links=16, radix=63
    ),
    "piz daint": aries_shape(groups=14, nodes=5320),
    "frontier": slingshot_shape(groups=74, nics=9408 * 4),
    "juwels booster": dragonfly_plus_shape(
        groups=20, leaves=10, spines=10, endpoints_per_leaf=20, links_per_pair=10, leaf_links=2
    ),
    "fat tree of 100,000": fat_tree_shape(endpoints=100_000, radix=74, levels=3),
    "clos of 24,576": clos_shape((16, 192, 8), parents=(1, 16, 28)),
    "titan": gemini_shape(),
    "tpu v5p pod": tpu_slice_shape("v5p"),
    "torus of 101,376": torus_shape((48, 48, 44)),
    "hypercube of 65,536": HypercubeShape(chips=65_536),
}
each_large = pytest.mark.parametrize("name", LARGE)


def all_pairs(n):
    return (axis.ravel() for axis in np.meshgrid(np.arange(n), np.arange(n), indexing="ij"))


def assert_they_arrive(shape, found, a, b):
    table = links(shape)
    at = a.copy()
    source, target = table.source, table.target
    for column in found.T:
        moves = column != NO_LINK
        assert (source[column[moves]] == at[moves]).all()
        at[moves] = target[column[moves]]
    assert (at == b).all()


@each_large
@pytest.mark.parametrize("router", [ecmp_routes, valiant_routes])
def test_routes_of_large_networks_hang_together(name, router):
    shape = LARGE[name]
    draw = np.random.default_rng(3)
    a, b = (draw.integers(0, shape.endpoints, 5000) for _ in range(2))
    assert_they_arrive(shape, router(shape, a, b, seed=1), a, b)


@each_large
def test_minimal_routes_of_large_networks_are_no_longer_than_the_diameter(name):
    shape = LARGE[name]
    draw = np.random.default_rng(4)
    a, b = (draw.integers(0, shape.endpoints, 20_000) for _ in range(2))
    most = {"FatTreeShape": 6, "HypercubeShape": 16}.get(type(shape).__name__) or shape.diameter
    assert hops_of(ecmp_routes(shape, a, b)).max() <= most


@pytest.mark.parametrize("seed", [0, 1])
def test_a_detour_between_groups_has_at_most_two_global_and_three_times_the_local_links(seed):
    shape = LARGE["piz daint"]
    draw = np.random.default_rng(seed)
    a, b = (draw.integers(0, shape.endpoints, 5000) for _ in range(2))
    assert hops_of(valiant_routes(shape, a, b, seed=seed)).max() <= 2 + 2 + 3 * shape.local_diameter


@pytest.mark.parametrize("router", [ecmp_routes, valiant_routes])
def test_many_messages_at_once_take_the_routes_they_take_in_parts(monkeypatch, router):
    shape = LARGE["piz daint"]
    draw = np.random.default_rng(5)
    a, b = (draw.integers(0, shape.endpoints, 300) for _ in range(2))
    whole = router(shape, a, b)
    monkeypatch.setattr("topologies.routing_dragonfly.CHUNK", 7)
    assert router(shape, a, b).tolist() == whole.tolist()


def test_a_detour_in_a_dragonfly_plus_that_enters_and_leaves_by_one_spine_passes_no_leaf():
    shape = LARGE["juwels booster"]
    table = links(shape)
    draw = np.random.default_rng(6)
    a, b = (draw.integers(0, shape.endpoints, 5000) for _ in range(2))
    found = valiant_routes(shape, a, b, seed=1)
    back = np.where(found < table.edges, found + table.edges, found - table.edges)
    assert not ((found[:, 1:] == back[:, :-1]) & (found[:, 1:] != NO_LINK)).any()
    assert set(hops_of(found[a // 200 != b // 200])) == {6, 8}


@pytest.mark.parametrize(("h", "m"), [(1, 1), (2, 1), (3, 1)])
def test_all_to_all_loads_every_global_link_of_a_full_dragonfly_with_a_group_times_a_group(h, m):
    shape = dragonfly_shape(groups=2 * h * h + 1, routers_per_group=2 * h, endpoints_per_router=h, global_links=h)
    table = links(shape)
    load = link_byte(table, routes(shape, *all_pairs(shape.endpoints)), 1.0)
    across = table.link_tier == table.tiers.index("global")
    assert set(load[across]) == {float((2 * h * h) ** 2 // m)}


@pytest.mark.parametrize("d", [1, 3, 5])
def test_all_to_all_loads_every_link_of_a_hypercube_with_half_its_chips(d):
    shape = HypercubeShape(chips=2**d)
    assert set(link_byte(links(shape), routes(shape, *all_pairs(2**d)), 1.0)) == {2**d / 2}


@pytest.mark.parametrize("dims", [(5,), (3, 7), (3, 5, 3)])
def test_all_to_all_loads_links_of_an_odd_torus_with_what_the_bound_of_its_bisection_says(dims):
    shape = torus_shape(dims)
    load = link_byte(links(shape), routes(shape, *all_pairs(shape.endpoints)), 1.0)
    assert set(load) == {shape.endpoints * (k * k - 1) / (8 * k) for k in dims}  # N l(k), see torus_bisection


@pytest.mark.parametrize("dims", [(4,), (4, 6)])
def test_ties_taken_half_and_half_load_links_of_an_even_torus_alike(dims):
    shape = torus_shape(dims)
    a, b = all_pairs(shape.endpoints)
    both = sum(link_byte(links(shape), routes(shape, a, b, choice), 0.25) for choice in range(4))
    assert set(both) == {shape.endpoints * k / 8 for k in dims}


@pytest.mark.parametrize(
    "shape", [clos_shape((4, 4), parents=(1, 4)), clos_shape((2, 3, 4), parents=(1, 2, 3)), clos_shape((3,))]
)
def test_every_shift_passes_an_untapered_clos_network_without_two_messages_on_a_link(shape):
    # Zahavi 2012: the parent at each level by the target's digit.
    n = shape.endpoints
    for shift in range(1, n):
        a = np.arange(n)
        b = (a + shift) % n
        assert link_byte(links(shape), routes(shape, a, b, b), 1.0).max() == 1


@pytest.mark.parametrize(
    "shape", [fat_tree_shape(endpoints=54, radix=6, levels=3), fat_tree_shape(endpoints=32, radix=8)]
)
def test_all_choices_of_a_fat_tree_together_load_the_links_of_a_level_alike(shape):
    table = links(shape)
    a, b = all_pairs(shape.endpoints)
    several = choices(shape, a, b)
    load = np.zeros(2 * table.edges)
    for choice in range(several.max()):
        load += link_byte(table, routes(shape, a, b, choice), 1.0 / several.max())
    level = [*np.split(load[: table.edges], [shape.endpoints, shape.endpoints + shape.leaves * shape.middles])]
    assert all(np.allclose(part, part[0], rtol=1e-12) for part in level if len(part))


def test_hashing_lets_some_links_of_a_fat_tree_carry_several_messages_where_spraying_carries_one():
    shape = fat_tree_shape(endpoints=1024, radix=64)
    a = np.arange(1024)
    b = (a + 512) % 1024
    hashed = link_byte(links(shape), ecmp_routes(shape, a, b, seed=1), 1.0)
    assert hashed.max() >= 3  # balls into bins
    assert link_byte(links(shape), routes(shape, a, b, b), 1.0).max() <= 2
