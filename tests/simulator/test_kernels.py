"""Seconds of kernels: what tiles, padding and ramps cost, and what more of a rate may do."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.kernels.optable import (
    ATTENTION,
    BACKWARD,
    CONV,
    FORWARD,
    MATRIX,
    PASSES,
    REPLAY,
    VECTOR,
    WINOGRAD,
    OpTable,
    concatenate,
)
from simulator.kernels.price import Rates, block_seconds, kernel_seconds
from simulator.kernels.tiles import ALIGNMENT_RATE, alignment_rate, systolic_flop, tiled_flop

KINDS = (MATRIX, CONV, ATTENTION, VECTOR, WINOGRAD)
extents = st.integers(1, 20_000).map(float)


def tiled(m: float, n: float, k: float, *, batch: float = 1.0, cores: float = 100.0, matrix_unit: bool = True) -> float:
    columns = (np.array([float(x)]) for x in (batch, m, n, k, cores))
    b, rows, width, depth, core = columns
    return float(tiled_flop(batch=b, m=rows, n=width, k=depth, cores=core, matrix_unit=matrix_unit)[0])


def systolic(m: float, n: float, k: float, *, batch: float = 1.0, side: float = 128.0) -> float:
    b, rows, width, depth = (np.array([float(x)]) for x in (batch, m, n, k))
    return float(systolic_flop(batch=b, m=rows, n=width, k=depth, side=side)[0])


def table(**columns: list[float]) -> OpTable:
    """Rows with the given columns; the rest is a forward product of no work."""
    rows = max(len(values) for values in columns.values())
    whole = {name: np.zeros(rows, np.int64) for name in ("shape", "block", "phase", "kind", "rate")}
    real = {name: np.zeros(rows) for name in ("flop", "work", "byte", "launches")}
    for name, values in columns.items():
        (whole if name in whole else real)[name][:] = values
    return OpTable(**{f.name: (whole | real)[f.name] for f in fields(OpTable)})


def rates(**changes: float) -> Rates:
    """One context: 100 TFLOP/s, 1 TB/s, no ramp, every fraction 1 unless told otherwise."""
    values = dict.fromkeys((f.name for f in fields(Rates)), 1.0)
    values |= {"memory_byte_per_s": 1e12, "ramp_s": 0.0, "host_s_per_launch": 0.0}
    flop_per_s = changes.pop("product_flop_per_s", 1e14)
    values |= changes
    arrays = {name: np.array([value]) for name, value in values.items()}
    arrays["product_flop_per_s"] = np.full((1, 2), flop_per_s)
    return Rates(**arrays)


def seconds(rows: OpTable, rate: Rates) -> np.ndarray:
    return kernel_seconds(rows, rate, np.zeros(rows.rows, np.int64))


@given(m=extents, n=extents, k=extents, batch=st.integers(1, 64), cores=st.integers(1, 200), matrix_unit=st.booleans())
def test_tiles_never_cost_less_than_the_work(
    m: float, n: float, k: float, batch: int, cores: int, matrix_unit: bool
) -> None:
    cost = tiled(m, n, k, batch=batch, cores=cores, matrix_unit=matrix_unit)
    assert cost >= 2.0 * batch * m * n * k
    assert np.isfinite(cost)


@pytest.mark.parametrize("matrix_unit", [True, False])
def test_a_product_of_many_whole_tiles_and_waves_costs_its_work(matrix_unit: bool) -> None:
    # 100 cores, 128 x 128 tiles: 6,400 x 6,400 elements are 25 whole waves. The ramp is 64 or 256 of 2**20 deep.
    m = n = 25600.0
    assert tiled(m, n, 2.0**20, matrix_unit=matrix_unit) == pytest.approx(2.0 * m * n * 2.0**20, rel=3e-4)


def test_one_tile_more_than_a_wave_costs_a_whole_wave_more() -> None:
    # On one tile a core: 100 tiles of 256 x 128 fill 100 cores; row 25,601 opens a second wave, at twice the cost or at
    # what smaller tiles get by with.
    full, over = tiled(25600, 128, 4096), tiled(25601, 128, 4096)
    assert over > 1.15 * full
    # The wave once open, more rows are free until it is full.
    assert tiled(2 * 25600, 128, 4096) == 2.0 * full
    assert over <= 2.0 * full


def test_a_wave_costs_the_same_however_ragged_its_last_tile() -> None:
    # 256 x 128 tiles on one core: rows 257 to 512 are one more tile each.
    assert tiled(257, 128, 65536, cores=1) <= tiled(512, 128, 65536, cores=1)
    assert tiled(449, 4096, 65536, cores=1) == tiled(512, 4096, 65536, cores=1)


def test_few_tiles_split_k_over_idle_cores() -> None:
    # One 128 x 128 tile on 100 cores: alone it would take 100 times its own work; 16 cores share k.
    alone = 2.0 * 100 * 128 * 128 * (65536 + 256)
    assert tiled(128, 128, 65536) < alone / 8.0


@given(m=extents, n=extents, k=extents, cores=st.integers(1, 200))
def test_twice_the_depth_costs_at_most_twice(m: float, n: float, k: float, cores: int) -> None:
    assert tiled(m, n, 2.0 * k, cores=cores) <= 2.0 * tiled(m, n, k, cores=cores) * (1.0 + 1e-12)


@pytest.mark.parametrize(
    ("length", "rate"), [(4096, 1.0), (8, 1.0), (12, 0.45), (4, 0.45), (50258, 0.35), (50257, 0.30)]
)
def test_a_row_length_is_worth_its_largest_power_of_two_up_to_eight(length: int, rate: float) -> None:
    assert alignment_rate(np.array([float(length)]))[0] == rate


def test_the_worst_row_length_counts() -> None:
    assert alignment_rate(np.array([4096.0]), np.array([50257.0]))[0] == ALIGNMENT_RATE[-1][1]


@given(m=extents, n=extents, k=extents, side=st.sampled_from([128.0, 256.0]))
def test_a_systolic_array_pays_padding_and_fill(m: float, n: float, k: float, side: float) -> None:
    assert systolic(m, n, k, side=side) > 2.0 * m * n * k


def test_a_systolic_product_of_one_column_costs_a_whole_array() -> None:
    assert systolic(1000, 1, 1) == systolic(1000, 128, 128)
    assert systolic(1000, 129, 128) > systolic(1000, 128, 128)


def test_a_long_systolic_product_of_whole_arrays_costs_its_work() -> None:
    assert systolic(1e7, 1024, 1024) == pytest.approx(2.0 * 1e7 * 1024 * 1024, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_infinite_rates_leave_the_ramp_of_every_launch(kind: int) -> None:
    rows = table(kind=[kind], work=[1e15], byte=[1e12], launches=[3.0])
    endless = rates(product_flop_per_s=np.inf, memory_byte_per_s=np.inf, ramp_s=2e-6)
    assert seconds(rows, endless)[0] == pytest.approx(6e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kernel_without_work_or_bytes_takes_its_ramp(kind: int) -> None:
    assert seconds(table(kind=[kind], launches=[1.0]), rates(ramp_s=2e-6))[0] == 2e-6


def test_work_and_traffic_overlap_so_that_the_longer_counts() -> None:
    # 1e14 FLOP at 1e14 FLOP/s is 1 s; 5e12 B at 1e12 B/s are 5 s.
    assert seconds(table(work=[1e14, 1e14], byte=[5e12, 1e9]), rates()).tolist() == [5.0, 1.0]


@pytest.mark.parametrize("kind", KINDS)
def test_doubling_the_bytes_of_a_memory_bound_kernel_doubles_its_time(kind: int) -> None:
    rows = table(kind=[kind], work=[1.0], byte=[1e12])
    assert seconds(replace(rows, byte=2.0 * rows.byte), rates())[0] == 2.0 * seconds(rows, rates())[0]


@pytest.mark.parametrize("kind", KINDS)
def test_doubling_the_work_of_a_compute_bound_kernel_doubles_its_time(kind: int) -> None:
    rows = table(kind=[kind], work=[1e14], byte=[1.0])
    assert seconds(replace(rows, work=2.0 * rows.work), rates())[0] == 2.0 * seconds(rows, rates())[0]


@pytest.mark.parametrize(
    ("kind", "phase", "changes", "factor"),
    [
        (MATRIX, FORWARD, {}, 1.0),
        (CONV, FORWARD, {"conv_fraction": 0.5}, 2.0),
        (WINOGRAD, FORWARD, {"conv_fraction": 0.5, "winograd_saving": 2.0}, 1.0),
        (CONV, FORWARD, {"winograd_saving": 2.0}, 1.0),
        (ATTENTION, FORWARD, {"attention_fraction": 0.5}, 2.0),
        (ATTENTION, REPLAY, {"attention_fraction": 0.5}, 2.0),
        (ATTENTION, BACKWARD, {"attention_backward_fraction": 0.25, "attention_fraction": 0.5}, 4.0),
        (MATRIX, FORWARD, {"conv_fraction": 0.5, "attention_fraction": 0.5, "winograd_saving": 2.0}, 1.0),
        (MATRIX, FORWARD, {"compute_scale": 3.0}, 3.0),
        (MATRIX, FORWARD, {"traffic_scale": 3.0}, 1.0),
    ],
)
def test_every_fraction_slows_its_own_kind_of_kernel(
    kind: int, phase: int, changes: dict[str, float], factor: float
) -> None:
    rows = table(kind=[kind], phase=[phase], work=[1e14], byte=[1.0])
    assert seconds(rows, rates(**changes))[0] == pytest.approx(factor)


def test_the_stacks_traffic_counts_for_element_wise_kernels_only() -> None:
    rows = table(kind=[VECTOR, MATRIX], byte=[1e12, 1e12])
    assert seconds(rows, rates(traffic_scale=3.0)).tolist() == [3.0, 1.0]


@given(
    kind=st.sampled_from(KINDS), phase=st.sampled_from((FORWARD, BACKWARD, REPLAY)), work=st.floats(0.0, 1e18),
    byte=st.floats(0.0, 1e14), launches=st.floats(0.0, 100.0), factor=st.floats(1.0, 10.0),
    name=st.sampled_from(
        ("product_flop_per_s", "memory_byte_per_s", "conv_fraction", "attention_fraction", "winograd_saving",
         "attention_backward_fraction"),
    ),
)  # fmt: skip
def test_more_of_any_rate_never_slows_a_kernel(
    kind: int, phase: int, work: float, byte: float, launches: float, factor: float, name: str
) -> None:
    rows = table(kind=[kind], phase=[phase], work=[work], byte=[byte], launches=[launches])
    base = rates(ramp_s=2e-6)
    faster = replace(base, **{name: getattr(base, name) * factor})
    assert seconds(rows, faster)[0] <= seconds(rows, base)[0]


def test_blocks_add_up_their_kernels_pass_by_pass() -> None:
    rows = table(
        block=[0, 0, 1, 1], phase=[FORWARD, FORWARD, BACKWARD, REPLAY], byte=[1e12, 2e12, 4e12, 8e12],
        launches=[1.0, 2.0, 3.0, 4.0],
    )  # fmt: skip
    device, host = block_seconds(rows, rates(host_s_per_launch=10.0), np.zeros(1, np.int64), 2)
    assert device.shape == (PASSES, 1, 2)
    assert device[:, 0].tolist() == [[3.0, 0.0], [0.0, 4.0], [0.0, 8.0]]
    assert host[:, 0].tolist() == [[30.0, 0.0], [0.0, 30.0], [0.0, 40.0]]


def test_tables_put_together_keep_their_rows() -> None:
    first, second = table(work=[1.0, 2.0]), table(work=[3.0], byte=[7.0])
    both = concatenate([first, second])
    assert both.work.tolist() == [1.0, 2.0, 3.0]
    assert both.byte.tolist() == [0.0, 0.0, 7.0]
    assert both.rows == 3
