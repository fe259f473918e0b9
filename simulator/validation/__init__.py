"""Predicted against measured: reading measured runs, cross-fitting, the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .command import predict_and_write
from .runs import TableError, ValidationResult
from .runs import validate_runs as predict_runs
from .summary import ValidationSummary, summarise

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
    result, where = predict_and_write(
        path, out, shipped="measured_runs.csv",
        predict=lambda table: predict_runs(table, held_out=held_out, calibration=calibration, progress=progress),
    )  # fmt: skip
    return summarise(result, written=where)
