"""What calibration files of kernels and of collectives share: fitted deviations, checked as they are read and written
with what they mean, and the held-out errors that intervals come from."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hwmodels.datafile import TomlFile, did_you_mean

from .calibration_data import number, quoted
from .kernels.kernel_constants import KernelConstants, KernelSpec


@dataclass(frozen=True, kw_only=True)
class HeldOutErrors:
    """Held-out errors of one class of rows (a family of kernels, a class of sizes) in one way of holding out.

    Errors are |ln(predicted / measured)|; ``macro`` is their mean over groups: (suite, chip) of kernels, (system,
    ranks, collective) of collectives. ``spread`` is the root mean square log error of an ordinary owner, which is such
    a group for kernels and a system for collectives; ``low`` and ``high`` are the 10 % and 90 % quantiles of
    ln(measured / predicted) over the spread of its owner.
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


def deviation_problems(
    file: TomlFile, place: Sequence[str], values: Mapping[str, Any], specs: Mapping[str, KernelSpec]
) -> Iterator[str]:
    """What is wrong with the deviations in the table of a file at ``place``, a line for each."""
    for key, value in values.items():
        short = key.partition("@")[0]
        where = f"{file.name}:{file.line_of((*place, key))}: {key}"
        if short not in specs:
            yield f"{where}: no such constant.{did_you_mean(short, specs)}"
        elif not isinstance(value, int | float) or not math.isfinite(value) or abs(value) > _widest(specs[short]):
            yield f"{where}: {value!r} is no deviation of a logarithm within the constant's range."


def _widest(spec: KernelSpec) -> float:
    """A single deviation may leave the range (others bring it back), but not by more than the range is wide."""
    return 2.0 * math.log(spec.high / spec.low) + 1.0


def read_constants(specs: Mapping[str, KernelSpec], values: Mapping[str, Any]) -> KernelConstants:
    """The constants of deviations without problems."""
    return KernelConstants(specs=specs, deviations={key: float(value) for key, value in values.items()})


def read_errors(record: Mapping[str, Any], title: str) -> dict[str, HeldOutErrors]:
    """The held-out errors in ``[record.<title>]``."""
    return {key: HeldOutErrors(**values) for key, values in record.get(title, {}).items()}


def read_fitted_on(data: Mapping[str, Any]) -> dict[str, str]:
    """What a file says it was fitted on."""
    return {key: str(value) for key, value in data.get("fitted_on", {}).items()}


def head_lines(fitted_on: Mapping[str, str]) -> list[str]:
    """The schema of a file and what it was fitted on."""
    return ["schema = 1", "", "[fitted_on]", *(f"{key} = {quoted(value)}" for key, value in fitted_on.items())]


def deviation_lines(title: str, constants: KernelConstants) -> list[str]:
    """A table of deviations: each constant's unit, prior, range and meaning above its own."""
    lines = ["", f"[{title}]"]
    for spec in constants.specs.values():
        lines.append(f"# {spec.name} [{spec.unit}]: {spec.prior:g} ({spec.low:g} to {spec.high:g}), {spec.meaning}")
        keys = [key for key in constants.deviations if key.partition("@")[0] == spec.name]
        lines += [f"{quoted(key)} = {number(float(constants.deviations[key]))}" for key in sorted(keys)]
    return lines


def error_lines(title: str, errors: Mapping[str, HeldOutErrors]) -> list[str]:
    """One table of the record for each class of held-out errors."""
    lines = []
    for key, entry in sorted(errors.items()):
        lines += ["", f"[record.{title}.{quoted(key)}]"]
        lines += [f"{column} = {number(getattr(entry, column))}" for column in HeldOutErrors.__dataclass_fields__]
    return lines


def record_lines(title: str, values: Mapping[str, float]) -> list[str]:
    """One plain table of the record: a spread or a number of rows for each key."""
    return ["", f"[record.{title}]", *(f"{quoted(key)} = {number(value)}" for key, value in sorted(values.items()))]
