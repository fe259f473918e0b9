"""The laws of chips, for every chip that ships: two ways to each peak, and where chips of a kind lie."""

import pytest

from hwmodels import catalog
from hwmodels.chip import LINEAGES, PRECISIONS, Chip

CHIPS = [catalog.chip(id) for id in catalog.chip_ids()]
GPUS = [chip for chip in CHIPS if chip.kind == "gpu"]

each_chip = pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.id)
each_gpu = pytest.mark.parametrize("chip", GPUS, ids=lambda chip: chip.id)


def test_there_are_gpus_and_others() -> None:
    assert 70 <= len(GPUS) < len(CHIPS)


# Printed rates are rounded, each to its own last digit.
ROUNDED = 1 - 2e-3


@each_chip
def test_narrower_numbers_are_never_slower(chip: Chip) -> None:
    words = [("fp64", "fp32"), ("fp32", "tf32"), ("fp8", "fp4")]
    words += [(wide, narrow) for wide in ("fp32", "tf32") for narrow in ("fp16", "bf16")]
    words += [(wide, narrow) for wide in ("fp16", "bf16") for narrow in ("fp8", "fp4")]
    if chip.has_matrix_units and chip.architecture != "volta":  # Volta's matrix units multiply fp16 and nothing else
        words += [("fp16", "int8"), ("bf16", "int8")]
    for rates in (chip.peak_flop_per_s, chip.vector_peak_flop_per_s):
        for wide, narrow in words:
            if wide in rates and narrow in rates:
                assert rates[narrow] >= rates[wide] * ROUNDED, (wide, narrow)


def rate_16_bit(chip: Chip) -> float:
    """The faster of the 16-bit rates, 0.0 without any [FLOP/s]."""
    return max(chip.peak_flop_per_s.get(word, 0.0) for word in ("fp16", "bf16"))


@each_chip
def test_each_halving_of_the_width_doubles_a_matrix_unit_of_a_gpu(chip: Chip) -> None:
    rates = chip.peak_flop_per_s
    if chip.kind == "gpu":
        # 1.5 %: the L40S prints 183, 362 and 733.
        if "tf32" in rates:
            assert rate_16_bit(chip) == pytest.approx(2 * rates["tf32"], rel=0.015)
        if "fp8" in rates:
            assert rates["fp8"] == pytest.approx(2 * rate_16_bit(chip), rel=0.015)
        if "fp4" in rates:  # Blackwell Ultra has more units for 4 bits
            assert 2 * ROUNDED <= rates["fp4"] / rates["fp8"] <= 3
    elif "fp8" in rates:  # from those that only store it in 8 bit to those with units of their own
        assert 1 <= rates["fp8"] / rate_16_bit(chip) <= 4


# Chips whose two 16-bit formats run at different rates: bf16 over fp16.
UNEQUAL_16_BIT = {"mi100": 0.5, "gaudi-3": 1677 / 459}


@each_chip
def test_both_16_bit_rates_are_equal_where_a_chip_has_both(chip: Chip) -> None:
    assert set(chip.peak_flop_per_s) <= set(PRECISIONS)
    if {"fp16", "bf16"} <= set(chip.peak_flop_per_s):
        ratio = chip.peak("bf16") / chip.peak("fp16")
        assert ratio == pytest.approx(UNEQUAL_16_BIT.get(chip.id, 1.0), rel=1e-3)


def has_double_units(chip: Chip) -> bool:
    """Whether a GPU is built for fp64 too: of Pascal and Ampere there are two kinds of die."""
    return chip.vector_peak_flop_per_s.get("fp64", chip.peak_flop_per_s.get("fp64", 0.0)) > chip.peak("fp32") / 8


# Fused multiply-adds of one core in one clock, as the architecture has them: the second way to the same peak.
FP32_LANES = {
    "fermi": 32, "kepler": 192, "maxwell": 128, "volta": 64, "turing": 64, "ada": 128, "hopper": 128, "blackwell": 128,
    "gcn": 64, "vega": 64, "cdna": 128, "cdna2": 128, "cdna3": 128, "cdna4": 128,
    "haswell": 16, "broadwell": 16, "skylake": 32,
}  # fmt: skip
FP32_LANES_OF_TWO_DIES = {"pascal": {True: 64, False: 128}, "ampere": {True: 64, False: 128}}
# The last of them chains four multiply-adds.
FP32_LANES_OF_CHIP = {"xeon-phi-7230": 32, "xeon-phi-7250": 32, "xeon-phi-7295": 64}
FP16_LANES_WITHOUT_FP32 = {"gc2": 32, "gc200": 64, "bow": 64, "wse-1": 4, "wse-2": 4, "wse-3": 8}
# fp32 on vector units where matrix units are faster.
FP32_VECTOR_LANES = {"cdna": 64, "cdna2": 64}
# The clock is the highest that a device reports, the rate a rounded share of a board's.
LOOSE_PEAK = {"b300-sxm": 0.03}


def test_lanes_are_known_for_every_architecture_of_gpus() -> None:
    assert set(LINEAGES["nvidia"] + LINEAGES["amd"]) <= set(FP32_LANES) | set(FP32_LANES_OF_TWO_DIES)


def lanes(chip: Chip) -> tuple[int, float]:
    """Multiply-adds of one core in one clock, and the rate they make up [FLOP/s]."""
    if chip.matrix_tile is not None:
        rows, columns = chip.matrix_tile
        words = [word for word in ("bf16", "fp16", "int8") if word in chip.peak_flop_per_s]
        return rows * columns, chip.peak(words[0])
    if chip.id in FP16_LANES_WITHOUT_FP32:
        return FP16_LANES_WITHOUT_FP32[chip.id], chip.peak("fp16")
    if chip.id in FP32_LANES_OF_CHIP:
        return FP32_LANES_OF_CHIP[chip.id], chip.peak("fp32")
    if chip.architecture in FP32_LANES_OF_TWO_DIES:
        return FP32_LANES_OF_TWO_DIES[chip.architecture][has_double_units(chip)], chip.peak("fp32")
    return FP32_LANES[chip.architecture], chip.peak("fp32")


@each_chip
def test_peak_is_cores_times_lanes_times_clock(chip: Chip) -> None:
    count, peak = lanes(chip)
    assert peak == pytest.approx(chip.cores * count * 2 * chip.clock_hz, rel=LOOSE_PEAK.get(chip.id, 0.01))
    if chip.architecture in FP32_VECTOR_LANES:
        per_clock = chip.cores * FP32_VECTOR_LANES[chip.architecture] * 2
        assert chip.vector_peak_flop_per_s["fp32"] == pytest.approx(per_clock * chip.clock_hz, rel=0.01)


# The same for 16-bit products on the matrix units of one core.
MATRIX_LANES = {
    "volta": 512, "turing": 512, "ada": 512, "hopper": 2048, "blackwell": 4096,
    "cdna": 512, "cdna2": 512, "cdna3": 1024, "cdna4": 2048,
}  # fmt: skip
MATRIX_LANES_OF_TWO_DIES = {"ampere": {True: 1024, False: 512}}


@each_gpu
def test_matrix_peak_is_cores_times_lanes_times_a_clock_not_above_the_highest(chip: Chip) -> None:
    if not chip.has_matrix_units:
        assert chip.architecture not in MATRIX_LANES
        return
    two = MATRIX_LANES_OF_TWO_DIES.get(chip.architecture)
    count = two[has_double_units(chip)] if two else MATRIX_LANES[chip.architecture]
    # Cards for games accumulate in fp32 at half the rate; so does the L40 as its maker prints it.
    halved = "GeForce" in chip.name or chip.id == "l40"
    clock_hz = rate_16_bit(chip) / (chip.cores * count * 2) * (2 if halved else 1)
    assert 0.9 <= clock_hz / chip.clock_hz <= 1.01


# What a vector unit does in 16 bits, over fp32: fp16 and bf16.
VECTOR_16_BIT = {"volta": (2, 0), "turing": (2, 0), "ada": (1, 0), "hopper": (2, 2)}
VECTOR_16_BIT_OF_TWO_DIES = {"ampere": {True: (4, 2), False: (1, 0)}}


@each_gpu
def test_vector_units_do_16_bit_products_as_often_as_their_generation_does(chip: Chip) -> None:
    two = VECTOR_16_BIT_OF_TWO_DIES.get(chip.architecture)
    times = two[has_double_units(chip)] if two else VECTOR_16_BIT.get(chip.architecture, (0, 0))
    for word, over_fp32 in zip(("fp16", "bf16"), times, strict=True):
        if word in chip.vector_peak_flop_per_s:
            assert chip.vector_peak_flop_per_s[word] == pytest.approx(over_fp32 * chip.peak("fp32"), rel=0.01)


# fp32 over fp64. A generation has dies for fp64 and dies that only have it; Hopper and Blackwell were cut on purpose.
SINGLE_OVER_DOUBLE = {
    "kepler": (3, 24), "maxwell": (32,), "pascal": (2, 32), "volta": (2,), "turing": (32,), "ampere": (1, 64),
    "ada": (64,), "hopper": (1, 67), "blackwell": (2, 60),
    "vega": (2, 4, 16), "cdna": (4,), "cdna2": (1,), "cdna3": (1,), "cdna4": (2,),
}  # fmt: skip


@each_gpu
def test_double_precision_is_the_share_of_single_that_the_generation_has(chip: Chip) -> None:
    if "fp64" in chip.peak_flop_per_s:
        ratio = chip.peak("fp32") / chip.peak("fp64")
        # 4 %: rates of a fraction of a TFLOP/s are printed with two digits.
        assert min(abs(ratio / share - 1) for share in SINGLE_OVER_DOUBLE[chip.architecture]) < 0.04
    if "fp64" in chip.vector_peak_flop_per_s:
        assert chip.vector_peak_flop_per_s["fp64"] == pytest.approx(chip.peak("fp64") / 2, rel=0.01)


# int8 over the 16-bit rate; where there is none, four int8 products take the place of one of fp32.
INT8_OVER_16_BIT = {
    "volta": 0.5, "turing": 2, "ampere": 2, "ada": 2, "hopper": 2, "blackwell": 2,
    "vega": 2, "cdna": 1, "cdna2": 1, "cdna3": 2, "cdna4": 2,
}  # fmt: skip


@each_gpu
def test_int8_is_as_fast_as_the_generation_makes_it(chip: Chip) -> None:
    if "int8" not in chip.peak_flop_per_s:
        return
    if rate_16_bit(chip):
        # Integers have no accumulation to slow down, so cards for games keep the full rate.
        times = INT8_OVER_16_BIT[chip.architecture] * (2 if "GeForce" in chip.name else 1)
        assert chip.peak("int8") == pytest.approx(times * rate_16_bit(chip), rel=0.03)
    else:
        assert chip.peak("int8") == pytest.approx(4 * chip.peak("fp32"), rel=0.03)


# L1 and shared memory of one core [KiB].
ON_CHIP_KIB = {
    "kepler": (64, 128), "maxwell": (144,), "pascal": (88, 144), "volta": (128,), "turing": (96,), "ampere": (128, 192),
    "ada": (128,), "hopper": (256,), "blackwell": (256,),
    "vega": (80,), "cdna": (80,), "cdna2": (80,), "cdna3": (96,), "cdna4": (192,),
}  # fmt: skip


@each_gpu
def test_every_core_has_the_memory_of_its_generation(chip: Chip) -> None:
    each_kib = chip.on_chip_byte / chip.cores / 1024
    assert min(abs(each_kib - kib) for kib in ON_CHIP_KIB[chip.architecture]) < 0.5


@each_gpu
def test_structured_sparsity_came_with_ampere_and_cdna3(chip: Chip) -> None:
    first = chip.lineage.index("ampere" if "ampere" in chip.lineage else "cdna3")
    assert chip.sparse_multiplier == (2 if chip.lineage.index(chip.architecture) >= first else 1)


# Least and greatest of each kind: bandwidth [B/s], memory [B], power [W], clock [Hz], and FLOP of at least 16 bits (of
# the widest format if there are none) for each byte of main memory, where a chip turns from memory- to compute-bound.
WHERE_CHIPS_LIE = {
    "gpu": ((1.5e11, 1e13), (4 * 2**30, 512 * 2**30), (70, 1500), (7e8, 3e9), (5, 500)),
    "systolic": ((3e10, 1e13), (8 * 2**30, 2048 * 2**30), (70, 1500), (5e8, 3e9), (20, 3000)),
    "sram": ((1e13, 1e14), (2**28, 2**31), (100, 300), (1e9, 3e9), (1, 10)),
    "wafer": ((1e15, 1e17), (2**34, 2**36), (1e4, 5e4), (5e8, 2e9), (0.1, 1)),
    "cpu": ((3e10, 1e12), (8 * 2**30, 512 * 2**30), (70, 500), (1e9, 4e9), (5, 50)),
}


@each_chip
def test_chip_lies_where_chips_of_its_kind_lie(chip: Chip) -> None:
    bandwidth, memory, power, clock, intensity = WHERE_CHIPS_LIE[chip.kind]
    assert bandwidth[0] <= chip.memory_bandwidth_byte_per_s <= bandwidth[1]
    assert memory[0] <= chip.memory_byte <= memory[1]
    assert power[0] <= chip.tdp_w <= power[1]
    assert clock[0] <= chip.clock_hz <= clock[1]
    assert 2010 <= chip.year <= 2030
    rates = chip.peak_flop_per_s
    rate = max(rates.get("fp32", 0.0), rate_16_bit(chip)) or max(rates.values())
    assert intensity[0] <= rate / chip.memory_bandwidth_byte_per_s <= intensity[1]


@each_chip
def test_levels_of_memory_grow_and_slow_down_with_distance(chip: Chip) -> None:
    if chip.kind in ("sram", "wafer"):
        assert chip.on_chip_byte == chip.memory_byte
    else:
        assert 0 < chip.on_chip_byte < chip.memory_byte / 50
        assert chip.l2_byte < chip.memory_byte / 50
        # Memory chips come in whole numbers of GiB; Blackwell Ultra's maker takes some away and counts in GB.
        assert chip.memory_byte % (10**9 if chip.id in ("b300-sxm", "gb300") else 2**30) == 0
    assert (chip.l2_byte > 0) or chip.kind not in ("gpu", "cpu")
    if chip.far_memory_byte is not None and chip.far_memory_bandwidth_byte_per_s is not None:
        assert chip.far_memory_byte > chip.memory_byte
        assert chip.far_memory_bandwidth_byte_per_s < chip.memory_bandwidth_byte_per_s
    if chip.host_bandwidth_byte_per_s is not None:
        assert 3e9 <= chip.host_bandwidth_byte_per_s <= min(5e11, chip.memory_bandwidth_byte_per_s)
    if chip.on_chip_bandwidth_byte_per_s is not None:
        assert chip.on_chip_bandwidth_byte_per_s >= chip.memory_bandwidth_byte_per_s


@pytest.mark.parametrize(
    "ids",
    [
        ("v100-pcie-16gb", "v100-pcie-32gb"),
        ("v100-sxm2-16gb", "v100-sxm2-32gb"),
        ("a100-pcie-40gb", "a100-pcie-80gb"),
        ("a100-sxm4-40gb", "a100-sxm4-80gb", "a800-sxm4-80gb", "a100-pcie-80gb"),
        ("quadro-rtx-6000", "quadro-rtx-8000"),
        ("v100-sxm3-32gb", "v100-sxm3-32gb-450w"),
    ],
)
def test_variants_of_one_die_at_one_clock_share_its_rates(ids: tuple[str, ...]) -> None:
    first, *others = map(catalog.chip, ids)
    for other in others:
        assert other.peak_flop_per_s == first.peak_flop_per_s
        assert other.vector_peak_flop_per_s == first.vector_peak_flop_per_s
        assert (other.cores, other.clock_hz, other.l2_byte) == (first.cores, first.clock_hz, first.l2_byte)
