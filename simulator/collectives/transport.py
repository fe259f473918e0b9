"""Transports: what the software between a program and a wire takes of the wire's rate, and what it asks of the host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from hwmodels.datafile import TomlFile, read_toml, unknown_name
from hwmodels.facts import Fact, FactReader, Source

from ..kernels.optable import Floats
from .checks import numbers
from .rounds import CollectiveError

_RANGES: Final = ("low", "", "high")


@dataclass(frozen=True, kw_only=True)
class Range:
    """A value between the least and the most it plausibly is."""

    low: float
    value: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.value <= self.high:
            raise ValueError(f"Range: {self.low:g}, {self.value:g}, {self.high:g}; low <= value <= high.")


@dataclass(frozen=True, kw_only=True)
class Transport:
    """One transport.

    ``efficiency``: share of the wire's rate that large messages reach. ``message_s``: what a message takes of the host
    before it moves [s]. ``copies``: times a byte is copied within one host's memory. ``core_byte_per_s``: what one
    core moves, None where no core touches the bytes [B/s]. ``direct``: the card reads and writes the chip's memory.
    """

    id: str
    name: str
    direct: bool
    efficiency: Range
    message_s: Range
    copies: int
    core_byte_per_s: Range | None
    facts: Mapping[str, Fact]
    sources: Mapping[str, Source]

    def host_byte_per_byte(self) -> float:
        """Bytes through a host's memory for each byte on the wire.

        The chip's copy engine and the card touch it once each, a copy reads and writes: 2 + 2 c; none if direct.
        """
        return 0.0 if self.direct else 2.0 + 2.0 * self.copies

    def byte_per_s(
        self, *, wire_byte_per_s: ArrayLike, host_memory_byte_per_s: ArrayLike, cores: ArrayLike = 1,
        end: str = "value",
    ) -> Floats:  # fmt: skip
        """The rate that messages see [B/s].

        .. math:: \\beta = \\min(e \\beta_{wire}, n \\beta_{core}, \\beta_{memory} / (2 + 2 c))

        ``cores``: the n cores that move bytes (channels of gRPC, sockets of TCP). ``end``: "low", "value" or "high"
        of the ranges. Shapes broadcast. Leaves out: time-outs when many senders meet at one receiver's port, and what
        else uses the host's memory.
        """
        where = f"transport {self.id!r}"
        if end not in ("low", "value", "high"):
            raise CollectiveError(f"{where}: end is {end!r}; one of low, value, high.")
        wire = numbers(where, "wire_byte_per_s", wire_byte_per_s, above=True)
        memory = numbers(where, "host_memory_byte_per_s", host_memory_byte_per_s, above=True)
        rate = getattr(self.efficiency, end) * wire
        if self.core_byte_per_s is not None:
            moving = numbers(where, "cores", cores, above=True)
            rate = np.minimum(rate, moving * getattr(self.core_byte_per_s, end))
        if not self.direct:
            rate = np.minimum(rate, memory / self.host_byte_per_byte())
        return np.asarray(rate, dtype=np.float64)

    def cores_for(self, wire_byte_per_s: ArrayLike) -> Floats:
        """Cores that keep up with a wire; 0 where no core touches the bytes."""
        wire = numbers(f"transport {self.id!r}", "wire_byte_per_s", wire_byte_per_s, above=True)
        if self.core_byte_per_s is None:
            return np.zeros_like(wire)
        return np.asarray(np.ceil(self.efficiency.value * wire / self.core_byte_per_s.value))

    def seconds(self, message_byte: ArrayLike, *, latency_s: ArrayLike, byte_per_s: ArrayLike) -> Floats:
        """One message: the host's time, the wire's latency, its bytes at the rate of `byte_per_s`; 0 for none [s]."""
        where = f"transport {self.id!r}"
        size = numbers(where, "message_byte", message_byte)
        wire = numbers(where, "latency_s", latency_s) + size / numbers(where, "byte_per_s", byte_per_s, above=True)
        return np.asarray(np.where(size > 0, self.message_s.value + wire, 0.0))


def transport(name: str) -> Transport:
    """The transport of that name; raises `CollectiveError` naming the nearest."""
    known = transports()
    if name not in known:
        raise CollectiveError(unknown_name("transport", name, known))
    return known[name]


@cache
def transports() -> Mapping[str, Transport]:
    """All that ship, by name."""
    path = files("simulator") / "data" / "transports.toml"
    return read_transports(read_toml(str(path), name="transports.toml"))


def read_transports(file: TomlFile) -> Mapping[str, Transport]:
    """The transports a data file describes; every problem of the file in one `DataFileError`."""
    take = FactReader(file)
    found = {}
    for id in (key for key in file.data if key != "sources"):
        if not isinstance(file.data[id], Mapping):
            take.problem((id,), "is not known here; every transport is a table.")
            take.raw(id)
            continue
        direct = take.raw(id, "direct")
        if not isinstance(direct, bool):
            take.problem((id, "direct"), f"is {direct!r}; true or false.")
        has_cores = "core_rate" in file.data[id]
        found[id] = Transport(
            id=id, name=take.text(id, "name"), direct=bool(direct),
            efficiency=_range(take, id, "efficiency", dimension="1", most=1.0),
            message_s=_range(take, id, "message", dimension="s"), copies=take.count(id, "copies"),
            core_byte_per_s=_range(take, id, "core_rate", dimension="byte/s", above=True) if has_cores else None,
            facts=take.facts, sources=take.sources,
        )  # fmt: skip
    if not found:
        take.problem((), "describes no transport.")
    take.finish()
    return found


def _range(take: FactReader, id: str, key: str, *, dimension: str, most: float = np.inf, above: bool = False) -> Range:
    ends = [take.fact(id, f"{key}_{end}" if end else key, dimension=dimension) for end in _RANGES]
    low, value, high = ends
    if not low <= value <= high:
        take.problem((id, key), f"is {value:g}, its range {low:g} to {high:g}; the range must hold the value.")
        low = value = high = 0.0
    if high > most or ((above or most == 1.0) and low <= 0.0):
        limit = f" and at most {most:g}" if most < np.inf else ""
        take.problem((id, key), f"has a range of {low:g} to {high:g}; above 0{limit}.")
    return Range(low=low, value=value, high=high)
