"""The counts of a dragonfly: groups, routers, links, and what cannot be."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Required, TypedDict, Unpack

from topologies.topology import TopologyError, check_count


@dataclass(frozen=True, kw_only=True)
class DragonflyShape:
    """How many groups, routers and links a dragonfly has; all fields but the tiers are counts.

    Parameters
    ----------
    rows, columns
        A group is a grid of routers: all routers of a row (a chassis of Aries) are joined to each other, and all of a
        column. One row: a group joined all to all.
    row_links, column_links
        Parallel links of each such pair.
    links_per_pair
        Links between each pair of groups. A group deals its links out to its routers in turn: link k of the pair with
        the group d further on is its link q = (d - 1) links_per_pair + k and belongs to router q mod (rows columns).
        The same link counts from behind in the other group, as there all distances are reversed.
    endpoints
        End points in use; routers and groups fill in order.
    """

    groups: int
    rows: int
    columns: int
    row_links: int
    column_links: int
    links_per_pair: int
    endpoints_per_router: int
    endpoints: int
    tier_endpoint: str = "scale_out"
    tier_local: str = "local"
    tier_global: str = "global"

    @property
    def routers_per_group(self) -> int:
        """Routers of one group."""
        return self.rows * self.columns

    @property
    def routers(self) -> int:
        """Routers of all groups."""
        return self.groups * self.routers_per_group

    @property
    def global_links_per_group(self) -> int:
        """Links that leave one group."""
        return (self.groups - 1) * self.links_per_pair

    @property
    def gateways(self) -> int:
        """Different routers with a link to one other group: places where a group can be left for it."""
        return min(self.links_per_pair, self.routers_per_group)

    @property
    def local_diameter(self) -> int:
        """The most links between two routers of a group."""
        return (self.rows > 1) + (self.columns > 1)

    @property
    def diameter(self) -> int:
        """The most links of a minimal route between two end points: at most one of them leads to another group."""
        between = 2 * self.local_diameter + 1 if self.groups > 1 else self.local_diameter
        return between + 2 if self.endpoints > 1 else 0

    @property
    def radix(self) -> int:
        """The most links of a router."""
        local = (self.columns - 1) * self.row_links + (self.rows - 1) * self.column_links
        return self.endpoints_per_router + local + -(-self.global_links_per_group // self.routers_per_group)


class DragonflyParameters(TypedDict, total=False):
    """What `dragonfly` and `dragonfly_shape` take; explained there."""

    groups: Required[int]
    routers_per_group: Required[int]
    endpoints_per_router: Required[int]
    global_links: int
    links_per_pair: int
    chassis: int
    chassis_links: int
    local_links: int
    endpoints: int
    radix: int
    tier_endpoint: str
    tier_local: str
    tier_global: str


def dragonfly_shape(**parameters: Unpack[DragonflyParameters]) -> DragonflyShape:
    """The counts of the dragonfly that `dragonfly` builds for the same arguments, or a `TopologyError`."""
    where = "dragonfly"
    given = DragonflyParameters(**parameters)
    for name, value in given.items():
        if not name.startswith("tier_"):
            check_count(where, name, value)
    groups, routers = given["groups"], given["routers_per_group"]
    per_router, chassis = given["endpoints_per_router"], given.get("chassis", 1)
    if routers % chassis:
        raise TopologyError(
            f"{where}: routers_per_group is {routers}; with {chassis} chassis a multiple of {chassis}. "
            f"Nearest: {max(1, round(routers / chassis)) * chassis}."
        )
    places = groups * routers * per_router
    endpoints = given.get("endpoints", places)
    if endpoints > places:
        raise TopologyError(
            f"{where}: endpoints is {endpoints}; at most {places} ({groups} groups of {routers} routers of "
            f"{per_router}). "
            f"Nearest: groups={math.ceil(endpoints * groups / places)}."
        )
    shape = DragonflyShape(
        groups=groups,
        rows=chassis,
        columns=routers // chassis,
        row_links=given.get("local_links", 1),
        column_links=given.get("chassis_links", 1),
        links_per_pair=_links_per_pair(given),
        endpoints_per_router=per_router,
        endpoints=endpoints,
        tier_endpoint=given.get("tier_endpoint", "scale_out"),
        tier_local=given.get("tier_local", "local"),
        tier_global=given.get("tier_global", "global"),
    )
    if shape.radix > given.get("radix", shape.radix):
        raise TopologyError(
            f"{where}: a router needs {shape.radix} ports (end points, routers of its group, global links), but "
            f"radix is "
            f"{given['radix']}. Nearest: radix={shape.radix}, or fewer links or end points of a router."
        )
    return shape


def _links_per_pair(given: DragonflyParameters) -> int:
    where, groups, routers = "dragonfly", given["groups"], given["routers_per_group"]
    if ("global_links" in given) == ("links_per_pair" in given):
        raise TopologyError(
            f"{where}: give either global_links (of one router) or links_per_pair (between two groups), and not both."
        )
    if "links_per_pair" in given:
        return given["links_per_pair"]
    ports = routers * given["global_links"]
    if groups > ports + 1:
        raise TopologyError(
            f"{where}: groups is {groups}; at most {ports + 1}, as a group of {routers} routers with global_links="
            f"{given['global_links']} reaches {ports} others. Nearest: groups={ports + 1} or global_links="
            f"{math.ceil((groups - 1) / routers)}."
        )
    return ports // max(1, groups - 1)
