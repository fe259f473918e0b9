"""Fitting a shipped calibration of measured kernels or collectives anew, and the tables that ship beside it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Generic, TypeVar

from ..calibration_data import row_ranges
from ..deviations_file import HeldOutErrors
from ..output import write_atomically
from ..validation.kernel_suites.family import Row
from ..validation.measured_table import HeldOutRows, JobT, MeasuredTable, RecordT
from ..validation.runs import TableError

Progress = Callable[[str], None]
ConstantsT = TypeVar("ConstantsT")


@dataclass(frozen=True, kw_only=True)
class HeldOutFit(Generic[JobT, ConstantsT, RecordT]):
    """How a kind of calibration is fitted and written.

    ``kind`` is "kernels" or "collectives", ``holds`` the ways of holding out; ``fit`` is given the table and whom to
    tell of progress, ``hold_out`` the way of holding out between them; ``to_toml`` the constants, the record and what
    they were fitted on; ``errors`` are those of a record to print, in names of ``width`` characters.
    """

    kind: str
    holds: Sequence[str]
    read: Callable[[Path], MeasuredTable[JobT]]
    hold_out: Callable[[MeasuredTable[JobT], str, Progress], HeldOutRows]
    record_of: Callable[[MeasuredTable[JobT], Mapping[str, HeldOutRows]], RecordT]
    fit: Callable[[MeasuredTable[JobT], Progress], ConstantsT]
    to_toml: Callable[[ConstantsT, RecordT, Mapping[str, str]], str]
    selection_csv: Callable[[Sequence[Row]], str]
    record_csv: Callable[[Sequence[Row], Mapping[str, Mapping[int, float]]], str]
    errors: Callable[[RecordT], Mapping[str, HeldOutErrors]]
    width: int

    def main(self, arguments: Sequence[str]) -> int:
        """Fit, hold out and write; returns the exit status."""
        command = f"simulator.calibration.{self.kind}"
        if len(arguments) != 1:
            print(f"usage: python -m {command} {self.kind.upper()}.csv", file=sys.stderr)
            return 2
        try:
            table = self.read(Path(arguments[0]))
            held = {hold: self.hold_out(table, hold, _tell) for hold in self.holds}
        except TableError as error:
            print(f"{command}: {error}", file=sys.stderr)
            return 2
        record = self.record_of(table, held)
        fitted_on = {
            "what": f"measured {self.kind}: every row that resolves and carries no flag",
            "table": f"measured/{self.kind}.csv (the open part of the corpus)",
            self.kind: str(len(table.used)),
            "rows": row_ranges(int(table.rows[i]["row"]) for i in table.used),
        }
        text = self.to_toml(self.fit(table, _tell), record, fitted_on)
        with as_file(files("simulator") / "data") as data:
            folder = data / f"{self.kind.removesuffix('s')}_calibrations"
            write_atomically(folder / "default.toml", text)
            write_atomically(data / f"measured_{self.kind}.csv", self.selection_csv(table.rows))
            predicted = {hold: result.predicted_s for hold, result in held.items()}
            write_atomically(folder / "record.csv", self.record_csv(table.rows, predicted))
        for name, entry in sorted(self.errors(record).items()):
            print(
                f"{name:{self.width}} {entry.rows:6d} rows {entry.groups:3d} groups  macro {entry.macro:6.1%} "
                f"mean {entry.mean:6.1%} median {entry.median:6.1%}  "
                f"baseline {entry.baseline_macro:6.1%} / {entry.baseline_median:6.1%}"
            )
        return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr)
