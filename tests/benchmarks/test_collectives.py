"""How fast collectives are priced in arrays, beside one at a time in plain Python.

Not part of the tests: ``python -m pytest tests/benchmarks -q -s``. A million collectives of every kind, from 1 byte to
1 TB and 2 to 100,000 ranks. What is printed is the result; the bound is a ratio, so that a slow or busy machine changes
nothing.
"""

import time

import numpy as np
import pytest

from simulator.collectives.algorithms import ALGORITHMS
from simulator.collectives.exchange import COLLECTIVES, Exchanges, Wires
from simulator.collectives.library_constants import library_constants
from simulator.collectives.library_cost import exchange_cost, exchange_s

MANY = 1_000_000
SAMPLE = 50_000
PAIRS = [(name, collective) for name, one in ALGORITHMS.items() for collective in one.collectives]


def ring_all_reduce_s(message_byte, ranks, byte_per_s, latency_s):
    """The textbook ring, one number at a time."""
    if ranks < 1:
        raise ValueError(ranks)
    return 2.0 * (ranks - 1) * (latency_s + message_byte / ranks / byte_per_s)


def seconds(work, repeat=3):
    """CPU time of the quickest of some runs."""
    best = float("inf")
    for _ in range(repeat):
        begin = time.process_time()
        work()
        best = min(best, time.process_time() - begin)
    return best


def questions(name, collective):
    """A million different questions that an algorithm can answer."""
    draw = np.random.default_rng(1)
    given = {
        "ranks": draw.integers(2, 100_001, MANY).astype(float),
        "message_byte": np.floor(10.0 ** draw.uniform(0.0, 12.0, MANY)),
        "latency_s": draw.uniform(1e-6, 5e-5, MANY),
        "byte_per_s": draw.uniform(1e9, 1e12, MANY),
    }
    sizes = np.floor(2.0 ** draw.uniform(0.0, 5.0, (3, MANY)))
    match name:
        case "two_level":
            given |= {"ranks": sizes[0] * sizes[1], "ranks_per_server": sizes[0], "across": "halving_doubling"}
        case "torus":
            given |= {"ranks": sizes.prod(axis=0), "dims": list(sizes)}
        case "halo":
            given |= {"ranks": sizes.prod(axis=0), "grid": list(sizes), "cells": [1024.0] * 3}
        case "recursive_doubling" if collective == "all_gather":
            given |= {"ranks": np.exp2(np.floor(np.log2(given["ranks"])))}
    return given


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=str)
def test_a_million_collectives_against_one_at_a_time(name, collective):
    given = questions(name, collective)
    price = ALGORITHMS[name].seconds
    assert np.isfinite(price(collective, **given)).all()
    rate_per_s = MANY / seconds(lambda: price(collective, **given))
    columns = zip(
        *(given[key][:SAMPLE].tolist() for key in ("message_byte", "ranks", "byte_per_s", "latency_s")), strict=True
    )
    rows = list(columns)

    def one_at_a_time():
        for message, ranks, rate, latency in rows:
            ring_all_reduce_s(message, int(ranks), rate, latency)

    plain_per_s = SAMPLE / seconds(one_at_a_time)
    print(f"\n{name} {collective}: {rate_per_s / 1e6:.1f} M/s; a plain Python ring {plain_per_s / 1e6:.1f} M/s")
    # The heaviest, a torus of three dimensions, sorts and sums nine terms where the textbook has one.
    assert rate_per_s > plain_per_s / 5


def placements():
    """Groups of many sizes on switches, racks and meshes, inside a domain and over many."""
    for ranks in (2, 3, 4, 8, 16, 18, 64, 72, 128, 1024, 16384):
        for kind, link, chips, rate in (("switch", "nvlink4", 8, 450e9), ("rack", "nvlink5", 72, 900e9),
                                        ("pairs", "xgmi3", 8, 448e9), ("cube_mesh", "nvlink2", 8, 150e9)):  # fmt: skip
            inside = min(ranks, chips)
            yield Wires(
                ranks=ranks, domain_ranks=inside, host_ranks=min(inside, 4), up_kind=kind, up_link=link,
                up_byte_per_s=rate, pair_byte_per_s=rate, out_link="infiniband-ndr" if ranks > inside else "",
                out_byte_per_s=50e9 * inside, library="nccl", in_switch=inside > 4 and link in ("nvlink4", "nvlink5"),
            )  # fmt: skip


@pytest.mark.parametrize("cost", [exchange_s, exchange_cost], ids=["seconds", "seconds and reasons"])
def test_a_million_messages_by_the_cost_model_of_the_libraries(cost):
    draw = np.random.default_rng(2)
    distinct = tuple((wires, collective, "") for wires in placements() for collective in COLLECTIVES)
    row, message = draw.integers(0, len(distinct), MANY), 10.0 ** draw.uniform(0.0, 11.0, MANY)
    many = Exchanges(distinct=distinct, row=row, message_byte=message)
    constants = library_constants()
    # A fit gathers its constants anew for every trial: that is part of a price.
    assert np.isfinite(cost(many, constants.rows(many)).seconds if cost is exchange_cost else 0.0).all()
    rate_per_s = MANY / seconds(lambda: cost(many, constants.rows(many)))

    def one_at_a_time():
        for byte in message[:SAMPLE].tolist():
            ring_all_reduce_s(byte, 64, 1e11, 1e-6)

    plain_per_s = SAMPLE / seconds(one_at_a_time)
    print(f"\nlibraries: {rate_per_s / 1e6:.2f} M/s; a plain Python ring {plain_per_s / 1e6:.1f} M/s")
    # Five algorithms in every row and 29 constants to gather: a twentieth of one textbook term.
    assert rate_per_s > plain_per_s / 20
