"""Distinct rows of columns: what is priced once for many strategies that share it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from .kernels.optable import Ints

#: The 64-bit golden ratio, odd; its powers are the factors (Knuth, The Art of Computer Programming 3, section 6.4).
_ODD: Final = 0x9E3779B97F4A7C15


def distinct_rows(columns: Iterable[Ints]) -> tuple[Ints, Ints]:
    """One row of each kind, and for every row the place of its kind among them: (first, kind); shapes (K,), (S,).

    ``column[first][kind] == column`` for every column. Rows are told apart by a 64-bit sum of their numbers times odd
    constants, which sorts many times as fast as the rows themselves; where two rows share a sum they are sorted.
    """
    table = np.stack([np.asarray(column, dtype=np.int64) for column in columns], axis=1)
    if not len(table):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    factors = np.full(table.shape[1], _ODD, np.uint64).cumprod(dtype=np.uint64)
    mark = (table.view(np.uint64) * factors).sum(axis=1, dtype=np.uint64)
    _, first, kind = np.unique(mark, return_index=True, return_inverse=True)
    kind = kind.reshape(-1)
    if not np.array_equal(table[first[kind]], table):
        _, first, kind = np.unique(table, axis=0, return_index=True, return_inverse=True)
        kind = kind.reshape(-1)
    return first.astype(np.int64), kind.astype(np.int64)
