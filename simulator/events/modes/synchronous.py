"""Workers that all meet: every step, with backups or without, or every few steps (local SGD, DiLoCo)."""

from __future__ import annotations

from simpy import Event

from simulator.events.modes.stage import Process, Stage, ticks


class Round:
    """One common step: how many gradients have come, and the event of the last that is waited for."""

    def __init__(self, stage: Stage) -> None:
        self._env = stage.env
        self._missing = stage.job.workers - stage.job.backups
        self.completed_ps = 0
        self.complete: Event = stage.env.event()

    def arrive(self) -> None:
        """One more gradient is here."""
        self._missing -= 1
        if self._missing == 0:
            self.completed_ps = int(self._env.now)
            self.complete.succeed()


def start(stage: Stage) -> None:
    """A process that opens every round; workers are processes of a round each."""
    stage.env.process(_rounds(stage))


def _rounds(stage: Stage) -> Process:
    job, record, env = stage.job, stage.record, stage.env
    durations = [stage.durations(worker) for worker in range(job.workers)]
    collective_ps = None if job.exchange_s is None else ticks(job.exchange_s)
    first = True
    while True:
        this = Round(stage)
        took = [one.sum_ps(job.period) for one in durations]
        for worker in range(job.workers):
            env.process(_worker(stage, this, took[worker], fetches=collective_ps is None and not first))
        yield this.complete
        if collective_ps is not None:
            yield env.timeout(collective_ps)
        first = False
        record.note(0)


def _worker(stage: Stage, this: Round, duration_ps: int, *, fetches: bool) -> Process:
    """One worker's part of a round; what is not here when the round is complete is thrown away and stops then."""
    env = stage.env
    if fetches:
        yield stage.pull()
    if this.complete.triggered:
        return
    begun_ps = int(env.now)
    done = stage.compute(duration_ps)
    place = len(stage.record.computing) - 1
    yield done
    if this.complete.triggered:
        # It stopped when the others were done.
        stage.record.computing[place] = (begun_ps, this.completed_ps)
        stage.record.dropped += 1
        return
    if stage.job.exchange_s is None:
        yield stage.push()
    if this.complete.triggered:
        stage.record.dropped += 1
    else:
        this.arrive()
