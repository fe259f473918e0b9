"""The network of a system in words: a shape, its parameters, and the kind of link that each tier of it is.

``[network]`` of a system file, or one word where a shape needs nothing more. What the words build stands in
`simulator.cluster_topology`; here is what is legal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

from hwmodels.datafile import TomlFile, did_you_mean
from hwmodels.facts import FrozenMapping

Value: TypeAlias = int | float | bool | str | tuple[int, ...]


class NetworkError(ValueError):
    """A network that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One parameter of a shape: what it may be, and what it is where a file is silent (None: it must be given)."""

    kind: Literal["count", "counts", "ratio", "flag", "word", "file"]
    default: Value | None
    least: int = 1
    legal: tuple[str, ...] = ()

    def problem(self, value: object) -> str:
        """Why a value is not legal, "" if it is."""
        if self.kind == "count":
            good = type(value) is int and value >= self.least
            return "" if good else f"is {value!r}; a whole number, at least {self.least}."
        if self.kind == "counts":
            good = isinstance(value, list | tuple) and bool(value) and all(type(n) is int and n >= 1 for n in value)
            return "" if good else f"is {value!r}; a list of whole numbers, at least 1 each."
        if self.kind == "ratio":
            good = isinstance(value, int | float) and not isinstance(value, bool) and value >= self.least
            return "" if good else f"is {value!r}; a number, at least {self.least}."
        if self.kind == "flag":
            return "" if isinstance(value, bool) else f"is {value!r}; true or false."
        if self.kind == "file":
            good = isinstance(value, str) and bool(value.strip())
            return "" if good else f"is {value!r}; the name of a file."
        near = did_you_mean(str(value), self.legal)
        return "" if value in self.legal else f"is {value!r}; one of {', '.join(self.legal)}.{near}"


def _count(default: int | None = None, *, least: int = 1) -> Parameter:
    return Parameter(kind="count", default=default, least=least)


def _counts(default: tuple[int, ...] | None = None) -> Parameter:
    return Parameter(kind="counts", default=default)


def _ratio(default: float = 1.0) -> Parameter:
    return Parameter(kind="ratio", default=default)


TPU_GENERATIONS: Final = ("v2", "v3", "v4", "v5e", "v5p", "v6e", "v7")

#: Every legal shape and its parameters; 0 and () are "the builder decides".
SHAPES: Final[Mapping[str, Mapping[str, Parameter]]] = {
    "single_server": {},
    # Ports of a switch, levels of switches, downlinks over uplinks of a leaf.
    "fat_tree": {"radix": _count(0, least=0), "levels": _count(0, least=0), "oversubscription": _ratio()},
    # From below: vertices under one group of switches, switches (or server rails) above a vertex, links to each.
    "clos": {"children": _counts(), "parents": _counts(()), "links": _counts(())},
    "rail": {
        "servers_per_unit": _count(32), "radix": _count(0, least=0), "units_per_pod": _count(0, least=0),
        "spines": Parameter(kind="word", default="rail", legal=("rail", "shared")), "oversubscription": _ratio(),
    },
    # The taper of a rack, and of a pod.
    "cloud": {
        "servers_per_rack": _count(16), "racks_per_pod": _count(16), "oversubscription": _ratio(),
        "oversubscription_pod": _ratio(),
    },
    # Chips of a torus that leaves the servers; (): the most even one that holds them. A TPU's generation decides which
    # axes wrap around.
    "torus": {
        "dims": _counts(()), "generation": Parameter(kind="word", default="", legal=TPU_GENERATIONS),
        "wrap": Parameter(kind="flag", default=True),
    },
    "mesh": {"dims": _counts()},
    # Servers on routers that are a torus (Cray XK7).
    "gemini": {"dims": _counts(), "nodes_per_router": _count(2)},
    "dragonfly": {
        "groups": _count(), "routers_per_group": _count(), "endpoints_per_router": _count(), "global_links": _count(),
    },
    "aries": {"groups": _count(), "links_per_pair": _count(4)},
    "slingshot": {
        "groups": _count(), "switches_per_group": _count(32), "endpoints_per_switch": _count(16),
        "links_per_pair": _count(0, least=0),
    },
    "dragonfly_plus": {
        "groups": _count(), "leaves": _count(), "spines": _count(), "endpoints_per_leaf": _count(),
        "links_per_pair": _count(), "leaf_links": _count(1), "radix": _count(0, least=0),
    },
    "hypercube": {},
    "small_world": {
        "neighbours": _count(4, least=2), "rewired": Parameter(kind="ratio", default=0.0, least=0),
        "seed": _count(0, least=0),
    },
    "swarmx": {"fan_out": _count(4, least=2)},
    # Machines of one pod; `loop`: the ladder of links closes on itself.
    "ipu_pod": {"machines": _count(), "loop": Parameter(kind="flag", default=True)},
    # A graph of the user's own (GraphML, or a TOML list of links); its end points are servers, in order. The file
    # stands beside that of the system unless its path is absolute.
    "graph": {"file": Parameter(kind="file", default=None)},
}  # fmt: skip

_OTHER_KEYS: Final = ("shape", "links", "source", "locator", "note")


@dataclass(frozen=True, kw_only=True)
class Network:
    """A shape of `SHAPES` with its parameters, and the link of each tier that is not the servers' card."""

    shape: str = "fat_tree"
    parameters: Mapping[str, Value] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("parameters", "links"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))
        if problems := network_problems(self.shape, self.parameters):
            key, text = problems[0]
            raise NetworkError(f"network {self.shape!r}: {key}: {text}")

    def __getitem__(self, name: str) -> Any:
        """A parameter: the file's, else the shape's default."""
        default = SHAPES[self.shape][name].default
        return self.parameters.get(name, default)


def network_problems(shape: object, parameters: Mapping[str, object]) -> list[tuple[str, str]]:
    """(key, what is wrong with it) for everything that is wrong."""
    if not isinstance(shape, str) or shape not in SHAPES:
        return [("shape", f"{shape!r}; legal: {', '.join(SHAPES)}.{did_you_mean(str(shape), SHAPES)}")]
    known = SHAPES[shape]
    problems = []
    for key, value in parameters.items():
        if key not in known:
            legal = f"legal for {shape}: {', '.join(known)}" if known else f"{shape} has no parameters"
            problems.append((key, f"unknown key; {legal}.{did_you_mean(key, known)}"))
        elif text := known[key].problem(value):
            problems.append((key, text))
    needed = [key for key, parameter in known.items() if parameter.default is None and key not in parameters]
    return problems + [(key, f"is missing; {shape} needs it.") for key in needed]


def read_network(file: TomlFile, links: tuple[str, ...], folder: str = "") -> tuple[Network, list[str]]:
    """The network of a system file and every problem of it; a file that says nothing means a fat tree.

    ``links`` are the links of the catalogue, ``folder`` is where the system file stands.
    """
    table = file.data.get("network", "fat_tree")
    if not isinstance(table, Mapping):
        if table in SHAPES and not network_problems(table, {}):
            return Network(shape=table), []
        needs = network_problems(table, {})
        text = needs[0][1] if table not in SHAPES else (
            f"{table!r} needs parameters ({', '.join(key for key, _ in needs)}); write a table [network]."
        )  # fmt: skip
        return Network(), [file.problem(("network",), text)]
    parameters = {key: value for key, value in table.items() if key not in _OTHER_KEYS}
    problems = [file.problem(("network", key), text) for key, text in network_problems(table.get("shape"), parameters)]
    bound = table.get("links", {})
    if not isinstance(bound, Mapping):
        problems.append(file.problem(("network", "links"), f"is {bound!r}; a table of tier = link."))
        bound = {}
    for tier, name in bound.items():
        if name not in links:
            near = did_you_mean(str(name), links)
            problems.append(file.problem(("network", "links", tier), f"no link {name!r} in the catalogue.{near}"))
    if table.get("shape") == "graph" and not problems:
        path = Path(folder) / parameters["file"]
        parameters["file"] = str(path)
        if not path.is_file():
            problems.append(file.problem(("network", "file"), f"there is no file {str(path)!r}."))
    if problems:
        return Network(), problems
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in parameters.items()}
    return Network(shape=str(table["shape"]), parameters=values, links=dict(bound)), []
