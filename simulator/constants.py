"""The constants that are fitted: each has a name, a unit, a plausible range and a prior; nothing else is.

A constant belongs to a *scope*: everything ("global"), a chip family ("chip"), one chip of it ("board"), a stack release
("stack") or a fabric ("fabric"). A calibration file gives values and names the rows they were fitted on; where it is
silent the prior holds.
"""

# ruff: noqa: E501 (the table of constants reads by its columns)

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from hwmodels.chip import ARCHITECTURES

SCOPES: Final = ("global", "chip", "board", "stack", "fabric")


@dataclass(frozen=True, kw_only=True)
class ConstantSpec:
    """One kind of constant. ``spread`` is the prior's standard deviation of its logarithm."""

    name: str
    scope: str
    unit: str
    prior: float
    low: float
    high: float
    spread: float
    meaning: str

    def __post_init__(self) -> None:
        if self.scope not in SCOPES:
            raise ValueError(f"ConstantSpec {self.name!r}: scope is {self.scope!r}; legal: {', '.join(SCOPES)}.")
        if not 0.0 < self.low <= self.prior <= self.high:
            raise ValueError(f"ConstantSpec {self.name!r}: needs 0 < low <= prior <= high.")


def _spec(
    name: str, scope: str, unit: str, prior: float, low: float, high: float, spread: float, meaning: str
) -> ConstantSpec:
    return ConstantSpec(
        name=name, scope=scope, unit=unit, prior=prior, low=low, high=high, spread=spread, meaning=meaning
    )


_SPECS: Final = (
    # Chip families: at most five.
    _spec("matrix_fraction", "chip", "1", 0.80, 0.40, 1.00, 0.15, "rate of 16-bit products in a step against the kernel model's"),
    _spec("narrow_fraction", "chip", "1", 0.75, 0.30, 1.00, 0.15, "the same for tf32, fp8 and narrower"),
    _spec("plain_fraction", "chip", "1", 0.85, 0.40, 1.10, 0.15, "the same for fp32 on vector units"),
    _spec("memory_fraction", "chip", "1", 0.80, 0.40, 1.00, 0.12, "share of the nominal memory bandwidth that streaming kernels sustain"),
    _spec("conv_fraction", "chip", "1", 1.00, 0.20, 2.00, 0.25, "rate of convolutions against the kernel model's, beyond that of products"),
    # Single chips: one. A card's clock is what its board and cooling allow: laptops run above what is printed.
    _spec("clock_scale", "board", "1", 1.00, 0.60, 1.60, 0.10, "clock of a chip under load against the one that is printed, beyond its family's"),
    # Stack releases: at most four.
    _spec("compute_scale", "stack", "1", 1.00, 0.50, 2.50, 0.12, "time of products and attention against the chip's sustained rate"),
    _spec("traffic_scale", "stack", "1", 1.00, 0.25, 5.00, 0.35, "bytes of element-wise kernels against the stack's fusion rules"),
    _spec("host_scale", "stack", "1", 1.00, 0.05, 12.0, 0.60, "host time per kernel launch against the stack's nominal"),
    _spec("exchange_scale", "stack", "1", 1.00, 0.25, 16.0, 0.50, "time of collectives against the fabric's"),
    # Fabrics: one.
    _spec("wire_scale", "fabric", "1", 1.00, 0.20, 5.00, 0.30, "time of an exchange in a step against the communication library's cost model"),
    _spec("step_s", "fabric", "s", 5.0e-6, 1e-7, 1.0e-4, 1.00, "what a step of a ring between domains takes beyond the library's cost model"),
    # Global.
    _spec("kernel_ramp_s", "global", "s", 2.5e-6, 5e-7, 6e-6, 0.4, "device time of a kernel before its steady state"),
    _spec("elements_per_clock", "global", "1/clock", 6.0, 1.0, 60.0, 0.5, "elements that a core of 2,048 threads moves in a clock of an element-wise kernel, as far as its loads in flight allow"),
    _spec("attention_fraction", "global", "1", 1.00, 0.30, 1.60, 0.2, "rate of fused attention in a step against the kernel model's, forward"),
    _spec("attention_backward_fraction", "global", "1", 1.00, 0.30, 1.60, 0.2, "the same, backward"),
    _spec("plain_conv_fraction", "global", "1", 1.00, 0.30, 2.00, 0.2, "the same for fp32 convolutions on chips that have matrix units"),
    _spec("thin_conv_traffic", "global", "1", 2.00, 0.50, 12.0, 0.5, "bytes of convolutions of thin groups (depth-wise) against each tensor read or written once"),
    _spec("thin_conv_fraction", "global", "1", 0.15, 0.01, 1.00, 0.7, "rate of multiply-adds in convolutions of thin groups against the vector units' peak"),
    _spec("recurrent_fraction", "global", "1", 1.00, 0.30, 2.00, 0.2, "rate of recurrent layers in a step against the kernel model's"),
    _spec("scan_fraction", "global", "1", 0.50, 0.05, 1.50, 0.5, "rate of products inside a chunked scan (Mamba-2) in a step against the kernel model's"),
    _spec("call_s", "global", "s", 1.5e-5, 1e-6, 1.0e-4, 0.5, "what a collective's call in a step takes beyond the library's own start"),
    _spec("fixed_launches", "global", "1", 300.0, 10.0, 5000.0, 0.8, "host launches' worth of time that a step costs besides its kernels"),
    _spec("optimizer_traffic", "global", "1", 1.20, 0.50, 4.00, 0.4, "bytes of the update against the optimizer's own words"),
    _spec("tensor_exposed", "global", "1", 0.35, 0.05, 1.00, 0.4, "share of overlapped tensor-parallel exchange that no product can hide"),
    _spec("exchange_drag", "global", "1", 0.20, 0.001, 0.60, 0.5, "compute lost per second of exchange that runs beside it"),
    _spec("host_row_s", "global", "s", 3.0e-7, 1e-7, 2e-6, 0.6, "one look-up with its sparse update by one process of a host, in tables on hosts"),
    _spec("host_sum_rate", "global", "B/s", 6.0e9, 1e9, 4e10, 0.5, "rate at which a process of a host sums what all processes looked up"),
    _spec("reader_cores", "global", "1", 2.0, 1.0, 8.0, 0.5, "cores that readers in one process of Python keep busy"),
    _spec("reader_sample_s", "global", "s", 5.0e-4, 5e-5, 5e-3, 0.6, "what an iterator in Python takes for a sample beside its pixels"),
    _spec("replica_spread", "global", "1", 0.04, 0.001, 0.30, 0.5, "standard deviation of a replica's compute against its mean, of whose largest all wait for"),
    _spec("joint_drag", "global", "1", 0.30, 0.01, 1.00, 0.5, "compute that replicas in one process lose for every doubling of them, where their stack has them so"),
)  # fmt: skip

SPECS: Final[Mapping[str, ConstantSpec]] = {spec.name: spec for spec in _SPECS}


@dataclass(frozen=True, kw_only=True)
class Constants:
    """Values by key: "name" for global ones, "scope:owner:name" for the rest; silent keys have their prior."""

    values: Mapping[str, float] = field(default_factory=dict)
    name: str = "priors"
    fitted_on: str = ""

    def get(self, name: str, owner: str = "") -> float:
        """Value of a constant for a chip family, stack or fabric; its prior where nothing was fitted."""
        spec = SPECS[name]
        key = key_of(name, owner)
        return self.values.get(key, spec.prior)

    def on_chip(self, name: str, chip: str, owner: str = "", variant: str = "") -> float:
        """What was measured on that very chip, whatever the constant's scope; without it as `get`."""
        measured = self.measured(name, chip, variant)
        return self.get(name, owner) if measured is None else measured

    @cached_property
    def measured_chips(self) -> frozenset[str]:
        """Owners of constants at the scope of chips that are no chip families: chips that were measured themselves."""
        owners = {key.split(":")[1] for key in self.values if key.startswith("chip:")}
        return frozenset(owners.difference(ARCHITECTURES))

    def measured(self, name: str, chip: str, variant: str = "") -> float | None:
        """What was measured on a chip by its id, of the variant (a precision, an optimizer) before all; else None."""
        key = f"chip:{chip}:{name}"
        return self.values.get(f"{key}/{variant}", self.values.get(key))


def key_of(name: str, owner: str = "") -> str:
    """The key a constant is stored under."""
    spec = SPECS[name]
    return name if spec.scope == "global" else f"{spec.scope}:{owner}:{name}"


def name_of(key: str) -> str:
    """The constant's name in a key."""
    return key.rsplit(":", 1)[-1]


def log_prior(key: str, value: float) -> float:
    """Distance of a value from its prior, in prior standard deviations of the logarithm."""
    spec = SPECS[name_of(key)]
    return math.log(value / spec.prior) / spec.spread
