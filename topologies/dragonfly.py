"""Dragonflies: groups of routers, every group joined to every other (Cray Aries, Slingshot)."""

from __future__ import annotations

import math
from collections.abc import Hashable
from fractions import Fraction
from typing import Unpack

import numpy as np

from topologies.dragonfly_shape import DragonflyParameters, DragonflyShape, dragonfly_shape
from topologies.link_table import Ints, LinkTable, link_table, topology_of
from topologies.topology import Topology, TopologyError


def dragonfly(**parameters: Unpack[DragonflyParameters]) -> Topology:
    """End points 0 .. n-1 on routers ("router", group, index), in groups of which any two are joined.

    Parameters
    ----------
    groups, routers_per_group, endpoints_per_router
        How many.
    global_links
        Global links of a router, Kim et al.'s h [1]_: those of a group are shared out evenly over the other groups, and
        what does not share out stays unused. At most routers_per_group x global_links + 1 groups.
    links_per_pair
        In its place: links between any two groups.
    local_links
        Between any two routers of a group (of a chassis, if there are several). Default 1.
    chassis, chassis_links
        More than one chassis: a group is so many of them, each joined all to all inside, and each router is joined by
        `chassis_links` to its like in every other chassis.
    endpoints
        In use; by default every place. Routers fill in order.
    radix
        Ports of a router; more are refused. Default: not checked.
    tier_endpoint, tier_local, tier_global
        Default "scale_out", "local" and "global".

    Notes
    -----
    Which router holds which global link: see `DragonflyShape`. Bisection: see `dragonfly_bisection`.

    References
    ----------
    .. [1] J. Kim, W. J. Dally, S. Scott and D. Abts, Technology-driven, highly-scalable dragonfly topology, ISCA 2008.
    """
    return dragonfly_of(dragonfly_shape(**parameters))


def dragonfly_of(shape: DragonflyShape) -> Topology:
    """The topology of a shape."""
    return topology_of(
        dragonfly_links(shape),
        name=f"dragonfly of {shape.endpoints}",
        endpoints=shape.endpoints,
        names=dragonfly_names(shape),
        bisection=dragonfly_bisection(shape),
    )


def aries_shape(*, groups: int, nodes: int | None = None, links_per_pair: int = 4) -> DragonflyShape:
    """The counts of a Cray Aries machine: groups of 6 chassis of 16 routers, 4 nodes each.

    One link between any two routers of a chassis, three between the routers of the same slot in two chassis (NERSC Cori
    interconnect page), optical links between groups.

    Parameters
    ----------
    nodes
        In use; by default 384 per group.
    links_per_pair
        Between two groups; each installation's own choice, within the 10 optical ports of a router [recalled].
    """
    return dragonfly_shape(
        groups=groups,
        routers_per_group=96,
        endpoints_per_router=4,
        links_per_pair=links_per_pair,
        chassis=6,
        chassis_links=3,
        endpoints=384 * groups if nodes is None else nodes,
        radix=4 + 15 + 15 + 10,
    )


def aries(*, groups: int, nodes: int | None = None, links_per_pair: int = 4) -> Topology:
    """A Cray Aries machine; see `aries_shape`."""
    return dragonfly_of(aries_shape(groups=groups, nodes=nodes, links_per_pair=links_per_pair))


def slingshot_shape(
    *,
    groups: int,
    switches_per_group: int = 32,
    endpoints_per_switch: int = 16,
    links_per_pair: int | None = None,
    nics: int | None = None,
) -> DragonflyShape:
    """The counts of a Slingshot machine: switches of 64 ports, joined all to all inside a group.

    Parameters
    ----------
    switches_per_group, endpoints_per_switch
        32 switches is a GPU group of Perlmutter (NERSC documentation); at 16 NICs each, 128 servers of 4 NICs.
    links_per_pair
        Between two groups; default: as many as the ports left on the switches allow.
    nics
        In use; by default every place.
    """
    parameters: DragonflyParameters = {
        "groups": groups,
        "routers_per_group": switches_per_group,
        "endpoints_per_router": endpoints_per_switch,
        "endpoints": groups * switches_per_group * endpoints_per_switch if nics is None else nics,
        "radix": 64,
    }
    ports = 64 - endpoints_per_switch - (switches_per_group - 1)
    if groups > 1 and ports < 1:
        raise TopologyError(
            f"slingshot: {endpoints_per_switch} end points and {switches_per_group - 1} other switches of the group "
            f"leave "
            f"none of 64 ports for other groups. Nearest: switches_per_group={64 - endpoints_per_switch}."
        )
    if links_per_pair is None:
        parameters["global_links"] = max(1, ports)
    else:
        parameters["links_per_pair"] = links_per_pair
    return dragonfly_shape(**parameters)


def slingshot(
    *,
    groups: int,
    switches_per_group: int = 32,
    endpoints_per_switch: int = 16,
    links_per_pair: int | None = None,
    nics: int | None = None,
) -> Topology:
    """A Slingshot machine; see `slingshot_shape`."""
    return dragonfly_of(
        slingshot_shape(
            groups=groups,
            switches_per_group=switches_per_group,
            endpoints_per_switch=endpoints_per_switch,
            links_per_pair=links_per_pair,
            nics=nics,
        )
    )


def dragonfly_links(shape: DragonflyShape) -> LinkTable:
    """The links of a dragonfly: of the end points, along rows, along columns, between groups.

    Vertices are the end points and then the routers, group by group, row by row. Local links go group by group, row by
    row (column by column), pair by pair; global links by pair of groups, then by gateway: the gateway s of a pair is
    its link s, s + a, s + 2 a, ... where a group has a routers, which all join the same two routers.
    """
    ends, first, routers = np.arange(shape.endpoints), shape.endpoints, np.arange(shape.routers)
    grid = routers.reshape(shape.groups, shape.rows, shape.columns)
    left, right = np.triu_indices(shape.columns, 1)
    upper, lower = np.triu_indices(shape.rows, 1)
    turned = grid.transpose(0, 2, 1)
    i, j = (np.repeat(side, shape.gateways) for side in np.triu_indices(shape.groups, 1))
    s = np.tile(np.arange(shape.gateways), shape.groups * (shape.groups - 1) // 2)
    return link_table(
        first + shape.routers,
        [
            (ends, first + ends // shape.endpoints_per_router, shape.tier_endpoint, 1),
            (first + grid[..., left].ravel(), first + grid[..., right].ravel(), shape.tier_local, shape.row_links),
            (
                first + turned[..., upper].ravel(),
                first + turned[..., lower].ravel(),
                shape.tier_local,
                shape.column_links,
            ),
            (
                first + i * shape.routers_per_group + gateway(shape, i, j, s),
                first + j * shape.routers_per_group + gateway(shape, j, i, s),
                shape.tier_global,
                gateway_links(shape, s),
            ),
        ],
    )


def gateway(shape: DragonflyShape, here: Ints, there: Ints, s: Ints) -> Ints:
    """Which router of group `here` holds the links to group `there` that gateway s stands for.

    From the lower group, link k of the pair d groups on is link q = (d - 1) m + k of its group, from the higher one
    (g - d - 1) m + m - 1 - k = (g - 1) m - 1 - q; each group deals its links out to its routers in turn.
    """
    m = shape.links_per_pair
    q = ((np.maximum(here, there) - np.minimum(here, there)) - 1) * m + s
    router: Ints = np.where(here < there, q, shape.global_links_per_group - 1 - q) % shape.routers_per_group
    return router


def gateway_links(shape: DragonflyShape, s: Ints) -> Ints:
    """Parallel links of gateway s: links s, s + a, s + 2 a, ... of a pair join the same two routers."""
    links: Ints = -(-(shape.links_per_pair - s) // shape.routers_per_group)
    return links


def dragonfly_names(shape: DragonflyShape) -> list[Hashable]:
    """The name that `dragonfly` gives to each vertex number."""
    per_group = shape.routers_per_group
    return [*range(shape.endpoints), *(("router", i // per_group, i % per_group) for i in range(shape.routers))]


def dragonfly_bisection(shape: DragonflyShape) -> int | None:
    """Links across the narrowest split into halves, or None where no closed form is known.

    With an even number g of groups, all places in use, and m links between any two groups, a split along groups cuts
    m (g/2)^2 links, and one below the routers n/2. No split cuts less if all-to-all traffic, sent over all links of a
    pair of groups alike and across a group along its row first, loads no local link more than the global ones: with p
    end points on each of a routers these carry (a p)^2 / m units of one per ordered pair, so that n^2/4 units one way
    need m (g/2)^2 of them.
    """
    n, g, a, p = shape.endpoints, shape.groups, shape.routers_per_group, shape.endpoints_per_router
    if n < g * a * p or g % 2:
        return None
    m = shape.links_per_pair
    # Global links of each router of a group, by its row and column.
    held = np.bincount(np.arange(shape.global_links_per_group) % a, minlength=a)
    # Units between two routers of one group, times m: their own end points', and what comes or goes through either.
    units = p * p * (m + a * (held[:, None] + held[None, :])).reshape(shape.rows, shape.columns, shape.rows, -1)
    along_row = units.sum(axis=2) * (1 - np.eye(shape.columns, dtype=int))
    along_column = units.sum(axis=1).transpose(2, 0, 1) * (1 - np.eye(shape.rows, dtype=int))
    busiest = max(
        Fraction((a * p) ** 2, m),
        Fraction(int(along_row.max()), m * shape.row_links),
        Fraction(int(along_column.max()), m * shape.column_links),
    )
    least = math.ceil(Fraction(n * n, 4) / busiest)
    if least >= n // 2:
        return n // 2
    return m * (g // 2) ** 2 if least == m * (g // 2) ** 2 else None
