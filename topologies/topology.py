"""A topology: which vertices there are, which links join them, and how many; no rates, no seconds."""

from __future__ import annotations

import difflib
import math
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

import networkx as nx

#: What a vertex can be. Only chips, hosts and NICs can be end points; switches and NICs forward.
KINDS: Final = ("chip", "switch", "host", "nic")


class TopologyError(ValueError):
    """A topology that cannot be, or a question that it cannot answer."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Topology:
    """Vertices joined by full-duplex links, each with a tier that a cluster binds to one kind of link.

    Parameters
    ----------
    graph
        Undirected. Each vertex has `kind`, one of `KINDS`. Each edge has `tier`, a word such as "scale_up",
        "scale_out" or "spine"; `count`, the parallel links it stands for (default 1); and `derate`, the share of its
        nominal rate that it still carries (default 1.0, above 0). An edge of count c carries c links in each direction.
        The topology keeps a frozen copy.
    endpoints
        The vertices that send and receive, in rank order; each once.
    bisection
        Links across the narrowest split into two halves, where the builder knows it in closed form, else None. It
        counts links, so a derate does not change it.

    Leaves out: rates, latencies, buffers, and links whose two directions differ. Two topologies are equal only if
    they are the same object.

    Raises
    ------
    TopologyError
        If an attribute is missing or not legal, or an end point is unknown, repeated, or a switch.
    """

    name: str
    graph: nx.Graph
    endpoints: tuple[Hashable, ...]
    bisection: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.graph, nx.Graph) or self.graph.is_directed() or self.graph.is_multigraph():
            raise TopologyError(
                f"Topology {self.name!r}: graph is {type(self.graph).__name__}; a networkx.Graph, with parallel links "
                "as the edge attribute 'count'."
            )
        graph = self.graph.copy()
        object.__setattr__(self, "endpoints", tuple(self.endpoints))
        for vertex, attributes in graph.nodes(data=True):
            kind = attributes.get("kind")
            if kind not in KINDS:
                raise TopologyError(
                    f"Topology {self.name!r}: vertex {vertex!r} has kind {kind!r}; "
                    f"one of {', '.join(KINDS)}.{nearest(kind, KINDS)}"
                )
        for a, b, attributes in graph.edges(data=True):
            self._check_edge(a, b, attributes)
        self._check_endpoints(graph)
        if self.bisection is not None:
            check_count(f"Topology {self.name!r}", "bisection", self.bisection, least=0)
        object.__setattr__(self, "graph", nx.freeze(graph))

    def _check_edge(self, a: Hashable, b: Hashable, attributes: dict[str, Any]) -> None:
        where = f"Topology {self.name!r}: link {a!r} - {b!r}"
        if a == b:
            raise TopologyError(f"{where} joins a vertex to itself; a link needs two ends.")
        tier = attributes.get("tier")
        if not isinstance(tier, str) or not tier:
            raise TopologyError(f"{where} has tier {tier!r}; a word such as 'scale_up', 'scale_out' or 'spine'.")
        check_count(where, "count", attributes.setdefault("count", 1))
        _check_derate(where, attributes.setdefault("derate", 1.0))

    def _check_endpoints(self, graph: nx.Graph) -> None:
        if not self.endpoints:
            raise TopologyError(f"Topology {self.name!r}: no end points; at least 1.")
        seen: set[Hashable] = set()
        for endpoint in self.endpoints:
            if endpoint not in graph:
                raise TopologyError(f"Topology {self.name!r}: end point {endpoint!r} is not a vertex of the graph.")
            if graph.nodes[endpoint]["kind"] == "switch":
                raise TopologyError(
                    f"Topology {self.name!r}: end point {endpoint!r} is a switch; a switch only forwards."
                )
            if endpoint in seen:
                raise TopologyError(f"Topology {self.name!r}: end point {endpoint!r} is listed twice.")
            seen.add(endpoint)

    @property
    def tiers(self) -> tuple[str, ...]:
        """The tiers of the links, each once, in alphabetical order."""
        return tuple(sorted({tier for _, _, tier in self.graph.edges(data="tier")}))

    def vertices(self, kind: str) -> tuple[Hashable, ...]:
        """The vertices of one kind, in the order in which the builder made them."""
        if kind not in KINDS:
            raise TopologyError(f"kind is {kind!r}; one of {', '.join(KINDS)}.{nearest(kind, KINDS)}")
        return tuple(vertex for vertex, found in self.graph.nodes(data="kind") if found == kind)

    def degraded(self, a: Hashable, b: Hashable, *, derate: float) -> Topology:
        """The same topology with the links between `a` and `b` at `derate` of their nominal rate (0 < derate <= 1)."""
        where = f"Topology {self.name!r}: link {a!r} - {b!r}"
        if not self.graph.has_edge(a, b):
            raise TopologyError(f"{where} does not exist.")
        _check_derate(where, derate)
        graph = self.graph.copy()  # not frozen, with attribute dictionaries of its own
        graph.edges[a, b]["derate"] = derate
        return replace(self, graph=graph)


def check_count(where: str, name: str, value: object, *, least: int = 1) -> None:
    """Raise `TopologyError` unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TopologyError(f"{where}: {name} is {value!r}; a whole number, at least {least}.")


def nearest(word: object, legal: Iterable[str]) -> str:
    """' Did you mean ...?' for a mistyped word, or nothing."""
    close = difflib.get_close_matches(str(word), list(legal), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _check_derate(where: str, derate: object) -> None:
    if (
        isinstance(derate, bool)
        or not isinstance(derate, int | float)
        or not (math.isfinite(derate) and 0 < derate <= 1)
    ):
        raise TopologyError(
            f"{where}: derate is {derate!r}; above 0 and at most 1. Leave a dead link out of the graph."
        )
