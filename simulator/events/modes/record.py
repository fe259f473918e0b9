"""Every update of a run as it happens: when, and how stale."""

from __future__ import annotations

from simpy import Environment, Event

Interval = tuple[int, int]


class Record:
    """What is counted while a run lasts. The run is over when ``over`` happens: after so many updates."""

    def __init__(self, env: Environment, *, updates: int, warm_up: int, samples: int) -> None:
        self._env = env
        self._last = updates
        self.warm_up = warm_up
        self.samples = samples
        self.over: Event = env.event()
        self.version = 0  # updates of the shared parameters so far
        self.at_ps: list[int] = []
        self.staleness: list[int] = []
        self.computing: list[Interval] = []
        self.moved_byte = 0.0
        self.most_ahead = 0
        self.dropped = 0  # mini-batches that were thrown away
        self._ports: dict[str, list[Interval]] = {}

    @property
    def ports(self) -> dict[str, list[Interval]]:
        """When each port was held, by its name."""
        return self._ports

    def busy(self, name: str) -> list[Interval]:
        """The list that a port of this name enters its messages in."""
        return self._ports.setdefault(name, [])

    def update(self, read: int) -> int:
        """One update of what stood at version ``read``; the version that it makes."""
        self.note(self.version - read)
        return self.version

    def note(self, staleness: int) -> None:
        """One update with so many of others between its reading and itself."""
        if self.version == self._last:
            return  # the run is over; what else happens at that instant is not counted
        self.version += 1
        self.at_ps.append(int(self._env.now))
        self.staleness.append(staleness)
        if self.version == self._last:
            self.over.succeed()
