"""What a plan takes where the question is silent: software stack, number formats, update rule. Each with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from hwmodels.chip import Chip
from workloads.optimizer import Optimizer, optimizer
from workloads.precision import PrecisionRecipe, recipe
from workloads.workload import Workload

from .stack import Stack, stack, stack_ids

#: Stack by (kind of run, chip family): what most published runs of that kind and era used.
_STACKS: Final = {
    ("llm", "kepler"): "pytorch-2018",
    ("llm", "maxwell"): "pytorch-2018",
    ("llm", "pascal"): "pytorch-2018",
    ("llm", "volta"): "megatron-lm-2021",
    ("llm", "ampere"): "megatron-lm-2022",
    ("llm", "hopper"): "megatron-core-2024",
    ("llm", "blackwell"): "megatron-bridge-2025",
    ("llm", "cdna2"): "megatron-deepspeed",
    ("llm", "cdna3"): "rocm-megatron-2025",
    ("llm", "cdna4"): "rocm-megatron-2025",
    ("llm", "tpu"): "jax-tpu",
    ("bert", "kepler"): "pytorch-2018",
    ("bert", "maxwell"): "pytorch-2018",
    ("bert", "pascal"): "pytorch-2018",
    ("bert", "volta"): "dle-pytorch-bert",
    ("bert", "turing"): "pytorch-examples-2020-bert",
    ("bert", "ampere"): "dle-pytorch-bert",
    ("bert", "hopper"): "megatron-core-2024",
    ("bert", "blackwell"): "megatron-core-2024",
    ("bert", "tpu"): "mlperf-tf",
    ("cnn", "tpu"): "mlperf-tf",
}
#: Chip families that one compiler serves, whatever framework stands above it; by kind of run where releases differ.
_COMPILER: Final = {
    ("cnn", "ipu"): "poplar", ("", "ipu"): "poplar-transformer", ("", "gaudi"): "synapseai", ("", "neuron"): "neuronx",
    ("", "ascend"): "mindspore-ascend",
}  # fmt: skip
#: What a stack that was measured on NVIDIA's chips is called on others.
_ELSEWHERE: Final = {
    ("mlperf-nemo", "cdna3"): "rocm-megatron-2025", ("mlperf-nemo", "cdna4"): "rocm-megatron-2025",
    ("maxtext-gpu", "tpu"): "maxtext-tpu", ("pytorch-fsdp", "tpu"): "jax-tpu",
    ("pytorch-fsdp", "cdna3"): "rocm-megatron-2025", ("dawnbench", "tpu"): "tf-tpu-2018",
    ("mlperf-mxnet", "tpu"): "mlperf-tf", ("mlperf-detector", "tpu"): "mlperf-tf-detector",
    ("mlperf-detector-0.7", "tpu"): "mlperf-tf-detector", ("caffe-2016", "many-core"): "intel-caffe",
    ("megatron-deepspeed-long", "volta"): "megatron-deepspeed-2023",
    ("mlperf-pytorch", "tpu"): "mlperf-tf", ("tf-horovod-2018", "tpu"): "mlperf-tf",
    ("torch7-native", "haswell"): "torch7-cpu", ("torch7-native", "broadwell"): "torch7-cpu",
}  # fmt: skip
_CONVNET_STACK: Final = "tf1-horovod"


@dataclass(frozen=True, kw_only=True)
class Software:
    """Stack, recipe and optimizer of a job, and a line for each that the question did not name."""

    stack: Stack
    recipe: PrecisionRecipe
    optimizer: Optimizer
    defaults: tuple[str, ...]


def kind_of_run(workload: Workload) -> str:
    """The kind of run that errors are pooled over: "cnn", "llm" (causal transformers), "bert" (others) or "other"."""
    if workload.family == "transformer":
        return "llm" if workload.causal else "bert"
    return "cnn" if workload.family in ("convnet", "detector") else "other"


def usual_stack(kind: str, architecture: str) -> str:
    """The stack that most published runs of a kind on a chip family used."""
    usual = _STACKS.get((kind, architecture), _CONVNET_STACK if kind == "cnn" else "pytorch-2024")
    return stack_on(usual, architecture, kind)


def stack_on(stack_id: str, architecture: str, kind: str) -> str:
    """The stack that a recognised one stands for on a chip family: its framework above the chip's own compiler.

    Releases of a compiler's stack are named after it; those of its libraries for language models serve them alone.
    """
    compiler = _COMPILER.get((kind, architecture)) or _COMPILER.get(("", architecture))
    if compiler and kind == "llm" and stack_id.startswith(f"{compiler}-2"):
        return stack_id
    return compiler or _ELSEWHERE.get((stack_id, architecture), stack_id)


def software(
    workload: Workload, chip: Chip, *, stack_id: str = "", precision: str = "", optimizer_name: str = ""
) -> Software:
    """The software of a job: what the question names, else what runs of its kind and era used.

    16-bit multiplication where the chip has a matrix unit for it (bf16 before fp16), else fp32; Adam for sequences,
    momentum for images.

    Raises
    ------
    LookupError
        For a stack, recipe or optimizer that is not known, with the nearest.
    """
    lines: list[str] = []
    kind = kind_of_run(workload)
    if not stack_id and chip.id in stack_ids():
        stack_id = chip.id
        lines.append(f"software stack {stack_id}: measured on the chip itself")
    elif not stack_id:
        stack_id = usual_stack(kind, chip.architecture)
        lines.append(f"software stack {stack_id}: usual for runs of kind {kind} on {chip.architecture} chips")
    if not precision:
        if "bf16" in chip.peak_flop_per_s:
            precision = "bf16_mixed"
        else:
            precision = "fp16_mixed" if chip.has_matrix_units and "fp16" in chip.peak_flop_per_s else "fp32"
        lines.append(f"precision {precision}: the fastest that training on {chip.architecture} chips commonly uses")
    if not optimizer_name:
        optimizer_name = "momentum" if workload.sample == "image" else "adam"
        lines.append(f"optimizer {optimizer_name}: usual for {workload.sample}s")
    return Software(
        stack=stack(stack_id), recipe=recipe(precision), optimizer=optimizer(optimizer_name), defaults=tuple(lines)
    )
