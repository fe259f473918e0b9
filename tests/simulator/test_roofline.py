"""A layer's place under the roof follows from its work, its traffic and the chip, and never lies above the peak."""

import pytest

import hwmodels.catalog as hardware
from simulator.constants import Constants
from simulator.report.roofline_text import read_roofline_question, roofline_mapping, roofline_text
from simulator.roofline import BOUNDS, PARTS, layer_roofline
from simulator.stack import stack
from workloads.catalog import model
from workloads.precision import recipe


def roofs(name, chip="a100-sxm4-80gb", micro_batch=8, precision="bf16_mixed", runs="megatron-lm-2022", **cut):
    return layer_roofline(
        model(name), chip=hardware.chip(chip), stack=stack(runs), recipe=recipe(precision), micro_batch=micro_batch,
        constants=Constants(), **cut,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["bert-large", "gpt3-175b", "resnet50"])
def test_no_layer_is_faster_than_its_roof(name):
    for layer in roofs(name):
        assert layer.flop / layer.time_s <= layer.roof_flop_per_s * (1 + 1e-9)
        assert layer.roof_flop_per_s <= layer.peak_flop_per_s
        assert layer.bound in BOUNDS


def test_work_of_a_transformer_block_is_three_times_its_forward_work():
    # Unfused attention of a model that sees both sides: every product has two in the backward pass.
    block = next(layer for layer in model("bert-large").layers if layer.kind == "block")
    found = next(layer for layer in roofs("bert-large", micro_batch=4) if layer.layer == block.name)
    assert found.flop == pytest.approx(3 * 4 * block.forward_flop)


def test_tensor_parallelism_divides_the_work_of_a_block():
    whole, half = roofs("gpt3-175b", micro_batch=1), roofs("gpt3-175b", micro_batch=1, tp=2, sequence_parallel=True)
    pairs = [(a, b) for a, b in zip(whole, half, strict=True) if a.kind == "block"]
    assert pairs
    for one, two in pairs:
        assert two.flop == pytest.approx(one.flop / 2)


def test_more_samples_at_a_time_raise_the_intensity_and_the_share_of_the_peak():
    one, many = roofs("bert-large", micro_batch=1)[1], roofs("bert-large", micro_batch=32)[1]
    assert many.intensity > one.intensity
    assert many.share_of_peak > one.share_of_peak


def test_a_table_look_up_is_bound_by_memory_and_counts_no_work():
    embedding = roofs("bert-large")[0]
    assert (embedding.flop, embedding.intensity, embedding.share_of_peak, embedding.bound) == (0.0, 0.0, 0.0, "memory")


def test_a_chip_without_the_precision_is_refused():
    with pytest.raises(ValueError, match="no rate for precision 'bf16'"):
        roofs("bert-large", chip="v100-sxm2-16gb")


@pytest.mark.parametrize(
    ("name", "chip", "precision", "runs"),
    [
        ("bert-large", "a100-sxm4-80gb", "bf16_mixed", "megatron-lm-2022"),
        ("resnet50", "p100-sxm2", "fp32", "tf1-horovod"),
        ("resnet50", "tpu-v3", "bf16_mixed", "mlperf-tf"),
        ("gpt3-175b", "gc200", "fp16_mixed", "poplar"),
        ("resnet50", "xeon-phi-7250", "fp32", "tf1-horovod"),
        ("bert-large", "wse-2", "fp16_mixed", "megatron-lm-2022"),
    ],
)
def test_parts_of_every_kind_of_chip_add_up_to_the_layers_time(name, chip, precision, runs):
    for layer in roofs(name, chip=chip, precision=precision, runs=runs, micro_batch=2):
        assert set(layer.parts_s) == set(PARTS)
        assert sum(layer.parts_s.values()) == pytest.approx(layer.time_s)
        assert all(part >= -1e-12 for key, part in layer.parts_s.items() if key not in ("algorithm", "rate"))
        machine = hardware.chip(chip)
        assert 0.0 < layer.joule <= machine.tdp_w * layer.time_s * (1 + 1e-9)


def test_a_chip_with_measured_kernels_shows_them_and_one_without_says_so():
    flags = dict.fromkeys(("stack", "precision", "micro_batch", "seq_len", "image_size"))
    known = roofline_text(read_roofline_question({**flags, "model": "resnet50", "chip": "p100-pcie-16gb"}))
    assert "measured in fp32" in known
    assert "neusight" in known
    unknown = roofline_text(read_roofline_question({**flags, "model": "resnet50", "chip": "rtx-4090"}))
    assert "rtx-4090: 0 measured kernels" in unknown
    assert "provisional" in unknown
    found = roofline_mapping(read_roofline_question({**flags, "model": "resnet50", "chip": "p100-pcie-16gb"}))
    assert found["measured_points"]
    assert {p["kernel"] for p in found["measured_points"]} >= {"gemm", "conv", "vector"}
    assert all(0 < g["median_of_roof"] <= g["best_of_roof"] for g in found["measured"])
