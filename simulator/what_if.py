"""The same job with more of something: twice each resource, fewer and more chips."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Final

from hwmodels.chip import Chip

from .cluster import Cluster
from .constants import Constants
from .job import Job
from .plan_report import Gain
from .ranking import Search, search


def _faster_chip(cluster: Cluster) -> Cluster:
    peaks = {word: 2.0 * rate for word, rate in cluster.chip.peak_flop_per_s.items()}
    return _with_chip(cluster, peak_flop_per_s=peaks)


def _with_chip(cluster: Cluster, **changes: object) -> Cluster:
    chip: Chip = replace(cluster.chip, **changes)  # type: ignore[arg-type]
    return replace(cluster, chip=chip)


#: Resource -> the cluster with twice as much of it.
DOUBLED: Final[Mapping[str, Callable[[Cluster], Cluster]]] = {
    "chip rate": _faster_chip,
    "memory bandwidth": lambda c: _with_chip(c, memory_bandwidth_byte_per_s=2.0 * c.chip.memory_bandwidth_byte_per_s),
    "memory capacity": lambda c: _with_chip(c, memory_byte=2.0 * c.chip.memory_byte),
    "scale-up links": lambda c: replace(c, up_byte_per_s=tuple(2.0 * rate for rate in c.up_byte_per_s)),
    "scale-out links": lambda c: replace(c, out_byte_per_s=2.0 * c.out_byte_per_s),
}


def gains(job: Job, found: Search, constants: Constants) -> Iterator[Gain]:
    """The whole search again with twice as much of each resource, the most useful first."""
    base = found.step(0).total_s
    found_gains = []
    for resource, doubled in DOUBLED.items():
        changed = replace(job, context=replace(job.context, cluster=doubled(job.context.cluster)))
        again = search(changed, constants)
        step_s = again.step(0).total_s
        found_gains.append(
            Gain(resource=resource, step_s=step_s, speedup=base / step_s, parallelism=again.parallelism(0))
        )
    yield from sorted(found_gains, key=lambda gain: gain.step_s)


def scaling(job: Job, constants: Constants) -> Iterator[Mapping[str, float]]:
    """Strong scaling: the best strategy on an eighth of the chips to twice as many.

    ``chips``, ``step_s``, ``speedup`` over the fewest chips that fit, ``efficiency`` = speed-up / (chips / fewest). A
    pinned dp is let go.
    """
    pins = tuple((key, value) for key, value in job.query.fixed if key != "dp")
    first: tuple[int, float] | None = None
    for exponent in range(-3, 2):
        chips = job.chips * 2**exponent
        if chips != int(chips) or chips > job.context.cluster.max_chips:
            continue
        here = replace(job, chips=int(chips), query=replace(job.query, chips=int(chips), fixed=pins))
        found = search(here, constants)
        if not len(found.order):
            continue
        step_s = found.step(0).total_s
        first = first or (int(chips), step_s)
        speedup = first[1] / step_s
        yield {"chips": float(chips), "step_s": step_s, "speedup": speedup, "efficiency": speedup * first[0] / chips}
