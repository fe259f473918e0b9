"""One message from one rank to one other; or every rank at once, each to the rank some way further on."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from .closed_form import arrays, check_collective, check_counts, time_s
from .rounds import CollectiveError, Round, moves

COLLECTIVES: Final = ("point_to_point", "permute")


def rounds(
    collective: str,
    ranks: int,
    message_byte: int,
    *,
    source: int = 0,
    target: int | None = None,
    distance: int = 1,
) -> tuple[Round, ...]:
    """One round: rank `source` sends to rank `target` (default: the last), or every rank to the one `distance` on.

    In a permute each rank's message lies at an address of its own, in rank order.
    """
    check_collective("direct", collective, COLLECTIVES)
    check_counts("direct", ranks, message_byte)
    if collective == "permute":
        rank = np.arange(ranks if distance % ranks else 0)
        return tuple(moves(rank, (rank + distance) % ranks, rank * message_byte, (rank + 1) * message_byte))
    target = ranks - 1 if target is None else target
    for name, rank_given in (("source", source), ("target", target)):
        if not 0 <= rank_given < ranks:
            raise CollectiveError(f"direct: {name} is {rank_given}; a rank from 0 to {ranks - 1}.")
    if source == target:
        return ()
    return tuple(moves(np.array([source]), np.array([target]), np.array([0]), np.array([message_byte])))


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of one message between two different ranks, or of one from every rank at once.

    .. math:: t = \\alpha + S / \\beta

    Zero for one rank and for an empty message. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out:
    the hand-shake of large messages, copies, the receiver being late. Reference: R. W. Hockney, The communication
    challenge for MPP, Parallel Computing, 1994.
    """
    check_collective("direct", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "direct", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    return np.where((n > 1) & (message > 0), time_s(np.ones(()), message, latency, rate), 0.0)
