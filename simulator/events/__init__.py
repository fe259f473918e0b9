"""The event engine: a step run task by task on a clock of picoseconds, and its trace."""

from simulator.events.engine import simulate
from simulator.events.machine import Contention
from simulator.events.roles import Differences, Grid, Role, Roles, find_roles
from simulator.events.trace import Timeline, write_chrome_trace
from simulator.events.world import Delays, Surroundings

__all__ = [
    "Contention", "Delays", "Differences", "Grid", "Role", "Roles", "Surroundings", "Timeline", "find_roles",
    "simulate", "write_chrome_trace",
]  # fmt: skip
