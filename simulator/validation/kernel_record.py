"""How far held-out kernel predictions were off, and the intervals that follow."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from simulator.kernels.settings import silicon

from .kernel_rows import KernelJob
from .runs import weighted_quantile

if TYPE_CHECKING:
    from .kernels import HeldOutKernels, KernelTable

#: How many groups' worth of its family's spread a group's own spread is pulled by.
_PULL: Final = 1.0
_FEW: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class KernelFamilyRecord:
    """Held-out errors of one family in one way of holding out.

    Errors are |ln(predicted / measured)|; ``macro`` is their mean over (suite, chip) groups. ``spread`` is the root
    mean square log error of an ordinary group; ``low`` and ``high`` are the 10 % and 90 % quantiles of
    ln(measured / predicted) over the spread of its group.
    """

    rows: int
    groups: int
    macro: float
    mean: float
    median: float
    baseline_macro: float
    baseline_median: float
    spread: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class KernelRecord:
    """Held-out errors by "hold/family", the spread of each "hold/family/suite/chip" group, and what was measured:
    "family/silicon" -> rows."""

    families: Mapping[str, KernelFamilyRecord] = field(default_factory=dict)
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


def record_of(table: KernelTable, held: Mapping[str, HeldOutKernels]) -> KernelRecord:
    """The record of a table's held-out predictions, by way of holding out."""
    families: dict[str, KernelFamilyRecord] = {}
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
            positions = [(group, i) for group, m in groups.items() for i in m]
            weight = np.array([1.0 / math.sqrt(len(groups[group])) for group, _ in positions])
            scaled = np.array([-error[i] / own[group] for group, i in positions])
            families[f"{hold}/{family}"] = KernelFamilyRecord(
                rows=len(positions), groups=len(groups),
                macro=_macro(error, groups), mean=float(np.mean(np.abs(list(error.values())))),
                median=float(np.median(np.abs(list(error.values())))),
                baseline_macro=_macro(base, groups), baseline_median=float(np.median(np.abs(list(base.values())))),
                spread=math.sqrt(ordinary),
                low=weighted_quantile(scaled, weight, 0.1), high=weighted_quantile(scaled, weight, 0.9),
            )  # fmt: skip
            spreads.update({"/".join((hold, family, *group)): value for group, value in own.items()})
    return KernelRecord(families=families, spread=spreads, measured=measured)


def _macro(error: Mapping[int, float], groups: Mapping[tuple[str, str], list[int]]) -> float:
    return float(np.mean([np.mean([abs(error[i]) for i in members]) for members in groups.values()]))
