"""The task graph of a step, replayed without the engine, takes exactly as long; its Chakra traces can be read back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.errors import InputError
from simulator.events import Timeline, simulate
from simulator.events.task_graph import RankTask, rank_tasks
from simulator.report.chakra import chakra_nodes, write_chakra
from simulator.schedules import SCHEDULES as ORDERS
from simulator.schedules.task import KINDS
from simulator.step_work import StepWork
from simulator.stepspec import SCHEDULES, BlockSpec, StageSpec, StepSpec
from workloads.importers.chakra import step_from_chakra

LAYER = BlockSpec(
    name="layer", repeat=3, forward_ps=101, backward_ps=211, weight_ps=83, forward_tensor_ps=23, backward_tensor_ps=41,
    gather_ps=97, reduce_ps=173,
)  # fmt: skip
HEAD = BlockSpec(name="head", repeat=1, forward_ps=7, backward_ps=12, reduce_ps=5)
WORK = StepWork(
    kernels={(name, kind): (100, 10) for name in ("layer", "head") for kind in KINDS},
    tensor_byte={("layer", "forward"): 64, ("layer", "backward"): 128}, reduce_byte={"layer": 1000, "head": 500},
    gather_byte={"layer": 700}, update_flop={"layer": 30, "head": 10}, send_byte=2048,
)  # fmt: skip


def step_of(mode: str, schedule: str, *, stages: int = 4, extra: int = 0, scale: int = 1) -> StepSpec:
    """Stages that each compute a little more than the one before."""
    chunks = 2 if schedule in ("interleaved", "zbv") else 1

    def block(base: BlockSpec, more: int) -> BlockSpec:
        times = {name: scale * getattr(base, name) for name in BlockSpec.__dataclass_fields__ if name.endswith("_ps")}
        return replace(base, **{**times, "forward_ps": scale * (base.forward_ps + more)})

    return StepSpec(
        stages=tuple(
            StageSpec(
                name=f"part {i}", chunks=((block(LAYER, extra * i), block(HEAD, 0)),) * chunks,
                reduce_after_ps=503 * scale, optimizer_ps=131 * scale, update_gather_ps=71 * scale,
            )
            for i in range(1 if mode == "sharded" else stages)
        ),
        micro_batches=8, schedule=schedule, gradient_mode=mode, send_ps=31 * scale, fixed_ps=53 * scale,
    )  # fmt: skip


CASES = [
    (mode, schedule)
    for schedule in SCHEDULES
    for mode in ("none", "after", "backward", "sharded")
    if mode != "sharded" or schedule in ("gpipe", "1f1b", "interleaved")
]


def replayed_ps(graph: list[list[RankTask]]) -> int:
    """When the last task ends: each as soon as what it waits for is over, sends meet receives, all ranks meet."""
    ended: list[dict[int, int]] = [{} for _ in graph]
    sent: dict[tuple[int, int, int], int] = {}
    met: dict[str, dict[int, int]] = {}
    waiting = [list(tasks) for tasks in graph]
    while any(waiting):
        before = sum(len(tasks) for tasks in waiting)
        for rank, tasks in enumerate(waiting):
            left = []
            for task in tasks:
                needs = [ended[rank].get(number) for number in (*task.after, *task.needs)]
                if None in needs:
                    left.append(task)
                    continue
                start_ps = max((time_ps for time_ps in needs if time_ps is not None), default=0)
                if task.kind == "receive":
                    arrival_ps = sent.get((task.peer, rank, task.tag))
                    if arrival_ps is None:
                        left.append(task)
                        continue
                    start_ps = max(start_ps, arrival_ps)
                if task.kind == "meeting":
                    here = met.setdefault(task.name, {})
                    here[rank] = start_ps
                    if len(here) < len(graph):
                        left.append(task)
                        continue
                    start_ps = max(here.values())
                ended[rank][task.number] = start_ps + task.duration_ps
                if task.kind == "send":
                    sent[rank, task.peer, task.tag] = start_ps + task.duration_ps
            waiting[rank] = left
        assert sum(len(tasks) for tasks in waiting) < before, "tasks wait for each other"
    return max(max(times.values()) for times in ended)


@pytest.mark.parametrize("extra", [0, 17])
@pytest.mark.parametrize(("mode", "schedule"), CASES)
def test_a_replay_of_the_graph_takes_as_long_as_the_engine_to_the_picosecond(
    mode: str, schedule: str, extra: int
) -> None:
    step, timeline = step_of(mode, schedule, extra=extra), Timeline()
    total_ps = simulate(step, timeline=timeline).total_ps
    graph = [list(rank_tasks(step, rank)) for rank in range(len(step.stages))]
    assert replayed_ps(graph) == timeline.end_ps
    if ORDERS[schedule].TRAITS.update == "together":
        assert timeline.end_ps == total_ps


@pytest.mark.parametrize(("mode", "schedule"), CASES)
def test_numbers_have_no_gaps_and_nothing_comes_before_what_it_waits_for(mode: str, schedule: str) -> None:
    step = step_of(mode, schedule)
    for rank in range(len(step.stages)):
        tasks = list(rank_tasks(step, rank))
        assert [task.number for task in tasks] == list(range(len(tasks)))
        assert all(number < task.number for task in tasks for number in (*task.after, *task.needs))


@pytest.mark.parametrize(("mode", "schedule"), CASES)
def test_every_send_has_one_receive_at_the_other_end(mode: str, schedule: str) -> None:
    step = step_of(mode, schedule)
    sends, receives = Counter(), Counter()
    for rank in range(len(step.stages)):
        for task in rank_tasks(step, rank):
            if task.kind == "send":
                sends[rank, task.peer, task.tag] += 1
            if task.kind == "receive":
                receives[task.peer, rank, task.tag] += 1
    assert sends == receives
    assert set(sends.values()) <= {1}


# --- Chakra -------------------------------------------------------------------------------------------------------


def written(folder: Path, step: StepSpec, suffix: str, work: StepWork | None = WORK) -> list[Path]:
    if suffix == ".et":
        pytest.importorskip("google.protobuf", reason="writes .et files")
    return write_chakra(step, folder / f"step{suffix}", work=work)


@pytest.mark.parametrize("suffix", [".et", ".json"])
def test_our_importer_reads_back_what_was_written(suffix: str, tmp_path: Path) -> None:
    step = step_of("backward", "1f1b", scale=10**6)
    paths = written(tmp_path, step, suffix)
    assert [path.name for path in paths] == [f"step.{rank}{suffix}" for rank in range(4)]
    for rank, path in enumerate(paths):
        read = step_from_chakra(path)
        tasks = list(rank_tasks(step, rank))
        computes = [task for task in tasks if task.kind == "compute"]
        assert Counter(kernel.name for kernel in read.kernels) == Counter(task.name for task in computes)
        assert read.flop == 8 * 2 * 4 * 100 + 3 * 30 + 10
        assert sum(k.recorded_s for k in read.kernels) == pytest.approx(sum(t.duration_ps for t in computes) / 1e12)
        kinds = Counter(message.kind for message in read.messages)
        ends = 16 if rank in (0, 3) else 32
        assert (kinds["send"], kinds["receive"], kinds["barrier"]) == (ends // 2, ends // 2, 2)
        assert {m.byte for m in read.messages if m.kind in ("send", "receive")} == {2048}
        assert {m.group for m in read.messages if m.kind == "all_reduce"} == {"tensor", "data"}
        (gathered,) = (m for m in read.messages if m.kind == "all_gather")
        assert gathered.byte == 3 * 700
        assert any("host" in phrase for phrase in read.assumed)


def test_both_forms_say_the_same(tmp_path: Path) -> None:
    step = step_of("after", "zb1p", scale=10**6)
    binary, text = written(tmp_path, step, ".et"), written(tmp_path, step, ".json")
    for one, other in zip(binary, text, strict=True):
        assert step_from_chakra(one).events == step_from_chakra(other).events


def test_nodes_keep_the_exact_picoseconds_and_say_order_and_use_apart() -> None:
    step = step_of("sharded", "1f1b")
    nodes = list(chakra_nodes(step, 0, WORK))
    tasks = list(rank_tasks(step, 0))

    def value(node: dict[str, Any], key: str) -> Any:
        return next(v for a in node["attr"] if a["name"] == key for k, v in a.items() if k != "name")

    assert [int(value(node, "duration_ps")) for node in nodes] == [task.duration_ps for task in tasks]
    assert all(not set(node["ctrlDeps"]) & set(node["dataDeps"]) for node in nodes)
    assert {value(n, "comm_type") for n in nodes if n["name"].startswith("gather")} == {"2"}
    assert {value(n, "comm_type") for n in nodes if n["name"].startswith("reduce")} == {"7"}
    # A block uses its gathered parameters; it runs after the block before.
    gathers = {node["id"] for node in nodes if node["name"] == "gather layer"}
    blocks = [node for node in nodes if node["name"].startswith("layer ")]
    assert blocks
    assert all(gathers & {*node["dataDeps"], *node["ctrlDeps"]} for node in blocks)


def test_the_same_step_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    for suffix in (".et", ".json"):
        first = written(tmp_path / "a", step_of("backward", "zbv"), suffix)
        second = written(tmp_path / "b", step_of("backward", "zbv"), suffix)
        assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_without_work_there_are_durations_and_no_operations(tmp_path: Path) -> None:
    (path,) = written(tmp_path, step_of("none", "1f1b", stages=1), ".json", work=None)
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0] == {"version": "0.0.4"}
    assert not any(attribute["name"] == "num_ops" for line in lines[1:] for attribute in line["attr"])


def test_another_kind_of_file_is_refused_and_too_many_nodes_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"legal: one that ends in .et or .json"):
        write_chakra(step_of("none", "1f1b"), tmp_path / "step.txt")
    monkeypatch.setattr("simulator.report.chakra.MOST_NODES", 10)
    with pytest.raises(InputError, match="rank 0 has more than 10 tasks"):
        write_chakra(step_of("none", "1f1b"), tmp_path / "step.json")
    assert list(tmp_path.iterdir()) == []
