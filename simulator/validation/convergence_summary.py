"""The record of measured convergence: errors beside interpolation's, by class, task and unit."""

from __future__ import annotations

from ..convergence_calibration import point_class
from .convergence import ConvergenceValidation
from .held_out_summary import HeldOutSummary, summarise_held_out


def summarise_convergence(result: ConvergenceValidation, *, written: str = "") -> HeldOutSummary:
    """Errors of a validation; macro errors are over (task, model) groups."""
    jobs = result.table.jobs
    return summarise_held_out(
        result,
        baseline="interpolation in log batch between neighbours",
        parts={
            "by_recipe": lambda i: point_class(jobs[i].point),
            "by_task": lambda i: jobs[i].point.task,
        },
        titles={"by recipe": "by_recipe", "by task": "by_task"},
        written=written,
    )
