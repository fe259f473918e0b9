"""Several jobs on one fleet: in which order, on how many chips each, until when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from simulator.outcome.failures import RunError

#: Jobs for which every order is tried.
_MOST: Final = 6


@dataclass(frozen=True, kw_only=True)
class FleetJob:
    """A job's time by number of chips [s], and how much its end matters."""

    name: str
    time_s: Mapping[int, float]
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.time_s or any(chips < 1 or not 0 < t < float("inf") for chips, t in self.time_s.items()):
            raise RunError(f"fleet: job {self.name!a} needs a time above 0 for at least one number of chips.")
        if not self.weight > 0:
            raise RunError(f"fleet: job {self.name!a} has weight {self.weight:g}; above 0.")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """When a job runs, on how many chips."""

    name: str
    chips: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Slots by start; ``makespan_s``: the last end; ``bound_s``: no schedule is shorter; mean of weighted ends."""

    slots: tuple[Slot, ...]
    makespan_s: float
    mean_end_s: float
    bound_s: float
    exact: bool


def makespan_bound_s(jobs: Sequence[FleetJob], chips: int) -> float:
    """No schedule ends sooner: the longest job at its fastest, or all the fewest chip-seconds over the fleet [s]."""
    fits = [{n: t for n, t in job.time_s.items() if n <= chips} for job in jobs]
    area = sum(min(n * t for n, t in times.items()) for times in fits)
    return max(area / chips, *(min(times.values()) for times in fits))


def schedule(jobs: Sequence[FleetJob], chips: int, *, goal: str = "makespan") -> Schedule:
    """The best order and share of chips for jobs that do not stop once begun.

    Jobs are placed one after the other, each at once where its chips are free; goal "makespan" ends all soonest,
    "mean" ends the weighted mean soonest. All orders and numbers of chips are tried for a few jobs; for more, orders by
    length with one target time for all. Leaves out moving a running job, and where on the network its chips lie.
    """
    if goal not in ("makespan", "mean"):
        raise RunError(f"fleet: goal {goal!a}; legal: makespan, mean.")
    if not jobs:
        raise RunError("fleet: no jobs; legal: at least one.")
    for job in jobs:
        if min(job.time_s) > chips:
            raise RunError(
                f"fleet: job {job.name!a} needs {min(job.time_s):,} chips of {chips:,}; legal: a larger fleet."
            )
    exact = len(jobs) <= _MOST
    best: tuple[float, float, tuple[Slot, ...]] | None = None
    targets = sorted({t for job in jobs for n, t in job.time_s.items() if n <= chips})
    shares = list(dict.fromkeys(tuple(_within(job, chips, target) for job in jobs) for target in targets))
    orders = list(permutations(range(len(jobs)))) if exact else _by_length(jobs, chips)
    if len(shares) * len(orders) > 40_000:
        orders, exact = _by_length(jobs, chips), False
    total = sum(job.weight for job in jobs)
    for share in shares:
        for order in orders:
            slots = _place(jobs, order, share, chips)
            last = max(slot.end_s for slot in slots)
            ends = {slot.name: slot.end_s for slot in slots}
            mean = sum(job.weight * ends[job.name] for job in jobs) / total
            key = (last, mean) if goal == "makespan" else (mean, last)
            if best is None or key < best[:2]:
                best = (*key, slots)
    assert best is not None
    first, second, slots = best
    last, mean = (first, second) if goal == "makespan" else (second, first)
    return Schedule(
        slots=tuple(sorted(slots, key=lambda slot: (slot.start_s, slot.name))), makespan_s=last, mean_end_s=mean,
        bound_s=makespan_bound_s(jobs, chips), exact=exact,
    )  # fmt: skip


def _within(job: FleetJob, chips: int, target_s: float) -> int:
    """The fewest chips that end a job within a time, or the fastest number there is."""
    fits = {n: t for n, t in job.time_s.items() if n <= chips}
    quick = [n for n, t in fits.items() if t <= target_s]
    return min(quick) if quick else min(fits, key=lambda n: (fits[n], n))


def _by_length(jobs: Sequence[FleetJob], chips: int) -> list[tuple[int, ...]]:
    """Longest first, which packs well (Graham 1969), and shortest by weight first, which ends soonest (Smith 1956)."""
    lengths = [min(t for n, t in job.time_s.items() if n <= chips) for job in jobs]
    places = range(len(jobs))
    return [
        tuple(sorted(places, key=lambda i: (-lengths[i], i))),
        tuple(sorted(places, key=lambda i: (lengths[i] / jobs[i].weight, i))),
    ]


def _place(jobs: Sequence[FleetJob], order: Sequence[int], share: Sequence[int], chips: int) -> tuple[Slot, ...]:
    """One job after the other, each as soon as its chips are free and stay so."""
    slots: list[Slot] = []
    for i in order:
        need, length_s = share[i], jobs[i].time_s[share[i]]
        for start_s in sorted({0.0, *(slot.end_s for slot in slots)}):
            end_s = start_s + length_s
            edges = {start_s, *(slot.start_s for slot in slots if start_s < slot.start_s < end_s)}
            if all(need + sum(s.chips for s in slots if s.start_s <= t < s.end_s) <= chips for t in edges):
                slots.append(Slot(name=jobs[i].name, chips=need, start_s=start_s, end_s=end_s))
                break
    return tuple(slots)
