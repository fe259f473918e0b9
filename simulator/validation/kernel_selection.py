"""The measured kernels that ship: of every cell of the corpus the same few rows, chosen by the hash of their shape.

A cell is (kernel, suite, chip, precision, library, pass, op). Kept beside each row's columns is nothing but what the
corpus states; the held-out predictions of the same rows are in ``kernel_calibrations/record.csv``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final

from .kernel_suites.family import Row
from .shipped_tables import held_out_csv, held_out_table, rows_csv, shipped_table

ROWS_PER_CELL: Final = 6
_CELL: Final = ("kernel", "suite", "chip", "precision", "library", "pass", "op")


def select(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that ship, in the order of the corpus."""
    cells: dict[tuple[str, ...], list[tuple[str, int]]] = {}
    for index, row in enumerate(rows):
        shape = "|".join(f"{c}={row.get(c, '')}" for c in row if c not in ("row", "time_s", "locator", "source"))
        digest = hashlib.sha256(shape.encode()).hexdigest()
        cells.setdefault(tuple(row.get(c, "") for c in _CELL), []).append((digest, index))
    chosen = sorted(index for members in cells.values() for _, index in sorted(members)[:ROWS_PER_CELL])
    return tuple(rows[i] for i in chosen)


def selection_csv(rows: Sequence[Row]) -> str:
    """The selected rows of a corpus as the text of their file."""
    return rows_csv(rows, select(rows))


def record_csv(rows: Sequence[Row], held: Mapping[str, Mapping[int, float]]) -> str:
    """Held-out predictions of the selected rows [s], one column for each way of holding out."""
    return held_out_csv(rows, select(rows), held)


def shipped_kernels() -> tuple[dict[str, str], ...]:
    """The measured kernels that ship."""
    return shipped_table("measured_kernels.csv")


def recorded_kernels() -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> seconds."""
    return held_out_table("kernel_calibrations")
