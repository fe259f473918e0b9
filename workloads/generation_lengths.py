"""How long generated sequences get, and how a fixed number of slots works through them."""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from workloads.op import WorkloadError

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Sequences whose slots are followed one by one; more repeat what these do.
_MOST: Final = 20_000
_SEED: Final = 20_170_712


def lengths(count: int, *, mean: float, variation: float = 0.0, most: int = 0) -> Ints:
    """New tokens of ``count`` sequences, in an order that is always the same; shape (count,).

    The (i + 1/2) / count quantiles of a gamma distribution with that ``mean`` and ``variation`` (standard deviation
    over mean; 0: all alike, 1: exponential), rounded, at least 1 and at most ``most`` (0: no limit), which is where
    generation is cut off. The measured distributions have long tails; the gamma stands for them with two numbers.

    Raises
    ------
    WorkloadError
        For no sequence, a mean below 1 or above ``most``, or a negative variation.
    """
    if count < 1 or mean < 1 or variation < 0 or (most and mean > most):
        raise WorkloadError(
            f"generation: {count} sequences of {mean:g} new tokens, variation {variation:g}, at most {most or 'any'}; "
            "at least 1 each, 0 or more, at most the limit."
        )
    if variation == 0.0:
        return np.full(count, round(mean), np.int64)
    shape = variation**-2.0
    drawn = gamma.ppf((np.arange(count) + 0.5) / count, shape, scale=mean / shape)
    found = np.clip(np.rint(drawn), 1, most or None).astype(np.int64)
    order = np.random.default_rng(_SEED).permutation(count)
    return np.asarray(found[order], dtype=np.int64)


def mean_context(prompt: int, new: Ints) -> float:
    """Tokens that the step of a new token attends to, itself included, in the mean over all new tokens.

    .. math:: \\bar c = P + \\frac{\\sum_i L_i (L_i + 1) / 2}{\\sum_i L_i}

    with prompts of P tokens and L_i new ones: the mean over every position of every sequence.
    """
    long = new.astype(float)
    return float(prompt + np.sum(long * (long + 1.0)) / (2.0 * np.sum(long)))


def refilled(new: Ints, slots: int) -> tuple[Ints, Ints]:
    """Steps of slots that take the next sequence as soon as theirs ends (continuous batching).

    Returns (steps, active): in so many steps so many slots are at work, in order of time; shape (pieces,) each. The
    sum of steps x active is the number of new tokens.
    """
    _check(slots)
    slots = min(slots, len(new))
    ends = new[:slots].tolist()
    heapify(ends)
    for more in new[slots:].tolist():
        heapreplace(ends, ends[0] + more)
    busy_until = np.sort(np.array(ends, dtype=np.int64))
    # Until the first slot finds nothing more all are at work; then one after the other falls idle.
    steps = np.diff(busy_until, prepend=0)
    active = slots - np.arange(slots)
    return steps[steps > 0], active[steps > 0].astype(np.int64)


def in_waves(new: Ints, slots: int) -> tuple[Ints, Ints]:
    """Steps of batches that wait for their longest sequence (static batching); as `refilled`.

    All slots of a batch work to its end: what has ended is padded.
    """
    _check(slots)
    starts = np.arange(0, len(new), slots)
    size = np.minimum(slots, len(new) - starts)
    return np.maximum.reduceat(new, starts), size.astype(np.int64)


def followed(count: int, slots: int) -> tuple[int, float]:
    """How many of ``count`` sequences to follow, and how often what they take is repeated."""
    if count <= max(_MOST, 2 * slots):
        return count, 1.0
    few = max(_MOST, 2 * slots)
    return few, count / few


def _check(slots: int) -> None:
    if slots < 1:
        raise WorkloadError(f"generation: {slots} slots; at least 1.")
