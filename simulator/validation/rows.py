"""Rows of measured runs -> jobs the simulator can price, or a reason why not.

Only configuration columns are read (`COLUMNS`); the measured value, notes, locators and flags never are. What a row
leaves open is filled by its stack's habits; every such filling is listed in ``assumed``.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from ..defaults import kind_of_run
from ..lowering import Context
from ..memory import memory_byte
from ..parallelism import Parallelism, ParallelismError, columns_of
from ..stack import RECOMPUTE_MODES, Stack
from .cells import Unsupported as Unsupported
from .cells import count, number
from .conventions import convention_of, flop_per_sample
from .feeding import NO_HOST_WORK, HostWork, host_work
from .machines import cluster_for, server_for
from .published import completed, swapped_value_per_s
from .samples import (
    DEFAULT_ACCUMULATIONS,
    DEFAULT_BATCHES,
    DEFAULT_MICRO_BATCHES,
    GLOBAL_BATCHES,
    are_unjoined,
    default_of,
    workload_of,
)
from .software import optimizer_of, precision_of, recipe_of, stack_of

#: Configuration columns that a prediction may look at; nothing else of a row is read.
COLUMNS: Final = (
    "era", "source", "year", "model", "model_params", "seq_len", "image_size", "chip", "chip_memory_gb", "num_chips",
    "chips_per_node", "intra_node_link", "inter_node_link", "software", "precision", "global_batch", "micro_batch",
    "tp", "pp", "dp", "cp", "ep", "virtual_stages", "schedule", "recompute", "sharding", "sequence_parallel",
    "optimizer", "allreduce_algorithm", "input_data", "accumulation", "kind", "metric", "unit",
)  # fmt: skip

#: Metrics that follow from a step time.
METRICS: Final = (
    "step_time_s", "tokens_per_s", "samples_per_s", "tokens_per_s_per_chip", "tflops_per_chip", "pflops_total", "mfu",
    "hfu",
)  # fmt: skip

#: A metric that follows from the strategy alone (`memory_rows`).
MEMORY_METRIC: Final = "memory_gb_per_chip"

_SHARDING: Final[Mapping[str, str]] = {
    "none": "none", "zero1": "zero1", "zero2": "zero2", "zero3": "zero3", "fsdp": "zero3", "hsdp": "zero3",
    "fsdp_shard_grad_op": "zero2",
}  # fmt: skip
_ZERO_BUBBLE: Final[Mapping[str, str]] = {"ZB-1p": "zb1p", "ZB-2p": "zb2p", "ZB-V": "zbv", "DualPipe": "dualpipe"}
_RECOMPUTE: Final[Mapping[str, str]] = {"none": "none", "selective": "selective", "full": "full"}


#: A run that was measured did fit: a strategy is ruled out only if it needs so many times the memory there is, by a
#: count that may err.
_LENIENCE: Final = 1.25
#: Steps between two exchanges of replicas that have none.
_NEVER: Final = 10**6
#: Variants that a bare name never means; a row must state their memory.
_ONLY_BY_MEMORY: Final = ("nvidia-h100-96gb-hbm2e",)
#: (source, chip) -> the chip that a source's short name means. torchtune's tokens/s on an "A6000" are 141 TFLOP/s of
#: products without any recomputation, 91 % of the Ampere card's peak, 39 % of its successor's.
#: Lambda's folder of results on a laptop is called 3080Max-Q.
_MEANT: Final[Mapping[tuple[str, str], str]] = {
    ("pytorch/torchtune", "A6000"): "RTX 6000 Ada",
    ("lambdal/deeplearning-benchmark", "RTX 3080 Laptop GPU"): "RTX 3080 Laptop GPU Max-Q",
}


@dataclass(frozen=True, kw_only=True)
class RunJob:
    """One measured run as a job: what to price and how its step time becomes the row's metric.

    ``value_per_rate`` x (1 / step time) is a rate metric; ``value_per_s`` x step time is one that grows with the step,
    as "step_time_s" does.
    ``group`` is (source, model, chip): the unit that is left out in cross-fitting.
    """

    row: Mapping[str, str]
    workload: Workload
    context: Context
    parallelism: Parallelism
    frozen: bool
    metric: str
    value_per_rate: float
    assumed: tuple[str, ...]
    group: tuple[str, str, str]
    value_per_s: float = 0.0
    host: HostWork = NO_HOST_WORK

    def metric_value(self, step_s: float) -> float:
        """The row's metric for a step of that length, in the row's own unit."""
        return self.value_per_s * step_s if self.value_per_s else self.value_per_rate / step_s

    def step_s(self, value: float) -> float:
        """The step that a value of the row's metric stands for [s]."""
        return value / self.value_per_s if self.value_per_s else self.value_per_rate / value

    @property
    def family(self) -> str:
        """Kind of run that errors are pooled over."""
        return kind_of_run(self.workload)


def read_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a measured-runs table as they stand."""
    with path.open(newline="", encoding="utf-8") as file:
        yield from csv.DictReader(file)


def resolve(row: Mapping[str, str]) -> RunJob:
    """The job a row describes; raises `Unsupported` with the reason."""
    config = {name: (row.get(name) or "").strip() for name in COLUMNS}
    metric = config["metric"]
    if metric not in (*METRICS, MEMORY_METRIC):
        raise Unsupported(f"metric {metric!r} does not follow from a step time")
    assumed: list[str] = []
    named = config["model"]
    config = completed(config, assumed)
    workload = workload_of(config, assumed)
    chip = _chip(config, assumed)
    stack = stack_of(config, workload, chip, assumed)
    cluster = cluster_for(
        chip=chip, chips_per_server=count(config, "chips_per_node"), chips=count(config, "num_chips"),
        inside=config["intra_node_link"], outside=config["inter_node_link"], source=config["source"],
    )  # fmt: skip
    recipe = recipe_of(precision_of(config, workload, chip, assumed), config["software"], chip, stack, assumed)
    optimizer = optimizer_of(config, stack, workload, assumed)
    context = Context(cluster=cluster, stack=stack, recipe=recipe, optimizer=optimizer)
    parallelism, batch = _parallelism(_laid_out(config, workload, chip, assumed), workload, context, assumed)
    if metric in ("step_time_s", MEMORY_METRIC):
        value = 0.0
    else:
        value = _value_per_rate(config, metric, workload, chip, recipe, parallelism, batch)
    value_per_s = 1.0 if metric == "step_time_s" else 0.0
    if metric == "samples_per_s":
        value_per_s = swapped_value_per_s(config, batch)
    host = host_work(config, batch, parallelism.chips, assumed)
    servers = re.search(r"(\d+) parameter server", config["allreduce_algorithm"])
    hybrid = config["sharding"] == "hsdp" or "InternEvo" in config["source"]
    parallelism = replace(
        parallelism, shard_ranks=cluster.chips_per_server if hybrid else 0,
        parameter_servers=int(servers.group(1)) if servers else 0,
    )  # fmt: skip
    if are_unjoined(config) and parallelism.dp > 1:
        parallelism = replace(parallelism, local_steps=_NEVER)
        assumed.append("replicas exchange no gradients: the source's script starts them apart")
    return RunJob(
        row=config, workload=workload, context=context, parallelism=parallelism,
        frozen=config["kind"] == "lora", metric=metric,
        value_per_rate=value, value_per_s=value_per_s, host=host, assumed=tuple(assumed),
        group=(config["source"], named, config["chip"]),
    )  # fmt: skip


def _chip(config: Mapping[str, str], assumed: list[str]) -> str:
    memory = number(config, "chip_memory_gb")
    name = _MEANT.get((config["source"], config["chip"]), config["chip"])
    found = hardware.resolve_chip(name, memory_gb=memory, link=config["intra_node_link"])
    if not found:
        raise Unsupported(f"chip {config['chip']!r} ({config['chip_memory_gb'] or '?'} GB) is not in the catalogue")
    if name != config["chip"]:
        assumed.append(f"chip {found[0]}: what the source calls {config['chip']}")
    if len(found) == 1:
        return found[0]
    # A bare name in a table of servers is the module form unless the row says PCIe; of capacities the larger is later.
    modules = [c for c in found if "pcie" not in c and c not in _ONLY_BY_MEMORY]
    choice = (modules or list(found))[-1 if (number(config, "year") or 0) >= 2022 else 0]
    assumed.append(f"chip {choice} of {', '.join(found)}")
    return choice


def _laid_out(config: Mapping[str, str], workload: Workload, chip: str, assumed: list[str]) -> Mapping[str, str]:
    """The row with its layout in chips: Neuron tables count tensor ranks in cores, of which a Trainium chip has two."""
    facts = hardware.chip(chip)
    tp = count(config, "tp")
    if facts.architecture == "neuron" and tp > 1:
        return {**config, "tp": str(tp // 2)}
    if facts.kind == "sram":
        return {**config, **_on_tiles(config, workload, facts, server_for(chip).chips, assumed)}
    return config


def _on_tiles(
    config: Mapping[str, str], workload: Workload, chip: Chip, machine: int, assumed: list[str]
) -> dict[str, str]:
    """What a row leaves open on a chip without DRAM beside its tiles, as Graphcore's programs do it.

    A transformer whose training state exceeds one chip's memory is a pipeline over the chips of one machine that
    recomputes. What one chip trains alone goes through in micro-batches whose activations fit the tiles: networks of
    images recompute between a few places (ResNet-50: 20 images at once), others keep half of the tiles for activations.
    """
    chips, stated = count(config, "num_chips"), count(config, "micro_batch")
    if workload.splits_tensors:
        stages = count(config, "pp")
        if not stages and chips % machine == 0 and 16.0 * workload.parameters > chip.memory_byte:
            stages = machine
            assumed.append(f"a pipeline of {stages} chips that recomputes: the state exceeds one chip's memory")
        held_byte = 2.0 * workload.parameters / (max(stages, 1) * (count(config, "tp") or 1))
        if held_byte > chip.memory_byte + (chip.far_memory_byte or 0.0):
            raise Unsupported(f"chip {chip.id} holds {chip.memory_byte:.2g} B; the parameters take {held_byte:.2g} B")
        found = {"pp": str(stages or ""), "recompute": config["recompute"] or ("full" if stages > 1 else "")}
        replicas = max(chips // max(stages, 1), 1)
        share = count(config, "global_batch") // replicas
        if stages > 1 and share and not stated:
            # A stage holds the inputs of its blocks for twice as many micro-batches as there are stages.
            block = max(workload.layers, key=lambda layer: layer.repeat)
            input_byte = 2.0 * block.ops[0].read_elements * block.repeat / stages
            most = max(1, int(0.5 * chip.memory_byte / (2.0 * stages * input_byte)))
            micro = next(b for b in range(min(share, most), 0, -1) if share % b == 0)
            found["micro_batch"] = str(micro)
            assumed.append(f"micro-batch {micro}: as many samples as keep half of the tiles' memory")
        return found | ({} if stages > 1 else _held_in_tiles(workload, chip, share, stated, 0.5, assumed))
    total = count(config, "global_batch") or default_of(DEFAULT_BATCHES, config)
    found = _held_in_tiles(workload, chip, total // max(chips, 1), stated, 1.0, assumed)
    if total and not count(config, "global_batch"):
        found["global_batch"] = str(total)
        assumed.append(f"the program's default batch, {total}")
    return found | {"recompute": config["recompute"] or "full"}


def _held_in_tiles(
    workload: Workload, chip: Chip, share: int, stated: int, part: float, assumed: list[str]
) -> dict[str, str]:
    """The largest micro-batch that divides a replica's ``share`` and whose activations fit a ``part`` of the tiles."""
    if stated or not share:
        return {}
    sample_byte = 2.0 * sum(layer.repeat * layer.saved_elements for layer in workload.layers)
    most = max(1, int(part * chip.memory_byte / sample_byte))
    micro = next(b for b in range(min(share, most), 0, -1) if share % b == 0)
    if micro < share:
        assumed.append(f"micro-batch {micro}: as many samples as fit the tiles' memory")
    return {"micro_batch": str(micro)}


def _parallelism(
    config: Mapping[str, str], workload: Workload, context: Context, assumed: list[str]
) -> tuple[Parallelism, float]:
    """The strategy of a row and the samples its rate counts per step."""
    stack = context.stack
    chips = count(config, "num_chips")
    if not chips:
        raise Unsupported("the number of chips is not stated")
    tp, pp, cp = (count(config, n) or 1 for n in ("tp", "pp", "cp"))
    ep = count(config, "ep") or 1
    if (
        workload.splits_tensors
        and not config["tp"]
        and chips >= 64
        and workload.parameters > 5e9
        and stack.sharding != "zero3"
    ):
        raise Unsupported("a large model whose layout is not stated")
    if chips % (tp * pp * cp):
        raise Unsupported(f"tp x pp x cp = {tp * pp * cp} does not divide {chips} chips")
    dp = chips // (tp * pp * cp)
    global_batch, micro_batch = _batches(config, workload, stack, dp, pp, assumed)
    if workload.causal and not (config["cp"] or config["dp"]) and global_batch < dp and dp % global_batch == 0:
        dp, cp = int(global_batch), round(dp / global_batch)
        assumed.append(f"context parallel over {cp} chips: fewer sequences than chips")
    micro_batches = max(1, round(global_batch / (dp * micro_batch)))
    virtual = count(config, "virtual_stages") or 1
    blocks = workload.num_blocks
    interleaved = config["schedule"].startswith("interleaved")
    unstated = not config["virtual_stages"] and (interleaved or not config["schedule"])
    balanced = blocks % pp == 0 or (blocks + 2) % pp == 0
    if unstated and (interleaved or stack.interleaves) and pp > 1 and micro_batches % pp == 0 and balanced:
        virtual = -(-blocks // pp)
        assumed.append(f"{virtual} virtual stages")
    if pp == 1 or virtual * pp > blocks + 2:
        virtual = 1
    schedule, zero_bubble = "1f1b", _ZERO_BUBBLE.get(config["schedule"], "")
    if zero_bubble and pp > 1:
        schedule, virtual = zero_bubble, 2 if zero_bubble == "zbv" else 1
    elif "gpipe" in config["schedule"].lower():
        schedule = "gpipe"
    elif virtual > 1 and micro_batches % pp == 0:
        schedule = "interleaved"
    else:
        if virtual > 1:
            assumed.append("1F1B: the micro-batches are no multiple of the stages")
        virtual = 1
    stated_sharding = _SHARDING.get(config["sharding"], "")
    sharding = stated_sharding or (stack.sharding if workload.causal else "none")
    recompute = _RECOMPUTE.get(config["recompute"], "")
    if workload.causal and not stated_sharding:
        assumed.append(f"sharding {sharding}")
    stated = config["sequence_parallel"].lower()
    sequence_parallel = tp > 1 and (stated == "yes" or (not stated and stack.sequence_parallel))
    etp = tp if stack.cuts_experts and ep > 1 and tp * cp * dp % (ep * tp) == 0 else 1
    on_host = stack.offloads_optimizer and stated_sharding == "zero3"
    try:
        strategy = Parallelism(
            tp=tp, pp=pp, dp=dp, cp=cp, ep=ep, etp=etp, micro_batch=micro_batch,
            global_batch=micro_batches * dp * micro_batch,
            virtual_stages=virtual, schedule=schedule, recompute=recompute or "none", sharding=sharding,
            sequence_parallel=sequence_parallel, offload="optimizer" if on_host else "none",
        )  # fmt: skip
    except ParallelismError as error:
        raise Unsupported(str(error)) from None
    if not recompute and workload.causal:
        known = not any(line.startswith("the usual stack") for line in assumed)
        strategy = _least_recomputation(workload, context, strategy, offloads=known)
        assumed.append(f"recompute {strategy.recompute}")
    return strategy, global_batch


@cache
def _least_recomputation(workload: Workload, context: Context, strategy: Parallelism, *, offloads: bool) -> Parallelism:
    """The stack's habit, or the least recomputation beyond it that fits in memory.

    Where nothing fits the row leaves out what made it fit: Megatron's recipes offload and shard before they recompute
    whole blocks (``offloads``: the row did run on the stack), so that there the habit holds; others recompute the most.
    """
    words = RECOMPUTE_MODES[RECOMPUTE_MODES.index(context.stack.recompute) :]
    choices = [replace(strategy, recompute=word) for word in words]
    total = memory_byte(workload, context, columns_of(choices)).total_byte
    fits = np.flatnonzero(total <= _LENIENCE * context.cluster.chip.memory_byte)
    beyond = 0 if offloads and context.stack.family == "megatron-core" else -1
    return choices[int(fits[0]) if len(fits) else beyond]


def _batches(
    config: Mapping[str, str], workload: Workload, stack: Stack, dp: int, pp: int, assumed: list[str]
) -> tuple[float, int]:
    """Samples of one step and of one micro-batch."""
    total, micro = count(config, "global_batch"), count(config, "micro_batch")
    if (whole := default_of(GLOBAL_BATCHES, config)) and total > whole == micro:
        total, micro = whole, max(1, whole // dp)
        assumed.append(f"global batch {whole}: what the program calls its batch is that of all chips")
    if not total and not micro and (total := default_of(DEFAULT_BATCHES, config)):
        assumed.append(f"the program's default batch, {total}")
    if not total and not micro and (micro := default_of(DEFAULT_MICRO_BATCHES, config)):
        assumed.append(f"the program's default batch of a chip, {micro}")
    if config["metric"] == "step_time_s" and not total and not micro and not stack.assumed_batch_tokens:
        raise Unsupported("a step time whose batch is not stated")
    accumulation = count(config, "accumulation") or default_of(DEFAULT_ACCUMULATIONS, config)
    if not total and not micro and stack.assumed_batch_tokens:
        micro, total = stack.assumed_micro_batch, stack.assumed_batch_tokens // workload.tokens_per_sample
        assumed.append(f"the program's default batch, {total}")
    if not total and not micro:
        if workload.sample != "sequence":
            micro = 64 if config["precision"] == "fp32" else 128
        else:
            micro = max(1, min(32, round(8 * 1024 / workload.tokens_per_sample)))
        assumed.append(f"micro-batch {micro}")
    if not total:
        total = micro * dp * (accumulation or 1)
        if pp > 1 and not accumulation:
            total = micro * dp * 4 * pp
        assumed.append(f"global batch {total}")
    if not micro:
        share = total / dp
        if accumulation:
            micro = max(1, round(share / accumulation))
        elif workload.sample != "sequence" or pp == 1:
            limit = 10**9 if not workload.causal else max(1, round(16 * 1024 / workload.tokens_per_sample))
            micro = next(b for b in range(max(1, min(int(share), limit)), 0, -1) if int(share) % b == 0 or b == 1)
        else:
            micro = max(1, 2048 // workload.tokens_per_sample)
            while micro > 1 and int(share) % micro:
                micro -= 1
        if not (workload.sample != "sequence" and share == int(share)):
            assumed.append(f"micro-batch {micro}")
    return float(total), min(micro, max(1, math.ceil(total / dp)))


def _value_per_rate(
    config: Mapping[str, str], metric: str, workload: Workload, chip: str, recipe: PrecisionRecipe,
    parallelism: Parallelism, batch: float,
) -> float:  # fmt: skip
    """What a row's rate metric is per step and second: rate = value / step time."""
    chips = count(config, "num_chips")
    tokens = batch * (count(config, "seq_len") or workload.tokens_per_sample)
    if metric == "samples_per_s":
        return batch
    if metric == "tokens_per_s":
        return tokens
    if metric == "tokens_per_s_per_chip":
        return tokens / chips
    convention = convention_of(config["source"], config["software"])
    # What a chip executes is counted alike everywhere: the model's work and what is run again.
    word = {"mfu": convention.mfu, "hfu": "executed"}.get(metric, convention.tflops)
    flop = batch * flop_per_sample(workload, word, recompute=parallelism.recompute)
    if metric == "tflops_per_chip":
        return flop / chips / 1e12
    if metric == "pflops_total":
        return flop / 1e15
    return flop / chips / hardware.chip(chip).peak(recipe.matmul)
