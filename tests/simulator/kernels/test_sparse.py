"""Products with a sparse matrix: laws over every GPU, the density that breaks even, and a few measured products."""

from dataclasses import fields, replace

import numpy as np
import pytest

from hwmodels import catalog
from simulator.calibration.kernel_fit import fit_kernels
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.sparse import (
    BLOCK,
    BLOCK_SIDES,
    CSR,
    SKIPPED,
    SPECS,
    TWO_OF_FOUR,
    SparseShapes,
    break_even_density,
    executed_density,
    sectors_per_nonzero,
    sparse_time,
)
from simulator.validation.kernel_rows import resolve_kernel
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernel_suites.sparse import FAMILY

CHIPS = [chip for chip in map(catalog.chip, catalog.chip_ids()) if chip.kind in ("gpu", "wafer")]
GPUS = [chip for chip in CHIPS if chip.kind == "gpu"]
WAFERS = [chip for chip in CHIPS if chip.kind == "wafer"]
GTX, A100 = catalog.chip("gtx-1080-ti"), catalog.chip("a100-sxm4-80gb")
each_gpu = pytest.mark.parametrize("chip", GPUS, ids=lambda chip: chip.id)
each_chip = pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.id)


def shapes(rows=1, **columns):
    base = {
        "form": CSR, "m": 4096.0, "n": 1024.0, "k": 4096.0, "density": 0.05, "side": 32.0, "index_byte": 4.0,
        "column_major": True,
    } | columns  # fmt: skip
    kind = {"form": np.int64, "column_major": bool}
    return SparseShapes(
        **{name: np.broadcast_to(np.asarray(v, dtype=kind.get(name, float)), (rows,)) for name, v in base.items()}
    )


def grid():
    axes = np.meshgrid(
        [CSR, BLOCK, TWO_OF_FOUR, SKIPPED], [64.0, 7680.0], [1.0, 100.0, 3000.0], [64.0, 2560.0],
        [0.001, 0.1, 0.7, 1.0], BLOCK_SIDES, [False, True], indexing="ij",
    )  # fmt: skip
    form, m, n, k, density, side, major = (axis.ravel() for axis in axes)
    return shapes(len(m), form=form, m=m, n=n, k=k, density=density, side=side, column_major=major)


def settings(chip, rows=1):
    word = "fp16" if "fp16" in chip.peak_flop_per_s and chip.has_matrix_units else "fp32"
    return Settings.of([Setting(chip=chip, precision=word, library="")] * rows)


def values(of):
    return KernelConstants(specs=SPECS).rows(of)


def priced(call, chip):
    of = settings(chip, call.rows)
    return sparse_time(call, of, values(of))


@each_chip
@pytest.mark.parametrize("edge", ["prior", "low", "high"])
def test_time_is_above_its_bound_and_is_the_sum_of_its_parts(chip, edge):
    call = grid()
    of = settings(chip, call.rows)
    time = sparse_time(call, of, {name: np.full(call.rows, getattr(spec, edge)) for name, spec in SPECS.items()})
    assert np.all(time.bound_s > 0)
    assert np.all(time.bound_s <= time.device_s)
    assert np.all(np.isfinite(time.device_s))
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
    assert min(np.min(part / time.device_s) for part in time.parts.values()) > -1e-9


@each_gpu
@pytest.mark.parametrize("column", ["m", "n", "k", "density"])
def test_more_work_is_never_faster(chip, column):
    call = grid()
    more = np.minimum(call.density * 1.5, 1.0) if column == "density" else getattr(call, column) * 2.0
    larger = priced(replace(call, **{column: more}), chip).device_s
    assert np.all(larger >= priced(call, chip).device_s * (1 - 1e-9))


@each_gpu
def test_faster_memory_and_a_faster_clock_are_never_slower(chip):
    call = grid()
    before = priced(call, chip).device_s
    wider = replace(chip, memory_bandwidth_byte_per_s=chip.memory_bandwidth_byte_per_s * 2)
    peaks = {word: rate * 2 for word, rate in chip.peak_flop_per_s.items()}
    quicker = replace(chip, clock_hz=chip.clock_hz * 2, peak_flop_per_s=peaks)
    assert np.all(priced(call, wider).device_s <= before * (1 + 1e-9))
    assert np.all(priced(call, quicker).device_s <= before * (1 + 1e-9))


@each_gpu
def test_rows_are_priced_one_by_one_and_in_any_order(chip):
    call = grid()
    together = priced(call, chip).device_s
    order = np.random.default_rng(1).permutation(call.rows)
    np.testing.assert_array_equal(priced(call.take(order), chip).device_s, together[order])
    assert priced(call.take(np.array([11])), chip).device_s[0] == together[11]
    assert {f.name for f in fields(call)} == {f.name for f in fields(call.take(order))}


@pytest.mark.parametrize("element_byte", [2.0, 4.0])
@pytest.mark.parametrize("density", [0.01, 0.05, 0.3])
def test_sectors_agree_with_counting_them(element_byte, density):
    per_sector = int(32 / element_byte)
    hit = np.random.default_rng(7).random((200_000, per_sector)) < density
    counted = hit.any(axis=1).sum() / hit.sum()
    assert sectors_per_nonzero(np.array([density]), np.array([element_byte]))[0] == pytest.approx(counted, rel=0.01)


def test_sectors_of_a_sparse_and_of_a_dense_row():
    four = np.array([4.0, 4.0])
    np.testing.assert_allclose(sectors_per_nonzero(np.array([1e-9, 1.0]), four), [1.0, 1 / 8], rtol=1e-6)


@each_gpu
def test_compressed_rows_load_the_sectors_of_their_nonzeros(chip):
    """Gathering alone: memory without end, no launch. 16-bit words stand sixteen, 32-bit ones eight to a sector."""
    of = settings(replace(chip, memory_bandwidth_byte_per_s=1e30), 2)
    call = shapes(2, column_major=[True, False], n=3000.0, density=0.1)
    constants = values(of) | {"sparse_launch": np.full(2, 1e-15), "sparse_gather": np.full(2, 0.5)}
    time = sparse_time(call, of, constants)
    per_sector = 32 / of.element_byte[0]
    columns = np.array([3000 * (1 - 0.9**per_sector) / (0.1 * per_sector), np.ceil(3000 / per_sector)])
    loads = 32 * columns * 0.1 * 4096 * 4096
    np.testing.assert_allclose(time.device_s, loads / (0.5 * chip.cores * chip.clock_hz), rtol=1e-6)


@each_gpu
@pytest.mark.parametrize("form", [CSR, BLOCK])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_at_the_break_even_density_both_take_the_same_time(chip, form, share):
    call = shapes(form=form)
    of = settings(chip)
    empty, full = (sparse_time(shapes(form=form, density=d), of, values(of)).device_s for d in (1e-9, 1.0))
    dense_s = empty + share * (full - empty)
    found = break_even_density(call, of, values(of), dense_s)
    assert 0 < found[0] < 1
    np.testing.assert_allclose(sparse_time(call.with_density(found), of, values(of)).device_s, dense_s, rtol=1e-6)


@each_gpu
def test_break_even_beyond_the_ends(chip):
    call = shapes(2)
    of = settings(chip, 2)
    full = priced(shapes(density=1.0), chip).device_s[0]
    assert list(break_even_density(call, of, values(of), np.array([0.0, full * 1.01]))) == [0.0, 1.0]


def test_break_even_falls_with_the_speed_of_the_dense_product():
    call, dense_s = shapes(20), np.geomspace(1e-4, 1e-1, 20)
    of = settings(GTX, 20)
    assert np.all(np.diff(break_even_density(call, of, values(of), dense_s)) >= 0)


@pytest.mark.parametrize("chip", WAFERS, ids=lambda chip: chip.id)
def test_a_wafer_skips_products_with_zeros(chip):
    sparse, dense = (priced(shapes(form=SKIPPED, n=1e6, density=d), chip) for d in (0.2, 1.0))
    assert sparse.flop[0] == pytest.approx(0.2 * dense.flop[0])
    assert sparse.parts["arithmetic"][0] == pytest.approx(0.2 * dense.parts["arithmetic"][0])


@each_gpu
def test_a_gpu_skips_nothing(chip):
    assert executed_density(np.array([0.2]), settings(chip))[0] == 1.0
    sparse, dense = (priced(shapes(form=SKIPPED, density=d), chip).device_s[0] for d in (0.2, 1.0))
    assert sparse == dense


@each_gpu
def test_two_of_four_is_faster_only_where_the_chip_has_it(chip):
    large = {"m": 8192.0, "n": 8192.0, "k": 8192.0}
    structured = priced(shapes(form=TWO_OF_FOUR, **large), chip)
    dense_flop = 2 * 8192.0**3
    peak = settings(chip).peak_flop_per_s[0]
    gains = chip.sparse_multiplier > 1 and chip.has_matrix_units
    assert structured.parts["arithmetic"][0] == pytest.approx(
        dense_flop / peak / (chip.sparse_multiplier if gains else 1)
    )


def test_large_blocks_reach_the_fitted_share_and_small_ones_wait_for_loads():
    side = np.array(BLOCK_SIDES)
    time = priced(shapes(4, form=BLOCK, side=side, n=8192.0, m=16384.0), replace(GTX, cores=32)).device_s
    assert np.all(np.diff(time) < 0)


ROW = {
    "kernel": "sparse_gemm", "chip": "GTX 1080 Ti", "precision": "fp32", "library": "cuBLAS;cuDNN6.0.21;CUDA8.0",
    "suite": "deepbench", "m": "7680", "n": "2", "k": "2560", "transA": "N", "transB": "N", "sparsity": "0.95",
}  # fmt: skip


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("sparsity", "", r"sparsity is ''; the share of zeros is needed, from 0 to below 1"),
        ("sparsity", "1", r"sparsity is 1; the share"),
        ("sparsity", "nan", r"sparsity is nan; the share"),
        ("m", "-3", r"m is -3; a whole number"),
        ("transB", "T", r"transB is 'T'; only products without transposition"),
    ],
)
def test_rows_that_cannot_be_are_refused_in_one_line(column, value, message):
    with pytest.raises(RowError, match=message) as caught:
        resolve_kernel(ROW | {column: value}, {"sparse": FAMILY})
    assert "\n" not in str(caught.value)


#: baidu-research/DeepBench@da81ba7, results/inference/server/DeepBench_NV_1080Ti.xlsx, Mixed Precision.
MEASURED = [
    (7680, 1, 2560, 0.95, 34e-6), (7680, 1500, 2560, 0.95, 31.567e-3), (7680, 6000, 2560, 0.95, 128.3e-3),
    (10752, 1, 3584, 0.95, 67e-6), (10752, 1500, 3584, 0.95, 63.556e-3), (10752, 2, 3584, 0.9, 144e-6),
    (7680, 1500, 2560, 0.9, 50.902e-3), (7680, 3000, 2560, 0.9, 102.08e-3), (10752, 3000, 3584, 0.9, 230.51e-3),
]  # fmt: skip


def test_measured_products_are_met_by_constants_fitted_on_the_others():
    rows = [ROW | {"m": str(m), "n": str(n), "k": str(k), "sparsity": str(s)} for m, n, k, s, _ in MEASURED]
    of = Settings.of([resolve_kernel(row, {"sparse": FAMILY}).settings[0] for row in rows])
    call, measured = FAMILY.read(rows), np.array([row[-1] for row in MEASURED])
    error = np.empty(len(rows))
    for i in range(len(rows)):
        weight = (np.arange(len(rows)) != i).astype(float)
        fit = fit_kernels(lambda v: FAMILY.observed_s(call, of, v), SPECS, of, measured, [0] * len(rows), weight=weight)
        error[i] = abs(np.log(FAMILY.observed_s(call, of, fit.constants.rows(of))[i] / measured[i]))
    assert np.mean(error) < 0.12
    assert np.max(error) < 0.30
