"""`trainyard validate` of kernels, collectives and convergence: kinds whose rows are held out in several ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..collective_calibration import load_collectives
from ..convergence_calibration import load_convergence
from ..kernel_calibration import load_kernels
from .collective_summary import summarise_collectives
from .collectives import (
    CollectiveValidation,
    predict_collectives,
    predict_collectives_held_out,
    read_collective_table,
)
from .command import predict_and_write
from .convergence import (
    ConvergenceValidation,
    predict_convergence,
    predict_convergence_held_out,
    read_convergence_table,
)
from .convergence_summary import summarise_convergence
from .held_out_summary import HeldOutSummary
from .kernel_summary import summarise_kernels
from .kernels import KernelValidation, predict_kernels, predict_kernels_held_out, read_kernel_table
from .measured_table import JobT, MeasuredTable


def validate_measured(
    kind: str,
    path: Path | None = None,
    out: Path | None = None,
    *,
    hold: str = "",
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> HeldOutSummary:
    """Predict a table of a kind, write the predictions (all or nothing) and sum up the record.

    ``kind`` is "kernels", "collectives" or "convergence". Without ``path`` the selection that ships with the package is
    used. ``hold`` ("chips", "shapes" or "generations" of kernels, "groups" or "systems" of collectives, "points" or
    "sources" of convergence) predicts each of them with constants fitted without it; "" uses the shipped constants of
    ``calibration``.

    Raises
    ------
    TableError
        Where the table cannot be read or is too small to hold anything out.
    CalibrationError
        For an unknown calibration.
    OutputError
        Where the predictions cannot be written.
    """

    def kernels(table_path: Path) -> KernelValidation:
        shipped = load_kernels(calibration)
        table = _told(read_kernel_table(table_path), progress)
        if hold:
            return predict_kernels_held_out(table, hold, progress=progress)
        return predict_kernels(table, constants=shipped.constants, record=shipped.record)

    def collectives(table_path: Path) -> CollectiveValidation:
        shipped = load_collectives(calibration)
        table = _told(read_collective_table(table_path), progress)
        if hold:
            return predict_collectives_held_out(table, hold, progress=progress)
        return predict_collectives(table, constants=shipped.constants, record=shipped.record)

    def convergence(table_path: Path) -> ConvergenceValidation:
        shipped = load_convergence(calibration)
        table = _told(read_convergence_table(table_path), progress)
        if hold:
            return predict_convergence_held_out(table, hold, progress=progress)
        return predict_convergence(table, constants=shipped.constants, record=shipped.record)

    if kind == "convergence":
        of_points, written = predict_and_write(path, out, shipped="measured_convergence.csv", predict=convergence)
        return summarise_convergence(of_points, written=written)
    if kind == "kernels":
        of_kernels, written = predict_and_write(path, out, shipped="measured_kernels.csv", predict=kernels)
        return summarise_kernels(of_kernels, written=written)
    of_collectives, written = predict_and_write(path, out, shipped="measured_collectives.csv", predict=collectives)
    return summarise_collectives(of_collectives, written=written)


def _told(table: MeasuredTable[JobT], progress: Callable[[str], None]) -> MeasuredTable[JobT]:
    progress(f"{len(table.rows)} rows, {len(table.jobs)} with a model, {len(table.measured_s)} measured")
    return table
