"""The search for cuts: dynamic programming over contiguous stages, descent for interleaved chunks; arrays in and out.

Axes: S strategies, n single layers, p stages, K = p v chunks.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .kernels.optable import Floats, Ints

#: Durations are compared in whole picoseconds, so that equal stages are equal whatever the order of additions.
PICOSECONDS: Final = 1e12
#: More than any stage takes, with room to add to it. [ps]
_NEVER: Final = np.iinfo(np.int64).max // 4

#: Descents from drawn cuts, where there are no more than so many chunks.
_RANDOM_STARTS: Final = 12
_FEW_CHUNKS: Final = 16


class Costs:
    """Durations in picoseconds and bytes of single layers, batched: time, byte, kept (S, n), send (S, n + 1)."""

    def __init__(self, seconds: ArrayLike, byte: ArrayLike, kept_byte: ArrayLike, send_s: ArrayLike) -> None:
        given = np.atleast_2d(np.asarray(seconds, dtype=np.float64))
        self.strategies, self.layers = given.shape
        sent = np.broadcast_to(_checked("send_s", send_s, given[:, :-1].shape), given[:, :-1].shape)
        self.time = _ticks(_checked("seconds", given, given.shape))
        self.send = np.pad(_ticks(sent), ((0, 0), (1, 1)))
        self.byte = _checked("byte", byte, given.shape)
        self.kept = _checked("kept_byte", kept_byte, given.shape)

    def part(self, start: int, stop: int) -> Costs:
        """Some of the strategies."""
        part = object.__new__(Costs)
        part.time, part.send = self.time[start:stop], self.send[start:stop]
        part.byte, part.kept = self.byte[start:stop], self.kept[start:stop]
        part.strategies, part.layers = part.time.shape
        return part


def _checked(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Floats:
    array = np.asarray(value, dtype=np.float64)
    try:
        array = np.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(f"layer_split: {name} has shape {array.shape}; legal: {shape}.") from None
    if not np.isfinite(array).all() or (array < 0).any():
        raise ValueError(f"layer_split: {name} has numbers that are negative or not finite; legal: 0 or more.")
    return array


def _ticks(seconds: Floats) -> Ints:
    longest = _NEVER / PICOSECONDS / 4.0
    if (seconds.sum(axis=-1) > longest).any():
        raise ValueError(f"layer_split: a network takes {seconds.sum(axis=-1).max():g} s; at most {longest:g} s.")
    return np.asarray(np.rint(seconds * PICOSECONDS), dtype=np.int64)


def _between(values: NDArray[Any]) -> NDArray[Any]:
    """Sums of layers i to j for all i and j; (S, n) -> (S, n + 1, n + 1)."""
    sums = np.pad(np.cumsum(values, axis=1), ((0, 0), (1, 0)))
    return np.asarray(sums[:, None, :] - sums[:, :, None])


def best_cuts(costs: Costs, flight: Floats, capacity_byte: float | None) -> tuple[Ints, NDArray[np.bool_]]:
    """Cuts (S, p + 1) of the best splits, and whether they fit, (S,)."""
    n, stages = costs.layers, len(flight)
    some = np.arange(n + 1)[:, None] < np.arange(n + 1)
    time = _between(costs.time) + costs.send[:, None, :] + costs.send[:, :, None]
    time = np.where(some, time, _NEVER)
    byte, kept = (np.where(some, _between(each), np.inf) for each in (costs.byte, costs.kept))
    memory = [byte + (many * kept if many else 0.0) for many in flight]
    limit = np.inf if capacity_byte is None else capacity_byte
    measured = bool(costs.byte.any() or costs.kept.any())
    legal = [some & (m <= limit) for m in memory]
    slowest = _least_greatest([time] * stages, legal, _NEVER)
    fits = slowest < _NEVER
    if not fits.all():
        # Nothing fits: then the split that needs least memory is what is asked for.
        legal = [np.where(fits[:, None, None], one, some) for one in legal]
        least = _least_greatest(memory, legal, np.inf)
        legal = [
            one & (fits[:, None, None] | (m <= least[:, None, None])) for one, m in zip(legal, memory, strict=True)
        ]
        slowest = _least_greatest([time] * stages, legal, _NEVER)
    legal = [one & (time <= slowest[:, None, None]) for one in legal]
    if measured:
        least = _least_greatest(memory, legal, np.inf)
        legal = [one & (m <= least[:, None, None]) for one, m in zip(legal, memory, strict=True)]
    return _evenest(time / np.maximum(slowest, 1)[:, None, None], legal), fits


def _least_greatest(values: list[NDArray[Any]], legal: list[NDArray[np.bool_]], nothing: float) -> NDArray[Any]:
    """Over all splits with legal stages the least of the greatest stage's value; shape (S,)."""
    best = np.where(legal[0], values[0], nothing)[:, 0, :]
    for value, allowed in zip(values[1:], legal[1:], strict=True):
        best = np.where(allowed, np.maximum(best[:, :, None], value), nothing).min(axis=1)
    return np.asarray(best[:, -1])


def _evenest(value: Floats, legal: list[NDArray[np.bool_]]) -> Ints:
    """Cuts (S, p + 1) of the split with legal stages and the least sum of squares of its stages' values."""
    squares = value * value
    count, size = value.shape[0], value.shape[1]
    best = np.where(legal[0], squares, np.inf)[:, 0, :]
    came = []
    for allowed in legal[1:]:
        reached = np.where(allowed, best[:, :, None] + squares, np.inf)
        came.append(np.argmin(reached, axis=1))
        best = reached.min(axis=1)
    cut = np.zeros((count, len(legal) + 1), np.int64)
    cut[:, -1] = size - 1
    for k in range(len(legal) - 1, 0, -1):
        cut[:, k] = came[k - 1][np.arange(count), cut[:, k + 1]]
    return cut


def filled_cuts(time: Ints, send: int, stages: int) -> Ints:
    """Cuts (S, p + 1) with the least slowest stage where all sends take the same; stages are filled from the last.

    Halving the interval in which the slowest stage must lie, O(p n) for each half: the last stages are full and the
    first, which holds most micro-batches, has what is left.
    """
    rows, n = len(time), time.shape[1]
    done = np.pad(np.cumsum(time, axis=1), ((0, 0), (1, 0)))
    ends = np.array([2 * send if 0 < k < stages - 1 else send if stages > 1 else 0 for k in range(stages)])

    def fill(slowest: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        cut = np.zeros((rows, stages + 1), np.int64)
        cut[:, stages] = n
        here = np.arange(rows)
        for k in range(stages - 1, 0, -1):
            least = done[here, cut[:, k + 1]] - (slowest - ends[k])
            first = (done < least[:, None]).sum(axis=1)
            cut[:, k] = np.clip(first, k, cut[:, k + 1] - 1)
        spent = np.diff(done[here[:, None], cut], axis=1) + ends
        return cut, spent.max(axis=1) <= slowest

    low = np.maximum(time.max(axis=1), -(-done[:, -1] // stages)) - 1
    high = done[:, -1] + 2 * send
    while (high - low > 1).any():
        middle = (low + high) // 2
        fits = fill(middle)[1]
        low, high = np.where(fits, low, middle), np.where(fits, middle, high)
    return fill(high)[0]


def best_chunks(
    costs: Costs, flight: Floats, chunks: int, capacity_byte: float | None
) -> tuple[Ints, NDArray[np.bool_]]:
    """Cuts (S, p v + 1) for interleaved chunks, and whether they fit, (S,).

    Descent from several starts (the best contiguous split into p v, cuts at equal shares of the time, where chunks are
    few some drawn with a fixed seed): all moves of a run of neighbouring cuts by one layer are tried, the best is made.
    First the slowest stage and the squares of stage times fall, then the fullest stage with the slowest kept.
    """
    cuts, fits = [], []
    limit = np.inf if capacity_byte is None else capacity_byte
    for row in range(costs.strategies):
        one = costs.part(row, row + 1)
        chain = _Chain(one, flight, limit)
        count = len(flight) * chunks
        starts = [best_cuts(one, np.ones(count), None)[0][0], _equal_shares(one, count)]
        rng = np.random.default_rng(count)
        for _ in range(_RANDOM_STARTS if count <= _FEW_CHUNKS else 0):
            inner = np.sort(rng.choice(np.arange(1, one.layers), size=count - 1, replace=False))
            starts.append(np.concatenate([[0], inner, [one.layers]]))
        best = min((_descend(chain, start) for start in starts), key=lambda found: found[0])
        cuts.append(best[1])
        fits.append(best[0][0] == 0.0)
    return np.stack(cuts), np.array(fits)


def _equal_shares(costs: Costs, count: int) -> Ints:
    """Cuts at equal shares of the time, each chunk with a layer at least; shape (K + 1,)."""
    done = np.concatenate([[0], np.cumsum(costs.time[0])])
    cut = np.searchsorted(done, done[-1] * np.arange(count + 1) / count)
    cut[0], cut[-1] = 0, costs.layers
    place = np.arange(count + 1)
    cut = np.maximum.accumulate(cut - place) + place
    return np.asarray(np.minimum(cut, costs.layers - place[::-1]), dtype=np.int64)


class _Chain:
    """One strategy's sums, to score many candidate cuts at once."""

    def __init__(self, costs: Costs, flight: Floats, limit: float) -> None:
        self.time, self.byte, self.kept = (
            np.concatenate([[0], np.cumsum(each[0])]) for each in (costs.time, costs.byte, costs.kept)
        )
        self.send, self.flight, self.limit = costs.send[0], flight, limit
        self.measured = bool(costs.byte.any() or costs.kept.any())

    def scores(self, cut: Ints, *, memory_first: bool) -> Floats:
        """Bytes over the limit, slowest stage, then squares and fullest stage in either order; (C, K + 1) -> (C, 4)."""
        shape = (len(cut), -1, len(self.flight))
        spent = np.diff(self.time[cut], axis=1) + self.send[cut[:, 1:]] + self.send[cut[:, :-1]]
        stage = spent.reshape(shape).sum(axis=1).astype(np.float64)
        full = np.zeros(len(cut))
        if self.measured:
            held = np.diff(self.byte[cut], axis=1).reshape(shape).sum(axis=1)
            full = (held + self.flight * np.diff(self.kept[cut], axis=1).reshape(shape).sum(axis=1)).max(axis=1)
        over = np.maximum(full - self.limit, 0.0) if np.isfinite(self.limit) else np.zeros(len(cut))
        ties = ((stage / self.time[-1]) ** 2).sum(axis=1) if self.time[-1] else np.zeros(len(cut))
        columns = (over, stage.max(axis=1), full, ties) if memory_first else (over, stage.max(axis=1), ties, full)
        return np.stack(columns, axis=1)


def _descend(chain: _Chain, cut: Ints) -> tuple[tuple[float, ...], Ints]:
    """The best split that moves of runs of cuts lead to, and its scores."""
    inner = np.arange(1, len(cut) - 1)
    first, last = (each.reshape(-1) for each in np.meshgrid(inner, inner, indexing="ij"))
    first, last = first[first <= last], last[first <= last]
    place = np.arange(len(cut))
    run = ((place >= first[:, None]) & (place <= last[:, None])).astype(np.int64)
    moves = np.concatenate([run, -run])
    score: tuple[float, ...] = ()
    for memory_first in (False, True):
        score = tuple(chain.scores(cut[None], memory_first=memory_first)[0])
        while True:
            tried = cut + moves
            tried = tried[(np.diff(tried, axis=1) > 0).all(axis=1)]
            if not len(tried):
                break
            scores = chain.scores(tried, memory_first=memory_first)
            best = int(np.lexsort(scores.T[::-1])[0])
            if tuple(scores[best]) >= score:
                break
            score, cut = tuple(scores[best]), tried[best]
    return score, cut
