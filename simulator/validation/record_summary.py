"""What `validate` says of a table, of whatever kind: coverage, errors beside the yardstick's, refusals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from .group_errors import GroupError

#: Where nothing was held out.
IN_SAMPLE: Final = "with shipped constants (fitted on the open corpus: errors on rows of it are in-sample)"
_MOST_REASONS: Final = 12


@dataclass(frozen=True, kw_only=True)
class RecordSummary:
    """Coverage of a table, number of fitted constants, and rows refused by reason, most first."""

    rows: int
    predicted: int
    constants: int
    refusals: tuple[tuple[str, int], ...]
    written: str = ""

    @property
    def coverage(self) -> float:
        """Share of the rows that were predicted."""
        return self.predicted / max(self.rows, 1)

    def mapping(self, held_out: bool | str, parts: Mapping[str, Sequence[GroupError]]) -> dict[str, object]:
        """Plain values for JSON, with the errors of each part under its key."""
        return {
            "rows": self.rows, "predicted": self.predicted, "coverage": _rounded(self.coverage), "held_out": held_out,
            "constants": self.constants,
            **{
                key: [_plain(g) for g in groups]
                for key, groups in parts.items()
            },
            "refusals": [{"reason": reason, "rows": count} for reason, count in self.refusals],
            "written": self.written,
        }  # fmt: skip

    def lines(self, how: str, unit: str, parts: Mapping[str, Sequence[GroupError]], *, baseline: str = "") -> str:
        """A table for people, with the errors of each part under its title (none under "")."""
        first = (
            f"{self.predicted} of {self.rows} rows predicted ({self.coverage:.1%}), {how}; {self.constants} constants"
        )
        lines = [f"{first}; baseline: {baseline}" if baseline else first, ""]
        if any(parts.values()):
            lines.append(
                f"{'group':34} {unit:>6} {'groups':>6} {'macro':>8} {'mean':>8} {'median':>8} {'p90':>8} {'bias':>7} "
                f"{'baseline':>9} {'skill':>6} {'in 80 %':>8} {'high/low':>8}"
            )
            for title, groups in parts.items():
                lines += [f"-- {title}"] if title else []
                lines += [_line(g) for g in groups]
        else:
            lines.append("no row has a measured value: nothing to compare with")
        if self.refusals:
            lines += ["", "refused:", *(f"{count:7d}  {reason}" for reason, count in self.refusals[:_MOST_REASONS])]
            if (more := len(self.refusals) - _MOST_REASONS) > 0:
                lines.append(f"         and {more} more reasons")
        if self.written:
            lines += ["", f"predictions written to {self.written}"]
        return "\n".join(lines) + "\n"


def _line(g: GroupError) -> str:
    def percent(value: float | None, width: int) -> str:
        return f"{value:{width}.1%}" if value is not None else " " * (width - 1) + "-"

    ratio = f"{g.width:8.2f}" if g.width is not None else "       -"
    skill = f"{g.skill:6.2f}" if g.skill is not None else "     -"
    return (
        f"{g.name[:34]:34} {g.runs:6d} {g.groups:6d} {percent(g.macro, 8)} {percent(g.mean, 8)} {percent(g.median, 8)} "
        f"{percent(g.p90, 8)} {g.bias:+7.1%} {percent(g.baseline_macro, 9)} {skill} {percent(g.held, 8)} {ratio}"
    )


def _plain(g: GroupError) -> dict[str, object]:
    values = {name: _rounded(getattr(g, name)) for name in GroupError.__dataclass_fields__}
    return values | {"skill": _rounded(g.skill)}


def _rounded(value: object) -> object:
    return round(value, 6) if isinstance(value, float) else value
