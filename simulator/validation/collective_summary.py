"""The record of measured collectives in words and as JSON: errors beside one alpha-beta pair's, by size and system."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .collective_rows import CLASSES
from .collectives import CollectiveValidation
from .summary import GroupError, closing_lines, group_line, rounded


@dataclass(frozen=True, kw_only=True)
class CollectiveSummary:
    """What `validate collectives` prints: errors |ln(predicted / measured)|.

    Macro errors are over (system, ranks, collective) groups; ``by_size`` parts the rows into `collective_rows.CLASSES`.
    """

    rows: int
    predicted: int
    hold: str
    constants: int
    overall: tuple[GroupError, ...]
    by_size: tuple[GroupError, ...]
    by_system: tuple[GroupError, ...]
    by_collective: tuple[GroupError, ...]
    refusals: tuple[tuple[str, int], ...]
    written: str = ""

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""

        def plain(groups: Sequence[GroupError]) -> list[dict[str, object]]:
            return [{k: rounded(getattr(g, k)) for k in GroupError.__dataclass_fields__} for g in groups]

        return {
            "rows": self.rows, "predicted": self.predicted, "coverage": rounded(self.predicted / max(self.rows, 1)),
            "held_out": self.hold, "constants": self.constants, "all": plain(self.overall),
            "by_size": plain(self.by_size), "by_system": plain(self.by_system),
            "by_collective": plain(self.by_collective),
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
            f"{self.constants} constants; baseline: one alpha-beta pair for each pair of fabrics",
            "",
        ]
        if self.overall:
            lines.append(
                f"{'group':34} {'rows':>6} {'groups':>6} {'macro':>8} {'mean':>8} {'median':>8} {'baseline':>9} "
                f"{'in 80 %':>8} {'high/low':>8}"
            )
            lines += [group_line(g) for g in self.overall]
            for title, groups in (
                ("by size", self.by_size), ("by collective", self.by_collective), ("by system", self.by_system),
            ):  # fmt: skip
                lines.append(f"-- {title}")
                lines += [group_line(g) for g in groups]
        else:
            lines.append("no row has a measured value: nothing to compare with")
        return "\n".join([*lines, *closing_lines(self.refusals, self.written)]) + "\n"


def summarise_collectives(result: CollectiveValidation, *, written: str = "") -> CollectiveSummary:
    """Errors of a validation, from its rows with a measured value and without a flag."""
    table = result.table
    entries = [
        (i, math.log(seconds / table.measured_s[i]))
        for i in table.used
        if (seconds := result.predictions[i].predicted) is not None
    ]

    def groups(key: Callable[[int], str], order: Sequence[str] = ()) -> tuple[GroupError, ...]:
        members: dict[str, list[tuple[int, float]]] = {}
        for entry in entries:
            members.setdefault(key(entry[0]), []).append(entry)
        return tuple(_group(name, members[name], result) for name in order or sorted(members) if name in members)

    return CollectiveSummary(
        rows=len(table.rows), predicted=sum(p.predicted is not None for p in result.predictions), hold=result.hold,
        constants=result.constants, overall=(_group("all", entries, result),) if entries else (),
        by_size=groups(lambda i: CLASSES[table.jobs[i].size_class], tuple(CLASSES.values())),
        by_system=groups(lambda i: table.jobs[i].system), by_collective=groups(lambda i: table.jobs[i].collective),
        refusals=tuple(Counter(table.refused.values()).most_common()), written=written,
    )  # fmt: skip


def _group(name: str, entries: Sequence[tuple[int, float]], result: CollectiveValidation) -> GroupError:
    table = result.table
    by_group: dict[tuple[str, str, str], list[int]] = {}
    held, width = [], []
    for position, (i, _) in enumerate(entries):
        by_group.setdefault(table.jobs[i].group, []).append(position)
        p = result.predictions[i]
        if p.low and p.high:
            held.append(p.low <= table.measured_s[i] <= p.high)
            width.append(p.high / p.low)
    size = [abs(error) for _, error in entries]
    base = [abs(math.log(result.baseline_s[i] / table.measured_s[i])) for i, _ in entries]

    def macro(values: Sequence[float]) -> float:
        return statistics.fmean(statistics.fmean(values[p] for p in members) for members in by_group.values())

    return GroupError(
        name=name, runs=len(entries), groups=len(by_group), macro=macro(size), mean=statistics.fmean(size),
        median=statistics.median(size), baseline_macro=macro(base), held=statistics.fmean(held) if held else None,
        width=statistics.median(width) if width else None,
    )  # fmt: skip
