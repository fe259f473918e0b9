"""Collectives: the hierarchical cost against the textbook ring, its volume law, and who shares a server's cards."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.collectives import Fabric, Group, all_gather_s, all_reduce_s, ring_all_reduce_s, send_s

MIB = 2.0**20


def fabric(**changes: float) -> Fabric:
    """Servers of 8 chips at 100 GB/s with 8 cards of 10 GB/s each; no latency and no call unless told."""
    values = {
        "up_byte_per_s": 100e9, "out_byte_per_s": 80e9, "up_latency_s": 0.0, "out_latency_s": 0.0, "call_s": 0.0,
        "chips_per_server": 8.0, "network_cards": 8.0,
    }  # fmt: skip
    return Fabric(**{name: np.array(value) for name, value in (values | changes).items()})


def group(ranks: float, stride: float = 1.0) -> Group:
    return Group(ranks=np.array(float(ranks)), stride=np.array(float(stride)))


def reduced(message_byte: float, ranks: float, stride: float = 1.0, **changes: float) -> float:
    return float(
        all_reduce_s(message_byte=np.array(message_byte), group=group(ranks, stride), fabric=fabric(**changes))
    )


def gathered(message_byte: float, ranks: float, stride: float = 1.0, **changes: float) -> float:
    return float(
        all_gather_s(message_byte=np.array(message_byte), group=group(ranks, stride), fabric=fabric(**changes))
    )


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
@pytest.mark.parametrize("message_byte", [1.0, 4096.0, 25e6, 8e9])
def test_inside_one_server_an_all_reduce_is_the_textbook_ring(ranks: int, message_byte: float) -> None:
    ring = ring_all_reduce_s(message_byte=message_byte, ranks=ranks, bandwidth_byte_per_s=100e9, latency_s=2e-6)
    assert reduced(message_byte, ranks, up_latency_s=2e-6) == pytest.approx(ring)


@pytest.mark.parametrize("servers", [2, 3, 4])
def test_over_servers_of_one_chip_a_small_ring_is_the_textbook_ring(servers: int) -> None:
    # Up to two servers (and three at depth two) a ring has no more hops than a tree.
    only = {"chips_per_server": 1.0, "network_cards": 1.0, "out_byte_per_s": 10e9, "out_latency_s": 5e-6}
    ring = ring_all_reduce_s(message_byte=1e6, ranks=servers, bandwidth_byte_per_s=10e9, latency_s=5e-6)
    cost = reduced(1e6, servers, **only)
    assert cost == pytest.approx(ring) if servers < 4 else cost < ring


def test_the_textbook_ring_refuses_no_ranks() -> None:
    with pytest.raises(ValueError, match="ranks is 0; at least 1"):
        ring_all_reduce_s(message_byte=1.0, ranks=0, bandwidth_byte_per_s=1.0, latency_s=0.0)


@pytest.mark.parametrize("cost", [reduced, gathered])
def test_one_rank_and_empty_messages_take_no_time(cost: object) -> None:
    assert callable(cost)
    assert cost(1e9, 1, call_s=1e-5, up_latency_s=1e-6) == 0.0
    assert cost(0.0, 64, call_s=1e-5, up_latency_s=1e-6) == 0.0
    assert cost(1.0, 2, call_s=1e-5, up_latency_s=1e-6) > 1e-5


@pytest.mark.parametrize("ranks", [2, 4, 8, 16, 64, 4096])
def test_an_all_reduce_moves_its_volume_over_the_slowest_tier(ranks: int) -> None:
    # 2 (n-1)/n of the message: over the chip's links inside a server, over all cards between servers.
    rate = 100e9 if ranks <= 8 else 80e9
    assert reduced(1e9, ranks) == pytest.approx(2.0 * (ranks - 1) / ranks * 1e9 / rate)


@pytest.mark.parametrize(("ranks", "stride"), [(4, 1), (8, 1), (64, 1), (16, 8), (3, 2)])
def test_an_all_reduce_is_a_reduce_scatter_and_an_all_gather_in_one_call(ranks: int, stride: int) -> None:
    wires = {"call_s": 3e-5, "up_latency_s": 2e-6, "out_latency_s": 5e-6}
    assert reduced(1e8, ranks, stride, **wires) == pytest.approx(2.0 * gathered(1e8, ranks, stride, **wires) - 3e-5)


def test_a_group_that_fills_its_servers_uses_all_cards() -> None:
    slow = {"up_byte_per_s": 1e15}
    assert gathered(1e9, 16, **slow) == pytest.approx(15 / 16 * 1e9 / 80e9)


@pytest.mark.parametrize("stride", [1, 2, 4, 8])
def test_groups_side_by_side_share_the_cards(stride: int) -> None:
    # q groups with a member in each server: each gets a q-th of the 80 GB/s. 16 servers in every case.
    ranks = 16 * 8 // stride
    assert gathered(1e9, ranks, stride, up_byte_per_s=1e15) == pytest.approx(
        (ranks - 1) / ranks * 1e9 / (80e9 / stride)
    )


def test_groups_far_apart_share_no_more_than_one_server_holds() -> None:
    assert gathered(1e9, 4, 8) == gathered(1e9, 4, 64)


def test_fewer_members_in_a_server_than_cards_cannot_drive_all_of_them() -> None:
    # Two chips of an eight-card server belong to the group and no other group is there: two cards of 10 GB/s.
    lone = fabric(chips_per_server=2.0)
    cost = all_gather_s(message_byte=np.array(1e9), group=group(4), fabric=lone)
    assert float(cost) == pytest.approx(3 / 4 * 1e9 / 20e9)


def test_few_cards_are_a_bottleneck_that_their_rate_already_holds() -> None:
    assert gathered(1e9, 16, network_cards=1.0) == gathered(1e9, 16)


def test_latency_grows_with_the_depth_of_a_tree_over_many_servers() -> None:
    def latency(servers: int) -> float:
        return gathered(1e-9, 8 * servers, out_latency_s=1e-6)

    assert latency(2) == pytest.approx(1e-6)
    assert latency(1024) == pytest.approx(10e-6)


def test_inside_a_server_every_member_is_a_hop() -> None:
    assert gathered(1e-9, 8, up_latency_s=1e-6) == pytest.approx(7e-6)


ranks_and_strides = st.tuples(st.integers(1, 4096), st.sampled_from((1, 2, 4, 8, 16)))
wires = {"call_s": 3e-5, "up_latency_s": 2e-6, "out_latency_s": 5e-6}


@given(layout=ranks_and_strides, message_byte=st.floats(0.0, 1e10), factor=st.floats(1.0, 10.0))
def test_more_bytes_never_take_less_time(layout: tuple[int, int], message_byte: float, factor: float) -> None:
    assert reduced(message_byte, *layout, **wires) <= reduced(message_byte * factor, *layout, **wires)


@given(
    layout=ranks_and_strides, message_byte=st.floats(1.0, 1e10), factor=st.floats(1.0, 10.0),
    name=st.sampled_from(("up_byte_per_s", "out_byte_per_s", "up_latency_s", "out_latency_s", "call_s")),
)  # fmt: skip
def test_better_wires_never_take_more_time(
    layout: tuple[int, int], message_byte: float, factor: float, name: str
) -> None:
    base = fabric(**wires)
    better = replace(
        base, **{name: getattr(base, name) * factor if name.endswith("per_s") else getattr(base, name) / factor}
    )
    message, where = np.array(message_byte), group(*layout)
    for cost in (all_reduce_s, all_gather_s):
        assert cost(message_byte=message, group=where, fabric=better) <= cost(
            message_byte=message, group=where, fabric=base
        )
    sent = [float(send_s(message_byte=message, distance=where.stride, fabric=f)) for f in (better, base)]
    assert sent[0] <= sent[1]


def test_a_neighbour_in_the_server_is_reached_over_the_chips_own_links() -> None:
    wired = fabric(**wires)
    assert float(send_s(message_byte=np.array(1e9), distance=np.array(7.0), fabric=wired)) == pytest.approx(
        3e-5 + 2e-6 + 1e9 / 100e9
    )


def test_a_rank_in_another_server_is_reached_over_a_share_of_the_cards() -> None:
    wired = fabric(**wires)
    assert float(send_s(message_byte=np.array(1e9), distance=np.array(8.0), fabric=wired)) == pytest.approx(
        3e-5 + 5e-6 + 1e9 / 10e9
    )


def test_nothing_to_send_takes_no_time() -> None:
    assert float(send_s(message_byte=np.array(0.0), distance=np.array(8.0), fabric=fabric(**wires))) == 0.0


def test_costs_broadcast_over_groups_and_messages() -> None:
    many = Group(ranks=np.array([[2.0], [8.0]]), stride=np.ones((2, 1)))
    cost = all_reduce_s(message_byte=np.array([0.0, MIB, 2 * MIB]), group=many, fabric=fabric())
    assert cost.shape == (2, 3)
    assert cost[1, 2] == reduced(2 * MIB, 8)
