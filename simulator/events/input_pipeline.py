"""The input pipeline of one server as processes: read, prepare, copy, hand over, with a number of places."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
from simpy import Environment, Event, Store

from simulator.events.storage import Site
from simulator.outcome.input import InputWork, hit_share

Process = Generator[Event, Any, None]


def draws(spread: float, count: int, *key: int) -> list[float]:
    """So many factors of mean 1 and standard deviation `spread`, log-normal, from the stream that the key names."""
    if spread == 0:
        return [1.0] * count
    sigma = np.sqrt(np.log1p(spread**2))
    return list(np.exp(sigma * np.random.default_rng(key).standard_normal(count) - sigma**2 / 2))


class InputPipeline:
    """Three stages in order, one batch in each at a time, `work.prefetch` places in all.

    A batch holds a place from when its reading begins to when training takes it; with no place at all it is begun when
    training asks for it. What a batch takes at a stage is drawn about its mean with `spread` (standard deviation over
    mean): the same draws for the same seed, server and batch, whatever else changes.
    """

    def __init__(
        self,
        site: Site,
        server: int,
        work: InputWork,
        batches: int,
        *,
        servers: int,
        spread: float = 0.0,
        seed: int = 0,
    ) -> None:
        env: Environment = site.env
        self._work = work
        self._places = Store(env)
        for _ in range(work.prefetch):
            self._places.put(None)
        self._ready = Store(env)
        read, prepared = Store(env), Store(env)
        per_epoch = max(work.dataset_samples / (work.batch * servers), 1.0)
        missed = [
            work.batch * work.stored_byte * (1 - hit_share(work, site.host, servers, epoch=epoch)) for epoch in (1, 2)
        ]
        factors = [draws(spread, batches, seed, server, stage) for stage in range(3)]
        copied_byte, core_s = work.batch * work.prepared_byte, work.batch * work.core_s
        stages: tuple[tuple[Store, Store, Callable[[int], Event]], ...] = (
            (self._places, read, lambda n: site.read(server, missed[n >= per_epoch] * factors[0][n])),
            (read, prepared, lambda n: site.prepare(server, core_s * factors[1][n])),
            (prepared, self._ready, lambda n: site.feed(server, copied_byte * factors[2][n])),
        )
        for source, target, run in stages:
            env.process(_stage(source, target, run, batches))

    def take(self) -> Process:
        """Wait for the next batch and take it."""
        if self._work.prefetch == 0:
            self._places.put(None)
            yield self._ready.get()
        else:
            yield self._ready.get()
            self._places.put(None)


def _stage(source: Store, target: Store, run: Callable[[int], Event], batches: int) -> Process:
    for n in range(batches):
        yield source.get()
        yield run(n)
        target.put(None)
