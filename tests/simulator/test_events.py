"""The event engine against the closed form, against a longest path, and its laws."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.composition import bound, in_closed_form
from simulator.events import simulate
from simulator.schedules import SCHEDULES, Task
from simulator.stepspec import PARTS, BlockSpec, StageSpec, StepSpec, StepSpecError

FEW = settings(max_examples=50, deadline=None)


def durations(largest: int = 60) -> st.SearchStrategy[int]:
    return st.integers(0, largest)


#: The schedules whose steps are all the same length whenever they begin.
DRAINING = tuple(word for word, entry in SCHEDULES.items() if entry.TRAITS.update != "each_micro_batch")
TOGETHER = tuple(word for word, entry in SCHEDULES.items() if entry.TRAITS.update == "together")
MODES = ("none", "after", "backward", "sharded")
IN_LINE = ("gpipe", "1f1b", "interleaved")


def blocks() -> st.SearchStrategy[BlockSpec]:
    def with_weights(block: BlockSpec) -> st.SearchStrategy[BlockSpec]:
        return st.integers(0, block.backward_ps).map(lambda weight_ps: replace(block, weight_ps=weight_ps))

    return st.builds(
        BlockSpec,
        name=st.just("block"),
        repeat=st.integers(1, 3),
        forward_ps=durations(),
        backward_ps=durations(),
        forward_tensor_ps=durations(9),
        backward_tensor_ps=durations(9),
        gather_ps=durations(),
        reduce_ps=durations(),
    ).flatmap(with_weights)


def chunks() -> st.SearchStrategy[tuple[BlockSpec, ...]]:
    return st.lists(blocks(), min_size=1, max_size=3).map(tuple)


@st.composite
def specs(
    draw: st.DrawFn, *, alike: bool, schedules: tuple[str, ...] = tuple(SCHEDULES), modes: tuple[str, ...] = MODES
) -> StepSpec:
    """Any step; alike: the same stage everywhere, the same chunk on each, free sends."""
    mode = draw(st.sampled_from(modes))
    schedule = draw(st.sampled_from(schedules))
    stages = 1 if mode == "sharded" else draw(st.integers(1, 5))
    virtual_stages = draw(st.integers(1, 3)) if schedule == "interleaved" else 2 if schedule == "zbv" else 1
    micro_batches = draw(st.integers(1, 9 if schedule != "interleaved" else 3))
    if schedule == "interleaved":
        micro_batches *= stages
    if schedule == "dualpipe":
        mode, stages = "none" if mode == "sharded" else mode, stages + stages % 2
        micro_batches = 2 * (stages + micro_batches)

    def a_stage() -> StageSpec:
        chunk = draw(chunks())
        return StageSpec(
            name="stage",
            chunks=(chunk,) * virtual_stages if alike else tuple(draw(chunks()) for _ in range(virtual_stages)),
            reduce_after_ps=draw(durations(300)),
            optimizer_ps=draw(durations()),
            update_gather_ps=draw(durations()),
        )

    return StepSpec(
        stages=(a_stage(),) * stages if alike else tuple(a_stage() for _ in range(stages)),
        micro_batches=micro_batches,
        schedule=schedule,
        gradient_mode=mode,
        send_ps=0 if alike else draw(durations(9)),
        fixed_ps=draw(durations()),
    )


def times(duration: int, spec: StepSpec) -> StepSpec:
    """The step with all durations multiplied."""

    def of_block(block: BlockSpec) -> BlockSpec:
        names = [name for name in vars(block) if name.endswith("_ps")]
        return replace(block, **{name: duration * getattr(block, name) for name in names})

    def of_stage(stage: StageSpec) -> StageSpec:
        names = [name for name in vars(stage) if name.endswith("_ps")]
        scaled = {name: duration * getattr(stage, name) for name in names}
        return replace(stage, chunks=tuple(tuple(map(of_block, chunk)) for chunk in stage.chunks), **scaled)

    return replace(
        spec,
        stages=tuple(map(of_stage, spec.stages)),
        send_ps=duration * spec.send_ps,
        fixed_ps=duration * spec.fixed_ps,
    )


def longest_path_ps(spec: StepSpec) -> int:
    """Passes of a step as the longest path through the graph of who waits for whom (mode "none")."""
    stages, top = len(spec.stages), len(spec.stages) * spec.virtual_stages - 1
    orders = [
        list(SCHEDULES[spec.schedule].order(i, stages, spec.micro_batches, spec.virtual_stages)) for i in range(stages)
    ]
    places = [{task: place for place, task in enumerate(order)} for order in orders]

    @cache
    def end(stage: int, place: int) -> int:
        task = orders[stage][place]
        here = task.chunk * stages + stage
        begin = end(stage, place - 1) if place else 0
        there = here - 1 if task.kind == "forward" else here + 1
        if 0 <= there <= top:
            sender = there % stages
            begin = max(begin, end(sender, places[sender][Task(task.kind, task.micro_batch, there // stages)]))
        chunk = spec.stages[stage].chunks[task.chunk]
        if task.kind == "forward":
            work = sum(b.repeat * (b.forward_ps + b.forward_tensor_ps) for b in chunk)
        else:
            work = sum(b.repeat * (b.backward_ps + b.backward_tensor_ps) for b in chunk)
        sends = stages > 1 and here != (top if task.kind == "forward" else 0)
        return begin + work + (spec.send_ps if sends else 0)

    return max(end(i, len(order) - 1) for i, order in enumerate(orders))


@FEW
@given(spec=specs(alike=True))
def test_events_equal_the_closed_form_to_the_tick_where_stages_are_alike(spec: StepSpec) -> None:
    assert replace(simulate(spec), engine="bound") == bound(spec)


@FEW
@given(spec=specs(alike=False))
def test_events_never_take_less_time_than_the_closed_form(spec: StepSpec) -> None:
    assert simulate(spec).total_ps >= bound(spec).total_ps


@FEW
@given(spec=specs(alike=False).filter(lambda spec: not in_closed_form(spec)))
def test_events_equal_the_path_task_by_task_for_stages_of_any_kind(spec: StepSpec) -> None:
    assert replace(simulate(spec), engine="bound") == bound(spec)


@FEW
@given(spec=specs(alike=False))
def test_a_weight_gradient_apart_takes_nothing_away_from_the_rank(spec: StepSpec) -> None:
    # Busy parts do not depend on what of a backward pass is for weights.
    whole = replace(spec, stages=tuple(map(all_for_inputs, spec.stages)))
    pace = [simulate(step) for step in (spec, whole) if SCHEDULES[step.schedule].TRAITS.update == "together"]
    assert len({(step.compute_ps, step.tensor_ps, step.pipeline_ps) for step in pace}) <= 1


def all_for_inputs(stage: StageSpec) -> StageSpec:
    return replace(stage, chunks=tuple(tuple(replace(b, weight_ps=0) for b in chunk) for chunk in stage.chunks))


@FEW
@given(spec=specs(alike=False))
def test_gpipe_events_equal_the_closed_form_for_unlike_stages_and_sends(spec: StepSpec) -> None:
    if spec.virtual_stages == 1 and spec.schedule != "dualpipe":
        gpipe = replace(spec, schedule="gpipe")
        assert replace(simulate(gpipe), engine="bound") == bound(gpipe)


@FEW
@given(spec=specs(alike=False, schedules=IN_LINE).filter(lambda spec: spec.gradient_mode != "sharded"))
def test_events_equal_the_longest_path_for_unlike_stages_and_sends(spec: StepSpec) -> None:
    step = simulate(replace(spec, gradient_mode="none"))
    assert step.total_ps - step.optimizer_ps - step.fixed_ps == longest_path_ps(spec)


@FEW
@given(spec=specs(alike=False))
def test_no_part_of_a_step_is_negative(spec: StepSpec) -> None:
    step = simulate(spec)
    assert all(getattr(step, f"{part}_ps") >= 0 for part in PARTS)
    assert step.fixed_ps == spec.fixed_ps
    assert step.engine == "events"


@FEW
@given(spec=specs(alike=False))
def test_busy_parts_are_those_of_the_closed_form_even_for_unlike_stages(spec: StepSpec) -> None:
    step, closed = simulate(spec), bound(spec)
    for part in ("compute", "tensor", "pipeline", "optimizer", "fixed"):
        assert step.part_s(part) == closed.part_s(part)


@FEW
@given(spec=specs(alike=False), factor=st.integers(2, 1000))
def test_scaling_all_durations_scales_every_part(spec: StepSpec, factor: int) -> None:
    step, scaled = simulate(spec), simulate(times(factor, spec))
    for part in PARTS:
        assert getattr(scaled, f"{part}_ps") == factor * getattr(step, f"{part}_ps")


@FEW
@given(spec=specs(alike=False, schedules=DRAINING))
def test_more_micro_batches_never_take_less_time(spec: StepSpec) -> None:
    more = spec.micro_batches + 2 * len(spec.stages)
    assert simulate(replace(spec, micro_batches=more)).total_ps >= simulate(spec).total_ps


@FEW
@given(spec=specs(alike=False, schedules=TOGETHER))
def test_slower_sends_never_take_less_time(spec: StepSpec) -> None:
    assert simulate(replace(spec, send_ps=spec.send_ps + 7)).total_ps >= simulate(spec).total_ps


@FEW
@given(spec=specs(alike=False, schedules=DRAINING, modes=("backward",)))
def test_overlapped_exchange_lies_between_none_and_all_of_it(spec: StepSpec) -> None:
    none = simulate(replace(spec, gradient_mode="none")).total_ps
    exchanged = [sum(b.repeat * b.reduce_ps for b in stage.blocks) for stage in spec.stages]
    after = tuple(replace(s, reduce_after_ps=r) for s, r in zip(spec.stages, exchanged, strict=True))
    assert none <= simulate(spec).total_ps
    assert simulate(spec).total_ps <= simulate(replace(spec, stages=after, gradient_mode="after")).total_ps


def one_block(forward: int, backward: int, **more: int) -> StageSpec:
    block = BlockSpec(name="block", repeat=1, forward_ps=forward, backward_ps=backward, **more)
    return StageSpec(name="stage", chunks=((block,),))


def test_a_step_of_nothing_takes_no_time() -> None:
    assert simulate(StepSpec(stages=(one_block(0, 0),) * 3, micro_batches=3)).total_ps == 0


def test_a_blocking_send_by_hand() -> None:
    # Two stages, one micro-batch, F = 10, B = 20, send 3: 10 + 3 + 10 + 20 + 3 + 20 = 66.
    step = simulate(StepSpec(stages=(one_block(10, 20),) * 2, micro_batches=1, send_ps=3))
    # Seen from stage 0: 30 compute, 3 of sends, 33 idle.
    assert (step.total_ps, step.compute_ps, step.pipeline_ps, step.bubble_ps) == (66, 30, 3, 33)


def test_a_slow_first_stage_hides_the_others_in_1f1b() -> None:
    # Stage 0: F 0-10, F 10-20; stage 1 is back at 10 + 1 + 2 = 13; B 20-40, B 40-60: never idle.
    spec = StepSpec(stages=(one_block(10, 20), one_block(1, 2)), micro_batches=2)
    assert (simulate(spec).total_ps, simulate(spec).bubble_ps) == (60, 0)


def test_gpipe_follows_the_slowest_forward_and_the_slowest_backward_pass() -> None:
    # (m - 1) (max F + max B) + sum F + sum B = 3 x (10 + 10) + 12 + 12 = 84.
    spec = StepSpec(stages=(one_block(10, 2), one_block(2, 10)), micro_batches=4, schedule="gpipe")
    assert simulate(spec).total_ps == 84


def test_gradients_under_a_send_of_the_last_pass_are_hidden() -> None:
    # Forward 0-10, send 10-13, stage 1 forward 13-23, backward 23-43, send 43-46, stage 0 backward 46-66.
    # Stage 1 exchanges from 43, beside its send, until 43 + 25 = 68; stage 0 has nothing to exchange.
    stages = (one_block(10, 20), one_block(10, 20, reduce_ps=25))
    spec = StepSpec(stages=stages, micro_batches=1, send_ps=3, gradient_mode="backward")
    assert (simulate(spec).total_ps, simulate(spec).data_ps) == (68, 2)


def chunked(forward: list[int], backward: list[int]) -> StageSpec:
    blocks = (one_block(f, b).chunks[0] for f, b in zip(forward, backward, strict=True))
    return StageSpec(name="stage", chunks=tuple(blocks))


@pytest.mark.parametrize("micro_batches_per_stage", [1, 4, 16])
@pytest.mark.parametrize("stages", [2, 8, 16])
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved"])
def test_heavier_ends_keep_the_closed_form_within_one_percent(
    schedule: str, stages: int, micro_batches_per_stage: int
) -> None:
    # Embedding 3 % on the first stage, vocabulary head 10 % on the last: the usual way stages are unlike. 1F1B is even
    # equal to the tick.
    chunks = 1 if schedule == "1f1b" else 2
    plain = [1000] * (chunks - 1)
    middle = chunked([1000, *plain], [2000, *(2 * f for f in plain)])
    spec = StepSpec(
        stages=(
            chunked([1030, *plain], [2060, *(2 * f for f in plain)]),
            *(middle,) * (stages - 2),
            chunked([*plain, 1100], [*(2 * f for f in plain), 2200]),
        ),
        micro_batches=micro_batches_per_stage * stages,
        schedule=schedule,
    )
    events, closed = simulate(spec).total_ps, bound(spec).total_ps
    assert 0 <= events - closed <= (0 if schedule == "1f1b" else 0.01 * events)


@pytest.mark.parametrize("send_ps", [20, 900, 5000])
@pytest.mark.parametrize("schedule", ["1f1b", "interleaved"])
@pytest.mark.parametrize("stages", [2, 4, 8, 16])
def test_sends_between_like_stages_keep_the_closed_form_exact(schedule: str, stages: int, send_ps: int) -> None:
    stage = chunked([1000] * 2, [2000] * 2) if schedule == "interleaved" else one_block(1000, 2000)
    spec = StepSpec(stages=(stage,) * stages, micro_batches=4 * stages, schedule=schedule, send_ps=send_ps)
    assert simulate(spec).total_ps == bound(spec).total_ps


# What `composition.bound` states, for passes that differ at random, with like stages between the first and the last.
@pytest.mark.parametrize(
    ("schedule", "spread", "most"),
    [("1f1b", 0.1, 0.001), ("1f1b", 0.5, 0.035), ("interleaved", 0.1, 0.055), ("interleaved", 0.5, 0.18)],
)
def test_unlike_stages_stay_within_the_stated_tolerance(schedule: str, spread: float, most: float) -> None:
    chance = random.Random(20)

    def around(duration: int, chunks: int) -> list[int]:
        return [round(duration * chance.uniform(1 - spread, 1 + spread)) for _ in range(chunks)]

    for _ in range(80):
        stages, chunks = chance.randint(2, 8), 1 if schedule == "1f1b" else chance.randint(1, 4)
        first, middle, last = (chunked(around(1000, chunks), around(2000, chunks)) for _ in range(3))
        spec = StepSpec(
            stages=(first, *[middle] * (stages - 2), last),
            micro_batches=chance.randint(1, 4) * stages,
            schedule=schedule,
        )
        events, closed = simulate(spec).total_ps, bound(spec).total_ps
        assert 0 <= events - closed <= most * events


def test_sharding_refuses_a_pipeline() -> None:
    with pytest.raises(StepSpecError, match='"sharded" with 2 pipeline stages; it needs 1'):
        simulate(StepSpec(stages=(one_block(1, 2),) * 2, micro_batches=2, gradient_mode="sharded"))


@pytest.mark.parametrize("schedule", sorted(SCHEDULES))
def test_memory_does_not_grow_with_micro_batches(schedule: str) -> None:
    # A slow last stage lets the first run far ahead in GPipe: what piles up between them is a count.
    stages = (one_block(1, 2), one_block(5, 10))
    of_chunks = (stages, tuple(replace(stage, chunks=stage.chunks * 2) for stage in stages))

    def peak_byte(micro_batches: int) -> int:
        tracemalloc.start()
        simulate(StepSpec(stages=of_chunks[schedule == "zbv"], micro_batches=micro_batches, schedule=schedule))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_byte(10)  # imports and caches
    assert peak_byte(4000) < 2 * peak_byte(40)


def test_a_gpt_3_sized_pipeline_keeps_exact_ticks() -> None:
    # 64 stages x 500 micro-batches, 12 blocks of 1 ms and 2 ms: a step of 20 s in picoseconds, beyond float's digits
    # once multiplied out; integers stay exact.
    block = BlockSpec(name="block", repeat=12, forward_ps=10**9 + 1, backward_ps=2 * 10**9 + 1)
    spec = StepSpec(stages=(StageSpec(name="stage", chunks=((block,),)),) * 64, micro_batches=500)
    assert simulate(spec).total_ps == 563 * 12 * (3 * 10**9 + 2)


def test_a_send_beside_the_next_pass_by_hand() -> None:
    # ZB-1p, two stages, one micro-batch, F = 10, B = W = 10, send 3. Stage 1: 13-23, 23-33, W to 43; its send is over
    # at 36: B 36-46 on stage 0, W to 56. Stage 1 is at it for 30 and stage 0 for 56, of it 26 waiting.
    stages = (one_block(10, 20, weight_ps=10),) * 2
    step = simulate(StepSpec(stages=stages, micro_batches=1, send_ps=3, schedule="zb1p"))
    assert (step.total_ps, step.compute_ps, step.pipeline_ps, step.bubble_ps) == (56, 30, 0, 26)


def test_sends_one_after_the_other_where_a_link_is_the_slowest() -> None:
    # Stage 0 hands on a forward pass every 1, each takes 10 to send: micro-batch k begins on stage 1 at 11 + 10 k.
    spec = StepSpec(stages=(one_block(1, 1), one_block(1, 1)), micro_batches=4, send_ps=10, schedule="dualpipe")
    # Both ways: the second micro-batch each way arrives at 21, its backward pass ends 22 or later and arrives 33.
    assert simulate(spec).total_ps == bound(spec).total_ps >= 33


def test_ranks_that_update_by_themselves_do_not_wait_for_the_slowest_update() -> None:
    # Stage 0 is at it for 4 x 3 + 1 x (1 + 1 - 1) = 13 and updates for 2; stage 1 for 12 and updates for 3: 15, not 16.
    stages = (one_block(1, 2, weight_ps=1), one_block(1, 2, weight_ps=1))
    stages = (replace(stages[0], optimizer_ps=2), replace(stages[1], optimizer_ps=3))
    step = simulate(StepSpec(stages=stages, micro_batches=4, schedule="zb1p"))
    assert (step.total_ps, step.optimizer_ps, step.bubble_ps) == (15, 2, 1)


@pytest.mark.parametrize("schedule", [word for word in SCHEDULES if word not in DRAINING])
def test_a_pipeline_that_never_drains_pays_for_its_longest_round(schedule: str) -> None:
    # Stage 1: F 3, B 5, exchange 2, update 4: 14 a micro-batch, whatever else; 6 of them 84.
    slow = replace(one_block(3, 5), reduce_after_ps=2, optimizer_ps=3, update_gather_ps=1)
    stages = (one_block(2, 4), slow, one_block(1, 2))
    step = simulate(StepSpec(stages=stages, micro_batches=6, schedule=schedule, gradient_mode="after", fixed_ps=7))
    assert (step.total_ps, step.compute_ps, step.data_ps, step.optimizer_ps) == (84 + 7, 48, 12, 24)
    assert (step.bubble_ps, step.fixed_ps) == (0, 7)
