"""Measured memory: what a job takes on one chip, as the source of its row read it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from workloads.precision import PrecisionRecipe

from ..kernels.optable import Floats
from ..memory import MemoryColumns, StageMemory, stage_memory
from ..parallelism import Parallelism, columns_of
from .cells import Unsupported
from .memory_software import LARGEST, MIB, MemorySoftware, constants_of, factors_of, software_of
from .rows import RunJob
from .samples import cached_workload, entry_of

#: From the least replayed to the most; what a source leaves open is the first that fits.
_RECOMPUTES: Final = ("none", "selective", "full")
#: A run that was measured did fit: recomputation is assumed only where so many times the memory would be needed, by a
#: count that may err.
_LENIENCE: Final = 1.25
#: Least memory of a framework that takes it in powers of two [B].
_FIRST_ARENA_BYTE: Final = 256 * MIB


@dataclass(frozen=True, kw_only=True)
class MemoryReading:
    """A predicted memory figure in the row's unit, its 80 % interval, the columns it comes from, what was assumed."""

    predicted: float
    low: float
    high: float
    purposes: MemoryColumns
    assumed: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class MemoryJob:
    """A measured run as its memory is counted: the largest batch, the schedule and the habits of its software."""

    job: RunJob
    software: MemorySoftware
    strategy: Parallelism
    capacity_byte: float
    assumed: tuple[str, ...]
    gathers_anew: bool = False

    @property
    def keeps_all(self) -> bool:
        """Whether all that sequence parallelism gathers is kept, whatever the constants say."""
        return self.software.keeps_alone and self.strategy.pp == 1 and not self.gathers_anew

    def stages(self) -> StageMemory:
        """Memory of every stage and moment."""
        return stage_memory(self.job.workload, self.job.context, columns_of([self.strategy]), frozen=self.job.frozen)

    def with_constants(self, constants: Mapping[str, float | bool]) -> MemoryJob:
        """The same job with other constants of its software, and nothing chosen again."""
        if self.keeps_all:
            constants = {**constants, "gathered_share": 1.0}
        context = self.job.context
        job = replace(self.job, context=replace(context, stack=replace(context.stack, **constants)))  # type: ignore[arg-type]
        return replace(self, job=job)

    def reading(self, stages: StageMemory) -> float:
        """The figure that the source prints, in its unit."""
        peak = stages.peak(role=self.role)
        outside = float((peak.communicator_byte + peak.reserve_byte)[0])
        share = self.job.context.stack.allocator_share
        found = figures(peak.allocated_byte, share, np.array([outside]), self.software, np.array([self.capacity_byte]))
        return float(found[0])

    @property
    def role(self) -> int | None:
        """The stage that is read; None for the fullest."""
        return 0 if self.software.first_rank else None


def figures(
    allocated_byte: Floats, share: float, outside_byte: Floats, software: MemorySoftware, capacity_byte: Floats
) -> Floats:
    """What a source prints of peaks of tensors, in its unit; shape (N,).

    Allocated: the peak. Reserved: (1 + share) x peak, the next power of two where memory is taken so. Device: that and
    what is ``outside`` of the allocator, at most the capacity.
    """
    if software.reading == "allocated":
        return allocated_byte / software.unit_byte
    held = allocated_byte * (1.0 + share)
    if software.doubles:
        held = 2.0 ** np.ceil(np.log2(np.maximum(held, _FIRST_ARENA_BYTE)))
    if software.reading == "device":
        held = held + outside_byte
    return np.asarray(np.minimum(held, capacity_byte) / software.unit_byte)


def memory_gb(job: RunJob) -> MemoryReading:
    """What a measured run takes on one chip, as its source reads it; raises `Unsupported` for what it cannot be.

    What a row leaves open is filled as for its step time, but for recomputation: the least that fits by this count.
    A driver's reading is capped by what the chip has.
    """
    found = memory_job(job)
    stages = found.stages()
    value = found.reading(stages)
    if value <= 0.0:
        raise Unsupported("the job takes no memory")
    low, high = factors_of(found.software)
    most = found.capacity_byte / found.software.unit_byte
    return MemoryReading(
        predicted=value, low=value * low, high=max(min(value * high, most), value),
        purposes=stages.peak(role=found.role), assumed=found.assumed,
    )  # fmt: skip


def memory_job(job: RunJob, *, fitted: bool = True) -> MemoryJob:
    """A measured run with its largest batch, its software's constants and habits, and the least recomputation.

    ``fitted``: with the constants fitted on all measured rows, else the usual ones.
    """
    row = job.row
    software = software_of(row["source"], row["software"], job.workload.family)
    assumed = [each for each in job.assumed if not each.startswith("recompute")]
    strategy = _as_run(job.parallelism, row)
    stack = replace(job.context.stack, **{**(constants_of(software) if fitted else software.usual), **software.fixed})  # type: ignore[arg-type]
    recipe = _pure(job.context.recipe) if software.pure else job.context.recipe
    workload = job.workload
    for source, model, size in LARGEST:
        if re.search(source, row["source"]) and re.search(model, row["model"]):
            is_image = workload.sample == "image"
            workload = cached_workload(entry_of(row), 0 if is_image else size, size if is_image else 0)
            assumed.append(f"largest batch: {'images' if is_image else 'sequences'} of {size}")
    capacity = np.inf if "needed" in row.get("unit", "") else job.context.cluster.chip.memory_byte
    context = replace(job.context, stack=stack, recipe=recipe)
    found = MemoryJob(
        job=replace(job, workload=workload, context=context), software=software, strategy=strategy,
        capacity_byte=capacity, assumed=tuple(assumed),
    )  # fmt: skip
    return _that_fits(found.with_constants({}))


def _that_fits(found: MemoryJob) -> MemoryJob:
    """The job with what its row leaves open chosen to fit: what is kept, what replayed, what in the host's memory.

    Holes of the allocator do not count: the run ran.
    """
    if not found.job.workload.causal:
        return found
    assumed = list(found.assumed)
    capacity = found.capacity_byte
    if found.keeps_all and not _fits(found, capacity):
        found = replace(found, gathers_anew=True).with_constants({"gathered_share": 0.0})
        assumed.append("what is gathered is not kept: it does not fit")
    words: tuple[str, ...] = (found.strategy.recompute,)
    if not found.job.row.get("recompute"):
        words = _RECOMPUTES[_RECOMPUTES.index(found.job.context.stack.recompute) :]
    choices = [replace(found, strategy=replace(found.strategy, recompute=word)) for word in words]
    unloads = found.software.unloads and not found.job.frozen
    if unloads:
        choices += [one.with_constants({"offloads_optimizer": True, "offloads_parameters": True}) for one in choices]
    most = capacity * (1.0 if found.software.unloads else _LENIENCE)
    choice = next((one for one in choices if _fits(one, most)), choices[-1])
    if len(words) > 1:
        assumed.append(f"recompute {choice.strategy.recompute}: the least that fits")
    if unloads and choice.job.context.stack.offloads_parameters:
        assumed.append("what does not fit stands in the host's memory")
    return replace(choice, assumed=tuple(assumed))


def _fits(found: MemoryJob, capacity_byte: float) -> bool:
    peak = found.stages().peak()
    return bool((peak.allocated_byte + peak.communicator_byte + peak.reserve_byte)[0] <= capacity_byte)


def _pure(recipe: PrecisionRecipe) -> PrecisionRecipe:
    """The recipe with gradients and state as wide as stored parameters, and no master copies."""
    wide = recipe.storage_byte
    return replace(recipe, gradient_byte=wide, master_byte=0.0, state_byte=wide)


def _as_run(strategy: Parallelism, row: Mapping[str, str]) -> Parallelism:
    """The strategy with the sharding group that matters for memory."""
    if row.get("sharding") == "fsdp" and strategy.shard_ranks:
        # A stated FSDP shards over everybody; groups inside a server are ZeRO-1's.
        strategy = replace(strategy, shard_ranks=0)
    return strategy
