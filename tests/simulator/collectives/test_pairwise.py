"""All-to-all with uneven amounts: a matrix of bytes, exactly delivered, and what the largest of each round costs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from simulator.collectives import pairwise
from simulator.collectives.replay import replay
from simulator.collectives.rounds import CollectiveError, received_byte, sent_byte

MATRICES = st.integers(1, 7).flatmap(lambda n: arrays(np.int64, (n, n), elements=st.integers(0, 9)))


@given(byte=MATRICES)
def test_every_byte_arrives_where_the_matrix_says(byte):
    n, total = len(byte), int(byte.sum())
    data = np.random.default_rng(0).integers(1, 10**9, total)
    origin = np.repeat(np.arange(n), byte.sum(axis=1))
    goal = np.repeat(np.tile(np.arange(n), n), byte.ravel())
    start = origin == np.arange(n)[:, None]
    rounds = pairwise.ragged_rounds(byte)
    value, held = replay(rounds, np.where(start, data, -1), start)
    for rank in range(n):
        assert held[rank, goal == rank].all()
        np.testing.assert_array_equal(value[rank, goal == rank], data[goal == rank])
    away = byte - np.diag(np.diag(byte))
    np.testing.assert_array_equal(sent_byte(rounds, n), away.sum(axis=1))
    np.testing.assert_array_equal(received_byte(rounds, n), away.sum(axis=0))


@given(byte=MATRICES)
def test_the_closed_form_is_the_sum_of_the_rounds_and_above_the_busiest_rank(byte):
    rounds = pairwise.ragged_rounds(byte)
    time = pairwise.ragged_seconds(byte, latency_s=1.0, byte_per_s=4.0)
    assert time == sum(1.0 + one.byte.max() / 4.0 for one in rounds)
    away = byte - np.diag(np.diag(byte))
    assert time >= max(away.sum(axis=0).max(), away.sum(axis=1).max()) / 4.0


@pytest.mark.parametrize("n", [1, 2, 3, 8, 17])
@pytest.mark.parametrize("size", [1, 16, 97, 10**9])
def test_even_amounts_are_the_uniform_all_to_all(n, size):
    chunk = np.array([size // n + (d < size % n) for d in range(n)])
    byte = chunk[(np.arange(n) - np.arange(n)[:, None]) % n]
    wire = {"latency_s": 2.0, "byte_per_s": 8.0}
    uniform = pairwise.seconds("all_to_all", ranks=n, message_byte=size, **wire)
    assert pairwise.ragged_seconds(byte, **wire) == uniform


def test_one_liked_expert_by_hand():
    """All of 3 ranks send 6 bytes to rank 0: two rounds, in each of which one rank sends 6."""
    byte = np.array([[6, 0, 0], [6, 0, 0], [6, 0, 0]])
    assert pairwise.ragged_seconds(byte, latency_s=1.0, byte_per_s=2.0) == 8.0
    assert [one.source.tolist() for one in pairwise.ragged_rounds(byte)] == [[2], [1]]


def test_many_matrices_at_once():
    draw = np.random.default_rng(5).integers(0, 100, (4, 3, 6, 6))
    found = pairwise.ragged_seconds(draw, latency_s=np.array([1.0, 2.0, 3.0]), byte_per_s=7.0)
    assert found.shape == (4, 3)
    for i, j in np.ndindex(4, 3):
        assert found[i, j] == pairwise.ragged_seconds(draw[i, j], latency_s=1.0 + j, byte_per_s=7.0)


@pytest.mark.parametrize(
    ("byte", "message"),
    [
        (np.zeros((2, 3), int), r"byte has shape \(2, 3\); \(..., n, n\)"),
        (np.zeros(4, int), r"byte has shape \(4,\)"),
        (np.zeros((0, 0), int), r"byte has shape \(0, 0\)"),
        (np.array([[0, -1], [0, 0]]), "an entry that is negative or not finite"),
        (np.array([[0, np.nan], [0, 0]]), "an entry that is negative or not finite"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused(byte, message):
    for price in (pairwise.ragged_rounds, lambda b: pairwise.ragged_seconds(b, latency_s=0.0, byte_per_s=1.0)):
        with pytest.raises(CollectiveError, match=message):
            price(byte)


def test_rounds_need_one_matrix_of_whole_bytes():
    for byte in (np.array([[0.0, 0.5], [0.0, 0.0]]), np.zeros((2, 2, 2), int)):
        with pytest.raises(CollectiveError, match="one square matrix of whole bytes"):
            pairwise.ragged_rounds(byte)
