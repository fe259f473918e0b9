"""Sparse exchange: expected sizes against drawn supports, limits, and the switch to plain numbers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from simulator.collectives.rounds import CollectiveError
from simulator.collectives.sparse_exchange import (
    EXCHANGES,
    break_even_elements,
    cheapest,
    round_byte,
    rounds,
    seconds,
    stream_byte,
    union_elements,
)

N, PAIR, VALUE = 20_000, 8, 4


def drawn(rng: np.random.Generator, ranks: int, kept: int, shared: float) -> list[set[int]]:
    """Supports of each rank: a common part, the rest uniform over what is left."""
    common = round(shared * kept)
    rest = np.arange(common, N)
    return [set(range(common)) | set(rng.choice(rest, kept - common, replace=False).tolist()) for _ in range(ranks)]


def simulated(exchange: str, supports: list[set[int]]) -> list[float]:
    """Run the exchange on supports; bytes of the busiest rank in each round."""
    ranks = len(supports)

    def size(one: set[int], of: int = N) -> int:
        return min(len(one) * PAIR, of * VALUE)

    if exchange == "all_gather":
        return [float(np.mean([size(one) for one in supports]))] * (ranks - 1)
    if exchange == "split_all_gather":
        whole = set().union(*supports)
        scatter = np.mean([size(one) for one in supports]) / ranks
        return [float(scatter)] * (ranks - 1) + [size(whole) / ranks] * (ranks - 1)
    core = 1 << (ranks.bit_length() - 1)
    extra = ranks - core
    held = [set(one) for one in supports[:core]]
    found: list[float] = []
    if extra:
        found.append(max(size(one) for one in supports[core:]))
        for i in range(extra):
            held[i] |= supports[core + i]
    step = 1
    while step < core:
        found.append(max(size(one) for one in held))
        held = [held[i] | held[i ^ step] for i in range(core)]
        step *= 2
    assert all(one == held[0] for one in held)
    return [*found, size(held[0])] if extra else found


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 33])
@pytest.mark.parametrize("kept", [20, 400, 6000])
def test_expected_unions_are_what_drawn_supports_have(kept: int, ranks: int, shared: float) -> None:
    rng = np.random.default_rng(kept + ranks)
    unions = [len(set().union(*drawn(rng, ranks, kept, shared))) for _ in range(12)]
    form = float(union_elements(elements=N, kept=kept, ranks=ranks, shared=shared))
    assert form == pytest.approx(np.mean(unions), rel=0.01)


@pytest.mark.parametrize("shared", [0.0, 0.6])
@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 8, 13, 16])
@pytest.mark.parametrize("kept", [200, 2000, 7000])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_expected_bytes_are_what_drawn_supports_send(exchange: str, kept: int, ranks: int, shared: float) -> None:
    rng = np.random.default_rng(7)
    sent = np.mean([simulated(exchange, drawn(rng, ranks, kept, shared)) for _ in range(5)], axis=0)
    form = round_byte(exchange, elements=N, kept=kept, ranks=ranks, shared=shared)
    # The busiest of several ranks has a little more than the mean: a few standard deviations of a union.
    assert form == pytest.approx(sent, rel=0.03)


def test_limits_of_the_union() -> None:
    assert union_elements(elements=1e9, kept=10, ranks=1000) == pytest.approx(1e4, rel=1e-4)  # nothing meets
    assert union_elements(elements=1000, kept=10, ranks=10**6) == pytest.approx(1000)  # everything is covered
    assert union_elements(elements=1000, kept=1000, ranks=[1, 2, 64]) == pytest.approx([1000] * 3)
    assert union_elements(elements=1000, kept=0, ranks=9) == 0.0
    assert union_elements(elements=1000, kept=10, ranks=64, shared=1.0) == pytest.approx(10)
    tiny = union_elements(elements=1e12, kept=1, ranks=[1, 2])
    assert tiny == pytest.approx([1.0, 2.0], rel=1e-9)


def test_union_grows_with_ranks_and_falls_with_what_is_shared() -> None:
    ranks = 2 ** np.arange(12)
    grown = union_elements(elements=1e6, kept=1e3, ranks=ranks)
    assert (np.diff(grown) > 0).all()
    assert (grown <= 1e3 * ranks + 1e-6).all()
    fallen = union_elements(elements=1e6, kept=1e3, ranks=64, shared=np.linspace(0, 1, 11))
    assert (np.diff(fallen) < 0).all()


def test_plain_numbers_are_sent_from_the_break_even_on() -> None:
    even = float(break_even_elements(elements=N))
    assert even == N / 2
    assert stream_byte(elements=N, nonzero=even) == N * VALUE
    assert stream_byte(elements=N, nonzero=even - 1) == N * VALUE - PAIR
    assert stream_byte(elements=N, nonzero=N) == N * VALUE
    # Two-byte values with four-byte places break even at a third.
    assert break_even_elements(elements=900, value_byte=2, index_byte=4) == pytest.approx(300)
    # 1 % of elements on 128 ranks: sums pass half of all elements between round 6 (64 vectors) and the end.
    sizes = round_byte("recursive_doubling", elements=1e6, kept=1e4, ranks=256)
    assert (sizes < 4e6).tolist() == [True] * 7 + [False]


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_dense_vectors_cost_what_dense_algorithms_cost(exchange: str) -> None:
    n, p, beta = 1e6, 16, 1e9
    found = float(seconds(exchange, elements=n, kept=n, ranks=p, latency_s=0.0, byte_per_s=beta))
    dense = n * VALUE / beta
    expected = {
        "all_gather": (p - 1) * dense, "recursive_doubling": 4 * dense, "split_all_gather": 2 * (p - 1) / p * dense,
    }  # fmt: skip
    assert found == pytest.approx(expected[exchange])


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_one_rank_exchanges_nothing_and_arrays_broadcast(exchange: str) -> None:
    alone = seconds(exchange, elements=100, kept=[1, 2], ranks=1, latency_s=1.0, byte_per_s=1.0)
    assert alone.tolist() == [0.0, 0.0]
    many = seconds(exchange, elements=1e6, kept=[[10], [1000]], ranks=6, latency_s=1e-6, byte_per_s=[1e9, 2e9, 4e9])
    one = seconds(exchange, elements=1e6, kept=1000, ranks=6, latency_s=1e-6, byte_per_s=4e9)
    assert many.shape == (2, 3)
    assert many[1, 2] == pytest.approx(float(one))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4, 6, 7, 8, 11, 16, 31])
@pytest.mark.parametrize("kept", [0, 10, 3000, N])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_rounds_send_what_the_closed_form_says(exchange: str, kept: int, ranks: int) -> None:
    found = [one for one in rounds(exchange, elements=N, kept=kept, ranks=ranks) for _ in range(one.repeat)]
    sizes = round_byte(exchange, elements=N, kept=kept, ranks=ranks)
    assert [int(one.byte.max()) for one in found] == [int(np.ceil(size - 1e-6)) for size in sizes]
    for one in found:
        assert len(set(one.source.tolist())) == len(set(one.target.tolist())) == len(one.source)


@pytest.mark.parametrize("ranks", [2, 3, 4, 7, 13, 16])
@pytest.mark.parametrize("exchange", EXCHANGES)
def test_rounds_bring_every_vector_to_every_rank(exchange: str, ranks: int) -> None:
    found = [one for one in rounds(exchange, elements=N, kept=10, ranks=ranks) for _ in range(one.repeat)]
    if exchange == "split_all_gather":
        # Every ordered pair meets once to add and once to hand on.
        pairs = [pair for one in found for pair in zip(one.source.tolist(), one.target.tolist(), strict=True)]
        assert sorted(pairs) == sorted(2 * [(a, b) for a in range(ranks) for b in range(ranks) if a != b])
        return
    held = [{rank} for rank in range(ranks)]
    for one in found:
        before = [set(vectors) for vectors in held]
        for source, target in zip(one.source.tolist(), one.target.tolist(), strict=True):
            held[target] |= before[source]
    assert all(vectors == set(range(ranks)) for vectors in held)


def test_the_cheapest_goes_from_few_rounds_to_few_bytes_to_dense() -> None:
    def at(kept: float) -> str:
        return cheapest(elements=1e7, kept=kept, ranks=64, latency_s=5e-6, byte_per_s=1e9)[0]

    assert [at(k) for k in (10, 1e5, 9e6)] == ["recursive_doubling", "split_all_gather", "dense"]
    # Two ranks: an all-gather is one round of one vector, nothing is smaller.
    name, time = cheapest(elements=1e7, kept=1e4, ranks=2, latency_s=5e-6, byte_per_s=1e9)
    assert time == pytest.approx(5e-6 + 8e4 / 1e9)
    assert name in ("all_gather", "recursive_doubling")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: union_elements(elements=10, kept=11, ranks=2), "kept is 11 of 10 elements; at most all"),
        (lambda: union_elements(elements=10, kept=1, ranks=0), "ranks is 0; a whole number, at least 1"),
        (lambda: union_elements(elements=10, kept=1, ranks=1, shared=1.5), "shared is 1.5; a share from 0 to 1"),
        (lambda: round_byte("ring", elements=9, kept=1, ranks=2), "exchange is 'ring'; one of all_gather"),
        (lambda: round_byte("all_gather", elements=9, kept=1, ranks=0), "ranks is 0; a whole number, at least 1"),
        (
            lambda: seconds("all_gather", elements=9, kept=1, ranks=2, latency_s=0, byte_per_s=0),
            "byte_per_s is 0; a finite number, above 0",
        ),
    ],
)
def test_refusals_are_one_clear_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(CollectiveError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
