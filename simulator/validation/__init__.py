"""Predicted against measured: reading measured runs, cross-fitting, the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .command import predict_and_write
from .memory_record import MemoryFit, with_held_memory
from .runs import TableError, ValidationResult
from .runs import validate_runs as predict_runs
from .summary import ValidationSummary, summarise
from .training_runs import with_trainings
from .training_summary import training_errors

__all__ = ["TableError", "ValidationResult", "ValidationSummary", "predict_runs", "validate_runs"]


def validate_runs(
    path: Path | None = None,
    out: Path | None = None,
    *,
    held_out: bool = False,
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> ValidationSummary:
    """Predict a table of measured runs, write the predictions (all or nothing) and sum up the record.

    Without ``path`` the selection that ships with the package is used.

    Raises
    ------
    TableError
        Where the table cannot be read or is too small for cross-fitting.
    OutputError
        Where the predictions cannot be written.
    """
    fits: list[MemoryFit | None] = []

    def predict(table: Path) -> ValidationResult:
        result = predict_runs(table, held_out=held_out, calibration=calibration, progress=progress)
        if held_out:
            result, memory = with_held_memory(result)
            fits.append(memory)
        return with_trainings(result, calibration)

    result, where = predict_and_write(path, out, shipped="measured_runs.csv", predict=predict)
    summary = summarise(result, memory=fits[0] if fits else None, written=where)
    return replace(summary, trainings=training_errors(result))
