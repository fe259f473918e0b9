"""`Cluster`: servers on a network, one link bound to each tier. Where rates meet counts.

Systems that ship are described in ``simulator/data/systems/*.toml``: which server, how many, which network. What the
wires look like as a graph is `simulator.cluster_topology`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from hwmodels.datafile import DataFileError, TomlFile, data_files, did_you_mean, read_toml, unknown_name
from hwmodels.server import Server

from .networks import Network, network_problems, read_network

#: More chips than this behind one host are a slip of the pen: rates are kept for every group size.
MOST_CHIPS_PER_SERVER: Final = 4096


class ClusterError(ValueError):
    """A cluster that cannot be, or that is too small for the question."""


class UnknownSystemError(LookupError):
    """An unknown system."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """Chips, what joins them inside a server and between servers.

    ``up_byte_per_s[k]`` is the nominal rate of one chip inside a group of k members of one server, one direction [B/s]
    (index 0 and 1: all its links); ``out_byte_per_s`` that of all network cards of one server, one direction [B/s].
    ``up_fabric`` and ``out_fabric`` name the fabrics whose fitted constants apply. ``wires`` is the network with its
    parameters, for those who ask for its graph; ``network`` is its shape.
    """

    id: str
    name: str
    chip: Chip
    server: str
    chips_per_server: int
    max_servers: int
    up_fabric: str
    up_byte_per_s: tuple[float, ...]
    up_latency_s: float
    out_fabric: str
    out_byte_per_s: float
    out_latency_s: float
    network_cards: int
    host_power_w: float
    network: str = "fat_tree"
    oversubscription: float = 1.0
    source: str = ""
    wires: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        if self.chips_per_server < 1 or self.max_servers < 1:
            raise ClusterError(f"Cluster {self.id!r}: needs at least one chip per server and one server.")
        if len(self.up_byte_per_s) != self.chips_per_server + 1:
            raise ClusterError(f"Cluster {self.id!r}: up_byte_per_s needs {self.chips_per_server + 1} entries.")

    @property
    def max_chips(self) -> int:
        """Chips of the whole system."""
        return self.chips_per_server * self.max_servers


def up_rates(server: Server) -> tuple[float, ...]:
    """Nominal rate of one chip inside groups of 0, 1, ..., all members of the server [B/s], one direction.

    Switched and tree servers give every group the chip's whole rate. A cube mesh, or any mesh, gives a group as many
    rings as its links allow (`topologies.rings_with_relays`); where a group has no ring at all its traffic crosses the
    host: at a chip's PCIe rate in a cube mesh, at that of the mesh's own host link elsewhere.
    """
    link = hardware.link(server.scale_up_link) if server.scale_up_link else None
    full = link.bandwidth_byte_per_s * max(server.scale_up_links_per_chip, 1) if link else 0.0
    if server.scale_up not in ("hybrid_cube_mesh", "mesh") or link is None:
        return (full,) * (server.chips + 1)
    rings = _rings(server.pairs, server.chips)
    through_host = _through_host(server) if server.scale_up == "mesh" else _rate("pcie3-x16")
    return (full, full, *(count * link.bandwidth_byte_per_s if count else through_host for count in rings))


#: What a ring carries that relays through a chip, against a ring of direct links: its receiver reads from the relay
#: where others write. Fitted on 5 chips of a DGX-1 (37.2 GB/s in two such rings, against 22.6 in one of direct links).
RELAYED_SHARE: Final = 18.5 / 22.5


@cache
def _rings(pairs: tuple[tuple[int, int, int], ...], chips: int) -> tuple[float, ...]:
    """What the rings over the first 2, 3, ..., all chips carry, in links of one direction."""
    from topologies import hybrid_cube_mesh, rings_with_relays

    mesh = hybrid_cube_mesh(pairs)
    found = [rings_with_relays(mesh, tuple(range(members))) for members in range(2, chips + 1)]
    return tuple(sum(RELAYED_SHARE if relayed else 1.0 for relayed in rings.relayed) for rings in found)


def _through_host(server: Server) -> float:
    """What a ring has where it must cross the processors [B/s], one direction: the narrowest of the links there."""
    rates = [server.host_links_per_chip * _rate(server.host_link or "pcie3-x16")]
    return min(rates + ([_rate(server.socket_link)] if server.socket_link else []))


def _rate(link: str) -> float:
    return hardware.link(link).bandwidth_byte_per_s


_UP_FABRIC: Final[Mapping[str, str]] = {
    "fully_connected": "switch", "nvswitch": "switch", "hybrid_cube_mesh": "mesh", "mesh": "mesh", "pcie_tree": "tree",
    "torus": "torus", "wafer": "none", "none": "none",
}  # fmt: skip


def build_cluster(
    *, id: str, name: str, server: Server, servers: int, out_byte_per_s: float | None = None, out_fabric: str = "",
    network: str | Network = "fat_tree", oversubscription: float = 1.0, source: str = "", chips_per_server: int = 0,
) -> Cluster:  # fmt: skip
    """A cluster of like servers; the network is what their cards can carry, divided by the oversubscription.

    A shape of network that needs parameters is given as a `Network`; by its name alone it has a name and no wires.
    """
    wires = network if isinstance(network, Network) else Network()
    if isinstance(network, str) and not network_problems(network, {}):
        wires = Network(shape=network)
    nic = hardware.link(server.nic_link) if server.nics else None
    rates = up_rates(server)
    count = chips_per_server or server.chips
    if count > MOST_CHIPS_PER_SERVER:
        raise ClusterError(f"Cluster {id!r}: {count} chips per server; legal: 1 to {MOST_CHIPS_PER_SERVER}.")
    # Fewer chips than the server has: its small groups. More (two boards behind one host): as the largest group.
    rates = rates[: count + 1] + (rates[-1],) * (count - server.chips)
    up_link = hardware.link(server.scale_up_link) if server.scale_up_link else None
    nominal = out_byte_per_s if out_byte_per_s is not None else (server.nics * nic.bandwidth_byte_per_s if nic else 0.0)
    return Cluster(
        id=id, name=name, chip=hardware.chip(server.chip), server=server.id, chips_per_server=count,
        max_servers=servers,
        up_fabric=f"{server.scale_up_link or 'host'}-{_UP_FABRIC[server.scale_up]}", up_byte_per_s=rates,
        up_latency_s=up_link.latency_s if up_link else 5e-6,
        out_fabric=out_fabric or server.nic_link or "none", out_byte_per_s=nominal / oversubscription or 1e9,
        out_latency_s=nic.latency_s if nic else 5e-6, network_cards=max(server.nics, 1),
        host_power_w=server.host_power_w,
        network=network if isinstance(network, str) else network.shape, wires=wires,
        oversubscription=oversubscription, source=source,
    )  # fmt: skip


def torus_out_byte_per_s(server: Server) -> float:
    """Nominal rate of the torus links that leave a server's chips, one direction [B/s].

    The chips of a server are a cut of two by n/2: n/2 + 2 (n/2 - 1) of its links join two of them, so that

    .. math:: B = b (n d - 2 (3 n / 2 - 2))

    with n chips of d links of rate b; half of all for the 2 x 2 cut of a two-dimensional torus.
    """
    inside = 3 * (server.chips // 2) - 2 if server.chips > 1 else 0
    ends = server.chips * server.scale_up_links_per_chip - 2 * inside
    return ends * hardware.link(server.scale_up_link).bandwidth_byte_per_s


_SYSTEM_KEYS: Final = (
    "schema", "id", "name", "server", "servers", "network", "oversubscription", "out_fabric", "source", "locator",
    "aliases", "note", "stack",
)  # fmt: skip


_NEEDED_KEYS: Final = ("id", "name", "server", "servers", "source", "locator")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


_KEY_KINDS: Final = (
    *((key, _is_text, "a text is needed") for key in ("id", "name", "server", "source", "locator", "out_fabric")),
    ("servers", lambda value: type(value) is int and value >= 1, "a whole number, at least 1"),
    (
        "oversubscription",
        lambda value: isinstance(value, int | float) and not isinstance(value, bool) and value >= 1,
        "a number, at least 1",
    ),
    (
        "aliases",
        lambda value: isinstance(value, list) and all(map(_is_text, value)),
        "a list of texts is needed",
    ),
)


@dataclass(frozen=True, kw_only=True)
class SystemEntry:
    """One system file: the cluster, other names for it, the default stack by workload family."""

    cluster: Cluster
    aliases: tuple[str, ...]
    locator: str
    note: str


def _read_system(file: TomlFile, folder: str = "") -> SystemEntry:
    data: Mapping[str, Any] = file.data
    network, problems = read_network(file, hardware.link_ids(), folder)
    problems += [
        file.problem((key,), f"unknown key.{did_you_mean(key, _SYSTEM_KEYS)}")
        for key in data
        if key not in _SYSTEM_KEYS
    ]
    problems += [f"{file.name}: {key} is missing." for key in _NEEDED_KEYS if key not in data]
    for key, legal, words in _KEY_KINDS:
        if key in data and not legal(data[key]):
            problems.append(file.problem((key,), f"is {data[key]!r}; {words}."))
    if isinstance(data.get("server"), str) and data["server"] not in hardware.server_ids():
        near = did_you_mean(data["server"], hardware.server_ids())
        problems.append(file.problem(("server",), f"no server {data['server']!r} in the catalogue.{near}"))
    if problems:
        raise DataFileError(*problems)
    server = hardware.server(data["server"])
    of_chips = network.shape == "torus" and server.scale_up == "torus"
    cluster = build_cluster(
        id=data["id"], name=data["name"], server=server, servers=data["servers"], network=network,
        oversubscription=float(data.get("oversubscription", 1.0)), out_fabric=data.get("out_fabric", ""),
        out_byte_per_s=torus_out_byte_per_s(server) if of_chips else None, source=data["source"],
    )  # fmt: skip
    return SystemEntry(
        cluster=cluster, aliases=tuple(data.get("aliases", ())), locator=data["locator"], note=data.get("note", "")
    )


def _paths() -> Mapping[str, str]:
    return data_files("systems", str(files("simulator") / "data" / "systems"))


@cache
def _system_at(path: str) -> SystemEntry:
    return _read_system(read_toml(path), str(Path(path).parent))


def _systems() -> Mapping[str, SystemEntry]:
    return _read_systems(tuple(_paths().values()))


@cache
def _read_systems(paths: tuple[str, ...]) -> Mapping[str, SystemEntry]:
    return {entry.cluster.id: entry for entry in map(_system_at, paths)}


def system_ids() -> tuple[str, ...]:
    """Systems that ship or that the user adds."""
    return tuple(_systems())


def system(name: str) -> SystemEntry:
    """One system by id or alias, in capitals or not; raises `UnknownSystemError` with the nearest known."""
    # A file is called as its system is: the others need not be read.
    path = _paths().get(name)
    if path and (entry := _system_at(path)).cluster.id == name:
        return entry
    entries = _systems()
    if name in entries:
        return entries[name]
    word = name.casefold()
    for id, entry in entries.items():
        if word in (id.casefold(), *(alias.casefold() for alias in entry.aliases)):
            return entry
    # Published names are many and long: they are listed only for a word that is near to no id.
    aliases = [] if did_you_mean(name, entries) else [alias for entry in entries.values() for alias in entry.aliases]
    raise UnknownSystemError(unknown_name("system", name, [*entries, *aliases]))
