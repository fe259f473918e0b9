"""The event engine: a step run task by task on a clock of picoseconds, its trace, and why it takes as long."""

from simulator.events.causes import CauseError, checked_causes
from simulator.events.chrome_trace import write_chrome_trace, write_role_traces
from simulator.events.counters import RoleMemory
from simulator.events.critical_path import CriticalPath, PathNode, critical_path
from simulator.events.engine import simulate
from simulator.events.machine import Contention
from simulator.events.overlap import Overlap, overlap
from simulator.events.pass_names import messages
from simulator.events.release import Release
from simulator.events.roles import Differences, Grid, Role, Roles, find_roles
from simulator.events.savings import Saving, savings
from simulator.events.trace import Slice, Timeline
from simulator.events.world import Delays, Surroundings

__all__ = [
    "CauseError", "Contention", "CriticalPath", "Delays", "Differences", "Grid", "Overlap", "PathNode", "Release",
    "Role", "RoleMemory", "Roles", "Saving", "Slice", "Surroundings", "Timeline", "checked_causes", "critical_path",
    "find_roles", "messages", "overlap", "savings", "simulate", "write_chrome_trace", "write_role_traces",
]  # fmt: skip
