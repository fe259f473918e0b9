"""One fit of one suite on one machine: constants with their confidence, held-out errors, and the yardstick's beside."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..calibration.kernel_fit import NOISE, OUTLIER, Values, fit_kernels
from ..kernels.kernel_constants import KernelSpec, Owners
from ..kernels.optable import Floats, Ints
from .observations import Observation

FOLDS: Final = 5
#: Fewer rows than this are no ground for a held-out error.
FEWEST: Final = 10
#: A constant is determined where the data leave less than this share of the prior's own spread.
DETERMINED: Final = 0.7
#: Standard errors on both sides of a 90 % interval.
_SIDES: Final = 1.645
_STEP: Final = 1e-3


@dataclass(frozen=True)
class Alike:
    """Rows that all share their constants."""

    rows: int

    @property
    def distinct(self) -> tuple[str, ...]:
        """The one case."""
        return ("",)

    @property
    def row(self) -> Ints:
        """Every row is of it; shape (rows,)."""
        return np.zeros(self.rows, np.int64)

    def owners(self, level: str) -> tuple[str, ...]:
        """Nobody's in particular."""
        return ("",)


@dataclass(frozen=True, kw_only=True)
class Law:
    """A model with constants, and the rows it is to be fitted on.

    ``seconds`` prices all rows from the constants gathered to rows (name -> shape (rows,)). ``yardstick_s`` is the bare
    roofline of the rows, which one constant will scale. ``needed`` says, for a constant that the data leave open, which
    measurement would determine it.
    """

    name: str
    specs: Mapping[str, KernelSpec]
    seconds: Callable[[Values], Floats]
    settings: Owners
    observations: Sequence[Observation]
    yardstick_s: Floats
    needed: str

    @property
    def measured_s(self) -> Floats:
        """What was measured; shape (rows,) [s]."""
        return np.array([o.seconds for o in self.observations])


@dataclass(frozen=True, kw_only=True)
class FittedConstant:
    """A constant, the ends of its 90 % interval, and whether the data decided it or its prior did."""

    name: str
    unit: str
    value: float
    low: float
    high: float
    prior: float
    determined: bool
    at_edge: bool
    meaning: str


@dataclass(frozen=True, kw_only=True)
class LawFit:
    """A fitted law. Errors are |ln(predicted / measured)| of rows predicted with constants fitted without their fold,
    None where the rows are too few; ``predicted_s`` those predictions, else the fit's own."""

    name: str
    rows: int
    constants: Mapping[str, FittedConstant]
    predicted_s: Floats
    measured_s: Floats
    ids: tuple[str, ...]
    median: float | None
    mean: float | None
    yardstick_median: float | None
    spread: float
    needed: str

    def value(self, name: str) -> float:
        """The value of a constant."""
        return self.constants[name].value

    @property
    def open(self) -> list[str]:
        """Constants that the data did not determine."""
        return [name for name, c in self.constants.items() if not c.determined]


def fit_law(law: Law) -> LawFit:
    """Fit a law to all its rows, and to four fifths of them five times over."""
    weight = np.array([o.weight for o in law.observations])
    folds = np.array([o.fold % FOLDS for o in law.observations])
    measured = law.measured_s
    values = _fitted(law, weight)
    errors = _standard_errors(law, weight, values)
    predicted, yardstick = _priced(law, values), _scaled(law.yardstick_s, measured, np.ones(len(measured), bool))
    held = len(measured) >= FEWEST
    if held:
        for fold in sorted(set(folds.tolist())):
            inside = folds == fold
            predicted[inside] = _priced(law, _fitted(law, np.where(inside, 0.0, weight)))[inside]
            yardstick[inside] = _scaled(law.yardstick_s, measured, ~inside)[inside]
    miss = np.abs(np.log(predicted / measured))
    return LawFit(
        name=law.name, rows=len(measured), predicted_s=predicted, measured_s=measured,
        constants={name: _constant(spec, values[name], errors[name]) for name, spec in law.specs.items()},
        ids=tuple(o.id for o in law.observations), median=float(np.median(miss)) if held else None,
        mean=float(np.mean(miss)) if held else None,
        yardstick_median=float(np.median(np.abs(np.log(yardstick / measured)))) if held else None,
        spread=float(np.median([o.spread for o in law.observations])), needed=law.needed,
    )  # fmt: skip


def _fitted(law: Law, weight: Floats) -> dict[str, float]:
    """Values of the constants, every row a group of its own: all of them speak of the one machine."""
    fit = fit_kernels(
        law.seconds, law.specs, law.settings, law.measured_s, range(law.settings.rows), weight=weight
    )  # fmt: skip
    values = {}
    for name, spec in law.specs.items():
        log = math.log(spec.prior) + fit.constants.deviations.get(name, 0.0)
        values[name] = min(max(math.exp(log), spec.low), spec.high)
    return values


def _rows(law: Law, values: Mapping[str, float]) -> dict[str, Floats]:
    return {name: np.full(law.settings.rows, value) for name, value in values.items()}


def _priced(law: Law, values: Mapping[str, float]) -> Floats:
    return np.array(law.seconds(_rows(law, values)), dtype=np.float64)


def _scaled(yardstick_s: Floats, measured_s: Floats, seen: np.ndarray) -> Floats:
    """The roofline times the one constant that fits the rows that are seen."""
    scale = math.exp(float(np.median(np.log(measured_s[seen] / yardstick_s[seen]))))
    return np.asarray(scale * yardstick_s)


def _standard_errors(law: Law, weight: Floats, values: Mapping[str, float]) -> dict[str, float]:
    """Standard errors of the logarithms of the constants, from the Jacobian at the fit with the priors in it.

    .. math:: \\Sigma = s^2 (J^T W J + P)^{-1}

    with the weights W of the robust fit and the variance s^2 of a weighted residual, at least that which is assumed.
    """
    names = list(law.specs)
    here = np.log(_priced(law, values))
    residual = here - np.log(law.measured_s)
    jacobian = np.zeros((len(here), len(names)))
    for i, name in enumerate(names):
        up = values[name] * math.exp(_STEP)
        step = _STEP if up <= law.specs[name].high else -_STEP
        moved = {**values, name: values[name] * math.exp(step)}
        jacobian[:, i] = (np.log(_priced(law, moved)) - here) / step
    w = weight / NOISE**2 / (1.0 + (residual / OUTLIER) ** 2)
    free = max(len(here) - len(names), 1)
    variance = max(1.0, float(np.sum(w * residual**2)) / free)
    prior = np.diag([1.0 / law.specs[name].spread ** 2 for name in names])
    covariance = np.linalg.inv((jacobian * w[:, None]).T @ jacobian / variance + prior)
    return {name: math.sqrt(covariance[i, i]) for i, name in enumerate(names)}


def _constant(spec: KernelSpec, value: float, error: float) -> FittedConstant:
    return FittedConstant(
        name=spec.name, unit=spec.unit, value=value, prior=spec.prior, meaning=spec.meaning,
        low=max(spec.low, value * math.exp(-_SIDES * error)), high=min(spec.high, value * math.exp(_SIDES * error)),
        determined=error < DETERMINED * spec.spread,
        at_edge=min(abs(math.log(value / spec.low)), abs(math.log(value / spec.high))) < 1e-3,
    )  # fmt: skip
