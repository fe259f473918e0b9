"""Multi-level Clos networks given level by level: any number of levels, taper and parallel links at each of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from topologies.link_table import NO_LINK, Ints, LinkTable, as_endpoints, left_packed, link_table, topology_of
from topologies.topology import Topology, TopologyError, check_count


@dataclass(frozen=True, kw_only=True)
class ClosShape:
    """A parallel-ports generalised fat tree [1]_: level by level from below, how wide it branches down and up.

    Parameters
    ----------
    children
        m_1, m_2, ...: what hangs below one switch of level i: end points (i = 1) or switches of the level below.
    parents
        w_1, w_2, ...: switches of level i that each vertex of the level below is joined to.
    links
        p_1, p_2, ...: parallel links to each of them.
    tiers
        The tier of the links below level i.

    Notes
    -----
    n = m_1 m_2 ... m_h end points; level i has w_1 ... w_i m_{i+1} ... m_h switches, each with m_i p_i links down and
    w_{i+1} p_{i+1} up.

    References
    ----------
    .. [1] E. Zahavi, Fat-tree routing and node ordering providing contention free traffic for MPI global collectives,
       Journal of Parallel and Distributed Computing, 2012 (recalled).
    """

    children: tuple[int, ...]
    parents: tuple[int, ...]
    links: tuple[int, ...]
    tiers: tuple[str, ...]

    def __post_init__(self) -> None:
        where = "clos"
        if not self.children or len({len(v) for v in vars(self).values()}) > 1:
            given = ", ".join(f"{name} {len(values)}" for name, values in vars(self).items())
            raise TopologyError(f"{where}: {given} values; one for each level, at least one level.")
        for name in ("children", "parents", "links"):
            for level, value in enumerate(getattr(self, name)):
                check_count(where, f"{name}[{level}]", value)

    @property
    def levels(self) -> int:
        """Levels of switches."""
        return len(self.children)

    @property
    def endpoints(self) -> int:
        """What hangs below the whole network."""
        return math.prod(self.children)

    def switches(self, level: int) -> int:
        """Switches of a level; the lowest is 1. Level 0 are the end points."""
        return math.prod(self.parents[:level]) * math.prod(self.children[level:])

    @property
    def radices(self) -> tuple[int, ...]:
        """Links of one switch of each level."""
        up = [w * p for w, p in zip(self.parents[1:], self.links[1:], strict=True)] + [0]
        down = [m * p for m, p in zip(self.children, self.links, strict=True)]
        return tuple(d + u for d, u in zip(down, up, strict=True))

    @property
    def oversubscription(self) -> tuple[Fraction, ...]:
        """Links down / links up of one switch of each level but the last."""
        return tuple(
            Fraction(self.children[i] * self.links[i], self.parents[i + 1] * self.links[i + 1])
            for i in range(self.levels - 1)
        )

    @property
    def diameter(self) -> int:
        """The most links between two end points."""
        widest = max((level + 1 for level in range(self.levels) if self.children[level] > 1), default=0)
        return 2 * widest


def clos(
    children: tuple[int, ...],
    *,
    parents: tuple[int, ...] | None = None,
    links: tuple[int, ...] | None = None,
    tiers: tuple[str, ...] | None = None,
    radix: int | None = None,
) -> Topology:
    """End points 0 .. n-1 below switches ("switch", level, group, index) of any number of levels.

    Parameters
    ----------
    children, parents, links
        As in `ClosShape`; by default a vertex has one parent and one link to it: a tree.
    tiers
        By default "scale_out" below the lowest switches and "spine" above.
    radix
        Ports of every switch; a level that needs more is refused. Default: not checked.

    Notes
    -----
    Bisection, where the top level has an even number of children: half the links between two levels, at the levels
    where they are fewest. No split does with less: pair each end point of one half with one of the other and spread
    each pair's message evenly over all parents on the way up and down; the links above a group of m end points then
    carry m messages at most, so all n/2 pairs get the share (links between two levels) / n at once. None otherwise.
    """
    shape = clos_shape(children, parents=parents, links=links, tiers=tiers, radix=radix)
    return topology_of(
        clos_links(shape),
        name=f"{shape.levels}-level Clos network of {shape.endpoints}",
        endpoints=shape.endpoints,
        names=clos_names(shape),
        bisection=clos_bisection(shape),
    )


def clos_shape(
    children: tuple[int, ...],
    *,
    parents: tuple[int, ...] | None = None,
    links: tuple[int, ...] | None = None,
    tiers: tuple[str, ...] | None = None,
    radix: int | None = None,
) -> ClosShape:
    """The shape that `clos` builds for the same arguments."""
    levels = len(children)
    shape = ClosShape(
        children=tuple(children),
        parents=tuple(parents or (1,) * levels),
        links=tuple(links or (1,) * levels),
        tiers=tuple(tiers or ("scale_out", *("spine",) * (levels - 1))),
    )
    if radix is not None:
        check_count("clos", "radix", radix, least=2)
        for level, needed in enumerate(shape.radices, start=1):
            if needed > radix:
                raise TopologyError(
                    f"clos: a switch of level {level} needs {needed} ports, and radix is {radix}; at most {radix}. "
                    "Take fewer children, parents or links at that level, or one level more."
                )
    return shape


def clos_bisection(shape: ClosShape) -> int | None:
    """Links across the narrowest split into halves, or None where no closed form is known; see `clos`."""
    n = shape.endpoints
    if n == 1:
        return 0
    top = max(level for level in range(shape.levels) if shape.children[level] > 1)
    if shape.children[top] % 2:
        return None
    return min(shape.switches(i) * shape.parents[i] * shape.links[i] // 2 for i in range(top + 1))


def clos_links(shape: ClosShape) -> LinkTable:
    """The links of a Clos network, level by level from below, each in the order of (lower vertex, parent).

    Vertices are the end points and then the switches, level by level; in a level by the group of end points below them,
    then by their index among the switches of that group.
    """
    parts = []
    for i in range(shape.levels):
        lower, parent = (
            x.ravel() for x in np.meshgrid(np.arange(shape.switches(i)), np.arange(shape.parents[i]), indexing="ij")
        )
        copies = math.prod(shape.parents[:i])
        group, index = lower // copies, lower % copies
        upper = group // shape.children[i] * copies * shape.parents[i] + index * shape.parents[i] + parent
        first = _first_vertices(shape)
        parts.append((first[i] + lower, first[i + 1] + upper, shape.tiers[i], shape.links[i]))
    return link_table(_first_vertices(shape)[-1], parts)


def clos_names(shape: ClosShape) -> list[Hashable]:
    """The name that `clos` gives to each vertex number."""
    names: list[Hashable] = list(range(shape.endpoints))
    for level in range(1, shape.levels + 1):
        copies = math.prod(shape.parents[:level])
        names += [("switch", level, i // copies, i % copies) for i in range(shape.switches(level))]
    return names


def clos_choices(shape: ClosShape, a: Any, b: Any) -> Ints:
    """(T,) routes of equal length: one per switch at the level where two end points meet."""
    a, b = as_endpoints("clos", a, shape.endpoints), as_endpoints("clos", b, shape.endpoints)
    routes: Ints = np.ones_like(a)
    for i in range(shape.levels):
        below = math.prod(shape.children[:i])
        routes *= np.where(a // below != b // below, shape.parents[i], 1)
    return routes


def clos_routes(shape: ClosShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links from a[t] to b[t], NO_LINK behind the last: up to the lowest level where they meet, and down.

    `choice`, modulo `clos_choices`, names the parent at each level in turn, the lowest first.
    """
    a, b = as_endpoints("clos", a, shape.endpoints), as_endpoints("clos", b, shape.endpoints)
    choice = np.asarray(choice, np.int64) % clos_choices(shape, a, b)
    edges = sum(shape.switches(i) * shape.parents[i] for i in range(shape.levels))
    up: list[Ints] = []
    down: list[Ints] = []
    index, first_edge = np.zeros_like(a), 0
    for i in range(shape.levels):
        below, copies = math.prod(shape.children[:i]), math.prod(shape.parents[:i])
        apart = a // below != b // below
        parent = choice % shape.parents[i]
        choice = choice // shape.parents[i]
        here = first_edge + (np.stack([a, b]) // below * copies + index) * shape.parents[i] + parent
        up.append(np.where(apart, here[0], NO_LINK))
        down.append(np.where(apart, here[1] + edges, NO_LINK))
        index = index * shape.parents[i] + parent
        first_edge += shape.switches(i) * shape.parents[i]
    return left_packed(np.stack([*up, *reversed(down)], axis=1))


def _first_vertices(shape: ClosShape) -> list[int]:
    return [0, *itertools.accumulate(shape.switches(level) for level in range(shape.levels + 1))]
