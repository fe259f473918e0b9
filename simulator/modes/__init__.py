"""Modes of training, in closed form: when gradients of workers that do not wait for each other meet, and how old.

Event by event, from the same `ModeJob`, they are in `simulator.events.modes`.
"""

from __future__ import annotations

from .closed_form import ModeEstimate, estimate
from .job import MODES, ModeError, ModeJob
from .one_clock import OnOneClock, on_one_clock
from .servers import PortTimes, asynchronous_period_s, mean_staleness, port_times
from .spread import SPREADS, Spread
from .synchronous import best_backups

__all__ = [
    "MODES", "SPREADS", "ModeError", "ModeEstimate", "ModeJob", "OnOneClock", "PortTimes", "Spread",
    "asynchronous_period_s", "best_backups", "estimate", "mean_staleness", "on_one_clock", "port_times",
]  # fmt: skip
