"""Kernel calibration files: fitted deviations of the kernel models, the rows they rest on, and the held-out record.

A file in ``simulator/data/kernel_calibrations`` holds ``[deviations.<family>]`` (keys of
`kernels.kernel_constants.key_of`), ``[fitted_on]``, and ``[record]`` from which intervals come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from hwmodels.datafile import DataFileError, did_you_mean, read_toml

from .calibration_data import shipped_path
from .deviations_file import (
    deviation_lines,
    deviation_problems,
    error_lines,
    head_lines,
    read_constants,
    read_errors,
    read_fitted_on,
    record_lines,
)
from .kernels.device_constants import with_measured
from .kernels.kernel_constants import KernelConstants
from .measured_constants import measured_constants
from .validation.kernel_record import KernelRecord
from .validation.kernel_suites import FAMILIES


@dataclass(frozen=True, kw_only=True)
class KernelCalibration:
    """One kernel calibration file: constants by family, the record, what it was fitted on."""

    name: str
    constants: Mapping[str, KernelConstants]
    record: KernelRecord
    fitted_on: Mapping[str, str]


def load_kernels(name: str = "default") -> KernelCalibration:
    """One kernel calibration by name, with what the user measured; raises `CalibrationError` naming the nearest."""
    shipped, measured = _shipped(name), measured_constants().deviations
    if not measured:
        return shipped
    constants = {family: with_measured(own, measured.get(family, {})) for family, own in shipped.constants.items()}
    return replace(shipped, constants=constants)


@cache
def _shipped(name: str) -> KernelCalibration:
    file = read_toml(shipped_path("kernel calibration", name))
    data: Mapping[str, Any] = file.data
    problems: list[str] = []
    constants: dict[str, KernelConstants] = {}
    for family, values in data.get("deviations", {}).items():
        place = ("deviations", family)
        if family not in FAMILIES:
            where = f"{file.name}:{file.line_of(place)}: deviations.{family}"
            problems.append(f"{where}: no such family of kernels.{did_you_mean(family, FAMILIES)}")
            continue
        specs = FAMILIES[family].specs
        problems += deviation_problems(file, place, values, specs)
        constants[family] = read_constants(specs, values)
    if problems:
        raise DataFileError(*problems)
    record = data.get("record", {})
    return KernelCalibration(
        name=name,
        constants=constants,
        record=KernelRecord(
            families=read_errors(record, "families"),
            spread=record.get("spread", {}),
            measured=record.get("measured", {}),
        ),
        fitted_on=read_fitted_on(data),
    )


def to_toml(
    *, name: str, constants: Mapping[str, KernelConstants], record: KernelRecord, fitted_on: Mapping[str, str]
) -> str:
    """A kernel calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of kernel calibration {name!r}: deviations of logarithms from the priors of the models in",
        "# simulator/kernels. Made by `python -m simulator.calibration.kernels KERNELS.csv`.",
        *head_lines(fitted_on),
    ]
    for family, fitted in sorted(constants.items()):
        lines += deviation_lines(f"deviations.{family}", fitted)
    lines += error_lines("families", record.families)
    lines += [*record_lines("spread", record.spread), *record_lines("measured", record.measured)]
    return "\n".join(lines) + "\n"
