"""The wires of a topology: every link in each direction with its capacity and latency, and who takes which."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from topologies import Topology
from topologies.link_table import LinkTable

from .routes import Routes, merged_links, of_table, packed
from .search import Graph, NoRouteError
from .shares import Floats, FlowError, Ints
from .spraying import cells_of, merged

#: The vertices that a message passes, both ends included.
Router: TypeAlias = Callable[[Hashable, Hashable], Sequence[Hashable]]
#: From arrays of sources and targets to the links that each message takes, shape (T, most hops); -1 is no link.
ArrayRouter: TypeAlias = Callable[[Ints, Ints], Ints]
#: What a message does where several shortest routes lead to its target.
Routing: TypeAlias = Literal["shortest", "hashed", "sprayed"]

_LEGAL: Final = get_args(Routing)


@dataclass(frozen=True, kw_only=True, eq=False)
class Wires:
    """Directed links of a network, as arrays, and the routes between its ranks.

    Parameters
    ----------
    capacity_byte_per_s, latency_s
        Of each directed link, shape (L,). An edge of count c and derate d of the topology is one link each way, of
        capacity c d bandwidth; its latency is its tier's.
    vertices, graph
        The vertices, and the two that each link joins, by number. Where messages are sprayed a vertex may be a cell of
        switches that are alike (named by its first), and a link all the links between two cells.
    rank
        The vertex of each rank.
    routing
        "shortest": one shortest route, the same every time. "hashed": each switch picks one of its shortest ways on by
        a hash of source, target and `seed` (ECMP). "sprayed": each switch splits evenly over them, ideally.
    router
        Where given, the vertices that a message passes from its source's vertex to its target's; instead of `routing`.
    """

    name: str
    vertices: tuple[Hashable, ...]
    graph: Graph
    capacity_byte_per_s: Floats
    latency_s: Floats
    rank: Ints
    routing: Routing
    seed: int
    router: Router | None
    array_router: ArrayRouter | None = None
    _known: dict[tuple[int, int], tuple[tuple[int, ...], tuple[float, ...]]] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls,
        topology: Topology,
        tiers: Mapping[str, tuple[float, float]],
        router: Router | None = None,
        *,
        routing: Routing = "shortest",
        seed: int = 0,
    ) -> Wires:
        """The wires of a topology whose tiers have the given (bandwidth [B/s] of one link one way, latency [s])."""
        where = f"wires of {topology.name!r}"
        if routing not in _LEGAL:
            close = difflib.get_close_matches(str(routing), _LEGAL, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise FlowError(f"{where}: routing is {routing!r}; one of {', '.join(_LEGAL)}.{hint}")
        _check_tiers(where, topology.tiers, tiers)
        vertices = tuple(topology.graph)
        number = {vertex: index for index, vertex in enumerate(vertices)}
        edges = list(topology.graph.edges(data=True))
        ends = np.array([(number[a], number[b]) for a, b, _ in edges], np.int64).reshape(-1, 2)
        count = np.array([data["count"] for _, _, data in edges], np.float64)
        derate = np.array([data["derate"] for _, _, data in edges], np.float64)
        tier = np.array([tiers[data["tier"]] for _, _, data in edges], np.float64).reshape(-1, 2)
        tail, head = ends.ravel(), ends[:, ::-1].ravel()  # links 2i and 2i + 1 are edge i, there and back
        one_byte_per_s, latency_s = np.repeat(derate * tier[:, 0], 2), np.repeat(tier[:, 1], 2)
        links = np.repeat(count, 2)
        rank = np.array([number[endpoint] for endpoint in topology.endpoints], np.int64)
        if routing == "sprayed" and router is None:
            cell = cells_of(topology, vertices, rank, tail, head, np.stack([links, one_byte_per_s, latency_s], axis=1))
            vertices = tuple(vertices[first] for first in np.unique(cell, return_index=True)[1].tolist())
            tail, head, links, one_byte_per_s, latency_s = merged(cell, tail, head, links, one_byte_per_s, latency_s)
            rank = cell[rank]
        return cls(
            name=topology.name,
            vertices=vertices,
            graph=Graph(vertices=len(vertices), tail=tail, head=head, count=links),
            capacity_byte_per_s=links * one_byte_per_s,
            latency_s=latency_s,
            rank=rank,
            routing=routing,
            seed=seed,
            router=router,
        )

    @classmethod
    def of_links(
        cls,
        table: LinkTable,
        tiers: Mapping[str, tuple[float, float]],
        routes: ArrayRouter,
        *,
        ranks: int,
        name: str = "link table",
    ) -> Wires:
        """The wires of a network given as a table of links, with its routes by formula; no graph is built.

        `routes` is, say, ``lambda a, b: topologies.routing_regular.ecmp_routes(shape, a, b)``. The end points are the
        first `ranks` vertices of the table; link e of edges E leads there, link e + E back.
        """
        where = f"wires of {name!r}"
        _check_tiers(where, table.tiers, tiers)
        if not 0 < ranks <= table.vertices:
            raise FlowError(f"{where}: {ranks} ranks, but {table.vertices} vertices.")
        rates = np.array([tiers[tier] for tier in table.tiers], np.float64).reshape(-1, 2)[table.link_tier]
        count = table.link_count.astype(np.float64)
        return cls(
            name=name,
            vertices=tuple(range(table.vertices)),
            graph=Graph(vertices=table.vertices, tail=table.source, head=table.target, count=count),
            capacity_byte_per_s=count * rates[:, 0],
            latency_s=rates[:, 1],
            rank=np.arange(ranks),
            routing="shortest",
            seed=0,
            router=None,
            array_router=routes,
        )

    @cached_property
    def _number(self) -> dict[Hashable, int]:
        return {vertex: index for index, vertex in enumerate(self.vertices)}

    @cached_property
    def _joined(self) -> dict[tuple[int, int], int]:
        ends = zip(self.graph.tail.tolist(), self.graph.head.tolist(), strict=True)
        return {pair: link for link, pair in enumerate(ends)}

    @property
    def ends(self) -> tuple[tuple[Hashable, Hashable], ...]:
        """The vertices that each link leads from and to."""
        return tuple((self.vertices[a], self.vertices[b]) for a, b in self._joined)

    def link(self, a: Hashable, b: Hashable) -> int:
        """The index of the link from vertex `a` to vertex `b`."""
        try:
            return self._joined[self._number[a], self._number[b]]
        except KeyError:
            raise FlowError(f"wires of {self.name!r}: no link from {a!r} to {b!r}.") from None

    def route(self, a_rank: int, b_rank: int) -> tuple[int, ...]:
        """The links from one rank to another, in order; of a split message all that carry a part."""
        return self.split_route(a_rank, b_rank)[0]

    def split_route(self, a_rank: int, b_rank: int) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """The links from one rank to another and the share of the message that each carries."""
        pair = (int(a_rank), int(b_rank))
        if pair not in self._known:
            routes = self.routes([a_rank], [b_rank])
            self._known[pair] = tuple(routes.link.tolist()), tuple(routes.factor.tolist())
        return self._known[pair]

    def routes(self, source: ArrayLike, target: ArrayLike) -> Routes:
        """The routes of many messages at once, from and to arrays of ranks."""
        source, target = (self._checked(name, ranks) for name, ranks in (("source", source), ("target", target)))
        itself = np.flatnonzero(source == target)
        if len(itself):
            raise FlowError(f"wires of {self.name!r}: rank {source[itself[0]]} sends to itself; that needs no wire.")
        if self.router is not None:
            return packed([self._by_router(pair) for pair in zip(source.tolist(), target.tolist(), strict=True)])
        if self.array_router is not None:
            return self._by_formula(self.array_router(source, target), source, target)
        a, b = self.rank[source], self.rank[target]
        try:
            if self.routing == "hashed":
                return of_table(self.graph.hashed(a, b, self.seed))
            table, rivals = self.graph.shortest(a, b)
        except NoRouteError as missing:
            here, there = (self.vertices[vertex] for vertex in missing.args)
            raise FlowError(
                f"wires of {self.name!r}: no route from {here!r} to {there!r}; the graph is in parts."
            ) from None
        if self.routing == "sprayed" and rivals.any():
            rows: list[tuple[Sequence[int], Sequence[float]]] = []
            for index, split in enumerate(rivals.tolist()):
                if split:
                    shares = self.graph.sprayed(int(a[index]), int(b[index]))
                    rows.append((list(shares), list(shares.values())))
                else:
                    links = table[index][table[index] >= 0].tolist()
                    rows.append((links, [1.0] * len(links)))
            return packed(rows)
        return of_table(table)

    def latency_of(self, routes: Routes) -> Floats:
        """Seconds until the first byte of each message arrives, shape (T,) [s]: the sum over the links it takes.

        Of a split message the mean over its ways, each weighted with what it carries.
        """
        each = self.latency_s[routes.link]
        if not len(each):
            return np.zeros(len(routes.start) - 1)
        return np.add.reduceat(each if routes.whole else each * routes.factor, routes.start[:-1])

    def _by_formula(self, table: Ints, source: Ints, target: Ints) -> Routes:
        """The routes of an array router, checked: each leads from its source to its target, in one piece."""
        routes = of_table(np.asarray(table, np.int64))
        first, last = routes.start[:-1], routes.start[1:] - 1
        whole = (
            len(first) == len(source)
            and bool((last >= first).all())
            and bool((routes.link < len(self.latency_s)).all())
        )
        if whole:
            tail, head = self.graph.tail[routes.link], self.graph.head[routes.link]
            joins = np.ones(len(routes.link) + 1, np.bool_)
            joins[1:-1] = head[:-1] == tail[1:]
            joins[routes.start] = True
            ends = (tail[first] == self.rank[source]) & (head[last] == self.rank[target])
            whole = bool(joins.all()) and bool(ends.all())
        if not whole:
            raise FlowError(f"wires of {self.name!r}: its router gives a way that does not lead from source to target.")
        return merged_links(routes)

    def _by_router(self, pair: tuple[int, int]) -> tuple[list[int], list[float]]:
        known = self._known.get(pair)
        if known is None:
            assert self.router is not None
            a, b = (self.vertices[self.rank[rank]] for rank in pair)
            way = list(self.router(a, b))
            if not way or way[0] != a or way[-1] != b:
                raise FlowError(f"wires of {self.name!r}: the router's way from {a!r} to {b!r} is {way!r}.")
            number = self._number
            try:
                links = tuple(self._joined[number[x], number[y]] for x, y in pairwise(way))
            except KeyError:
                raise FlowError(
                    f"wires of {self.name!r}: the router's way from {a!r} to {b!r} takes a link that is not there: "
                    f"{way!r}."
                ) from None
            known = self._known[pair] = links, (1.0,) * len(links)
        return list(known[0]), list(known[1])

    def _checked(self, name: str, ranks: ArrayLike) -> Ints:
        given = np.atleast_1d(np.asarray(ranks))
        if given.dtype.kind not in "iu" and given.size:
            raise FlowError(f"wires of {self.name!r}: {name} is of type {given.dtype}; whole numbers, one a message.")
        wrong = np.flatnonzero((given < 0) | (given >= len(self.rank)))
        if len(wrong):
            raise FlowError(f"wires of {self.name!r}: {name} {given[wrong[0]]} is no rank; 0 to {len(self.rank) - 1}.")
        return given.astype(np.int64)


def _check_tiers(where: str, needed: tuple[str, ...], tiers: Mapping[str, tuple[float, float]]) -> None:
    missing = [tier for tier in needed if tier not in tiers]
    if missing:
        close = difflib.get_close_matches(missing[0], list(tiers), n=1)
        hint = f" Did you mean {missing[0]!r} by {close[0]!r}?" if close else ""
        raise FlowError(
            f"{where}: no rate for tier {missing[0]!r}; it has {', '.join(map(repr, needed))}, each needs "
            f"(bandwidth, latency).{hint}"
        )
    for tier in needed:
        bandwidth_byte_per_s, latency_s = tiers[tier]
        if not (bandwidth_byte_per_s > 0 and math.isfinite(bandwidth_byte_per_s)):
            raise FlowError(f"{where}: tier {tier!r} has a bandwidth of {bandwidth_byte_per_s!r} B/s; above 0, finite.")
        if not (latency_s >= 0 and math.isfinite(latency_s)):
            raise FlowError(f"{where}: tier {tier!r} has a latency of {latency_s!r} s; 0 or more, finite.")
