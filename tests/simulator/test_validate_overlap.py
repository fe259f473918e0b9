"""Measured overlap: mechanisms of methods, the yardstick, what the command prints."""

from __future__ import annotations

import csv
import itertools
import json
import math
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analytic import batch
from simulator.calibration_data import load_constants
from simulator.cli import cli
from simulator.lowering import lower
from simulator.stepspec import BlockSpec, StageSpec, StepSpec
from simulator.validation.overlap import (
    OverlapRow,
    baseline_s,
    events_s,
    fixed_overlap_s,
    held_and_exchanged,
    hidden_fraction,
    macro,
    predict_overlap,
    read_overlap,
)
from simulator.validation.overlap_methods import METHODS, Method, merged, method_of, released
from simulator.validation.overlap_scaling import hybrid_choices, scaling_jobs
from simulator.validation.overlap_summary import validate_overlap
from simulator.validation.rows import RunJob, resolve
from simulator.validation.runs import TableError

WORDS = {
    "after": "BSP-A2A: ring all-reduce after backward (no overlap)",
    "alone": "WFBP-A2A: wait-free backprop, per-tensor all-reduce",
    "merged": "MG-WFBP: merged-gradient wait-free backprop",
    "need": "ByteScheduler-A2A: ByteScheduler over all-reduce",
    "after servers": "BSP-PS: BytePS, push after backward (no overlap)",
    "alone servers": "WFBP-PS: BytePS, wait-free backprop",
    "priority servers": "ByteScheduler-PS: BytePS, priority scheduling",
}
ROW = {
    "row": "7", "run_id": "made-7", "source": "HKBU-HPML/ddl-benchmarks", "year": "2020", "model": "ResNet-50",
    "chip": "RTX 2080 Ti", "num_chips": "16", "chips_per_node": "4", "intra_node_link": "PCIe",
    "inter_node_link": "10GbE with TCP/IP", "software": "PyTorch 1.4, NCCL, Horovod 0.19 / BytePS 0.2",
    "precision": "fp32", "micro_batch": "64", "allreduce_algorithm": WORDS["after"], "metric": "samples_per_s",
    "value": "2485.12", "flag": "",
}  # fmt: skip
SPEED_UP = {
    "row": "8", "run_id": "made-8", "source": "HiPC 2017 pp 183-192 (Lee et al.) abstract", "model": "VGG-A",
    "chip": "CPU compute node", "num_chips": "128", "global_batch": "512", "metric": "speedup", "value": "77.97",
    "allreduce_algorithm": "per-layer overlapped with backprop by a communication thread",
}  # fmt: skip


@cache
def job(way: str) -> RunJob:
    return resolve({**ROW, "allreduce_algorithm": WORDS[way]})


@cache
def step_s(way: str, calls: float = 1.0) -> float:
    """A step, with every call of the library so many times as long as fitted."""
    constants = load_constants()
    constants = replace(constants, values={**constants.values, "call_s": calls * constants.get("call_s")})
    lowered = lower(job(way).workload, job(way).context, [job(way).parallelism])
    spec = batch(lowered, constants, contention=False).spec(0)
    return events_s(job(way), method_of(WORDS[way]), lowered, spec, constants)


def write_table(path: Path, *rows: dict[str, str]) -> Path:
    columns = (files("simulator") / "data" / "measured_runs.csv").read_text("utf-8").splitlines()[0].split(",")
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_every_published_method_is_a_mechanism_of_its_own_but_priority_with_a_barrier() -> None:
    methods = [method_of(words) for words in WORDS.values()]
    assert len({m.name for m in methods if m}) == len(WORDS) == len(METHODS)
    assert method_of("ring all-reduce") is None


@pytest.mark.parametrize("server", ["", " servers"])
def test_a_release_under_the_pass_takes_less_than_one_after_it(server: str) -> None:
    assert step_s(f"alone{server}") < step_s(f"after{server}")


def test_servers_that_answer_by_priority_change_no_step_that_waits_for_all() -> None:
    assert step_s("priority servers") == step_s("alone servers")


def test_merging_pays_where_calls_are_dear() -> None:
    # As fitted, calls are cheap for so few large messages, and merging only delays the first.
    gain = [step_s("alone", calls) - step_s("merged", calls) for calls in (1.0, 5.0, 25.0, 100.0)]
    assert gain == sorted(gain)
    assert gain[0] < 0.02 * step_s("alone")
    assert gain[-1] > 0.0


@pytest.mark.parametrize("way", WORDS)
def test_gradients_of_all_blocks_are_exchanged_whatever_the_method(way: str) -> None:
    constants = load_constants()
    lowered = lower(job(way).workload, job(way).context, [job(way).parallelism])
    plain = batch(lowered, constants, contention=False).spec(0)
    method = method_of(WORDS[way])
    assert method is not None
    spec, release = released(job(way), method, lowered, plain, constants)
    if method.release == "after":
        assert spec.gradient_mode == "after"
        assert spec.stages[0].reduce_after_ps > 0
        return
    count = sum(layer.repeat for layer in job(way).workload.layers)
    assert len(spec.stages[0].blocks) == count
    assert all(block.reduce_ps > 0 for block in spec.stages[0].blocks)
    # Compute is as it was.
    for name in ("forward_ps", "backward_ps"):
        assert sum(getattr(b, name) for b in spec.stages[0].blocks) == sum(
            b.repeat * getattr(b, name) for b in plain.stages[0].blocks
        )
    assert release is None or release.needed_first or sum(release.messages) == count


def test_a_pipeline_has_no_such_method() -> None:
    block = BlockSpec(name="block", repeat=1, forward_ps=1, backward_ps=1)
    spec = StepSpec(stages=(StageSpec(name="s", chunks=((block,),)),) * 2, micro_batches=2)
    lowered = lower(job("alone").workload, job("alone").context, [job("alone").parallelism])
    with pytest.raises(ValueError, match="2 pipeline stages; 1"):
        released(job("alone"), Method(name="x", release="alone"), lowered, spec, load_constants())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 90)), min_size=1, max_size=7), st.integers(0, 100))
def test_merged_messages_end_soonest_of_all_ways_to_merge(blocks: list[tuple[int, int]], call: int) -> None:
    ready = np.cumsum([time for time, _ in blocks]).tolist()
    byte = [float(size) for _, size in blocks]

    def price(size: float) -> float:
        return call + size

    def end(sizes: tuple[int, ...]) -> float:
        place, free = 0, 0.0
        for size in sizes:
            place += size
            free = max(free, ready[place - 1]) + price(sum(byte[place - size : place]))
        return free

    best = merged(ready, byte, price)
    assert sum(best) == len(blocks)
    ways = (
        tuple(np.diff([0, *cuts, len(blocks)]).tolist())
        for k in range(len(blocks))
        for cuts in itertools.combinations(range(1, len(blocks)), k)
    )
    assert end(best) == pytest.approx(min(map(end, ways)))


def made(source: str, *, measured_s: float, held_s: float = 1.0, exchange_s: float = 1.0) -> OverlapRow:
    return OverlapRow(
        row="1", source=source, group=(source, "m", "c"), method="x", measured_s=measured_s, events_s=1.0,
        closed_form_s=1.0, held_s=held_s, exchange_s=exchange_s,
    )  # fmt: skip


def test_the_fraction_hidden_is_found_and_a_source_never_sees_its_own() -> None:
    half = [made("a", measured_s=1.5), made("a", measured_s=2.0, held_s=1.5)]
    nothing = [made("b", measured_s=2.0)]
    assert hidden_fraction(half) == 0.5
    assert hidden_fraction([]) == 0.5
    _, fractions = baseline_s([*half, *nothing])
    assert fractions == {"a": 0.0, "b": 0.5}
    assert macro(half, fixed_overlap_s(half, 0.5)) == 0.0


def test_held_and_exchanged_are_all_of_a_step_that_overlaps_nothing() -> None:
    block = BlockSpec(name="block", repeat=3, forward_ps=10, backward_ps=20, backward_tensor_ps=5, reduce_ps=7)
    stage = StageSpec(name="s", chunks=((block,),), optimizer_ps=4, reduce_after_ps=50)
    spec = StepSpec(stages=(stage,), micro_batches=2, gradient_mode="after", fixed_ps=1)
    held_s, exchange_s = held_and_exchanged(spec)
    assert (held_s * 1e12, exchange_s * 1e12) == pytest.approx((2 * 105 + 4 + 1, 50))
    pipeline = replace(spec, stages=(stage,) * 3, gradient_mode="none", send_ps=2)
    held_s, exchange_s = held_and_exchanged(pipeline)
    assert (held_s * 1e12, exchange_s * 1e12) == pytest.approx((4 * 105 + 4 + 1, 8))


def test_a_speed_up_is_one_batch_on_one_server_and_on_all() -> None:
    alone, many = scaling_jobs(SPEED_UP)
    assert (alone.parallelism.dp, many.parallelism.dp) == (1, 128)
    assert alone.parallelism.global_batch == many.parallelism.global_batch == 512
    assert many.context.cluster.out_fabric == "aries"
    assert [p.hybrid for p in hybrid_choices(many)] == [1]
    _, hybrid = scaling_jobs({**SPEED_UP, "allreduce_algorithm": "hybrid model/data for FC layers, overlapped"})
    assert [p.hybrid for p in hybrid_choices(hybrid)] == [2**k for k in range(8)]


def test_the_engine_is_nearer_to_the_speed_ups_of_layer_by_layer_exchange_than_the_closed_form(tmp_path: Path) -> None:
    (row,), refused = predict_overlap(read_overlap(write_table(tmp_path / "x.csv", SPEED_UP)), load_constants())
    assert not refused
    errors = [abs(math.log(value / row.measured_s)) for value in (row.events_s, row.closed_form_s)]
    assert errors[0] < errors[1] < 0.4


def test_rows_that_cannot_be_compared_are_left_out_with_a_reason(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "x.csv", {**ROW, "num_chips": "1", "inter_node_link": ""}, {**ROW, "run_id": "b", "flag": "1"},
        {**SPEED_UP, "chip": "abacus"}, {**ROW, "run_id": "c", "source": "somebody else"},
    )  # fmt: skip
    rows, refused = predict_overlap(read_overlap(path), load_constants())
    assert not rows
    assert sorted(refused.values()) == [1, 1, 1]
    assert any("abacus" in reason and "legal: Xeon E5 node" in reason for reason in refused)


def test_the_command_prints_errors_by_source_and_method_and_writes_predictions(tmp_path: Path) -> None:
    path = write_table(
        tmp_path / "x.csv", ROW, {**ROW, "row": "9", "run_id": "d", "allreduce_algorithm": WORDS["need"]}
    )
    out = tmp_path / "out.csv"
    result = CliRunner().invoke(cli, ["validate", "overlap", str(path), "--out", str(out), "--json"])
    assert result.exit_code == 0, result.output
    parts = {part["name"].strip(): part["rows"] for part in json.loads(result.stdout)["parts"]}
    assert parts == {"all": 2, "DDL benchmarks (7 methods)": 2, "after, ring": 1, "by need, ring": 1}
    written = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert [line["row"] for line in written] == ["7", "9"]
    summary = validate_overlap(path)
    assert "after, ring" in summary.text()
    assert "fraction hidden" in summary.text()


def test_a_table_without_overlap_and_held_out_constants_are_refused(tmp_path: Path) -> None:
    path = write_table(tmp_path / "x.csv", {**ROW, "source": "somebody else"})
    with pytest.raises(TableError, match="no row measures overlap; sources that do: DDL"):
        read_overlap(path)
    for arguments, words in ((["--held-out"], "stored constants"), ([], "no row measures overlap")):
        result = CliRunner().invoke(cli, ["validate", "overlap", str(path), *arguments])
        assert words in str(result.exception) + result.output
