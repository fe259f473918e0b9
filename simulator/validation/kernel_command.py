"""`trainyard validate kernels`: read a table, predict it, write the predictions, sum up the record."""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from ..kernel_calibration import load_kernels
from ..output import write_atomically
from .kernel_summary import KernelSummary, summarise_kernels
from .kernels import KernelValidation, predict_kernels, predict_kernels_held_out, read_kernel_table
from .runs import predictions_csv


def validate_kernels(
    path: Path | None = None,
    out: Path | None = None,
    *,
    hold: str = "",
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> KernelSummary:
    """Predict a table of measured kernels, write the predictions (all or nothing) and sum up the record.

    Without ``path`` the selection that ships with the package is used. ``hold`` ("chips", "shapes" or "generations")
    predicts each of them with constants fitted without it; "" uses the shipped constants of ``calibration``.

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
        with as_file(files("simulator") / "data" / "measured_kernels.csv") as shipped:
            result = _predict(shipped, hold, calibration, progress)
    else:
        result = _predict(path, hold, calibration, progress)
    if out is not None:
        write_atomically(out, predictions_csv(result.predictions))
    return summarise_kernels(result, written=str(out) if out is not None else "")


def _predict(path: Path, hold: str, calibration: str, progress: Callable[[str], None]) -> KernelValidation:
    shipped = load_kernels(calibration)
    table = read_kernel_table(path)
    progress(f"{len(table.rows)} rows, {len(table.jobs)} with a model, {len(table.measured_s)} measured")
    if hold:
        return predict_kernels_held_out(table, hold, progress=progress)
    return predict_kernels(table, constants=shipped.constants, record=shipped.record)
