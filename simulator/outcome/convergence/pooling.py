"""Curves of many tasks fitted together: what a task's own points leave open is taken from its kin.

A point i of a curve (one task and training set) has

.. math:: \\ln E_i = a + \\ln(1 + B_i / B_{crit}) + m_{network} + t_{target} + r_{recipe} + o_{optimizer} + d_{division}
          + g_{network}(\\ln B_i) + \\epsilon_i

with a free, every effect normal with a spread of its own that all tasks share, g a smooth curve (squared exponential)
for what a hyperbola misses, and ln(B_crit / largest batch) normal, its mean and spread shared by all tasks. Given
B_crit all of it is one normal distribution; B_crit is summed over on a grid. A task with one point so has an answer,
with an interval as wide as B_crit is unsure. Rasmussen and Williams 2006, Gaussian Processes for Machine Learning,
section 2.7 (explicit basis functions), equations 2.23 to 2.26.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from .arrays import Floats
from .points import Point

#: ln(B_crit / largest batch) that are summed over.
_GRID = np.linspace(-3.0, 5.0, 33)
#: Spread of what a curve's level is before it has a point: next to nothing is known of it.
_FREE = 5.0
#: Natural logarithm of a usual answer, by what is counted: keeps a free level from being far.
_USUAL: Mapping[str, float] = {"epochs": 3.0, "samples": 14.0, "tokens": 21.0}
_MOST_EVALUATIONS = 700


@dataclass(frozen=True, kw_only=True)
class PoolConstants:
    """What all tasks share, spreads of natural logarithms.

    ``network``, ``target``, ``recipe`` (of a benchmark's rounds), ``entry`` (of a source with a recipe of its own),
    ``optimizer``, ``division``: of two that differ in it. ``smooth`` over ``smooth_width`` in ln B: of what a hyperbola
    misses. ``noise``: of two runs alike. ``critical``, ``critical_spread``: ln(B_crit / largest batch).
    """

    network: float = 0.25
    target: float = 0.2
    recipe: float = 0.07
    entry: float = 0.3
    optimizer: float = 0.1
    division: float = 0.4
    smooth: float = 0.1
    smooth_width: float = 1.0
    noise: float = 0.06
    critical: float = 0.1
    critical_spread: float = 0.8


_NAMES = tuple(f.name for f in fields(PoolConstants))
_LINEAR = _NAMES.index("critical")


def _alike(a: Point, b: Point) -> tuple[bool, ...]:
    """Which effects two points of a curve share, in the order of `PoolConstants`."""
    same = a.network == b.network
    ruled = not (a.own_recipe or b.own_recipe)
    return (
        same, same and a.target == b.target, same and ruled and a.recipe == b.recipe,
        a.own_recipe and b.own_recipe and a.recipe == b.recipe,
        same and a.optimizer == b.optimizer, same and a.open_division == b.open_division,
    )  # fmt: skip


def _order(point: Point) -> tuple[object, ...]:
    return tuple(str(getattr(point, f.name)) for f in fields(Point))


@dataclass(frozen=True)
class _Curve:
    """Points of one curve and their answers: (n,) ln batch, ln answer; (6, n, n) shared effects."""

    points: tuple[Point, ...]
    log_batch: Floats
    log_value: Floats
    shared: Floats
    usual_log_batch: float

    @staticmethod
    def of(members: Sequence[tuple[Point, float]]) -> _Curve:
        # In one order whatever the table's, so that sums of floats are the same.
        ordered = sorted(members, key=lambda m: (_order(m[0]), m[1]))
        known = [math.log(p.batch) for p, _ in ordered if p.batch is not None]
        usual = float(np.mean(known)) if known else 0.0
        points = tuple(p for p, _ in ordered)
        return _Curve(
            points, _log_batches(points, usual), np.log([v for _, v in ordered]), _shared(points, points), usual
        )

    def covariance(self, constants: PoolConstants) -> Floats:
        spread = _covariance(self.shared, self.log_batch[:, None] - self.log_batch[None, :], constants)
        return np.asarray(spread + np.eye(len(self.points)) * constants.noise**2)

    def hyperbolas(self, log_batch: Floats) -> Floats:
        """ln(1 + B / B_crit), shape (grid, len(log_batch))."""
        return np.asarray(np.log1p(np.exp(log_batch[None, :] - (self.log_batch.max() + _GRID)[:, None])))

    def rest(self) -> Floats:
        """ln E less hyperbola and usual level, shape (grid, n)."""
        return np.asarray(self.log_value[None, :] - self.hyperbolas(self.log_batch) - _USUAL[self.points[0].counted])

    def log_weights(self, solved: Floats, rest: Floats, log_determinant: float, constants: PoolConstants) -> Floats:
        """ln(prior x likelihood) of every B_crit on the grid, shape (grid,)."""
        prior = ((_GRID - constants.critical) / constants.critical_spread) ** 2
        found = -0.5 * (np.sum(rest * solved, axis=1) + log_determinant + prior) - math.log(constants.critical_spread)
        return np.asarray(found)


def _log_batches(points: Sequence[Point], usual: float) -> Floats:
    return np.array([math.log(p.batch) if p.batch is not None else usual for p in points])


def _shared(rows: Sequence[Point], columns: Sequence[Point]) -> Floats:
    return np.moveaxis(np.array([[_alike(a, b) for b in columns] for a in rows], dtype=float), -1, 0)


def _covariance(shared: Floats, apart: Floats, constants: PoolConstants) -> Floats:
    spreads = np.array(astuple(constants)[:6]) ** 2
    smooth = constants.smooth**2 * np.exp(-0.5 * (apart / constants.smooth_width) ** 2)
    return np.asarray(_FREE**2 + np.tensordot(spreads, shared, axes=1) + shared[0] * smooth)


@dataclass(frozen=True, kw_only=True)
class PooledAnswer:
    """ln of an answer in its curve's unit: mean and spread; ``points`` of the curve, and of the same network; the
    largest batch among them; B_crit as far as known (mean and spread of its logarithm)."""

    log_mean: float
    log_spread: float
    points: int
    own_points: int
    largest_batch: float
    log_critical: float
    log_critical_spread: float


class Pool:
    """Curves of measured points under constants that all share.

    Parameters
    ----------
    members
        Points with their measured answers, in the unit of each point's curve.
    constants
        The spreads.
    """

    def __init__(self, members: Sequence[tuple[Point, float]], constants: PoolConstants) -> None:
        self.constants = constants
        self._members: dict[object, list[tuple[Point, float]]] = {}
        for point, value in members:
            self._members.setdefault(point.curve, []).append((point, value))
        self._solved: dict[tuple[object, frozenset[str]], tuple[_Curve, Floats, Floats, tuple[Floats, bool]]] = {}

    def answer(self, point: Point, *, without: frozenset[str] = frozenset()) -> PooledAnswer | None:
        """What a point's answer is, None without a point of its curve. ``without``: `Point.keys` of points to leave
        out."""
        key = (point.curve, without)
        if key not in self._solved:
            left = [m for m in self._members.get(point.curve, ()) if without.isdisjoint(m[0].keys)]
            if not left:
                return None
            curve = _Curve.of(left)
            factor = cho_factor(curve.covariance(self.constants), lower=True)
            rest = curve.rest()
            solved = cho_solve(factor, rest.T).T
            determinant = 2.0 * float(np.sum(np.log(np.diag(factor[0]))))
            weights = curve.log_weights(solved, rest, determinant, self.constants)
            weights = np.exp(weights - weights.max())
            self._solved[key] = curve, weights / weights.sum(), solved, factor
        curve, weights, solved, factor = self._solved[key]
        return self._at(point, curve, weights, solved, factor)

    def _at(
        self, point: Point, curve: _Curve, weights: Floats, solved: Floats, factor: tuple[Floats, bool]
    ) -> PooledAnswer:
        at = _log_batches([point], curve.usual_log_batch)
        cross = _covariance(_shared([point], curve.points), at[:, None] - curve.log_batch[None, :], self.constants)[0]
        own = float(_covariance(_shared([point], [point]), np.zeros((1, 1)), self.constants)[0, 0])
        means = _USUAL[point.counted] + curve.hyperbolas(at)[:, 0] + solved @ cross
        mean = float(weights @ means)
        variance = own - float(cross @ cho_solve(factor, cross)) + self.constants.noise**2
        logs = curve.log_batch.max() + _GRID
        critical = float(weights @ logs)
        return PooledAnswer(
            log_mean=mean, log_spread=math.sqrt(max(variance, 0.0) + float(weights @ (means - mean) ** 2)),
            points=len(curve.points), own_points=sum(p.network == point.network for p in curve.points),
            largest_batch=float(np.exp(curve.log_batch.max())), log_critical=critical,
            log_critical_spread=math.sqrt(float(weights @ (logs - critical) ** 2)),
        )  # fmt: skip


def fit_pool(members: Sequence[tuple[Point, float]]) -> PoolConstants:
    """The spreads under which measured points are the least surprising, drawn to the usual ones by one e-fold.

    Maximises the likelihood with B_crit summed over (Nelder-Mead from the usual values: the same points, the same
    bytes).
    """
    from scipy.optimize import minimize

    grouped: dict[object, list[tuple[Point, float]]] = {}
    for point, value in members:
        grouped.setdefault(point.curve, []).append((point, value))
    curves = [(c, c.rest()) for c in map(_Curve.of, (grouped[k] for k in sorted(grouped, key=str)))]
    start = np.array(_packed(PoolConstants()))

    def surprise(packed: Floats) -> float:
        constants = _unpacked(packed)
        total = 0.5 * float(np.sum((packed - start) ** 2))
        for curve, rest in curves:
            factor = cho_factor(curve.covariance(constants), lower=True)
            determinant = 2.0 * float(np.sum(np.log(np.diag(factor[0]))))
            weights = curve.log_weights(cho_solve(factor, rest.T).T, rest, determinant, constants)
            top = float(weights.max())
            total -= top + math.log(float(np.mean(np.exp(weights - top))))
        return total

    found = minimize(
        surprise, start, method="Nelder-Mead", options={"maxfev": _MOST_EVALUATIONS, "maxiter": _MOST_EVALUATIONS}
    )
    return _unpacked(found.x)


def _packed(constants: PoolConstants) -> list[float]:
    return [v if i == _LINEAR else math.log(v) for i, v in enumerate(astuple(constants))]


def _unpacked(packed: Floats) -> PoolConstants:
    # As a file stores them: what is fitted and what is read again are the same.
    values = [float(v) if i == _LINEAR else math.exp(float(np.clip(v, -8.0, 4.0))) for i, v in enumerate(packed)]
    return PoolConstants(**{name: float(f"{value:.5g}") for name, value in zip(_NAMES, values, strict=True)})
