"""Collective calibration files: fitted deviations of the model of libraries, the rows they rest on, and the record.

A file in ``simulator/data/collective_calibrations`` holds ``[deviations]`` (keys of
`kernels.kernel_constants.key_of`), ``[fitted_on]``, and ``[record]`` from which intervals come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any, Final

from hwmodels.datafile import DataFileError, did_you_mean, read_toml, unknown_name

from .calibration_data import CalibrationError
from .collectives.library_cost import SPECS
from .kernels.kernel_constants import KernelConstants, KernelSpec


@dataclass(frozen=True, kw_only=True)
class CollectiveClassRecord:
    """Held-out errors of one class of sizes in one way of holding out.

    Errors are |ln(predicted / measured)|; ``macro`` is their mean over (system, ranks, collective) groups. ``spread``
    is the root mean square log error of an ordinary system; ``low`` and ``high`` are the 10 % and 90 % quantiles of
    ln(measured / predicted) over the spread of its system.
    """

    rows: int
    groups: int
    macro: float
    mean: float
    median: float
    baseline_macro: float
    baseline_median: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class CollectiveRecord:
    """Held-out errors by "hold/class", the spread of each "hold/class/system", and what was measured: rows of each
    pair of fabrics and of each system. The hold "fabrics" is the part of "systems" that was alone on its wires."""

    classes: Mapping[str, CollectiveClassRecord] = field(default_factory=dict)
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


def collective_calibration_names() -> tuple[str, ...]:
    """Collective calibrations that ship."""
    folder = files("simulator") / "data" / "collective_calibrations"
    return tuple(sorted(e.name.removesuffix(".toml") for e in folder.iterdir() if e.name.endswith(".toml")))


@cache
def load_collectives(name: str = "default") -> CollectiveCalibration:
    """One collective calibration by name; raises `CalibrationError` naming the nearest."""
    if name not in collective_calibration_names():
        raise CalibrationError(unknown_name("collective calibration", name, collective_calibration_names()))
    return read_collectives(str(files("simulator") / "data" / "collective_calibrations" / f"{name}.toml"), name)


def read_collectives(path: str, name: str) -> CollectiveCalibration:
    """A collective calibration file; every problem of it in one `DataFileError`."""
    file = read_toml(path)
    data: Mapping[str, Any] = file.data
    problems: list[str] = []
    deviations = data.get("deviations", {})
    for key, value in deviations.items():
        short = key.partition("@")[0]
        place = f"{file.name}:{file.line_of(('deviations', key))}: {key}"
        if short not in SPECS:
            problems.append(f"{place}: no such constant.{did_you_mean(short, SPECS)}")
        elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _widest(SPECS[short]):
            problems.append(f"{place}: {value!r} is no deviation of a logarithm within the constant's range.")
    if problems:
        raise DataFileError(*problems)
    record = data.get("record", {})
    return CollectiveCalibration(
        name=name,
        constants=KernelConstants(specs=SPECS, deviations={k: float(v) for k, v in deviations.items()}),
        record=CollectiveRecord(
            classes={k: CollectiveClassRecord(**v) for k, v in record.get("classes", {}).items()},
            spread=record.get("spread", {}), fabrics=record.get("fabrics", {}), systems=record.get("systems", {}),
        ),
        fitted_on={k: str(v) for k, v in data.get("fitted_on", {}).items()},
    )  # fmt: skip


def _widest(spec: KernelSpec) -> float:
    """A single deviation may leave the range (others bring it back), but not by more than the range is wide."""
    return 2.0 * math.log(spec.high / spec.low) + 1.0


def to_toml(*, name: str, constants: KernelConstants, record: CollectiveRecord, fitted_on: Mapping[str, str]) -> str:
    """A collective calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of collective calibration {name!r}: deviations of logarithms from the priors of the model",
        "# in simulator/collectives. Made by `python -m simulator.calibration.collectives COLLECTIVES.csv`.",
        "schema = 1",
        "",
        "[fitted_on]",
    ]
    lines += [f"{key} = {_quoted(value)}" for key, value in fitted_on.items()]
    lines += ["", "[deviations]"]
    for spec in constants.specs.values():
        lines.append(f"# {spec.name} [{spec.unit}]: {spec.prior:g} ({spec.low:g} to {spec.high:g}), {spec.meaning}")
        keys = [k for k in constants.deviations if k.partition("@")[0] == spec.name]
        lines += [f"{_quoted(key)} = {_float(constants.deviations[key])}" for key in sorted(keys)]
    for way, entry in sorted(record.classes.items()):
        lines += ["", f"[record.classes.{_quoted(way)}]"]
        for column in CollectiveClassRecord.__dataclass_fields__:
            value = getattr(entry, column)
            lines.append(f"{column} = {value if isinstance(value, int) else _float(value)}")
    lines += ["", "[record.spread]"]
    lines += [f"{_quoted(key)} = {_float(value)}" for key, value in sorted(record.spread.items())]
    for title, counts in (("fabrics", record.fabrics), ("systems", record.systems)):
        lines += ["", f"[record.{title}]"]
        lines += [f"{_quoted(key)} = {value}" for key, value in sorted(counts.items())]
    return "\n".join(lines) + "\n"


def _float(value: float) -> str:
    text = f"{value:.5g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
