"""The record of measured kernels in words and as JSON: errors beside the bare roofline's, per family and group."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .kernels import KernelValidation
from .summary import GroupError, closing_lines, group_line, rounded


@dataclass(frozen=True, kw_only=True)
class KernelSummary:
    """What `validate kernels` prints; errors are |ln(predicted / measured)|."""

    rows: int
    predicted: int
    hold: str
    constants: int
    overall: tuple[GroupError, ...]
    by_family: tuple[GroupError, ...]
    by_group: tuple[GroupError, ...]
    refusals: tuple[tuple[str, int], ...]
    written: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""

        def plain(groups: Sequence[GroupError]) -> list[dict[str, object]]:
            return [{k: rounded(getattr(g, k)) for k in GroupError.__dataclass_fields__} for g in groups]

        return {
            "rows": self.rows, "predicted": self.predicted, "coverage": rounded(self.predicted / max(self.rows, 1)),
            "held_out": self.hold, "constants": self.constants, "all": plain(self.overall),
            "by_family": plain(self.by_family), "by_group": plain(self.by_group),
            "refusals": [{"reason": reason, "rows": count} for reason, count in self.refusals], "written": self.written,
        }  # fmt: skip

    def text(self) -> str:
        """The summary as a table for people."""
        how = (
            f"held out by {self.hold} (each predicted with constants fitted without it)"
            if self.hold
            else "with shipped constants (fitted on the open corpus: errors on rows of it are in-sample)"
        )
        lines = [
            f"{self.predicted} of {self.rows} rows predicted ({self.predicted / max(self.rows, 1):.1%}), {how}; "
            f"{self.constants} constants; baseline: the bare roofline",
            "",
        ]
        if self.overall:
            lines.append(
                f"{'group':34} {'rows':>6} {'groups':>6} {'macro':>8} {'mean':>8} {'median':>8} {'baseline':>9} "
                f"{'in 80 %':>8} {'high/low':>8}"
            )
            lines += [group_line(g) for g in self.overall]
            for title, groups in (("by family", self.by_family), ("by kernel, suite and chip", self.by_group)):
                lines.append(f"-- {title}")
                lines += [group_line(g) for g in groups]
        else:
            lines.append("no row has a measured value: nothing to compare with")
        return "\n".join([*lines, *closing_lines(self.refusals, self.written)]) + "\n"


def summarise_kernels(result: KernelValidation, *, written: str = "") -> KernelSummary:
    """Errors of a validation, from its rows with a measured value and without a flag."""
    table = result.table
    entries = [
        (i, math.log(seconds / table.measured_s[i]))
        for i, p in enumerate(result.predictions)
        if (seconds := p.predicted) is not None and i in table.measured_s and not table.rows[i].get("flag")
    ]

    def groups(key: Callable[[int], str]) -> tuple[GroupError, ...]:
        members: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            members.setdefault(key(entry[0]), []).append(entry)
        return tuple(_group(name, members[name], result) for name in sorted(members))

    def spelled(i: int) -> str:
        row = table.rows[i]
        return " ".join((row["kernel"], row.get("suite", "").replace("neusight_", ""), row["chip"], row["precision"]))

    return KernelSummary(
        rows=len(table.rows), predicted=sum(p.predicted is not None for p in result.predictions), hold=result.hold,
        constants=result.constants, overall=(_group("all", entries, result),) if entries else (),
        by_family=groups(lambda i: table.jobs[i].family), by_group=groups(spelled),
        refusals=tuple(Counter(table.refused.values()).most_common()), written=written,
    )  # fmt: skip


def _group(name: str, entries: Sequence[tuple[int, float]], result: KernelValidation) -> GroupError:
    by_group: dict[tuple[str, str], list[int]] = {}
    held, width = [], []
    for position, (i, _) in enumerate(entries):
        by_group.setdefault(result.table.jobs[i].group, []).append(position)
        p = result.predictions[i]
        if p.low and p.high:
            held.append(p.low <= result.table.measured_s[i] <= p.high)
            width.append(p.high / p.low)
    size = [abs(error) for _, error in entries]
    base = [abs(math.log(result.baseline_s[i] / result.table.measured_s[i])) for i, _ in entries]

    def macro(values: Sequence[float]) -> float:
        return statistics.fmean(statistics.fmean(values[p] for p in members) for members in by_group.values())

    return GroupError(
        name=name, runs=len(entries), groups=len(by_group), macro=macro(size), mean=statistics.fmean(size),
        median=statistics.median(size), baseline_macro=macro(base), held=statistics.fmean(held) if held else None,
        width=statistics.median(width) if width else None,
    )  # fmt: skip
