"""`trainyard scale` and `plan` with an end: time, samples and money to it, what was not reached, what sees it."""

import json
import math

import pytest
from click.testing import CliRunner

from simulator.cli import cli
from simulator.goal import NotReachedError, samples_to_target
from simulator.job import resolve
from simulator.phase_query import Validation
from simulator.query import PlanQuery
from workloads import catalog

TARGET = "75.9% top-1"
JOB = ["--model", "resnet50", "--system", "dgx1-v100", "--global-batch", "32768"]


@pytest.fixture
def call():
    def calling(*words):
        return CliRunner().invoke(cli, list(words))

    return calling


@pytest.fixture(scope="module")
def weak():
    words = ["scale", *JOB, "--chips", "1024,2048,4096", "--mode", "weak", "--target", TARGET, "--optimizer", "lars"]
    told = CliRunner().invoke(cli, [*words, "--json"])
    assert told.exit_code == 0, told.output
    return json.loads(told.stdout)


def test_samples_to_a_target_grow_with_the_batch_until_it_is_not_reached(weak):
    first, second, third = weak["points"]
    assert first["outcome"]["target"] == TARGET
    assert second["outcome"]["samples"] > first["outcome"]["samples"]
    assert second["outcome"]["low_time_s"] < second["outcome"]["time_s"] < second["outcome"]["high_time_s"]
    # Twice the chips and the batch: the images per second double, the time to the target does less than halve.
    assert second["efficiency"] > 0.9
    assert second["outcome"]["time_s"] > 0.53 * first["outcome"]["time_s"]
    assert second["outcome"]["cost_usd"] > first["outcome"]["cost_usd"]
    assert third["outcome"] is None
    assert third["fits"]
    assert "not reached at batch 131,072" in third["not_reached"]
    assert "up to 86,016" in third["not_reached"]


def test_the_text_names_the_kind_of_scaling_the_baseline_and_the_clock(call):
    told = call("scale", *JOB, "--chips", "1024,2048", "--epochs", "90")
    assert told.exit_code == 0, told.output
    for words in (
        "to the end, strong scaling",
        "speed-up in time over 1,024 chips",
        "The clock counts steps alone",
        "USD",
    ):
        assert words in told.stdout
    assert "not reached" not in told.stdout


def test_a_curve_without_an_end_has_one_table(call):
    told = call("scale", *JOB, "--chips", "1024")
    assert told.exit_code == 0, told.output
    assert "money" not in told.stdout


def test_nothing_that_reaches_the_target_is_an_answer_and_a_mistake_is_one_line(call):
    large = ["scale", "--model", "resnet50", "--system", "dgx1-v100", "--global-batch", "131072", "--chips", "2048"]
    told = call(*large, "--target", TARGET)
    assert told.exit_code == 3, told.output
    assert "not reached" in told.stdout
    wrong = call("scale", *JOB, "--chips", "1024", "--target", "76.9% top-1")
    assert wrong.exit_code == 2
    assert "legal: " in wrong.output
    twice = call("scale", *JOB, "--chips", "1024", "--target", TARGET, "--epochs", "90")
    assert twice.exit_code == 2
    assert "legal: one of" in twice.output


def test_a_crossing_is_seen_at_the_next_validation():
    query = {"model": "resnet50", "system": "dgx1-v100", "chips": 1024, "global_batch": 32768, "optimizer": "lars"}
    free = resolve(PlanQuery(**query, target=TARGET)).amount
    seen = resolve(PlanQuery(**query, target=TARGET, validation=Validation(every_steps=500, samples=50_000))).amount
    assert seen.steps % 500 == 0
    assert 0 <= seen.steps - free.steps < 500
    assert seen.steps == 500 * math.ceil(free.samples / 32768 / 500)
    assert seen.low_samples <= seen.samples <= seen.high_samples
    assert "every 500 steps" in seen.assumed


def test_what_is_assumed_of_a_target_names_the_ceiling_of_the_update_rule():
    model = catalog.model("resnet50")
    found = samples_to_target(model, TARGET, global_batch=32768, optimizer="lars")
    assert "published runs with lars reached it up to batch 86,016" in found.assumed
    with pytest.raises(NotReachedError, match="with sgd; up to 3,328"):
        samples_to_target(model, TARGET, global_batch=32768, optimizer="momentum")
