"""What an algorithm puts on the wires: rounds of transfers, in whole bytes, and which bytes of the tensor they move.

Rounds run one after another; the transfers of one round start together. Nothing here knows a rate or a second.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..kernels.optable import Ints

Bools = NDArray[np.bool_]


class CollectiveError(InputError):
    """A collective that cannot be run as asked."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Pieces:
    """Which bytes the transfers of a round move; every array has shape (P,).

    Piece p belongs to transfer `transfer[p]` of its round and moves `byte[p]` bytes [B] from address `first_byte[p]` of
    the sender's buffer to the same address of the receiver's, where it is added to what is there (`reduces[p]`) or
    replaces it. The addresses are those of the tensor; in an all-to-all, where each rank holds a message of its own, of
    all messages one after another in rank order.
    """

    transfer: Ints
    first_byte: Ints
    byte: Ints
    reduces: Bools


@dataclass(frozen=True, kw_only=True, eq=False)
class Round:
    """Transfers that start together; every array has shape (T,).

    Parameters
    ----------
    source, target
        Ranks; no rank sends to itself.
    byte
        Whole bytes of each transfer. [B]
    repeat
        How often the round runs, back to back.
    pieces
        What is moved, where the algorithm says so; rounds with a `repeat` above 1 have none.
    """

    source: Ints
    target: Ints
    byte: Ints
    repeat: int = 1
    pieces: Pieces | None = None

    def __post_init__(self) -> None:
        for name in ("source", "target", "byte"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), np.int64))
        if not (self.source.ndim == 1 and self.source.shape == self.target.shape == self.byte.shape):
            raise CollectiveError(
                f"Round: source, target and byte have shapes {self.source.shape}, {self.target.shape} and "
                f"{self.byte.shape}; one entry per transfer in each."
            )
        if self.repeat < 1:
            raise CollectiveError(f"Round: repeat is {self.repeat}; at least 1.")
        if len(self.byte) and int(self.byte.min()) < 0:
            raise CollectiveError(f"Round: a transfer has {int(self.byte.min())} bytes; at least 0.")
        if (self.source == self.target).any():
            rank = int(self.source[self.source == self.target][0])
            raise CollectiveError(f"Round: rank {rank} sends to itself; a transfer joins two ranks.")


def chunk_bounds(message_byte: int, parts: int) -> Ints:
    """Where the chunks of a tensor begin and end: chunk i is [bounds[i], bounds[i + 1]); shape (parts + 1,). [B]

    With q, m = divmod(message_byte, parts), the first m chunks hold q + 1 bytes and the others q, so that sums are
    exact and no chunk before another is smaller.
    """
    index = np.arange(parts + 1, dtype=np.int64)
    whole, more = divmod(message_byte, parts)
    return index * whole + np.minimum(index, more)


def moves(source: Ints, target: Ints, first_byte: Ints, end_byte: Ints, *, reduces: bool = False) -> list[Round]:
    """One round in which each source sends its range of the tensor to its target; none where all ranges are empty.

    Empty transfers are left out: a library does not send what is not there.
    """
    byte = end_byte - first_byte
    if not byte.all():
        some = byte > 0
        source, target, first_byte, byte = source[some], target[some], first_byte[some], byte[some]
    if not len(byte):
        return []
    flags = np.full(len(byte), reduces)
    pieces = Pieces(transfer=np.arange(len(byte)), first_byte=first_byte, byte=byte, reduces=flags)
    return [Round(source=source, target=target, byte=byte, pieces=pieces)]


def gathered_moves(source: Ints, target: Ints, pieces: Pieces) -> list[Round]:
    """One round whose transfers are made of several ranges each; empty pieces and transfers are left out."""
    byte = np.bincount(pieces.transfer, pieces.byte, minlength=len(source)).astype(np.int64)
    kept = byte > 0
    if not kept.any():
        return []
    number = np.cumsum(kept) - 1  # new index of a transfer
    some = pieces.byte > 0
    pieces = Pieces(
        transfer=number[pieces.transfer[some]],
        first_byte=pieces.first_byte[some],
        byte=pieces.byte[some],
        reduces=pieces.reduces[some],
    )
    return [Round(source=source[kept], target=target[kept], byte=byte[kept], pieces=pieces)]


def mirrored(rounds: Sequence[Round], *, reduces: bool) -> list[Round]:
    """The same rounds run backwards, each transfer the other way: a broadcast becomes a reduce, and so on."""
    found = []
    for one in reversed(rounds):
        pieces = one.pieces and replace(one.pieces, reduces=np.full(len(one.pieces.byte), reduces))
        found.append(replace(one, source=one.target, target=one.source, pieces=pieces))
    return found


def placed(rounds: Iterable[Round], ranks: Ints, first_byte: int = 0) -> list[Round]:
    """The same rounds with rank i played by `ranks[i]`, on the part of a tensor that starts at `first_byte`."""
    ranks = np.asarray(ranks, np.int64)
    found = []
    for one in rounds:
        pieces = one.pieces and replace(one.pieces, first_byte=one.pieces.first_byte + first_byte)
        found.append(replace(one, source=ranks[one.source], target=ranks[one.target], pieces=pieces))
    return found


def rooted(rounds: Iterable[Round], ranks: int, root: int) -> tuple[Round, ...]:
    """The same rounds with the root, rank 0 of the pattern, at `root` and the others after it in rank order."""
    if not 0 <= root < ranks:
        raise CollectiveError(f"root is {root}; a rank from 0 to {ranks - 1}.")
    return tuple(rounds) if root == 0 else tuple(placed(rounds, (np.arange(ranks) + root) % ranks))


def merged(concurrent: Iterable[Sequence[Round]]) -> list[Round]:
    """Several sequences of rounds side by side: their first rounds are one round, then their second ones, ..."""
    return [_joined([one for one in layer if one is not None]) for layer in zip_longest(*concurrent)]


def _joined(layer: list[Round]) -> Round:
    if len(layer) == 1:
        return layer[0]
    if any(one.repeat > 1 for one in layer):
        raise CollectiveError("merged: a round repeats; only single rounds run side by side.")
    source, target, byte = (np.concatenate([getattr(one, f) for one in layer]) for f in ("source", "target", "byte"))
    parts = [one.pieces for one in layer]
    if any(part is None for part in parts):
        return Round(source=source, target=target, byte=byte)
    known = [part for part in parts if part is not None]
    starts = np.cumsum([0, *(len(one.byte) for one in layer[:-1])])
    pieces = Pieces(
        transfer=np.concatenate([part.transfer + start for part, start in zip(known, starts, strict=True)]),
        first_byte=np.concatenate([part.first_byte for part in known]),
        byte=np.concatenate([part.byte for part in known]),
        reduces=np.concatenate([part.reduces for part in known]),
    )
    return Round(source=source, target=target, byte=byte, pieces=pieces)


def folded(rounds: Iterable[Round]) -> tuple[Round, ...]:
    """Neighbouring rounds with the same transfers as one round that repeats; what they move is forgotten."""
    found: list[Round] = []
    for one in rounds:
        if found and all(np.array_equal(getattr(found[-1], f), getattr(one, f)) for f in ("source", "target", "byte")):
            found[-1] = replace(found[-1], repeat=found[-1].repeat + one.repeat)
        else:
            found.append(replace(one, pieces=None))
    return tuple(found)


def sent_byte(rounds: Iterable[Round], ranks: int) -> Ints:
    """Bytes that each rank sends, shape (ranks,). [B]"""
    return _volume(rounds, ranks, "source")


def received_byte(rounds: Iterable[Round], ranks: int) -> Ints:
    """Bytes that each rank receives, shape (ranks,). [B]"""
    return _volume(rounds, ranks, "target")


def _volume(rounds: Iterable[Round], ranks: int, end: str) -> Ints:
    total = np.zeros(ranks, np.int64)
    for one in rounds:
        np.add.at(total, getattr(one, end), one.byte * one.repeat)
    return total
