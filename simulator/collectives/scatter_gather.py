"""Broadcast of a long message: a binomial scatter, then a ring all-gather; and the reduce that is its mirror image."""

from __future__ import annotations

from typing import Final

from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from . import binomial, flat_ring
from .closed_form import check_collective, check_counts
from .rounds import Round, mirrored, rooted

COLLECTIVES: Final = ("broadcast", "reduce")


def rounds(collective: str, ranks: int, message_byte: int, *, root: int = 0) -> tuple[Round, ...]:
    """A scatter from `root` and an all-gather among all; a reduce is a reduce-scatter and a gather to `root`."""
    check_collective("scatter_all_gather", collective, COLLECTIVES)
    check_counts("scatter_all_gather", ranks, message_byte)
    down = binomial.rounds("scatter", ranks, message_byte)
    if collective == "broadcast":
        return rooted(down + flat_ring.rounds("all_gather", ranks, message_byte), ranks, root)
    up = flat_ring.rounds("reduce_scatter", ranks, message_byte) + tuple(mirrored(down, reduces=False))
    return rooted(up, ranks, root)


def seconds(
    collective: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> Floats:
    """Time of a broadcast by scatter and all-gather, and of a reduce by reduce-scatter and gather.

    .. math:: t = t_{scatter}^{binomial} + t_{all-gather}^{ring}

    about (log2 n + n - 1) alpha + 2 S / beta. Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out:
    the reduction arithmetic. Reference: M. Barnett et al., Interprocessor collective communication library (InterCom),
    1994.
    """
    check_collective("scatter_all_gather", collective, COLLECTIVES)
    given = {"ranks": ranks, "message_byte": message_byte, "latency_s": latency_s, "byte_per_s": byte_per_s}
    return binomial.seconds("scatter", **given) + flat_ring.seconds("all_gather", **given)
