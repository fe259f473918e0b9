"""`trainyard simulate` under misfortune: options, the distribution as text and JSON, every bad value its own line."""

import json

import pytest
from click.testing import CliRunner

from simulator.cli import cli

IMAGES = ["--model", "resnet50", "--system", "dgx1-v100", "--chips", "16", "--global-batch", "1024"]
DATA_PARALLEL = [*IMAGES, "--set", "tp=1", "--set", "pp=1"]


def run(*args):
    result = CliRunner().invoke(cli, ["simulate", *map(str, args)])
    assert "Traceback" not in result.output
    return result


def found(*args):
    result = run(*DATA_PARALLEL, *args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_jitter_gives_a_distribution_that_the_seed_decides():
    a, b, c = (found("--jitter", "lognormal:0.05", "--repetitions", 40, "--seed", seed) for seed in (1, 1, 2))
    assert a == b
    assert a["median"] != c["median"]
    assert a["without_misfortune_s"] < a["median"]["step_s"] <= a["p95"]["step_s"] <= a["p99"]["step_s"]
    assert a["simulated"] == 40


def test_without_chance_the_step_is_that_of_the_plain_command():
    plain = json.loads(run(*DATA_PARALLEL, "--alone", "--json").stdout)["events"]["step_s"]
    calm = found("--jitter", "gamma:0")
    assert calm["median"]["step_s"] == calm["without_misfortune_s"] == plain
    assert calm["ended"] == "certain"


def test_one_slow_chip_is_one_step_that_can_be_explained():
    calm = json.loads(run(*DATA_PARALLEL, "--json").stdout)
    slow = json.loads(run(*DATA_PARALLEL, "--slow-chip", "3:1.5", "--explain", "--json").stdout)
    assert slow["kind"] == "simulate"
    assert slow["roles"] == calm["roles"] + 1
    assert slow["events"]["step_s"] > calm["events"]["step_s"]
    assert "rank 3 (1.5)" in run(*DATA_PARALLEL, "--slow-chip", "3:1.5").stdout


@pytest.mark.parametrize(
    "option",
    [("--slow-chip", "3:1.5"), ("--degrade", "data:4"), ("--straggler", "1:1.5"), ("--host-jitter", "gamma:0:50us")],
)
def test_every_misfortune_makes_the_step_longer(option):
    step = found(*option, "--repetitions", 5)
    assert step["mean"]["step_s"] > step["without_misfortune_s"]


def test_failures_cost_more_where_they_are_more_frequent():
    rare, often = (
        found("--mtbf", f"chip:{hours}h", "--restart", "10min", "--checkpoint-steps", 100) for hours in (50000, 500)
    )
    assert rare["without_misfortune_s"] < rare["mean_with_failures_s"] < often["mean_with_failures_s"]


def test_measured_times_are_read_from_a_file(tmp_path):
    times = tmp_path / "times.csv"
    times.write_text("ms,chip\n1.0,a\n1.2,a\n0.9,b\n", encoding="utf-8")
    step = found("--jitter", f"empirical:{times}", "--repetitions", 5)
    assert step["mean"]["step_s"] > step["without_misfortune_s"]


def test_the_text_says_what_it_rests_on():
    result = run(*DATA_PARALLEL, "--jitter", "lognormal:0.05", "--repetitions", 30, "--seed", 4)
    assert result.exit_code == 0
    assert "30 simulated steps, seed 4" in result.stdout
    assert all(word in result.stdout for word in ("without misfortune", "median", "p95", "p99"))
    assert all(len(line) <= 100 for line in result.stdout.splitlines())


def test_every_bad_value_is_one_line_and_all_come_at_once():
    result = run(
        *IMAGES, "--jitter", "lognromal:0.05", "--host-jitter", "gamma:1", "--straggler", "2", "--slow-chip", "x:2",
        "--slow-chip", "1:0.5", "--degrade", "dta:2", "--degrade", "data@z:2", "--mtbf", "chp:3h", "--mtbf", "chip:3",
        "--restart", "3", "--seed", "-1", "--repetitions", "0", "--p95-within", "no", "--trace", "x.json", "--explain",
    )  # fmt: skip
    assert result.exit_code == 2
    assert result.stdout == ""
    said = result.stderr.splitlines()
    for start in (
        "--jitter: there is no law 'lognromal'. Did you mean 'lognormal'?", "--host-jitter: 'gamma:1'",
        "--straggler: '2' has no colon", "--slow-chip: 'x' is no rank", "--slow-chip: '0.5'",
        "--degrade: there is no kind 'dta'. Did you mean 'data'?", "--degrade: 'z' is no stage",
        "--mtbf: there is no part 'chp'", "--mtbf: '3' is no time", "--restart: '3' is no time", "--seed: '-1'",
        "--repetitions: '0'", "--p95-within: 'no'", "--trace: is about one step", "--explain: is about one step",
    ):  # fmt: skip
        lines = [line for line in said if line.startswith(f"trainyard: {start.partition(':')[0]}")]
        assert any(start.split(": ", 1)[1] in line for line in lines), (start, said)
    assert all("egal:" in line for line in said), said


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--slow-chip", "16:2"], "there is no rank 16; legal: 0 to 15"),
        (["--degrade", "data@7:2", "--set", "pp=1"], "there is no stage 7; legal: 0 to 0"),
        (["--jitter", "empirical:not-there.csv"], "No such file"),
        (["--jitter", "exponential:2"], "legal: 0, or 0.0001 to 1"),
        (["--elastic"], "nothing fails; legal: with --mtbf"),
        (["--mtbf", "chip:1ms", "--checkpoint-steps", "100"], "hardly ever pass"),
    ],
)
def test_what_cannot_be_is_refused_with_what_can(options, says):
    result = run(*IMAGES, *options)
    assert result.exit_code == 2, result.output
    assert says in result.stderr


def test_nothing_that_fits_is_exit_3():
    result = run("--model", "gpt3-175b", "--system", "dgx1-v100", "--chips", "8", "--global-batch", "8",
                 "--jitter", "gamma:0.1")  # fmt: skip
    assert result.exit_code == 3
    assert "Nothing fits" in result.stdout


def test_an_interrupt_is_exit_130_with_what_was_found(monkeypatch):
    import simulator.commands.misfortune as command

    def tell(done, _):
        if done == 25:
            raise KeyboardInterrupt

    monkeypatch.setattr(command, "_told", lambda: tell)
    result = run(*DATA_PARALLEL, "--jitter", "gamma:0.1", "--repetitions", 60)
    assert result.exit_code == 130
    assert "25 simulated steps" in result.stdout
    assert "interrupted, of 60 asked for" in result.stdout
