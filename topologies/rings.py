"""Link-disjoint rings over chips that are wired pair by pair: what a ring all-reduce can use of a cube mesh."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import Final

from topologies.topology import Topology, TopologyError

#: Steps of search before it gives up rather than hang: a second or two. Eight chips wired all to all take 14,000.
MOST_STEPS: Final = 500_000

Ring = tuple[int, ...]
Arc = tuple[int, int]


def ring_capacity(topology: Topology, members: Sequence[Hashable]) -> int:
    """Directed rings that run at once over `members` on links of their own.

    A ring visits every member once and uses one direction of one link at each step, so a ring over three or more chips
    leaves room for its reverse. Multiplied by the rate of one link in one direction it bounds the bus bandwidth of a
    ring all-reduce.

    Two chips: the links between them. Members on a common switch and nothing else: the fewest links of any of them to
    the switch. Otherwise only links between members count, and the number is the exact maximum.

    Leaves out: relays through chips that are not members, and paths through hosts or several switches. It is 0 where
    the members' own links hold no ring and a library falls back to such paths: chips 0..4 of a DGX-1 V100 hold none
    (chip 4 is wired to chip 0 alone) but still reach the rate of about 1.65 links in measurements.

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
    free = {
        (i, j): topology.graph.edges[a, b]["count"]
        for i, a in enumerate(chips)
        for j, b in enumerate(chips)
        if topology.graph.has_edge(a, b)
    }
    if not free:
        return (chips,) * _links_to_common_switch(topology, chips)
    if len(chips) == 2:  # one link is both steps of the ring: there and back
        return (chips,) * int(free[0, 1])
    rings = _largest_set(len(chips), free, _Budget(topology.name, len(chips)))
    return tuple(tuple(chips[i] for i in ring) for ring in rings)


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


class _Budget:
    """Counts steps of a search and gives up, with a message, when there are too many."""

    def __init__(self, topology: str, chips: int) -> None:
        self.where = f"Topology {topology!r}: rings over {chips} chips"
        self.left = MOST_STEPS

    def spend(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise TopologyError(f"{self.where}: no answer after {MOST_STEPS} steps of search. Ask for fewer members.")


def _all_rings(chips: int, free: dict[Arc, int], budget: _Budget) -> list[Ring]:
    """Every directed ring over all chips, each from chip 0, in lexical order."""
    after = [[j for j in range(chips) if (i, j) in free] for i in range(chips)]
    rings: list[Ring] = []
    paths: list[Ring] = [(0,)]
    while paths:
        budget.spend()
        path = paths.pop()
        if len(path) == chips:
            if (path[-1], path[0]) in free:
                rings.append(path)
        else:
            paths.extend((*path, chip) for chip in reversed(after[path[-1]]) if chip not in path)
    return rings


def _largest_set(chips: int, free: dict[Arc, int], budget: _Budget) -> list[Ring]:
    """Backtracking over rings in lexical order (a ring may repeat), from the most the links could hold downwards."""
    rings = _all_rings(chips, free, budget)
    arcs = [tuple(pairwise((*ring, ring[0]))) for ring in rings]
    left = dict(free)

    def hold(wanted: int, candidates: list[int]) -> bool:
        # Every ring leaves and enters every chip once: each chip needs that many free links that are on a candidate.
        usable = {arc for i in candidates for arc in arcs[i]}
        out, into = [0] * chips, [0] * chips
        for a, b in usable:
            out[a] += left[a, b]
            into[b] += left[a, b]
        return min(out) >= wanted and min(into) >= wanted

    def find(wanted: int, candidates: list[int]) -> list[int] | None:
        if wanted == 0:
            return []
        if not hold(wanted, candidates):
            return None
        for k, i in enumerate(candidates):
            budget.spend()
            for arc in arcs[i]:
                left[arc] -= 1
            rest = [j for j in candidates[k:] if all(left[arc] for arc in arcs[j])]
            found = find(wanted - 1, rest)
            for arc in arcs[i]:
                left[arc] += 1
            if found is not None:
                return [i, *found]
        return None

    degree = [sum(count for (a, _), count in free.items() if a == chip) for chip in range(chips)]
    for wanted in range(min(degree), 0, -1):
        if (found := find(wanted, list(range(len(rings))))) is not None:
            return [rings[i] for i in found]
    return []
