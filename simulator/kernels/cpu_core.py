"""Facts of CPU cores and how a CPU's memories serve: vectors, FMA ports, private caches, a near and a far memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from .optable import Floats
from .settings import PRECISION_WORDS, Settings

Values = Mapping[str, Floats]


class CpuError(ValueError):
    """A kernel that a CPU cannot run, or a chip that is no CPU."""


@dataclass(frozen=True, kw_only=True)
class Core:
    """One core of an architecture: width of a vector [B], FMA ports, clocks from an FMA to the one that needs it,
    vector registers, and the cache of its own (its half, where two cores share one) [B]."""

    vector_byte: float
    ports: float
    latency: float
    registers: float
    private_byte: float

    @property
    def accumulators(self) -> float:
        """Accumulators of the largest register tile; some registers hold the operands."""
        return self.registers - 4.0

    @property
    def in_flight(self) -> float:
        """Independent FMAs that keep all ports busy."""
        return self.ports * self.latency


#: Recalled from Intel's optimization reference manual and the Knights Landing paper (Sodani et al., IEEE Micro 36(2),
#: 2016): latencies 5 / 5 / 4 / 6 clocks, two FMA ports each, 1 MiB for every two cores of Knights Landing.
CORES: Final[Mapping[str, Core]] = {
    "haswell": Core(vector_byte=32.0, ports=2.0, latency=5.0, registers=16.0, private_byte=256.0 * 1024),
    "broadwell": Core(vector_byte=32.0, ports=2.0, latency=5.0, registers=16.0, private_byte=256.0 * 1024),
    "skylake": Core(vector_byte=64.0, ports=2.0, latency=4.0, registers=32.0, private_byte=1024.0 * 1024),
    "many-core": Core(vector_byte=64.0, ports=2.0, latency=6.0, registers=32.0, private_byte=512.0 * 1024),
    # Of no one maker: the usual core of that width, to be measured on.
    "vectors-128": Core(vector_byte=16.0, ports=2.0, latency=4.0, registers=32.0, private_byte=512.0 * 1024),
    "vectors-256": Core(vector_byte=32.0, ports=2.0, latency=4.0, registers=16.0, private_byte=512.0 * 1024),
    "vectors-512": Core(vector_byte=64.0, ports=2.0, latency=4.0, registers=32.0, private_byte=1024.0 * 1024),
}


def core_of(chip: Chip) -> Core:
    """The core of a chip.

    Raises
    ------
    CpuError
        If the chip is no CPU or its architecture is not known here.
    """
    if chip.kind != "cpu" or chip.architecture not in CORES:
        raise CpuError(
            f"chip {chip.id!r} ({chip.kind}, {chip.architecture}) is not priced as a CPU; architectures known: "
            f"{', '.join(CORES)}."
        )
    return CORES[chip.architecture]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Facts of the settings as columns, shape (rows,): see `Core`; ``lanes`` elements of a vector multiply at once,
    ``cached_byte`` is all caches together."""

    lanes: Floats
    accumulators: Floats
    in_flight: Floats
    private_byte: Floats
    cached_byte: Floats
    cores: Floats
    peak_flop_per_s: Floats
    cache_byte_per_s: Floats

    @classmethod
    def of(cls, settings: Settings, values: Values) -> Machine:
        """Gathered from the chips of the settings."""
        cores = [core_of(setting.chip) for setting in settings.distinct]
        chips = [setting.chip for setting in settings.distinct]

        def rows(column: list[float]) -> Floats:
            return np.array(column, dtype=np.float64)[settings.row]

        private = [core.private_byte * chip.cores for core, chip in zip(cores, chips, strict=True)]
        stated = [max(chip.l2_byte, chip.on_chip_byte) for chip in chips]
        return cls(
            lanes=rows(
                [
                    c.vector_byte / PRECISION_WORDS[s.product_word][1]
                    for c, s in zip(cores, settings.distinct, strict=True)
                ]
            ),
            accumulators=rows([core.accumulators for core in cores]),
            in_flight=rows([core.in_flight for core in cores]),
            private_byte=rows([core.private_byte for core in cores]),
            cached_byte=rows([max(pair) for pair in zip(private, stated, strict=True)]),
            cores=settings.cores,
            peak_flop_per_s=settings.peak_flop_per_s,
            cache_byte_per_s=values["cpu_cache_byte_per_clock"] * settings.cores * settings.clock_hz,
        )


def resident_share(byte: Floats, machine: Machine, values: Values) -> Floats:
    """Share of a working set that stays in the caches between calls, 1 / (1 + (B / (r B_caches))^4); shape (rows,)."""
    return np.asarray(1.0 / (1.0 + (byte / (values["cpu_resident"] * machine.cached_byte)) ** 4))


def memory_s(
    byte: Floats, footprint_byte: Floats, settings: Settings, *, mode: str = "flat", refuse: bool = True
) -> Floats:
    """Seconds to move bytes to and from a near memory with a far one behind it, both at their nominal rates.

    With the far share x = max(0, 1 - near capacity / footprint): ``flat`` (the program sees both; pages that do not fit
    lie in the far memory) moves both streams at once, max((1 - x) B / b_near, x B / b_far); ``cache`` (the near memory
    caches the far one) fills the near memory with what it fetched, so that the near memory moves B (1 + x). A chip
    without a far memory has its near one alone. ``refuse=False`` leaves the capacity to the caller (a step checks its
    memory as a whole). Leaves out conflicts of a direct-mapped cache. shape (rows,) [s]

    Raises
    ------
    CpuError
        If a footprint fits in no memory the chip has, or the mode is not one of "flat", "cache".
    """
    if mode not in ("flat", "cache"):
        raise CpuError(f"memory mode {mode!r} is not known; one of flat, cache.")
    chips = [setting.chip for setting in settings.distinct]
    near = np.array([chip.memory_byte for chip in chips])[settings.row]
    far = np.array([chip.far_memory_byte or 0.0 for chip in chips])[settings.row]
    far_rate = np.array([chip.far_memory_bandwidth_byte_per_s or np.inf for chip in chips])[settings.row]
    room = near + far if mode == "flat" else np.where(far > 0.0, far, near)
    if refuse and np.any(footprint_byte > room):
        i = int(np.argmax(footprint_byte - room))
        chip = chips[settings.row[i]]
        raise CpuError(
            f"row {i} needs {footprint_byte[i]:.3g} byte; {chip.id} holds {room[i]:.3g} byte in mode {mode}. "
            "Use a smaller batch, or more chips."
        )
    share = np.maximum(0.0, 1.0 - near / np.maximum(footprint_byte, 1.0))
    near_byte = byte * (1.0 - share) if mode == "flat" else byte * (1.0 + share)
    return np.asarray(np.maximum(near_byte / settings.dram_byte_per_s, share * byte / far_rate))


def register_rate(machine: Machine, vectors: Floats | float, columns: Floats | float) -> Floats:
    """Rate of a register tile of `vectors` x `columns` accumulators, against full ports; at most 1, shape (rows,).

    .. math:: e = 1 / (\\max(1, L / (u w)) + (u + w) / (2 u w) - c_0)

    L FMAs must be in flight; each step along k loads u vectors and w broadcast elements for u w FMAs. c_0 makes one
    vector by all accumulators 1.
    """
    whole = machine.accumulators
    tile = np.maximum(np.asarray(vectors) * columns, 1.0)
    loads = (vectors + columns) / (2.0 * tile)
    least = (1.0 + whole) / (2.0 * whole)
    return np.asarray(1.0 / (np.maximum(1.0, machine.in_flight / tile) + np.maximum(loads - least, 0.0)))
