"""Products on vector units: laws over every GPU, limits, a second way of choosing tiles, the clock, measured rows."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import LINEAGES, Chip
from simulator.kernel_calibration import load_kernels
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.gemm_matrix import gemm_matrix_time
from simulator.kernels.gemm_vector import far_share, gemm_vector_time, tile_names
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.power import (
    CLOCK_EXPONENT,
    NO_HEAT,
    VECTOR_FLOP_J,
    Cooling,
    clock_fraction,
    idle_w,
    sustained_w,
)
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.vector_units import RESIDENT_ELEMENTS, SPECS, TILES, channel_conflict, issue_cost
from simulator.validation.kernel_rows import resolve_kernel
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernel_suites.gemm import FAMILY

CHIPS = [name for name in chip_ids() if chip(name).kind == "gpu" and "fp32" in chip(name).peak_flop_per_s]
SHAPES = [
    (batch, m, n, k)
    for batch in (1, 3)
    for m in (1, 16, 256, 1000, 8192)
    for n in (1, 64, 1280, 8192)
    for k in (1, 64, 1530, 8192)
]


def settings_of(machine: Chip, rows: int, *, precision: str = "fp32", library: str = "") -> Settings:
    return Settings.of([Setting(chip=machine, precision=precision, library=library)] * rows)


def shapes_of(*shapes: tuple[float, ...], a_along_k: float = 1.0, b_along_k: float = 0.0) -> GemmShapes:
    batch, m, n, k = np.array(shapes, dtype=np.float64).T
    along = np.ones(len(m))
    return GemmShapes(batch=batch, m=m, n=n, k=k, a_along_k=along * a_along_k, b_along_k=along * b_along_k)


def values_of(settings: Settings, **changes: float) -> dict[str, Floats]:
    values = KernelConstants(specs=SPECS).rows(settings)
    return {**values, **{name: np.full(settings.rows, value) for name, value in changes.items()}}


def price(machine: Chip, *shapes: tuple[float, ...], **changes: float) -> KernelTime:
    settings = settings_of(machine, len(shapes))
    return gemm_vector_time(shapes_of(*shapes, b_along_k=1.0), settings, values_of(settings, **changes))


def seconds(machine: Chip, *shapes: tuple[float, ...], **changes: float) -> Floats:
    return price(machine, *shapes, **changes).device_s


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("extreme", ["prior", "low", "high"])
def test_bound_holds_and_parts_add_up_whatever_the_constants(name: str, extreme: str) -> None:
    time = price(chip(name), *SHAPES, **{spec.name: getattr(spec, extreme) for spec in SPECS.values()})
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.bound_s <= time.device_s)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    for part in ("arithmetic", "padding", "waves", "depth", "clock", "memory", "ramp"):
        assert np.all(time.parts[part] >= -1e-9 * time.device_s), part


@pytest.mark.parametrize("name", CHIPS)
def test_huge_products_run_at_the_rate_that_constants_leave(name: str) -> None:
    machine, side = chip(name), 65536.0
    easy = {"fma_rate": 0.8, "fma_turn": 0.001, "fma_exposed": 0.01, "fma_far_byte": 1e10, "fma_energy": 0.2}
    easy |= {"fma_far_row_per_clock": 10.0, "fma_cache_byte_per_clock": 256.0, "fma_step_clock": 20.0}
    settings = settings_of(machine, 1)
    shapes = shapes_of((1, side, side, 8192.0), a_along_k=0.0)
    time = gemm_vector_time(shapes, settings, values_of(settings, **easy, fma_fill_clock=50.0))
    share = shapes.flop[0] / time.device_s[0] / machine.peak("fp32")
    if machine.tdp_w < 100:  # held back by the board even so
        assert share <= 0.8
    else:
        assert 0.75 < share * issue_cost(settings)[0] <= 0.801


@pytest.mark.parametrize("name", CHIPS)
def test_tiny_products_take_the_ramp_and_one_filling(name: str) -> None:
    machine = chip(name)
    time = seconds(machine, (1, 8, 8, 8), fma_ramp_s=4e-6, fma_fill_clock=2000.0, fma_step_clock=300.0)[0]
    assert 4e-6 < time < 4e-6 + 1.6 * 2300.0 / machine.clock_hz


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_more_outputs_are_never_faster(name: str, axis: int) -> None:
    """In batch, m and n to 5 %: a larger product may meet a split of k that fits the cores better. Whole loads all."""
    sizes = np.unique(np.rint(np.geomspace(1, 6000, 60) / 32) * 32 + 32)
    shapes = []
    for size in sizes:
        shape = [2.0 if axis == 0 else 1.0, 512.0, 768.0, 1024.0]
        shape[axis] = float(size if axis else 1.0 + size / 32)
        shapes.append(tuple(shape))
    time = seconds(chip(name), *shapes)
    assert np.all(time[1:] >= 0.95 * np.maximum.accumulate(time)[:-1])


@pytest.mark.parametrize("name", CHIPS)
def test_more_depth_is_never_much_faster(name: str) -> None:
    """To 5 %, at steps at which rows meet in as many memory channels: a deeper product may split into more parts."""
    shapes = [(1.0, 1024.0, 1024.0, float(k)) for k in range(1024, 32768, 1024)]
    time = seconds(chip(name), *shapes)
    assert np.all(time[1:] >= 0.95 * np.maximum.accumulate(time)[:-1])


@pytest.mark.parametrize("name", CHIPS)
@pytest.mark.parametrize("fact", ["memory_bandwidth_byte_per_s", "clock_hz", "tdp_w", "l2_byte"])
def test_a_better_chip_is_never_slower(name: str, fact: str) -> None:
    machine = chip(name)
    better = replace(machine, **{fact: 2.0 * getattr(machine, fact)})
    if fact == "clock_hz":  # what a core does in a clock stays
        better = replace(better, peak_flop_per_s={w: 2.0 * rate for w, rate in machine.peak_flop_per_s.items()})
    if fact == "tdp_w" and machine.idle_w is None:
        better = replace(better, idle_w=float(idle_w(settings_of(machine, 1))[0]))
    assert np.all(seconds(better, *SHAPES) <= seconds(machine, *SHAPES) * (1.0 + 1e-9))


def test_one_row_at_a_time_and_any_order_give_the_same() -> None:
    rng = np.random.default_rng(11)
    settings = Settings.of([Setting(chip=chip(n), precision="fp32", library="") for n in CHIPS for _ in range(3)])
    rows = settings.rows
    x = {c: rng.integers(1, 9000, rows).astype(float) for c in ("m", "n", "k")}
    x["batch"] = rng.integers(1, 3, rows).astype(float)
    x |= {c: rng.integers(0, 2, rows).astype(float) for c in ("a_along_k", "b_along_k")}
    values = values_of(settings)
    shapes = GemmShapes(**x)
    together = gemm_vector_time(shapes, settings, values).device_s
    order = rng.permutation(rows)
    shuffled = gemm_vector_time(shapes.take(order), settings.take(order), {n: v[order] for n, v in values.items()})
    np.testing.assert_array_equal(shuffled.device_s, together[order])
    for i in range(0, rows, 7):
        one = np.array([i])
        alone = gemm_vector_time(shapes.take(one), settings.take(one), {n: v[one] for n, v in values.items()})
        np.testing.assert_allclose(alone.device_s, together[i], rtol=1e-12)


def core_clocks(machine: Chip, m: int, n: int, k: int, values: dict[str, float]) -> float:
    """The best tile and split of one row-major product, counted tile by tile in whole numbers and plain Python."""
    cores, exposed = machine.cores, values["fma_exposed"]
    fma = 2.0 * cores * machine.clock_hz / machine.peak("fp32") / values["fma_rate"]
    load = 4.0 / values["fma_cache_byte_per_clock"]
    a = load * (values["fma_narrow_load"] if k % 4 else 1.0)
    b = load * (values["fma_narrow_load"] if n % 4 else 1.0)
    best = math.inf
    for tm, tn in TILES:
        tiles = len(range(0, m, tm)) * len(range(0, n, tn))
        resident = min(max(RESIDENT_ELEMENTS // (tm * tn), 1), 16)
        work, fetch = tm * tn * fma, tm * a + tn * b
        body = max(work, fetch) + exposed * min(work, fetch)
        for parts in {1, max(1, min(resident * cores // tiles, k // 64))}:
            each = -(-tiles * parts // cores)
            rounds = -(-each // resident)
            depth = 8.0 * -(-k // (parts * 8))
            clocks = depth * max(each * body, rounds * (body + values["fma_step_clock"] / 8.0))
            clocks += rounds * values["fma_fill_clock"]
            if parts > 1:
                clocks += values["fma_split_s"] * machine.clock_hz
                clocks += (parts + 1) * 8.0 * m * n / (values["fma_cache_byte_per_clock"] * cores)
            best = min(best, clocks)
    return best


@pytest.mark.parametrize("name", ["p100-pcie-16gb", "v100-sxm2-16gb", "mi100"])
@pytest.mark.parametrize(("m", "n", "k"), list(itertools.product((1, 70, 515, 3000), (64, 129, 2050), (8, 999, 40000))))
def test_the_choice_of_tiles_counted_a_second_way(name: str, m: int, n: int, k: int) -> None:
    machine = replace(chip(name), tdp_w=1e5, memory_bandwidth_byte_per_s=1e18)
    settings = settings_of(machine, 1)
    values = values_of(settings, fma_far_row_per_clock=10.0, fma_far_byte=1e10, fma_memory_rate=1.0)
    time = gemm_vector_time(shapes_of((1, m, n, k)), settings, values)
    plain = {name: float(value[0]) for name, value in values.items()}
    slow = float(settings.clock_hz[0] * (time.device_s[0] - plain["fma_ramp_s"]))
    if time.device_s[0] > time.bound_s[0]:
        assert slow == pytest.approx(core_clocks(machine, m, n, k, plain), rel=2e-3)


def test_tiles_fit_their_products() -> None:
    settings = settings_of(chip("v100-sxm2-16gb"), 3)
    shapes = shapes_of((1, 8192, 8192, 1024), (1, 32, 32, 64), (1, 64, 16, 60000), b_along_k=1.0)
    square, small, deep = tile_names(shapes, settings, values_of(settings))
    assert square == "128x128/1"
    assert small == "32x32/1"
    assert int(deep.split("/")[1]) > 40


@pytest.mark.parametrize(
    ("name", "narrow_is_dearer"), [("a100-pcie-80gb", True), ("h100-sxm5", True), ("mi100", False)]
)
def test_batches_of_narrow_products_pay_for_whole_tiles_where_libraries_ship_no_other(
    name: str, narrow_is_dearer: bool
) -> None:
    batched = seconds(chip(name), (2048, 1024, 32, 1024))[0]
    whole = seconds(chip(name), (2048, 1024, 128, 1024))[0]
    assert (batched > 0.85 * whole) == narrow_is_dearer


def test_thin_products_of_old_libraries_are_as_slow_as_wide_ones() -> None:
    shapes = shapes_of((1, 4096, 16, 4096), (1, 4096, 64, 4096), (1, 4096, 32, 4096))
    for library, thin_is_wide in (("cudnn-6", True), ("cudnn-7", False)):
        settings = settings_of(chip("p100-pcie-16gb"), 3, library=library)
        free = values_of(settings, fma_memory_rate=1.0)
        thin, wide, _ = gemm_vector_time(shapes, settings, free).device_s
        assert (thin > 0.9 * wide) == thin_is_wide


def test_libraries_of_2015_take_wide_tiles_for_thin_products_and_seldom_split() -> None:
    """Thin products in tiles of 8192 elements, parts of a split at least 8192 deep; a later library is faster."""
    shapes = shapes_of((1, 4096, 16, 4096), (1, 4096, 32, 4096), (1, 4096, 64, 4096), (1, 512, 16, 500000))
    old, new = (settings_of(chip("m40"), shapes.rows, library=library) for library in ("cudnn-5", "cudnn-7"))
    for name in tile_names(shapes, old, values_of(old)):
        tile, split = name.split("/")
        assert math.prod(int(side) for side in tile.split("x")) >= 8192
        assert int(split) <= 500000 / 8192
    splits = [int(name.split("/")[1]) for name in tile_names(shapes, old, values_of(old))]
    assert splits[:3] == [1, 1, 1]
    assert splits[3] > 1
    slow = gemm_vector_time(shapes, old, values_of(old)).device_s
    fast = gemm_vector_time(shapes, new, values_of(new)).device_s
    assert slow[0] == pytest.approx(slow[2], rel=0.05)
    assert np.all(fast <= slow * (1.0 + 1e-9))
    assert fast[0] < 0.7 * slow[0]


def test_few_constants_vary_by_architecture_chip_or_library() -> None:
    """At most 5 names by architecture or chip and 2 by library for each kind of units, the suite's own included."""
    for matrix in (False, True):
        levels = [spec.levels for name, spec in FAMILY.specs.items() if name.startswith("matrix_") == matrix]
        assert sum("architecture" in level or "chip" in level for level in levels) <= 5
        assert sum("library" in level for level in levels) <= 2


def test_far_rows_miss_address_translation() -> None:
    shapes = shapes_of((1, 4096, 4096, 1024), (1, 4096, 4096, 65536), b_along_k=1.0)
    byte, reach = np.full(2, 4.0), np.full(2, 1.5e8)
    near, far = far_share(shapes, byte=byte, reach_byte=reach)
    assert near < 0.02
    assert far > 0.9
    across = shapes_of((1, 4096, 4096, 65536), a_along_k=0.0)
    assert far_share(across, byte=byte[:1], reach_byte=reach[:1])[0] == 0.0


def test_rows_a_power_of_two_apart_share_a_channel_where_addresses_are_not_hashed() -> None:
    row_byte = np.array([4096.0, 8192.0, 10240.0, 11264.0, 7040.0, 100.0])
    waits = channel_conflict(settings_of(chip("mi25"), 6), row_byte)
    assert waits[0] == waits[1] == pytest.approx(0.25 * 15)
    assert waits[2] == pytest.approx(0.25 * 7)
    assert waits[3] == pytest.approx(0.25 * 3)
    assert waits[4] == waits[5] == 0.0
    assert not channel_conflict(settings_of(chip("v100-sxm2-16gb"), 6), row_byte).any()


def test_every_gpu_architecture_has_an_energy_per_flop() -> None:
    assert set(VECTOR_FLOP_J) == {*LINEAGES["nvidia"], *LINEAGES["amd"]}
    assert {chip(name).architecture for name in CHIPS} <= set(VECTOR_FLOP_J)


@pytest.mark.parametrize("limit", [70.0, 250.0, 700.0])
def test_the_clock_keeps_the_board_within_its_limit(limit: float) -> None:
    """Against the root of the power equation, found by bisection; the rounded corner is below it by 6 % at most."""
    idle = 0.15 * limit
    for draw in np.geomspace(0.05 * limit, 8.0 * limit, 40):
        got = float(clock_fraction(dynamic_w=np.array(draw), idle_w=np.array(idle), limit_w=np.array(limit)))
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if idle + draw * middle**CLOCK_EXPONENT <= limit else (low, middle)
        assert idle + draw * got**CLOCK_EXPONENT <= limit * (1 + 1e-9)
        assert 0.93 * low <= got <= low * (1 + 1e-9)


def test_short_kernels_have_the_whole_limit_and_long_ones_what_the_air_takes() -> None:
    settings = settings_of(chip("p4"), 3)
    power = sustained_w(settings, seconds=np.array([1e-6, 1e-2, 1e3]), cooling=Cooling(share=0.3, heating_s=1e-2))
    assert power[0] == pytest.approx(75.0, rel=1e-3)
    assert power[0] > power[1] > power[2]
    assert power[2] == pytest.approx(0.3 * 75.0, rel=0.01)
    assert sustained_w(settings, seconds=np.full(3, 1e3), cooling=NO_HEAT) == pytest.approx(75.0, rel=1e-3)


def row(**changes: str) -> dict[str, str]:
    base = {"kernel": "gemm", "chip": "V100 SXM2 16GB", "precision": "fp32", "suite": "deepbench", "m": "128"}
    return {
        **base,
        "n": "64",
        "k": "32",
        "library": "cuBLAS;cuDNN7.6.2;CUDA10.1",
        "transA": "T",
        "transB": "N",
    } | changes


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"m": "0"}, "m is 0; a whole number"),
        ({"k": ""}, "k is ''"),
        ({"n": "1.5"}, "n is 1.5"),
        ({"batch": "-2"}, "batch is -2"),
        ({"transA": "X"}, "transA is 'X'; N or T"),
        ({"precision": "fp33"}, "precision 'fp33' is not known"),
        ({"chip": "Xeon Phi 7250 (KNL)"}, "is of kind cpu; this suite prices kind gpu"),
        ({"chip": "Gaudi 2", "precision": "bf16"}, "is of kind systolic; this suite prices kind gpu"),
        ({"precision": "fp16_mixed", "m": "many"}, "m is 'many'"),
    ],
)
def test_bad_rows_are_refused_in_one_clear_line(changes: dict[str, str], says: str) -> None:
    with pytest.raises(RowError) as error:
        FAMILY.check(row(**changes))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_layouts_of_the_suites() -> None:
    linear = row(suite="neusight_model_shapes", transA="", transB="")
    shapes = FAMILY.read([row(), row(transA="N", transB="T"), linear, {**linear, "kernel": "bmm"}])
    assert shapes.gemm.a_along_k.tolist() == [1.0, 0.0, 1.0, 1.0]
    assert shapes.gemm.b_along_k.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert shapes.linear.tolist() == [0.0, 0.0, 1.0, 0.0]
    assert shapes.batched.tolist() == [0.0, 0.0, 0.0, 1.0]


def test_each_row_is_priced_on_its_units_and_floors_never_enter_the_device() -> None:
    rows = [row(), row(precision="fp16_mixed"), row(suite="neusight_model_shapes", transA="", transB="")]
    settings = Settings.of([resolve_kernel(r, {"gemm": FAMILY}).settings[0] for r in rows])
    values = KernelConstants(specs=FAMILY.specs).rows(settings)
    shapes = FAMILY.read(rows)
    time = FAMILY.time(shapes, settings, values)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    for i, model in ((0, gemm_vector_time), (1, gemm_matrix_time), (2, gemm_vector_time)):
        one = np.array([i])
        alone = model(shapes.gemm.take(one), settings.take(one), {n: v[one] for n, v in values.items()})
        assert time.device_s[i] == pytest.approx(alone.device_s[0], rel=1e-12)
    seen = FAMILY.observed_s(shapes, settings, values)
    np.testing.assert_allclose(seen[:2], time.device_s[:2], rtol=1e-6)
    assert seen[2] - time.device_s[2] == pytest.approx(1.75 * 3.2e-5, rel=0.02)


#: (chip, suite, kernel, batch, m, n, k, transA, transB, measured seconds), a handful of shapes unlike each other.
#: baidu-research/DeepBench@da81ba7 and sitar-lab/NeuSight@6945927.
MEASURED = [
    ("V100 SXM2 16GB", "deepbench", "gemm", "", 1760, 16, 1760, "N", "N", 3.8e-5),
    ("V100 SXM2 16GB", "deepbench", "gemm", "", 4096, 128, 4096, "N", "N", 3.32e-4),
    ("V100 SXM2 16GB", "deepbench", "gemm", "", 5124, 9124, 2560, "T", "N", 1.7542e-2),
    ("V100 SXM2 16GB", "deepbench", "gemm", "", 3072, 24000, 1024, "N", "N", 1.1491e-2),
    ("V100 SXM2 16GB", "deepbench", "gemm", "", 8448, 16, 2816, "N", "N", 1.33e-4),
    ("A100 PCIe 80GB", "neusight_model_shapes", "bmm", "12", 64, 196, 196, "", "", 6.096e-5),
    ("A100 PCIe 80GB", "neusight_model_shapes", "bmm", "2048", 256, 512, 512, "", "", 1.51022e-2),
    ("A100 PCIe 80GB", "neusight_model_shapes", "gemm", "1", 1024, 1024, 3072, "", "", 4.95936e-4),
    ("A100 PCIe 80GB", "neusight_model_shapes", "gemm", "1", 65536, 4096, 50272, "", "", 1.7391298),
]


def test_measured_rows_are_met() -> None:
    """To 11 % on average and 36 % each with the constants that ship; the worst is V100's 1760 x 16 by k = 1760."""
    names = ("chip", "suite", "kernel", "batch", "m", "n", "k", "transA", "transB")
    rows = [row(**dict(zip(names, map(str, facts[:-1]), strict=True))) for facts in MEASURED]
    rows = [{**r, "library": "torch2.1.0"} if r["suite"].startswith("neusight") else r for r in rows]
    settings = Settings.of([resolve_kernel(r, {"gemm": FAMILY}).settings[0] for r in rows])
    values = load_kernels().constants["gemm"].rows(settings)
    error = np.abs(np.log(FAMILY.observed_s(FAMILY.read(rows), settings, values) / [facts[-1] for facts in MEASURED]))
    assert error.mean() < 0.11
    assert error.max() < 0.36
