"""``python -m simulator.calibration RUNS.csv``: fit the shipped calibration and its record anew from measured runs.

Writes ``default.toml`` (constants fitted on all runs, the cross-fitted record that intervals come from) and the two
record tables beside it. Takes some minutes; the same table gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import row_ranges, to_toml
from ..output import write_atomically
from ..validation.memory_record import constants_toml, with_held_memory
from ..validation.record_files import shipped_rows, write_record
from ..validation.runs import TableError, fit_all, predict_runs_held_out, read_table
from ..validation.summary import summarise
from .trainings import write as write_trainings


def main(arguments: Sequence[str]) -> int:
    """Fit, cross-fit and write; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m simulator.calibration RUNS.csv", file=sys.stderr)
        return 2
    try:
        table = read_table(Path(arguments[0]))
        result = predict_runs_held_out(table, progress=lambda text: print(text, file=sys.stderr))
        result, memory = with_held_memory(result)
    except TableError as error:
        print(f"simulator.calibration: {error}", file=sys.stderr)
        return 2
    constants = fit_all(table)
    rows = row_ranges(int(table.rows[i]["row"]) for i in table.primary)
    text = to_toml(
        name="default",
        constants=constants,
        record=result.record,
        fitted_on={
            "what": "measured training runs: the first metric of every run that resolves and carries no flag",
            "table": "measured/runs.csv (the open part of the corpus)",
            "runs": str(len(table.primary)),
            "rows": rows,
        },
    )
    with as_file(files("simulator") / "data" / "calibrations") as folder:
        write_atomically(folder / "default.toml", text)
        write_record(result, summarise(result, memory=memory), folder, shipped_rows())
        if memory is not None:
            write_atomically(folder.parent / "memory_constants.toml", constants_toml(memory))
    if result.crossed is not None:
        print(write_trainings(table, result.crossed.fold_constants), file=sys.stderr)
    print(summarise(result, memory=memory).text())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
