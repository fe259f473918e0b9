"""`Stack`: the software that runs a job. What it fuses, overlaps and launches; dated and sourced.

A release matters as much as a layout (5 to 20 % on the same chips), so every job names its stack and every
report prints it. Structural switches stand in ``simulator/data/stacks/*.toml``; what was *fitted* for a stack stands
in a calibration, never here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files
from typing import Any, Final, get_type_hints

from hwmodels.datafile import DataFileError, TomlFile, data_files, did_you_mean, read_toml, unknown_name

ATTENTION_KINDS: Final = ("fused", "unfused")
GRADIENT_EXCHANGES: Final = ("after", "backward")
RECOMPUTE_MODES: Final = ("none", "selective", "full")
SHARDING_MODES: Final = ("none", "zero1", "zero2", "zero3")
#: How rows travel to their experts (`expert_dispatch`).
EXPERT_DISPATCHES: Final = ("all_to_all", "once_per_rank")


#: Fused attention by the year of a stack's release, newest first: FlashAttention of 2022, its second version of 2023,
#: cuDNN's in training stacks from 2024.
_ATTENTION_LIBRARIES: Final = ((2024, "cudnn-9"), (2023, "flash-attention-2"), (0, "flash-attention-1"))
#: What a stack may say that it calls instead; PyTorch's own attention stayed with FlashAttention's second version.
ATTENTION_LIBRARIES: Final = tuple(word for _, word in _ATTENTION_LIBRARIES)
#: Kernels of a framework by the year of its release, newest first: cuDNN 5 came in 2016, 6 in 2017, 7 in 2018.
_KERNEL_LIBRARIES: Final = ((2020, "torch-2.1"), (2018, "cudnn-7"), (2017, "cudnn-6"), (0, "cudnn-5"))


class StackError(LookupError):
    """An unknown stack."""


@dataclass(frozen=True, kw_only=True)
class Stack:
    """What runs the job.

    ``attention`` is "fused" (one kernel that skips the masked half) or "unfused" (scores in memory);
    ``attention_kernels`` names the fused kernels where they are not those of the year.
    ``vector_launch_share`` and ``vector_traffic_share``: kernels and bytes of element-wise work against an eager
    framework that fuses nothing (1.0). ``host_s_per_launch``: the host's time to issue one kernel before any fit [s].
    ``graph_capture``: the host issues whole graphs, its time vanishes.
    ``gradient_exchange``: "after" the last backward pass or under it ("backward"); ``bucket_byte`` fuses gradients into
    messages [B]. ``gradient_byte``: what a gradient takes on the wire and in memory; 0 follows the precision recipe
    [B].
    ``tensor_overlap``: tensor-parallel exchanges are cut into pieces that hide under the neighbouring product.
    ``send_overlap``: activations between pipeline stages move while the stage computes.
    ``routing_waits``: the host reads how many rows each expert gets before it issues their products.
    ``expert_dispatch``: rows go to experts by the library's "all_to_all", one copy for each chosen expert, or
    "once_per_rank" that holds one (DeepEP, HybridEP). ``expert_launches``: every expert's product and cast is a kernel
    of its own, not one grouped kernel for all. ``fuses_experts``: the gated activation between experts' products and
    the casts beside it run inside the grouped products. ``cuts_experts``: tensor-parallel ranks cut experts too,
    unless told. ``expert_overlap``: the exchange of one micro-batch's rows runs under the compute of another's.
    ``kernel_release``: the library whose kernels run, where it is not the one of the stack's year.
    ``vector_fp32``: element-wise work stays in fp32 under mixed precision; ``vector_fp32_share``: so much of it does,
    as automatic casting keeps normalisations, softmax, losses and the sums with their results.
    ``mean_length_share``: mean over nominal length of sequences of 512 tokens and more, where padding is dropped or
    lengths are binned.
    ``fp32_is_tf32``: products written as fp32 run in tf32 where the chip has it. ``pipelined_call_host_s``: host time
    that every tensor-parallel call costs per rank of its group when a pipeline is in use [s]. ``pipeline_stall_s``:
    what every micro-batch waits at full depth in pipelines of ``pipeline_stall_chips`` chips or more, or whose
    data-parallel ranks share nothing [s].
    ``replay_stops_early``: a block's replay ends with what its backward pass reads, and leaves out the last product
    (torch.utils.checkpoint without reentry; XLA drops what nothing reads).
    ``interleaves``: pipelines run the interleaved schedule with as many virtual stages as the blocks allow, unless
    told.
    ``joint_replicas``: the data-parallel replicas of a server share one process, whose host slows them all.
    ``network_cards``: cards of a server that its collectives keep busy; 0: all.
    ``assumed_micro_batch`` and ``assumed_batch_tokens``: the program's own defaults where a run does not state its
    batch.
    ``recompute``, ``sharding``, ``sequence_parallel``, ``optimizer``: what the stack does unless told.
    Memory: ``framework_reserve_byte`` is what context and framework take outside of tensors [B]; ``allocator_share``
    what the caching allocator holds beyond the peak of tensors, as a share of it; ``gradient_copy_byte`` a second
    gradient of a parameter beside the stored one, in 16-bit formats without a loss scale [B]; ``pass_gradient_byte``
    what a backward pass writes a parameter before that is added to the stored gradients [B]; ``eager_kept_share`` what
    blocks keep beyond fused kernels, as a share of that; ``update_byte`` temporaries of the update a parameter that a
    rank updates [B]; ``loss_byte`` what one logit takes at the loss, with
    its gradient, in 16-bit recipes [B]; ``selective_share`` what a block keeps under "selective" where attention is
    fused and other products are replayed, as a share of all; ``keeps_scores``: attention's scores are kept though its
    kernels are fused; ``gathered_share``: how much of what
    sequence parallelism gathers for products stays whole for the backward pass and is not gathered anew;
    ``offloads_optimizer``: masters and state stand in the host's memory, with ``offloads_parameters`` the shards of
    parameters and gradients too (ZeRO-3); ``unrolls_recurrence``: every step of a recurrent layer is an op of its own,
    with its own weight gradient; ``cuts_by_cost``: pipeline stages share blocks and head by their parameters.
    ``matches`` holds regular expressions of (source, software) that recognise the stack in a table of measured runs,
    and optionally the family of workload they hold for.
    """

    id: str
    name: str
    year: int
    framework: str
    family: str
    source: str
    attention: str = "fused"
    attention_kernels: str = ""
    vector_launch_share: float = 1.0
    vector_traffic_share: float = 1.0
    host_s_per_launch: float = 12e-6
    graph_capture: bool = False
    gradient_exchange: str = "backward"
    bucket_byte: float = 25e6
    gradient_byte: float = 0.0
    tensor_overlap: bool = False
    send_overlap: bool = False
    fp32_is_tf32: bool = False
    routing_waits: bool = True
    expert_dispatch: str = "all_to_all"
    expert_launches: bool = False
    fuses_experts: bool = False
    expert_overlap: bool = False
    cuts_experts: bool = False
    kernel_release: str = ""
    vector_fp32: bool = False
    vector_fp32_share: float = 0.0
    mean_length_share: float = 1.0
    pipelined_call_host_s: float = 0.0
    pipeline_stall_s: float = 0.0
    pipeline_stall_chips: int = 0
    joint_replicas: bool = False
    network_cards: int = 0
    replay_stops_early: bool = False
    interleaves: bool = False
    assumed_micro_batch: int = 0
    assumed_batch_tokens: int = 0
    recompute: str = "none"
    sharding: str = "none"
    sequence_parallel: bool = False
    optimizer: str = ""
    framework_reserve_byte: float = 2.0e9
    allocator_share: float = 0.0
    gradient_copy_byte: float = 0.0
    pass_gradient_byte: float = 0.0
    eager_kept_share: float = 0.0
    update_byte: float = 0.0
    loss_byte: float = 8.0
    selective_share: float = 1.0
    keeps_scores: bool = False
    gathered_share: float = 0.0
    offloads_optimizer: bool = False
    offloads_parameters: bool = False
    unrolls_recurrence: bool = False
    cuts_by_cost: bool = False
    note: str = ""
    matches: tuple[tuple[str, ...], ...] = ()

    def __post_init__(self) -> None:
        for name, legal in (
            ("attention", ATTENTION_KINDS), ("gradient_exchange", GRADIENT_EXCHANGES), ("recompute", RECOMPUTE_MODES),
            ("sharding", SHARDING_MODES), ("expert_dispatch", EXPERT_DISPATCHES),
            ("attention_kernels", ("", *ATTENTION_LIBRARIES)),
        ):  # fmt: skip
            value = getattr(self, name)
            if value not in legal:
                raise ValueError(f"Stack {self.id!r}: {name} is {value!r}; legal: {', '.join(legal)}.")
        for name in ("vector_launch_share", "vector_traffic_share", "host_s_per_launch"):
            if not 0.0 <= getattr(self, name) <= 10.0:
                raise ValueError(f"Stack {self.id!r}: {name} is {getattr(self, name)!r}; a number from 0 to 10.")
        for name, most in (
            ("allocator_share", 1.0), ("gradient_copy_byte", 16.0), ("pass_gradient_byte", 16.0),
            ("eager_kept_share", 2.0), ("update_byte", 32.0), ("loss_byte", 32.0),
            ("selective_share", 1.0), ("gathered_share", 1.0), ("framework_reserve_byte", 32e9),
            ("vector_fp32_share", 1.0),
        ):  # fmt: skip
            if not 0.0 <= getattr(self, name) <= most:
                raise ValueError(f"Stack {self.id!r}: {name} is {getattr(self, name)!r}; a number from 0 to {most:g}.")

    def vector_byte(self, stored_byte: float) -> float:
        """Mean bytes of an element of element-wise work, where a stored activation takes ``stored_byte`` [B]."""
        if self.vector_fp32:
            return 4.0
        return stored_byte + self.vector_fp32_share * max(4.0 - stored_byte, 0.0)

    @property
    def attention_library(self) -> str:
        """The fused attention that the stack's release calls, as `kernels.settings.LIBRARIES` has it."""
        return self.attention_kernels or next(word for year, word in _ATTENTION_LIBRARIES if self.year >= year)

    @property
    def kernel_library(self) -> str:
        """The vendor's kernels that the stack's release calls, as `kernels.settings.LIBRARIES` has them."""
        return self.kernel_release or next(word for year, word in _KERNEL_LIBRARIES if self.year >= year)


def _read(file: TomlFile) -> Stack:
    """Check one stack file, all its problems together."""
    hints: Mapping[str, Any] = get_type_hints(Stack)
    known = [f.name for f in fields(Stack)]
    problems: list[str] = []
    values: dict[str, Any] = {}
    for key, value in file.data.items():
        if key == "schema":
            continue
        where = f"{file.name}:{file.line_of((key,))}: {key}"
        if key not in known:
            problems.append(f"{where}: unknown key.{did_you_mean(key, known)}")
            continue
        if key == "matches":
            values[key] = tuple(tuple(map(str, entry)) for entry in value)
            continue
        kind = hints[key]
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            problems.append(f"{where}: {value!r} is not a {kind.__name__}.")
        values[key] = value
    problems += [
        f"{file.name}: {k} is missing."
        for k in ("id", "name", "year", "framework", "family", "source")
        if k not in values
    ]
    if problems:
        raise DataFileError("\n".join(problems))
    try:
        return Stack(**values)
    except ValueError as error:
        raise DataFileError(f"{file.name}: {error}") from error


def _all() -> Mapping[str, Stack]:
    return _read_stacks(tuple(data_files("stacks", _folder()).values()))


@cache
def _folder() -> str:
    return str(files("simulator") / "data" / "stacks")


@cache
def _read_stacks(paths: tuple[str, ...]) -> Mapping[str, Stack]:
    stacks = [_read(read_toml(path)) for path in paths]
    return {stack.id: stack for stack in stacks}


def stack_ids() -> tuple[str, ...]:
    """Stacks that ship or that the user adds."""
    return tuple(_all())


def stack(name: str) -> Stack:
    """One stack by its id; raises `StackError` naming the nearest."""
    found = _all()
    if name not in found:
        raise StackError(unknown_name("stack", name, found))
    return found[name]


@cache
def resolve_stack(source: str, software: str, family: str) -> str:
    """The stack that a row of a measured table ran on, "" when none is recognised.

    The most specific match wins: the longest patterns, a match bound to the workload's family before one that is not.
    """
    best, found = -1, ""
    for candidate in _all().values():
        for source_pattern, software_pattern, *families in candidate.matches:
            if families and families[0] != family:
                continue
            if re.search(source_pattern, source) and re.search(software_pattern, software):
                specificity = len(source_pattern) + len(software_pattern) + 10 * len(families)
                if specificity > best:
                    best, found = specificity, candidate.id
    return found
