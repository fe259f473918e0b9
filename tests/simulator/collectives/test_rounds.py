"""Rounds: chunks that add up, rounds side by side, and a replay that catches algorithms that are wrong."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.collectives import flat_ring
from simulator.collectives.replay import replay
from simulator.collectives.rounds import (
    CollectiveError,
    Pieces,
    Round,
    chunk_bounds,
    folded,
    gathered_moves,
    merged,
    mirrored,
    moves,
    placed,
    received_byte,
    rooted,
    sent_byte,
)


def one(source, target, byte, **more):
    return Round(source=np.array(source), target=np.array(target), byte=np.array(byte), **more)


@given(message=st.integers(0, 10**15), parts=st.integers(1, 3000))
def test_chunks_add_up_and_differ_by_a_byte_at_most(message, parts):
    sizes = np.diff(chunk_bounds(message, parts))
    assert sizes.sum() == message
    assert set(sizes.tolist()) <= {message // parts, -(-message // parts)}
    assert (np.diff(sizes) <= 0).all()  # larger chunks first


def test_chunks_by_hand():
    assert chunk_bounds(10, 4).tolist() == [0, 3, 6, 8, 10]
    assert chunk_bounds(2, 4).tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0], [1, 2], [5, 5]), r"shapes \(1,\), \(2,\) and \(2,\); one entry per transfer"),
        (([[0]], [[1]], [[5]]), "one entry per transfer"),
        (([0], [1], [-5]), "a transfer has -5 bytes; at least 0"),
        (([0, 3], [1, 3], [5, 5]), "rank 3 sends to itself"),
    ],
)
def test_a_round_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(CollectiveError, match=message):
        one(*arguments)
    with pytest.raises(CollectiveError, match="repeat is 0; at least 1"):
        one([0], [1], [5], repeat=0)


def test_empty_transfers_are_left_out():
    (found,) = moves(np.array([0, 1, 2]), np.array([1, 2, 0]), np.array([0, 4, 4]), np.array([4, 4, 9]))
    assert (found.source.tolist(), found.target.tolist(), found.byte.tolist()) == ([0, 2], [1, 0], [4, 5])
    assert found.pieces.transfer.tolist() == [0, 1]
    assert moves(np.array([0]), np.array([1]), np.array([4]), np.array([4])) == []
    nothing = Pieces(transfer=np.array([0]), first_byte=np.array([0]), byte=np.array([0]), reduces=np.array([False]))
    assert gathered_moves(np.array([0]), np.array([1]), nothing) == []


def test_pieces_of_empty_transfers_are_renumbered():
    pieces = Pieces(
        transfer=np.array([0, 2, 1, 2]), first_byte=np.array([9, 0, 7, 5]), byte=np.array([0, 2, 3, 4]),
        reduces=np.zeros(4, bool),
    )  # fmt: skip
    (found,) = gathered_moves(np.array([5, 6, 7]), np.array([6, 7, 5]), pieces)
    assert (found.source.tolist(), found.byte.tolist()) == ([6, 7], [3, 6])
    assert found.pieces.transfer.tolist() == [1, 0, 1]
    assert found.pieces.first_byte.tolist() == [0, 7, 5]


def test_side_by_side_rounds_keep_every_transfer_and_its_pieces():
    left = flat_ring.rounds("all_reduce", 3, 10)
    right = placed(flat_ring.rounds("all_reduce", 4, 7), np.array([3, 4, 5, 6]), 10)
    both = merged([left, right])
    assert len(both) == 6
    assert [len(r.byte) for r in both] == [7, 7, 7, 7, 4, 4]
    np.testing.assert_array_equal(sent_byte(both, 7), sent_byte(left, 7) + sent_byte(right, 7))
    data = np.random.default_rng(0).integers(0, 1000, (7, 17))
    value, _ = replay(both, data, np.ones((7, 17), bool))
    np.testing.assert_array_equal(value[:3, :10], np.broadcast_to(data[:3, :10].sum(0), (3, 10)))
    np.testing.assert_array_equal(value[3:, 10:], np.broadcast_to(data[3:, 10:].sum(0), (4, 7)))
    np.testing.assert_array_equal(value[:3, 10:], data[:3, 10:])


def test_side_by_side_rounds_may_not_repeat_and_forget_pieces_that_one_does_not_know():
    with pytest.raises(CollectiveError, match="a round repeats"):
        merged([[one([0], [1], [5], repeat=2)], [one([2], [3], [5])]])
    (found,) = merged([[one([0], [1], [5])], flat_ring.rounds("all_gather", 3, 9)[:1]])
    assert found.pieces is None
    assert len(found.byte) == 4


def test_equal_neighbours_fold_into_one_round_that_repeats():
    rounds = flat_ring.rounds("all_reduce", 6, 60)
    (found,) = folded(rounds)
    assert (found.repeat, found.byte.tolist(), found.pieces) == (10, [10] * 6, None)
    np.testing.assert_array_equal(sent_byte([found], 6), sent_byte(rounds, 6))
    assert len(folded(flat_ring.rounds("all_reduce", 6, 61))) == 10  # the larger chunk goes round
    assert folded([found, found])[0].repeat == 20


def test_a_mirror_image_twice_is_the_same_and_swaps_what_is_sent_and_received():
    rounds = flat_ring.rounds("all_gather", 5, 33)
    back = mirrored(rounds, reduces=True)
    np.testing.assert_array_equal(sent_byte(back, 5), received_byte(rounds, 5))
    for again, was in zip(mirrored(back, reduces=False), rounds, strict=True):
        for field in ("source", "target", "byte"):
            np.testing.assert_array_equal(getattr(again, field), getattr(was, field))


def test_a_root_turns_the_ranks():
    (found,) = rooted([one([0, 1], [1, 3], [5, 6])], 4, 3)
    assert (found.source.tolist(), found.target.tolist()) == ([3, 0], [0, 2])
    for root in (-1, 4):
        with pytest.raises(CollectiveError, match=f"root is {root}; a rank from 0 to 3"):
            rooted([], 4, root)


# A replay must catch what is wrong.


def broken(rounds, index, **changed):
    """The same rounds with one of them changed in one field of its pieces."""
    was = rounds[index]
    fields = {name: getattr(was.pieces, name) for name in ("transfer", "first_byte", "byte", "reduces")} | changed
    new = one(was.source, was.target, was.byte, pieces=Pieces(**fields))
    return [*rounds[:index], new, *rounds[index + 1 :]]


def test_a_replay_refuses_data_that_is_not_there_yet():
    ranks, size = 4, 8
    owned = np.kron(np.eye(ranks, dtype=bool), np.ones(2, bool)).astype(bool)
    rounds = flat_ring.rounds("all_gather", ranks, size)
    value, held = replay(rounds, np.arange(32).reshape(4, 8), owned)
    assert held.all()
    with pytest.raises(CollectiveError, match=r"round 0: rank \d sends bytes that it does not hold"):
        replay(rounds[1:], value, owned)
    with pytest.raises(CollectiveError, match=r"round 0: rank \d adds to bytes that it does not hold"):
        replay(broken(rounds, 0, reduces=np.ones(4, bool)), value, owned)
    with pytest.raises(CollectiveError, match="round 0 does not say which bytes it moves"):
        replay(folded(rounds), value, owned)


def test_a_replay_tells_a_wrong_sum_from_a_right_one():
    rounds = flat_ring.rounds("all_reduce", 4, 8)
    data, everything = np.random.default_rng(3).integers(0, 10**6, (4, 8)), np.ones((4, 8), bool)
    total = np.broadcast_to(data.sum(0), data.shape)
    np.testing.assert_array_equal(replay(rounds, data, everything)[0], total)
    first = rounds[2].pieces.first_byte
    for wrong in (
        rounds[1:],
        [rounds[1], rounds[0], *rounds[2:]],
        broken(rounds, 2, first_byte=np.roll(first, 1)),
        broken(rounds, 2, reduces=np.zeros(4, bool)),
    ):
        assert (replay(wrong, data, everything)[0] != total).any()


def test_transfers_of_a_round_read_before_any_of_them_writes():
    swap = moves(np.array([0, 1]), np.array([1, 0]), np.array([0, 0]), np.array([1, 1]))
    value, _ = replay(swap, np.array([[3], [4]]), np.ones((2, 1), bool))
    assert value.tolist() == [[4], [3]]
