from itertools import product

import pytest

from topologies.dragonfly import aries, aries_shape, dragonfly, dragonfly_of, slingshot, slingshot_shape
from topologies.dragonfly_shape import dragonfly_shape
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.topology import TopologyError


@pytest.mark.parametrize("h", [1, 2, 3, 4])
def test_a_balanced_dragonfly_of_every_port_has_kims_counts(h):
    # Kim et al. 2008: a = 2 p = 2 h routers per group, a h + 1 groups, one link between any two, diameter 3 (+ 2 here).
    topology = dragonfly(groups=2 * h * h + 1, routers_per_group=2 * h, endpoints_per_router=h, global_links=h)
    groups, routers = 2 * h * h + 1, 2 * h * (2 * h * h + 1)
    assert len(topology.endpoints) == routers * h
    assert len(topology.vertices("switch")) == routers
    assert links_by_tier(topology) == {
        "global": groups * (groups - 1) // 2,
        "local": groups * (2 * h) * (2 * h - 1) // 2,
        "scale_out": routers * h,
    }
    assert {degree(topology, router) for router in topology.vertices("switch")} == {h + (2 * h - 1) + h}
    assert diameter(topology) == 5


@pytest.mark.parametrize(("groups", "h", "pairs"), [(3, 2, 4), (5, 1, 1), (5, 3, 3), (4, 2, 2), (2, 3, 12)])
def test_links_are_shared_out_over_the_other_groups(groups, h, pairs):
    shape = dragonfly_shape(groups=groups, routers_per_group=4, endpoints_per_router=1, global_links=h)
    assert shape.links_per_pair == pairs == 4 * h // (groups - 1)
    assert links_by_tier(dragonfly_of(shape))["global"] == pairs * groups * (groups - 1) // 2


def test_where_there_is_a_closed_form_of_the_bisection_it_is_the_exact_cut():
    looked_at = 0
    for groups, rows, columns, endpoints, links, local in product(
        (1, 2, 4), (1, 2), *[(1, 2, 3)] * 2, (1, 2, 3, 5), (1, 3)
    ):
        if groups * rows * columns * (1 + endpoints) > 14:
            continue
        topology = dragonfly(
            groups=groups,
            routers_per_group=rows * columns,
            endpoints_per_router=endpoints,
            links_per_pair=links,
            local_links=local,
            chassis=rows,
            chassis_links=local,
        )
        if topology.bisection is not None:
            assert bisection_links(topology) == exact_bisection_links(topology)
            looked_at += groups > 1
    assert looked_at > 30


@pytest.mark.parametrize(
    ("groups", "routers", "endpoints", "links", "cut"),
    [(2, 4, 2, 2, 2), (4, 2, 1, 1, 4), (2, 4, 1, 4, 4), (2, 3, 3, 1, 1)],
)
def test_closed_forms_that_are_there(groups, routers, endpoints, links, cut):
    topology = dragonfly(
        groups=groups, routers_per_group=routers, endpoints_per_router=endpoints, links_per_pair=links, local_links=3
    )
    assert topology.bisection == cut


@pytest.mark.parametrize("rows", [2, 3])
def test_a_group_of_chassis_is_cut_as_exactly(rows):
    topology = dragonfly(
        groups=2, routers_per_group=2 * rows, endpoints_per_router=1, links_per_pair=1, chassis=rows, chassis_links=2
    )
    assert topology.bisection == 1


def test_a_large_one_is_cut_between_groups():
    shape = dragonfly_shape(groups=128, routers_per_group=32, endpoints_per_router=16, global_links=4)
    assert (shape.endpoints, shape.links_per_pair) == (65_536, 1)
    topology = dragonfly_of(dragonfly_shape(groups=8, routers_per_group=32, endpoints_per_router=16, links_per_pair=16))
    assert bisection_links(topology) == 16 * 4 * 4


def test_the_groups_of_an_aries():
    shape = aries_shape(groups=3)
    topology = aries(groups=3)
    assert len(topology.endpoints) == 3 * 384
    assert len(topology.vertices("switch")) == 3 * 96
    # 16 routers of a chassis all to all with one link; 6 chassis, 3 links between routers of one slot (NERSC).
    assert links_by_tier(topology)["local"] == 3 * (6 * 16 * 15 // 2 + 16 * 6 * 5 // 2 * 3)
    assert topology.graph.edges[("router", 0, 0), ("router", 0, 15)]["count"] == 1
    assert topology.graph.edges[("router", 0, 0), ("router", 0, 80)]["count"] == 3
    assert not topology.graph.has_edge(("router", 0, 0), ("router", 0, 17))
    assert shape.diameter == 2 + 5
    assert diameter(topology) <= 7


def test_the_nodes_of_piz_daint_fill_fourteen_groups():
    topology = aries(groups=14, nodes=5320)
    assert len(topology.endpoints) == 5320
    assert topology.bisection is None  # the last group is partly empty
    assert max(degree(topology, router) for router in topology.vertices("switch")) <= 44


def test_a_slingshot_group_of_perlmutter():
    shape = slingshot_shape(groups=13)
    assert (shape.endpoints, shape.radix <= 64) == (13 * 128 * 4, True)
    topology = slingshot(groups=3, links_per_pair=2, nics=1200)
    assert len(topology.endpoints) == 1200
    assert diameter(topology) == 5  # three hops between switches
    assert slingshot_shape(groups=80, links_per_pair=2, nics=9408 * 4).links_per_pair == 2


DRAGONFLY = {"groups": 9, "routers_per_group": 4, "endpoints_per_router": 2, "global_links": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": 0}, "groups is 0; a whole number, at least 1"),
        ({"routers_per_group": True}, "routers_per_group is True; a whole number"),
        ({"groups": 10}, r"groups is 10; at most 9, .* Nearest: groups=9 or global_links=3"),
        ({"chassis": 3}, r"routers_per_group is 4; with 3 chassis a multiple of 3. Nearest: 3"),
        ({"endpoints": 73}, r"endpoints is 73; at most 72 .* Nearest: groups=10"),
        ({"radix": 6}, r"a router needs 7 ports .* radix is 6. Nearest: radix=7"),
        ({"links_per_pair": 1}, "either global_links .* or links_per_pair"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        dragonfly(**(DRAGONFLY | change))


def test_machines_that_need_more_ports_than_they_have_are_refused():
    with pytest.raises(TopologyError, match=r"a router needs \d+ ports .* radix is 44"):
        aries(groups=100, links_per_pair=12)
    with pytest.raises(TopologyError, match=r"leave none of 64 ports for other groups. Nearest: switches_per_group=48"):
        slingshot(groups=4, switches_per_group=49)
    with pytest.raises(TopologyError, match="either global_links"):
        dragonfly(groups=2, routers_per_group=2, endpoints_per_router=1)
