"""How often parts of a job fail: published counts, and what follows for a job of another size."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from simulator.errors import InputError

_FILE: Final = Path(__file__).parents[1] / "data" / "failures.csv"
_DAY_S: Final = 86400.0
#: Median time from one start to the next where starts were automatic: technical report on a cluster of 63 servers with
#: 504 B200, 55 to 73 days (11 min, quartiles 10 and 11). It counts detection, restart and loading together.
RESTART_S: Final = 660.0
#: Until a server that was taken away is back, where its spares are counted. An assumption: a day.
REPAIR_S: Final = _DAY_S
#: Whose counts are taken for chips of an architecture; later ones and all others take those of Llama 3.
_OF_ARCHITECTURE: Final = {"ampere": "rsc-1", "volta": "rsc-1"}
DEFAULT: Final = "llama-3-405b"


class RunError(InputError):
    """A run that cannot be: what was given, what is legal, the nearest."""


@dataclass(frozen=True, kw_only=True)
class FailureCount:
    """``events`` failures of one cause among ``parts`` parts ("chip" or "server") in ``days`` days, as published."""

    name: str
    cause: str
    part: str
    events: float
    parts: float
    days: float
    takes_server: bool
    source: str
    source_kind: str
    locator: str

    @property
    def mtbf_s(self) -> float:
        """Mean time between failures of one part: parts x days / events [s]."""
        return self.parts * self.days * _DAY_S / self.events


@cache
def failure_counts() -> tuple[FailureCount, ...]:
    """All published counts that ship."""
    with _FILE.open(encoding="utf-8", newline="") as lines:
        return tuple(
            FailureCount(
                name=row["name"], cause=row["cause"], part=row["part"], events=float(row["events"]),
                parts=float(row["parts"]), days=float(row["days"]), takes_server=row["takes_server"] == "1",
                source=row["source"], source_kind=row["source_kind"], locator=row["locator"],
            )
            for row in csv.DictReader(lines)
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Failures:
    """Failures of a whole job, and what happens then.

    ``rate_per_s``: failures of anything that the job uses, while it runs; ``server_rate_per_s``: those among them that
    take a server away. After each nothing runs for ``down_s`` (detection, a spare server); then ``restart_s`` of
    start-up and loading, which may fail again. A server that was taken away is back after ``repair_s`` in the mean (0:
    there is always another). ``spares`` servers wait to take its place; where none is left the job waits for the next
    repaired one, or goes on with fewer of its ``elastic_replicas`` (0: it waits).
    """

    rate_per_s: float = 0.0
    server_rate_per_s: float = 0.0
    down_s: float = 0.0
    restart_s: float = RESTART_S
    repair_s: float = 0.0
    spares: int = 0
    elastic_replicas: int = 0
    basis: str = ""

    def __post_init__(self) -> None:
        for name in ("rate_per_s", "server_rate_per_s", "down_s", "restart_s", "repair_s", "spares"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise RunError(f"Failures: {name} is {value!r}; a number, 0 or more.")
        if self.server_rate_per_s > self.rate_per_s * (1 + 1e-12):
            raise RunError(
                f"Failures: {self.server_rate_per_s:g} failures a second take a server away, of {self.rate_per_s:g} in "
                "all; legal: at most as many."
            )
        if self.elastic_replicas == 1 or self.elastic_replicas < 0:
            raise RunError(
                f"Failures: elastic_replicas is {self.elastic_replicas}; legal: 0 (it waits), or 2 replicas and more."
            )


def job_failures(
    *, chips: int, servers: int, name: str = DEFAULT, down_s: float = 0.0, restart_s: float = RESTART_S,
    repair_s: float = 0.0, spares: int = 0, elastic_replicas: int = 0, preemptions_per_server_hour: float = 0.0,
    chip_mtbf_s: float = 0.0,
) -> Failures:  # fmt: skip
    """Failures of a job of so many chips and servers.

    .. math:: \\lambda = \\sum_k n_k / MTBF_k

    with the published counts called ``name``, or one ``chip_mtbf_s`` for everything. A spot server that is taken back
    is one more kind of failure. Parts fail independently and as often in their first day as in their last; failures
    that come together (power, cooling, a switch with many servers) are left out.
    """
    parts = {"chip": chips, "server": servers}
    if chip_mtbf_s:
        if not (math.isfinite(chip_mtbf_s) and chip_mtbf_s > 0):
            raise RunError(f"failures: the mean time between failures of a chip is {chip_mtbf_s!r} s; above 0.")
        rate = taking = chips / chip_mtbf_s
        basis = f"one failure of a chip in {chip_mtbf_s / 3600:,.0f} h, as given"
    elif name == "none":
        rate = taking = 0.0
        basis = "no failures, as asked"
    else:
        known = [count for count in failure_counts() if count.name == name]
        if not known:
            legal = ", ".join(dict.fromkeys(count.name for count in failure_counts()))
            raise RunError(f"failures: {name!a} is not known; legal: {legal}, none, or a chip's mean time in hours.")
        rate = sum(parts[count.part] / count.mtbf_s for count in known)
        taking = sum(parts[count.part] / count.mtbf_s for count in known if count.takes_server)
        basis = f"as often as in {known[0].source}"
    preempted = servers * preemptions_per_server_hour / 3600.0
    if preempted:
        basis += f"; spot servers are taken back {preemptions_per_server_hour:g} times an hour each"
    return Failures(
        rate_per_s=rate + preempted, server_rate_per_s=taking + preempted, down_s=down_s, restart_s=restart_s,
        repair_s=repair_s, spares=spares, elastic_replicas=elastic_replicas, basis=basis,
    )  # fmt: skip


def counts_for(architecture: str) -> str:
    """Whose failure counts are nearest to chips of an architecture."""
    return _OF_ARCHITECTURE.get(architecture, DEFAULT)
