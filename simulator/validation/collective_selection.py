"""The measured collectives that ship: of every sweep of the corpus the same few sizes.

A sweep is (system, chip, collective, ranks, library, algorithm, precision). Of its rows, in order of size, the first
and the last ship and two that divide the rest evenly. Kept beside each row's columns is nothing but what the corpus
states; the held-out predictions of the same rows are in ``collective_calibrations/record.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from .collective_rows import Row
from .shipped_tables import held_out_csv, held_out_table, rows_csv, shipped_table

ROWS_PER_SWEEP: Final = 4
_SWEEP: Final = ("system", "chip", "collective", "ranks", "library", "algorithm", "dtype")


def select(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows that ship, in the order of the corpus."""
    sweeps: dict[tuple[str, ...], list[tuple[float, int, int]]] = {}
    for index, row in enumerate(rows):
        key = tuple(row.get(c, "") for c in _SWEEP)
        sweeps.setdefault(key, []).append((float(row["size_bytes"]), int(row["row"]), index))
    chosen = set()
    for members in sweeps.values():
        ordered, last = sorted(members), len(members) - 1
        chosen |= {ordered[round(last * k / (ROWS_PER_SWEEP - 1))][2] for k in range(ROWS_PER_SWEEP)}
    return tuple(rows[i] for i in sorted(chosen))


def selection_csv(rows: Sequence[Row]) -> str:
    """The selected rows of a corpus as the text of their file."""
    return rows_csv(rows, select(rows))


def record_csv(rows: Sequence[Row], held: Mapping[str, Mapping[int, float]]) -> str:
    """Held-out predictions of the selected rows [s], one column for each way of holding out."""
    return held_out_csv(rows, select(rows), held)


def shipped_collectives() -> tuple[dict[str, str], ...]:
    """The measured collectives that ship."""
    return shipped_table("measured_collectives.csv")


def recorded_collectives() -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> seconds."""
    return held_out_table("collective_calibrations")
