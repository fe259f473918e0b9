"""A job file with ``[[phases]]``: each is planned, and they add up."""

import json
import math

import pytest
from click.testing import CliRunner

from simulator.cli import cli

JOB = """[job]
model = "resnet50"
system = "p3.16xlarge"
chips = 128
stack = "fastai-2018"
precision = "fp16_mixed"
"""
FIRST = "[[phases]]\nbatch = 8192\nimage_size = 128\nepochs = 6\n"
SECOND = "[[phases]]\nbatch = 24576\nimage_size = 224\nepochs = 18\n"


@pytest.fixture
def planned(tmp_path):
    def planning(text, *words):
        path = tmp_path / "job.toml"
        path.write_text(text)
        return CliRunner().invoke(cli, ["plan", str(path), *words])

    return planning


def test_phases_add_up_to_the_whole(planned):
    told = planned(JOB + FIRST + SECOND, "--json")
    assert told.exit_code == 0, told.output
    whole = json.loads(told.stdout)
    assert whole["kind"] == "phased_plan"
    steps = [math.ceil(6 * 1281167 / 8192), math.ceil(18 * 1281167 / 24576)]
    assert [phase["steps"] for phase in whole["phases"]] == steps
    assert whole["time_s"] == pytest.approx(sum(phase["time_s"] for phase in whole["phases"]))
    assert whole["time_s"] == pytest.approx(
        sum(n * phase["step_s"] for n, phase in zip(steps, whole["phases"], strict=True))
    )
    assert whole["samples"] == pytest.approx(24 * 1281167)
    assert 8192 < whole["constant_batch"] < 24576


def test_the_text_has_a_line_for_each_phase_and_the_plan_of_the_longest(planned):
    told = planned(JOB + FIRST + SECOND)
    assert told.exit_code == 0, told.output
    assert "128 chips of p3.16xlarge, in 2 phases" in told.stdout
    assert "global batch of 24,576" in told.stdout
    assert "Not counted: what is paid between phases" in " ".join(told.stdout.split())
    assert max(map(len, told.stdout.splitlines())) <= 100


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("epochs = 6", "epoch = 6", "phases[0].epoch: is not a known key"),
        ("epochs = 6", "", "needs batch, and one of epochs, samples"),
        ("epochs = 6", "epochs = 6\nsamples = 5", "needs batch, and one of"),
        ("batch = 8192", "batch = 0", "phases[0].batch: is 0"),
        ("chips = 128", "chips = 128\nepochs = 90", "is given beside [[phases]]"),
        ("[[phases]]\nbatch = 8192", "[phases]\nbatch = 8192", "legal: [[phases]]"),
        ('model = "resnet50"', 'model = "resnet5"', "resnet50"),
        ("chips = 128", "chips = 128\nglobal_batch = 64", "is given beside [[phases]]"),
        ("chips = 128", "chips = 128\nimage_size = 64", "is given beside phases with their own"),
        (JOB, "job = 3\n", "legal: a table, [job]"),
    ],
)
def test_a_mistake_in_a_phase_is_told_with_its_line(planned, old, new, says):
    told = planned((JOB + FIRST).replace(old, new, 1))
    assert told.exit_code == 2, told.output
    assert says in told.output
    assert "Traceback" not in told.output


def test_a_page_of_phases_is_refused_in_one_line(planned, tmp_path):
    told = planned(JOB + FIRST, "--html", str(tmp_path / "page.html"))
    assert told.exit_code == 2
    assert "not with [[phases]]" in told.output
