"""Whole runs of jobs: money, energy, what is refused; and questions about them, by hand and by law."""

from __future__ import annotations

import csv
import math
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import hwmodels.catalog as hardware
import simulator
from simulator.errors import InputError
from simulator.outcome.purchase import Terms, annuity_usd_per_year, owned_usd_per_chip_hour, price_of
from simulator.outcome.run_energy import draw, network_w, run_energy
from simulator.phase_query import Validation
from simulator.query import PlanQuery
from simulator.questions.compare import compare, shared_errors
from simulator.questions.dates import choose, date_after, seconds_until
from simulator.questions.doubling import doublings
from simulator.questions.elasticity import elasticities
from simulator.questions.fleet import FleetJob, schedule
from simulator.questions.fleet_runs import plan_fleet
from simulator.questions.inverse import needed_rate
from simulator.questions.largest import LAWS, largest_model, loss_of, worth_training
from simulator.questions.power_cap import power_cap
from simulator.whole_run import RunTerms, WholeRun, lower_bound_s, whole_run

DATA = Path(simulator.__file__).parent / "data"
RESNET = PlanQuery(model="resnet50", system="dgx1-v100", chips=32, global_batch=2048, epochs=90)
BERT = PlanQuery(model="bert-large", system="dgx1-v100", chips=64, global_batch=2048, samples=5e7)
DAY_S = 86400.0


@pytest.fixture(scope="module")
def run() -> WholeRun:
    return whole_run(RESNET)


def test_a_run_without_failures_checkpoints_and_start_is_its_steps() -> None:
    plain = whole_run(RESNET, RunTerms(failures="none", startup_s=0.0, storage_byte_per_s=1e30))
    assert plain.time.total_s == pytest.approx(plain.work.steps * plain.step.total_s, rel=1e-6)
    assert plain.time.goodput == pytest.approx(1.0, rel=1e-6)


def test_no_run_is_shorter_than_its_operations_at_the_peak(run: WholeRun) -> None:
    # 90 epochs of 1,281,167 images, 3 x 8.2 GFLOP or so each, on 32 chips of 125 TFLOP/s.
    assert run.bound_s == pytest.approx(3 * 8.2e9 * 90 * 1_281_167 / (32 * 125e12), rel=0.02)
    assert run.bound_s < run.time.training_s < run.time.total_s
    assert lower_bound_s(run.job) == run.bound_s


@pytest.mark.parametrize(
    "worse",
    [
        {"chip_mtbf_h": 500.0},
        {"restart_s": 7200.0},
        {"down_s": 3600.0},
        {"startup_s": 9000.0},
        {"storage_byte_per_s": 1e8},
        {"preemptions_per_server_hour": 0.5},
        {"repair_s": 30 * DAY_S, "chip_mtbf_h": 3000.0},
        {"input": "imagenet", "storage_byte_per_s": 1e8},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_goes_wrong_more_takes_longer(run: WholeRun, worse: dict[str, object]) -> None:
    assert whole_run(RESNET, RunTerms(**worse)).time.total_s > run.time.total_s  # type: ignore[arg-type]


def test_evaluations_are_counted_as_often_as_they_come() -> None:
    asked = replace(RESNET, validation=Validation(every_steps=626, samples=50_000))
    found = whole_run(asked)
    assert found.work.evaluations == found.work.steps // 626
    assert found.time.evaluation_s == pytest.approx(found.work.evaluations * found.work.evaluation_s)


def test_the_same_question_gives_the_same_draws(run: WholeRun) -> None:
    assert whole_run(RESNET).uncertain.time_s.tobytes() == run.uncertain.time_s.tobytes()


def test_a_whole_run_takes_less_than_three_seconds() -> None:
    query = PlanQuery(model="gpt3-175b", system="selene", chips=1024, global_batch=1536, tokens=300e9)
    whole_run(query)
    started = time.process_time()
    whole_run(query)
    assert time.process_time() - started < 3.0


# Money.


def test_money_is_linear_in_the_price() -> None:
    one, three = (whole_run(RESNET, RunTerms(price=Terms(usd_per_chip_hour=usd))) for usd in (1.0, 3.0))
    assert one.cost_usd is not None
    assert three.cost_usd == pytest.approx(3 * one.cost_usd)
    assert one.cost_usd == pytest.approx(32 * one.time.total_s / 3600)


def test_a_loan_is_paid_back_with_its_interest() -> None:
    assert annuity_usd_per_year(1000.0, 4.0, 0.0) == 250.0
    # What is paid each year, discounted, is the sum.
    paid = annuity_usd_per_year(1000.0, 4.0, 0.05)
    assert sum(paid / 1.05**year for year in range(1, 5)) == pytest.approx(1000.0)


def test_an_owned_hour_by_hand() -> None:
    terms = Terms(kind="owned", years=4.0, used_share=0.5, usd_per_kwh=0.2, hosting_usd_per_kw_month=100.0)
    # 35,064 / 4 / 8766 = 1 USD/h; 100 x 1.2 kW / 730.5 h; both used half the time; 0.2 x 1.2 kW.
    hour = owned_usd_per_chip_hour(terms, usd_per_chip=35_064.0, chip_w=1200.0)
    assert hour == pytest.approx((1 + 120 / 730.5) / 0.5 + 0.24)


def test_spot_is_a_share_of_the_list_and_owned_names_what_it_rests_on() -> None:
    listed, spot, owned = (
        price_of(terms, "a100-sxm4-80gb", "", chip_w=1000.0)
        for terms in (Terms(), Terms(kind="spot", spot_share=0.4), Terms(kind="owned"))
    )
    assert listed.usd_per_chip_hour is not None
    assert spot.usd_per_chip_hour == pytest.approx(0.4 * listed.usd_per_chip_hour)
    assert "2021" in owned.basis
    assert "assumed" in owned.basis


def test_a_chip_without_a_link_on_record_is_assumed_to_have_one() -> None:
    found = whole_run(PlanQuery(model="resnet50", system="tpu-v3-pod", chips=8, global_batch=256, epochs=1))
    assert any("to its host" in text for text in found.assumed)


def test_a_search_costs_its_trials() -> None:
    found = whole_run(RESNET, RunTerms(trials=20, trial_share=0.1))
    assert found.cost_usd is not None
    assert found.search_usd == pytest.approx(2 * found.cost_usd)


# Energy.


@pytest.mark.parametrize("chip_id", hardware.chip_ids())
@pytest.mark.parametrize("busy", [0.0, 0.3, 1.0])
def test_energy_lies_between_idle_and_peak_on_every_chip(chip_id: str, busy: float) -> None:
    power = draw(
        chip=hardware.chip(chip_id), chips=64, servers=8, host_power_w=1000.0, utilisation=0.9, out_byte_per_s=1e11
    )
    used = run_energy(power, busy_s=busy * 1e6, total_s=1e6, samples=1e9, kg_per_kwh=0.39)
    assert used.idle_j <= used.energy_j <= used.peak_j
    assert used.joule_per_sample * 1e9 == pytest.approx(used.energy_j)
    assert used.carbon_kg == pytest.approx(used.energy_j / 3.6e6 * 0.39)


def test_one_server_needs_no_switch_and_many_need_three_ports_a_card() -> None:
    assert network_w(1, 4e11) == 0.0
    # 8 cards of 50 GB/s in each of 10 servers: 240 ports of 26.6 W.
    assert network_w(10, 8 * 50e9) == pytest.approx(240 * 1700 / 64)


def test_a_power_cap_is_met_by_fewer_chips_or_a_lower_clock(run: WholeRun) -> None:
    whole = power_cap(run, 1e9)
    assert (whole.chips, whole.clock, whole.slower) == (32, 1.0, 1.0)
    caps = [power_cap(run, share * whole.watts) for share in (0.6, 0.75, 0.9)]
    for cap in caps:
        assert cap.chips % 8 == 0
        assert cap.chips * whole.watts <= cap.cap_w * 32 * (1 + 1e-9)
    assert [c.clock for c in caps] == sorted(c.clock for c in caps)
    assert [c.slower for c in caps] == sorted((c.slower for c in caps), reverse=True)
    assert power_cap(run, 1.0).chips == 0


# Two quotes.


def test_two_equal_quotes_are_a_toss(run: WholeRun) -> None:
    assert compare(run, run).sooner == pytest.approx(0.5, abs=0.02)
    assert compare(run, run).shared == 1.0


def test_a_against_b_is_b_against_a_turned_round(run: WholeRun) -> None:
    other = whole_run(replace(RESNET, chips=24, global_batch=2016))
    one, two = compare(run, other), compare(other, run)
    assert one.sooner + two.sooner == pytest.approx(1.0, abs=0.01)
    assert one.time_ratio[1] == pytest.approx(1 / two.time_ratio[1], rel=0.01)
    # What both get wrong alike says nothing about which is sooner.
    assert one.sooner > one.sooner_if_apart > 0.5


def test_the_shared_errors_are_those_of_the_shipped_record() -> None:
    with (DATA / "calibrations" / "record.csv").open() as lines:
        record = {row["row"]: row for row in csv.DictReader(lines)}
    errors, names = [], []
    with (DATA / "measured_runs.csv").open() as lines:
        for row in csv.DictReader(lines):
            found = record.get(row["row"])
            if row["flag"] or found is None or not found["predicted"]:
                continue
            error = math.log(float(found["predicted"]) / float(row["value"]))
            if abs(error) <= 2 and row["metric"] != "memory":
                rate = "per_s" in row["metric"] or "flop" in row["metric"]
                errors.append(np.clip(-error if rate else error, -0.7, 0.7))
                names.append((row["model"], row["chip"], found["stack"]))
    error = np.array(errors)
    first, second = np.triu_indices(error.size, 1)
    product = error[first] * error[second] / np.mean(error**2)
    alike = [np.equal(*(np.unique([n[k] for n in names], return_inverse=True)[1][i] for i in (first, second)))
             for k in range(3)]  # fmt: skip
    words = ("model", "chip", "stack")
    for shared, value in shared_errors().items():
        chosen = np.all([same == (word in shared) for word, same in zip(words, alike, strict=True)], axis=0)
        assert product[chosen].mean() == pytest.approx(value, abs=0.03), shared
    apart = ~alike[0]
    assert abs(product[apart].mean()) < 0.03


# Dates.


def test_days_are_counted_to_the_end_of_the_last() -> None:
    assert seconds_until("2026-11-30", "2026-11-30") == DAY_S
    assert date_after("2026-11-30", 1.5 * DAY_S) == "2026-12-01"
    with pytest.raises(InputError, match="before the start"):
        seconds_until("2025-01-01", "2026-01-01")
    with pytest.raises(InputError, match="is no date; legal: as 2026-11-30"):
        seconds_until("Friday", "2026-01-01")


def test_the_cheapest_in_time_is_the_cheapest_of_those_in_time() -> None:
    free = choose(RESNET, counts=(8, 16, 32, 64))
    assert free.cheapest is not None
    assert free.fastest is not None
    assert free.fastest.run.job.chips == 64
    limit_s = next(o for o in free.options if o.run.job.chips == 32).run.uncertain.quantile(0.95)
    bound = choose(RESNET, counts=(8, 16, 32, 64), within_s=limit_s)
    assert bound.cheapest is not None
    assert bound.cheapest.run.job.chips >= 32
    assert bound.cheapest.run.cost_usd >= free.cheapest.run.cost_usd  # type: ignore[operator]


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"within_s": 60.0}, "nothing is over in 0.0 days; nearest: "),
        ({"budget_usd": 0.01}, "do not pay an hour of the fewest chips"),
        ({"budget_usd": 40.0}, "nothing costs USD 40 or less in time; nearest: USD"),
    ],
)
def test_what_cannot_be_had_is_answered_with_the_nearest(limits: dict[str, float], said: str) -> None:
    found = choose(RESNET, counts=(8, 16), **limits)  # type: ignore[arg-type]
    assert found.cheapest is None
    assert said in found.why_none


# Doubling, inverse design, elasticities.


def test_doubling_ends_where_twice_the_chips_gain_less_than_asked() -> None:
    found = doublings(BERT, gain=1.6)
    times = [point.run.time.total_s for point in found.points]
    assert all(a / b >= 1.6 for a, b in pairwise(times[:-1]))
    assert all(point.run.bound_s <= point.run.time.total_s for point in found.points)
    assert found.why


def test_weak_scaling_keeps_the_samples_of_a_chip() -> None:
    found = doublings(replace(RESNET, global_batch=256), first=8, mode="weak", gain=1.9)
    assert {p.run.job.query.global_batch // p.run.job.chips for p in found.points} == {32}
    strong = doublings(replace(RESNET, global_batch=256), first=8, gain=1.9)
    assert found.last_chips >= strong.last_chips


def test_a_failing_machine_is_stopped_by_failures() -> None:
    found = doublings(RESNET, RunTerms(chip_mtbf_h=2.0, restart_s=1000.0), gain=1.9)
    assert found.why == "failures"


def test_the_needed_rate_gives_the_efficiency_that_was_asked() -> None:
    found = needed_rate(BERT, efficiency=0.9)
    assert found.needed_byte_per_s > 0
    assert found.efficiency_now <= found.most
    assert (found.needed_byte_per_s <= found.rate_byte_per_s) == (found.efficiency_now >= 0.9)
    more = needed_rate(BERT, efficiency=0.95)
    assert math.isnan(more.needed_byte_per_s) or more.needed_byte_per_s >= found.needed_byte_per_s


def test_a_rate_that_nothing_gives_is_said() -> None:
    found = needed_rate(replace(BERT, chips=128, global_batch=128), efficiency=1.0, weak=False)
    assert math.isnan(found.needed_byte_per_s)
    assert found.most < 1.0


def test_elasticities_have_the_sign_of_what_they_are() -> None:
    found = {one.name: one for one in elasticities(BERT)}
    for name in ("chip peak", "chip memory bandwidth", "scale-up rate", "scale-out rate"):
        assert -1.0 <= found[name].value <= 1e-9, name
    scales = [one for name, one in found.items() if name.split(" of ")[0].endswith("_scale")]
    clocks = [one for one in scales if one.name.startswith("clock_scale")]
    assert clocks
    assert len(scales) > len(clocks)
    assert all(one.value <= 1e-9 for one in clocks)
    assert all(one.value >= -1e-9 for one in scales if one not in clocks)
    # A faster matrix unit and shorter products are the same.
    fraction = next(one.value for name, one in found.items() if name.startswith("matrix_fraction"))
    assert fraction < 0


# The largest model.


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("flop", [1e20, 5.76e23, 1e26])
def test_no_other_size_of_model_has_a_lower_loss(law: str, flop: float) -> None:
    best = largest_model(flop, law=law)
    assert 6 * best.parameters * best.tokens == pytest.approx(flop)
    for factor in (0.8, 1.25):
        assert loss_of(best.parameters * factor, best.tokens / factor, law) > best.loss


def test_chinchilla_is_near_the_refitted_optimum() -> None:
    # 70B parameters on 1.4T tokens: Hoffmann et al. 2022; the refit's optimum has about 20 tokens a parameter.
    best = largest_model(6 * 70e9 * 1.4e12)
    assert best.parameters == pytest.approx(70e9, rel=0.1)
    assert best.tokens / best.parameters == pytest.approx(20, rel=0.15)


def test_few_tokens_make_a_larger_model_that_is_worse() -> None:
    free, bound = largest_model(1e23), largest_model(1e23, most_tokens=1e11)
    assert bound.parameters > free.parameters
    assert bound.loss > free.loss


def test_more_time_is_worth_a_larger_model(run: WholeRun) -> None:
    assert worth_training(run, 2 * DAY_S).parameters > worth_training(run, DAY_S).parameters


# A fleet.


def test_jobs_that_scale_badly_run_side_by_side() -> None:
    jobs = [FleetJob(name=name, time_s={4: 10.0, 8: 9.0}) for name in "ab"]
    found = schedule(jobs, 8)
    assert (found.makespan_s, found.bound_s) == (10.0, 10.0)
    assert {slot.chips for slot in found.slots} == {4}


def test_jobs_that_scale_well_run_one_after_the_other_where_their_mean_end_counts() -> None:
    jobs = [FleetJob(name=name, time_s={4: 10.0, 8: 5.0}) for name in "ab"]
    assert schedule(jobs, 8, goal="mean").mean_end_s == 7.5
    assert schedule(jobs, 8).makespan_s == 10.0


@pytest.mark.parametrize("many", [1, 3, 5, 12])
@pytest.mark.parametrize("goal", ["makespan", "mean", "late"])
def test_no_schedule_uses_more_chips_than_there_are_or_beats_its_bound(many: int, goal: str) -> None:
    stream = np.random.default_rng(many)
    jobs = [
        FleetJob(name=str(i), time_s={2**k: float(t) / 2 ** (0.8 * k) for k in range(4)}, weight=1.0 + i % 3)
        for i, t in enumerate(stream.uniform(1, 20, many))
    ]
    found = schedule(jobs, 8, goal=goal)
    assert found.makespan_s >= found.bound_s * (1 - 1e-12)
    assert sorted(slot.name for slot in found.slots) == sorted(job.name for job in jobs)
    for slot in found.slots:
        assert sum(s.chips for s in found.slots if s.start_s <= slot.start_s < s.end_s) <= 8


def test_a_job_that_is_due_soon_runs_first_and_on_more_chips_though_all_end_later() -> None:
    time_s = {4: 10.0, 8: 8.0}
    jobs = [FleetJob(name="a", time_s=time_s), FleetJob(name="b", time_s=time_s, due_s=8.0)]
    assert schedule(jobs, 8).makespan_s == 10.0
    found = schedule(jobs, 8, goal="late")
    assert found.mean_late_s == 0.0
    assert [(slot.name, slot.chips) for slot in found.slots] == [("b", 8), ("a", 8)]


def test_jobs_may_take_unequal_shares_of_a_fleet() -> None:
    # 6 chips for the long one and 2 for the short one: no common target time gives both.
    jobs = [
        FleetJob(name="long", time_s={2: 30.0, 6: 11.0, 8: 10.5}),
        FleetJob(name="short", time_s={2: 11.0, 4: 6.0, 8: 4.0}),
    ]
    found = schedule(jobs, 8)
    assert (found.makespan_s, found.exact) == (11.0, True)


def test_a_fleet_of_runs_keeps_the_times_of_its_runs() -> None:
    plan = plan_fleet({"a": RESNET, "b": replace(BERT, chips=32)}, chips=32, due_s={"b": 1.0}, goal="late")
    first, second = plan.schedule.slots
    assert (first.name, second.start_s) == ("b", first.end_s)
    assert first.end_s == plan.run(first).time.total_s
    assert plan.used_share == pytest.approx(1.0)
    assert plan.in_time(first) == 0.0
    assert plan.in_time(second) == 1.0
    with pytest.raises(InputError, match="one system for all"):
        plan_fleet({"a": RESNET, "b": replace(BERT, system="selene")})


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (lambda: whole_run(replace(RESNET, epochs=0.0)), "legal: tokens, samples, epochs or a target"),
        (lambda: whole_run(RESNET, RunTerms(checkpoint_mode="async")), "one of blocking, asynchronous"),
        (lambda: whole_run(RESNET, RunTerms(failures="llama")), "legal: llama-3-405b"),
        (lambda: whole_run(RESNET, RunTerms(chip_mtbf_h=0.01)), "hardly ever pass without"),
        (lambda: Terms(kind="stolen"), "legal: list, spot, owned"),
        (lambda: Terms(kind="spot"), "No spot price ships"),
        (lambda: schedule([], 8), "at least one"),
        (lambda: schedule([FleetJob(name="a", time_s={16: 1.0})], 8), "needs 16 chips of 8"),
        (lambda: needed_rate(BERT, resource="disk"), "legal: scale-out, scale-up, memory-bandwidth"),
        (lambda: needed_rate(BERT, efficiency=1.5), "above 0 to 1"),
        (lambda: largest_model(-1.0), "above 0"),
        (lambda: largest_model(1e20, law="kaplan"), "legal: hoffmann, besiroglu"),
        (lambda: doublings(RESNET, gain=3.0), "above 1 to below 2"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_what_is_legal(asked: object, said: str) -> None:
    with pytest.raises(InputError, match=said):
        asked()  # type: ignore[operator]
