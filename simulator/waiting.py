"""How much longer the slowest of many replicas takes than they do on average."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy.special import ndtri

from .kernels.optable import Floats, Ints

#: Blom's shift of the ranks: the expected largest of n normal draws is about the normal quantile of
#: (n - shift) / (n + 1 - 2 shift).
_BLOM: Final = 0.375


def slowest_of(replicas: Ints) -> Floats:
    r"""Expected largest of n standard normal draws, in standard deviations; the same shape, 0 for one.

    .. math:: E_n \approx \Phi^{-1}\!\left(\frac{n - 3/8}{n + 1/4}\right)

    0.59, 1.43, 1.77 and 3.2 for 2, 8, 16 and 1,024. Off by 5 % at 2, by less than 1 % from 8 on. Leaves out: replicas
    that are slow together. Reference: Blom, Statistical Estimates and Transformed Beta-Variables, 1958.
    """
    n = np.maximum(np.asarray(replicas, dtype=float), 1.0)
    return np.asarray(ndtri((n - _BLOM) / (n + 1.0 - 2.0 * _BLOM)))
