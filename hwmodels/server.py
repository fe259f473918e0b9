"""A server: how many chips share a box, what joins them, and what the rest of the box draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean
from hwmodels.facts import STATUSES, Fact, FactReader, FrozenMapping, Source

#: How the chips of a server are joined. "none": one chip, or chips that only meet through the host.
SCALE_UP: Final = ("fully_connected", "hybrid_cube_mesh", "pcie_tree", "torus", "none")


class ServerError(ValueError):
    """A server that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """One server. Chips and links are named, not held: the catalogue or the caller looks them up.

    Parameters
    ----------
    scale_up_links_per_chip
        Links of kind `scale_up_link` that leave each chip.
    nics, nic_link
        Network cards of the server that training traffic uses, and the kind of link each card is.
    host_power_w
        Everything in the box but the chips, at full load [W].
    cube_mesh_links
        For a hybrid cube mesh: (chip a, chip b, parallel links), each pair once, a < b.
    """

    id: str
    name: str
    chip: str
    chips: int
    scale_up: str
    scale_up_link: str
    scale_up_links_per_chip: int
    nics: int
    nic_link: str
    host_cores: int
    host_power_w: float
    cube_mesh_links: tuple[tuple[int, int, int], ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False, repr=False)
    sources: Mapping[str, Source] = field(default_factory=dict, hash=False, repr=False)
    status: str = "provisional"

    def __post_init__(self) -> None:
        for name in ("facts", "sources"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))
        for name, legal in (("scale_up", SCALE_UP), ("status", STATUSES)):
            value = getattr(self, name)
            if value not in legal:
                near = did_you_mean(str(value), legal)
                raise ServerError(f"Server {self.id!r}: {name} is {value!r}; one of {', '.join(legal)}.{near}")
        for name, least in (("chips", 1), ("scale_up_links_per_chip", 0), ("nics", 0), ("host_cores", 1)):
            if getattr(self, name) < least:
                raise ServerError(f"Server {self.id!r}: {name} is {getattr(self, name)!r}; at least {least}.")
        if not (math.isfinite(self.host_power_w) and self.host_power_w >= 0):
            raise ServerError(f"Server {self.id!r}: host_power_w is {self.host_power_w!r}; a finite number, 0 or more.")
        if (self.scale_up == "none") != (self.scale_up_links_per_chip == 0):
            raise ServerError(f"Server {self.id!r}: scale_up 'none' goes with scale_up_links_per_chip = 0, only.")
        self._check_cube_mesh()

    def _check_cube_mesh(self) -> None:
        if bool(self.cube_mesh_links) != (self.scale_up == "hybrid_cube_mesh"):
            raise ServerError(f"Server {self.id!r}: cube_mesh_links goes with scale_up 'hybrid_cube_mesh', only.")
        seen: set[tuple[int, int]] = set()
        degree = [0] * self.chips
        for a, b, links in self.cube_mesh_links:
            if not (0 <= a < b < self.chips and links >= 1) or (a, b) in seen:
                raise ServerError(
                    f"Server {self.id!r}: cube_mesh_links has {(a, b, links)}; each pair once, "
                    f"0 <= a < b < {self.chips}, at least 1 link."
                )
            seen.add((a, b))
            degree[a] += links
            degree[b] += links
        if self.cube_mesh_links and set(degree) != {self.scale_up_links_per_chip}:
            raise ServerError(
                f"Server {self.id!r}: cube_mesh_links gives the chips {degree} links, "
                f"but scale_up_links_per_chip is {self.scale_up_links_per_chip}."
            )


def read_server(file: TomlFile) -> Server:
    """The server described by a data file; every problem of the file in one `DataFileError`."""
    take = FactReader(file)
    if take.raw("schema") != 1:
        take.problem(("schema",), "must be 1.")
    values: dict[str, Any] = {
        "id": take.text("id"),
        "name": take.text("name"),
        "status": take.text("status", legal=STATUSES),
        "chip": take.text("chip"),
        "scale_up": take.text("scale_up", "shape", legal=SCALE_UP),
        "scale_up_link": take.text("scale_up", "link", default=""),
        "nic_link": take.text("scale_out", "link", default=""),
    }
    counts: dict[str, Any] = {
        "chips": take.count("chips"),
        "scale_up_links_per_chip": take.count("scale_up", "links_per_chip"),
        "nics": take.count("scale_out", "nics"),
        "host_cores": take.count("host", "cores"),
    }
    power = take.fact("host", "power", dimension="w")
    mesh = _read_cube_mesh(take)
    take.finish()
    try:
        return Server(
            **values, **counts, host_power_w=power, cube_mesh_links=mesh, facts=take.facts, sources=take.sources
        )
    except ServerError as error:
        raise DataFileError(f"{file.name}: {error}") from None


def _read_cube_mesh(take: FactReader) -> tuple[tuple[int, int, int], ...]:
    table = take.raw("scale_up", "cube_mesh")
    if table is None:
        return ()
    key = ("scale_up", "cube_mesh")
    links: Any = take.raw(*key, "links")
    well_formed = isinstance(links, list) and all(
        isinstance(row, list) and len(row) == 3 and all(type(n) is int for n in row) for row in links
    )
    if not well_formed:
        take.problem((*key, "links"), "a list of [chip, chip, links] is needed.")
        return ()
    take.use_source(key, take.text(*key, "source"), take.text(*key, "locator"), float(len(links)))
    return tuple((a, b, n) for a, b, n in links)
