"""Tables of the measured corpus as they ship: the selected rows, and their held-out predictions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Final

Row = Mapping[str, str]

#: Columns of the corpus that do not ship: remarks, and how it was dealt.
_LEFT_OUT: Final = ("notes", "split")


def csv_text(columns: Iterable[str], lines: Iterable[Iterable[object]]) -> str:
    """A table as the text of its file."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(lines)
    return out.getvalue()


def shipped_table(*path: str) -> tuple[dict[str, str], ...]:
    """Rows of a table in ``simulator/data``."""
    text = files("simulator").joinpath("data", *path).read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


def rows_csv(rows: Sequence[Row], selected: Iterable[Row]) -> str:
    """The selected rows of a corpus as the text of their file."""
    columns = [c for c in rows[0] if c not in _LEFT_OUT]
    return csv_text(columns, ([row.get(c, "") for c in columns] for row in selected))


def held_out_csv(rows: Sequence[Row], selected: Iterable[Row], held: Mapping[str, Mapping[int, float]]) -> str:
    """Held-out predictions of the selected rows [s], one column for each way of holding out."""
    shipped = {row["row"] for row in selected}
    return csv_text(
        ["row", *held],
        (
            [row["row"], *(f"{predicted[index]:.5g}" for predicted in held.values())]
            for index, row in enumerate(rows)
            if row["row"] in shipped and all(index in predicted for predicted in held.values())
        ),
    )


def held_out_table(folder: str) -> Mapping[str, Mapping[str, float]]:
    """Held-out predictions of the shipped rows, row number -> way of holding out -> seconds."""
    rows = shipped_table(folder, "record.csv")
    return {row["row"]: {hold: float(value) for hold, value in row.items() if hold != "row"} for row in rows}
