"""`trainyard simulate`: traces, explanation, drawing, Chakra export, and what is left when it is stopped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import simulator.commands.simulate_outputs as outputs
import simulator.step_run
from simulator.cli import cli
from simulator.events import Timeline
from simulator.report.quantities import seconds
from workloads.importers.chakra import step_from_chakra

from ..test_trace import read_overlap

#: 4 stages, 16 micro-batches: small and with every part of a step.
JOB = [
    "--model", "gpt3-6.7b", "--system", "selene", "--chips", "64", "--global-batch", "128", "--set", "pp=4",
    "--set", "tp=2", "--set", "dp=8", "--set", "micro_batch=1", "--set", "virtual_stages=1",
]  # fmt: skip


def run(*args: object, schedule: str = "1f1b") -> Result:
    pins = ["--set", f"schedule={schedule}"]
    result = CliRunner().invoke(cli, ["simulate", *JOB, *pins, *(str(arg) for arg in args)])
    assert "Traceback" not in result.output
    return result


@pytest.fixture(scope="module")
def explained() -> tuple[str, dict[str, Any]]:
    # Where work is shared, what is free also speeds up what ran beside it, and saves more than its own time.
    text, values = run("--alone", "--explain", "--timeline"), run("--alone", "--explain", "--timeline", "--json")
    assert (text.exit_code, values.exit_code) == (0, 0)
    assert text.stderr == values.stderr == ""
    return text.stdout, json.loads(values.stdout)


def test_the_tree_sums_to_the_step_in_text_and_json(explained: tuple[str, dict[str, Any]]) -> None:
    text, values = explained
    path = values["critical_path"]
    assert path["duration_ps"] == round(1e12 * values["events"]["step_s"])

    def sums(node: dict[str, Any]) -> None:
        parts = node.get("parts", [])
        assert not parts or node["duration_ps"] == sum(part["duration_ps"] for part in parts)
        for part in parts:
            sums(part)

    sums(path["tree"])
    assert path["tree"]["duration_ps"] == sum(s["duration_ps"] for s in path["slices"]) == path["duration_ps"]
    assert f"CRITICAL PATH   {seconds(values['events']['step_s'])} in {len(path['slices']):,} pieces" in text
    for heading in ("TIMELINE", "CRITICAL PATH", "WHAT EACH WOULD SAVE", "OVERLAP"):
        assert f"\n{heading}" in text
    assert all(len(line) <= 102 for line in text.splitlines())


def test_savings_are_below_the_share_of_the_path_and_overlap_adds_up(explained: tuple[str, dict[str, Any]]) -> None:
    _, values = explained
    assert values["savings"]
    for saving in values["savings"]:
        assert 0 <= saving["half_saves_s"] <= saving["free_saves_s"] <= saving["on_path_s"]
    for role in values["overlap"]:
        whole = sum(role["computing_ps"].values()) + sum(role["exposed_ps"].values()) + role["idle_ps"]
        assert whole == role["span_ps"] == values["critical_path"]["duration_ps"]


def test_the_drawing_has_one_line_a_rank(explained: tuple[str, dict[str, Any]]) -> None:
    text, values = explained
    ranks = [line for line in values["timeline"] if line.startswith("  rank ")]
    assert len(ranks) == 4
    assert all(line in text for line in ranks)
    assert all(len(line) <= 100 for line in ranks)


def test_traces_for_perfetto_and_one_per_role_for_trace_tools(tmp_path: Path) -> None:
    trace, roles = tmp_path / "step.json.gz", tmp_path / "roles"
    result = run("--trace", trace, "--trace-roles", roles)
    assert result.exit_code == 0
    whole = json.loads(gzip.decompress(trace.read_bytes()))
    assert {event["ph"] for event in whole["traceEvents"]} == {"M", "X", "s", "f", "C"}
    assert whole["deviceProperties"][0]["totalGlobalMem"] > 10**10
    memory = [e["args"] for e in whole["traceEvents"] if e["ph"] == "C" and e["name"].startswith("memory")]
    assert max(m["activations"] for m in memory) > 0
    names = sorted(path.name for path in roles.iterdir())
    assert names == [f"rank{i}.json" for i in range(4)]
    assert f"wrote 4 traces in {roles}" in result.stderr
    again = tmp_path / "again.json.gz"
    run("--trace", again)
    assert again.read_bytes() == trace.read_bytes()


def test_a_trace_tool_reads_the_overlap_that_the_explanation_states(tmp_path: Path) -> None:
    result = run("--explain", "--trace-roles", tmp_path / "roles", "--json", schedule="zb1p")
    for role in json.loads(result.stdout)["overlap"]:
        assert role["overlap"] > 0.01
        read = read_overlap(tmp_path / "roles" / f"rank{role['role']}.json")
        assert float(read) == pytest.approx(role["overlap"], rel=1e-9)


def test_a_capped_trace_says_what_was_left_out(tmp_path: Path) -> None:
    result = run("--trace", tmp_path / "step.json", "--trace-events", 50)
    assert result.exit_code == 0
    trace = json.loads((tmp_path / "step.json").read_text("utf-8"))
    assert sum(event["ph"] == "X" for event in trace["traceEvents"]) == 50
    assert trace["otherData"]["left_out"].endswith(" slices")
    assert "the trace holds the first 50 of" in result.stderr
    assert "--trace-events N keeps more" in result.stderr


def test_chakra_traces_can_be_read_back(tmp_path: Path) -> None:
    result = run("--chakra", tmp_path / "step.json", "--json")
    assert result.exit_code == 0
    values = json.loads(result.stdout)
    traces = [step_from_chakra(tmp_path / f"step.{rank}.json") for rank in range(4)]
    for trace in traces:
        assert trace.flop > 0
        assert all(message.byte > 0 for message in trace.messages if message.kind != "barrier")
        recorded_s = sum(kernel.recorded_s for kernel in trace.kernels)
        assert recorded_s == pytest.approx(values["events"]["compute_s"], rel=0.3)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--trace-events", "few", "--trace", "a.json"], "--trace-events: 'few'; legal: a whole number from 1"),
        (["--trace-events", "0", "--trace", "a.json"], "--trace-events: '0'; legal"),
        (["--trace-events", "10"], "--trace-events: there is no trace to limit"),
        (["--chakra", "step.txt"], "--chakra: 'step.txt'; legal: a name that ends in .et or .json."),
        (["--trace", "no/such/folder/a.json"], "there is no directory"),
        (["--trace-roles", "no/such/folder"], "there is no directory"),
    ],
)
def test_bad_places_and_limits_are_one_line_before_any_work(
    args: list[str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simulator.one_step.priced_step", lambda *_: pytest.fail("the work has begun"))
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert said in line


# --- stopped ------------------------------------------------------------------------------------------------------


@pytest.fixture
def stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the middle: when the 40th slice is recorded."""
    add = Timeline.add

    def interrupted(self: Timeline, *args: Any, **kwargs: Any) -> int:
        if len(self.slices) == 40:
            raise KeyboardInterrupt
        return add(self, *args, **kwargs)

    monkeypatch.setattr(Timeline, "add", interrupted)


def test_a_stopped_run_leaves_a_valid_trace_and_result(tmp_path: Path, stopped: None) -> None:
    trace = tmp_path / "step.json"
    result = run("--trace", trace, "--json")
    assert result.exit_code == 130
    assert "interrupted; what ran until then is valid." in result.stderr
    values = json.loads(result.stdout)
    assert values["interrupted"] is True
    assert 0 < values["reached_s"] < values["analytic"]["step_s"]
    written = json.loads(trace.read_text("utf-8"))
    assert sum(event["ph"] == "X" for event in written["traceEvents"]) == 40
    assert written["otherData"]["interrupted"]


def test_a_stopped_run_says_how_far_it_came(stopped: None) -> None:
    result = run("--timeline")
    assert result.exit_code == 130
    assert "stopped after" in result.stdout
    assert "by the closed form" in result.stdout


def test_a_long_run_tells_its_progress_and_counts_passes_when_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "_LONG", 10)
    clock = iter(range(0, 100_000, 11))
    monkeypatch.setattr(outputs.time, "monotonic", lambda: next(clock))
    whole = run()
    assert whole.exit_code == 0
    said = [line for line in whole.stderr.splitlines() if line.endswith("of 128 passes")]
    assert said
    assert whole.stdout == run().stdout

    def interrupted(spec: Any, around: Any, timeline: Any) -> None:
        for _ in range(7):
            timeline.add(0, "passes", "forward 0", "pass", 5, 5)
        raise KeyboardInterrupt

    monkeypatch.setattr(simulator.step_run, "simulate", interrupted)
    cut = run()
    assert cut.exit_code == 130
    assert "7 of 128 passes" in cut.stdout
