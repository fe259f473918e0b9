"""How a call is timed, on a clock that only moves when the call is made."""

import math

import pytest

from simulator.probe.timing import CASE_S, FEWEST, MOST_SAMPLES, SAMPLE_S, measure, median_error, timing_of


class Clock:
    def __init__(self, seconds, jitter=()):
        self.at, self.seconds, self.jitter, self.made = 0.0, seconds, list(jitter), 0

    def now(self):
        return self.at

    def time_calls(self, calls):
        extra = self.jitter[self.made % len(self.jitter)] if self.jitter else 0.0
        self.made += 1
        took = calls * self.seconds * (1.0 + extra)
        self.at += took
        return took


@pytest.mark.parametrize("seconds", [1e-7, 1e-5, 1e-3, 0.05, 3.0])
def test_a_steady_call_is_timed_exactly_and_within_its_time(seconds):
    clock = Clock(seconds)
    timing = measure(clock.time_calls, now=clock.now)
    assert timing.median_s == pytest.approx(seconds)
    assert timing.least_s == pytest.approx(timing.most_s)
    assert timing.samples >= (FEWEST if seconds < CASE_S else 1)
    assert clock.at <= max(3.0 * CASE_S, (FEWEST + 2) * seconds)


def test_short_calls_are_timed_many_at_once():
    timing = measure((clock := Clock(1e-6)).time_calls, now=clock.now)
    assert timing.calls * 1e-6 >= 0.5 * SAMPLE_S


def test_an_outlier_is_kept_and_moves_the_extreme_but_not_the_median():
    clock = Clock(1e-3, jitter=[0.0] * 19 + [50.0])
    timing = measure(clock.time_calls, now=clock.now)
    assert timing.median_s == pytest.approx(1e-3)
    loud = timing_of([1.0, 1.0, 1.0, 1.0, 40.0], 1)
    assert loud.median_s == 1.0
    assert loud.most_s == 40.0
    assert loud.samples == 5


def test_a_noisy_call_gets_more_samples_than_a_steady_one_and_never_too_many():
    steady, noisy = Clock(1e-4), Clock(1e-4, jitter=[0.0, 0.3, 0.6, 0.1, 0.9])
    few, many = (measure(c.time_calls, now=c.now).samples for c in (steady, noisy))
    assert FEWEST <= few < many <= MOST_SAMPLES


def test_quartiles_are_in_order_and_the_error_shrinks_with_the_root_of_the_samples():
    timing = timing_of([3.0, 1.0, 2.0, 5.0, 4.0], 1)
    assert timing.least_s <= timing.low_quartile_s <= timing.median_s <= timing.high_quartile_s <= timing.most_s
    assert median_error(1.0, 0.9, 1.1, 400) == pytest.approx(median_error(1.0, 0.9, 1.1, 100) / 2.0)
    assert math.isclose(timing_of([2.0], 3).relative_error, 0.0)
