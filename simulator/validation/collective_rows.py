"""Rows of a table of measured collectives: on which wires each ran, driven by what, and which cannot be priced."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import chip_ids, resolve_chip
from hwmodels.datafile import did_you_mean
from simulator.collectives.exchange import Wires
from simulator.collectives.switch_rules import reduces_in_network
from simulator.group_wires import generation_word

from .collective_domain import Inside
from .collective_inside import inside_of
from .collective_outside import Network, network_of
from .collective_software import (
    CollectiveRowError,
    algorithm_of,
    collective_word,
    library_of,
    switches_reduce,
)

Row = Mapping[str, str]

#: Every column a prediction may look at.
COLUMNS: Final = (
    "collective", "system", "chip", "nodes", "ranks_per_node", "ranks", "concurrent_groups", "intra_fabric",
    "inter_fabric", "library", "algorithm", "dtype", "size_bytes",
)  # fmt: skip
_MOST_RANKS: Final = 10_000_000
_MOST_BYTE: Final = 1e15
#: Sizes from here on are large; below, the time per call decides.
LARGE_BYTE: Final = 1 << 20
#: How a row counts in the record: large ones inside one domain or across several, and small ones.
CLASSES: Final = {
    "inside": ">= 1 MiB, one server", "across": ">= 1 MiB, multi-node", "small": "< 1 MiB",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CollectiveJob:
    """A row that can be priced: its wires, collective, forced algorithm ("": the library chooses) and full tensor.

    ``group`` is (system, ranks, collective) as the table spells them: the finest set that errors are averaged over.
    """

    wires: Wires
    collective: str
    algorithm: str
    message_byte: float
    system: str
    group: tuple[str, str, str]
    assumed: tuple[str, ...] = ()

    @property
    def fabric(self) -> str:
        """The pair of words a rate belongs to: the wires inside a domain, and those between domains."""
        return f"{self.wires.fabric}|{self.wires.out_link}"

    @property
    def size_class(self) -> str:
        """One of `CLASSES`."""
        if self.message_byte < LARGE_BYTE:
            return "small"
        return "across" if self.wires.domain_ranks < self.wires.ranks else "inside"


def resolve_collective(row: Row) -> CollectiveJob:
    """The job of a row, from `COLUMNS` alone.

    Raises
    ------
    CollectiveRowError
        With the reason it cannot be priced.
    """
    collective = collective_word(row.get("collective", ""))
    spelling = row.get("chip", "")
    candidates = resolve_chip(spelling)
    if not candidates:
        near = did_you_mean(spelling.lower().replace(" ", "-"), chip_ids())
        raise CollectiveRowError(f"chip {spelling!r} is not in the catalogue.{near}")
    size = _size(row)
    ranks, per_node = _ranks(row)
    system = row.get("system", "")
    chip, inside = inside_of(row.get("intra_fabric", ""), system, candidates, per_node or 0)
    assumed = list(inside.assumed)
    if len(candidates) > 1:
        assumed.insert(0, f"chip {chip} of {', '.join(candidates)}")
    library, note = library_of(row.get("library", ""), chip_by_id(chip).vendor)
    algorithm, forced = algorithm_of(row.get("algorithm", ""))
    assumed += [text for text in (note, forced) if text]
    members, hosts = _domain(ranks, per_node, inside)
    network: Network | None = None
    if members < ranks:
        network = network_of(row.get("inter_fabric", ""), system, inside.server, inside.host_chips)
        if network.assumed:
            assumed.append(network.assumed)
    wires = _wires(
        ranks=ranks, members=members, hosts=hosts, inside=inside, network=network, library=library,
        library_text=row.get("library", ""), groups=_count(row, "concurrent_groups") or 1,
    )  # fmt: skip
    return CollectiveJob(
        wires=wires, collective=collective, algorithm=algorithm, message_byte=size, system=system,
        group=(system, row.get("ranks", ""), row.get("collective", "")), assumed=tuple(assumed),
    )  # fmt: skip


def _size(row: Row) -> float:
    text = row.get("size_bytes", "")
    try:
        size = float(text)
    except ValueError:
        size = math.nan
    if not 1.0 <= size <= _MOST_BYTE:
        raise CollectiveRowError(f"size_bytes is {text!r}; a number of bytes from 1 to {_MOST_BYTE:.0e}.")
    return size


def _count(row: Row, column: str) -> int | None:
    """A whole number from 1, None where the column is blank."""
    text = row.get(column, "").strip()
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (1 <= value <= _MOST_RANKS and value == int(value)):
        raise CollectiveRowError(f"{column} is {text!r}; a whole number from 1 to {_MOST_RANKS:,}.")
    return int(value)


def _ranks(row: Row) -> tuple[int, int | None]:
    """Ranks of a group, and of each server where the row says so."""
    nodes, per_node, ranks = (_count(row, column) for column in ("nodes", "ranks_per_node", "ranks"))
    if ranks is None and nodes and per_node:
        ranks = nodes * per_node
    if ranks is None:
        raise CollectiveRowError("ranks is blank, and nodes and ranks_per_node do not give it.")
    if ranks < 2:
        raise CollectiveRowError(f"ranks is {ranks}; a collective needs at least 2.")
    if per_node is None and nodes:
        per_node = math.ceil(ranks / nodes)
    return ranks, min(per_node, ranks) if per_node else None


def _domain(ranks: int, per_node: int | None, inside: Inside) -> tuple[int, int]:
    """Members of the group in a domain, and hosts they are on; domains share a group evenly."""
    if inside.kind == "none":
        return 1, 1
    if inside.chips > inside.host_chips:
        domains = math.ceil(ranks / inside.chips)
        members = math.ceil(ranks / domains)
        return members, max(1, math.ceil(members / inside.host_chips))
    return min(ranks, per_node or inside.chips), 1


def _wires(
    *, ranks: int, members: int, hosts: int, inside: Inside, network: Network | None, library: str, library_text: str,
    groups: int,
) -> Wires:  # fmt: skip
    link, up, pair = inside.rates(members)
    chips = max(inside.chips, members)
    in_switch = switches_reduce(
        library=library, version_text=library_text, link=link, kind=inside.kind, chips=chips, members=members
    )
    if network is None:
        # Nothing leaves the domain; a rate that is never asked for.
        out_link, out = "", up * members
    else:
        out_link, out = (
            generation_word(network.family, network.card_byte_per_s),
            hosts * network.server_byte_per_s * _share(members, hosts, inside, network, groups),
        )
    return Wires(
        ranks=ranks, domain_ranks=members, host_ranks=inside.host_chips, up_kind=inside.kind, up_link=link,
        up_byte_per_s=up or out, pair_byte_per_s=pair or out, out_link=out_link, out_byte_per_s=out, library=library,
        in_switch=in_switch,
        in_network=reduces_in_network(out_link=out_link, in_switch=in_switch, domain_chips=chips),
        axes=max(inside.links // 2, 1) if inside.kind == "torus" else 1,
    )  # fmt: skip


def _share(members: int, hosts: int, inside: Inside, network: Network, groups: int) -> float:
    """Share of a server's cards that one group has: those of its chips, at least one; no more than its part where
    several groups run on the same servers."""
    each = math.ceil(members / hosts)
    own = min(1.0, max(each / inside.host_chips, 1.0 / network.cards))
    return min(own, 1.0 / min(groups, max(1, inside.host_chips // each)))
