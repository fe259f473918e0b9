"""Maximum-a-posteriori fit of the named constants to measured runs.

Unknowns are the logarithms of the constants, with the priors and ranges of `constants.SPECS`; residuals are
ln(predicted / measured) step times. Robust weights keep single odd runs from pulling, and a group of many like runs
counts as the square root of its size. Levenberg-Marquardt steps on a Jacobian of finite differences: constants of one
name whose owners no run shares are moved together, so that a few hundred constants cost a few dozen evaluations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..constants import SPECS, Constants, key_of, name_of
from ..kernels.optable import Floats
from ..lowering import Context
from .weights import group_weight

#: Scale of a residual that is ordinary, and beyond which a run loses weight.
NOISE: Final = 0.10
OUTLIER: Final = 0.30
_STEP: Final = 1e-3


@dataclass(frozen=True, kw_only=True)
class Owners:
    """Which chip family, stack and fabrics every run depends on."""

    chip: tuple[str, ...]
    stack: tuple[str, ...]
    up_fabric: tuple[str, ...]
    out_fabric: tuple[str, ...]


def owners_of(contexts: Sequence[Context]) -> Owners:
    """The owners of constants, run by run."""
    return Owners(
        chip=tuple(c.cluster.chip.architecture for c in contexts),
        stack=tuple(c.stack.id for c in contexts),
        up_fabric=tuple(c.cluster.up_fabric for c in contexts),
        out_fabric=tuple(c.cluster.out_fabric for c in contexts),
    )


@dataclass(frozen=True, kw_only=True)
class FitResult:
    """Fitted constants, the residuals they leave on the runs they saw, and how often the fit stepped."""

    constants: Constants
    residuals: Floats
    steps: int


def _moves(owners: Owners) -> list[tuple[str, ...]]:
    """Keys that may be moved at once: same name, owners that no run has two of."""
    moves: list[tuple[str, ...]] = []
    for spec in SPECS.values():
        if spec.scope == "global":
            moves.append((spec.name,))
        elif spec.scope == "fabric":
            for column in (owners.up_fabric, owners.out_fabric):
                moves.append(tuple(sorted({key_of(spec.name, o) for o in column})))
        else:
            column = getattr(owners, spec.scope)
            moves.append(tuple(sorted({key_of(spec.name, o) for o in column})))
    return moves


def fit(
    step_s: Callable[[Constants], Floats],
    measured_s: Floats,
    owners: Owners,
    groups: Sequence[object],
    *,
    start: Mapping[str, float] | None = None,
    weight: Floats | None = None,
    max_steps: int = 40,
    tolerance: float = 3e-5,
) -> FitResult:
    """Fit all constants that the runs touch.

    ``step_s`` prices every run; ``weight`` (runs,) leaves runs out (0) or in (1); ``groups`` labels runs that are
    alike.
    """
    moves = _moves(owners)
    keys = sorted({key for move in moves for key in move})
    index = {key: i for i, key in enumerate(keys)}
    low, high, prior, spread = (np.array(c) for c in zip(*[_prior(key) for key in keys], strict=True))
    x = np.array([math.log((start or {}).get(key, SPECS[name_of(key)].prior)) for key in keys])
    x = np.clip(x, low, high)
    column = {key: _rows_of(key, owners) for key in keys}
    runs = len(measured_s)
    included = np.ones(runs) if weight is None else weight
    base_weight = included * group_weight(groups, included) / NOISE**2
    target = np.log(measured_s)

    def values(point: Floats) -> dict[str, float]:
        return {key: math.exp(v) for key, v in zip(keys, point, strict=True)}

    def residual(point: Floats) -> Floats:
        return np.asarray(np.log(step_s(Constants(values=values(point)))) - target)

    def cost(r: Floats, point: Floats) -> float:
        robust = OUTLIER**2 * np.log1p((r / OUTLIER) ** 2)
        return float(np.sum(base_weight * robust) + np.sum(((point - prior) / spread) ** 2))

    r = residual(x)
    best = cost(r, x)
    damping, taken = 1e-2, 0
    for _ in range(max_steps):
        jacobian = np.zeros((runs, len(keys)))
        for move in moves:
            shifted = x.copy()
            chosen = [index[key] for key in move]
            sign = np.where(x[chosen] + _STEP > high[chosen], -1.0, 1.0)
            shifted[chosen] += sign * _STEP
            change = (residual(shifted) - r) / _STEP
            for key, s in zip(move, sign, strict=True):
                rows = column[key]
                jacobian[rows, index[key]] += s * change[rows]
        w = base_weight / (1.0 + (r / OUTLIER) ** 2)
        normal = (jacobian * w[:, None]).T @ jacobian + np.diag(1.0 / spread**2)
        gradient = (jacobian * w[:, None]).T @ r + (x - prior) / spread**2
        # A constant that stands on the edge of its range and is pushed outward stays there for this step.
        held = ((x <= low) & (gradient > 0)) | ((x >= high) & (gradient < 0))
        free = np.flatnonzero(~held)
        improved = False
        for _ in range(10):
            inner = normal[np.ix_(free, free)]
            step = np.zeros(len(keys))
            step[free] = np.linalg.solve(inner + damping * np.diag(np.diag(inner)), gradient[free])
            candidate = np.clip(x - np.clip(step, -1.0, 1.0), low, high)
            r_new = residual(candidate)
            new = cost(r_new, candidate)
            if new < best:
                improved = True
                break
            damping *= 4.0
        if not improved:
            break
        taken += 1
        gain = (best - new) / max(best, 1e-12)
        x, r, best, damping = candidate, r_new, new, max(damping / 6.0, 1e-6)
        if gain < tolerance:
            break
    rounded = {key: float(f"{value:.6g}") for key, value in values(x).items()}
    return FitResult(constants=Constants(values=rounded, name="fit"), residuals=r, steps=taken)


def _prior(key: str) -> tuple[float, float, float, float]:
    spec = SPECS[name_of(key)]
    return math.log(spec.low), math.log(spec.high), math.log(spec.prior), spec.spread


def _rows_of(key: str, owners: Owners) -> np.ndarray:
    """Runs that a constant touches."""
    spec = SPECS[name_of(key)]
    if spec.scope == "global":
        return np.arange(len(owners.chip))
    owner = key.split(":", 2)[1]
    if spec.scope == "fabric":
        hit = [owner in pair for pair in zip(owners.up_fabric, owners.out_fabric, strict=True)]
    else:
        hit = [owner == o for o in getattr(owners, spec.scope)]
    return np.flatnonzero(hit)
