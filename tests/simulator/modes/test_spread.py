"""Durations that vary: means, sums and order statistics against their formulas and against draws."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.modes.spread import SPREADS, Spread, SpreadError

VARIED = [kind for kind in SPREADS if kind != "constant"]


@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize("variation", [0.1, 0.5, 1.0])
def test_draws_have_the_mean_and_the_variation_they_are_asked_for(kind: str, variation: float) -> None:
    drawn = Spread(mean_s=2.0, kind=kind, variation=variation).draws(np.random.default_rng(1), 400_000)
    assert np.mean(drawn) == pytest.approx(2.0, rel=0.01)
    assert np.std(drawn) / np.mean(drawn) == pytest.approx(variation, rel=0.03)
    assert np.all(drawn > 0)


@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize("draws", [1, 3, 10])
def test_the_only_one_of_one_has_the_mean_of_the_sum(kind: str, draws: int) -> None:
    found = Spread(mean_s=2.0, kind=kind, variation=0.5).expected_order_s(1, 1, draws=draws)
    assert found == pytest.approx(2.0 * draws, rel=1e-3)


def test_the_slowest_of_n_exponential_durations_takes_a_harmonic_number_of_means() -> None:
    for n in (1, 2, 10, 1000):
        found = Spread(mean_s=1.0, kind="shifted_exponential", variation=1.0).expected_order_s(n, n)
        assert found == pytest.approx(sum(1.0 / k for k in range(1, n + 1)), rel=1e-4)


@pytest.mark.parametrize("kind", VARIED)
@pytest.mark.parametrize(("place", "among", "draws"), [(8, 8, 1), (6, 8, 1), (96, 100, 1), (8, 8, 4), (30, 32, 6)])
def test_order_statistics_are_those_of_drawn_workers(kind: str, place: int, among: int, draws: int) -> None:
    one = Spread(mean_s=1.0, kind=kind, variation=0.4)
    runs = 20_000
    drawn = one.draws(np.random.default_rng(5), runs * among * draws).reshape(runs, among, draws).sum(axis=2)
    ordered = np.sort(drawn, axis=1)[:, place - 1]
    error = 4.0 * np.std(ordered) / np.sqrt(runs) + 1e-3 * draws
    assert abs(one.expected_order_s(place, among, draws=draws) - np.mean(ordered)) < error


@pytest.mark.parametrize("kind", SPREADS)
def test_a_later_place_or_more_workers_never_take_less(kind: str) -> None:
    one = Spread(mean_s=1.0, kind=kind, variation=0.0 if kind == "constant" else 0.3)
    by_place = [one.expected_order_s(place, 20) for place in range(1, 21)]
    by_workers = [one.expected_order_s(n, n) for n in range(1, 21)]
    assert np.all(np.diff(by_place) >= 0)
    assert np.all(np.diff(by_workers) >= 0)
    assert sum(by_place) / 20 == pytest.approx(1.0, rel=1e-4)  # all places together are all durations


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"kind": "normal", "variation": 0.1}, "legal: constant, lognormal"),
        ({"mean_s": 0.0}, "above 0"),
        ({"mean_s": float("nan")}, "finite"),
        ({"variation": 0.2}, "a constant has variation 0"),
        ({"kind": "gamma"}, "every other kind more"),
        ({"kind": "shifted_exponential", "variation": 1.5}, "0 to 1"),
    ],
)
def test_a_distribution_that_cannot_be_is_refused(parts: dict[str, object], words: str) -> None:
    with pytest.raises(SpreadError, match=words):
        Spread(**({"mean_s": 1.0} | parts))  # type: ignore[arg-type]
