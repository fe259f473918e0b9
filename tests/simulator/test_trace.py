"""What the trace shows is what the step took, and the file is whole, exact and repeatable."""

from __future__ import annotations

import json
import os
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator.events import Timeline, simulate, write_chrome_trace
from simulator.events.trace import CATEGORIES, STREAMS
from simulator.stepspec import SCHEDULES, BlockSpec, StageSpec, StepSpec

LAYER = BlockSpec(
    name="layer",
    repeat=3,
    forward_ps=10,
    backward_ps=21,
    weight_ps=8,
    forward_tensor_ps=2,
    backward_tensor_ps=4,
    gather_ps=9,
    reduce_ps=17,
)
HEAD = BlockSpec(name="head", repeat=1, forward_ps=6, backward_ps=11, gather_ps=5, reduce_ps=8)


def spec(mode: str, schedule: str) -> StepSpec:
    stages = 1 if mode == "sharded" else 4
    chunk = (LAYER, HEAD)
    stage = StageSpec(
        name="decoder",
        chunks=(chunk,) * (2 if schedule in ("interleaved", "zbv") else 1),
        reduce_after_ps=50,
        optimizer_ps=13,
        update_gather_ps=7,
    )
    return StepSpec(
        stages=(stage,) * stages,
        micro_batches=8,
        schedule=schedule,
        gradient_mode=mode,
        send_ps=3,
        fixed_ps=5,
    )


HELD = ("gpipe", "1f1b", "interleaved")
CASES = [
    pytest.param(spec(mode, schedule), every_block, id=f"{mode}-{schedule}-{every_block}")
    for mode in ("none", "after", "backward", "sharded")
    for schedule in HELD
    for every_block in (False, True)
]
EVERY_CASE = CASES + [
    pytest.param(spec(mode, schedule), False, id=f"{mode}-{schedule}")
    for mode in ("none", "after", "backward")
    for schedule in SCHEDULES
    if schedule not in HELD
]


@pytest.mark.parametrize(("step", "every_block"), EVERY_CASE)
def test_recording_does_not_change_the_step(step: StepSpec, every_block: bool) -> None:
    assert simulate(step, timeline=Timeline(every_block=every_block)) == simulate(step)


@pytest.mark.parametrize(("step", "every_block"), EVERY_CASE)
def test_slices_of_one_stream_never_overlap(step: StepSpec, every_block: bool) -> None:
    timeline = Timeline(every_block=every_block)
    total_ps = simulate(step, timeline=timeline).total_ps
    for stage in range(len(step.stages)):
        for stream in STREAMS:
            slices = [s for s in timeline.slices if (s.stage, s.stream) == (stage, stream)]
            slices.sort(key=lambda s: s.start_ps)
            assert all(a.start_ps + a.duration_ps <= b.start_ps for a, b in pairwise(slices))
            assert all(s.start_ps >= 0 for s in slices)
            if step.schedule in HELD:
                assert all(s.start_ps + s.duration_ps <= total_ps for s in slices)
    assert {s.category for s in timeline.slices} <= set(CATEGORIES)


@pytest.mark.parametrize(("step", "every_block"), CASES)
def test_busy_time_on_the_timeline_equals_the_parts_of_the_step(step: StepSpec, every_block: bool) -> None:
    timeline = Timeline(every_block=every_block)
    result = simulate(step, timeline=timeline)
    # Like stages: the first with the most sends sets the pace.
    stages = range(len(step.stages))
    pace = max(stages, key=lambda i: sum(timeline.busy_ps(i, part) for part in ("compute", "tensor", "pipeline")))
    assert timeline.busy_ps(pace, "compute") == result.compute_ps > 0
    assert timeline.busy_ps(pace, "tensor") == result.tensor_ps > 0
    assert timeline.busy_ps(pace, "pipeline") == result.pipeline_ps
    assert timeline.busy_ps(pace, "fixed") == result.fixed_ps == 5
    assert timeline.busy_ps(pace, "optimizer") == result.optimizer_ps == 20
    ends = [s.start_ps + s.duration_ps for s in timeline.slices]
    assert max(ends) == result.total_ps


@pytest.mark.parametrize(("step", "every_block"), CASES)
def test_compute_and_collectives_never_run_at_once_on_a_stage(step: StepSpec, every_block: bool) -> None:
    timeline = Timeline(every_block=every_block)
    simulate(step, timeline=timeline)
    for stage in range(len(step.stages)):
        held = [s for s in timeline.slices if s.stage == stage and s.stream in ("compute", "tensor", "pipeline")]
        held.sort(key=lambda s: s.start_ps)
        assert all(a.start_ps + a.duration_ps <= b.start_ps for a, b in pairwise(held))


@pytest.mark.parametrize("schedule", [word for word in SCHEDULES if word not in HELD])
def test_sends_run_beside_passes_where_they_do_not_hold_the_rank(schedule: str) -> None:
    timeline = Timeline()
    simulate(spec("none", schedule), timeline=timeline)
    work = [s for s in timeline.slices if s.stage == 1 and s.stream == "passes"]
    sends = [s for s in timeline.slices if s.stage == 1 and s.stream in ("pipeline", "pipeline back")]
    assert {s.duration_ps for s in sends} == {3}
    assert {s.stream for s in sends} == {"pipeline", "pipeline back"}
    beside = [a for a in sends for b in work if a.start_ps < b.start_ps + b.duration_ps and b.start_ps < a.start_ps + 3]
    assert beside


def test_weight_gradients_have_passes_of_their_own() -> None:
    timeline = Timeline()
    simulate(spec("none", "zb1p"), timeline=timeline)
    names = [s.name for s in timeline.slices if s.stage == 3 and s.stream == "passes"]
    assert names[:3] == ["forward 0", "backward input 0", "forward 1"]
    assert names[-1] == "backward weight 7"
    assert timeline.busy_ps(3, "compute") == 8 * (3 * 31 + 17)


def test_data_stream_carries_every_gather_and_reduce_of_a_sharded_step() -> None:
    step, timeline = spec("sharded", "1f1b"), Timeline()
    simulate(step, timeline=timeline)
    # 8 micro-batches x (2 passes x (3 x 9 + 5) gathered + (3 x 17 + 8) reduced)
    assert timeline.busy_ps(0, "data") == 8 * (2 * 32 + 59)


def test_first_and_last_micro_batch_are_shown_block_by_block() -> None:
    timeline = Timeline()
    simulate(spec("none", "1f1b"), timeline=timeline)
    names = [s.name for s in timeline.slices if s.stage == 0 and s.stream == "compute"]
    assert names.count("layer forward") == 2 * 3
    assert names.count("forward 3, all blocks") == 1
    assert "forward 0, all blocks" not in names
    assert "forward 7, all blocks" not in names


def test_nothing_of_no_duration_is_recorded() -> None:
    timeline = Timeline()
    timeline.add(0, "compute", "nothing", "compute", 5, 0)
    assert timeline.slices == []


def recorded() -> Timeline:
    timeline = Timeline()
    simulate(spec("backward", "interleaved"), timeline=timeline)
    return timeline


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)


def test_chrome_trace_holds_every_slice_with_exact_microseconds(tmp_path: Path) -> None:
    timeline = Timeline()
    timeline.name_stage(0, "first")
    # 20 s and one picosecond: more digits than a float of microseconds keeps in a file.
    timeline.add(0, "tensor", 'all-reduce "x"', "tensor", 20 * 10**12 + 1, 1_000_003)
    write_chrome_trace(timeline, tmp_path / "step.json")
    trace = load(tmp_path / "step.json")
    (event,) = (e for e in trace["traceEvents"] if e["ph"] == "X")
    assert (event["ts"], event["dur"]) == (Decimal("20000000.000001"), Decimal("1.000003"))
    assert (event["pid"], event["tid"], event["name"]) == (0, STREAMS.index("tensor"), 'all-reduce "x"')
    assert trace["displayTimeUnit"] == "ms"


def test_chrome_trace_counts_and_names_all_tracks(tmp_path: Path) -> None:
    timeline = recorded()
    write_chrome_trace(timeline, tmp_path / "step.json", metadata={"model": "tiny", "chips": 4})
    trace = load(tmp_path / "step.json")
    assert trace["otherData"] == {"model": "tiny", "chips": 4}
    assert sum(e["ph"] == "X" for e in trace["traceEvents"]) == len(timeline.slices) > 0
    named = {e["pid"]: e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert named == {i: f"stage {i}: decoder" for i in range(4)}
    threads = {(e["pid"], e["tid"]): e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["ph"] == "X"} <= set(threads)


def test_same_step_gives_the_same_bytes(tmp_path: Path) -> None:
    write_chrome_trace(recorded(), tmp_path / "a.json", metadata={"b": 1, "a": 2})
    write_chrome_trace(recorded(), tmp_path / "b.json", metadata={"a": 2, "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_an_empty_timeline_is_still_a_trace(tmp_path: Path) -> None:
    write_chrome_trace(Timeline(), tmp_path / "step.json")
    assert load(tmp_path / "step.json")["traceEvents"] == []


def test_a_failed_write_leaves_the_old_trace_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "step.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(ValueError, match="JSON compliant"):
        write_chrome_trace(recorded(), path, metadata={"ratio": float("nan")})
    assert path.read_text(encoding="utf-8") == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["step.json"]


def test_an_unwritable_path_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_chrome_trace(recorded(), tmp_path / "no" / "such" / "step.json")
    with pytest.raises(IsADirectoryError):
        write_chrome_trace(recorded(), tmp_path)


def test_a_device_is_written_to_and_not_replaced() -> None:
    write_chrome_trace(recorded(), os.devnull)
    assert not Path(os.devnull).is_file()


def test_a_link_keeps_pointing_to_its_file(tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "real.json")
    write_chrome_trace(recorded(), tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert load(tmp_path / "real.json")["traceEvents"]
