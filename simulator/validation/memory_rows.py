"""Measured memory: what a job takes on one chip, as the source of its row read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

import numpy as np

from ..memory import MemoryColumns, StageMemory, stage_memory
from ..parallelism import Parallelism, columns_of
from ..stepspec import SCHEDULES
from .cells import Unsupported
from .rows import RunJob

GIB: Final = 2.0**30
GB: Final = 1e9


@dataclass(frozen=True, kw_only=True)
class Convention:
    """What a source's memory figure is.

    ``reading``: "allocated" (the peak of tensors), "reserved" (what the caching allocator holds), "device" (what the
    driver reports: context and library buffers too). ``unit_byte``: bytes of the printed unit [B]. ``first_rank``: the
    figure is rank 0's, on the first pipeline stage, and not the fullest chip's. ``replicated_share``: how many of the
    runs with tensor parallelism that do not say so had no sequence parallelism. ``low`` and ``high``: the 80 % interval
    of measured over predicted, from rows of groups left out.
    """

    reading: str
    unit_byte: float
    low: float
    high: float
    first_rank: bool = False
    replicated_share: float = 0.0


#: nanotron's sweep ran both of its tensor-parallel modes and names neither: part of the runs whose element-wise work is
#: replicated over tensor ranks (ALL_REDUCE) and not split by sequence (REDUCE_SCATTER).
NANOTRON_REPLICATED: Final = 0.2

#: Source (regular expression) -> what it prints; the first that matches. Tables of GPU chips print binary units unless
#: the driver's MiB were converted.
CONVENTIONS: Final[tuple[tuple[str, Convention], ...]] = (
    (
        "nanotron",
        Convention(
            reading="allocated",
            unit_byte=GIB,
            low=0.93,
            high=1.12,
            first_rank=True,
            replicated_share=NANOTRON_REPLICATED,
        ),
    ),
    ("SimuMax|Zero Bubble|Primus", Convention(reading="allocated", unit_byte=GIB, low=0.95, high=1.06)),
    ("torchtitan|awsome-distributed", Convention(reading="reserved", unit_byte=GIB, low=0.88, high=1.25)),
    ("InternEvo|bigscience|Megatron-DeepSpeed", Convention(reading="device", unit_byte=GB, low=0.90, high=1.12)),
    ("DLPerf", Convention(reading="device", unit_byte=GIB, low=0.85, high=1.15)),
    ("lambdal|PaddlePaddle|vDNN", Convention(reading="device", unit_byte=GB, low=0.90, high=1.45)),
    # Which of torchtune's optimisations ran (8-bit and paged state, update in the backward pass) no column says.
    ("torchtune", Convention(reading="allocated", unit_byte=GIB, low=0.2, high=1.1)),
    ("stas00|ColossalAI", Convention(reading="allocated", unit_byte=GIB, low=0.85, high=1.20)),
)
#: Of a source that is not in the table.
OTHER: Final = Convention(reading="allocated", unit_byte=GB, low=0.75, high=1.35)

#: Schedules as sources spell them -> words of `stepspec.SCHEDULES`, where the simulator has them.
_SCHEDULE_WORDS: Final[Mapping[str, str]] = {"ZB-1p": "zb1p", "ZB-2p": "zb2p", "ZB-V": "zbv"}
#: From the least replayed to the most; what a source leaves open is the first that fits.
_RECOMPUTES: Final = ("none", "selective", "full")


@dataclass(frozen=True, kw_only=True)
class MemoryReading:
    """A predicted memory figure in the row's unit, its 80 % interval, the columns it comes from, what was assumed."""

    predicted: float
    low: float
    high: float
    purposes: MemoryColumns
    assumed: tuple[str, ...]


@cache
def convention_of(source: str) -> Convention:
    """What a source's memory figure is."""
    return next((found for pattern, found in CONVENTIONS if re.search(pattern, source)), OTHER)


def memory_gb(job: RunJob) -> MemoryReading:
    """What a measured run takes on one chip, as its source reads it; raises `Unsupported` for what it cannot be.

    What a row leaves open is filled as for its step time, but for recomputation: the least that fits by this count.
    A driver's reading is capped by what the chip has.
    """
    row = job.row
    convention = convention_of(row["source"])
    assumed = [each for each in job.assumed if not each.startswith("recompute")]
    strategy = _as_run(job.parallelism, row, assumed)
    capacity = job.context.cluster.chip.memory_byte
    if "needed" in row.get("unit", ""):
        capacity = np.inf
    stages, replays = _least_replayed(job, strategy, capacity)
    if replays:
        assumed.append(f"recompute {replays}: the least that fits")
    value = _read(stages, convention, capacity)
    if value <= 0.0:
        raise Unsupported("the job takes no memory")
    low, high = value * convention.low, value * convention.high
    if convention.replicated_share and strategy.sequence_parallel and not row.get("sequence_parallel"):
        other, _ = _least_replayed(job, replace(strategy, sequence_parallel=False), capacity)
        most = _read(other, convention, capacity)
        value *= (most / value) ** convention.replicated_share
        low, high = min(low, most * convention.low), max(high, most)
        assumed.append(f"sequence parallelism in {1.0 - convention.replicated_share:.0%} of such runs")
    peak = stages.peak(role=0 if convention.first_rank else None)
    return MemoryReading(predicted=value, low=low, high=high, purposes=peak, assumed=tuple(assumed))


def _read(stages: StageMemory, convention: Convention, capacity_byte: float) -> float:
    """The figure a source prints, in its unit."""
    peak = stages.peak(role=0 if convention.first_rank else None)
    byte = {
        "allocated": peak.allocated_byte,
        "reserved": peak.allocated_byte + peak.fragmentation_byte,
        "device": np.minimum(peak.total_byte, capacity_byte),
    }[convention.reading]
    return float(byte[0]) / convention.unit_byte


def _least_replayed(job: RunJob, strategy: Parallelism, capacity_byte: float) -> tuple[StageMemory, str]:
    """The job's memory and what was assumed of recomputation, "" where the row states it.

    Only what tensors alone cannot do is ruled out: the run ran.
    """
    if job.row.get("recompute") or not job.workload.causal:
        return _stages(job, strategy), ""
    least = _RECOMPUTES.index(job.context.stack.recompute)
    for word in _RECOMPUTES[least:]:
        stages = _stages(job, replace(strategy, recompute=word))
        if stages.peak().allocated_byte[0] <= capacity_byte:
            break
    return stages, word


def _stages(job: RunJob, strategy: Parallelism) -> StageMemory:
    return stage_memory(job.workload, job.context, columns_of([strategy]), frozen=job.frozen)


def _as_run(strategy: Parallelism, row: Mapping[str, str], assumed: list[str]) -> Parallelism:
    """The strategy with the schedule and the sharding group that matter for memory."""
    word = _SCHEDULE_WORDS.get(row.get("schedule", ""), "")
    if word and word in SCHEDULES:
        strategy = replace(strategy, schedule=word)
    elif word:
        assumed.append("activations in flight as of 1F1B")
    if row.get("sharding") == "fsdp" and strategy.shard_ranks:
        # A stated FSDP shards over everybody; groups inside a server are ZeRO-1's.
        strategy = replace(strategy, shard_ranks=0)
    return strategy
