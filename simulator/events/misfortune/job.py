"""One job's step under misfortune, on the event engine."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.events.engine import simulate
from simulator.events.misfortune.distribution import StepDistribution
from simulator.events.misfortune.failures import Failures, committed_s, expected_committed_s
from simulator.events.misfortune.links import Degraded, degraded
from simulator.events.misfortune.patterns import Misfortune
from simulator.events.misfortune.steps import Progress, Run, step_distribution
from simulator.events.misfortune.streams import Streams
from simulator.events.roles import Grid, find_roles
from simulator.events.world import Delays, Surroundings
from simulator.stepspec import StepSpec


@dataclass(frozen=True, kw_only=True)
class MisfortuneRun:
    """What was asked for beside what came out.

    ``calm_s`` is the step without misfortune [s]; ``steps`` the distribution under all but failures. ``committed`` are
    the same steps until each is done for good, failures drawn over them, and ``expected_committed_s`` their mean in
    closed form [s]; without failures both are those of ``steps``. ``at_least``: parameters are gathered before every
    block, and replicas that jitter wait for each other more often than the slowest of them shows.
    """

    calm_s: float
    steps: StepDistribution
    committed_mean_s: float
    committed_p99_s: float
    expected_committed_s: float
    failures: Failures = field(default_factory=Failures)
    at_least: bool = False


def engine_run(spec: StepSpec, grid: Grid) -> Run:
    """One step of the event engine as a function of its delays [s]: one role for every stage, whatever the grid."""
    roles = find_roles(grid)

    def run(delays: Delays) -> float:
        return simulate(spec, Surroundings(roles=roles, delays=delays)).total_s

    return run


def unfolded_run(spec: StepSpec, grid: Grid) -> Run:
    """The same with every rank of the grid a role of its own."""
    roles = find_roles(grid, unfold=True)

    def run(delays: Delays) -> float:
        return simulate(spec, Surroundings(roles=roles, delays=delays)).total_s

    return run


def run_misfortune(
    spec: StepSpec,
    grid: Grid,
    misfortune: Misfortune,
    *,
    links: tuple[Degraded, ...] = (),
    failures: Failures | None = None,
    repetitions: int = 200,
    seed: int = 0,
    precision: float | None = None,
    progress: Progress | None = None,
) -> MisfortuneRun:
    """The distribution of a job's step under everything that was asked for.

    Raises
    ------
    MisfortuneError
        For a rank or a stage that is not there, failures that come too often, too few repetitions.
    """
    failures = failures or Failures()
    hurt = degraded(spec, links)
    steps = step_distribution(
        engine_run(hurt, grid), grid, misfortune,
        repetitions=repetitions, seed=seed, precision=precision, progress=progress,
    )  # fmt: skip
    # Failures are rare beside steps: every step is met by many independent clocks, so that their share shows.
    seconds = np.asarray(steps.seconds)
    many = np.tile(seconds, max(1, 100_000 // seconds.size))
    committed = committed_s(many, failures, Streams(seed=seed).of("failures"))
    return MisfortuneRun(
        calm_s=simulate(spec).total_s,
        steps=steps,
        committed_mean_s=float(committed.mean()),
        committed_p99_s=float(np.quantile(committed, 0.99)),
        expected_committed_s=float(np.mean([expected_committed_s(s, failures) for s in steps.seconds])),
        failures=failures,
        at_least=spec.gradient_mode == "sharded" and grid.replicas > 1 and not misfortune.certain,
    )
