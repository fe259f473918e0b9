"""Small worlds: a ring of near neighbours with some links moved to random places (Watts and Strogatz)."""

from __future__ import annotations

import math
import random
from typing import Final

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count

#: Networks drawn before giving up on one in which every chip reaches every other.
DRAWS: Final = 100


def small_world(chips: int, *, neighbours: int, rewired: float, seed: int = 0, tier: str = "scale_up") -> Topology:
    """Chips 0 .. n-1, joined to their `neighbours` nearest on a ring; a share of the links moved at random [1]_.

    Parameters
    ----------
    neighbours
        Links per chip before any is moved: even, at least 2, below n.
    rewired
        The chance of each link, from 0 to 1, that its far end is moved to a chip drawn evenly from those that it does
        not join already. A network that falls apart is drawn again.
    seed
        The same seed gives the same network.

    Notes
    -----
    n k / 2 links, however many are moved. Without moved links the bisection is (k/2) (k/2 + 1) and
    the diameter ceil(floor(n/2) / (k/2)); with them there are no closed forms.

    References
    ----------
    .. [1] D. J. Watts and S. H. Strogatz, Collective dynamics of 'small-world' networks, Nature 393, 1998.
    """
    where = "small_world"
    check_count(where, "chips", chips, least=3)
    check_count(where, "neighbours", neighbours, least=2)
    if neighbours % 2 or neighbours >= chips:
        most = (chips - 1) // 2 * 2
        nearest = min(most, 2 * math.ceil(neighbours / 2))
        raise TopologyError(
            f"{where}: neighbours is {neighbours}; an even number, 2 to {most} for {chips} chips. Nearest: {nearest}."
        )
    if isinstance(rewired, bool) or not isinstance(rewired, int | float) or not 0 <= rewired <= 1:
        raise TopologyError(f"{where}: rewired is {rewired!r}; a share, 0 to 1.")
    draw = random.Random(seed)
    for _ in range(DRAWS):
        graph = _drawn(chips, neighbours // 2, rewired, draw, tier)
        if nx.is_connected(graph):
            break
    else:
        raise TopologyError(
            f"{where}: {DRAWS} draws of {chips} chips with {neighbours} neighbours and {rewired:g} of the links "
            f"moved all "
            f"fell apart. Take more neighbours ({neighbours + 2}) or move fewer links."
        )
    half = neighbours // 2
    return Topology(
        name=f"small world of {chips}",
        graph=graph,
        endpoints=tuple(range(chips)),
        bisection=half * (half + 1) if rewired == 0 else None,
    )


def _drawn(chips: int, half: int, rewired: float, draw: random.Random, tier: str) -> nx.Graph:
    graph = nx.Graph()
    graph.add_nodes_from(range(chips), kind="chip")
    for distance in range(1, half + 1):
        graph.add_edges_from(
            ((chip, (chip + distance) % chips) for chip in range(chips)), tier=tier, count=1, derate=1.0
        )
    for distance in range(1, half + 1):
        for chip in range(chips):
            if draw.random() < rewired and graph.degree(chip) < chips - 1:
                new = chip
                while new == chip or graph.has_edge(chip, new):
                    new = draw.randrange(chips)
                graph.remove_edge(chip, (chip + distance) % chips)
                graph.add_edge(chip, new, tier=tier, count=1, derate=1.0)
    return graph
