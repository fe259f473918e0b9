"""Gossip: every worker averages its model with one peer, drawn after each step."""

from __future__ import annotations

import numpy as np

from simulator.events.modes.stage import Port, Process, Stage, stream, ticks


class Models:
    """Every worker's model: its port, and how often others have averaged it."""

    def __init__(self, stage: Stage) -> None:
        workers = range(stage.job.workers)
        self.ports = [Port(f"worker {worker}", stage.record) for worker in workers]
        self.averaged = [0 for _ in workers]


def start(stage: Stage) -> None:
    """Every worker by itself; a peer goes on computing while its model is averaged (Lian et al., 2018)."""
    models = Models(stage)
    for worker in range(stage.job.workers):
        stage.env.process(_worker(stage, worker, models))


def _worker(stage: Stage, worker: int, models: Models) -> Process:
    env, record, job = stage.env, stage.record, stage.job
    durations, draw = stage.durations(worker), stream(stage.seed, f"peer {worker}")
    whole_ps, held_ps = ticks(job.push_s), ticks(job.push_port_s)
    while True:
        read = models.averaged[worker]
        yield stage.compute(durations.next_ps())
        record.note(models.averaged[worker] - read)
        peer = _peer(draw, worker, job.workers)
        now_ps = int(env.now)
        # An exchange holds both ports at once, each for both directions.
        begin_ps = max(now_ps, models.ports[worker].free_ps, models.ports[peer].free_ps)
        for one in (worker, peer):
            there_ps = models.ports[one].pass_ps(begin_ps, held_ps, whole_ps)
        record.moved_byte += job.push_byte + job.pull_byte
        yield env.timeout(there_ps - now_ps)
        models.averaged[peer] += 1


def _peer(draw: np.random.Generator, worker: int, workers: int) -> int:
    """Any of the others, all as likely."""
    found = int(draw.integers(workers - 1))
    return found + (found >= worker)
