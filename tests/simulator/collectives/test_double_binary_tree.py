"""The two trees: both span all ranks, no rank forwards in both, and colours keep every port to one transfer."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from simulator.collectives import chain, double_binary_tree
from simulator.collectives.double_binary_tree import edge_colours, two_trees
from simulator.collectives.rounds import folded, sent_byte

RANKS = [*range(2, 70), 127, 128, 129, 130, 1000, 1025]


@pytest.mark.parametrize("n", RANKS)
def test_both_trees_span_all_ranks_and_no_rank_forwards_in_both(n):
    trees = two_trees(n)
    inner = []
    for edges in trees:
        assert sorted(child for _, child in edges) == list(range(1, n))
        assert max(edges.values()) == (n - 1).bit_length()
        depth = {0: 0} | {child: d for (_, child), d in edges.items()}
        assert all(d == depth[parent] + 1 for (parent, _), d in edges.items())
        children = Counter(parent for parent, _ in edges)
        assert children[0] == 1
        assert max(children.values()) <= 2
        inner.append({parent for parent in children if parent})
    assert not inner[0] & inner[1]


@pytest.mark.parametrize("n", RANKS)
def test_edges_of_one_colour_share_no_sender_and_no_receiver(n):
    trees = two_trees(n)
    colours = edge_colours(trees)
    for colour in (0, 1):
        edges = [edge for t, tree in enumerate(trees) for edge in tree if colours[t][edge] == colour]
        assert len({a for a, _ in edges}) == len({b for _, b in edges}) == len(edges)


@pytest.mark.parametrize("n", [4, 7, 16, 33])
def test_links_are_busy_nearly_all_the_time(n):
    """With many chunks every rank but the root sends about twice the message in an all-reduce, as a ring's does."""
    size = 2**20
    rounds = double_binary_tree.rounds("all_reduce", n, size, chunks=64)
    sent = sent_byte(rounds, n)
    assert sent.sum() == 2 * (n - 1) * size
    assert sent[1:].max() <= 2 * size


@pytest.mark.parametrize("n", [2, 3, 4, 5, 6, 8, 9, 16, 17, 33, 65])
def test_the_closed_form_is_exact_for_every_size_and_number_of_chunks(n):
    size, chunks = np.arange(1, 80), np.array([1, 2, 3, 5, 16])[:, None]
    given = {"ranks": n, "message_byte": size, "chunks": chunks}
    steps = double_binary_tree.seconds("broadcast", latency_s=1.0, byte_per_s=np.inf, **given)
    byte = double_binary_tree.seconds("broadcast", latency_s=0.0, byte_per_s=1.0, **given)
    for i, j in np.ndindex(steps.shape):
        rounds = double_binary_tree.rounds("broadcast", n, int(size[j]), chunks=int(chunks[i, 0]))
        assert steps[i, j] == len(rounds)
        assert byte[i, j] == sum(int(one.byte.max()) for one in rounds)
    assert len(folded(rounds)) <= len(rounds)


@pytest.mark.parametrize("module", [chain, double_binary_tree])
@pytest.mark.parametrize("n", [2, 3, 8, 100, 4096])
def test_the_best_number_of_chunks_is_the_best(module, n):
    wire = {"ranks": n, "latency_s": 5e-6, "byte_per_s": 1e10}
    size = np.array([1.0, 1e3, 1e6, 1e9, 1e12])
    best = module.best_chunks(message_byte=size, **wire)
    cost = module.seconds("broadcast", message_byte=size, chunks=best, **wire)
    for other in (best * 2, best / 2, best + 1, best - 1, np.ones(5), np.full(5, 16)):
        other = np.maximum(1.0, np.floor(other))
        # The formula knows no whole bytes: a neighbour whose chunks divide the message better may be a trifle faster.
        assert (cost <= module.seconds("broadcast", message_byte=size, chunks=other, **wire) * (1 + 1e-3)).all()


def test_without_latency_chunks_are_as_small_as_they_can_be():
    wire = {"ranks": 8, "message_byte": np.array([0.0, 100.0]), "latency_s": 0.0, "byte_per_s": 1e9}
    assert chain.best_chunks(**wire).tolist() == [1.0, 100.0]
    assert double_binary_tree.best_chunks(**wire).tolist() == [1.0, 50.0]
