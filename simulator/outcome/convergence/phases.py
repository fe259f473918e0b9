"""Runs in phases: batches, image sizes and critical batches that change in training; their samples and steps add."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data import OutcomeError
from .arrays import Floats, above_zero


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training at one batch. ``image_size`` 0: the model's own."""

    samples: float
    batch: int
    image_size: int = 0

    def __post_init__(self) -> None:
        above_zero("Phase: samples", self.samples)
        above_zero("Phase: batch", self.batch)

    @property
    def steps(self) -> int:
        """Steps of the phase, the last one perhaps in part."""
        return math.ceil(round(self.samples / self.batch, 9))


def total_samples(phases: Sequence[Phase]) -> float:
    """Samples of all phases."""
    return math.fsum(phase.samples for phase in phases)


def total_steps(phases: Sequence[Phase]) -> int:
    """Steps of all phases."""
    return sum(phase.steps for phase in phases)


def total_s(phases: Sequence[Phase], step_s: Sequence[float]) -> float:
    """Seconds of all phases, each at a step time of its own.

    .. math:: T = \\sum_p \\lceil E_p / B_p \\rceil \\, t_p

    Leaves out: what is paid between phases (another data pipeline, compilation anew).
    """
    if len(step_s) != len(phases):
        raise OutcomeError(f"phases: {len(step_s)} step times for {len(phases)} phases; legal: one for each.")
    return math.fsum(phase.steps * float(above_zero("step_s", t)) for phase, t in zip(phases, step_s, strict=True))


def constant_batch(phases: Sequence[Phase]) -> float:
    """The batch that takes as many steps for the same samples: sum(E) / sum(E / B), their harmonic mean."""
    return total_samples(phases) / math.fsum(phase.samples / phase.batch for phase in phases)


def scheduled_samples(
    least_samples: float, critical_batch: Floats | Sequence[float], batch: Floats | Sequence[float] | float
) -> tuple[float, float]:
    """(samples, steps) where the critical batch changes in training.

    .. math:: E = \\sum_i \\frac{E_{min}}{n} (1 + B_i / c_i), \\qquad S = \\sum_i \\frac{E_{min}}{n B_i} (1 + B_i / c_i)

    ``critical_batch``: c in n equal shares of the progress to the target; ``batch``: one for all or one for each. Of
    all schedules with the same samples, those with B / sqrt(c) level take the fewest steps (McCandlish et al. 2018,
    arXiv:1812.06162, appendix D). Leaves out: that a schedule changes the way it takes.
    """
    c = above_zero("critical_batch", critical_batch)
    b = np.broadcast_to(above_zero("batch", batch), c.shape)
    each = float(above_zero("least_samples", least_samples)) / c.size * (1.0 + b / c)
    return float(each.sum()), float((each / b).sum())


def growing_noise_scale(shares: int, *, first: float, last: float) -> Floats:
    """Critical batches that grow by the same factor from share to share of a run, shape (shares,).

    .. math:: c_i = c_{first} (c_{last} / c_{first})^{i / (n - 1)}

    The noise scale was seen to grow by 10 and more in a run (arXiv:1812.06162, section 1); how is not the same for all
    tasks, and ends and form are the user's.
    """
    if shares < 1:
        raise OutcomeError(f"growing_noise_scale: shares is {shares}; legal: 1 or more.")
    start, end = float(above_zero("first", first)), float(above_zero("last", last))
    return np.asarray(np.geomspace(start, end, shares))


def gradient_noise(learning_rate: float, *, dataset_samples: float, batch: float, momentum: float = 0.0) -> float:
    """Noise scale of SGD, g = eps N / (B (1 - m)): what a growing batch keeps as a falling learning rate does.

    Smith et al. 2017, arXiv:1711.00489, equation 2 and section 4; good for B far below N (up to about N / 10).
    """
    if not 0.0 <= momentum < 1.0:
        raise OutcomeError(f"gradient_noise: momentum is {momentum!r}; legal: from 0 to below 1.")
    rate, samples, size = (
        float(above_zero(n, v))
        for n, v in (("learning_rate", learning_rate), ("dataset_samples", dataset_samples), ("batch", batch))
    )
    return rate * samples / (size * (1.0 - momentum))
