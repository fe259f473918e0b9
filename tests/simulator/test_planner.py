"""The whole answer: from a question to ranked strategies and everything that is said about them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwmodels.chip import ChipError
from simulator.calibration_data import load
from simulator.cluster import ClusterError, UnknownSystemError
from simulator.constants import Constants
from simulator.plan_report import PlanReport
from simulator.planner import plan, resolve, search
from simulator.query import PlanQuery
from simulator.utilisation import forward_flop, utilisation
from simulator.what_if import DOUBLED
from workloads import catalog

GPT = PlanQuery(model="gpt3-175b", system="selene", chips=1024, global_batch=1536, tokens=300e9)
RESNET = PlanQuery(model="resnet50", system="dgx1-v100", chips=64, global_batch=8192, epochs=90)


@pytest.fixture(scope="module")
def gpt() -> PlanReport:
    return plan(GPT, with_scaling=True, with_roofline=True)


@pytest.fixture(scope="module")
def resnet() -> PlanReport:
    return plan(RESNET)


def test_the_best_comes_first_and_as_many_as_asked_for(gpt: PlanReport) -> None:
    steps = [entry.step.total_ps for entry in gpt.ranked]
    assert steps == sorted(steps)
    assert len(steps) == GPT.top


def test_every_ranked_strategy_uses_all_chips_and_fits(gpt: PlanReport) -> None:
    for entry in gpt.ranked:
        assert entry.parallelism.chips == 1024
        assert entry.memory.total_byte <= entry.memory.capacity_byte


def test_what_fits_and_what_is_too_big_add_up_to_what_was_searched(gpt: PlanReport) -> None:
    too_big = sum(group.count for group in gpt.rejected if group.limit.startswith("strategies: memory"))
    assert gpt.fitting + too_big == gpt.searched
    assert too_big > 0


def test_the_event_engine_agrees_with_the_best(gpt: PlanReport, resnet: PlanReport) -> None:
    for report in (gpt, resnet):
        for entry in report.ranked:
            assert entry.checked_by_events_s == pytest.approx(entry.step.total_s, rel=0.03)


def test_the_published_run_of_gpt3_on_64_chips_lies_inside_its_interval() -> None:
    # Korthikanti et al. 2022 (arXiv:2205.05198), table 5: 13.75 s with sequence parallelism, selective recomputation.
    pins = (("tp", 8), ("pp", 8), ("micro_batch", 1), ("virtual_stages", 3), ("recompute", "selective"))
    pins += (("sharding", "none"), ("sequence_parallel", True))
    query = replace(GPT, chips=64, global_batch=64, precision="fp16_mixed", fixed=pins)
    (only,) = plan(query).ranked
    assert only.low_s is not None
    assert only.high_s is not None
    assert only.low_s < 13.75 < only.high_s
    assert only.step.total_s == pytest.approx(13.75, rel=0.15)


def test_mfu_by_hand() -> None:
    # Forward 24 s l h^2 (1 + s / 6 h) + 2 s h V a sequence (arXiv:2104.04473, appendix); causal attention halved.
    workload = catalog.model("gpt3-175b")
    s, layers, h, v = 2048, 96, 12288, int(workload.hyper["vocab"])
    products, attention, head = 24 * s * layers * h**2, 4 * s**2 * layers * h, 2 * s * h * v
    assert forward_flop(workload, halved=False) == pytest.approx(products + attention + head)
    shares = utilisation(
        workload, global_batch=10, step_s=2.0, peak_flop_per_s=1e15, chips=8, recompute="full", fused=False
    )
    possible = 2.0 * 1e15 * 8
    assert shares.mfu == pytest.approx(30 * (products + attention / 2 + head) / possible)
    assert shares.mfu_full_attention == pytest.approx(30 * (products + attention + head) / possible)
    assert shares.hfu == pytest.approx((40 * (products + attention / 2) + 30 * head) / possible)


def test_nothing_recomputed_makes_hfu_equal_mfu(resnet: PlanReport) -> None:
    assert resnet.ranked[0].hfu == resnet.ranked[0].mfu == resnet.ranked[0].mfu_full_attention


def test_time_money_and_energy_follow_from_the_step(gpt: PlanReport) -> None:
    best = gpt.ranked[0]
    assert best.outcome is not None
    assert best.outcome.steps == 95_368
    assert best.outcome.time_s == pytest.approx(95_368 * best.step.total_s)
    assert best.outcome.chip_hours == pytest.approx(best.outcome.time_s / 3600 * 1024)
    assert best.outcome.cost_usd == pytest.approx(best.outcome.chip_hours * 5.12)
    assert 1024 * 60 < best.outcome.energy_j / best.outcome.time_s < 1.1 * (1024 * 400 + 128 * 3300)


def test_without_an_amount_of_data_there_is_no_outcome() -> None:
    report = plan(replace(RESNET, epochs=0.0))
    assert all(entry.outcome is None for entry in report.ranked)
    assert not any("price" in line.quantity for line in report.sources)


def test_every_default_that_was_used_is_listed(resnet: PlanReport) -> None:
    words = " ".join(resnet.defaults)
    assert all(name in words for name in ("tf1-horovod", "fp16_mixed", "momentum"))
    named = plan(replace(RESNET, stack="tf1-horovod", precision="fp32", optimizer="lars"))
    assert named.defaults == ()
    assert (named.recipe, named.optimizer) == ("fp32", "lars")


def test_no_chips_means_the_whole_system_and_is_listed() -> None:
    job = resolve(replace(RESNET, chips=0))
    assert job.chips == 4096
    assert job.defaults[0] == "chips 4096: the whole system"


def test_pins_hold() -> None:
    report = plan(replace(GPT, fixed=(("tp", 8), ("pp", 8), ("recompute", "full"))))
    assert report.ranked
    for entry in report.ranked:
        assert (entry.parallelism.tp, entry.parallelism.pp, entry.parallelism.recompute) == (8, 8, "full")


def test_where_nothing_fits_the_nearest_is_named_with_its_largest_purpose() -> None:
    report = plan(PlanQuery(model="gpt3-175b", system="p3.16xlarge", chips=64, global_batch=64))
    assert report.ranked == ()
    assert report.fitting == 0
    assert report.nearest_fit.startswith("Closest: tp=8 pp=8")
    assert "of 16.0 GiB (optimizer" in report.nearest_fit


def test_where_no_layout_divides_the_nearest_says_what_is_left_over() -> None:
    report = plan(PlanQuery(model="resnet50", system="dgx1-v100", chips=64, global_batch=100))
    assert (report.searched, report.nearest_fit) == (0, "Closest: dp=64 leaves 36 of 100 samples over.")


def test_twice_as_much_of_anything_never_slows_a_job(gpt: PlanReport, resnet: PlanReport) -> None:
    for report in (gpt, resnet):
        assert {gain.resource for gain in report.gains} == set(DOUBLED)
        assert all(1.0 <= gain.speedup <= 2.001 for gain in report.gains)
        assert [gain.step_s for gain in report.gains] == sorted(gain.step_s for gain in report.gains)


def test_what_binds_is_the_largest_part(gpt: PlanReport) -> None:
    assert gpt.binds.startswith("computing on the chips takes")
    assert "chip rate" in gpt.binds


def test_scaling_starts_at_one_and_counts_chips_upwards(gpt: PlanReport) -> None:
    chips = [point["chips"] for point in gpt.scaling]
    assert chips == [128, 256, 512, 1024, 2048]
    assert gpt.scaling[0]["speedup"] == gpt.scaling[0]["efficiency"] == 1.0
    at_1024 = gpt.scaling[3]
    assert at_1024["step_s"] == gpt.ranked[0].step.total_s
    assert at_1024["efficiency"] == pytest.approx(at_1024["speedup"] / 8)


def test_the_roofline_has_every_layer(gpt: PlanReport) -> None:
    assert [row["layer"] for row in gpt.roofline] == ["embedding", "block", "head"]


def test_the_interval_comes_from_the_record_of_runs_like_this(gpt: PlanReport) -> None:
    factors = load().record.factors("llm", "megatron-lm-2022")
    assert factors is not None
    assert gpt.known_error is not None
    best = gpt.ranked[0]
    assert (best.low_s, best.high_s) == pytest.approx(tuple(f * best.step.total_s for f in factors))
    assert gpt.known_error.group == "llm"


def test_constants_without_a_record_give_no_interval_and_a_warning() -> None:
    report = plan(RESNET, constants=Constants())
    assert report.known_error is None
    assert report.ranked[0].low_s is None
    assert any(line.startswith("no interval") for line in report.warnings)
    assert report.calibration == "priors"


def test_a_job_unlike_all_checked_runs_is_called_extrapolated() -> None:
    report = plan(PlanQuery(model="llama3-8b", system="dgx1-p100", chips=256, global_batch=256))
    assert any(line.startswith("extrapolated: no checked llm run") for line in report.warnings)


def test_facts_that_enter_are_listed_with_their_place(gpt: PlanReport) -> None:
    by_quantity = {line.quantity: line for line in gpt.sources}
    assert by_quantity["a100-sxm4-80gb: dense bf16 peak"].printed == "312 TFLOP/s"
    for name in ("nvlink3: bandwidth", "selene: system", "GPT3-175B: shape", "a100-sxm4-80gb: price"):
        assert by_quantity[name].source
    assert all(line.kind for line in gpt.sources)


def test_the_same_question_has_the_same_answer(resnet: PlanReport) -> None:
    assert plan(RESNET) == resnet


def test_a_longer_sequence_and_a_larger_image_are_taken() -> None:
    assert resolve(replace(GPT, seq_len=4096)).workload.tokens_per_sample == 4096
    assert resolve(replace(RESNET, image_size=288)).workload.hyper["image_size"] == 288


@pytest.mark.parametrize(
    ("query", "error", "says"),
    [
        (replace(GPT, system="selen"), UnknownSystemError, "Did you mean 'selene'"),
        (replace(GPT, model="gpt3-175x"), LookupError, "gpt3-175"),
        (replace(GPT, chips=10**6), ClusterError, "selene has 4480 chips"),
        (replace(RESNET, precision="bf16"), ChipError, "bf16"),
        (replace(RESNET, stack="tf1-horovot"), LookupError, "tf1-horovod"),
    ],
)
def test_a_question_that_cannot_be_asked_says_what_is_legal(query: PlanQuery, error: type, says: str) -> None:
    with pytest.raises(error, match=says):
        resolve(query)


def test_a_search_can_be_read_place_by_place() -> None:
    job = resolve(RESNET)
    found = search(job, Constants())
    assert found.spec(0).micro_batches == found.parallelism(0).micro_batches
    assert found.step(0).total_ps <= found.step(1).total_ps
    empty = search(replace(job, query=replace(RESNET, global_batch=100)), Constants())
    with pytest.raises(IndexError, match="nothing fits"):
        empty.step(0)
