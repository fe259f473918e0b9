"""The distribution of repeated steps: its figures, how sure they are, and when it ends."""

import numpy as np
import pytest

from simulator.events.misfortune.distribution import QUANTILES, distribution, quantile_interval, run_many
from simulator.events.misfortune.laws import MisfortuneError
from simulator.events.misfortune.streams import Streams


def normal(_, streams):
    return 10.0 + streams.of("step").normal()


def test_intervals_hold_the_true_quantile_as_often_as_they_say():
    stream, held = Streams(seed=1).of("u"), dict.fromkeys(QUANTILES, 0)
    for _ in range(600):
        values = np.sort(stream.random(400))
        for name, share in QUANTILES.items():
            low, high = quantile_interval(values, share)
            held[name] += low <= share <= (high if high is not None else 1.0)
    assert all(0.93 <= count / 600 <= 1.0 for count in held.values()), held


def test_too_few_repetitions_leave_the_p99_without_an_upper_end():
    found = distribution(list(range(1, 101)))
    assert found.intervals["p99"][1] is None
    assert found.intervals["median"][1] is not None
    assert distribution([3.0]).intervals["mean"] == (None, None)


def test_repetitions_are_the_same_whatever_their_number():
    few, many = run_many(normal, 20, seed=3), run_many(normal, 50, seed=3)
    assert set(few.seconds) < set(many.seconds)
    assert (few.repetitions, many.repetitions, many.ended) == (20, 50, "all")


def test_it_ends_early_when_the_p95_is_known_well_enough_and_not_before():
    found = run_many(normal, 100_000, seed=3, precision=0.01)
    low, high = found.intervals["p95"]
    assert found.ended == "precise"
    assert 100 <= found.repetitions < 5_000
    assert (high - low) / 2 <= 0.01 * found.figure_s("p95")
    assert run_many(normal, 300, seed=3, precision=1e-6).ended == "all"


def test_an_interrupt_keeps_what_was_finished():
    def interrupted(repetition, streams):
        if repetition == 7:
            raise KeyboardInterrupt
        return normal(repetition, streams)

    found = run_many(interrupted, 50, seed=3)
    assert (found.repetitions, found.asked, found.ended) == (7, 50, "interrupted")
    assert found.seconds == run_many(normal, 7, seed=3).seconds


def test_progress_is_told_of_every_repetition():
    told = []
    run_many(normal, 4, seed=3, progress=lambda done, all_of_them: told.append((done, all_of_them)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_repetition_is_refused():
    with pytest.raises(MisfortuneError, match="at least 1"):
        run_many(normal, 0, seed=1)
    with pytest.raises(MisfortuneError, match="at least 1"):
        distribution([])
