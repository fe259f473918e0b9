"""A fleet's schedule as text and as plain values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..questions.dates import date_after
from ..questions.fleet import Slot
from ..questions.fleet_runs import FleetPlan
from .quantities import percent, seconds
from .tables import fold, table
from .text import WIDTH

_GOALS = {
    "makespan": "all end soonest", "mean": "they end soonest in the mean",
    "late": "they are late the least in the mean",
}  # fmt: skip


def fleet_text(plan: FleetPlan, *, start: str = "") -> str:
    """Who runs when on how many chips, which is late, and what no order could beat."""
    found = plan.schedule
    late = [slot for slot in found.slots if slot.late_s]
    text = (
        f"{len(found.slots)} jobs on {plan.chips:,} chips of {plan.system}: all over in {seconds(found.makespan_s)}"
        f"{_on(start, found.makespan_s)}, {percent(plan.used_share)} of the chip-hours used. "
    )
    due = [slot for slot in found.slots if math.isfinite(slot.due_s)]
    if late:
        text += "Late: " + ", ".join(f"{slot.name} by {seconds(slot.late_s)}" for slot in late) + "."
    elif due:
        text += "None is late."
    lines = fold(text, WIDTH)
    header = ["job", "chips", "from", "to", "over on", "due", "in time", "money"]
    rows = [_row(plan, slot, start) for slot in found.slots]
    unused = ([] if start else [4]) + ([] if due else [5, 6])
    header, rows = _without(header, unused), [_without(row, unused) for row in rows]
    lines += ["", *table(header, rows, left=(0,), width=WIDTH), ""]
    how = "of all orders and numbers of chips" if found.exact else "of the orders and numbers of chips that were tried"
    lines += fold(
        f"The schedule in which {_GOALS[plan.goal]}, {how}; nothing ends all in less than {seconds(found.bound_s)}. "
        "Times are the expected ones of whole runs; jobs do not slow each other down.",
        WIDTH,
    )
    for refused in plan.refused:
        lines += fold(f"left out: {refused}", WIDTH, first="  ", rest="    ")
    return "\n".join(lines) + "\n"


def _on(start: str, time_s: float) -> str:
    return f" (on {date_after(start, time_s)})" if start else ""


def _row(plan: FleetPlan, slot: Slot, start: str) -> list[str]:
    cost = plan.run(slot).cost_usd
    times = [seconds(time_s) if time_s else "at once" for time_s in (slot.start_s, slot.end_s)]
    over = date_after(start, slot.end_s) if start else ""
    due, chance = "", ""
    if math.isfinite(slot.due_s):
        # A day is over when the next begins.
        due = date_after(start, slot.due_s - 1) if start else seconds(slot.due_s)
        chance = percent(plan.in_time(slot))
    return [slot.name, f"{slot.chips:,}", *times, over, due, chance, "no price" if cost is None else f"USD {cost:,.0f}"]


def _without(row: Sequence[str], places: Sequence[int]) -> list[str]:
    return [word for i, word in enumerate(row) if i not in places]


def fleet_mapping(plan: FleetPlan) -> dict[str, Any]:
    """The same as plain values."""
    found = plan.schedule
    return {
        "system": plan.system, "chips": plan.chips, "goal": plan.goal, "makespan_s": found.makespan_s,
        "mean_end_s": found.mean_end_s, "mean_late_s": found.mean_late_s, "bound_s": found.bound_s,
        "exact": found.exact, "used_share": plan.used_share,
        "jobs": [
            {
                "name": slot.name, "chips": slot.chips, "start_s": slot.start_s, "end_s": slot.end_s,
                "due_s": slot.due_s if math.isfinite(slot.due_s) else None, "late_s": slot.late_s,
                "in_time": plan.in_time(slot), "cost_usd": plan.run(slot).cost_usd,
            }
            for slot in found.slots
        ],
        "left_out": list(plan.refused),
    }  # fmt: skip
