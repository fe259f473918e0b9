"""Dragonfly+: groups of two levels of switches, joined to each other by the upper one (JUWELS Booster)."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np

from topologies.link_table import Ints, LinkTable, link_table, topology_of
from topologies.topology import Topology, TopologyError, check_count


@dataclass(frozen=True, kw_only=True)
class DragonflyPlusShape:
    """Groups in which every leaf is joined to every spine; the spines hold the links to other groups.

    Parameters
    ----------
    links_per_pair
        Links between two groups, dealt out to the spines in turn, as in `DragonflyShape`.
    leaf_links
        Parallel links between a leaf and a spine of its group.
    endpoints
        In use; leaves fill in order.
    """

    groups: int
    leaves: int
    spines: int
    endpoints_per_leaf: int
    links_per_pair: int
    leaf_links: int
    endpoints: int
    tier_endpoint: str = "scale_out"
    tier_local: str = "local"
    tier_global: str = "global"

    @property
    def gateways(self) -> int:
        """Different spines with a link to one other group."""
        return min(self.links_per_pair, self.spines)

    @property
    def diameter(self) -> int:
        """The most links of a minimal route: leaf, spine, spine, leaf."""
        if self.endpoints <= self.endpoints_per_leaf:
            return 2 if self.endpoints > 1 else 0
        return 5 if self.endpoints > self.leaves * self.endpoints_per_leaf else 4


def dragonfly_plus_shape(
    *,
    groups: int,
    leaves: int,
    spines: int,
    endpoints_per_leaf: int,
    links_per_pair: int,
    leaf_links: int = 1,
    endpoints: int | None = None,
    radix: int | None = None,
    tier_endpoint: str = "scale_out",
    tier_local: str = "local",
    tier_global: str = "global",
) -> DragonflyPlusShape:
    """The shape that `dragonfly_plus` builds for the same arguments."""
    where = "dragonfly_plus"
    counts = {"groups": groups, "leaves": leaves, "spines": spines, "endpoints_per_leaf": endpoints_per_leaf}
    for name, value in (counts | {"links_per_pair": links_per_pair, "leaf_links": leaf_links}).items():
        check_count(where, name, value)
    places = groups * leaves * endpoints_per_leaf
    used = places if endpoints is None else endpoints
    check_count(where, "endpoints", used)
    if used > places:
        raise TopologyError(
            f"{where}: endpoints is {used}; at most {places} ({groups} groups of {leaves} leaves of "
            f"{endpoints_per_leaf}). "
            f"Nearest: groups={-(-used * groups // places)}."
        )
    if radix is not None:
        check_count(where, "radix", radix, least=2)
        spine_up = -(-(groups - 1) * links_per_pair // spines)
        for switch, ports in (
            ("leaf", endpoints_per_leaf + spines * leaf_links),
            ("spine", leaves * leaf_links + spine_up),
        ):
            if ports > radix:
                raise TopologyError(
                    f"{where}: a {switch} needs {ports} ports, but radix is {radix}. Nearest: radix={ports}, or "
                    f"fewer links."
                )
    return DragonflyPlusShape(
        **counts,
        links_per_pair=links_per_pair,
        leaf_links=leaf_links,
        endpoints=used,
        tier_endpoint=tier_endpoint,
        tier_local=tier_local,
        tier_global=tier_global,
    )


def dragonfly_plus(
    *,
    groups: int,
    leaves: int,
    spines: int,
    endpoints_per_leaf: int,
    links_per_pair: int,
    leaf_links: int = 1,
    endpoints: int | None = None,
    radix: int | None = None,
    tier_endpoint: str = "scale_out",
    tier_local: str = "local",
    tier_global: str = "global",
) -> Topology:
    """End points 0 .. n-1 on ("leaf", group, index), those joined to ("spine", group, index), spines across groups.

    Parameters
    ----------
    radix
        Ports of a switch; more are refused. Default: not checked.

    Notes
    -----
    Parameters are those of `DragonflyPlusShape`. Bisection: see `dragonfly_plus_bisection`.

    References
    ----------
    .. [1] A. Shpiner et al., Dragonfly+: low cost topology for scaling datacenters, HiPINEB 2017 (recalled).
    """
    shape = dragonfly_plus_shape(
        groups=groups,
        leaves=leaves,
        spines=spines,
        endpoints_per_leaf=endpoints_per_leaf,
        links_per_pair=links_per_pair,
        leaf_links=leaf_links,
        endpoints=endpoints,
        radix=radix,
        tier_endpoint=tier_endpoint,
        tier_local=tier_local,
        tier_global=tier_global,
    )
    return topology_of(
        dragonfly_plus_links(shape),
        name=f"dragonfly+ of {shape.endpoints}",
        endpoints=shape.endpoints,
        names=dragonfly_plus_names(shape),
        bisection=dragonfly_plus_bisection(shape),
    )


def dragonfly_plus_bisection(shape: DragonflyPlusShape) -> int | None:
    """Links across the narrowest split into halves, or None where no closed form is known.

    With an even number g of full groups of h end points and m links between any two: the lesser of m (g/2)^2 along
    groups and n/2 below the leaves, if every spine has as many links to each other group, and all-to-all traffic loads
    no link between leaf and spine more than the h^2 / m units of the global ones (as for `dragonfly_bisection`).
    """
    n, g, m = shape.endpoints, shape.groups, shape.links_per_pair
    held = shape.leaves * shape.endpoints_per_leaf
    if n < g * held or g % 2 or m % shape.spines:
        return None
    # Units that go up from the leaves of a group, evenly over its spines; as many come down.
    wires = shape.leaves * shape.spines * shape.leaf_links
    own = held * (n - shape.endpoints_per_leaf)
    cut = m * (g // 2) ** 2
    if own * m <= held * held * wires:
        return min(cut, n // 2)
    return None


def dragonfly_plus_links(shape: DragonflyPlusShape) -> LinkTable:
    """The links of a dragonfly+: of the end points, leaf - spine, between groups by pair and gateway.

    Vertices are the end points, the leaves group by group, and the spines group by group.
    """
    ends, leaf, spine = np.arange(shape.endpoints), shape.endpoints, shape.endpoints + shape.groups * shape.leaves
    lower, index = (
        x.ravel() for x in np.meshgrid(np.arange(shape.groups * shape.leaves), np.arange(shape.spines), indexing="ij")
    )
    i, j = (np.repeat(side, shape.gateways) for side in np.triu_indices(shape.groups, 1))
    s = np.tile(np.arange(shape.gateways), shape.groups * (shape.groups - 1) // 2)
    return link_table(
        spine + shape.groups * shape.spines,
        [
            (ends, leaf + ends // shape.endpoints_per_leaf, shape.tier_endpoint, 1),
            (leaf + lower, spine + lower // shape.leaves * shape.spines + index, shape.tier_local, shape.leaf_links),
            (
                spine + i * shape.spines + spine_gateway(shape, i, j, s),
                spine + j * shape.spines + spine_gateway(shape, j, i, s),
                shape.tier_global,
                -(-(shape.links_per_pair - s) // shape.spines),
            ),
        ],
    )


def dragonfly_plus_names(shape: DragonflyPlusShape) -> list[Hashable]:
    """The name that `dragonfly_plus` gives to each vertex number."""
    leaves, spines = shape.leaves, shape.spines
    return [
        *range(shape.endpoints),
        *(("leaf", i // leaves, i % leaves) for i in range(shape.groups * leaves)),
        *(("spine", i // spines, i % spines) for i in range(shape.groups * spines)),
    ]


def spine_gateway(shape: DragonflyPlusShape, here: Ints, there: Ints, s: Ints) -> Ints:
    """Which spine of group `here` holds the links to group `there` of gateway s; as in `dragonfly.gateway`."""
    q = (np.abs(here - there) - 1) * shape.links_per_pair + s
    spine: Ints = np.where(here < there, q, (shape.groups - 1) * shape.links_per_pair - 1 - q) % shape.spines
    return spine
