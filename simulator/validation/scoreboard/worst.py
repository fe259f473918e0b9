"""The runs and groups that are furthest off, each with what is known of why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..shipped_tables import shipped_table
from .runs_scored import RunsScored

#: How many are shown.
SHOWN: Final = 10
NOT_EXPLAINED: Final = "not explained yet"
Group = tuple[str, str, str]


@dataclass(frozen=True, kw_only=True)
class Worst:
    """One run, or one group of runs (``row`` is ""), whose prediction is far off; ``error`` is the mean of
    ln(predicted / measured) of its step times, ``size`` of its absolute value."""

    source: str
    model: str
    chip: str
    row: str
    runs: int
    chips: str
    error: float
    size: float
    utilisation: float


def worst_runs(runs: RunsScored) -> tuple[Worst, ...]:
    """The furthest off run of each group, the `SHOWN` worst of them."""
    order = np.argsort(-np.abs(runs.error), kind="stable")
    seen: set[Group] = set()
    found: list[Worst] = []
    for p in order.tolist():
        group = runs.jobs[p].group
        if group not in seen and len(found) < SHOWN:
            seen.add(group)
            found.append(_worst(runs, [p], runs.table.rows[runs.index[p]].get("row") or str(runs.index[p])))
    return tuple(found)


def group_errors_of(runs: RunsScored) -> tuple[Worst, ...]:
    """Every group, the furthest off first."""
    members: dict[Group, list[int]] = {}
    for p, group in enumerate(runs.groups):
        members.setdefault(group, []).append(p)
    return tuple(sorted((_worst(runs, m, "") for m in members.values()), key=lambda w: (-w.size, w.source, w.model)))


def _worst(runs: RunsScored, members: list[int], row: str) -> Worst:
    source, model, chip = runs.jobs[members[0]].group
    chips = sorted({runs.jobs[p].parallelism.chips for p in members})
    return Worst(
        source=source, model=model, chip=chip, row=row, runs=len(members),
        chips=f"{chips[0]:,}" if len(chips) == 1 else f"{chips[0]:,} to {chips[-1]:,}",
        error=float(np.mean(runs.error[members])), size=float(np.mean(np.abs(runs.error[members]))),
        utilisation=float(np.mean(np.abs(runs.utilisation_error[members]))),
    )  # fmt: skip


def worse_than_utilisation(groups: tuple[Worst, ...]) -> tuple[Worst, ...]:
    """Groups whose error is more than constant utilisation's, the most excess first."""
    return tuple(sorted((w for w in groups if w.size > w.utilisation), key=lambda w: w.utilisation - w.size))


def explanations() -> Mapping[Group, tuple[str, str]]:
    """What is known of a group: (whether the mechanism is "known", "suspected" or "unknown", a sentence)."""
    rows = shipped_table("explanations.csv")
    return {(r["source"], r["model"], r["chip"]): (r["mechanism"], r["sentence"]) for r in rows}
