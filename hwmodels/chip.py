"""A chip: what it could do at best, what it can hold, what it draws. Facts only; nothing here is an efficiency."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from hwmodels.datafile import DataFileError, TomlFile, did_you_mean
from hwmodels.facts import STATUSES, Fact, FactReader, FrozenMapping, Source

#: Words for number formats, the same in every package. "fp16" and "bf16" multiply in 16 bit on the matrix unit
#: where the chip has one (accumulating in fp32), else on the vector units.
PRECISIONS: Final = ("fp64", "fp32", "tf32", "fp16", "bf16", "fp8", "fp4", "int8", "flex16")
#: Generations of one maker, oldest first: what was measured on one carries over to its neighbours first.
LINEAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "nvidia": ("fermi", "kepler", "maxwell", "pascal", "volta", "turing", "ampere", "ada", "hopper", "blackwell"),
    "amd": ("gcn", "vega", "cdna", "cdna2", "cdna3", "cdna4"),
    "google": ("tpu",),
    "graphcore": ("ipu",),
    "cerebras": ("wafer",),
    "intel": ("haswell", "broadwell", "skylake", "many-core"),
    "habana": ("gaudi",),
    "aws": ("neuron",),
    "huawei": ("ascend",),
    "sambanova": ("reconfigurable",),
    # CPUs of which no more is known than how wide their vectors are: what a user measures.
    "any cpu": ("vectors-128", "vectors-256", "vectors-512"),
}
ARCHITECTURES: Final = tuple(word for line in LINEAGES.values() for word in line)
#: Which model of `simulator.kernels` prices a chip: many cores over a cache and DRAM; arrays of multipliers fed by
#: explicit copies; memory spread over the tiles; a wafer of them; vector cores with coherent caches.
KINDS: Final = ("gpu", "systolic", "sram", "wafer", "cpu")
#: Architectures whose 16-bit products run on the vector units.
WITHOUT_MATRIX_UNITS: Final = (
    "fermi", "kepler", "maxwell", "pascal", "gcn", "vega", "haswell", "broadwell", "skylake", "many-core",
    "vectors-128", "vectors-256", "vectors-512",
)  # fmt: skip


_OPTIONAL_FACTS: Final = (
    "on_chip_bandwidth_byte_per_s",
    "fabric_bandwidth_byte_per_s",
    "far_memory_byte",
    "far_memory_bandwidth_byte_per_s",
    "host_bandwidth_byte_per_s",
)


class ChipError(ValueError):
    """A chip that cannot be, or a question that it cannot answer."""


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip, as its datasheet has it.

    Parameters
    ----------
    peak_flop_per_s
        Dense peak for each precision the chip has at its highest clock, on its fastest units [FLOP/s]. A word absent:
        the chip cannot.
    vector_peak_flop_per_s
        The rate on the vector units, for the precisions whose fastest units are others [FLOP/s].
    sparse_multiplier
        What the maker says structured (2:4) sparsity multiplies the peak by; 1 without it.
    cores
        Units that work is tiled over: streaming multiprocessors of a GPU, matrix units of a systolic chip, tiles of a
        machine of SRAM, cores of a CPU.
    dies
        Dies that are programmed as devices of their own; the other figures are those of all together.
    clock_hz
        Highest (boost) clock [Hz].
    memory_byte, memory_bandwidth_byte_per_s
        Main memory and its nominal rate [B, B/s].
    l2_byte
        Cache that all cores share, 0 if there is none [B].
    on_chip_byte
        L1 and shared memory of all cores together; vector memory of a systolic chip [B].
    on_chip_bandwidth_byte_per_s, fabric_bandwidth_byte_per_s
        Rate of the on-chip memory, and of the fabric between tiles, all tiles together [B/s]; None: no source.
    far_memory_byte, far_memory_bandwidth_byte_per_s
        A second, slower memory behind the main one (DDR behind MCDRAM, streaming memory behind an IPU) [B, B/s];
        None: none.
    host_bandwidth_byte_per_s
        Link to the host, one direction [B/s]; None: no source.
    tdp_w, idle_w
        Board power limit, and power with a context open but nothing running; None: no source [W].
    matrix_tile
        Rows and columns of one systolic matrix unit, None for GPUs.
    measured_as
        Spellings of this chip in published tables of measurements.
    """

    id: str
    name: str
    vendor: str
    year: int
    architecture: str
    kind: str
    peak_flop_per_s: Mapping[str, float] = field(hash=False)
    vector_peak_flop_per_s: Mapping[str, float] = field(default_factory=dict, hash=False)
    sparse_multiplier: float = 1.0
    cores: int
    dies: int = 1
    clock_hz: float
    memory_byte: float
    memory_bandwidth_byte_per_s: float
    l2_byte: float = 0.0
    on_chip_byte: float = 0.0
    on_chip_bandwidth_byte_per_s: float | None = None
    fabric_bandwidth_byte_per_s: float | None = None
    far_memory_byte: float | None = None
    far_memory_bandwidth_byte_per_s: float | None = None
    host_bandwidth_byte_per_s: float | None = None
    tdp_w: float
    idle_w: float | None = None
    matrix_tile: tuple[int, int] | None = None
    measured_as: tuple[str, ...] = ()
    facts: Mapping[str, Fact] = field(default_factory=dict, hash=False, repr=False)
    sources: Mapping[str, Source] = field(default_factory=dict, hash=False, repr=False)
    status: str = "provisional"

    def __post_init__(self) -> None:
        for name in ("peak_flop_per_s", "vector_peak_flop_per_s", "facts", "sources"):
            object.__setattr__(self, name, FrozenMapping(getattr(self, name)))
        self._require_one_of("architecture", ARCHITECTURES)
        self._require_one_of("kind", KINDS)
        self._require_one_of("status", STATUSES)
        if not self.peak_flop_per_s:
            raise ChipError(f"Chip {self.id!r}: peak_flop_per_s is empty; give at least one precision.")
        for word, rate in self.peak_flop_per_s.items():
            if word not in PRECISIONS:
                near = did_you_mean(word, PRECISIONS)
                raise ChipError(f"Chip {self.id!r}: precision {word!r} is not one of {', '.join(PRECISIONS)}.{near}")
            self._require_positive(f"peak_flop_per_s[{word!r}]", rate)
        for word, rate in self.vector_peak_flop_per_s.items():
            self._require_positive(f"vector_peak_flop_per_s[{word!r}]", rate)
            if rate > self.peak_flop_per_s.get(word, 0.0):
                raise ChipError(
                    f"Chip {self.id!r}: vector_peak_flop_per_s[{word!r}] is {rate:g}; at most the peak of {word!r}."
                )
        for name in ("cores", "dies", "clock_hz", "memory_byte", "memory_bandwidth_byte_per_s", "tdp_w"):
            self._require_positive(name, getattr(self, name))
        for name in _OPTIONAL_FACTS:
            if getattr(self, name) is not None:
                self._require_positive(name, getattr(self, name))
        if (self.far_memory_byte is None) != (self.far_memory_bandwidth_byte_per_s is None):
            raise ChipError(f"Chip {self.id!r}: far memory needs both a capacity and a bandwidth.")
        if not 1.0 <= self.sparse_multiplier <= 16.0:
            raise ChipError(f"Chip {self.id!r}: sparse_multiplier is {self.sparse_multiplier!r}; from 1 to 16.")
        for name in ("l2_byte", "on_chip_byte"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise ChipError(f"Chip {self.id!r}: {name} is {getattr(self, name)!r}; a finite number, 0 or more.")
        if self.idle_w is not None and not 0 <= self.idle_w < self.tdp_w:
            raise ChipError(f"Chip {self.id!r}: idle_w is {self.idle_w!r}; from 0 to below tdp_w = {self.tdp_w:g} W.")
        if (self.matrix_tile is not None) != (self.kind == "systolic"):
            raise ChipError(f"Chip {self.id!r}: matrix_tile goes with kind 'systolic', and only with it.")

    @property
    def has_matrix_units(self) -> bool:
        """Whether 16-bit products run on units of their own rather than on the vector units."""
        return self.architecture not in WITHOUT_MATRIX_UNITS

    @property
    def lineage(self) -> tuple[str, ...]:
        """Architectures of the same maker, oldest first, this chip's among them."""
        return next(line for line in LINEAGES.values() if self.architecture in line)

    @property
    def one_die(self) -> Chip:
        """What one kernel runs on: a share of the chip where its dies are programmed apart, else the chip."""
        if self.dies == 1:
            return self
        shares = ("memory_byte", "memory_bandwidth_byte_per_s", "l2_byte", "on_chip_byte", "tdp_w")
        return replace(
            self,
            dies=1,
            cores=self.cores // self.dies,
            peak_flop_per_s={word: rate / self.dies for word, rate in self.peak_flop_per_s.items()},
            vector_peak_flop_per_s={word: rate / self.dies for word, rate in self.vector_peak_flop_per_s.items()},
            idle_w=None if self.idle_w is None else self.idle_w / self.dies,
            **{name: getattr(self, name) / self.dies for name in shares},
        )

    def peak(self, precision: str) -> float:
        """Dense peak rate [FLOP/s] in `precision`.

        Raises
        ------
        ChipError
            If the chip has no rate for it, naming those it has.
        """
        try:
            return self.peak_flop_per_s[precision]
        except KeyError:
            legal = [word for word in PRECISIONS if word in self.peak_flop_per_s]
            near = did_you_mean(precision, legal)
            raise ChipError(
                f"chip {self.id!r} has no rate for precision {precision!r}.{near} Legal: {', '.join(legal)}."
            ) from None

    def _require_one_of(self, name: str, legal: tuple[str, ...]) -> None:
        value = getattr(self, name)
        if value not in legal:
            near = did_you_mean(str(value), legal)
            raise ChipError(f"Chip {self.id!r}: {name} is {value!r}; one of {', '.join(legal)}.{near}")

    def _require_positive(self, name: str, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ChipError(f"Chip {self.id!r}: {name} is {value!r}; a finite number above 0.")


def read_chip(file: TomlFile) -> Chip:
    """The chip described by a data file; every problem of the file in one `DataFileError`."""
    take = FactReader(file)
    if take.raw("schema") != 1:
        take.problem(("schema",), "must be 1.")
    year = take.raw("year")
    if not isinstance(year, int) or not 1990 <= year <= 2100:
        take.problem(("year",), f"is {year!r}; the year of first shipment.")
    tile = take.raw("matrix_tile")
    if tile is not None and not (isinstance(tile, list) and len(tile) == 2 and all(type(n) is int for n in tile)):
        take.problem(("matrix_tile",), f"is {tile!r}; rows and columns, as in [128, 128].")
    values: dict[str, Any] = {
        "id": take.text("id"),
        "name": take.text("name"),
        "vendor": take.text("vendor"),
        "architecture": take.text("architecture", legal=ARCHITECTURES),
        "kind": take.text("kind", legal=KINDS),
        "status": take.text("status", legal=STATUSES),
        "measured_as": take.texts("measured_as"),
        "peak_flop_per_s": take.fact_table("peak", dimension="flop/s", legal=PRECISIONS),
        "vector_peak_flop_per_s": (
            take.fact_table("vector_peak", dimension="flop/s", legal=PRECISIONS) if take.raw("vector_peak") else {}
        ),
        "sparse_multiplier": take.fact("compute", "sparse_multiplier", dimension="1", default=1.0),
        "cores": take.count("compute", "cores"),
        "dies": take.count("compute", "dies", default=1),
        "clock_hz": take.fact("compute", "clock", dimension="hz"),
        "memory_byte": take.fact("memory", "capacity", dimension="byte"),
        "memory_bandwidth_byte_per_s": take.fact("memory", "bandwidth", dimension="byte/s"),
        "l2_byte": take.fact("memory", "l2", dimension="byte", default=0.0),
        "on_chip_byte": take.fact("memory", "on_chip", dimension="byte", default=0.0),
        "on_chip_bandwidth_byte_per_s": take.optional_fact("memory", "on_chip_bandwidth", dimension="byte/s"),
        "fabric_bandwidth_byte_per_s": take.optional_fact("memory", "fabric_bandwidth", dimension="byte/s"),
        "far_memory_byte": take.optional_fact("memory", "far_capacity", dimension="byte"),
        "far_memory_bandwidth_byte_per_s": take.optional_fact("memory", "far_bandwidth", dimension="byte/s"),
        "host_bandwidth_byte_per_s": take.optional_fact("memory", "host_bandwidth", dimension="byte/s"),
        "tdp_w": take.fact("power", "tdp", dimension="w"),
        "idle_w": take.optional_fact("power", "idle", dimension="w"),
    }
    take.finish()
    assert isinstance(year, int)  # finish() has raised otherwise
    try:
        return Chip(
            year=year, matrix_tile=tuple(tile) if tile else None, facts=take.facts, sources=take.sources, **values
        )
    except ChipError as error:
        raise DataFileError(f"{file.name}: {error}") from None
