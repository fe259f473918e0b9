"""Recipes of a fixed number of epochs: the error they end at against batch, flat and then rising."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from ..data import OutcomeError
from .arrays import Floats, above_zero


@dataclass(frozen=True, kw_only=True)
class FixedEpochs:
    """One recipe. ``floor_percent``: error of small batches; ``point_batch``: the batch that costs one percentage point
    more; ``exponent`` of the rise; ``spread_percent``: root mean square misfit; ``largest_batch`` that was measured."""

    network: str
    recipe: str
    floor_percent: float
    point_batch: float
    exponent: float
    spread_percent: float
    largest_batch: float
    source: str


def final_error_percent(batch: Floats | float, *, floor_percent: float, point_batch: float, exponent: float) -> Floats:
    """Error at the end of a recipe of fixed epochs.

    .. math:: e(B) = e_0 + (B / B_1)^k \\quad [percent]

    The shape of Figure 3 of Goyal et al. 2017, arXiv:1706.02677; the form is ours. Leaves out: small batches that do
    worse than the floor, and what a recipe made for the batch (LARS, longer warm-up) wins back.
    """
    b = above_zero("batch", batch) / above_zero("point_batch", point_batch)
    return np.asarray(above_zero("floor_percent", floor_percent) + b ** above_zero("exponent", exponent))


def generalisation_gap_percent(recipe: FixedEpochs, batch: float) -> tuple[float, float]:
    """(low, high): percentage points of error above the floor, two misfits around the fitted rise; a range, no promise.

    Raises
    ------
    OutcomeError
        Beyond the largest batch that was measured.
    """
    if float(above_zero("batch", batch)) > recipe.largest_batch:
        raise OutcomeError(
            f"generalisation gap of {recipe.network}: batch {batch:g} is beyond the largest measured; "
            f"legal: up to {recipe.largest_batch:g}."
        )
    rise = float((batch / recipe.point_batch) ** recipe.exponent)
    return max(0.0, rise - 2.0 * recipe.spread_percent), rise + 2.0 * recipe.spread_percent


def fit_fixed_epochs(batch: Floats, error_percent: Floats) -> tuple[float, float, float, float]:
    """(floor, point_batch, exponent, spread) by least squares; the floor is searched below the least error."""
    from scipy.optimize import minimize

    def misfit(packed: Floats) -> float:
        modelled = final_error_percent(
            batch, floor_percent=math.exp(packed[0]), point_batch=math.exp(packed[1]), exponent=math.exp(packed[2])
        )
        return float(np.mean((modelled - error_percent) ** 2))

    start = [math.log(float(np.min(error_percent))), float(np.mean(np.log(batch))), math.log(1.5)]
    found = minimize(misfit, start, method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-8, "fatol": 1e-12})
    floor, point, exponent = np.exp(found.x)
    return float(floor), float(point), float(exponent), math.sqrt(float(found.fun))


@cache
def published_recipes() -> tuple[FixedEpochs, ...]:
    """Every recipe of ``simulator/data/fixed_epochs.csv``, fitted to its own points."""
    text = files("simulator").joinpath("data", "fixed_epochs.csv").read_text(encoding="utf-8")
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for line in csv.DictReader(io.StringIO(text)):
        groups.setdefault((line["network"], line["recipe"]), []).append(line)
    recipes = []
    for (network, recipe), lines in groups.items():
        batch = np.array([float(line["batch"]) for line in lines])
        floor, point, exponent, spread = fit_fixed_epochs(batch, np.array([float(x["error_percent"]) for x in lines]))
        recipes.append(
            FixedEpochs(
                network=network, recipe=recipe, floor_percent=floor, point_batch=point, exponent=exponent,
                spread_percent=spread, largest_batch=float(batch.max()), source=lines[-1]["source"],
            )
        )  # fmt: skip
    return tuple(recipes)
