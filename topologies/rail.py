"""Rail-optimised clusters: NIC i of all servers of a unit on one leaf switch, spines above (Selene, Eos, SuperPODs)."""

from __future__ import annotations

import math
from collections.abc import Hashable
from dataclasses import dataclass

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count, nearest

#: What the spines above the leaves of a pod join: every leaf, or those of one rail.
SPINES = ("shared", "rail")


@dataclass(frozen=True, kw_only=True)
class RailShape:
    """The switches of a rail-optimised network; all fields are counts.

    Parameters
    ----------
    units
        Groups of servers that share their leaves; there is a leaf for each unit and rail.
    uplinks, leaf_links
        Links of a leaf to spines, and how many of them go to the same one; spines x leaf_links = uplinks.
    domains
        Sets of spines that have no leaf in common: pods, times the rails if each rail has spines of its own.
    cores, core_links
        Core switches above the i-th spine of every domain, and the links to each. 0 without cores.
    """

    servers: int
    rails: int
    servers_per_unit: int
    units: int
    units_per_pod: int
    uplinks: int
    spines: int
    leaf_links: int
    domains: int
    cores: int
    core_links: int


def rail_shape(
    *,
    servers: int,
    rails: int,
    servers_per_unit: int,
    radix: int,
    oversubscription: float = 1.0,
    units_per_pod: int | None = None,
    spines: str = "shared",
    core: bool = True,
) -> RailShape:
    """The switches that `rail_optimised` builds for the same arguments."""
    where = "rail_optimised"
    counts = {"servers": servers, "rails": rails, "servers_per_unit": servers_per_unit, "radix": radix}
    for name, value in counts.items():
        check_count(where, name, value)
    if spines not in SPINES:
        raise TopologyError(f"{where}: spines is {spines!r}; one of {', '.join(SPINES)}.{nearest(spines, SPINES)}")
    units = math.ceil(servers / servers_per_unit)
    per_pod = units if units_per_pod is None else units_per_pod
    check_count(where, "units_per_pod", per_pod)
    pods = math.ceil(units / per_pod)
    uplinks = _uplinks(servers_per_unit, oversubscription)
    domains = pods * (rails if spines == "rail" else 1)
    with_spines = units > 1 or (spines == "shared" and rails > 1)
    with_core = with_spines and core and domains > 1
    if servers_per_unit + uplinks * with_spines > radix:
        most = math.floor(radix * oversubscription / (1 + oversubscription))
        raise TopologyError(
            f"{where}: a leaf of {servers_per_unit} servers and {uplinks} uplinks needs {servers_per_unit + uplinks} "
            f"ports, but radix is {radix}. Nearest: servers_per_unit={max(1, most)}."
        )
    below = min(per_pod, units) * (1 if spines == "rail" else rails)  # leaves under one spine
    ports = radix // 2 if with_core else radix
    if with_spines and below > ports:
        per_unit = 1 if spines == "rail" else rails
        raise TopologyError(
            f"{where}: {below} leaves under one spine, but radix {radix} has {ports} ports downwards. "
            f"Nearest: units_per_pod={max(1, ports // per_unit)}, or more units under larger switches."
        )
    count = _fewest(links=uplinks, below=below, radix=ports) if with_spines else 0
    leaf_links = uplinks // count if count else 0
    up = below * leaf_links
    if with_core and domains > radix:
        raise TopologyError(
            f"{where}: {domains} spines of one plane under a core switch, but radix is {radix}. Nearest: "
            f"units_per_pod={math.ceil(units / max(1, radix // (domains // pods)))}."
        )
    cores = _fewest(links=up, below=domains, radix=radix) if with_core else 0
    return RailShape(
        servers=servers,
        rails=rails,
        servers_per_unit=servers_per_unit,
        units=units,
        units_per_pod=per_pod,
        uplinks=uplinks,
        spines=count,
        leaf_links=leaf_links,
        domains=domains,
        cores=cores,
        core_links=up // cores if cores else 0,
    )


def rail_optimised(
    server: Topology,
    *,
    servers: int,
    servers_per_unit: int,
    radix: int,
    nics_per_server: int | None = None,
    oversubscription: float = 1.0,
    units_per_pod: int | None = None,
    spines: str = "shared",
    core: bool = True,
    tier_nic: str = "host",
    tier_leaf: str = "scale_out",
    tier_spine: str = "spine",
) -> Topology:
    """Copies of `server`, NIC i of each on leaf i of its unit.

    Switches are ("leaf", unit, rail), ("spine", domain, i) and ("core", i, j): core j above the i-th spines.

    Parameters
    ----------
    nics_per_server
        Rails. Default: as many as the server has chips. Chips and NICs meet as in `nested`, and have the same names.
    servers_per_unit
        Servers on one set of leaves (a scalable unit); the last unit may be partly empty.
    radix
        Ports of every switch.
    oversubscription
        Servers / uplinks of a leaf; a whole number of uplinks must come out.
    units_per_pod
        Units whose leaves share spines; by default all.
    spines
        "shared": a spine has links to every leaf of its pod, so rails meet there. "rail": only to those of one rail.
    core
        Whether core switches join sets of spines that have no leaf in common, without taper. Without them (and with
        spines="rail") messages change rails inside servers: a rail-only network.

    Notes
    -----
    The fewest spines and cores that take the links evenly are used, and links are bundled. No closed form of the
    bisection: it depends on what the server lets pass; ask `bisection_links` for one tier of a small one.
    """
    chips = server.endpoints
    rails = len(chips) if nics_per_server is None else nics_per_server
    shape = rail_shape(
        servers=servers,
        rails=rails,
        servers_per_unit=servers_per_unit,
        radix=radix,
        oversubscription=oversubscription,
        units_per_pod=units_per_pod,
        spines=spines,
        core=core,
    )
    graph = nx.Graph()
    for i in range(servers):
        graph.add_nodes_from(((i, v), {"kind": kind}) for v, kind in server.graph.nodes(data="kind"))
        graph.add_edges_from(((i, a), (i, b), dict(link)) for a, b, link in server.graph.edges(data=True))
        for rail in range(rails):
            graph.add_node((i, ("nic", rail)), kind="nic")
            leaf = ("leaf", i // servers_per_unit, rail)
            graph.add_node(leaf, kind="switch")
            graph.add_edge((i, ("nic", rail)), leaf, tier=tier_leaf, count=1, derate=1.0)
        for k in range(max(len(chips), rails)):
            chip = chips[k if len(chips) >= rails else k * len(chips) // rails]
            rail = k * rails // len(chips) if len(chips) >= rails else k
            graph.add_edge((i, chip), (i, ("nic", rail)), tier=tier_nic, count=1, derate=1.0)
    _add_spines(graph, shape, per_rail=spines == "rail", tier=tier_spine)
    return Topology(
        name=f"{servers} x {server.name} on {rails} rails",
        graph=graph,
        endpoints=tuple((i, chip) for i in range(servers) for chip in chips),
    )


def _add_spines(graph: nx.Graph, shape: RailShape, *, per_rail: bool, tier: str) -> None:
    def add(a: Hashable, b: Hashable, count: int) -> None:
        graph.add_node(b, kind="switch")
        graph.add_edge(a, b, tier=tier, count=count, derate=1.0)

    for unit in range(shape.units):
        for rail in range(shape.rails):
            pod = unit // shape.units_per_pod
            domain = pod * shape.rails + rail if per_rail else pod
            for spine in range(shape.spines):
                add(("leaf", unit, rail), ("spine", domain, spine), shape.leaf_links)
    for domain in range(shape.domains):
        for spine in range(shape.spines):
            for core in range(shape.cores):
                add(("spine", domain, spine), ("core", spine, core), shape.core_links)


def _uplinks(servers_per_unit: int, oversubscription: float) -> int:
    where = f"rail_optimised: oversubscription is {oversubscription!r}"
    if not (isinstance(oversubscription, int | float) and math.isfinite(oversubscription) and oversubscription > 0):
        raise TopologyError(f"{where}; a finite number above 0, such as 1.0 or 2.0.")
    uplinks = servers_per_unit / oversubscription
    if not math.isclose(uplinks, round(uplinks), rel_tol=1e-9) or round(uplinks) < 1:
        near = servers_per_unit / max(1, round(uplinks))
        raise TopologyError(
            f"{where}; {servers_per_unit} servers of a leaf over a whole number of uplinks. Nearest: {near:g}."
        )
    return round(uplinks)


def _fewest(*, links: int, below: int, radix: int) -> int:
    """Fewest upper switches that split each lower one's `links` evenly and have ports for all `below` of them."""
    return next(top for top in range(1, links + 1) if links % top == 0 and below * (links // top) <= radix)
