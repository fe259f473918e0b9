"""Bruck's algorithms: logarithmic rounds for any number of ranks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, ceil_log2, check_collective, check_counts, chunk_byte, time_s
from .rounds import Pieces, Round, chunk_bounds, gathered_moves

COLLECTIVES: Final = ("all_gather", "all_to_all")


def rounds(collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """ceil(log2 n) rounds of n transfers.

    All-gather: rank r, which owns chunk r, sends its first min(2^k, n - 2^k) chunks, r, r + 1, ... (mod n), to rank
    r - 2^k. All-to-all: a block for the rank d further on travels the distances of the binary digits of d, lowest
    first; chunk d of a rank's message is that block (chunk 0 stays).
    """
    check_collective("bruck", collective, COLLECTIVES)
    check_counts("bruck", ranks, message_byte)
    one = _gather_round if collective == "all_gather" else _exchange_round
    rank, bounds = np.arange(ranks), chunk_bounds(message_byte, ranks)
    found: list[Round] = []
    for distance in (1 << k for k in range((ranks - 1).bit_length())):
        found += one(rank, bounds, distance)
    return tuple(found)


def _gather_round(rank: Ints, bounds: Ints, distance: int) -> list[Round]:
    n, total = len(rank), bounds[-1]
    last = rank + min(distance, n - distance)
    over = last > n  # the range goes on at the beginning of the tensor
    pieces = Pieces(
        transfer=np.concatenate([rank, rank[over]]),
        first_byte=np.concatenate([bounds[rank], np.zeros(over.sum(), np.int64)]),
        byte=np.concatenate(
            [np.where(over, total, bounds[np.minimum(last, n)]) - bounds[rank], bounds[last[over] - n]]
        ),
        reduces=np.zeros(n + over.sum(), bool),
    )
    return gathered_moves(rank, (rank - distance) % n, pieces)


def _exchange_round(rank: Ints, bounds: Ints, distance: int) -> list[Round]:
    n = len(rank)
    offset = np.arange(n)[np.arange(n) & distance > 0]  # of the blocks that move now
    at, block = (part.ravel() for part in np.meshgrid(rank, offset, indexing="ij"))
    origin = (at - block % distance) % n  # lower digits have been travelled
    pieces = Pieces(
        transfer=at,
        first_byte=origin * bounds[-1] + bounds[block],
        byte=bounds[block + 1] - bounds[block],
        reduces=np.zeros(len(at), bool),
    )
    return gathered_moves(rank, (rank + distance) % n, pieces)


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of Bruck's all-gather or all-to-all over n ranks.

    .. math::

        t_{all-gather} = \\sum_{k} (\\alpha + B_k / \\beta), \\quad
        t_{all-to-all} = \\lceil \\log_2 n \\rceil \\alpha + \\frac{1}{\\beta} \\sum_{d=1}^{n-1} b(d) s_d

    with B_k the bytes of the first min(2^k, n - 2^k) chunks, b(d) the number of ones in the binary digits of d and s_d
    the bytes of chunk d: about (n-1)/n S, and S/2 log2 n. Chunks without a byte do not travel (the second depth is that
    of min(n, S) ranks). Zero for one rank and for an empty message. Arguments broadcast: counts, [B], [s], [B/s];
    returns [s]. Leaves out: the local rotations. Reference: J. Bruck et al., Efficient algorithms for all-to-all
    communications in multiport message-passing systems, 1997.
    """
    check_collective("bruck", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "bruck", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    q, more = chunk_byte(message, n)
    byte = np.zeros(np.broadcast_shapes(n.shape, message.shape))
    exchange = collective == "all_to_all"
    for k in range(int(ceil_log2(n).max(initial=0.0))):
        bit = 2.0**k
        if exchange:
            byte += q * _with_bit(n, bit) + _with_bit(np.minimum(more, n), bit)
        else:
            count = np.clip(n - bit, 0.0, bit)
            byte += q * count + np.minimum(count, more)
    depth = ceil_log2(np.clip(message, 1.0, n)) if exchange else ceil_log2(n)
    return np.where((n > 1) & (message > 0), time_s(depth, byte, latency, rate), 0.0)


def _with_bit(below: Floats, bit: float) -> Floats:
    """How many of 0 .. below - 1 have a binary digit set."""
    periods = np.floor(below / (2.0 * bit))
    return bit * periods + np.maximum(below - 2.0 * bit * periods - bit, 0.0)
