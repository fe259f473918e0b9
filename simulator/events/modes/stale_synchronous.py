"""Stale-synchronous workers: nobody is more than a bound of steps ahead of the slowest."""

from __future__ import annotations

from simpy import Event

from simulator.events.modes.stage import Process, Stage


class Clocks:
    """Steps that every worker has done, and who waits for the slowest (Ho et al., 2013)."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.done = [0] * stage.job.workers
        self._at = {0: stage.job.workers}  # steps -> workers that have done so many
        self._slowest = 0
        self._waiting: dict[int, Event] = {}  # steps of the slowest that are waited for -> their event

    def tick(self, worker: int) -> None:
        """One more step of a worker."""
        steps = self.done[worker]
        self.done[worker] = steps + 1
        self._at[steps] -= 1
        self._at[steps + 1] = self._at.get(steps + 1, 0) + 1
        while not self._at.get(self._slowest, 0):
            self._at.pop(self._slowest, None)
            self._slowest += 1
            if self._slowest in self._waiting:
                self._waiting.pop(self._slowest).succeed()

    def begin(self, worker: int) -> None:
        """A worker begins its next step."""
        record = self._stage.record
        record.most_ahead = max(record.most_ahead, self.done[worker] - self._slowest)

    def may_begin(self, worker: int) -> Event | None:
        """None where a worker may begin its next step, else the event that lets it."""
        needed = self.done[worker] - self._stage.job.bound
        if needed <= self._slowest:
            return None
        return self._waiting.setdefault(needed, self._stage.env.event())


def start(stage: Stage) -> None:
    """Every worker by itself, as far as the bound lets it; it reads the parameters when it may begin."""
    clocks = Clocks(stage)
    for worker in range(stage.job.workers):
        stage.env.process(_worker(stage, worker, clocks))


def _worker(stage: Stage, worker: int, clocks: Clocks) -> Process:
    durations, record = stage.durations(worker), stage.record
    read = record.version
    while True:
        yield stage.compute(durations.next_ps())
        yield stage.push()
        record.update(read)
        clocks.tick(worker)
        wait = clocks.may_begin(worker)
        if wait is not None:
            yield wait
        clocks.begin(worker)
        read = record.version
        yield stage.pull()
