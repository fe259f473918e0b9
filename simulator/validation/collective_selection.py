"""The measured collectives that ship: of every sweep of the corpus the same few sizes.

A sweep is (system, chip, collective, ranks, library, algorithm, precision). Of its rows, in order of size, the first
and the last ship and two that divide the rest evenly. Kept beside each row's columns is nothing but what the corpus
states; the held-out predictions of the same rows are in ``collective_calibrations/record.csv``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Final

from .collective_rows import Row

ROWS_PER_SWEEP: Final = 4
_SWEEP: Final = ("system", "chip", "collective", "ranks", "library", "algorithm", "dtype")
#: Columns of the corpus that do not ship: remarks, and how it was dealt.
_LEFT_OUT: Final = ("notes", "split")


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


def shipped_collectives() -> tuple[dict[str, str], ...]:
    """The measured collectives that ship."""
    text = files("simulator").joinpath("data", "measured_collectives.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def recorded_collectives() -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> seconds."""
    path = files("simulator").joinpath("data", "collective_calibrations", "record.csv")
    rows = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8")))
    return {row["row"]: {hold: float(value) for hold, value in row.items() if hold != "row"} for row in rows}
