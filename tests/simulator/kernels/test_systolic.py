"""Kernels on systolic chips: an array run clock by clock, blockings run loop by loop, laws over every such chip."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import Chip
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.systolic import (
    KEEPS_WEIGHTS,
    SPECS,
    SPLITS,
    Arrays,
    array_steps,
    products_a_clock,
    systolic_gemm_time,
    systolic_vector_time,
    traffic_byte,
    vector_flop_per_s,
)
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernel_suites.systolic import FAMILY

NAMES = [name for name in chip_ids() if chip(name).kind == "systolic"]
EXTENTS = ((1, 1, 1), (128, 128, 128), (7, 8192, 8192), (4096, 4096, 4096), (100_000, 64, 300), (300, 300, 50_000))


def fastest_word(machine: Chip) -> str:
    return max(machine.peak_flop_per_s, key=lambda word: machine.peak_flop_per_s[word])


def on(machine: Chip | str, rows: int = 1, word: str = "") -> tuple[Settings, dict[str, Floats]]:
    found = chip(machine) if isinstance(machine, str) else machine
    settings = Settings.of([Setting(chip=found, precision=word or fastest_word(found), library="")] * rows)
    return settings, KernelConstants(specs=SPECS).rows(settings)


def products(*shapes: tuple[float, float, float], batch: float = 1.0) -> GemmShapes:
    m, n, k = (np.array([float(shape[i]) for shape in shapes]) for i in range(3))
    return GemmShapes(batch=np.full(len(shapes), batch), m=m, n=n, k=k)


def gemm_s(machine: Chip | str, *shapes: tuple[float, float, float], word: str = "", **keys: bool) -> KernelTime:
    settings, values = on(machine, len(shapes), word)
    return systolic_gemm_time(products(*shapes), settings, values, **keys)


def arrays(*, high: int, wide: int, count: int, keeps_weights: bool, block_byte: float = 1e9) -> Arrays:
    return Arrays(
        high=np.array([float(high)]), wide=np.array([float(wide)]), count=np.array([float(count)]),
        step_hz=np.array([1e9]), keeps_weights=np.array([keeps_weights]), block_byte=np.array([block_byte]),
    )  # fmt: skip


def require_sound(time: KernelTime) -> None:
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.bound_s <= time.device_s)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    assert all(np.all(part >= -1e-15) for part in time.parts.values())


def run_array(left: NDArray[np.float64], weights: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """One tile through an array of cells that hold weights, clock by clock.

    Returns the products, and the clocks after the weights are in place until the last result has left.
    """
    (m, high), wide = left.shape, weights.shape[1]
    moving, sums = np.zeros((high, wide)), np.zeros((high, wide))
    out = np.full((m, wide), np.nan)
    clock = 0
    while np.isnan(out).any():
        entering = np.array([left[clock - r, r] if 0 <= clock - r < m else 0.0 for r in range(high)])
        moving = np.column_stack([entering, moving[:, :-1]])
        sums = np.vstack([np.zeros(wide), sums[:-1]]) + moving * weights
        for column in range(wide):
            row = clock - (high - 1) - column
            if 0 <= row < m:
                out[row, column] = sums[-1, column]
        clock += 1
    return out, clock


@pytest.mark.parametrize(("m", "high", "wide"), [(1, 3, 2), (5, 4, 4), (9, 2, 7), (2, 6, 3)])
def test_an_array_run_clock_by_clock_fills_and_drains_as_counted(m: int, high: int, wide: int) -> None:
    rng = np.random.default_rng(m)
    left, weights = rng.normal(size=(m, high)), rng.normal(size=(high, wide))
    result, clocks = run_array(left, weights)
    np.testing.assert_allclose(result, left @ weights, rtol=1e-12)
    # The formula shifts the weights in (high clocks) before the first row enters.
    assert clocks + high == m + 2 * high + wide - 2
    steps = array_steps(products((m, wide, high)), arrays(high=high, wide=wide, count=1, keeps_weights=True))[2][0]
    assert steps <= clocks + high  # the transposed product may be quicker


@pytest.mark.parametrize("keeps_weights", [True, False])
@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("shape", [(5, 9, 7), (40, 9, 30), (3, 3, 100), (64, 64, 64)])
def test_tiles_run_one_after_the_other_agree(shape: tuple[int, int, int], count: int, keeps_weights: bool) -> None:
    """Every tile handed to the next array; the next tile's operand is shifted in while one streams."""
    high, wide, batch = 4, 3, 2
    best = math.inf
    for m, n, k in (shape, (shape[1], shape[0], shape[2])):
        down, stream = (k, m) if keeps_weights else (m, k)
        for split in SPLITS:
            part = math.ceil(stream / split)
            units = [
                min(part, stream - first)
                for _ in range(batch) for _ in range(0, down, high) for _ in range(0, n, wide)
                for first in range(0, stream, part)
            ]  # fmt: skip
            free = []
            for number in range(min(count, len(units))):
                loaded = finished = started = 0
                for place, _ in enumerate(units[number::count]):
                    loaded = (started if place else 0) + high
                    started = max(finished, loaded)
                    finished = started + part
                free.append(finished + high + wide - 2)
            best = min(best, max(free))
    settings_like = arrays(high=high, wide=wide, count=count, keeps_weights=keeps_weights)
    padded, waves, total = array_steps(products(shape, batch=batch), settings_like)
    assert total[0] == best
    assert math.prod(shape) * batch / (high * wide * count) <= padded[0] <= waves[0] <= total[0]


@pytest.mark.parametrize("shape", [(6, 5, 4), (12, 12, 12), (3, 20, 9), (20, 3, 16)])
@pytest.mark.parametrize("room", [40.0, 100.0, 300.0, 5000.0])
def test_blockings_run_loop_by_loop_agree(shape: tuple[int, int, int], room: float) -> None:
    """Elements fetched by three loop nests that keep B's panel, A's panel, or a block of C."""
    m, n, k = shape
    machine = arrays(high=2, wide=2, count=1, keeps_weights=True, block_byte=room)
    panel = math.floor(room / k)

    def fetched(rows: int, columns: int) -> int:
        """C block by block, both operands of each fetched; a panel is a block as high, or as wide, as C."""
        byte = 0
        for top in range(0, m, rows):
            for left in range(0, n, columns):
                byte += min(rows, m - top) * k
                byte += min(columns, n - left) * k
        return byte

    ways = []
    if panel >= 1:
        ways += [fetched(m, panel), fetched(panel, n)]
    for height in (1, 2, 4, 8, 16, 32, max(math.floor(math.sqrt(room / 4) / 2), 1)):
        rows = min(2 * height, m)
        ways.append(fetched(rows, max(math.floor(room / (4 * rows)), 1)))
    byte = traffic_byte(products(shape), np.array([1.0]), machine)[0]
    assert byte == min(ways) + m * n
    assert byte >= m * k + k * n + m * n
    if room >= 2 * k * max(m, n):
        assert byte == m * k + k * n + m * n


def test_patches_of_an_image_are_fetched_once() -> None:
    """A 3 x 3 convolution's operand of patches holds every pixel nine times; memory holds it once."""
    whole = GemmShapes(batch=np.ones(1), m=np.full(1, 3136.0), n=np.full(1, 64.0), k=np.full(1, 576.0))
    machine = arrays(high=128, wide=128, count=1, keeps_weights=True)
    one = np.ones(1)
    ninth = replace(whole, a_share=np.full(1, 1 / 9))
    assert traffic_byte(ninth, one, machine)[0] == pytest.approx(3136 * 64 + 576 * 64 + 3136 * 64)
    turned = GemmShapes(batch=one, m=whole.n, n=whole.m, k=whole.k, b_share=np.full(1, 1 / 9))
    assert traffic_byte(turned, one, machine)[0] == pytest.approx(traffic_byte(ninth, one, machine)[0])
    for room in (1e2, 1e4, 1e6):
        small = arrays(high=128, wide=128, count=1, keeps_weights=True, block_byte=room)
        assert traffic_byte(ninth, one, small)[0] <= traffic_byte(whole, one, small)[0]
        assert traffic_byte(replace(whole, a_share=one), one, small) == traffic_byte(whole, one, small)


@pytest.mark.parametrize("name", NAMES)
def test_parts_add_up_and_the_bound_holds(name: str) -> None:
    for word in chip(name).peak_flop_per_s:
        require_sound(gemm_s(name, *EXTENTS, word=word))
    settings, _ = on(name, len(EXTENTS))
    for extreme in ("low", "high"):
        values = {spec.name: np.full(len(EXTENTS), getattr(spec, extreme)) for spec in SPECS.values()}
        require_sound(systolic_gemm_time(products(*EXTENTS), settings, values))
        require_sound(systolic_gemm_time(products(*EXTENTS), settings, values, activations_stay=True))
    settings, values = on(name, 2)
    two = np.array([3.0, 5000.0])
    require_sound(systolic_vector_time(two, two, np.full(2, 3.0), np.full(2, 8.0), settings, values))


@pytest.mark.parametrize("name", NAMES)
def test_a_better_chip_is_never_slower(name: str) -> None:
    plain = chip(name)
    faster = replace(
        plain, clock_hz=2 * plain.clock_hz, peak_flop_per_s={w: 2 * r for w, r in plain.peak_flop_per_s.items()},
        vector_peak_flop_per_s={w: 2 * r for w, r in plain.vector_peak_flop_per_s.items()},
    )  # fmt: skip
    wider = replace(plain, memory_bandwidth_byte_per_s=2 * plain.memory_bandwidth_byte_per_s)
    roomier = replace(plain, on_chip_byte=4 * plain.on_chip_byte)
    for better in (faster, wider, roomier):
        assert np.all(gemm_s(better, *EXTENTS).device_s <= gemm_s(plain, *EXTENTS).device_s)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_more_work_is_never_faster(name: str, axis: int) -> None:
    grown = [tuple(2 * v if i == axis else v for i, v in enumerate(shape)) for shape in EXTENTS]
    assert np.all(gemm_s(name, *grown).device_s >= gemm_s(name, *EXTENTS).device_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_huge_product_reaches_the_sustained_share_and_a_tiny_one_the_ramp(name: str) -> None:
    """Or what memory feeds a square block of results of side b: b / element bytes FLOP a byte (TPU v1)."""
    huge = gemm_s(name, (2.0**17, 2.0**17, 2.0**17))
    setting = on(name)[0].distinct[0]
    side = math.sqrt((setting.chip.on_chip_byte + setting.chip.l2_byte) / 8)
    fed = (
        setting.chip.memory_bandwidth_byte_per_s * SPECS["systolic_memory_fraction"].prior * side / setting.element_byte
    )
    ceiling = min(setting.peak_flop_per_s * SPECS["systolic_rate"].prior, fed)
    assert 0.94 * ceiling < float((huge.flop / huge.device_s)[0]) <= ceiling
    tiny = gemm_s(name, (1, 1, 1))
    assert SPECS["systolic_ramp_s"].prior < tiny.device_s[0] < 1.5 * SPECS["systolic_ramp_s"].prior


@pytest.mark.parametrize("name", ["tpu-v2", "tpu-v3", "trainium-1"])
def test_large_products_cost_n_and_k_in_whole_arrays_and_the_fill(name: str) -> None:
    """Where m fills the arrays: 2 batch (m + 2 s / columns) s columns s rows, whole tiles of side s."""
    x = products((65_536, 1000, 3000), (32_768, 4096, 129))
    setting = on(name)[0].distinct[0]
    assert setting.chip.architecture in KEEPS_WEIGHTS
    a = Arrays.of(on(name, 2)[0])
    work = array_steps(x, a)[2] * a.count * a.high * a.wide * 2.0
    side = float(a.high[0])
    columns, depth = np.ceil(x.n / side) * side, np.ceil(x.k / side) * side
    steps = 2.0 * x.batch * (x.m + 2.0 * side * side / columns) * columns * depth
    np.testing.assert_allclose(work, steps, rtol=0.12)
    assert np.all(work <= steps * 1.02)  # the model may turn the product round


@pytest.mark.parametrize("name", NAMES)
def test_rows_do_not_see_each_other(name: str) -> None:
    together = gemm_s(name, *EXTENTS).device_s
    np.testing.assert_allclose(together, [gemm_s(name, shape).device_s[0] for shape in EXTENTS], rtol=1e-12)
    np.testing.assert_allclose(gemm_s(name, *EXTENTS[::-1]).device_s[::-1], together, rtol=1e-12)


def test_ragged_extents_pay_for_whole_tiles() -> None:
    """A depth of 129 takes as long as 256 on a 128-high array, one less does not."""
    whole, ragged, exact = (gemm_s("tpu-v2", (2.0**17, 4096, k)).parts for k in (256, 129, 128))
    np.testing.assert_allclose(
        whole["arithmetic"] + whole["padding"], ragged["arithmetic"] + ragged["padding"], rtol=1e-9
    )
    assert ragged["padding"][0] > 100 * exact["padding"][0]


def test_rate_words_find_their_units() -> None:
    assert products_a_clock(on("gaudi-2", word="fp8")[0].distinct[0]) == pytest.approx(2.0, rel=0.01)
    assert products_a_clock(on("gaudi-2", word="bf16")[0].distinct[0]) == pytest.approx(1.0, rel=0.01)
    assert products_a_clock(on("gaudi-2", word="fp32")[0].distinct[0]) == 0.0  # vector units
    assert products_a_clock(on("trainium-1", word="fp32")[0].distinct[0]) == pytest.approx(0.25, rel=0.01)
    assert vector_flop_per_s(on("gaudi-2")[0].distinct[0]) == 11e12
    assert vector_flop_per_s(on("tpu-v3")[0].distinct[0]) == 4e12
    assert vector_flop_per_s(on("tpu-v1")[0].distinct[0]) == 256 * 0.7e9
    time = gemm_s("tpu-v3", (256, 256, 129), word="fp32")
    assert time.parts["padding"][0] == 0.0


def test_element_wise_kernels_move_padded_registers() -> None:
    settings, values = on("tpu-v3", 2, "fp32")
    rows, columns = np.array([8.0, 1.0]) * 1000, np.array([128.0, 128.0])
    even = systolic_vector_time(rows, columns, np.full(2, 3.0), np.full(2, 1.0), settings, values)
    assert even.parts["padding"][0] == 0.0
    narrow = systolic_vector_time(rows, np.array([1.0, 1.0]), np.full(2, 3.0), np.full(2, 1.0), settings, values)
    np.testing.assert_allclose(narrow.dram_byte, even.dram_byte)
    byte = 3 * 8000 * 128 * 4
    assert even.dram_byte[0] == byte
    assert even.bound_s[0] == pytest.approx(byte / chip("tpu-v3").memory_bandwidth_byte_per_s)


def test_element_wise_kernels_compute_on_padded_registers() -> None:
    settings, values = on("tpu-v3", 1, "fp32")
    one = np.array([1.0])
    heavy = systolic_vector_time(8000.0 * one, 129.0 * one, 2.0 * one, 500.0 * one, settings, values)
    assert heavy.device_s[0] == pytest.approx(3e-6 + 8000 * 256 * 500 / 4e12, rel=1e-9)


#: stas00/ml-engineering@744d01e, compute/accelerator, MAMF table, Gaudi 2: the best shape found of each precision.
GAUDI_2 = (("bf16", 14336, 15360, 2048, 2.1542e-3), ("fp8", 6144, 11264, 5120, 8.5743e-4))


@pytest.mark.parametrize(("word", "m", "n", "k", "measured_s"), GAUDI_2)
def test_gaudi_2_rows_are_predicted(word: str, m: int, n: int, k: int, measured_s: float) -> None:
    assert gemm_s("gaudi-2", (m, n, k), word=word).device_s[0] == pytest.approx(measured_s, rel=0.03)
    row = {"kernel": "gemm", "chip": "Gaudi 2", "m": str(m), "n": str(n), "k": str(k), "precision": word}
    FAMILY.check(row)
    settings, values = on("gaudi-2", word=word)
    assert FAMILY.observed_s(FAMILY.read([row]), settings, values)[0] == pytest.approx(measured_s, rel=0.03)


@pytest.mark.parametrize(("batch", "published"), [(200, 12.3e12), (64, 3.7e12)])
def test_tpu_v1_waits_for_weights(batch: int, published: float) -> None:
    """Layers whose weights come from memory run at batch x 2 x 34 GB/s: the MLP0 (200) and LSTM0 (64) of Jouppi et al.
    2017 (rates as remembered) lie below that line and within a quarter of this model."""
    time = gemm_s("tpu-v1", (batch, 2048, 2048), activations_stay=True)
    rate = float((time.flop / time.device_s)[0])
    assert time.largest_part() == ("memory",)
    assert published < 2 * batch * 34e9
    assert rate == pytest.approx(published, rel=0.25)


def test_bad_rows_and_other_chips_are_refused() -> None:
    with pytest.raises(ValueError, match="chip 'v100-sxm2-16gb' is of kind gpu; this model is for systolic"):
        gemm_s("v100-sxm2-16gb", (8, 8, 8), word="fp16")
    row = {"kernel": "gemm", "chip": "Gaudi 2", "m": "8", "n": "8", "k": "8"}
    with pytest.raises(RowError, match="n is 0; a whole number"):
        FAMILY.check(row | {"n": "0"})
    with pytest.raises(RowError, match="is of kind gpu; this suite prices kind systolic"):
        FAMILY.check(row | {"chip": "V100 SXM2 16GB"})
