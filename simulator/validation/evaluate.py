"""Many measured runs at once: lower them together, price them together."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, field, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ..analytic import evaluate
from ..constants import Constants, key_of
from ..kernels.optable import Floats, Ints
from ..lowering import Context, Lowered, join, lower
from ..pricing import Durations, price
from ..staging import staged
from ..traffic import Traffic, traffic_of
from .feeding import fed_s, host_seconds
from .rows import RunJob

#: Workloads are lowered apart by how many blocks they have, up to each of these and beyond: joined, all take the width
#: of the widest.
_BLOCKS: Final = (4, 8, 11, 16, 24)


@dataclass(frozen=True, kw_only=True)
class JobPart:
    """Jobs that are priced in one go; ``strategy`` is the row of each in ``lowered``, like jobs share one.

    ``host`` is what the hosts of each do for a step, (positions, 5) as `feeding.HostWork.amounts`, ``waited`` whether
    its chips wait for that.
    """

    positions: Ints
    strategy: Ints
    host: Floats
    waited: NDArray[np.bool_]
    lowered: Lowered
    traffic: Traffic

    def step_s(self, constants: Constants) -> Floats:
        """Step time of every job of the part, shape (positions,) [s]."""
        alone_s = evaluate(self.lowered, constants, self.traffic).total_s[self.strategy]
        return fed_s(alone_s, host_seconds(self.host, constants), self.waited)

    def depending_on(self, keys: Collection[str]) -> NDArray[np.bool_]:
        """Whether any duration of a job depends on one of some constants, shape (positions,).

        A constant that is no number makes everything so that is computed from it, and nothing else.
        """
        unknown = _NoNumbers(keys)
        durations = price(self.lowered, unknown, self.traffic)
        found = np.zeros(self.lowered.strategies, bool)
        for f in fields(Durations):
            found |= np.isnan(getattr(durations, f.name)).reshape(len(found), -1).any(axis=1)
        return np.asarray(found[self.strategy] | np.isnan(host_seconds(self.host, unknown)))

    def only(self, positions: Ints, places: Ints) -> JobPart:
        """The jobs at some places of the part, at other positions."""
        rows, strategy = np.unique(self.strategy[places], return_inverse=True)
        lowered, shapes = self.lowered.only(rows)
        return JobPart(
            positions=positions, strategy=strategy.reshape(-1).astype(np.int64), host=self.host[places],
            waited=self.waited[places], lowered=lowered, traffic=self.traffic.take(rows, shapes),
        )  # fmt: skip


class _NoNumbers(Constants):
    """The priors, but for some keys that have no number for a value."""

    def __init__(self, keys: Collection[str]) -> None:
        super().__init__()
        object.__setattr__(self, "_keys", frozenset(keys))

    def get(self, name: str, owner: str = "") -> float:
        keys: frozenset[str] = getattr(self, "_keys")  # noqa: B009 (a frozen data class declares no more fields)
        return math.nan if key_of(name, owner) in keys else super().get(name, owner)


@dataclass(frozen=True, kw_only=True)
class JobTable:
    """Lowered jobs in parts, each with the positions of its jobs in the given order."""

    size: int
    parts: tuple[JobPart, ...]
    _touched: dict[frozenset[str], tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    def step_s(self, constants: Constants) -> Floats:
        """Step time of every job, shape (jobs,) [s]."""
        result = np.zeros(self.size)
        for part in self.parts:
            result[part.positions] = part.step_s(constants)
        return result

    def moved_s(self, constants: Constants, keys: Collection[str], before_s: Floats) -> Floats:
        """`step_s` where it was ``before_s`` and only constants of some keys have moved: the other parts stand."""
        moved = frozenset(keys)
        if moved not in self._touched:
            self._touched[moved] = tuple(i for i, part in enumerate(self.parts) if part.depending_on(moved).any())
        result = before_s.copy()
        for index in self._touched[moved]:
            part = self.parts[index]
            result[part.positions] = part.step_s(constants)
        return result

    def depending_on(self, keys: Collection[str]) -> NDArray[np.bool_]:
        """Whether the step time of a job can depend on one of some constants, shape (jobs,)."""
        found = np.zeros(self.size, bool)
        for part in self.parts:
            found[part.positions] = part.depending_on(keys)
        return found

    def only(self, positions: Ints) -> JobTable:
        """The jobs at some positions, in that order: what was lowered for all is not lowered again."""
        place = np.full(self.size, -1, np.int64)
        place[positions] = np.arange(len(positions))
        parts = []
        for part in self.parts:
            kept = np.flatnonzero(place[part.positions] >= 0)
            if len(kept):
                parts.append(part.only(place[part.positions[kept]], kept))
        return JobTable(size=len(positions), parts=tuple(parts))


def _part_of(job: RunJob) -> Hashable:
    """Jobs that are joined: of about as many blocks, and alike in whether they exchange anything."""
    blocks = len(job.workload.layers)
    return sum(blocks > limit for limit in _BLOCKS), job.parallelism.chips > 1


def job_table(jobs: Sequence[RunJob]) -> JobTable:
    """Lower jobs; those of one context and workload share their shapes, those of one strategy too are one."""
    places: dict[Hashable, dict[tuple[int, Context, bool], list[int]]] = {}
    for position, job in enumerate(jobs):
        groups = places.setdefault(_part_of(job), {})
        groups.setdefault((id(job.workload), job.context, job.frozen), []).append(position)
    parts = []
    for groups in places.values():
        lowered: list[Lowered] = []
        order: list[int] = []
        strategy: list[int] = []
        count = 0
        for (_, context, frozen), positions in groups.items():
            row = {p: i for i, p in enumerate(dict.fromkeys(jobs[p].parallelism for p in positions))}
            workload = jobs[positions[0]].workload
            lowered.append(staged(workload, lower(workload, context, list(row), frozen=frozen)))
            order += positions
            strategy += [count + row[jobs[p].parallelism] for p in positions]
            count += len(row)
        joined = join(lowered)
        hosts = [jobs[p].host for p in order]
        parts.append(
            JobPart(
                positions=np.array(order), strategy=np.array(strategy),
                host=np.array([host.amounts for host in hosts]), waited=np.array([host.waited for host in hosts]),
                lowered=joined, traffic=traffic_of(joined),
            )
        )  # fmt: skip
    return JobTable(size=len(jobs), parts=tuple(parts))
