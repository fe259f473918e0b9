"""A wafer: placement against a greedy one, pipelines and streams against lists of events, laws over every wafer."""

from __future__ import annotations

import heapq
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import Chip
from simulator.kernels.gemm import GemmShapes
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.wafer import (
    DEPTH_CUTS,
    MEASURED_ROWS,
    ROW_CUTS,
    SPECS,
    WaferError,
    WaferLayers,
    core_byte,
    harvest,
    link_byte_per_s,
    pipeline,
    place,
    stored_weight_byte,
    streamed,
    wafer_gemm_time,
)

NAMES = [name for name in chip_ids() if chip(name).kind == "wafer"]
PRIORS = {spec.name: spec.prior for spec in SPECS.values()}
EXTENTS = ((1, 1, 1), (512, 512, 512), (1, 8192, 8192), (8192, 8192, 8192), (37, 5000, 129), (100_000, 33, 700))


def setting_of(machine: Chip | str) -> Setting:
    return Setting(chip=chip(machine) if isinstance(machine, str) else machine, precision="fp16", library="")


def on(machine: Chip | str, rows: int = 1) -> tuple[Settings, dict[str, Floats]]:
    settings = Settings.of([setting_of(machine)] * rows)
    return settings, KernelConstants(specs=SPECS).rows(settings)


def gemm_s(machine: Chip | str, *shapes: tuple[float, float, float], density: float = 1.0, **keys: bool) -> KernelTime:
    settings, values = on(machine, len(shapes))
    m, n, k = (np.array([float(shape[i]) for shape in shapes]) for i in range(3))
    x = GemmShapes(batch=np.ones(len(shapes)), m=m, n=n, k=k)
    return wafer_gemm_time(x, settings, values, density=np.full(len(shapes), density), **keys)


def network(
    *, layers: int = 6, weight_byte: float = 2e8, density: float = 1.0, output_byte: float = 1e6
) -> WaferLayers:
    flop = np.linspace(1e9, 5e9, layers)
    return WaferLayers(
        flop=flop, weight_byte=np.full(layers, weight_byte), activation_byte=np.full(layers, 4e6),
        output_byte=np.full(layers, output_byte), density=np.full(layers, density),
    )  # fmt: skip


def require_sound(time: KernelTime) -> None:
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.bound_s <= time.device_s)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    assert all(np.all(part >= -1e-15) for name, part in time.parts.items() if name != "algorithm")


def greedy(work: list[float], least: list[int], cores: int) -> list[int]:
    """One core after the other to the slowest layer."""
    held = [max(1, count) for count in least]
    slowest = [(-w / c, i) for i, (w, c) in enumerate(zip(work, held, strict=True))]
    heapq.heapify(slowest)
    for _ in range(cores - sum(held)):
        _, i = heapq.heappop(slowest)
        held[i] += 1
        heapq.heappush(slowest, (-work[i] / held[i], i))
    return held


@given(
    st.lists(st.tuples(st.floats(1e-3, 1e3), st.integers(0, 30)), min_size=1, max_size=8),
    st.integers(1, 400),
)
def test_placement_is_as_good_as_a_greedy_one(layers: list[tuple[float, int]], spare: int) -> None:
    """Giving each next core to the slowest layer is optimal for a min-max; bisection must find the same bottleneck."""
    work, least = [w for w, _ in layers], [c for _, c in layers]
    cores = sum(max(1, c) for c in least) + spare
    ours = place(np.array(work), np.array(least), cores)
    theirs = greedy(work, least, cores)
    assert ours.sum() <= cores
    assert all(o >= max(1, c) for o, c in zip(ours, least, strict=True))
    assert max(np.array(work) / ours) == pytest.approx(max(w / c for w, c in zip(work, theirs, strict=True)), rel=1e-9)


def test_too_many_weights_are_refused_with_the_way_out() -> None:
    with pytest.raises(
        WaferError, match=r"need at least 300 cores for their memory; the wafer has 299\. Stream the weights"
    ):
        place(np.ones(3), np.array([100, 100, 100]), 299)
    with pytest.raises(WaferError, match="the wafer has 850,000"):
        pipeline(network(weight_byte=1e10), setting_of("wse-2"), rate=0.7)


def flow_shop_s(stage_s: NDArray[np.float64], samples: int) -> float:
    """Event list: a sample enters a stage when it has left the one before and the sample ahead has left this one."""
    free = [0.0] * len(stage_s)
    for _ in range(samples):
        now = 0.0
        for i, seconds in enumerate(stage_s):
            now = max(now, free[i]) + seconds
            free[i] = now
    return free[-1]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("samples", [1, 2, 17])
def test_a_pipeline_run_sample_by_sample_agrees(name: str, samples: int) -> None:
    laid = pipeline(network(), setting_of(name), rate=0.7)
    assert laid.total_s(samples) == pytest.approx(flow_shop_s(laid.stage_s, samples), rel=1e-12)
    assert laid.total_s(1) == laid.latency_s
    assert laid.interval_s >= laid.bound_s
    assert laid.cores.sum() <= chip(name).cores


@pytest.mark.parametrize("name", NAMES)
def test_cores_go_by_products_and_weights_fit(name: str) -> None:
    machine = chip(name)
    layers = network(weight_byte=1e6, output_byte=1e3)
    laid = pipeline(layers, setting_of(name), rate=0.7)
    np.testing.assert_allclose(laid.cores / laid.cores.sum(), layers.flop / layers.flop.sum(), rtol=0.01)
    np.testing.assert_allclose(laid.stage_s, laid.interval_s, rtol=0.01)
    assert laid.interval_s == pytest.approx(layers.flop.sum() / (machine.peak("fp16") * 0.7), rel=0.01)
    heavy = network(weight_byte=0.12 * machine.memory_byte)
    held = pipeline(heavy, setting_of(name), rate=0.7)
    assert np.all(held.cores * core_byte(machine) * 0.9 >= heavy.weight_byte)
    assert held.interval_s > pipeline(network(weight_byte=1e6), setting_of(name), rate=0.7).interval_s


def test_wide_results_wait_at_the_edge() -> None:
    """An edge of sqrt(C) links: 922 of them on a WSE-2."""
    machine = chip("wse-2")
    laid = pipeline(network(output_byte=1e9), setting_of(machine), rate=0.7)
    assert laid.interval_s == pytest.approx(1e9 / (math.sqrt(850_000) * link_byte_per_s(machine)))
    assert link_byte_per_s(machine) == pytest.approx(4 * machine.clock_hz, rel=0.1)  # a word of 4 byte a clock


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("training", [False, True])
def test_a_stream_run_layer_by_layer_agrees(name: str, training: bool) -> None:
    """Events: a layer ends when its last weight has come and been used; the wafer then turns to the next."""
    setting, layers, batch = setting_of(name), network(weight_byte=3e8), 64
    run = streamed(layers, setting, batch=batch, values=PRIORS, training=training)
    machine = chip(name)
    external = (machine.far_memory_bandwidth_byte_per_s or machine.host_bandwidth_byte_per_s or 0.0) * 0.85
    now = 0.0
    for flop, byte in zip(layers.flop, layers.weight_byte, strict=True):
        pieces = 1000
        arrived = used = now
        for _ in range(pieces):
            arrived += byte * (2 if training else 1) / external / pieces
            used = max(used, arrived) + batch * flop / (machine.peak("fp16") * 0.7) / pieces
        now = used + PRIORS["wafer_step_s"]
    assert run.total_s == pytest.approx(now, rel=5e-3)  # a thousandth of a layer is the grain of the loop
    assert run.bound_s <= run.total_s


def test_streaming_hides_weights_behind_a_large_batch() -> None:
    light = network(weight_byte=1e7)
    small, large = (streamed(light, setting_of("wse-2"), batch=b, values=PRIORS) for b in (1, 1000))
    assert np.all(small.stream_s > small.compute_s)
    assert large.total_s == pytest.approx(float(large.compute_s.sum()) + 6 * 5e-6)
    with pytest.raises(WaferError, match=r"activations of 10000 samples take 8e\+10 byte; wse-2 holds 4e\+10"):
        streamed(network(), setting_of("wse-2"), batch=10_000, values=PRIORS)
    with pytest.raises(WaferError, match=r"take 4.8e\+10 byte"):
        streamed(network(), setting_of("wse-2"), batch=2000, values=PRIORS, training=True)


@given(st.lists(st.floats(1e-3, 1.0), min_size=1, max_size=5))
def test_zeros_are_skipped_up_to_the_makers_factor(densities: list[float]) -> None:
    left = harvest(np.array(densities), 10.0)
    assert np.all(left >= np.array(densities))
    assert np.all((left >= 0.1) & (left <= 1.0))
    np.testing.assert_allclose(harvest(np.array(densities), 1.0), 1.0)


def test_sparse_weights_save_products_and_bytes() -> None:
    dense, sparse = (streamed(network(density=d), setting_of("wse-2"), batch=1000, values=PRIORS) for d in (1.0, 0.2))
    np.testing.assert_allclose(sparse.compute_s, 0.2 * dense.compute_s)
    np.testing.assert_allclose(sparse.stream_s, 0.4 * dense.stream_s)  # 2 byte of value, 2 of position
    nearly = network(density=0.9)
    np.testing.assert_array_equal(stored_weight_byte(nearly, 2.0), nearly.weight_byte)
    for density in (0.0, -0.1, 1.5, math.nan):
        with pytest.raises(WaferError, match="density is"):
            harvest(np.array([density]), 10.0)


@pytest.mark.parametrize("name", NAMES)
def test_single_products_are_sound(name: str) -> None:
    for density in (1.0, 0.3):
        require_sound(gemm_s(name, *EXTENTS, density=density))
        require_sound(gemm_s(name, *EXTENTS, density=density, weights_stream=True))
    settings, _ = on(name, len(EXTENTS))
    m, n, k = (np.array([float(shape[i]) for shape in EXTENTS]) for i in range(3))
    x = GemmShapes(batch=np.ones(len(EXTENTS)), m=m, n=n, k=k)
    for extreme in ("low", "high"):
        values = {spec.name: np.full(len(EXTENTS), getattr(spec, extreme)) for spec in SPECS.values()}
        require_sound(wafer_gemm_time(x, settings, values, weights_stream=True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(512, 512, 512), (1, 8192, 8192), (37, 5000, 129)])
def test_the_busiest_core_of_every_grid_agrees(name: str, shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    machine = chip(name)
    peak = machine.peak("fp16") / machine.cores
    lanes = round(peak / (2 * machine.clock_hz))
    best = math.inf
    for cut_m in ROW_CUTS:
        for cut_k in DEPTH_CUTS:
            cut_n = machine.cores // (cut_m * cut_k)
            if cut_m > m or cut_k > k or cut_n < 1:
                continue
            blocks = [(min(-(-m // cut_m), m - top), -(-n // cut_n)) for top in range(0, m, -(-m // cut_m))]
            rows, columns = max(b[0] for b in blocks), -(-blocks[0][1] // lanes) * lanes
            seconds = 2 * rows * columns * -(-k // cut_k) / (peak * PRIORS["wafer_rate"])
            if cut_k > 1:
                seconds += cut_k / machine.clock_hz + 4 * rows * columns / link_byte_per_s(machine)
            best = min(best, seconds)
    assert gemm_s(name, shape).device_s[0] == pytest.approx(best + PRIORS["wafer_step_s"], rel=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_limits_and_better_wafers(name: str) -> None:
    machine = chip(name)
    huge = gemm_s(name, (2.0**16, 2.0**16, 2.0**16))
    assert float((huge.flop / huge.device_s)[0]) == pytest.approx(0.7 * machine.peak("fp16"), rel=0.1)
    assert gemm_s(name, (1, 1, 1)).device_s[0] == pytest.approx(PRIORS["wafer_step_s"], rel=0.01)
    assert machine.fabric_bandwidth_byte_per_s is not None
    for better in (
        replace(
            machine,
            peak_flop_per_s={w: 2 * r for w, r in machine.peak_flop_per_s.items()},
            clock_hz=2 * machine.clock_hz,
        ),
        replace(machine, fabric_bandwidth_byte_per_s=2 * machine.fabric_bandwidth_byte_per_s),
    ):
        assert np.all(gemm_s(better, *EXTENTS).device_s <= gemm_s(machine, *EXTENTS).device_s)
        faster, plain = (pipeline(network(), setting_of(c), rate=0.7) for c in (better, machine))
        assert faster.interval_s <= plain.interval_s * (1 + 1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_more_work_is_not_faster(axis: int) -> None:
    """Twice an extent never helps by more than another grid can (2 %)."""
    grown = [tuple(2 * v if i == axis else v for i, v in enumerate(shape)) for shape in EXTENTS]
    assert np.all(gemm_s("wse-2", *grown).device_s >= 0.98 * gemm_s("wse-2", *EXTENTS).device_s)  # type: ignore[arg-type]


def test_rows_do_not_see_each_other() -> None:
    together = gemm_s("wse-3", *EXTENTS).device_s
    np.testing.assert_allclose(together, [gemm_s("wse-3", shape).device_s[0] for shape in EXTENTS], rtol=1e-12)
    np.testing.assert_allclose(gemm_s("wse-3", *EXTENTS[::-1]).device_s[::-1], together, rtol=1e-12)


def test_bad_input_is_refused() -> None:
    assert MEASURED_ROWS == 0
    with pytest.raises(WaferError, match="chip 'gc200' is of kind sram; this model is for wafer"):
        pipeline(network(), setting_of("gc200"), rate=0.7)
    with pytest.raises(WaferError, match="fields differ in length"):
        replace(network(), flop=np.ones(2))
    with pytest.raises(WaferError, match="every layer needs flop above 0"):
        replace(network(), flop=np.zeros(6))
    silent = replace(
        chip("wse-2"), far_memory_byte=None, far_memory_bandwidth_byte_per_s=None, host_bandwidth_byte_per_s=None
    )
    with pytest.raises(WaferError, match="has neither far memory nor a host link"):
        streamed(network(), setting_of(silent), batch=1, values=PRIORS)
    with pytest.raises(WaferError, match="has no fabric_bandwidth_byte_per_s"):
        pipeline(network(), setting_of(replace(chip("wse-2"), fabric_bandwidth_byte_per_s=None)), rate=0.7)
