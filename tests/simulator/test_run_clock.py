"""The clock of a whole run: closed form beside draws, laws of failures and intervals, published runs as checks."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.outcome import intervals
from simulator.outcome.availability import mean_speed, spares_needed, waiting_share
from simulator.outcome.failures import FailureCount, Failures, RunError, counts_for, failure_counts, job_failures
from simulator.outcome.levels import Level, levels_expected_s
from simulator.outcome.run_clock import RunWork, expected, segment_expected_s, with_interval
from simulator.outcome.run_draws import draw_runs

DAY_S = 86400.0
WORK = RunWork(
    steps=100_050, step_s=10.0, startup_s=300.0, evaluate_every=1000, evaluation_s=60.0, checkpoint_every=100,
    stall_s=30.0,
)  # fmt: skip
OFTEN = Failures(rate_per_s=1e-4, restart_s=600.0, down_s=120.0)

rates = st.floats(1e-9, 2e-4)
stalls = st.floats(0.01, 2000.0)


def test_without_failures_a_run_is_the_sum_of_its_parts() -> None:
    found = expected(WORK, Failures())
    # 100,050 steps, 100 evaluations, 1,001 checkpoints.
    assert found.total_s == pytest.approx(1_000_500 + 300 + 100 * 60 + 1001 * 30, rel=1e-12)
    assert (found.failures, found.lost_s, found.restart_s, found.down_s) == (0.0, 0.0, 0.0, 0.0)
    assert draw_runs(WORK, Failures(), runs=3).time_s == pytest.approx([found.total_s] * 3, rel=1e-12)


def test_a_segment_that_may_fail_takes_dalys_time() -> None:
    # e^(R/M) M (e^(s/M) - 1) with M 10,000 s, s 1,000 s, R 600 s.
    assert segment_expected_s(1000.0, 1e-4, restart_s=600.0) == pytest.approx(
        math.exp(0.06) * 1e4 * math.expm1(0.1), rel=1e-12
    )


@pytest.mark.parametrize(
    ("work", "failures"),
    [
        (WORK, OFTEN),
        (replace(WORK, stall_s=2.0, write_s=900.0), OFTEN),
        (replace(WORK, checkpoint_every=500), replace(OFTEN, down_s=3000.0)),
        (replace(WORK, steps=100, checkpoint_every=0), OFTEN),
        (replace(WORK, fed_step_s=14.0, evaluate_every=0), replace(OFTEN, restart_s=0.0)),
        (replace(WORK, step_s=1.0, write_s=100.0), replace(OFTEN, rate_per_s=2e-3, restart_s=200.0)),
    ],
    ids=["blocking", "asynchronous", "far apart", "no checkpoint", "slow input", "a failure in nearly every segment"],
)
def test_the_closed_form_is_the_mean_of_the_draws(work: RunWork, failures: Failures) -> None:
    found, drawn = expected(work, failures), draw_runs(work, failures, runs=2000, seed=1)
    error_s = float(drawn.time_s.std()) / math.sqrt(2000)
    assert abs(drawn.time_s.mean() - found.total_s) < 4 * error_s
    assert drawn.failures.mean() == pytest.approx(found.failures, rel=0.03, abs=0.04)


@pytest.mark.parametrize("spares", [0, 2, 6, 20])
def test_waiting_for_repairs_follows_erlangs_formula(spares: int) -> None:
    failures = replace(OFTEN, rate_per_s=2e-5, server_rate_per_s=1.5e-5, repair_s=DAY_S, spares=spares)
    work = replace(WORK, steps=2_000_000)
    found, drawn = expected(work, failures), draw_runs(work, failures, runs=100)
    assert drawn.time_s.mean() == pytest.approx(found.total_s, rel=0.01)
    assert (found.waiting_s > 0.01 * found.total_s) == (spares < 6)


def test_a_job_that_shrinks_runs_as_fast_as_its_replicas_in_the_mean() -> None:
    failures = replace(OFTEN, rate_per_s=2e-5, server_rate_per_s=2e-5, repair_s=DAY_S, elastic_replicas=32)
    found, drawn = expected(WORK, failures), draw_runs(WORK, failures, runs=100)
    assert drawn.time_s.mean() == pytest.approx(found.total_s, rel=0.02)
    assert found.waiting_s == 0
    assert found.shrunk_s > 0
    assert found.total_s < expected(WORK, replace(failures, elastic_replicas=0)).total_s


def test_one_server_of_a_loss_system_is_busy_a_over_one_plus_a() -> None:
    failures = Failures(rate_per_s=1e-5, server_rate_per_s=1e-5, repair_s=5e4)
    assert waiting_share(failures) == pytest.approx(0.5 / 1.5)
    assert mean_speed(replace(failures, elastic_replicas=10_000)) == pytest.approx(1 - 0.5 / 10_000)


def test_the_spares_needed_are_the_fewest_that_keep_the_job_from_waiting() -> None:
    failures = job_failures(chips=16_384, servers=2048, repair_s=DAY_S)
    spares = spares_needed(failures)
    assert waiting_share(replace(failures, spares=spares)) <= 0.01 < waiting_share(replace(failures, spares=spares - 1))
    assert spares_needed(Failures()) == 0


def test_parts_add_up_and_none_is_negative() -> None:
    failures = replace(OFTEN, server_rate_per_s=5e-5, repair_s=DAY_S, spares=4)
    found = expected(replace(WORK, fed_step_s=11.0, write_s=100.0), failures)
    assert sum(found.parts().values()) == found.total_s
    assert min(found.parts().values()) >= 0
    assert 0 < found.goodput < 1


@given(rates, rates, stalls)
def test_more_failures_never_take_less(low: float, high: float, stall_s: float) -> None:
    work = replace(WORK, stall_s=stall_s)
    low, high = sorted((low, high))
    less = expected(work, replace(OFTEN, rate_per_s=low))
    assert less.total_s <= expected(work, replace(OFTEN, rate_per_s=high)).total_s * (1 + 1e-12)
    assert less.total_s >= expected(work, Failures()).total_s * (1 - 1e-9)


@given(rates, stalls)
def test_the_exact_interval_beats_dalys_which_beats_youngs(rate: float, stall_s: float) -> None:
    def cost(interval_s: float) -> float:
        return intervals.slowdown(interval_s, stall_s, rate)

    exact, daly, young = (f(stall_s, rate) for f in (intervals.exact_s, intervals.daly_s, intervals.young_s))
    assert cost(exact) <= cost(daly) * (1 + 1e-9) <= cost(young) * (1 + 2e-9)
    assert exact <= young
    assert intervals.least_s(stall_s, rate) == pytest.approx(exact, rel=1e-3)
    assert cost(exact) <= min(cost(exact * 1.01), cost(exact * 0.99))


def test_the_exact_interval_follows_youngs_where_a_checkpoint_is_short() -> None:
    # M 10,000 s and stalls of 1 ms: sqrt(2 x 0.001 x 10,000) = 4.472 s.
    assert intervals.exact_s(1e-3, 1e-4) == pytest.approx(intervals.young_s(1e-3, 1e-4), rel=1e-3)
    # Both sides of the series' border agree.
    assert intervals.exact_s(0.99e-6, 1e-4) == pytest.approx(intervals.exact_s(1.01e-6, 1e-4), rel=0.02)


def test_an_asynchronous_checkpoint_is_begun_no_sooner_than_the_last_is_written() -> None:
    assert intervals.least_s(1.0, 1e-4, write_s=500.0) == pytest.approx(499.0, rel=1e-6)
    with pytest.raises(RunError, match="legal: checkpoints 2 times as far apart"):
        expected(replace(WORK, write_s=2000.0), OFTEN)


def test_the_best_interval_of_a_run_is_the_best_of_all_numbers_of_steps() -> None:
    best = with_interval(WORK, intervals.exact_s(WORK.stall_s, OFTEN.rate_per_s))
    around = [expected(replace(WORK, checkpoint_every=n), OFTEN).total_s for n in range(40, 140)]
    assert expected(best, OFTEN).total_s == pytest.approx(min(around), rel=1e-4)


def test_one_level_of_checkpoints_is_the_plain_run() -> None:
    levels = (Level(name="file_system", every=1, stall_s=30.0, restart_s=600.0, rate_per_s=1e-4),)
    assert levels_expected_s(1000.0, levels) == pytest.approx(
        segment_expected_s(1030.0, 1e-4, restart_s=600.0), rel=1e-9
    )


def test_a_near_level_pays_where_most_failures_can_use_it() -> None:
    far = Level(name="file_system", every=1, stall_s=120.0, restart_s=600.0, rate_per_s=1e-4)
    near = Level(name="memory", every=1, stall_s=2.0, restart_s=60.0, rate_per_s=9e-5)
    both = (near, replace(far, every=8, rate_per_s=1e-5))
    one = min(levels_expected_s(t, (far,)) / t for t in range(200, 4000, 50))
    two = min(levels_expected_s(t, both) / t for t in range(50, 2000, 25))
    assert two < 0.95 * one


def test_the_far_level_alone_counts_for_failures_that_only_it_survives() -> None:
    near = Level(name="memory", every=1, stall_s=0.0, restart_s=0.0, rate_per_s=0.0)
    far = Level(name="file_system", every=4, stall_s=0.0, restart_s=0.0, rate_per_s=1e-4)
    assert levels_expected_s(100.0, (near, far)) == pytest.approx(segment_expected_s(400.0, 1e-4) / 4, rel=1e-9)


def test_months_are_drawn_in_milliseconds() -> None:
    failures = job_failures(chips=16_384, servers=2048)
    work = RunWork(steps=500_000, step_s=9.0, checkpoint_every=60, stall_s=10.0)
    draw_runs(work, failures, runs=2)
    started = time.process_time()
    draw_runs(work, failures, runs=1)
    assert time.process_time() - started < 0.25


def test_the_same_seed_draws_the_same_runs() -> None:
    one, two = (draw_runs(WORK, OFTEN, runs=20, seed=7) for _ in range(2))
    assert one.time_s.tobytes() == two.time_s.tobytes()
    assert draw_runs(WORK, OFTEN, runs=20, seed=8).time_s.tobytes() != one.time_s.tobytes()


# Published runs, as checks: what they report lies where the clock says. None of it was fitted.


def test_llama_3_was_interrupted_419_times_in_54_days() -> None:
    failures = job_failures(chips=16_384, servers=2048, name="llama-3-405b")
    assert failures.rate_per_s * 54 * DAY_S == pytest.approx(419)
    # "> 90 % effective training time": 11 min to restart, checkpoints of 10 s at the best interval.
    work = RunWork(steps=100_000, step_s=40.0, checkpoint_every=1, stall_s=10.0)
    work = with_interval(work, intervals.exact_s(10.0, failures.rate_per_s))
    assert 0.9 < expected(work, failures).goodput < 0.95


def test_rsc_1_predicts_the_published_mean_time_to_failure_of_16384_chips() -> None:
    # Kokolis et al. 2024 project 1.8 h at 16,384 and 0.23 h at 131,072 chips.
    for chips, hours in ((16_384, 1.8), (131_072, 0.23)):
        failures = job_failures(chips=chips, servers=chips // 8, name="rsc-1")
        assert 1 / failures.rate_per_s / 3600 == pytest.approx(hours, rel=0.03)


def test_bloom_lost_an_hour_and_a_half_per_failure() -> None:
    # A checkpoint every 3 h: half of it is lost on average. 3.5 months on 384 chips: about 23 failures.
    failures = job_failures(chips=384, servers=48, name="bloom", restart_s=0.0)
    step_s = 105.0
    work = RunWork(steps=int(106 * DAY_S / step_s), step_s=step_s, checkpoint_every=round(3 * 3600 / step_s))
    found = expected(work, failures)
    assert found.lost_s / found.failures == pytest.approx(1.5 * 3600, rel=0.02)
    assert found.failures == pytest.approx(23, rel=0.05)
    assert found.goodput > 0.98


def test_opt_was_restarted_once_in_14_hours() -> None:
    # 35 manual and an estimated 70 automatic restarts in about 60 days.
    failures = job_failures(chips=992, servers=124, name="opt-175b")
    assert 1 / failures.rate_per_s / 3600 == pytest.approx(60 * 24 / 105)


@pytest.mark.parametrize("count", failure_counts(), ids=lambda count: f"{count.name}-{count.cause}")
def test_every_published_count_has_a_source_and_a_plausible_part(count: FailureCount) -> None:
    assert all((count.source, count.locator))
    assert count.part in ("chip", "server")
    assert 0.1 < count.mtbf_s / (365 * DAY_S) < 100


def test_counts_are_of_the_nearest_generation() -> None:
    assert (counts_for("ampere"), counts_for("hopper")) == ("rsc-1", "llama-3-405b")


@pytest.mark.parametrize(
    ("given_values", "problem"),
    [
        ({"name": "llama"}, "legal: llama-3-405b, rsc-1, opt-175b, bloom, none"),
        ({"chip_mtbf_s": -1.0}, "above 0"),
        ({"spares": -1}, "spares is -1; a number, 0 or more"),
        ({"elastic_replicas": 1}, "legal: 0 .it waits., or 2 replicas"),
    ],
)
def test_failures_that_cannot_be_are_refused_with_what_is_legal(given_values: dict[str, object], problem: str) -> None:
    with pytest.raises(RunError, match=problem):
        job_failures(chips=8, servers=1, **given_values)  # type: ignore[arg-type]


def test_a_run_that_never_ends_is_refused_with_the_longest_interval_that_does() -> None:
    hopeless = replace(WORK, checkpoint_every=0)
    for way in (expected, draw_runs):
        with pytest.raises(RunError, match="hardly ever pass without"):
            way(hopeless, OFTEN)
