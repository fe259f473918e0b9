"""Rows of a table of convergence: which point of which curve each asks for, and which cannot be read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from ..outcome.convergence.points import Point, read_point

Row = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class ConvergenceJob:
    """A row that can be read: its point, from `points.COLUMNS` alone."""

    point: Point

    @property
    def group(self) -> tuple[str, ...]:
        """(task, model) as printed: what errors are averaged over."""
        return self.point.group


def resolve_convergence(row: Row) -> ConvergenceJob:
    """The job of a row; raises `PointError` with the reason it has none."""
    return ConvergenceJob(point=read_point(row))


def measured_value(row: Row) -> float | None:
    """The measured answer of a row in its own unit, None if there is none. Read by fits and scores only."""
    try:
        value = float(row.get("value") or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None
