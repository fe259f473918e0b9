"""A topology in the making, from a file of the user's: takes vertices and links, keeps every problem, then judges."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final

import networkx as nx

from hwmodels.datafile import DataFileError, did_you_mean
from topologies.topology import KINDS, Topology, TopologyError

MOST_VERTICES: Final = 100_000
#: Parallel links of one pair.
MOST_PARALLEL: Final = 1_000_000
#: Lines of an error; whoever has more problems than that has one problem many times.
MOST_PROBLEMS: Final = 50
#: Vertices up to which a name that is nearly right is looked for.
MOST_HINTS: Final = 2_000

#: Opens a problem with file, line and key: `where("count")` is "net.toml:12: link[3].count: ", `where("")` the whole.
Where = Callable[[str], str]


class Draft:
    """Collects vertices, links and problems; `topology` returns the one or raises the other."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._graph = nx.Graph()
        self._problems: list[str] = []
        self._first: dict[frozenset[Hashable], str] = {}
        self._ends_known = True

    def problem(self, text: str) -> None:
        self._problems.append(text)

    def vertex(self, where: Where, name: object, kind: object) -> None:
        if not self._is_name(where("name"), name):
            return
        if name in self._graph:
            self.problem(f"{where('name')}{name!r} is a vertex already; give each once.")
            return
        if kind not in KINDS:
            found = "is missing;" if kind is None else f"is {kind!r};"
            hint = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
            self.problem(f"{where('kind')}{found} one of {', '.join(KINDS)}.{hint}")
            kind = "chip"
        self._add(name, kind)

    def ends_are_chips(self, ends: Mapping[str, object]) -> None:
        """For files that list no vertices: what a link names is a chip."""
        for name in ends.values():
            if _is_name(name) and name not in self._graph:
                self._add(name, "chip")

    def link(self, where: Where, ends: Mapping[str, object], attributes: Mapping[str, Any]) -> None:
        self._check_attributes(where, attributes)
        unknown = [(key, end) for key, end in ends.items() if not self._is_vertex(end)]
        for key, end in unknown:
            self._ends_known = False
            if self._is_name(where(key), end):
                self.problem(f"{where(key)}{end!r} is no vertex.{self._hint(end)}")
        if unknown:
            return
        a, b = ends.values()
        if a == b:
            self.problem(f"{where('')}joins {a!r} to itself; a link needs two ends.")
            return
        pair = frozenset((a, b))
        if pair in self._first:
            text = f"joins {a!r} and {b!r} once more; give each pair once, with its count."
            self.problem(f"{where('')}{text} First: {self._first[pair]}.")
            return
        self._first[pair] = where("").rstrip(" :")
        self._graph.add_edge(a, b, **attributes)

    def endpoints(self, where: Where, names: Iterable[object]) -> tuple[Hashable, ...]:
        chosen: dict[Hashable, None] = {}
        for name in names:
            if not self._is_vertex(name):
                self.problem(f"{where('')}{name!r} is no vertex.{self._hint(name)}")
            elif self._graph.nodes[name]["kind"] == "switch":
                self.problem(f"{where('')}{name!r} is a switch; a switch only forwards.")
            elif name in chosen:
                self.problem(f"{where('')}{name!r} is listed twice.")
            elif isinstance(name, Hashable):
                chosen[name] = None
        return tuple(chosen)

    def topology(self, name: str, endpoints: Sequence[Hashable] | None) -> Topology:
        """The topology; by default its end points are the chips. Raises `DataFileError` with all problems."""
        if endpoints is None:
            endpoints = tuple(v for v, kind in self._graph.nodes(data="kind") if kind == "chip")
        if not len(self._graph):
            self.problem(f"{self._file}: there are no vertices and no links.")
        elif not endpoints and not self._problems:
            self.problem(f"{self._file}: no end points; at least one vertex that is a chip, or a list 'endpoints'.")
        if self._ends_known and len(self._graph) and not nx.is_connected(self._graph):
            parts = [f"{part!r}" for part in self._parts()]
            shown = ", ".join(parts[:6]) + (f", ... ({len(parts)} in all)" if len(parts) > 6 else "")
            self.problem(f"{self._file}: falls into parts that no link joins; one vertex of each: {shown}.")
        if self._problems:
            more = len(self._problems) - MOST_PROBLEMS
            last = [f"{self._file}: and {more} more problems."] if more > 0 else []
            raise DataFileError(*self._problems[:MOST_PROBLEMS], *last)
        try:
            return Topology(name=name, graph=self._graph, endpoints=tuple(endpoints))
        except TopologyError as error:  # what a topology refuses and this does not know of
            raise DataFileError(f"{self._file}: {error}") from None

    def _parts(self) -> list[Hashable]:
        """The first vertex, in the order of the file, of each part that hangs together."""
        seen: set[Hashable] = set()
        first = []
        for vertex in self._graph:
            if vertex not in seen:
                first.append(vertex)
                seen |= nx.node_connected_component(self._graph, vertex)
        return first

    def _add(self, name: object, kind: object) -> None:
        if len(self._graph) == MOST_VERTICES:
            raise DataFileError(*self._problems[:MOST_PROBLEMS], f"{self._file}: more than {MOST_VERTICES} vertices.")
        self._graph.add_node(name, kind=kind)

    def _is_name(self, where: str, name: object) -> bool:
        if not _is_name(name):
            self.problem(f"{where}is {name!r}; a vertex is called by a word in quotes or a whole number.")
        return _is_name(name)

    def _is_vertex(self, name: object) -> bool:
        return _is_name(name) and name in self._graph

    def _hint(self, name: object) -> str:
        if not isinstance(name, str) or len(self._graph) > MOST_HINTS or len(self._problems) >= MOST_PROBLEMS:
            return ""
        return did_you_mean(name, (vertex for vertex in self._graph if isinstance(vertex, str)))

    def _check_attributes(self, where: Where, attributes: Mapping[str, Any]) -> None:
        tier = attributes.get("tier")
        if tier is None:
            self.problem(f"{where('')}has no tier; a word such as 'scale_up' or 'scale_out', which a rate is bound to.")
        elif not isinstance(tier, str) or not tier:
            self.problem(f"{where('tier')}is {tier!r}; a word such as 'scale_up' or 'scale_out'.")
        count = attributes.get("count", 1)
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_PARALLEL:
            self.problem(f"{where('count')}is {count!r}; a whole number from 1 to {MOST_PARALLEL}.")
        derate = attributes.get("derate", 1.0)
        if isinstance(derate, bool) or not isinstance(derate, int | float) or not 0 < derate <= 1:
            self.problem(f"{where('derate')}is {derate!r}; above 0 and at most 1. Leave a dead link out.")


def _is_name(name: object) -> bool:
    return (isinstance(name, str) and name != "") or (isinstance(name, int) and not isinstance(name, bool))
