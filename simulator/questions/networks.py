"""Networks at equal money: what rate of links the same sum buys, and what collectives then take on the graph."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from simulator.collectives.algorithms import ALGORITHMS
from simulator.collectives.rounds import folded, merged, placed
from simulator.flows import Wires, run_rounds
from simulator.outcome.failures import RunError
from topologies import Topology
from topologies.metrics import links_by_tier

#: Price of a copper cable over that of a port of the same rate: an assumption.
COPPER: Final = 0.1
#: Algorithms tried on any graph; what has dimensions or domains adds its own.
_TRIED: Final = {
    "all_reduce": ("ring", "halving_doubling"), "all_gather": ("ring", "halving_doubling"),
    "reduce_scatter": ("ring", "halving_doubling"), "all_to_all": ("pairwise",),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Network:
    """A graph and what its links are.

    ``speed``: tier -> rate of one link over the network's unit rate; tiers that are not named have 1. A tier of speed
    infinity belongs to the chips and costs nothing. ``long_share``: tier -> share of its links that are too long for
    copper; 0 if not named. ``dims``: sizes of a torus; ``domain``: ranks that are joined faster than others.
    """

    name: str
    topology: Topology
    speed: Mapping[str, float] = field(default_factory=dict)
    long_share: Mapping[str, float] = field(default_factory=dict)
    dims: tuple[int, ...] = ()
    domain: int = 0

    def __post_init__(self) -> None:
        tiers = self.topology.tiers
        if unknown := sorted({*self.speed, *self.long_share} - set(tiers)):
            raise RunError(f"network {self.name!a}: no tier {', '.join(unknown)}; legal: {', '.join(tiers)}.")
        if any(not speed > 0 for speed in self.speed.values()):
            raise RunError(f"network {self.name!a}: a speed is not above 0.")
        if any(not 0 <= share <= 1 for share in self.long_share.values()):
            raise RunError(f"network {self.name!a}: a share of long links is not from 0 to 1.")
        if self.dims and math.prod(self.dims) != self.ranks:
            raise RunError(f"network {self.name!a}: {self.dims} do not hold its {self.ranks} ranks.")

    @property
    def ranks(self) -> int:
        """End points."""
        return len(self.topology.endpoints)


def ports_of(network: Network, optics: float) -> float:
    """What a network costs for one unit of link rate, in ports.

    .. math:: C = \\sum_t n_t v_t (2 + \\ell_t r + (1 - \\ell_t) c)

    over tiers t with n links of speed v: a port at either end (on a switch or a chip, at the same price), and a cable
    that is optical for a share l of them. r: ``optics``, price of an optical cable with its transceivers over that of
    a port of the same rate; c: `COPPER`. Price is taken to grow with the rate. Leaves out power, space and spares.
    """
    if not (math.isfinite(optics) and optics >= 0):
        raise RunError(f"networks: optics over ports is {optics!r}; a ratio of prices, 0 or more.")
    cost = 0.0
    for tier, links in links_by_tier(network.topology).items():
        speed, long = network.speed.get(tier, 1.0), network.long_share.get(tier, 0.0)
        if math.isfinite(speed):
            cost += links * speed * (2.0 + long * optics + (1.0 - long) * COPPER)
    return cost


def unit_rates_byte_per_s(
    networks: Sequence[Network], *, optics: float, reference: str, reference_byte_per_s: float
) -> dict[str, float]:
    """Unit rate of links that each network has for what the reference costs at its rate [B/s]."""
    known = {network.name: ports_of(network, optics) for network in networks}
    if reference not in known:
        raise RunError(f"networks: the reference {reference!a} is not among them; legal: {', '.join(known)}.")
    return {name: reference_byte_per_s * known[reference] / cost for name, cost in known.items()}


def wires_at(network: Network, unit_byte_per_s: float, *, hop_s: float = 5e-7) -> Wires:
    """The network's wires at a unit rate; every hop takes as long, messages spread evenly over equal routes."""
    rates = {tier: (min(network.speed.get(tier, 1.0), 1e6) * unit_byte_per_s, hop_s) for tier in network.topology.tiers}
    return Wires.of(network.topology, rates, routing="sprayed")


def collective_s(
    network: Network, wires: Wires, collective: str, message_byte: int, groups: Iterable[ArrayLike] = (), *,
    dims: tuple[int, ...] = (),
) -> tuple[float, str]:  # fmt: skip
    """Seconds and name of the quickest textbook algorithm, all groups of ranks at once (default: one of all).

    ``dims``: the sizes of a group that is a block of a torus, its last dimension running fastest.

    Leaves out the communication library: protocols, calls, channels.
    """
    if dims and not network.dims:
        raise RunError(f"networks: dims {dims}, but {network.name!a} is no torus; legal: without.")
    if collective not in _TRIED:
        raise RunError(f"networks: collective {collective!a}; legal: {', '.join(_TRIED)}.")
    members = [np.asarray(group, dtype=np.int64) for group in groups] or [np.arange(network.ranks)]
    ranks = len(members[0])
    whole = len(members) == 1 and ranks == network.ranks
    tried: list[tuple[str, dict[str, object]]] = [(name, {}) for name in _TRIED[collective]]
    if collective != "all_to_all":
        block = dims or (network.dims if whole else ())
        tried += [("torus", {"dims": block, "both_ways": both}) for both in (False, True) if block]
        if whole and 1 < network.domain < ranks:
            tried.append(("two_level", {"ranks_per_server": network.domain, "across": "halving_doubling"}))
    found = []
    for name, options in tried:
        if ALGORITHMS[name].refusal(collective, ranks):
            continue
        rounds = ALGORITHMS[name].rounds(collective, ranks, message_byte, **options)
        every = folded(merged([placed(rounds, group) for group in members]))
        found.append((run_rounds(wires, every).seconds, name))
    return min(found)
