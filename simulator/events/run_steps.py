"""Many steps of training beside its input and its checkpoints: how long each takes and what it waits for."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from simpy import Environment, Event

from simulator.events.checkpoints import Saver
from simulator.events.input_pipeline import InputPipeline
from simulator.events.storage import SECOND_PS, Site, ticks
from simulator.events.streams import Meeting
from simulator.outcome.checkpoint import Checkpoints
from simulator.outcome.input import InputWork
from simulator.outcome.storage import FileSystem, Host, StorageError

Floats = NDArray[np.float64]

#: Steps times servers that are simulated one by one, at most.
MOST_STEPS: Final = 2_000_000


@dataclass(frozen=True, kw_only=True)
class RunTimes:
    """Seconds of a run of n steps, shape (n,) each.

    ``step_s`` is from the end of the step before to its own end, the sum of what it is made of: ``input_s`` (waiting
    for the slowest server's batch; of the first step, until the pipeline has filled), ``train_s``, ``checkpoint_s``.
    ``tail_s``: what is still written after the last step.
    """

    step_s: Floats
    train_s: Floats
    checkpoint_s: Floats
    input_s: Floats
    tail_s: float
    checkpoints: int
    written_byte: float

    @property
    def total_s(self) -> float:
        """The run, until everything is written [s]."""
        return float(self.step_s.sum()) + self.tail_s

    @property
    def input_share(self) -> float:
        """Share of the steps' time that training waits for input."""
        return float(self.input_s.sum() / self.step_s.sum())

    @property
    def checkpoint_share(self) -> float:
        """Share of the steps' time that training waits for checkpoints; steps slowed beside a write are not in it."""
        return float(self.checkpoint_s.sum() / self.step_s.sum())

    def percentile_s(self, percent: float) -> float:
        """Step time that this share of the steps does not exceed [s]."""
        return float(np.percentile(self.step_s, percent))


def run_steps(
    step_s: ArrayLike,
    steps: int | None = None,
    *,
    host: Host,
    file_system: FileSystem | None = None,
    servers: int = 1,
    input: InputWork | None = None,
    checkpoints: Checkpoints | None = None,
    card_share: float = 0.0,
    spread: float = 0.0,
    seed: int = 0,
) -> RunTimes:
    """Run steps of synchronous training on like servers beside what feeds and saves them.

    A step begins when every server has its batch. Servers that do not differ (`spread` 0) are one that stands for all.

    Parameters
    ----------
    step_s
        A step without input and checkpoints [s]: one number, or one for each step.
    steps
        How many; as many as `step_s` has where it is an array.
    card_share
        Share of a step that its messages keep the network cards busy: reads and writes that cross the cards slow it.
    spread, seed
        Of the input's stages: standard deviation over mean of what a batch takes, and the name of its draws.

    Raises
    ------
    StorageError
        For what cannot be: nothing to read from or write to, a snapshot that does not fit.
    """
    seconds = np.atleast_1d(np.asarray(step_s, np.float64))
    count = len(seconds) if steps is None else steps
    duration_ps = [ticks(s) for s in seconds]
    apart = servers if spread and input is not None else 1
    _check(duration_ps, count, servers, apart, card_share, spread)
    duration_ps = duration_ps * count if len(seconds) == 1 else duration_ps
    writing = checkpoints.writing_servers(servers) if checkpoints else 1
    env = Environment()
    alone = apart == 1
    site = Site(env, host, file_system, servers=apart, readers=servers if alone else 1, writers=writing if alone else 1)
    pipelines = [
        InputPipeline(site, i, input, count, servers=servers, spread=spread, seed=seed) for i in range(apart) if input
    ]
    savers = [Saver(site, i, checkpoints, servers=servers) for i in range(apart) if checkpoints]
    begins = [Meeting(env, apart) for _ in range(count)]
    trained_ps, saved_ps = [0] * count, [0] * count

    def server(i: int) -> Generator[Event, Any, None]:
        for n in range(count):
            if pipelines:
                yield from pipelines[i].take()
            yield begins[n].arrive()
            yield site.train(i, duration_ps[n], card_share)
            trained_ps[n] = max(trained_ps[n], int(env.now))
            if savers:
                yield from savers[i].after(n + 1)
            saved_ps[n] = max(saved_ps[n], int(env.now))

    done = env.all_of([env.process(server(i)) for i in range(apart)])
    env.run()
    if not done.processed:
        raise RuntimeError("A run of steps did not end; this is our mistake, not the input's.")
    begin = np.array([meeting.met_at_ps for meeting in begins], np.int64)
    trained, saved = np.array(trained_ps, np.int64), np.array(saved_ps, np.int64)
    before = np.concatenate([[0], saved[:-1]])
    last_write_ps = max((saver.last_write_ps for saver in savers), default=0)
    folded = writing if alone else 1
    return RunTimes(
        step_s=(saved - before) / SECOND_PS,
        input_s=(begin - before) / SECOND_PS,
        train_s=(trained - begin) / SECOND_PS,
        checkpoint_s=(saved - trained) / SECOND_PS,
        tail_s=max(last_write_ps - int(saved[-1]), 0) / SECOND_PS,
        checkpoints=max((saver.taken for saver in savers), default=0),
        written_byte=folded * sum(saver.written_byte for saver in savers),
    )


def _check(duration_ps: list[int], count: int, servers: int, apart: int, card_share: float, spread: float) -> None:
    if count < 1 or servers < 1 or len(duration_ps) not in (1, count):
        raise StorageError(
            f"run: {count} steps on {servers} servers with {len(duration_ps)} step times; at least 1 of each, and one "
            "step time or as many as steps."
        )
    if min(duration_ps) < 0:
        raise StorageError(f"run: a step of {min(duration_ps)} ps; 0 or more.")
    if count * apart > MOST_STEPS:
        raise StorageError(f"run: {count} steps on {apart} unlike servers; at most {MOST_STEPS} in all.")
    if not (0 <= card_share <= 1 and 0 <= spread < 10):
        raise StorageError(f"run: card_share {card_share!r}, spread {spread!r}; 0 to 1, and 0 to 10.")
