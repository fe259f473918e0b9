"""Several jobs on one fleet: in which order, on how many chips each, until when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from typing import Final, TypeAlias

from simulator.outcome.failures import RunError

#: Jobs for which every order is tried.
_MOST: Final = 6
#: Schedules that are tried at most.
_TRIED: Final = 60_000
GOALS: Final = ("makespan", "mean", "late")


@dataclass(frozen=True, kw_only=True)
class FleetJob:
    """A job's time by number of chips [s], how much its end matters, and when it is due [s after the start]."""

    name: str
    time_s: Mapping[int, float]
    weight: float = 1.0
    due_s: float = math.inf

    def __post_init__(self) -> None:
        if not self.time_s or any(chips < 1 or not 0 < t < float("inf") for chips, t in self.time_s.items()):
            raise RunError(f"fleet: job {self.name!a} needs a time above 0 for at least one number of chips.")
        if not self.weight > 0:
            raise RunError(f"fleet: job {self.name!a} has weight {self.weight:g}; above 0.")
        if not self.due_s > 0:
            raise RunError(f"fleet: job {self.name!a} is due after {self.due_s:g} s; above 0.")


@dataclass(frozen=True, kw_only=True)
class Slot:
    """When a job runs, on how many chips, and when it was due."""

    name: str
    chips: int
    start_s: float
    end_s: float
    due_s: float = math.inf

    @property
    def late_s(self) -> float:
        """How long after it was due it ends; 0 in time [s]."""
        return max(0.0, self.end_s - self.due_s)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Slots by start; ``makespan_s``: the last end; ``bound_s``: no schedule is shorter; weighted means of ends and of
    how late they are; ``exact``: no other order or share of chips reaches the goal better."""

    slots: tuple[Slot, ...]
    makespan_s: float
    mean_end_s: float
    mean_late_s: float
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
    "mean" ends the weighted mean soonest, "late" is late the least in the weighted mean. All orders and all numbers of
    chips are tried for a few jobs: the best schedule is among them, since every schedule that moves nothing to the
    front any more comes from some order. For more jobs, numbers of chips with one target time for all, and orders by
    length and by what is due first. Leaves out moving a running job, and where on the network its chips lie.
    """
    if goal not in GOALS:
        raise RunError(f"fleet: goal {goal!a}; legal: {', '.join(GOALS)}.")
    if not jobs:
        raise RunError("fleet: no jobs; legal: at least one.")
    for job in jobs:
        if min(job.time_s) > chips:
            raise RunError(
                f"fleet: job {job.name!a} needs {min(job.time_s):,} chips of {chips:,}; legal: a larger fleet."
            )
    shares, orders, exact = _candidates(jobs, chips)
    best: tuple[tuple[float, ...], tuple[Slot, ...]] | None = None
    total = sum(job.weight for job in jobs)
    weight = {job.name: job.weight / total for job in jobs}
    for share in shares:
        for order in orders:
            slots = _place(jobs, order, share, chips)
            last = max(slot.end_s for slot in slots)
            mean = sum(weight[slot.name] * slot.end_s for slot in slots)
            late = sum(weight[slot.name] * slot.late_s for slot in slots)
            key = {"makespan": (last, late, mean), "mean": (mean, late, last), "late": (late, last, mean)}[goal]
            if best is None or key < best[0]:
                best = key, slots
    assert best is not None
    slots = best[1]
    return Schedule(
        slots=tuple(sorted(slots, key=lambda slot: (slot.start_s, slot.name))),
        makespan_s=max(slot.end_s for slot in slots), mean_end_s=sum(weight[s.name] * s.end_s for s in slots),
        mean_late_s=sum(weight[s.name] * s.late_s for s in slots), bound_s=makespan_bound_s(jobs, chips), exact=exact,
    )  # fmt: skip


Order: TypeAlias = tuple[int, ...]


def _candidates(jobs: Sequence[FleetJob], chips: int) -> tuple[list[Order], list[Order], bool]:
    """Numbers of chips of every job, orders, and whether these are all that can be best."""
    useful = [_useful(job, chips) for job in jobs]
    every = math.factorial(len(jobs)) if len(jobs) <= _MOST else _TRIED
    if every * math.prod(map(len, useful)) <= _TRIED:
        return list(product(*useful)), list(permutations(range(len(jobs)))), True
    targets = sorted({job.time_s[n] for job, own in zip(jobs, useful, strict=True) for n in own})
    shares = list(dict.fromkeys(tuple(_within(job, chips, target) for job in jobs) for target in targets))
    if every * len(shares) <= _TRIED:
        return shares, list(permutations(range(len(jobs)))), False
    return shares, _by_length(jobs, chips), False


def _useful(job: FleetJob, chips: int) -> list[int]:
    """Numbers of chips that end the job sooner than fewer do."""
    useful: list[int] = []
    for n in sorted(n for n in job.time_s if n <= chips):
        if not useful or job.time_s[n] < job.time_s[useful[-1]]:
            useful.append(n)
    return useful


def _within(job: FleetJob, chips: int, target_s: float) -> int:
    """The fewest chips that end a job within a time, or the fastest number there is."""
    fits = {n: t for n, t in job.time_s.items() if n <= chips}
    quick = [n for n, t in fits.items() if t <= target_s]
    return min(quick) if quick else min(fits, key=lambda n: (fits[n], n))


def _by_length(jobs: Sequence[FleetJob], chips: int) -> list[tuple[int, ...]]:
    """Longest first, which packs well (Graham 1969); shortest by weight first, which ends soonest (Smith 1956); what is
    due first, which is late the least at most (Jackson 1955)."""
    lengths = [min(t for n, t in job.time_s.items() if n <= chips) for job in jobs]
    places = range(len(jobs))
    return [
        tuple(sorted(places, key=lambda i: (-lengths[i], i))),
        tuple(sorted(places, key=lambda i: (lengths[i] / jobs[i].weight, i))),
        tuple(sorted(places, key=lambda i: (jobs[i].due_s, lengths[i], i))),
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
                slots.append(Slot(name=jobs[i].name, chips=need, start_s=start_s, end_s=end_s, due_s=jobs[i].due_s))
                break
    return tuple(slots)
