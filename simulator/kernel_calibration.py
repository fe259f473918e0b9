"""Kernel calibration files: fitted deviations of the kernel models, the rows they rest on, and the held-out record.

A file in ``simulator/data/kernel_calibrations`` holds ``[deviations.<family>]`` (keys of
`kernels.kernel_constants.key_of`), ``[fitted_on]``, and ``[record]`` from which intervals come.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from hwmodels.datafile import DataFileError, did_you_mean, read_toml, unknown_name

from .calibration_data import CalibrationError
from .kernels.kernel_constants import KernelConstants, KernelSpec
from .validation.kernel_record import KernelFamilyRecord, KernelRecord
from .validation.kernel_suites import FAMILIES


@dataclass(frozen=True, kw_only=True)
class KernelCalibration:
    """One kernel calibration file: constants by family, the record, what it was fitted on."""

    name: str
    constants: Mapping[str, KernelConstants]
    record: KernelRecord
    fitted_on: Mapping[str, str]


def kernel_calibration_names() -> tuple[str, ...]:
    """Kernel calibrations that ship."""
    folder = files("simulator") / "data" / "kernel_calibrations"
    return tuple(sorted(e.name.removesuffix(".toml") for e in folder.iterdir() if e.name.endswith(".toml")))


@cache
def load_kernels(name: str = "default") -> KernelCalibration:
    """One kernel calibration by name; raises `CalibrationError` naming the nearest."""
    if name not in kernel_calibration_names():
        raise CalibrationError(unknown_name("kernel calibration", name, kernel_calibration_names()))
    file = read_toml(str(files("simulator") / "data" / "kernel_calibrations" / f"{name}.toml"))
    data: Mapping[str, Any] = file.data
    problems: list[str] = []
    constants: dict[str, KernelConstants] = {}
    for family, values in data.get("deviations", {}).items():
        where = f"{file.name}:{file.line_of(('deviations', family))}: deviations.{family}"
        if family not in FAMILIES:
            problems.append(f"{where}: no such family of kernels.{did_you_mean(family, FAMILIES)}")
            continue
        specs = FAMILIES[family].specs
        for key, value in values.items():
            short = key.partition("@")[0]
            place = f"{file.name}:{file.line_of(('deviations', family, key))}: {key}"
            if short not in specs:
                problems.append(f"{place}: no such constant.{did_you_mean(short, specs)}")
            elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _widest(specs[short]):
                problems.append(f"{place}: {value!r} is no deviation of a logarithm within the constant's range.")
        constants[family] = KernelConstants(specs=specs, deviations={k: float(v) for k, v in values.items()})
    if problems:
        raise DataFileError(*problems)
    record = data.get("record", {})
    return KernelCalibration(
        name=name,
        constants=constants,
        record=KernelRecord(
            families={k: KernelFamilyRecord(**v) for k, v in record.get("families", {}).items()},
            spread=record.get("spread", {}),
            measured=record.get("measured", {}),
        ),
        fitted_on={k: str(v) for k, v in data.get("fitted_on", {}).items()},
    )


def _widest(spec: KernelSpec) -> float:
    """A single deviation may leave the range (others bring it back), but not by more than the range is wide."""
    return 2.0 * math.log(spec.high / spec.low) + 1.0


def to_toml(
    *, name: str, constants: Mapping[str, KernelConstants], record: KernelRecord, fitted_on: Mapping[str, str]
) -> str:
    """A kernel calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of kernel calibration {name!r}: deviations of logarithms from the priors of the models in",
        "# simulator/kernels. Made by `python -m simulator.calibration.kernels KERNELS.csv`.",
        "schema = 1",
        "",
        "[fitted_on]",
    ]
    lines += [f"{key} = {_quoted(value)}" for key, value in fitted_on.items()]
    for family, fitted in sorted(constants.items()):
        lines += ["", f"[deviations.{family}]"]
        for spec in fitted.specs.values():
            lines.append(f"# {spec.name} [{spec.unit}]: {spec.prior:g} ({spec.low:g} to {spec.high:g}), {spec.meaning}")
            keys = [k for k in fitted.deviations if k.partition("@")[0] == spec.name]
            lines += [f"{_quoted(key)} = {_float(fitted.deviations[key])}" for key in sorted(keys)]
    for hold, entry in sorted(record.families.items()):
        lines += ["", f"[record.families.{_quoted(hold)}]"]
        for field in KernelFamilyRecord.__dataclass_fields__:
            value = getattr(entry, field)
            lines.append(f"{field} = {value if isinstance(value, int) else _float(value)}")
    lines += ["", "[record.spread]"]
    lines += [f"{_quoted(key)} = {_float(value)}" for key, value in sorted(record.spread.items())]
    lines += ["", "[record.measured]"]
    lines += [f"{_quoted(key)} = {value}" for key, value in sorted(record.measured.items())]
    return "\n".join(lines) + "\n"


def _float(value: float) -> str:
    text = f"{value:.5g}"
    return text if "." in text or "e" in text else f"{text}.0"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
