"""Yardsticks beside every score: constant utilisation, the bare roofline, and their conformal intervals."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np

from hwmodels.chip import Chip
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from ...calibration.weights import group_weight
from ...kernels.optable import Floats, Ints
from ..rows import RunJob
from ..runs import weighted_quantile


def roofline_s(job: RunJob) -> float:
    r"""Step time of the bare roofline [s].

    .. math:: t = p\,\frac{m}{ranks} \sum_{ops} \max\left(\frac{F b}{peak},
              \frac{b_{el} (E b + W)}{bandwidth}\right)

    with p passes (3, or 4 with full recomputation), m micro-batches of b samples, F FLOPs and E activation elements a
    sample, W parameters. The work is cut evenly over the ranks that share a model; left out: messages, bubbles, kernel
    starts, the update, what a stack fuses. Williams et al., Communications of the ACM 52 (2009) 65.
    """
    p, context = job.parallelism, job.context
    alone_s = _forward_s(job.workload, context.cluster.chip, context.recipe, p.micro_batch)
    passes = 4.0 if p.recompute == "full" else 3.0
    return passes * (p.global_batch / p.micro_batch) * alone_s / p.chips


@cache
def _forward_s(workload: Workload, chip: Chip, recipe: PrecisionRecipe, samples: int) -> float:
    """One forward pass of a micro-batch on one chip [s]."""
    peak, bandwidth = chip.peak(recipe.matmul), chip.memory_bandwidth_byte_per_s
    total = 0.0
    for layer in workload.layers:
        for op in layer.ops:
            elements = (op.read_elements + op.write_elements) * samples
            byte = recipe.storage_byte * (elements + op.parameters)
            total += layer.repeat * max(op.forward_flop * samples / peak, byte / bandwidth)
    return total


def conformal_ends(jobs: Sequence[RunJob], error: Floats, folds: Ints) -> tuple[Floats, Floats]:
    """Ends of an 80 % interval around a yardstick, ln(end / measured), shape (runs,) each.

    Split conformal: the 10 % and 90 % quantiles of ln(measured / predicted) over the runs of the same kind in the other
    folds, a group of n runs counting as sqrt(n). ``error`` is ln(predicted / measured), (runs,).
    """
    low, high = error.copy(), error.copy()
    kinds, groups = np.array([job.family for job in jobs]), [job.group for job in jobs]
    for fold in np.unique(folds):
        weight = group_weight(groups, (folds != fold).astype(float))
        for kind in np.unique(kinds[folds == fold]):
            others = np.flatnonzero((kinds == kind) & (folds != fold))
            others = others if len(others) else np.flatnonzero(folds != fold)
            if not len(others):
                continue
            held = (kinds == kind) & (folds == fold)
            low[held] += weighted_quantile(-error[others], weight[others], 0.1)
            high[held] += weighted_quantile(-error[others], weight[others], 0.9)
    return low, high


def interval_score(low: Floats, high: Floats, *, share: float = 0.8) -> Floats:
    r"""Winkler's interval score of intervals around ln 1, ends as ln(end / measured); the smaller the better, (runs,).

    .. math:: S = (u - l) + \frac{2}{\alpha} \max(l, 0) + \frac{2}{\alpha} \max(-u, 0), \qquad \alpha = 1 - share

    Winkler, Journal of the American Statistical Association 67 (1972) 187.
    """
    alpha = 1.0 - share
    return np.asarray((high - low) + 2.0 / alpha * (np.maximum(low, 0.0) + np.maximum(-high, 0.0)))
