"""`ModeJob`: what a mode of training runs on, in seconds and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from .spread import Spread

#: Modes of training -> what they are.
MODES: Final = {
    "synchronous": "all workers wait for the gradients of all, or of all but the backups",
    "asynchronous": "each worker pushes and pulls when it is done and waits for nobody",
    "stale-synchronous": "as asynchronous, but nobody is more than a bound of steps ahead of the slowest",
    "hogwild": "threads of one shared memory, without locks",
    "elastic-averaging": "workers train models of their own and meet a centre every few steps, each by itself",
    "gossip": "workers train models of their own and average with one peer drawn after every step",
    "groups": "groups that are synchronous inside and asynchronous among each other",
    "local-sgd": "workers train models of their own and all average every few steps (DiLoCo)",
}
_MOST: Final = 100_000
_MOST_UPDATES: Final = 2_000_000


class ModeError(ValueError):
    """A mode of training that cannot be."""


@dataclass(frozen=True, kw_only=True)
class ModeJob:
    """Workers, what a mini-batch takes them, what their messages take and hold.

    Attributes
    ----------
    mode
        A word of `MODES`.
    workers, batch
        Workers; samples in a worker's mini-batch.
    compute
        Duration of one mini-batch on one worker; independent from draw to draw.
    push_s, pull_s
        A message to the servers, and back, alone, latency included [s]. In "hogwild" writes and reads of memory; in
        "gossip" an exchange takes ``push_s``.
    push_port_s, pull_port_s
        What of it the servers' ports are held for [s]: at most the message. "hogwild" has one memory for both.
    push_byte, pull_byte
        Bytes of each, to be counted.
    exchange_s
        An exchange of all workers, for "synchronous" and "local-sgd" where no servers do it (None: servers do), and of
        the workers of one group in "groups" (None: 0) [s].
    backups
        Of "synchronous": so many workers more than gradients that are waited for. What they have not finished when the
        others are done is thrown away.
    bound
        Of "stale-synchronous": steps that a worker may be ahead of the slowest.
    period
        Of "elastic-averaging" and "local-sgd": mini-batches between two exchanges.
    groups
        Of "groups": how many; they divide the workers.
    exponential_ports
        Services of ports vary exponentially around their mean, as mean-value analysis has them.
    """

    mode: str
    workers: int
    compute: Spread
    batch: int = 1
    push_s: float = 0.0
    pull_s: float = 0.0
    push_port_s: float = 0.0
    pull_port_s: float = 0.0
    push_byte: float = 0.0
    pull_byte: float = 0.0
    exchange_s: float | None = None
    backups: int = 0
    bound: int = 0
    period: int = 1
    groups: int = 1
    exponential_ports: bool = False

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ModeError(f"ModeJob: mode is {self.mode!r}; legal: {', '.join(MODES)}.")
        least = {"workers": 1, "batch": 1, "period": 1, "groups": 1, "backups": 0, "bound": 0}
        for name, low in least.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= _MOST:
                raise ModeError(f"ModeJob: {name} is {value!r}; legal: a whole number from {low} to {_MOST}.")
        seconds = ("push_s", "pull_s", "push_port_s", "pull_port_s", "push_byte", "pull_byte", "exchange_s")
        for name in seconds:
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise ModeError(f"ModeJob: {name} is {value!r}; legal: a finite number, 0 or more.")
        for way in ("push", "pull"):
            if getattr(self, f"{way}_port_s") > getattr(self, f"{way}_s"):
                raise ModeError(f"ModeJob: {way}_port_s is longer than {way}_s; a port is held while a message passes.")
        self._check_mode()

    def _check_mode(self) -> None:
        own = {"backups": "synchronous", "bound": "stale-synchronous", "groups": "groups"}
        for name, mode in own.items():
            if getattr(self, name) != type(self).__dataclass_fields__[name].default and self.mode != mode:
                raise ModeError(f"ModeJob: {name} belongs to mode {mode}, not {self.mode}.")
        if self.period > 1 and self.mode not in ("elastic-averaging", "local-sgd"):
            raise ModeError(f"ModeJob: period belongs to modes elastic-averaging and local-sgd, not {self.mode}.")
        if self.exchange_s is not None and self.mode not in ("synchronous", "local-sgd", "groups"):
            raise ModeError(f"ModeJob: exchange_s belongs to modes synchronous, local-sgd, groups, not {self.mode}.")
        if self.backups >= self.workers:
            raise ModeError(
                f"ModeJob: backups is {self.backups} of {self.workers} workers; legal: 0 to {self.workers - 1}."
            )
        if self.workers % self.groups:
            near = min((n for n in range(1, self.workers + 1) if self.workers % n == 0), key=self._distance)
            raise ModeError(
                f"ModeJob: groups is {self.groups}, which does not divide {self.workers} workers; nearest: {near}."
            )
        if self.mode == "gossip" and self.workers < 2:
            raise ModeError("ModeJob: gossip with 1 worker; legal: 2 or more.")

    def _distance(self, groups: int) -> int:
        return abs(groups - self.groups)

    @property
    def samples_per_update(self) -> int:
        """Samples whose gradients one update of the shared parameters holds."""
        together = {
            "synchronous": self.workers - self.backups, "local-sgd": self.workers * self.period,
            "elastic-averaging": self.period, "groups": self.workers // self.groups,
        }  # fmt: skip
        return self.batch * together.get(self.mode, 1)


def check_updates(updates: int) -> None:
    """That so many updates can be simulated."""
    if not isinstance(updates, int) or isinstance(updates, bool) or not 100 <= updates <= _MOST_UPDATES:
        raise ModeError(f"run_mode: updates is {updates!r}; legal: a whole number from 100 to {_MOST_UPDATES}.")
