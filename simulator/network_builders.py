"""From the words of a network to its graph: one small function per shape of `simulator.networks`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

import networkx as nx

import topologies
from hwmodels.datafile import DataFileError
from hwmodels.server import Server
from topologies.clos import clos
from topologies.cloud import ethernet_cloud
from topologies.dragonfly import aries, aries_shape, dragonfly, slingshot, slingshot_shape
from topologies.dragonfly_plus import dragonfly_plus, dragonfly_plus_shape
from topologies.dragonfly_shape import dragonfly_shape
from topologies.gemini import gemini
from topologies.graph_file import read_graph
from topologies.hypercube import hypercube
from topologies.ipu_pod import PER_MACHINE, ipu_pod
from topologies.rail import rail_optimised
from topologies.small_world import small_world
from topologies.swarmx import swarmx
from topologies.topology import Topology, TopologyError
from topologies.tpu import tpu_slice, tpu_slice_shape

from .networks import Network
from .server_topology import server_topology

#: Ports of the switches that went with a kind of card, where a file is silent.
_PORTS: Final = (
    ("infiniband-fdr", 36), ("infiniband-edr", 36), ("infiniband-hdr", 40), ("infiniband", 64), ("omni-path", 48),
    ("slingshot", 64), ("ethernet-10g", 48), ("ethernet-25g", 48), ("", 64),
)  # fmt: skip

#: Builds the network of so many servers; True: its end points are cards, not servers.
Builder: TypeAlias = Callable[[Network, Server, int], tuple[Topology, bool]]


def switch_ports(card: str) -> int:
    """Ports of a switch that usually goes with a kind of card."""
    return next(ports for name, ports in _PORTS if card.startswith(name))


def most_even_slice(
    dims: tuple[int, ...], chips: int, *, step: int = 1, legal: Callable[[tuple[int, ...]], bool] = lambda box: True
) -> tuple[int, ...]:
    """The most even box of that many chips that fits into a grid, of those that are legal.

    Raises
    ------
    TopologyError
        If there is none, with the nearest count, in steps of ``step``, that has one.
    """
    if found := [box for box in _boxes(dims, chips) if legal(box)]:
        return min(found, key=lambda box: (max(box) / min(box), box))
    counts = sorted(range(step, math.prod(dims) + 1, step), key=lambda n: (abs(n - chips), n))
    near = next((n for n in counts if any(map(legal, _boxes(dims, n)))), math.prod(dims))
    raise TopologyError(f"torus {'x'.join(map(str, dims))}: no slice has {chips} chips. Nearest: {near}.")


def _boxes(dims: tuple[int, ...], chips: int) -> list[tuple[int, ...]]:
    """Boxes of so many chips, the i-th axis no longer than the i-th of the grid."""
    first, *rest = dims
    if not rest:
        return [(chips,)] if chips <= first else []
    return [
        (size, *box)
        for size in range(1, min(first, chips) + 1)
        if chips % size == 0
        for box in _boxes(tuple(rest), chips // size)
    ]


def first_endpoints(topology: Topology, count: int) -> Topology:
    """The first end points of a network and the switches that they can reach each other by; the rest is left out."""
    if count == len(topology.endpoints):
        return topology
    if count > len(topology.endpoints):
        raise TopologyError(f"{topology.name}: {count} end points, but it has {len(topology.endpoints)}.")
    graph = nx.Graph(topology.graph)
    graph.remove_nodes_from(topology.endpoints[count:])
    ends = set(topology.endpoints[:count])
    while count > 1 and (loose := [v for v in graph if v not in ends and graph.degree(v) < 2]):
        graph.remove_nodes_from(loose)
    return Topology(name=topology.name, graph=graph, endpoints=topology.endpoints[:count])


# --- networks of servers, or of their cards --------------------------------------------------------------------------


def _fat_tree(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    radix = network["radix"] or switch_ports(server.nic_link)
    taper = float(network["oversubscription"])
    for levels in (network["levels"],) if network["levels"] else (2, 3):
        try:
            built = topologies.fat_tree(endpoints=servers, radix=radix, levels=levels, oversubscription=taper)
        except TopologyError:
            if levels == (network["levels"] or 3):
                raise
        else:
            return built, False
    raise AssertionError("a fat tree is built or refused")


def _clos(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    """The levels that the first servers need, as wide as they need; a group that has one of them is there whole."""
    children: tuple[int, ...] = network["children"]
    if servers > math.prod(children):
        raise TopologyError(f"clos: {servers} servers, but children {list(children)} hold {math.prod(children)}.")
    levels = next(k for k in range(1, len(children) + 1) if math.prod(children[:k]) >= servers)
    below = children[: levels - 1]
    part = (*below, math.ceil(servers / math.prod(below)))
    given = {name: network[name] or (1,) * len(children) for name in ("parents", "links")}
    if wrong := [name for name, values in given.items() if len(values) != len(children)]:
        raise TopologyError(f"clos: {wrong[0]} has {len(given[wrong[0]])} values; one per level, {len(children)}.")
    return first_endpoints(clos(part, parents=given["parents"][:levels], links=given["links"][:levels]), servers), False


def _cloud(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    built = ethernet_cloud(
        servers=servers, servers_per_rack=network["servers_per_rack"], racks_per_pod=network["racks_per_pod"],
        oversubscription=float(network["oversubscription"]),
        oversubscription_pod=float(network["oversubscription_pod"]),
    )  # fmt: skip
    return built, False


def _mesh(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    dims = most_even_slice(network["dims"], servers)
    return topologies.torus(dims, tier="scale_out", wrap=False), False


def _gemini(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    """The planes x = 0, 1, ... of routers that the first servers fill; the whole torus from half of it on.

    Up to half of the torus no shortest route leaves the planes, so that a part has the routes of the whole.
    """
    dims, nodes = network["dims"], network["nodes_per_router"]
    if servers > math.prod(dims) * nodes:
        raise TopologyError(f"gemini: {servers} servers, but {dims} routers have {math.prod(dims) * nodes} places.")
    planes = math.ceil(servers / (math.prod(dims[1:]) * nodes))
    if planes > dims[0] // 2:
        return first_endpoints(gemini(dims, nodes_per_router=nodes), servers), False
    part = gemini((planes, *dims[1:]), nodes_per_router=nodes)
    graph = nx.Graph(part.graph)
    for y, z in itertools.product(range(dims[1]), range(dims[2])):
        ends = ("router", 0, y, z), ("router", planes - 1, y, z)
        if planes > 2:
            graph.remove_edge(*ends)
        elif planes == 2:  # joined once, not around as well
            count = graph.edges[ends]["count"] // 2
            graph.add_edge(*ends, **{**graph.edges[ends], "count": count})
    return first_endpoints(replace(part, graph=graph, bisection=None), servers), False


def _dragonfly(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    words = ("routers_per_group", "endpoints_per_router")
    group = {word: network[word] for word in words}
    whole = dragonfly_shape(groups=network["groups"], global_links=network["global_links"], **group)
    cards = servers * server.nics
    groups = _groups("dragonfly", cards, math.prod(group.values()), network["groups"])
    pair = {"links_per_pair": whole.links_per_pair} if groups > 1 else {"global_links": network["global_links"]}
    return dragonfly(groups=groups, endpoints=cards, **group, **pair), True


def _aries(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    per_group = aries_shape(groups=1).endpoints
    cards = servers * server.nics
    groups = _groups("aries", cards, per_group, network["groups"])
    return aries(groups=groups, nodes=cards, links_per_pair=network["links_per_pair"]), True


def _slingshot(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    switches, places = network["switches_per_group"], network["endpoints_per_switch"]
    per_group, cards = switches * places, servers * server.nics
    groups = _groups("slingshot", cards, per_group, network["groups"])
    # As many links to another group as the whole machine has, however few groups are asked for.
    whole = slingshot_shape(
        groups=network["groups"], switches_per_group=switches, endpoints_per_switch=places,
        links_per_pair=network["links_per_pair"] or None,
    )  # fmt: skip
    built = slingshot(
        groups=groups, switches_per_group=switches, endpoints_per_switch=places, nics=cards,
        links_per_pair=whole.links_per_pair if groups > 1 else None,
    )  # fmt: skip
    return built, True


def _groups(where: str, endpoints: int, per_group: int, groups: int) -> int:
    """Groups that so many end points fill, in order."""
    if endpoints > per_group * groups:
        raise TopologyError(
            f"{where}: {endpoints} end points, but {groups} groups of {per_group} have {per_group * groups} places. "
            f"Nearest: groups = {math.ceil(endpoints / per_group)}."
        )
    return math.ceil(endpoints / per_group)


def _dragonfly_plus(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    words = ("leaves", "spines", "endpoints_per_leaf", "links_per_pair", "leaf_links")
    group = {word: network[word] for word in words}
    radix, cards = network["radix"] or None, servers * server.nics
    dragonfly_plus_shape(groups=network["groups"], radix=radix, **group)  # whether the whole can be
    groups = _groups("dragonfly_plus", cards, group["leaves"] * group["endpoints_per_leaf"], network["groups"])
    return dragonfly_plus(groups=groups, endpoints=cards, radix=radix, **group), True


def _hypercube(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    return hypercube(servers, tier="scale_out"), False


def _small_world(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    built = small_world(
        servers, neighbours=network["neighbours"], rewired=float(network["rewired"]), seed=network["seed"],
        tier="scale_out",
    )  # fmt: skip
    return built, False


def _graph(network: Network, server: Server, servers: int) -> tuple[Topology, bool]:
    """The user's graph with its first so many end points; a system may have more servers than a question."""
    try:
        whole = read_graph(network["file"])
    except DataFileError as error:
        raise TopologyError(f"graph: {error}") from None
    if len(whole.endpoints) < servers:
        raise TopologyError(
            f"graph: {whole.name!r} has {len(whole.endpoints)} end points, fewer than {servers} servers."
        )
    return replace(whole, endpoints=whole.endpoints[:servers], bisection=None), False


#: Networks on which servers are put card by card or plane by plane.
BUILDERS: Final[Mapping[str, Builder]] = {
    "fat_tree": _fat_tree, "clos": _clos, "cloud": _cloud, "mesh": _mesh, "gemini": _gemini, "dragonfly": _dragonfly,
    "aries": _aries, "slingshot": _slingshot, "dragonfly_plus": _dragonfly_plus, "hypercube": _hypercube,
    "small_world": _small_world, "graph": _graph,
}  # fmt: skip


# --- networks that are built with the servers in them ----------------------------------------------------------------


def _torus(network: Network, server: Server, servers: int) -> Topology:
    """Chips of one torus that runs through all servers, in the order of the servers that hold them."""
    if server.scale_up != "torus":
        raise TopologyError(f"torus: the chips of {server.id} are no part of a torus; scale_up is {server.scale_up!r}.")
    chips = servers * server.chips
    generation, dims = network["generation"], network["dims"]
    host = server.torus_dims or (server.chips,)
    dims = dims or (chips,) * max(2, len(host))
    host = (*host, *(1,) * (len(dims) - len(host)))

    def legal(box: tuple[int, ...]) -> bool:
        return all(size % side == 0 for size, side in zip(box, host, strict=True)) and _is_slice(generation, box)

    if len(host) != len(dims):
        raise TopologyError(f"torus: dims has {len(dims)} axes, but the chips of {server.id} have {len(host)}.")
    box = most_even_slice(dims, chips, step=server.chips, legal=legal)
    built = tpu_slice(generation, box) if generation else topologies.torus(box, wrap=network["wrap"])

    def place(chip: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        return tuple(x // side for x, side in zip(chip, host, strict=True)), chip

    coordinates = sorted((chip for chip in built.endpoints if isinstance(chip, tuple)), key=place)
    return replace(built, endpoints=tuple(coordinates))


def _is_slice(generation: str, box: tuple[int, ...]) -> bool:
    if not generation:
        return True
    try:
        tpu_slice_shape(generation, box)
    except TopologyError:
        return False
    return True


def _ipu_pod(network: Network, server: Server, servers: int) -> Topology:
    """Whole pods, or part of one; a gateway of each machine joins pods."""
    if server.chips != PER_MACHINE:
        raise TopologyError(f"ipu_pod: a machine has {PER_MACHINE} chips; {server.id} has {server.chips}.")
    machines: int = network["machines"]
    if servers > machines and servers % machines:
        near = max(1, round(servers / machines)) * machines
        raise TopologyError(
            f"ipu_pod: {servers} machines; up to {machines}, or whole pods of {machines}. Nearest: {near}."
        )
    pods = max(1, servers // machines)
    return ipu_pod(
        min(servers, machines), pods=pods, loop=network["loop"] and servers >= machines, tier_gateway="nic",
    )  # fmt: skip


def _swarmx(network: Network, server: Server, servers: int) -> Topology:
    """Wafers below a tree of switches; the weight store at its root is no end point of a collective."""
    if server.chips != 1 or not server.nics:
        raise TopologyError(f"swarmx: joins systems of one chip with ports; {server.id} has {server.chips} chips.")
    return swarmx(servers, fan_out=network["fan_out"], links_per_system=server.nics, stores_are_endpoints=False)


def _rail(network: Network, server: Server, servers: int) -> Topology:
    """Card i of every server of a unit on leaf i; spines of a rail's own unless the file says otherwise."""
    chips = server_topology(server)
    if set(chips.vertices("host")):
        raise TopologyError(f"rail: the cards of {server.id} sit on processors; rails need them at chips.")
    radix, unit, spines = (
        network["radix"] or switch_ports(server.nic_link),
        network["servers_per_unit"],
        network["spines"],
    )
    units = math.ceil(servers / unit)
    per_unit = 1 if spines == "rail" else server.nics  # leaves of a unit under one spine
    one_level = units * per_unit <= radix and (spines == "shared" or server.nics == 1)
    pod = network["units_per_pod"] or (units if one_level else max(1, radix // 2 // per_unit))
    return rail_optimised(
        chips, servers=servers, servers_per_unit=unit, radix=radix, nics_per_server=server.nics, spines=spines,
        units_per_pod=min(pod, units), oversubscription=float(network["oversubscription"]), tier_nic="nic",
    )  # fmt: skip


#: Networks that are built with the servers in them.
WHOLE: Final[Mapping[str, Callable[[Network, Server, int], Topology]]] = {
    "torus": _torus, "ipu_pod": _ipu_pod, "swarmx": _swarmx, "rail": _rail,
}  # fmt: skip
