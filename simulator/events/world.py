"""What the ranks of a step share: roles, channels between stages, groups that exchange, and the machine under them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from simpy import Environment

from simulator.events.machine import Alone, Contention, Machine, Shared
from simulator.events.release import Release
from simulator.events.roles import Grid, Roles, find_roles
from simulator.events.streams import Channel, Meeting, Rounds, Show, Stream
from simulator.events.trace import Timeline
from simulator.schedules import SCHEDULES
from simulator.schedules.route import Stop, neighbours
from simulator.stepspec import StepSpec


class Delays(Protocol):
    """What chance does to work. See `simulator.events.misfortune`."""

    def ps(self, role: int, kind: str, place: int, base_ps: int, ranks: int) -> int:
        """How long a piece of compute of ``base_ps`` takes this time on the slowest of ``ranks`` ranks [ps].

        ``place`` is the running number of the piece on its role.
        """
        ...

    def last_of(self, ready_ps: Sequence[int], ranks: int) -> int:
        """When the last of ``ranks`` ranks is ready, of which some are known to be so at ``ready_ps`` [ps]."""
        ...


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Under what a step runs: who is there and what is unlike, what is shared, what chance does, when gradients leave.

    ``roles`` None: one rank of every stage speaks for all. ``contention`` None: all work takes its own time.
    ``release`` None: gradients leave as the step's own mode has it.
    """

    roles: Roles | None = None
    contention: Contention | None = None
    delays: Delays | None = None
    release: Release | None = None


class World:
    """One step's surroundings on one clock."""

    def __init__(self, env: Environment, spec: StepSpec, around: Surroundings, timeline: Timeline | None) -> None:
        self.env = env
        self.spec = spec
        self.timeline = timeline
        self.delays = around.delays
        self.release = around.release
        if around.release is not None:
            around.release.check(spec)
        self.roles = around.roles or find_roles(Grid(stages=len(spec.stages)))
        if self.roles.grid.stages != len(spec.stages):
            raise ValueError(f"Roles of {self.roles.grid.stages} stages for a step of {len(spec.stages)}.")
        self.machine: Machine = Alone(env=env)
        if around.contention is not None:
            self.machine = Shared(env, self.roles, around.contention)
        route = SCHEDULES[spec.schedule].TRAITS.route
        self.stops = neighbours(route, len(spec.stages), spec.micro_batches, spec.virtual_stages)
        at_stage: list[list[int]] = [[] for _ in spec.stages]
        for number, role in enumerate(self.roles.roles):
            at_stage[role.stage].append(number)
        self.forth = {(r, stop.chunk): Channel(env) for stop in self.stops for r in at_stage[stop.rank]}
        self.back = {(r, stop.chunk): Channel(env) for stop in self.stops for r in at_stage[stop.rank]}
        everybody = len(self.roles.roles)
        self.gradients_done = Meeting(env, everybody)
        self.updated = Meeting(env, everybody)
        self.data = [self._data_stream(members) for members in self.roles.data_groups]
        self.rounds = [
            Rounds(env, self.machine, members) if len(members) > 1 else None for members in self.roles.inner_groups
        ]
        if timeline is not None:
            for number, role in enumerate(self.roles.roles):
                timeline.name_stage(number, ": ".join(filter(None, (spec.stages[role.stage].name, role.name))))

    def slowness(self, members: Sequence[int]) -> float:
        """How much longer an exchange of these roles takes than one between ordinary ranks: as its slowest wire."""
        return max(self.roles.roles[r].links for r in members)

    def slownesses(self, role: int) -> tuple[float, float]:
        """The same of a role's inner group and of its data group."""
        me = self.roles.roles[role]
        return (
            self.slowness(self.roles.inner_groups[me.inner_group]),
            self.slowness(self.roles.data_groups[me.data_group]),
        )

    def shown(self, members: Sequence[int], stream: str, category: str) -> Show | None:
        """Puts what an exchange does on the tracks of its members."""
        timeline = self.timeline
        if timeline is None:
            return None

        def show(name: str, start_ps: int, duration_ps: int, cause: int) -> int:
            places = [timeline.add(r, stream, name, category, start_ps, duration_ps, cause) for r in members]
            return places[0]

        return show

    def _data_stream(self, members: tuple[int, ...]) -> Stream:
        last_of: Callable[[Sequence[int]], int] | None = None
        delays = self.delays
        if delays is not None:
            ranks = sum(self.roles.roles[r].ranks for r in members) // self.roles.grid.inner
            if ranks > len(members):

                def last_of(ready_ps: Sequence[int]) -> int:
                    return delays.last_of(ready_ps, ranks)

        return Stream(
            self.env, self.machine, members, show=self.shown(members, "data", "data"), last_of=last_of
        )  # fmt: skip

    def target(self, role: int, stop: Stop) -> tuple[int, int]:
        """The role and chunk that a rank of a role hands on to at a stop: the rank of its column there."""
        return self.roles.roles[role].column[stop.rank], stop.chunk


def scaled(duration_ps: int, factor: float) -> int:
    """A duration stretched, in whole picoseconds; untouched by a factor of 1."""
    return duration_ps if factor == 1.0 else round(duration_ps * factor)
