"""``python -m simulator.calibration.kernels KERNELS.csv``: fit the shipped kernel calibration and its record anew.

Writes, in ``simulator/data``: ``kernel_calibrations/default.toml`` (constants fitted on all rows of the table, and the
record of shapes, chips and generations held out), ``measured_kernels.csv`` (the rows that ship) and
``kernel_calibrations/record.csv`` (their held-out predictions). Takes some minutes; the same table gives the same
bytes.
"""

from __future__ import annotations

import sys

from ..kernel_calibration import to_toml
from ..validation.kernel_record import record_of
from ..validation.kernel_selection import record_csv, selection_csv
from ..validation.kernels import HOLDS, fit_all_kernels, hold_out, read_kernel_table
from .held_out_fit import HeldOutFit

main = HeldOutFit(
    kind="kernels",
    holds=HOLDS,
    read=read_kernel_table,
    hold_out=lambda table, hold, tell: hold_out(table, hold, progress=tell),
    record_of=record_of,
    fit=lambda table, tell: fit_all_kernels(table, progress=tell),
    to_toml=lambda constants, record, fitted_on: to_toml(
        name="default", constants=constants, record=record, fitted_on=fitted_on
    ),
    selection_csv=selection_csv,
    record_csv=record_csv,
    errors=lambda record: record.families,
    width=28,
).main


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
