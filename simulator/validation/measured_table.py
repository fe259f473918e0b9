"""A table of measured kernels or of measured collectives, and its predictions: what both kinds share."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from .kernel_suites.family import Row
from .runs import Prediction, TableError


class MeasuredJob(Protocol):
    """What a row asks for, resolved against the catalogue."""

    @property
    def group(self) -> tuple[str, ...]:
        """The set of rows that weighs as one in a macro error."""


JobT = TypeVar("JobT", bound=MeasuredJob)
RecordT = TypeVar("RecordT")


@dataclass(frozen=True, kw_only=True)
class MeasuredTable(Generic[JobT]):
    """Rows as they stand, jobs of those that can be priced, reasons for the rest."""

    rows: tuple[Row, ...]
    jobs: Mapping[int, JobT]
    refused: Mapping[int, str]
    measured_s: Mapping[int, float]

    @property
    def used(self) -> list[int]:
        """Rows with a measured value and no flag: those of fits and scores."""
        return [i for i in self.measured_s if not self.rows[i].get("flag")]


@dataclass(frozen=True, kw_only=True)
class MeasuredValidation(Generic[JobT, RecordT]):
    """Predictions of a table, line by line, and what they rest on. ``baseline_s``: the yardstick's, by row index."""

    table: MeasuredTable[JobT]
    predictions: tuple[Prediction, ...]
    record: RecordT
    hold: str
    constants: int
    baseline_s: Mapping[int, float]


@dataclass(frozen=True, kw_only=True)
class HeldOutRows:
    """Held-out predictions: row index -> seconds, and the yardstick's."""

    hold: str
    predicted_s: Mapping[int, float]
    baseline_s: Mapping[int, float]
    constants: int


def read_measured_table(
    path: Path, *, needed: Sequence[str], resolve: Callable[[Row], JobT], refusal: type[Exception],
    value: Callable[[Row], float | None] | None = None,
) -> MeasuredTable[JobT]:  # fmt: skip
    """Read a table and resolve its rows; those for which ``resolve`` raises ``refusal`` are refused.

    ``value`` reads a row's answer; its seconds unless given.

    Raises
    ------
    TableError
        Where it is no table with the columns that are needed.
    """
    try:
        rows = tuple(read_measured_rows(path))
    except OSError as error:
        raise TableError(f"{path}: {error.strerror or error}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path}: not a CSV table in UTF-8 ({error}).") from error
    missing = [c for c in needed if not rows or c not in rows[0]]
    if missing:
        raise TableError(f"{path}: {'no rows' if not rows else 'columns missing: ' + ', '.join(missing)}.")
    jobs: dict[int, JobT] = {}
    refused: dict[int, str] = {}
    for index, row in enumerate(rows):
        try:
            jobs[index] = resolve(row)
        except refusal as error:
            refused[index] = str(error)
    read = value or measured_s
    values = {i: answer for i in jobs if (answer := read(rows[i])) is not None}
    return MeasuredTable(rows=rows, jobs=jobs, refused=refused, measured_s=values)


def read_measured_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a table as they stand."""
    with open(path, encoding="utf-8", newline="") as stream:
        return [{k: v or "" for k, v in row.items() if k is not None} for row in csv.DictReader(stream)]


def measured_s(row: Row) -> float | None:
    """The measured seconds of a row, None if there are none. Read by fits and scores only, never by predictions."""
    try:
        value = float(row.get("time_s") or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


@dataclass(frozen=True, kw_only=True)
class PricedRow:
    """What one row was predicted to take, the ends of its 80 % interval, and what to know of it."""

    predicted: float | None = None
    low: float | None = None
    high: float | None = None
    extrapolated: str = ""
    assumed: str = ""


def prediction_lines(table: MeasuredTable[JobT], price: Callable[[int, JobT], PricedRow]) -> tuple[Prediction, ...]:
    """A line for every row of a table, in order: its price, or why it has none."""
    lines = []
    for index, row in enumerate(table.rows):
        job = table.jobs.get(index)
        priced, reason = (PricedRow(), table.refused[index]) if job is None else (price(index, job), "")
        lines.append(
            Prediction(
                row=row.get("row") or str(index), measured=row.get("time_s") or "", predicted=priced.predicted,
                low=priced.low, high=priced.high, reason=reason, extrapolated=priced.extrapolated,
                assumed=priced.assumed,
            )
        )  # fmt: skip
    return tuple(lines)
