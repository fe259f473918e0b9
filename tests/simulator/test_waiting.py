"""The slowest of many replicas against draws and against the exact mean of few."""

import math

import numpy as np
import pytest

from simulator.waiting import slowest_of


def test_nobody_waits_for_one() -> None:
    assert slowest_of(np.array([1]))[0] == 0.0


def test_more_replicas_wait_longer_and_each_doubling_adds_less() -> None:
    waits = slowest_of(2 ** np.arange(15))
    assert np.all(np.diff(waits) > 0.0)
    assert np.all(np.diff(waits, n=2) < 0.01)


@pytest.mark.parametrize(("replicas", "exact"), [(2, 1 / math.sqrt(math.pi)), (3, 1.5 / math.sqrt(math.pi))])
def test_few_replicas_wait_what_the_exact_mean_of_the_largest_says(replicas: int, exact: float) -> None:
    assert slowest_of(np.array([replicas]))[0] == pytest.approx(exact, rel=0.05)


@pytest.mark.parametrize("replicas", [8, 64, 512])
def test_many_replicas_wait_what_draws_of_them_say(replicas: int) -> None:
    drawn = np.random.default_rng(0).standard_normal((4000, replicas)).max(axis=1)
    assert slowest_of(np.array([replicas]))[0] == pytest.approx(drawn.mean(), rel=0.02)
