"""Many measured runs at once: lower them together, price them together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..analytic import evaluate
from ..constants import Constants
from ..kernels.optable import Floats
from ..lowering import Context, Lowered, join, lower
from ..staging import staged
from ..traffic import Traffic, traffic_of
from .rows import RunJob

#: Workloads of few and of many blocks are lowered apart: joined, all take the width of the widest.
_FEW_BLOCKS: Final = 8


@dataclass(frozen=True, kw_only=True)
class JobTable:
    """Lowered jobs; ``parts`` has the positions of jobs in the given order, their lowered form and its messages."""

    size: int
    parts: tuple[tuple[np.ndarray, Lowered, Traffic], ...]

    def step_s(self, constants: Constants) -> Floats:
        """Step time of every job, shape (jobs,) [s]."""
        result = np.zeros(self.size)
        for positions, lowered, traffic in self.parts:
            result[positions] = evaluate(lowered, constants, traffic).total_s
        return result


def job_table(jobs: Sequence[RunJob]) -> JobTable:
    """Lower jobs; those of one context and workload share their shapes."""
    parts: list[tuple[np.ndarray, Lowered, Traffic]] = []
    for few in (True, False):
        groups: dict[tuple[int, Context, bool], list[int]] = {}
        for position, job in enumerate(jobs):
            if (len(job.workload.layers) <= _FEW_BLOCKS) == few:
                groups.setdefault((id(job.workload), job.context, job.frozen), []).append(position)
        if not groups:
            continue
        lowered: list[Lowered] = []
        order: list[int] = []
        for (_, context, frozen), positions in groups.items():
            members = [jobs[p] for p in positions]
            strategies = [member.parallelism for member in members]
            workload = members[0].workload
            lowered.append(staged(workload, lower(workload, context, strategies, frozen=frozen)))
            order += positions
        joined = join(lowered)
        parts.append((np.array(order), joined, traffic_of(joined)))
    return JobTable(size=len(jobs), parts=tuple(parts))
