"""What ranks wait on: results that arrive, points where all meet, streams that run beside the compute stream."""

from __future__ import annotations

from simpy import Environment, Event

from simulator.events.trace import Timeline


class Channel:
    """What crosses into one chunk in one direction. Micro-batches come in order, so a count stands for the queue."""

    __slots__ = ("_arrived", "_env", "_waiting")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._arrived = 0
        self._waiting: Event | None = None

    def arrival(self, place: int) -> Event | None:
        """None if the one at that place of the queue is here, else the event of the next arrival, which it is."""
        if self._arrived > place:
            return None
        self._waiting = self._env.event()
        return self._waiting

    def deliver(self, _: Event | None = None) -> None:
        """One more is here."""
        self._arrived += 1
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.succeed()


class Meeting:
    """A point that all ranks reach before any goes on."""

    def __init__(self, env: Environment, ranks: int) -> None:
        self._env = env
        self._missing = ranks
        self._all_here = env.event()
        self.met_at_ps = 0

    def arrive(self) -> Event:
        """Be there; the event of the last one's arrival."""
        self._missing -= 1
        if self._missing == 0:
            self.met_at_ps = int(self._env.now)
            self._all_here.succeed()
        return self._all_here


class Stream:
    """In-order stream of one rank: what is issued runs as soon as all before it is done."""

    def __init__(self, env: Environment, rank: int, name: str, category: str, timeline: Timeline | None) -> None:
        self._env = env
        self._rank = rank
        self._name = name
        self._category = category
        self._timeline = timeline
        self.free_ps = 0

    def issue(self, name: str, duration_ps: int) -> int:
        """Put one transfer into the stream; when it will be done [ps]."""
        start_ps = max(int(self._env.now), self.free_ps)
        self.free_ps = start_ps + duration_ps
        if self._timeline is not None:
            self._timeline.add(self._rank, self._name, name, self._category, start_ps, duration_ps)
        return self.free_ps
