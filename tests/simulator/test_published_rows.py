"""Rows completed by their runs' own files, and what hosts add to a step."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.calibration_data import load_constants
from simulator.constants import Constants
from simulator.defaults import stack_on
from simulator.outcome.input import IMAGE_CORE_S, InputTimes, fed_step_s
from simulator.stack import resolve_stack
from simulator.validation.evaluate import job_table
from simulator.validation.feeding import (
    HOST_TABLES,
    NO_HOST_WORK,
    READERS,
    HostWork,
    fed_s,
    host_seconds,
    host_work,
    image_core_s,
)
from simulator.validation.published import SWAPPED, TABLE, completed, swapped_value_per_s
from simulator.validation.rows import COLUMNS, RunJob, resolve

DAWNBENCH = "DAWNBench v1 entries"
ENTRY = dict.fromkeys(COLUMNS, "") | {
    "source": DAWNBENCH, "model": "ResNet50-v1.5", "chip": "V100-SXM2", "num_chips": "8", "chips_per_node": "8",
    "software": "AIACC-Training 1.3 + Tensorflow 2.1", "global_batch": "2048", "year": "2020",
    "metric": "samples_per_s", "unit": "samples/s",
}  # fmt: skip
HOSTED = dict.fromkeys(COLUMNS, "") | {
    "source": "MindSpore benchmark page", "model": "Wide & Deep (host-device model parallel)", "chip": "Ascend 910",
    "num_chips": "8", "chips_per_node": "8", "software": "MindSpore 0.6.0-beta", "precision": "fp16_mixed",
    "global_batch": "64000", "micro_batch": "8000", "year": "2020", "metric": "samples_per_s", "unit": "samples/s",
}  # fmt: skip


def job(**changes: str) -> RunJob:
    return resolve(ENTRY | changes)


@pytest.mark.parametrize("line", TABLE)
def test_what_files_say_fills_configuration_columns_and_nothing_else(line) -> None:
    assert line.columns
    assert set(line.columns) <= set(COLUMNS) - {"source", "metric", "unit", "chip", "num_chips"}
    assert line.why


def test_a_row_of_no_published_run_stays_as_it_is() -> None:
    row = ENTRY | {"source": "somebody's benchmark"}
    assumed: list[str] = []
    assert completed(row, assumed) == row
    assert assumed == []


def test_an_entry_takes_the_image_size_of_its_median_epoch_and_says_so() -> None:
    one, sixteen = job(), job(num_chips="128", global_batch="32768")
    assert one.workload.hyper["image_size"] == 96
    assert sixteen.workload.hyper["image_size"] == 128
    assert "image_size 96" in one.assumed[0]
    assert job(software="PyTorch 1.0").workload.hyper["image_size"] == 224


def test_the_group_of_a_row_is_named_as_the_table_names_it() -> None:
    filled = job(model="ResNet-50", software="tensorflow 1.5, tensorpack 0.8.1", num_chips="1", image_size="32")
    assert filled.group == (DAWNBENCH, "ResNet-50", "V100-SXM2")
    assert "110" in filled.workload.name
    assert filled.context.recipe.matmul == "fp32"


def test_a_layout_that_a_configuration_file_states_is_no_longer_missing() -> None:
    row = ENTRY | {
        "source": "arXiv:2304.01373 (Pythia)", "model": "Pythia-12B", "chip": "A100", "chip_memory_gb": "40",
        "num_chips": "256", "software": "GPT-NeoX", "seq_len": "2048", "global_batch": "1024", "sharding": "zero1",
        "precision": "fp16_mixed", "metric": "tokens_per_s_per_chip",
    }  # fmt: skip
    strategy = resolve(row).parallelism
    assert (strategy.tp, strategy.pp, strategy.dp, strategy.micro_batch, strategy.recompute) == (4, 1, 64, 8, "full")
    assert resolve(row).context.stack.attention == "fused"
    assert resolve(row | {"model": "Pythia-1B"}).context.stack.attention == "unfused"


@given(step_s=st.floats(1e-3, 1e3))
def test_hours_and_epochs_swapped_give_a_value_that_is_the_inverse_of_a_rate(step_s: float) -> None:
    one = job(model="ResNet152", chip="K80", software="MXNet 0.11.0", global_batch="")
    images = SWAPPED[0][2]
    rate = one.parallelism.global_batch / step_s
    hours_of_an_epoch = images / rate / 3600
    assert one.metric_value(step_s) == pytest.approx(images * hours_of_an_epoch / 3600)
    assert one.step_s(one.metric_value(step_s)) == pytest.approx(step_s)


def test_only_entries_whose_file_is_so_are_swapped() -> None:
    assert swapped_value_per_s(ENTRY, 256) == 0.0
    assert swapped_value_per_s(ENTRY | {"model": "ResNet152"}, 256) > 0.0
    assert swapped_value_per_s(ENTRY | {"model": "ResNet152", "source": "another"}, 256) == 0.0


@given(step=st.floats(1e-4, 10), host=st.floats(0, 10), waited=st.booleans())
def test_jobs_are_fed_as_the_pipelines_closed_form_says(step: float, host: float, waited: bool) -> None:
    times = InputTimes(read_s=0.0, prepare_s=host, copy_s=0.0, hit_share=0.0)
    together = fed_s(np.array([step]), np.array([host]), np.array([waited]))
    assert together[0] == pytest.approx(fed_step_s(step, times, 0 if waited else 2))


def test_image_core_seconds_are_those_of_imagenet_at_its_own_size_and_grow_with_pixels() -> None:
    assert image_core_s(500 * 375, 224 * 224) == pytest.approx(IMAGE_CORE_S)
    assert image_core_s(2048 * 1024, 769 * 769) > image_core_s(640 * 480, 608 * 608) > IMAGE_CORE_S


@pytest.mark.parametrize("reader", READERS)
def test_a_reader_binds_its_own_program_on_real_data_and_no_other(reader) -> None:
    model = re.sub(r"[^\w .+-]", "", reader.model.split("|")[0])
    row = {"source": reader.source, "model": model, "software": reader.software.strip("^"), "chip": reader.chip}
    row["input_data"] = reader.data
    assumed: list[str] = []
    work = host_work(row, 640.0, 8, assumed)
    constants = Constants(values={"reader_cores": 4.0, "reader_sample_s": 1e-3})
    expected = 640.0 * (reader.core_s / (reader.cores or 4.0) + (1e-3 if reader.in_python else 0.0))
    assert host_seconds(np.array([work.amounts]), constants)[0] == pytest.approx(expected)
    assert work.waited is (reader.prefetch == 0)
    assert "at most" in assumed[0]
    assert host_work(row | {"input_data": "synthetic"}, 640.0, 8, []) == NO_HOST_WORK
    assert host_work(row | {"source": "another"}, 640.0, 8, []) == NO_HOST_WORK


@given(own=st.floats(0, 1e6), byte=st.floats(0, 1e10), factor=st.floats(1, 100))
def test_tables_on_hosts_take_time_for_own_rows_and_for_everybodys(own: float, byte: float, factor: float) -> None:
    constants = Constants(values={"host_row_s": 2e-7, "host_sum_rate": 5e9})
    amounts = np.array([HostWork(waited=True, rows=f * own, summed_byte=f * byte).amounts for f in (1.0, factor)])
    one, more = host_seconds(amounts, constants)
    assert one == pytest.approx(own * 2e-7 + byte / 5e9)
    assert more == pytest.approx(factor * one)


@pytest.mark.parametrize("name", ["host_row_s", "host_sum_rate", "reader_cores", "reader_sample_s"])
def test_a_constant_of_hosts_touches_only_the_jobs_whose_hosts_it_describes(name: str) -> None:
    table = job_table([resolve(HOSTED), job()])
    assert table.depending_on([name]).tolist() == [name.startswith("host_"), False]


@pytest.mark.parametrize(("processes", "measured_s"), [(16, 128_000 / 377_848), (32, 256_000 / 433_423)])
def test_two_rates_of_hosts_explain_runs_of_more_processes(processes: int, measured_s: float) -> None:
    _, _, lookups, row_byte = HOST_TABLES[0]
    rows = 8000.0 * lookups
    work = HostWork(waited=True, rows=rows, summed_byte=processes * rows * row_byte)
    # From 1 and 8 processes: 0.34 us a look-up, 6.7 GB/s summed.
    constants = Constants(values={"host_row_s": 3.4e-7, "host_sum_rate": 6.7e9})
    assert host_seconds(np.array([work.amounts]), constants)[0] == pytest.approx(measured_s, rel=0.04)


def test_the_hosts_work_is_part_of_a_jobs_step_whichever_jobs_are_kept() -> None:
    constants = load_constants("default")
    jobs = [resolve(HOSTED), job(), resolve(HOSTED | {"num_chips": "16", "global_batch": "128000"})]
    table = job_table(jobs)
    steps = table.step_s(constants)
    assert table.only(np.array([2, 0])).step_s(constants) == pytest.approx(steps[[2, 0]])
    for place in (0, 2):
        host_s = host_seconds(np.array([jobs[place].host.amounts]), constants)[0]
        assert host_s < steps[place] < 1.3 * host_s
    assert jobs[1].host == NO_HOST_WORK
    assert math.isfinite(steps[1])


@pytest.mark.parametrize(
    ("source", "software", "family", "architecture", "expected"),
    [
        (DAWNBENCH, "TensorFlow v1.11.0", "convnet", "tpu", "tf-tpu-2018"),
        (DAWNBENCH, "Intel(R) Optimized Caffe", "convnet", "skylake", "intel-caffe"),
        (DAWNBENCH, "AIACC-Training 1.3 + Tensorflow 2.1", "convnet", "volta", "dle-tf1-xla"),
        (DAWNBENCH, "ncluster / Pytorch 1.0.0", "convnet", "pascal", "fastai-2018"),
        (DAWNBENCH, "TensorFlow v1.2", "recurrent", "kepler", "dawnbench"),
        ("MLPerf Training v1.0", "TensorFlow", "convnet", "tpu", "mlperf-tf"),
        ("MLPerf Training v1.0", "TensorFlow", "detector", "tpu", "mlperf-tf-detector"),
        ("MLPerf Training v0.7", "TF-research", "detector", "tpu", "mlperf-tf-detector"),
        ("MLPerf Training v0.7", "PyTorch NVIDIA Release 20.06", "detector", "volta", "mlperf-detector-0.7"),
        ("MLPerf Training v1.1", "PyTorch NVIDIA Release 21.09", "detector", "ampere", "mlperf-detector"),
        ("Keuper & Pfreundt arXiv 1609.06870", "Caffe", "convnet", "kepler", "caffe-2016"),
        ("Keuper & Pfreundt arXiv 1609.06870", "Caffe", "convnet", "many-core", "intel-caffe"),
    ],
)
def test_an_entry_runs_on_the_software_that_it_names(source, software, family, architecture, expected) -> None:
    assert stack_on(resolve_stack(source, software, family), architecture, "cnn") == expected
