"""A server: how many chips share a box, what joins them, and what the rest of the box draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean
from hwmodels.facts import STATUSES, Fact, FactReader, FrozenMapping, Source

#: How the chips of a server are joined. "fully_connected": a group of any size has the chip's whole rate, through
#: switches or not; "nvswitch": the same, through switch chips that the file counts; "mesh": pair by pair, a group has
#: the links between its members; "wafer": one chip whose cores are a mesh of their own; "none": one chip, or chips
#: that only meet through the host.
SCALE_UP: Final = ("fully_connected", "nvswitch", "hybrid_cube_mesh", "mesh", "pcie_tree", "torus", "wafer", "none")
#: Shapes without a link between chips.
ALONE: Final = ("wafer", "none")
#: Shapes that may have switch chips.
SWITCHED: Final = ("fully_connected", "nvswitch")


class ServerError(ValueError):
    """A server that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Wafer:
    """The mesh of cores of a wafer, in reticles: the fields that were exposed one by one and then joined.

    `link` is the kind of link between neighbouring cores. Counts are those of the whole wafer.
    """

    core_rows: int
    core_columns: int
    reticle_rows: int
    reticle_columns: int
    link: str

    def __post_init__(self) -> None:
        for side in ("rows", "columns"):
            cores, reticles = getattr(self, f"core_{side}"), getattr(self, f"reticle_{side}")
            if not 1 <= reticles <= cores:
                raise ServerError(f"Wafer: reticle_{side} is {reticles!r}; from 1 to core_{side} = {cores!r}.")


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
        For a hybrid cube mesh: (chip a, chip b, parallel links), each pair once, a < b; every chip has all its links.
    mesh_links
        The same for a mesh, where a chip may leave links unused. "fully_connected" may have it too: it says how the
        wires run (a clique of MI300X), and the rate of a group stays the chip's whole rate.
    switches, switch_boards, trunk_links
        Switch chips between the chips, for "nvswitch" and, where the file says it, "fully_connected": in all, on how
        many boards (1 or 2, with half of the chips each), and the links between two switches of different boards. A
        chip's links are spread as evenly as they go over the switches of its board.
    torus_dims
        Chips along each dimension, for "torus" where the file says them; () otherwise.
    chips_per_switch, switches_per_root
        Of a PCIe tree; 0 where the file does not say.
    wafer
        Of a server that is one wafer.
    host_link, host_links_per_chip
        What joins a chip to its host processor; "" where the file does not say (the chip's own slot).
    sockets, socket_link
        Host processors, and what joins two of them.
    one_machine
        The server belongs to one named machine: a published run that names only its chip does not mean it.
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
    mesh_links: tuple[tuple[int, int, int], ...] = ()
    switches: int = 0
    switch_boards: int = 1
    trunk_links: int = 0
    torus_dims: tuple[int, ...] = ()
    chips_per_switch: int = 0
    switches_per_root: int = 0
    wafer: Wafer | None = None
    host_link: str = ""
    host_links_per_chip: int = 1
    sockets: int = 1
    socket_link: str = ""
    one_machine: bool = False
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
        if (self.scale_up in ALONE) != (self.scale_up_links_per_chip == 0):
            raise ServerError(
                f"Server {self.id!r}: scale_up 'none' goes with scale_up_links_per_chip = 0, only; so does 'wafer'."
            )
        self._check_pairs("cube_mesh_links", "hybrid_cube_mesh", every_link=True)
        self._check_pairs("mesh_links", "mesh", every_link=False, may=("fully_connected",))
        self._check_shape()
        self._check_host()

    def _check_pairs(self, name: str, shape: str, *, every_link: bool, may: tuple[str, ...] = ()) -> None:
        pairs: tuple[tuple[int, int, int], ...] = getattr(self, name)
        if bool(pairs) != (self.scale_up == shape) and self.scale_up not in may:
            raise ServerError(f"Server {self.id!r}: {name} goes with scale_up {shape!r}, only.")
        seen: set[tuple[int, int]] = set()
        degree = [0] * self.chips
        for a, b, links in pairs:
            if not (0 <= a < b < self.chips and links >= 1) or (a, b) in seen:
                raise ServerError(
                    f"Server {self.id!r}: {name} has {(a, b, links)}; each pair once, "
                    f"0 <= a < b < {self.chips}, at least 1 link."
                )
            seen.add((a, b))
            degree[a] += links
            degree[b] += links
        most = self.scale_up_links_per_chip
        if pairs and (max(degree) > most or min(degree) < (most if every_link else 1)):
            raise ServerError(
                f"Server {self.id!r}: {name} gives the chips {degree} links, but scale_up_links_per_chip is {most}."
            )

    def _check_shape(self) -> None:
        where = f"Server {self.id!r}"
        if self.scale_up == "nvswitch" and self.switches < 1:
            raise ServerError(f"{where}: switches is {self.switches}; at least 1 with scale_up 'nvswitch'.")
        if self.scale_up in SWITCHED and self.switches:
            self._check_switches()
        if self.torus_dims and (self.scale_up != "torus" or math.prod(self.torus_dims) != self.chips):
            raise ServerError(
                f"{where}: torus_dims is {list(self.torus_dims)}; goes with scale_up 'torus', "
                f"and multiplies to chips = {self.chips}."
            )
        tree = (self.chips_per_switch, self.switches_per_root)
        if (min(tree) < 1) != (tree == (0, 0)) or (any(tree) and self.scale_up != "pcie_tree"):
            raise ServerError(
                f"{where}: chips_per_switch and switches_per_root are {tree[0]} and {tree[1]}; both at least 1, with "
                "scale_up 'pcie_tree', only."
            )
        if (self.wafer is not None) != (self.scale_up == "wafer") or (self.wafer and self.chips != 1):
            raise ServerError(f"{where}: a wafer table goes with scale_up 'wafer' and chips = 1, only.")

    def _check_switches(self) -> None:
        where, boards, trunk = f"Server {self.id!r}", self.switch_boards, self.trunk_links
        if (boards, trunk) != (1, 0) and not (boards == 2 and trunk > 0 and self.chips % 2 == 0):
            raise ServerError(
                f"{where}: switch_boards is {boards} and trunk_links is {trunk}; 1 and 0, or 2 and at least 1 with an "
                "even number of chips."
            )
        if self.switches % boards or self.switches > boards * self.scale_up_links_per_chip:
            raise ServerError(
                f"{where}: {self.switches} switches on {boards} boards cannot each have one of the "
                f"{self.scale_up_links_per_chip} links of a chip."
            )

    def _check_host(self) -> None:
        for name in ("host_links_per_chip", "sockets"):
            if getattr(self, name) < 1:
                raise ServerError(f"Server {self.id!r}: {name} is {getattr(self, name)!r}; at least 1.")
        if self.socket_link and self.sockets < 2:
            raise ServerError(f"Server {self.id!r}: socket_link is {self.socket_link!r}, but there is 1 socket.")

    @property
    def pairs(self) -> tuple[tuple[int, int, int], ...]:
        """The links of a server that is wired pair by pair; () otherwise."""
        return self.cube_mesh_links or self.mesh_links


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
        "host_link": take.text("host", "link", default=""),
        "socket_link": take.text("host", "socket_link", default=""),
        "one_machine": _read_flag(take, "one_machine"),
    }
    counts: dict[str, Any] = {
        "chips": take.count("chips"),
        "scale_up_links_per_chip": take.count("scale_up", "links_per_chip"),
        "nics": take.count("scale_out", "nics"),
        "host_cores": take.count("host", "cores"),
        "switches": take.count("scale_up", "switches", default=0),
        "switch_boards": take.count("scale_up", "switch_boards", default=1),
        "trunk_links": take.count("scale_up", "trunk_links", default=0),
        "chips_per_switch": take.count("scale_up", "chips_per_switch", default=0),
        "switches_per_root": take.count("scale_up", "switches_per_root", default=0),
        "host_links_per_chip": take.count("host", "links_per_chip", default=1),
        "sockets": take.count("host", "sockets", default=1),
    }
    power = take.fact("host", "power", dimension="w")
    shape: dict[str, Any] = {
        "cube_mesh_links": _read_pairs(take, "cube_mesh"),
        "mesh_links": _read_pairs(take, "mesh"),
        "torus_dims": _read_dims(take),
    }
    wafer = _read_wafer(take)
    if counts["switches"] and values["scale_up"] not in SWITCHED:
        take.problem(("scale_up", "switches"), f"goes with shape {' or '.join(SWITCHED)}, only.")
    take.finish()
    try:
        return Server(
            **values, **counts, **shape, wafer=Wafer(**wafer) if wafer else None, host_power_w=power, facts=take.facts,
            sources=take.sources,
        )  # fmt: skip
    except ServerError as error:
        raise DataFileError(f"{file.name}: {error}") from None


def _read_flag(take: FactReader, key: str) -> bool:
    value = take.raw(key)
    if value not in (None, True, False):
        take.problem((key,), f"is {value!r}; true or false.")
    return value is True


def _read_pairs(take: FactReader, name: str) -> tuple[tuple[int, int, int], ...]:
    key = ("scale_up", name)
    if take.raw(*key) is None:
        return ()
    links: Any = take.raw(*key, "links")
    well_formed = isinstance(links, list) and all(
        isinstance(row, list) and len(row) == 3 and all(type(n) is int for n in row) for row in links
    )
    if not well_formed:
        take.problem((*key, "links"), "a list of [chip, chip, links] is needed.")
        return ()
    take.use_source(key, take.text(*key, "source"), take.text(*key, "locator"), float(len(links)))
    return tuple((a, b, n) for a, b, n in links)


def _read_dims(take: FactReader) -> tuple[int, ...]:
    key = ("scale_up", "torus")
    if take.raw(*key) is None:
        return ()
    dims: Any = take.raw(*key, "dims")
    if not isinstance(dims, list) or not dims or not all(type(n) is int and n >= 1 for n in dims):
        take.problem((*key, "dims"), "a list of whole numbers, at least 1 each, is needed.")
        return ()
    take.use_source(key, take.text(*key, "source"), take.text(*key, "locator"), float(math.prod(dims)))
    return tuple(dims)


def _read_wafer(take: FactReader) -> dict[str, Any]:
    key = ("scale_up", "wafer")
    if take.raw(*key) is None:
        return {}
    sides = ("core_rows", "core_columns", "reticle_rows", "reticle_columns")
    return {"link": take.text(*key, "link")} | {side: take.count(*key, side) for side in sides}
