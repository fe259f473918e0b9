"""Samples and steps to a target against batch: the hyperbola of small and large batches, and its inverses.

McCandlish et al. 2018, An Empirical Model of Large-Batch Training, arXiv:1812.06162, equations 2.11 and 5.1; Shallue et
al. 2018, Measuring the Effects of Data Parallelism, arXiv:1811.03600.
"""

from __future__ import annotations

import math

import numpy as np

from ..data import OutcomeError
from .arrays import Floats, above_zero


def samples_to_target(
    batch: Floats | float, *, least_samples: Floats | float, critical_batch: Floats | float
) -> Floats:
    """Samples until a target is first reached, at any batch.

    .. math:: E(B) = E_{min} (1 + B / B_{crit})

    Parameters
    ----------
    batch
        Samples of one optimizer step; arrays broadcast together.
    least_samples
        E_min, the limit of small batches [samples, or whatever the answer is to be in].
    critical_batch
        B_crit, where twice E_min is needed, in the unit of ``batch``.

    Leaves out: a learning rate that was not tuned anew for the batch, batches so small that normalisation suffers, and
    the batch beyond which no recipe reaches the target at all.
    """
    b, e, c = (above_zero(n, v) for n, v in (("batch", batch), ("least_samples", least_samples),
                                             ("critical_batch", critical_batch)))  # fmt: skip
    return np.asarray(e * (1.0 + b / c))


def steps_to_target(batch: Floats | float, *, least_steps: Floats | float, critical_batch: Floats | float) -> Floats:
    """Optimizer steps until a target is first reached.

    .. math:: S(B) = S_{min} (1 + B_{crit} / B), \\qquad S_{min} = E_{min} / B_{crit}

    The same statement as `samples_to_target`, E = S B. Falls with the batch towards ``least_steps``; leaves out the
    same.
    """
    b, s, c = (above_zero(n, v) for n, v in (("batch", batch), ("least_steps", least_steps),
                                             ("critical_batch", critical_batch)))  # fmt: skip
    return np.asarray(s * (1.0 + c / b))


def critical_batch(*, least_samples: float, least_steps: float) -> float:
    """B_crit = E_min / S_min [samples]: where steps and samples are both twice their least."""
    return float(above_zero("least_samples", least_samples) / above_zero("least_steps", least_steps))


def excess_product(
    samples: Floats | float, steps: Floats | float, *, least_samples: float, least_steps: float
) -> Floats:
    """(S / S_min - 1) (E / E_min - 1): 1 at every batch of one curve (equation 5.1 of arXiv:1812.06162)."""
    return np.asarray((np.asarray(steps) / least_steps - 1.0) * (np.asarray(samples) / least_samples - 1.0))


def crossing(samples: Floats | float, *, every: Floats | float, first: float = 0.0) -> Floats:
    """Samples at which a crossing is seen: the next evaluation at or after it.

    .. math:: E_{seen} = first + every \\lceil (E - first) / every \\rceil

    ``every``: samples from one evaluation to the next; ``first``: samples before which none is made. A crossing a hair
    (one part in 10^9) after an evaluation counts as at it. Leaves out: runs that cross and fall back.
    """
    e, step = above_zero("samples", samples), above_zero("every", every)
    if not (math.isfinite(first) and first >= 0.0):
        raise OutcomeError(f"crossing: first is {first!r}; legal: 0 or more samples.")
    return np.asarray(np.maximum(first + step * np.ceil((e - first) / step - 1e-9), first))
