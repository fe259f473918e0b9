"""What `trainyard validate overlap` prints: errors of engine, closed form and yardstick by source and method."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

import numpy as np

from ..calibration_data import load_constants
from ..kernels.optable import Floats
from ..output import write_atomically
from .overlap import SOURCES, OverlapRow, baseline_s, macro, predict_overlap, read_overlap

_COLUMNS: Final = ("row", "source", "method", "measured_s", "events_s", "closed_form_s", "fixed_overlap_s")


@dataclass(frozen=True, kw_only=True)
class OverlapError:
    """Mean |ln(predicted / measured)| over (source, model, chip) groups of a part of the rows, by who predicted."""

    name: str
    rows: int
    events: float
    closed_form: float
    fixed_overlap: float


@dataclass(frozen=True, kw_only=True)
class OverlapSummary:
    """Errors of all rows, of each source and of each of its methods; ``hidden``: the yardstick's fraction by source."""

    parts: tuple[OverlapError, ...]
    hidden: Mapping[str, float]
    refusals: tuple[tuple[str, int], ...]
    written: str

    def as_json(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "parts": [{k: v if not isinstance(v, float) else round(v, 6) for k, v in asdict(p).items()}
                      for p in self.parts],
            "hidden_fraction": dict(sorted(self.hidden.items())),
            "refusals": [{"reason": reason, "rows": count} for reason, count in self.refusals],
            "written": self.written,
        }  # fmt: skip

    def text(self) -> str:
        """The summary as a table for people."""
        lines = [
            "measured overlap, with shipped constants (fitted on the open corpus: errors on rows of it are in-sample)",
            "fixed overlap: one fraction of all exchange hidden, fitted on the other sources, under a 1F1B pipeline",
            "",
            f"{'mean |ln(predicted / measured)|':38} {'rows':>5} {'events':>8} "
            f"{'closed form':>12} {'fixed overlap':>14}",
        ]
        lines += [
            f"{p.name:38} {p.rows:5d} {p.events:8.1%} {p.closed_form:12.1%} {p.fixed_overlap:14.1%}" for p in self.parts
        ]
        lines += ["", "fraction hidden, for the rows of:"]
        lines += [f"    {name:34} {fraction:5.0%}" for name, fraction in sorted(self.hidden.items())]
        if self.refusals:
            lines += ["", "left out:", *(f"{count:7d}  {reason}" for reason, count in self.refusals)]
        if self.written:
            lines += ["", f"predictions written to {self.written}"]
        return "\n".join(lines) + "\n"


def validate_overlap(
    path: Path | None = None,
    out: Path | None = None,
    *,
    calibration: str = "default",
    progress: Callable[[str], None] = lambda _: None,
) -> OverlapSummary:
    """Predict the measured overlap of a table of runs, write the predictions (all or nothing) and sum up.

    Without ``path`` the selection that ships with the package is used.

    Raises
    ------
    TableError
        Where the table cannot be read or measures no overlap.
    OutputError
        Where the predictions cannot be written.
    """
    if path is None:
        with as_file(files("simulator") / "data" / "measured_runs.csv") as found:
            table = read_overlap(found)
    else:
        table = read_overlap(path)
    rows, refused = predict_overlap(table, load_constants(calibration), progress=progress)
    baseline, hidden = baseline_s(rows)
    if out is not None:
        write_atomically(out, _as_csv(rows, baseline))
    return OverlapSummary(
        parts=_parts(rows, baseline), hidden=hidden, refusals=tuple(refused.items()),
        written=str(out) if out is not None else "",
    )  # fmt: skip


def _parts(rows: Sequence[OverlapRow], baseline: Floats) -> tuple[OverlapError, ...]:
    def part(name: str, chosen: Sequence[int]) -> OverlapError:
        few = [rows[i] for i in chosen]
        return OverlapError(
            name=name, rows=len(few), events=macro(few, np.array([r.events_s for r in few])),
            closed_form=macro(few, np.array([r.closed_form_s for r in few])),
            fixed_overlap=macro(few, baseline[list(chosen)]),
        )  # fmt: skip

    found = [part("all", range(len(rows)))] if rows else []
    for source in SOURCES:
        mine = [i for i, row in enumerate(rows) if row.source == source]
        found += [part(source, mine)] if mine else []
        methods = list(dict.fromkeys(rows[i].method for i in mine))
        if len(methods) > 1:
            found += [part(f"    {m}", [i for i in mine if rows[i].method == m]) for m in methods]
    return tuple(found)


def _as_csv(rows: Sequence[OverlapRow], baseline: Floats) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row, fixed_s in zip(rows, baseline.tolist(), strict=True):
        times = (row.measured_s, row.events_s, row.closed_form_s, fixed_s)
        writer.writerow([row.row, row.source, row.method, *(f"{value:.9g}" for value in times)])
    return text.getvalue()
