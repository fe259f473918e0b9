"""The event engine: a step run task by task on a clock of picoseconds, and its trace."""

from simulator.events.engine import simulate
from simulator.events.trace import Timeline, write_chrome_trace

__all__ = ["Timeline", "simulate", "write_chrome_trace"]
