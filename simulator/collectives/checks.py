"""What a formula of an exchange is given: finite, in range, whole where it counts something; else one clear line."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from hwmodels.datafile import did_you_mean

from ..kernels.optable import Floats, Ints
from .closed_form import require
from .rounds import CollectiveError


def numbers(where: str, name: str, value: ArrayLike, *, low: float = 0.0, above: bool = False) -> Floats:
    """The value as floats, finite and at least ``low`` (or above it); else `CollectiveError` shows the first bad."""
    array = _floats(where, name, value)
    good = np.isfinite(array) & (array > low if above else array >= low)
    require(where, name, array, good, f"a finite number, {f'above {low:g}' if above else f'at least {low:g}'}")
    return array


def share(where: str, name: str, value: ArrayLike) -> Floats:
    """The value as floats, every one above 0 and at most 1."""
    array = numbers(where, name, value, above=True)
    require(where, name, array, array <= 1.0, "a share, above 0 and at most 1")
    return array


def counts(where: str, name: str, value: ArrayLike, *, low: int = 0) -> Ints:
    """The value as 64-bit integers, every one whole and at least ``low``; nothing is rounded in silence."""
    array = _floats(where, name, value)
    good = (array >= low) & (array == np.floor(array)) & np.isfinite(array)
    require(where, name, array, good, f"a whole number, at least {low}")
    if (array > 2.0**62).any():
        raise CollectiveError(f"{where}: {name} is {array.max():g}; at most 2^62.")
    return np.asarray(np.asarray(value), dtype=np.int64)


def word(where: str, name: str, value: str, legal: Iterable[str]) -> str:
    """The word itself, if it is one of the legal ones."""
    words = tuple(legal)
    if value not in words:
        raise CollectiveError(
            f"{where}: {name} is {value!r}; one of {', '.join(words)}.{did_you_mean(str(value), words)}"
        )
    return value


def _floats(where: str, name: str, value: ArrayLike) -> Floats:
    try:
        return np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError):
        raise CollectiveError(f"{where}: {name} is {value!r}; numbers are needed.") from None


def together(where: str, **arrays: Floats) -> tuple[Floats, ...]:
    """Arrays broadcast to one shape of at least one dimension, writable copies; names them where their shapes clash."""
    try:
        return tuple(np.array(one) for one in np.broadcast_arrays(*map(np.atleast_1d, arrays.values())))
    except ValueError:
        shapes = " and ".join(f"{name} of shape {one.shape}" for name, one in arrays.items())
        raise CollectiveError(f"{where}: {shapes} do not go together.") from None
