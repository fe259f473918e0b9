"""Hogwild: threads that write one shared memory without locks."""

from __future__ import annotations

from simulator.events.modes.stage import Process, Stage


def start(stage: Stage) -> None:
    """Every thread by itself. It writes its update and reads the parameters at one go, while the memory serves it.

    Leaves out: lines of cache that cores fetch from each other, writes that get lost, compute slowed by the reads of
    others. Sparse updates hold the memory for their own bytes only. Reference: Niu et al., Hogwild!, 2011.
    """
    for worker in range(stage.job.workers):
        stage.env.process(_thread(stage, worker))


def _thread(stage: Stage, worker: int) -> Process:
    durations, record = stage.durations(worker), stage.record
    read = record.version
    while True:
        yield stage.compute(durations.next_ps())
        written, done = stage.write_and_read()
        yield written
        read = record.update(read)
        yield done
