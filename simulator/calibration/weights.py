"""How much a measured row counts in a fit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..kernels.optable import Floats


def group_weight(groups: Sequence[object], included: Floats) -> Floats:
    """Weight of a row so that a group of n included rows counts as sqrt(n) do; shape (rows,)."""
    size: dict[object, float] = {}
    for group, inside in zip(groups, included, strict=True):
        size[group] = size.get(group, 0.0) + inside
    return np.array([1.0 / math.sqrt(max(size[group], 1.0)) for group in groups])
