"""Seconds of a step's kernels: ramps, overlap of work and traffic, and what more of a rate may do."""

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
    LOSSES,
    MATRIX,
    PASSES,
    REPLAY,
    SCAN,
    VECTOR,
    OpTable,
    concatenate,
)
from simulator.kernels.price import Rates, block_seconds, kernel_seconds

KINDS = (MATRIX, CONV, ATTENTION, VECTOR, SCAN)


def table(**columns: list[float]) -> OpTable:
    """Rows with the given columns; the rest is a forward product of no work."""
    rows = max(len(values) for values in columns.values())
    whole = {name: np.zeros(rows, np.int64) for name in ("shape", "block", "phase", "kind", "rate")}
    real = {name: np.zeros(rows) for name in ("flop", "work", "byte", "launches")}
    real["lost"] = np.zeros((rows, len(LOSSES)))
    for name, values in columns.items():
        (whole if name in whole else real)[name][:] = values
    real["issued"] = real["launches"]
    return OpTable(**{f.name: (whole | real)[f.name] for f in fields(OpTable)})


def rates(**changes: float) -> Rates:
    """One context: 100 TFLOP/s, 1 TB/s, no ramp, every fraction 1 unless told otherwise."""
    values = dict.fromkeys((f.name for f in fields(Rates)), 1.0)
    values |= {"memory_byte_per_s": 1e12, "in_flight_byte_per_s": np.inf, "ramp_s": 0.0, "host_s_per_launch": 0.0}
    flop_per_s = changes.pop("product_flop_per_s", 1e14)
    values |= changes
    arrays = {name: np.array([value]) for name, value in values.items()}
    arrays["product_flop_per_s"] = np.full((1, 2), flop_per_s)
    return Rates(**arrays)


def seconds(rows: OpTable, rate: Rates) -> np.ndarray:
    return kernel_seconds(rows, rate, np.zeros(rows.rows, np.int64))


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
        (ATTENTION, FORWARD, {"attention_fraction": 0.5}, 2.0),
        (ATTENTION, REPLAY, {"attention_fraction": 0.5}, 2.0),
        (ATTENTION, BACKWARD, {"attention_backward_fraction": 0.25, "attention_fraction": 0.5}, 4.0),
        (MATRIX, FORWARD, {"conv_fraction": 0.5, "attention_fraction": 0.5}, 1.0),
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
        ("product_flop_per_s", "memory_byte_per_s", "conv_fraction", "attention_fraction",
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
    assert device[:, 0].tolist() == [[3.0, 0.0], [0.0, 4.0], [0.0, 8.0], [0.0, 0.0], [0.0, 0.0]]
    assert host[:, 0].tolist() == [[30.0, 0.0], [0.0, 30.0], [0.0, 40.0], [0.0, 0.0], [0.0, 0.0]]


def test_tables_put_together_keep_their_rows() -> None:
    first, second = table(work=[1.0, 2.0]), table(work=[3.0], byte=[7.0])
    both = concatenate([first, second])
    assert both.work.tolist() == [1.0, 2.0, 3.0]
    assert both.byte.tolist() == [0.0, 0.0, 7.0]
    assert both.rows == 3
