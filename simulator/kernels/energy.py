"""Joules of kernels: what each FLOP and byte costs at each level, and what the chip draws whatever it does.

The constants are published fits of whole boards where there are any, else scaled between process nodes by published
tables of single operations; a kernel's joules carry both the operation and the instruction that issues it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from hwmodels.chip import Chip

from .kernel_time import KernelTime
from .optable import Floats
from .power import DRAM_J_PER_BYTE, chip_idle_w
from .settings import Settings, silicon

#: Joules of single operations: arithmetic alone, and accesses of 64 bits [pJ]. 45 nm: Horowitz, "Computing's energy
#: problem", ISSCC 2014. 7 nm: Jouppi et al., "Ten lessons from three generations", ISCA 2021, table 2 (recalled).
OPERATION_PJ: Final = {
    45: {
        "int8 add": 0.03, "int8 multiply": 0.2, "fp16 add": 0.4, "fp16 multiply": 1.1, "fp32 add": 0.9,
        "fp32 multiply": 3.7, "sram 8 KB": 10.0, "sram 32 KB": 20.0, "sram 1 MB": 100.0, "dram": 1950.0,
    },
    7: {
        "int8 add": 0.007, "int8 multiply": 0.07, "fp16 add": 0.16, "fp16 multiply": 0.34, "fp32 add": 0.38,
        "fp32 multiply": 1.31, "sram 8 KB": 7.5, "sram 32 KB": 8.5, "sram 1 MB": 14.0, "dram": 250.0,
    },
}  # fmt: skip

#: Feature size by architecture and first year of shipment [nm].
PROCESS_NM: Final[dict[str, tuple[tuple[int, float], ...]]] = {
    "fermi": ((0, 40.0),), "kepler": ((0, 28.0),), "maxwell": ((0, 28.0),), "pascal": ((0, 16.0),),
    "volta": ((0, 12.0),), "turing": ((0, 12.0),), "ampere": ((0, 7.0),), "ada": ((0, 5.0),), "hopper": ((0, 4.0),),
    "blackwell": ((0, 4.0),), "gcn": ((0, 28.0),), "vega": ((0, 14.0), (2018, 7.0)), "cdna": ((0, 7.0),),
    "cdna2": ((0, 6.0),), "cdna3": ((0, 5.0),), "cdna4": ((0, 3.0),),
    "tpu": ((0, 28.0), (2017, 16.0), (2021, 7.0), (2023, 5.0)), "ipu": ((0, 16.0), (2020, 7.0)),
    "wafer": ((0, 16.0), (2021, 7.0), (2024, 5.0)), "haswell": ((0, 22.0),), "broadwell": ((0, 14.0),),
    "skylake": ((0, 14.0),), "many-core": ((0, 14.0),), "gaudi": ((0, 16.0), (2022, 7.0), (2024, 5.0)),
    "neuron": ((0, 7.0), (2024, 5.0), (2025, 3.0)), "ascend": ((0, 7.0),),
    "reconfigurable": ((0, 7.0), (2023, 5.0)),
}  # fmt: skip

#: Whole boards fitted by least squares on power measured over arithmetic intensity (te42kyfo/gpu-benches@1c36d50,
#: gpu-roofline, vector FMA kernels): constant power [W], one byte of main memory with its way through the caches [pJ],
#: one fp32 FLOP at the highest clock with its instruction and registers [pJ]. Energy per FLOP proportional to the
#: clock; rms error of the power 0.9 to 2.9 %.
MEASURED_BOARDS: Final = {
    "a100-sxm4": (69.3, 115.9, 4.99), "h200-sxm5": (98.4, 124.1, 5.94), "a40": (158.5, 71.8, 5.52),
    "l40": (102.9, 123.8, 5.72),
}  # fmt: skip
#: One fp32 FLOP of chips without a fitted board: those of the same architecture, else scaled from an A100's [pJ].
VECTOR_PJ: Final = {"ampere": 5.2, "ada": 5.7, "hopper": 5.9}
#: One byte from the cache that all cores share: a large SRAM and a few millimetres of wire [pJ]; recalled.
CACHE_PJ_PER_BYTE: Final = 15.0
#: One 16-bit FLOP on a matrix unit against an fp32 FLOP on a vector unit of the same chip: one instruction feeds
#: hundreds of multipliers. From the clocks that chips hold in dense products at their power limit (A100, H100);
#: unvalidated by a power meter.
MATRIX_SHARE: Final = 0.17
#: Energy of a FLOP against that of fp32 (vector units) or of 16 bit (matrix units), from the tables above.
VECTOR_WORD: Final = {"fp64": 2.0, "fp32": 1.0, "tf32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.25}
MATRIX_WORD: Final = {
    "fp64": 8.0, "fp32": 4.0, "tf32": 2.0, "fp16": 1.0, "bf16": 1.0, "flex16": 1.0, "fp8": 0.5, "int8": 0.4,
    "fp4": 0.25,
}  # fmt: skip
#: Energy of one operation grows with the clock to this power, since voltage follows it: 2.1 fits the A40 best, 0.5 the
#: L40; 1 is within 3 % on both.
CLOCK_EXPONENT: Final = 1.0


def process_nm(chip: Chip) -> float:
    """Feature size of a chip [nm]."""
    return [nm for year, nm in PROCESS_NM[chip.architecture] if chip.year >= year][-1]


def node_factor(from_nm: float, to_nm: float) -> float:
    """Energy of an operation at one feature size against another.

    .. math:: (to / from)^{p}, \\quad p = \\ln(e_{45} / e_7) / \\ln(45 / 7)

    with the energies of an fp32 multiply and add of `OPERATION_PJ`.
    """
    wide, narrow = (OPERATION_PJ[nm]["fp32 multiply"] + OPERATION_PJ[nm]["fp32 add"] for nm in (45, 7))
    power = np.log(wide / narrow) / np.log(45.0 / 7.0)
    return float((to_nm / from_nm) ** power)


def vector_pj_per_flop(chip: Chip) -> float:
    """Energy of one fp32 FLOP on the vector units at the highest clock [pJ]: fitted, else scaled from an A100's."""
    if silicon(chip) in MEASURED_BOARDS:
        return MEASURED_BOARDS[silicon(chip)][2]
    kin = VECTOR_PJ.get(chip.architecture)
    return kin if kin is not None else VECTOR_PJ["ampere"] * node_factor(7.0, process_nm(chip))


def constant_w(chip: Chip) -> float:
    """Power that a chip draws whatever it does [W]: fitted, else as `power` has it."""
    if silicon(chip) in MEASURED_BOARDS:
        return MEASURED_BOARDS[silicon(chip)][0]
    return chip_idle_w(chip)


@dataclass(frozen=True, kw_only=True)
class EnergyRates:
    """Joules of one FLOP of a setting's products, of one byte by level, and the constant power."""

    joule_per_flop: float
    joule_per_dram_byte: float
    joule_per_cache_byte: float
    constant_w: float


def energy_rates(chip: Chip, word: str, *, on_matrix_units: bool) -> EnergyRates:
    """What a chip's operations cost in a precision.

    Bytes of machines whose main memory is on the chip (IPU, wafer) cost those of a cache.

    Raises
    ------
    KeyError
        For a word no unit multiplies in.
    """
    vector = vector_pj_per_flop(chip)
    flop = vector * (MATRIX_SHARE * MATRIX_WORD[word] if on_matrix_units else VECTOR_WORD[word])
    shrink = node_factor(7.0, process_nm(chip))
    on_chip = chip.kind in ("sram", "wafer")
    dram = MEASURED_BOARDS.get(silicon(chip), (0.0, DRAM_J_PER_BYTE * 1e12, 0.0))[1]
    return EnergyRates(
        joule_per_flop=flop * 1e-12,
        joule_per_dram_byte=(CACHE_PJ_PER_BYTE * shrink if on_chip else dram) * 1e-12,
        joule_per_cache_byte=CACHE_PJ_PER_BYTE * shrink * 1e-12,
        constant_w=constant_w(chip),
    )


def kernel_joules(time: KernelTime, settings: Settings, *, clock_share: Floats | float = 1.0) -> Floats:
    """Energy of kernels on the chip, at most what its power limit allows in the time they take.

    .. math:: E = \\min(P_0 t + s (e_F F + e_C B_C) + e_D B_D,\\; P_{tdp} t)

    with the constant power, the FLOPs F, the bytes B_D of main memory and those B_C that only caches serve, and the
    clock's share s of the highest. Shape (rows,) [J]. Leaves out: data (zeros toggle nothing), temperature, the host,
    voltage bins of single boards.
    """
    rates = [
        energy_rates(s.chip, s.product_word, on_matrix_units=s.on_matrix_units or s.chip.kind in ("sram", "wafer"))
        for s in settings.distinct
    ]

    def column(name: str) -> Floats:
        return np.array([getattr(rate, name) for rate in rates])[settings.row]

    cached = np.maximum(time.cache_byte - time.dram_byte, 0.0)
    dynamic = column("joule_per_flop") * time.flop + column("joule_per_cache_byte") * cached
    whole = (
        column("constant_w") * time.device_s
        + np.asarray(clock_share) ** CLOCK_EXPONENT * dynamic
        + column("joule_per_dram_byte") * time.dram_byte
    )
    return np.asarray(np.minimum(whole, settings.tdp_w * time.device_s))
