"""The wires between processes: rate and latency as facts, and what scales the libraries' cost model on them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..calibration.kernel_fit import Values
from ..collective_curve import bus_factor
from ..collectives.exchange import Exchanges, Wires
from ..collectives.library_constants import library_constants
from ..collectives.library_cost import exchange_s
from ..kernels.kernel_constants import KernelSpec
from ..kernels.optable import Floats
from ..probe.export import COLLECTIVES
from .fitting import Alike, Law, LawFit, fit_law
from .observations import Observation

#: Sizes below which a call's time is its start, and above which it is its bytes [B].
_SMALL_BYTE, _LARGE_BYTE = 8192, 1 << 20
SPECS: Final = {
    spec.name: spec
    for spec in (
        KernelSpec(
            name="call_s", unit="s", prior=5e-5, low=1e-7, high=1e-1, spread=1.5,
            meaning="what a collective's call takes beyond the library's own start",
        ),
        KernelSpec(
            name="wire_scale", unit="1", prior=1.0, low=0.05, high=20.0, spread=0.8,
            meaning="time of an exchange against the communication library's cost model",
        ),
    )
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SeenFabric:
    """A link between processes: its rate in one direction [B/s] and latency [s], which calls showed them, and the fit
    of the constants of its exchanges. ``ranks``, ``threads``: of the processes that measured it."""

    bandwidth_byte_per_s: float
    bandwidth_of: str
    latency_s: float
    latency_of: str
    ranks: int
    threads: int
    library: str
    fit: LawFit


def modelled(observations: Sequence[Observation]) -> list[Observation]:
    """Collectives that have a model, of the largest number of ranks that was measured."""
    rows = [o for o in observations if o.suite == "collectives" and o.kind in COLLECTIVES and o.ranks > 1]
    most = max((o.ranks for o in rows), default=0)
    return [o for o in rows if o.ranks == most]


def why_no_fabric(observations: Sequence[Observation]) -> str:
    """Which measurement a fabric lacks; "" where it lacks none."""
    rows = modelled(observations)
    if not rows:
        return "no collectives: run --suites collectives"
    if not any(o.byte >= _LARGE_BYTE for o in rows) or not any(o.byte <= _SMALL_BYTE for o in rows):
        return "collectives of small and of large sizes are both needed: go on with --suites collectives"
    return ""


def seen_fabric(observations: Sequence[Observation], link: str) -> SeenFabric:
    """The fabric of collectives that `why_no_fabric` finds nothing wrong with."""
    rows = modelled(observations)
    ranks = rows[0].ranks
    large = [o for o in rows if o.byte >= _LARGE_BYTE]
    best = max(large, key=lambda o: (_bus(o), o.id))
    small = [o for o in rows if o.byte <= _SMALL_BYTE]
    first = min(small, key=lambda o: (o.seconds / _steps(o), o.id))
    rate, latency = _bus(best), first.seconds / _steps(first)
    law = fabric_law(rows, link, rate)
    return SeenFabric(
        bandwidth_byte_per_s=rate, bandwidth_of=best.id, latency_s=latency, latency_of=first.id, ranks=ranks,
        threads=rows[0].threads, library=rows[0].library, fit=fit_law(law),
    )  # fmt: skip


def _bus(o: Observation) -> float:
    """Bytes that a rank must send, over the time [B/s]."""
    return o.byte * bus_factor(o.kind, o.ranks) / o.seconds


def _steps(o: Observation) -> float:
    """Messages that follow each other in a ring."""
    return (2.0 if o.kind == "all_reduce" else 1.0) * (o.ranks - 1.0)


def wires_between(ranks: int, link: str, byte_per_s: float) -> Wires:
    """Processes of one host as `group_wires.wires_of` sees those of a server whose shape is "pcie_tree"."""
    return Wires(
        ranks=ranks, domain_ranks=ranks, host_ranks=ranks, up_kind="pcie_tree", up_link=link, up_byte_per_s=byte_per_s,
        pair_byte_per_s=byte_per_s, out_link="", out_byte_per_s=byte_per_s, library="other", in_switch=False,
        in_network=False, axes=1,
    )  # fmt: skip


def fabric_law(rows: Sequence[Observation], link: str, byte_per_s: float) -> Law:
    """Collectives as a step prices them: t = t_call + s t_library (`pricing.Exchanging`)."""
    wires = wires_between(rows[0].ranks, link, byte_per_s)
    exchanges = Exchanges.of([(wires, o.kind, "") for o in rows], [o.byte for o in rows])
    library_s = exchange_s(exchanges, library_constants().rows(exchanges))

    def seconds(v: Values) -> Floats:
        return np.asarray(v["call_s"] + v["wire_scale"] * library_s)

    alone = np.array([o.byte * bus_factor(o.kind, o.ranks) / byte_per_s for o in rows])
    return Law(
        name="collectives", specs=SPECS, seconds=seconds, settings=Alike(len(rows)), observations=rows,
        yardstick_s=alone, needed="--suites collectives",
    )  # fmt: skip
