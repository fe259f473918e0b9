"""What ranks wait on: results that arrive, groups that meet, streams that run beside the compute stream."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence

from simpy import Environment, Event

from simulator.events.machine import Machine

#: How one piece of work is shown: its members' stage numbers, start, length, and what it waited for; its place.
Show = Callable[[str, int, int, int], int]


class Channel:
    """What crosses into one chunk in one direction. Micro-batches come in order, so a count stands for the queue."""

    __slots__ = ("_arrived", "_env", "_waiting", "cause")

    def __init__(self, env: Environment) -> None:
        self._env = env
        self._arrived = 0
        self._waiting: Event | None = None
        self.cause = -1

    def arrival(self, place: int) -> Event | None:
        """None if the one at that place of the queue is here, else the event of the next arrival, which it is."""
        if self._arrived > place:
            return None
        self._waiting = self._env.event()
        return self._waiting

    def deliver(self, cause: int = -1) -> None:
        """One more is here; ``cause`` is the place of what brought it."""
        self._arrived += 1
        self.cause = cause
        if self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.succeed()


class Meeting:
    """A point that all reach before any goes on."""

    def __init__(self, env: Environment, members: int) -> None:
        self._env = env
        self._missing = members
        self._all_here = env.event()
        self.met_at_ps = 0
        self.cause = -1

    def arrive(self, cause: int = -1) -> Event:
        """Be there; the event of the last one's arrival."""
        self._missing -= 1
        if self._missing == 0:
            self.met_at_ps = int(self._env.now)
            self.cause = cause
            self._all_here.succeed()
        return self._all_here


class Exchange:
    """One exchange of a group: known when it is done, or an event that comes then."""

    __slots__ = ("cause", "done_ps", "event", "place", "start_ps")

    def __init__(self) -> None:
        self.start_ps = 0
        self.done_ps: int | None = None
        self.event: Event | None = None
        self.cause = -1
        self.place = -1

    def wait(self, env: Environment) -> Generator[Event, None, None]:
        """Go on when it is done."""
        if self.done_ps is None:
            if self.event is None:
                self.event = env.event()
            yield self.event
        if self.done_ps is not None and self.done_ps > env.now:
            yield env.timeout(self.done_ps - int(env.now))


class Rounds:
    """Exchanges that the compute streams of a group wait for, one after the other: each begins with its last member."""

    __slots__ = ("_env", "_machine", "_members", "_missing", "_round")

    def __init__(self, env: Environment, machine: Machine, members: Sequence[int]) -> None:
        self._env = env
        self._machine = machine
        self._members = tuple(members)
        self._missing = len(self._members)
        self._round = Exchange()

    def join(self, duration_ps: int, cause: int) -> Exchange:
        """Be one more of the exchange at hand; its ``event`` comes when it is done."""
        this = self._round
        if this.event is None:
            this.event = self._env.event()
        self._missing -= 1
        if self._missing == 0:
            self._missing = len(self._members)
            self._round = Exchange()
            this.start_ps = int(self._env.now)
            this.cause = cause
            event = this.event
            running = self._machine.run("tensor", duration_ps, self._members)

            def done(_: Event) -> None:
                event.succeed()

            running.callbacks.append(done)
        return this


class Stream:
    """In-order stream of a group: what all its members have issued runs as soon as all before it is done.

    Where work takes its own time an exchange's end is known when the last member issues it, and no event is needed.
    """

    def __init__(
        self,
        env: Environment,
        machine: Machine,
        members: Sequence[int],
        *,
        receivers: Sequence[int] = (),
        show: Show | None = None,
        last_of: Callable[[Sequence[int]], int] | None = None,
    ) -> None:
        self._env = env
        self._machine = machine
        self._members = tuple(members)
        self._receivers = tuple(receivers)
        self._show = show
        self._last_of = last_of
        self._place = -1
        self._issued = dict.fromkeys(self._members, 0)
        self._begun = 0
        self._open: deque[tuple[Exchange, list[int]]] = deque()
        self._queue: deque[tuple[Exchange, str, str, int]] = deque()
        self._running = False
        self.free_ps = 0

    def issue(self, member: int, kind: str, name: str, duration_ps: int, cause: int = -1) -> Exchange:
        """One member's part of its next exchange."""
        now = int(self._env.now)
        if len(self._members) == 1:
            exchange, ready = Exchange(), [now]
        else:
            number = self._issued[member] - self._begun
            self._issued[member] += 1
            if number == len(self._open):
                self._open.append((Exchange(), []))
            exchange, ready = self._open[number]
            ready.append(now)
            if len(ready) < len(self._members):
                return exchange
            self._open.popleft()
            self._begun += 1
        if self._machine.contended:
            exchange.cause = cause
            self._queue.append((exchange, kind, name, duration_ps))
            if not self._running:
                self._running = True
                self._env.process(self._drain())
            return exchange
        late_ps = now if self._last_of is None else max(now, self._last_of(ready))
        exchange.start_ps = max(late_ps, self.free_ps)
        self.free_ps = exchange.done_ps = exchange.start_ps + duration_ps
        exchange.cause = self._place if exchange.start_ps > now and self._place >= 0 else cause
        self._shown(exchange, name, duration_ps)
        if exchange.event is not None:
            exchange.event.succeed()
        return exchange

    def _drain(self) -> Generator[Event, None, None]:
        while self._queue:
            exchange, kind, name, duration_ps = self._queue.popleft()
            start_ps = exchange.start_ps = int(self._env.now)
            if start_ps == self.free_ps and self._place >= 0:
                exchange.cause = self._place
            yield self._machine.run(kind, duration_ps, self._members, self._receivers)
            self.free_ps = exchange.done_ps = int(self._env.now)
            self._shown(exchange, name, self.free_ps - start_ps)
            if exchange.event is not None:
                exchange.event.succeed()
        self._running = False

    def _shown(self, exchange: Exchange, name: str, duration_ps: int) -> None:
        if self._show is not None:
            exchange.place = self._show(name, exchange.start_ps, duration_ps, exchange.cause)
            self._place = exchange.place
