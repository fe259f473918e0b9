"""Which links messages take, by search in any graph: shortest, hashed over equal routes, or sprayed evenly over all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from .colours import mixed
from .shares import Floats, Ints

#: Of the vertices: link in, hops, whether there are rivals.
Tree: TypeAlias = tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]
#: Vertices x roots of the trees that are kept.
_KEPT: Final = 1 << 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Vertices 0 .. V-1 and directed links, each there and back: tail, head and parallel count, shape (L,).

    Routes are searched in the core, which leaves out the vertices that hang on one other: most end points do.
    """

    vertices: int
    tail: Ints
    head: Ints
    count: Floats

    @cached_property
    def anchor(self) -> Ints:
        """The vertex that a vertex hangs on by its only edge, or itself; shape (V,)."""
        degree = np.bincount(self.tail, minlength=self.vertices)
        hangs = (degree[self.tail] == 1) & (degree[self.head] > 1)
        anchor = np.arange(self.vertices)
        anchor[self.tail[hangs]] = self.head[hangs]
        return anchor

    @cached_property
    def _stub(self) -> tuple[Ints, Ints]:
        """The link from a vertex to its anchor and the one back; -1 where it is its own; shape (V,) each."""
        up, down = np.full(self.vertices, -1), np.full(self.vertices, -1)
        for link, inner, outer in ((up, self.tail, self.head), (down, self.head, self.tail)):
            on = np.flatnonzero(self.anchor[inner] == outer)
            link[inner[on]] = on
        return up, down

    @cached_property
    def core(self) -> Core:
        """The vertices that are their own anchor."""
        members = np.flatnonzero(self.anchor == np.arange(self.vertices))
        number = np.full(self.vertices, -1)
        number[members] = np.arange(len(members))
        inside = np.flatnonzero((number[self.tail] >= 0) & (number[self.head] >= 0))
        tail, head = number[self.tail[inside]], number[self.head[inside]]
        return Core(size=len(members), number=number, link=inside, tail=tail, head=head, count=self.count[inside])

    def shortest(self, source: Ints, target: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """Links of one shortest route each, the same every time, and whether it has rivals of equal length.

        Shape (T, most hops) with -1 in between and around, and (T,).
        """
        a, b = self.core.number[self.anchor[source]], self.core.number[self.anchor[target]]
        key = a * self.core.size + b
        if self.core.size**2 <= 4 * len(key):
            wanted = np.zeros(self.core.size**2, np.bool_)
            wanted[key] = True
            pair = np.flatnonzero(wanted)
            place = (np.cumsum(wanted) - 1)[key]
        else:
            pair, place = np.unique(key, return_inverse=True)
        between, rivals = self.core.shortest(pair // self.core.size, pair % self.core.size)
        place = place.reshape(-1)
        return self._with_stubs(source, target, between[place]), rivals[place]

    def hashed(self, source: Ints, target: Ints, seed: int) -> Ints:
        """The same with each switch choosing among its shortest ways on by a hash of (source, target, seed).

        A way of n parallel links is n ways. The hash is a mixing of integers, the same on every machine.
        """
        key = mixed(source * self.vertices + target, seed)
        a, b = self.core.number[self.anchor[source]], self.core.number[self.anchor[target]]
        return self._with_stubs(source, target, self.core.hashed(a, b, key))

    def sprayed(self, source: int, target: int) -> dict[int, float]:
        """The share of a message that each link carries if every vertex splits it evenly over its shortest ways on."""
        ends = np.array([source]), np.array([target])
        shares = {link: 1.0 for link in self._with_stubs(*ends, np.zeros((1, 0), np.int64))[0].tolist() if link >= 0}
        a, b = (int(self.core.number[self.anchor[end[0]]]) for end in ends)
        return shares | self.core.sprayed(a, b)

    def _with_stubs(self, source: Ints, target: Ints, between: Ints) -> Ints:
        up, down = self._stub
        table = np.empty((len(source), between.shape[1] + 2), np.int64)
        table[:, 0], table[:, 1:-1], table[:, -1] = up[source], between, down[target]
        return table


@dataclass(frozen=True, kw_only=True, eq=False)
class Core:
    """A graph of which each link has a number in a larger one; vertices 0 .. size-1 are called `number` there."""

    size: int
    number: Ints
    link: Ints
    tail: Ints
    head: Ints
    count: Floats

    @cached_property
    def _matrix(self) -> csr_array:
        return csr_array((np.ones(len(self.tail)), (self.tail, self.head)), shape=(self.size, self.size))

    @cached_property
    def _ways(self) -> tuple[Ints, Ints, Floats]:
        """Neighbour, link and count of each vertex's k-th way on, shape (size, most ways); link -1: there is none."""
        order = np.argsort(self.tail, kind="stable")
        ways = np.bincount(self.tail, minlength=self.size)
        at = self.tail[order], np.arange(len(order)) - np.repeat(np.cumsum(ways) - ways, ways)
        shape = (self.size, int(ways.max(initial=1)))
        head, link, count = np.zeros(shape, np.int64), np.full(shape, -1), np.zeros(shape)
        head[at], link[at], count[at] = self.head[order], order, self.count[order]
        return head, link, count

    @cached_property
    def _kept(self) -> dict[int, Tree]:
        return {}

    def tree(self, root: int) -> Tree:
        """Shortest routes from a root: link into each vertex, its hops, whether other links are as short; (size,) each.

        -1 where there is no link, or no route.
        """
        found = self._kept.get(root)
        if found is None:
            order, before = breadth_first_order(self._matrix, root, return_predecessors=True)
            via, hops = np.full(self.size, -1, np.int32), np.full(self.size, -1, np.int32)
            hops[root] = 0
            rest = order[1:]
            key, by_key = self._by_ends
            via[rest] = by_key[np.searchsorted(key, before[rest].astype(np.int64) * self.size + rest)]
            level = 0
            while len(rest):  # breadth first: each level is a run of the order
                level += 1
                here = hops[before[rest]] == level - 1
                hops[rest[here]] = level
                rest = rest[~here]
            nearer = self.head[hops[self.tail] == hops[self.head] - 1]
            rivals = np.bincount(nearer, minlength=self.size) > 1
            if len(self._kept) * self.size > _KEPT:
                self._kept.clear()
            found = self._kept[root] = via, hops, rivals
        return found

    @cached_property
    def _last(self) -> list[Any]:
        return [b"", ()]  # the roots asked for last and their trees: rounds of a collective ask for the same again

    @cached_property
    def _by_ends(self) -> tuple[Ints, Ints]:
        key = self.tail * self.size + self.head
        order = np.argsort(key)
        return key[order], order

    def _by_root(self, roots: Ints) -> Iterator[tuple[Ints, Ints, Ints, Tree]]:
        """Some distinct roots at a time: the roots; which of the given these are, and their row; the trees by row."""
        distinct, row = np.unique(roots, return_inverse=True)
        row = row.reshape(-1)
        size = max(1, _KEPT // self.size)
        for first in range(0, len(distinct), size):
            some = distinct[first : first + size]
            key = some.tobytes()
            if key != self._last[0]:
                self._last[:] = key, [np.stack(each) for each in zip(*map(self.tree, some.tolist()), strict=True)]
            which = np.flatnonzero((row >= first) & (row < first + size))
            via, hops, rivals = self._last[1]
            yield some, which, row[which] - first, (via, hops, rivals)

    def shortest(self, a: Ints, b: Ints) -> tuple[Ints, NDArray[np.bool_]]:
        """See `Graph.shortest`; vertices of the core, links of the graph."""
        parts, rivals = [], np.zeros(len(a), np.bool_)
        for _, which, row, (via, hops, several) in self._by_root(a):
            here, columns = b[which], []
            self._check_reached(a[which], here, hops[row, here])
            for _ in range(int(hops[row, here].max(initial=0))):
                link = via[row, here]
                rivals[which] |= several[row, here]
                columns.append(np.where(link >= 0, self.link[link], -1))
                here = np.where(link >= 0, self.tail[link], here)
            parts.append((which, columns[::-1]))
        return _table(len(a), parts), rivals

    def hashed(self, a: Ints, b: Ints, key: NDArray[np.uint64]) -> Ints:
        """See `Graph.hashed`; `key` is a hash of each message."""
        head, way, count = self._ways
        parts = []
        for roots, which, row, (_, hops, _) in self._by_root(
            b
        ):  # links lead both ways: hops to a vertex are hops from it
            here, columns = a[which], []
            self._check_reached(here, b[which], hops[row, here])
            for step in range(int(hops[row, here].max(initial=0))):
                moving = np.flatnonzero(here != roots[row])
                at, to = here[moving], row[moving]
                good = (hops[to[:, None], head[at]] == hops[to, at][:, None] - 1) & (way[at] >= 0)
                upto = np.cumsum(np.where(good, count[at], 0.0), axis=1)
                pick = mixed(key[which[moving]].view(np.int64), step + 1) % upto[:, -1].astype(np.uint64)
                choice = np.argmax(upto > pick[:, None].astype(np.float64), axis=1)
                column = np.full(len(here), -1)
                column[moving] = self.link[way[at, choice]]
                here = here.copy()
                here[moving] = head[at, choice]
                columns.append(column)
            parts.append((which, columns))
        return _table(len(a), parts)

    def sprayed(self, a: int, b: int) -> dict[int, float]:
        """See `Graph.sprayed`."""
        head, way, count = self._ways
        hops = self.tree(b)[1]
        self._check_reached(np.array([a]), np.array([b]), hops[[a]])
        here, shares = {a: 1.0}, {}
        for distance in range(int(hops[a]), 0, -1):
            onwards: dict[int, float] = {}
            for vertex, share in here.items():
                on = np.flatnonzero((way[vertex] >= 0) & (hops[head[vertex]] == distance - 1))
                for index in on.tolist():
                    part = share * float(count[vertex, index] / count[vertex, on].sum())
                    shares[int(self.link[way[vertex, index]])] = part
                    neighbour = int(head[vertex, index])
                    onwards[neighbour] = onwards.get(neighbour, 0.0) + part
            here = onwards
        return shares

    def _check_reached(self, a: Ints, b: Ints, hops: NDArray[np.signedinteger[Any]]) -> None:
        lost = np.flatnonzero(hops < 0)
        if len(lost):
            numbers = np.flatnonzero(self.number >= 0)
            here, there = numbers[a[lost[0]]], numbers[b[lost[0]]]
            raise NoRouteError(int(here), int(there))


class NoRouteError(Exception):
    """No route between two vertices, or those that they hang on."""


def _table(messages: int, parts: list[tuple[Ints, list[Ints]]]) -> Ints:
    links = np.full((messages, max((len(columns) for _, columns in parts), default=0)), -1)
    for which, columns in parts:
        for index, column in enumerate(columns, start=links.shape[1] - len(columns)):
            links[which, index] = column
    return links
