"""One piece of work on ranks that meet after it: how long it takes on the slowest of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from simulator.events.misfortune.laws import CONSTANT, Floats, Law, MisfortuneError, maximum, uniforms


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """What every piece suffers on every rank, independently: T = base X + host_ps Y, X and Y of mean 1.

    ``kernel`` is the law of X, ``host`` that of Y; ``host_ps`` is the mean delay that the host adds to a piece. Each
    has a spread of its own: the piece is what the engine runs as one, so a coarser cut has fewer, larger draws.
    """

    kernel: Law = CONSTANT
    host: Law = CONSTANT
    host_ps: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.host_ps) and self.host_ps >= 0):
            raise MisfortuneError(f"Jitter: host_ps is {self.host_ps!r}; a duration, at least 0.")

    @property
    def none(self) -> bool:
        """Whether pieces take what was priced."""
        return self.kernel.spread == 0 and self.host_ps == 0

    @property
    def certain(self) -> bool:
        """Whether pieces always take the same."""
        return self.kernel.spread == 0 and (self.host_ps == 0 or self.host.spread == 0)

    def sf(self, base_ps: float, x_ps: Floats) -> Floats:
        """P(base X + host_ps Y > x) on one rank; where both vary by quadrature over Y."""
        x_ps = np.asarray(x_ps, dtype=float)
        if self.host_ps == 0 or self.host.spread == 0:
            rest = x_ps - self.host_ps
            return self.kernel.sf(rest / base_ps) if base_ps > 0 else np.where(rest >= 0, 0.0, 1.0)
        if self.kernel.spread == 0 or base_ps == 0:
            return self.host.sf((x_ps - base_ps) / self.host_ps)
        delays_ps = self.host_ps * self.host.ppf(_NODES)
        total = np.zeros_like(x_ps)
        for delay_ps, weight in zip(delays_ps, _WEIGHTS, strict=True):
            total += weight * self.kernel.sf((x_ps - delay_ps) / base_ps)
        return total

    def reach(self, base_ps: float, p: Floats) -> Floats:
        """Points that cover the range of one rank's time: both quantiles at once."""
        return base_ps * self.kernel.ppf(p) + self.host_ps * self.host.ppf(p)

    def slowest_ps(self, base_ps: Floats, ranks: int, slow: tuple[float, ...], stream: np.random.Generator) -> Floats:
        """One draw for every piece: the slowest of ``ranks``, of which those in ``slow`` take so many times as long.

        Where only one of the two jitters is there this is one draw by order statistics, F^-1(u^(1/n)); where both are,
        and more than one rank meets, every rank is drawn.
        """
        base_ps = np.asarray(base_ps, dtype=float)
        size, plain = base_ps.size, ranks - len(slow)
        if plain < 0 or ranks < 1:
            raise MisfortuneError(
                f"Jitter: {len(slow)} slow ranks of {ranks}; legal: 1 rank or more, at most all slow."
            )
        found = np.full(size, -math.inf)
        if self.kernel.spread == 0 or self.host_ps == 0 or self.host.spread == 0:
            factors = [(1.0, plain)] * (plain > 0) + [(factor, 1) for factor in slow]
            for factor, count in factors:
                x = maximum(self.kernel, count, uniforms(stream, size)) if self.kernel.spread else np.ones(size)
                y = maximum(self.host, count, uniforms(stream, size)) if self.host_ps else np.zeros(size)
                found = np.maximum(found, factor * base_ps * x + self.host_ps * y)
            return found
        for factor in (*(1.0 for _ in range(plain)), *slow):
            x, y = self.kernel.ppf(uniforms(stream, size)), self.host.ppf(uniforms(stream, size))
            found = np.maximum(found, factor * base_ps * x + self.host_ps * y)
        return found


def _panels() -> tuple[Floats, Floats]:
    """Probabilities and weights of a Gauss-Legendre rule whose panels close up on 1, where the tail is."""
    nodes, weights = np.polynomial.legendre.leggauss(12)
    edges = np.concatenate([[0.0, 1e-3, 0.1, 0.5], 1 - 10.0 ** -np.arange(1, 13), [1.0]])
    middle, half = (edges[1:] + edges[:-1]) / 2, np.diff(edges) / 2
    return (middle[:, None] + half[:, None] * nodes).ravel(), (half[:, None] * weights).ravel()


_NODES, _WEIGHTS = _panels()

_TAIL: Final = 10.0 ** np.linspace(-14, math.log10(0.5), 1600)
_LOWER: Final = 10.0 ** np.linspace(-9, math.log10(0.5), 1200)


@dataclass(frozen=True, kw_only=True)
class Pieces:
    """``count`` equal pieces of ``base_ps``, after each of which ``ranks`` ranks meet; ``slow`` as in `Jitter`."""

    base_ps: float
    count: int = 1
    ranks: int = 1
    slow: tuple[float, ...] = ()

    def sf(self, jitter: Jitter, x_ps: Floats) -> Floats:
        """P(slowest > x) of one piece: 1 - F(x)^(n - slow) prod F_i(x), by logarithms so that the tail keeps digits."""
        plain = self.ranks - len(self.slow)
        with np.errstate(divide="ignore"):
            log_cdf = np.zeros_like(np.asarray(x_ps, dtype=float))
            if plain:
                log_cdf = plain * np.log1p(-jitter.sf(self.base_ps, x_ps))
            for factor in self.slow:
                log_cdf = log_cdf + np.log1p(-jitter.sf(self.base_ps * factor, x_ps))
        return np.asarray(-np.expm1(log_cdf), dtype=float)

    def points_ps(self, jitter: Jitter) -> Floats:
        """Points between which the slowest's time lies, dense where it is likely and out to 1e-14 in the tail."""
        scales = ([1.0] if len(self.slow) < self.ranks else []) + list(self.slow)
        p = np.concatenate([_LOWER, 1 - _TAIL[::-1]])
        return np.unique(np.concatenate([jitter.reach(self.base_ps * scale, p) for scale in scales]))

    def moments(self, jitter: Jitter) -> tuple[float, float, float]:
        """Mean, variance and third central moment of one piece [ps, ps^2, ps^3], from integrals of P(> x)."""
        x = self.points_ps(jitter)
        sf = self.sf(jitter, x)
        gap, middle_sf, rise = np.diff(x), (sf[1:] + sf[:-1]) / 2, x - x[0]
        first = float(np.sum(gap * middle_sf))
        second = 2 * float(np.sum(gap * (rise[1:] * sf[1:] + rise[:-1] * sf[:-1]) / 2))
        third = 3 * float(np.sum(gap * (rise[1:] ** 2 * sf[1:] + rise[:-1] ** 2 * sf[:-1]) / 2))
        variance = max(0.0, second - first**2)
        return float(x[0]) + first, variance, third - 3 * first * second + 2 * first**3
