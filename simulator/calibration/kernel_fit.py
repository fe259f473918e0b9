"""Maximum-a-posteriori fit of the kernel models' hierarchical constants.

Unknowns are the deviations of `kernel_constants`, with their spreads as priors; residuals are
ln(predicted / measured). A row depends on a constant through its value alone, so that one evaluation per constant
gives the derivative for all its levels at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.chip import LINEAGES

from ..kernels.kernel_constants import KernelConstants, KernelSpec, Owners, key_of
from ..kernels.optable import Floats
from .weights import group_weight

#: Scale of an ordinary residual of a kernel row, and beyond which a row loses weight.
NOISE: Final = 0.10
OUTLIER: Final = 0.25
_STEP: Final = 2e-3
#: A deviation below this is none.
_NOTHING: Final = 5e-4

Values = Mapping[str, Floats]


@dataclass(frozen=True, kw_only=True)
class KernelFit:
    """Fitted constants and the residuals ln(predicted / measured) they leave, shape (rows,)."""

    constants: KernelConstants
    residuals: Floats
    steps: int


@dataclass(frozen=True)
class _Column:
    key: str
    name: str
    rows: np.ndarray  # bool (rows,)


def _columns(specs: Mapping[str, KernelSpec], settings: Owners, weight: Floats) -> list[_Column]:
    columns = []
    used = weight > 0
    for spec in specs.values():
        columns.append(_Column(spec.name, spec.name, np.ones(settings.rows, bool)))
        for level in spec.levels:
            owners = np.array(settings.owners(level))[settings.row]
            for owner in sorted(set(owners[used])):
                if owner:
                    columns.append(_Column(key_of(spec.name, level, owner), spec.name, owners == owner))
    return columns


def _precision(columns: Sequence[_Column], specs: Mapping[str, KernelSpec]) -> np.ndarray:
    """Prior precision matrix of the deviations: independent, but a random walk along a maker's lineage."""
    index = {column.key: i for i, column in enumerate(columns)}
    matrix = np.zeros((len(columns), len(columns)))
    for spec in specs.values():
        matrix[index[spec.name], index[spec.name]] = 1.0 / spec.spread**2
        for level, spread in spec.levels.items():
            if level != "architecture":
                for key, i in index.items():
                    if key.startswith(key_of(spec.name, level, "")):
                        matrix[i, i] += 1.0 / spread**2
                continue
            for line in LINEAGES.values():
                seen = [(n, index[key_of(spec.name, level, w)]) for n, w in enumerate(line)
                        if key_of(spec.name, level, w) in index]  # fmt: skip
                for place, (n, i) in enumerate(seen):
                    if place == 0:
                        # The first of a lineage stands further from everything than neighbours from each other.
                        matrix[i, i] += 1.0 / (2.0 * spread) ** 2
                        continue
                    before, j = seen[place - 1]
                    stiff = 1.0 / (spread**2 * (n - before))
                    matrix[i, i] += stiff
                    matrix[j, j] += stiff
                    matrix[i, j] -= stiff
                    matrix[j, i] -= stiff
    return matrix


def fit_kernels(
    seconds: Callable[[Values], Floats],
    specs: Mapping[str, KernelSpec],
    settings: Owners,
    measured_s: Floats,
    groups: Sequence[object],
    *,
    weight: Floats | None = None,
    start: KernelConstants | None = None,
    outlier: float = OUTLIER,
    max_steps: int = 40,
    tolerance: float = 1e-4,
) -> KernelFit:
    """Fit every deviation that the rows with weight touch.

    ``seconds`` prices all rows from constants gathered to rows (name -> shape (rows,)); ``groups`` labels rows that are
    alike: a group of n rows counts as much as sqrt(n) independent ones would. Beyond ``outlier`` a row loses weight.
    """
    included = np.ones(settings.rows) if weight is None else np.asarray(weight, dtype=float)
    base = included * group_weight(groups, included) / NOISE**2
    columns = _columns(specs, settings, included)
    prior = _precision(columns, specs)
    target = np.log(measured_s)
    begin = {} if start is None else start.deviations
    x = np.array([begin.get(column.key, 0.0) for column in columns])
    by_name: dict[str, list[int]] = {}
    for i, column in enumerate(columns):
        by_name.setdefault(column.name, []).append(i)

    def values(point: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
        logs = {name: np.full(settings.rows, math.log(spec.prior)) for name, spec in specs.items()}
        for column, deviation in zip(columns, point, strict=True):
            logs[column.name][column.rows] += deviation
        clipped = {n: np.clip(v, math.log(specs[n].low), math.log(specs[n].high)) for n, v in logs.items()}
        return {n: np.exp(v) for n, v in clipped.items()}, logs

    def residual(value: Values) -> Floats:
        return np.asarray(np.log(seconds(value)) - target)

    def cost(r: Floats, point: Floats) -> float:
        return float(np.sum(base * outlier**2 * np.log1p((r / outlier) ** 2)) + point @ prior @ point)

    value, logs = values(x)
    r = residual(value)
    best, damping, taken = cost(r, x), 1e-2, 0
    for _ in range(max_steps):
        jacobian = np.zeros((settings.rows, len(columns)))
        for name, spec in specs.items():
            here = np.clip(logs[name], math.log(spec.low), math.log(spec.high))
            # A value on its upper limit is moved inward, so that it still has a slope.
            moved = here + np.where(here + _STEP > math.log(spec.high), -_STEP, _STEP)
            slope = (residual({**value, name: np.exp(moved)}) - r) / (moved - here)
            for i in by_name[name]:
                jacobian[columns[i].rows, i] = slope[columns[i].rows]
        w = base / (1.0 + (r / outlier) ** 2)
        normal = (jacobian * w[:, None]).T @ jacobian + prior
        gradient = (jacobian * w[:, None]).T @ r + prior @ x
        improved = False
        for _ in range(20):
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), gradient)
            candidate = x - np.clip(step, -1.0, 1.0)
            new_value, new_logs = values(candidate)
            new_r = residual(new_value)
            new = cost(new_r, candidate)
            if new < best:
                improved = True
                break
            damping *= 4.0
        if not improved:
            break
        taken += 1
        gain = (best - new) / max(best, 1e-12)
        x, r, value, logs, best = candidate, new_r, new_value, new_logs, new
        damping = max(damping / 6.0, 1e-6)
        if gain < tolerance:
            break
    # A chip or library that deviates by nothing needs no entry; an architecture does, or it would take its neighbour's.
    deviations = {
        c.key: float(f"{d:.5g}")
        for c, d in zip(columns, x, strict=True)
        if abs(d) >= _NOTHING or "@architecture=" in c.key
    }
    return KernelFit(constants=KernelConstants(specs=specs, deviations=deviations), residuals=r, steps=taken)
