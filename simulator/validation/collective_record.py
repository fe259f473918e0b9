"""How far held-out predictions of collectives were off, and the intervals that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np

from ..collective_calibration import CollectiveRecord
from ..deviations_file import HeldOutErrors
from .collective_rows import CollectiveJob
from .held_out_errors import held_out_errors
from .measured_table import HeldOutRows, MeasuredTable

#: How many systems' worth of the ordinary spread the spread of a system held out whole is pulled by.
_PULL: Final = 1.0
#: The same for a system whose other groups are known, in groups.
_FEW: Final = 2.0


def unseen(record: CollectiveRecord, job: CollectiveJob) -> str:
    """In what a job lies outside everything that was checked; "" if in nothing."""
    if record.fabrics.get(job.fabric):
        return ""
    outside = f" with {job.wires.out_link}" if job.wires.out_link else ""
    return f"{job.wires.fabric}{outside}: 0 measured rows; constants of its nearest kin"


def record_of(table: MeasuredTable[CollectiveJob], held: Mapping[str, HeldOutRows]) -> CollectiveRecord:
    """The record of a table's held-out predictions, by way of holding out."""
    jobs, measured_s = table.jobs, table.measured_s
    classes: dict[str, HeldOutErrors] = {}
    spreads: dict[str, float] = {}
    fabrics: dict[str, int] = {}
    systems: dict[str, int] = {}
    users: dict[str, set[str]] = {}
    for i in measured_s:
        users.setdefault(jobs[i].fabric, set()).add(jobs[i].system)
        fabrics[jobs[i].fabric] = fabrics.get(jobs[i].fabric, 0) + 1
        systems[jobs[i].system] = systems.get(jobs[i].system, 0) + 1
    for hold, result in held.items():
        members: dict[str, list[int]] = {}
        for i in result.predicted_s:
            members.setdefault(jobs[i].size_class, []).append(i)
        for word, index in sorted(members.items()):
            entry, own = _class_record(hold, index, jobs, measured_s, result)
            classes[f"{hold}/{word}"] = entry
            spreads.update({f"{hold}/{word}/{system}": value for system, value in own.items()})
            alone = [i for i in index if len(users[jobs[i].fabric]) == 1]
            if hold == "systems" and alone:
                classes[f"fabrics/{word}"], _ = _class_record(hold, alone, jobs, measured_s, result)
    return CollectiveRecord(classes=classes, spread=spreads, fabrics=fabrics, systems=systems)


def _class_record(
    hold: str, index: list[int], jobs: Mapping[int, CollectiveJob], measured_s: Mapping[int, float],
    result: HeldOutRows,
) -> tuple[HeldOutErrors, dict[str, float]]:  # fmt: skip
    error = {i: math.log(result.predicted_s[i] / measured_s[i]) for i in index}
    base = {i: math.log(result.baseline_s[i] / measured_s[i]) for i in index}
    groups: dict[tuple[str, str, str], list[int]] = {}
    for i in index:
        groups.setdefault(jobs[i].group, []).append(i)
    # The mean square of a system is that of its groups, so that a long sweep weighs no more than a short one.
    squares: dict[str, list[float]] = {}
    for (system, _, _), rows in groups.items():
        squares.setdefault(system, []).append(float(np.mean([error[i] ** 2 for i in rows])))
    ordinary = float(np.mean([np.mean(values) for values in squares.values()]))
    few = _FEW if hold == "groups" else _PULL
    own = {
        system: math.sqrt(
            (len(v) * float(np.mean(v)) + few * ordinary) / (len(v) + few)
            if hold == "groups"
            else (float(np.mean(v)) + few * ordinary) / (1.0 + few)
        )
        for system, v in squares.items()
    }
    owner = {i: max(own[jobs[i].system], 1e-9) for i in index}
    return held_out_errors(error, base, groups, spread=owner, ordinary=ordinary), own
