"""What a server reads, prepares and keeps data with, and the file system that all servers share."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from simulator.errors import InputError


class StorageError(InputError):
    """A host, a file system, an input or a checkpoint that cannot be; one clear line."""


def check(what: object, *, above: tuple[str, ...] = (), at_least: tuple[str, ...] = ()) -> None:
    """Raise `StorageError` for a field that is not finite and above 0, or not finite and 0 or more."""
    for names, legal, low in ((above, "a number above 0", False), (at_least, "a number, 0 or more", True)):
        for name in names:
            value = getattr(what, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and not low):
                raise StorageError(f"{type(what).__name__}: {name} is {value!r}; {legal}.")


@dataclass(frozen=True, kw_only=True)
class Host:
    """What stands beside the chips of one server. A rate of 0 says that there is no such thing.

    ``memory_byte``: what the host can hold [B]; ``cache_share`` of it is left for the page cache.
    ``copy_byte_per_s``: between host and all chips of the server, each direction [B/s].
    ``card_byte_per_s``: all network cards of the server, each direction [B/s].
    ``disk_read_byte_per_s``, ``disk_write_byte_per_s``: local disks [B/s].
    """

    cores: int
    copy_byte_per_s: float
    card_byte_per_s: float
    memory_byte: float = 0.0
    cache_share: float = 0.5
    disk_read_byte_per_s: float = 0.0
    disk_write_byte_per_s: float = 0.0

    def __post_init__(self) -> None:
        rest = [f.name for f in fields(self) if f.name not in ("cores", "copy_byte_per_s")]
        check(self, above=("cores", "copy_byte_per_s"), at_least=tuple(rest))
        if self.cache_share > 1:
            raise StorageError(f"Host: cache_share is {self.cache_share!r}; 0 to 1.")


@dataclass(frozen=True, kw_only=True)
class FileSystem:
    """A parallel file system: what all its clients together can read and write, and one of them alone [B/s].

    ``over_cards``: its traffic crosses the network cards that training uses.
    """

    read_byte_per_s: float
    write_byte_per_s: float
    client_byte_per_s: float = math.inf
    over_cards: bool = True

    def __post_init__(self) -> None:
        check(self, above=("read_byte_per_s", "write_byte_per_s"))
        if not self.client_byte_per_s > 0:
            raise StorageError(f"FileSystem: client_byte_per_s is {self.client_byte_per_s!r}; a number above 0.")

    def client_rate(self, host: Host, total_byte_per_s: float, clients: int = 1) -> float:
        """What each of so many busy clients gets [B/s].

        .. math:: r = \\min(R / n, r_{client}, r_{cards})
        """
        cards = host.card_byte_per_s if self.over_cards and host.card_byte_per_s else math.inf
        return min(total_byte_per_s / clients, self.client_byte_per_s, cards)
