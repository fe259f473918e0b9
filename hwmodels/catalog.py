"""The catalogue: every chip, link, server and price that ships or that the user adds (`datafile.use_catalog`), by name.

Files are read on first use and kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeVar

from hwmodels.chip import Chip, read_chip
from hwmodels.datafile import DataFileError, TomlFile, data_files, read_toml, unknown_name
from hwmodels.link import Link, read_link
from hwmodels.price import Price, read_prices
from hwmodels.server import Server, read_server

DATA: Final = Path(__file__).parent / "data"
_MOST_SHOWN: Final = 12

T = TypeVar("T", Chip, Link, Server)


class CatalogError(LookupError):
    """A name that the catalogue does not hold, or holds more than once."""


def chip_ids() -> tuple[str, ...]:
    """Every chip of the catalogue, in alphabetical order."""
    return _ids("chips")


def link_ids() -> tuple[str, ...]:
    """Every kind of link of the catalogue, in alphabetical order."""
    return _ids("links")


def server_ids() -> tuple[str, ...]:
    """Every server of the catalogue, in alphabetical order."""
    return _ids("servers")


def chip(name: str) -> Chip:
    """The chip called `name`: its id, or the start of exactly one id ("gh200" while there is one GH200).

    Raises
    ------
    CatalogError
        If no chip is called so (with the nearest name), or several are (naming them all).
    """
    if name in chip_ids():
        return _chip(name)
    starting = [match.id for match in match_chips(name)]
    if len(starting) > 1:
        raise CatalogError(f"chip {name!r} can be {_either(starting)}; name the variant.")
    if not starting:
        raise CatalogError(unknown_name("chip", name, chip_ids()))
    return _chip(starting[0])


def match_chips(prefix: str) -> tuple[Chip, ...]:
    """Every chip whose id is `prefix` or goes on after it with a hyphen: "v100" has two, "v1" none, "" all."""
    stem = prefix.lower()
    return tuple(_chip(id) for id in chip_ids() if not stem or id == stem or id.startswith(f"{stem}-"))


def link(id: str) -> Link:
    """The link called `id`; `CatalogError` with the nearest name if there is none."""
    if id not in link_ids():
        raise CatalogError(unknown_name("link", id, link_ids()))
    return _link(id)


def server(id: str) -> Server:
    """The server called `id`; `CatalogError` with the nearest name if there is none."""
    if id not in server_ids():
        raise CatalogError(unknown_name("server", id, server_ids()))
    return _server(id)


def prices(chip_id: str) -> tuple[Price, ...]:
    """Every price of a chip or server, oldest first; empty if none is known.

    Raises
    ------
    CatalogError
        If `chip_id` is neither a chip nor a server.
    """
    if chip_id not in chip_ids() + server_ids():
        raise CatalogError(unknown_name("chip or server", chip_id, chip_ids() + server_ids()))
    return tuple(sorted((price for price in _prices() if price.item == chip_id), key=lambda price: price.date))


def resolve_chip(spelling: str, *, memory_gb: float | None = None, link: str = "") -> tuple[str, ...]:
    """Which chips of the catalogue a spelling in a published table may mean.

    A spelling is known if a chip lists it in `measured_as`; case, spaces and punctuation do not count. Several
    variants may list the same bare name ("A100"); `memory_gb`, the printed capacity, leaves those that have it, and
    those that list the name with that capacity behind it ("B200-192GB": some tables count what cannot be used too).
    `link`, the printed name of the link between chips, decides the form of a bare name: on PCIe it is the card,
    on NVLink it is the module, on NVSwitch a module later than SXM2.

    Returns
    -------
    Ids, in catalogue order; empty if nothing matches. A chip that is only similar never matches.
    """
    word = _normal(spelling)
    if not word:
        return ()
    found = _listing(tuple(_files("chips").values())).get(word, [])
    if memory_gb is not None:
        printed_as = _normal(f"{spelling} {memory_gb:g} GB")
        found = [id for id in found if _holds(_chip(id), memory_gb) or printed_as in _spellings(id)]
    if "sxm" not in word and "pcie" not in word:
        printed = _normal(link)
        if printed.startswith("pcie"):
            found = [id for id in found if "sxm" not in id]
        elif "nvlink" in printed:
            found = [id for id in found if "pcie" not in id]
        if "nvswitch" in printed:  # boards of SXM2 modules have no switches
            found = [id for id in found if "sxm2" not in id]
    return tuple(found)


def _holds(chip: Chip, memory_gb: float) -> bool:
    # The capacity of a chip is binary (80 GiB); tables print its number of GiB as "80" [GB]. Where the package holds no
    # memory chips, no table names a variant by its memory: what it prints is some other memory.
    return chip.kind in ("sram", "wafer") or abs(chip.memory_byte / 2**30 - memory_gb) < 0.5


def _normal(spelling: str) -> str:
    word = re.sub(r"[^a-z0-9]", "", spelling.lower())
    return re.sub(r"^(nvidia|google)?(tesla|cloud|geforce)?", "", word)


def _spellings(id: str) -> frozenset[str]:
    return _spellings_of(_chip(id))


@cache
def _spellings_of(chip: Chip) -> frozenset[str]:
    return frozenset(_normal(spelling) for spelling in (chip.id, *chip.measured_as))


@cache
def _listing(paths: tuple[str, ...]) -> Mapping[str, list[str]]:
    """Normal spelling -> ids of the chips that list it, in catalogue order."""
    found: dict[str, list[str]] = {}
    for chip in (_chip_at(path) for path in paths):
        for word in _spellings_of(chip):
            found.setdefault(word, []).append(chip.id)
    return found


def _either(names: list[str]) -> str:
    quoted = [repr(name) for name in names]
    if len(quoted) > _MOST_SHOWN:
        return f"{', '.join(quoted[:_MOST_SHOWN])} or another of {len(quoted)}"
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}"


# Reading ---------------------------------------------------------------------------------------------------------


def _files(kind: str) -> Mapping[str, str]:
    return data_files(kind, _folder(kind))


@cache
def _folder(kind: str) -> str:
    return str(DATA / kind)


def _ids(kind: str) -> tuple[str, ...]:
    return tuple(_files(kind))


def _read(kind: str, path: str, parse: Callable[[TomlFile], T]) -> T:
    id = os.path.basename(path).removesuffix(".toml")
    name = f"{kind}/{id}.toml" if path.startswith(str(DATA)) else path
    item = parse(read_toml(path, name=name))
    if item.id != id:
        raise DataFileError(f"{name}: id is {item.id!r}; it must be the file's name.")
    return item


def _chip(id: str) -> Chip:
    return _chip_at(_files("chips")[id])


def _link(id: str) -> Link:
    return _link_at(_files("links")[id])


def _server(id: str) -> Server:
    return _server_at(_files("servers")[id])


@cache
def _chip_at(path: str) -> Chip:
    return _read("chips", path, read_chip)


@cache
def _link_at(path: str) -> Link:
    return _read("links", path, read_link)


@cache
def _server_at(path: str) -> Server:
    return _read("servers", path, read_server)


@cache
def _prices() -> tuple[Price, ...]:
    return read_prices((DATA / "prices.csv").read_text(encoding="utf-8").splitlines(), name="prices.csv")
