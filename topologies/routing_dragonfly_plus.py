"""Routes by formula on dragonfly+ networks, all at once as arrays of links: minimal, and over a third group."""

from __future__ import annotations

from typing import Any

import numpy as np

from topologies.dragonfly_plus import DragonflyPlusShape, spine_gateway
from topologies.link_table import NO_LINK, Ints, as_endpoints, directed, left_packed, pair_index
from topologies.routing_hash import ecmp_choice


def dragonfly_plus_choices(shape: DragonflyPlusShape, a: Any, b: Any) -> Ints:
    """(T,) minimal routes: over any spine inside a group, over any gateway between groups."""
    a, b = as_endpoints("dragonfly+", a, shape.endpoints), as_endpoints("dragonfly+", b, shape.endpoints)
    leaf_a, leaf_b = a // shape.endpoints_per_leaf, b // shape.endpoints_per_leaf
    inside = np.where(leaf_a == leaf_b, 1, shape.spines)
    return np.where(leaf_a // shape.leaves != leaf_b // shape.leaves, shape.gateways, inside)


def dragonfly_plus_routes(shape: DragonflyPlusShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links of a minimal route: leaf, spine, (spine,) leaf; `choice` is the spine or gateway, modulo."""
    a, b = as_endpoints("dragonfly+", a, shape.endpoints), as_endpoints("dragonfly+", b, shape.endpoints)
    choice = np.asarray(choice, np.int64) % dragonfly_plus_choices(shape, a, b)
    leaf_a, leaf_b = a // shape.endpoints_per_leaf, b // shape.endpoints_per_leaf
    group_a, group_b = leaf_a // shape.leaves, leaf_b // shape.leaves
    away = group_a != group_b
    spine_a = np.where(away, spine_gateway(shape, group_a, group_b, choice), choice)
    spine_b = np.where(away, spine_gateway(shape, group_b, group_a, choice), choice)
    columns = [_own(shape, a, a != b), _up(shape, leaf_a, spine_a, leaf_a != leaf_b)]
    columns += [np.where(away, _across(shape, group_a, group_b, choice), NO_LINK)]
    columns += [_down(shape, leaf_b, spine_b, leaf_a != leaf_b), _own(shape, b, a != b, back=True)]
    return left_packed(np.stack(columns, axis=1))


def dragonfly_plus_valiant(shape: DragonflyPlusShape, a: Any, b: Any, *, seed: int = 0) -> Ints:
    """(T, H) a route over a random leaf of a random third group; minimal inside a group or where there is no third."""
    a, b = as_endpoints("dragonfly+", a, shape.endpoints), as_endpoints("dragonfly+", b, shape.endpoints)
    leaf_a, leaf_b = a // shape.endpoints_per_leaf, b // shape.endpoints_per_leaf
    group_a, group_b = leaf_a // shape.leaves, leaf_b // shape.leaves
    first = ecmp_choice(a, b, seed=seed, salt=1)
    minimal = dragonfly_plus_routes(shape, a, b, first)
    if shape.groups < 3:
        return minimal
    third = first % (shape.groups - 2)
    third = third + (third >= np.minimum(group_a, group_b))
    third = third + (third >= np.maximum(group_a, group_b))
    detour = group_a != group_b
    third = np.where(detour, third, 0)
    draws = [ecmp_choice(a, b, seed=seed, salt=salt) for salt in (2, 3, 4)]
    out, back, turn = draws[0] % shape.gateways, draws[1] % shape.gateways, draws[2] % shape.leaves
    enter, leave = spine_gateway(shape, third, group_a, out), spine_gateway(shape, third, group_b, back)
    turn = third * shape.leaves + turn
    between = enter != leave  # the same spine passes a message on without a leaf
    columns = [
        _own(shape, a, a != b),
        _up(shape, leaf_a, spine_gateway(shape, group_a, third, out), detour),
        _across(shape, group_a, third, out),
        _down(shape, turn, enter, between),
        _up(shape, turn, leave, between),
        _across(shape, third, group_b, back),
        _down(shape, leaf_b, spine_gateway(shape, group_b, third, back), detour),
        _own(shape, b, a != b, back=True),
    ]
    long = np.where(detour[:, None], np.stack(columns, axis=1), NO_LINK)
    width = max(long.shape[1], minimal.shape[1])
    short = np.full((len(a), width), NO_LINK, np.int64)
    short[:, : minimal.shape[1]] = minimal
    return left_packed(np.where(detour[:, None], long, short))


def _own(shape: DragonflyPlusShape, end: Ints, taken: Any, *, back: bool = False) -> Ints:
    return np.where(taken, end + (_edges(shape) if back else 0), NO_LINK)


def _up(shape: DragonflyPlusShape, leaf: Ints, spine: Ints, taken: Any) -> Ints:
    return np.where(taken, shape.endpoints + leaf * shape.spines + spine, NO_LINK)


def _down(shape: DragonflyPlusShape, leaf: Ints, spine: Ints, taken: Any) -> Ints:
    return np.where(taken, shape.endpoints + leaf * shape.spines + spine + _edges(shape), NO_LINK)


def _across(shape: DragonflyPlusShape, here: Ints, there: Ints, s: Ints) -> Ints:
    first = shape.endpoints + shape.groups * shape.leaves * shape.spines
    edge = first + pair_index(here, there, shape.groups) * shape.gateways + s
    return directed(edge, here < there, _edges(shape))


def _edges(shape: DragonflyPlusShape) -> int:
    pairs = shape.groups * (shape.groups - 1) // 2
    return shape.endpoints + shape.groups * shape.leaves * shape.spines + pairs * shape.gateways
