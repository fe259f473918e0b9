"""Joules of kernels against boards with a power meter, published tables of operations, and limits."""

import numpy as np
import pytest

from hwmodels import catalog
from simulator.kernels.energy import (
    MATRIX_WORD,
    OPERATION_PJ,
    PROCESS_NM,
    VECTOR_WORD,
    constant_w,
    energy_rates,
    kernel_joules,
    node_factor,
    process_nm,
    vector_pj_per_flop,
)
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.settings import Setting, Settings

CHIPS = [catalog.chip(id) for id in catalog.chip_ids()]
each_chip = pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.id)

#: Power of one board over arithmetic intensity, vector FMA kernels (te42kyfo/gpu-benches@1c36d50, gpu-roofline):
#: chip, GB/s, GFLOP/s, MHz, W.
BOARDS = [
    ("a100-sxm4-40gb", 1372, 343, 1410, 227), ("a100-sxm4-40gb", 1150, 16384, 1410, 291),
    ("a100-sxm4-40gb", 554, 17863, 1410, 224), ("a100-sxm4-40gb", 278, 18944, 1410, 195),
    ("a100-sxm4-40gb", 149, 19050, 1410, 183), ("a40", 679, 170, 1740, 206), ("a40", 677, 8287, 1740, 257),
    ("a40", 655, 19816, 1665, 300), ("a40", 443, 21394, 1650, 300), ("a40", 193, 23183, 1710, 300),
    ("h200-sxm5", 3759, 940, 1980, 572), ("h200-sxm5", 3232, 26667, 1980, 653), ("h200-sxm5", 1700, 37819, 1980, 531),
    ("h200-sxm5", 813, 40870, 1980, 443), ("h200-sxm5", 456, 42111, 1980, 403), ("l40", 845, 211, 2490, 199),
    ("l40", 844, 10342, 2490, 253), ("l40", 840, 25412, 2370, 303), ("l40", 422, 35592, 1560, 309),
    ("l40", 322, 38682, 1725, 302),
]  # fmt: skip


def kernel(seconds, flop, dram_byte):
    one = np.ones(1)
    return KernelTime(
        device_s=seconds * one, bound_s=0 * one, flop=flop * one, dram_byte=dram_byte * one, cache_byte=dram_byte * one,
        parts={"arithmetic": seconds * one},
    )  # fmt: skip


def board_power(chip, gbs, gflops, mhz):
    settings = Settings.of([Setting(chip=chip, precision="fp32", library="")])
    share = min(mhz * 1e6 / chip.clock_hz, 1.0)
    return float(kernel_joules(kernel(1.0, gflops * 1e9, gbs * 1e9), settings, clock_share=share)[0])


def test_power_of_measured_boards_is_within_a_tenth_everywhere_and_four_percent_on_average():
    errors = [abs(np.log(board_power(catalog.chip(id), *point) / watt)) for id, *point, watt in BOARDS]
    assert max(errors) < 0.10
    assert np.mean(errors) < 0.04


def test_scaling_between_nodes_reproduces_both_published_tables():
    wide, narrow = OPERATION_PJ[45], OPERATION_PJ[7]
    fma = (narrow["fp32 multiply"] + narrow["fp32 add"]) / (wide["fp32 multiply"] + wide["fp32 add"])
    assert node_factor(45.0, 7.0) == pytest.approx(fma)
    assert node_factor(7.0, 7.0) == 1.0
    # A whole instruction costs more than its arithmetic, at every node, and DRAM more than any SRAM.
    for table in (wide, narrow):
        assert (
            table["dram"] > table["sram 1 MB"] > table["sram 32 KB"] > table["fp32 multiply"] > table["fp16 multiply"]
        )
    assert vector_pj_per_flop(catalog.chip("a100-sxm4-40gb")) > (narrow["fp32 multiply"] + narrow["fp32 add"]) / 2


@each_chip
def test_narrow_words_and_matrix_units_cost_less_per_flop(chip):
    vector = [energy_rates(chip, w, on_matrix_units=False).joule_per_flop for w in ("fp64", "fp32", "fp16", "int8")]
    matrix = [
        energy_rates(chip, w, on_matrix_units=True).joule_per_flop for w in ("fp32", "tf32", "bf16", "fp8", "fp4")
    ]
    assert vector == sorted(vector, reverse=True)
    assert matrix == sorted(matrix, reverse=True)
    assert matrix[2] < vector[2]
    assert set(VECTOR_WORD) <= set(MATRIX_WORD)


@each_chip
def test_every_chip_has_a_process_and_draws_between_idle_and_its_limit(chip):
    assert 2.0 < process_nm(chip) < 45.0
    word = "fp32" if "fp32" in chip.peak_flop_per_s else next(iter(chip.peak_flop_per_s))
    settings = Settings.of([Setting(chip=chip, precision=word, library="")])
    nothing = kernel_joules(kernel(2.0, 0.0, 0.0), settings)[0]
    assert nothing == pytest.approx(2.0 * constant_w(chip))
    full = kernel_joules(kernel(1.0, 1e30, 1e30), settings)[0]
    assert full == chip.tdp_w
    some = kernel_joules(kernel(1.0, 1e11, 1e9), settings)[0]
    assert constant_w(chip) < some <= chip.tdp_w


def test_processes_are_of_known_architectures():
    assert {chip.architecture for chip in CHIPS} <= set(PROCESS_NM)
