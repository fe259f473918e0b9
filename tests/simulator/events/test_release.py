"""When gradients leave: fused, one by one, or what is needed next first; beside closed forms of the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.collectives.fusion import exposed_s, forward_delay_s, priority_end_s
from simulator.events import Contention, Grid, Release, Surroundings, Timeline, find_roles, simulate
from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec, StepSpecError

from .test_roles import steps

FEW = settings(max_examples=120, deadline=None)
DRAINING = tuple(word for word, entry in SCHEDULES.items() if entry.TRAITS.update != "each_micro_batch")


def block(draw: st.DrawFn, name: str) -> BlockSpec:
    return BlockSpec(
        name=name, repeat=1, forward_ps=draw(st.integers(0, 60)), backward_ps=draw(st.integers(0, 60)),
        forward_tensor_ps=draw(st.integers(0, 9)), backward_tensor_ps=draw(st.integers(0, 9)),
        reduce_ps=draw(st.integers(0, 90)),
    )  # fmt: skip


@st.composite
def lone_steps(draw: st.DrawFn, *, update: bool = True) -> StepSpec:
    """Any step of data-parallel ranks that are no pipeline."""
    blocks = tuple(block(draw, f"block {i}") for i in range(draw(st.integers(1, 6))))
    return StepSpec(
        stages=(StageSpec(name="all", chunks=(blocks,), optimizer_ps=draw(st.integers(0, 40)) if update else 0),),
        micro_batches=draw(st.integers(1, 4)), schedule=draw(st.sampled_from(["gpipe", "1f1b"])),
        gradient_mode="backward", fixed_ps=draw(st.integers(0, 5)),
    )  # fmt: skip


def released(spec: StepSpec, **how: object) -> int:
    return simulate(spec, Surroundings(release=Release(**how))).total_ps


def one_piece_a_tick(spec: StepSpec) -> dict[str, int]:
    return {block.name: max(block.reduce_ps, 1) for block in spec.stages[0].blocks}


@FEW
@given(lone_steps(update=False))
def test_by_need_in_the_finest_pieces_is_the_closed_form_of_priority(spec: StepSpec) -> None:
    blocks = spec.stages[0].blocks
    backward = np.array([b.backward_ps + b.backward_tensor_ps for b in blocks], float)
    ready = np.cumsum(backward[::-1])[::-1]
    arrived = priority_end_s(ready, [b.reduce_ps for b in blocks])
    forward = [b.forward_ps + b.forward_tensor_ps for b in blocks]
    delay = forward_delay_s(arrived_s=arrived, forward_s=forward, backward_end_s=ready[0])
    work = spec.fixed_ps + spec.micro_batches * (sum(forward) + sum(backward))
    assert released(spec, needed_first=True, pieces=one_piece_a_tick(spec)) == work + delay


@FEW
@given(lone_steps(), st.integers(1, 7))
def test_by_need_never_takes_longer_than_in_order_at_the_same_prices(spec: StepSpec, count: int) -> None:
    pieces = {block.name: count for block in spec.stages[0].blocks}
    assert released(spec, needed_first=True, pieces=pieces) <= simulate(spec).total_ps


@FEW
@given(lone_steps(), st.lists(st.integers(1, 3), max_size=6).map(tuple))
def test_fused_messages_are_the_closed_form_of_their_buckets(spec: StepSpec, messages: tuple[int, ...]) -> None:
    blocks = spec.stages[0].blocks[::-1]
    ready = np.cumsum([b.backward_ps + b.backward_tensor_ps for b in blocks])
    ends = np.unique(np.minimum([*np.cumsum(messages), len(blocks)], len(blocks))) if messages else None
    if ends is None:
        ends = np.arange(1, len(blocks) + 1)
    reduce_ps = np.cumsum([b.reduce_ps for b in blocks])[ends - 1]
    exposed = exposed_s(ready_s=ready[ends - 1], busy_s=np.diff(reduce_ps, prepend=0), backward_end_s=float(ready[-1]))
    step = simulate(spec, Surroundings(release=Release(messages=messages)))
    assert step.data_ps == exposed


@FEW
@given(steps(), st.lists(st.integers(1, 3), min_size=1, max_size=6).map(tuple))
def test_fusing_never_makes_a_step_shorter_at_the_same_prices(spec: StepSpec, messages: tuple[int, ...]) -> None:
    if spec.gradient_mode == "backward" and spec.schedule in DRAINING:
        assert released(spec, messages=messages) >= simulate(spec).total_ps


@FEW
@given(lone_steps())
def test_one_message_for_all_is_the_exchange_after_the_pass(spec: StepSpec) -> None:
    stage = spec.stages[0]
    after = replace(stage, reduce_after_ps=sum(b.repeat * b.reduce_ps for b in stage.blocks))
    assert released(spec, messages=(100,)) == simulate(replace(spec, stages=(after,), gradient_mode="after")).total_ps


@FEW
@given(lone_steps(), st.booleans())
def test_every_rank_by_itself_releases_as_one_for_all(spec: StepSpec, by_need: bool) -> None:
    release = Release(needed_first=True) if by_need else Release(messages=(2,))
    roles = find_roles(Grid(stages=1, replicas=3, inner=2), unfold=True)
    folded = simulate(spec, Surroundings(release=release))
    assert simulate(spec, Surroundings(release=release, roles=roles)) == folded


@FEW
@given(lone_steps(), st.floats(0.0, 0.8))
def test_sharing_never_makes_a_step_released_by_need_shorter(spec: StepSpec, taken: float) -> None:
    around = Surroundings(release=Release(needed_first=True))
    cards = Contention(demands={"reduce": {"cards_out": 1.0}}, chips_per_server=8, taken=taken)
    assert simulate(spec, replace(around, contention=cards)).total_ps >= simulate(spec, around).total_ps


@FEW
@given(lone_steps())
def test_busy_parts_by_need_are_those_of_any_order(spec: StepSpec) -> None:
    by_need, in_order = simulate(spec, Surroundings(release=Release(needed_first=True))), simulate(spec)
    for part in ("compute", "tensor", "optimizer", "fixed"):
        assert by_need.part_s(part) == in_order.part_s(part)


def two_layers() -> StepSpec:
    front = BlockSpec(name="front", repeat=1, forward_ps=100, backward_ps=200, reduce_ps=50)
    back = BlockSpec(name="back", repeat=1, forward_ps=100, backward_ps=200, reduce_ps=400)
    stage = StageSpec(name="all", chunks=((front, back),), optimizer_ps=90)
    return StepSpec(stages=(stage,), micro_batches=1, gradient_mode="backward")


def test_a_small_gradient_that_is_needed_first_overtakes_a_large_one_by_hand() -> None:
    # Backward ends at 400, with half of the large exchange done. In order: 600 + 50, update 90, forward 200.
    assert simulate(two_layers()).total_ps == 400 + 250 + 90 + 200
    # In halves the large one's first ends at 400; the small one runs to 450, its update takes 10, forward ends at 560.
    # The second half ends at 650; update 80 and forward follow.
    timeline = Timeline()
    around = Surroundings(release=Release(needed_first=True, pieces={"back": 2}))
    step = simulate(two_layers(), around, timeline=timeline)
    assert step.total_ps == 650 + 80 + 100
    assert step.data_ps == 50 + 90
    pieces = [(s.name, s.start_ps, s.duration_ps) for s in timeline.slices if s.stream == "data"]
    assert pieces == [("reduce back", 200, 200), ("reduce front", 400, 50), ("reduce back", 450, 200)]
    # Uncut, the large one holds the wire to 600.
    assert released(two_layers(), needed_first=True) == 650 + 10 + 100 + 80 + 100


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"messages": (0,)}, "messages: 0; at least 1"),
        ({"messages": (1,), "needed_first": True}, "fused or by need"),
        ({"pieces": {"a": 2}}, "pieces without needed_first"),
        ({"needed_first": True, "pieces": {"a": 0}}, "pieces: 0; at least 1"),
    ],
)
def test_releases_that_cannot_be_are_refused(how: dict[str, object], words: str) -> None:
    with pytest.raises(StepSpecError, match=words):
        Release(**how)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"gradient_mode": "after"}, "gradient_mode is 'after'"),
        ({"stages": two_layers().stages * 2}, "2 pipeline stages"),
        ({"schedule": "zb1p"}, "schedule 'zb1p'"),
        ({"stages": (replace(two_layers().stages[0], update_gather_ps=1),)}, "whole copies"),
    ],
)
def test_steps_that_cannot_release_by_need_are_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(StepSpecError, match=words):
        released(replace(two_layers(), **change), needed_first=True)
