"""The pipelined chain: chunks follow one another down a line of ranks."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from . import closed_form
from .closed_form import arrays, ceil_div, check_collective, check_counts, time_s, whole
from .rounds import Round, chunk_bounds, mirrored, moves, rooted

COLLECTIVES: Final = ("broadcast", "reduce", "all_reduce")
#: Chunks where none are asked for.
CHUNKS: Final = 16


def rounds(collective: str, ranks: int, message_byte: int, *, chunks: int = CHUNKS, root: int = 0) -> tuple[Round, ...]:
    """Rank root + i hands chunk c to rank root + i + 1 in round i + c; a reduce runs backwards, towards the root.

    The all-reduce is a reduce followed by a broadcast. There are no more chunks than bytes.
    """
    check_collective("chain", collective, COLLECTIVES)
    check_counts("chain", ranks, message_byte)
    whole("chain", "chunks", chunks, least=1)
    chunks = max(1, min(int(chunks), message_byte))
    bounds = chunk_bounds(message_byte, chunks)
    down: list[Round] = []
    for step in range(ranks - 2 + chunks if ranks > 1 else 0):
        hop = np.arange(max(0, step - chunks + 1), min(ranks - 1, step + 1))
        down += moves(hop, hop + 1, bounds[step - hop], bounds[step - hop + 1])
    up = mirrored(down, reduces=True)
    return rooted({"broadcast": down, "reduce": up, "all_reduce": up + down}[collective], ranks, root)


def seconds(
    collective: str,
    *,
    ranks: ArrayLike,
    message_byte: ArrayLike,
    latency_s: ArrayLike,
    byte_per_s: ArrayLike,
    chunks: ArrayLike = CHUNKS,
) -> Floats:
    """Time of a message in C chunks down a chain of n ranks.

    .. math:: t = (n - 2 + C) \\alpha + (S + (n - 2) \\lceil S / C \\rceil) / \\beta

    and twice that for an all-reduce. A round with chunks of two sizes takes as long as the larger: those come first, so
    that they decide every round until the last of them has arrived. Zero for one rank and for an empty message.
    Arguments broadcast: counts, [B], [s], [B/s]; returns [s]. Leaves out: the reduction arithmetic. Reference: R. van
    de Geijn and J. Watts, SUMMA, 1997 (the pipelined ring broadcast).
    """
    check_collective("chain", collective, COLLECTIVES)
    n, message, latency, rate = arrays(
        "chain", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    parts = np.maximum(1.0, np.minimum(whole("chain", "chunks", chunks, least=1), message))
    time = time_s(n - 2.0 + parts, message + (n - 2.0) * ceil_div(message, parts), latency, rate)
    return np.where((n > 1) & (message > 0), time * (2.0 if collective == "all_reduce" else 1.0), 0.0)


def best_chunks(*, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike) -> Floats:
    """Chunks with the least time, where latency and filling the chain balance.

    .. math:: C = \\sqrt{(n - 2) S / (\\alpha \\beta)}

    rounded, at least 1 and at most one for each byte.
    """
    n, message, latency, rate = arrays(
        "chain", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=byte_per_s
    )
    return closed_form.best_chunks(n - 2.0, message=message, latency=latency, rate=rate, most=message)
