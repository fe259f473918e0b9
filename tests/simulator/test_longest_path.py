"""Long runs cut short against the same runs followed to the end, and laws of the longest path."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.schedules import SCHEDULES, settled
from simulator.schedules.graph import graph
from simulator.schedules.longest_path import longest_path
from simulator.schedules.route import stop_chunks

NAMES = ("begun", "done", "marked")


@st.composite
def pipelines(draw: st.DrawFn, *, rows: int = 4) -> dict[str, Any]:
    """Arguments of `longest_path` for a few strategies, stages of any kind or nearly alike, runs short and long."""
    schedule = draw(st.sampled_from(tuple(SCHEDULES)))
    traits = SCHEDULES[schedule].TRAITS
    stages = 2 * draw(st.integers(1, 3)) if schedule == "dualpipe" else draw(st.integers(1, 5))
    virtual = draw(st.integers(1, 3)) if schedule == "interleaved" else 2 if schedule == "zbv" else 1
    early = settled(schedule, stages)
    counts = np.array([draw(st.integers(1, 90)) for _ in range(rows)])
    if schedule == "interleaved":
        counts = (counts // stages + 1) * stages
    if schedule == "dualpipe":
        counts = 2 * (counts // 2 + stages)
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    spread = draw(st.sampled_from((1, 2, 60)))
    shape = (rows, 4, stages, stop_chunks(traits.route, virtual))
    after = rng.integers(0, 9, size=(rows, stages)) if traits.update == "each_micro_batch" else None
    return {
        "schedule": schedule, "stages": stages, "virtual_stages": virtual, "micro_batches": counts + early,
        "task_ps": rng.integers(0, 40, size=(rows, 4, 1, 1)) + rng.integers(0, spread, size=shape),
        "send_ps": rng.integers(0, 30, size=rows), "after_backward_ps": after, "mark": early,
    }  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(pipelines())
def test_a_run_cut_short_ends_when_the_whole_run_does(asked: dict[str, Any]) -> None:
    short, whole = longest_path(**asked), longest_path(**asked, shorten=False)
    for name in NAMES:
        assert (getattr(short, name) == getattr(whole, name)).all()


@settings(max_examples=60, deadline=None)
@given(pipelines(rows=3), st.integers(2, 50))
def test_times_scale_with_durations(asked: dict[str, Any], factor: int) -> None:
    longer = {**asked, "task_ps": factor * asked["task_ps"], "send_ps": factor * asked["send_ps"]}
    if asked["after_backward_ps"] is not None:
        longer["after_backward_ps"] = factor * asked["after_backward_ps"]
    once, many = longest_path(**asked), longest_path(**longer)
    assert all((factor * getattr(once, name) == getattr(many, name)).all() for name in NAMES)


@settings(max_examples=60, deadline=None)
@given(pipelines(rows=3))
def test_a_longer_pass_never_ends_anything_sooner(asked: dict[str, Any]) -> None:
    more = asked["task_ps"].copy()
    more[:, :, -1] += 3
    assert (longest_path(**{**asked, "task_ps": more}).done >= longest_path(**asked).done).all()


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_rank_is_never_done_before_its_own_work(schedule: str) -> None:
    virtual = 2 if schedule == "zbv" else 1
    many = 12 + settled(schedule, 4)
    chunks = stop_chunks(SCHEDULES[schedule].TRAITS.route, virtual)
    task_ps = np.random.default_rng(2).integers(1, 50, size=(1, 4, 4, chunks))
    times = longest_path(schedule, 4, virtual, np.array([many]), task_ps, np.array([5]))
    run = graph(schedule, 4, many, virtual)
    kinds = ("forward", "backward", "backward_input", "backward_weight")
    for rank, order in enumerate(run.orders):
        work = sum(int(task_ps[0, kinds.index(task.kind), rank, task.chunk]) for task in order)
        assert times.done[0, rank] - times.begun[0, rank] >= work


@pytest.mark.parametrize("schedule", [word for word, entry in SCHEDULES.items() if entry.TRAITS.repeats])
def test_a_million_micro_batches_cost_no_more_than_a_few(schedule: str) -> None:
    # Like stages are steady at once: the graph of a short run is all that is made.
    virtual = 2 if schedule == "zbv" else 1
    chunks = stop_chunks(SCHEDULES[schedule].TRAITS.route, virtual)
    task_ps = np.broadcast_to(np.array([3, 6, 3, 3])[None, :, None, None], (1, 4, 4, chunks))
    graph.cache_clear()
    times = longest_path(schedule, 4, virtual, np.array([10**6]), task_ps, np.array([0]), mark=settled(schedule, 4))
    assert graph.cache_info().currsize == 1
    assert times.done.max() >= 9 * 10**6
