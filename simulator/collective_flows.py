"""The second way to a collective's time: textbook algorithms as flows on the system's own graph, at nominal rates.

No library, no protocol, no host: what the wires allow the algorithm that is named.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from itertools import zip_longest
from typing import Final

import numpy as np

import hwmodels.catalog as hardware
from topologies import TopologyError
from topologies.rings import rings_with_relays

from .cluster import Cluster, ClusterError
from .cluster_topology import cluster_topology, server_topology, tier_rates
from .collective_question import CollectiveQuestion
from .collectives.algorithms import ALGORITHMS
from .collectives.double_binary_tree import best_chunks
from .collectives.flat_ring import COLLECTIVES
from .collectives.rounds import Round, folded, merged, placed
from .errors import InputError
from .flows import FlowError, Wires, run_rounds
from .kernels.optable import Ints

#: What is tried, the quickest counts; a forced tree or ring is tried alone.
_TRIED: Final = {
    "all_reduce": ("ring", "halving_doubling", "double_binary_tree"), "all_gather": ("ring", "halving_doubling"),
    "reduce_scatter": ("ring", "halving_doubling"), "all_to_all": ("pairwise",), "permute": ("neighbours",),
}  # fmt: skip
_FORCED: Final = {"ring": "ring", "tree": "double_binary_tree"}
#: More chunks of a tree than this gain nothing that shows.
_MOST_CHUNKS: Final = 256


def flow_seconds(q: CollectiveQuestion, ranks: int) -> tuple[tuple[float, str], ...]:
    """Seconds of every size and the algorithm that took them, all groups at once; shape (sizes,).

    Rings follow the links: those that a mesh allows inside a server, and through several servers entering each at every
    member in turn, so that every card carries its part. Messages split evenly over equal routes. Leaves out: rings
    along the dimensions of a torus (a ring there takes its ranks in order), and trees that know servers.

    Raises
    ------
    InputError
        Where the graph cannot be built or an algorithm cannot be run on it.
    """
    try:
        wires = _wires(q, math.ceil(ranks * q.stride / q.cluster.chips_per_server))
        names = (_FORCED[q.algorithm],) if q.algorithm else _TRIED[q.collective]
        names = tuple(n for n in names if n not in ALGORITHMS or not ALGORITHMS[n].refusal(q.collective, ranks))
        groups = [np.arange(ranks) * q.stride + first for first in range(q.stride)]
        makers = {name: _maker(q, name, ranks, groups, wires) for name in names}
        times = [[(s, name) for s in _seconds(wires, map(make, q.message_byte))] for name, make in makers.items()]
        return tuple(min(of_size) for of_size in zip(*times, strict=True))
    except (ClusterError, FlowError, TopologyError) as error:
        raise InputError(f"flows: {error}") from None


def _seconds(wires: Wires, runs: Iterable[Sequence[Round]]) -> list[float]:
    """Seconds of several runs on the same wires [s].

    Their rounds are taken in turns, since routes of neighbouring rounds are found once: those of an algorithm join the
    same ranks whatever the size.
    """
    found = [0.0] * len(listed := list(runs))
    turns = [(i, one) for layer in zip_longest(*listed) for i, one in enumerate(layer) if one is not None]
    for (i, one), each in zip(turns, run_rounds(wires, [one for _, one in turns]).finish_s, strict=True):
        found[i] += each * one.repeat
    return found


def _wires(q: CollectiveQuestion, servers: int) -> Wires:
    """The graph of so many servers; fewer cards and degraded links carry less, all of a kind alike."""
    rates = tier_rates(q.cluster)
    share = {"scale_out": (q.cards or q.cluster.network_cards) / q.cluster.network_cards}
    return Wires.of(
        cluster_topology(q.cluster, servers=servers),
        {tier: (q.degraded_share * share.get(tier, 1.0) * rate, wait) for tier, (rate, wait) in rates.items()},
        routing="sprayed",
    )


def _maker(
    q: CollectiveQuestion, name: str, ranks: int, groups: Sequence[Ints], wires: Wires
) -> Callable[[int], tuple[Round, ...]]:
    """Rounds of one algorithm for a message, of all groups side by side."""
    if name == "neighbours":
        # Everybody sends to the next, the last to the first.
        return lambda size: (
            Round(
                source=np.concatenate(groups),
                target=np.concatenate([np.roll(group, -1) for group in groups]),
                byte=np.full(len(groups) * ranks, size),
            ),
        )
    if name == "ring":
        orders = [_ring_orders(q, group) for group in groups]

        source = np.concatenate([order for own in orders for order in own])
        target = np.concatenate([np.roll(order, -1) for own in orders for order in own])
        rounds = int(COLLECTIVES[q.collective]) * (ranks - 1)

        def rings(size: int) -> tuple[Round, ...]:
            # All rounds of a ring are alike but for the byte by which chunks differ: the larger, throughout.
            byte = np.concatenate([np.full(len(own) * ranks, -(-size // (len(own) * ranks))) for own in orders])
            return (Round(source=source, target=target, byte=byte, repeat=rounds),)

        return rings

    def textbook(size: int) -> tuple[Round, ...]:
        options = {"chunks": _chunks(ranks, size, wires)} if name == "double_binary_tree" else {}
        rounds = ALGORITHMS[name].rounds(q.collective, ranks, size, **options)
        return folded(merged([placed(rounds, group) for group in groups]))

    return textbook


def _chunks(ranks: int, size: int, wires: Wires) -> int:
    """A power of two near the best number of chunks on wires as fast as the first rank's way to the last."""
    way = list(wires.route(0, ranks - 1))
    found = best_chunks(
        ranks=ranks, message_byte=size, latency_s=max(float(wires.latency_s[way].sum()), 1e-9),
        byte_per_s=float(wires.capacity_byte_per_s[way].min()),
    )  # fmt: skip
    return min(_MOST_CHUNKS, 1 << round(math.log2(max(float(np.ravel(found)[0]), 1.0))))


def _ring_orders(q: CollectiveQuestion, group: Ints) -> list[Ints]:
    """The rings that a group runs at once, each an order of its ranks.

    Inside one server of a mesh its link-disjoint rings. Over several servers every ring is there once for each member
    by which it may enter a server, so that together they use all cards evenly.
    """
    chips = q.cluster.chips_per_server
    members = [group[group // chips == server] for server in np.unique(group // chips)]
    alike = len({tuple(own % chips) for own in members}) == 1
    if not alike:
        return [group]
    places = members[0] % chips
    found = _mesh_rings(q.cluster, tuple(places.tolist())) if q.stride == 1 else ()
    inside = [np.array(ring) for ring in found] or [places]
    starts = range(len(places)) if len(members) > 1 else (0,)
    return [
        np.concatenate([np.roll(ring, -start) + own[0] // chips * chips for own in members])
        for ring in inside
        for start in starts
    ]


@cache
def _mesh_rings(cluster: Cluster, chips: tuple[int, ...]) -> tuple[tuple[int, ...], ...]:
    """Link-disjoint rings over chips that are wired pair by pair; none where others join them or there is no ring."""
    server = hardware.server(cluster.server)
    if not server.pairs or len(chips) < 2:
        return ()
    return tuple(tuple(map(int, map(str, ring))) for ring in rings_with_relays(server_topology(server), chips).rings)
