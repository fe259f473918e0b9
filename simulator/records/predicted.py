"""Records beside what they are predicted to take, end to end: rate, length and clock apart."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np

from workloads import catalog as models

from ..calibration_data import load
from ..constants import Constants
from ..goal import samples_to_target
from ..outcome.convergence.phases import total_s, total_samples
from ..outcome.data import IMAGENET_IMAGES
from ..validation.record_files import HeldOut, recorded_runs
from .published import RecordRun, published_runs
from .setup import RecordStep, Setup, record_step

#: Groups that are the systems of October 2015 to August 2018.
SYSTEMS: Final = (
    "FireCaffe", "Google", "Amazon", "Facebook", "SURFsara", "You, 1,024 CPUs", "You, 1,600 CPUs", "You, 2,048 KNL",
    "Preferred Networks", "Tencent", "fast.ai",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TimelineRow:
    """A record and its prediction.

    Errors are ln(predicted / measured), above 0 where the prediction is too long; they add up: ``error`` =
    ``rate_error`` + ``length_error`` + ``clock_error``. The rate's is that of the seconds a sample takes; the length's
    that of the epochs, 0 where they are the recipe's; the clock's what it counted beside steps (start-up, evaluation).
    None where nothing was measured. ``low_s`` and ``high_s``: over the setups that the sources leave open.
    ``in_sample``: a constant saw a step of this very run; ``held_out_error`` is then that of the rate with constants
    fitted without it.
    ``anchored_s``: the time where what chips do for themselves takes as long as the run's anchor says; None without.
    """

    run: RecordRun
    step_s: tuple[float, ...]
    predicted_s: float
    low_s: float
    high_s: float
    predicted_epochs: float
    in_sample: bool
    held_out_error: float | None
    anchored_s: float | None = None

    @property
    def anchored_error(self) -> float:
        """ln(predicted / measured time) where one printed step sets the rate of a machine, else `error`."""
        return self.error if self.anchored_s is None else math.log(self.anchored_s / self.measured_s)

    @property
    def measured_s(self) -> float:
        """The record [s]; of runs that measured steps alone, the time of their epochs at that rate."""
        return self.run.time_s or self.run.epochs * IMAGENET_IMAGES / self.run.rate_per_s

    @property
    def is_anchor(self) -> bool:
        """Whether the anchor is this very run."""
        anchor = self.run.anchor
        return anchor is not None and (anchor.setup, anchor.batch) == (self.run.setups[0], self.run.phases[0].batch)

    @property
    def measured_rate_per_s(self) -> float:
        """Samples per second of steps; of the whole clock where nothing else was measured."""
        return self.run.rate_per_s or self.run.epochs * IMAGENET_IMAGES / self.run.time_s

    @property
    def predicted_rate_per_s(self) -> float:
        """Samples per second of the whole run."""
        return self.predicted_epochs * IMAGENET_IMAGES / self.predicted_s

    @property
    def error(self) -> float:
        """ln(predicted / measured time)."""
        return math.log(self.predicted_s / self.measured_s)

    @property
    def rate_error(self) -> float:
        """ln of the measured over the predicted rate."""
        return math.log(self.measured_rate_per_s / self.predicted_rate_per_s)

    @property
    def length_error(self) -> float:
        """ln(predicted / measured epochs)."""
        return math.log(self.predicted_epochs / self.run.epochs)

    @property
    def clock_error(self) -> float:
        """What is left of the error: minus what the clock counted beside steps."""
        return self.error - self.rate_error - self.length_error


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """All records, in the order of the file."""

    rows: tuple[TimelineRow, ...]

    def of(self, id: str) -> TimelineRow:
        """The row of a run."""
        return next(row for row in self.rows if row.run.id == id)

    def group_errors(self, *, anchored: bool = False) -> Mapping[str, float]:
        """Mean |ln(predicted / measured)| of each group's rows, in order.

        ``anchored``: with the rate of one machine known; the row that is the anchor itself then does not count.
        """
        found: dict[str, list[float]] = {}
        for row in self.rows:
            if not (anchored and row.is_anchor):
                error = row.anchored_error if anchored else row.error
                found.setdefault(row.run.group, []).append(abs(error))
        return {group: sum(errors) / len(errors) for group, errors in found.items()}

    def median_error(self, groups: Sequence[str] = SYSTEMS, *, anchored: bool = False) -> float:
        """Median over groups of their mean error; by default over the systems of 2015 to 2018."""
        errors = self.group_errors(anchored=anchored)
        return float(np.median([errors[group] for group in groups]))


def timeline(runs: Sequence[RecordRun] | None = None, *, calibration: str = "default") -> Timeline:
    """Every record predicted: its phases' steps priced on its machine, its epochs stated or those to its target.

    .. math:: T = \\sum_p \\lceil E_p / B_p \\rceil t_p

    Leaves out: start-up, evaluation, checkpoints and waiting for input.
    """
    stored = load(calibration)
    fitted = _numbers(stored.fitted_on.get("rows", ""))
    steps = Steps(stored.constants)
    return Timeline(rows=tuple(_row(run, steps, fitted) for run in (published_runs() if runs is None else runs)))


def _numbers(text: str) -> set[int]:
    """Numbers of a list of numbers and ranges: "1,6-8" -> 1, 6, 7, 8."""
    ends = [part.partition("-")[::2] for part in text.split(",") if part.strip()]
    return {n for first, last in ends for n in range(int(first), int(last or first) + 1)}


def _row(run: RecordRun, price: Steps, fitted: set[int]) -> TimelineRow:
    epochs = predicted_epochs(run)
    phases = [stretch.phase(stretch.epochs * epochs / run.epochs) for stretch in run.phases]
    steps = [[price.of(setup, phase.batch, phase.image_size) for phase in phases] for setup in run.setups]
    times = [total_s(phases, [step.total_s for step in each]) for each in steps]
    slower = 1.0
    if anchor := run.anchor:
        slower = anchor.step_s / price.of(anchor.setup, anchor.batch, anchor.image_size).total_s
    anchored = [total_s(phases, [slower * step.own_s + step.exchange_s for step in each]) for each in steps]
    held = _held_out_rates().get(run.rate_row)
    return TimelineRow(
        run=run, step_s=tuple(_mean([each[i].total_s for each in steps]) for i in range(len(phases))),
        predicted_s=_mean(times), low_s=min(times), high_s=max(times),
        predicted_epochs=total_samples(phases) / IMAGENET_IMAGES, in_sample=bool(fitted.intersection(run.rows)),
        held_out_error=None if held is None else _too_long(held),
        anchored_s=_mean(anchored) if run.anchor else None,
    )  # fmt: skip


def _too_long(held: HeldOut) -> float:
    """ln of the predicted over the measured seconds of a sample."""
    return math.log(held.ratio) if held.row["metric"] == "step_time_s" else -math.log(held.ratio)


def _mean(values: Sequence[float]) -> float:
    """Their geometric mean."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


class Steps:
    """Steps priced with one set of constants, each once."""

    def __init__(self, constants: Constants) -> None:
        self._constants = constants
        self._known: dict[tuple[Setup, int, int], RecordStep] = {}

    def of(self, setup: Setup, batch: int, image_size: int = 0) -> RecordStep:
        """A step of a setup at a batch; ``image_size`` 0: the model's own."""
        key = (setup, batch, image_size)
        if key not in self._known:
            self._known[key] = record_step(setup, batch=batch, image_size=image_size, constants=self._constants)
        return self._known[key]


def predicted_epochs(run: RecordRun) -> float:
    """The recipe's epochs, or where the run stops at a target the mean crossing of published runs at its batch."""
    if not run.target:
        return run.epochs
    found = samples_to_target(
        models.model(run.setups[0].model), run.target, global_batch=run.phases[0].batch,
        optimizer=run.setups[0].optimizer,
    )  # fmt: skip
    return found.samples / IMAGENET_IMAGES


@cache
def _held_out_rates() -> Mapping[int, HeldOut]:
    """Shipped runs of steps and rates with their held-out predictions, by row of the corpus."""
    return {
        int(row): run for row, run in recorded_runs().items() if run.row["metric"] in ("step_time_s", "samples_per_s")
    }
