"""The dissemination barrier: after ceil(log2 n) rounds every rank has heard of every other."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from .closed_form import arrays, ceil_log2, check_collective, check_counts, time_s
from .rounds import Round

COLLECTIVES: Final = ("barrier",)


def rounds(collective: str, ranks: int, message_byte: int = 0) -> tuple[Round, ...]:
    """In round k every rank signals to the rank 2^k further on, with `message_byte` bytes: none but the envelope."""
    check_collective("dissemination", collective, COLLECTIVES)
    check_counts("dissemination", ranks, message_byte)
    rank = np.arange(ranks)
    byte = np.full(ranks, message_byte)
    return tuple(
        Round(source=rank, target=(rank + (1 << k)) % ranks, byte=byte) for k in range((ranks - 1).bit_length())
    )


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike = 0.0,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike = np.inf,
) -> Floats:
    """Time until every one of n ranks knows that all have arrived.

    .. math:: t = \\lceil \\log_2 n \\rceil (\\alpha + S / \\beta)

    with S the bytes of a signal, as a rule 0. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out:
    that the last rank may be late. Reference: D. Hensgen, R. Finkel and U. Manber, Two algorithms for barrier
    synchronization, 1988.
    """
    check_collective("dissemination", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "dissemination", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    depth = ceil_log2(n)
    return time_s(depth, depth * message, latency, rate)
