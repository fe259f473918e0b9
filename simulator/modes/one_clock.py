"""Modes of training on one clock with one target: hours where steps are known, else how many more they may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from .closed_form import estimate
from .job import ModeError, ModeJob

#: Modes whose gradients are those of one shared model, all of one batch: samples to a target are those of that batch.
_OF_ONE_BATCH: Final = ("synchronous",)


@dataclass(frozen=True, kw_only=True)
class OnOneClock:
    """One mode on the clock of all.

    ``samples_per_s`` at least and at most; ``staleness`` as `ModeEstimate` has it; ``batch`` samples of one update.
    ``hours`` [h] to the target, None where the samples that this mode needs are unknown. ``free_hours`` [h] it would
    take if it needed as few samples as the reference: no promise, the least there can be. ``may_cost``: how many times
    the reference's samples it may need before the reference is the faster one.
    """

    name: str
    samples_per_s: float
    least_samples_per_s: float
    staleness: float | None
    batch: int
    hours: float | None
    free_hours: float
    may_cost: float


def on_one_clock(jobs: Mapping[str, ModeJob], *, reference: str, samples: float) -> tuple[OnOneClock, ...]:
    r"""Every job on one clock to one target, which the reference reaches after ``samples`` samples.

    .. math:: t = S / X, \qquad c = X_{mode} / X_{reference}

    with X the lesser rate of a closed form, so that c never flatters a mode. Hours are given for modes whose update is
    the mean of one batch of one model (synchronous, with backups or without); what staleness, or models of their own,
    cost in samples is unknown, and then ``hours`` is None. Leaves out: that a synchronous batch of another size needs
    other samples (give ``samples`` for the reference's batch, and compare jobs of like batches).

    Raises
    ------
    ModeError
        For a reference that is no job of those, or whose own samples are unknown, and for samples that cannot be.
    """
    if reference not in jobs:
        raise ModeError(f"on_one_clock: reference is {reference!r}; legal: {', '.join(jobs)}.")
    if jobs[reference].mode not in _OF_ONE_BATCH:
        legal = ", ".join(name for name, job in jobs.items() if job.mode in _OF_ONE_BATCH) or "none of these jobs"
        raise ModeError(
            f"on_one_clock: samples to a target are unknown for mode {jobs[reference].mode}; legal as the reference: "
            f"{legal}."
        )
    if not (math.isfinite(samples) and samples > 0):
        raise ModeError(f"on_one_clock: samples is {samples!r}; legal: a finite number above 0.")
    base = estimate(jobs[reference]).least_samples_per_s
    found = []
    for name, job in jobs.items():
        form = estimate(job)
        rate = form.least_samples_per_s
        free = samples / rate / 3600.0
        found.append(
            OnOneClock(
                name=name, samples_per_s=form.samples_per_s, least_samples_per_s=rate, staleness=form.staleness,
                batch=job.samples_per_update, hours=free if job.mode in _OF_ONE_BATCH else None, free_hours=free,
                may_cost=rate / base,
            )
        )  # fmt: skip
    return tuple(found)
