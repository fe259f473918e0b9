"""Failures in the middle of a step: how often, what is lost, how long until the step is really done."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from simulator.events.misfortune.laws import Floats, MisfortuneError


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Parts that fail, each a Poisson process of its own, and what happens then.

    ``mtbf_s`` is the mean time between failures of one part of a kind ("chip", "server", "link"), ``parts`` how many of
    them the job uses. After a failure: without ``elastic`` the job starts again after ``restart_s`` and does anew the
    steps since the last checkpoint (one in every ``checkpoint_steps`` steps, so that a uniform number of 0 to
    checkpoint_steps - 1 whole steps is lost) and the one in flight. ``elastic``: the step in flight is lost, and after
    ``restart_s`` the other replicas do it, and share the samples of the lost one: n / (n - 1) as long.
    """

    mtbf_s: Mapping[str, float] = field(default_factory=dict)
    parts: Mapping[str, int] = field(default_factory=dict)
    restart_s: float = 0.0
    checkpoint_steps: int = 1
    elastic: bool = False
    replicas: int = 1

    def __post_init__(self) -> None:
        for kind, mtbf_s in self.mtbf_s.items():
            if not mtbf_s > 0:
                raise MisfortuneError(f"Failures: {kind} fails every {mtbf_s:g} s; legal: a time above 0.")
            if self.parts.get(kind, 0) < 0 or kind not in self.parts:
                raise MisfortuneError(f"Failures: how many parts of kind {kind!r} there are is not said; 0 or more.")
        if not (math.isfinite(self.restart_s) and self.restart_s >= 0):
            raise MisfortuneError(f"Failures: restart_s is {self.restart_s!r}; a duration, at least 0.")
        if self.checkpoint_steps < 1:
            raise MisfortuneError(f"Failures: checkpoint_steps is {self.checkpoint_steps}; at least 1.")
        if self.elastic and self.replicas < 2:
            raise MisfortuneError(f"Failures: elastic with {self.replicas} replica; legal: 2 or more, or not elastic.")

    @property
    def rate_per_s(self) -> float:
        """Failures of anything, per second: sum over kinds of parts / mtbf_s."""
        return sum(self.parts[kind] / mtbf_s for kind, mtbf_s in self.mtbf_s.items())


def expected_committed_s(step_s: float, failures: Failures) -> float:
    """Mean time until a step of ``step_s`` is done and stays [s].

    With r failures a second, T = step_s, F = 1 - e^(-r T) the chance that it fails, t = 1 / r - T (1 - F) / F the mean
    time until it then does, R = restart_s and c = checkpoint_steps:

        E = (1 - F) T + F (t + R + W)
        elastic     W = T n / (n - 1)                                       (no second failure in that time)
        otherwise   W = 1/c sum over m = 1..c of (e^(r m T) - 1) (1 / r + R)    (m steps in a row that must not fail)

    With c = 1 this is Daly's (e^(r T) - 1) (1 / r + R) (Daly 2006, Future Generation Computer Systems 22, 303).
    Raises MisfortuneError where failures come so often that the steps hardly ever end.
    """
    rate = failures.rate_per_s
    if rate == 0 or step_s == 0:
        return step_s
    _require_an_end(step_s, failures)
    fails = -math.expm1(-rate * step_s)
    until_s = 1 / rate - step_s * (1 - fails) / fails
    if failures.elastic:
        again_s = step_s * failures.replicas / (failures.replicas - 1)
    else:
        many = np.arange(1, failures.checkpoint_steps + 1)
        again_s = float(np.mean(np.expm1(rate * step_s * many))) * (1 / rate + failures.restart_s)
    return (1 - fails) * step_s + fails * (until_s + failures.restart_s + again_s)


def _require_an_end(step_s: float, failures: Failures) -> None:
    together = step_s * (1 if failures.elastic else failures.checkpoint_steps)
    if failures.rate_per_s * together > 20:
        raise MisfortuneError(
            f"Failures: one every {1 / failures.rate_per_s:g} s on average, and {together:g} s from checkpoint to "
            "checkpoint hardly ever pass without one. Legal: rarer failures, or checkpoints more often."
        )


def committed_s(steps_s: Floats, failures: Failures, stream: np.random.Generator) -> Floats:
    """Time until each of these steps is done and stays [s], failures drawn; shape as given.

    One clock of exponential times runs over everything that is done; restarts themselves do not fail. Raises
    MisfortuneError as `expected_committed_s`.
    """
    steps_s = np.asarray(steps_s, dtype=float)
    rate = failures.rate_per_s
    if rate == 0:
        return steps_s.copy()
    _require_an_end(float(steps_s.max(initial=0.0)), failures)
    found = steps_s.copy()
    first_s = stream.exponential(1 / rate, steps_s.size).reshape(steps_s.shape)
    for place in zip(*np.nonzero(first_s < steps_s), strict=True):
        step_s = float(steps_s[place])
        if failures.elastic:
            found[place] = first_s[place] + failures.restart_s + step_s * failures.replicas / (failures.replicas - 1)
        else:
            found[place] = _restarted(step_s, float(first_s[place]), failures, rate, stream)
    return found


def _restarted(step_s: float, failed_s: float, failures: Failures, rate: float, stream: np.random.Generator) -> float:
    """Back to the checkpoint, and from there without a failure to the end of this step."""
    clock_s = failed_s + failures.restart_s
    row_s = step_s * (1 + int(stream.integers(failures.checkpoint_steps)))
    while (next_s := float(stream.exponential(1 / rate))) < row_s:
        clock_s += next_s + failures.restart_s
    return clock_s + row_s
