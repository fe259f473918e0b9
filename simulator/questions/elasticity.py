"""How a step answers to each fitted constant and hardware fact: d ln T / d ln c."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Final

from simulator.calibration_data import load
from simulator.cluster import Cluster
from simulator.constants import SPECS, Constants, key_of
from simulator.job import Job, resolve
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.ranking import search


def _chip(cluster: Cluster, field: str, factor: float) -> Cluster:
    value = getattr(cluster.chip, field)
    return replace(cluster, chip=replace(cluster.chip, **{field: value * factor}))


#: Hardware fact -> the cluster with it so many times as large.
FACTS: Final[Mapping[str, Callable[[Cluster, float], Cluster]]] = {
    "chip peak": lambda c, x: replace(
        c, chip=replace(c.chip, peak_flop_per_s={w: r * x for w, r in c.chip.peak_flop_per_s.items()})
    ),
    "chip memory bandwidth": lambda c, x: _chip(c, "memory_bandwidth_byte_per_s", x),
    "scale-up rate": lambda c, x: replace(c, up_byte_per_s=tuple(rate * x for rate in c.up_byte_per_s)),
    "scale-up latency": lambda c, x: replace(c, up_latency_s=c.up_latency_s * x),
    "scale-out rate": lambda c, x: replace(c, out_byte_per_s=c.out_byte_per_s * x),
    "scale-out latency": lambda c, x: replace(c, out_latency_s=c.out_latency_s * x),
}


@dataclass(frozen=True, kw_only=True)
class Elasticity:
    """``value``: percent of step time for one percent of the input; ``kind``: "fact" or "constant"."""

    name: str
    kind: str
    value: float


def elasticities(query: PlanQuery, *, step: float = 0.01, constants: Constants | None = None) -> tuple[Elasticity, ...]:
    """Central differences at the best strategy, which stays, the largest first.

    .. math:: \\frac{d \\ln T}{d \\ln c} \\approx \\frac{\\ln T(c (1 + h)) - \\ln T(c / (1 + h))}{2 \\ln (1 + h)}

    Every hardware fact of `FACTS` and every fitted constant that this job's chip, stack or fabrics own. A fact that a
    kernel model does not read at all (peaks by another word) comes out as 0.
    """
    if not 0 < step <= 0.5:
        raise RunError(f"elasticities: a step of {step:g}; legal: above 0 to 0.5.")
    constants = constants or load().constants
    job = resolve(query)
    found = search(job, constants)
    if not len(found.order):
        raise RunError(f"elasticities: nothing fits on {job.chips} chips.")
    pins = tuple((k, v) for k, v in asdict(found.parallelism(0)).items() if k not in ("global_batch",))
    pinned = replace(job, query=replace(job.query, fixed=pins))

    def seconds(changed: Job, values: Constants) -> float:
        return search(changed, values).step(0).total_s

    def slope(at: Callable[[float], float]) -> float:
        return math.log(at(1 + step) / at(1 / (1 + step))) / (2 * math.log1p(step))

    results = []
    for name, change in FACTS.items():

        def at_fact(factor: float, change: Callable[[Cluster, float], Cluster] = change) -> float:
            cluster = change(job.context.cluster, factor)
            return seconds(replace(pinned, context=replace(job.context, cluster=cluster)), constants)

        results.append(Elasticity(name=name, kind="fact", value=slope(at_fact)))
    for name, owner in _owned(job):
        key = key_of(name, owner)

        def at_constant(factor: float, key: str = key, name: str = name, owner: str = owner) -> float:
            values = {**constants.values, key: constants.get(name, owner) * factor}
            return seconds(pinned, replace(constants, values=values))

        results.append(
            Elasticity(name=f"{name}{f' of {owner}' if owner else ''}", kind="constant", value=slope(at_constant))
        )
    return tuple(sorted(results, key=lambda one: (-abs(one.value), one.name)))


def _owned(job: Job) -> Iterator[tuple[str, str]]:
    """Constants and the owner in this job."""
    cluster = job.context.cluster
    owners = {
        "global": ("",), "chip": (cluster.chip.architecture,), "stack": (job.context.stack.id,),
        "board": (cluster.chip.id,),
        "fabric": tuple(dict.fromkeys((cluster.up_fabric, cluster.out_fabric))),
    }  # fmt: skip
    for name, spec in SPECS.items():
        for owner in owners[spec.scope]:
            yield name, owner
