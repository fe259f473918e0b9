"""The critical path: a chain without a gap that is as long as the step; what breaks it is named; what it would save."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.events import (
    CauseError,
    PathNode,
    Timeline,
    checked_causes,
    critical_path,
    overlap,
    savings,
    simulate,
)
from simulator.events.pass_names import NamedPass, pass_of, without_micro_batch
from simulator.events.savings import faster
from simulator.schedules import SCHEDULES as ORDERS
from simulator.stepspec import SCHEDULES, BlockSpec, StageSpec, StepSpec

LAYER = BlockSpec(
    name="layer", repeat=3, forward_ps=101, backward_ps=211, weight_ps=83, forward_tensor_ps=23, backward_tensor_ps=41,
    gather_ps=97, reduce_ps=173,
)  # fmt: skip


def step_of(mode: str, schedule: str, *, extra: int = 0) -> StepSpec:
    """Four unlike stages: each computes a little more than the one before."""
    stages = 1 if mode == "sharded" else 4
    chunks = 2 if schedule in ("interleaved", "zbv") else 1
    return StepSpec(
        stages=tuple(
            StageSpec(
                name=f"part {i}",
                chunks=(
                    (
                        replace(LAYER, forward_ps=101 + extra * i),
                        BlockSpec(name="head", repeat=1, forward_ps=7, backward_ps=12),
                    ),
                )
                * chunks,
                reduce_after_ps=503,
                optimizer_ps=131,
                update_gather_ps=71,
            )
            for i in range(stages)
        ),
        micro_batches=8,
        schedule=schedule,
        gradient_mode=mode,
        send_ps=31,
        fixed_ps=53,
    )


CASES = [
    (mode, schedule)
    for schedule in SCHEDULES
    for mode in ("none", "after", "backward", "sharded")
    if mode != "sharded" or schedule in ("gpipe", "1f1b", "interleaved")
]
TOGETHER = [(mode, schedule) for mode, schedule in CASES if ORDERS[schedule].TRAITS.update == "together"]


def sums(node: PathNode) -> None:
    """Every level of a tree adds up exactly."""
    if node.parts:
        assert node.duration_ps == sum(part.duration_ps for part in node.parts)
        assert node.slices == sum(part.slices for part in node.parts)
        assert all(a.duration_ps >= b.duration_ps for a, b in pairwise(node.parts))
        for part in node.parts:
            sums(part)


def hand_made() -> Timeline:
    """Two stages: stage 1 waits for the send of stage 0; its exchange hides behind compute and ends last."""
    timeline = Timeline()
    timeline.name_stage(0, "first")
    timeline.name_stage(1, "last")
    a = timeline.add(0, "compute", "block forward", "compute", 0, 100)
    b = timeline.add(0, "pipeline", "send forward 0", "pipeline", 100, 20, a)
    timeline.add(1, "passes", "forward 0", "pass", 120, 80)
    c = timeline.add(1, "compute", "block forward", "compute", 120, 80, b)
    timeline.add(1, "compute", "block backward", "compute", 200, 60, c)
    timeline.add(1, "data", "reduce block", "data", 200, 90, c)
    return timeline


def test_the_path_of_a_hand_made_step_is_the_chain_from_its_end() -> None:
    path = critical_path(hand_made())
    assert [part.place for part in path.slices] == [0, 1, 3, 5]
    assert (path.duration_ps, path.crossings) == (290, 1)
    assert [(node.name, node.duration_ps) for node in path.tree.parts] == [
        ("last", 170), ("first", 120),
    ]  # fmt: skip
    assert [(n.name, n.duration_ps) for n in path.tree.parts[0].parts] == [("data", 90), ("compute", 80)]
    assert path.tree.parts[1].parts[1].parts[0] == PathNode(name="send forward", duration_ps=20, slices=1)
    sums(path.tree)


def test_a_path_of_the_end_of_a_run_is_cut_where_the_step_begins() -> None:
    path = critical_path(hand_made(), step_ps=150)
    assert [part.duration_ps for part in path.slices] == [60, 90]
    assert path.tree.duration_ps == path.duration_ps == 150


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ((0, "compute", "late", "compute", 50, 5, -1), r"slice 6 \('late' on compute .* waited for nothing"),
        ((0, "compute", "late", "compute", 50, 5, 1), r"slice 6 .* waited for slice 1 .* which ends at 120"),
        ((0, "compute", "late", "compute", 50, 5, 17), "slice 6 .* waited for slice 17; there are 0 to 6"),
        ((0, "compute", "late", "compute", 50, 5, 6), "slice 6 .* waited for slice 6"),
        ((1, "compute", "late", "compute", 200, 5, 2), r"waited for an envelope, slice 2 \('forward 0' on passes"),
    ],
)
def test_a_slice_that_breaks_the_chain_is_named(broken: tuple[int, str, str, str, int, int, int], said: str) -> None:
    timeline = hand_made()
    assert checked_causes(timeline) == [-1, 0, -1, 1, 3, 3]
    timeline.add(*broken)
    with pytest.raises(CauseError, match=said):
        critical_path(timeline)


def test_a_path_that_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(CauseError, match="nothing ran"):
        critical_path(Timeline())
    with pytest.raises(CauseError, match="only 290 ps ran"):
        critical_path(hand_made(), step_ps=291)
    cut = Timeline(most=1)
    cut.add(0, "compute", "a", "compute", 0, 1)
    cut.add(0, "compute", "b", "compute", 1, 1)
    with pytest.raises(CauseError, match="1 slices were left out"):
        critical_path(cut)


@pytest.mark.parametrize("extra", [0, 17])
@pytest.mark.parametrize(("mode", "schedule"), CASES)
def test_the_path_is_as_long_as_the_step_to_the_picosecond(mode: str, schedule: str, extra: int) -> None:
    step = step_of(mode, schedule, extra=extra)
    for every_block in (False, True):
        timeline = Timeline(every_block=every_block)
        total_ps = simulate(step, timeline=timeline).total_ps
        path = critical_path(timeline, step_ps=total_ps)
        assert path.tree.duration_ps == path.duration_ps == total_ps
        sums(path.tree)
        shown = [timeline.slices[part.place] for part in path.slices]
        assert all(a.end_ps == b.start_ps for a, b in pairwise(shown))


# --- what each would save -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [0, 17])
@pytest.mark.parametrize(("mode", "schedule"), TOGETHER)
def test_nothing_saves_more_than_its_time_on_the_path(mode: str, schedule: str, extra: int) -> None:
    step = step_of(mode, schedule, extra=extra)
    timeline = Timeline(every_block=True)
    total_ps = simulate(step, timeline=timeline).total_ps
    path = critical_path(timeline, step_ps=total_ps)
    found = savings(step, path, lambda changed: simulate(changed).total_ps)
    assert 1 <= len(found) <= 8
    for saving in found:
        assert 0 <= saving.half_saves_ps <= saving.free_saves_ps <= saving.on_path_ps <= total_ps
    (compute,) = (saving for saving in found if (saving.category, saving.stage) == ("compute", None))
    assert compute.free_saves_ps > 0


def test_on_one_rank_without_overlap_all_of_the_path_is_saved() -> None:
    step = replace(step_of("none", "1f1b"), stages=step_of("none", "1f1b").stages[:1])
    timeline = Timeline(every_block=True)
    path = critical_path(timeline, step_ps=simulate(step, timeline=timeline).total_ps)
    for saving in savings(step, path, lambda changed: simulate(changed).total_ps):
        assert saving.free_saves_ps == saving.on_path_ps == path.spent_ps(saving.category) > 0


def test_a_free_resource_takes_no_time_and_the_others_are_as_they_were() -> None:
    step = step_of("backward", "1f1b", extra=17)
    cut = faster(step, "compute", stage=2)
    assert {b.forward_ps + b.backward_ps + b.weight_ps for b in cut.stages[2].blocks} == {0}
    assert cut.stages[2].blocks[0].reduce_ps == LAYER.reduce_ps
    assert [cut.stages[i] for i in (0, 1, 3)] == [step.stages[i] for i in (0, 1, 3)]
    assert faster(step, "pipeline", parts=2).send_ps == 15
    assert faster(step, "optimizer").stages[0].update_gather_ps == 0
    with pytest.raises(ValueError, match="'chips' is no resource of a step; legal: compute, tensor"):
        faster(step, "chips")


# --- overlap ------------------------------------------------------------------------------------------------------


def test_overlap_of_a_hand_made_step() -> None:
    timeline = hand_made()
    first, last = overlap(timeline, 0), overlap(timeline, 1)
    assert (first.computing_ps, first.exposed_ps, first.idle_ps) == ({"compute": 100}, {"pipeline": 20}, 170)
    assert (last.computing_ps, last.exposed_ps, last.hidden_ps) == ({"compute": 140}, {"data": 30}, {"data": 60})
    assert (first.overlap, last.overlap) == (0.0, pytest.approx(60 / 90))


@pytest.mark.parametrize(("mode", "schedule"), CASES)
def test_every_instant_of_a_role_is_counted_once(mode: str, schedule: str) -> None:
    step, timeline = step_of(mode, schedule, extra=17), Timeline()
    total_ps = simulate(step, timeline=timeline).total_ps
    for stage in timeline.stages:
        for window in ({}, {"begin_ps": timeline.end_ps - total_ps}, {"begin_ps": 100, "end_ps": 777}):
            found = overlap(timeline, stage, **window)
            whole = sum(found.computing_ps.values()) + sum(found.exposed_ps.values()) + found.idle_ps
            assert whole == found.span_ps
            for word, busy_ps in found.busy_ps.items():
                assert busy_ps == found.exposed_ps[word] + found.hidden_ps[word] + found.behind_ps[word]
            assert found.communicating_ps == sum(found.exposed_ps.values()) + found.overlapped_ps


@given(
    st.lists(
        st.tuples(
            st.sampled_from([("compute", "compute"), ("tensor", "tensor"), ("data", "data"), ("data", "optimizer")]),
            st.integers(0, 30),
            st.integers(1, 9),
        ),
        max_size=12,
    )
)
@settings(max_examples=200, deadline=None)
def test_overlap_equals_a_count_of_single_picoseconds(items: list[tuple[tuple[str, str], int, int]]) -> None:
    timeline = Timeline()
    for (stream, category), start_ps, duration_ps in items:
        timeline.add(0, stream, "x", category, start_ps, duration_ps)
    found = overlap(timeline, 0)
    at = {
        word: {t for s in timeline.slices if s.category == word for t in range(s.start_ps, s.end_ps)}
        for word in ("compute", "tensor", "data", "optimizer")
    }
    communicating = at["tensor"] | at["data"] | at["optimizer"]
    assert found.overlapped_ps == len(communicating & at["compute"])
    assert found.communicating_ps == len(communicating)
    assert found.exposed_ps.get("data", 0) == len(at["data"] - at["compute"] - at["tensor"])
    assert found.hidden_ps.get("optimizer", 0) == len(at["optimizer"] & at["compute"])
    assert found.idle_ps == timeline.end_ps - len(communicating | at["compute"])


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "named", "short"),
    [
        ("forward 3", NamedPass("forward", 3), "forward"),
        ("send backward input 12 chunk 1", NamedPass("backward_input", 12, 1), "send backward input"),
        ("backward weight 0, all blocks", NamedPass("backward_weight", 0), "backward weight, all blocks"),
        ("conv 3 forward", None, "conv 3 forward"),
        ("forward 3x", None, "forward 3x"),
        ("update", None, "update"),
    ],
)
def test_a_slice_tells_its_pass_by_its_name(name: str, named: NamedPass | None, short: str) -> None:
    assert pass_of(name) == named
    assert without_micro_batch(name) == short
