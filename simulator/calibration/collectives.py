"""``python -m simulator.calibration.collectives COLLECTIVES.csv``: fit the shipped collective calibration anew.

Writes, in ``simulator/data``: ``collective_calibrations/default.toml`` (constants fitted on all rows of the table, and
the record of groups and systems held out), ``measured_collectives.csv`` (the rows that ship) and
``collective_calibrations/record.csv`` (their held-out predictions). Takes a minute or two; the same table gives the
same bytes.
"""

from __future__ import annotations

import sys

from ..collective_calibration import to_toml
from ..validation.collective_record import record_of
from ..validation.collective_selection import record_csv, selection_csv
from ..validation.collectives import HOLDS, fit_collectives, hold_out, read_collective_table
from .held_out_fit import HeldOutFit

main = HeldOutFit(
    kind="collectives",
    holds=HOLDS,
    read=read_collective_table,
    hold_out=lambda table, hold, tell: hold_out(table, hold, progress=tell),
    record_of=record_of,
    fit=lambda table, _: fit_collectives(table),
    to_toml=lambda constants, record, fitted_on: to_toml(
        name="default", constants=constants, record=record, fitted_on=fitted_on
    ),
    selection_csv=selection_csv,
    record_csv=record_csv,
    errors=lambda record: record.classes,
    width=20,
).main


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
