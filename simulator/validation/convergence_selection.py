"""The measured points of convergence that ship: all of them, a table of a few hundred lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .convergence_rows import Row
from .shipped_tables import held_out_csv, held_out_table, rows_csv


def selection_csv(rows: Sequence[Row]) -> str:
    """The rows of a corpus as the text of their file."""
    return rows_csv(rows, rows)


def record_csv(rows: Sequence[Row], held: Mapping[str, Mapping[int, float]]) -> str:
    """Held-out predictions of the rows in their own units, one column for each way of holding out."""
    return held_out_csv(rows, rows, held)


def recorded_convergence() -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> the row's own unit."""
    return held_out_table("convergence_calibrations")
