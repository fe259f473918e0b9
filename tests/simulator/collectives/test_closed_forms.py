"""Every closed form is the sum of its algorithm's rounds, and obeys the laws that all of them must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from simulator.collectives.algorithms import ALGORITHMS, algorithms_for
from simulator.collectives.rounds import folded

RANKS = [*range(1, 18), 24, 31, 32, 64]
PAIRS = [(name, collective) for name, one in ALGORITHMS.items() for collective in one.collectives]


def named(pairs):
    return [f"{name}-{collective}" for name, collective in pairs]


# Time without contention: every round lasts as long as its largest transfer.

LATENCY_S, BYTE_PER_S = 3e-6, 7e9


def naive_s(rounds, latency_s=LATENCY_S, byte_per_s=BYTE_PER_S) -> float:
    return sum(one.repeat * max(latency_s + byte / byte_per_s for byte in one.byte.tolist()) for one in rounds)


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_the_closed_form_is_the_sum_of_the_rounds(name, collective, cases):
    """Latency and bytes apart, so that a mistake in one cannot hide behind the other."""
    looked_at = 0
    ranks = RANKS if name in ("chain", "double_binary_tree") else range(1, 65)
    for one, _, n, size, options in cases([(name, collective)], ranks=ranks):
        rounds = folded(one.rounds(collective, n, size, **options))
        given = {"ranks": n, "message_byte": size, **options}
        steps = one.seconds(collective, latency_s=1.0, byte_per_s=np.inf, **given)
        byte = one.seconds(collective, latency_s=0.0, byte_per_s=1.0, **given)
        assert (float(steps), float(byte)) == (naive_s(rounds, 1.0, np.inf), naive_s(rounds, 0.0, 1.0)), (
            n,
            size,
            options,
        )
        looked_at += 1
    assert looked_at > 30


@given(n=st.integers(1, 300), size=st.integers(0, 10**5), pick=st.integers(0, 10**6))
@settings(max_examples=100, deadline=None)
def test_the_closed_form_is_the_sum_of_the_rounds_anywhere(n, size, pick, option_sets, legal_size):
    able = [(one, collective) for one in ALGORITHMS.values() for collective in one.collectives]
    one, collective = able[pick % len(able)]
    if one.refusal(collective, n):
        return
    choices = option_sets(one, collective, n)
    options = choices[pick // len(able) % len(choices)]
    size = legal_size(one, size, options)
    cost = one.seconds(collective, ranks=n, message_byte=size, latency_s=LATENCY_S, byte_per_s=BYTE_PER_S, **options)
    assert float(cost) == pytest.approx(naive_s(folded(one.rounds(collective, n, size, **options))), rel=1e-9)


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_arrays_are_priced_as_one_at_a_time(name, collective, option_sets):
    one, n, sizes = ALGORITHMS[name], 16, np.array([0, 1, 97 * 891, 1 << 20, 10**12], float)
    options = option_sets(one, collective, n)[-1]
    latency = np.array([[0.0], [1e-6], [5e-5]])
    found = one.seconds(collective, ranks=n, message_byte=sizes, latency_s=latency, byte_per_s=1e10, **options)
    assert found.shape == (3, 5)
    for i, j in np.ndindex(found.shape):
        alone = one.seconds(
            collective, ranks=n, message_byte=sizes[j], latency_s=latency[i, 0], byte_per_s=1e10, **options
        )
        assert alone.shape == ()
        assert found[i, j] == alone


@example(n=78_564, size=802_484_374_029)
@given(n=st.integers(2, 100_000), size=st.integers(10**5, 10**12))
@settings(max_examples=60, deadline=None)
def test_whole_bytes_stay_whole_up_to_a_terabyte(n, size):
    """The closed forms count in floating point; here the same in Python's whole numbers, exactly up to 2**53."""

    def byte(name, collective, ranks=n, **options):
        given = {"ranks": ranks, "message_byte": size, "latency_s": 0.0, "byte_per_s": 1.0}
        return int(ALGORITHMS[name].seconds(collective, **given, **options))

    ceil, levels = -(-size // n), (n - 1).bit_length()
    assert byte("ring", "all_reduce") == 2 * (n - 1) * ceil
    assert byte("pairwise", "all_to_all") == byte("binomial", "scatter") == size - ceil
    assert byte("binomial", "all_reduce") == 2 * levels * size
    whole = size + (n - 2) * -(-size // 7)
    # Above 2**53 not every whole number is a float.
    assert abs(byte("chain", "broadcast", chunks=7) - whole) <= (0 if whole <= 2**53 else whole * 2.0**-52)
    q, m = divmod(size, n)
    chunks = [min(1 << k, n - (1 << k)) for k in range(levels)]
    assert byte("bruck", "all_gather") == sum(c * q + min(c, m) for c in chunks)
    power = 1 << (n.bit_length() - 1)
    q, m = divmod(size, power)
    halves = sum((1 << k) * q + min(1 << k, m) for k in range(n.bit_length() - 1))
    assert byte("halving_doubling", "all_reduce") == 2 * halves + (2 * size if n > power else 0)
    assert byte("halving_doubling", "reduce_scatter", ranks=power) == halves
    assert byte("recursive_doubling", "all_gather", ranks=power) == halves


# Laws over all of them.


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_one_rank_and_an_empty_message_cost_nothing(name, collective, option_sets, legal_size):
    one = ALGORITHMS[name]
    for n, size in ((1, 4096), (16, 0)):
        if (n, collective) == (16, "barrier"):
            continue
        options = option_sets(one, collective, n)[0]
        size = legal_size(one, size, options)
        assert one.rounds(collective, n, size, **options) == ()
        assert one.seconds(collective, ranks=n, message_byte=size, latency_s=1.0, byte_per_s=1.0, **options) == 0.0


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_more_bytes_a_slower_wire_or_more_latency_never_cost_less(name, collective, option_sets, legal_size):
    one, n = ALGORITHMS[name], 16
    for options in option_sets(one, collective, n):
        sizes = legal_size(one, 1, options) * np.arange(1, 2000)
        time = one.seconds(collective, ranks=n, message_byte=sizes, latency_s=1e-6, byte_per_s=1e9, **options)
        # More bytes than chunks: before that a further byte may open a further chunk, and so a further start.
        assert (np.diff(time[200:]) >= -1e-15).all()
        for worse in ({"latency_s": 2e-6, "byte_per_s": 1e9}, {"latency_s": 1e-6, "byte_per_s": 5e8}):
            assert (one.seconds(collective, ranks=n, message_byte=sizes, **worse, **options) >= time).all()


@pytest.mark.parametrize("n", [2, 3, 8, 48, 1000, 100_000])
@pytest.mark.parametrize(
    "name", [name for name in algorithms_for("all_reduce", 2) if name not in ("torus", "two_level")]
)
def test_no_all_reduce_beats_the_bandwidth_bound(name, n):
    """A rank with one full-duplex port must send 2 (n - 1) / n of the message, and news needs log2 n rounds."""
    size = np.logspace(0, 12, 40).round()
    time = ALGORITHMS[name].seconds("all_reduce", ranks=n, message_byte=size, latency_s=0.0, byte_per_s=1.0)
    assert (time >= 2 * (n - 1) / n * size * (1 - 1e-12)).all()
    news = ALGORITHMS[name].seconds("all_reduce", ranks=n, message_byte=size, latency_s=1.0, byte_per_s=np.inf)
    assert (news >= np.ceil(np.log2(n))).all()


def test_limits_from_the_literature():
    size, n = 1e9, 1024
    cost = lambda name, **k: float(ALGORITHMS[name].seconds("all_reduce", ranks=n, message_byte=size, **k))  # noqa: E731
    wire = {"latency_s": 0.0, "byte_per_s": 1e9}
    assert cost("ring", **wire) == pytest.approx(2 * (n - 1) / n, rel=1e-5)
    assert cost("halving_doubling", **wire) == pytest.approx(2 * (n - 1) / n, rel=1e-5)
    assert cost("recursive_doubling", **wire) == 10.0
    assert cost("binomial", **wire) == 20.0
    # The trees reach full bandwidth with many chunks, with the logarithm's latency.
    assert cost("double_binary_tree", chunks=10_000, **wire) == pytest.approx(2.0, rel=2e-3)
    start = {"latency_s": 1.0, "byte_per_s": np.inf}
    assert cost("double_binary_tree", chunks=1, **start) == 40.0
    assert (cost("ring", **start), cost("halving_doubling", **start)) == (2046.0, 20.0)


def test_on_equal_dimensions_a_torus_is_as_many_times_faster_as_it_has_rings():
    torus = ALGORITHMS["torus"].seconds
    size, wire = 2**30, {"latency_s": 0.0, "byte_per_s": 1e9}
    for k, both in ((1, False), (2, False), (3, False), (2, True), (3, True)):
        n, rings = 16**k, k * (2 if both else 1)
        time = torus("all_reduce", ranks=n, message_byte=size, dims=[16] * k, both_ways=both, **wire)
        assert time == pytest.approx(2 * (n - 1) / n * size / rings / 1e9, rel=1e-5)


def test_a_line_of_ranks_is_a_torus_of_one_dimension_and_one_server_a_ring():
    given = {"message_byte": np.arange(1, 500), "latency_s": 1e-6, "byte_per_s": 1e9}
    for n in (2, 3, 8, 17):
        ring = ALGORITHMS["ring"].seconds("all_reduce", ranks=n, **given)
        torus = ALGORITHMS["torus"].seconds("all_reduce", ranks=n, dims=[n], **given)
        server = ALGORITHMS["two_level"].seconds("all_reduce", ranks=n, ranks_per_server=n, **given)
        alone = ALGORITHMS["two_level"].seconds("all_reduce", ranks=n, ranks_per_server=1, **given)
        for other in (torus, server, alone):
            np.testing.assert_allclose(other, ring, rtol=1e-12)
