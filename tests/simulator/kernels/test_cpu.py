"""Kernels on many-core CPUs: laws over every such chip, limits, loops that must agree, and measured rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import Chip
from simulator.kernels.cpu import BLOCKS, MEETINGS, SPLITS, cpu_gemm_time, cpu_vector_time
from simulator.kernels.cpu_conv import (
    BACKWARD_DATA,
    BACKWARD_WEIGHTS,
    FORWARD,
    SPECS,
    CpuConvShapes,
    cpu_conv_time,
)
from simulator.kernels.cpu_core import CORES, CpuError, Machine, core_of, memory_s, register_rate
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings
from simulator.validation.kernel_suites.cpu import FAMILY
from simulator.validation.kernel_suites.family import RowError

CPUS = [name for name in chip_ids() if chip(name).kind == "cpu"]
KNL = "xeon-phi-7250"
EXTENTS = (
    (1, 1, 1),
    (16, 16, 16),
    (35, 8457, 2560),
    (2048, 128, 2048),
    (4096, 7000, 4096),
    (512, 8, 500_000),
    (1, 4096, 4096),
)


def on(machine: Chip | str, rows: int = 1) -> tuple[Settings, dict[str, Floats]]:
    settings = Settings.of(
        [Setting(chip=chip(machine) if isinstance(machine, str) else machine, precision="fp32", library="mkl-2017")]
        * rows
    )
    return settings, KernelConstants(specs=SPECS).rows(settings)


def products(*shapes: tuple[float, float, float], batch: float = 1.0) -> GemmShapes:
    m, n, k = (np.array([float(shape[i]) for shape in shapes]) for i in range(3))
    return GemmShapes(batch=np.full(len(shapes), batch), m=m, n=n, k=k)


def conv(n, c, h, k, r, pad, stride, direction, *, w=None, s=None) -> CpuConvShapes:  # type: ignore[no-untyped-def]
    def one(value: float) -> Floats:
        return np.array([float(value)])

    return CpuConvShapes(
        n=one(n), c=one(c), h=one(h), w=one(w or h), k=one(k), r=one(r), s=one(s or r), pad_h=one(pad), pad_w=one(pad),
        stride_h=one(stride), stride_w=one(stride), direction=np.array([direction]),
    )  # fmt: skip


def gemm_s(machine: Chip | str, *shapes: tuple[float, float, float], **keys) -> KernelTime:  # type: ignore[no-untyped-def]
    settings, values = on(machine, len(shapes))
    return cpu_gemm_time(products(*shapes), settings, values, **keys)


def conv_s(machine: Chip | str, shape: CpuConvShapes) -> KernelTime:
    return cpu_conv_time(shape, *on(machine))


def require_sound(time: KernelTime) -> None:
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.bound_s <= time.device_s)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    assert all(np.all(part >= -1e-15) for part in time.parts.values())


CONVS = [
    conv(8, 64, 56, 64, 3, 1, 1, FORWARD),
    conv(8, 64, 56, 64, 3, 1, 1, BACKWARD_DATA),
    conv(8, 64, 56, 64, 3, 1, 1, BACKWARD_WEIGHTS),
    conv(8, 256, 56, 128, 1, 0, 2, BACKWARD_DATA),
    conv(16, 64, 80, 128, 5, 1, 2, BACKWARD_DATA, w=350),
    conv(8, 2048, 7, 512, 1, 3, 2, BACKWARD_WEIGHTS),
    conv(16, 1, 161, 32, 5, 0, 2, FORWARD, w=700, s=20),
]


@pytest.mark.parametrize("name", CPUS)
def test_parts_add_up_and_the_bound_holds(name: str) -> None:
    require_sound(gemm_s(name, *EXTENTS))
    for shape in CONVS:
        require_sound(conv_s(name, shape))
    settings, values = on(name, 3)
    require_sound(cpu_vector_time(np.array([1e3, 1e7, 1e9]), np.array([1e2, 1e6, 1e11]), settings, values))


@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize("extreme", ["low", "high"])
def test_the_bound_holds_whatever_the_constants(name: str, extreme: str) -> None:
    settings, _ = on(name, len(EXTENTS))
    values = {spec.name: np.full(len(EXTENTS), getattr(spec, extreme)) for spec in SPECS.values()}
    require_sound(cpu_gemm_time(products(*EXTENTS), settings, values))
    for shape in CONVS:
        require_sound(cpu_conv_time(shape, on(name)[0], {key: value[:1] for key, value in values.items()}))


@pytest.mark.parametrize("name", CPUS)
def test_a_better_chip_is_never_slower(name: str) -> None:
    plain = chip(name)
    faster = replace(
        plain, clock_hz=2 * plain.clock_hz, peak_flop_per_s={w: 2 * r for w, r in plain.peak_flop_per_s.items()}
    )
    wider = replace(plain, memory_bandwidth_byte_per_s=2 * plain.memory_bandwidth_byte_per_s)
    for better in (faster, wider):
        assert np.all(gemm_s(better, *EXTENTS).device_s <= gemm_s(plain, *EXTENTS).device_s * (1 + 1e-12))
        for shape in CONVS:
            assert conv_s(better, shape).device_s <= conv_s(plain, shape).device_s * (1 + 1e-12)


@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_more_work_is_not_faster(name: str, axis: int) -> None:
    """Doubling an extent never helps by more than a choice of another block can (2 %)."""
    grown = [tuple(2 * v if i == axis else v for i, v in enumerate(shape)) for shape in EXTENTS]
    assert np.all(gemm_s(name, *grown).device_s >= 0.98 * gemm_s(name, *EXTENTS).device_s)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", CPUS)
def test_a_huge_product_reaches_the_librarys_share_of_the_peak(name: str) -> None:
    time = gemm_s(name, (20_000, 20_000, 20_000))
    share = float((time.flop / time.device_s)[0]) / chip(name).peak("fp32")
    assert 0.88 * SPECS["cpu_gemm_fraction"].prior < share <= SPECS["cpu_gemm_fraction"].prior


def test_a_tiny_product_costs_the_meetings_of_the_threads() -> None:
    assert gemm_s(KNL, (1, 1, 1)).device_s[0] == pytest.approx(MEETINGS * SPECS["cpu_sync_s"].prior, rel=0.02)


def test_rows_do_not_see_each_other() -> None:
    together = gemm_s(KNL, *EXTENTS).device_s
    alone = [float(gemm_s(KNL, shape).device_s[0]) for shape in EXTENTS]
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    np.testing.assert_allclose(gemm_s(KNL, *EXTENTS[::-1]).device_s[::-1], together, rtol=1e-12)


@pytest.mark.parametrize("name", CPUS)
@pytest.mark.parametrize("shape", EXTENTS)
def test_threads_that_take_blocks_in_turn_agree(name: str, shape: tuple[int, int, int]) -> None:
    """Every block handed to the next free core, one after the other; the last core to finish decides."""
    settings, values = on(name)
    v = {key: float(value[0]) for key, value in values.items()}
    machine, facts = chip(name), core_of(chip(name))
    lanes = facts.vector_byte / 4.0
    m, n, k = shape if not (shape[0] < lanes and shape[1] > shape[0]) else (shape[1], shape[0], shape[2])
    columns_of = Machine.of(settings, values)
    cache = v["cpu_cache_byte_per_clock"] * machine.clock_hz
    words = m * k + k * n + 2 * m * n
    hit = 1 / (1 + (4 * words / (v["cpu_resident"] * float(columns_of.cached_byte[0]))) ** 4)
    wait = (1 - hit) * 4 * words / (machine.memory_bandwidth_byte_per_s * v["cpu_memory_fraction"])
    wait += hit * 4 * words / (cache * machine.cores)
    best = math.inf
    for vectors, width in BLOCKS:
        tall, wide = int(vectors * lanes), width
        register = min(width, facts.accumulators)
        stack = min(max(math.floor(facts.accumulators / register), 1), vectors)
        rate = float(register_rate(columns_of, stack, register)[0]) * v["cpu_gemm_fraction"]
        rate *= machine.peak("fp32") / machine.cores
        for split in SPLITS:
            depth = k / split
            block_s = 2 * tall * wide * (depth + v["cpu_depth"]) / rate + (tall + wide) * depth * 4 / cache
            tasks = len(range(0, m, tall)) * len(range(0, n, wide)) * split
            if tasks > 200_000:
                free = [math.ceil(tasks / machine.cores) * block_s]
            else:
                free = [0.0] * machine.cores
                for task in range(tasks):
                    free[task % machine.cores] += block_s
            p = v["cpu_overlap"]
            total = (max(free) ** p + wait**p) ** (1 / p)
            if split > 1:
                total += 2 * split * m * n * 4 / (cache * machine.cores) + v["cpu_sync_s"]
            best = min(best, total)
    assert gemm_s(name, shape).device_s[0] == pytest.approx(best + MEETINGS * v["cpu_sync_s"], rel=1e-9)


@pytest.mark.parametrize("direction", [FORWARD, BACKWARD_DATA])
def test_a_convolutions_tasks_counted_one_by_one_agree(direction: int) -> None:
    """A pointwise layer that the caches hold: waves of (image, channels, rows) counted by listing them."""
    shape = conv(3, 64, 8, 96, 1, 0, 1, direction)
    settings, values = on(KNL)
    v = {key: float(value[0]) for key, value in values.items()}
    machine = chip(KNL)
    m = Machine.of(settings, values)
    along, deep = (96, 64) if direction == FORWARD else (64, 96)
    least = math.inf
    for rows in (8, 1, 4, 7):
        pieces = math.ceil(8 / rows)
        taken = math.ceil(8 / pieces)
        run = taken * 8
        register = run / math.ceil(run / 28)
        for vectors in (1, 2, 4):
            tasks = [(i, c, p) for i in range(3) for c in range(0, along, 16 * vectors) for p in range(pieces)]
            load = [0] * machine.cores
            for number, _ in enumerate(tasks):
                load[number % machine.cores] += 1
            stack = min(max(math.floor(28 / register), 1), vectors)
            rate = machine.peak("fp32") / machine.cores * v["cpu_conv_fraction"]
            rate *= float(register_rate(m, stack, register)[0])
            weights, image = 4 * 16 * vectors * deep, 4 * deep * taken * 8
            local = 1 / (1 + ((weights + image) / CORES["many-core"].private_byte) ** 8)
            fetched = weights * (v["cpu_turned_load"] if direction == BACKWARD_DATA else 1.0) + image * (1 - local)
            one = 2 * 16 * vectors * taken * 8 * (deep + v["cpu_depth"]) / rate
            one += fetched / (v["cpu_mesh_byte_per_clock"] * machine.clock_hz)
            least = min(least, max(load) * one)
    assert conv_s(KNL, shape).device_s[0] == pytest.approx(least + v["cpu_sync_s"], rel=1e-9)


def test_a_strided_data_gradient_uses_one_core_an_image() -> None:
    """Eight and sixteen images take the same time (DeepBench, Xeon Phi 7250: 86.6 and 86.8 ms)."""
    eight, sixteen = (conv(n, 32, 79, 32, 5, 0, 2, BACKWARD_DATA, w=341, s=10) for n in (8, 16))
    first, second = conv_s(KNL, eight), conv_s(KNL, sixteen)
    assert first.algorithm == ("columns",)
    assert second.device_s[0] == pytest.approx(float(first.device_s[0]), rel=0.01)


def test_far_memory_serves_what_the_near_one_cannot_hold() -> None:
    settings, _ = on(KNL)
    knl = chip(KNL)
    near, fast = knl.memory_byte, knl.memory_bandwidth_byte_per_s
    slow = knl.far_memory_bandwidth_byte_per_s
    assert slow is not None
    byte = np.array([1e9])
    fits = memory_s(byte, np.array([near]), settings)
    assert fits[0] == pytest.approx(1e9 / fast)
    assert memory_s(byte, np.array([near]), settings, mode="cache")[0] == pytest.approx(1e9 / fast)
    assert memory_s(byte, np.array([2 * near]), settings)[0] == pytest.approx(max(0.5e9 / fast, 0.5e9 / slow))
    mostly = memory_s(byte, np.array([6 * near]), settings)[0]
    assert mostly == pytest.approx(5 / 6 * 1e9 / slow)
    for factor in (1.0, 1.5, 3.0, 6.0):
        there = np.array([factor * near])
        assert memory_s(byte, there, settings, mode="cache") >= memory_s(byte, there, settings)
    with pytest.raises(CpuError, match=r"row 0 needs 1e\+12 byte; xeon-phi-7250 holds .* in mode flat"):
        memory_s(byte, np.array([1e12]), settings)
    with pytest.raises(CpuError, match="mode 'hybrid' is not known; one of flat, cache"):
        memory_s(byte, byte, settings, mode="hybrid")
    with pytest.raises(CpuError, match="xeon-platinum-8180 holds"):
        memory_s(byte, np.array([1e12]), on("xeon-platinum-8180")[0])


def test_a_near_memory_that_caches_also_keeps_what_it_fetched() -> None:
    """With a far memory as fast as the near one, the copy into the near one is what is left to pay."""
    knl = chip(KNL)
    even = replace(knl, far_memory_bandwidth_byte_per_s=knl.memory_bandwidth_byte_per_s)
    settings, _ = on(even)
    for mode, moved in (("flat", 0.75), ("cache", 1.75)):
        seconds = memory_s(np.array([1e9]), np.array([4 * knl.memory_byte]), settings, mode=mode)[0]
        assert seconds == pytest.approx(moved * 1e9 / knl.memory_bandwidth_byte_per_s)


def test_a_register_tile_needs_twelve_products_under_way() -> None:
    """Two ports and six clocks: seven accumulators of a 7-pixel row keep 7/12 of the ports busy, 14 all of them."""
    settings, values = on(KNL)
    machine = Machine.of(settings, values)
    assert register_rate(machine, 1.0, 28.0)[0] == 1.0
    assert register_rate(machine, 1.0, 7.0)[0] == pytest.approx(7 / 12, rel=0.04)
    assert register_rate(machine, 1.0, 14.0)[0] == pytest.approx(1.0, rel=0.04)
    assert register_rate(machine, 4.0, 7.0)[0] == 1.0


@pytest.mark.parametrize("name", CPUS)
def test_a_product_of_few_rows_fills_the_lanes_with_its_columns(name: str) -> None:
    flat, tall = gemm_s(name, (3, 5000, 900), (5000, 3, 900)).device_s
    assert flat == pytest.approx(tall, rel=1e-12)


def test_a_program_in_far_memory_is_slower() -> None:
    near = gemm_s(KNL, (8448, 16, 2816)).device_s[0]
    assert gemm_s(KNL, (8448, 16, 2816), footprint_byte=np.array([64e9])).device_s[0] > 2 * near


def test_other_chips_are_refused() -> None:
    with pytest.raises(CpuError, match=r"chip 'v100-sxm2-16gb' \(gpu, volta\) is not priced as a CPU; .*many-core"):
        gemm_s("v100-sxm2-16gb", (8, 8, 8))
    row = {"kernel": "gemm", "chip": "V100 SXM2 16GB", "m": "8", "n": "8", "k": "8"}
    with pytest.raises(RowError, match="is of kind gpu; this suite prices kind cpu"):
        FAMILY.check(row)
    with pytest.raises(CpuError, match="a filter of 9 x 9 does not fit into 4 x 4 pixels padded by 0 x 0"):
        conv_s(KNL, conv(1, 8, 4, 8, 9, 0, 1, FORWARD))


@pytest.mark.parametrize(
    ("cell", "value", "message"),
    [
        ("m", "0", "m is 0; a whole number"),
        ("k", "many", "k is 'many'; a whole number"),
        ("conv_n", "1.5", "conv_n is 1.5; a whole number"),
        ("pass", "sideways", "pass is 'sideways'; one of fwd, bwd_data, bwd_weights"),
        ("filt_h", "99", "the filter is larger than the padded image"),
    ],
)
def test_a_bad_row_is_refused_in_one_line(cell: str, value: str, message: str) -> None:
    row = {
        "kernel": "gemm" if cell in "mnk" else "conv", "chip": "KNL", "m": "8", "n": "8", "k": "8", "conv_n": "1",
        "conv_c": "8", "conv_h": "9", "conv_w": "9", "conv_k": "8", "filt_h": "3", "filt_w": "3", "pad_h": "0",
        "pad_w": "1", "stride_h": "1", "stride_w": "1", "pass": "fwd",
    }  # fmt: skip
    FAMILY.check(row)
    with pytest.raises(RowError, match=message):
        FAMILY.check(row | {cell: value})


#: baidu-research/DeepBench@da81ba7, results/train/DeepBench_IA_KNL7250.xlsx, sheet "Results - FP32".
MEASURED_GEMM = (
    (1760, 128, 1760, 0.000277), (2048, 16, 2048, 6.3e-05), (2560, 64, 2560, 0.000307), (4096, 7000, 4096, 0.051762),
    (5124, 9124, 2048, 0.044437), (35, 8457, 4096, 0.001248), (1024, 16, 500000, 0.008608), (6144, 32, 2048, 0.000342),
)  # fmt: skip
#: The same file: images, channels, side, filters, filter side, padding, stride, pass, seconds.
MEASURED_CONV = (
    (8, 64, 56, 64, 3, 1, 1, FORWARD, 0.00042), (16, 128, 28, 128, 3, 1, 1, BACKWARD_DATA, 0.00075),
    (8, 256, 14, 256, 3, 1, 1, BACKWARD_WEIGHTS, 0.00049), (8, 512, 28, 128, 1, 0, 1, FORWARD, 0.0002),
    (16, 256, 56, 128, 1, 0, 2, BACKWARD_DATA, 0.00047), (16, 3, 224, 64, 7, 3, 2, FORWARD, 0.00099),
    (16, 512, 7, 512, 1, 0, 1, BACKWARD_WEIGHTS, 0.00019), (8, 512, 14, 512, 3, 1, 1, FORWARD, 0.00162),
)  # fmt: skip


def test_measured_rows_are_predicted() -> None:
    """With the constants as they ship: products within 15 % each and 8 % on average, convolutions 30 % and 20 %."""
    gemm = [abs(math.log(float(gemm_s(KNL, row[:3]).device_s[0]) / row[3])) for row in MEASURED_GEMM]
    assert max(gemm) < 0.15
    assert np.mean(gemm) < 0.08
    convs = [abs(math.log(float(conv_s(KNL, conv(*row[:8])).device_s[0]) / row[8])) for row in MEASURED_CONV]
    assert max(convs) < 0.30
    assert np.mean(convs) < 0.20


@pytest.mark.parametrize(
    ("shape", "measured_s", "algorithm"),
    [
        (conv(8, 32, 79, 32, 5, 0, 2, FORWARD, w=341, s=10), 1.806e-3, "direct"),
        (conv(8, 32, 79, 32, 5, 0, 2, BACKWARD_DATA, w=341, s=10), 8.661e-2, "columns"),
        (conv(8, 2048, 7, 512, 1, 3, 2, BACKWARD_DATA), 2.174e-2, "plain"),
        (conv(8, 2048, 7, 512, 1, 3, 2, BACKWARD_WEIGHTS), 5.49e-3, "plain"),
    ],
)
def test_rows_of_unusual_layers_are_predicted(shape: CpuConvShapes, measured_s: float, algorithm: str) -> None:
    """The same file: strided windows forward and to the data, and the backward passes of a padded pointwise layer."""
    time = conv_s(KNL, shape)
    assert time.algorithm == (algorithm,)
    assert time.device_s[0] == pytest.approx(measured_s, rel=0.25)


def test_a_first_layers_weight_gradient_is_shared_out_by_images_and_added_up() -> None:
    """Four blocks of filters on 68 cores: the images are shared out too, and every share has sums of its own."""
    _, values = on(KNL)
    share = chip(KNL).memory_bandwidth_byte_per_s * float(values["cpu_memory_fraction"][0])
    steps = conv_s(KNL, conv(16, 3, 224, 64, 7, 3, 2, BACKWARD_WEIGHTS)).parts["steps"][0]
    assert steps == pytest.approx(2 * 16 * (64 * 3 * 49 * 4) / share)
    # 1,024 blocks need no more than two shares, which even out the last wave.
    deep = conv_s(KNL, conv(16, 512, 14, 512, 3, 1, 1, BACKWARD_WEIGHTS)).parts["steps"][0]
    assert deep == pytest.approx(2 * 2 * (512 * 512 * 9 * 4) / share)


def test_the_suite_reads_rows_into_the_same_seconds() -> None:
    """Rows of both kinds in any order give what the two models give on their own."""
    gemm_row = {"kernel": "gemm", "chip": "KNL", "m": "4096", "n": "64", "k": "4096"}
    conv_row = {
        "kernel": "conv", "chip": "KNL", "conv_n": "8", "conv_c": "64", "conv_h": "56", "conv_w": "56", "conv_k": "64",
        "filt_h": "3", "filt_w": "3", "pad_h": "1", "pad_w": "1", "stride_h": "1", "stride_w": "1", "pass": "bwd_data",
    }  # fmt: skip
    settings, values = on(KNL, 3)
    rows = [conv_row, gemm_row, conv_row]
    time = FAMILY.time(FAMILY.read(rows), settings, values)
    require_sound(time)
    expected = [float(conv_s(KNL, CONVS[1]).device_s[0]), float(gemm_s(KNL, (4096, 64, 4096)).device_s[0])]
    np.testing.assert_allclose(time.device_s, [expected[0], expected[1], expected[0]], rtol=1e-12)
    assert time.algorithm == ("direct", "blocks", "direct")
    np.testing.assert_array_equal(FAMILY.observed_s(FAMILY.read(rows), settings, values), time.device_s)
