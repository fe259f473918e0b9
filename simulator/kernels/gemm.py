"""Shapes of matrix products as arrays, shared by the models of every kind of unit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .optable import Floats


@dataclass(frozen=True, kw_only=True)
class GemmShapes:
    """``batch`` products C[m, n] = A[m, k] B[k, n] each; every array has shape (rows,).

    ``a_along_k`` and ``b_along_k`` are 1 where the elements of an operand that follow each other in memory lie along k,
    0 where they lie along m or n. None: rows of A, B and C are contiguous, so that A lies along k and B does not.

    ``a_share`` and ``b_share``: distinct elements of an operand against its extents. Patches of an image repeat each
    pixel under every tap of a kernel, and memory holds the image alone. None: all are distinct.
    """

    batch: Floats
    m: Floats
    n: Floats
    k: Floats
    a_along_k: Floats | None = None
    b_along_k: Floats | None = None
    a_share: Floats | None = None
    b_share: Floats | None = None

    @property
    def rows(self) -> int:
        """Number of kernels."""
        return len(self.m)

    @property
    def a_layout(self) -> Floats:
        """1 where A lies along k, else 0."""
        return np.ones(self.rows) if self.a_along_k is None else self.a_along_k

    @property
    def b_layout(self) -> Floats:
        """1 where B lies along k, else 0."""
        return np.zeros(self.rows) if self.b_along_k is None else self.b_along_k

    @property
    def a_elements(self) -> Floats:
        """Distinct elements of one A."""
        return np.asarray(self.m * self.k * (1.0 if self.a_share is None else self.a_share))

    @property
    def b_elements(self) -> Floats:
        """Distinct elements of one B."""
        return np.asarray(self.k * self.n * (1.0 if self.b_share is None else self.b_share))

    @property
    def flop(self) -> Floats:
        """Work of the products [FLOP]."""
        return np.asarray(2.0 * self.batch * self.m * self.n * self.k)

    def take(self, rows: NDArray[np.bool_] | NDArray[np.int64]) -> GemmShapes:
        """Some of the products."""
        return GemmShapes(
            batch=self.batch[rows],
            m=self.m[rows],
            n=self.n[rows],
            k=self.k[rows],
            a_along_k=None if self.a_along_k is None else self.a_along_k[rows],
            b_along_k=None if self.b_along_k is None else self.b_along_k[rows],
            a_share=None if self.a_share is None else self.a_share[rows],
            b_share=None if self.b_share is None else self.b_share[rows],
        )
