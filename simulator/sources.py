"""Every published fact that a plan's numbers rest on, as lines for its report."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import hwmodels.catalog as hardware
from hwmodels.chip import Chip
from hwmodels.facts import Fact, Source
from hwmodels.link import Link
from hwmodels.server import Server
from workloads import catalog as models
from workloads.workload import Workload

from .cluster import SystemEntry
from .lowering import Context
from .outcome.energy import PUE, PUE_SOURCE
from .outcome.money import ChipPrice
from .plan_report import SourceLine

#: Facts of a chip that enter a plan, and what they are called; its peak comes besides.
_CHIP_FACTS: Final = {
    "compute.cores": "cores",
    "memory.capacity": "memory",
    "memory.bandwidth": "memory bandwidth",
    "power.tdp": "power limit",
    "power.idle": "idle power",
}
_SERVER_FACTS: Final = {
    "chips": "chips",
    "scale_up.links_per_chip": "links per chip",
    "scale_out.nics": "network cards",
    "host.power": "power besides chips",
}
_LINK_FACTS: Final = {"bandwidth": "bandwidth", "latency": "latency"}


def sources(
    workload: Workload, context: Context, entry: SystemEntry, *, price: ChipPrice | None = None, energy: bool = False
) -> tuple[SourceLine, ...]:
    """Chip, server, links, system, model, stack, optimizer; price and the building's overhead where they were used."""
    cluster, chip = context.cluster, context.cluster.chip
    server = hardware.server(cluster.server)
    lines = [*_chip_lines(chip, context.recipe.matmul), *_lines(server, _SERVER_FACTS)]
    for name in dict.fromkeys((server.scale_up_link, server.nic_link)):
        if name:
            lines += _lines(hardware.link(name), _LINK_FACTS)
    lines.append(
        SourceLine(
            quantity=f"{cluster.id}: system",
            printed=f"{cluster.max_servers} servers, {cluster.network.replace('_', ' ')}",
            source=cluster.source,
            locator=entry.locator,
            kind=_kind_of(cluster.source),
        )
    )
    lines.append(_model_line(workload))
    stack = context.stack
    lines.append(
        SourceLine(
            quantity=f"{stack.id}: software stack",
            printed=stack.name,
            source=stack.source,
            locator="",
            kind="secondary",
        )
    )
    lines.append(
        SourceLine(
            quantity=f"{context.optimizer.name}: update rule",
            printed=f"{context.optimizer.state_per_parameter} words of state",
            source=context.optimizer.source,
            locator="",
            kind="paper",
        )
    )
    if price is not None and price.price is not None:
        lines.append(
            SourceLine(
                quantity=f"{price.price.item}: price",
                printed=f"USD {price.usd_per_chip_hour:g} per chip-hour",
                source=f"{price.price.source}, {price.price.region}, {price.price.date}",
                locator=price.price.locator,
                kind=price.price.source_kind,
            )
        )
    if energy:
        lines.append(
            SourceLine(
                quantity="power usage effectiveness",
                printed=f"{PUE:g}",
                source=PUE_SOURCE,
                locator="",
                kind="secondary",
            )
        )
    return tuple(lines)


def _chip_lines(chip: Chip, word: str) -> Iterator[SourceLine]:
    yield from _lines(chip, {f"peak.{word}": f"dense {word} peak", **_CHIP_FACTS})


def _lines(owner: Chip | Server | Link, wanted: dict[str, str]) -> Iterator[SourceLine]:
    for key, words in wanted.items():
        fact = owner.facts.get(key)
        if fact is not None:
            yield _line(f"{owner.id}: {words}", fact, owner.sources[fact.source])


def _line(quantity: str, fact: Fact, source: Source) -> SourceLine:
    printed = f"{fact.printed:g}" if fact.unit == "1" else f"{fact.printed:g} {fact.unit}"
    return SourceLine(
        quantity=quantity,
        printed=printed,
        source=f"{source.title} ({source.where})",
        locator=fact.locator,
        kind=source.kind,
    )


def _kind_of(source: str) -> str:
    return source if source in ("recalled", "assumed") else "secondary"


def _model_line(workload: Workload) -> SourceLine:
    entry = models.entries().get(workload.name)
    kind = entry.kind if entry else "spelled"
    return SourceLine(
        quantity=f"{workload.name}: shape",
        printed=f"{workload.parameters:,} parameters",
        source=workload.source,
        locator="",
        kind=kind,
    )
