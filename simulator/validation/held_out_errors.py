"""How far off held-out predictions of one class of rows were, for kernels and collectives alike."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from ..deviations_file import HeldOutErrors
from .runs import weighted_quantile

GroupT = TypeVar("GroupT", bound=Hashable)


def held_out_errors(
    error: Mapping[int, float], base: Mapping[int, float], groups: Mapping[GroupT, Sequence[int]], *,
    spread: Mapping[int, float], ordinary: float,
) -> HeldOutErrors:  # fmt: skip
    """The errors of one class of rows and the quantiles that intervals come from.

    Parameters
    ----------
    error, base
        ln(predicted / measured) of the model and of its yardstick, by row index.
    groups
        The rows of each group; a row weighs 1 / sqrt(rows of its group) in the quantiles.
    spread
        The spread of each row's owner, above 0; its error over that is what the quantiles are of.
    ordinary
        The mean square error of an ordinary owner.
    """
    size_of = {i: len(members) for members in groups.values() for i in members}
    weight = np.array([1.0 / math.sqrt(size_of[i]) for i in error])
    scaled = np.array([-error[i] / spread[i] for i in error])
    return HeldOutErrors(
        rows=len(error), groups=len(groups), macro=_macro(error, groups),
        mean=float(np.mean(np.abs(list(error.values())))), median=float(np.median(np.abs(list(error.values())))),
        baseline_macro=_macro(base, groups), baseline_median=float(np.median(np.abs(list(base.values())))),
        spread=math.sqrt(ordinary),
        low=weighted_quantile(scaled, weight, 0.1), high=weighted_quantile(scaled, weight, 0.9),
    )  # fmt: skip


def _macro(error: Mapping[int, float], groups: Mapping[GroupT, Sequence[int]]) -> float:
    return float(np.mean([np.mean([abs(error[i]) for i in members]) for members in groups.values()]))
