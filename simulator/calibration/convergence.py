"""``python -m simulator.calibration.convergence CONVERGENCE.csv``: fit the shipped convergence calibration anew.

Writes, in ``simulator/data``: ``convergence_calibrations/default.toml`` (constants fitted on all rows of the table, the
curves they give, and the record of points and sources held out), ``measured_convergence.csv`` (the rows) and
``convergence_calibrations/record.csv`` (their held-out predictions). Takes a minute or two; the same table gives the
same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import row_ranges
from ..convergence_calibration import to_toml
from ..outcome.convergence.points import HOLDS
from ..outcome.convergence.pooling import fit_pool
from ..output import write_atomically
from ..validation.convergence import hold_out, members_of, read_convergence_table, record_of
from ..validation.convergence_selection import record_csv, selection_csv
from ..validation.runs import TableError


def main(arguments: Sequence[str], tell: Callable[[str], None] = lambda text: print(text, file=sys.stderr)) -> int:
    """Fit, hold out and write; returns the exit status."""
    if len(arguments) != 1:
        tell("usage: python -m simulator.calibration.convergence CONVERGENCE.csv")
        return 2
    try:
        table = read_convergence_table(Path(arguments[0]))
        held = {hold: hold_out(table, hold, progress=tell) for hold in HOLDS}
    except TableError as error:
        tell(f"simulator.calibration.convergence: {error}")
        return 2
    record, members = record_of(table, held), members_of(table)
    fitted_on = {
        "what": "measured convergence: every row that can be read and carries no flag",
        "table": "measured/convergence.csv (the open part of the corpus)",
        "points": str(len(members)),
        "rows": row_ranges(int(table.rows[i]["row"]) for i in table.used),
    }
    text = to_toml(name="default", constants=fit_pool(members), record=record, fitted_on=fitted_on, points=members)
    with as_file(files("simulator") / "data") as data:
        folder = data / "convergence_calibrations"
        folder.mkdir(exist_ok=True)
        write_atomically(folder / "default.toml", text)
        write_atomically(data / "measured_convergence.csv", selection_csv(table.rows))
        write_atomically(
            folder / "record.csv", record_csv(table.rows, {hold: result.predicted_s for hold, result in held.items()})
        )
    for name, entry in sorted(record.classes.items()):
        print(
            f"{name:28} {entry.rows:5d} rows {entry.groups:3d} groups  macro {entry.macro:6.1%} mean {entry.mean:6.1%} "
            f"median {entry.median:6.1%}  baseline {entry.baseline_macro:6.1%} / {entry.baseline_median:6.1%}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
