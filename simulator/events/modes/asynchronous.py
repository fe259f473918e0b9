"""Workers that push and pull by themselves, nobody waiting: parameter servers, a centre of elastic averaging."""

from __future__ import annotations

from simulator.events.modes.stage import Process, Stage


def start(stage: Stage) -> None:
    """Every worker by itself. The servers answer a push with the parameters as that push leaves them."""
    for worker in range(stage.job.workers):
        stage.env.process(_worker(stage, worker))


def _worker(stage: Stage, worker: int) -> Process:
    durations, record, period = stage.durations(worker), stage.record, stage.job.period
    read = record.version
    while True:
        yield stage.compute(durations.sum_ps(period))
        yield stage.push()
        read = record.update(read)
        yield stage.pull()
