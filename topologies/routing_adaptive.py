"""Adaptive routing on routes as arrays: minimal unless it is busier, for its length, than a detour (UGAL)."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from topologies.link_table import NO_LINK, Ints, LinkTable, hops_of
from topologies.topology import TopologyError

#: What the router where a message starts knows of the load.
KNOWS: Final = ("path", "first_link")


def adaptive_routes(
    table: LinkTable,
    minimal: Ints,
    detour: Ints,
    byte: Any,
    *,
    knows: str = "path",
    load_byte: NDArray[np.float64] | None = None,
    batch: int = 64,
) -> tuple[Ints, NDArray[np.bool_]]:
    """The route each of T messages takes, and whether it is the detour, decided one after the other [1]_.

    A message takes its minimal route unless load x hops of it is more than load x hops of its detour.

    Parameters
    ----------
    minimal, detour
        (T, H) and (T, H') routes, as from `dragonfly_routes` and `dragonfly_valiant`.
    byte
        (T,) of each message, or one number for all.
    knows
        "path" (UGAL-G): load is that of the busiest link of the route. "first_link" (UGAL-L): of its first link between
        routers, which is what a router can see; messages that stay on one router have none, and stay minimal.
    load_byte
        (2 E,) what other traffic has put on each link already.
    batch
        Messages decided together, not seeing each other: news of a queue comes late. 1: each sees all before it.

    Notes
    -----
    Load is bytes per parallel link. Links of end points are on both routes and are left out of it.

    References
    ----------
    .. [1] A. Singh, Load-balanced routing in interconnection networks, PhD thesis, Stanford, 2005.
    """
    if knows not in KNOWS:
        raise TopologyError(f"adaptive_routes: knows is {knows!r}; one of {', '.join(KNOWS)}.")
    if batch < 1:
        raise TopologyError(f"adaptive_routes: batch is {batch!r}; a whole number, at least 1.")
    share = np.broadcast_to(np.asarray(byte, np.float64), (len(minimal),))
    count = np.append(table.link_count, 1).astype(np.float64)  # one more, where NO_LINK points
    load = np.zeros(len(count))
    if load_byte is not None:
        load[:-1] = load_byte / count[:-1]
    width = max(minimal.shape[1], detour.shape[1])
    candidates = np.stack([_widened(minimal, width), _widened(detour, width)])
    between = np.where(_touches_endpoint(table, candidates), NO_LINK, candidates)
    first = np.argmax(between != NO_LINK, axis=2)[..., None]
    seen = np.take_along_axis(between, first, axis=2) if knows == "first_link" else between
    hops = np.stack([hops_of(between[0]), hops_of(between[1])])
    away = np.zeros(len(minimal), bool)
    for begin in range(0, len(minimal), batch):
        part = slice(begin, begin + batch)
        cost = load[seen[:, part]].max(axis=2, initial=0.0) * hops[:, part]
        away[part] = cost[0] > cost[1]
        taken = np.where(away[part, None], candidates[1, part], candidates[0, part])
        np.add.at(load, taken, share[part, None] / count[taken])
        load[NO_LINK] = 0.0
    return np.where(away[:, None], candidates[1], candidates[0]), away


def link_byte(table: LinkTable, routes: Ints, byte: Any) -> NDArray[np.float64]:
    """(2 E,) bytes that cross each directed link when message t takes routes[t]."""
    share = np.broadcast_to(np.asarray(byte, np.float64)[..., None], routes.shape)
    used = routes != NO_LINK
    return np.bincount(routes[used], weights=share[used], minlength=2 * table.edges).astype(np.float64)


def _touches_endpoint(table: LinkTable, routes: Ints) -> NDArray[np.bool_]:
    """Whether a link is an end point's only one: where end points are not routers themselves."""
    degree = np.bincount(np.concatenate([table.u, table.v]), minlength=table.vertices)
    lonely = (degree[table.u] == 1) | (degree[table.v] == 1)
    own: NDArray[np.bool_] = np.append(np.concatenate([lonely, lonely]), False)[routes]
    return own


def _widened(routes: Ints, width: int) -> Ints:
    wide = np.full((len(routes), width), NO_LINK, np.int64)
    wide[:, : routes.shape[1]] = routes
    return wide
