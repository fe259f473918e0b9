"""Laws of a duration: distributions with mean 1 and a given spread, and the slowest of many draws.

The *spread* of a law is its coefficient of variation, standard deviation / mean. A law multiplies the duration that
was priced, so that a mean of 1 leaves the mean of one piece of work as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats

Floats = NDArray[np.float64]


class MisfortuneError(ValueError):
    """A misfortune that cannot be: what, what is legal."""


class Law(Protocol):
    """A distribution of mean 1 over durations."""

    @property
    def name(self) -> str:
        """Its word."""

    @property
    def spread(self) -> float:
        """Standard deviation over mean."""

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""

    def sf(self, x: Floats) -> Floats:
        """P(X > x), precise where it is small."""

    def ppf(self, p: Floats) -> Floats:
        """x with P(X <= x) = p."""

    def isf(self, q: Floats) -> Floats:
        """x with P(X > x) = q, precise where q is small."""


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Always 1."""

    name: str = "constant"
    spread: float = 0.0

    def cdf(self, x: Floats) -> Floats:
        """A step at 1."""
        return np.where(np.asarray(x) >= 1.0, 1.0, 0.0)

    def sf(self, x: Floats) -> Floats:
        """The other side of it."""
        return np.where(np.asarray(x) >= 1.0, 0.0, 1.0)

    def ppf(self, p: Floats) -> Floats:
        """1."""
        return np.ones_like(np.asarray(p, dtype=float))

    def isf(self, q: Floats) -> Floats:
        """1."""
        return np.ones_like(np.asarray(q, dtype=float))


@dataclass(frozen=True, kw_only=True)
class Family:
    """One of scipy's distributions, with the parameters that give mean 1 and the spread asked for."""

    name: str
    spread: float
    frozen: Any = field(repr=False, compare=False)

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""
        return np.asarray(self.frozen.cdf(x), dtype=float)

    def sf(self, x: Floats) -> Floats:
        """P(X > x)."""
        return np.asarray(self.frozen.sf(x), dtype=float)

    def ppf(self, p: Floats) -> Floats:
        """Quantile."""
        return np.asarray(self.frozen.ppf(p), dtype=float)

    def isf(self, q: Floats) -> Floats:
        """Quantile from above."""
        return np.asarray(self.frozen.isf(q), dtype=float)


@dataclass(frozen=True, kw_only=True)
class Empirical:
    """Measured times over their mean; the quantile runs straight from one to the next.

    Nothing is longer than the longest that was measured: many ranks meet it often, and then it is all there is to say.
    """

    quantiles: Floats = field(repr=False)
    name: str = "empirical"

    @classmethod
    def of(cls, times: Sequence[float]) -> Empirical:
        """From measured times, in any unit. Raises MisfortuneError where they are none."""
        values = np.sort(np.asarray(times, dtype=float))
        if values.size < 2 or not np.all(np.isfinite(values)) or values[0] < 0 or values[-1] <= 0:
            raise MisfortuneError(
                f"empirical: {values.size} times cannot be a distribution; legal: at least 2, none below 0, not all 0."
            )
        return cls(quantiles=values / np.mean((values[1:] + values[:-1]) / 2))

    @property
    def _places(self) -> Floats:
        return np.linspace(0.0, 1.0, self.quantiles.size)

    @property
    def spread(self) -> float:
        """Of the law that runs straight between the measured times."""
        low, high = self.quantiles[:-1], self.quantiles[1:]
        return math.sqrt(max(0.0, float(np.mean((low**2 + low * high + high**2) / 3)) - 1.0))

    def cdf(self, x: Floats) -> Floats:
        """P(X <= x)."""
        places, x = self._places, np.asarray(x, dtype=float)
        # Where several measured the same, the highest place is the one reached.
        last = np.searchsorted(self.quantiles, x, side="right")
        straight = np.interp(x, self.quantiles, places)
        hit = (last > 0) & (self.quantiles[np.maximum(last - 1, 0)] == x)
        return np.where(x < self.quantiles[0], 0.0, np.where(hit, places[np.maximum(last - 1, 0)], straight))

    def sf(self, x: Floats) -> Floats:
        """P(X > x)."""
        return 1.0 - self.cdf(x)

    def ppf(self, p: Floats) -> Floats:
        """Quantile."""
        return np.interp(p, self._places, self.quantiles)

    def isf(self, q: Floats) -> Floats:
        """Quantile from above."""
        return self.ppf(1.0 - np.asarray(q, dtype=float))


def _lognormal(spread: float) -> Any:
    sigma = math.sqrt(math.log1p(spread**2))
    return stats.lognorm(s=sigma, scale=math.exp(-(sigma**2) / 2))


def _gamma(spread: float) -> Any:
    return stats.gamma(a=spread**-2, scale=spread**2)


def _weibull(spread: float) -> Any:
    def beside(log_shape: float) -> float:
        k = math.exp(log_shape)
        return float(special.gammaln(1 + 2 / k) - 2 * special.gammaln(1 + 1 / k)) - math.log1p(spread**2)

    shape = math.exp(optimize.brentq(beside, math.log(0.1), math.log(1e5)))
    return stats.weibull_min(c=shape, scale=1 / special.gamma(1 + 1 / shape))


def _shifted_exponential(spread: float) -> Any:
    return stats.expon(loc=1 - spread, scale=spread)


def _pareto(spread: float) -> Any:
    alpha = 1 + math.sqrt(1 + spread**-2)
    return stats.pareto(b=alpha, scale=(alpha - 1) / alpha)


#: Word -> (what makes it, smallest and largest spread). All have mean 1. `pareto` has a power-law tail whose exponent
#: is 1 + sqrt(1 + 1 / spread^2), always above 2; `exponential` is a constant plus an exponential.
FAMILIES: Final[Mapping[str, tuple[Callable[[float], Any], float, float]]] = {
    "lognormal": (_lognormal, 1e-4, 5.0),
    "gamma": (_gamma, 1e-4, 5.0),
    "weibull": (_weibull, 1e-4, 5.0),
    "exponential": (_shifted_exponential, 1e-4, 1.0),
    "pareto": (_pareto, 1e-4, 5.0),
}

CONSTANT: Final = Constant()


def law_of(name: str, spread: float) -> Law:
    """The law of that word and spread; without spread all are the constant 1.

    Raises
    ------
    MisfortuneError
        For an unknown word, or a spread the law cannot have.
    """
    if name == "constant" and spread == 0:
        return CONSTANT
    if name not in FAMILIES:
        raise MisfortuneError(f"{name!r} is no distribution with a spread; legal: {', '.join(FAMILIES)}.")
    make, low, high = FAMILIES[name]
    if spread == 0:
        return CONSTANT
    if not low <= spread <= high:
        raise MisfortuneError(f"{name}: the spread is {spread:g}; legal: 0, or {low:g} to {high:g}.")
    return Family(name=name, spread=spread, frozen=make(spread))


def upper_tail_of_maximum(u: Floats, n: float | Floats) -> Floats:
    """q = 1 - u^(1/n): the slowest of n draws is the value that one draw exceeds with probability q.

    Written with expm1, so that it holds its digits where n is a million and u^(1/n) is next to 1.
    """
    return np.asarray(-np.expm1(np.log(u) / n), dtype=float)


def maximum(law: Law, n: float | Floats, u: Floats) -> Floats:
    """The slowest of n independent draws, from one uniform number each: F^-1(u^(1/n)).

    u in (0, 1); any shape, n alike or one number. One draw, whatever n is (David & Nagaraja, Order Statistics, 2003,
    section 2.1).
    """
    q = upper_tail_of_maximum(u, n)
    # Above the median the tail's own inverse keeps the digits, below it the other one does.
    return np.where(q < 0.5, law.isf(np.minimum(q, 0.5)), law.ppf(np.minimum(np.exp(np.log(u) / n), 0.5)))


def uniforms(stream: np.random.Generator, size: int) -> Floats:
    """Uniform numbers strictly between 0 and 1."""
    return (stream.integers(0, 1 << 53, size=size).astype(float) + 0.5) / (1 << 53)
