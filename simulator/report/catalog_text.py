"""The catalogue as text and as plain values: what ships, and every fact of one entry with where it was read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from hwmodels.datafile import unknown_name
from hwmodels.facts import Fact, Source
from hwmodels.link import Link
from hwmodels.server import Server

from ..errors import InputError
from .quantities import capacity, many, scaled, seconds
from .tables import fold, table

WIDTH: Final = 100
KINDS: Final = ("chips", "links", "servers", "systems", "models", "stacks")


class CatalogNameError(InputError):
    """A name that the catalogue does not hold."""


@dataclass(frozen=True, kw_only=True)
class Listing:
    """One kind of entry, all of them: a table to print, and the same as values."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    left: tuple[int, ...]
    values: tuple[Mapping[str, Any], ...]

    def text(self) -> str:
        """The table, ending in a newline."""
        return "\n".join(table(self.header, self.rows, left=self.left, width=WIDTH, indent="")) + "\n"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One entry: its plain fields, its facts, where they come from."""

    id: str
    name: str
    plain: Mapping[str, Any]
    facts: Mapping[str, Fact]
    sources: Mapping[str, Source]
    prices: tuple[str, ...] = ()

    def text(self) -> str:
        """Every field and every fact with its source, ending in a newline."""
        lines = [f"{self.id}: {self.name}"]
        for key, value in self.plain.items():
            if value not in ("", (), None):
                lines += _fold(f"{key} = {_word(value)}", indent=2)
        for key, fact in self.facts.items():
            lines += _fold(f"{key} = {fact.printed:g} {fact.unit if fact.unit != '1' else ''}".rstrip(), indent=2)
            note = f" ({fact.note})" if fact.note else ""
            lines += _fold(f"{fact.source}: {fact.locator}{note}", indent=6)
        if self.prices:
            lines.append("  prices")
            lines += [line for price in self.prices for line in _fold(price, indent=6)]
        if self.sources:
            lines.append("  sources")
            for source in self.sources.values():
                lines += _fold(f"{source.key} [{source.kind}]: {source.title}. {source.where}", indent=6)
        return "\n".join(lines) + "\n"

    def as_mapping(self) -> dict[str, Any]:
        """The same values, for JSON."""
        return {
            "id": self.id,
            "name": self.name,
            **{key: list(value) if isinstance(value, tuple) else value for key, value in self.plain.items()},
            "facts": {
                key: {
                    "value_si": fact.value, "printed": fact.printed, "unit": fact.unit, "source": fact.source,
                    "locator": fact.locator, "note": fact.note,
                }
                for key, fact in self.facts.items()
            },
            "prices": list(self.prices),
            "sources": {
                key: {"title": source.title, "where": source.where, "kind": source.kind}
                for key, source in self.sources.items()
            },
        }  # fmt: skip


def listing(kind: str) -> Listing:
    """All entries of one kind (one of `KINDS`)."""
    return _LISTINGS[kind]()


def entries(kind: str, name: str) -> tuple[Entry, ...]:
    """Entries called `name`; of chips every variant that the name may mean ("v100").

    Raises
    ------
    CatalogNameError
        If there is none, with the nearest name.
    """
    return _ENTRIES[kind](name)


# --- all of a kind ------------------------------------------------------------------------------------------------


def _list_chips() -> Listing:
    chips = [hardware.chip(id) for id in hardware.chip_ids()]
    rows, values = [], []
    for chip in chips:
        word = next(
            (w for w in ("bf16", "fp16", "fp32") if w in chip.peak_flop_per_s), next(iter(chip.peak_flop_per_s))
        )
        rows.append(
            (
                chip.id, str(chip.year), f"{scaled(chip.peak(word), 'FLOP/s')} {word}", capacity(chip.memory_byte),
                scaled(chip.memory_bandwidth_byte_per_s, "B/s"), f"{chip.tdp_w:.0f} W", chip.status,
            )
        )  # fmt: skip
        values.append(
            {
                "id": chip.id, "name": chip.name, "year": chip.year, "status": chip.status,
                "memory_byte": chip.memory_byte,
                "peak_flop_per_s": dict(chip.peak_flop_per_s), "tdp_w": chip.tdp_w,
                "memory_bandwidth_byte_per_s": chip.memory_bandwidth_byte_per_s,
            }
        )  # fmt: skip
    header = ("chip", "year", "dense peak", "memory", "bandwidth", "power", "status")
    return Listing(header=header, rows=tuple(rows), left=(0, 6), values=tuple(values))


def _list_links() -> Listing:
    links = [hardware.link(id) for id in hardware.link_ids()]
    return Listing(
        header=("link", "one direction", "latency", "name"),
        rows=tuple((k.id, scaled(k.bandwidth_byte_per_s, "B/s"), seconds(k.latency_s), k.name) for k in links),
        left=(0, 3),
        values=tuple(
            {"id": k.id, "name": k.name, "bandwidth_byte_per_s": k.bandwidth_byte_per_s, "latency_s": k.latency_s}
            for k in links
        ),
    )


def _list_servers() -> Listing:
    servers = [hardware.server(id) for id in hardware.server_ids()]
    return Listing(
        header=("server", "chips", "scale-up", "network cards", "name"),
        rows=tuple(
            (
                s.id,
                f"{s.chips} x {s.chip}",
                s.scale_up_link or "-",
                f"{s.nics} x {s.nic_link}" if s.nics else "-",
                s.name,
            )
            for s in servers
        ),
        left=(0, 1, 2, 3, 4),
        values=tuple(
            {
                "id": s.id,
                "name": s.name,
                "chip": s.chip,
                "chips": s.chips,
                "scale_up_link": s.scale_up_link,
                "nics": s.nics,
            }
            for s in servers
        ),
    )


def _list_systems() -> Listing:
    from ..cluster import system, system_ids

    clusters = [system(id).cluster for id in system_ids()]
    return Listing(
        header=("system", "chips", "server", "chip", "name"),
        rows=tuple((c.id, f"{c.max_chips:,}", c.server, c.chip.id, c.name) for c in clusters),
        left=(0, 2, 3, 4),
        values=tuple(
            {
                "id": c.id, "name": c.name, "chips": c.max_chips, "server": c.server, "chip": c.chip.id,
                "chips_per_server": c.chips_per_server, "aliases": list(system(c.id).aliases),
            }
            for c in clusters
        ),
    )  # fmt: skip


def _list_models() -> Listing:
    from workloads.catalog import entries as model_entries
    from workloads.catalog import model, model_names

    rows, values = [], []
    for name in model_names():
        workload, entry = model(name), model_entries()[name]
        rows.append((name, workload.family, many(workload.parameters), workload.source))
        values.append(
            {
                "name": name, "family": workload.family, "parameters": workload.parameters, "sample": workload.sample,
                "aliases": list(entry.aliases), "source": workload.source,
            }
        )  # fmt: skip
    return Listing(
        header=("model", "family", "parameters", "source"), rows=tuple(rows), left=(0, 1, 3), values=tuple(values)
    )


def _list_stacks() -> Listing:
    from ..stack import stack, stack_ids

    stacks = [stack(id) for id in stack_ids()]
    return Listing(
        header=("stack", "year", "framework", "name"),
        rows=tuple((s.id, str(s.year), s.framework, s.name) for s in stacks),
        left=(0, 2, 3),
        values=tuple({"id": s.id, "name": s.name, "year": s.year, "framework": s.framework} for s in stacks),
    )


# --- one entry ----------------------------------------------------------------------------------------------------


def _hardware_entry(found: Chip | Link | Server) -> Entry:
    plain: dict[str, Any] = {"status": found.status}
    if isinstance(found, Chip):
        plain |= {"vendor": found.vendor, "year": found.year, "architecture": found.architecture, "kind": found.kind}
    elif isinstance(found, Link):
        plain |= {"family": found.family}
    else:
        plain |= {
            "chip": found.chip,
            "scale_up": found.scale_up,
            "scale_up_link": found.scale_up_link,
            "nic_link": found.nic_link,
        }
    prices = () if isinstance(found, Link) else tuple(
        (f"buy {p.usd:,.0f} USD" if p.usd_per_chip_hour is None else f"rent {p.usd_per_chip_hour:g} USD per chip-hour")
        + f", {p.date}, {p.region}: {p.source} [{p.source_kind}], {p.locator}"
        for p in hardware.prices(found.id)
    )  # fmt: skip
    return Entry(id=found.id, name=found.name, plain=plain, facts=found.facts, sources=found.sources, prices=prices)


def _chips(name: str) -> tuple[Entry, ...]:
    found = hardware.match_chips(name)
    if not found:
        raise CatalogNameError(unknown_name("chip", name, hardware.chip_ids()))
    return tuple(_hardware_entry(chip) for chip in found)


def _links(name: str) -> tuple[Entry, ...]:
    return (_hardware_entry(hardware.link(_known("link", name, hardware.link_ids()))),)


def _servers(name: str) -> tuple[Entry, ...]:
    return (_hardware_entry(hardware.server(_known("server", name, hardware.server_ids()))),)


def _systems(name: str) -> tuple[Entry, ...]:
    from ..cluster import UnknownSystemError, system

    try:
        found = system(name)
    except UnknownSystemError as error:
        raise CatalogNameError(str(error)) from None
    c = found.cluster
    plain = {
        "server": c.server, "chip": c.chip.id, "chips": c.max_chips, "chips_per_server": c.chips_per_server,
        "network": c.network, "oversubscription": c.oversubscription, "out_fabric": c.out_fabric,
        "out_byte_per_s": c.out_byte_per_s, "aliases": found.aliases, "source": c.source,
        "locator": found.locator, "note": found.note,
    }  # fmt: skip
    return (Entry(id=c.id, name=c.name, plain=plain, facts={}, sources={}),)


def _models(name: str) -> tuple[Entry, ...]:
    from workloads.catalog import entries as model_entries
    from workloads.catalog import model, model_names, resolve_model

    resolved = resolve_model(name)
    if not resolved:
        raise CatalogNameError(unknown_name("model", name, model_names()))
    workload = model(resolved)
    entry = model_entries().get(resolved)
    plain: dict[str, Any] = {
        "family": workload.family, "parameters": workload.parameters, "sample": workload.sample,
        "tokens_per_sample": workload.tokens_per_sample, "forward_flop_per_sample": workload.forward_flop,
        **{f"{key}": value for key, value in workload.hyper.items()},
        "aliases": entry.aliases if entry else (), "source": workload.source, "assumed": workload.assumed,
    }  # fmt: skip
    return (Entry(id=resolved, name=f"{many(workload.parameters)} parameters", plain=plain, facts={}, sources={}),)


def _stacks(name: str) -> tuple[Entry, ...]:
    from ..stack import stack, stack_ids

    found = stack(_known("stack", name, stack_ids()))
    plain = {f.name: getattr(found, f.name) for f in fields(found) if f.name not in ("id", "name", "matches")}
    return (Entry(id=found.id, name=found.name, plain=plain, facts={}, sources={}),)


def _known(kind: str, name: str, known: Sequence[str]) -> str:
    if name not in known:
        raise CatalogNameError(unknown_name(kind, name, known))
    return name


def _word(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "; ".join(str(item) for item in value)
    if isinstance(value, int) and abs(value) >= 10_000:
        return f"{value:,}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _fold(text: str, *, indent: int) -> list[str]:
    return fold(text, WIDTH, first=" " * indent, rest=" " * (indent + 2))


_LISTINGS: Final[Mapping[str, Callable[[], Listing]]] = {
    "chips": _list_chips, "links": _list_links, "servers": _list_servers, "systems": _list_systems,
    "models": _list_models, "stacks": _list_stacks,
}  # fmt: skip
_ENTRIES: Final[Mapping[str, Callable[[str], tuple[Entry, ...]]]] = {
    "chips": _chips, "links": _links, "servers": _servers, "systems": _systems, "models": _models, "stacks": _stacks,
}  # fmt: skip
