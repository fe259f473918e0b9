"""Calibration files: fitted constants, the rows they were fitted on, and the record of how far off they were.

A file in ``simulator/data/calibrations`` holds three tables: ``[constants]`` (key -> value), ``[fitted_on]`` (sources
and row numbers of the measured table) and ``[record]`` (cross-fitted errors, from which intervals come).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

from hwmodels.datafile import DataFileError, did_you_mean, read_toml, unknown_name

from .constants import SPECS, Constants, name_of
from .measured_constants import measured_constants


class CalibrationError(LookupError):
    """An unknown calibration, or one that cannot be read."""


@dataclass(frozen=True, kw_only=True)
class FamilyRecord:
    """Cross-fitted errors of one kind of run.

    Errors are |ln(predicted / measured)|; ``low`` and ``high`` are the 10 % and 90 % quantiles of
    ln(measured / predicted) over the spread of its stack.
    """

    runs: int
    groups: int
    macro: float
    median: float
    baseline_macro: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Record:
    """How far cross-fitted predictions were off, by kind of run and by stack.

    ``stack_spread`` is the root mean square log error of a stack's groups, pulled towards its family's where groups are
    few.
    ``largest`` is the largest number of chips each architecture was checked at; ``seen`` the (family, architecture,
    stack) that were.
    """

    families: Mapping[str, FamilyRecord] = field(default_factory=dict)
    stack_spread: Mapping[str, float] = field(default_factory=dict)
    stack_groups: Mapping[str, int] = field(default_factory=dict)
    largest: Mapping[str, int] = field(default_factory=dict)
    seen: frozenset[str] = frozenset()

    def factors(self, family: str, stack: str, *, extrapolated: bool = False) -> tuple[float, float] | None:
        """(low, high): a predicted step time times these are the ends of its 80 % interval; None without a record."""
        entry = self.families.get(family)
        if entry is None:
            return None
        spread = self.stack_spread.get(stack, entry.spread) * (1.5 if extrapolated else 1.0)
        return math.exp(entry.low * spread), math.exp(entry.high * spread)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """One calibration file."""

    name: str
    constants: Constants
    record: Record
    fitted_on: Mapping[str, str]


def shipped_names(kind: str) -> tuple[str, ...]:
    """Names of the calibrations of a kind ("calibration", "kernel calibration", ...) that ship."""
    return tuple(sorted(e.name.removesuffix(".toml") for e in _folder(kind).iterdir() if e.name.endswith(".toml")))


def shipped_path(kind: str, name: str) -> str:
    """The file of a calibration that ships; raises `CalibrationError` naming the nearest."""
    names = shipped_names(kind)
    if name not in names:
        raise CalibrationError(unknown_name(kind, name, names))
    return str(_folder(kind) / f"{name}.toml")


def _folder(kind: str) -> Traversable:
    return files("simulator") / "data" / f"{kind.replace(' ', '_')}s"


def calibration_names() -> tuple[str, ...]:
    """Calibrations that ship."""
    return shipped_names("calibration")


def load(name: str = "default") -> Calibration:
    """One calibration by name, with what the user measured; raises `CalibrationError` naming the nearest."""
    shipped, measured = _shipped(name), measured_constants().constants
    if not measured:
        return shipped
    constants = replace(shipped.constants, values={**shipped.constants.values, **measured})
    return replace(shipped, constants=constants)


@cache
def _shipped(name: str) -> Calibration:
    file = read_toml(shipped_path("calibration", name))
    data: Mapping[str, Any] = file.data
    problems: list[str] = []
    values: dict[str, float] = {}
    for key, value in data.get("constants", {}).items():
        where = f"{file.name}:{file.line_of(('constants', key))}: constants.{key}"
        short = name_of(key)
        if short not in SPECS:
            problems.append(f"{where}: no such constant.{did_you_mean(short, SPECS)}")
        elif not SPECS[short].low * 0.999 <= float(value) <= SPECS[short].high * 1.001:
            problems.append(
                f"{where}: {value} is outside {SPECS[short].low} to {SPECS[short].high} {SPECS[short].unit}."
            )
        else:
            values[key] = float(value)
    if problems:
        raise DataFileError("\n".join(problems))
    record = data.get("record", {})
    return Calibration(
        name=name,
        constants=Constants(values=values, name=name, fitted_on=str(data.get("fitted_on", {}).get("what", ""))),
        record=Record(
            families={k: FamilyRecord(**v) for k, v in record.get("families", {}).items()},
            stack_spread=record.get("stack_spread", {}), stack_groups=record.get("stack_groups", {}),
            largest=record.get("largest", {}), seen=frozenset(record.get("seen", ())),
        ),
        fitted_on={k: str(v) for k, v in data.get("fitted_on", {}).items()},
    )  # fmt: skip


def load_constants(name: str = "default") -> Constants:
    """The fitted constants of a calibration."""
    return load(name).constants


def load_record(name: str = "default") -> Record:
    """The cross-fitted record of a calibration."""
    return load(name).record


def row_ranges(rows: Iterable[int]) -> str:
    """Row numbers as "0-4,7,9-12"."""
    parts: list[str] = []
    start = previous = None
    for row in [*sorted(set(rows)), None]:
        if start is None:
            start = previous = row
        elif row is None or previous is None or row != previous + 1:
            parts.append(f"{start}" if start == previous else f"{start}-{previous}")
            start = previous = row
        else:
            previous = row
    return ",".join(parts)


def to_toml(*, name: str, constants: Constants, record: Record, fitted_on: Mapping[str, str]) -> str:
    """A calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of calibration {name!r}. Made by `python -m simulator.calibration RUNS.csv`.",
        "schema = 1",
        "",
    ]
    lines.append("[fitted_on]")
    lines += [f"{key} = {quoted(value)}" for key, value in fitted_on.items()]
    lines += ["", "[constants]"]
    for key in sorted(constants.values, key=lambda k: (SPECS[name_of(k)].scope, name_of(k), k)):
        spec = SPECS[name_of(key)]
        lines.append(
            f'"{key}" = {constants.values[key]:.6g}  # {spec.unit}, {spec.low:g} to {spec.high:g}: {spec.meaning}'
        )
    lines += ["", "[record]", f"seen = [{', '.join(quoted(s) for s in sorted(record.seen))}]"]
    for family, entry in sorted(record.families.items()):
        lines += ["", f"[record.families.{family}]"]
        lines += [f"{f} = {number(getattr(entry, f))}" for f in FamilyRecord.__dataclass_fields__]
    for table in ("stack_spread", "stack_groups", "largest"):
        lines += ["", f"[record.{table}]"]
        lines += [f'"{key}" = {number(value)}' for key, value in sorted(getattr(record, table).items())]
    return "\n".join(lines) + "\n"


def number(value: float) -> str:
    """A number as TOML has it, five digits of a float; an integer stays one."""
    if isinstance(value, int):
        return str(value)
    text = f"{value:.5g}"
    # TOML tells a float from an integer by its point or exponent.
    return text if "." in text or "e" in text else f"{text}.0"


def quoted(text: str) -> str:
    """A string as TOML has it."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
