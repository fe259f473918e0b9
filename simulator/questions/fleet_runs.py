"""Several jobs' whole runs on one system: each on as many chips as may help, then the best schedule of all."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from simulator.cluster import system
from simulator.errors import InputError
from simulator.outcome.failures import RunError
from simulator.query import PlanQuery
from simulator.questions.dates import chip_counts
from simulator.questions.fleet import GOALS, FleetJob, Schedule, Slot, schedule
from simulator.whole_run import RunTerms, WholeRun, whole_run

#: Numbers of chips that a job is tried on, the largest of the doublings.
_MOST_COUNTS = 7


@dataclass(frozen=True, kw_only=True)
class FleetPlan:
    """A schedule of runs. ``runs``: (job, chips) -> the run; ``refused``: what was left out, and why."""

    system: str
    chips: int
    goal: str
    schedule: Schedule
    runs: Mapping[tuple[str, int], WholeRun]
    refused: tuple[str, ...]

    def run(self, slot: Slot) -> WholeRun:
        """The run in a slot."""
        return self.runs[slot.name, slot.chips]

    def in_time(self, slot: Slot) -> float:
        """Chance that a job which starts when planned ends when due; 1 where it is not due."""
        if math.isinf(slot.due_s):
            return 1.0
        return self.run(slot).uncertain.within(slot.due_s - slot.start_s)

    @property
    def used_share(self) -> float:
        """Chip-hours that jobs use over those of the fleet until the last has ended."""
        busy = sum(slot.chips * (slot.end_s - slot.start_s) for slot in self.schedule.slots)
        return busy / (self.chips * self.schedule.makespan_s)


def plan_fleet(
    jobs: Mapping[str, PlanQuery], terms: RunTerms | None = None, *, chips: int = 0, goal: str = "makespan",
    due_s: Mapping[str, float] | None = None, weights: Mapping[str, float] | None = None,
) -> FleetPlan:  # fmt: skip
    """When each job runs on a fleet of so many chips (0: the whole system), on how many of them.

    A job with ``chips`` of its own keeps them; one with 0 is tried on doublings from one server to the fleet. Times are
    the expected ones of whole runs (`whole_run`): failures and checkpoints are in them. Jobs are due ``due_s`` after
    the start. Leaves out that jobs share a network and a file system.

    Raises
    ------
    InputError
        For jobs of several systems, a fleet larger than its system, a job that fits on no number of chips.
    """
    if not jobs:
        raise RunError("fleet: no jobs; legal: at least one.")
    if goal not in GOALS:
        raise RunError(f"fleet: goal {goal!a}; legal: {', '.join(GOALS)}.")
    systems = list(dict.fromkeys(query.system for query in jobs.values()))
    if len(systems) > 1:
        raise RunError(f"fleet: jobs name {', '.join(systems)}; legal: one system for all of them.")
    for words, given in (("due", due_s or {}), ("weight", weights or {})):
        if unknown := next((name for name in given if name not in jobs), ""):
            near = difflib.get_close_matches(unknown, list(jobs), 1, 0.0)[0]
            raise RunError(f"{words}: {unknown[:80]!a} is no job; legal: {', '.join(jobs)}; the nearest is {near!a}.")
    cluster = system(systems[0]).cluster
    if not 0 <= chips <= cluster.max_chips:
        raise RunError(
            f"fleet: {chips:,} chips; {cluster.id} has {cluster.max_chips:,}. Legal: 1 to {cluster.max_chips:,}."
        )
    fleet = chips or cluster.max_chips
    runs: dict[tuple[str, int], WholeRun] = {}
    refused: list[str] = []
    fleet_jobs = []
    for name, query in jobs.items():
        counts = chip_counts(fleet, query.global_batch, least=min(cluster.chips_per_server, fleet))[-_MOST_COUNTS:]
        found = _times(query, terms or RunTerms(), (query.chips,) if query.chips else counts, f"{name}: ", refused)
        if not found:
            raise RunError(f"fleet: nothing fits for {name!a}. {refused[-1]}")
        runs |= {(name, count): run for count, run in found.items()}
        fleet_jobs.append(
            FleetJob(
                name=name, time_s={count: run.time.total_s for count, run in found.items()},
                weight=(weights or {}).get(name, 1.0), due_s=(due_s or {}).get(name, math.inf),
            )
        )  # fmt: skip
    return FleetPlan(
        system=cluster.id, chips=fleet, goal=goal, schedule=schedule(fleet_jobs, fleet, goal=goal), runs=runs,
        refused=tuple(refused),
    )  # fmt: skip


def _times(
    query: PlanQuery, terms: RunTerms, counts: tuple[int, ...] | list[int], where: str, refused: list[str]
) -> dict[int, WholeRun]:
    """The run on each number of chips that one fits on; why not goes into ``refused``."""
    found = {}
    for count in counts:
        try:
            found[count] = whole_run(replace(query, chips=count), replace(terms, draws=200))
        except (InputError, LookupError, ValueError) as error:
            refused.append(f"{where}{count:,} chips: {str(error).splitlines()[0]}")
    return found
