"""Recursive doubling: partners at distance 1, 2, 4, ... exchange all that they have."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, check_collective, check_counts, chunk_byte, floor_log2, require, time_s
from .rounds import CollectiveError, Round, chunk_bounds, moves

COLLECTIVES: Final = ("all_gather", "all_reduce")
POWER_OF_TWO: Final = "the all-gather needs a power of two (Bruck's algorithm takes any number)"


def rounds(collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """log2 n rounds of n transfers: of whole messages in an all-reduce; in an all-gather rank r owns chunk r.

    Where n is no power of two, the r = n - 2^k first odd ranks of an all-reduce take their even neighbour's message
    before, leave it out, and hand it the result afterwards.
    """
    check_collective("recursive_doubling", collective, COLLECTIVES)
    check_counts("recursive_doubling", ranks, message_byte)
    if collective == "all_gather":
        return tuple(_all_gather(ranks, message_byte))
    low, high = np.array(0), np.array(message_byte)
    active, extra = folded_ranks(ranks)
    found = moves(2 * extra, 2 * extra + 1, low + 0 * extra, high + 0 * extra, reduces=True)
    virtual = np.arange(len(active))
    for distance in (1 << k for k in range(len(active).bit_length() - 1)):
        partner = active[virtual ^ distance]
        found += moves(active, partner, low + 0 * virtual, high + 0 * virtual, reduces=True)
    return tuple(found + moves(2 * extra + 1, 2 * extra, low + 0 * extra, high + 0 * extra))


def folded_ranks(ranks: int) -> tuple[Ints, Ints]:
    """The 2^k ranks that go on after the fold, in order, and the i of the r pairs (2 i, 2 i + 1) that were folded."""
    size = 1 << (ranks.bit_length() - 1)
    extra = np.arange(ranks - size)
    return np.concatenate([2 * extra + 1, np.arange(2 * len(extra), ranks)]), extra


def _all_gather(ranks: int, message_byte: int) -> list[Round]:
    if ranks & (ranks - 1):
        raise CollectiveError(f"recursive_doubling: ranks is {ranks}; {POWER_OF_TWO}.")
    rank, bounds = np.arange(ranks), chunk_bounds(message_byte, ranks)
    found: list[Round] = []
    for distance in (1 << k for k in range(ranks.bit_length() - 1)):
        first = rank - rank % distance
        found += moves(rank, rank ^ distance, bounds[first], bounds[first + distance])
    return found


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of recursive doubling over n ranks, k = floor(log2 n).

    .. math::

        t_{all-reduce} = (k + 2 [n \\ne 2^k]) (\\alpha + S / \\beta), \\quad
        t_{all-gather} = \\sum_{i<k} (\\alpha + S_i / \\beta)

    with S_i the bytes of the first 2^i of n chunks, together about (n-1)/n S. Zero for one rank and for an empty
    message. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: the reduction arithmetic.
    Reference: R. Thakur, R. Rabenseifner and W. Gropp, Optimization of collective communication operations in MPICH,
    2005.
    """
    check_collective("recursive_doubling", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "recursive_doubling", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    depth = floor_log2(n)
    power = n == np.exp2(depth)
    if collective == "all_reduce":
        steps = depth + np.where(power, 0.0, 2.0)
        return np.where(message > 0, time_s(steps, steps * message, latency, rate), 0.0)
    require("recursive_doubling", "ranks", n, power, POWER_OF_TWO)
    q, more = chunk_byte(message, n)
    byte = (n - 1.0) * q
    for k in range(int(depth.max(initial=0.0))):
        byte = byte + np.where(k < depth, np.minimum(2.0**k, more), 0.0)
    return np.where(message > 0, time_s(depth, byte, latency, rate), 0.0)
