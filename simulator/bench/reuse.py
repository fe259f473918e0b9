"""How much a step touches between two touches of the same memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from ..machine_fit.memory_levels import Traffic
from .calls import StepCall, Touched

#: Memory is followed in blocks of so many bytes.
BLOCK_BYTE: Final = 1 << 14


def traffic_of_step(calls: Sequence[StepCall], rounds: int = 2) -> list[Traffic]:
    """What every call of a step touches, with the bytes touched since; steps follow each other.

    The distance of a block is the number of other blocks touched since it was touched last: its place in a list that
    is kept by last use (Mattson et al. 1970, IBM Systems Journal 9(2)). The step is gone through ``rounds`` times, and
    the last is kept, so that what the step before left in the caches counts.
    """
    begins = sorted({t.begin // BLOCK_BYTE for c in calls for t in c.touched})
    if not begins:
        return [Traffic.of([]) for _ in calls]
    spans = [[_blocks(t) for t in c.touched] for c in calls]
    every = np.unique(np.concatenate([b for call in spans for b in call])) if spans else np.zeros(0, np.int64)
    places = [[np.searchsorted(every, b) for b in call] for call in spans]
    last = np.full(len(every), -1, dtype=np.int64)
    found: list[Traffic] = []
    now = 0
    for turn in range(rounds):
        for call, where in zip(calls, places, strict=True):
            order = np.sort(last) if where else last
            stretches: list[tuple[float, float, bool]] = []
            seen: set[tuple[int, int, bool]] = set()
            for touched, place in zip(call.touched, where, strict=True):
                key = (touched.begin, touched.byte, touched.written)
                if not len(place) or key in seen:
                    continue
                seen.add(key)
                # A tensor is gone through from its beginning: of its own blocks all others come between.
                since = len(every) - np.searchsorted(order, last[place], side="left")
                stretches += _stretches(touched.byte / len(place), since, last[place] < 0, touched.written)
            for place in where:
                last[place] = now
                now += 1
            if turn == rounds - 1:
                found.append(Traffic.of(stretches))
    return found


def _blocks(touched: Touched) -> np.ndarray:
    if touched.byte <= 0:
        return np.zeros(0, dtype=np.int64)
    first, end = touched.begin // BLOCK_BYTE, (touched.begin + touched.byte - 1) // BLOCK_BYTE
    return np.arange(first, end + 1, dtype=np.int64)


def _stretches(
    block_byte: float, since: np.ndarray, never: np.ndarray, written: bool
) -> list[tuple[float, float, bool]]:
    """Blocks of one tensor by how far they are, in powers of two: few stretches speak for many blocks."""
    distance = np.where(never, np.inf, since.astype(np.float64) * BLOCK_BYTE)
    power = np.where(never, 1000, np.floor(np.log2(np.maximum(distance, 1.0)))).astype(np.int64)
    return [
        (block_byte * float(np.sum(power == p)), float(np.mean(distance[power == p])), written)
        for p in np.unique(power)
    ]
