"""The array engine against its scalar twin, to the tick, over random batches of strategies built by hand."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.analytic import StepBatch, split_chunks, step_times
from simulator.composition import bound, last_passes_done_ps
from simulator.events import simulate
from simulator.lowering import Lowered
from simulator.stepspec import GRADIENT_MODES, SCHEDULES

BLOCKS = 3
PER_BLOCK = ("forward_ps", "backward_ps", "forward_tensor_ps", "backward_tensor_ps", "gather_ps", "reduce_ps")
PER_ROLE = ("reduce_after_ps", "optimizer_ps", "update_gather_ps")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One row of a batch: first, middle and last stage hold `repeat` blocks of each kind."""

    schedule: str
    mode: str
    pp: int
    micro_batches: int
    virtual_stages: int
    repeat: tuple[tuple[int, ...], ...]
    block_ps: tuple[tuple[int, ...], ...]  # one row per name in PER_BLOCK
    role_ps: tuple[tuple[int, ...], ...]  # one row per name in PER_ROLE
    send_ps: int
    fixed_ps: int = 0


def batch_of(rows: list[Strategy]) -> StepBatch:
    """The rows as columns; what only pricing reads is left empty."""
    count, one = len(rows), np.ones(len(rows), np.int64)

    def column(name: str) -> NDArray[np.int64]:
        return np.array([getattr(row, name) for row in rows], np.int64)

    pp = column("pp")
    # What the closed form does not look at is empty.
    values: dict[str, Any] = {f.name: np.zeros(0) for f in fields(Lowered)} | {
        "contexts": (), "block_names": ("head", "layer", "tail"), "shape": np.zeros(count, np.int64), "pp": pp,
        "micro_batches": column("micro_batches"), "virtual_stages": column("virtual_stages"),
        "schedule": np.array([SCHEDULES.index(row.schedule) for row in rows]),
        "gradient_mode": np.array([GRADIENT_MODES.index(row.mode) for row in rows]),
        "role_stages": np.stack([one, np.maximum(pp - 2, 0), (pp > 1).astype(np.int64)], axis=1),
        "repeat": column("repeat"),
    }  # fmt: skip
    lowered = Lowered(**values)
    blocks, roles = column("block_ps"), column("role_ps")
    return StepBatch(
        lowered=lowered,
        send_ps=column("send_ps"),
        fixed_ps=column("fixed_ps"),
        **{name: blocks[:, i] for i, name in enumerate(PER_BLOCK)},
        **{name: roles[:, i] for i, name in enumerate(PER_ROLE)},
    )


@st.composite
def strategies(draw: st.DrawFn) -> Strategy:
    """Any strategy whose roles hold unlike numbers of unlike blocks."""
    mode = draw(st.sampled_from(GRADIENT_MODES))
    schedule = draw(st.sampled_from(SCHEDULES)) if mode != "sharded" else "1f1b"
    pp = 1 if mode == "sharded" else draw(st.integers(1, 9))
    interleaved = schedule == "interleaved"
    micro_batches = draw(st.integers(1, 3)) * pp if interleaved else draw(st.integers(1, 20))

    def rows(count: int, width: int, largest: int) -> tuple[tuple[int, ...], ...]:
        row = st.lists(st.integers(0, largest), min_size=width, max_size=width).map(tuple)
        return tuple(draw(row) for _ in range(count))

    return Strategy(
        schedule=schedule, mode=mode, pp=pp, micro_batches=micro_batches,
        virtual_stages=draw(st.integers(1, 4)) if interleaved else 1,
        repeat=rows(3, BLOCKS, 6), block_ps=rows(len(PER_BLOCK), BLOCKS, 60), role_ps=rows(len(PER_ROLE), 3, 400),
        send_ps=draw(st.integers(0, 60)), fixed_ps=draw(st.integers(0, 9)),
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(rows=st.lists(strategies(), min_size=1, max_size=6))
def test_every_strategy_of_a_batch_equals_the_scalar_closed_form_to_the_tick(rows: list[Strategy]) -> None:
    steps = batch_of(rows)
    times = step_times(steps)
    for index in range(len(rows)):
        assert times[index] == replace(bound(steps.spec(index)), engine="analytic")


@settings(max_examples=200, deadline=None)
@given(row=strategies())
def test_a_strategy_never_beats_its_own_events(row: Strategy) -> None:
    steps = batch_of([row])
    assert step_times(steps)[0].total_ps <= simulate(steps.spec(0)).total_ps


@settings(max_examples=200, deadline=None)
@given(row=strategies())
def test_a_stage_ends_its_last_backward_pass_after_the_one_behind_it(row: Strategy) -> None:
    # So the step's passes end with stage 0, and of the middle stages the array engine looks at the first only.
    done = last_passes_done_ps(batch_of([row]).spec(0))
    assert done == sorted(done, reverse=True)


def test_middle_stages_of_every_place_count_in_long_pipelines() -> None:
    # The pace-setting middle stage may stand anywhere: heavier middles, all pipeline depths and micro-batch counts,
    # on both sides of "all forward passes come first".
    rows = [
        Strategy(
            schedule=schedule, mode="after", pp=pp, micro_batches=m, virtual_stages=v,
            repeat=((1, 2, 0), (0, 7, 0), (0, 3, 1)), block_ps=((9, 5, 4), (1, 8, 30), *[(0, 1, 0)] * 4),
            role_ps=((0, 90, 40), (0, 0, 0), (0, 0, 0)), send_ps=send,
        )
        for pp in range(2, 18)
        for schedule, v, counts in (("1f1b", 1, range(1, 30, 3)), ("interleaved", 3, range(pp, 4 * pp, pp)))
        for m in counts
        for send in (0, 25)
    ]  # fmt: skip
    steps = batch_of(rows)
    times = step_times(steps)
    assert [times[i].total_ps for i in range(len(rows))] == [bound(steps.spec(i)).total_ps for i in range(len(rows))]


def test_first_and_last_chunk_are_those_that_the_blocks_are_split_into() -> None:
    # 7 layers over 3 chunks are 3, 2, 2; the head goes with the first, the tail with the last.
    # Stage 0 of 1: F = 3 x (1 + 7 x 2 + 3), all on one rank.
    assert split_chunks(np.array([1, 7, 1]), 3).tolist() == [[1, 3, 0], [0, 2, 0], [0, 2, 1]]
    row = Strategy(
        schedule="interleaved", mode="none", pp=2, micro_batches=2, virtual_stages=3,
        repeat=((1, 7, 1), (0, 0, 0), (1, 7, 1)), block_ps=((1, 2, 3), (2, 4, 6), *[(0, 0, 0)] * 4),
        role_ps=((0, 0, 0),) * 3, send_ps=0,
    )  # fmt: skip
    # T = 18 + 36 on both stages. The last stage starts after F_0 = 1 + 6 and ends B_0 = 14 before the step: 108 + 21.
    # Stage 0: trip 7 + 14 = 21 through the last chunk, meanwhile p - 1 = 1 pass of 7 or 14: idle 14 or 7, one of them.
    assert step_times(batch_of([row]))[0].total_ps == 108 + 21
