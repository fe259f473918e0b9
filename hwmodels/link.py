"""A link: the rate of one link in one direction, and how long its first byte takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean
from hwmodels.facts import STATUSES, Fact, FactReader, FrozenMapping, Source

FAMILIES: Final = (
    "pcie", "nvlink", "xgmi", "xe-link", "ici", "neuronlink", "hccs", "ipu-link", "infiniband", "omni-path", "ethernet",
    "efa", "gemini", "aries", "swarmx", "socket", "wafer",
)  # fmt: skip


class LinkError(ValueError):
    """A link that cannot be."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """One link of a kind.

    Parameters
    ----------
    bandwidth_byte_per_s
        Nominal rate of ONE link in ONE direction [B/s]. What software achieves of it is not a fact about the link.
    latency_s
        One way, small message, as the hardware allows; without any library's time per call [s].
    """

    id: str
    name: str
    family: str
    bandwidth_byte_per_s: float
    latency_s: float
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False, repr=False)
    sources: Mapping[str, Source] = field(default_factory=dict, hash=False, repr=False)
    status: str = "provisional"

    def __post_init__(self) -> None:
        for name in ("facts", "sources"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))
        for name, legal in (("family", FAMILIES), ("status", STATUSES)):
            value = getattr(self, name)
            if value not in legal:
                near = did_you_mean(str(value), legal)
                raise LinkError(f"Link {self.id!r}: {name} is {value!r}; one of {', '.join(legal)}.{near}")
        if not (math.isfinite(self.bandwidth_byte_per_s) and self.bandwidth_byte_per_s > 0):
            raise LinkError(
                f"Link {self.id!r}: bandwidth_byte_per_s is {self.bandwidth_byte_per_s!r}; a finite number above 0."
            )
        if not (math.isfinite(self.latency_s) and self.latency_s >= 0):
            raise LinkError(f"Link {self.id!r}: latency_s is {self.latency_s!r}; a finite number, 0 or more.")


def read_link(file: TomlFile) -> Link:
    """The link described by a data file; every problem of the file in one `DataFileError`."""
    take = FactReader(file)
    if take.raw("schema") != 1:
        take.problem(("schema",), "must be 1.")
    values = {
        "id": take.text("id"),
        "name": take.text("name"),
        "family": take.text("family", legal=FAMILIES),
        "status": take.text("status", legal=STATUSES),
    }
    bandwidth = take.fact("bandwidth", dimension="byte/s")
    latency = take.fact("latency", dimension="s")
    take.finish()
    try:
        return Link(bandwidth_byte_per_s=bandwidth, latency_s=latency, facts=take.facts, sources=take.sources, **values)
    except LinkError as error:
        raise DataFileError(f"{file.name}: {error}") from None
