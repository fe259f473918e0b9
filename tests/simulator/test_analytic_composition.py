"""The array engine against its scalar twin, to the tick, and both against events, over random batches of strategies."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.analytic import StepBatch, forward_part, forward_times, split_chunks, step_times
from simulator.composition import bound, in_closed_form, last_passes_done_ps
from simulator.events import simulate
from simulator.lowering import Lowered
from simulator.schedules import SCHEDULES as ORDERS
from simulator.stepspec import BLOCK_DURATIONS, GRADIENT_MODES, PARTS, SCHEDULES, StepSpecError

PER_ROLE = ("reduce_after_ps", "optimizer_ps", "update_gather_ps")
CLOSED = ("gpipe", "1f1b", "interleaved")


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """One row of a batch: first, middle and last stage hold `repeat` blocks of each kind, or every stage `layers`."""

    schedule: str
    mode: str
    pp: int
    micro_batches: int
    virtual_stages: int
    repeat: tuple[tuple[int, ...], ...]
    block_ps: dict[str, tuple[int, ...]]
    role_ps: dict[str, tuple[int, ...]] = field(default_factory=dict)
    send_ps: int = 0
    fixed_ps: int = 0
    parameters: tuple[int, ...] = ()
    layers: Any = None


class Bare:
    """What composition reads of a `Lowered`; what only pricing reads is not there."""

    def __init__(self, rows: list[Strategy]) -> None:
        self._rows = rows
        self.strategies = len(rows)
        self.block_names = ("head", "layer", "tail")
        self.pp, self.micro_batches, self.virtual_stages = (
            np.array([getattr(row, name) for row in rows], np.int64)
            for name in ("pp", "micro_batches", "virtual_stages")
        )
        self.schedule = np.array([SCHEDULES.index(row.schedule) for row in rows])
        self.gradient_mode = np.array([GRADIENT_MODES.index(row.mode) for row in rows])
        one = np.ones_like(self.pp)
        self.role_stages = np.stack([one, np.maximum(self.pp - 2, 0), (self.pp > 1).astype(np.int64)], axis=1)
        self.repeat = np.array([row.repeat for row in rows], np.int64)
        blocks = self.repeat.shape[2]
        self.held_parameters = np.array([row.parameters or (0,) * blocks for row in rows], float)
        self.stage_layers = {i: np.array(row.layers) for i, row in enumerate(rows) if row.layers is not None}

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._rows))


def test_what_is_read_of_a_lowered_strategy_is_there() -> None:
    row = Strategy(
        schedule="1f1b", mode="none", pp=1, micro_batches=1, virtual_stages=1, repeat=((1,),) * 3, block_ps={}
    )
    names = {f.name for f in fields(Lowered)} | {"strategies", "held_parameters", "stage_layers"}
    assert set(vars(Bare([row]))) - {"_rows"} <= names


def batch_of(rows: list[Strategy]) -> StepBatch:
    """The rows as columns."""
    blocks = len(rows[0].repeat[0])
    return StepBatch(
        lowered=Bare(rows),  # type: ignore[arg-type]
        send_ps=np.array([row.send_ps for row in rows]),
        fixed_ps=np.array([row.fixed_ps for row in rows]),
        **{name: np.array([row.block_ps.get(name, (0,) * blocks) for row in rows]) for name in BLOCK_DURATIONS},
        **{name: np.array([row.role_ps.get(name, (0, 0, 0)) for row in rows]) for name in PER_ROLE},
    )


@st.composite
def strategies(draw: st.DrawFn, *, blocks: int, schedules: tuple[str, ...] = SCHEDULES, given: bool = True) -> Strategy:
    """Any strategy whose roles hold unlike numbers of unlike blocks, its stages given one by one in part."""
    mode = draw(st.sampled_from(GRADIENT_MODES))
    schedule = draw(st.sampled_from(schedules))
    if schedule == "dualpipe":
        mode = "none" if mode == "sharded" else mode
        pp = 2 * draw(st.integers(1, 3))
    else:
        pp = 1 if mode == "sharded" else draw(st.integers(1, 7))
    virtual = draw(st.integers(1, 4)) if schedule == "interleaved" else 2 if schedule == "zbv" else 1
    micro_batches = draw(st.integers(1, 24))
    if schedule == "interleaved":
        micro_batches = pp * draw(st.integers(1, 5))
    elif schedule == "dualpipe":
        micro_batches = 2 * pp + 2 * draw(st.integers(0, 9))
    duration = st.integers(0, draw(st.sampled_from((3, 60, 10**12))))

    def some(of: st.SearchStrategy[int], *shape: int) -> Any:
        size = int(np.prod(shape))
        return np.array(draw(st.lists(of, min_size=size, max_size=size))).reshape(shape).tolist()

    block_ps = {name: some(duration, blocks) for name in BLOCK_DURATIONS}
    block_ps["weight_ps"] = [min(w, b) for w, b in zip(block_ps["weight_ps"], block_ps["backward_ps"], strict=True)]
    counts, layers = st.integers(0, 5), None
    if given and mode != "sharded" and draw(st.booleans()):
        layers = some(counts, pp, *draw(st.sampled_from(((blocks,), (virtual, blocks)))))
        if draw(st.booleans()):
            layers[1:-1] = layers[1:2] * len(layers[1:-1])
    return Strategy(
        schedule=schedule, mode=mode, pp=pp, micro_batches=micro_batches, virtual_stages=virtual,
        repeat=some(counts, 3, blocks), block_ps=block_ps, role_ps={name: some(duration, 3) for name in PER_ROLE},
        send_ps=draw(duration), fixed_ps=draw(duration), parameters=some(st.integers(0, 9), blocks), layers=layers,
    )  # fmt: skip


@st.composite
def batches(draw: st.DrawFn, **restricted: Any) -> StepBatch:
    blocks = draw(st.integers(1, 3))
    return batch_of(draw(st.lists(strategies(blocks=blocks, **restricted), min_size=1, max_size=5)))


@settings(max_examples=120, deadline=None)
@given(batches())
def test_every_strategy_of_a_batch_equals_the_scalar_twin_to_the_tick(steps: StepBatch) -> None:
    times = step_times(steps)
    for index in range(steps.lowered.strategies):
        assert times[index] == replace(bound(steps.spec(index)), engine="analytic")


@settings(max_examples=100, deadline=None)
@given(batches())
def test_events_equal_the_longest_path_and_never_beat_the_closed_form(steps: StepBatch) -> None:
    times = step_times(steps)
    for index in range(steps.lowered.strategies):
        spec = steps.spec(index)
        events = replace(simulate(spec), engine="analytic")
        if in_closed_form(spec) and spec.schedule != "gpipe" and spec.gradient_mode != "sharded":
            assert events.total_ps >= times[index].total_ps
        else:
            assert events == times[index]


@settings(max_examples=50, deadline=None)
@given(batches())
def test_a_strategy_takes_as_long_alone_as_among_others(steps: StepBatch) -> None:
    # The longest strategy decides how many micro-batches are followed; it must not matter.
    alone = [bound(steps.spec(index)).total_ps for index in range(steps.lowered.strategies)]
    assert step_times(steps).total_ps.tolist() == alone


@settings(max_examples=60, deadline=None)
@given(batches())
def test_no_part_is_negative(steps: StepBatch) -> None:
    times = step_times(steps)
    assert all((getattr(times, f"{part}_ps") >= 0).all() for part in PARTS)


@settings(max_examples=80, deadline=None)
@given(batches(schedules=CLOSED, given=False))
def test_a_stage_ends_its_last_backward_pass_after_the_one_behind_it(steps: StepBatch) -> None:
    # So the step's passes end with stage 0, and of the middle stages the array engine looks at the first only.
    for index in range(steps.lowered.strategies):
        done = last_passes_done_ps(steps.spec(index))
        assert done == sorted(done, reverse=True)


def durations(**of_blocks: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{name}_ps": values for name, values in of_blocks.items()}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_stages_given_as_the_roles_have_them_change_nothing(schedule: str) -> None:
    row = Strategy(
        schedule=schedule, mode="after", pp=4, micro_batches=12, virtual_stages=2 if schedule == "zbv" else 1,
        repeat=((1, 3, 0), (0, 4, 0), (0, 3, 1)), parameters=(50, 9, 60), send_ps=2,
        block_ps=durations(forward=(9, 5, 4), backward=(1, 8, 30), weight=(0, 4, 15)),
        role_ps=durations(reduce_after=(9, 20, 7), optimizer=(5, 3, 9), update_gather=(0, 2, 4)),
    )  # fmt: skip
    layers = [row.repeat[0], row.repeat[1], row.repeat[1], row.repeat[2]]
    times = step_times(batch_of([row, replace(row, layers=layers)]))
    assert times[0] == times[1]


def test_a_stage_given_by_itself_pays_for_the_parameters_it_holds() -> None:
    # A middle stage of 4 layers updates for 40; given 6 layers, 60. Exchange and fetch alike.
    row = Strategy(
        schedule="1f1b", mode="after", pp=4, micro_batches=4, virtual_stages=1, repeat=((0, 4, 0),) * 3,
        parameters=(1, 10, 1), block_ps=durations(forward=(1, 1, 1), backward=(2, 2, 2)),
        role_ps=durations(reduce_after=(20, 20, 20), optimizer=(40, 40, 40), update_gather=(8, 8, 8)),
        layers=[[0, 4, 0], [0, 6, 0], [0, 2, 0], [0, 4, 0]],
    )  # fmt: skip
    spec = batch_of([row]).spec(0)
    assert [stage.optimizer_ps for stage in spec.stages] == [40, 60, 20, 40]
    assert [stage.reduce_after_ps for stage in spec.stages] == [20, 30, 10, 20]
    assert [stage.update_gather_ps for stage in spec.stages] == [8, 12, 4, 8]


def test_the_v_ends_on_the_first_rank() -> None:
    # The head stands at the end of the model: in the second chunk of rank 0, whose update is longer by it.
    row = Strategy(
        schedule="zbv", mode="none", pp=3, micro_batches=6, virtual_stages=2, parameters=(6, 2, 8),
        repeat=((1, 4, 0), (0, 4, 0), (0, 4, 1)), block_ps=durations(forward=(1, 2, 3), backward=(2, 4, 6)),
        role_ps=durations(optimizer=(14, 8, 16)),
    )  # fmt: skip
    spec = batch_of([row]).spec(0)
    names = [[[(b.name, b.repeat) for b in chunk] for chunk in stage.chunks] for stage in spec.stages]
    assert names == [
        [[("head", 1), ("layer", 2)], [("layer", 2), ("tail", 1)]],
        [[("layer", 2)], [("layer", 2)]],
        [[("layer", 2)], [("layer", 2)]],
    ]
    assert [stage.optimizer_ps for stage in spec.stages] == [22, 8, 8]


def test_middle_stages_of_every_place_count_in_long_pipelines() -> None:
    # The pace-setting middle stage may stand anywhere: heavier middles, all pipeline depths and micro-batch counts,
    # on both sides of "all forward passes come first".
    rows = [
        Strategy(
            schedule=schedule, mode="after", pp=pp, micro_batches=m, virtual_stages=v, send_ps=send,
            repeat=((1, 2, 0), (0, 7, 0), (0, 3, 1)), role_ps=durations(reduce_after=(0, 90, 40)),
            block_ps=durations(forward=(9, 5, 4), backward=(1, 8, 30), forward_tensor=(0, 1, 0)),
        )
        for pp in range(2, 18)
        for schedule, v, counts in (("1f1b", 1, range(1, 30, 3)), ("interleaved", 3, range(pp, 4 * pp, pp)))
        for m in counts
        for send in (0, 25)
    ]  # fmt: skip
    steps = batch_of(rows)
    times = step_times(steps)
    assert [times[i].total_ps for i in range(len(rows))] == [bound(steps.spec(i)).total_ps for i in range(len(rows))]


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
@pytest.mark.parametrize("micro_batches", [1, 40, 200])
def test_sharded_passes_agree_where_the_data_stream_is_barely_the_slower_one(schedule: str, micro_batches: int) -> None:
    # The data stream falls behind by one tick a micro-batch, so that the steady state comes late.
    rows = [
        Strategy(
            schedule=schedule, mode="sharded", pp=1, micro_batches=micro_batches, virtual_stages=1,
            repeat=((1, 3), (0, 0), (0, 0)),
            block_ps=durations(
                forward=(25, 30), backward=(20 + late, 70), forward_tensor=(20, 10), backward_tensor=(20, 10),
                gather=(30, 31), reduce=(late, 24),
            ),
        )
        for late in range(1, 40)
    ]  # fmt: skip
    steps = batch_of(rows)
    assert step_times(steps).total_ps.tolist() == [bound(steps.spec(i)).total_ps for i in range(len(rows))]


@pytest.mark.parametrize("schedule", [word for word in SCHEDULES if word not in ("dualpipe", "interleaved", "gpipe")])
def test_no_schedule_but_gpipe_changes_a_sharded_step(schedule: str) -> None:
    row = Strategy(
        schedule="1f1b", mode="sharded", pp=1, micro_batches=5, virtual_stages=1, repeat=((2, 4), (0, 0), (0, 0)),
        block_ps=durations(forward=(3, 7), backward=(6, 14), weight=(2, 5), gather=(4, 9), reduce=(5, 8)),
    )  # fmt: skip
    other = replace(row, schedule=schedule, virtual_stages=2 if schedule == "zbv" else 1)
    steps = batch_of([row, other])
    assert step_times(steps)[0] == step_times(steps)[1]
    assert simulate(steps.spec(0)) == simulate(steps.spec(1))


@pytest.mark.parametrize("virtual_stages", [1, 2, 3, 5])
def test_chunks_hold_every_block_once_and_keep_the_ends_in_place(virtual_stages: int) -> None:
    chunks = split_chunks(np.array([1, 11, 2]), virtual_stages)
    assert chunks.sum(axis=0).tolist() == [1, 11, 2]
    assert chunks[0, 0] == 1
    assert chunks[-1, 2] == 2
    assert np.ptp(chunks[:, 1]) <= 1


def test_chunks_of_many_stages_are_those_of_each() -> None:
    many: NDArray[np.int64] = np.random.default_rng(4).integers(0, 9, size=(6, 5, 4))
    chunks = split_chunks(many, 3)
    assert all((chunks[i, j] == split_chunks(many[i, j], 3)).all() for i in range(6) for j in range(5))


def test_first_and_last_chunk_are_those_that_the_blocks_are_split_into() -> None:
    # 7 layers over 3 chunks are 3, 2, 2; the head goes with the first, the tail with the last.
    # Stage 0 of 1: F = 3 x (1 + 7 x 2 + 3), all on one rank.
    assert split_chunks(np.array([1, 7, 1]), 3).tolist() == [[1, 3, 0], [0, 2, 0], [0, 2, 1]]
    row = Strategy(
        schedule="interleaved", mode="none", pp=2, micro_batches=2, virtual_stages=3,
        repeat=((1, 7, 1), (0, 0, 0), (1, 7, 1)), block_ps=durations(forward=(1, 2, 3), backward=(2, 4, 6)),
    )  # fmt: skip
    # T = 18 + 36 on both stages. The last stage starts after F_0 = 1 + 6 and ends B_0 = 14 before the step: 108 + 21.
    # Stage 0: trip 7 + 14 = 21 through the last chunk, meanwhile p - 1 = 1 pass of 7 or 14: idle 14 or 7, one of them.
    assert step_times(batch_of([row]))[0].total_ps == 108 + 21


def test_the_words_of_both_lists_of_schedules_are_the_same() -> None:
    assert list(SCHEDULES) == list(ORDERS)


def forward(steps: StepBatch) -> StepBatch:
    """The forward passes of a batch; ZeRO-3 gathers in them too, nothing else is exchanged."""
    low = steps.lowered
    sharded = GRADIENT_MODES.index("sharded")
    low.gradient_mode = np.where(low.gradient_mode == sharded, sharded, 0)  # type: ignore[misc]
    return forward_part(steps)


@settings(max_examples=120, deadline=None)
@given(batches())
def test_forward_passes_alone_take_the_same_on_both_engines_and_by_the_scalar_twin(steps: StepBatch) -> None:
    steps = forward(steps)
    times = forward_times(steps)
    for index in range(steps.lowered.strategies):
        spec = steps.spec(index)
        assert times[index] == replace(simulate(spec), engine="analytic") == replace(bound(spec), engine="analytic")


@settings(max_examples=60, deadline=None)
@given(batches())
def test_forward_passes_are_never_faster_than_compute_and_never_slower_than_the_step(steps: StepBatch) -> None:
    # By events: the closed form of a step falls short where chunks are unlike.
    whole = [simulate(steps.spec(index)).total_ps for index in range(steps.lowered.strategies)]
    stages = [steps.spec(index).stages for index in range(steps.lowered.strategies)]
    steps = forward(steps)
    times = forward_times(steps)
    for index, held in enumerate(stages):
        spec = steps.spec(index)
        # In dualpipe a rank works for two stages, on half of the micro-batches each.
        mean = sum(b.repeat * b.forward_ps for stage in held for b in stage.blocks) / len(held)
        assert times[index].total_ps >= spec.micro_batches * mean
        # A step of pipedream and of the zero-bubble ones is counted from pass to like pass, without its fill.
        if ORDERS[spec.schedule].TRAITS.update == "together":
            assert times[index].total_ps <= whole[index]


@pytest.mark.parametrize("virtual_stages", [1, 3])
def test_long_runs_of_forward_passes_cost_as_many_more_as_the_slowest_rank_takes(virtual_stages: int) -> None:
    def total(micro_batches: int) -> int:
        row = Strategy(
            schedule="interleaved", mode="none", pp=4, micro_batches=micro_batches, virtual_stages=virtual_stages,
            repeat=((1, 6, 0), (0, 6, 0), (0, 6, 1)), block_ps=durations(forward=(9, 5, 40)), send_ps=3,
        )  # fmt: skip
        return int(forward_times(forward(batch_of([row]))).total_ps[0])

    # The last rank: 6 layers, the head, and a send behind every chunk but the last.
    assert total(4_000_000) - total(2_000_000) == 2_000_000 * (6 * 5 + 40 + 3 * (virtual_stages - 1))


def test_a_step_without_a_backward_pass_has_no_duration_of_one() -> None:
    row = Strategy(
        schedule="1f1b", mode="none", pp=2, micro_batches=2, virtual_stages=1, repeat=((1,), (0,), (1,)),
        block_ps=durations(forward=(3,), backward=(4,)),
    )  # fmt: skip
    spec = batch_of([row]).spec(0)
    with pytest.raises(StepSpecError, match=r"backward_ps is 4 in 'stage 0 .first.' without a backward pass; 0"):
        replace(spec, forward_only=True)
    with pytest.raises(StepSpecError, match="gradient_mode is 'after' without a backward pass; legal: none, sharded"):
        replace(spec, forward_only=True, gradient_mode="after")
