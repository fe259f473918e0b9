"""The cross-fitted record as it ships: how far off every kind of run was, and every shipped run's held-out prediction.

Three tables in ``simulator/data/calibrations``, made together from the whole measured corpus: ``record_groups.csv``
(errors by kind of run and by era, beside the baseline's), ``record_coverage.csv`` (how many rows were predicted, how
many refused for want of what) and ``record.csv`` (one held-out prediction for each row of
``simulator/data/measured_runs.csv``, in the row's own unit). README's tables come from them without a refit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ..output import write_atomically
from .group_errors import GroupError
from .runs import Table, ValidationResult
from .shipped_tables import csv_text, shipped_table
from .summary import ValidationSummary

#: An era with fewer groups than this has no line of its own.
FEWEST_GROUPS: Final = 5
GROUPS_FILE: Final = "record_groups.csv"
COVERAGE_FILE: Final = "record_coverage.csv"
RUNS_FILE: Final = "record.csv"
#: What a reason for refusing a row begins with, and what it comes to.
_REFUSED: Final[Mapping[str, str]] = {
    "metric ": "another metric", "chip ": "unknown chip", "model ": "unknown model",
}  # fmt: skip
_GROUP_COLUMNS: Final = (
    "set", "name", "runs", "groups", "macro", "mean", "median", "p90", "bias", "baseline_macro", "held",
    "width",
)  # fmt: skip
_RUN_COLUMNS: Final = ("row", "predicted", "low", "high", "stack")


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One shipped run beside its held-out prediction, both in the run's own unit.

    ``low`` and ``high`` bound the 80 % interval; ``row`` holds the run's columns in ``measured_runs.csv``.
    """

    row: Mapping[str, str]
    measured: float
    predicted: float
    low: float
    high: float
    stack: str

    @property
    def ratio(self) -> float:
        """Predicted over measured."""
        return self.predicted / self.measured


def record_tables(result: ValidationResult, summary: ValidationSummary, shipped: Iterable[str]) -> tuple[str, str]:
    """Text of two of the tables, (groups, runs), from a held-out validation of the corpus.

    Parameters
    ----------
    shipped
        Row numbers of the rows that ship; others leave no line.

    Raises
    ------
    ValueError
        For predictions that were not held out, or where a shipped row has none.
    """
    if not result.held_out:
        raise ValueError(
            "record_tables: the predictions were made with constants fitted on the same runs; hold them out."
        )
    # A handful of runs of no stated era says nothing about one.
    groups = [("all" if g.name == "all" else "era", g) for g in summary.by_era if g.groups >= FEWEST_GROUPS]
    groups += [("kind", g) for g in summary.by_family]
    if summary.memory is not None:
        groups += [("memory", g) for g in (*summary.memory.overall, *summary.memory.by_reading)]
    lines = [
        [kind, g.name, g.runs, g.groups, *(_cell(getattr(g, c)) for c in _GROUP_COLUMNS[4:])] for kind, g in groups
    ]
    by_row = {p.row: p for p in result.predictions}
    stacks = {
        p.row: result.table.jobs[i].context.stack.id
        for i, p in enumerate(result.predictions)
        if p.predicted is not None and i in result.table.jobs
    }
    runs: list[list[str]] = []
    for number in shipped:
        prediction = by_row.get(number)
        if prediction is None or prediction.predicted is None:
            raise ValueError(f"record_tables: shipped row {number} has no prediction in the corpus.")
        numbers = (prediction.predicted, prediction.low, prediction.high)
        runs.append([number, *(_cell(v) for v in numbers), stacks[number]])
    return csv_text(_GROUP_COLUMNS, lines), csv_text(_RUN_COLUMNS, runs)


def coverage(table: Table) -> Mapping[str, int]:
    """Rows of a table by what became of them: "predicted" as a step or as "memory", or what they were refused for."""
    refused = dict.fromkeys((*_REFUSED.values(), "other"), 0)
    counts = {"predicted": len(table.jobs), "memory": len(table.memory_jobs), **refused}
    for reason in table.refused.values():
        counts[next((word for begin, word in _REFUSED.items() if reason.startswith(begin)), "other")] += 1
    return counts


def write_record(result: ValidationResult, summary: ValidationSummary, folder: Path, shipped: Iterable[str]) -> None:
    """Write the three tables into a calibrations folder."""
    groups, runs = record_tables(result, summary, shipped)
    write_atomically(folder / GROUPS_FILE, groups)
    rows = csv_text(("rows", "number"), coverage(result.table).items())
    write_atomically(folder / COVERAGE_FILE, rows)
    write_atomically(folder / RUNS_FILE, runs)


def recorded_groups() -> tuple[tuple[str, GroupError], ...]:
    """(set, errors) of every recorded set of runs; the set is "all", "era", "kind" or "memory"."""
    return tuple(
        (
            line["set"],
            GroupError(
                name=line["name"], runs=int(line["runs"]), groups=int(line["groups"]), macro=float(line["macro"]),
                mean=float(line["mean"]), median=float(line["median"]), p90=float(line["p90"]),
                bias=float(line["bias"]), baseline_macro=_maybe(line["baseline_macro"]),
                held=_maybe(line["held"]), width=_maybe(line["width"]),
            ),
        )
        for line in shipped_table("calibrations", GROUPS_FILE)
    )  # fmt: skip


def recorded_coverage() -> Mapping[str, int]:
    """Rows of the corpus by what became of them, as `coverage`."""
    return {line["rows"]: int(line["number"]) for line in shipped_table("calibrations", COVERAGE_FILE)}


def recorded_runs() -> Mapping[str, HeldOut]:
    """Every shipped run with its held-out prediction, by row number."""
    rows = {row["row"]: row for row in shipped_table("measured_runs.csv")}
    return {
        line["row"]: HeldOut(
            row=rows[line["row"]], measured=float(rows[line["row"]]["value"]), predicted=float(line["predicted"]),
            low=float(line["low"]), high=float(line["high"]), stack=line["stack"],
        )
        for line in shipped_table("calibrations", RUNS_FILE)
        if line["row"] in rows
    }  # fmt: skip


def shipped_rows() -> tuple[str, ...]:
    """Row numbers of the measured runs that ship, as in the corpus."""
    return tuple(row["row"] for row in shipped_table("measured_runs.csv"))


def _maybe(text: str) -> float | None:
    return float(text) if text else None


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"
