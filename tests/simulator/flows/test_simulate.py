"""Rounds and flows on wires: hand-worked times, exact bytes, laws, classes of equal flows against every flow."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.flows import CertificateError, Flow, FlowError, Wires, coupled, run_flows, run_rounds
from simulator.flows.classes import certify, fold
from topologies import fat_tree, hybrid_cube_mesh, ring, torus
from topologies.cube_mesh import DGX1_V100_LINKS

LINE = {"scale_up": (4.0, 0.5)}  # 4 B/s, half a second: hand-worked cases in seconds and bytes


def one_round(transfers, repeat=1):
    source, target, byte = (np.array(column, np.int64) for column in zip(*transfers, strict=True))
    return SimpleNamespace(source=source, target=target, byte=byte, repeat=repeat)


def path_wires(n=4, **more):
    return Wires.of(torus((n,), wrap=False), LINE, **more)


HAND = {
    "one message over one link": ([(0, 1, 8)], 0.5 + 2),
    "one message over three links: latencies add up, the rate does not": ([(0, 3, 8)], 1.5 + 2),
    "two directions do not share": ([(0, 1, 8), (1, 0, 8)], 2.5),
    "two equal ones share": ([(0, 1, 8), (0, 1, 8)], 4.5),
    "the short one leaves, the long one speeds up": ([(0, 1, 4), (0, 1, 12)], 0.5 + 4),
    "nearer ones begin sooner": ([(0, 1, 8), (0, 2, 8)], 0.5 + 0.5 + 3 + 0.5),
    "the parking lot": ([(0, 3, 4), (0, 1, 8), (1, 2, 8), (2, 3, 8)], 1.5 + 4 / 2),
    "no payload": ([(0, 2, 0)], 1.0),
    "no payload takes no share": ([(0, 1, 8), (0, 1, 0)], 2.5),
    "three levels of sharing": ([(0, 1, 4), (0, 1, 8), (0, 1, 12)], 0.5 + 6),
}


@pytest.mark.parametrize("name", HAND)
def test_hand_worked_rounds(name):
    transfers, seconds = HAND[name]
    wires = path_wires()
    assert run_rounds(wires, [one_round(transfers)]).seconds == pytest.approx(seconds, abs=3e-12)
    flows = [Flow(links=wires.route(a, b), byte=byte) for a, b, byte in transfers]
    assert run_flows(wires, flows).seconds == pytest.approx(seconds, abs=3e-12)


def test_rounds_wait_for_one_another():
    wires = path_wires()
    first, second = one_round([(0, 1, 8)]), one_round([(1, 2, 4)], repeat=3)
    found = run_rounds(wires, [first, second, first])
    assert found.seconds == pytest.approx(2.5 + 3 * 1.5 + 2.5, abs=1e-11)
    assert found.finish_s == (2.5, 1.5, 2.5)
    assert found.flows == 2  # two rounds are different
    assert found.link_byte[wires.link((0,), (1,))] == 16
    assert found.link_byte[wires.link((1,), (2,))] == 12


def test_nothing_takes_no_time():
    wires = path_wires()
    empty = SimpleNamespace(source=np.zeros(0, int), target=np.zeros(0, int), byte=np.zeros(0, int), repeat=1)
    assert run_rounds(wires, []).seconds == 0
    assert run_rounds(wires, [empty]).seconds == 0
    assert run_flows(wires, []).seconds == 0


def test_flows_start_at_any_time_and_after_one_another():
    wires = path_wires()
    here, there = wires.route(0, 1), wires.route(1, 2)
    found = run_flows(
        wires,
        [
            Flow(links=here, byte=8),  # 0.5 to 2.5 alone
            Flow(links=there, byte=4, after=(0,)),  # 3.0 to 4.0
            Flow(links=here, byte=4, start_s=10.0, after=(1,)),  # 10.5 to 11.5
            Flow(links=there, byte=0, after=(0, 2), latency_s=0.25),  # 11.75
        ],
    )
    assert found.finish_s == pytest.approx((2.5, 4.0, 11.5, 11.75), abs=1e-12)
    assert found.seconds == found.finish_s[-1]


def test_weights_and_bounds_of_flows():
    wires = path_wires()
    link = wires.route(0, 1)
    heavy = run_flows(wires, [Flow(links=link, byte=9, weight=3.0), Flow(links=link, byte=3)])
    assert heavy.finish_s == pytest.approx((3.5, 3.5), abs=1e-11)
    bound = run_flows(wires, [Flow(links=link, byte=3, bound_byte_per_s=1.0), Flow(links=link, byte=9)])
    assert bound.finish_s == pytest.approx((3.5, 3.5), abs=1e-11)


def test_other_traffic_shares_and_makes_room():
    wires = path_wires()
    link = wires.link((0,), (1,))
    light, heavy = ({link: rate} for rate in (1.0, 100.0))
    for rates, seconds in ((light, 0.5 + 6 / 3), (heavy, 0.5 + 6 / 2), ({link: 0.0}, 0.5 + 6 / 4), ({}, 2.0)):
        found = run_rounds(wires, [one_round([(0, 1, 6)])], background=rates)
        assert found.seconds == pytest.approx(seconds, abs=1e-11)
        assert run_flows(wires, [Flow(links=(link,), byte=6)], background=rates).seconds == found.seconds
        assert found.link_byte.sum() == 6


def test_a_straggling_link_holds_up_the_ring():
    whole, slow = ring(8), ring(8).degraded(3, 4, derate=0.25)
    transfers = [(i, (i + 1) % 8, 10**9) for i in range(8)]
    seconds = [
        run_rounds(Wires.of(topology, {"scale_up": (1e9, 0.0)}), [one_round(transfers)]).seconds
        for topology in (whole, slow)
    ]
    assert seconds == pytest.approx([1.0, 4.0])


def test_a_running_ring_is_one_flow_at_the_pace_of_its_worst_hop():
    wires = Wires.of(ring(6).degraded(0, 1, derate=0.5), {"scale_up": (1e9, 0.0)})
    ranks = np.arange(6)
    links, factor = coupled(wires.routes(ranks, (ranks + 1) % 6))
    assert sorted(links) == sorted(wires.route(i, (i + 1) % 6)[0] for i in range(6))
    size = 6 * 10**9
    as_flow = run_flows(wires, [Flow(links=links, factor=factor, byte=2 * 5 * size // 6)])
    as_rounds = run_rounds(wires, [one_round([(i, (i + 1) % 6, size // 6) for i in range(6)], repeat=10)])
    assert as_flow.seconds == pytest.approx(as_rounds.seconds, rel=1e-12)
    assert (as_flow.link_byte == as_rounds.link_byte).all()
    # A ring that goes to and fro over one link holds it twice.
    there = Wires.of(torus((3,), wrap=False), {"scale_up": (1e9, 0.0)})
    assert coupled(there.routes([0, 0, 1], [1, 2, 2])) == (there.route(0, 2), (2.0, 2.0))


@pytest.mark.parametrize("ranks", [2, 3, 4, 8, 13, 64])
def test_a_ring_all_reduce_alone_takes_its_closed_form(ranks):
    bandwidth_byte_per_s, latency_s, size = 25e9, 2e-6, 1_000_003 * ranks
    wires = Wires.of(ring(ranks), {"scale_up": (bandwidth_byte_per_s, latency_s)})
    transfers = [(i, (i + 1) % ranks, size // ranks) for i in range(ranks)]
    steps = 2 * (ranks - 1)
    found = run_rounds(wires, [one_round(transfers, repeat=steps)])
    links = 2 if ranks == 2 else 1  # two chips are joined by both ways round
    expected = steps * (latency_s + size / ranks / (links * bandwidth_byte_per_s))
    assert found.seconds == pytest.approx(expected, abs=steps * 0.51e-12)
    assert found.classes == 1


TOPOLOGIES = {
    "torus": torus((3, 4)),
    "cube mesh": hybrid_cube_mesh(DGX1_V100_LINKS),
    "tree": fat_tree(endpoints=16, radix=4, levels=3),
    "tapered": fat_tree(endpoints=12, radix=8, oversubscription=3.0),
    "degraded": torus((3, 4)).degraded((0, 0), (0, 1), derate=0.3),
}


def wires_of(topology, **more):
    return Wires.of(topology, {tier: (1e9 * (1 + i), 1e-5 * (1 + i)) for i, tier in enumerate(topology.tiers)}, **more)


def random_round(rng, ranks, sizes):
    source = rng.integers(0, ranks, int(rng.integers(1, 40)))
    target = (source + rng.integers(1, ranks, len(source))) % ranks
    return one_round(list(zip(source, target, rng.choice(sizes, len(source)), strict=True)))


@pytest.mark.parametrize("routing", ["shortest", "hashed", "sprayed"])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_classes_take_as_long_as_every_flow_on_its_own(name, routing):
    wires = wires_of(TOPOLOGIES[name], routing=routing)
    ranks = len(wires.rank)
    for seed in range(8):
        rng = np.random.default_rng(seed)
        one = random_round(rng, ranks, [0, 10**6, 3 * 10**6])
        traffic = {int(link): float(rng.choice([1e8, 1e9])) for link in rng.integers(0, len(wires.latency_s), seed % 3)}
        by_class = run_rounds(wires, [one], background=traffic)
        flows = []
        for a, b, byte in zip(one.source.tolist(), one.target.tolist(), one.byte.tolist(), strict=True):
            links, factor = wires.split_route(a, b)
            latency_s = float(np.dot(wires.latency_s[list(links)], factor))
            flows.append(Flow(links=links, factor=factor, byte=byte, latency_s=latency_s))
        each = run_flows(wires, flows, background=traffic)
        assert by_class.seconds == pytest.approx(each.seconds, abs=1e-10)
        assert (by_class.link_byte == each.link_byte).all()
        assert by_class.classes <= by_class.flows + len(traffic)


def all_to_all(ranks, size=10**6):
    return one_round([(i, j, size) for i in range(ranks) for j in range(ranks) if i != j])


@pytest.mark.parametrize(
    ("topology", "one", "classes"),
    [
        (ring(12), one_round([(i, (i + 1) % 12, 5) for i in range(12)]), 1),
        (torus((4, 4)), one_round([(i, (i + 4) % 16, 5) for i in range(16)]), 1),
        (fat_tree(endpoints=64, radix=8, levels=3), all_to_all(64), 3),  # same leaf, same pod, over the core
        (fat_tree(endpoints=32, radix=8), all_to_all(32), 2),
    ],
)
def test_how_many_classes_there_are(topology, one, classes):
    routing = "shortest" if "torus" in topology.name or "ring" in topology.name else "sprayed"
    found = run_rounds(wires_of(topology, routing=routing), [one])
    assert found.flows == len(one.byte)
    assert found.classes == classes


def test_one_slow_link_splits_the_classes_it_must_and_no_more():
    tree = fat_tree(endpoints=64, radix=8, levels=3)
    slow = tree.degraded(0, ("leaf", 0), derate=0.5)
    found = [run_rounds(wires_of(t, routing="sprayed"), [all_to_all(64)]) for t in (tree, slow)]
    assert found[0].classes == 3
    assert 3 < found[1].classes < 30  # to and from the slow chip, its leaf, its pod, the others
    assert found[1].seconds > 1.9 * found[0].seconds


def test_classes_that_should_not_be_are_caught():
    # Two messages that differ in what they meet on their way, called equal.
    routes = path_wires().routes([0, 0, 1], [1, 2, 2])
    capacity, bound = path_wires().capacity_byte_per_s, np.full(3, np.inf)
    folded = fold(capacity, routes, np.arange(3, dtype=np.uint64), bound)
    certify(folded, capacity, routes, bound)
    slow = capacity.copy()
    slow[routes.link[0]] /= 2
    with pytest.raises(CertificateError):
        certify(folded, slow, routes, bound)
    merged = replace(folded, of_flow=np.zeros(3, np.int64))
    uneven = path_wires().routes([0, 0, 0, 1], [1, 1, 2, 2])
    with pytest.raises(CertificateError):
        certify(replace(merged, of_flow=np.zeros(4, np.int64)), capacity, uneven, np.full(4, np.inf))


def test_hash_seeds_of_the_interpreter_change_nothing():
    program = (
        "import numpy as np; from types import SimpleNamespace as N; from simulator.flows import Wires, run_rounds;"
        "from topologies import fat_tree; r = np.random.default_rng(0); a = r.integers(0, 64, 300);"
        "n = N(source=a, target=(a + r.integers(1, 64, 300)) % 64, byte=r.integers(1, 10**9, 300), repeat=1);"
        "t = {'scale_out': (1e9, 1e-6), 'spine': (1e9, 1e-6)};"
        "w = Wires.of(fat_tree(endpoints=64, radix=8, levels=3), t, routing='hashed');"
        "f = run_rounds(w, [n]); print(f.seconds.hex(), f.link_byte.tobytes().hex())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1")
    }
    assert len(found) == 1


@pytest.mark.parametrize("routing", ["shortest", "hashed"])
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_bytes_are_conserved_to_the_byte(name, routing):
    wires = wires_of(TOPOLOGIES[name], routing=routing)
    ranks = len(wires.rank)
    huge = (1 << 56) + 12_345_679  # more than a float holds exactly
    one = random_round(np.random.default_rng(5), ranks, [1, 7, huge])
    found = run_rounds(wires, [one])
    carried = [0] * len(wires.latency_s)
    for a, b, byte in zip(one.source, one.target, one.byte.tolist(), strict=True):
        for link in wires.route(int(a), int(b)):
            carried[link] += byte
    assert found.link_byte.tolist() == carried
    net = np.zeros(len(wires.vertices), np.int64)
    np.add.at(net, wires.graph.tail, found.link_byte)
    np.subtract.at(net, wires.graph.head, found.link_byte)
    sent = np.zeros(len(wires.vertices), np.int64)
    np.add.at(sent, wires.rank[one.source], one.byte)
    np.subtract.at(sent, wires.rank[one.target], one.byte)
    assert (net == sent).all()


seeds = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@settings(deadline=None, max_examples=40)
@given(rng=seeds, factor=st.sampled_from([2, 10, 1000]))
def test_more_bytes_at_more_bytes_a_second_take_as_long(rng, factor):
    topology = TOPOLOGIES["torus"]
    one = random_round(rng, 12, [10**6, 5 * 10**6, 7])
    more = one_round(list(zip(one.source, one.target, one.byte * factor, strict=True)))
    slow, fast = (Wires.of(topology, {"scale_up": (1e9 * f, 1e-6)}) for f in (1, factor))
    assert run_rounds(slow, [one]).seconds == pytest.approx(run_rounds(fast, [more]).seconds, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(rng=seeds)
def test_the_order_of_transfers_does_not_matter(rng):
    wires = wires_of(TOPOLOGIES["cube mesh"])
    one = random_round(rng, 8, [10**6, 5 * 10**6, 7])
    order = rng.permutation(len(one.byte))
    other = SimpleNamespace(source=one.source[order], target=one.target[order], byte=one.byte[order], repeat=1)
    assert run_rounds(wires, [one]).seconds == pytest.approx(run_rounds(wires, [other]).seconds, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(rng=seeds, turn=st.integers(1, 6))
def test_a_symmetry_of_the_network_changes_nothing(rng, turn):
    wires = wires_of(ring(7))  # odd: one shortest way, which turns with the ring
    one = random_round(rng, 7, [10**6, 5 * 10**6])
    turned = [(one.source + turn) % 7, (one.target + turn) % 7]
    other = SimpleNamespace(source=turned[0], target=turned[1], byte=one.byte, repeat=1)
    assert run_rounds(wires, [one]).seconds == pytest.approx(run_rounds(wires, [other]).seconds, abs=1e-10)


@settings(deadline=None, max_examples=40)
@given(sizes=st.lists(st.integers(1, 10**9), min_size=1, max_size=12))
def test_a_shared_link_is_never_idle(sizes):
    wires = Wires.of(torus((2,), wrap=False), {"scale_up": (1e6, 0.0)})
    found = run_rounds(wires, [one_round([(0, 1, size) for size in sizes])])
    assert found.seconds == pytest.approx(sum(sizes) / 1e6, rel=1e-9, abs=1e-11)


@settings(deadline=None, max_examples=40)
@given(rng=seeds)
def test_no_link_is_faster_than_its_capacity_and_no_message_than_alone(rng):
    wires = wires_of(TOPOLOGIES["tapered"], routing="hashed")
    one = random_round(rng, 12, [10**6, 5 * 10**6])
    found = run_rounds(wires, [one])
    assert found.seconds >= (found.link_byte / wires.capacity_byte_per_s).max()
    alone = [
        run_rounds(wires, [one_round([transfer])]).seconds
        for transfer in zip(one.source.tolist(), one.target.tolist(), one.byte.tolist(), strict=True)
    ]
    assert max(alone) - 1e-11 <= found.seconds <= sum(alone) + 1e-9


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (lambda w: run_rounds(w, [one_round([(0, 1, -1)])]), "round 0: a transfer of -1 bytes"),
        (lambda w: run_rounds(w, [one_round([(0, 0, 1)])]), "rank 0 sends to itself"),
        (lambda w: run_rounds(w, [one_round([(0, 1, 1)], repeat=0.5)]), "repeat is 0.5; a whole number"),
        (
            lambda w: run_rounds(
                w, [SimpleNamespace(source=np.zeros(1, int), target=np.ones(2, int), byte=np.ones(1, int), repeat=1)]
            ),
            "one value a transfer",
        ),
        (
            lambda w: run_rounds(
                w, [SimpleNamespace(source=np.zeros(1, int), target=np.ones(1, int), byte=np.ones(1), repeat=1)]
            ),
            "byte is of type float64; whole bytes",
        ),
        (lambda w: run_rounds(w, [], background={99: 1.0}), "background: no link 99; 0 to 5"),
        (lambda w: run_rounds(w, [], background={0: -1.0}), "0 or more, finite"),
        (lambda w: run_flows(w, [Flow(links=(0,), byte=1.5)]), "flow 0: byte is 1.5; whole bytes"),
        (lambda w: run_flows(w, [Flow(links=(0,), byte=1, start_s=-1.0)]), "start_s is -1.0; 0 or more"),
        (lambda w: run_flows(w, [Flow(links=(0,), byte=1, after=(3,))]), "comes after 3; another flow's index"),
        (lambda w: run_flows(w, [Flow(links=(0,), byte=1, factor=(1, 1))]), "2 factors for 1 links"),
        (lambda w: run_flows(w, [Flow(links=(), byte=1)]), "uses no link and has no bound"),
        (lambda w: run_flows(w, [Flow(links=(77,), byte=1)]), "link 77; 0 to 5"),
        (
            lambda w: run_flows(w, [Flow(links=(0,), byte=1, after=(1,)), Flow(links=(0,), byte=1, after=(0,))]),
            "0, 1 never start; they wait for one another",
        ),
    ],
)
def test_bad_input_is_one_clear_line(run, message):
    with pytest.raises(FlowError) as caught:
        run(path_wires())
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
