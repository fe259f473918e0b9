"""``python -m simulator.calibration.collectives COLLECTIVES.csv``: fit the shipped collective calibration anew.

Writes, in ``simulator/data``: ``collective_calibrations/default.toml`` (constants fitted on all rows of the table, and
the record of groups and systems held out), ``measured_collectives.csv`` (the rows that ship) and
``collective_calibrations/record.csv`` (their held-out predictions). Takes a minute or two; the same table gives the
same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import row_ranges
from ..collective_calibration import to_toml
from ..output import write_atomically
from ..validation.collective_record import record_of
from ..validation.collective_selection import record_csv, selection_csv
from ..validation.collectives import HOLDS, fit_collectives, hold_out, read_collective_table
from ..validation.runs import TableError


def main(arguments: Sequence[str]) -> int:
    """Fit, hold out and write; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m simulator.calibration.collectives COLLECTIVES.csv", file=sys.stderr)
        return 2

    def progress(text: str) -> None:
        print(text, file=sys.stderr)

    try:
        table = read_collective_table(Path(arguments[0]))
        held = {hold: hold_out(table, hold, progress=progress) for hold in HOLDS}
    except TableError as error:
        print(f"simulator.calibration.collectives: {error}", file=sys.stderr)
        return 2
    record = record_of(table.jobs, table.measured_s, held)
    text = to_toml(
        name="default",
        constants=fit_collectives(table),
        record=record,
        fitted_on={
            "what": "measured collectives: every row that resolves and carries no flag",
            "table": "measured/collectives.csv (the open part of the corpus)",
            "collectives": str(len(table.used)),
            "rows": row_ranges(int(table.rows[i]["row"]) for i in table.used),
        },
    )
    with as_file(files("simulator") / "data") as folder:
        write_atomically(folder / "collective_calibrations" / "default.toml", text)
        write_atomically(folder / "measured_collectives.csv", selection_csv(table.rows))
        predicted = {hold: result.predicted_s for hold, result in held.items()}
        write_atomically(folder / "collective_calibrations" / "record.csv", record_csv(table.rows, predicted))
    for name, entry in sorted(record.classes.items()):
        print(
            f"{name:20} {entry.rows:6d} rows {entry.groups:3d} groups  macro {entry.macro:6.1%} mean {entry.mean:6.1%} "
            f"median {entry.median:6.1%}  baseline {entry.baseline_macro:6.1%} / {entry.baseline_median:6.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
