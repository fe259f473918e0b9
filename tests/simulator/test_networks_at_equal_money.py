"""Networks at equal money: prices by hand, rates that cost the same, collectives at their closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.outcome.failures import RunError
from simulator.questions.networks import (
    COPPER,
    Network,
    collective_s,
    ports_of,
    unit_rates_byte_per_s,
    wires_at,
)
from topologies.fat_tree import fat_tree
from topologies.nested import nested
from topologies.nvswitch import nvswitch
from topologies.torus import torus

TREE = Network(name="tree", topology=fat_tree(endpoints=16, radix=8), long_share={"spine": 1.0})
TORUS = Network(name="torus", topology=torus((4, 4)), dims=(4, 4))
SERVERS = Network(
    name="servers",
    topology=nested(nvswitch(4, links_to_switches=(1,)), fat_tree(endpoints=4, radix=8), nics_per_server=4),
    speed={"scale_up": 9.0, "host": float("inf")}, domain=4,
)  # fmt: skip
ALL = (TREE, TORUS, SERVERS)


def test_a_network_costs_two_ports_and_a_cable_for_each_link() -> None:
    # 16 chips on 4 leaves of 4 up: 16 short links and 16 long ones. A 4 x 4 torus has 32 short ones.
    assert ports_of(TREE, optics=3.0) == pytest.approx(16 * (2 + COPPER) + 16 * (2 + 3.0))
    assert ports_of(TORUS, optics=3.0) == pytest.approx(32 * (2 + COPPER))
    # 16 links of nine times the rate inside; outside one card for each chip on one switch. The chip's own bus is free.
    assert ports_of(SERVERS, optics=3.0) == pytest.approx(16 * 9 * (2 + COPPER) + 16 * (2 + COPPER))


@pytest.mark.parametrize("optics", [0.0, 1.0, 8.0])
def test_rates_at_equal_money_cost_what_the_reference_costs(optics: float) -> None:
    rates = unit_rates_byte_per_s(ALL, optics=optics, reference="tree", reference_byte_per_s=50e9)
    assert rates["tree"] == 50e9
    costs = [rates[network.name] * ports_of(network, optics) for network in ALL]
    assert costs == pytest.approx([costs[0]] * len(ALL))


def test_dearer_optics_leave_more_rate_to_those_that_need_less_of_it() -> None:
    rates = [
        unit_rates_byte_per_s(ALL, optics=optics, reference="tree", reference_byte_per_s=50e9)["torus"]
        for optics in (0.0, 1.0, 5.0)
    ]
    assert rates == sorted(rates)
    assert rates[0] < rates[-1]


def test_large_all_reduces_take_what_the_closed_forms_say() -> None:
    byte, rate = 16 * 10**8, 50e9
    once = 2 * 15 / 16 * byte / rate
    seconds, _ = collective_s(TREE, wires_at(TREE, rate, hop_s=0.0), "all_reduce", byte)
    assert seconds == pytest.approx(once, rel=1e-3)
    # Every chip of a torus has four links at work.
    seconds, name = collective_s(TORUS, wires_at(TORUS, rate, hop_s=0.0), "all_reduce", byte)
    assert (name, seconds) == ("torus", pytest.approx(once / 4, rel=1e-3))
    # Inside at nine times the rate, then a quarter of the message over each card.
    seconds, name = collective_s(SERVERS, wires_at(SERVERS, rate, hop_s=0.0), "all_reduce", byte)
    assert name == "two_level"
    assert seconds == pytest.approx(2 * 3 / 4 * byte / (9 * rate) + 2 * 3 / 4 * byte / 4 / rate, rel=1e-3)


@pytest.mark.parametrize("network", ALL, ids=lambda network: network.name)
@pytest.mark.parametrize("collective", ["all_reduce", "all_gather", "all_to_all"])
def test_time_falls_in_proportion_to_the_rate_where_hops_take_none(network: Network, collective: str) -> None:
    slow, fast = (
        collective_s(network, wires_at(network, rate, hop_s=0.0), collective, 16 * 10**6) for rate in (1e9, 2e9)
    )
    assert slow[0] == pytest.approx(2 * fast[0], rel=1e-4)


def test_groups_inside_a_domain_do_not_see_its_cards() -> None:
    groups = [np.arange(4) + 4 * server for server in range(4)]
    seconds, _ = collective_s(SERVERS, wires_at(SERVERS, 10e9, hop_s=0.0), "all_reduce", 4 * 10**8, groups)
    assert seconds == pytest.approx(2 * 3 / 4 * 4e8 / 90e9, rel=1e-3)


def test_blocks_of_a_torus_use_their_links_in_all_dimensions() -> None:
    # Four blocks of 2 x 2, each chip with a link along either dimension.
    blocks = np.arange(16).reshape(2, 2, 2, 2).transpose(0, 2, 1, 3).reshape(4, 4)
    seconds, name = collective_s(TORUS, wires_at(TORUS, 10e9, hop_s=0.0), "all_reduce", 4 * 10**8, blocks, dims=(2, 2))
    assert (name, seconds) == ("torus", pytest.approx(2 * 3 / 4 * 4e8 / 20e9, rel=1e-3))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: Network(name="x", topology=TREE.topology, speed={"spin": 2.0}), "legal: scale_out, spine"),
        (lambda: Network(name="x", topology=TREE.topology, speed={"spine": 0.0}), "above 0"),
        (lambda: Network(name="x", topology=TREE.topology, long_share={"spine": 2.0}), "from 0 to 1"),
        (lambda: Network(name="x", topology=TORUS.topology, dims=(4, 8)), "do not hold its 16 ranks"),
        (lambda: ports_of(TREE, -1.0), "0 or more"),
        (
            lambda: unit_rates_byte_per_s(ALL, optics=1.0, reference="mesh", reference_byte_per_s=1e9),
            "legal: tree, torus, servers",
        ),
        (lambda: collective_s(TREE, wires_at(TREE, 1e9), "all_reduce", 8, dims=(4, 4)), "is no torus"),
        (lambda: collective_s(TREE, wires_at(TREE, 1e9), "broadcast", 8), "legal: all_reduce"),
    ],
)  # fmt: skip
def test_networks_that_cannot_be_are_refused_with_what_is_legal(asked: object, said: str) -> None:
    with pytest.raises(RunError, match=said):
        asked()  # type: ignore[operator]
