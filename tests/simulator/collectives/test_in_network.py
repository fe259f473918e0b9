"""Switches that add: exact bytes on links, pipelines against rounds, measured NVLS and SHARP, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.collectives.flat_ring import seconds as ring_seconds
from simulator.collectives.in_network import (
    SHARP_QUANTUM,
    SHARP_STREAMING,
    SHARP_SWITCH_IB_2,
    SwitchTree,
    bus_byte_per_s,
    nvls_link_byte,
    nvls_seconds,
    over_servers_s,
    swarmx_seconds,
    tree_rounds,
    tree_seconds,
)
from simulator.collectives.rounds import CollectiveError, Round, received_byte, sent_byte
from simulator.flows import Wires, run_rounds
from topologies import Topology

TREES = (SHARP_SWITCH_IB_2, SHARP_QUANTUM, SHARP_STREAMING)
ALL = ("all_reduce", "reduce", "broadcast")

#: All-reduce of 8 GiB by NVLS, stas00/ml-engineering@744d01e, network/README.md: chips -> seconds.
H200 = {5: 0.033182, 7: 0.032012, 8: 0.031774}
B200 = {6: 0.018397, 7: 0.018153, 8: 0.017938}


def rounds_seconds(found: Iterable[Round], byte_per_s: float, latency_s: float = 0.0) -> float:
    """Every hop is a wire of its own, so a round takes as long as its largest transfer."""
    return sum(one.repeat * (latency_s + float(one.byte.max()) / byte_per_s) for one in found)


@settings(deadline=None, max_examples=60)
@given(
    ranks=st.integers(2, 40), radix=st.integers(2, 8), chunk=st.integers(1, 50), message=st.integers(1, 2000),
    collective=st.sampled_from(ALL),
)  # fmt: skip
def test_a_tree_carries_the_message_once_over_every_wire(
    ranks: int, radix: int, chunk: int, message: int, collective: str
) -> None:
    tree = SwitchTree(name="t", radix=radix, chunk_byte=chunk)
    found = tree_rounds(tree, collective, ranks, message)
    hosts = 1 + max(int(max(one.source.max(), one.target.max())) for one in found)
    sent, received = sent_byte(found, hosts), received_byte(found, hosts)
    up, down = collective != "broadcast", collective != "reduce"
    assert (sent[:ranks] == up * message).all()
    assert (received[:ranks] == down * message).all()
    # Every switch but the root passes the sum on once, and the root's children get it once.
    edges = hosts - 1
    assert sent.sum() == (up + down) * edges * message
    for one in found:
        wires = set(zip(one.source.tolist(), one.target.tolist(), strict=True))
        assert len(wires) == len(one.source), "a wire carries one chunk at a time"


@settings(deadline=None, max_examples=60)
@given(
    ranks=st.integers(2, 70), radix=st.integers(2, 8), chunk=st.integers(1, 50), chunks=st.integers(1, 60),
    collective=st.sampled_from(ALL),
)  # fmt: skip
def test_a_pipelined_tree_costs_what_its_rounds_take(
    ranks: int, radix: int, chunk: int, chunks: int, collective: str
) -> None:
    tree = SwitchTree(name="t", radix=radix, chunk_byte=chunk)
    message = chunk * chunks
    form = tree_seconds(tree, collective, ranks=ranks, message_byte=message, latency_s=0.0, byte_per_s=1e9)
    assert float(form) == pytest.approx(rounds_seconds(tree_rounds(tree, collective, ranks, message), 1e9))


@pytest.mark.parametrize(("ranks", "radix"), [(16, 4), (30, 8), (100, 3), (7, 20)])
@pytest.mark.parametrize("collective", ALL)
def test_the_flow_simulator_agrees_on_a_tree_of_switches(collective: str, ranks: int, radix: int) -> None:
    tree = SwitchTree(name="t", radix=radix, chunk_byte=5000)
    found = tree_rounds(tree, collective, ranks, 5000 * 40)
    graph = nx.Graph([pair for one in found for pair in zip(one.source.tolist(), one.target.tolist(), strict=True)])
    assert nx.is_tree(graph)
    nx.set_node_attributes(graph, "host", "kind")
    nx.set_edge_attributes(graph, "wire", "tier")
    wires = Wires.of(Topology(name="tree", graph=graph, endpoints=tuple(sorted(graph))), {"wire": (1e9, 0.0)})
    flows = run_rounds(wires, found)
    form = tree_seconds(tree, collective, ranks=ranks, message_byte=5000 * 40, latency_s=0.0, byte_per_s=1e9)
    assert float(form) == pytest.approx(flows.seconds, rel=1e-9)
    carried = 5000 * 40 * (1 if collective == "all_reduce" else 0.5)  # the other way is idle
    assert flows.link_byte.mean() == carried


def test_one_chunk_pays_every_hop_in_full() -> None:
    tree = SwitchTree(name="t", radix=4, chunk_byte=1000)
    form = tree_seconds(tree, "all_reduce", ranks=16, message_byte=800, latency_s=1e-6, byte_per_s=1e9)
    assert float(form) == pytest.approx(rounds_seconds(tree_rounds(tree, "all_reduce", 16, 800), 1e9, 1e-6))
    assert float(form) == pytest.approx(4 * (1e-6 + 0.8e-6))


@pytest.mark.parametrize(
    ("ranks", "levels"), [(1, 1), (2, 1), (4, 1), (5, 2), (16, 2), (17, 3), (4**9, 9), (4**9 + 1, 10)]
)
def test_depth_of_a_tree_of_radix_four(ranks: int, levels: int) -> None:
    assert int(SwitchTree(name="t", radix=4, chunk_byte=1).depth(ranks)) == levels


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_a_tree_beats_a_ring_at_every_size_and_by_two_for_large_messages(tree: SwitchTree) -> None:
    size = np.array([8.0, 4096.0, 1e6, 1e9, 10e9])
    common: dict[str, Any] = {"message_byte": size, "latency_s": 1e-6, "byte_per_s": 25e9}
    by_tree = tree_seconds(tree, "all_reduce", ranks=512, **common)
    by_ring = ring_seconds("all_reduce", ranks=512, **common)
    assert (by_tree < by_ring).all()
    assert by_ring[-1] / by_tree[-1] == pytest.approx(2 * 511 / 512, rel=0.01)
    assert (np.diff(by_tree) > 0).all()


@pytest.mark.parametrize("tree", TREES, ids=lambda tree: tree.name)
def test_a_barrier_is_hops_alone_and_one_rank_waits_for_nobody(tree: SwitchTree) -> None:
    hops = 2 * tree.depth(100)
    wait = tree_seconds(tree, "barrier", ranks=100, message_byte=0.0, latency_s=1e-6, byte_per_s=25e9)
    assert float(wait) == pytest.approx(float(hops) * 1e-6)
    for collective in ("barrier", *ALL):
        alone = tree_seconds(tree, collective, ranks=1, message_byte=9.0, latency_s=1e-6, byte_per_s=25e9)
        assert float(alone) == 0.0


def test_few_operations_in_flight_bind_the_rate() -> None:
    def rate(window: int) -> float:
        tree = SwitchTree(name="t", radix=32, chunk_byte=256, window=window)
        time = tree_seconds(tree, "all_reduce", ranks=32, message_byte=1e8, latency_s=1e-6, byte_per_s=10e9)
        return 1e8 / float(time)

    trip = 2 * (1e-6 + 256 / 10e9)
    assert rate(4) == pytest.approx(4 * 256 / trip, rel=1e-3)
    assert rate(8) == pytest.approx(2 * rate(4), rel=1e-3)
    assert rate(10_000) == pytest.approx(rate(0)) == pytest.approx(10e9, rel=1e-3)


def test_messages_beyond_the_longest_go_as_several_calls() -> None:
    longest = SHARP_STREAMING.max_message_byte

    def cost(size: float) -> float:
        return float(
            tree_seconds(SHARP_STREAMING, "all_reduce", ranks=64, message_byte=size, latency_s=1e-5, byte_per_s=25e9)
        )

    assert cost(3 * longest) == pytest.approx(3 * cost(longest))
    assert cost(2 * longest + 1000) == pytest.approx(2 * cost(longest) + cost(1000))


def test_nvls_bytes_add_up_over_the_switch() -> None:
    n, size = 8, 8000.0
    halves = [nvls_link_byte(c, ranks=n, message_byte=size) for c in ("reduce_scatter", "all_gather")]
    both = nvls_link_byte("all_reduce", ranks=n, message_byte=size)
    assert both.out == pytest.approx(sum(half.out for half in halves))
    assert both.back == pytest.approx(sum(half.back for half in halves))
    # Reading for the sum: every chip gives all n parts. Writing it: every chip gives one and gets n.
    assert float(both.out) == n * (size / n) + size / n == 9000.0
    assert float(both.back) == 9000.0


def test_nvls_shows_more_bus_bandwidth_than_the_link_has() -> None:
    time = nvls_seconds("all_reduce", ranks=[2, 8, 72], message_byte=8e9, latency_s=0.0, byte_per_s=450e9)
    shown = bus_byte_per_s("all_reduce", ranks=[2, 8, 72], message_byte=8e9, time_s=time) / 450e9
    assert shown == pytest.approx([2 / 3, 14 / 9, 142 / 73])
    # What 8 H100 print, 480 of 450 GB/s, needs 0.69 of the links' rate.
    seen = nvls_seconds("all_reduce", ranks=8, message_byte=8e9, latency_s=0.0, byte_per_s=0.69 * 450e9)
    assert float(bus_byte_per_s("all_reduce", ranks=8, message_byte=8e9, time_s=seen)) == pytest.approx(480e9, rel=0.01)


@pytest.mark.parametrize("collective", ["reduce_scatter", "all_gather"])
def test_the_halves_of_nvls_gain_nothing_over_a_ring_at_many_chips(collective: str) -> None:
    common: dict[str, Any] = {"ranks": 72, "message_byte": 1e9, "latency_s": 0.0, "byte_per_s": 900e9}
    assert nvls_seconds(collective, **common) / ring_seconds(collective, **common) == pytest.approx(72 / 71)


@pytest.mark.parametrize(("measured", "link", "achieved"), [(H200, 450e9, 0.683), (B200, 900e9, 0.60)])
def test_nvls_falls_with_chips_as_measured(measured: dict[int, float], link: float, achieved: float) -> None:
    found = nvls_seconds(
        "all_reduce", ranks=list(measured), message_byte=2.0**33, latency_s=0.0, byte_per_s=achieved * link
    )
    assert found == pytest.approx(list(measured.values()), rel=0.012)


def test_sharp_over_two_servers_lies_between_stages_in_turn_and_at_once() -> None:
    # ABCI, 2 servers of 8 A100, 4 HDR cards each, SHARP: 2 GiB in 38.18 ms. Inside at 235 of 300 GB/s.
    size = 2.0**31
    inside = ring_seconds("all_gather", ranks=8, message_byte=size, latency_s=0.0, byte_per_s=235e9)
    between = tree_seconds(
        SHARP_STREAMING, "all_reduce", ranks=2, message_byte=size, latency_s=2e-6, byte_per_s=0.97 * 100e9
    )
    in_turn, at_once = (float(over_servers_s(inside_s=inside, between_s=between, slices=k)) for k in (1, 10**6))
    assert at_once < 38.18e-3
    assert in_turn == pytest.approx(38.18e-3, rel=0.05)


def test_slices_run_from_the_sum_of_stages_to_the_longest() -> None:
    k = np.array([1, 2, 10**9])
    assert over_servers_s(inside_s=1.0, between_s=3.0, slices=k) == pytest.approx([5.0, 4.0, 3.0])


def test_swarmx_does_not_care_how_many_systems_there_are_but_for_hops() -> None:
    forward, backward = swarmx_seconds(
        weight_byte=1e12, gradient_byte=[5e11, 2e12, 0.0], systems=[1, 4, 192], radix=4, latency_s=0.0,
        byte_per_s=150e9,
    )  # fmt: skip
    assert forward == pytest.approx([1e12 / 150e9] * 3)
    assert backward == pytest.approx([1e12 / 150e9, 2e12 / 150e9, 1e12 / 150e9])
    forward, _ = swarmx_seconds(
        weight_byte=0.0, gradient_byte=0.0, systems=[1, 4, 5, 16, 17], radix=4, latency_s=1.0, byte_per_s=1.0
    )
    assert forward == pytest.approx([2, 2, 3, 3, 4])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: SwitchTree(name="t", radix=1, chunk_byte=1), "radix is 1; a whole number, at least 2"),
        (lambda: SwitchTree(name="t", radix=2, chunk_byte=0), "chunk_byte is 0"),
        (lambda: tree_rounds(SHARP_QUANTUM, "all_gather", 4, 8), "SHARP on Quantum, low latency: no 'all_gather'"),
        (
            lambda: tree_seconds(SHARP_QUANTUM, "reduce", ranks=4, message_byte=-1, latency_s=0, byte_per_s=1),
            "message_byte is -1; a finite number, at least 0",
        ),
        (
            lambda: nvls_seconds("all_to_all", ranks=4, message_byte=1, latency_s=0, byte_per_s=1),
            "NVLS: no 'all_to_all'; it runs all_reduce, reduce_scatter, all_gather",
        ),
        (lambda: bus_byte_per_s("all_reduce", ranks=1, message_byte=1, time_s=1), "ranks is 1"),
        (
            lambda: swarmx_seconds(weight_byte=1, gradient_byte=1, systems=2, radix=1, latency_s=0, byte_per_s=1),
            "SwarmX: radix is 1",
        ),
        (lambda: over_servers_s(inside_s=1, between_s=1, slices=0), "slices is 0"),
        (lambda: over_servers_s(inside_s=float("nan"), between_s=1), "inside_s is nan"),
    ],
)
def test_refusals_are_one_clear_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(CollectiveError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
