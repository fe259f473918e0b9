# ruff: noqa: E501 (a table: one constant, one line)
"""The fitted constants of the communication libraries' cost model: few, named, each with its range.

They are fitted on measured collectives (`simulator.calibration.collectives`), never on steps. Each varies on the levels
named here only: link generation, fabric (link and how it joins the chips), wires between servers, library.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..kernels.kernel_constants import KernelSpec


def _spec(
    name: str, unit: str, prior: float, low: float, high: float, spread: float, meaning: str, **levels: float
) -> KernelSpec:
    return KernelSpec(
        name=name, unit=unit, prior=prior, low=low, high=high, spread=spread, levels=levels, meaning=meaning
    )


_SPECS: Final = (
    # Rings.
    _spec("fast_base_s", "s", 1.2e-5, 3e-6, 1e-4, 0.5, "start of a collective in the protocols for small messages", fabric=0.3, library=0.3, collective=0.2),
    _spec("fast_step_s", "s", 1.3e-6, 1e-7, 1e-5, 0.5, "each step of it between neighbours in a domain", link=0.3),
    _spec("fast_share", "1", 0.40, 0.05, 1.00, 0.4, "rate of the small-message protocols against the large-message one's", collective=0.2),
    _spec("bulk_base_s", "s", 1.5e-5, 1e-7, 2e-4, 0.7, "what the protocol for large messages takes beyond that to start", fabric=0.3),
    _spec("bulk_step_s", "s", 2.0e-7, 1e-9, 1e-5, 0.7, "the same, each step between neighbours in a domain", link=0.3),
    _spec("bulk_share", "1", 0.80, 0.40, 1.00, 0.10, "share of the nominal scale-up rate it sustains", fabric=0.08, library=0.05),
    _spec("ramp_s", "s", 1.0e-3, 1e-5, 1e-1, 1.0, "a transfer of T seconds takes sqrt(ramp T) longer: pipelines that are not full yet", fabric=1.0),
    _spec("copy_gather", "1", 0.30, 0.005, 1.50, 0.7, "time of copying a rank's own share of an all-gather, against sending it", fabric=0.7),
    _spec("copy_scatter", "1", 0.30, 0.005, 1.50, 0.7, "the same of a reduce-scatter"),
    _spec("copy_reduce", "1", 0.30, 0.005, 1.50, 0.7, "the same of an all-reduce"),
    # Trees.
    _spec("tree_share", "1", 0.80, 0.20, 1.00, 0.2, "share of the nominal scale-up rate a double tree sustains"),
    _spec("tree_base_s", "s", 1.0e-5, 1e-6, 1e-4, 0.7, "start of a tree over several hosts"),
    _spec("tree_step_s", "s", 5.0e-6, 5e-7, 2e-5, 0.5, "each level of a tree over the hosts of a domain"),
    # Reduction in the switches of a domain.
    _spec("switch_base_s", "s", 3.0e-5, 5e-6, 2e-4, 0.5, "start of a reduction in the switches"),
    _spec("switch_share", "1", 0.60, 0.30, 1.00, 0.10, "share of the nominal rate it sustains", fabric=0.1, library=0.05),
    _spec("switch_tree_share", "1", 0.95, 0.40, 1.00, 0.05, "the same against that, where a tree joins several domains", fabric=0.15),
    # Point to point.
    _spec("small_channel_byte_per_s", "B/s", 5.4e9, 2e9, 1.2e10, 0.3, "one channel, messages to a peer of up to 512 KiB"),
    _spec("large_channel_byte_per_s", "B/s", 2.0e10, 8e9, 6e10, 0.3, "one channel, larger messages to a peer"),
    _spec("pair_share", "1", 0.75, 0.40, 1.00, 0.15, "share of the nominal rate between two chips", fabric=0.1),
    _spec("exchange_share", "1", 0.75, 0.40, 1.00, 0.15, "share of the nominal rate an all-to-all sustains"),
    _spec("copy_exchange", "1", 0.20, 0.005, 1.00, 0.7, "time of copying a rank's own share of an all-to-all, against sending it", fabric=0.7),
    _spec("send_base_s", "s", 1.2e-5, 4e-6, 8e-5, 0.5, "start of sends and of an all-to-all", fabric=0.3),
    _spec("direct_base_s", "s", 3.0e-5, 4e-6, 2e-4, 0.5, "start of an all-to-all of at most 4 ranks"),
    _spec("peer_s", "s", 8.0e-7, 1e-7, 5e-5, 0.5, "each peer of an all-to-all beyond those served at once", library=0.5),
    # Between domains.
    _spec("out_share", "1", 0.93, 0.20, 1.00, 0.02, "share of the nominal rate of the cards between domains", out=0.1, library=0.4, fabric=0.2),
    _spec("out_step_s", "s", 8.0e-6, 1e-6, 1e-4, 0.7, "each step between domains", out=0.5),
    _spec("tree_out_share", "1", 0.95, 0.40, 1.00, 0.10, "share of a ring's rate between domains that a tree of switch reductions sustains"),
    _spec("crowding", "1", 0.02, 0.001, 1.00, 1.0, "exponent of the rate lost beyond 8 domains", out=2.0),
    _spec("register_s", "s", 0.018, 0.001, 0.1, 1.0, "pinning of memory by an MPI library for messages above 128 MiB"),
)  # fmt: skip

SPECS: Final[Mapping[str, KernelSpec]] = {spec.name: spec for spec in _SPECS}
