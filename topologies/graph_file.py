"""A topology of the user's own: an edge list in TOML, or GraphML as drawing tools write it.

TOML::

    name = "two boxes"                       # optional
    endpoints = ["a", "b"]                   # optional: by default every chip, in the order of the file

    [[vertex]]                               # optional: without any, every end of a link is a chip
    name = "sw"
    kind = "switch"                          # chip (the default), switch, host or nic

    [[link]]
    a = "a"
    b = "sw"
    tier = "scale_up"
    count = 2                                # parallel links; default 1
    derate = 0.5                             # share of the nominal rate it still carries; default 1

GraphML: an undirected graph whose nodes have `kind` and whose edges have `tier` and, if they want, `count` and
`derate`; a vertex is known by its id. Other data (places, colours) is left alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final
from xml.etree.ElementTree import ParseError

import networkx as nx

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean, read_text, read_toml
from topologies.graph_checks import Draft, Where
from topologies.topology import Topology

_TOP: Final = ("name", "endpoints", "vertex", "link")
_VERTEX: Final = ("name", "kind")
_LINK: Final = ("a", "b", "tier", "count", "derate")
_ENDS: Final = ("a", "b")
_OPTIONAL: Final = ("tier", "count", "derate")


def read_graph(path: str | Path) -> Topology:
    """The topology in a file that ends in ``.toml`` or ``.graphml``.

    Raises
    ------
    DataFileError
        With every problem of the file, one line each: unknown keys and kinds, links without a tier, of a vertex to
        itself or given twice, ends that are no vertex, no end points, parts that nothing joins, and files that are too
        large or are no such file at all.
    """
    suffix = Path(path).suffix.lower()
    if suffix == ".toml":
        return _from_toml(read_toml(path))
    if suffix == ".graphml":
        return _from_graphml(path)
    raise DataFileError(f"{path}: ends in {suffix or 'no suffix'!r}; a graph is a .toml or a .graphml file.")


# --- TOML -------------------------------------------------------------------------------------------------------


def _from_toml(file: TomlFile) -> Topology:
    draft = Draft(file.name)
    _check_keys(draft, file, (), file.data, _TOP)
    vertices, links = _tables(draft, file, "vertex"), _tables(draft, file, "link")
    for path, table in vertices:
        _check_keys(draft, file, path, table, _VERTEX)
        where = _in_toml(file, path)
        if "name" not in table:
            draft.problem(f"{where('')}has no name.")
        else:
            draft.vertex(where, table["name"], table.get("kind", "chip"))
    for path, table in links:
        _check_keys(draft, file, path, table, _LINK)
        where = _in_toml(file, path)
        if missing := [end for end in _ENDS if end not in table]:
            draft.problem(f"{where('')}has no {' and no '.join(missing)}; a and b are the vertices it joins.")
            continue
        ends = {key: table[key] for key in _ENDS}
        if not vertices:
            draft.ends_are_chips(ends)
        draft.link(where, ends, {key: table[key] for key in _OPTIONAL if key in table})
    name = file.data.get("name", Path(file.name).stem)
    if not isinstance(name, str) or not name:
        draft.problem(file.problem(("name",), f"is {name!r}; a word or two, in quotes."))
    return draft.topology(str(name), _endpoints(draft, file))


def _in_toml(file: TomlFile, path: Sequence[str | int]) -> Where:
    return lambda key: file.problem((*path, key) if key else path, "")


def _tables(draft: Draft, file: TomlFile, word: str) -> list[tuple[tuple[str, int], Mapping[str, Any]]]:
    found = file.data.get(word, [])
    if not isinstance(found, list) or not all(isinstance(table, dict) for table in found):
        draft.problem(file.problem((word,), f"is not a list of tables; write [[{word}]] before each."))
        return []
    return [((word, i), table) for i, table in enumerate(found)]


def _check_keys(
    draft: Draft, file: TomlFile, path: Sequence[str | int], table: Mapping[str, Any], known: Sequence[str]
) -> None:
    for word in table:
        if word not in known:
            text = f"is not known here.{did_you_mean(word, known)} Known: {', '.join(known)}."
            draft.problem(file.problem((*path, word), text))


def _endpoints(draft: Draft, file: TomlFile) -> tuple[Hashable, ...] | None:
    found = file.data.get("endpoints")
    where = _in_toml(file, ("endpoints",))
    if found is not None and not isinstance(found, list):
        draft.problem(f"{where('')}is {found!r}; a list of vertices.")
        return None
    return None if found is None else draft.endpoints(where, found)


# --- GraphML ----------------------------------------------------------------------------------------------------


def _from_graphml(path: str | Path) -> Topology:
    name = str(path)
    graph = _parse(_text(name), name)
    draft = Draft(name)
    if graph.is_directed():
        draft.problem(f"{name}: is a directed graph, and links carry both ways; write edgedefault='undirected'.")
        graph = graph.to_undirected()
    for vertex, data in graph.nodes(data=True):
        where = _in_graphml(f"{name}: node {vertex!r}")
        _check_near(draft, where, data, ("kind",))
        draft.vertex(where, vertex, data.get("kind"))
    for a, b, data in graph.edges(data=True):
        where = _in_graphml(f"{name}: edge {a!r} - {b!r}")
        _check_near(draft, where, data, _OPTIONAL)
        draft.link(where, {"source": a, "target": b}, {key: _whole(key, data[key]) for key in _OPTIONAL if key in data})
    return draft.topology(Path(name).stem, None)


def _in_graphml(place: str) -> Where:
    return lambda key: f"{place}: {key} " if key else f"{place}: "


def _check_near(draft: Draft, where: Where, data: Mapping[str, Any], known: Sequence[str]) -> None:
    """Drawing tools add data of their own, which is none of ours; a word that is nearly ours is a slip."""
    for word in data:
        if word not in known and (hint := did_you_mean(str(word), [w for w in known if w not in data])):
            draft.problem(f"{where(word)}is not known.{hint}")


def _whole(key: str, value: Any) -> Any:
    """Drawing tools write every number as a double: a count of 2.0 is 2."""
    return int(value) if key == "count" and isinstance(value, float) and value.is_integer() else value


def _text(name: str) -> str:
    text = read_text(name, name=name, too_large="write a builder for a graph of that size", directory="")
    # Entities can make a small file huge or name other files. Text of two bytes a letter is UTF-8 too, full of NULs;
    # the parser would recognise it and find in it what is looked for here in vain.
    if "\0" in text:
        raise DataFileError(f"{name}: not UTF-8 text (byte 0x00).")
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataFileError(f"{name}: has a DOCTYPE or an ENTITY; a graph needs neither, take it out.")
    return text


def _parse(text: str, name: str) -> nx.Graph:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # values of no known type come as text, which is refused where it matters
            return nx.parse_graphml(text)
    except ParseError as error:
        line, column = error.position
        reason = str(error).partition(":")[0]
        raise DataFileError(f"{name}:{line}: not XML: {reason} (column {column + 1}).") from None
    except (nx.NetworkXException, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        reason = str(error).strip("'") or type(error).__name__
        raise DataFileError(f"{name}: not GraphML that can be read: {reason}.") from None
