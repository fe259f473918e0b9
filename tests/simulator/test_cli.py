"""The command line: results on standard output, everything else on standard error, exit codes to rely on."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import hwmodels.catalog as hardware
import simulator.planner
import simulator.validation
from simulator.cli import cli
from simulator.report.quantities import seconds

LLM = ["--model", "gpt3-175b", "--system", "selene", "--chips", "1024", "--global-batch", "1536"]
IMAGES = ["--model", "resnet50", "--system", "dgx1-v100", "--chips", "64", "--global-batch", "8192"]
PINNED = ["tp=8", "pp=8", "dp=16", "cp=1", "micro_batch=1", "virtual_stages=1", "schedule=1f1b", "recompute=full",
          "sharding=none", "sequence_parallel=true"]  # fmt: skip
ROOT = Path(__file__).parents[2]


def run(*args, **kwargs):
    """Invoke the command line; nothing may ever end in a traceback or leave the stated exit codes."""
    result = CliRunner().invoke(cli, [str(arg) for arg in args], **kwargs)
    assert "Traceback" not in result.output
    assert result.exit_code in (0, 2, 3, 70, 130)
    assert all(line.startswith("trainyard: ") for line in result.stderr.splitlines() if line)
    return result


def refused(*args):
    """The problems of a refused command; nothing is printed as a result."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return result.stderr.splitlines()


@pytest.fixture
def no_work(monkeypatch):
    """Fail when a plan is begun."""

    def begun(*args, **kwargs):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(simulator.planner, "plan", begun)


@pytest.fixture
def job(tmp_path):
    path = tmp_path / "job.toml"
    path.write_text(
        "[job]\nmodel = 'gpt3-175b'\nsystem = 'selene'\nchips = 1024\nglobal_batch = 1536\ntokens = '300e9'\n"
        "[strategy]\ntp = 8\n",
        encoding="utf-8",
    )
    return path


# --- help ---------------------------------------------------------------------------------------------------------


def test_help_names_every_command_and_the_version_is_printed():
    text = run("--help").stdout
    for command in ("plan", "simulate", "modes", "scale", "roofline", "catalog", "validate"):
        assert f"  {command} " in text
        assert "Usage:" in run(command, "--help").stdout
    assert run("--version").stdout.startswith("trainyard, version ")


def test_help_imports_nothing_heavy():
    heavy = ("numpy", "scipy", "plotly", "networkx", "simpy", "pydantic", "rich", "tomllib", "simulator.planner")
    program = f"import sys, simulator.cli; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_an_unknown_flag_or_command_is_one_line_with_the_nearest():
    (line,) = refused("plan", "--modle", "x")
    assert "--modle" in line
    assert "--model" in line
    (line,) = refused("plann")
    assert "plann" in line


# --- plan ---------------------------------------------------------------------------------------------------------


def test_a_plan_of_a_large_model_answers_on_standard_output_alone():
    result = run("plan", *LLM, "--tokens", "300e9")
    assert result.exit_code == 0
    assert result.stderr == ""
    assert result.stdout.startswith("GPT3-175B with a global batch of 1,536 on 1,024 chips of selene: ")
    for heading in ("BEST STRATEGY", "WHAT BINDS", "REJECTED", "KNOWN ERROR", "DEFAULTS USED", "ASSUMED", "SOURCES"):
        assert f"\n{heading}" in result.stdout


def test_json_of_a_plan_parses_and_holds_the_numbers_of_the_text():
    text = run("plan", *IMAGES, "--epochs", "90").stdout
    value = json.loads(run("plan", *IMAGES, "--epochs", "90", "--json").stdout)
    assert value["fits"] is True
    assert value["question"]["epochs"] == 90
    assert f"{seconds(value['ranked'][0]['step_s'])} a step" in text.replace("\n", " ")
    for plan in value["ranked"]:
        assert seconds(plan["step_s"]) in text
        assert f"{100 * plan['mfu']:.1f} %" in text
    for source in value["sources"]:
        assert source["quantity"] in text.replace("\n    ", " ")


def test_the_same_question_gives_the_same_bytes():
    assert run("plan", *IMAGES, "--json").stdout == run("plan", *IMAGES, "--json").stdout


def test_a_file_and_flags_ask_the_same_question(job):
    flags = run("plan", *LLM, "--tokens", "300e9", "--set", "tp=8", "--json")
    assert run("plan", job, "--json").stdout == flags.stdout


def test_flags_override_the_file_and_another_measure_of_data_replaces_the_files(job):
    value = json.loads(run("plan", job, "--chips", "512", "--samples", "1e6", "--set", "tp=4", "--json").stdout)
    assert value["question"]["chips"] == 512
    assert value["question"]["tp"] == 4
    assert value["question"]["samples"] == 1e6
    assert "tokens" not in value["question"]


def test_where_nothing_fits_the_report_is_printed_and_the_exit_code_is_three():
    args = ["plan", "--model", "gpt3-175b", "--system", "selene", "--chips", "8", "--global-batch", "64"]
    result = run(*args)
    assert result.exit_code == 3
    assert result.stdout.startswith("Nothing fits: ")
    assert "Closest: tp=8" in " ".join(result.stdout.split())
    assert "REJECTED" in result.stdout
    json_result = run(*args, "--json")
    assert json_result.exit_code == 3
    assert json.loads(json_result.stdout)["ranked"] == []


def test_every_problem_of_flags_and_file_is_one_line_naming_where_it_stands(tmp_path, no_work):
    path = tmp_path / "bad.toml"
    path.write_text("[job]\nmodel = 'gpt3-175'\nglobal_batch = 0\nsystem = 'selene'\n[strategy]\ntpp = 1\n", "utf-8")
    lines = refused("plan", path, "--chips", "12", "--precision", "bf17", "--set", "pp=x", "--set", "nonsense")
    places = [f"{path}:2: job.model", f"{path}:3: job.global_batch", f"{path}:6: strategy.tpp", "--chips",
              "--precision",
              "--set pp", "--set"]  # fmt: skip
    assert len(lines) == len(places)
    for place in places:
        assert sum(line.startswith(f"trainyard: {place}: ") for line in lines) == 1, (place, lines)


def test_missing_flags_are_named_as_flags(no_work):
    lines = refused("plan")
    assert [line.split(": ")[1] for line in lines] == ["--model", "--system", "--global-batch"]


def test_the_same_pin_twice_is_refused(no_work):
    (line,) = refused("plan", *LLM, "--set", "tp=8", "--set", "tp=4")
    assert "given twice" in line


def test_nothing_from_a_file_or_a_flag_steers_the_terminal(tmp_path, no_work):
    path = tmp_path / "bad.toml"
    path.write_text('[job]\n"\\u001b[2J" = 1\nmodel = "\\u001b[31mx"\n', "utf-8")
    result = run("plan", path, "--system", "\x1b[2J", "--set", "\x1b]0;x\x07")
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


# --- outputs ------------------------------------------------------------------------------------------------------


def test_results_can_go_to_a_file_and_standard_output_stays_empty(tmp_path):
    target = tmp_path / "plan.txt"
    result = run("plan", *IMAGES, "--out", target)
    assert result.stdout == ""
    assert target.read_text("utf-8") == run("plan", *IMAGES).stdout
    assert os.listdir(tmp_path) == ["plan.txt"]


def test_a_page_is_written_beside_the_text(tmp_path):
    target = tmp_path / "page.html"
    result = run("plan", *IMAGES, "--html", target)
    assert "BEST STRATEGY" in result.stdout
    assert "SCALING" in result.stdout
    page = target.read_text("utf-8")
    assert page.startswith("<!doctype html>")
    assert page.count('Plotly.newPlot("') == 4


@pytest.mark.parametrize("flag", ["--out", "--html"])
def test_an_output_that_cannot_be_written_is_refused_before_the_work(flag, tmp_path, no_work):
    assert "is a directory" in refused("plan", *LLM, flag, tmp_path)[0]
    assert "no directory" in refused("plan", *LLM, flag, tmp_path / "none" / "x")[0]
    assert "cannot be written" in refused("plan", *LLM, flag, "a\0b")[0]
    assert "cannot be written" in refused("plan", *LLM, flag, "/proc/nothing.txt")[0]


def test_two_results_in_one_file_and_a_result_over_the_job_are_refused(job, no_work):
    before = job.read_bytes()
    assert "the job is read from it" in refused("plan", job, "--out", job)[0]
    other = job.with_name("x")
    assert "another result" in refused("plan", job, "--out", other, "--html", other)[0]
    assert job.read_bytes() == before


def test_a_failed_run_leaves_the_old_output_as_it_was(tmp_path, monkeypatch):
    target = tmp_path / "old.txt"
    target.write_text("old", "utf-8")
    monkeypatch.setattr(simulator.planner, "plan", lambda *a, **k: 1 / 0)
    assert run("plan", *LLM, "--out", target).exit_code == 70
    assert target.read_text("utf-8") == "old"
    assert os.listdir(tmp_path) == ["old.txt"]


# --- how it ends --------------------------------------------------------------------------------------------------


def test_a_fault_of_ours_is_a_short_message_with_how_to_report_it(monkeypatch):
    def broken(*args, **kwargs):
        raise KeyError("some key")

    monkeypatch.setattr(simulator.planner, "plan", broken)
    result = run("plan", *LLM)
    assert result.exit_code == 70
    assert result.stdout == ""
    assert "KeyError" in result.stderr
    assert "report it" in result.stderr
    assert "TRAINYARD_DEBUG=1" in result.stderr


def test_the_traceback_of_a_fault_is_shown_when_asked_for(monkeypatch):
    monkeypatch.setattr(simulator.planner, "plan", lambda *a, **k: 1 / 0)
    result = CliRunner().invoke(cli, ["plan", *LLM], env={"TRAINYARD_DEBUG": "1"})
    assert result.exit_code == 70
    assert "Traceback" in result.stderr
    assert "ZeroDivisionError" in result.stderr


def test_an_interrupt_ends_with_130_and_one_line(monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator.planner, "plan", interrupted)
    result = run("plan", *LLM)
    assert result.exit_code == 130
    assert "trainyard: interrupted." in result.stderr


def test_a_reader_that_leaves_early_is_no_error():
    program = [sys.executable, "-c", "from simulator.cli import main; main()", "catalog", "models"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        errors = process.stderr.read()
        code = process.wait()
    assert errors == b""
    assert code == 0


def test_a_terminal_without_the_letters_gets_escapes_and_no_traceback():
    program = [sys.executable, "-c", "from simulator.cli import main; main()", "catalog", "stacks", "ä"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(program, capture_output=True, cwd=ROOT, env=environment, check=False)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


# --- simulate -----------------------------------------------------------------------------------------------------


def test_simulate_runs_the_pinned_strategy_and_writes_a_trace(tmp_path):
    trace = tmp_path / "step.json"
    pins = [word for pin in PINNED for word in ("--set", pin)]
    result = run("simulate", *LLM, *pins, "--trace", trace, "--json")
    value = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (value["strategy"]["tp"], value["strategy"]["pp"], value["strategy"]["recompute"]) == (8, 8, "full")
    assert (value["stages"], value["micro_batches"]) == (8, 96)
    assert value["events_over_analytic"] == pytest.approx(1.0, abs=0.05)
    events = json.loads(trace.read_text("utf-8"))["traceEvents"]
    assert max(e["ts"] + e.get("dur", 0) for e in events) == pytest.approx(1e6 * value["events"]["step_s"], rel=1e-6)


def test_simulate_agrees_with_the_plan_on_the_best_strategy_and_its_step(job):
    plan = json.loads(run("plan", job, "--json").stdout)["ranked"][0]
    step = json.loads(run("simulate", job, "--json").stdout)
    assert step["strategy"] == plan["strategy"]
    assert step["analytic"]["step_s"] == plan["step_s"]
    alone = json.loads(run("simulate", job, "--alone", "--json").stdout)
    assert alone["events"]["step_s"] == plan["checked_by_events_s"]
    assert step["bound"]["step_s"] <= step["events"]["step_s"]
    assert step["events"]["step_s"] == pytest.approx(step["analytic"]["step_s"], rel=0.03)
    assert seconds(step["events"]["step_s"]) in run("simulate", job).stdout


def test_simulate_says_when_nothing_fits():
    result = run("simulate", "--model", "gpt3-175b", "--system", "selene", "--chips", "8", "--global-batch", "64")
    assert result.exit_code == 3
    assert "Nothing fits" in result.stdout


# --- scale --------------------------------------------------------------------------------------------------------


def test_scale_shows_every_power_of_two_against_the_linear_line():
    args = ["scale", "--model", "resnet50", "--system", "dgx1-v100", "--chips", "8..64", "--global-batch", "4096"]
    value = json.loads(run(*args, "--json").stdout)
    assert [point["chips"] for point in value["points"]] == [8, 16, 32, 64]
    first, *others = value["points"]
    assert first["speedup"] == first["efficiency"] == 1.0
    for point in others:
        assert point["speedup"] == pytest.approx(first["step_s"] / point["step_s"])
        assert point["efficiency"] == pytest.approx(point["speedup"] * 8 / point["chips"])
        assert point["gap_to_linear_s"] == pytest.approx(point["step_s"] - first["step_s"] * 8 / point["chips"])
    text = run(*args).stdout
    assert all(seconds(point["step_s"]) in text for point in value["points"])


def test_weak_scaling_grows_the_batch_with_the_chips():
    args = ["scale", *IMAGES[:4], "--chips", "8,16,24", "--mode", "weak", "--global-batch", "256", "--json"]
    value = json.loads(run(*args).stdout)
    assert [point["global_batch"] for point in value["points"]] == [256, 512, 768]


def test_a_batch_that_nobody_gave_is_assumed_and_said():
    result = run("scale", *IMAGES[:4], "--chips", "8..16")
    assert "assumed: global batch 512: 32 images a chip on the most chips" in result.stdout


def test_scaling_from_where_nothing_fits_starts_where_something_does():
    args = ["scale", "--model", "gpt3-175b", "--system", "selene", "--global-batch", "512", "--json", "--chips"]
    value = json.loads(run(*args, "8,512").stdout)
    assert [point["fits"] for point in value["points"]] == [False, True]
    assert value["points"][1]["speedup"] == 1.0
    assert run(*args, "8").exit_code == 3


@pytest.mark.parametrize("chips", ["", "x", "8..", "..8", "16..8", "0..8", "8,,16", "-8", "8..1e3", "1.5", "9" * 50])
def test_chips_that_are_no_range_and_no_list_are_refused(chips, no_work):
    (line,) = refused("scale", *IMAGES[:4], "--chips", chips)
    assert line.startswith("trainyard: --chips: is ")
    assert "legal: as in 8..2048 or 8,16,32" in line


def test_one_mistake_in_a_curve_is_said_once(no_work):
    lines = refused("scale", "--model", "resnet5", "--system", "dgx1-v100", "--chips", "8..64", "--global-batch", "64")
    assert len(lines) == 1


# --- roofline, catalog, validate ----------------------------------------------------------------------------------


def test_roofline_shows_every_layer_with_what_bounds_it():
    args = ["roofline", "--model", "bert-large", "--chip", "tpu-v2", "--micro-batch", "8"]
    value = json.loads(run(*args, "--json").stdout)
    text = run(*args).stdout
    assert [layer["layer"] for layer in value["layers"]] == ["embedding", "block", "head"]
    for layer in value["layers"]:
        assert 0 <= layer["share_of_peak"] < 1
        assert layer["flop"] == pytest.approx(layer["intensity_flop_per_byte"] * layer["byte"])
        assert layer["bound"] in ("compute", "memory", "kernel starts")
        assert seconds(layer["time_s"]) in text


def test_roofline_reports_all_its_problems_at_once():
    lines = refused("roofline", "--model", "resnet5", "--chip", "v1000", "--micro-batch", "0", "--precision", "bf17")
    assert [line.split(": ")[1] for line in lines] == ["--micro-batch", "--precision", "--model", "--chip"]


def test_a_chip_name_with_several_variants_asks_for_one():
    (line,) = refused("roofline", "--model", "resnet50", "--chip", "v100")
    assert "v100-sxm2-16gb" in line
    assert "v100-sxm2-32gb" in line


@pytest.mark.parametrize("kind", ["chips", "links", "servers", "systems", "models", "stacks"])
def test_the_catalog_lists_every_kind_as_text_and_as_json(kind):
    listed = json.loads(run("catalog", kind, "--json").stdout)
    text = run("catalog", kind).stdout
    assert listed
    for entry in listed:
        name = entry.get("id", entry.get("name"))
        assert name in text
        shown = json.loads(run("catalog", kind, name, "--json").stdout) if entry in listed[:3] else [{"id": name}]
        assert name in [one["id"] for one in shown]


def test_every_fact_of_a_chip_is_shown_with_its_source():
    text = " ".join(run("catalog", "chips", "v100").stdout.split())
    chips = hardware.match_chips("v100")
    assert len(chips) == 6
    for chip in chips:
        for key, fact in chip.facts.items():
            assert f"{key} = {fact.printed:g}" in text
            assert f"{fact.source}: {fact.locator}" in text


def test_unknown_kinds_and_names_of_the_catalog_get_the_nearest():
    assert "Did you mean 'models'?" in refused("catalog", "modles")[0]
    assert "Did you mean 'selene'?" in refused("catalog", "systems", "selen")[0]
    assert "Did you mean 'v100" in refused("catalog", "chips", "v1000")[0]
    assert "Did you mean 'resnet50" in refused("catalog", "models", "resnet5")[0]


@pytest.fixture
def few_runs(tmp_path):
    """The first thirty rows of the measured runs that ship."""
    shipped = ROOT / "simulator" / "data" / "measured_runs.csv"
    path = tmp_path / "runs.csv"
    path.write_text("".join(shipped.read_text("utf-8").splitlines(keepends=True)[:31]), "utf-8")
    return path


def test_validation_writes_one_prediction_for_every_row_in_order(few_runs, tmp_path):
    out = tmp_path / "predictions.csv"
    result = run("validate", "runs", few_runs, "--out", out)
    assert result.exit_code == 0
    assert "rows predicted" in result.stdout
    with out.open(encoding="utf-8", newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 30
    assert {row["status"] for row in written} <= {"predicted", "unsupported"}
    assert json.loads(run("validate", "runs", few_runs, "--json").stdout)["rows"] == 30


def test_validation_refuses_what_is_no_table_and_what_is_no_calibration(tmp_path, few_runs):
    assert "No such file" in refused("validate", "runs", tmp_path / "none.csv")[-1]
    (tmp_path / "x.csv").write_text("a,b\n1,2\n", "utf-8")
    assert "columns missing" in refused("validate", "runs", tmp_path / "x.csv")[-1]
    assert "Did you mean 'default'?" in refused("validate", "runs", few_runs, "--calibration", "defaul")[-1]
    assert "legal: runs" in refused("validate", "rnus", few_runs)[-1]
    assert "Did you mean" in refused("validate", "rnus", few_runs)[-1]


def test_predictions_never_replace_a_device_or_the_table_they_come_from(few_runs, monkeypatch):
    def begun(*args, **kwargs):
        raise AssertionError("the work has begun")

    monkeypatch.setattr(simulator.validation, "validate_runs", begun)
    before = few_runs.read_bytes()
    assert "not a plain file" in refused("validate", "runs", few_runs, "--out", os.devnull)[0]
    assert "read from it" in refused("validate", "runs", few_runs, "--out", few_runs)[0]
    assert few_runs.read_bytes() == before
