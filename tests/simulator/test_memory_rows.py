"""Measured memory rows: what each source's figure is, and what a row leaves open."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.memory import stage_memory
from simulator.parallelism import columns_of
from simulator.validation.memory_ladders import balanced_accuracy, rungs
from simulator.validation.memory_rows import figures, memory_gb, memory_job
from simulator.validation.memory_software import (
    OTHER,
    RANGES,
    SOFTWARE,
    MemorySoftware,
    constants_of,
    factors_of,
    software_of,
)
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


def test_what_is_gathered_stays_whole_only_where_no_pipeline_runs() -> None:
    alone = memory_job(job(NANOTRON, tp="8", pp="1", dp="4", num_chips="32", micro_batch="4", recompute="none"))
    piped = memory_job(job(NANOTRON, tp="8", pp="2", dp="4", num_chips="64", micro_batch="4", recompute="none"))
    assert alone.job.context.stack.gathered_share == 1.0
    assert piped.job.context.stack.gathered_share < 0.5


def test_a_first_rank_is_read_where_its_source_prints_that() -> None:
    found = memory_job(job(NANOTRON, pp="2", micro_batch="1", recompute="none"))
    stages = stage_memory(found.job.workload, found.job.context, columns_of([found.strategy]))
    reading = memory_gb(job(NANOTRON, pp="2", micro_batch="1", recompute="none"))
    assert reading.predicted == pytest.approx(float(stages.peak(role=0).allocated_byte[0]) / 2**30)
    assert reading.purposes.role[0] == 0


@pytest.mark.parametrize("one", [*SOFTWARE, OTHER], ids=lambda one: one.name)
def test_every_interval_holds_its_prediction(one: MemorySoftware) -> None:
    low, high = factors_of(one)
    assert 0.2 < low < 1.0 < high < 5.0
    assert 1e9 <= one.unit_byte <= 2**30


@pytest.mark.parametrize("one", SOFTWARE, ids=lambda one: one.name)
def test_every_fitted_constant_is_plausible_and_declared(one: MemorySoftware) -> None:
    constants = constants_of(one)
    assert set(constants) == set(one.usual)
    assert all(RANGES[name][0] <= value <= RANGES[name][1] for name, value in constants.items())
    assert not set(one.usual) & set(one.fixed)


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"reading": "guessed"}, "legal: allocated, reserved, device"), ({"usual": {"loss_byte": 99.0}}, "from 0 to 20")],
)
def test_a_software_that_cannot_be_is_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace(OTHER, **changes)  # type: ignore[arg-type]


def test_a_source_that_nobody_looked_at_has_no_habits() -> None:
    assert software_of("somebody/something", "", "transformer") is OTHER
    assert software_of("MooreThreads/SimuMax", "", "transformer") is not OTHER


LAMBDA = {
    "source": "lambdal/deeplearning-benchmark", "year": "2020", "model": "BERT-base", "chip": "Quadro RTX 8000",
    "chip_memory_gb": "48", "num_chips": "8", "chips_per_node": "8", "software": "PyTorch 1.4.0a0+a5b4d78",
    "precision": "fp16_mixed", "global_batch": "864", "micro_batch": "108", "dp": "8", "seq_len": "384", "unit": "GB",
}  # fmt: skip


def test_a_release_that_keeps_more_is_predicted_to_take_more() -> None:
    """Measured: 48.3 GB with 1.4, 33.2 GB with 1.7 and later, on chips of the same capacity."""
    older = memory_gb(job(LAMBDA)).predicted
    newer = memory_gb(job(LAMBDA, software="PyTorch 1.9.0a0+df837d0")).predicted
    assert older == pytest.approx(48.3, rel=0.1)
    assert newer == pytest.approx(33.2, rel=0.1)


def test_the_largest_batch_is_what_counts_where_shapes_vary() -> None:
    found = memory_job(job(LAMBDA, model="GNMT v2", seq_len="", micro_batch="616", global_batch="4928"))
    assert found.job.workload.hyper["seq_len"] == 50
    assert any(each == "largest batch: sequences of 50" for each in found.assumed)


TORCHTUNE = {
    "source": "pytorch/torchtune", "year": "2024", "model": "Llama-3-8B", "seq_len": "2048", "chip": "A6000",
    "num_chips": "1", "software": "torchtune", "precision": "bf16", "micro_batch": "2", "global_batch": "2", "tp": "1",
    "pp": "1", "dp": "1", "unit": "GB",
}  # fmt: skip


def test_what_does_not_fit_stands_in_the_hosts_memory() -> None:
    """8 billion parameters: 64 GB in pure bf16 with Adam, on a chip of 48."""
    small = memory_gb(job(TORCHTUNE))
    assert any("host's memory" in each for each in small.assumed)
    assert small.purposes.optimizer_byte[0] == 0.0
    assert small.purposes.total_byte[0] < job(TORCHTUNE).context.cluster.chip.memory_byte
    large = memory_gb(job(TORCHTUNE, chip="H200", chip_memory_gb="141"))
    assert not any("host's memory" in each for each in large.assumed)
    assert large.purposes.optimizer_byte[0] == pytest.approx(4.0 * job(TORCHTUNE).workload.parameters, rel=1e-3)
    assert large.purposes.master_byte[0] == 0.0


@pytest.mark.parametrize(
    ("reading", "doubles", "expected"),
    [("allocated", False, 3.0), ("reserved", False, 3.3), ("device", False, 4.3), ("device", True, 5.294967296)],
)
def test_readings_of_one_peak(reading: str, doubles: bool, expected: float) -> None:
    software = replace(OTHER, reading=reading, doubles=doubles)
    found = figures(np.array([3e9]), 0.1, np.array([1e9]), software, np.array([8e9]))
    assert found[0] == pytest.approx(expected)


def test_a_driver_reads_no_more_than_there_is() -> None:
    found = figures(np.array([9e9]), 0.1, np.array([1e9]), replace(OTHER, reading="device"), np.array([8e9]))
    assert found[0] == 8.0


def test_out_of_memory_is_inferred_from_what_ran() -> None:
    """Two rungs that ran; 3 x 50 - 2 x 30 GiB would be needed at the next, more than there is: it ran out."""
    base = {**NANOTRON, "metric": "memory_gb_per_chip", "pp": "1", "dp": "64", "sharding": "none", "cp": "1"}
    ran = [{**base, "micro_batch": "1", "value": "36.66"}, {**base, "micro_batch": "2", "value": "60.0"}]
    found = rungs(ran)
    assert [one.ran for one in found] == [True, True, False]
    assert found[-1].row["micro_batch"] == "4"
    silent = [{**base, "micro_batch": "1", "value": "10.0"}, {**base, "micro_batch": "2", "value": "12.0"}]
    assert all(one.ran for one in rungs(silent))
    assert balanced_accuracy(found) == 1.0


def test_balanced_accuracy_needs_both_kinds() -> None:
    base = {**NANOTRON, "metric": "memory_gb_per_chip", "value": "10.0"}
    with pytest.raises(ValueError, match="that did not"):
        balanced_accuracy(rungs([base]))
