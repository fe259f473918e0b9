"""``python -m simulator.calibration.kernels KERNELS.csv``: fit the shipped kernel calibration and its record anew.

Writes, in ``simulator/data``: ``kernel_calibrations/default.toml`` (constants fitted on all rows of the table, and the
record of shapes, chips and generations held out), ``measured_kernels.csv`` (the rows that ship) and
``kernel_calibrations/record.csv`` (their held-out predictions). Takes some minutes; the same table gives the same
bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import row_ranges
from ..kernel_calibration import to_toml
from ..output import write_atomically
from ..validation.kernel_record import record_of
from ..validation.kernel_selection import record_csv, selection_csv
from ..validation.kernels import HOLDS, fit_all_kernels, hold_out, read_kernel_table
from ..validation.runs import TableError


def main(arguments: Sequence[str]) -> int:
    """Fit, hold out and write; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m simulator.calibration.kernels KERNELS.csv", file=sys.stderr)
        return 2

    def progress(text: str) -> None:
        print(text, file=sys.stderr)

    try:
        table = read_kernel_table(Path(arguments[0]))
        held = {hold: hold_out(table, hold, progress=progress) for hold in HOLDS}
    except TableError as error:
        print(f"simulator.calibration.kernels: {error}", file=sys.stderr)
        return 2
    record = record_of(table, held)
    used = [i for i in table.measured_s if not table.rows[i].get("flag")]
    text = to_toml(
        name="default",
        constants=fit_all_kernels(table, progress=progress),
        record=record,
        fitted_on={
            "what": "measured kernels: every row that resolves and carries no flag",
            "table": "measured/kernels.csv (the open part of the corpus)",
            "kernels": str(len(used)),
            "rows": row_ranges(int(table.rows[i]["row"]) for i in used),
        },
    )
    with as_file(files("simulator") / "data") as folder:
        write_atomically(folder / "kernel_calibrations" / "default.toml", text)
        write_atomically(folder / "measured_kernels.csv", selection_csv(table.rows))
        predicted = {hold: result.predicted_s for hold, result in held.items()}
        write_atomically(folder / "kernel_calibrations" / "record.csv", record_csv(table.rows, predicted))
    for name, entry in sorted(record.families.items()):
        print(
            f"{name:28} {entry.rows:6d} rows {entry.groups:3d} groups  macro {entry.macro:6.1%} mean {entry.mean:6.1%} "
            f"median {entry.median:6.1%}  baseline {entry.baseline_macro:6.1%} / {entry.baseline_median:6.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
