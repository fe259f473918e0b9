"""Run an algorithm's rounds on real buffers: does every rank end up with what the collective promises?"""

from __future__ import annotations

from collections.abc import Iterable

from ..kernels.optable import Ints
from .rounds import Bools, CollectiveError, Round


def replay(rounds: Iterable[Round], value: Ints, held: Bools) -> tuple[Ints, Bools]:
    """Move data as the rounds say; all transfers of a round read before any of them writes.

    Parameters
    ----------
    value
        One number for each byte of each rank's buffer, shape (ranks, bytes); sums are taken number by number.
    held
        Which of them a rank has at the start, same shape.

    Returns
    -------
    value and held at the end; the arguments are not changed.

    Raises
    ------
    CollectiveError
        If a round does not say which bytes move, moves bytes that its sender does not hold, or adds to bytes that the
        receiver does not hold.
    """
    value, held = value.copy(), held.copy()
    for number, one in enumerate(rounds):
        if one.pieces is None:
            raise CollectiveError(f"replay: round {number} does not say which bytes it moves.")
        arrived = []
        pieces = one.pieces
        for transfer, first, byte, reduces in zip(
            pieces.transfer, pieces.first_byte, pieces.byte, pieces.reduces, strict=True
        ):
            source, target, span = one.source[transfer], one.target[transfer], slice(first, first + byte)
            if not held[source, span].all():
                raise CollectiveError(f"replay: round {number}: rank {source} sends bytes that it does not hold.")
            arrived.append((target, span, value[source, span].copy(), reduces))
        for target, span, data, reduces in arrived:
            if not reduces:
                value[target, span] = data
            elif held[target, span].all():
                value[target, span] += data
            else:
                raise CollectiveError(f"replay: round {number}: rank {target} adds to bytes that it does not hold.")
            held[target, span] = True
    return value, held
