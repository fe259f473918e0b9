"""The ring: every rank sends to the next and receives from the one before, a chunk at a time."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from .closed_form import arrays, ceil_div, check_collective, check_counts, time_s
from .rounds import Round, chunk_bounds, moves

#: Each with how often the ring goes round.
COLLECTIVES: Final = {"reduce_scatter": 1.0, "all_gather": 1.0, "all_reduce": 2.0}


def rounds(collective: str, ranks: int, message_byte: int) -> tuple[Round, ...]:
    """n - 1 rounds of n transfers, twice that for an all-reduce; rank r owns chunk r of n.

    In round s of the reduce-scatter rank r adds chunk (r - 1 - s) mod n to that of rank r + 1, in round s of the
    all-gather it hands on chunk (r - s) mod n.
    """
    check_collective("ring", collective, COLLECTIVES)
    check_counts("ring", ranks, message_byte)
    found: list[Round] = []
    if collective != "all_gather":
        found += _round_trip(ranks, message_byte, first=-1, reduces=True)
    if collective != "reduce_scatter":
        found += _round_trip(ranks, message_byte, first=0, reduces=False)
    return tuple(found)


def _round_trip(ranks: int, message_byte: int, *, first: int, reduces: bool) -> list[Round]:
    rank = np.arange(ranks)
    following = (rank + 1) % ranks
    bounds = chunk_bounds(message_byte, ranks)
    found: list[Round] = []
    for step in range(ranks - 1):
        chunk = (rank + first - step) % ranks
        found += moves(rank, following, bounds[chunk], bounds[chunk + 1], reduces=reduces)
    return found


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of a ring of n ranks, each of which sends and receives at once at the full rate.

    .. math:: t = p (n - 1) (\\alpha + \\lceil S / n \\rceil / \\beta)

    with p = 2 for an all-reduce and 1 for a reduce-scatter or an all-gather. Zero for one rank and for an empty
    message. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: the reduction arithmetic, other
    traffic. Reference: P. Patarasuk and X. Yuan, Bandwidth optimal all-reduce algorithms for clusters of workstations,
    2009.
    """
    check_collective("ring", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "ring", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    steps = COLLECTIVES[collective] * (n - 1.0)
    return np.where(message > 0, time_s(steps, steps * ceil_div(message, n), latency, rate), 0.0)
