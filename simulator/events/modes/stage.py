"""What workers of every mode share: a clock, ports, durations that are drawn, and the record of updates."""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import numpy as np
from simpy import Environment, Event

from simulator.events.modes.record import Record
from simulator.modes.job import ModeJob
from simulator.modes.spread import Spread
from simulator.stepspec import PICOSECONDS_PER_SECOND

Process = Generator[Event, None, None]
_BLOCK = 256


def ticks(seconds: float) -> int:
    """Whole picoseconds."""
    return round(seconds * PICOSECONDS_PER_SECOND)


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one name; those of other names do not change when one more is asked for."""
    digest = hashlib.sha256(name.encode()).digest()
    return np.random.Generator(np.random.PCG64([seed, int.from_bytes(digest[:8], "little")]))


class Durations:
    """One worker's durations, one after the other [ps]."""

    def __init__(self, spread: Spread, seed: int, name: str) -> None:
        self._spread = spread
        self._certain = ticks(spread.mean_s) if spread.kind == "constant" else None
        self._generator = stream(seed, name)
        self._left: list[float] = []

    def next_ps(self) -> int:
        """The next one."""
        if self._certain is not None:
            return self._certain
        if not self._left:
            self._left = self._spread.draws(self._generator, _BLOCK)[::-1].tolist()
        return ticks(self._left.pop())

    def sum_ps(self, count: int) -> int:
        """So many of them together."""
        return sum(self.next_ps() for _ in range(count))


class Port:
    """The servers' ports in one direction, as one: messages pass whole, first come, first served."""

    def __init__(self, name: str, record: Record, exponential: np.random.Generator | None = None) -> None:
        self._busy = record.busy(name)
        self._exponential = exponential
        self.free_ps = 0

    def pass_ps(self, now_ps: int, held_ps: int, whole_ps: int) -> int:
        """When a message that comes now has arrived: it waits for those before it, then takes as long as alone."""
        if self._exponential is not None and held_ps:
            drawn_ps = round(held_ps * self._exponential.exponential())
            held_ps, whole_ps = drawn_ps, whole_ps - held_ps + drawn_ps
        start_ps = max(now_ps, self.free_ps)
        self.free_ps = start_ps + held_ps
        self._busy.append((start_ps, self.free_ps))
        return start_ps + whole_ps


class Stage:
    """One run: the clock, the record, the ports, what messages take."""

    def __init__(self, job: ModeJob, updates: int, warm_up: int, seed: int) -> None:
        self.job = job
        self.seed = seed
        self.env = Environment()
        self.record = Record(self.env, updates=updates, warm_up=warm_up, samples=job.samples_per_update)
        vary = job.exponential_ports
        self.push_port = Port("push", self.record, stream(seed, "push port") if vary else None)
        self.pull_port = Port("pull", self.record, stream(seed, "pull port") if vary else None)
        self._push_ps, self._push_held_ps = ticks(job.push_s), ticks(job.push_port_s)
        self._pull_ps, self._pull_held_ps = ticks(job.pull_s), ticks(job.pull_port_s)

    def durations(self, worker: int) -> Durations:
        """What a worker's mini-batches take."""
        return Durations(self.job.compute, self.seed, f"compute {worker}")

    def compute(self, duration_ps: int) -> Event:
        """A worker computes from now on."""
        now_ps = int(self.env.now)
        self.record.computing.append((now_ps, now_ps + duration_ps))
        return self.env.timeout(duration_ps)

    def push(self) -> Event:
        """The arrival at the servers of a gradient that is sent now."""
        return self._message(self.push_port, self._push_held_ps, self._push_ps, self.job.push_byte)

    def pull(self) -> Event:
        """The arrival at a worker of parameters that the servers send now."""
        return self._message(self.pull_port, self._pull_held_ps, self._pull_ps, self.job.pull_byte)

    def write_and_read(self) -> tuple[Event, Event]:
        """The ends of a write and of the read behind it, both through the port of pushes and at one go."""
        now_ps, whole_ps = int(self.env.now), self._push_ps + self._pull_ps
        done_ps = self.push_port.pass_ps(now_ps, self._push_held_ps + self._pull_held_ps, whole_ps)
        self.record.moved_byte += self.job.push_byte + self.job.pull_byte
        return self.env.timeout(done_ps - self._pull_ps - now_ps), self.env.timeout(done_ps - now_ps)

    def _message(self, port: Port, held_ps: int, whole_ps: int, byte: float) -> Event:
        now_ps = int(self.env.now)
        self.record.moved_byte += byte
        return self.env.timeout(port.pass_ps(now_ps, held_ps, whole_ps) - now_ps)
