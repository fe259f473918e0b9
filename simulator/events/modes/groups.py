"""Groups: synchronous inside, asynchronous among each other."""

from __future__ import annotations

from simpy import AllOf

from simulator.events.modes.stage import Process, Stage, ticks


def start(stage: Stage) -> None:
    """Every group by itself; one of its members speaks to the servers (Kurth et al., Deep learning at 15PF, 2017)."""
    for group in range(stage.job.groups):
        stage.env.process(_group(stage, group))


def _group(stage: Stage, group: int) -> Process:
    members = stage.job.workers // stage.job.groups
    durations = [stage.durations(group * members + member) for member in range(members)]
    exchange_ps, record = ticks(stage.job.exchange_s or 0.0), stage.record
    read = record.version
    while True:
        yield AllOf(stage.env, [stage.compute(one.next_ps()) for one in durations])
        yield stage.env.timeout(exchange_ps)
        yield stage.push()
        read = record.update(read)
        yield stage.pull()
