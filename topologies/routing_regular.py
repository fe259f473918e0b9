"""Every regular network under one name each for its links and its routes: one table, a line per network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

from topologies.clos import ClosShape, clos_choices, clos_links, clos_routes
from topologies.dragonfly import dragonfly_links
from topologies.dragonfly_plus import DragonflyPlusShape, dragonfly_plus_links
from topologies.dragonfly_shape import DragonflyShape
from topologies.fat_tree import FatTreeShape
from topologies.hypercube import HypercubeShape, hypercube_choices, hypercube_links, hypercube_routes
from topologies.link_table import NO_LINK, Ints, LinkTable, as_endpoints, left_packed
from topologies.routing_dragonfly import dragonfly_choices, dragonfly_routes, dragonfly_valiant
from topologies.routing_dragonfly_plus import dragonfly_plus_choices, dragonfly_plus_routes, dragonfly_plus_valiant
from topologies.routing_fat_tree import fat_tree_choices, fat_tree_link_routes, fat_tree_links
from topologies.routing_hash import ecmp_choice
from topologies.routing_torus import torus_choices, torus_links, torus_routes
from topologies.topology import TopologyError
from topologies.torus import TorusShape

Shape: TypeAlias = FatTreeShape | ClosShape | TorusShape | HypercubeShape | DragonflyShape | DragonflyPlusShape


@dataclass(frozen=True, kw_only=True)
class Regular:
    """How to get the links and routes of one kind of network from its shape."""

    links: Callable[[Any], LinkTable]
    routes: Callable[[Any, Any, Any, Any], Ints]
    choices: Callable[[Any, Any, Any], Ints]
    valiant: Callable[..., Ints] | None = None


REGULAR: Final[dict[type, Regular]] = {
    FatTreeShape: Regular(links=fat_tree_links, routes=fat_tree_link_routes, choices=fat_tree_choices),
    ClosShape: Regular(links=clos_links, routes=clos_routes, choices=clos_choices),
    TorusShape: Regular(links=torus_links, routes=torus_routes, choices=torus_choices),
    HypercubeShape: Regular(links=hypercube_links, routes=hypercube_routes, choices=hypercube_choices),
    DragonflyShape: Regular(
        links=dragonfly_links, routes=dragonfly_routes, choices=dragonfly_choices, valiant=dragonfly_valiant
    ),
    DragonflyPlusShape: Regular(
        links=dragonfly_plus_links,
        routes=dragonfly_plus_routes,
        choices=dragonfly_plus_choices,
        valiant=dragonfly_plus_valiant,
    ),
}


def links(shape: Shape) -> LinkTable:
    """The link table of a regular network."""
    return _entry(shape).links(shape)


def routes(shape: Shape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) links of a minimal route from a[t] to b[t], NO_LINK behind the last; `choice` is which of `choices`."""
    return _entry(shape).routes(shape, a, b, choice)


def choices(shape: Shape, a: Any, b: Any) -> Ints:
    """(T,) minimal routes that `routes` chooses from."""
    return _entry(shape).choices(shape, a, b)


def ecmp_routes(shape: Shape, a: Any, b: Any, *, seed: int = 0) -> Ints:
    """(T, H) minimal routes, each chosen by the hash of its two end points."""
    a, b = as_endpoints("ecmp_routes", a, shape.endpoints), as_endpoints("ecmp_routes", b, shape.endpoints)
    return routes(shape, a, b, ecmp_choice(a, b, seed=seed))


def valiant_routes(shape: Shape, a: Any, b: Any, *, seed: int = 0) -> Ints:
    """(T, H) routes over a random third group (dragonflies), or else over a random third end point or its switch.

    They turn at the switch where every end point has one. A route may pass a link twice, before and after it turns.
    """
    a, b = as_endpoints("valiant_routes", a, shape.endpoints), as_endpoints("valiant_routes", b, shape.endpoints)
    entry = _entry(shape)
    if entry.valiant is not None:
        return entry.valiant(shape, a, b, seed=seed)
    turn = ecmp_choice(a, b, seed=seed, salt=1) % shape.endpoints
    turn = np.where(a == b, a, turn)
    legs = [
        entry.routes(shape, one, other, ecmp_choice(a, b, seed=seed, salt=salt))
        for one, other, salt in ((a, turn, 2), (turn, b, 3))
    ]
    whole = np.concatenate(legs, axis=1)
    if _one_switch_each(shape):  # turn there, not behind the third end point's own link, which has its number
        edges = links(shape).edges
        own = (whole == turn[:, None]) | (whole == turn[:, None] + edges)
        whole = np.where(own & ((turn != a) & (turn != b))[:, None], NO_LINK, whole)
    return left_packed(whole)


def _one_switch_each(shape: Shape) -> bool:
    if isinstance(shape, ClosShape):
        return shape.parents[0] == 1
    return isinstance(shape, FatTreeShape) or (isinstance(shape, TorusShape) and shape.endpoints_per_router > 0)


def _entry(shape: Shape) -> Regular:
    if type(shape) not in REGULAR:
        raise TopologyError(
            f"no routes by formula for {type(shape).__name__}; for {', '.join(kind.__name__ for kind in REGULAR)}. "
            "Others by search: ecmp_router, valiant_router."
        )
    return REGULAR[type(shape)]
