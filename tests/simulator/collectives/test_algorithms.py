"""Every algorithm does what its collective promises, on real numbers, and sends the bytes that it must."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.collectives.algorithms import ALGORITHMS, algorithm, algorithms_for
from simulator.collectives.replay import replay
from simulator.collectives.rounds import chunk_bounds, folded, received_byte, sent_byte

RANKS = [*range(1, 18), 24, 31, 32, 64]
ROOTED = ("broadcast", "reduce", "scatter", "gather")
PAIRS = [(name, collective) for name, one in ALGORITHMS.items() for collective in one.collectives]
MOVING = [(name, collective) for name, collective in PAIRS if collective not in ("barrier", "halo_exchange")]


def named(pairs):
    return [f"{name}-{collective}" for name, collective in pairs]


# What must come out.


def segments(collective: str, ranks: int, size: int, root: int = 0):
    """Which bytes rank i owns: chunk i, or in rooted collectives the chunk of its place after the root."""
    bounds = chunk_bounds(size, ranks)
    place = (np.arange(ranks) - root) % ranks if collective in ROOTED else np.arange(ranks)
    return [slice(bounds[i], bounds[i + 1]) for i in place]


def check_result(collective: str, ranks: int, size: int, rounds, root: int = 0) -> None:
    """Replay the rounds on random numbers and compare with numpy's sum, copy or transposition."""
    data = np.random.default_rng(ranks * 1000 + size).integers(-(2**40), 2**40, (ranks, size))
    own = segments(collective, ranks, size, root)
    everything, nothing = np.ones((ranks, size), bool), np.zeros((ranks, size), bool)
    at_root = nothing.copy()
    at_root[root] = True
    owned = nothing.copy()
    for rank, segment in enumerate(own):
        owned[rank, segment] = True
    total = np.broadcast_to(data.sum(axis=0), data.shape)
    assembled = np.zeros(size, np.int64)
    for rank, segment in enumerate(own):
        assembled[segment] = data[rank, segment]
    expected = {
        "all_reduce": (everything, total, everything),
        "reduce": (everything, total, at_root),
        "reduce_scatter": (everything, total, owned),
        "broadcast": (at_root, np.broadcast_to(data[root], data.shape), everything),
        "scatter": (at_root, np.broadcast_to(data[root], data.shape), owned),
        "gather": (owned, np.broadcast_to(assembled, data.shape), at_root),
        "all_gather": (owned, np.broadcast_to(assembled, data.shape), everything),
    }
    start, result, promised = expected[collective]
    value, held = replay(rounds, np.where(start, data, -7), start)
    assert held[promised].all()
    np.testing.assert_array_equal(value[promised], result[promised])


@pytest.mark.parametrize(
    ("name", "collective"),
    [
        (name, collective)
        for name, collective in MOVING
        if collective not in ("all_to_all", "point_to_point", "permute")
        and (name not in ("torus", "two_level") or collective == "all_reduce")
    ],
    ids=str,
)
def test_after_the_last_round_every_rank_has_what_the_collective_promises(name, collective, cases):
    looked_at = 0
    for one, _, n, size, options in cases([(name, collective)], sizes=(1, 5, 64, 97)):
        for root in {0, n // 2, n - 1} if collective in ROOTED and n < 9 else {0}:
            extra = {"root": root} if collective in ROOTED else {}
            check_result(collective, n, size, one.rounds(collective, n, size, **options, **extra), root)
            looked_at += 1
    assert looked_at > 20


def nested_chunks(ranks, size, *, ranks_per_server, across):
    """Rank l of server m owns chunk m of chunk l."""
    owned = np.zeros((ranks, size), bool)
    outer = chunk_bounds(size, ranks_per_server)
    for rank in range(ranks):
        server, local = divmod(rank, ranks_per_server)
        inner = outer[local] + chunk_bounds(int(outer[local + 1] - outer[local]), ranks // ranks_per_server)
        owned[rank, inner[server] : inner[server + 1]] = True
    return owned


@pytest.mark.parametrize("name", ["torus", "two_level"])
def test_what_a_reduce_scatter_leaves_with_each_rank_is_what_an_all_gather_spreads(name, cases):
    """Here ranks own nested chunks: as many bytes in all as the tensor has, and a fair share each."""
    for one, _, n, size, options in cases([(name, "reduce_scatter")], sizes=(1, 5, 97)):
        data = np.random.default_rng(n).integers(-(2**40), 2**40, (n, size))
        everything, total = np.ones((n, size), bool), data.sum(axis=0)
        reduced, _ = replay(one.rounds("reduce_scatter", n, size, **options), data, everything)
        owned = nested_chunks(n, size, **options) if name == "two_level" else reduced == total
        assert (reduced == total)[owned].all()
        assert (owned.sum(axis=0) == 1).all()
        parts = len(options["dims"]) * (2 if options["both_ways"] else 1) if name == "torus" else 1
        assert owned.sum(axis=1).max() <= size // n + parts
        value, held = replay(one.rounds("all_gather", n, size, **options), np.where(owned, total, -7), owned)
        assert held.all()
        assert (value == total).all()


@pytest.mark.parametrize("name", algorithms_for("all_to_all", 2))
@pytest.mark.parametrize("size", [1, 5, 13, 97])
def test_an_all_to_all_brings_every_chunk_to_its_rank(name, size):
    for n in RANKS:
        data = np.random.default_rng(n).integers(-(2**40), 2**40, n * size)
        start = np.kron(np.eye(n, dtype=bool), np.ones(size, bool))
        value, held = replay(
            ALGORITHMS[name].rounds("all_to_all", n, size), np.where(start, data, -7), start.astype(bool)
        )
        bounds = chunk_bounds(size, n)
        for origin in range(n):
            for distance in range(n):
                span = slice(origin * size + bounds[distance], origin * size + bounds[distance + 1])
                target = (origin + distance) % n
                assert held[target, span].all()
                np.testing.assert_array_equal(value[target, span], data[span])


def test_one_message_and_a_permute_arrive():
    one = ALGORITHMS["direct"]
    (sent,) = one.rounds("point_to_point", 5, 11, source=3, target=1)
    assert (sent.source.tolist(), sent.target.tolist(), sent.byte.tolist()) == ([3], [1], [11])
    (shifted,) = one.rounds("permute", 4, 11, distance=-1)
    assert sorted(zip(shifted.source.tolist(), shifted.target.tolist(), strict=True)) == [
        (0, 3),
        (1, 0),
        (2, 1),
        (3, 2),
    ]
    assert one.rounds("permute", 4, 11, distance=4) == ()


@pytest.mark.parametrize("n", range(1, 70))
def test_after_a_barrier_every_rank_has_heard_of_every_other(n):
    heard = np.eye(n, dtype=bool)
    for one in ALGORITHMS["dissemination"].rounds("barrier", n, 0):
        arrived = heard[one.source]
        heard[one.target] |= arrived
    assert heard.all()


# Bytes.


@pytest.mark.parametrize(("name", "collective"), PAIRS, ids=named(PAIRS))
def test_no_byte_is_lost_and_no_rank_uses_a_port_twice(name, collective, cases):
    for one, _, n, size, options in cases([(name, collective)], sizes=(1, 64, 97)):
        rounds = one.rounds(collective, n, size, **options)
        sent, received = sent_byte(rounds, n), received_byte(rounds, n)
        assert sent.sum() == received.sum() == sum(int(r.byte.sum()) * r.repeat for r in rounds)
        ports = 1 if name != "torus" else len(options["dims"]) * (2 if options["both_ways"] else 1)
        for one_round in rounds:
            assert one_round.repeat == 1
            assert collective == "barrier" or (one_round.byte > 0).all()
            if len(one_round.byte):
                for end in (one_round.source, one_round.target):
                    assert end.min() >= 0
                    assert end.max() < n
                    assert np.bincount(end).max() <= ports
        np.testing.assert_array_equal(sent_byte(folded(rounds), n), sent)


@pytest.mark.parametrize("n", range(2, 65))
def test_known_volumes_hold_exactly(n):
    """With S = n 60 bytes everything divides; per rank, or in all where ranks differ."""
    size = 60 * n
    share, levels = size // n, (n - 1).bit_length()

    def sent(name, collective, **options):
        rounds = algorithm(name, collective, n).rounds(collective, n, size, **options)
        return sent_byte(rounds, n)

    for collective in ("reduce_scatter", "all_gather"):
        assert (sent("ring", collective) == (n - 1) * share).all()
    assert (sent("ring", "all_reduce") == 2 * (n - 1) * share).all()
    assert (sent("bruck", "all_gather") == (n - 1) * share).all()
    assert (sent("pairwise", "all_to_all") == (n - 1) * share).all()
    ones = sum(d.bit_count() for d in range(n))
    assert (sent("bruck", "all_to_all") == ones * share).all()
    for name in ("binomial", "chain", "double_binary_tree"):
        assert sent(name, "broadcast").sum() == sent(name, "reduce").sum() == (n - 1) * size
        assert sent(name, "all_reduce").sum() == 2 * (n - 1) * size
        # Each rank but the root receives the message once, whatever the chunks.
        down = algorithm(name, "broadcast", n).rounds("broadcast", n, size)
        assert received_byte(down, n).tolist() == [0] + [size] * (n - 1)
    subtrees = sum(min(v & -v, n - v) for v in range(1, n))
    assert sent("binomial", "scatter").sum() == sent("binomial", "gather").sum() == subtrees * share
    assert sent("scatter_all_gather", "broadcast").sum() == subtrees * share + n * (n - 1) * share
    power = 1 << (n.bit_length() - 1)
    extra = n - power
    assert sent("recursive_doubling", "all_reduce").sum() == (power * (n.bit_length() - 1) + 2 * extra) * size
    # 2^k ranks exchange (1 - 1/2^k) of the message twice; the others hand it over once and get it back.
    assert sent("halving_doubling", "all_reduce").sum() == 2 * (power - 1) * size + 2 * extra * size
    halving = sent("halving_doubling", "reduce_scatter")
    if power == n:
        assert (halving == (n - 1) * share).all()
        assert (sent("recursive_doubling", "all_gather") == (n - 1) * share).all()
    # Every chunk crosses once from each of the other 2^k - 1; then extra messages in, extra chunks back.
    assert halving.sum() == (power - 1) * size + extra * (size + share)
    assert sent("halving_doubling", "all_gather").sum() == halving.sum()
    assert levels == len(ALGORITHMS["dissemination"].rounds("barrier", n, 0))


@pytest.mark.parametrize("dims", [(2, 3), (4, 4), (3, 5), (2, 3, 4), (3, 3, 3), (4, 4, 4), (8, 8)])
@pytest.mark.parametrize("both_ways", [False, True])
def test_a_torus_sends_no_more_than_one_ring_through_all_ranks(dims, both_ways):
    n = int(np.prod(dims))
    size = n * 12
    rounds = ALGORITHMS["torus"].rounds("all_reduce", n, size, dims=dims, both_ways=both_ways)
    assert (sent_byte(rounds, n) == 2 * (n - 1) * size // n).all()


def test_a_two_level_all_reduce_sends_across_servers_only_what_a_rail_must():
    for local, servers in ((2, 3), (4, 4), (8, 5)):
        size = local * servers * 4
        rounds = ALGORITHMS["two_level"].rounds("all_reduce", local * servers, size, ranks_per_server=local)
        across = sum(int(r.byte[r.source // local != r.target // local].sum()) for r in rounds)
        assert across == local * servers * 2 * (servers - 1) * (size // local) // servers
        assert all((r.source % local == r.target % local)[r.source // local != r.target // local].all() for r in rounds)
