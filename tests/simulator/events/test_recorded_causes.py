"""What the engine records as causes is a chain without a gap, whatever is unlike or shared; paths and overlap hold."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.events import (
    Contention,
    Surroundings,
    Timeline,
    checked_causes,
    critical_path,
    find_roles,
    messages,
    overlap,
    savings,
    simulate,
)
from simulator.schedules import SCHEDULES
from simulator.stepspec import StepSpec

from .test_roles import grids, steps, unlike

FEW = settings(max_examples=150, deadline=None)
EVERYTHING = {kind: {"cards_out": 1.0, "cards_in": 1.0} for kind in ("reduce", "send", "tensor", "gather")}


def held(spec: StepSpec, around: Surroundings, *, every_block: bool) -> None:
    """Recorded causes are valid, and the path is as long as the step."""
    timeline = Timeline(every_block=every_block)
    step = simulate(spec, around, timeline=timeline)
    if not step.total_ps or not any(True for _ in timeline.work()):
        return
    checked_causes(timeline)
    path = critical_path(timeline, step_ps=step.total_ps)
    assert path.tree.duration_ps == path.duration_ps == step.total_ps
    for stage in timeline.stages:
        found = overlap(timeline, stage)
        assert sum(found.computing_ps.values()) + sum(found.exposed_ps.values()) + found.idle_ps == found.span_ps


@FEW
@given(steps(), st.booleans())
def test_causes_of_like_ranks_form_a_chain_as_long_as_the_step(spec: StepSpec, every_block: bool) -> None:
    held(spec, Surroundings(), every_block=every_block)


@FEW
@given(st.data())
def test_causes_of_unlike_ranks_form_a_chain_as_long_as_the_step(data: st.DataObject) -> None:
    spec = data.draw(steps())
    grid = data.draw(grids(len(spec.stages)))
    roles = find_roles(grid, data.draw(unlike(grid)))
    held(spec, Surroundings(roles=roles), every_block=data.draw(st.booleans()))


@FEW
@given(steps(), st.floats(0.0, 0.9))
def test_causes_form_a_chain_where_work_is_shared(spec: StepSpec, taken: float) -> None:
    contention = Contention(demands=EVERYTHING, chips_per_server=8, taken=taken)
    held(spec, Surroundings(contention=contention), every_block=True)


@FEW
@given(steps())
def test_nothing_saves_more_than_its_time_on_the_recorded_path(spec: StepSpec) -> None:
    if SCHEDULES[spec.schedule].TRAITS.update != "together" and spec.gradient_mode != "sharded":
        return
    timeline = Timeline(every_block=True)
    total_ps = simulate(spec, timeline=timeline).total_ps
    if not timeline.slices:
        return
    path = critical_path(timeline, step_ps=total_ps)
    for saving in savings(spec, path, lambda changed: simulate(changed).total_ps):
        assert 0 <= saving.half_saves_ps <= saving.free_saves_ps <= saving.on_path_ps


@pytest.mark.parametrize("unfold", [False, True])
def test_messages_follow_the_column_of_a_role(unfold: bool) -> None:
    from simulator.events import Differences, Grid
    from simulator.stepspec import BlockSpec, StageSpec

    block = BlockSpec(name="block", repeat=2, forward_ps=5, backward_ps=9, forward_tensor_ps=2, backward_tensor_ps=2)
    spec = StepSpec(stages=(StageSpec(name="stage", chunks=((block,),)),) * 3, micro_batches=4, send_ps=1)
    roles = find_roles(Grid(stages=3, replicas=2, inner=2), Differences(compute={5: 2.0}), unfold=unfold)
    timeline = Timeline()
    simulate(spec, Surroundings(roles=roles), timeline=timeline)
    pairs = messages(timeline, spec, roles)
    assert len(pairs) == sum(4 * (role.stage > 0) + 4 * (role.stage < 2) for role in roles.roles)
    for sent, received in pairs:
        a, b = timeline.slices[sent], timeline.slices[received]
        assert roles.roles[a.stage].column[roles.roles[b.stage].stage] == b.stage
        assert a.start_ps + a.duration_ps <= b.start_ps
