"""Chains of pieces: their law beside draws of it and beside what is known exactly."""

import numpy as np
import pytest
from scipy import stats

from simulator.events.misfortune.laws import FAMILIES, law_of, maximum, uniforms
from simulator.events.misfortune.pieces import Jitter, Pieces
from simulator.events.misfortune.streams import Streams
from simulator.events.misfortune.sums import chain_law

U = np.array([0.05, 0.5, 0.95])


class Exact:
    """A scipy distribution as a law."""

    def __init__(self, frozen):
        self.isf, self.ppf = frozen.isf, frozen.ppf


@pytest.mark.parametrize(("spread", "count"), [(0.05, 100), (0.5, 10), (1.0, 3), (0.05, 10_000), (0.3, 300_000)])
@pytest.mark.parametrize("n", [1, 64, 10**6])
def test_the_slowest_of_sums_of_gamma_pieces_is_that_of_the_gamma_law(spread, count, n):
    chain = chain_law([Pieces(base_ps=1000.0, count=count)], Jitter(kernel=law_of("gamma", spread)))
    exact = Exact(stats.gamma(a=count / spread**2, scale=1000 * spread**2))
    error = np.abs(maximum(chain, n, U) - maximum(exact, n, U)) / chain.deviation_ps
    assert error.max() < 0.03


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize("spread", [0.05, 0.5])
def test_quantiles_of_a_chain_are_those_of_drawn_chains(name, spread):
    jitter, stream = Jitter(kernel=law_of(name, spread)), Streams(seed=1).of(name)
    groups = [Pieces(base_ps=1000.0, count=9), Pieces(base_ps=2500.0, count=4, ranks=4)]
    chain = chain_law(groups, jitter)
    drawn = sum(
        jitter.slowest_ps(np.full(60_000 * g.count, g.base_ps), g.ranks, (), stream).reshape(-1, g.count).sum(axis=1)
        for g in groups
    )
    for share in (0.05, 0.5, 0.95):
        beside = np.mean(drawn <= chain.ppf(np.array([share]))[0])
        assert beside == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / 60_000))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_host_and_kernel_jitter_add_up_in_a_chain(name):
    jitter = Jitter(kernel=law_of(name, 0.2), host=law_of("exponential", 1.0), host_ps=400.0)
    chain = chain_law([Pieces(base_ps=1000.0, count=8, ranks=2)], jitter)
    drawn = jitter.slowest_ps(np.full(80_000, 1000.0), 2, (), Streams(seed=2).of(name)).reshape(-1, 8).sum(axis=1)
    assert chain.mean_ps == pytest.approx(drawn.mean(), abs=5 * drawn.std() / 100)
    assert np.mean(drawn <= chain.isf(np.array([0.1]))[0]) == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_meeting_only_at_the_end_is_quicker_than_meeting_after_every_piece(name):
    jitter, n = Jitter(kernel=law_of(name, 0.1)), 64
    at_the_end = chain_law([Pieces(base_ps=1000.0, count=50)], jitter)
    every_time = chain_law([Pieces(base_ps=1000.0, count=50, ranks=n)], jitter)
    assert 50_000 < float(maximum(at_the_end, n, np.array([0.5]))[0]) < 0.97 * every_time.mean_ps


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_slow_rank_makes_every_quantile_of_its_chain_longer(name):
    jitter, p = Jitter(kernel=law_of(name, 0.2)), np.linspace(0.01, 0.99, 50)
    plain = chain_law([Pieces(base_ps=1000.0, count=20, ranks=8)], jitter)
    slow = chain_law([Pieces(base_ps=1000.0, count=20, ranks=8, slow=(1.2,))], jitter)
    alone = chain_law([Pieces(base_ps=1200.0, count=20)], jitter)
    assert np.all(slow.ppf(p) > plain.ppf(p))
    assert np.all(slow.ppf(p) > alone.ppf(p))


def test_a_heavy_tail_beyond_the_grid_is_that_of_one_long_piece():
    law = law_of("pareto", 1.0)
    chain = chain_law([Pieces(base_ps=1.0, count=5)], Jitter(kernel=law))
    far = 1e5
    assert chain.cut_off
    assert float(chain.sf(np.array([far]))[0]) == pytest.approx(5 * float(law.sf(np.array([far - 4]))[0]), rel=0.05)


def test_a_chain_without_jitter_is_its_sum():
    chain = chain_law([Pieces(base_ps=1000.0, count=7), Pieces(base_ps=1.0, ranks=8, slow=(3.0,))], Jitter())
    assert maximum(chain, 1e6, U).tolist() == [7003.0] * 3
    assert chain.method == "certain"


def test_the_law_of_a_chain_costs_no_more_for_a_million_ranks():
    chain = chain_law([Pieces(base_ps=1000.0, count=96)], Jitter(kernel=law_of("lognormal", 0.05)))
    slowest = [float(maximum(chain, n, np.array([0.5]))[0]) for n in (1, 10**3, 10**6)]
    # sigma = 0.05 sqrt(96) x 1000: 3.2 and 4.8 deviations above the mean of a nearly normal sum
    assert (slowest[1] - slowest[0]) / chain.deviation_ps == pytest.approx(3.2, abs=0.1)
    assert (slowest[2] - slowest[0]) / chain.deviation_ps == pytest.approx(4.85, abs=0.15)


def test_uniform_numbers_never_reach_their_ends():
    drawn = uniforms(Streams(seed=1).of("u"), 100_000)
    assert 0 < drawn.min() < drawn.max() < 1
