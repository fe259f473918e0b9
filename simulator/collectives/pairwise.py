"""Pairwise exchange: in round k every rank sends to the rank k further on and receives from the rank k before it."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..kernels.optable import Floats, Ints
from .closed_form import arrays, ceil_div, check_collective, check_counts, time_s
from .rounds import CollectiveError, Round, chunk_bounds, moves

COLLECTIVES: Final = ("all_to_all",)


def rounds(collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """n - 1 rounds of n transfers; chunk d of a rank's message is for the rank d further on (chunk 0 stays)."""
    check_collective("pairwise", collective, COLLECTIVES)
    check_counts("pairwise", ranks, message_byte)
    rank, bounds = np.arange(ranks), chunk_bounds(message_byte, ranks)
    found: list[Round] = []
    for distance in range(1, ranks):
        start = rank * message_byte
        found += moves(rank, (rank + distance) % ranks, start + bounds[distance], start + bounds[distance + 1])
    return tuple(found)


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of an all-to-all in which each of n ranks holds S bytes, 1/n of them for each rank.

    .. math:: t = (\\min(n, S) - 1) \\alpha + (S - \\lceil S / n \\rceil) / \\beta

    Message sizes are whole bytes: chunks without a byte do not travel. Zero for one rank and for an empty message.
    Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: contention in the network. Reference: R.
    Thakur, R. Rabenseifner and W. Gropp, Optimization of collective communication operations in MPICH, 2005.
    """
    check_collective("pairwise", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "pairwise", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    steps = np.clip(message, 1.0, n) - 1.0
    return np.where((n > 1) & (message > 0), time_s(steps, message - ceil_div(message, n), latency, rate), 0.0)


def ragged_rounds(byte: NDArray[np.int64]) -> tuple[Round, ...]:
    """The rounds of an all-to-all in which rank i has `byte[i, j]` bytes for rank j.

    Rounds with nothing to send are left out. The diagonal stays where it is. Addresses of pieces run over the matrix
    row by row.
    """
    matrix = _matrix(np.asarray(byte))
    if matrix.ndim != 2 or matrix.dtype.kind not in "iu":
        raise CollectiveError(
            f"pairwise: byte has shape {matrix.shape} and type {matrix.dtype}; one square matrix of whole bytes."
        )
    n = len(matrix)
    end = np.cumsum(matrix.ravel(), dtype=np.int64).reshape(n, n)
    rank: Ints = np.arange(n)
    found: list[Round] = []
    for distance in range(1, n):
        target = (rank + distance) % n
        found += moves(rank, target, (end - matrix)[rank, target], end[rank, target])
    return tuple(found)


def ragged_seconds(byte: ArrayLike, *, latency_s: ArrayLike, byte_per_s: ArrayLike) -> Floats:
    """Time of an all-to-all whose ranks have different amounts for one another (experts that are not evenly liked).

    .. math:: t = \\sum_{k=1}^{n-1} ([m_k > 0] \\alpha + m_k / \\beta), \\quad m_k = \\max_i b_{i, (i + k) \\bmod n}

    Parameters
    ----------
    byte
        b, shape (..., n, n): what rank i has for rank j. [B]
    latency_s, byte_per_s
        Broadcast against the leading shape. [s], [B/s]

    Returns
    -------
    Seconds, of the leading shape. Every round waits for its largest transfer; the largest row or column sum / beta is
    a lower bound of any schedule. Leaves out: contention in the network.
    """
    matrix = _matrix(np.asarray(byte))
    n = matrix.shape[-1]
    _, _, latency, rate = arrays(
        "pairwise", ranks=1, message_byte=0.0 * matrix.min(initial=0), latency_s=latency_s, byte_per_s=byte_per_s
    )
    rank = np.arange(n)
    target = (rank[:, None] + np.arange(1, n)) % n  # (rank, round)
    largest = matrix[..., rank[:, None], target].max(axis=-2, initial=0).astype(np.float64)
    return time_s((largest > 0).sum(axis=-1), largest.sum(axis=-1), latency, rate)


def _matrix(byte: NDArray[np.int64]) -> NDArray[np.int64]:
    if byte.ndim < 2 or byte.shape[-1] != byte.shape[-2] or byte.shape[-1] < 1:
        raise CollectiveError(f"pairwise: byte has shape {byte.shape}; (..., n, n), from rank by to rank.")
    if not (np.isfinite(byte).all() and byte.min(initial=0) >= 0):
        raise CollectiveError("pairwise: byte has an entry that is negative or not finite; at least 0 bytes each.")
    return byte
