"""Collective calibration files: fitted deviations of the model of libraries, the rows they rest on, and the record.

A file in ``simulator/data/collective_calibrations`` holds ``[deviations]`` (keys of
`kernels.kernel_constants.key_of`), ``[fitted_on]``, and ``[record]`` from which intervals come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from hwmodels.datafile import DataFileError, read_toml

from .calibration_data import shipped_path
from .collectives.library_cost import SPECS
from .deviations_file import (
    HeldOutErrors,
    deviation_lines,
    deviation_problems,
    error_lines,
    head_lines,
    read_constants,
    read_errors,
    read_fitted_on,
    record_lines,
)
from .kernels.kernel_constants import KernelConstants


@dataclass(frozen=True, kw_only=True)
class CollectiveRecord:
    """Held-out errors by "hold/class", the spread of each "hold/class/system", and what was measured: rows of each
    pair of fabrics and of each system. The hold "fabrics" is the part of "systems" that was alone on its wires."""

    classes: Mapping[str, HeldOutErrors] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    fabrics: Mapping[str, int] = field(default_factory=dict)
    systems: Mapping[str, int] = field(default_factory=dict)

    def factors(self, size_class: str, *, fabric: str, system: str = "", hold: str = "") -> tuple[float, float] | None:
        """(low, high): predicted seconds times these are the ends of the 80 % interval; None without a record.

        A system with measured rows has the record of its own groups held out, any other that of systems held out, and
        on wires without measured rows that of the systems held out that were alone on theirs ("fabrics").
        """
        known = "groups" if self.systems.get(system) else "systems"
        way = hold or (known if self.fabrics.get(fabric) else "fabrics")
        entry = self.classes.get(f"{way}/{size_class}")
        if entry is None:
            return None
        own = self.spread.get(f"{way}/{size_class}/{system}")
        if own is not None:
            return math.exp(entry.low * own), math.exp(entry.high * own)
        # Of few held-out systems some do better than groups of known ones; what is less known is no surer for that.
        better_known = (f"{other}/{size_class}" for other in _WAYS[: _WAYS.index(way) + 1])
        entries = [self.classes[key] for key in better_known if key in self.classes]
        widest = max(entries, key=lambda e: (e.high - e.low) * e.spread)
        return math.exp(widest.low * widest.spread), math.exp(widest.high * widest.spread)


#: What was held out, from the best known to the least.
_WAYS: Final = ("groups", "systems", "fabrics")


@dataclass(frozen=True, kw_only=True)
class CollectiveCalibration:
    """One collective calibration file: constants, the record, what it was fitted on."""

    name: str
    constants: KernelConstants
    record: CollectiveRecord
    fitted_on: Mapping[str, str]


@cache
def load_collectives(name: str = "default") -> CollectiveCalibration:
    """One collective calibration by name; raises `CalibrationError` naming the nearest."""
    return read_collectives(shipped_path("collective calibration", name), name)


def read_collectives(path: str, name: str) -> CollectiveCalibration:
    """A collective calibration file; every problem of it in one `DataFileError`."""
    file = read_toml(path)
    data: Mapping[str, Any] = file.data
    deviations = data.get("deviations", {})
    if problems := list(deviation_problems(file, ("deviations",), deviations, SPECS)):
        raise DataFileError(*problems)
    record = data.get("record", {})
    return CollectiveCalibration(
        name=name,
        constants=read_constants(SPECS, deviations),
        record=CollectiveRecord(
            classes=read_errors(record, "classes"), spread=record.get("spread", {}),
            fabrics=record.get("fabrics", {}), systems=record.get("systems", {}),
        ),
        fitted_on=read_fitted_on(data),
    )  # fmt: skip


def to_toml(*, name: str, constants: KernelConstants, record: CollectiveRecord, fitted_on: Mapping[str, str]) -> str:
    """A collective calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of collective calibration {name!r}: deviations of logarithms from the priors of the model",
        "# in simulator/collectives. Made by `python -m simulator.calibration.collectives COLLECTIVES.csv`.",
        *head_lines(fitted_on),
        *deviation_lines("deviations", constants),
        *error_lines("classes", record.classes),
        *record_lines("spread", record.spread),
        *record_lines("fabrics", record.fabrics),
        *record_lines("systems", record.systems),
    ]
    return "\n".join(lines) + "\n"
