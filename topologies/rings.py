"""Link-disjoint rings over chips that are wired pair by pair: what a ring all-reduce can use of a cube mesh."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from topologies.ring_search import Arc, Budget, Path, all_rings, largest_set
from topologies.topology import Topology, TopologyError, nearest


class Relay(NamedTuple):
    """One step of a ring that goes from chip `source` to chip `target` over the links and the memory of `through`."""

    source: Hashable
    through: Hashable
    target: Hashable


@dataclass(frozen=True, kw_only=True)
class RingSet:
    """Rings that run at once on links of their own.

    Parameters
    ----------
    rings
        The members in the order of each directed ring, from the first member on.
    relays
        For each ring, the steps that pass through a third chip, in the order of the ring.
    """

    rings: tuple[tuple[Hashable, ...], ...]
    relays: tuple[tuple[Relay, ...], ...]

    def __post_init__(self) -> None:
        if len(self.rings) != len(self.relays):
            raise TopologyError(f"RingSet: {len(self.rings)} rings, but relays of {len(self.relays)}; one per ring.")

    def __len__(self) -> int:
        return len(self.rings)

    @property
    def relayed(self) -> tuple[bool, ...]:
        """For each ring, whether it has a relayed step."""
        return tuple(bool(steps) for steps in self.relays)

    @property
    def relayed_hops(self) -> tuple[int, ...]:
        """For each ring, its relayed steps."""
        return tuple(len(steps) for steps in self.relays)


def ring_capacity(topology: Topology, members: Sequence[Hashable]) -> int:
    """Directed rings that run at once over `members` on links of their own.

    A ring visits every member once and uses one direction of one link at each step, so a ring over three or more chips
    leaves room for its reverse. Multiplied by the rate of one link in one direction it bounds the bus bandwidth of a
    ring all-reduce.

    Two chips: the links between them. Members on a common switch and nothing else: the fewest links of any of them to
    the switch. Otherwise only links between members count, and the number is the exact maximum.

    Leaves out: relays (see `rings_with_relays`), and paths through hosts or several switches. It is 0 where the
    members' own links hold no ring and a library falls back to such paths.

    Raises
    ------
    TopologyError
        If there are fewer than 2 members, one is not an end point or is repeated, or the search is too large (about ten
        chips wired all to all).
    """
    return len(edge_disjoint_rings(topology, members))


def edge_disjoint_rings(
    topology: Topology, members: Sequence[Hashable] | None = None
) -> tuple[tuple[Hashable, ...], ...]:
    """A largest set of rings as counted by `ring_capacity`, each from the first member on; the same one every time.

    By default over all end points. A ring may appear several times, on parallel links.
    """
    chips = topology.endpoints if members is None else tuple(members)
    _check_members(topology, chips)
    free = _free_links(topology, chips)
    if not free:
        return (chips,) * _links_to_common_switch(topology, chips)
    budget = Budget(topology.name, len(chips))
    rings = largest_set(len(chips), free, all_rings(len(chips), free, budget), budget)
    return tuple(tuple(chips[i] for i in ring.order) for ring in rings)


def rings_with_relays(
    topology: Topology, members: Sequence[Hashable] | None = None, *, through: Sequence[Hashable] | None = None
) -> RingSet:
    """Rings over `members`, and where their own links hold none, rings with steps relayed through one other chip.

    A relayed step from a to b writes into the memory of a chip r that both are wired to, and b reads it from there: it
    takes one direction of a link a - r and one of a link r - b. Only pairs that no link joins are relayed. All rings
    have at most as many relayed steps as the ring with the fewest needs, and their number is the exact maximum.

    Parameters
    ----------
    members
        By default all end points.
    through
        Chips that may relay (processors never do); by default the members. NCCL trims all other chips from its picture
        of a server, and what five chips of a DGX-1 reach agrees: two rings, where four could pass through the others.
        Give `topology.endpoints` for a library that may use chips that take no part.

    Returns
    -------
    Empty where there is no ring even so, as between chips 0 and 5 of a DGX-1 on their own.

    Leaves out: relays through two chips or a host, and mixing: where there are direct rings, links that are left over
    stay idle. A relayed ring is slower than a direct one on the same links, because its reads are (chips 0..4 of a
    DGX-1 V100 hold two relayed rings and reach 37.2 GB/s, 18.6 a ring, where direct rings carry 22.5; NVIDIA/nccl
    issues 819, for the read, and VIA-Research/vTrain@f8dda84, for the rates). By how much is not a matter of topology.

    Raises
    ------
    TopologyError
        As `ring_capacity`, or if one of `through` is not a chip of the topology.
    """
    chips = topology.endpoints if members is None else tuple(members)
    direct = edge_disjoint_rings(topology, chips)
    if direct:
        return RingSet(rings=direct, relays=((),) * len(direct))
    relaying = _relays(topology, chips if through is None else through)
    vertices = (*chips, *(v for v in relaying if v not in chips))
    allowed = [i for i, v in enumerate(vertices) if v in relaying]
    free = _free_links(topology, vertices)
    budget = Budget(topology.name, len(chips))
    for relays in range(1, len(chips) + 1):
        if rings := all_rings(len(chips), free, budget, through=allowed, relays=relays):
            found = largest_set(len(chips), free, rings, budget)
            return RingSet(
                rings=tuple(tuple(chips[i] for i in ring.order) for ring in found),
                relays=tuple(_relayed_steps(ring, vertices) for ring in found),
            )
    return RingSet(rings=(), relays=())


def _relayed_steps(ring: Path, vertices: Sequence[Hashable]) -> tuple[Relay, ...]:
    steps = zip(pairwise((*ring.order, ring.order[0])), ring.through, strict=True)
    return tuple(Relay(vertices[a], vertices[relay], vertices[b]) for (a, b), relay in steps if relay >= 0)


def _free_links(topology: Topology, vertices: Sequence[Hashable]) -> Mapping[Arc, int]:
    return {
        (i, j): topology.graph.edges[a, b]["count"]
        for i, a in enumerate(vertices)
        for j, b in enumerate(vertices)
        if topology.graph.has_edge(a, b)
    }


def _relays(topology: Topology, through: Sequence[Hashable]) -> tuple[Hashable, ...]:
    known = set(topology.vertices("chip"))
    for vertex in through:
        if vertex not in known and vertex not in topology.endpoints:
            raise TopologyError(
                f"Topology {topology.name!r}: {vertex!r} cannot relay; it is not a chip here."
                f"{nearest(vertex, map(str, known))}"
            )
    return tuple(vertex for vertex in dict.fromkeys(through) if vertex in known)


def _check_members(topology: Topology, chips: tuple[Hashable, ...]) -> None:
    where = f"Topology {topology.name!r}: ring over {len(chips)} chips"
    if len(chips) < 2:
        raise TopologyError(f"{where}; a ring needs at least 2.")
    if len(set(chips)) < len(chips):
        raise TopologyError(f"{where} lists one of them twice.")
    known = set(topology.endpoints)
    for chip in chips:
        if chip not in known:
            raise TopologyError(f"{where}: {chip!r} is not an end point.")


def _links_to_common_switch(topology: Topology, chips: tuple[Hashable, ...]) -> int:
    graph = topology.graph
    shared = [v for v in graph[chips[0]] if graph.nodes[v]["kind"] == "switch" and all(v in graph[c] for c in chips)]
    return sum(min(graph.edges[chip, switch]["count"] for chip in chips) for switch in shared)
