"""Inverse design: which rate a resource must have for an efficiency that is asked for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from simulator.calibration_data import load
from simulator.cluster import Cluster
from simulator.constants import Constants
from simulator.job import Job, resolve
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.ranking import search


def _out(cluster: Cluster, factor: float) -> Cluster:
    return replace(cluster, out_byte_per_s=cluster.out_byte_per_s * factor)


def _up(cluster: Cluster, factor: float) -> Cluster:
    return replace(cluster, up_byte_per_s=tuple(rate * factor for rate in cluster.up_byte_per_s))


def _memory(cluster: Cluster, factor: float) -> Cluster:
    chip = replace(cluster.chip, memory_bandwidth_byte_per_s=cluster.chip.memory_bandwidth_byte_per_s * factor)
    return replace(cluster, chip=chip)


#: Resource -> (the cluster with so many times its rate, what its rate is now [B/s], what the rate is of).
RESOURCES: Final[Mapping[str, tuple[Callable[[Cluster, float], Cluster], Callable[[Cluster], float], str]]] = {
    "scale-out": (_out, lambda c: c.out_byte_per_s, "all network cards of a server"),
    "scale-up": (_up, lambda c: c.up_byte_per_s[0], "all links of a chip inside its server"),
    "memory-bandwidth": (_memory, lambda c: c.chip.memory_bandwidth_byte_per_s, "a chip's memory"),
}


@dataclass(frozen=True, kw_only=True)
class Needed:
    """The rate that is needed [B/s] and the one there is; ``efficiency_now`` with that; NaN where no rate is enough.

    ``most``: the efficiency that an endless rate reaches (a thousand times today's). Efficiency: samples a second and
    chip against ``base_chips``, whose own network is as it is.
    """

    resource: str
    of: str
    needed_byte_per_s: float
    rate_byte_per_s: float
    efficiency: float
    efficiency_now: float
    most: float
    chips: int
    base_chips: int


def needed_rate(
    query: PlanQuery, *, resource: str = "scale-out", efficiency: float = 0.9, base_chips: int = 0, weak: bool = True,
    constants: Constants | None = None,
) -> Needed:  # fmt: skip
    """The least rate of a resource that gives a job on its chips an efficiency against ``base_chips`` (one server).

    By bisection over the best strategy at each rate. Weak: the fewer chips take their share of the batch; else all.
    """
    if resource not in RESOURCES:
        raise RunError(f"resource: {resource!a}; legal: {', '.join(RESOURCES)}.")
    if not 0 < efficiency <= 1:
        raise RunError(f"efficiency: {efficiency:g}; legal: above 0 to 1, as 0.9.")
    constants = constants or load().constants
    job = resolve(query)
    changed, rate_of, of = RESOURCES[resource]
    base = base_chips or job.context.cluster.chips_per_server
    base_s, base_batch = _base(query, job, base, constants, weak=weak)

    def at(factor: float) -> float:
        cluster = changed(job.context.cluster, factor)
        found = search(replace(job, context=replace(job.context, cluster=cluster)), constants)
        if not len(found.order):
            return 0.0
        rate = query.global_batch / found.step(0).total_s / job.chips
        return rate / (base_batch / base_s / base)

    now, most = at(1.0), at(1000.0)
    rate = rate_of(job.context.cluster)
    needed = math.nan
    if most >= efficiency:
        low, high = (1e-3, 1.0) if now >= efficiency else (1.0, 1000.0)
        for _ in range(12):
            middle = math.sqrt(low * high)
            low, high = (low, middle) if at(middle) >= efficiency else (middle, high)
        needed = rate * high
    return Needed(
        resource=resource, of=of, needed_byte_per_s=needed, rate_byte_per_s=rate, efficiency=efficiency,
        efficiency_now=now, most=most, chips=job.chips, base_chips=base,
    )  # fmt: skip


def _base(query: PlanQuery, job: Job, chips: int, constants: Constants, *, weak: bool) -> tuple[float, int]:
    batch = max(1, query.global_batch * chips // job.chips) if weak else query.global_batch
    found = search(replace(job, chips=chips, query=replace(query, chips=chips, global_batch=batch)), constants)
    if not len(found.order):
        raise RunError(
            f"efficiency: nothing fits on {chips} chips, against which it is counted; legal: another --base, as "
            f"{min(8 * chips, job.chips)}."
        )
    return found.step(0).total_s, batch
