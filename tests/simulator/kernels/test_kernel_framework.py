"""Settings, hierarchical constants and their fit: what is carried over to chips that were never seen."""

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodels import catalog
from hwmodels.chip import LINEAGES, ChipError
from simulator.calibration.kernel_fit import fit_kernels
from simulator.kernels.kernel_constants import KernelConstants, KernelSpec, key_of, neighbours
from simulator.kernels.kernel_time import PARTS, KernelTime
from simulator.kernels.settings import LIBRARIES, PRECISION_WORDS, Setting, Settings, library_word, silicon

CHIPS = [catalog.chip(id) for id in catalog.chip_ids()]
V100, A100 = catalog.chip("v100-sxm2-16gb"), catalog.chip("a100-sxm4-80gb")
SPEC = KernelSpec(
    name="rate", unit="1", prior=0.8, low=0.01, high=10.0, spread=0.5,
    levels={"architecture": 0.3, "chip": 0.1, "library": 0.3}, meaning="a rate",
)  # fmt: skip


def setting(chip=V100, precision="fp32", library="torch-2", suite="s"):
    return Setting(chip=chip, precision=precision, library=library, suite=suite)


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.id)
def test_every_chip_prices_every_precision_it_has_and_refuses_the_others(chip):
    for word, (product, byte) in PRECISION_WORDS.items():
        made = setting(chip, word)
        assert made.element_byte == byte
        if product in chip.peak_flop_per_s:
            assert made.peak_flop_per_s == chip.peak(product)
        else:
            with pytest.raises(ChipError, match="has no rate for precision"):
                _ = made.peak_flop_per_s


def test_sixteen_bit_products_run_on_matrix_units_from_volta_on():
    assert setting(V100, "fp16_mixed").on_matrix_units
    assert not setting(V100, "fp32").on_matrix_units
    assert not setting(catalog.chip("p100-sxm2"), "fp16_in_fp32_math").on_matrix_units


def test_a_precision_nobody_multiplies_in_is_refused():
    with pytest.raises(ValueError, match="precision 'fp13'"):
        setting(V100, "fp13")


def test_silicon_leaves_the_memory_size_out():
    assert silicon(V100) == silicon(catalog.chip("v100-sxm2-32gb")) == "v100-sxm2"
    assert silicon(A100) != silicon(V100)


@pytest.mark.parametrize(
    ("text", "word"),
    [("torch2.1.0", "torch-2.1"), ("cuBLAS;cuDNN7.6.2;CUDA10.1", "cudnn-7"),
     ("FlashAttention Triton", "flash-attention-triton"),
     ("torch 2.6.0 rocm6.2.4", "torch-rocm"), ("xla (hipblasLt)", "xla-hipblaslt"), ("abacus", "")],
)  # fmt: skip
def test_libraries_are_told_apart(text, word):
    assert library_word(text) == word
    assert len({name for name, _ in LIBRARIES}) == len(LIBRARIES)


def test_settings_are_kept_once_and_gathered_to_rows():
    settings = Settings.of([setting(V100), setting(A100), setting(V100)])
    assert len(settings.distinct) == 2
    assert settings.cores.tolist() == [80.0, 108.0, 80.0]
    assert settings.take(np.array([False, True, False])).cores.tolist() == [108.0]


@pytest.mark.parametrize("line", LINEAGES.values(), ids=LINEAGES)
def test_an_unknown_generation_takes_after_the_nearest_known(line):
    for place, word in enumerate(line):
        others = [w for w in line if w != word]
        if not others:
            assert neighbours(word, others) == ""
            continue
        near = neighbours(word, others)
        assert abs(line.index(near) - place) == min(abs(line.index(w) - place) for w in others)
        assert neighbours(word, line) == word
    assert neighbours("abacus", line) == ""


def test_deviations_multiply_and_carry_over():
    constants = KernelConstants(
        specs={"rate": SPEC},
        deviations={
            "rate": 0.1, key_of("rate", "architecture", "volta"): 0.2, key_of("rate", "chip", "v100-sxm2"): -0.05,
            key_of("rate", "library", "torch-2"): 0.3,
        },
    )  # fmt: skip
    settings = Settings.of([setting(V100), setting(A100), setting(A100, library="triton")])
    # The A100 takes Volta's deviation, its nearest kin, but not the V100's own.
    expected = [0.8 * math.exp(0.55), 0.8 * math.exp(0.6), 0.8 * math.exp(0.3)]
    assert constants.rows(settings)["rate"] == pytest.approx(expected)
    assert replace(constants, deviations={"rate": 99.0}).rows(settings)["rate"] == pytest.approx([10.0] * 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"low": 1.0}, "low <= prior"), ({"levels": {"colour": 0.1}}, "level 'colour'"),
     ({"levels": {"chip": 0.0}}, "spread > 0")],
)  # fmt: skip
def test_a_constant_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SPEC, **change)


def test_the_fit_finds_what_made_the_data_and_leaves_the_unseen_at_their_kin():
    generator = np.random.default_rng(1)
    settings = Settings.of([setting(V100)] * 200 + [setting(A100)] * 200)
    work = generator.uniform(1.0, 9.0, 400)
    truth = np.array([0.5] * 200 + [0.9] * 200)
    measured = work / truth * np.exp(generator.normal(0.0, 0.02, 400))
    groups = ["v"] * 200 + ["a"] * 200
    fitted = fit_kernels(lambda v: work / v["rate"], {"rate": SPEC}, settings, measured, groups)
    assert fitted.constants.rows(settings)["rate"][[0, -1]] == pytest.approx([0.5, 0.9], rel=0.03)
    only_volta = fit_kernels(
        lambda v: work / v["rate"], {"rate": SPEC}, settings, measured, groups, weight=np.repeat([1.0, 0.0], 200)
    )
    first, last = only_volta.constants.rows(settings)["rate"][[0, -1]]
    assert first == pytest.approx(0.5, rel=0.03)
    assert 0.5 * 0.97 < last < 0.8  # between its kin and the prior, nearer its kin
    assert abs(math.log(last / 0.5)) < abs(math.log(last / 0.8))
    # Rows without weight do not matter at all.
    spoilt = measured.copy()
    spoilt[200:] = 1e6
    again = fit_kernels(
        lambda v: work / v["rate"], {"rate": SPEC}, settings, spoilt, groups, weight=np.repeat([1.0, 0.0], 200)
    )
    assert again.constants == only_volta.constants


def test_one_wild_row_does_not_pull_the_fit():
    settings = Settings.of([setting(V100)] * 51)
    measured = np.full(51, 2.0)
    measured[0] = 2e4
    fitted = fit_kernels(lambda v: 1.0 / v["rate"], {"rate": SPEC}, settings, measured, ["g"] * 51)
    assert fitted.constants.rows(settings)["rate"][0] == pytest.approx(0.5, rel=0.05)


def test_kernel_time_knows_its_parts():
    one = np.ones(2)
    time = KernelTime(
        device_s=3 * one, bound_s=one, flop=one, dram_byte=one, cache_byte=one,
        parts={"arithmetic": np.array([2.0, 1.0]), "memory": np.array([1.0, 2.0])},
    )  # fmt: skip
    assert time.largest_part() == ("arithmetic", "memory")
    assert time.rows == 2
    assert len(set(PARTS)) == len(PARTS)
    with pytest.raises(ValueError, match="parts luck"):
        replace(time, parts={"luck": one})
