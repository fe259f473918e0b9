"""Every strategy of a job that fits, priced and in order."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from .analytic import StepBatch, StepTimes, batch, step_times
from .constants import Constants
from .job import Job
from .kernels.optable import Ints
from .lowering import lower_columns
from .memory import MemoryColumns, memory_byte
from .parallelism import Parallelism
from .search import Candidates, legal
from .staging import staged
from .stepspec import StepSpec, StepTime


@dataclass(frozen=True, kw_only=True)
class Search:
    """Every legal strategy of a job, those that fit priced, the fastest first.

    ``order`` indexes ``fitting`` (and ``steps``, ``times``, ``memory``) by step time; equally fast ones by the memory
    they need.
    """

    everything: Candidates
    everything_memory: MemoryColumns
    capacity_byte: float
    fitting: Candidates
    memory: MemoryColumns
    steps: StepBatch | None
    times: StepTimes | None
    order: Ints

    def spec(self, place: int) -> StepSpec:
        """The strategy in that place of the ranking (0 is the best), lowered and priced."""
        if self.steps is None:
            raise IndexError("Search: nothing fits, so that nothing is ranked.")
        return self.steps.spec(int(self.order[place]))

    def parallelism(self, place: int) -> Parallelism:
        """The strategy in that place of the ranking."""
        return self.fitting.parallelism(int(self.order[place]))

    def step(self, place: int) -> StepTime:
        """Its step time in closed form."""
        if self.times is None:
            raise IndexError("Search: nothing fits, so that nothing is ranked.")
        return self.times[int(self.order[place])]


def search(job: Job, constants: Constants) -> Search:
    """Every legal strategy, its memory, and the step time of those that fit."""
    context, cluster = job.context, job.context.cluster
    asked = (job.workload, cluster, context.stack, job.chips, job.query.global_batch, dict(job.query.fixed))
    everything = legal(*asked)
    memory = memory_byte(job.workload, context, everything.columns)
    capacity = cluster.chip.memory_byte
    fits = memory.total_byte <= capacity
    if len(everything) and not fits.any():
        # What saves memory at a cost that nobody pays unless nothing fits.
        resort = legal(*asked, last_resort=True)
        needed = memory_byte(job.workload, context, resort.columns)
        if (needed.total_byte <= capacity).any():
            everything, memory, fits = resort, needed, needed.total_byte <= capacity
    fitting = everything.take(fits)
    own = MemoryColumns(**{f.name: getattr(memory, f.name)[fits] for f in fields(memory)})
    if not len(fitting):
        return Search(
            everything=everything,
            everything_memory=memory,
            capacity_byte=capacity,
            fitting=fitting,
            memory=own,
            steps=None,
            times=None,
            order=np.zeros(0, np.int64),
        )
    lowered = staged(job.workload, lower_columns(job.workload, context, fitting.columns))
    steps = batch(lowered, constants)
    times = step_times(steps)
    return Search(
        everything=everything,
        everything_memory=memory,
        capacity_byte=capacity,
        fitting=fitting,
        memory=own,
        steps=steps,
        times=times,
        order=np.lexsort((own.total_byte, times.total_ps)),
    )
