"""Durations that differ from one mini-batch to the next: their distribution, its sums, its order statistics."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import signal, special, stats

Floats = NDArray[np.float64]

#: Distributions of a duration. "shifted_exponential": a least duration, and behind it one without memory.
SPREADS: Final = ("constant", "lognormal", "gamma", "shifted_exponential")
_GRID: Final = 1 << 14
_TAIL: Final = 1e-10


class SpreadError(ValueError):
    """A distribution that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A duration with a mean [s] and a coefficient of variation (standard deviation over mean)."""

    mean_s: float
    kind: str = "constant"
    variation: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in SPREADS:
            raise SpreadError(f"Spread: kind is {self.kind!r}; legal: {', '.join(SPREADS)}.")
        if not (math.isfinite(self.mean_s) and self.mean_s > 0):
            raise SpreadError(f"Spread: mean_s is {self.mean_s!r}; a finite number of seconds above 0.")
        most = 1.0 if self.kind == "shifted_exponential" else 10.0
        if not 0 <= self.variation <= most:
            raise SpreadError(f"Spread: variation is {self.variation!r}; 0 to {most:g} for {self.kind}.")
        if (self.kind == "constant") != (self.variation == 0):
            raise SpreadError(
                f"Spread: variation is {self.variation!r} with kind {self.kind}; "
                "a constant has variation 0, every other kind more."
            )

    def draws(self, generator: np.random.Generator, count: int) -> Floats:
        """So many durations [s]."""
        if self.kind == "constant":
            return np.full(count, self.mean_s)
        if self.kind == "lognormal":
            width2 = math.log1p(self.variation**2)
            return generator.lognormal(math.log(self.mean_s) - width2 / 2.0, math.sqrt(width2), count)
        if self.kind == "gamma":
            shape = self.variation**-2
            return generator.gamma(shape, self.mean_s / shape, count)
        scale = self.mean_s * self.variation
        return self.mean_s - scale + generator.exponential(scale, count)

    def expected_order_s(self, place: int, among: int, *, draws: int = 1) -> float:
        r"""Mean of the ``place``-th smallest of ``among`` independent sums of ``draws`` durations [s].

        .. math:: E[X_{(k:n)}] = \int_0^\infty \left(1 - I_{F(x)}(k, n - k + 1)\right) dx

        with F the distribution of one sum and I the regularised incomplete beta function. Sums of lognormal durations
        have no formula: F is convolved on a grid, which is good to about one part in a thousand. Reference: David and
        Nagaraja, Order Statistics, 2003, sections 2.1 and 3.1.
        """
        if not 1 <= place <= among or draws < 1:
            raise SpreadError(f"Spread: place {place} among {among} of {draws} draws; 1 <= place <= among, draws >= 1.")
        if self.kind == "constant":
            return draws * self.mean_s
        x, share = self._distribution(draws, among)
        above = 1.0 - special.betainc(place, among - place + 1, share)
        return float(x[0] + np.trapezoid(above, x))

    def _distribution(self, draws: int, among: int) -> tuple[Floats, Floats]:
        """Points from where a sum can begin to where hardly any of so many ends, and the share below each."""
        tail = _TAIL / among
        if self.kind == "lognormal":
            return self._lognormal(draws, tail)
        least = 0.0
        if self.kind == "gamma":
            shape = self.variation**-2
            law = stats.gamma(draws * shape, scale=self.mean_s / shape)
        else:
            least = draws * self.mean_s * (1.0 - self.variation)
            law = stats.gamma(draws, scale=self.mean_s * self.variation)
        # Points close together where the distribution rises, wide apart in the tail.
        x = np.unique(np.concatenate([[0.0], _spaced(law, tail)]))
        return least + x, np.asarray(law.cdf(x))

    def _lognormal(self, draws: int, tail: float) -> tuple[Floats, Floats]:
        width = math.sqrt(math.log1p(self.variation**2))
        law = stats.lognorm(width, scale=self.mean_s * math.exp(-(width**2) / 2.0))
        if draws == 1:
            x = np.unique(np.concatenate([[0.0], _spaced(law, tail)]))
            return x, np.asarray(law.cdf(x))
        # The rest of the sum lies within a few of its standard deviations where one draw is as far out as can be.
        top = law.isf(tail / draws) + (draws - 1 + 8.0 * math.sqrt(draws) * self.variation) * self.mean_s
        edges = np.linspace(0.0, top, 2 * _GRID + 1)
        mass = np.diff(law.cdf(edges))
        total = mass
        for _ in range(draws - 1):
            total = np.maximum(signal.fftconvolve(total, mass)[: mass.size], 0.0)
        # A draw stands for the middle of its cell: n of them for n halves of a cell more than their edges.
        x = edges[1:] + (draws - 1) * (edges[1] - edges[0]) / 2.0
        return np.concatenate([[0.0], x]), np.concatenate([[0.0], np.minimum(np.cumsum(total), 1.0)])


def _spaced(law: stats._distn_infrastructure.rv_frozen, tail: float) -> Floats:
    ends = special.expit(np.linspace(-24.0, 24.0, _GRID // 2))
    low = np.asarray(law.ppf(ends))
    high = np.linspace(law.ppf(1e-12), law.isf(tail), _GRID // 2)
    return np.asarray(np.concatenate([low, high]))
