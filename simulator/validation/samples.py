"""What a row of measured runs trains: the entry of the catalogue behind its source's words, and a sample's size."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Final

import workloads.catalog as models
from workloads.networks import takes
from workloads.workload import Workload

from ..stack import resolve_stack
from ..stack import stack as stack_named
from .cells import Unsupported, count

#: (source, model, kind, chip) as regular expressions -> the entry that the row means, where its name says too little.
ENTRIES: Final = (
    # The benchmark's configurations pass no --adaptive: a softmax over all words.
    ("lambdal", r"^(Transformer-XL (?:base|large))$", "", "", r"\1 (full softmax)"),
    ("", r"^(ELECTRA-base)$", "^sft$", "", r"\1 (SQuAD)"),
    ("", r"^(BART-large)$", "^sft$", "", r"\1 (summaries)"),
    ("Gaudi", r"^Transformer$", "", "", "Transformer-big"),
    ("MLPerf", r"^DLRM$", "", "", "dlrm-mlperf"),
    # A compiled program has one shape: Google's pads every image.
    ("MLPerf", r"^Mask R-CNN R50-FPN$", "", "TPU", "mask-rcnn-r50-fpn-padded"),
    # The program's resnet50, resnet101 and resnet152 stride in the first 1 x 1; its "_v1.5" are others.
    (
        "lambda-tensorflow|TensorFlow performance|tf-benchmark-gpu|ROCm/tensorflow-upstream",
        r"^ResNet-(50|101|152)$",
        "",
        "",
        r"resnet\1-v1",
    ),
    # So do Caffe's networks.
    ("KISTI", r"^ResNet-(50|101|152)$", "", "", r"resnet\1-v1"),
    ("NeuSight", "^gpt3_xl$", "", "", "GPT3-XL (24 heads of 128)"),
)

#: (source, model) -> the program's own global batch, where a row states none.
DEFAULT_BATCHES: Final = (
    # 16 replicas, 10 micro-batches of 20 images, graphcore/examples applications/tensorflow/cnns.
    ("Graphcore guide to MLPerf v1.1", "^ResNet-50", 3200),
    ("DeepLearningExamples", "^SIM$", 131_072),
    ("DeepLearningExamples", r"^NCF", 1_048_576),
    ("Megatron-LM", r"^Qwen3\.5 truncated", 32),
)
#: (source, model) -> the program's global batch, where tables that print it as one chip's multiply it by the chips:
#: rates of the same chips do not change between a table of 512,000 and one of 64,000.
GLOBAL_BATCHES: Final = (("DeepLearningExamples", "^DLRM$", 64_000),)
#: (source, model) -> the program's own batch of one chip, where a row states none.
DEFAULT_MICRO_BATCHES: Final = (
    ("PaddlePaddle/benchmark", r"^Transformer$", 136),
    # 4,096 tokens of 30 a sequence, HabanaAI/Model-References PyTorch/nlp/transformer.
    ("Intel Gaudi reference models", r"^Transformer$", 136),
)
#: (source, model) -> micro-batches of a step, where a row states none. NeuSight's script passes one to pipelines too.
DEFAULT_ACCUMULATIONS: Final = (("sitar-lab/NeuSight", "", 1),)
#: (source, model) -> the sequence length of the program's own configuration, where a row states none.
DEFAULT_LENGTHS: Final = (("Megatron-LM", r"^Qwen3\.5 truncated", 1024),)

#: Sources whose replicas were started apart and never exchange a gradient, by (source, model).
UNJOINED: Final = (("lambdal", "^Transformer-XL"),)


def entry_of(config: Mapping[str, str]) -> str:
    """The catalogue's name for what a row trains; raises `Unsupported` where there is none."""
    for source, spelling, kind, chip, entry in ENTRIES:
        match = re.search(spelling, config["model"])
        columns = ((source, "source"), (kind, "kind"), (chip, "chip"))
        if match and all(re.search(pattern, config[column]) for pattern, column in columns):
            return match.expand(entry)
    name = models.resolve_model(config["model"])
    if not name:
        raise Unsupported(f"model {config['model']!r} is not in the catalogue")
    return name


def default_of(table: tuple[tuple[str, str, int], ...], config: Mapping[str, str]) -> int:
    """What a table of defaults has for a row; 0 where it has nothing."""
    found = (value for s, m, value in table if re.search(s, config["source"]) and re.search(m, config["model"]))
    return next(found, 0)


def are_unjoined(config: Mapping[str, str]) -> bool:
    """Whether a row's replicas exchange no gradients."""
    return any(re.search(s, config["source"]) and re.search(m, config["model"]) for s, m in UNJOINED)


def workload_of(config: Mapping[str, str], assumed: list[str]) -> Workload:
    """What a row trains, with its own size of a sample."""
    name = entry_of(config)
    return cached_workload(name, *_sample_size(name, config, assumed))


@cache
def cached_workload(name: str, seq_len: int, image_size: int) -> Workload:
    """An entry with a sequence length or an image size, 0 for its own."""
    if seq_len:
        return models.model(name, seq_len=seq_len)
    return models.model(name, image_size=image_size) if image_size else models.model(name)


def _sample_size(name: str, config: Mapping[str, str], assumed: list[str]) -> tuple[int, int]:
    """Sequence length and image size of a row, 0 for the model's own."""
    base = cached_workload(name, 0, 0)
    entry = models.entries().get(name)
    network = str(entry.printed.get("network", "")) if entry else ""
    if base.sample in ("image", "volume"):
        size = count(config, "image_size")
        return 0, size if not network or takes(network, "image_size") else 0
    if base.sample == "record" or (network and not takes(network, "seq_len")):
        return 0, 0
    length = count(config, "seq_len")
    if entry is not None and entry.family == "bert" and "task" not in entry.printed:
        return _bert_length(base, length, config, assumed), 0
    length = length or default_of(DEFAULT_LENGTHS, config)
    if not length:
        length = base.tokens_per_sample
        assumed.append(f"sequence length {length}")
        return (0, 0) if network else (length, 0)
    return length, 0


def _bert_length(base: Workload, length: int, config: Mapping[str, str], assumed: list[str]) -> int:
    """Mean length of a BERT's sequences; unstated ones are those of the recipe's first phase, or of the task."""
    if not length:
        tuned = config["kind"] == "sft" or "lambdal" in config["source"]
        length = 384 if tuned and "BioBERT" not in config["model"] else 512 if "MLPerf" in config["source"] else 128
        assumed.append(f"sequence length {length}")
    stack_id = resolve_stack(config["source"], config["software"], base.family)
    share = stack_named(stack_id).mean_length_share if stack_id else 1.0
    if length >= 512 and share < 1.0:
        length = round(length * share)
        assumed.append(f"mean length {length}: padding is dropped")
    return length
