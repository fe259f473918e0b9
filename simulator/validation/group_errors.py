"""Errors of sets of predictions beside their yardstick's."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class GroupError:
    """Errors |ln(predicted / measured)| of one set of runs; ``macro``: mean over (source, model, chip) groups of runs,
    (suite, chip) groups of kernels, (system, ranks, collective) groups of collectives.

    ``p90`` is the smallest error that nine of ten do not exceed; ``bias`` the mean of ln(predicted / measured) with its
    sign, above 0 where the prediction is too much or, of a rate, too slow.
    """

    name: str
    runs: int
    groups: int
    macro: float
    mean: float
    median: float
    p90: float
    bias: float
    baseline_macro: float | None
    held: float | None
    width: float | None

    @property
    def skill(self) -> float | None:
        """1 - error / baseline's error; None without a baseline."""
        return 1.0 - self.macro / self.baseline_macro if self.baseline_macro else None


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One prediction beside its measured value; ``baseline``: |ln(yardstick / measured)|, None without a yardstick;
    ``is_rate``: the more, the faster."""

    group: tuple[str, ...]
    measured: float
    predicted: float
    low: float | None
    high: float | None
    baseline: float | None
    is_rate: bool = False


def group_error(name: str, scored: Sequence[Scored]) -> GroupError:
    """The errors of one set of predictions; its macro errors are means over the means of its groups."""
    members: dict[tuple[str, ...], list[int]] = {}
    for position, one in enumerate(scored):
        members.setdefault(one.group, []).append(position)
    error = [math.log(one.predicted / one.measured) * (-1.0 if one.is_rate else 1.0) for one in scored]
    size = [abs(e) for e in error]
    base = [one.baseline for one in scored if one.baseline is not None]
    ends = [(one.low, one.high, one.measured) for one in scored if one.low and one.high]

    def macro(values: Sequence[float]) -> float:
        return statistics.fmean(statistics.fmean(values[p] for p in positions) for positions in members.values())

    return GroupError(
        name=name, runs=len(scored), groups=len(members), macro=macro(size), mean=statistics.fmean(size),
        median=statistics.median(size), p90=sorted(size)[math.ceil(0.9 * len(size)) - 1],
        bias=statistics.fmean(error), baseline_macro=macro(base) if base else None,
        held=statistics.fmean(low <= measured <= high for low, high, measured in ends) if ends else None,
        width=statistics.median(high / low for low, high, _ in ends) if ends else None,
    )  # fmt: skip


def parted(scored: Mapping[int, Scored], key: Callable[[int], str]) -> dict[str, GroupError]:
    """The errors of each part of scored rows, by what ``key`` says of a row index; in order of first appearance."""
    members: dict[str, list[Scored]] = {}
    for index, one in scored.items():
        members.setdefault(key(index), []).append(one)
    return {name: group_error(name, part) for name, part in members.items()}
