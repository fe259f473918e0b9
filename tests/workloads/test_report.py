"""The report of layers: sums are the network's own, backward work is what the simulator lowers."""

import numpy as np
import pytest

import hwmodels.catalog as hardware
from simulator.partition import lower_ops
from simulator.priced_rows import Shapes
from simulator.stack import stack
from workloads.catalog import model
from workloads.finetuning import frozen, lora, trainable_parameters
from workloads.precision import recipe
from workloads.report import backward_flop, layer_rows, op_rows, total_row

NAMES = (
    "resnet50",
    "vgg16",
    "GPT3-1.3B",
    "Llama-3-8B",
    "BERT-Large",
    "Mixtral-8x7B",
    "DeepSeek-V3-671B",
    "DLRM",
    "unet",
    "gnmt",
)


def known(names):
    found = []
    for name in names:
        try:
            found.append(model(name))
        except LookupError:
            continue
    assert len(found) >= 7
    return found


@pytest.mark.parametrize("workload", known(NAMES), ids=lambda w: w.name)
def test_sums_are_those_of_the_network(workload):
    total = total_row(workload)
    assert total.parameters == workload.parameters
    assert total.trained == trainable_parameters(workload)
    assert total.forward_flop == workload.forward_flop
    assert total.activation_byte == pytest.approx(2 * sum(x.repeat * x.saved_elements for x in workload.layers))
    assert total.score_byte == pytest.approx(2 * sum(x.repeat * x.score_elements for x in workload.layers))


@pytest.mark.parametrize("workload", known(NAMES), ids=lambda w: w.name)
def test_ops_of_a_layer_add_up_to_it(workload):
    for layer, row in zip(workload.layers, layer_rows(workload), strict=True):
        ops = op_rows(layer)
        for field in (
            "parameters",
            "trained",
            "forward_flop",
            "backward_flop",
            "activation_byte",
            "score_byte",
            "moved_byte",
        ):
            assert sum(getattr(op, field) for op in ops) == pytest.approx(getattr(row, field)), field


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "GPT3-1.3B", "Llama-3-8B", "BERT-Large"])
@pytest.mark.parametrize("change", [None, "lora", "frozen"])
def test_forward_and_backward_work_is_what_the_simulator_lowers(name, change):
    """Attention that writes its scores is lowered as plain products, which leave nothing to a kernel's own count."""
    workload = model(name)
    if change == "lora" and workload.sample == "sequence":
        workload = lora(workload, rank=8)
    elif change == "frozen":
        workload = frozen(workload, trained=(workload.layers[-1].name,))
    table = lower_ops(
        workload, chip=hardware.chip("a100-sxm4-80gb"), stack=stack("megatron-lm-2021"), recipe=recipe("fp16_mixed"),
        shapes=Shapes.one(micro_batch=1, tp=1, cp=1, sequence_parallel=False),
    )  # fmt: skip
    replayed = np.array([row.repeat for row in layer_rows(workload)])
    phases = {word: index for index, word in enumerate(("forward", "backward", "replay", "weights"))}
    kept = table.phase != _replay()
    lowered = np.bincount(table.block[kept], table.flop[kept], len(replayed))
    expected = [row.forward_flop + row.backward_flop for row in layer_rows(workload)]
    assert lowered == pytest.approx(expected, rel=1e-9), phases


def _replay():
    from simulator.kernels.optable import REPLAY

    return REPLAY


def test_a_layer_that_is_trained_costs_three_times_its_forward_pass_in_all():
    block = model("Llama-3-8B").layers[1]
    products = [op for op in block.ops if op.kind == "gemm"]
    assert all(backward_flop(op) == 2 * op.forward_flop for op in products)
    frozen_ops = frozen(model("Llama-3-8B")).layers[1].ops
    assert all(backward_flop(op) == op.forward_flop for op in frozen_ops if op.kind == "gemm")
    assert all(backward_flop(op) == 2 * op.forward_flop for op in frozen_ops if op.kind == "attention")


def test_ratios_are_those_of_their_parts_and_nothing_divides_by_zero():
    for row in (*layer_rows(model("resnet50")), total_row(model("resnet50"))):
        assert row.intensity == row.forward_flop / row.moved_byte
        assert row.flop_per_gradient_byte == (row.forward_flop + row.backward_flop) / (2 * row.trained)
    nothing = layer_rows(frozen(model("Llama-3-8B")))
    assert all(row.flop_per_gradient_byte == 0 for row in nothing)


def test_dense_layers_suit_data_parallelism_worse_than_convolutions():
    rows = {row.name: row for row in layer_rows(model("vgg16"))}
    ratios = [row.flop_per_gradient_byte for row in rows.values() if row.trained]
    assert ratios[0] > 100 * ratios[-1]
