"""PyTorch as an oracle: families of networks written whole in `torch_zoo.py` against what ships and what is imported.

Work, parameters and kept tensors are counted three ways: by the network that ships, by the importer, and by PyTorch.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import hwmodels.catalog as hardware
from simulator.constants import Constants
from simulator.kernels.optable import BACKWARD, FORWARD, REPLAY, WEIGHTS
from simulator.partition import lower_ops
from simulator.priced_rows import ATTENTION_BACKWARD, Shapes
from simulator.roofline import layer_roofline
from simulator.stack import stack
from workloads.catalog import model
from workloads.convnet import resnet50, vgg16
from workloads.densenet import densenet
from workloads.encoder_decoder import t5
from workloads.importers.torch_export import workload_from_module
from workloads.mixture import mixture
from workloads.op import Op
from workloads.precision import recipe
from workloads.recurrent import language_model
from workloads.segmentation import unet_simplified
from workloads.transformer import bert, transformer
from workloads.vision_transformer import vision_transformer
from workloads.volumes import unet_3d_kits19
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")

SAMPLES = 2
UNFUSED, FUSED = "megatron-lm-2021", "megatron-core-2024"

SHIPPED: dict[str, Callable[[], Workload]] = {
    "resnet50": resnet50,
    "vgg16": vgg16,
    "densenet121": lambda: densenet(depth=121),
    "unet": lambda: unet_simplified(image_size=64, convolutions=2, base_channels=16, levels=4),
    "unet-3d": lambda: unet_3d_kits19(image_size=64),
    "vit-b-16": vision_transformer,
    "bert-large": lambda: bert(name="bert-large", layers=24, hidden=1024, heads=16),
    "gpt-2": lambda: transformer(name="gpt-2", layers=6, hidden=256, heads=8, vocab=1000, seq_len=128),
    "llama": lambda: transformer(
        name="llama", layers=5, hidden=256, heads=8, kv_heads=2, ffn=704, vocab=1000, seq_len=96, activation="swiglu",
        norm="rmsnorm", positions="rotary", biases=False, dropout=False, tied_embeddings=False,
    ),
    "mixtral": lambda: mixture(
        layers=3, hidden=128, heads=8, kv_heads=2, vocab=500, seq_len=64, experts=8, top_k=2, expert_ffn=192
    ),
    "t5": lambda: t5(
        layers=3, hidden=128, heads=4, head_dim=32, ffn=256, vocab=600, seq_len=48, target_len=20
    ),
    "lstm": lambda: language_model(cell="lstm", layers=3, hidden=128, width=96, vocab=500),
    "gru": lambda: language_model(cell="gru", layers=3, hidden=128, width=96, vocab=500),
}  # fmt: skip
NAMES = list(SHIPPED)


def load_zoo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("torch_zoo", Path(__file__).with_name("torch_zoo.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["torch_zoo"] = module
    spec.loader.exec_module(module)
    return module


zoo = load_zoo()


@cache
def imported(name: str) -> Workload:
    network, inputs = zoo.on_meta(name, SAMPLES, loss=True)
    return workload_from_module(network, inputs, name=name, samples=SAMPLES)


@cache
def pytorchs(name: str) -> tuple[int, int, int]:
    """(forward FLOPs, forward and backward FLOPs, parameters) as PyTorch counts, for a sample."""
    from torch.utils.flop_counter import FlopCounterMode

    network, inputs = zoo.on_meta(name, SAMPLES, loss=True)
    counter = FlopCounterMode(display=False)
    with counter:
        loss = network(*inputs)
        forward = counter.get_total_flops()
        loss.backward()
    numbers = sum(p.numel() for p in network.parameters())
    return forward // SAMPLES, counter.get_total_flops() // SAMPLES, numbers


def passes(workload: Workload, stack_name: str) -> dict[int, float]:
    """FLOPs of each pass that the simulator derives for one sample."""
    table = lower_ops(
        workload, chip=hardware.chip("a100-sxm4-80gb"), stack=stack(stack_name), recipe=recipe("bf16_mixed"),
        shapes=Shapes.one(micro_batch=1),
    )  # fmt: skip
    flop = table.flop * np.array([layer.repeat for layer in workload.layers])[table.block]
    return {phase: float(flop[table.phase == phase].sum()) for phase in (FORWARD, BACKWARD, REPLAY, WEIGHTS)}


def first_states(workload: Workload) -> int:
    """FLOPs of the gradient of the first hidden state, which is zeros and needs none; libraries compute it all the
    same."""
    ops = [op for layer in workload.layers for op in layer.ops for _ in range(layer.repeat) if op.kind == "recurrent"]
    return sum(op.forward_flop // op.seq_len * op.n // (op.k + op.n) for op in ops)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_forward_flops_are_the_same_three_ways(name: str) -> None:
    forward, _, parameters = pytorchs(name)
    for workload in (SHIPPED[name](), imported(name)):
        assert workload.parameters == parameters
        assert workload.forward_flop == forward


@pytest.mark.parametrize("how", ["shipped", "imported"])
@pytest.mark.parametrize("name", NAMES)
def test_the_backward_pass_that_the_simulator_derives_is_pytorchs(name: str, how: str) -> None:
    workload = SHIPPED[name]() if how == "shipped" else imported(name)
    forward, both, _ = pytorchs(name)
    ours = passes(workload, UNFUSED)
    assert ours[FORWARD] == forward
    assert ours[BACKWARD] + ours[WEIGHTS] == both - forward + first_states(workload)


@pytest.mark.parametrize("name", NAMES)
def test_fused_attention_adds_one_product_to_the_backward_pass(name: str) -> None:
    """Five products instead of four: the scores are computed again."""
    workload = imported(name)
    attention = [
        op for layer in workload.layers for op in layer.ops for _ in range(layer.repeat) if op.kind == "attention"
    ]
    unfused, fused = passes(workload, UNFUSED), passes(workload, FUSED)
    # A fused kernel skips what a causal mask hides; compare whole attention.
    if not any(op.causal for op in attention):
        again = (ATTENTION_BACKWARD - 2.0) * sum(op.forward_flop for op in attention)
        assert fused[BACKWARD] == pytest.approx(unfused[BACKWARD] + again, rel=1e-12)
    assert fused[WEIGHTS] == unfused[WEIGHTS]


#: Share that the zoo's kept tensors may differ from PyTorch's, both without loss and indices of pooling: statistics of
#: norms and ids, which the zoo leaves out.
STATISTICS = 0.011
#: What PyTorch's own kernels keep for gates, rotary positions and routing and fused ones compute again: activated
#: gates; the memory of queries and keys before they were turned, which the values share; rows before and after their
#: routing weight. T5 in the zoo drops out inner activations and embeddings too.
EAGER_KEEPS = {
    "llama": 5 * 96 * (704 + 256 + 64),
    "mixtral": 3 * 64 * (2 * 192 + 128 + 32 + 2 * 2 * 128),
    "t5": 3 * 68 * 256 - 0.5 * (3 * 68 * 256 + 68 * 128),
}


def kept(workload: Workload) -> float:
    def of(op: Op) -> float:
        if op.kind == "vector" and any(word in op.name for word in ("loss", "entropy", "log_softmax")):
            return 0.0
        # PyTorch keeps 8 bytes of indices an output; kernels that write 4 + 8 bytes count 3 elements.
        return op.saved_elements - (4 * op.write_elements / 3 if "max_pool" in op.name else 0.0)

    return sum(layer.repeat * of(op) for layer in workload.layers for op in layer.ops)


@pytest.mark.parametrize("name", NAMES)
def test_the_zoo_keeps_what_pytorch_keeps(name: str) -> None:
    ours, theirs = kept(SHIPPED[name]()), kept(imported(name)) - EAGER_KEEPS.get(name, 0)
    assert ours == pytest.approx(theirs, rel=STATISTICS)


def storages(name: str) -> float:
    """What autograd keeps for a sample, in units of two bytes, read from the hooks of an ordinary forward pass."""
    network, inputs = zoo.on_meta(name, SAMPLES, loss=True)
    own = {t.untyped_storage()._cdata for t in (*network.parameters(), *network.buffers())}
    found: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        key = tensor.untyped_storage()._cdata
        if key not in own:
            found[key] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        loss = network(*inputs)
    byte = sum(t.untyped_storage().nbytes() / (2 if t.is_floating_point() else 1) for t in found.values())
    del loss
    return float(byte / 2 / SAMPLES)


@pytest.mark.parametrize("name", ["resnet50", "vgg16", "densenet121", "unet", "unet-3d"])
def test_the_importer_keeps_what_an_ordinary_forward_pass_keeps(name: str) -> None:
    """Where no dropout or attention stands in for what a GPU does."""
    # Off the GPU dropout keeps its noise as numbers, 1 instead of 0.5.
    dropped = sum(
        op.write_elements for layer in imported(name).layers for op in layer.ops if op.name.endswith("dropout")
    )
    ours = sum(layer.repeat * layer.saved_elements for layer in imported(name).layers)
    assert ours + 0.5 * dropped == pytest.approx(storages(name), rel=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_traffic_of_the_zoo_is_that_of_pytorchs_kernels(name: str) -> None:
    """Reads and writes of all ops; fused rotary, gates and routing move less than PyTorch's own kernels."""

    def moved(workload: Workload) -> int:
        return sum(
            layer.repeat * (op.read_elements + op.write_elements)
            for layer in workload.layers
            for op in layer.ops
            if not any(word in op.name for word in ("loss", "entropy", "softmax"))
        )

    ratio = moved(SHIPPED[name]()) / moved(imported(name))
    assert 0.70 < ratio < 1.1


#: By how much a step of the imported network may differ from that of the shipped one, where PyTorch's own kernels
#: differ from those the zoo describes: gates and rotary positions in several kernels (llama), rows spread to experts in
#: fewer (mixtral), RMS norms as one kernel instead of six, of a network too small to hide launches (t5); a few
#: element-wise kernels more (gpt-2), which weigh more since what cores keep in flight bounds them;
#: gradients of a tensor that many layers read, which an import does not add up (densenet121).
STEP_WITHIN = {"densenet121": 0.05, "llama": 0.19, "mixtral": 0.12, "t5": 0.25, "gpt-2": 0.045}


@pytest.mark.parametrize("name", NAMES)
def test_the_imported_network_takes_as_long_as_the_one_that_ships(name: str) -> None:
    def seconds(workload: Workload) -> float:
        roofs = layer_roofline(
            workload, chip=hardware.chip("a100-sxm4-80gb"), stack=stack(FUSED), recipe=recipe("bf16_mixed"),
            micro_batch=64, constants=Constants(),
        )  # fmt: skip
        return sum(roof.repeat * roof.time_s for roof in roofs)

    within = STEP_WITHIN.get(name, 0.04)
    assert seconds(imported(name)) == pytest.approx(seconds(SHIPPED[name]()), rel=within)


@pytest.mark.parametrize("name", ["resnet50", "unet", "bert-large", "gpt-2", "mixtral", "lstm"])
def test_a_sample_does_not_depend_on_how_many_the_example_holds(name: str) -> None:
    network, inputs = zoo.on_meta(name, 3, loss=True)
    workload = workload_from_module(network, inputs, name=name, samples=3)
    assert workload.forward_flop == imported(name).forward_flop
    assert [layer.repeat for layer in workload.layers] == [layer.repeat for layer in imported(name).layers]


def test_a_published_network_is_imported_with_its_published_count() -> None:
    """Llama 3 8B: 8,030,261,248 parameters (Hugging Face's count of the published weights)."""
    shape = zoo.Shape(
        hidden=4096, heads=32, kv_heads=8, ffn=14336, dropout=0.0, bias=False, rms=True, gated=True, rotary=True
    )
    with torch.device("meta"):
        network = zoo.Decoder(shape, 32, 128256).to(torch.bfloat16)
        words = torch.zeros(1, 8192, dtype=torch.long)
    workload = workload_from_module(network, (words,), name="llama")
    shipped = model("Llama-3-8B", seq_len=8192)
    assert workload.parameters == shipped.parameters == 8_030_261_248
    assert workload.forward_flop == shipped.forward_flop
    assert [layer.repeat for layer in workload.layers] == [1, 32, 1]
