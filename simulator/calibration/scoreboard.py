"""``python -m simulator.calibration.scoreboard RUNS.csv GROUPS.csv [SOURCES.csv]``: store the scoreboard without a fit.

The second file is what ``trainyard validate runs RUNS.csv --held-out --out GROUPS.csv`` wrote, the third the same with
``--by sources``. ``python -m simulator.calibration RUNS.csv`` stores the same scoreboard with the constants it fits.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from ..calibration_data import load_constants
from ..validation.runs import HOLDS, TableError, read_table
from ..validation.scoreboard.stored import read_predictions, store


def main(arguments: Sequence[str]) -> int:
    """Read, score and write; returns the exit status."""
    if not 2 <= len(arguments) <= 3:
        print("usage: python -m simulator.calibration.scoreboard RUNS.csv GROUPS.csv [SOURCES.csv]", file=sys.stderr)
        return 2
    try:
        table = read_table(Path(arguments[0]))
        pairs = zip(arguments[1:], HOLDS, strict=False)
        results = [read_predictions(table, Path(path), hold=hold) for path, hold in pairs]
    except TableError as error:
        print(f"simulator.calibration.scoreboard: {error}", file=sys.stderr)
        return 2
    with as_file(files("simulator") / "data") as folder:
        store(folder, load_constants(), *results)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
