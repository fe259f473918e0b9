"""Measured memory rows: what each source's figure is, and what a row leaves open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.memory import stage_memory
from simulator.parallelism import columns_of
from simulator.validation.memory_rows import CONVENTIONS, OTHER, convention_of, memory_gb
from simulator.validation.rows import RunJob, resolve

NANOTRON = {
    "source": "huggingface/nanotron ultrascale playbook (copy vinjn/nanotron-ultrascale-playbook)",
    "year": "2025", "model": "nanotron-1.34B", "seq_len": "4096", "chip": "H100", "chip_memory_gb": "80",
    "num_chips": "64", "chips_per_node": "8", "intra_node_link": "NVLink4/NVSwitch", "inter_node_link": "EFA",
    "software": "nanotron", "precision": "bf16", "global_batch": "256", "micro_batch": "2", "tp": "1", "pp": "2",
    "dp": "32", "cp": "1", "schedule": "1F1B", "sharding": "zero1", "unit": "GB",
}  # fmt: skip
BIGSCIENCE = {
    "source": "bigscience-workshop/bigscience", "year": "2022", "model": "BS-181B (L72 h14336 a64)", "seq_len": "2048",
    "chip": "A100", "chip_memory_gb": "80", "num_chips": "384", "chips_per_node": "8",
    "intra_node_link": "NVLink3/NVSwitch", "inter_node_link": "4x Omni-Path 100 Gb/s per node",
    "software": "Megatron-DeepSpeed", "precision": "fp16_mixed", "global_batch": "2048", "micro_batch": "4", "tp": "8",
    "pp": "12", "dp": "4", "cp": "1", "recompute": "full", "sharding": "zero1", "sequence_parallel": "no", "unit": "GB",
}  # fmt: skip


def job(row: dict[str, str], **changes: str) -> RunJob:
    return resolve({**row, **changes, "metric": "step_time_s"})


#: huggingface/nanotron sweep without tensor parallelism: pp, dp, micro-batch, sharding, peak allocated of rank 0 [GiB].
SWEEP = (
    (1, 64, 1, "none", 36.66), (1, 64, 2, "none", 50.16), (1, 64, 2, "zero1", 34.81), (2, 32, 1, "none", 26.79),
    (2, 32, 2, "zero1", 24.32), (2, 16, 4, "zero1", 41.08), (4, 8, 2, "zero1", 22.06), (4, 8, 4, "zero1", 38.70),
    (8, 4, 4, "zero1", 44.82), (8, 16, 2, "zero1", 24.08),
)  # fmt: skip


@pytest.mark.parametrize(("pp", "dp", "micro_batch", "sharding", "measured"), SWEEP)
def test_pipelines_without_tensor_parallelism_are_predicted(
    pp: int, dp: int, micro_batch: int, sharding: str, measured: float
) -> None:
    row = {"pp": str(pp), "dp": str(dp), "micro_batch": str(micro_batch), "sharding": sharding}
    reading = memory_gb(job(NANOTRON, **row, num_chips=str(pp * dp)))
    assert abs(np.log(reading.predicted / measured)) < 0.10


#: bigscience-workshop/bigscience@9e64edec, chronicles-prequel.md: tp, pp, dp, micro-batch, driver's reading [GB].
CHRONICLES = (
    (8, 12, 4, 1, 29), (8, 12, 4, 2, 37), (8, 12, 4, 4, 49), (8, 12, 4, 8, 69), (8, 6, 8, 1, 38), (8, 6, 8, 4, 56),
    (8, 4, 12, 2, 53), (8, 2, 24, 1, 65), (4, 12, 8, 4, 60), (4, 6, 16, 2, 57), (2, 12, 16, 2, 63), (2, 24, 8, 1, 44),
)  # fmt: skip


def test_readings_of_the_driver_are_within_five_percent_on_the_mean() -> None:
    errors = [
        np.log(
            memory_gb(
                job(BIGSCIENCE, tp=str(tp), pp=str(pp), dp=str(dp), micro_batch=str(b), num_chips=str(tp * pp * dp))
            ).predicted
            / measured
        )
        for tp, pp, dp, b, measured in CHRONICLES
    ]
    assert np.mean(np.abs(errors)) < 0.05


def test_a_reading_of_the_driver_is_never_more_than_the_chip_has() -> None:
    reading = memory_gb(job(BIGSCIENCE, micro_batch="64", dp="4"))
    assert reading.predicted == pytest.approx(job(BIGSCIENCE).context.cluster.chip.memory_byte / 1e9)


@pytest.mark.parametrize(("micro_batch", "word"), [("1", "none"), ("64", "full")])
def test_recomputation_that_a_row_leaves_open_is_the_least_that_fits(micro_batch: str, word: str) -> None:
    found = job(NANOTRON, pp="1", dp="4", tp="8", num_chips="32", micro_batch=micro_batch)
    assert any(each.startswith(f"recompute {word}") for each in memory_gb(found).assumed)


def test_stated_recomputation_is_taken_as_it_is() -> None:
    reading = memory_gb(job(NANOTRON, recompute="full"))
    assert not any(each.startswith("recompute") for each in reading.assumed)
    assert reading.predicted < memory_gb(job(NANOTRON, recompute="none")).predicted


def test_unstated_sequence_parallelism_widens_the_interval_to_both_ways() -> None:
    open_ = memory_gb(job(NANOTRON, tp="16", pp="1", dp="4", num_chips="64", micro_batch="8"))
    stated = memory_gb(job(NANOTRON, tp="16", pp="1", dp="4", num_chips="64", micro_batch="8", sequence_parallel="yes"))
    assert stated.predicted < open_.predicted
    assert open_.high / open_.low > 1.5 * stated.high / stated.low


def test_without_tensor_parallelism_there_is_nothing_to_assume_of_it() -> None:
    assert not any("sequence parallelism" in each for each in memory_gb(job(NANOTRON)).assumed)


def test_a_first_rank_is_read_where_its_source_prints_that() -> None:
    found = job(NANOTRON, pp="2", micro_batch="1")
    stages = stage_memory(found.workload, found.context, columns_of([replace(found.parallelism, recompute="none")]))
    reading = memory_gb(replace(found, row={**found.row, "recompute": "none"}))
    assert reading.predicted == pytest.approx(float(stages.peak(role=0).allocated_byte[0]) / 2**30)
    assert reading.purposes.role[0] == 0


@pytest.mark.parametrize("convention", [found for _, found in CONVENTIONS] + [OTHER])
def test_every_interval_holds_its_prediction(convention: object) -> None:
    assert convention.low < 1.0 < convention.high  # type: ignore[attr-defined]
    assert 1e9 <= convention.unit_byte <= 2**30  # type: ignore[attr-defined]
    assert convention.reading in ("allocated", "reserved", "device")  # type: ignore[attr-defined]


def test_a_source_that_nobody_looked_at_has_the_widest_of_the_plain_readings() -> None:
    assert convention_of("somebody/something") is OTHER
    assert convention_of("MooreThreads/SimuMax") is not OTHER
