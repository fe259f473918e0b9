"""The yardstick beside errors of convergence: interpolation in log batch between a task's own neighbours."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from ..outcome.convergence.points import Point

#: Whose points are interpolated between: the nearest kin that has any.
_KIN: Final[tuple[Callable[[Point], object], ...]] = (
    lambda p: (p.curve, p.model, p.target),
    lambda p: (p.curve, p.network, p.target),
    lambda p: (p.curve, p.network),
    lambda p: p.curve,
)


def interpolated(point: Point, members: Sequence[tuple[Point, float]]) -> float | None:
    """ln E linear in ln B between the nearest batches of the point's own kin, level beyond the first and the last.

    Answers at one batch are averaged (of logarithms); None without a point of its curve. In the unit of the curve.
    """
    for kin in _KIN:
        near = [(p, v) for p, v in members if kin(p) == kin(point)]
        known = [(math.log(p.batch), math.log(v)) for p, v in near if p.batch is not None]
        if not near:
            continue
        if point.batch is None or not known:
            return math.exp(float(np.mean([math.log(v) for _, v in near])))
        at: dict[float, list[float]] = {}
        for x, y in known:
            at.setdefault(x, []).append(y)
        xs = sorted(at)
        return math.exp(float(np.interp(math.log(point.batch), xs, [math.fsum(at[x]) / len(at[x]) for x in xs])))
    return None
