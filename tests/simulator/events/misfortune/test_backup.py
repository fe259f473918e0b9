"""Backup workers: order statistics in closed form, by quadrature and by draws; what Chen et al. (2016) state."""

import numpy as np
import pytest

from simulator.events.misfortune.backup import (
    best_backups,
    expected_exponential,
    expected_order_statistic,
    order_statistic_draws,
    share_in_time,
)
from simulator.events.misfortune.laws import CONSTANT, FAMILIES, MisfortuneError, law_of
from simulator.events.misfortune.streams import Streams

PLACES = [(1, 1), (96, 100), (100, 100), (1, 100), (50, 100), (9_990, 10_000)]


@pytest.mark.parametrize(("k", "n"), PLACES)
@pytest.mark.parametrize("spread", [0.1, 1.0])
def test_quadrature_is_the_closed_form_of_the_exponential(k, n, spread):
    found = expected_order_statistic(law_of("exponential", spread), k, n)
    assert found == pytest.approx(expected_exponential(spread, k, n), rel=1e-6)


@pytest.mark.parametrize("name", sorted(FAMILIES))
@pytest.mark.parametrize(("k", "n"), PLACES)
def test_the_mean_of_draws_is_the_expected_order_statistic(name, k, n):
    law = law_of(name, 0.3)
    drawn = order_statistic_draws(law, k, n, 20_000, Streams(seed=1).of(name, k, n))
    assert drawn.mean() == pytest.approx(expected_order_statistic(law, k, n), abs=5 * drawn.std() / np.sqrt(20_000))


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_order_statistics_add_up_to_the_mean_of_all_and_ascend(name):
    expected = [expected_order_statistic(law_of(name, 0.3), k, 20) for k in range(1, 21)]
    assert np.mean(expected) == pytest.approx(1.0, rel=1e-4)
    assert np.all(np.diff(expected) > 0)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_one_more_worker_never_makes_the_first_n_later(name):
    times = [expected_order_statistic(law_of(name, 0.3), 96, 96 + b) for b in range(8)]
    assert np.all(np.diff(times) < 0)


def test_without_spread_backups_only_cost():
    assert expected_order_statistic(CONSTANT, 96, 100) == pytest.approx(1.0)
    best, times = best_backups(CONSTANT, 20)
    assert best == 0
    assert times[4] == pytest.approx(20 / 16)


def test_if_3_of_10_steps_have_all_100_gradients_after_2_s_more_than_8_of_10_have_98():
    # Chen et al. state both for 100 workers; whatever the law, the first leaves one number for the second.
    late = 1 - 0.3 ** (1 / 100)
    assert share_in_time(late, 100, 100) == pytest.approx(0.3)
    assert 0.8 < share_in_time(late, 98, 100) < 0.95


@pytest.mark.parametrize("name", ["lognormal", "gamma", "weibull", "pareto"])
def test_a_heavier_spread_wants_more_backups(name):
    wanted = [best_backups(law_of(name, spread), 100)[0] for spread in (0.02, 0.2, 0.6)]
    assert wanted == sorted(wanted)
    assert wanted[0] < wanted[-1]


def test_a_few_backups_of_100_are_best_where_few_workers_are_late():
    best, times = best_backups(law_of("pareto", 0.1), 100)
    assert 1 <= best <= 10
    assert times[best] < 0.95
    assert times[50] > 1.2


@pytest.mark.parametrize(("k", "n"), [(0, 5), (6, 5), (1, 0)])
def test_a_place_that_is_not_there_is_refused(k, n):
    with pytest.raises(MisfortuneError, match="legal: 1 to"):
        expected_order_statistic(CONSTANT, k, n)
    with pytest.raises(MisfortuneError, match="at least 1"):
        best_backups(CONSTANT, 0)
