"""Attention, fused and unfused: laws over every GPU, tiles counted one by one, and a few measured rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import LINEAGES, Chip
from simulator.kernels.attention import (
    EXPONENTIALS_PER_CLOCK,
    SPECS,
    TILE,
    UNFUSED,
    AttentionShapes,
    attention_time,
    makespan,
    pairs,
)
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.settings import Setting, Settings
from simulator.validation.kernel_suites.attention import FAMILY
from simulator.validation.kernel_suites.family import RowError

GPUS = [name for name in chip_ids() if chip(name).kind == "gpu" and "fp16" in chip(name).peak_flop_per_s]
FUSED = ("", "flash-attention-1", "flash-attention-2", "flash-attention-3", "cudnn-9", "xformers", "triton")
BOTH = (*FUSED, UNFUSED)
#: Batch, heads, head length, tokens, causal, forward, backward.
Case = tuple[int, int, int, int, int, int, int]
CASES: tuple[Case, ...] = tuple(
    (batch, heads, dim, seq, causal, *run)
    for batch, heads, dim, seq in ((32, 32, 64, 512), (1, 16, 128, 16384), (4, 8, 256, 4096), (1, 1, 64, 100))
    for causal in (0, 1)
    for run in ((1, 0), (0, 1), (1, 1))
)


def shapes_of(*cases: Case) -> AttentionShapes:
    names = ("batch", "heads", "head_dim", "seq", "causal", "forward", "backward")
    return AttentionShapes(**{name: np.array([float(case[i]) for case in cases]) for i, name in enumerate(names)})


def priced(machine: Chip | str, library: str, *cases: Case, **changed: float) -> KernelTime:
    one = chip(machine) if isinstance(machine, str) else machine
    settings = Settings.of([Setting(chip=one, precision="fp16", library=library)] * len(cases))
    values = KernelConstants(specs=SPECS).rows(settings)
    for name, value in changed.items():
        values[name] = np.full(len(cases), value)
    return attention_time(shapes_of(*cases), settings, values)


def test_every_gpu_architecture_has_its_facts() -> None:
    assert sorted(EXPONENTIALS_PER_CLOCK) == sorted(LINEAGES["nvidia"] + LINEAGES["amd"])


@pytest.mark.parametrize("library", BOTH)
@pytest.mark.parametrize("name", GPUS)
def test_parts_add_up_and_no_time_is_below_its_bound(name: str, library: str) -> None:
    low = {key: spec.low for key, spec in SPECS.items()}
    high = {key: spec.high for key, spec in SPECS.items()}
    fast = {key: high[key] if key.endswith("share") else low[key] for key in SPECS}
    for constants in ({}, low, high, fast):
        time = priced(name, library, *CASES, **constants)
        assert np.all(np.isfinite(time.device_s))
        assert np.all(time.device_s > 0)
        np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-12)
        assert all(np.all(part >= 0) for part in time.parts.values())
        assert np.all(time.bound_s <= time.device_s)


@pytest.mark.parametrize("library", ["flash-attention-2", UNFUSED])
@pytest.mark.parametrize("name", GPUS)
def test_more_work_is_never_faster(name: str, library: str) -> None:
    for causal in (0, 1):
        longer = [(2, 16, 128, seq, causal, 1, 1) for seq in range(64, 8192, 64)]
        more = [(batch, 16, 128, 1024, causal, 1, 1) for batch in range(1, 64)]
        for cases in (longer, more):
            device_s = priced(name, library, *cases).device_s
            assert np.all(np.diff(device_s) >= -1e-9 * device_s[:-1])


@pytest.mark.parametrize("library", ["flash-attention-2", UNFUSED])
@pytest.mark.parametrize("name", GPUS)
def test_a_faster_chip_is_never_slower(name: str, library: str) -> None:
    one = chip(name)
    faster = (
        replace(one, memory_bandwidth_byte_per_s=2 * one.memory_bandwidth_byte_per_s),
        replace(one, clock_hz=2 * one.clock_hz),
        replace(one, peak_flop_per_s={word: 2 * rate for word, rate in one.peak_flop_per_s.items()}),
    )
    for other in faster:
        assert np.all(priced(other, library, *CASES).device_s <= priced(one, library, *CASES).device_s * (1 + 1e-12))


def test_pairs_are_counted_as_a_loop_counts_them() -> None:
    for seq in (1, 5, 64):
        full, masked = pairs(shapes_of((2, 3, 64, seq, 0, 1, 0), (2, 3, 64, seq, 1, 1, 0)))
        assert full == 6 * seq * seq
        assert masked == 6 * sum(1 for query in range(seq) for key in range(seq) if key <= query)


def test_an_even_split_of_tiles_is_what_a_walk_over_them_adds_up_to() -> None:
    seq, heads, cores, extra = 1024, 12, 7.0, 1.4
    tile = int(TILE)
    walked = sum(
        tile * tile * (extra if j == i else 1.0) for i in range(seq // tile) for j in range(seq // tile) if j <= i
    )
    shapes = shapes_of((1, heads, 64, seq, 1, 1, 0), (1, heads, 64, seq, 0, 1, 0))
    slowest, even = makespan(shapes, np.full(2, cores), np.full(2, extra), np.full(2, 0.5))
    assert even[0] == pytest.approx(heads * walked / cores)
    # Without a mask: 96 equal tiles on 7 cores are 14 waves.
    assert slowest[1] == math.ceil(heads * seq / tile / cores) * tile * seq
    assert np.all(slowest >= even)


def test_the_two_directions_of_a_row_add_up() -> None:
    for library in BOTH:
        forward, backward, both = priced(
            "h100-sxm5", library, *((4, 16, 128, 4096, 1, *run) for run in ((1, 0), (0, 1), (1, 1)))
        ).device_s
        assert both == pytest.approx(forward + backward, rel=1e-12)


def test_a_long_causal_sequence_costs_half_and_a_short_one_more() -> None:
    share = [
        float(
            np.divide(
                *priced("a100-sxm4-80gb", "flash-attention-2", *((8, 32, 64, n, c, 1, 0) for c in (1, 0))).device_s
            )
        )
        for n in (512, 16384)
    ]
    assert 0.6 < share[0] < 0.9
    assert 0.5 < share[1] < 0.57


def test_a_huge_attention_runs_at_its_share_of_the_peak_less_its_exponentials() -> None:
    one = chip("a100-sxm4-80gb")
    huge: Case = (16, 32, 128, 65536, 0, 1, 0)
    rate = priced(one, "flash-attention-2", huge).flop[0] / priced(one, "flash-attention-2", huge).device_s[0]
    per_pair = 4 * 128 / (one.peak("fp16") * SPECS["attention_matrix_share"].prior)
    per_pair += SPECS["attention_exponentials"].prior / (16 * one.clock_hz * one.cores)
    assert rate == pytest.approx(4 * 128 / per_pair, rel=0.02)


def test_a_tiny_attention_takes_the_ramp() -> None:
    ramp_s = SPECS["attention_ramp_s"].prior
    assert priced("h100-sxm5", "flash-attention-2", (1, 1, 64, 16, 0, 1, 0)).device_s[0] == pytest.approx(
        ramp_s, rel=0.1
    )


def test_unfused_scores_pass_through_memory_whatever_the_mask() -> None:
    time = priced("a100-sxm4-80gb", UNFUSED, (4, 32, 64, 4096, 0, 1, 0), (4, 32, 64, 4096, 1, 1, 0))
    scores_byte = 4 * 32 * 4096**2 * SPECS["unfused_forward_byte"].prior
    assert scores_byte < time.dram_byte[0] < 1.1 * scores_byte
    assert time.flop[0] == time.flop[1]
    assert time.device_s[1] > time.device_s[0]


def test_one_by_one_equals_all_together_in_any_order() -> None:
    together = priced("h100-sxm5", "flash-attention-3", *CASES).device_s
    alone = np.array([priced("h100-sxm5", "flash-attention-3", case).device_s[0] for case in CASES])
    np.testing.assert_array_equal(together, alone)
    order = np.random.default_rng(5).permutation(len(CASES))
    shuffled = priced("h100-sxm5", "flash-attention-3", *(CASES[i] for i in order)).device_s
    np.testing.assert_array_equal(shuffled, together[order])


def row(**cells: str) -> dict[str, str]:
    return {"kernel": "attention", "batch": "2", "heads": "4", "head_dim": "64", "seq_len": "128", "causal": "1",
            "pass": "fwd", **cells}  # fmt: skip


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"pass": "forward"}, "pass is 'forward'; one of fwd, bwd"),
        ({"causal": "yes"}, "causal is 'yes'; 0 or 1"),
        ({"heads": "0"}, "heads is 0; a whole number from 1"),
        ({"head_dim": ""}, "head_dim is ''; a whole number"),
        ({"seq_len": "1e3.5"}, "seq_len is '1e3.5'; a whole number"),
        ({"batch": "-1"}, "batch is -1; a whole number"),
    ],
)
def test_a_row_that_cannot_be_is_refused_in_one_line(cells: dict[str, str], message: str) -> None:
    with pytest.raises(RowError, match=message) as caught:
        FAMILY.check(row(**cells))
    assert "\n" not in str(caught.value)


def test_a_row_that_can_be_passes_with_or_without_batch_and_mask() -> None:
    FAMILY.check(row())
    FAMILY.check(row(batch="", causal=""))


#: Library, chip, case, TFLOP/s as printed (2 S^2 d h b a product, halved under a causal mask, backward 2.5 times the
#: forward pass): Dao-AILab/flash-attention@0251105, assets/flash2_a100_fwd_bwd_benchmark.png and flash3_fp16_fwd.png.
MEASURED: tuple[tuple[str, str, Case, float], ...] = (
    ("flash-attention-2", "a100-sxm4-80gb", (16, 32, 64, 1024, 0, 1, 1), 153.0),
    ("flash-attention-2", "a100-sxm4-80gb", (1, 16, 128, 16384, 1, 1, 1), 189.0),
    ("flash-attention-1", "a100-sxm4-80gb", (1, 16, 128, 16384, 0, 1, 1), 83.0),
    (UNFUSED, "a100-sxm4-80gb", (4, 32, 64, 4096, 0, 1, 1), 45.0),
    (UNFUSED, "a100-sxm4-80gb", (4, 32, 64, 4096, 1, 1, 1), 18.0),
    ("flash-attention-3", "h100-sxm5", (1, 32, 64, 16384, 0, 1, 0), 497.0),
)


def test_unfitted_priors_are_within_a_quarter_of_measured_rows() -> None:
    for library, name, case, tflop_per_s in MEASURED:
        batch, heads, dim, seq, causal, forward, backward = case
        flop = 4 * seq**2 * dim * heads * batch * (forward + 2.5 * backward) * (0.5 if causal else 1.0)
        off = math.log(priced(name, library, case).device_s[0] / (flop / (tflop_per_s * 1e12)))
        assert abs(off) < 0.25, (library, case, off)
