import pytest

from topologies.fully_connected import fully_connected
from topologies.metrics import degree, exact_bisection_links, hops, links_by_tier
from topologies.nested import nested
from topologies.rail import rail_optimised, rail_shape
from topologies.topology import TopologyError

SERVER = fully_connected(4, links_per_endpoint=6)
SMALL = {"servers": 8, "servers_per_unit": 2, "radix": 16}


def test_a_nic_is_on_the_leaf_of_its_rail_and_unit():
    cluster = rail_optimised(SERVER, **SMALL)
    assert len(cluster.endpoints) == 32
    assert cluster.endpoints[:2] == ((0, 0), (0, 1))
    for server in range(8):
        for rail in range(4):
            assert cluster.graph.has_edge((server, rail), (server, ("nic", rail)))
            assert cluster.graph.has_edge((server, ("nic", rail)), ("leaf", server // 2, rail))


@pytest.mark.parametrize("spines", ["shared", "rail"])
@pytest.mark.parametrize("units_per_pod", [None, 2])
def test_links_add_up_and_no_switch_has_more_than_its_ports(spines, units_per_pod):
    cluster = rail_optimised(SERVER, spines=spines, units_per_pod=units_per_pod, **SMALL)
    shape = rail_shape(rails=4, spines=spines, units_per_pod=units_per_pod, **SMALL)
    by_tier = links_by_tier(cluster)
    leaf_up = shape.units * 4 * shape.uplinks
    assert by_tier["scale_out"] == 32
    assert by_tier["scale_up"] == 8 * 4 * 6
    assert by_tier["spine"] == leaf_up * (2 if shape.cores else 1)
    switches = [v for v in cluster.vertices("switch") if v[0] in ("leaf", "spine", "core")]
    assert max(degree(cluster, switch) for switch in switches) <= 16
    assert {degree(cluster, v) for v in switches if v[0] == "leaf"} == {2 + 2}


def test_one_rail_is_three_links_from_its_like_under_one_leaf_and_rails_meet_at_shared_spines():
    cluster = rail_optimised(SERVER, **SMALL)
    assert hops(cluster, (0, ("nic", 1)), (1, ("nic", 1))) == 2
    assert hops(cluster, (0, ("nic", 1)), (7, ("nic", 1))) == 4
    assert hops(cluster, (0, 1), (7, 2)) == 6  # both rails' leaves are under every spine


def test_without_a_core_messages_change_rails_inside_servers():
    only = rail_optimised(SERVER, spines="rail", core=False, **SMALL)
    assert hops(only, (0, 1), (7, 1)) == 6
    assert hops(only, (0, 1), (7, 2)) == 8  # over the switch inside a server
    assert not [v for v in only.vertices("switch") if v[0] == "core"]
    joined = rail_optimised(SERVER, spines="rail", **SMALL)
    assert [v for v in joined.vertices("switch") if v[0] == "core"]


@pytest.mark.parametrize("oversubscription", [0.5, 1.0, 2.0])
def test_a_taper_divides_what_is_cut_between_units(oversubscription):
    # 4 servers of 2 chips, 2 units of 2 servers: cutting between units means the spine links of one unit's leaves.
    pair = fully_connected(2)
    cluster = rail_optimised(pair, servers=4, servers_per_unit=2, radix=16, oversubscription=oversubscription)
    assert exact_bisection_links(cluster, tier="spine") == 4 / oversubscription
    assert exact_bisection_links(cluster, tier="scale_out") == 2 * 2  # half the servers' cards


@pytest.mark.parametrize("nics", [1, 2, 4, 8])
def test_chips_meet_their_nics_as_in_nested(nics):
    cluster = rail_optimised(SERVER, nics_per_server=nics, **(SMALL | {"radix": 32}))
    same = nested(SERVER, fully_connected(8, tier="scale_out"), nics_per_server=nics)
    to_nics = {frozenset(edge) for edge in same.graph.edges if same.graph.edges[edge]["tier"] == "host"}
    assert to_nics == {frozenset(edge) for edge in cluster.graph.edges if cluster.graph.edges[edge]["tier"] == "host"}


def test_one_unit_of_one_rail_is_one_leaf():
    cluster = rail_optimised(SERVER, servers=2, servers_per_unit=4, radix=8, nics_per_server=1)
    assert [v for v in cluster.vertices("switch") if isinstance(v[0], str)] == [("leaf", 0, 0)]


def test_the_superpod_of_140_dgx_a100():
    # NVIDIA's reference of 7 units of 20 servers: 56 leaves, 80 spines in 8 rails of 10 (switches of 40 ports).
    shape = rail_shape(servers=140, rails=8, servers_per_unit=20, radix=40, spines="rail")
    assert shape.units * shape.rails == 56
    assert (shape.spines, shape.leaf_links, shape.domains) == (10, 2, 8)
    four = rail_shape(servers=560, rails=8, servers_per_unit=20, radix=40, spines="rail", units_per_pod=7)
    assert (four.domains, four.spines) == (32, 10)
    assert four.cores * four.core_links == 14  # a spine has as many links up as down


def test_the_superpod_of_h100():
    # 32 servers a unit, 4 units, switches of 64 ports: 32 leaves, 16 spines under which all rails meet.
    shape = rail_shape(servers=128, rails=8, servers_per_unit=32, radix=64)
    assert (shape.units * shape.rails, shape.spines, shape.leaf_links) == (32, 16, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"servers": 0}, "servers is 0; a whole number, at least 1"),
        ({"spines": "rails"}, r"spines is 'rails'; one of shared, rail. Did you mean 'rail'\?"),
        (
            {"servers_per_unit": 4, "radix": 6},
            "a leaf of 4 servers and 4 uplinks needs 8 ports, .* Nearest: servers_per_unit=3",
        ),
        ({"oversubscription": 3.0}, "oversubscription is 3.0; 2 servers of a leaf over a whole number .* Nearest: 2"),
        ({"oversubscription": 0.0}, "oversubscription is 0.0; a finite number above 0"),
        ({"radix": 8}, "16 leaves under one spine, but radix 8 has 8 ports downwards. Nearest: units_per_pod=2"),
        ({"units_per_pod": 0}, "units_per_pod is 0"),
        (
            {"radix": 4, "spines": "rail", "units_per_pod": 1},
            "16 spines of one plane under a core switch, but radix is 4",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        rail_optimised(SERVER, **(SMALL | change))
