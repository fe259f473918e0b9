"""Closed forms against flows on wires: equal where nothing contends, never above elsewhere."""

from __future__ import annotations

import functools

import numpy as np
import pytest

import topologies as t
from simulator.collectives.algorithms import ALGORITHMS
from simulator.collectives.rounds import folded
from simulator.flows import Wires, run_rounds
from topologies.dragonfly import dragonfly
from topologies.hypercube import hypercube
from topologies.node import dgx1_node, frontier_node, mi300x_node, perlmutter_node, summit_node
from topologies.nvswitch import dgx2, dgx_h100
from topologies.small_world import small_world

# Whole picoseconds for every byte and start, so that the flows' clock rounds nothing.
BYTE_PER_S, LATENCY_S = 1e9, 2e-6
SIZE = 100_003  # odd, so that chunks differ by a byte
PAIRS = [(name, collective) for name, one in ALGORITHMS.items() for collective in one.collectives]
ANY_RANKS = [pair for pair in PAIRS if pair[0] not in ("torus", "two_level", "halo")]
EVERY = range(2, 65)
SOME = (2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 31, 32, 33, 64)


def wires_of(topology: t.Topology, latency_s: float = LATENCY_S, **rates: float) -> Wires:
    """Every tier with one rate and one latency, but for rates given."""
    return Wires.of(topology, {tier: (rates.get(tier, BYTE_PER_S), latency_s) for tier in topology.tiers})


@functools.cache
def all_joined(n: int) -> Wires:
    return wires_of(t.fully_connected(n, switched=False))


@functools.cache
def one_switch(n: int) -> Wires:
    """Every rank has one port; two links between any two ranks."""
    return wires_of(t.fully_connected(n), LATENCY_S / 2)


def flow_s(wires: Wires, name: str, collective: str, n: int, size: int = SIZE, **options: object) -> float:
    return run_rounds(wires, folded(ALGORITHMS[name].rounds(collective, n, size, **options))).seconds


def closed_s(name: str, collective: str, n: int, size: int = SIZE, **options: object) -> float:
    given = {"ranks": n, "message_byte": size, "latency_s": LATENCY_S, "byte_per_s": BYTE_PER_S}
    return float(ALGORITHMS[name].seconds(collective, **given, **options))


def ranks_for(name: str, collective: str) -> list[int]:
    """All of 2..64 where rounds are few, some of them where there are many."""
    many = name in ("pairwise", "double_binary_tree", "chain", "ring", "scatter_all_gather")
    return [n for n in (SOME if many else EVERY) if not ALGORITHMS[name].refusal(collective, n)]


@pytest.mark.parametrize(("name", "collective"), ANY_RANKS, ids=str)
@pytest.mark.parametrize("network", [all_joined, one_switch])
def test_where_nothing_contends_flows_take_the_closed_form(network, name, collective):
    for n in ranks_for(name, collective):
        flows = flow_s(network(n), name, collective, n)
        assert flows == pytest.approx(closed_s(name, collective, n), rel=1e-9), n


@pytest.mark.parametrize("name", ["double_binary_tree", "chain"])
@pytest.mark.parametrize("chunks", [1, 3, 50])
@pytest.mark.parametrize("n", [2, 3, 5, 9, 16])
def test_pipelines_take_the_closed_form_for_any_number_of_chunks(name, chunks, n):
    for size in (1, 2, 3, 7, 4096, SIZE):
        flows = flow_s(one_switch(n), name, "all_reduce", n, size, chunks=chunks)
        assert flows == pytest.approx(closed_s(name, "all_reduce", n, size, chunks=chunks), rel=1e-9)


@pytest.mark.parametrize("collective", ALGORITHMS["ring"].collectives)
def test_a_ring_runs_on_a_ring(collective):
    for n in (
        range(3, 65) if collective == "all_reduce" else SOME[1:]
    ):  # two chips have a second link, which a ring in one direction does not use
        flows = flow_s(wires_of(t.ring(n)), "ring", collective, n)
        assert flows == pytest.approx(closed_s("ring", collective, n), rel=1e-9)


def test_a_chain_runs_on_a_line():
    for n in SOME[1:]:
        flows = flow_s(wires_of(t.torus((n,), wrap=False)), "chain", "broadcast", n)
        assert flows == pytest.approx(closed_s("chain", "broadcast", n), rel=1e-9)


@pytest.mark.parametrize("dims", [(3,), (8,), (3, 3), (4, 3), (3, 5), (8, 8), (3, 3, 3), (4, 3, 5), (4, 4, 4)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_torus_all_reduce_runs_on_a_torus(dims, both_ways):
    n, options = int(np.prod(dims)), {"dims": dims, "both_ways": both_ways}
    for size in (SIZE, 1, 5, n, 60 * n):
        flows = flow_s(wires_of(t.torus(dims)), "torus", "all_reduce", n, size, **options)
        assert flows == pytest.approx(closed_s("torus", "all_reduce", n, size, **options), rel=1e-9)


@pytest.mark.parametrize("grid", [(4,), (3, 4), (5, 5), (3, 3, 4)])
@pytest.mark.parametrize("periodic", [False, True])
def test_a_halo_exchange_runs_on_a_torus_or_a_mesh(grid, periodic):
    n, cells = int(np.prod(grid)), tuple(5 * size + 1 for size in grid)
    size, options = 8 * int(np.prod(cells)), {"grid": grid, "cells": cells, "width": 2, "periodic": periodic}
    flows = flow_s(wires_of(t.torus(grid, wrap=periodic)), "halo", "halo_exchange", n, size, **options)
    assert flows == pytest.approx(closed_s("halo", "halo_exchange", n, size, **options), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "collective"),
    [pair for pair in PAIRS if pair[0] in ("halving_doubling", "recursive_doubling")] + [("binomial", "broadcast")],
    ids=str,
)
@pytest.mark.parametrize("n", [2, 4, 8, 16, 32, 64])
def test_partners_at_powers_of_two_are_neighbours_in_a_hypercube(name, collective, n):
    flows = flow_s(wires_of(hypercube(n)), name, collective, n)
    assert flows == pytest.approx(closed_s(name, collective, n), rel=1e-9)


@pytest.mark.parametrize("servers", [2, 3, 4, 5, 8])
@pytest.mark.parametrize("local", [2, 3, 4, 8])
@pytest.mark.parametrize("across", ["ring", "halving_doubling", "recursive_doubling"])
def test_two_levels_run_on_servers_with_a_card_for_each_chip(servers, local, across):
    """Between servers: chip to card, card to switch and back, four links at a quarter of the rate inside."""
    n = servers * local
    outer = t.fat_tree(endpoints=servers, radix=2 * servers)
    network = t.nested(t.fully_connected(local, switched=False), outer, nics_per_server=local)
    slow = {tier: BYTE_PER_S / 4 for tier in network.tiers if tier != "scale_up"}
    options = {"ranks_per_server": local, "across": across}
    flows = flow_s(wires_of(network, **slow), "two_level", "all_reduce", n, **options)
    cost = closed_s(
        "two_level", "all_reduce", n, across_latency_s=4 * LATENCY_S, across_byte_per_s=BYTE_PER_S / 4, **options
    )
    assert flows == pytest.approx(cost, rel=1e-9)


# Where flows meet on a wire.

NETWORKS = {
    "ring": lambda: t.ring(16),
    "torus": lambda: t.torus((4, 4)),
    "mesh": lambda: t.torus((2, 8), wrap=False),
    "tapered fat tree": lambda: t.fat_tree(endpoints=16, radix=6, oversubscription=2.0),
    "three levels": lambda: t.fat_tree(endpoints=16, radix=4, levels=3),
    "dgx1 node": dgx1_node,
    "cube mesh": lambda: dgx1_node(chips_only=True),
    "summit node": summit_node,
    "perlmutter node": perlmutter_node,
    "frontier node": frontier_node,
    "mi300x node": mi300x_node,
    "dgx2": dgx2,
    "dgx h100": dgx_h100,
    "hypercube": lambda: hypercube(16),
    "small world": lambda: small_world(16, neighbours=4, rewired=0.3, seed=1),
    "dragonfly": lambda: dragonfly(groups=5, routers_per_group=4, endpoints_per_router=1, global_links=1),
    "servers of four": lambda: t.nested(t.ring(4), t.fat_tree(endpoints=4, radix=8), nics_per_server=1),
}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_closed_form_at_the_widest_link_is_a_bound_on_any_network(network):
    topology = NETWORKS[network]()
    wires = wires_of(topology)
    n = len(topology.endpoints)
    # Nothing is faster than the widest link that a message can take, with the latency of one link.
    widest = float(wires.capacity_byte_per_s.max())
    above = 0
    for name, collective in PAIRS:
        one = ALGORITHMS[name]
        if one.refusal(collective, n) or name == "halo":
            continue
        options = {"torus": {"dims": (2, n // 2)}, "two_level": {"ranks_per_server": n // 2}}.get(name, {})
        rounds = folded(one.rounds(collective, n, SIZE, **options))
        found = run_rounds(wires, rounds)
        bound = one.seconds(collective, ranks=n, message_byte=SIZE, latency_s=LATENCY_S, byte_per_s=widest, **options)
        assert found.seconds >= float(bound) * (1 - 1e-9), (name, collective)
        assert found.link_byte.sum() >= sum(int(r.byte.sum()) * r.repeat for r in rounds)
        above += found.seconds > float(bound) * 1.01
    # Something contends, or takes more than one link; but not where every pair of chips has its own.
    assert above > 0 or network in ("perlmutter node", "mi300x node")
