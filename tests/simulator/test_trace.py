"""What the trace shows is what the step took, and the file is whole, exact and repeatable."""

from __future__ import annotations

import gzip
import json
import os
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simulator.events import (
    RoleMemory,
    Timeline,
    messages,
    overlap,
    simulate,
    write_chrome_trace,
    write_role_traces,
)
from simulator.events.counters import link_load, memory_in_use
from simulator.events.pass_names import pass_of
from simulator.events.trace import CATEGORIES, STREAMS
from simulator.schedules import SCHEDULES as ORDERS
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
    assert (event["pid"], event["tid"]) == (0, STREAMS.index("tensor"))
    assert (event["name"], event["args"]["slice"]) == ('ncclKernel all-reduce "x"', 'all-reduce "x"')
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


def test_a_slice_is_given_its_place_and_one_of_no_duration_that_of_its_cause() -> None:
    timeline = Timeline()
    first = timeline.add(0, "compute", "a", "compute", 0, 5)
    assert (first, timeline.add(0, "compute", "b", "compute", 5, 0, first)) == (0, 0)
    assert timeline.add(0, "compute", "c", "compute", 5, 2, first) == 1
    assert timeline.slices[1].cause == 0


def test_a_timeline_with_a_limit_keeps_what_came_first_and_counts_the_rest() -> None:
    whole, cut = Timeline(), Timeline(most=40)
    step = spec("backward", "1f1b")
    assert simulate(step, timeline=whole) == simulate(step, timeline=cut)
    assert cut.slices == whole.slices[:40]
    assert cut.left_out == len(whole.slices) - 40 > 0


# --- Kineto's dialect ---------------------------------------------------------------------------------------------


def test_a_name_that_ends_in_gz_is_compressed_and_holds_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.json", "a.json.gz", "b.json.gz"):
        write_chrome_trace(recorded(), tmp_path / name)
    packed = (tmp_path / "a.json.gz").read_bytes()
    assert gzip.decompress(packed) == (tmp_path / "a.json").read_bytes()
    assert packed == (tmp_path / "b.json.gz").read_bytes()
    assert len(packed) < 0.2 * (tmp_path / "a.json").stat().st_size


def test_work_is_a_kernel_on_its_stream_and_envelopes_and_host_time_are_not(tmp_path: Path) -> None:
    write_chrome_trace(recorded(), tmp_path / "step.json", device={"name": "made", "totalGlobalMem": 80})
    trace = load(tmp_path / "step.json")
    assert trace["deviceProperties"] == [{"id": i, "name": "made", "totalGlobalMem": 80} for i in range(4)]
    for event in (e for e in trace["traceEvents"] if e["ph"] == "X"):
        works = event["args"]["category"] not in ("pass", "fixed")
        assert (event["cat"] == "kernel") == works == ("stream" in event["args"])
        communicates = STREAMS[event["tid"]] not in ("passes", "compute")
        assert event["name"].startswith("ncclKernel ") == communicates
        if works:
            assert event["args"]["stream"] == event["tid"]


def union_us(events: list[Any]) -> list[tuple[Decimal, Decimal]]:
    """Intervals that a list of events covers."""
    merged: list[tuple[Decimal, Decimal]] = []
    for start, end in sorted((Decimal(e["ts"]), Decimal(e["ts"]) + Decimal(e["dur"])) for e in events):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def read_overlap(path: Path) -> Decimal:
    """HolisticTraceAnalysis' overlap, by its published definition and from the file alone.

    Kernels are events with a duration and a stream; those whose name has ``ncclKernel`` communicate, the others (but
    Memcpy and Memset) compute. Time that both unions cover, over time that the communicating one covers.
    """
    kernels = [e for e in load(path)["traceEvents"] if "dur" in e and "stream" in e.get("args", {})]
    sends = union_us([e for e in kernels if "ncclKernel" in e["name"]])
    works = union_us([e for e in kernels if "ncclKernel" not in e["name"]])
    both = sum((max(min(a[1], b[1]) - max(a[0], b[0]), Decimal(0)) for a in sends for b in works), Decimal(0))
    return both / sum(end - start for start, end in sends)


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zb1p", "zbv", "dualpipe"])
def test_a_trace_tool_reads_the_overlap_that_we_state(schedule: str, tmp_path: Path) -> None:
    timeline = Timeline()
    simulate(spec("backward", schedule), timeline=timeline)
    paths = write_role_traces(timeline, tmp_path / "roles")
    assert [path.name for path in paths] == [f"rank{i}.json" for i in range(4)]
    for stage, path in enumerate(paths):
        ours = overlap(timeline, stage).overlap
        assert 0 < ours < 1
        assert float(read_overlap(path)) == pytest.approx(ours, rel=1e-12)
        assert load(path)["distributedInfo"] == {"backend": "nccl", "rank": stage, "world_size": 4}


@pytest.mark.parametrize(
    ("schedule", "sends"),
    [("gpipe", 2 * 3 * 8), ("1f1b", 2 * 3 * 8), ("zb1p", 2 * 3 * 8), ("interleaved", 2 * 7 * 8), ("zbv", 2 * 6 * 8),
     ("dualpipe", 2 * 3 * 8)],
)  # fmt: skip
def test_every_send_has_an_arrow_to_the_pass_that_receives_it(schedule: str, sends: int, tmp_path: Path) -> None:
    step, timeline = spec("none", schedule), Timeline()
    simulate(step, timeline=timeline)
    pairs = messages(timeline, step)
    sent = [place for place, item in enumerate(timeline.slices) if item.category == "pipeline"]
    assert len(pairs) == sends
    assert sorted(source for source, _ in pairs) == sent
    for source, target in pairs:
        a, b = timeline.slices[source], timeline.slices[target]
        assert a.stage != b.stage
        assert a.end_ps <= b.start_ps
        assert pass_of(a.name).micro_batch == pass_of(b.name).micro_batch
        assert ("forward" in a.name) == ("forward" in b.name)
    write_chrome_trace(timeline, tmp_path / "step.json", messages=pairs)
    flows = [e for e in load(tmp_path / "step.json")["traceEvents"] if e["ph"] in "sf"]
    assert [e["ph"] for e in flows] == ["s", "f"] * sends
    assert {e["id"] for e in flows} == set(range(sends))


def test_a_message_of_no_duration_leaves_from_the_pass_itself() -> None:
    step, timeline = spec("none", "1f1b"), Timeline()
    free = StepSpec(stages=step.stages, micro_batches=8)
    simulate(free, timeline=timeline)
    pairs = messages(timeline, free)
    assert len(pairs) == 2 * 3 * 8
    assert {timeline.slices[source].category for source, _ in pairs} == {"pass"}


@pytest.mark.parametrize(("step", "every_block"), EVERY_CASE)
def test_link_load_adds_up_to_what_streams_carried(step: StepSpec, every_block: bool) -> None:
    timeline = Timeline(every_block=every_block)
    simulate(step, timeline=timeline)
    for stage in timeline.stages:
        curve = list(link_load(timeline, stage, stretches=16))
        assert all(0 <= share <= 1 for _, values in curve for share in values.values())
        for stream in curve[0][1]:
            area = sum((b[0] - a[0]) * a[1][stream] for a, b in pairwise(curve))
            carried = sum(s.duration_ps for s in timeline.slices if (s.stage, s.stream) == (stage, stream))
            assert area == pytest.approx(carried, abs=1e-4 * timeline.end_ps)


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved", "zb1p", "dualpipe"])
def test_activations_rise_to_what_the_schedule_holds_and_fall_back_to_none(schedule: str) -> None:
    step, timeline = spec("none", schedule), Timeline()
    simulate(step, timeline=timeline)
    for stage in range(4):
        memory = RoleMemory(steady_byte=1000, micro_batch_byte=64, chunks=step.virtual_stages)
        curve = [values["activations"] for _, values in memory_in_use(timeline, stage, memory)]
        in_flight = ORDERS[schedule].activations_in_flight(stage, 4, 8, step.virtual_stages)
        assert max(curve) == 64 * in_flight
        assert (curve[0], curve[-1]) == (0, 0)


def test_curves_stand_in_the_trace_as_counters(tmp_path: Path) -> None:
    memory = {0: RoleMemory(steady_byte=1e9, micro_batch_byte=1e8)}
    write_chrome_trace(recorded(), tmp_path / "step.json", memory=memory)
    counters = [e for e in load(tmp_path / "step.json")["traceEvents"] if e["ph"] == "C"]
    assert {(e["name"], e["pid"]) for e in counters} == {
        ("memory in use [B]", 0), *(("link load", stage) for stage in range(4)),
    }  # fmt: skip
    assert all(e["args"]["parameters and state"] == 10**9 for e in counters if e["name"].startswith("memory"))
