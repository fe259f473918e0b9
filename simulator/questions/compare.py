"""Two quotes on the same job: which is cheaper, which is sooner, with what probability."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from simulator.outcome.failures import RunError
from simulator.whole_run import WholeRun

_FILE: Final = Path(__file__).parents[1] / "data" / "shared_errors.csv"


@cache
def shared_errors() -> dict[tuple[str, ...], float]:
    """What two runs share -> correlation of their log errors in the shipped record; all else: 0."""
    with _FILE.open(encoding="utf-8", newline="") as lines:
        return {tuple(row["alike"].split()): float(row["correlation"]) for row in csv.DictReader(lines)}


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A against B. Ratios are A / B in the median, with their 80 % interval; None where a price is missing."""

    sooner: float
    time_ratio: tuple[float, float, float]
    cheaper: float | None
    cost_ratio: tuple[float, float, float] | None
    shared: float
    why_shared: str
    sooner_if_apart: float


def shared_variance(a: WholeRun, b: WholeRun) -> tuple[float, str]:
    """Correlation of two predictions' log errors, and what it comes from.

    Taken from pairs of measured runs: the same model on the same chip with the same stack are off by the same amount
    less often than one would think. The same question twice shares all of it.
    """
    if a.job == b.job:
        return 1.0, "the same job on the same chips: the prediction's error cancels"
    same = {
        "model": a.job.workload.name == b.job.workload.name,
        "chip": a.job.context.cluster.chip.id == b.job.context.cluster.chip.id,
        "stack": a.job.context.stack.id == b.job.context.stack.id,
    }
    alike = tuple(what for what, equal in same.items() if equal)
    share = shared_errors().get(alike, 0.0)
    words = ", ".join(alike) or "nothing"
    return share, f"both share {words}: measured pairs alike have {100 * share:.0f} % of their error in common"


def compare(a: WholeRun, b: WholeRun, *, seed: int = 0, draws: int = 20_000) -> Comparison:
    """Draw both runs together.

    .. math:: \\ln T_A = \\ln \\hat T_A + \\sigma_A (\\sqrt\\rho z + \\sqrt{1 - \\rho} z_A) + \\ln X_A

    and B alike with the same z: what two predictions get wrong together moves both. X is the run's own luck with
    failures, drawn apart. Costs are times x chips x price; list prices are taken as certain.
    """
    if draws < 100:
        raise RunError(f"compare: {draws} draws; legal: 100 or more.")
    share, why = shared_variance(a, b)
    times = _times(a, b, share, seed, draws)
    apart = _times(a, b, 0.0, seed, draws)
    rates = [run.price.usd_per_chip_hour for run in (a, b)]
    ratio = times[0] / times[1]
    cost = None
    if rates[0] is not None and rates[1] is not None:
        cost = ratio * (rates[0] * a.job.chips) / (rates[1] * b.job.chips)
    return Comparison(
        sooner=_chance(ratio), time_ratio=_interval(ratio), cheaper=None if cost is None else _chance(cost),
        cost_ratio=None if cost is None else _interval(cost), shared=share, why_shared=why,
        sooner_if_apart=_chance(apart[0] / apart[1]),
    )  # fmt: skip


def _chance(ratio: NDArray[np.float64]) -> float:
    """How often A is below B; half of the ties."""
    return float(np.mean(ratio < 1) + 0.5 * np.mean(ratio == 1))


def _interval(ratio: NDArray[np.float64]) -> tuple[float, float, float]:
    low, middle, high = np.quantile(ratio, (0.1, 0.5, 0.9))
    return float(low), float(middle), float(high)


def _times(
    a: WholeRun, b: WholeRun, share: float, seed: int, draws: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    stream = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, 2))))
    common, *own = stream.standard_normal((3, draws))
    found = []
    for run, alone in zip((a, b), own, strict=True):
        luck = run.draws.time_s[stream.integers(0, run.draws.time_s.size, draws)]
        middle = math.sqrt(run.step_low * run.step_high) / run.step.total_s
        error = run.log_spread * (math.sqrt(share) * common + math.sqrt(1 - share) * alone)
        found.append(luck * middle * np.exp(error))
    return found[0], found[1]
