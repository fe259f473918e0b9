"""Works that slow each other down: fluid max-min sharing of named resources, in whole picoseconds.

A *work* takes a stated time alone and a stated amount of some resources while it runs: a message takes wires, a
collective takes wires, processors and memory bandwidth, a decoder takes host cores. Where the amounts fit, every work
runs at full speed and ends to the tick when it would alone. Where they do not, works slow down as `fill_by_class` says.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from simpy import Environment, Event
from simpy.events import EventPriority

from simulator.events.filling import fill_by_class

#: A resource is divided into so many parts; what a work takes is rounded down to whole parts, so that sums are exact
#: and shares that add up to 1 in print do so here.
PARTS: Final = 1 << 40
#: A speed of 1 in whole parts.
FULL_SPEED: Final = 1 << 53

#: After everything else that happens at the same moment.
_LAST: Final = EventPriority(2)


class SharingError(ValueError):
    """A resource or a work that cannot be."""


class Resource:
    """Something works share: a wire, a network card, the cores of a host. Made by `Sharing.resource`."""

    __slots__ = ("capacity", "name", "room", "served_parts_ps", "wanted", "works")

    def __init__(self, name: str, capacity: float) -> None:
        self.name = name
        self.capacity = capacity  # in the caller's unit, as it was made: amounts count in parts of it
        self.room = PARTS  # parts there are now
        self.wanted = 0  # parts that the running works would take at full speed
        self.works: dict[Work, int] = {}
        self.served_parts_ps = 0  # by works that ended: parts x picoseconds at full speed

    def __repr__(self) -> str:
        return f"Resource({self.name!r}, {self.capacity:g})"

    @property
    def load(self) -> float:
        """What running works take now, as a share of what the resource was made with."""
        return sum(parts * work.speed for work, parts in self.works.items()) / (PARTS * FULL_SPEED)

    @property
    def served(self) -> float:
        """What works that ended took in all: capacity x seconds, so bytes where the capacity is in bytes a second."""
        return self.served_parts_ps / PARTS * self.capacity * 1e-12


class Work:
    """One running work."""

    __slots__ = (
        "alone_ps", "done", "due_ps", "floor", "left", "pace", "parts", "priority", "serial", "since_ps", "speed",
    )  # fmt: skip

    def __init__(
        self, serial: int, done: Event, alone_ps: int, parts: dict[Resource, int], pace: float, priority: int,
        floor: float,
    ) -> None:  # fmt: skip
        self.serial = serial
        self.done = done
        self.alone_ps = alone_ps
        self.left = alone_ps * FULL_SPEED  # picoseconds at full speed x FULL_SPEED
        self.parts = parts
        self.pace = pace
        self.priority = priority
        self.floor = floor
        self.speed = FULL_SPEED
        self.since_ps = 0
        self.due_ps: int | None = None

    def advance(self, now_ps: int) -> None:
        """Take off what was done since the last look; exact in whole numbers."""
        self.left -= self.speed * (now_ps - self.since_ps)
        self.since_ps = now_ps


class _EndOfMoment(Event):
    """Happens when everything else of the same moment has."""

    def __init__(self, env: Environment, then: Callable[[], None]) -> None:
        self.env = env
        self.callbacks = [lambda _: then()]
        self._value = None
        self._ok = True


class Sharing:
    """Resources of one environment, and the works that run on them.

    Only works joined to a change through resources that are short get new speeds, once for all changes of one moment.
    A change costs time in the number of those works, not in that of all.

    The clock of the environment counts picoseconds in whole numbers. `env.run()` without an end may run past the last
    work, to a moment when something would have ended had nothing sped up; wait for works or processes instead.

    Parameters
    ----------
    env
        The environment.
    watch
        Called with (time [ps], resource, load) whenever the load of a resource may have changed.
    """

    def __init__(self, env: Environment, *, watch: Callable[[int, Resource, float], None] | None = None) -> None:
        self.env = env
        self.settlements = 0
        self._watch = watch
        self._resources: dict[str, Resource] = {}
        self._serial = 0
        self._pushed = 0
        self._due: list[tuple[int, int, int, Work]] = []  # when, who began first, how often renewed
        self._armed_ps: int | None = None
        self._changed: dict[Resource, None] = {}
        self._settling = False

    def resource(self, name: str, capacity: float = 1.0) -> Resource:
        """The resource of that name, made on first call; capacity in the unit that demands will be in."""
        if not 0 < capacity < float("inf"):
            raise SharingError(f"resource {name!r}: the capacity is {capacity!r}; above 0, finite.")
        known = self._resources.get(name)
        if known is None:
            known = self._resources[name] = Resource(name, capacity)
        elif known.capacity != capacity:
            raise SharingError(f"resource {name!r}: made with {known.capacity:g}, asked for with {capacity:g}.")
        return known

    def derate(self, resource: Resource, share: float) -> None:
        """From now on there is this share (0 to 1) of what the resource was made with: a card fails, a link heals."""
        if not 0 <= share <= 1:
            raise SharingError(f"{resource!r}: the share is {share!r}; 0 to 1.")
        short = resource.wanted > resource.room
        resource.room = round(PARTS * share)
        if short or resource.wanted > resource.room:
            self._change(resource)

    def run(
        self,
        duration_ps: int,
        demands: Mapping[Resource, float] | None = None,
        *,
        weight: float = 1.0,
        priority: int = 0,
        floor: float = 0.0,
    ) -> Event:
        """Start a work; the event of its end, whose value is that moment [ps].

        Parameters
        ----------
        duration_ps
            How long it takes at full speed [ps].
        demands
            What it takes of each resource at full speed, in the unit of the resource's capacity. More than there is:
            it never runs at full speed.
        weight
            Of two works in want of the same, one of weight 2 gets twice as much.
        priority
            Works of a lower number take what they want first; the others share what is left.
        floor
            A share of full speed that no other work can take away, those of lower numbers included. Floors that do
            not fit together are cut alike on the resource that they do not fit on.
        """
        if duration_ps < 0 or duration_ps != int(duration_ps):
            raise SharingError(f"work: the duration is {duration_ps!r} ps; a whole number, 0 or more.")
        if not (0 < weight < float("inf") and 0 <= floor <= 1):
            raise SharingError(f"work: weight {weight!r}, floor {floor!r}; weight above 0, floor from 0 to 1.")
        parts: dict[Resource, int] = {}
        most = 0.0
        for resource, amount in (demands or {}).items():
            if not 0 <= amount < float("inf"):
                raise SharingError(f"work: the demand on {resource!r} is {amount!r}; 0 or more, finite.")
            whole = int(amount / resource.capacity * PARTS)
            if whole and duration_ps:
                parts[resource] = whole
                most = max(most, amount)
        now_ps = int(self.env.now)
        if not parts:
            return self.env.timeout(int(duration_ps), now_ps + int(duration_ps))
        work = Work(
            self._serial, self.env.event(), int(duration_ps), parts, weight / most if most else 1.0, priority, floor
        )  # fmt: skip
        self._serial += 1
        work.since_ps = now_ps
        for resource, whole in parts.items():
            resource.works[work] = whole
            resource.wanted += whole
            if resource.wanted > resource.room:
                self._change(resource)
            elif self._watch is not None:
                self._watch(now_ps, resource, resource.load)
        self._schedule(work, now_ps + int(duration_ps))
        return work.done

    def settle(self) -> None:
        """New speeds for all works that the changes of this moment reach; done by itself before time goes on."""
        self._settling = False
        if not self._changed:
            return
        self.settlements += 1
        now_ps = int(self.env.now)
        works, short = self._reached()
        self._changed.clear()
        for work, speed in zip(works, _speeds(works, short), strict=True):
            if speed == work.speed:
                continue
            work.advance(now_ps)
            work.speed = speed
            if speed:
                self._schedule(work, now_ps - (-work.left // speed))
            else:
                work.due_ps = None
        if self._watch is not None:
            for resource in {resource: None for work in works for resource in work.parts}:
                self._watch(now_ps, resource, resource.load)

    def _reached(self) -> tuple[list[Work], dict[Resource, None]]:
        """Works joined to what changed, in the order they began, and the short resources among them."""
        short = {resource: None for resource in self._changed if resource.wanted > resource.room}
        found: dict[Work, None] = {work: None for resource in self._changed for work in resource.works}
        left = list(found)
        while left:
            for resource in left.pop().parts:
                if resource.wanted > resource.room and resource not in short:
                    short[resource] = None
                    for work in resource.works:
                        if work not in found:
                            found[work] = None
                            left.append(work)
        return sorted(found, key=lambda work: work.serial), short

    def _change(self, resource: Resource) -> None:
        self._changed[resource] = None
        if not self._settling:
            self._settling = True
            self.env.schedule(_EndOfMoment(self.env, self.settle), priority=_LAST)

    def _schedule(self, work: Work, due_ps: int) -> None:
        work.due_ps = due_ps
        self._pushed += 1
        heapq.heappush(self._due, (due_ps, work.serial, self._pushed, work))
        self._arm()

    def _arm(self) -> None:
        """Be woken when the next work ends."""
        due = self._due
        while due and due[0][3].due_ps != due[0][0]:
            heapq.heappop(due)
        if due and (self._armed_ps is None or due[0][0] < self._armed_ps):
            self._armed_ps = due[0][0]
            wait = self.env.timeout(self._armed_ps - int(self.env.now))
            wait.callbacks = [self._wake]

    def _wake(self, _event: Event) -> None:
        now_ps, due = int(self.env.now), self._due
        if self._armed_ps is not None and self._armed_ps <= now_ps:
            self._armed_ps = None
        while due and due[0][0] <= now_ps:
            due_ps, _, _, work = heapq.heappop(due)
            if work.due_ps == due_ps:
                self._end(work, now_ps)
        self._arm()

    def _end(self, work: Work, now_ps: int) -> None:
        work.due_ps = None
        for resource, whole in work.parts.items():
            short = resource.wanted > resource.room
            resource.wanted -= whole
            resource.served_parts_ps += whole * work.alone_ps
            del resource.works[work]
            if short:
                self._change(resource)
            elif self._watch is not None:
                self._watch(now_ps, resource, resource.load)
        work.done.succeed(now_ps)


def _speeds(works: list[Work], short: Iterable[Resource]) -> list[int]:
    """Speed of each work [parts of FULL_SPEED], by the resources that are short."""
    place = {resource: i for i, resource in enumerate(short)}
    if not place:
        return [FULL_SPEED] * len(works)
    speeds = fill_by_class(
        [resource.room / PARTS for resource in place],
        [[(place[r], parts / PARTS) for r, parts in work.parts.items() if r in place] for work in works],
        [work.pace for work in works],
        [work.floor for work in works],
        [work.priority for work in works],
    )
    # Rounded down, so that no work is ever done early; what is not zero stays so.
    return [max(int(speed * FULL_SPEED), 1) if speed > 0 else 0 for speed in speeds]
