"""Numbers that formulas take: one or an array of them, above zero."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..data import OutcomeError

Floats = NDArray[np.float64]


def above_zero(name: str, value: ArrayLike, *, zero: bool = False) -> NDArray[Any]:
    """The values as an array; raises `OutcomeError` where one is not finite and above 0 (``zero``: or 0)."""
    array = np.asarray(value, dtype=float)
    if not bool(np.all(np.isfinite(array) & ((array > 0.0) | (zero & (array == 0.0))))):
        raise OutcomeError(f"{name} is {value!r}; legal: numbers {'from 0' if zero else 'above 0'}.")
    return array
