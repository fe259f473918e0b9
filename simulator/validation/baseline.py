"""The yardstick beside every error: constant utilisation, fitted on the same folds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..kernels.optable import Floats
from .rows import RunJob


def utilisation_s(job: RunJob) -> float:
    """Step time at the chips' peak rate [s]: 3 forwards of the batch, or 4 with full recomputation, nothing else."""
    passes = 4.0 if job.parallelism.recompute == "full" else 3.0
    flop = passes * job.workload.forward_flop * job.parallelism.global_batch
    return flop / (job.parallelism.chips * job.context.cluster.chip.peak(job.context.recipe.matmul))


def baseline_step_s(
    jobs: Sequence[RunJob], measured_s: Floats, folds: Floats, *, ideal_s: Floats | None = None
) -> Floats:
    """Step times at one utilisation per (kind of run, chip family, precision), each job's fitted without its own fold.

    ``ideal_s`` are the step times that a utilisation of 1 stands for, those at peak rate unless given. The utilisation
    is the median over training runs; a cell without training runs falls back to its kind of run.
    """
    ideal = np.array([utilisation_s(job) for job in jobs]) if ideal_s is None else ideal_s
    ratio = np.log(measured_s / ideal)
    cells = [(j.family, j.context.cluster.chip.architecture, j.context.recipe.matmul) for j in jobs]
    result = np.zeros(len(jobs))
    for fold in np.unique(folds):
        training, held = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        by_cell: dict[object, list[float]] = {}
        for index in training:
            by_cell.setdefault(cells[index], []).append(ratio[index])
            by_cell.setdefault(cells[index][0], []).append(ratio[index])
        overall = float(np.median(ratio[training])) if len(training) else 0.0
        for index in held:
            values = by_cell.get(cells[index]) or by_cell.get(cells[index][0])
            result[index] = ideal[index] * math.exp(float(np.median(values)) if values else overall)
    return result
