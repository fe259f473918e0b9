"""The clock of a whole run in closed form: steps, evaluations, checkpoints, failures, and what each takes.

Time runs like this. After start-up the run trains for a segment, stands still for its checkpoint, trains for the next.
A checkpoint counts when it has been written, ``write_s`` after the stand-still; with blocking checkpoints that is at
once. A failure brings the run back to the last checkpoint that counts. The run is over when its last checkpoint, which
is its result, counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from simulator.outcome.availability import mean_speed, waiting_share
from simulator.outcome.failures import Failures, RunError

#: Failures expected in one segment above which it hardly ever ends.
_MOST: Final = 20.0


@dataclass(frozen=True, kw_only=True)
class RunWork:
    """What a run does when nothing fails.

    ``step_s``: a step alone; ``fed_step_s``: from step to step with its input (`outcome.input.fed_step_s`), never
    shorter; 0: input is never waited for. Every ``evaluate_every`` steps an evaluation of ``evaluation_s``; every
    ``checkpoint_every`` steps (0: only at the end) a stand-still of ``stall_s`` and a write of ``write_s`` beside
    training. ``startup_s``: once, until the first step: scheduling, compilation, warm-up.
    """

    steps: int
    step_s: float
    fed_step_s: float = 0.0
    startup_s: float = 0.0
    evaluate_every: int = 0
    evaluation_s: float = 0.0
    checkpoint_every: int = 0
    stall_s: float = 0.0
    write_s: float = 0.0

    def __post_init__(self) -> None:
        for name in ("step_s", "fed_step_s", "startup_s", "evaluation_s", "stall_s", "write_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise RunError(f"RunWork: {name} is {value!r}; a duration in seconds, 0 or more.")
        if self.steps < 1 or self.step_s == 0 or self.evaluate_every < 0 or self.checkpoint_every < 0:
            raise RunError(
                f"RunWork: {self.steps} steps of {self.step_s:g} s, evaluated every {self.evaluate_every}, checkpoints "
                f"every {self.checkpoint_every}; legal: at least 1 step, above 0 s, every 1 or more (0: none)."
            )
        if 0 < self.fed_step_s < self.step_s:
            raise RunError(f"RunWork: fed_step_s {self.fed_step_s:g} is below step_s {self.step_s:g}.")

    @property
    def evaluations(self) -> int:
        """Evaluations of the whole run."""
        return self.steps // self.evaluate_every if self.evaluate_every else 0

    @property
    def checkpoints(self) -> int:
        """Checkpoints of the whole run, the one at its end among them."""
        return -(-self.steps // self.checkpoint_every) if self.checkpoint_every else 1

    @property
    def useful_s(self) -> float:
        """Steps, waiting for input and evaluations, without checkpoints [s]."""
        return self.steps * max(self.step_s, self.fed_step_s) + self.evaluations * self.evaluation_s

    @property
    def segment_s(self) -> float:
        """A segment with its stand-still; evaluations lie evenly over the run [s]."""
        every = self.checkpoint_every or self.steps
        return self.useful_s * min(every, self.steps) / self.steps + self.stall_s

    @property
    def last_segment_s(self) -> float:
        """The last one, which may be shorter [s]."""
        every = self.checkpoint_every or self.steps
        left = self.steps - (self.checkpoints - 1) * every
        return self.useful_s * left / self.steps + self.stall_s


@dataclass(frozen=True, kw_only=True)
class RunTime:
    """Expected seconds of a run by what they go to; together they are ``total_s``.

    ``lost_s``: training, evaluating and checkpointing that a failure undid. ``down_s``: detection and replacement;
    ``restart_s``: start-up and loading after failures; ``waiting_s``: for a repaired server; ``shrunk_s``: what running
    with fewer replicas took longer. ``writing_s``: until the last checkpoint was written.
    """

    training_s: float
    input_s: float
    startup_s: float
    evaluation_s: float
    checkpoint_s: float
    writing_s: float
    lost_s: float
    down_s: float
    restart_s: float
    waiting_s: float
    shrunk_s: float
    failures: float

    def parts(self) -> dict[str, float]:
        """Name -> seconds, in the order they are printed."""
        return {
            "training": self.training_s, "waiting for input": self.input_s, "start-up": self.startup_s,
            "evaluation": self.evaluation_s, "checkpoints": self.checkpoint_s + self.writing_s,
            "lost work": self.lost_s, "detection and replacement": self.down_s, "restart": self.restart_s,
            "waiting for repair": self.waiting_s, "fewer replicas": self.shrunk_s,
        }  # fmt: skip

    @property
    def total_s(self) -> float:
        """All of it [s]."""
        return sum(self.parts().values())

    @property
    def goodput(self) -> float:
        """Share of the time in which steps were trained that stayed."""
        return self.training_s / self.total_s


def segment_expected_s(
    segment_s: float, rate_per_s: float, *, restart_s: float = 0.0, down_s: float = 0.0, write_s: float = 0.0,
    first: bool = False,
) -> float:  # fmt: skip
    """Expected time from one checkpoint that counts to the next [s].

    .. math:: E = e^{\\lambda w} (e^{\\lambda s} - 1) (1/\\lambda + F), \\qquad
              F = e^{\\lambda R} D + (e^{\\lambda R} - 1) / \\lambda

    s the segment with its stand-still, w the write beside training, R a restart, which may fail, D the time before it,
    in which nothing can. F is what a failure costs until the run is back at its checkpoint. The ``first`` segment has
    no training to hide its write under: e^{lambda (s + w)} - 1 in place of the first two factors. With w = D = 0 this
    is Daly's e^{R / M} M (e^{s / M} - 1) (Daly 2006, Future Generation Computer Systems 22, 303, equation 20).

    For w > 0: between two checkpoints that count lie s seconds in which the run may fail; if it does, it starts at the
    earlier one and needs s + w seconds without a failure.
    """
    if not rate_per_s:
        return segment_s + (write_s if first else 0.0)
    if rate_per_s * (segment_s + write_s + restart_s) > _MOST:
        mean_s = 1 / rate_per_s
        raise RunError(
            f"run: something fails every {mean_s:,.0f} s on average, and {segment_s + write_s + restart_s:,.0f} s from "
            "restart to checkpoint hardly ever pass without. Legal: rarer failures, or restart and checkpoint within "
            f"{_MOST * mean_s:,.0f} s in all."
        )
    back_s = math.exp(rate_per_s * restart_s) * down_s + math.expm1(rate_per_s * restart_s) / rate_per_s
    grown = (
        math.expm1(rate_per_s * (segment_s + write_s))
        if first
        else math.exp(rate_per_s * write_s) * math.expm1(rate_per_s * segment_s)
    )
    return grown * (1 / rate_per_s + back_s)


def expected(work: RunWork, failures: Failures) -> RunTime:
    """Expected time of a run with exponential failures, and where it goes.

    Sums `segment_expected_s` over the run. By Wald's identity the failures are rate x time in which the job may fail,
    which splits the rest. Waiting for repaired servers and running with fewer of them stretch the whole
    (`availability`): exact over long runs with repairs that are exponential too.

    Raises
    ------
    RunError
        Where a segment hardly ever ends.
    """
    speed = mean_speed(failures)
    rate = failures.rate_per_s / speed
    s, w = work.segment_s, work.write_s
    if work.checkpoints > 1 and w > s:
        raise RunError(
            f"run: a checkpoint is written in {w:,.0f} s, but the next begins {s:,.0f} s later; legal: checkpoints "
            f"{math.ceil(w / s)} times as far apart, or a faster place for them."
        )

    def segment(length_s: float, *, first: bool) -> float:
        return segment_expected_s(
            length_s, rate, restart_s=failures.restart_s, down_s=failures.down_s * speed, write_s=w, first=first
        )

    many = work.checkpoints
    if many == 1:
        running_s = segment(work.last_segment_s, first=True)
    else:
        running_s = segment(s, first=True) + (many - 2) * segment(s, first=False)
        running_s += segment(work.last_segment_s, first=False)
    exposed_s = running_s / (1 + rate * failures.down_s * speed)
    count = rate * exposed_s
    restart_s = count * -math.expm1(-rate * failures.restart_s) / rate if rate else 0.0
    training_s = work.steps * work.step_s
    input_s = work.steps * max(0.0, work.fed_step_s - work.step_s)
    evaluation_s = work.evaluations * work.evaluation_s
    lost_s = exposed_s - restart_s - work.useful_s - many * work.stall_s - w if rate else 0.0
    wall_s = running_s / speed
    waits = waiting_share(failures)
    return RunTime(
        training_s=training_s, input_s=input_s, startup_s=work.startup_s, evaluation_s=evaluation_s,
        checkpoint_s=many * work.stall_s, writing_s=w, lost_s=max(lost_s, 0.0), down_s=running_s - exposed_s,
        restart_s=restart_s, waiting_s=wall_s * waits / (1 - waits), shrunk_s=wall_s - running_s, failures=count,
    )  # fmt: skip


def with_interval(work: RunWork, interval_s: float) -> RunWork:
    """The same run with checkpoints every so many seconds of training, in whole steps."""
    step_s = work.useful_s / work.steps
    every = max(1, min(work.steps, round(interval_s / step_s)))
    return replace(work, checkpoint_every=every)
