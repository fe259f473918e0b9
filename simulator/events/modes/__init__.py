"""Modes of training event by event: workers, ports of servers, staleness as it happens."""

from __future__ import annotations

from simulator.events.modes.result import ModeRun
from simulator.events.modes.run import run_mode

__all__ = ["ModeRun", "run_mode"]
