"""The convergence calibration: what all tasks share, the points that ship, how far held-out answers were off.

A file in ``simulator/data/convergence_calibrations`` holds ``[constants]`` (`PoolConstants`), ``[fitted_on]``,
``[record]`` from which intervals come, and for readers ``[curves]``: E_min, B_crit and largest batch of every task.
The points themselves are ``simulator/data/measured_convergence.csv``.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from importlib.resources import files
from typing import Any

from hwmodels.datafile import DataFileError, did_you_mean, read_toml

from .calibration_data import number, quoted, shipped_path
from .deviations_file import HeldOutErrors, error_lines, head_lines, read_errors, read_fitted_on
from .outcome.convergence.points import Point, read_point
from .outcome.convergence.pooling import Pool, PoolConstants, PooledAnswer

_KIND = "convergence calibration"


@dataclass(frozen=True, kw_only=True)
class ConvergenceRecord:
    """Held-out errors by "hold/class"; the classes are "benchmark rounds" and "own recipes"."""

    classes: Mapping[str, HeldOutErrors] = field(default_factory=dict)

    def interval(self, answer: PooledAnswer, point: Point, *, hold: str = "points") -> tuple[float, float] | None:
        """The 80 % interval of an answer in the unit of its curve; None without a record."""
        entry = self.classes.get(f"{hold}/{point_class(point)}")
        if entry is None:
            return None
        low, high = (answer.log_mean + q * answer.log_spread for q in (entry.low, entry.high))
        return math.exp(min(low, answer.log_mean)), math.exp(max(high, answer.log_mean))


def point_class(point: Point) -> str:
    """How a point counts in the record: tuned by the rules of a benchmark's round, or by its own."""
    return "own recipes" if point.own_recipe else "benchmark rounds"


@dataclass(frozen=True, kw_only=True)
class ConvergenceCalibration:
    """One convergence calibration file."""

    name: str
    constants: PoolConstants
    record: ConvergenceRecord
    fitted_on: Mapping[str, str]


@cache
def load_convergence(name: str = "default") -> ConvergenceCalibration:
    """One convergence calibration by name; raises `CalibrationError` naming the nearest."""
    return read_convergence(shipped_path(_KIND, name), name)


def read_convergence(path: str, name: str) -> ConvergenceCalibration:
    """A convergence calibration file; every problem of it in one `DataFileError`."""
    file = read_toml(path)
    data: Mapping[str, Any] = file.data
    values, problems = data.get("constants", {}), []
    legal = [f.name for f in fields(PoolConstants)]
    for key, value in values.items():
        where = f"{file.name}:{file.line_of(('constants', key))}: constants.{key}"
        if key not in legal:
            problems.append(f"{where}: no such constant.{did_you_mean(key, legal)}")
        elif not isinstance(value, float) or not math.isfinite(value) or (value <= 0.0 and key != "critical"):
            problems.append(f"{where}: is {value!r}; legal: a number{'' if key == 'critical' else ' above 0.0'}.")
    problems += [f"{file.name}: constants.{key}: is missing." for key in legal if key not in values]
    if problems:
        raise DataFileError(*problems)
    return ConvergenceCalibration(
        name=name, constants=PoolConstants(**values), fitted_on=read_fitted_on(data),
        record=ConvergenceRecord(classes=read_errors(data.get("record", {}), "classes")),
    )  # fmt: skip


@cache
def shipped_rows() -> tuple[Mapping[str, str], ...]:
    """The published points that ship, as they stand."""
    text = files("simulator").joinpath("data", "measured_convergence.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(io.StringIO(text)))


@cache
def shipped_points() -> tuple[tuple[Point, float], ...]:
    """The published points that ship, each with its answer in the unit of its curve."""
    found = ((read_point(row), row) for row in shipped_rows())
    return tuple((point, float(row["value"]) * point.per_unit) for point, row in found)


@cache
def shipped_pool(name: str = "default") -> Pool:
    """The curves of the points that ship, under the constants of a calibration."""
    return Pool(shipped_points(), load_convergence(name).constants)


def to_toml(
    *, name: str, constants: PoolConstants, record: ConvergenceRecord, fitted_on: Mapping[str, str],
    points: Sequence[tuple[Point, float]],
) -> str:  # fmt: skip
    """A convergence calibration as the text of its file; the same values give the same bytes."""
    lines = [
        f"# Fitted constants of convergence calibration {name!r}: spreads of logarithms that all tasks share",
        "# (simulator/outcome/convergence/pooling.py). Made by `python -m simulator.calibration.convergence"
        " CONVERGENCE.csv`.",
        *head_lines(fitted_on),
        "",
        "[constants]",
        *(f"{key} = {number(value)}" for key, value in asdict(constants).items()),
        *error_lines("classes", record.classes),
        "",
        "# For readers: E_min at the reference of each curve, B_crit and its spread (of ln), largest batch, points.",
        "# Predictions come from the points themselves.",
        *_curve_lines(Pool(points, constants), points),
    ]
    return "\n".join(lines) + "\n"


def _curve_lines(pool: Pool, points: Sequence[tuple[Point, float]]) -> list[str]:
    """A table for every curve."""
    lines = []
    first = {p.curve: p for p, _ in sorted(points, key=lambda m: str(m[0]), reverse=True)}
    for curve, point in sorted(first.items(), key=str):
        answer = pool.answer(point)
        assert answer is not None, curve
        task, dataset, counted, in_tokens = curve
        batch = point.batch or answer.largest_batch
        least = math.exp(answer.log_mean) / (1.0 + batch / math.exp(answer.log_critical))
        title = f"{task}, {point.network}, {dataset}" + (", batch in tokens" if in_tokens else "")
        lines += [
            "", f"[curves.{quoted(title)}]", f"least_{counted} = {number(least)}",
            f"critical_batch = {number(math.exp(answer.log_critical))}",
            f"critical_spread = {number(answer.log_critical_spread)}",
            f"largest_batch = {number(answer.largest_batch)}", f"points = {answer.points}",
        ]  # fmt: skip
    return lines
