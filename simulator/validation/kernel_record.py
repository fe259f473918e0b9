"""How far held-out kernel predictions were off, and the intervals that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from simulator.kernels.settings import silicon

from ..deviations_file import HeldOutErrors
from .held_out_errors import held_out_errors
from .kernel_rows import KernelJob
from .measured_table import HeldOutRows, MeasuredTable

#: How many groups' worth of its family's spread a group's own spread is pulled by.
_PULL: Final = 1.0
_FEW: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """Held-out errors by "hold/family", the spread of each "hold/family/suite/chip" group, and what was measured:
    "family/silicon" -> rows."""

    families: Mapping[str, HeldOutErrors] = field(default_factory=dict)
    spread: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, int] = field(default_factory=dict)

    def measured_rows(self, family: str, chip: str) -> int:
        """Measured rows of a family on a chip's silicon."""
        return self.measured.get(f"{family}/{chip}", 0)

    def unseen(self, job: KernelJob) -> str:
        """In what a job lies outside everything that was checked; "" if in nothing."""
        chips = sorted({silicon(s.chip) for s in job.settings})
        if any(self.measured_rows(job.family, chip) for chip in chips):
            return ""
        return f"{' or '.join(chips)}: 0 measured rows of {job.family}; constants of its nearest kin"

    def factors(self, job: KernelJob, hold: str = "") -> tuple[float, float] | None:
        """(low, high): predicted seconds times these are the ends of the 80 % interval; None without a record."""
        way = hold or ("chips" if self.unseen(job) else "shapes")
        entry = self.families.get(f"{way}/{job.family}")
        if entry is None:
            return None
        group = "/".join((way, job.family, *job.group))
        spread = self.spread.get(group, entry.spread)
        return math.exp(entry.low * spread), math.exp(entry.high * spread)


def record_of(table: MeasuredTable[KernelJob], held: Mapping[str, HeldOutRows]) -> KernelRecord:
    """The record of a table's held-out predictions, by way of holding out."""
    families: dict[str, HeldOutErrors] = {}
    spreads: dict[str, float] = {}
    measured: dict[str, int] = {}
    for i in table.measured_s:
        job = table.jobs[i]
        key = f"{job.family}/{silicon(job.settings[0].chip)}"
        measured[key] = measured.get(key, 0) + 1
    for hold, result in held.items():
        by_family: dict[str, dict[tuple[str, str], list[int]]] = {}
        for i in result.predicted_s:
            job = table.jobs[i]
            by_family.setdefault(job.family, {}).setdefault(job.group, []).append(i)
        for family, groups in by_family.items():
            error = {i: math.log(result.predicted_s[i] / table.measured_s[i]) for g in groups.values() for i in g}
            base = {i: math.log(result.baseline_s[i] / table.measured_s[i]) for i in error}
            square = {group: float(np.mean([error[i] ** 2 for i in m])) for group, m in groups.items()}
            # Groups of unseen chips are few: an ordinary one is their mean; of many groups it is their median.
            ordinary = float(np.mean(list(square.values())))
            own = {
                group: math.sqrt(
                    (len(m) / (len(m) + _FEW) * square[group] + _FEW / (len(m) + _FEW) * ordinary)
                    if hold == "shapes"
                    else (square[group] + _PULL * ordinary) / (1.0 + _PULL)
                )
                for group, m in groups.items()
            }
            owner = {i: own[group] for group, m in groups.items() for i in m}
            families[f"{hold}/{family}"] = held_out_errors(error, base, groups, spread=owner, ordinary=ordinary)
            spreads.update({"/".join((hold, family, *group)): value for group, value in own.items()})
    return KernelRecord(families=families, spread=spreads, measured=measured)
