"""Hosts and the file system as resources that input, checkpoints and training share."""

from __future__ import annotations

from simpy import Environment, Event

from simulator.events.sharing import Resource, Sharing
from simulator.outcome.storage import FileSystem, Host, StorageError

#: Picoseconds in a second.
SECOND_PS = 10**12


def ticks(seconds: float) -> int:
    """Seconds in whole picoseconds, to the nearest."""
    return round(seconds * SECOND_PS)


class Site:
    """So many like servers with a host each, and the file system they share, on one `Sharing`.

    Every method that moves or works returns the event of its end. A transfer runs at the rate of its narrowest part
    and takes that rate of all of them; where others are, they share. Resources are named "server 0 cores",
    "file system write" and so on: `sharing.resource` finds them.

    With ``readers`` and ``writers`` above 1 each server stands for so many when it reads from or writes to the file
    system, of which it then takes so many shares.
    """

    def __init__(
        self,
        env: Environment,
        host: Host,
        file_system: FileSystem | None = None,
        *,
        servers: int = 1,
        readers: int = 1,
        writers: int = 1,
        sharing: Sharing | None = None,
    ) -> None:
        self.env = env
        self.host = host
        self.file_system = file_system
        self.servers = servers
        self.sharing = sharing if sharing is not None else Sharing(env)
        self._readers, self._writers = readers, writers
        make = self.sharing.resource

        def each(name: str, capacity: float) -> list[Resource]:
            return [make(f"server {i} {name}", capacity) for i in range(servers)] if capacity else []

        self.cores = each("cores", float(host.cores))
        self.to_chips = each("to chips", host.copy_byte_per_s)
        self.from_chips = each("from chips", host.copy_byte_per_s)
        self.cards_in = each("cards in", host.card_byte_per_s)
        self.cards_out = each("cards out", host.card_byte_per_s)
        self.disk_read = each("disk read", host.disk_read_byte_per_s)
        self.disk_write = each("disk write", host.disk_write_byte_per_s)
        if file_system is not None:
            self.fs_read = make("file system read", file_system.read_byte_per_s)
            self.fs_write = make("file system write", file_system.write_byte_per_s)

    def move(self, byte: float, parts: dict[Resource, float]) -> Event:
        """Move bytes through parts, each given with how many shares of the rate it carries [B]."""
        rate = min(resource.capacity / shares for resource, shares in parts.items())
        return self.move_at(byte, rate, parts)

    def move_at(self, byte: float, rate_byte_per_s: float, parts: dict[Resource, float]) -> Event:
        """The same, at most at this rate [B/s]."""
        if not byte:
            return self.sharing.run(0)
        demands = {resource: shares * rate_byte_per_s for resource, shares in parts.items()}
        return self.sharing.run(ticks(byte / rate_byte_per_s), demands)

    def read(self, server: int, byte: float) -> Event:
        """Read from the file system, from the local disk where there is none."""
        if self.file_system is None:
            return self.move(byte, {_of(self.disk_read, server, "disk_read_byte_per_s"): 1.0})
        return self._over(self.file_system.read_byte_per_s, self.fs_read, self.cards_in, server, byte, self._readers)

    def prepare(self, server: int, core_s: float, *, cores: float | None = None) -> Event:
        """Work on host cores: so many core-seconds on so many cores (all)."""
        used = min(cores or self.host.cores, self.host.cores)
        return self.sharing.run(ticks(core_s / used), {self.cores[server]: float(used)})

    def feed(self, server: int, byte: float) -> Event:
        """Copy from the host to its chips."""
        return self.move(byte, {self.to_chips[server]: 1.0})

    def snapshot(self, server: int, byte: float) -> Event:
        """Copy from the chips to their host."""
        return self.move(byte, {self.from_chips[server]: 1.0})

    def write(self, server: int, byte: float, level: str = "file_system") -> Event:
        """Write from the host: to its "memory" (nothing to do), a "partner", the "disk" or the "file_system"."""
        if level == "memory":
            return self.sharing.run(0)
        if level == "disk":
            return self.move(byte, {_of(self.disk_write, server, "disk_write_byte_per_s"): 1.0})
        if level == "partner":
            out = _of(self.cards_out, server, "card_byte_per_s")
            return self.move(byte, {out: 1.0, self.cards_in[(server + 1) % self.servers]: 1.0})
        if self.file_system is None:
            raise StorageError("site: there is no file system to write to; legal levels here: memory, partner, disk.")
        total = self.file_system.write_byte_per_s
        return self._over(total, self.fs_write, self.cards_out, server, byte, self._writers)

    def train(self, server: int, duration_ps: int, card_share: float = 0.0) -> Event:
        """A step that keeps the cards busy for a share of its time, as a mean over the step."""
        if not card_share or not self.cards_out:
            return self.sharing.run(duration_ps)
        rate = card_share * self.host.card_byte_per_s
        return self.sharing.run(duration_ps, {self.cards_out[server]: rate, self.cards_in[server]: rate})

    def _over(
        self, total: float, end: Resource, cards: list[Resource], server: int, byte: float, clients: int
    ) -> Event:
        assert self.file_system is not None
        parts = {end: float(clients)}
        if self.file_system.over_cards and cards:
            parts[cards[server]] = 1.0
        return self.move_at(byte, self.file_system.client_rate(self.host, total, clients), parts)


def _of(resources: list[Resource], server: int, name: str) -> Resource:
    if not resources:
        raise StorageError(f"site: the host has no {name}; give it a rate above 0.")
    return resources[server]
