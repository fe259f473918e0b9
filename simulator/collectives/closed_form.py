"""What the closed forms share: their arguments as arrays, checked, and exact whole-number helpers."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from ..kernels.optable import Floats
from .rounds import Bools, CollectiveError


def arrays(
    where: str, *, ranks: ArrayLike, message_byte: ArrayLike, latency_s: ArrayLike, byte_per_s: ArrayLike
) -> tuple[Floats, Floats, Floats, Floats]:
    """The four arguments of a closed form as float arrays, not yet broadcast; every problem is one clear error."""
    n = whole(where, "ranks", ranks, least=1)
    message = np.asarray(message_byte, np.float64)
    latency, rate = np.asarray(latency_s, np.float64), np.asarray(byte_per_s, np.float64)
    require(where, "message_byte", message, np.isfinite(message) & (message >= 0), "a finite number, at least 0")
    require(
        where, "latency_s", latency, np.isfinite(latency) & (latency >= 0), "a finite number of seconds, at least 0"
    )
    require(where, "byte_per_s", rate, rate > 0, "above 0")
    return n, message, latency, rate


def whole(where: str, name: str, value: ArrayLike, *, least: int) -> Floats:
    """A count as a float array; an error unless it is a whole number of at least `least`."""
    found = np.asarray(value, np.float64)
    require(where, name, found, (found >= least) & (found == np.floor(found)), f"a whole number, at least {least}")
    return found


def require(where: str, name: str, value: Floats, good: Bools | np.bool_, legal: str) -> None:
    """Raise `CollectiveError` that shows the first value that is not good."""
    if not np.all(good):
        first = value[~good].flat[0] if value.ndim else value
        raise CollectiveError(f"{where}: {name} is {first:g}; {legal}.")


def check_collective(where: str, collective: str, legal: Iterable[str]) -> None:
    """Raise `CollectiveError` unless an algorithm runs the collective."""
    if collective not in legal:
        raise CollectiveError(f"{where}: no {collective!r}; it runs {', '.join(legal)}.")


def check_counts(where: str, ranks: int, message_byte: int) -> None:
    """Raise `CollectiveError` unless the rounds of so many ranks and bytes can be written down."""
    if isinstance(ranks, bool) or not isinstance(ranks, int | np.integer) or ranks < 1:
        raise CollectiveError(f"{where}: ranks is {ranks!r}; a whole number, at least 1.")
    if isinstance(message_byte, bool) or not isinstance(message_byte, int | np.integer) or message_byte < 0:
        raise CollectiveError(f"{where}: message_byte is {message_byte!r}; a whole number of bytes, at least 0.")


def ceil_log2(n: Floats) -> Floats:
    """Smallest k with 2^k >= n, exactly, for whole n >= 1."""
    return np.frexp(n - 1.0)[1].astype(np.float64)


def floor_log2(n: Floats) -> Floats:
    """Largest k with 2^k <= n, exactly, for whole n >= 1."""
    return np.frexp(n)[1] - 1.0


def ceil_div(a: Floats, b: Floats) -> Floats:
    """a / b rounded up; exact for whole a below 2^52."""
    return np.ceil(a / b)


def chunk_byte(message: Floats, parts: Floats) -> tuple[Floats, Floats]:
    """q, m: the first m of `parts` chunks hold q + 1 bytes, the others q (`rounds.chunk_bounds`). [B], count"""
    q = np.floor(message / parts)
    return q, message - q * parts


def time_s(rounds: Floats, byte: Floats, latency: Floats, rate: Floats) -> Floats:
    """Rounds of one latency each, and the bytes of the largest transfer of every round one after another. [s]

    .. math:: t = r \\alpha + B / \\beta
    """
    return np.asarray(rounds * latency + byte / rate)


def best_chunks(fill: Floats, *, message: Floats, latency: Floats, rate: Floats, most: Floats) -> Floats:
    """Chunks C with the least (C + f)(alpha + S / (C beta)): where starts and filling the pipeline balance.

    .. math:: C = \\sqrt{f S / (\\alpha \\beta)}

    rounded, at least 1 and at most `most`. Leaves out that chunks are whole bytes.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        best = np.sqrt(np.maximum(fill, 0.0) * message / (latency * rate))
    return np.asarray(np.clip(np.rint(np.nan_to_num(best, nan=1.0, posinf=np.inf)), 1.0, np.maximum(most, 1.0)))
