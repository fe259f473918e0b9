"""Predicted against measured: what a prediction may look at, how it becomes the row's unit, what cross-fitting sees."""

from __future__ import annotations

import csv
import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwmodels.catalog as hardware
import simulator
import simulator.validation.runs as runs
from simulator.calibration.fit import OUTLIER, fit
from simulator.calibration.slopes import owners_of
from simulator.calibration_data import load, load_constants
from simulator.constants import SPECS, Constants, key_of
from simulator.validation import TableError, predict_runs, validate_runs
from simulator.validation.baseline import baseline_step_s, utilisation_s
from simulator.validation.conventions import CONVENTIONS, convention_of, flop_per_sample
from simulator.validation.evaluate import job_table
from simulator.validation.machines import cluster_for, server_for
from simulator.validation.rows import COLUMNS, METRICS, RunJob, Unsupported, resolve
from simulator.validation.runs import (
    FOLDS,
    OUTPUT_COLUMNS,
    Table,
    cross_fit,
    extrapolations,
    fold_of,
    predictions_csv,
    read_table,
    record_of,
    weighted_quantile,
)
from workloads.catalog import model
from workloads.transformer import transformer

SHIPPED = Path(simulator.__file__).parent / "data" / "measured_runs.csv"
Row = dict[str, str]
RowEdit = Callable[[Row], Row]


@pytest.fixture(scope="module")
def shipped() -> Table:
    return read_table(SHIPPED)


@pytest.fixture(scope="module")
def sample() -> list[Row]:
    """Every 25th shipped row: all eras, about sixty."""
    with SHIPPED.open(newline="", encoding="utf-8") as file:
        return [row | {"notes": ""} for row in csv.DictReader(file)][::25]


@pytest.fixture(scope="module")
def untouched(sample: list[Row], tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """The sample's predictions."""
    return lines(write(tmp_path_factory.mktemp("sample") / "runs.csv", sample))


def write(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(path: Path) -> list[Row]:
    """The output of a validation with shipped constants, as a reader of its file sees it."""
    return list(csv.DictReader(predictions_csv(predict_runs(path).predictions).splitlines()))


#: A row with everything stated: 64 A100s, 512 sequences of 2,048 tokens a step.
FULL: Row = {
    "row": "7", "run_id": "made-1", "era": "llm2020_now", "source": "a made table", "locator": "nowhere",
    "year": "2023", "model": "GPT-3 1.3B", "seq_len": "2048", "chip": "A100", "chip_memory_gb": "80", "num_chips": "64",
    "chips_per_node": "8", "intra_node_link": "NVLink3/NVSwitch", "software": "Megatron-LM", "precision": "bf16",
    "global_batch": "512", "micro_batch": "4", "tp": "2", "pp": "2", "dp": "16", "cp": "1", "ep": "1",
    "recompute": "none", "sharding": "none", "optimizer": "adam", "metric": "step_time_s", "value": "1.5",
}  # fmt: skip


def job(**changes: str) -> RunJob:
    return resolve(FULL | changes)


# What a prediction looks at.


SPOILT: dict[str, RowEdit] = {
    "measured value": lambda row: row | {"value": "1e9"},
    "empty value": lambda row: row | {"value": ""},
    "notes": lambda row: row | {"notes": "fp32, 8 chips, global batch 1"},
    "locator": lambda row: row | {"locator": "p3.16xlarge EFA 25 Gb/s Ethernet"},
    "run_id": lambda row: row | {"run_id": ""},
    "flag": lambda row: row | {"flag": "suspect"},
    "provenance": lambda row: row | {"provenance": "p2.16xlarge"},
}


@pytest.mark.parametrize("what", SPOILT)
def test_nothing_but_the_configuration_changes_a_prediction(
    sample: list[Row], untouched: list[Row], tmp_path: Path, what: str
) -> None:
    assert what.split()[-1] not in COLUMNS
    after = lines(write(tmp_path / "after.csv", [SPOILT[what](row) for row in sample]))
    compared = [name for name in OUTPUT_COLUMNS if name != "measured"]
    assert [[line[n] for n in compared] for line in after] == [[line[n] for n in compared] for line in untouched]
    assert all(line["status"] == "predicted" for line in after)


@pytest.mark.parametrize(
    ("chip", "inside", "software"),
    [("TPU v4", "", "MaxText (JAX)"), ("TPUv5p", "", "MaxText (JAX)"), ("A100", "NVLink3/NVSwitch", "Megatron-LM"),
     ("MI300X", "", "Megatron-LM"), ("Trainium", "", "NeuronX")],
)  # fmt: skip
@pytest.mark.parametrize("chips", ["6144", "65536"])
def test_a_row_with_more_chips_than_any_machine_we_know_is_priced_all_the_same(
    chip: str, inside: str, software: str, chips: str
) -> None:
    # The machine was there: a row that counts more chips than we thought must not stop the table.
    run = {"chip": chip, "chip_memory_gb": "", "intra_node_link": inside, "chips_per_node": "", "software": software}
    whole = {"num_chips": chips, "global_batch": chips, "micro_batch": "1", "tp": "1", "pp": "1", "dp": chips}
    assert 0.0 < job_table([job(**run, **whole, sharding="fsdp")]).step_s(Constants())[0] < np.inf


def test_a_rows_number_is_copied_and_changes_nothing_else(
    sample: list[Row], untouched: list[Row], tmp_path: Path
) -> None:
    after = lines(write(tmp_path / "after.csv", [row | {"row": f"new {row['row']}"} for row in sample]))
    assert [line["row"] for line in after] == [f"new {line['row']}" for line in untouched]
    assert [line["predicted"] for line in after] == [line["predicted"] for line in untouched]


def test_predictions_stay_when_rows_are_shuffled_or_dropped(
    sample: list[Row], untouched: list[Row], tmp_path: Path
) -> None:
    whole = {line["row"]: line for line in untouched}
    shuffled = list(sample)
    random.Random(3).shuffle(shuffled)
    for some in (shuffled, shuffled[:20], shuffled[:1]):
        got = lines(write(tmp_path / "some.csv", some))
        assert [line["row"] for line in got] == [row["row"] for row in some]
        assert got == [whole[row["row"]] for row in some]


def test_every_input_line_has_one_output_line_in_order_and_every_refusal_a_reason(tmp_path: Path) -> None:
    table = [
        FULL, FULL | {"row": "8", "model": "nobody's model"}, FULL | {"row": "9", "metric": "loss"},
        FULL | {"row": "3", "num_chips": ""}, FULL | {"row": ""}, FULL | {"row": "5", "chip": "abacus"},
        FULL | {"row": "6", "ep": "3"}, FULL | {"row": "1", "dp": "", "tp": "3"},
        FULL | {"row": "2", "precision": "fp3"},
    ]  # fmt: skip
    got = lines(write(tmp_path / "runs.csv", table))
    assert tuple(got[0]) == OUTPUT_COLUMNS
    assert [line["row"] for line in got] == ["7", "8", "9", "3", "4", "5", "6", "1", "2"]
    assert [line["status"] for line in got] == ["predicted", *["unsupported"] * 3, "predicted", *["unsupported"] * 4]
    reasons = [
        "model \"nobody's model\" is not in the catalogue", "metric 'loss' does not follow from a step time",
        "the number of chips is not stated", "chip 'abacus' (80 GB) is not in the catalogue",
        "Parallelism: ep x etp = 3 x 1 = 3 does not divide the ranks of a stage, tp x cp x dp = 32.",
        "tp x pp x cp = 6 does not divide 64 chips",
        "precision 'fp3' is not a recipe",
    ]  # fmt: skip
    assert [line["reason"] for line in got if line["reason"]] == reasons
    for line in got:
        if line["status"] == "predicted":
            low, predicted, high = (float(line[name]) for name in ("low", "predicted", "high"))
            assert low < predicted < high
            assert "stack " in line["assumed"]
        else:
            assert line["predicted"] == line["low"] == line["high"] == ""


def test_what_a_row_leaves_open_is_said() -> None:
    assert not job().assumed or job().assumed == ("the usual stack: the source's software is not recognised",)
    open_row = job(precision="", micro_batch="", recompute="", sharding="")
    words = "; ".join(open_row.assumed)
    for part in ("precision fp16_mixed", "micro-batch", "recompute", "sharding"):
        assert part in words


# Machines and software.


ACCELERATORS = sorted(hardware.chip_ids())


@pytest.mark.parametrize("chip", ACCELERATORS)
def test_every_chip_of_the_catalogue_sits_in_a_server(chip: str) -> None:
    server = server_for(chip)
    assert server.chip == chip
    for count, chips in ((0, 1), (0, 512), (8, 8), (4, 4096)):
        cluster = cluster_for(chip=chip, chips_per_server=count, chips=chips, inside="", outside="", source="")
        assert cluster.chip.id == chip
        whole = "nvl72" in server.id or server.scale_up == "torus"  # a domain or slice, whatever part a row counts
        assert whole or cluster.chips_per_server == (count or min(server.chips, chips))
        assert cluster.out_byte_per_s >= 1e9


@pytest.mark.parametrize("chip", ACCELERATORS)
@pytest.mark.parametrize("model_name", ["ResNet-50", "BERT-large", "GPT-3 1.3B"])
def test_no_chip_is_refused_by_a_bare_word_and_none_beats_its_peak(chip: str, model_name: str) -> None:
    changes = {"chip": chip, "chip_memory_gb": "", "model": model_name, "precision": "", "num_chips": "8"}
    blank = dict.fromkeys(("tp", "pp", "dp", "global_batch", "seq_len", "software", "source", "intra_node_link"), "")
    row = FULL | blank | changes | {"metric": "samples_per_s", "micro_batch": "4"}
    if not {"fp32", "fp16", "bf16"} & set(hardware.chip(chip).peak_flop_per_s):
        with pytest.raises(Unsupported, match=f"^chip {chip} has no fp.* rate; it has .*$"):
            resolve(row)
        return
    if chip == "gc2" and model_name != "ResNet-50":
        with pytest.raises(Unsupported, match=r"^chip gc2 holds .* B; the parameters take .* B$"):
            resolve(row)
        return
    one = resolve(row)
    step = job_table([one]).step_s(Constants())[0]
    # Winograd's products are fewer than those counted, four times at best.
    assert utilisation_s(one) / (4.0 if one.workload.family == "convnet" else 1.0) * 0.9 < step < math.inf


def test_a_rack_is_one_domain_of_links() -> None:
    words = {"chips_per_server": 4, "inside": "NVLink5 (NVL72)", "source": "", "chip": "gb200"}
    whole = cluster_for(chips=144, outside="", **words)
    part = cluster_for(chips=256, outside="4x ConnectX-7 IB NDR 400Gb/s", **words)
    assert (whole.chips_per_server, part.chips_per_server) == (72, 64)
    # 400 Gbit/s a chip either way.
    assert whole.out_byte_per_s == pytest.approx(72 * 50e9)
    assert part.out_byte_per_s == pytest.approx(64 * 50e9)


def test_a_bridge_joins_two_cards_and_no_more() -> None:
    words = {"chips_per_server": 4, "chips": 4, "outside": "", "source": "", "chip": "quadro-rtx-8000"}
    bridged = cluster_for(inside="PCIe + NVLink bridges", **words)
    plain = cluster_for(inside="PCIe", **words)
    assert bridged.up_byte_per_s[2] > plain.up_byte_per_s[2]
    assert bridged.up_byte_per_s[3:] == plain.up_byte_per_s[3:]


def test_half_of_a_servers_torus_links_leave_a_square_host_of_two_dimensions() -> None:
    for host, per_link, leaving in (("tpu-v3", 100e9, 8), ("tpu-v4", 45e9, 16), ("tpu-v5e", 45e9, 12)):
        cluster = cluster_for(chip=host, chips_per_server=0, chips=256, inside="", outside="", source="")
        assert cluster.out_byte_per_s == pytest.approx(leaving * per_link)


@pytest.mark.parametrize(
    ("words", "gbit", "fabric"),
    [
        ("10GbE with TCP/IP", 10, "ethernet-tcp-10g"), ("100GbE with TCP/IP", 100, "ethernet-tcp-100g"),
        ("100GbIB with RDMA", 100, "infiniband-edr"), ("EFA 800/1600 Gb/s per node", 800, "efa"),
        ("4x Slingshot-11 200 Gb/s per node", 800, "slingshot"), ("", 800, "efa"),
    ],
)  # fmt: skip
def test_a_rows_words_name_its_network(words: str, gbit: float, fabric: str) -> None:
    cluster = cluster_for(chip="trainium-1", chips_per_server=16, chips=64, inside="", outside=words, source="")
    assert cluster.out_byte_per_s == pytest.approx(gbit * 1e9 / 8)
    assert cluster.out_fabric == fabric


@pytest.mark.parametrize(
    ("changes", "matmul"),
    [
        ({"chip": "RTX A6000", "software": "TensorFlow 2.4.1"}, "tf32"),
        ({"chip": "RTX A6000", "software": "TensorFlow 2.3.0"}, "fp32"),
        ({"chip": "RTX 3090", "software": "TensorFlow 2.4.1"}, "fp32"),
        ({"chip": "GTX 1080 Ti", "software": "TensorFlow 2.4.1", "precision": "fp16"}, "fp32"),
    ],
)
def test_a_precision_means_what_the_chip_and_release_make_of_it(changes: Row, matmul: str) -> None:
    row = {"chip_memory_gb": "", "source": "lambdal/lambda-tensorflow-benchmark", "precision": "fp32", "num_chips": "1"}
    blank = dict.fromkeys(("tp", "pp", "dp", "intra_node_link", "global_batch", "seq_len"), "")
    one = resolve(FULL | blank | row | {"model": "ResNet-50", "metric": "samples_per_s"} | changes)
    assert one.context.recipe.matmul == matmul
    assert one.assumed


def test_tensor_ranks_of_neuron_tables_are_cores() -> None:
    row = {"chip": "Trainium1", "chip_memory_gb": "", "tp": "8", "pp": "4", "num_chips": "512", "chips_per_node": "16"}
    one = job(**row, micro_batch="1", global_batch="1024", intra_node_link="")
    assert (one.parallelism.tp, one.parallelism.pp, one.parallelism.dp) == (4, 4, 32)


def test_fewer_sequences_than_chips_are_cut_into_pieces() -> None:
    row = {"tp": "", "pp": "", "cp": "", "dp": "", "micro_batch": "", "seq_len": "32768", "global_batch": "16"}
    one = job(**row)
    assert (one.parallelism.dp, one.parallelism.cp, one.parallelism.global_batch) == (16, 4, 16)
    assert any("context parallel over 4 chips" in words for words in one.assumed)
    # A stated layout stands.
    assert job(**row | {"cp": "1", "global_batch": "64"}).parallelism.cp == 1


def test_a_model_larger_than_the_tiles_is_a_pipeline_over_one_machine() -> None:
    row = {"chip": "Bow", "chip_memory_gb": "", "precision": "", "num_chips": "16", "chips_per_node": "4"}
    blank = dict.fromkeys(("tp", "pp", "dp", "cp", "micro_batch", "recompute", "intra_node_link"), "")
    text = job(**blank | row | {"model": "BERT-base", "seq_len": "128", "global_batch": "1024"})
    assert (text.parallelism.pp, text.parallelism.dp, text.parallelism.recompute) == (4, 4, "full")
    images = job(**blank | row | {"model": "ResNet-50", "seq_len": "", "metric": "samples_per_s"})
    held_byte = 2.0 * sum(layer.repeat * layer.saved_elements for layer in images.workload.layers)
    assert images.parallelism.micro_batch * held_byte <= hardware.chip("bow").memory_byte
    assert (images.parallelism.global_batch, images.parallelism.recompute) == (512, "full")
    # One chip holds this model, and its micro-batch leaves half of the tiles to parameters and their state.
    speech = job(**blank | row | {"model": "Conformer-medium", "seq_len": "", "metric": "samples_per_s"})
    held_byte = 2.0 * sum(layer.repeat * layer.saved_elements for layer in speech.workload.layers)
    assert speech.parallelism.pp == 1
    assert speech.parallelism.micro_batch * held_byte <= 0.5 * hardware.chip("bow").memory_byte


@pytest.mark.parametrize(
    ("changes", "stack_id"),
    [
        ({"source": "MLPerf Training v1", "chip": "TPU v4", "model": "VGG-16", "software": "TensorFlow"}, "mlperf-tf"),
        ({"source": "DAWNBench v1", "software": "TensorFlow", "chip": "TPU v2", "model": "VGG-16"}, "tf-tpu-2018"),
        ({"source": "aws-neuron/aws-neuron-sdk", "software": "AWS Neuron 2.14.0", "chip": "Trainium1"}, "neuronx"),
        ({"source": "aws-neuron/aws-neuron-sdk", "software": "AWS Neuron 2.16.0", "chip": "Trainium1"}, "neuronx-2.15"),
        (
            {"source": "AWS Neuron SDK", "software": "Neuron SDK 2.16.0", "chip": "Trainium1", "model": "ViT-Base"},
            "neuronx",
        ),
        (
            {
                "source": "jcjohnson/cnn-benchmarks", "software": "Torch7 nn (no cuDNN)", "model": "VGG-16",
                "chip": "Dual Xeon E5-2630 v3", "precision": "fp32",
            },
            "torch7-cpu",
        ),
    ],
)  # fmt: skip
def test_a_chip_and_a_release_decide_the_stack(changes: dict[str, str], stack_id: str) -> None:
    blank = dict.fromkeys(("tp", "pp", "cp", "dp", "chip_memory_gb", "seq_len", "intra_node_link"), "")
    row = {"num_chips": "4", "chips_per_node": "4", "global_batch": "256", "metric": "samples_per_s"}
    assert job(**blank | row | changes).context.stack.id == stack_id


def test_a_compiled_program_pads_every_image() -> None:
    blank = dict.fromkeys(("tp", "pp", "cp", "dp", "chip_memory_gb", "seq_len", "intra_node_link", "micro_batch"), "")
    row = {"model": "Mask R-CNN R50-FPN", "metric": "samples_per_s", "precision": "", "num_chips": "16"}
    row |= {"source": "MLPerf Training v0.7", "global_batch": "128"}
    padded, mean = (job(**blank | row | {"chip": chip}).workload for chip in ("TPU v4", "A100-SXM4-40GB"))
    assert padded.forward_flop > mean.forward_flop


def test_submissions_that_do_not_say_multiply_transformers_in_eight_bit() -> None:
    row = {"source": "mlcommons/training_results_v5.0", "precision": "", "year": "2025", "chip_memory_gb": ""}
    assert job(**row, chip="H200", intra_node_link="").context.recipe.matmul == "fp8"
    assert job(**row, chip="A100-SXM4-80GB").context.recipe.matmul == "fp16"


def test_cards_with_ports_of_their_own_do_not_use_the_hosts() -> None:
    words = {"chips_per_server": 4, "chips": 64, "inside": "", "source": "", "chip": "gaudi-1"}
    silent = cluster_for(outside="", **words)
    said = cluster_for(outside="2x Mellanox ConnectX-6, 100Gb/s Ethernet", **words)
    assert said.out_byte_per_s == silent.out_byte_per_s


def test_a_step_time_needs_a_batch() -> None:
    with pytest.raises(Unsupported, match="batch is not stated"):
        job(global_batch="", micro_batch="")
    assert job(global_batch="", micro_batch="", metric="tokens_per_s").metric_value(1.0) > 0


def network(**changes: str) -> RunJob:
    """A run of an image network on one chip or on several of one server."""
    row = {
        "model": "ResNet-50", "image_size": "224", "seq_len": "", "chip": "V100", "chip_memory_gb": "32",
        "num_chips": "1", "precision": "fp32", "global_batch": "32", "micro_batch": "32", "tp": "", "pp": "",
        "dp": "", "cp": "", "ep": "", "software": "", "optimizer": "", "year": "2020",
    }  # fmt: skip
    return job(**(row | changes))


def test_tables_that_time_two_passes_have_no_update() -> None:
    timed = network(source="dmikushin/cnn-benchmarks", software="Torch7, cuDNN 7.0.04")
    assert timed.context.optimizer.read_write_words_per_parameter == 0.0
    assert any("no update" in line for line in timed.assumed)
    assert network(source="a made table").context.optimizer.name == "momentum"
    stated = network(source="dmikushin/cnn-benchmarks", optimizer="adam")
    assert stated.context.optimizer.name == "adam"


LAMBDA_TF = {"source": "lambdal/lambda-tensorflow-benchmark", "software": "TensorFlow 2.2.0"}


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        (LAMBDA_TF, "lambda-tf"),
        (LAMBDA_TF | {"num_chips": "8", "global_batch": "256"}, "lambda-tf"),
        (LAMBDA_TF | {"precision": "fp16_mixed"}, "lambda-tf"),
        (LAMBDA_TF | {"precision": "fp16_mixed", "num_chips": "8", "global_batch": "256"}, "lambda-tf-joint"),
        (LAMBDA_TF | {"precision": "fp16_mixed", "num_chips": "16", "global_batch": "512"}, "lambda-tf-joint"),
        (
            LAMBDA_TF | {"precision": "fp16_mixed", "num_chips": "8", "global_batch": "256", "model": "VGG-16"},
            "lambda-tf",
        ),
        (
            LAMBDA_TF | {"software": "TensorFlow 2.2.0 +XLA", "precision": "fp16_mixed", "num_chips": "8",
                         "global_batch": "256"},
            "lambda-tf-xla",
        ),
        (LAMBDA_TF | {"software": "TensorFlow 2.4.1"}, "lambda-tf-cudnn8"),
        (LAMBDA_TF | {"software": "TensorFlow", "chip": "Radeon Pro VII", "chip_memory_gb": "16"}, "lambda-tf-rocm"),
        ({"source": "tensorpack/benchmarks", "software": "TensorFlow 1.13.1; Keras multi_gpu_model"}, "keras-2019"),
        ({"source": "tensorpack/benchmarks", "software": "TensorFlow 1.13.1; tensorpack"}, "tensorpack-2019"),
        ({"source": "jcjohnson/cnn-benchmarks", "software": "Torch7, cuDNN 4.0.07"}, "torch7-2016"),
        ({"source": "jcjohnson/cnn-benchmarks", "software": "Torch7, cuDNN 5.0.05"}, "torch7-2017"),
        ({"source": "jcjohnson/cnn-benchmarks", "software": "Torch7 nn (no cuDNN)"}, "torch7-native"),
    ],
)  # fmt: skip
def test_a_sources_programs_are_told_apart(changes: Row, name: str) -> None:
    assert network(**changes).context.stack.id == name


def test_a_pipeline_whose_program_makes_one_micro_batch_runs_the_whole_batch_at_once() -> None:
    changes = {"num_chips": "4", "tp": "1", "pp": "4", "dp": "1", "micro_batch": "", "global_batch": "16"}
    assert job(source="sitar-lab/NeuSight", **changes).parallelism.micro_batch == 16
    assert job(source="a made table", **changes).parallelism.micro_batch < 16


def test_replicas_of_one_process_lose_as_much_for_every_doubling() -> None:
    changes = LAMBDA_TF | {"precision": "fp16_mixed"}

    def step(chips: int, drag: float, joint: bool = True) -> float:
        run = network(**(changes | {"num_chips": str(chips), "global_batch": str(32 * chips)}))
        context = replace(run.context, stack=replace(run.context.stack, id="made", joint_replicas=joint))
        constants = Constants(values={"joint_drag": drag, "replica_spread": 0.001})
        return float(job_table([replace(run, context=context)]).step_s(constants)[0])

    alone = step(1, 0.01)
    assert step(1, 0.5) == alone
    lost = [step(chips, 0.5) - step(chips, 0.01) for chips in (2, 4, 8)]
    assert 0.4 * alone < lost[0] < 0.6 * alone
    assert lost[0] < lost[1] < lost[2]
    assert step(8, 0.5, joint=False) == step(8, 0.01, joint=False)


def test_replicas_of_images_wait_for_the_slowest_and_those_of_a_language_model_do_not() -> None:
    def step(spread: float, **changes: str) -> float:
        run = network(**changes)
        return float(job_table([run]).step_s(Constants(values={"replica_spread": spread}))[0])

    one = LAMBDA_TF | {"num_chips": "1", "global_batch": "32"}
    assert step(0.2, **one) == step(0.001, **one)
    eight = LAMBDA_TF | {"num_chips": "8", "global_batch": "256"}
    # A standard deviation of a tenth: eight replicas wait 1.43 of it.
    assert step(0.1, **eight) / step(0.001, **eight) == pytest.approx(1.14, abs=0.03)
    words = [job_table([job()]).step_s(Constants(values={"replica_spread": s}))[0] for s in (0.2, 0.001)]
    assert words[0] == words[1]


def test_a_batch_that_is_that_of_all_chips_is_not_multiplied_by_them() -> None:
    row = {
        "source": "NVIDIA/DeepLearningExamples", "software": "PyTorch", "model": "DLRM", "num_chips": "8", "tp": "",
        "pp": "", "dp": "", "seq_len": "", "recompute": "", "sharding": "", "metric": "samples_per_s",
    }  # fmt: skip
    multiplied = job(**row, global_batch="512000", micro_batch="64000")
    divided = job(**row, global_batch="64000", micro_batch="8000")
    assert multiplied.parallelism == divided.parallelism
    assert multiplied.value_per_rate == divided.value_per_rate == 64_000.0
    assert any("of all chips" in line for line in multiplied.assumed)


def test_a_stack_that_offloads_updates_on_the_host_where_a_row_shards_everything() -> None:
    row = {"source": "stas00/ml-engineering", "software": "DeepSpeed 0.19", "tp": "1", "pp": "1", "dp": "64"}
    assert job(**row, sharding="zero3").parallelism.offload == "optimizer"
    assert job(**row, sharding="zero2").parallelism.offload == "none"
    assert job(sharding="zero3").parallelism.offload == "none"


def test_a_short_name_means_the_chip_that_its_source_had() -> None:
    row = {"chip": "A6000", "chip_memory_gb": "", "intra_node_link": "", "chips_per_node": "", "global_batch": "4"}
    row |= {"num_chips": "1", "tp": "1", "pp": "1", "dp": "1"}
    assert job(**row).context.cluster.chip.id == "rtx-a6000"
    one = job(**row, source="pytorch/torchtune", software="torchtune")
    assert one.context.cluster.chip.id == "rtx-6000-ada"
    assert any("A6000" in line for line in one.assumed)
    laptop = row | {"chip": "RTX 3080 Laptop GPU", "chip_memory_gb": "16"}
    assert job(**laptop).context.cluster.chip.id == "rtx-3080-laptop"
    thin = job(**laptop, source="lambdal/deeplearning-benchmark")
    assert thin.context.cluster.chip.id == "rtx-3080-laptop-max-q"


def test_fused_attention_of_long_sequences_stays_off_chips_that_have_none() -> None:
    row = {"source": "deepspeedai/Megatron-DeepSpeed", "software": "Megatron-DeepSpeed", "precision": "fp16_mixed"}
    assert job(**row).context.stack.attention == "fused"
    assert job(**row, chip="V100", chip_memory_gb="32").context.stack.attention == "unfused"


def test_words_on_the_exchange_change_the_stack() -> None:
    after = job(allreduce_algorithm="BSP-A2A: ring all-reduce after backward (no overlap)").context.stack
    under = job(allreduce_algorithm="WFBP-A2A: wait-free backpropagation").context.stack
    assert after.gradient_exchange == "after"
    assert (under.gradient_exchange, under.bucket_byte) == ("backward", 0.0)


# Units.


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        ("step_time_s", 2.0),
        ("samples_per_s", 512 / 2.0),
        ("tokens_per_s", 512 * 2048 / 2.0),
        ("tokens_per_s_per_chip", 512 * 2048 / 2.0 / 64),
    ],
)
def test_a_step_of_two_seconds_is_this_much(metric: str, value: float) -> None:
    assert job(metric=metric).metric_value(2.0) == pytest.approx(value)


def test_rates_of_arithmetic_count_three_forward_passes_of_the_batch() -> None:
    flop = 3.0 * job().workload.forward_flop * 512
    assert job(metric="pflops_total").metric_value(2.0) == pytest.approx(flop / 2.0 / 1e15)
    assert job(metric="tflops_per_chip").metric_value(2.0) == pytest.approx(flop / 2.0 / 64 / 1e12)
    # A100: 312 TFLOP/s in bf16.
    assert job(metric="mfu").metric_value(2.0) == pytest.approx(flop / 2.0 / 64 / 312e12)


def test_conventions_count_what_they_say() -> None:
    workload = transformer(name="g", layers=2, hidden=64, heads=4, vocab=1000, seq_len=128)
    attention = 2 * 4.0 * 128 * 128 * 64
    blocks = 2 * workload.layers[1].forward_flop
    counted = {c: flop_per_sample(workload, c, recompute="full") for c in CONVENTIONS}
    assert counted["model"] == 3.0 * workload.forward_flop
    assert counted["causal"] == counted["model"] - 1.5 * attention
    assert counted["hardware"] == counted["model"] + blocks
    assert counted["executed"] == counted["hardware"]
    assert flop_per_sample(workload, "executed", recompute="none") == counted["model"]
    with pytest.raises(ValueError, match="convention is 'mine'; legal: model, causal, hardware, executed"):
        flop_per_sample(workload, "mine", recompute="none")


@pytest.mark.parametrize(
    ("source", "software", "tflops"),
    [
        ("arXiv:2104.04473", "Megatron-LM", "hardware"), ("NVIDIA/Megatron-LM README", "Megatron-LM v3", "hardware"),
        ("NVIDIA/Megatron-LM README", "Megatron-Core 0.9", "model"), ("InternLM/InternEvo", "", "executed"),
        ("anything else", "", "model"),
    ],
)  # fmt: skip
def test_a_sources_convention_is_found(source: str, software: str, tflops: str) -> None:
    assert convention_of(source, software).tflops == tflops


@given(step_s=st.floats(1e-6, 1e6), metric=st.sampled_from(METRICS))
def test_a_metric_and_its_step_time_are_one_to_one(step_s: float, metric: str) -> None:
    one = job(metric=metric)
    value = one.metric_value(step_s)
    assert one.step_s(value) == pytest.approx(step_s)


def test_a_step_becomes_measured_seconds_whatever_its_metric(tmp_path: Path) -> None:
    rows = [
        FULL | {"row": str(i), "run_id": f"r{i}", "metric": metric, "value": repr(job(metric=metric).metric_value(2.0))}
        for i, metric in enumerate(METRICS)
    ]
    table = read_table(write(tmp_path / "runs.csv", rows))
    assert list(table.measured_s.values()) == pytest.approx([2.0] * len(METRICS))
    assert table.primary == tuple(range(len(METRICS)))


def test_a_runs_first_metric_counts_and_flagged_rows_do_not(tmp_path: Path) -> None:
    rows = [
        FULL | {"metric": "mfu", "value": "0.4", "flag": ""},
        FULL | {"metric": "tokens_per_s", "value": "1e6", "flag": ""},
        FULL | {"run_id": "made-2", "flag": "typo"}, FULL | {"run_id": "made-3", "value": "", "flag": ""},
        FULL | {"run_id": "made-4", "value": "nan", "flag": ""},
    ]  # fmt: skip
    assert read_table(write(tmp_path / "runs.csv", rows)).primary == (1,)


# Rows that are strange.


@pytest.mark.parametrize(
    "changes",
    [
        {"num_chips": "minus one"}, {"num_chips": "inf"}, {"global_batch": "nan"}, {"seq_len": "-5"}, {"dp": "x"},
        {"sharding": "zero9"}, {"recompute": "sometimes"}, {"schedule": "zigzag"}, {"virtual_stages": "1e9"},
        {"micro_batch": "7"}, {"tp": "64", "pp": "64"}, {"optimizer": "?"}, {"software": ""}, {"source": ""},
        {"era": "?"},
    ],
)  # fmt: skip
def test_a_strange_row_is_predicted_or_refused_with_a_reason(changes: Row) -> None:
    try:
        step = job_table([job(**changes)]).step_s(Constants())[0]
    except Unsupported as reason:
        step = float(len(str(reason)))
    assert 0.0 < step < math.inf


@pytest.mark.parametrize(
    "changes",
    [
        {"chip_memory_gb": "eighty"},
        {"year": "last"},
        {"chips_per_node": "1e9"},
        {"model": "Inception v3", "image_size": "1"},
    ],
)
def test_a_row_that_cannot_be_read_costs_no_other_row_its_answer(tmp_path: Path, changes: Row) -> None:
    blank = dict.fromkeys(("image_size", "chip_memory_gb"), "")
    got = lines(write(tmp_path / "runs.csv", [FULL | {"image_size": ""}, FULL | blank | changes]))
    assert [line["status"] for line in got] == ["predicted", "unsupported"]
    assert re.search(f"{list(changes)[-1]} is|the row cannot be read: .* ", got[1]["reason"])


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    missing, empty, other, binary = (tmp_path / name for name in ("missing", "empty", "other", "binary"))
    empty.write_text("", "utf-8")
    other.write_text("a,b\n1,2\n", "utf-8")
    binary.write_bytes(b"\xff\xfe\x00")
    for path, message in (
        (missing, "No such file"), (empty, "no rows"), (other, "columns missing: source, model"), (binary, "not a CSV"),
    ):  # fmt: skip
        with pytest.raises(TableError, match=re.escape(str(path)) + f".*{message}"):
            read_table(path)


# Folds and cross-fitting.


def test_folds_never_move() -> None:
    groups = [("a", "b", "c"), ("arXiv:2104.04473", "GPT-3 175B", "A100"), ("x", "y", "V100")]
    assert [fold_of(g) for g in groups] == [fold_of(g) for g in reversed(groups)][::-1]
    # SHA-256 of "a|b|c" as any other program gives it: no release, machine or hash seed changes it.
    assert fold_of(groups[0]) == 0xA52DD81BFD5E4E66D96B9F598382F6CBF8C5C3897654E6AE9055E03620FCF38E % FOLDS
    assert {fold_of((str(i), "m", "c")) for i in range(500)} == set(range(FOLDS))


@pytest.fixture(scope="module")
def planted(shipped: Table) -> tuple[Table, Constants]:
    """Real configurations of one stack, "measured" by the model itself with constants other than the priors."""
    truth = Constants(
        values={
            "chip:ampere:matrix_fraction": 0.60, "stack:megatron-deepspeed:compute_scale": 1.25, "call_s": 1e-5,
            "stack:megatron-deepspeed:exchange_scale": 1.6, "fabric:nvlink3-switch:wire_scale": 1.6,
        }
    )  # fmt: skip
    chosen = [i for i in shipped.primary if shipped.jobs[i].context.stack.id == "megatron-deepspeed"]
    jobs = [shipped.jobs[i] for i in chosen]
    step = job_table(jobs).step_s(truth)
    table = replace(
        shipped,
        jobs=dict(zip(chosen, jobs, strict=True)),
        primary=tuple(chosen),
        measured_s=dict(zip(chosen, step.tolist(), strict=True)),
    )
    return table, truth


def test_a_fit_finds_planted_step_times_and_the_constants_behind_them(planted: tuple[Table, Constants]) -> None:
    table, truth = planted
    jobs = [table.jobs[i] for i in table.primary]
    measured = np.array([table.measured_s[i] for i in table.primary])
    lowered = job_table(jobs)
    result = fit(lowered.step_s, measured, owners_of([j.context for j in jobs]), [j.group for j in jobs])
    prior_error = np.abs(np.log(lowered.step_s(Constants()) / measured))
    left = np.abs(np.log(lowered.step_s(result.constants) / measured))
    assert np.mean(prior_error) > 0.3
    assert np.mean(left) < 0.03
    assert result.residuals == pytest.approx(np.log(lowered.step_s(result.constants) / measured), abs=1e-4)

    # A slower chip, its clock and a slower stack look alike: only what they come to together can be found.
    chips = {j.context.cluster.chip.id for j in jobs}

    def rate(constants: Constants) -> float:
        clock = np.mean([constants.get("clock_scale", chip) for chip in chips])
        stack = constants.get("compute_scale", "megatron-deepspeed")
        return float(constants.get("matrix_fraction", "ampere") * clock / stack)

    assert rate(result.constants) == pytest.approx(rate(truth), rel=0.1)


def test_a_fit_keeps_every_constant_in_its_range(planted: tuple[Table, Constants]) -> None:
    table, _ = planted
    jobs = [table.jobs[i] for i in table.primary]
    # Twenty times as slow as anything in range could be.
    measured = 20.0 * np.array([table.measured_s[i] for i in table.primary])
    lowered = job_table(jobs)
    fitted = fit(lowered.step_s, measured, owners_of([j.context for j in jobs]), [j.group for j in jobs], max_steps=6)
    for key, value in fitted.constants.values.items():
        spec = SPECS[key.rpartition(":")[2]]
        assert spec.low * 0.999 <= value <= spec.high * 1.001, key


def test_one_run_far_off_hardly_moves_a_fit() -> None:
    class Made:
        """Step times 1 / matrix_fraction of 40 runs on one chip."""

        def step_s(self, constants: Constants) -> np.ndarray:
            return np.full(40, 1.0 / constants.get("matrix_fraction", "volta"))

    volta = job(chip="V100", chip_memory_gb="32", precision="fp16", intra_node_link="NVLink2").context
    owners = owners_of([volta] * 40)
    measured = np.full(40, 1.0 / 0.7)
    spoilt = np.where(np.arange(40) == 0, 100.0, measured)
    clean, odd = (
        fit(Made().step_s, step_s, owners, list(range(40))).constants.get("matrix_fraction", "volta")
        for step_s in (measured, spoilt)
    )
    assert clean == pytest.approx(0.7, rel=0.01)
    assert odd == pytest.approx(clean, rel=0.02)
    assert OUTLIER < 1.0


def test_a_held_out_group_is_never_seen(planted: tuple[Table, Constants], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "FOLDS", 3)
    table, _ = planted
    poisoned_group = table.jobs[table.primary[0]].group
    mine = [position for position, i in enumerate(table.primary) if table.jobs[i].group == poisoned_group]
    poisoned = replace(
        table,
        measured_s={
            i: value * (3.0 if table.jobs[i].group == poisoned_group else 1.0) for i, value in table.measured_s.items()
        },
    )
    clean, spoilt = cross_fit(table), cross_fit(poisoned)
    assert np.array_equal(clean.step_s[mine], spoilt.step_s[mine])
    assert np.array_equal(clean.baseline_s[mine], spoilt.baseline_s[mine])
    others = [p for p in range(len(table.primary)) if p not in mine]
    assert not np.array_equal(clean.step_s[others], spoilt.step_s[others])
    # A planted law is found again from the other groups, better than one utilisation can follow it.
    assert np.mean(np.abs(clean.error)) < 0.5 * np.mean(np.abs(clean.baseline_error))


def test_a_table_too_small_to_hold_out_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "runs.csv", [FULL])
    with pytest.raises(TableError, match="needs at least 20 runs with a measured value; the table has 1"):
        predict_runs(path, held_out=True)


def test_the_baseline_is_one_utilisation_per_kind_chip_and_precision_without_the_own_fold() -> None:
    one = job()
    ideal = utilisation_s(one)
    assert ideal == pytest.approx(3.0 * one.workload.forward_flop * 512 / (64 * 312e12))
    assert utilisation_s(job(recompute="full")) == pytest.approx(ideal * 4 / 3)
    # Folds 0 and 1 run at half and a quarter of the peak: each is predicted at the other's utilisation.
    got = baseline_step_s([one, one], np.array([2.0, 4.0]) * ideal, np.array([0, 1]))
    assert got == pytest.approx(np.array([4.0, 2.0]) * ideal)


@pytest.mark.parametrize(
    ("values", "weights", "level", "expected"),
    [([3.0, 1.0, 2.0], [1.0, 1.0, 1.0], 0.5, 2.0), ([1.0, 2.0], [3.0, 1.0], 0.5, 1.0),
     ([1.0, 2.0], [1.0, 9.0], 0.2, 2.0), ([5.0], [0.1], 0.9, 5.0)],
)  # fmt: skip
def test_a_weighted_quantile_has_its_share_of_the_weight_below(
    values: list[float], weights: list[float], level: float, expected: float
) -> None:
    assert weighted_quantile(np.array(values), np.array(weights), level) == expected


# The record.


def test_a_record_sums_up_cross_fitted_errors(planted: tuple[Table, Constants]) -> None:
    table, _ = planted
    count = len(table.primary)
    measured = np.array([table.measured_s[i] for i in table.primary])
    factor = np.where(np.arange(count) % 2 == 0, 1.1, 1 / 1.1)
    crossed = runs.CrossFit(
        index=table.primary, step_s=measured * factor, baseline_s=measured * 2.0, measured_s=measured
    )
    record = record_of(table, crossed)
    entry = record.families["llm"]
    assert entry.runs == count
    assert entry.macro == pytest.approx(math.log(1.1))
    assert entry.median == pytest.approx(math.log(1.1))
    assert entry.baseline_macro == pytest.approx(math.log(2.0))
    factors = record.factors("llm", "megatron-deepspeed")
    assert factors == pytest.approx((1 / 1.1, 1.1))
    ampere = [j for i in table.primary if (j := table.jobs[i]).context.cluster.chip.architecture == "ampere"]
    assert record.largest["ampere"] == max(j.parallelism.chips for j in ampere)
    assert extrapolations(table.jobs[table.primary[0]], record) == ()
    assert "no checked llm run" in extrapolations(job(), record)[0]


@pytest.fixture(scope="module")
def summary() -> simulator.validation.ValidationSummary:
    return validate_runs()


def test_shipped_constants_keep_the_error_they_had(summary: simulator.validation.ValidationSummary) -> None:
    # Mean of |ln(predicted / measured)| over (source, model, chip) groups of the runs that ship, with constants fitted
    # on all runs: 0.156 over the 576 groups that ship since chips up to GB300 are among them (0.136 over 275 before),
    # median over runs 0.086. Only a lower bound needs no comment.
    overall = summary.by_era[0]
    assert overall.name == "all"
    assert overall.groups >= 570
    assert overall.macro <= 0.165
    assert overall.median <= 0.095
    by_family = {group.name: group.macro for group in summary.by_family}
    assert set(by_family) == {"llm", "bert", "cnn"}


def test_all_shipped_runs_are_predicted(summary: simulator.validation.ValidationSummary) -> None:
    assert summary.predicted == summary.rows >= 1500
    assert summary.refusals == ()
    assert 0.65 <= (summary.by_era[0].held or 0.0) <= 0.97


def test_a_summary_prints_coverage_errors_and_refusals(
    summary: simulator.validation.ValidationSummary, tmp_path: Path
) -> None:
    text = summary.text()
    assert text.startswith(f"{summary.rows} of {summary.rows} rows predicted (100.0%), with shipped constants")
    assert f"; {summary.constants} constants" in text
    assert "-- by kind of run" in text
    assert f"{summary.by_era[0].macro:.1%}" in text
    written = tmp_path / "out.csv"
    refused = validate_runs(
        write(tmp_path / "runs.csv", [FULL | {"era": ""}, FULL | {"run_id": "2", "ep": "3"}]), written
    )
    assert refused.text().endswith(f"predictions written to {written}\n")
    assert "      1  Parallelism: ep x etp = 3 x 1 = 3 does not divide" in refused.text()
    assert refused.as_json()["coverage"] == 0.5
    assert len(written.read_text("utf-8").splitlines()) == 3


def test_a_table_without_measured_values_has_nothing_to_compare_with(tmp_path: Path) -> None:
    empty = validate_runs(write(tmp_path / "runs.csv", [FULL | {"value": ""}]))
    assert "no row has a measured value" in empty.text()
    assert empty.predicted == 1


def test_an_output_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write(tmp_path / "runs.csv", [FULL])
    target = tmp_path / "out.csv"
    target.mkdir()
    with pytest.raises(OSError, match=r"out\.csv"):
        validate_runs(path, target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out.csv", "runs.csv"]


def test_shipped_constants_are_the_default() -> None:
    assert load().constants == load_constants()
    assert key_of("call_s") in load().constants.values
    assert model("ResNet-50").family == "convnet"
