"""The record in words and as JSON: coverage, errors beside the baseline's, intervals, per group."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .rows import RunJob
from .runs import ValidationResult

#: Runs whose family is a language model with its whole layout stated.
_ERAS: Final = ("cnn2015_2018", "bert2018_2020", "llm2020_now")


@dataclass(frozen=True, kw_only=True)
class GroupError:
    """Errors |ln(predicted / measured)| of one set of runs; ``macro``: mean over (source, model, chip) groups."""

    name: str
    runs: int
    groups: int
    macro: float
    mean: float
    median: float
    baseline_macro: float | None
    held: float | None
    width: float | None


@dataclass(frozen=True, kw_only=True)
class ValidationSummary:
    """What `validate` prints."""

    rows: int
    predicted: int
    held_out: bool
    constants: int
    by_era: tuple[GroupError, ...]
    by_family: tuple[GroupError, ...]
    by_source: tuple[GroupError, ...]
    refusals: tuple[tuple[str, int], ...]
    written: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""

        def group(g: GroupError) -> dict[str, object]:
            return {k: rounded(getattr(g, k)) for k in GroupError.__dataclass_fields__}

        return {
            "rows": self.rows, "predicted": self.predicted, "coverage": rounded(self.predicted / max(self.rows, 1)),
            "held_out": self.held_out, "constants": self.constants, "by_era": [group(g) for g in self.by_era],
            "by_family": [group(g) for g in self.by_family], "by_source": [group(g) for g in self.by_source],
            "refusals": [{"reason": reason, "rows": count} for reason, count in self.refusals], "written": self.written,
        }  # fmt: skip

    def text(self) -> str:
        """The summary as a table for people."""
        how = (
            "cross-fitted (each source x model x chip group predicted without it)"
            if self.held_out
            else "with shipped constants (fitted on the open corpus: errors on rows of it are in-sample)"
        )
        lines = [
            f"{self.predicted} of {self.rows} rows predicted ({self.predicted / max(self.rows, 1):.1%}), {how}; "
            f"{self.constants} constants",
            "",
        ]
        if any(g.runs for g in self.by_era):
            lines.append(
                f"{'group':34} {'runs':>6} {'groups':>6} {'macro':>8} {'mean':>8} {'median':>8} {'baseline':>9} "
                f"{'in 80 %':>8} {'high/low':>8}"
            )
            for title, groups in (("", self.by_era), ("by kind of run", self.by_family), ("by source", self.by_source)):
                if title:
                    lines.append(f"-- {title}")
                lines += [group_line(g) for g in groups]
        else:
            lines.append("no row has a measured value: nothing to compare with")
        return "\n".join([*lines, *closing_lines(self.refusals, self.written)]) + "\n"


def closing_lines(refusals: Sequence[tuple[str, int]], written: str) -> list[str]:
    """What was refused for what, most first, and where the predictions went."""
    lines = []
    if refusals:
        lines += ["", "refused:", *(f"{count:7d}  {reason}" for reason, count in refusals[:12])]
        if len(refusals) > 12:
            lines.append(f"         and {len(refusals) - 12} more reasons")
    if written:
        lines += ["", f"predictions written to {written}"]
    return lines


def group_line(g: GroupError) -> str:
    def percent(value: float | None, width: int) -> str:
        return f"{value:{width}.1%}" if value is not None else " " * (width - 1) + "-"

    ratio = f"{g.width:8.2f}" if g.width is not None else "       -"
    return (
        f"{g.name[:34]:34} {g.runs:6d} {g.groups:6d} {percent(g.macro, 8)} {percent(g.mean, 8)} {percent(g.median, 8)} "
        f"{percent(g.baseline_macro, 9)} {percent(g.held, 8)} {ratio}"
    )


def rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value


def summarise(result: ValidationResult, *, written: str = "") -> ValidationSummary:
    """Errors of a validation, from its primary runs."""
    table = result.table
    baseline: Mapping[int, float] = {}
    if result.crossed is not None:
        baseline = dict(zip(result.crossed.index, result.crossed.baseline_error.tolist(), strict=True))
    entries: list[tuple[int, RunJob, float]] = []
    for index in table.primary:
        prediction = result.predictions[index]
        job = table.jobs[index]
        if prediction.predicted is None:
            continue
        measured = float(table.rows[index]["value"])
        entries.append((index, job, math.log(prediction.predicted / measured)))

    def groups(key: Callable[[int, RunJob], str], names: Sequence[str] | None = None) -> tuple[GroupError, ...]:
        members: dict[str, list[tuple[int, RunJob, float]]] = {}
        for entry in entries:
            members.setdefault(key(entry[0], entry[1]), []).append(entry)
        order = names or sorted(members, key=lambda n: -len(members[n]))
        return tuple(_group(name, members[name], result, baseline) for name in order if name in members)

    overall = (_group("all", entries, result, baseline),) if entries else ()
    predicted = sum(p.predicted is not None for p in result.predictions)
    return ValidationSummary(
        rows=len(table.rows), predicted=predicted, held_out=result.held_out, constants=result.constants,
        by_era=overall + groups(lambda i, j: table.rows[i].get("era", "") or "?", None),
        by_family=groups(lambda i, j: j.family), by_source=groups(lambda i, j: j.group[0]),
        refusals=tuple(Counter(table.refused.values()).most_common()), written=written,
    )  # fmt: skip


def _group(
    name: str, entries: Sequence[tuple[int, RunJob, float]], result: ValidationResult, baseline: Mapping[int, float]
) -> GroupError:
    by_group: dict[tuple[str, str, str], list[int]] = {}
    for position, (_, job, _) in enumerate(entries):
        by_group.setdefault(job.group, []).append(position)
    size = [abs(error) for _, _, error in entries]
    held: list[bool] = []
    width: list[float] = []
    for index, _, _ in entries:
        prediction = result.predictions[index]
        if prediction.low and prediction.high:
            held.append(prediction.low <= float(result.table.rows[index]["value"]) <= prediction.high)
            width.append(prediction.high / prediction.low)

    def macro(values: Sequence[float]) -> float:
        return statistics.fmean(statistics.fmean(values[p] for p in members) for members in by_group.values())

    return GroupError(
        name=name, runs=len(entries), groups=len(by_group), macro=macro(size), mean=statistics.fmean(size),
        median=statistics.median(size),
        baseline_macro=macro([abs(baseline[i]) for i, _, _ in entries]) if baseline else None,
        held=statistics.fmean(held) if held else None, width=statistics.median(width) if width else None,
    )  # fmt: skip
