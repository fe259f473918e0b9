"""Measured kernels of a chip under its roof: what the model is believed on, and what it was off by."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from hwmodels.chip import Chip

from .kernels.settings import PRECISION_WORDS, Setting, silicon
from .validation.kernel_baseline import work_of
from .validation.kernel_rows import resolve_kernel
from .validation.kernel_selection import recorded_kernels, shipped_kernels
from .validation.kernel_suites import FAMILIES
from .validation.kernel_suites.family import RowError
from .validation.measured_table import measured_s


@dataclass(frozen=True, kw_only=True)
class MeasuredPoint:
    """One measured kernel: the direct algorithm's work [FLOP] and traffic [B], its time, and what was predicted for its
    shape with constants fitted without it (None where nothing was held out) [s]."""

    family: str
    kernel: str
    suite: str
    row: str
    flop: float
    byte: float
    time_s: float
    predicted_s: float | None
    source: str
    locator: str

    @property
    def intensity(self) -> float:
        """FLOP for each byte."""
        return self.flop / self.byte

    @property
    def flop_per_s(self) -> float:
        """Achieved rate of the direct algorithm's work [FLOP/s]."""
        return self.flop / self.time_s

    def of_roof(self, chip: Chip, word: str) -> float:
        """Share of the bare roofline that was reached; Winograd's algorithm and caches can pass 1."""
        return max(self.flop / chip.peak(word), self.byte / chip.memory_bandwidth_byte_per_s) / self.time_s


def measured_points(chip: Chip, word: str) -> tuple[MeasuredPoint, ...]:
    """The shipped measured kernels of a chip (or of one that differs in memory only) whose products are in ``word``."""
    held = recorded_kernels()
    points = []
    for row in shipped_kernels():
        if PRECISION_WORDS.get(row["precision"], ("", 0.0))[0] != word:
            continue
        try:
            job = resolve_kernel(row, FAMILIES)
        except RowError:
            continue
        value = measured_s(row)
        if value is None or silicon(chip) not in {silicon(s.chip) for s in job.settings}:
            continue
        setting: Setting = job.settings[0]
        flop, elements = work_of(row)
        points.append(
            MeasuredPoint(
                family=job.family, kernel=row["kernel"], suite=row["suite"], row=row["row"], flop=flop,
                byte=elements * setting.element_byte, time_s=value,
                predicted_s=held.get(row["row"], {}).get("shapes"), source=row["source"], locator=row["locator"],
            )
        )  # fmt: skip
    return tuple(points)


@dataclass(frozen=True, kw_only=True)
class MeasuredGroup:
    """The shipped measured kernels of one kind on one chip: how near the roof, how far the prediction (|ln|)."""

    kernel: str
    suite: str
    points: int
    best_of_roof: float
    median_of_roof: float
    median_error: float | None

    def as_mapping(self) -> Mapping[str, object]:
        """The same values by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def measured_groups(points: tuple[MeasuredPoint, ...], chip: Chip, word: str) -> tuple[MeasuredGroup, ...]:
    """Points by kernel and suite, in that order."""
    members: dict[tuple[str, str], list[MeasuredPoint]] = {}
    for point in points:
        members.setdefault((point.kernel, point.suite), []).append(point)
    groups = []
    for (kernel, suite), inside in sorted(members.items()):
        shares = [p.of_roof(chip, word) for p in inside]
        errors = [abs(math.log(p.predicted_s / p.time_s)) for p in inside if p.predicted_s]
        groups.append(
            MeasuredGroup(
                kernel=kernel, suite=suite, points=len(inside), best_of_roof=max(shares),
                median_of_roof=statistics.median(shares),
                median_error=statistics.median(errors) if errors else None,
            )
        )  # fmt: skip
    return tuple(groups)
