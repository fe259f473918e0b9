"""``python -m simulator.calibration RUNS.csv [--sources]``: fit the shipped calibration and its record anew.

Writes ``default.toml`` (constants fitted on all runs, the cross-fitted record that intervals come from), the record
tables beside it and the stored scoreboard. With ``--sources`` the scoreboard's part with whole sources held out too,
which takes as long again. Takes some minutes; the same table gives the same bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import row_ranges, to_toml
from ..constants import Constants
from ..output import write_atomically
from ..validation.memory_record import constants_toml, with_held_memory
from ..validation.record_files import shipped_rows, write_record
from ..validation.runs import (
    HOLDS,
    Table,
    TableError,
    ValidationResult,
    fit_all,
    predict_runs_held_out,
    read_table,
)
from ..validation.scoreboard.stored import store
from ..validation.summary import summarise
from ..validation.training_constants import load_training
from ..validation.training_runs import with_trainings
from .trainings import write as write_trainings


def main(arguments: Sequence[str]) -> int:
    """Fit, cross-fit and write; returns the exit status."""
    paths = [a for a in arguments if a != "--sources"]
    if len(paths) != 1:
        print("usage: python -m simulator.calibration RUNS.csv [--sources]", file=sys.stderr)
        return 2
    try:
        table = read_table(Path(paths[0]))
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
    store_scoreboards(table, result, constants, sources=len(paths) < len(arguments))
    print(summarise(result, memory=memory).text())
    return 0


def store_scoreboards(table: Table, by_groups: ValidationResult, constants: Constants, *, sources: bool) -> None:
    """Write the stored scoreboard: that of a validation by groups, and, on demand, of one by sources."""
    load_training.cache_clear()  # spreads of lengths were just written anew
    found = [by_groups]
    if sources:
        by_sources = predict_runs_held_out(
            table, hold=HOLDS[1], progress=lambda text: print(f"sources: {text}", file=sys.stderr)
        )
        found.append(with_held_memory(by_sources)[0])
    with as_file(files("simulator") / "data") as folder:
        store(folder, constants, *(with_trainings(result) for result in found))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
