"""The chip that measurements show: rates that calls reached, sizes that the machine states, what is assumed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from hwmodels.catalog import chip as chip_by_id
from hwmodels.catalog import resolve_chip
from hwmodels.chip import Chip

from ..errors import InputError
from .observations import Observation, suite_of

#: Products of fewer FLOPs than this say nothing of a peak.
_LARGE_FLOP: Final = 1e7
_FEWEST_PRODUCTS: Final = 3
#: A working set so many times the last cache lies in the main memory.
_BEYOND: Final = 2.0
#: Architecture of a CPU by what PyTorch calls its instructions, and of a card by its capability.
_VECTORS: Final = {"AVX512": "vectors-512", "AVX2": "vectors-256"}
_GENERATIONS: Final = {
    "3": "kepler", "5": "maxwell", "6": "pascal", "7.0": "volta", "7.2": "volta", "7.5": "turing", "8.9": "ada",
    "8": "ampere", "9": "hopper", "10": "blackwell", "12": "blackwell", "gfx900": "vega", "gfx906": "vega",
    "gfx908": "cdna", "gfx90a": "cdna2", "gfx94": "cdna3", "gfx95": "cdna4",
}  # fmt: skip
#: Stood in for what nobody tells, per thread of a CPU or for a card [W], [Hz].
_ASSUMED_W: Final = {"cpu": 10.0, "cuda": 300.0}
_ASSUMED_HZ: Final = 2.5e9


@dataclass(frozen=True, kw_only=True)
class SeenChip:
    """A chip and, fact by fact, how it is known: (source, locator) by the name of the chip's field; peaks by
    "peak.WORD"."""

    chip: Chip
    known: Mapping[str, tuple[str, str]]
    assumed: tuple[str, ...]
    catalogue: str = ""


def architecture_of(machine: Mapping[str, Any]) -> str:
    """The chip family of a machine. Raises `InputError` where it is none that is known."""
    word = str(machine["capability"])
    if machine["device"] == "cpu":
        return _VECTORS.get(word.upper(), "vectors-128")
    for start in (word, word.partition(".")[0], word[:5]):
        if start in _GENERATIONS:
            return _GENERATIONS[start]
    raise InputError(f"calibrate: no chip family is known for capability {word!a} of {machine['name']!a}.")


def peaks_of(observations: Sequence[Observation]) -> dict[str, tuple[float, str]]:
    """The highest rate that any product reached, by precision [FLOP/s], and which product; few products give none."""
    found: dict[str, tuple[float, str]] = {}
    products = [o for o in suite_of(observations, "gemm", "convolution") if o.flop >= _LARGE_FLOP]
    for word in sorted({o.precision for o in products}):
        mine = [o for o in products if o.precision == word and o.kind != "thin"]
        if len(mine) >= _FEWEST_PRODUCTS:
            best = max(mine, key=lambda o: (o.flop / o.seconds, o.id))
            found[word] = (best.flop / best.seconds, best.id)
    return found


def bandwidth_of(observations: Sequence[Observation], cache_byte: float) -> tuple[float, str] | None:
    """The highest rate of a copy or a read beyond every cache [B/s], and which; None where none is so large."""
    large = [o for o in suite_of(observations, "memory") if o.byte >= _BEYOND * max(cache_byte, 2.0**24)]
    if not large:
        return None
    best = max(large, key=lambda o: (o.byte / o.seconds, o.id))
    return best.byte / best.seconds, best.id


def seen_chip(machine: Mapping[str, Any], observations: Sequence[Observation], *, name: str) -> SeenChip:
    """The chip of a probe.

    What the catalogue has of a card by its name stays as it is printed there; else a peak is the highest rate that any
    product reached.

    Raises
    ------
    InputError
        Naming every measurement that is missing for a chip.
    """
    catalogued = resolve_chip(str(machine["name"]), memory_gb=_gib(machine)) if machine["device"] == "cuda" else ()
    if len(catalogued) == 1:
        return _as_catalogued(chip_by_id(catalogued[0]).one_die, name)
    peaks = peaks_of(observations)
    bandwidth = bandwidth_of(observations, float(machine.get("last_cache_byte") or 0))
    problems = []
    if "fp32" not in peaks:
        problems.append(f"no fp32 products of {_LARGE_FLOP:.0e} FLOP or more: run --suites gemm --precision fp32")
    if bandwidth is None:
        problems.append("no copies beyond the caches: run --suites memory")
    if problems:
        raise InputError(*(f"calibrate: {problem}." for problem in problems))
    assert bandwidth is not None
    return _as_measured(machine, peaks, bandwidth, name)


def _gib(machine: Mapping[str, Any]) -> float | None:
    """The capacity as it is printed: what a card reports lies a little below."""
    sizes = (8, 11, 12, 16, 24, 32, 40, 48, 64, 80, 94, 96, 128, 141, 180, 192, 256, 288)
    seen = float(machine["memory_byte"]) / 2**30
    near = min(sizes, key=lambda size: abs(math.log(size / seen)))
    return float(near) if 0.9 * near <= seen <= 1.02 * near else None


def _as_catalogued(chip: Chip, name: str) -> SeenChip:
    from dataclasses import replace

    where = f"chip {chip.id} of the catalogue"
    known = {f"peak.{word}": ("catalogue", where) for word in chip.peak_flop_per_s}
    known |= {f"vector_peak.{word}": ("catalogue", where) for word in chip.vector_peak_flop_per_s}
    known |= {key: ("catalogue", where) for key in FACTS if getattr(chip, FACTS[key][0])}
    return SeenChip(chip=replace(chip, id=name, measured_as=()), known=known, assumed=(), catalogue=chip.id)


def _as_measured(
    machine: Mapping[str, Any], peaks: Mapping[str, tuple[float, str]], bandwidth: tuple[float, str], name: str
) -> SeenChip:
    cpu = machine["device"] == "cpu"
    threads = int(machine["threads"]) if cpu else 1
    share = threads / max(int(machine["cores"]), threads) if cpu else 1.0
    assumed: list[str] = []

    def or_assumed(value: float | None, instead: float, what: str) -> tuple[float, tuple[str, str]]:
        if value:
            return float(value), ("probe", "as the machine states it")
        assumed.append(what)
        return instead, ("assumed", f"{what}: nothing on the machine tells")

    watt = _ASSUMED_W["cpu"] * threads if cpu else _ASSUMED_W["cuda"]
    tdp, tdp_known = or_assumed(machine.get("power_limit_w"), watt, f"power limit {watt:g} W")
    mhz = machine.get("highest_clock_mhz") or machine.get("clock_mhz")
    clock, clock_known = or_assumed(mhz and 1e6 * float(mhz), _ASSUMED_HZ, f"clock {_ASSUMED_HZ / 1e9:g} GHz")
    stated = ("probe", "as the machine states it" + (", the share of the threads in use" if share < 1.0 else ""))
    known: dict[str, tuple[str, str]] = {
        f"peak.{word}": ("probe", f"highest rate that any product reached: {which}")
        for word, (_, which) in peaks.items()
    }
    known |= {
        "compute.cores": ("probe", "threads in use" if cpu else "as the machine states it"),
        "compute.clock": clock_known, "memory.capacity": stated,
        "memory.bandwidth": ("probe", f"highest rate beyond the caches: {bandwidth[1]}"), "power.tdp": tdp_known,
    }  # fmt: skip
    cache, near = (float(machine.get(key) or 0) for key in ("last_cache_byte", "on_chip_byte"))
    known |= {key: stated for key, value in (("memory.l2", cache), ("memory.on_chip", near)) if value}
    chip = Chip(
        id=name, name=str(machine["name"]), vendor=str(machine["vendor"]) if not cpu else f"{machine['vendor']} (CPU)",
        year=2020, architecture=architecture_of(machine), kind="cpu" if cpu else "gpu",
        peak_flop_per_s={word: rate for word, (rate, _) in peaks.items()},
        cores=threads if cpu else int(machine["cores"]), clock_hz=clock,
        memory_byte=float(machine["memory_byte"]) * share, memory_bandwidth_byte_per_s=bandwidth[0],
        l2_byte=cache * share, on_chip_byte=near * threads if cpu else near, tdp_w=tdp,
    )  # fmt: skip
    return SeenChip(chip=chip, known=known, assumed=tuple(assumed))


#: Facts of a chip's file: the field of `Chip`, the unit it is printed in, and that unit in SI.
FACTS: Final[Mapping[str, tuple[str, str, float]]] = {
    "compute.cores": ("cores", "1", 1.0), "compute.clock": ("clock_hz", "MHz", 1e6),
    "memory.capacity": ("memory_byte", "GiB", 2.0**30),
    "memory.bandwidth": ("memory_bandwidth_byte_per_s", "GB/s", 1e9), "memory.l2": ("l2_byte", "KiB", 1024.0),
    "memory.on_chip": ("on_chip_byte", "KiB", 1024.0),
    "memory.host_bandwidth": ("host_bandwidth_byte_per_s", "GB/s", 1e9),
    "power.tdp": ("tdp_w", "W", 1.0), "power.idle": ("idle_w", "W", 1.0),
}  # fmt: skip
