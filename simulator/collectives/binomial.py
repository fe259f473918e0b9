"""The binomial tree: with every round twice as many ranks have something (or half as many still wait to give it)."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from .closed_form import arrays, ceil_div, ceil_log2, check_collective, check_counts, time_s
from .rounds import Round, chunk_bounds, mirrored, moves, rooted

COLLECTIVES: Final = ("broadcast", "reduce", "scatter", "gather", "all_reduce")


def rounds(collective: str, ranks: int, message_byte: int, *, root: int = 0) -> tuple[Round, ...]:
    """Rounds of the tree below `root`; rank (root + i) mod n is vertex i and owns chunk i of a scatter or gather.

    A broadcast lets vertex v < 2^k send to v + 2^k in round k. A scatter hands vertex v + 2^k the chunks of its whole
    subtree, largest subtree first. Reduce and gather are the same backwards; the all-reduce is a reduce followed by a
    broadcast (the reduction tree of FireCaffe).
    """
    check_collective("binomial", collective, COLLECTIVES)
    check_counts("binomial", ranks, message_byte)
    if collective in ("scatter", "gather"):
        down = _scatter(ranks, message_byte)
        found = down if collective == "scatter" else mirrored(down, reduces=False)
    else:
        down = _broadcast(ranks, message_byte)
        up = mirrored(down, reduces=True)
        found = {"broadcast": down, "reduce": up, "all_reduce": up + down}[collective]
    return rooted(found, ranks, root)


def _broadcast(ranks: int, message_byte: int) -> list[Round]:
    found: list[Round] = []
    for distance in (1 << k for k in range((ranks - 1).bit_length())):
        source = np.arange(min(distance, ranks - distance))
        found += moves(source, source + distance, 0 * source, np.full_like(source, message_byte))
    return found


def _scatter(ranks: int, message_byte: int) -> list[Round]:
    bounds = chunk_bounds(message_byte, ranks)
    found: list[Round] = []
    for distance in (1 << k for k in reversed(range((ranks - 1).bit_length()))):
        target = np.arange(distance, ranks, 2 * distance)
        end = np.minimum(target + distance, ranks)
        found += moves(target - distance, target, bounds[target], bounds[end])
    return found


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time over a binomial tree of n ranks, each with one full-duplex link of the same kind.

    .. math::

        t_{broadcast} = t_{reduce} = t_{all-reduce} / 2 = \\lceil \\log_2 n \\rceil (\\alpha + S / \\beta), \\quad
        t_{scatter} = t_{gather} = \\lceil \\log_2 \\min(n, S) \\rceil \\alpha + (S - \\lceil S/n \\rceil) / \\beta

    Message sizes are whole bytes: where there are fewer bytes than ranks, the ranks without one take no part in a
    scatter. Zero for one rank and for an empty message. Arguments broadcast: counts, [B], [s], [B/s]; returns [s].
    Leaves out: the reduction arithmetic. References: R. Thakur, R. Rabenseifner and W. Gropp, Optimization of
    collective communication operations in MPICH, 2005; F. Iandola et al., FireCaffe, 2016 (the all-reduce).
    """
    check_collective("binomial", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "binomial", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    if collective in ("scatter", "gather"):
        depth = ceil_log2(np.clip(message, 1.0, n))
        time = time_s(depth, message - ceil_div(message, n), latency, rate)
    else:
        depth = ceil_log2(n) * (2.0 if collective == "all_reduce" else 1.0)
        time = time_s(depth, depth * message, latency, rate)
    return np.where((n > 1) & (message > 0), time, 0.0)
