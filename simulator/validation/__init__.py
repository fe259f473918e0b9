"""Predicted against measured: reading measured runs, cross-fitting, the record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..output import write_atomically
from .runs import TableError, ValidationResult, predictions_csv
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
    from importlib.resources import as_file, files

    if path is None:
        with as_file(files("simulator") / "data" / "measured_runs.csv") as shipped:
            result = predict_runs(shipped, held_out=held_out, calibration=calibration, progress=progress)
    else:
        result = predict_runs(path, held_out=held_out, calibration=calibration, progress=progress)
    if out is not None:
        write_atomically(out, predictions_csv(result.predictions))
    return summarise(result, written=str(out) if out is not None else "")
