"""Streams, laws and the slowest of many draws: laws that hold over every distribution there is."""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from simulator.events.misfortune.laws import (
    CONSTANT,
    FAMILIES,
    Empirical,
    MisfortuneError,
    law_of,
    maximum,
    uniforms,
)
from simulator.events.misfortune.streams import Streams

MEASURED = Empirical.of([1.0, 1.1, 1.05, 1.3, 0.9, 1.0, 2.0])
LAWS = [law_of(name, spread) for name in FAMILIES for spread in (0.02, 0.3, 1.0)] + [MEASURED]
every_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: f"{law.name}-{law.spread:.2f}")
U = (np.arange(1000) + 0.5) / 1000


@every_law
def test_a_law_has_mean_1_and_the_spread_asked_for(law):
    # Integrated over z = logit p, so that both tails are seen.
    z = np.linspace(-36, 36, 200_001)
    p = 1 / (1 + np.exp(-z))
    q = 1 / (1 + np.exp(z))
    x = np.where(q < 0.5, law.isf(np.minimum(q, 0.5)), law.ppf(np.minimum(p, 0.5)))
    weight = p * q * (z[1] - z[0])
    assert weight @ x == pytest.approx(1.0, rel=1e-4)
    if law.name == "pareto" and law.spread > 0.2:
        return  # its second moment lies beyond any tail that is integrated
    assert np.sqrt(weight @ (x - 1) ** 2) == pytest.approx(law.spread, rel=2e-3)


@every_law
def test_quantile_and_distribution_undo_each_other(law):
    p = np.array([0.01, 0.3, 0.5, 0.9, 0.999])
    if law is MEASURED:
        p = p[[0, 2, 3, 4]]  # two runs took the same: at 0.3 the distribution jumps
    assert law.cdf(law.ppf(p)) == pytest.approx(p, rel=1e-9)
    assert law.sf(law.isf(1 - p)) == pytest.approx(1 - p, rel=1e-9)


@every_law
def test_the_slowest_of_more_is_slower_at_every_uniform_number(law):
    counts = [1, 2, 7, 64, 1000, 10**6]
    slowest = np.array([maximum(law, n, U) for n in counts])
    assert np.all(np.diff(slowest, axis=0) >= 0)
    assert np.all(slowest[-1] >= slowest[0])
    assert slowest[-1].mean() > slowest[0].mean()


@every_law
@pytest.mark.parametrize("n", [1, 16, 256])
def test_the_slowest_by_one_draw_is_distributed_as_the_slowest_of_n_draws(law, n):
    streams = Streams(seed=3).within(law.name, n)
    one = maximum(law, n, uniforms(streams.of("one"), 4000))
    many = law.ppf(uniforms(streams.of("many"), 4000 * n)).reshape(4000, n).max(axis=1)
    assert stats.ks_2samp(one, many).pvalue > 1e-4


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_slowest_of_a_million_keeps_its_digits(name):
    law, u = law_of(name, 0.3), np.array([1e-6, 0.5, 1 - 1e-9])
    found = 1e6 * np.log1p(-law.sf(maximum(law, 1e6, u)))  # log of F^n
    assert found == pytest.approx(np.log(u), rel=1e-6)


def test_without_spread_every_law_is_the_constant():
    assert all(law_of(name, 0.0) is CONSTANT for name in (*FAMILIES, "constant"))
    assert maximum(CONSTANT, 1e6, U).tolist() == [1.0] * 1000


@pytest.mark.parametrize(
    ("name", "spread", "says"),
    [
        ("normal", 0.1, "no distribution with a spread; legal: lognormal"),
        ("exponential", 1.5, "legal: 0, or 0.0001 to 1"),
        ("gamma", -0.1, "legal: 0, or"),
        ("gamma", float("nan"), "legal: 0, or"),
    ],
)
def test_a_law_that_cannot_be_is_refused_with_what_is_legal(name, spread, says):
    with pytest.raises(MisfortuneError, match=says):
        law_of(name, spread)


@pytest.mark.parametrize("times", [[], [1.0], [0.0, 0.0], [-1.0, 2.0], [1.0, float("nan")]])
def test_measured_times_that_are_none_are_refused(times):
    with pytest.raises(MisfortuneError, match="at least 2, none below 0"):
        Empirical.of(times)


def test_a_stream_is_its_name_whatever_others_are_asked_for():
    alone = Streams(seed=7).of("kernel jitter", 3).random(5)
    streams = Streams(seed=7)
    streams.of("host jitter", 3).random(100)
    assert np.array_equal(streams.of("kernel jitter", 3).random(5), alone)
    assert np.array_equal(streams.within("kernel jitter").of(3).random(5), alone)


def test_streams_of_other_names_and_seeds_differ():
    streams = Streams(seed=7)
    drawn = [
        streams.of("a", 1).random(), streams.of("a", "1").random(), streams.of("a1").random(),
        streams.of("a").random(), Streams(seed=8).of("a", 1).random(),
    ]  # fmt: skip
    assert len(set(drawn)) == 5


def test_streams_are_the_same_over_hash_seeds():
    program = "from simulator.events.misfortune.streams import Streams; print(Streams(seed=1).of('a', 2).random())"
    said = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("0", "1")
    }  # fmt: skip
    assert said == {f"{Streams(seed=1).of('a', 2).random()}\n"}


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_a_seed_that_is_no_whole_number_is_refused(seed):
    with pytest.raises(ValueError, match="whole number"):
        Streams(seed=seed)
