"""What ran a row of measured runs: the stack, the number formats and the update rule its words mean on its chip."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import hwmodels.catalog as hardware
from workloads.optimizer import Optimizer
from workloads.optimizer import optimizer as optimizer_named
from workloads.precision import PrecisionRecipe
from workloads.precision import recipe as recipe_named
from workloads.workload import Workload

from ..defaults import kind_of_run, stack_on, usual_stack
from ..stack import Stack, resolve_stack
from ..stack import stack as stack_named
from .cells import Unsupported, number

_LAMBDA_TF: Final = "lambdal/lambda-tensorflow"
#: Columns of a row -> the stack, where one source ran several programs on workloads of one family.
PROGRAMS: Final[tuple[tuple[Mapping[str, str], str], ...]] = (
    ({"source": "lambdal/deeplearning", "model": "^Transformer-XL", "software": r"^PyTorch 1\.4"}, "pytorch-xl-2020"),
    ({"source": "cybertronai", "model": "^Transformer-XL"}, "pytorch-xl-2020"),
    ({"source": "tensorpack", "software": "Keras|matterport"}, "keras-2019"),
    ({"source": "lambdal/deeplearning", "model": "^Transformer-XL"}, "lambda-pytorch-xl"),
    ({"source": "cnn-benchmarks", "chip": "Xeon"}, "torch7-cpu"),
    ({"source": _LAMBDA_TF, "chip": "Radeon"}, "lambda-tf-rocm"),
    # Networks with batch normalisation on TensorFlow's own builds, whose replicas share a process.
    ({"source": _LAMBDA_TF, "software": r"(1\.15\.[0-3]|2\.[0-3]\.\d)$", "precision": "fp16", "num_chips": "[^1]|..",
      "model": "ResNet|Inception"}, "lambda-tf-joint"),
    ({"source": _LAMBDA_TF, "software": r"(1\.15\.[45]|2\.4\.\d)$"}, "lambda-tf-cudnn8"),
)  # fmt: skip


def stack_of(config: Mapping[str, str], workload: Workload, chip: str, assumed: list[str]) -> Stack:
    """The stack of a row: its source's, on its chip; where that is not recognised the usual one of kind and chip."""
    architecture = hardware.chip(chip).architecture
    stack_id = _program(config) or resolve_stack(config["source"], config["software"], workload.family)
    kind = kind_of_run(workload)
    if stack_id:
        stack_id = stack_on(stack_id, architecture, kind)
    else:
        eager = kind == "cnn" and architecture != "tpu" and "torch" in config["software"].lower()
        stack_id = stack_on("pytorch-2024", architecture, kind) if eager else usual_stack(kind, architecture)
        assumed.append("the usual stack: the source's software is not recognised")
    return _with_exchange(stack_named(stack_id), config["allreduce_algorithm"])


def _program(config: Mapping[str, str]) -> str:
    """The stack of `PROGRAMS` that a row ran on, "" where its source has one for all."""
    found = (name for patterns, name in PROGRAMS if all(re.search(p, config[c]) for c, p in patterns.items()))
    return next(found, "")


def _with_exchange(stack: Stack, words: str) -> Stack:
    """The stack with the exchange that a row's words name: after the backward pass, or layer by layer under it."""
    if re.search("no overlap|after backward", words):
        return replace(stack, gradient_exchange="after")
    if re.search("wait-free|WFBP", words) and not re.search("merged|MG-WFBP", words):
        return replace(stack, gradient_exchange="backward", bucket_byte=0.0)
    return stack


def precision_of(config: Mapping[str, str], workload: Workload, chip: str, assumed: list[str]) -> str:
    word = config["precision"]
    if word:
        try:
            recipe_named(word)
        except LookupError:
            raise Unsupported(f"precision {word!r} is not a recipe") from None
        return word
    facts = hardware.chip(chip)
    peaks = facts.peak_flop_per_s
    if "mlcommons" in config["source"] and (number(config, "year") or 0) >= 2023 and "fp8" in peaks:
        # Every submission of these rounds that says multiplies transformers in 8 bit.
        word = "fp8" if workload.family == "transformer" else "fp16_mixed"
    elif facts.kind in ("systolic", "sram", "wafer"):
        word = "bf16" if "bf16" in peaks else "fp16_mixed"
    else:
        # Submissions to benchmarks use what is fastest; tables that do not say used their framework's default.
        fast = re.search(r"MLPerf|FleetX|DAWNBench|Yamazaki|1903.12650|aws-samples|Hacker News", config["source"]) or (
            (number(config, "year") or 0) >= 2019 and "byteps" not in config["source"]
        )
        word = "fp16_mixed" if fast and peaks.get("fp16", 0) > 3 * peaks.get("fp32", 1e30) else "fp32"
    assumed.append(f"precision {word}")
    return word


#: TensorFlow of before TF32. NVIDIA's builds are numbered 1.15.4 and later where they have it.
_BEFORE_TF32: Final = re.compile(r"TensorFlow (1\.15\.[0-3]|2\.[0-3]\b)")


def recipe_of(precision: str, software: str, chip: str, stack: Stack, assumed: list[str]) -> PrecisionRecipe:
    """The recipe that a row's precision word means on its chip."""
    peaks = hardware.chip(chip).peak_flop_per_s
    recipe = recipe_named(precision)
    # GeForce of Ampere and Ada multiply TF32 no faster than fp32: libraries then choose kernels as for fp32.
    faster = peaks.get("tf32", 0.0) > 1.5 * peaks.get("fp32", math.inf)
    if recipe.matmul == "fp32" and stack.fp32_is_tf32 and faster and not _BEFORE_TF32.search(software):
        assumed.append("fp32 products run in tf32, the framework's default on this chip")
        return recipe_named("tf32")
    if recipe.matmul == "fp16" and "fp16" not in peaks and "fp32" in peaks:
        # Chips of before half precision, and GeForce of Pascal: libraries keep halves in memory and multiply in fp32.
        assumed.append("halves are stored, products run in fp32: the chip has no fp16 rate")
        return replace(recipe, name=f"{recipe.name}_stored", matmul="fp32")
    if recipe.matmul not in peaks:
        raise Unsupported(f"chip {chip} has no {recipe.matmul} rate; it has {', '.join(peaks)}")
    return recipe


#: Sources, by (source, software), whose tables time the forward and the backward pass and no update: each says so.
PASSES_ONLY: Final = (
    ("jcjohnson/cnn-benchmarks|dmikushin/cnn-benchmarks", ""),
    ("soumith/convnet-benchmarks", ""),
    ("Caffe2 convnet_benchmarks", ""),
    ("sitar-lab/NeuSight", "^PyTorch"),
)
#: The update of a run that makes none.
NO_UPDATE: Final = Optimizer(
    name="none", state_per_parameter=0.0, flop_per_parameter=0.0, read_write_words_per_parameter=0.0,
    source="no update is timed",
)  # fmt: skip


def optimizer_of(config: Mapping[str, str], stack: Stack, workload: Workload, assumed: list[str]) -> Optimizer:
    """The update rule that a row's step ends with."""
    word = config["optimizer"].lower()
    for known in ("lamb", "lars", "adam"):
        if known in word:
            return optimizer_named(known)
    if word.startswith("sgd"):
        return optimizer_named("momentum")
    if any(re.search(s, config["source"]) and re.search(w, config["software"]) for s, w in PASSES_ONLY):
        assumed.append("no update: the source times the forward and the backward pass")
        return NO_UPDATE
    return optimizer_named(stack.optimizer or ("momentum" if workload.sample == "image" else "adam"))
