"""A facility's power cap: how many chips at full clock, or all of them slower."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.optimize import brentq

from simulator.outcome.energy import PUE
from simulator.outcome.failures import RunError
from simulator.outcome.run_energy import draw
from simulator.whole_run import WholeRun


@dataclass(frozen=True, kw_only=True)
class PowerCap:
    """What a cap leaves. ``chips``: whole servers at full clock; ``clock``: of all chips, 0 where none is low enough.

    ``slower``: how much longer a step takes at that clock, compute alone slowed down. ``watts``: without the cap.
    """

    cap_w: float
    watts: float
    chips: int
    clock: float
    slower: float


def power_cap(run: WholeRun, cap_w: float, *, pue: float = PUE) -> PowerCap:
    """Chips or clock under a cap at the building's meter.

    .. math:: P(f) = PUE (n (P_{idle} + u f^{2.4} (P_{tdp} - P_{idle})) + \\ldots) \\le P_{cap}

    Power counts a busy step; compute takes 1 / f as long, everything else as long as before. The exponent is an
    assumption: between 1, where voltage cannot fall with the clock, and 3, where it falls as much.
    """
    if not cap_w > 0:
        raise RunError(f"power cap: {cap_w:g} W; legal: above 0.")
    cluster, job, step = run.job.context.cluster, run.job, run.step

    def watts(chips: int, clock: float = 1.0) -> float:
        # Slower chips compute for more of the step.
        busy = step.compute_ps / clock
        return draw(
            chip=cluster.chip, chips=chips, servers=-(-chips // cluster.chips_per_server), pue=pue, clock=clock,
            host_power_w=cluster.host_power_w, out_byte_per_s=cluster.out_byte_per_s,
            utilisation=busy / (step.total_ps - step.compute_ps + busy),
        ).busy_w  # fmt: skip

    full = watts(job.chips)
    if full <= cap_w:
        return PowerCap(cap_w=cap_w, watts=full, chips=job.chips, clock=1.0, slower=1.0)
    servers = next(
        (n for n in range(job.servers, 0, -1) if watts(n * cluster.chips_per_server) <= cap_w), 0
    )  # fmt: skip
    low = 0.05
    if watts(job.chips, low) > cap_w:
        return PowerCap(
            cap_w=cap_w, watts=full, chips=servers * cluster.chips_per_server, clock=0.0, slower=float("inf")
        )
    clock = float(brentq(lambda f: watts(job.chips, f) - cap_w, low, 1.0))
    slower = (step.total_ps - step.compute_ps + step.compute_ps / clock) / step.total_ps
    return PowerCap(cap_w=cap_w, watts=full, chips=servers * cluster.chips_per_server, clock=clock, slower=slower)
