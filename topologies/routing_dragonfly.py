"""Routes by formula on dragonflies, all at once as arrays of links: minimal, and Valiant's over a third group."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from topologies.dragonfly import gateway
from topologies.dragonfly_shape import DragonflyShape
from topologies.link_table import NO_LINK, Ints, as_endpoints, directed, left_packed, pair_index
from topologies.routing_hash import ecmp_choice

#: Routes looked at together: what lies between is (routes, gateways) numbers.
CHUNK: Final = 16_384


def dragonfly_routes(shape: DragonflyShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links of a minimal route from a[t] to b[t], NO_LINK behind the last.

    To the other group over one global link, the one with the fewest local links on both sides; `choice`, modulo
    `dragonfly_choices`, is which of several. Inside a group along the row first, then the column.

    A route over a third group can be shorter in a small dragonfly (two global links against one and two local ones);
    minimal routing does not take it [1]_.

    References
    ----------
    .. [1] J. Kim, W. J. Dally, S. Scott and D. Abts, Technology-driven, highly-scalable dragonfly topology, ISCA 2008.
    """
    a, b = as_endpoints("dragonfly", a, shape.endpoints), as_endpoints("dragonfly", b, shape.endpoints)
    choice = np.broadcast_to(np.asarray(choice, np.int64), a.shape)
    router_a, router_b = a // shape.endpoints_per_router, b // shape.endpoints_per_router
    s, _ = _nearest_gateways(shape, router_a, router_b, choice)
    return _with_own_links(shape, a, b, _between(shape, router_a, router_b, s))


def dragonfly_choices(shape: DragonflyShape, a: Any, b: Any) -> Ints:
    """(T,) minimal routes that `dragonfly_routes` chooses from."""
    a, b = as_endpoints("dragonfly", a, shape.endpoints), as_endpoints("dragonfly", b, shape.endpoints)
    router_a, router_b = a // shape.endpoints_per_router, b // shape.endpoints_per_router
    return _nearest_gateways(shape, router_a, router_b, np.zeros_like(a))[1]


def dragonfly_valiant(shape: DragonflyShape, a: Any, b: Any, *, seed: int = 0) -> Ints:
    """(T, H) the links of a route over a random third group, or inside one group over a random router [1]_.

    Minimal to the third group, and from where it is entered minimal to b[t]. Where there is no third group: minimal.

    References
    ----------
    .. [1] L. G. Valiant, A scheme for fast parallel communication, SIAM Journal on Computing, 1982.
    """
    a, b = as_endpoints("dragonfly", a, shape.endpoints), as_endpoints("dragonfly", b, shape.endpoints)
    per_group = shape.routers_per_group
    router_a, router_b = a // shape.endpoints_per_router, b // shape.endpoints_per_router
    group_a, group_b = router_a // per_group, router_b // per_group
    first = ecmp_choice(a, b, seed=seed, salt=1)
    inside = group_a * per_group + first % per_group
    if shape.groups > 2:
        third = first % (shape.groups - 2)
        low, high = np.minimum(group_a, group_b), np.maximum(group_a, group_b)
        third = third + (third >= low)
        third = third + (third >= high)
        third = np.where(group_a == group_b, group_a, third)  # not used: such messages turn inside their group
        # A group is entered where its gateway is: aim at that router, so that no local link is spent in vain.
        s, _ = _nearest_gateways(shape, router_a, third * per_group, first // shape.groups, to_group=True)
        entered = third * per_group + gateway(shape, third, group_a, s)
        turn = np.where(group_a == group_b, inside, entered)
    else:
        turn = np.where(group_a == group_b, inside, router_a)
        s = np.zeros_like(a)
    onwards, _ = _nearest_gateways(shape, turn, router_b, ecmp_choice(a, b, seed=seed, salt=2))
    there, back = _between(shape, router_a, turn, s), _between(shape, turn, router_b, onwards)
    return _with_own_links(shape, a, b, np.concatenate([there, back], axis=1))


def _local_hops(shape: DragonflyShape, x: Ints, y: Ints) -> Ints:
    """Local links between routers x and y of one group, by index in it: one along the row, one along the column."""
    hops: Ints = (x % shape.columns != y % shape.columns).astype(np.int64) + (x // shape.columns != y // shape.columns)
    return hops


def _nearest_gateways(
    shape: DragonflyShape, router_a: Ints, router_b: Ints, choice: Ints, *, to_group: bool = False
) -> tuple[Ints, Ints]:
    """(T,) which gateway to take from one group to the other, and how many are equally near.

    `to_group`: anywhere in the group of router_b will do, so local links there do not count.
    """
    per_group = shape.routers_per_group
    chosen, several = np.zeros_like(router_a), np.ones_like(router_a)
    s = np.arange(shape.gateways)
    for begin in range(0, len(router_a), CHUNK):
        part = slice(begin, begin + CHUNK)
        group_a, group_b = router_a[part, None] // per_group, router_b[part, None] // per_group
        hops = _local_hops(shape, router_a[part, None] % per_group, gateway(shape, group_a, group_b, s))
        if not to_group:
            hops = hops + _local_hops(shape, gateway(shape, group_b, group_a, s), router_b[part, None] % per_group)
        nearest = hops == hops.min(axis=1, keepdims=True)
        several[part] = np.where(group_a[:, 0] == group_b[:, 0], 1, nearest.sum(axis=1))
        wanted = choice[part] % nearest.sum(axis=1)
        chosen[part] = np.argmax(np.cumsum(nearest, axis=1) == wanted[:, None] + 1, axis=1)
    return chosen, several


def _between(shape: DragonflyShape, router_a: Ints, router_b: Ints, s: Ints) -> Ints:
    """(T, 5) links between routers, over gateway s if they are of two groups: row, column, global, row, column."""
    per_group = shape.routers_per_group
    group_a, group_b = router_a // per_group, router_b // per_group
    away = group_a != group_b
    out = np.where(away, group_a * per_group + gateway(shape, group_a, group_b, s), router_b)
    into = np.where(away, group_b * per_group + gateway(shape, group_b, group_a, s), router_b)
    pairs = pair_index(group_a, group_b, shape.groups) * shape.gateways + s
    across = directed(_first_edge(shape, 3) + pairs, group_a < group_b, _first_edge(shape, 4))
    return np.stack(
        [
            *_local(shape, router_a, out),
            np.where(away, across, NO_LINK),
            *_local(shape, into, router_b),
        ],
        axis=1,
    )


def _local(shape: DragonflyShape, x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """The link along the row and the one along the column between two routers of a group; NO_LINK where not needed."""
    columns, rows, edges = shape.columns, shape.rows, _first_edge(shape, 4)
    pairs_of_row, pairs_of_column = columns * (columns - 1) // 2, rows * (rows - 1) // 2
    group, row_x, row_y = x // (rows * columns), x // columns % rows, y // columns % rows
    column_x, column_y = x % columns, y % columns
    along_row = _first_edge(shape, 1) + (group * rows + row_x) * pairs_of_row + pair_index(column_x, column_y, columns)
    along_column = (
        _first_edge(shape, 2) + (group * columns + column_y) * pairs_of_column + pair_index(row_x, row_y, rows)
    )
    return (
        np.where(column_x != column_y, directed(along_row, column_x < column_y, edges), NO_LINK),
        np.where(row_x != row_y, directed(along_column, row_x < row_y, edges), NO_LINK),
    )


def _with_own_links(shape: DragonflyShape, a: Ints, b: Ints, between: Ints) -> Ints:
    """The route from end point to end point: nothing where they are the same."""
    whole = np.concatenate([a[:, None], between, b[:, None] + _first_edge(shape, 4)], axis=1)
    return left_packed(np.where((a != b)[:, None], whole, NO_LINK))


def _first_edge(shape: DragonflyShape, part: int) -> int:
    """The first edge of a part: own links of end points, rows, columns, global; and behind the last of them."""
    groups, rows, columns = shape.groups, shape.rows, shape.columns
    sizes = (
        shape.endpoints,
        groups * rows * (columns * (columns - 1) // 2),
        groups * columns * (rows * (rows - 1) // 2),
        groups * (groups - 1) // 2 * shape.gateways,
    )
    return sum(sizes[:part])
