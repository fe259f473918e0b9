"""What a record was run on, and what a step of it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

import hwmodels.catalog as hardware
from workloads import catalog as models

from ..cluster import system
from ..collectives import binomial
from ..constants import Constants
from ..defaults import software
from ..job import Job
from ..lowering import Context
from ..query import PlanQuery
from ..ranking import search
from ..stack import Stack, stack, stack_ids

#: Ways of exchanging gradients that no collective of the engines has: priced here, after the backward pass.
EXCHANGES: Final = ("", "binomial tree through hosts")


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a step is priced from: network, machine, software, without the batch.

    ``chip``: another chip in the system's places, "" its own. ``network_times``: rate of the network cards against the
    catalogue's. ``servers``: how many the system has, 0 the catalogue's. ``parameter_servers``: 0 for none.
    ``exchange``: one of `EXCHANGES`, "" as the stack's library does it; ``exchange_byte``: what it moves [B].
    """

    model: str
    system: str
    chips: int
    stack: str
    precision: str = ""
    optimizer: str = ""
    chip: str = ""
    network_times: float = 1.0
    servers: int = 0
    parameter_servers: int = 0
    exchange: str = ""
    exchange_byte: float = 0.0


class SetupError(ValueError):
    """A setup that cannot be run."""


@dataclass(frozen=True, kw_only=True)
class RecordStep:
    """A step in two parts: what the chips do for themselves, and the exchange that they wait for [s]."""

    own_s: float
    exchange_s: float

    @property
    def total_s(self) -> float:
        """Length of the step [s]."""
        return self.own_s + self.exchange_s


def record_step(setup: Setup, *, batch: int, constants: Constants, image_size: int = 0) -> RecordStep:
    """One data-parallel step, every chip with its share of the batch at once.

    Raises
    ------
    SetupError
        Where the batch does not divide over the chips or does not fit.
    """
    share, rest = divmod(batch, setup.chips)
    where = f"{setup.model} on {setup.chips} chips of {setup.system}"
    if rest or not share:
        near = max(setup.chips, round(batch / setup.chips) * setup.chips)
        raise SetupError(f"{where}: batch {batch} does not divide evenly; the nearest that does is {near}.")
    pins: list[tuple[str, int | str | bool]] = [("dp", setup.chips), ("micro_batch", share)]
    if setup.parameter_servers:
        pins.append(("parameter_servers", setup.parameter_servers))
    entry = system(setup.system)
    cluster = replace(
        entry.cluster, chip=hardware.chip(setup.chip) if setup.chip else entry.cluster.chip,
        out_byte_per_s=entry.cluster.out_byte_per_s * setup.network_times,
        max_servers=setup.servers or entry.cluster.max_servers,
    )  # fmt: skip
    if setup.chips > cluster.max_chips:
        raise SetupError(f"{where}: it has {cluster.max_chips} chips.")
    workload = models.model(setup.model, image_size=image_size or None)
    used = software(
        workload, cluster.chip, stack_id=setup.stack, precision=setup.precision, optimizer_name=setup.optimizer
    )
    cluster.chip.peak(used.recipe.matmul)
    query = PlanQuery(
        model=setup.model, system=setup.system, chips=setup.chips, global_batch=batch, stack=setup.stack,
        precision=setup.precision, optimizer=setup.optimizer, image_size=image_size, fixed=tuple(pins),
    )  # fmt: skip
    job = Job(
        query=query, workload=workload, entry=entry, chips=setup.chips, amount=None, defaults=used.defaults,
        context=Context(cluster=cluster, stack=used.stack, recipe=used.recipe, optimizer=used.optimizer),
    )  # fmt: skip
    found = search(job, with_kin(constants, used.stack))
    if not len(found.order):
        raise SetupError(f"{where}: {share} samples a chip do not fit into {cluster.chip.memory_byte / 1e9:.0f} GB.")
    step = found.step(0)
    exchange = step.part_s("data")
    own = step.total_s - exchange
    if setup.exchange:
        host = hardware.link(hardware.server(cluster.server).host_link).bandwidth_byte_per_s
        exchange = tree_through_hosts_s(
            setup.exchange_byte, ranks=setup.chips, latency_s=cluster.out_latency_s,
            wire_byte_per_s=cluster.out_byte_per_s, host_byte_per_s=host,
        )  # fmt: skip
    return RecordStep(own_s=own, exchange_s=exchange)


def with_kin(constants: Constants, software: Stack) -> Constants:
    """The constants, and of a stack that no run was fitted to the geometric mean of those of stacks of its time.

    Its time: released at most a year before or after. A stack without kin keeps its priors.
    """
    prefix = f"stack:{software.id}:"
    if any(key.startswith(prefix) for key in constants.values):
        return constants
    kin: dict[str, list[float]] = {}
    for key, value in constants.values.items():
        kind, _, rest = key.partition(":")
        owner, _, name = rest.rpartition(":")
        if kind == "stack" and owner in stack_ids() and abs(stack(owner).year - software.year) <= 1:
            kin.setdefault(name, []).append(math.log(value))
    means = {f"{prefix}{name}": math.exp(math.fsum(logs) / len(logs)) for name, logs in sorted(kin.items())}
    return replace(constants, values={**constants.values, **means})


def tree_through_hosts_s(
    message_byte: float, *, ranks: int, latency_s: float, wire_byte_per_s: float, host_byte_per_s: float
) -> float:
    """All-reduce down and up a binomial tree whose every hop is copied out of a chip, sent, and copied in [s].

    .. math:: t = 2 \\lceil \\log_2 n \\rceil (\\alpha + S (1 / \\beta + 2 / \\beta_{host}))

    S bytes, n ranks of one chip each, wire :math:`\\beta` and host link :math:`\\beta_{host}` [B/s]. Leaves out: pieces
    of a message in flight at once, and the additions. Reference: F. Iandola et al., FireCaffe, 2016 (the tree).
    """
    rate = 1.0 / (1.0 / wire_byte_per_s + 2.0 / host_byte_per_s)
    return float(
        binomial.seconds("all_reduce", ranks=ranks, message_byte=message_byte, latency_s=latency_s, byte_per_s=rate)
    )
