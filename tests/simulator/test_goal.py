"""A question that names a quality instead of an amount of data: samples from published points, or one clear line."""

import json
import math

import pytest
from click.testing import CliRunner

from simulator.cli import cli
from simulator.goal import samples_to_target
from simulator.job import resolve
from simulator.outcome import OutcomeError
from simulator.planner import plan
from simulator.query import QueryError, query_from_mapping
from workloads import catalog as models

RESNET = models.model("resnet50")
JOB = {
    "model": "resnet50", "system": "dgx1-v100", "chips": 8, "global_batch": 2048, "target": "75.9 % top-1", "top": 1,
}  # fmt: skip


def asked(**change):
    job = {key: value for key, value in (JOB | change).items() if value is not None}
    return query_from_mapping({"job": job}, where="job.toml")


def problem(**change):
    with pytest.raises(QueryError) as error:
        asked(**change)
    (line,) = error.value.problems
    return line


def test_samples_to_a_target_lie_near_what_was_published_there():
    found = samples_to_target(RESNET, "75.9% top-1", global_batch=8192)
    assert found.samples / 1281167 == pytest.approx(43, rel=0.1)
    assert found.low_samples < found.samples < found.high_samples
    assert found.largest_batch == 86016


def test_spaces_case_and_recalled_do_not_count():
    one = samples_to_target(RESNET, "75.9% TOP-1", global_batch=8192)
    assert samples_to_target(RESNET, " 75.9 % top-1 (recalled)", global_batch=8192) == one


@pytest.mark.parametrize("model", ["resnet50", "mask-rcnn-r50-fpn", "bert-large", "gpt3-175b", "3d-unet"])
def test_samples_grow_and_steps_fall_with_batch_up_to_the_largest_reached(model):
    workload = models.model(model)
    with pytest.raises(OutcomeError) as error:
        samples_to_target(workload, "?", global_batch=1)
    target = str(error.value).split("legal: ")[1].split("'")[1]
    largest = samples_to_target(workload, target, global_batch=1).largest_batch
    batches = [max(1, int(largest * share)) for share in (0.25, 1.0)]
    small, large = (samples_to_target(workload, target, global_batch=b).samples for b in batches)
    assert small < large * 1.05
    assert large / batches[1] < small / batches[0]


def test_a_batch_that_none_reached_the_target_at_is_refused_with_the_nearest():
    line = problem(global_batch=131072, chips=64)
    assert line.startswith("job.toml: job.target: '75.9% top-1' was not reached at batch 131,072")
    assert "the nearest is 86,016 (lars" in line


def test_a_pinned_optimizer_has_a_largest_batch_of_its_own_and_the_one_that_lifts_it_is_named():
    line = problem(global_batch=8192, optimizer="sgd")
    assert "with sgd; up to 3,328, and up to 86,016 with lars" in line
    assert asked(global_batch=2048, optimizer="sgd").target


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target": "80% top-1"}, "legal: '74.9% top-1', '75% top-1'"), ({"epochs": 3}, "given together with epochs"),
        ({"model": "alexnet"}, "no published run of"), ({"target": ""}, "job.target: is"),
        ({"model": "gnmt", "target": "24.0 BLEU"}, "legal: dataset_samples beside the target"),
    ],
)  # fmt: skip
def test_a_target_that_cannot_be_answered_is_one_clear_line(change, message):
    assert message in problem(**change)


def test_epochs_of_a_set_of_unknown_size_become_samples_with_its_size():
    job = resolve(asked(model="gnmt", target="24.0 BLEU", dataset_samples=4e6, global_batch=8192, chips=64))
    assert 5.5 < job.amount.samples / 4e6 < 8.5


def test_a_report_has_the_target_its_interval_and_a_wider_interval_of_time():
    report = plan(asked())
    outcome, best = report.ranked[0].outcome, report.ranked[0]
    assert outcome.target == "75.9% top-1"
    assert outcome.low_samples < outcome.samples < outcome.high_samples
    assert outcome.steps == math.ceil(round(outcome.samples / 2048, 9))
    assert outcome.low_time_s < outcome.steps * best.low_s < outcome.steps * best.high_s < outcome.high_time_s
    assert any("published points of" in line for line in report.assumptions)


def test_an_amount_that_was_given_has_no_interval():
    outcome = plan(asked(target=None, epochs=10)).ranked[0].outcome
    assert (outcome.target, outcome.low_samples, outcome.low_time_s) == ("", None, None)


def test_the_command_prints_the_target_and_a_target_replaces_the_files_amount(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text('[job]\nmodel = "resnet50"\nsystem = "dgx1-v100"\nchips = 8\nglobal_batch = 2048\nepochs = 90\n')
    result = CliRunner().invoke(cli, ["plan", str(path), "--target", "75.9% top-1", "--json"])
    assert result.exit_code == 0, result.output
    outcome = json.loads(result.stdout)["ranked"][0]["outcome"]
    assert outcome["target"] == "75.9% top-1"
    assert outcome["samples"] < 60 * 1281167
    text = CliRunner().invoke(cli, ["plan", str(path), "--target", "75.9% top-1"]).stdout
    assert "to 75.9% top-1 (80 % interval" in text
