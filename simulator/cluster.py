"""`Cluster`: servers on a network, one link bound to each tier. Where rates meet counts.

Systems that ship are described in ``simulator/data/systems/*.toml``: which server, how many, which network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from hwmodels.datafile import DataFileError, TomlFile, data_files, did_you_mean, read_toml, unknown_name
from hwmodels.server import Server

NETWORKS: Final = ("fat_tree", "torus", "single_server", "cloud")

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
    ``up_fabric`` and ``out_fabric`` name the fabrics whose fitted constants apply.
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

    Switched and tree servers give every group the chip's whole rate. A cube mesh gives a group as many rings as its
    links allow (`topologies.ring_capacity`); where a group has no ring of direct links its traffic crosses PCIe at a
    chip's PCIe rate.
    """
    link = hardware.link(server.scale_up_link) if server.scale_up_link else None
    full = link.bandwidth_byte_per_s * max(server.scale_up_links_per_chip, 1) if link else 0.0
    if server.scale_up != "hybrid_cube_mesh" or link is None:
        return (full,) * (server.chips + 1)
    from topologies import hybrid_cube_mesh, ring_capacity

    mesh = hybrid_cube_mesh(server.cube_mesh_links)
    pcie = hardware.link("pcie3-x16").bandwidth_byte_per_s
    rates = [full, full]
    for members in range(2, server.chips + 1):
        rings = ring_capacity(mesh, tuple(range(members)))
        rates.append(rings * link.bandwidth_byte_per_s if rings else pcie)
    return tuple(rates)


_UP_FABRIC: Final[Mapping[str, str]] = {
    "fully_connected": "switch", "hybrid_cube_mesh": "mesh", "pcie_tree": "tree", "torus": "torus", "none": "none",
}  # fmt: skip


def build_cluster(
    *, id: str, name: str, server: Server, servers: int, out_byte_per_s: float | None = None, out_fabric: str = "",
    network: str = "fat_tree", oversubscription: float = 1.0, source: str = "", chips_per_server: int = 0,
) -> Cluster:  # fmt: skip
    """A cluster of like servers; the network is what their cards can carry, divided by the oversubscription."""
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
        host_power_w=server.host_power_w, network=network, oversubscription=oversubscription, source=source,
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


@dataclass(frozen=True, kw_only=True)
class SystemEntry:
    """One system file: the cluster, other names for it, the default stack by workload family."""

    cluster: Cluster
    aliases: tuple[str, ...]
    locator: str
    note: str


def _read_system(file: TomlFile) -> SystemEntry:
    data: Mapping[str, Any] = file.data
    problems = [
        f"{file.name}:{file.line_of((key,))}: {key}: unknown key.{did_you_mean(key, _SYSTEM_KEYS)}"
        for key in data
        if key not in _SYSTEM_KEYS
    ]
    problems += [
        f"{file.name}: {key} is missing."
        for key in ("id", "name", "server", "servers", "source", "locator")
        if key not in data
    ]
    network = data.get("network", "fat_tree")
    if network not in NETWORKS:
        problems.append(
            f"{file.name}:{file.line_of(('network',))}: network: {network!r}; legal: {', '.join(NETWORKS)}."
        )
    if problems:
        raise DataFileError("\n".join(problems))
    server = hardware.server(data["server"])
    cluster = build_cluster(
        id=data["id"], name=data["name"], server=server, servers=int(data["servers"]), network=network,
        oversubscription=float(data.get("oversubscription", 1.0)), out_fabric=data.get("out_fabric", ""),
        out_byte_per_s=torus_out_byte_per_s(server) if network == "torus" else None, source=data["source"],
    )  # fmt: skip
    return SystemEntry(
        cluster=cluster, aliases=tuple(data.get("aliases", ())), locator=data["locator"], note=data.get("note", "")
    )


def _systems() -> Mapping[str, SystemEntry]:
    return _read_systems(tuple(data_files("systems", str(files("simulator") / "data" / "systems")).values()))


@cache
def _read_systems(paths: tuple[str, ...]) -> Mapping[str, SystemEntry]:
    entries = [_read_system(read_toml(path)) for path in paths]
    return {entry.cluster.id: entry for entry in entries}


def system_ids() -> tuple[str, ...]:
    """Systems that ship or that the user adds."""
    return tuple(_systems())


def system(name: str) -> SystemEntry:
    """One system by id or alias; raises `UnknownSystemError` with the nearest known."""
    entries = _systems()
    if name in entries:
        return entries[name]
    for entry in entries.values():
        if name in entry.aliases:
            return entry
    raise UnknownSystemError(
        unknown_name("system", name, [*entries, *(a for e in entries.values() for a in e.aliases)])
    )
