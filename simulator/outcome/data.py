"""How much data a run takes, in samples, tokens and steps."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from workloads.workload import Workload

#: Training images of ImageNet-1k (ILSVRC 2012): Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition
#: Challenge, arXiv:1409.0575.
IMAGENET_IMAGES: Final = 1_281_167


class OutcomeError(ValueError):
    """An amount of data that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Data of a whole run. ``assumed`` says what was filled in, "" if nothing.

    ``target``: the quality that is to be reached, "" where an amount was given; then ``low_samples`` and
    ``high_samples`` bound the 80 % interval of the samples to it.
    """

    samples: float
    tokens: float
    steps: int
    assumed: str = ""
    target: str = ""
    low_samples: float | None = None
    high_samples: float | None = None


def amount(
    workload: Workload,
    *,
    global_batch: int,
    tokens: float = 0.0,
    samples: float = 0.0,
    epochs: float = 0.0,
    dataset_samples: float = 0.0,
) -> Amount | None:
    """Samples, tokens and steps of a run; None when no amount is asked for.

    .. math:: steps = \\lceil samples / batch \\rceil

    One of ``tokens``, ``samples`` and ``epochs`` says how much. An epoch of images is ImageNet-1k unless
    ``dataset_samples`` says otherwise; one of sequences has no size of its own. Leaves out: the last, smaller batch of
    each epoch.

    Raises
    ------
    OutcomeError
        For several amounts, one that is not above 0, tokens of images, or epochs of sequences without a size.
    """
    given = [name for name, value in (("tokens", tokens), ("samples", samples), ("epochs", epochs)) if value]
    if not given:
        return None
    if len(given) > 1:
        raise OutcomeError(f"amount of data: {' and '.join(given)} are given; legal: one of tokens, samples, epochs.")
    for name, value in (
        ("tokens", tokens),
        ("samples", samples),
        ("epochs", epochs),
        ("dataset_samples", dataset_samples),
    ):
        if not (math.isfinite(value) and value >= 0):
            raise OutcomeError(f"amount of data: {name} is {value!r}; a number above 0.")
    if global_batch < 1:
        raise OutcomeError(f"amount of data: global_batch is {global_batch}; at least 1.")
    assumed = ""
    if tokens:
        if workload.sample != "sequence":
            raise OutcomeError(
                f"amount of data: tokens are given, but {workload.name} trains on images; legal: samples, epochs."
            )
        samples = tokens / workload.tokens_per_sample
    elif epochs:
        size = dataset_samples
        if not size:
            if workload.sample != "image":
                raise OutcomeError(
                    f"amount of data: an epoch of {workload.name} has no known size; "
                    "legal: epochs with dataset_samples, or tokens, or samples."
                )
            size = float(IMAGENET_IMAGES)
            assumed = f"one epoch is ImageNet-1k, {IMAGENET_IMAGES:,} images (arXiv:1409.0575)"
        samples = epochs * size
    # A product of floats may stand a hair above the whole number that is meant.
    steps = math.ceil(round(samples / global_batch, 9))
    return Amount(samples=samples, tokens=samples * workload.tokens_per_sample, steps=max(steps, 1), assumed=assumed)
