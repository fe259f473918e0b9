"""The memory record: how far off measured memory was, by what its figure is and by source, with each group left out.

Constants of a software are fitted without the (source, model, chip) group that they then predict; the 80 % interval is
that of the errors so made. Beside every error stands a baseline's: 16 bytes a parameter and a reserve.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from .group_errors import GroupError, Scored, group_error, parted
from .memory_fit import fit, memory_table
from .memory_rows import MemoryJob, memory_job
from .rows import RunJob
from .runs import HOLDS, Prediction, Table, ValidationResult, finite_number, weighted_quantile

#: Weights and gradients in 16 bits, masters and Adam's two words in 32 [B], and what a framework takes besides [B].
BASELINE_PARAMETER_BYTE: Final = 16.0
BASELINE_RESERVE_BYTE: Final = 2.0e9
#: Groups' worth of the common spread that a software's own is drawn by.
_PULL: Final = 2.0

Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class MemoryRow:
    """A measured figure with its job and a prediction that was made without its group, in the row's unit."""

    job: MemoryJob
    group: Group
    measured: float
    predicted: float
    low: float
    high: float
    baseline: float

    @property
    def error(self) -> float:
        """ln(measured / predicted)."""
        return math.log(self.measured / self.predicted)

    @property
    def scored(self) -> Scored:
        """The row for tables of errors."""
        return Scored(
            group=self.group, measured=self.measured, predicted=self.predicted, low=self.low, high=self.high,
            baseline=abs(math.log(self.baseline / self.measured)),
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class MemoryFit:
    """Constants fitted on all rows, by software; intervals of measured over predicted; the rows held out."""

    constants: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, tuple[float, float]]
    rows: Mapping[int, MemoryRow]


def cross_fit_memory(jobs: Mapping[int, RunJob], measured: Mapping[int, float], *, hold: int = 3) -> MemoryFit:
    """Predict every measured memory row with constants fitted without its group.

    ``hold``: leading words of (source, model, chip) that are left out together; 1 for whole sources, 2 for models.
    """
    found = {index: memory_job(jobs[index], fitted=False) for index in measured}
    owners: dict[str, list[int]] = {}
    for index, one in found.items():
        owners.setdefault(one.software.name, []).append(index)
    constants: dict[str, Mapping[str, float]] = {}
    predicted: dict[int, float] = {}
    for name, members in owners.items():
        table, start = memory_table([found[i] for i in members])
        values = np.array([measured[i] for i in members])
        groups = [jobs[i].group for i in members]
        whole = fit(table, values, groups, start)
        constants[name] = {key: whole[key] for key in table.software.usual}
        parts = [group[:hold] for group in groups]
        for part in sorted(set(parts)):
            out = np.array([each == part for each in parts])
            without = whole if not constants[name] else fit(table, values, groups, start, used=~out)
            for position in np.flatnonzero(out):
                predicted[members[position]] = float(table.predicted(without)[position])
    names = {index: one.software.name for index, one in found.items()}
    residual = {index: math.log(measured[index] / predicted[index]) for index in measured}
    held = {group: _ends(residual, jobs, names, group) for group in {jobs[i].group for i in measured}}
    rows = {}
    for index in sorted(measured):
        low, high = held[jobs[index].group][names[index]]
        rows[index] = MemoryRow(
            job=found[index], group=jobs[index].group, measured=measured[index], predicted=predicted[index],
            low=predicted[index] * low, high=predicted[index] * high, baseline=baseline(found[index]),
        )  # fmt: skip
    return MemoryFit(constants=constants, intervals=_ends(residual, jobs, names, None), rows=rows)


def _ends(
    residual: Mapping[int, float], jobs: Mapping[int, RunJob], names: Mapping[int, str], without: Group | None
) -> dict[str, tuple[float, float]]:
    """80 % interval of measured over predicted by software, from rows of the other groups; "other" for any.

    Errors over their software's spread are pooled; its ends are the pooled quantiles times its spread, wider by
    sqrt(1 + 1 / n) where only n groups say how large that is.
    """
    by_software: dict[str, dict[Group, list[float]]] = {name: {} for name in names.values()}
    for index, value in residual.items():
        if jobs[index].group != without:
            by_software[names[index]].setdefault(jobs[index].group, []).append(value)
    squares = {n: [float(np.mean(np.square(e))) for e in groups.values()] for n, groups in by_software.items()}
    common = float(np.median([s for each in squares.values() for s in each])) * 2.0
    spread = {n: math.sqrt((sum(s) + _PULL * common) / (len(s) + _PULL)) for n, s in squares.items()}
    pooled = _quantiles([[e / spread[n] for e in errors] for n, g in by_software.items() for errors in g.values()])
    wide = {n: s * math.sqrt(1.0 + 1.0 / max(len(squares[n]), 1)) for n, s in spread.items()}
    ends = {n: (pooled[0] * s, pooled[1] * s) for n, s in wide.items()}
    unknown = math.sqrt(float(np.mean([np.mean(s) for s in squares.values() if s])))
    ends["other"] = (pooled[0] * unknown, pooled[1] * unknown)
    return {name: (math.exp(min(low, -1e-3)), math.exp(max(high, 1e-3))) for name, (low, high) in ends.items()}


def _quantiles(groups: Sequence[Sequence[float]]) -> tuple[float, float]:
    """10 % and 90 % of errors; a group of n counts as sqrt(n) rows."""
    values = np.array([e for errors in groups for e in errors])
    weights = np.array([1.0 / math.sqrt(len(errors)) for errors in groups for _ in errors])
    return weighted_quantile(values, weights, 0.1), weighted_quantile(values, weights, 0.9)


def baseline(found: MemoryJob) -> float:
    """16 bytes a parameter on the ranks that share it, and a reserve, in the row's unit."""
    one = found.strategy
    ranks = one.tp * one.pp * (one.dp * one.cp if one.sharding == "zero3" else 1)
    byte = BASELINE_PARAMETER_BYTE * found.job.workload.parameters / ranks + BASELINE_RESERVE_BYTE
    return byte / found.software.unit_byte


def measured_memory(table: Table) -> dict[int, float]:
    """Measured memory of a table's rows that are not flagged, by index."""
    found = {}
    for index in table.memory_jobs:
        row = table.rows[index]
        value = finite_number(row.get("value"))
        if value is not None and value > 0.0 and not row.get("flag"):
            found[index] = value
    return found


@dataclass(frozen=True, kw_only=True)
class MemorySummary:
    """Errors of memory rows: of all, by what the figure is, and by source, the largest first."""

    rows: int
    predicted: int
    held_out: bool
    constants: int
    overall: tuple[GroupError, ...]
    by_reading: tuple[GroupError, ...]
    by_source: tuple[GroupError, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON, for a key of their own beside the record of step times."""
        parts = {"all": self.overall, "by_reading": self.by_reading, "by_source": self.by_source}
        return {
            "rows": self.rows, "predicted": self.predicted, "held_out": self.held_out, "constants": self.constants,
            **{
                key: [{n: _rounded(getattr(g, n)) for n in GroupError.__dataclass_fields__} for g in groups]
                for key, groups in parts.items()
            },
        }  # fmt: skip

    def text(self) -> str:
        """A table for people, to stand below that of step times; empty where no row has a measured figure."""
        if not self.overall:
            return ""
        how = "each source x model x chip group predicted without it" if self.held_out else "shipped constants"
        lines = [
            f"memory: {self.predicted} of {self.rows} rows predicted, {how}; {self.constants} constants; baseline: 16 "
            "bytes a parameter and 2 GB",
            f"{'group':34} {'rows':>6} {'groups':>6} {'macro':>8} {'median':>8} {'baseline':>9} {'in 80 %':>8} "
            f"{'high/low':>8}",
        ]
        for title, groups in (("", self.overall), ("by reading", self.by_reading), ("by source", self.by_source)):
            lines += [f"-- {title}"] if title else []
            lines += [
                f"{g.name[:34]:34} {g.runs:6d} {g.groups:6d} {g.macro:8.1%} {g.median:8.1%} "
                f"{g.baseline_macro or 0.0:9.1%} {g.held or 0.0:8.1%} {g.width or 0.0:8.2f}"
                for g in groups
            ]
        return "\n".join(lines) + "\n"


def memory_summary(table: Table, predictions: Sequence[Prediction], *, held: MemoryFit | None = None) -> MemorySummary:
    """The memory record of a table: of its predictions with the shipped constants, or of ``held`` where that is given.

    Parameters
    ----------
    predictions
        One for every row of the table, in order.
    held
        `cross_fit_memory` of the table's rows.
    """
    measured = measured_memory(table)
    jobs = table.memory_jobs
    found = {i: held.rows[i].job if held else memory_job(jobs[i]) for i in measured}
    if held:
        scored = {i: held.rows[i].scored for i in measured}
    else:
        scored = {
            i: Scored(
                group=jobs[i].group, measured=value, predicted=p.predicted, low=p.low, high=p.high,
                baseline=abs(math.log(baseline(found[i]) / value)),
            )
            for i, value in measured.items()
            if (p := predictions[i]).predicted is not None
        }  # fmt: skip

    def largest_first(parts: Mapping[str, GroupError]) -> tuple[GroupError, ...]:
        return tuple(sorted(parts.values(), key=lambda g: -g.groups))

    softwares = {one.software.name: one.software for one in found.values()}
    return MemorySummary(
        rows=len(jobs), predicted=sum(predictions[i].predicted is not None for i in jobs), held_out=held is not None,
        constants=sum(len(one.usual) for one in softwares.values()),
        overall=(group_error("all", list(scored.values())),) if scored else (),
        by_reading=largest_first(parted(scored, lambda i: found[i].software.reading)),
        by_source=largest_first(parted(scored, lambda i: jobs[i].group[0])),
    )  # fmt: skip


def with_held_memory(result: ValidationResult) -> tuple[ValidationResult, MemoryFit | None]:
    """A validation whose memory rows are predicted without their group, or their source where sources are held out,
    and their fit; as it is where none is measured.

    Too few rows of a kind leave its constants at their usual values.
    """
    measured = measured_memory(result.table)
    if not measured:
        return result, None
    sources = result.crossed is not None and result.crossed.hold != HOLDS[0]
    jobs = {i: result.table.memory_jobs[i] for i in measured}
    held = cross_fit_memory(jobs, measured, hold=1 if sources else 3)
    lines = list(result.predictions)
    for index, row in held.rows.items():
        lines[index] = replace(lines[index], predicted=row.predicted, low=row.low, high=row.high)
    return replace(result, predictions=tuple(lines)), held


def constants_toml(found: MemoryFit) -> str:
    """Text of ``simulator/data/memory_constants.toml``: constants, intervals and the rows they rest on."""
    groups: dict[str, set[Group]] = {}
    count: dict[str, int] = {}
    for row in found.rows.values():
        name = row.job.software.name
        groups.setdefault(name, set()).add(row.group)
        count[name] = count.get(name, 0) + 1
    lines = ["# Fitted on measured memory; see simulator.validation.memory_software. Bytes and shares.", "schema = 1"]
    for name in sorted(found.constants):
        if found.constants[name]:
            lines += ["", f"[constants.{_key(name)}]"]
            lines += [f"{key} = {value:.6g}" for key, value in sorted(found.constants[name].items())]
    for name in sorted(found.intervals):
        low, high = found.intervals[name]
        lines += ["", f"[intervals.{_key(name)}]", f"low = {low:.4f}", f"high = {high:.4f}"]
        if name in count:
            lines += [f"rows = {count[name]}", f"groups = {len(groups[name])}"]
    return "\n".join(lines) + "\n"


def _key(name: str) -> str:
    return json.dumps(name)


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
