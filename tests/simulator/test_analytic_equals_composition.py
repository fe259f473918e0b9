"""The array engine against its scalar twin, to the tick, over random priced strategies of every mode and schedule."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analytic import StepBatch, split_chunks, step_times
from simulator.composition import bound
from simulator.lowering import Lowered
from simulator.stepspec import GRADIENT_MODES, PARTS, SCHEDULES

PER_BLOCK = ("forward_ps", "backward_ps", "forward_tensor_ps", "backward_tensor_ps", "gather_ps", "reduce_ps")


@st.composite
def strategies(draw, blocks):
    """One strategy's columns: counts that go together, durations of any size."""
    mode = draw(st.sampled_from(GRADIENT_MODES))
    pp = 1 if mode == "sharded" else draw(st.sampled_from((1, 2, 3, 4, 7)))
    schedule = draw(st.sampled_from(SCHEDULES if pp > 1 else ("gpipe", "1f1b")))
    interleaved = schedule == "interleaved"
    duration = st.integers(0, draw(st.sampled_from((3, 1000, 10**12))))
    some = st.lists(st.integers(0, 6), min_size=blocks, max_size=blocks)
    return {
        "pp": pp,
        "schedule": SCHEDULES.index(schedule),
        "gradient_mode": GRADIENT_MODES.index(mode),
        "virtual_stages": draw(st.integers(1, 4)) if interleaved else 1,
        "micro_batches": pp * draw(st.integers(1, 4)) if interleaved else draw(st.integers(1, 9)),
        "repeat": [draw(some), draw(some) if pp > 2 else [0] * blocks, draw(some) if pp > 1 else [0] * blocks],
        **{name: [draw(duration) for _ in range(blocks)] for name in PER_BLOCK},
        "send_ps": draw(duration) if pp > 1 else 0,
        "fixed_ps": draw(duration),
        **{
            name: [draw(duration) for _ in range(3)] for name in ("reduce_after_ps", "optimizer_ps", "update_gather_ps")
        },
    }


def batch_of(rows, blocks):
    """A `StepBatch` of such columns; what composition does not read is left empty."""

    def column(name):
        return np.array([row[name] for row in rows], dtype=np.int64)

    count = len(rows)
    ints = np.zeros(count, np.int64)
    pp = column("pp")
    # What the closed form does not look at is empty.
    values: dict[str, Any] = {f.name: np.zeros(0) for f in fields(Lowered)} | {
        "contexts": (), "block_names": tuple(f"block {g}" for g in range(blocks)), "shape": ints, "pp": pp,
        **{n: column(n) for n in ("micro_batches", "virtual_stages", "schedule", "gradient_mode", "repeat")},
        "role_stages": np.stack([np.ones_like(pp), np.maximum(pp - 2, 0), (pp > 1).astype(np.int64)], axis=1),
    }  # fmt: skip
    lowered = Lowered(**values)
    durations = (*PER_BLOCK, "send_ps", "fixed_ps", "reduce_after_ps", "optimizer_ps", "update_gather_ps")
    return StepBatch(lowered=lowered, **{name: column(name) for name in durations})


@st.composite
def batches(draw):
    blocks = draw(st.integers(1, 4))
    return batch_of(draw(st.lists(strategies(blocks), min_size=1, max_size=5)), blocks)


@settings(max_examples=300, deadline=None)
@given(batches())
def test_arrays_and_scalars_agree_to_the_tick(steps: StepBatch) -> None:
    times = step_times(steps)
    for index in range(steps.lowered.strategies):
        scalar, array = bound(steps.spec(index)), times[index]
        assert {part: getattr(array, f"{part}_ps") for part in PARTS} == {
            part: getattr(scalar, f"{part}_ps") for part in PARTS
        }


@settings(max_examples=50, deadline=None)
@given(batches())
def test_a_strategy_takes_as_long_alone_as_among_others(steps: StepBatch) -> None:
    # The longest batch decides how many micro-batches of sharded passes are followed; it must not matter.
    alone = [steps.spec(index) for index in range(steps.lowered.strategies)]
    assert step_times(steps).total_ps.tolist() == [bound(spec).total_ps for spec in alone]


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("micro_batches", [1, 40, 200])
def test_sharded_passes_agree_where_the_data_stream_is_barely_the_slower_one(schedule: str, micro_batches: int) -> None:
    # The data stream falls behind by one tick a micro-batch, so that the steady state comes late.
    rows = []
    for late in range(1, 40):
        row = {name: [20, 10] for name in PER_BLOCK}
        row |= {"forward_ps": [25, 30], "backward_ps": [20 + late, 70], "gather_ps": [30, 31], "reduce_ps": [late, 24]}
        row |= {"pp": 1, "schedule": SCHEDULES.index(schedule), "gradient_mode": GRADIENT_MODES.index("sharded")}
        row |= {"virtual_stages": 1, "micro_batches": micro_batches, "repeat": [[1, 3], [0, 0], [0, 0]]}
        row |= {"send_ps": 0, "fixed_ps": 0}
        row |= {name: [0, 0, 0] for name in ("reduce_after_ps", "optimizer_ps", "update_gather_ps")}
        rows.append(row)
    steps = batch_of(rows, 2)
    assert step_times(steps).total_ps.tolist() == [bound(steps.spec(i)).total_ps for i in range(len(rows))]


@pytest.mark.parametrize("virtual_stages", [1, 2, 3, 5])
def test_chunks_hold_every_block_once_and_keep_the_ends_in_place(virtual_stages: int) -> None:
    chunks = split_chunks(np.array([1, 11, 2]), virtual_stages)
    assert chunks.sum(axis=0).tolist() == [1, 11, 2]
    assert chunks[0, 0] == 1
    assert chunks[-1, 2] == 2
    assert np.ptp(chunks[:, 1]) <= 1
