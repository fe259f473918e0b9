"""Maximum-a-posteriori fit of the named constants to measured runs.

Unknowns are the logarithms of the constants, with the priors and ranges of `constants.SPECS`; residuals are
ln(predicted / measured) step times. Robust weights keep single odd runs from pulling, and a group of many like runs
counts as the square root of its size. Levenberg-Marquardt steps on slopes that are measured by finite differences
(`slopes`), then corrected by what each step changed, and measured anew where that no longer serves: a fit ends only
with a step on slopes that were measured where it began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..constants import SPECS, Constants, name_of
from ..kernels.optable import Floats
from .slopes import Moves, Owners, constants_at, corrected_slopes, measured_slopes, moves_of, normal_equations
from .weights import group_weight

#: Scale of a residual that is ordinary, and beyond which a run loses weight.
NOISE: Final = 0.10
OUTLIER: Final = 0.30
_STEP: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Fitted constants, the residuals they leave on all runs, how often the fit stepped, and the slopes it ended with.

    ``cost`` is what was minimised; ``measured`` how often slopes were measured.
    """

    constants: Constants
    residuals: Floats
    steps: int
    cost: float
    measured: int
    slopes: Floats


def fit(
    step_s: Callable[[Constants], Floats],
    measured_s: Floats,
    owners: Owners,
    groups: Sequence[object],
    *,
    moved_s: Callable[[Constants, Sequence[str], Floats], Floats] | None = None,
    moves: Moves | None = None,
    start: FitResult | None = None,
    weight: Floats | None = None,
    max_steps: int = 60,
    tolerance: float = 3e-5,
) -> FitResult:
    """Fit all constants that the runs touch.

    Parameters
    ----------
    step_s
        Prices every run.
    groups
        Labels of runs that are alike.
    moved_s
        `step_s` where only constants of the given keys have moved since the given step times; dearer without.
    moves
        Those of the owners, where a caller has them (`slopes.merged`).
    start
        A fit to some of the runs that this one begins with, instead of the priors; of the same moves.
    weight
        Leaves runs out (0) or in (1), shape (runs,). What is left out cannot move the result by a bit.
    """
    moves = moves_of(owners) if moves is None else moves
    low, high, prior, spread = (np.array(c) for c in zip(*[_prior(key) for key in moves.all_keys], strict=True))
    values = start.constants.values if start else {}
    x = np.clip([math.log(values.get(key, SPECS[name_of(key)].prior)) for key in moves.all_keys], low, high)
    included = np.ones(len(measured_s)) if weight is None else weight
    base_weight = included * group_weight(groups, included) / NOISE**2
    target = np.log(measured_s)

    def cost(r: Floats, point: Floats) -> float:
        robust = OUTLIER**2 * np.log1p((r / OUTLIER) ** 2)
        return float(np.sum(base_weight * robust) + np.sum(((point - prior) / spread) ** 2))

    def measure(point: Floats, before_s: Floats) -> Floats:
        def moved(constants: Constants, keys: Sequence[str]) -> Floats:
            return moved_s(constants, keys, before_s) if moved_s else step_s(constants)

        return measured_slopes(moved, before_s, moves, point, np.where(point + _STEP > high, -_STEP, _STEP))

    now_s = step_s(constants_at(moves, x))
    r = np.log(now_s) - target
    best = cost(r, x)
    slopes, fresh = (start.slopes, False) if start else (measure(x, now_s), True)
    damping, taken, measured = 1e-2, 0, 0 if start else 1
    for _ in range(max_steps):
        w = base_weight / (1.0 + (r / OUTLIER) ** 2)
        normal, gradient = normal_equations(slopes, moves, w, r)
        normal = normal + np.diag(1.0 / spread**2)
        gradient = gradient + (x - prior) / spread**2
        # A constant that stands on the edge of its range and is pushed outward stays there for this step.
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        free = np.flatnonzero(~held)
        improved, gain, growth = False, 0.0, 4.0
        for _ in range(8 if fresh else 2):
            inner = normal[np.ix_(free, free)]
            step = np.zeros(len(x))
            step[free] = np.linalg.solve(inner + damping * np.diag(np.diag(inner)), gradient[free])
            candidate = np.clip(x - np.clip(step, -1.0, 1.0), low, high)
            new_s = step_s(constants_at(moves, candidate))
            r_new = np.log(new_s) - target
            new = cost(r_new, candidate)
            if new < best:
                improved = True
                break
            damping, growth = damping * growth, 2.0 * growth
        if improved:
            slopes = corrected_slopes(slopes, moves, candidate - x, np.log(new_s / now_s))
            gain = (best - new) / max(best, 1e-12)
            x, r, now_s, best, damping = candidate, r_new, new_s, new, max(damping / 6.0, 1e-4)
            taken += 1
        if improved and gain >= tolerance:
            fresh = False
        elif fresh:
            break
        else:
            slopes, fresh, measured = measure(x, now_s), True, measured + 1
    rounded = {key: float(f"{value:.6g}") for key, value in constants_at(moves, x).values.items()}
    return FitResult(
        constants=Constants(values=rounded, name="fit"), residuals=r, steps=taken, cost=best, measured=measured,
        slopes=slopes,
    )  # fmt: skip


def _prior(key: str) -> tuple[float, float, float, float]:
    spec = SPECS[name_of(key)]
    return math.log(spec.low), math.log(spec.high), math.log(spec.prior), spec.spread
