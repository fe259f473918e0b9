"""Checkpoints of one server as processes: the copy to the host holds training, what follows may run beside it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from simpy import Event

from simulator.events.storage import Site
from simulator.outcome.checkpoint import Checkpoints, checkpoint_times

Process = Generator[Event, Any, None]


class Saver:
    """Takes the checkpoints of one server; `taken` counts them, `written_byte` what reached its level."""

    def __init__(self, site: Site, server: int, plan: Checkpoints, *, servers: int) -> None:
        for level, _ in plan.levels:  # what cannot be is refused before anything runs
            checkpoint_times(plan, level, site.host, site.file_system, servers=servers)
        self._site, self._server, self._plan = site, server, plan
        self._byte = plan.server_byte(servers)
        self._writes = server < plan.writing_servers(servers)
        self._pending: Event | None = None
        self.taken = 0
        self.written_byte = 0.0
        self.last_write_ps = 0

    def after(self, step: int) -> Process:
        """What training waits for after a step (from 1)."""
        if step % self._plan.every or not self._writes:
            return
        self.taken += 1
        level = self._plan.level_of(self.taken)
        if self._pending is not None and not self._pending.processed:
            yield self._pending
        yield self._site.snapshot(self._server, self._byte)
        if self._plan.mode == "blocking":
            yield from self._write(level)
        else:
            self._pending = self._site.env.process(self._write(level))

    def _write(self, level: str) -> Process:
        yield self._site.write(self._server, self._byte, level)
        self.written_byte += self._byte
        self.last_write_ps = int(self._site.env.now)
