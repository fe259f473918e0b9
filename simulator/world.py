"""A cluster to write programs against: plain SimPy processes that compute, send, meet, read and write.

A program is a SimPy process: a generator that yields events. `World.of` makes the environment and the things that
processes share; its methods return the events to wait for::

    world = World.of(system("dgx1-v100").cluster, servers=2)

    def worker(rank):
        yield world.compute(0.1, rank)
        yield world.send(rank, 0, 1e9)

    seconds = world.run(*(worker(rank) for rank in range(1, 16)))

Everything else of SimPy (`world.env.timeout`, `Store`, `any_of`, interrupts) works as ever. The clock counts
picoseconds in whole numbers: `world.now_s` reads it in seconds, `world.wait(s)` waits seconds.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

from simpy import Environment, Event

from .cluster import Cluster
from .collective_calibration import load_collectives
from .collective_question import default_library
from .collectives.exchange import COLLECTIVES, Exchanges
from .collectives.library_cost import exchange_s
from .contention import least_volume
from .errors import InputError
from .events.sharing import Resource, Sharing
from .events.storage import SECOND_PS, Site, ticks
from .group_wires import wires_of
from .hosts import host_of
from .outcome.storage import FileSystem, Host

Process = Generator[Event, Any, Any]

#: Chips that a world is made of, at most.
MOST_CHIPS: Final = 65_536


class World:
    """Servers of a cluster with their chips, wires, hosts and file system, on one environment.

    ``env``: the SimPy environment. ``sharing``: the resources; a process may `run` works of its own on them.
    ``site``: hosts and file system (`read`, `prepare`, `feed`, `snapshot`, `write` by server).
    """

    def __init__(self, cluster: Cluster, *, servers: int, host: Host, file_system: FileSystem | None = None) -> None:
        chips = servers * cluster.chips_per_server
        if not 1 <= servers <= cluster.max_servers or chips > MOST_CHIPS:
            raise InputError(
                f"World: {servers} servers of {cluster.id}; legal: 1 to {cluster.max_servers}, and at most "
                f"{MOST_CHIPS} chips."
            )
        self.cluster = cluster
        self.chips = chips
        self.env = Environment()
        self.sharing = Sharing(self.env)
        self.site = Site(self.env, host, file_system, servers=servers, sharing=self.sharing)

    @classmethod
    def of(
        cls,
        cluster: Cluster,
        *,
        servers: int = 1,
        host: Host | None = None,
        file_system: FileSystem | None = None,
    ) -> World:
        """A world of so many of a cluster's servers. Without a `host`: what data files say (`hosts.host_of`)."""
        return cls(cluster, servers=servers, host=host or host_of(cluster), file_system=file_system)

    @property
    def now_s(self) -> float:
        """The time [s]."""
        return int(self.env.now) / SECOND_PS

    def run(self, *processes: Process) -> float:
        """Start processes, go on until all have ended, and say when that was [s]."""
        if processes:
            self.env.run(self.env.all_of([self.env.process(process) for process in processes]))
        else:
            self.env.run()
        return self.now_s

    def wait(self, seconds: float) -> Event:
        """Let time pass."""
        return self.env.timeout(ticks(seconds))

    def compute(self, seconds: float, rank: int | None = None) -> Event:
        """Compute for so long; on a rank's chip, which two that compute at once share."""
        if rank is None:
            return self.wait(seconds)
        return self.sharing.run(ticks(seconds), {self._wire("chip", rank, 1.0): 1.0})

    def server_of(self, rank: int) -> int:
        """The server that holds a rank."""
        if not 0 <= rank < self.chips:
            raise InputError(f"World: rank {rank}; legal: 0 to {self.chips - 1}.")
        return rank // self.cluster.chips_per_server

    def send(self, a: int, b: int, byte: float) -> Event:
        """Send a message from rank a to rank b; the event of its arrival.

        .. math:: t = \\alpha + B / r

        alone, at the nominal rate of what joins two chips of a server, or of one network card. Chips share their links
        and servers their cards. Leaves out: the network behind the cards beyond its oversubscription, the library's
        time per call.
        """
        source, target = self.server_of(a), self.server_of(b)
        cluster = self.cluster
        if a == b or not byte:
            return self.env.timeout(0)
        if source == target:
            rate, latency_s = cluster.up_byte_per_s[2], cluster.up_latency_s
            parts = {self._up("out", a): 1.0, self._up("in", b): 1.0}
        else:
            rate, latency_s = cluster.out_byte_per_s / cluster.network_cards, cluster.out_latency_s
            parts = {self.site.cards_out[source]: 1.0, self.site.cards_in[target]: 1.0}

        def message() -> Process:
            yield self.wait(latency_s)
            yield self.site.move_at(byte, rate, parts)

        return self.env.process(message())

    def group(self, ranks: Iterable[int], *, library: str | None = None) -> Group:
        """Ranks that run collectives together: equally far apart, as process groups are."""
        return Group(self, list(ranks), library)

    def _up(self, way: str, rank: int) -> Resource:
        return self._wire(f"links {way}", rank, max(self.cluster.up_byte_per_s))

    def _wire(self, what: str, rank: int, capacity: float) -> Resource:
        self.server_of(rank)
        return self.sharing.resource(f"rank {rank} {what}", capacity)


class Group:
    """A process group. Each member calls a collective once; it begins when the last one has come."""

    def __init__(self, world: World, ranks: Sequence[int], library: str | None) -> None:
        steps = {b - a for a, b in pairwise(ranks)}
        if len(ranks) < 2 or len(steps) != 1 or min(steps) < 1:
            raise InputError(
                f"Group: ranks {ranks[:8]}; legal: at least two, ascending, equally far apart: range(0, 16, 2)."
            )
        self.servers = sorted({world.server_of(rank) for rank in ranks})
        self._world = world
        self._ranks = list(ranks)
        cluster = world.cluster
        self._wires = wires_of(
            cluster, ranks=len(ranks), stride=steps.pop(), library=library or default_library(cluster), cards=0
        )
        self._prices: dict[tuple[str, float], float] = {}
        self._round: list[tuple[str, float]] = []
        self._done: Event = world.env.event()

    def all_reduce(self, byte: float) -> Event:
        """Sum a tensor of so many bytes over all members."""
        return self.join("all_reduce", byte)

    def barrier(self) -> Event:
        """Wait for all members, at no cost."""
        return self.join("barrier", 0.0)

    def seconds(self, collective: str, byte: float) -> float:
        """What one collective takes alone: as `trainyard scale --collective` prices it [s]."""
        if collective == "barrier" or byte == 0:
            return 0.0
        key = (collective, byte)
        if key not in self._prices:
            exchanges = Exchanges.of([(self._wires, collective, "")], [float(byte)])
            self._prices[key] = float(exchange_s(exchanges, load_collectives().constants.rows(exchanges))[0])
        return self._prices[key]

    def join(self, collective: str, byte: float) -> Event:
        """Take part in a collective of the group; the event of its end, the same for all members.

        It keeps the cards of every server busy for its bytes over its time, and slows where others want them.
        """
        if collective not in (*COLLECTIVES, "barrier") or not 0 <= byte < float("inf"):
            legal = ", ".join((*COLLECTIVES, "barrier"))
            raise InputError(f"Group: collective {collective!r} of {byte!r} B; one of {legal}, 0 B or more.")
        if self._round and self._round[0] != (collective, byte):
            raise InputError(
                f"Group: a member comes with {collective} of {byte:g} B, the others with {self._round[0][0]} of "
                f"{self._round[0][1]:g} B; members call the same."
            )
        self._round.append((collective, byte))
        done = self._done
        if len(self._round) == len(self._ranks):
            self._round, self._done = [], self._world.env.event()
            run = self._world.sharing.run(ticks(self.seconds(collective, byte)), self._demands(collective, byte))
            run.callbacks.append(done.trigger)
        return done

    def _demands(self, collective: str, byte: float) -> dict[Resource, float]:
        seconds = self.seconds(collective, byte)
        if len(self.servers) < 2 or not seconds:
            return {}
        capacity = self._world.site.host.card_byte_per_s
        members = len(self._ranks) / len(self.servers)
        rate = min(least_volume(collective, len(self.servers), members) * byte / seconds, capacity)
        site = self._world.site
        return {wires[server]: rate for wires in (site.cards_out, site.cards_in) for server in self.servers}
