"""Every run of a held-out validation as arrays: its error, its yardsticks' errors, its interval."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...kernels.optable import Floats, Ints
from ..baseline import baseline_step_s
from ..rows import RunJob
from ..runs import CrossFit, Table, ValidationResult, extrapolations, fold_of, record_of
from .yardsticks import conformal_ends, roofline_s


@dataclass(frozen=True, kw_only=True)
class RunsScored:
    """Runs of a table, one row each; arrays have shape (runs,), errors are ln(predicted / measured) step time.

    ``index`` are their rows in the table. ``low`` and ``high`` are ln(end / measured) of the 80 % interval, made from
    the errors of the other folds alone; ``conformal_low`` and ``conformal_high`` those of constant utilisation.
    """

    table: Table
    index: tuple[int, ...]
    jobs: tuple[RunJob, ...]
    step_s: Floats
    measured_s: Floats
    error: Floats
    utilisation_error: Floats
    roofline_error: Floats
    utilisation_s: Floats
    low: Floats
    high: Floats
    conformal_low: Floats
    conformal_high: Floats

    @property
    def groups(self) -> tuple[tuple[str, str, str], ...]:
        """(source, model, chip) of every run."""
        return tuple(job.group for job in self.jobs)


def runs_scored(result: ValidationResult) -> RunsScored:
    """The runs of a held-out validation; raises `ValueError` where nothing was held out."""
    crossed = result.crossed
    if crossed is None:
        raise ValueError("runs_scored: nothing was held out; errors would be those of the fit.")
    table = result.table
    jobs = tuple(table.jobs[i] for i in crossed.index)
    folds = np.array([fold_of(job.group, crossed.hold) for job in jobs])
    measured = crossed.measured_s
    roof_s = baseline_step_s(jobs, measured, folds, ideal_s=np.array([roofline_s(job) for job in jobs]))
    low, high = _ends(table, crossed, jobs, folds)
    utilisation = crossed.baseline_error
    below, above = conformal_ends(jobs, utilisation, folds)
    return RunsScored(
        table=table, index=crossed.index, jobs=jobs, step_s=crossed.step_s, measured_s=measured, error=crossed.error,
        utilisation_error=utilisation, utilisation_s=crossed.baseline_s,
        roofline_error=np.asarray(np.log(roof_s / measured)), low=low, high=high,
        conformal_low=below, conformal_high=above,
    )  # fmt: skip


def _ends(table: Table, crossed: CrossFit, jobs: tuple[RunJob, ...], folds: Ints) -> tuple[Floats, Floats]:
    """80 % intervals of each fold from the errors of the others."""
    low, high = crossed.error.copy(), crossed.error.copy()
    for fold in np.unique(folds):
        others = np.flatnonzero(folds != fold)
        if not len(others):
            continue
        record = record_of(
            table,
            replace(
                crossed, index=tuple(crossed.index[p] for p in others), step_s=crossed.step_s[others],
                baseline_s=crossed.baseline_s[others], measured_s=crossed.measured_s[others],
            ),
        )  # fmt: skip
        for position in np.flatnonzero(folds == fold):
            job = jobs[position]
            outside = bool(extrapolations(job, record))
            factors = record.factors(job.family, job.context.stack.id, extrapolated=outside)
            if factors is not None:
                low[position] += np.log(factors[0])
                high[position] += np.log(factors[1])
    return low, high
