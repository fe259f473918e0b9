"""``python -m simulator.calibration.trainings RUNS.csv``: fit how long recipes train anew from measured runs.

Writes, in ``simulator/data``: ``training_lengths.csv`` (samples and epochs of each recipe at each batch) and
``training_constants.toml`` (their spreads and the held-out record). Takes as long as holding out all runs does, which
``python -m simulator.calibration RUNS.csv`` does anyway: it writes these too.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..constants import Constants
from ..output import write_atomically
from ..validation.runs import Table, TableError, cross_fit, fold_of, read_table
from ..validation.training_constants import FILE, to_toml
from ..validation.training_lengths import SHIPPED, pooled, to_csv
from ..validation.training_record import fitted
from ..validation.training_runs import read_trainings

#: What steps are priced with where they are held out.
HELD_OUT_STEPS = "constants fitted without the row's group"


def write(table: Table, fold_constants: Mapping[int, Constants], *, steps: str = HELD_OUT_STEPS) -> str:
    """Fit, hold out and write; what was found, in words."""
    first = next(iter(fold_constants.values()))
    trainings = read_trainings(table, lambda group: fold_constants.get(fold_of(group), first))
    found, held, unanswered = fitted(table, trainings, steps=steps)
    with as_file(files("simulator") / "data") as data:
        write_atomically(data / SHIPPED, to_csv(pooled(trainings.lengths(table).values())))
        write_atomically(data / FILE, to_toml(found))
    lines = [
        f"{metric:20} " + " ".join(f"{key} {value:.3g}" for key, value in entry.items())
        for metric, entry in found.record.items()
    ]
    return "\n".join([*lines, f"{len(held)} rows held out, {unanswered} with too little left, {len(trainings.refused)} "
                              "refused"])  # fmt: skip


def main(arguments: Sequence[str]) -> int:
    """Fit, hold out and write; returns the exit status."""
    if len(arguments) != 1:
        print("usage: python -m simulator.calibration.trainings RUNS.csv", file=sys.stderr)
        return 2
    try:
        table = read_table(Path(arguments[0]))
        crossed = cross_fit(table, progress=lambda text: print(text, file=sys.stderr))
        print(write(table, crossed.fold_constants))
    except TableError as error:
        print(f"simulator.calibration.trainings: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
