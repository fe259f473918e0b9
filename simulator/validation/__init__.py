"""Predicted against measured: reading measured runs, cross-fitting, the record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..calibration_data import load_constants
from .command import predict_and_write
from .memory_record import MemoryFit, with_held_memory
from .runs import HOLDS, TableError, ValidationResult
from .runs import validate_runs as predict_runs
from .scoreboard.board import scoreboard
from .summary import ValidationSummary, summarise
from .training_runs import with_trainings
from .training_summary import training_errors

__all__ = ["TableError", "ValidationResult", "ValidationSummary", "predict_runs", "validate_runs"]


def validate_runs(
    path: Path | None = None,
    out: Path | None = None,
    *,
    held_out: bool = False,
    hold: str = HOLDS[0],
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> ValidationSummary:
    """Predict a table of measured runs, write the predictions (all or nothing) and sum up the record.

    Without ``path`` the selection that ships with the package is used. ``hold`` says what ``held_out`` leaves out
    together: the runs of one source, model and chip ("groups"), or of one source ("sources").

    Raises
    ------
    TableError
        Where the table cannot be read or is too small for cross-fitting.
    OutputError
        Where the predictions cannot be written.
    """
    fits: list[MemoryFit | None] = []

    def predict(table: Path) -> ValidationResult:
        result = predict_runs(table, held_out=held_out, hold=hold, calibration=calibration, progress=progress)
        if held_out:
            result, memory = with_held_memory(result)
            fits.append(memory)
        return with_trainings(result, calibration)

    result, where = predict_and_write(path, out, shipped="measured_runs.csv", predict=predict)
    summary = summarise(result, memory=fits[0] if fits else None, written=where)
    trainings = training_errors(result)
    if not held_out:
        return replace(summary, trainings=trainings)
    board = scoreboard(result, load_constants(), trainings=trainings)
    return replace(summary, trainings=trainings, scoreboard=board)
