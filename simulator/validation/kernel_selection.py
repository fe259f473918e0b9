"""The measured kernels that ship: of every cell of the corpus the same few rows, chosen by the hash of their shape.

A cell is (kernel, suite, chip, precision, library, pass, op). Kept beside each row's columns is nothing but what the
corpus states; the held-out predictions of the same rows are in ``kernel_calibrations/record.csv``.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

from .kernel_suites.family import Row

ROWS_PER_CELL: Final = 6
_CELL: Final = ("kernel", "suite", "chip", "precision", "library", "pass", "op")
#: Columns of the corpus that do not ship: remarks, and a column that is always empty.
_LEFT_OUT: Final = ("notes", "split")


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
    columns = [c for c in rows[0] if c not in _LEFT_OUT]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([row.get(c, "") for c in columns] for row in select(rows))
    return out.getvalue()


def record_csv(rows: Sequence[Row], held: Mapping[str, Mapping[int, float]]) -> str:
    """Held-out predictions of the selected rows [s], one column for each way of holding out."""
    shipped = {row["row"] for row in select(rows)}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["row", *held])
    for index, row in enumerate(rows):
        if row["row"] in shipped and all(index in predicted for predicted in held.values()):
            writer.writerow([row["row"], *(f"{predicted[index]:.5g}" for predicted in held.values())])
    return out.getvalue()


def shipped_kernels() -> tuple[dict[str, str], ...]:
    """The measured kernels that ship."""
    text = files("simulator").joinpath("data", "measured_kernels.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def recorded_kernels() -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> seconds."""
    path = files("simulator").joinpath("data", "kernel_calibrations", "record.csv")
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return {row["row"]: {hold: float(value) for hold, value in row.items() if hold != "row"} for row in rows}
