"""The law of a chain: how long many pieces take one after the other, and the slowest of many such chains.

Ranks that meet only at the end of a chain wait for the slowest *sum*. The maximum of n sums grows with the square root
of the pieces; adding up k maxima, as if they met after every piece, grows with the pieces and is far too slow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from scipy import stats

from simulator.events.misfortune.laws import Floats
from simulator.events.misfortune.pieces import Jitter, Pieces

#: Cells of the grid at most, cells per standard deviation of one piece, smallest tail that the grid holds.
MOST_CELLS: Final = 1 << 17
_CELLS_PER_DEVIATION: Final = 8
_FLOOR: Final = 1e-12


@dataclass(frozen=True, kw_only=True)
class ChainLaw:
    """Distribution of the time of a chain [ps], as P(> x) at points. Conforms to `Law` but for its mean.

    ``method``: "certain", "grid" (convolution) or "moments" (three moments matched). ``cut_off``: the tail is longer
    than the grid.
    """

    mean_ps: float
    deviation_ps: float
    method: str
    x_ps: Floats = field(repr=False)
    tail: Floats = field(repr=False)
    lower: Floats = field(repr=False)
    name: str = "chain"
    jitter: Jitter = field(repr=False)
    groups: tuple[tuple[Pieces, float], ...] = field(repr=False)
    cut_off: bool = False

    @property
    def spread(self) -> float:
        """Standard deviation over mean."""
        return self.deviation_ps / self.mean_ps if self.mean_ps else 0.0

    def cdf(self, x: Floats) -> Floats:
        """P(chain <= x)."""
        return np.interp(x, self.x_ps, self.lower, left=0.0)

    def sf(self, x: Floats) -> Floats:
        """P(chain > x)."""
        x = np.asarray(x, dtype=float)
        inside = np.exp(np.interp(x, self.x_ps, np.log(self.tail)))
        return np.where(x > self.x_ps[-1], self._beyond(x), np.where(x < self.x_ps[0], 1.0, inside))

    def ppf(self, p: Floats) -> Floats:
        """Quantile."""
        return np.interp(p, self.lower, self.x_ps)

    def isf(self, q: Floats) -> Floats:
        """Quantile from above."""
        q = np.asarray(q, dtype=float)
        inside = np.interp(-np.log(q), -np.log(self.tail), self.x_ps)
        far = q < self.tail[-1]
        if self.method == "certain" or not far.any():
            return inside
        low, high = np.full(q.shape, self.x_ps[-1]), np.full(q.shape, self.x_ps[-1] + 10 * self.deviation_ps)
        for _ in range(60):
            if not (short := far & (self._beyond(high) > q)).any():
                break
            high = np.where(short, high + 2 * (high - low), high)
        for _ in range(60):
            middle = (low + high) / 2
            above = self._beyond(middle) > q
            low, high = np.where(above, middle, low), np.where(above, high, middle)
        return np.where(far, high, inside)

    def _beyond(self, x: Floats) -> Floats:
        """P(chain > x) behind the last point, joined there.

        Where the grid holds the whole tail it goes on falling as it did last. Where a heavy tail left the grid one
        piece is long and the others take their mean: sum over pieces of P(piece > x - others).
        """
        end = float(self.x_ps[-1])
        if not self.cut_off:
            near = max(0, self.x_ps.size - 1 - self.x_ps.size // 20)
            rate = math.log(self.tail[near] / self.tail[-1]) / max(end - float(self.x_ps[near]), 1e-300)
            return np.asarray(self.tail[-1] * np.exp(-max(rate, 1.0 / self.deviation_ps) * (x - end)))
        joined = self._one_long(np.array([end]))[0]
        return np.asarray((self.tail[-1] / joined if joined > 0 else 0.0) * self._one_long(x), dtype=float)

    def _one_long(self, x: Floats) -> Floats:
        total = np.zeros_like(np.asarray(x, dtype=float))
        for pieces, mean_ps in self.groups:
            total += pieces.count * pieces.sf(self.jitter, x - (self.mean_ps - mean_ps))
        return np.asarray(np.minimum(1.0, total), dtype=float)


def chain_law(groups: Sequence[Pieces], jitter: Jitter) -> ChainLaw:
    """The law of the sum of all pieces of ``groups``, independent of each other.

    By convolution: every piece's law on a grid of an eighth of its deviation, powers of its Fourier transform, and
    back; then mean and deviation are made those of the pieces' own integrals. Where that takes more than `MOST_CELLS`
    cells (hundreds of thousands of pieces) three moments are matched by a shifted gamma law instead, whose error there
    is that of the fourth moment, of order 1 / pieces. A tail longer than the grid is that of one long piece.
    """
    if jitter.certain:
        sums = [(group, group.base_ps * max((1.0, *group.slow)) + jitter.host_ps) for group in groups]
        return _always(sum(group.count * each_ps for group, each_ps in sums), jitter, tuple(sums))
    moments = [group.moments(jitter) for group in groups]
    mean_ps = sum(g.count * m for g, (m, _, _) in zip(groups, moments, strict=True))
    variance = sum(g.count * v for g, (_, v, _) in zip(groups, moments, strict=True))
    known = tuple((g, m) for g, (m, _, _) in zip(groups, moments, strict=True))
    if variance <= 0:
        return _always(mean_ps, jitter, known)
    deviation_ps = math.sqrt(variance)
    weighty = [i for i, (g, (_, v, _)) in enumerate(zip(groups, moments, strict=True)) if g.count * v > 1e-7 * variance]
    step = min(math.sqrt(moments[i][1]) for i in weighty) / _CELLS_PER_DEVIATION
    right = 10 * deviation_ps
    for i in weighty:
        x = groups[i].points_ps(jitter)
        rare = x[np.searchsorted(-groups[i].sf(jitter, x), -_FLOOR / groups[i].count).clip(max=x.size - 1)]
        right = max(right, float(rare) - moments[i][0] + 5 * deviation_ps)
    left = min(16 * deviation_ps, sum(groups[i].count * (moments[i][0] - _least(groups[i], jitter)) for i in weighty))
    left += 2 * step
    cells = min(MOST_CELLS, 1 << math.ceil(math.log2((left + right) / step)))
    cut_off = cells * step - left < right
    right = min(right, cells * step - left)
    if right < 10 * deviation_ps:
        x, tail, lower = _by_moments(groups, moments, mean_ps, deviation_ps)
        method = "moments"
    else:
        chosen = [(groups[i], moments[i][0]) for i in weighty]
        x, tail, lower = _by_grid(chosen, jitter, step, cells, left, mean_ps, deviation_ps)
        method = "grid"
    return ChainLaw(
        mean_ps=mean_ps, deviation_ps=deviation_ps, method=method, x_ps=x, tail=tail, lower=lower,
        jitter=jitter, groups=known, cut_off=method == "grid" and cut_off,
    )  # fmt: skip


def _always(mean_ps: float, jitter: Jitter, groups: tuple[tuple[Pieces, float], ...]) -> ChainLaw:
    at, one = np.array([mean_ps]), np.ones(1)
    return ChainLaw(
        mean_ps=mean_ps, deviation_ps=0.0, method="certain", x_ps=at, tail=one, lower=one, jitter=jitter, groups=groups
    )


def _least(group: Pieces, jitter: Jitter) -> float:
    return float(group.points_ps(jitter)[0])


def _by_moments(
    groups: Sequence[Pieces], moments: Sequence[tuple[float, float, float]], mean_ps: float, deviation_ps: float
) -> tuple[Floats, Floats, Floats]:
    third = sum(g.count * t for g, (_, _, t) in zip(groups, moments, strict=True))
    law = stats.pearson3(skew=third / deviation_ps**3, loc=mean_ps, scale=deviation_ps)
    tails = np.concatenate([1 - np.logspace(-12, math.log10(0.5), 500), np.logspace(math.log10(0.5), -12, 1500)])
    tails = np.unique(tails)[::-1]
    return np.asarray(law.isf(tails)), tails, 1.0 - tails


def _by_grid(
    groups: Sequence[tuple[Pieces, float]],
    jitter: Jitter,
    step: float,
    cells: int,
    left: float,
    mean_ps: float,
    deviation_ps: float,
) -> tuple[Floats, Floats, Floats]:
    transform = np.ones(cells // 2 + 1, dtype=complex)
    before = math.ceil(left / step)
    places = np.arange(-before, cells - before)
    edges = np.asarray((np.arange(-before, cells - before + 1) - 0.5) * step, dtype=np.float64)
    for pieces, centre_ps in groups:
        tail = pieces.sf(jitter, centre_ps + edges)
        mass = -np.diff(tail)
        mass[0] += 1 - tail[0]
        wrapped = np.zeros(cells)
        wrapped[places % cells] = mass
        transform *= np.fft.rfft(wrapped) ** pieces.count
    mass = np.maximum(np.fft.irfft(transform, cells)[places % cells], 0.0)
    whole = min(1.0, math.prod(_kept(p, c, jitter, step, cells - before) for p, c in groups))
    mass *= whole / mass.sum()
    x = places * step
    mean, lost = float(mass @ x) / whole, 1.0 - whole
    deviation = math.sqrt(float(mass @ (x - mean) ** 2) / whole)
    if lost < 1e-9:  # the grid's own rounding of every piece; where a tail is cut off these moments say nothing
        x = (x - mean) * (deviation_ps / deviation)
    above = lost + np.concatenate([np.cumsum(mass[::-1])[::-1][1:], [0.0]])
    below = np.cumsum(mass)
    edge = np.asarray(mean_ps + x + step / 2, dtype=np.float64)
    held = (above > _FLOOR) & (below > _FLOOR) & (mass > 0)
    return edge[held], above[held], below[held]


def _kept(pieces: Pieces, centre_ps: float, jitter: Jitter, step: float, behind: int) -> float:
    """Probability that no piece of a group is longer than the grid."""
    tail = float(pieces.sf(jitter, np.array([centre_ps + (behind - 0.5) * step]))[0])
    return math.exp(pieces.count * math.log1p(-tail))
