"""`trainyard run`, `compare` and `ask` from the command line."""

import json

import pytest
from click.testing import CliRunner

from simulator.cli import cli

JOB = """[job]
model = "resnet50"
system = "dgx1-v100"
chips = {chips}
global_batch = 2048
epochs = 90
"""
RESNET = ["--model", "resnet50", "--system", "dgx1-v100", "--global-batch", "2048", "--epochs", "90"]


@pytest.fixture
def call():
    def calling(*words):
        return CliRunner().invoke(cli, list(words))

    return calling


@pytest.fixture
def jobs(tmp_path):
    paths = []
    for chips in (16, 32):
        path = tmp_path / f"{chips}.toml"
        path.write_text(JOB.format(chips=chips))
        paths.append(str(path))
    return paths


def test_a_run_tells_its_time_its_bound_its_money_and_its_date(call, jobs):
    told = call("run", jobs[0], "--start", "2026-11-01", "--by", "2026-11-02", "--power-cap", "5kW", "--carbon", "0.4")
    assert told.exit_code == 0, told.output
    for word in (
        "expected",
        "bound",
        "failures",
        "money",
        "energy",
        "CO2e",
        "power cap",
        "over on",
        "in time",
        "assumed",
    ):
        assert word in told.output
    assert max(len(line) for line in told.output.splitlines()) <= 100


def test_parts_of_a_run_add_up_in_json(call, jobs):
    told = json.loads(call("run", jobs[0], "--json", "--mtbf", "5000").stdout)
    assert sum(told["parts_s"].values()) == pytest.approx(told["total_s"])
    assert told["bound_s"] < told["total_s"]
    assert told["failures_alone_s"]["p10"] <= told["failures_alone_s"]["p90"]
    assert told["energy_idle_j"] <= told["energy_j"] <= told["energy_peak_j"]


def test_options_reach_the_run(call, jobs):
    plain = json.loads(call("run", jobs[0], "--json").stdout)
    for words in (["--restart", "10h", "--mtbf", "100"], ["--startup", "1d"], ["--storage", "1MB/s"]):
        assert json.loads(call("run", jobs[0], "--json", *words).stdout)["total_s"] > plain["total_s"]
    owned = json.loads(call("run", jobs[0], "--json", "--price", "owned", "--usd-per-chip", "30000").stdout)
    assert "owned" in owned["cost_basis"]
    spot = json.loads(call("run", jobs[0], "--json", "--price", "spot:0.5").stdout)
    assert spot["cost_usd"] == pytest.approx(0.5 * plain["cost_usd"])
    assert json.loads(call("run", jobs[0], "--json", "--trials", "10:0.5").stdout)["search_usd"] == pytest.approx(
        5 * plain["cost_usd"]
    )


def test_two_quotes_name_the_chances_and_what_errors_share(call, jobs):
    told = call("compare", *jobs, "--usd-per-chip-hour", "3", "--usd-per-chip-hour-b", "1")
    assert told.exit_code == 0, told.output
    assert "A is sooner with probability" in told.output
    assert "20 % of their error in common" in told.output.replace("\n ", "")
    found = json.loads(
        call("compare", *jobs, "--usd-per-chip-hour", "3", "--usd-per-chip-hour-b", "1", "--json").stdout
    )
    assert found["chance_a_sooner"] < 0.2
    assert found["chance_a_cheaper"] < 0.2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["cheapest", *RESNET, "--within", "1d"], "Fastest at any price"),
        (["doubling", *RESNET, "--chips", "8"], "What stops it"),
        (["bandwidth", *RESNET, "--chips", "32"], "of scale-out"),
        (["elasticities", *RESNET, "--chips", "32"], "chip peak"),
        (["largest", "--model", "gpt2-xl", "--system", "dgx-a100", "--chips", "8", "--global-batch", "64",
          "--within", "30d"], "parameters on"),
    ],
)  # fmt: skip
def test_every_question_has_an_answer_in_text_and_json(call, words, said):
    told = call("ask", *words)
    assert said in told.output
    assert isinstance(json.loads(call("ask", *words, "--json").stdout), dict)


def test_what_nothing_reaches_ends_with_the_nearest_and_three(call):
    told = call("ask", "cheapest", *RESNET, "--chips", "8", "--within", "1min")
    assert told.exit_code == 3
    assert "nearest: 8 chips" in told.output


def test_a_fleet_tells_when_each_job_runs_and_which_is_late(call, tmp_path, jobs):
    free = tmp_path / "free.toml"
    free.write_text(JOB.replace("chips = {chips}\n", ""))
    told = call("ask", "fleet", *jobs, str(free), "--fleet", "32", "--start", "2026-11-01", "--by", "2026-11-02")
    assert told.exit_code == 0, told.output
    assert "None is late" in told.output
    assert "2026-11-01" in told.output
    found = json.loads(call("ask", "fleet", *jobs, str(free), "--fleet", "32", "--due", "16=5min", "--json").stdout)
    slots = {job["name"]: job for job in found["jobs"]}
    assert slots["16"]["chips"] == 16  # its own file says so
    assert slots["16"]["late_s"] > 0
    assert slots["16"]["start_s"] == 0  # what is late already comes first
    assert slots["16"]["in_time"] < 0.5
    assert slots["free"]["late_s"] == 0
    late = call("ask", "fleet", *jobs, "--due", "16=5min")
    assert late.exit_code == 3
    assert "Late: 16 by" in late.output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fleet", "8"], "needs 16 chips of 8"),
        (["--due", "61=2d"], "the nearest is '16'"),
        (["--due", "16=2026-11-03"], "goes with --start"),
        (["--due", "16=2025-11-03", "--start", "2026-11-01"], "before the start"),
        (["--weight", "16=0"], "above 0"),
        (["--weight", "16"], "as JOB=VALUE"),
        (["--goal", "fame"], "makespan, mean, late"),
        (["--fleet", "1e9"], "legal: 1 to"),
        (["--fleet", "12.7"], "--fleet: is '12.7'"),
        (["--goal", "soon"], "legal: makespan, mean, late"),
        (["--start", "garbage", "--due", "16=5min"], "come to no date"),
        (["--budget", "5"], "goes with cheapest"),
        (["--system", "selene", "--set", "tp=3"], "tp"),
    ],
)
def test_what_a_fleet_cannot_do_is_one_clear_line_and_two(call, jobs, words, said):
    told = call("ask", "fleet", *jobs, *words)
    assert told.exit_code == 2, told.output
    assert said.lower() in told.output.lower()


def test_a_fleet_is_asked_of_files_of_different_names_and_other_questions_of_one(call, jobs):
    assert "is there already" in call("ask", "fleet", jobs[0], jobs[0]).output
    assert "no job is named" in call("ask", "fleet").output
    assert "is asked of 2 jobs" in call("ask", "cheapest", *jobs).output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", *RESNET[:-2], "--chips", "8"], "how much data it trains on is not said"),
        (["run", *RESNET, "--by", "2026-01-01"], "only with --start"),
        (["run", *RESNET, "--start", "2026-02-01", "--by", "2026-01-01"], "before the start"),
        (["run", *RESNET, "--start", "soon"], "come to no date"),
        (["run", *RESNET, "--restart", "4"], "as 90s, 11min, 24h or 30d"),
        (["run", *RESNET, "--spares", "2"], "only with --repair"),
        (["run", *RESNET, "--power-cap", "0W"], "above 0"),
        (["run", *RESNET, "--price", "free"], "legal: list, spot, owned"),
        (["run", *RESNET, "--chips", "8", "--input", "video"], "one of imagenet, tokens"),
        (["run", *RESNET, "--checkpoint-every", "1.5"], "whole number"),
        (["ask", "chepest", *RESNET], "Did you mean 'cheapest'?"),
        (["ask", "doubling", *RESNET, "--budget", "3"], "goes with cheapest"),
        (["ask", "cheapest", *RESNET, "--by", "2026-01-01"], "legal together"),
        (["ask", "cheapest", *RESNET, "--budget", "0"], "above 0"),
        (["run", *RESNET, "--mtbf", "0"], "above 0"),
        (["ask", "cheapest", *RESNET, "--chance", "2"], "above 0, below 1"),
        (["ask", "largest", *RESNET, "--chips", "8"], "--within: is missing"),
        (["ask", "bandwidth", *RESNET, "--chips", "32", "--mode", "fast"], "legal: strong, weak"),
        (["compare", "a.toml", "b.toml"], "a.toml"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_clear_line_and_two(call, words, said):
    told = call(*words)
    assert told.exit_code == 2, told.output
    assert said in told.output
    assert "Traceback" not in told.output
