"""Recursive halving and doubling: Rabenseifner's reduce-scatter, all-gather and all-reduce, for any number of ranks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, ceil_div, check_collective, check_counts, chunk_byte, floor_log2, time_s
from .recursive_doubling import folded_ranks
from .rounds import Round, chunk_bounds, mirrored, moves

COLLECTIVES: Final = ("reduce_scatter", "all_gather", "all_reduce")


def rounds(collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """Partners at distance n/2, n/4, ... 1 exchange halves of what they still have to reduce; doubling runs backwards.

    Where n is no power of two, r = n - 2^k even ranks hand their whole message to the odd neighbour first and wait. In
    a reduce-scatter the neighbour sums the chunks of both and hands one back at the end; an all-gather is that
    backwards. In an all-reduce, the 2^k ranks that go on share the message in 2^k chunks, and the neighbour hands the
    whole result back.
    """
    check_collective("halving_doubling", collective, COLLECTIVES)
    check_counts("halving_doubling", ranks, message_byte)
    active, extra = folded_ranks(ranks)
    none, full = np.zeros_like(extra), np.full_like(extra, message_byte)
    fold = moves(2 * extra, 2 * extra + 1, none, full, reduces=True)
    if collective == "all_reduce":
        halving = _halving(active, chunk_bounds(message_byte, len(active)))
        return (*fold, *halving, *mirrored(halving, reduces=False), *mirrored(fold, reduces=False))
    bounds = chunk_bounds(message_byte, ranks)
    owned = np.append(np.where(np.arange(len(active)) < len(extra), 2 * np.arange(len(active)), active), ranks)
    back = moves(2 * extra + 1, 2 * extra, bounds[2 * extra], bounds[2 * extra + 1])
    found = [*fold, *_halving(active, bounds[owned]), *back]
    return tuple(found if collective == "reduce_scatter" else mirrored(found, reduces=False))


def _halving(active: Ints, bounds: Ints) -> list[Round]:
    virtual = np.arange(len(active))
    found: list[Round] = []
    for distance in (1 << k for k in reversed(range(len(active).bit_length() - 1))):
        partner = virtual ^ distance
        first = partner - partner % distance  # the half that the partner goes on with
        found += moves(active, active[partner], bounds[first], bounds[first + distance], reduces=True)
    return found


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of recursive halving (and doubling) over n ranks, k = floor(log2 n), r = n - 2^k.

    .. math::

        t_{reduce-scatter} = t_{all-gather} =
          \\sum_{i<k} (\\alpha + B_i / \\beta) + [r>0] (2 \\alpha + (S + \\lceil S/n \\rceil) / \\beta)

        t_{all-reduce} = 2 \\sum_{i<k} (\\alpha + B_i' / \\beta) + 2 [r>0] (\\alpha + S / \\beta)

    with B_i the bytes of the first 2^i + min(2^i, r) of n chunks and B_i' of the first 2^i of 2^k: together
    (1 - 1/2^k) S where n = 2^k. Fewer bytes than chunks need no fewer rounds. Zero for one rank and for an empty
    message. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: the reduction arithmetic.
    References: R. Rabenseifner, Optimization of collective reduction operations, 2004; R. Thakur, R. Rabenseifner and
    W. Gropp, Optimization of collective communication operations in MPICH, 2005.
    """
    check_collective("halving_doubling", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "halving_doubling", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    depth = floor_log2(n)
    size = np.exp2(depth)
    extra = n - size
    whole = collective == "all_reduce"
    q, more = chunk_byte(message, size if whole else n)
    byte = (size - 1.0) * q  # of all rounds but for what uneven chunks and pairs of chunks add
    for k in range(int(depth.max(initial=0.0))):
        doubled = 0.0 if whole else np.minimum(2.0**k, extra)
        byte = byte + np.where(k < depth, q * doubled + np.minimum(2.0**k + doubled, more), 0.0)
    fold = message if whole else 0.5 * (message + ceil_div(message, n))
    time = time_s(depth, byte, latency, rate)
    time = (2.0 if whole else 1.0) * time + np.where(extra > 0, 2.0 * time_s(np.ones(()), fold, latency, rate), 0.0)
    return np.where(message > 0, time, 0.0)
