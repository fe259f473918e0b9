"""`trainyard validate collectives`: read a table, predict it, write the predictions, sum up the record."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from ..collective_calibration import load_collectives
from ..output import write_atomically
from .collective_summary import CollectiveSummary, summarise_collectives
from .collectives import (
    CollectiveValidation,
    predict_collectives,
    predict_collectives_held_out,
    read_collective_table,
)
from .runs import predictions_csv


def validate_collectives(
    path: Path | None = None,
    out: Path | None = None,
    *,
    hold: str = "",
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> CollectiveSummary:
    """Predict a table of measured collectives, write the predictions (all or nothing) and sum up the record.

    Without ``path`` the selection that ships with the package is used. ``hold`` ("groups" or "systems") predicts each
    of them with constants fitted without it; "" uses the shipped constants of ``calibration``.

    Raises
    ------
    TableError
        Where the table cannot be read or is too small to hold anything out.
    CalibrationError
        For an unknown calibration.
    OutputError
        Where the predictions cannot be written.
    """
    if path is None:
        with as_file(files("simulator") / "data" / "measured_collectives.csv") as shipped:
            result = _predict(shipped, hold, calibration, progress)
    else:
        result = _predict(path, hold, calibration, progress)
    if out is not None:
        write_atomically(out, predictions_csv(result.predictions))
    return summarise_collectives(result, written=str(out) if out is not None else "")


def _predict(path: Path, hold: str, calibration: str, progress: Callable[[str], None]) -> CollectiveValidation:
    shipped = load_collectives(calibration)
    table = read_collective_table(path)
    progress(f"{len(table.rows)} rows, {len(table.jobs)} with a model, {len(table.measured_s)} measured")
    if hold:
        return predict_collectives_held_out(table, hold, progress=progress)
    return predict_collectives(table, constants=shipped.constants, record=shipped.record)
