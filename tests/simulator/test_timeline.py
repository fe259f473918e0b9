"""Pipelines drawn in text against the papers' figures and against the closed forms."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.composition import bound
from simulator.report.timeline import timeline_text
from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec


def pipeline(
    schedule: str, stages: int, micro_batches: int, *, forward: int = 1, inputs: int = 1, weights: int = 1
) -> StepSpec:
    block = BlockSpec(name="block", repeat=1, forward_ps=forward, backward_ps=inputs + weights, weight_ps=weights)
    chunks = ((block,),) * (2 if schedule in ("interleaved", "zbv") else 1)
    stage = StageSpec(name="stage", chunks=chunks)
    return StepSpec(stages=(stage,) * stages, micro_batches=micro_batches, schedule=schedule)


def test_1f1b_by_hand() -> None:
    # Rank 1 is back with micro-batch 0 at 4, with 1 at 7, with 2 at 10; the whole takes 12.
    assert timeline_text(pipeline("1f1b", 2, 3)) == (
        "rank 0  F0F1....B0--F2B1--..B2--\n"
        "rank 1  ..F0B0--F1B1--F2B2--....\n"
    )  # fmt: skip


def test_the_papers_figure_of_zb_h1() -> None:
    # Qi et al., figure 2: 4 stages, 8 micro-batches; p - 1 units of bubble on rank 0, weight gradients fill the tail.
    assert timeline_text(pipeline("zb1p", 4, 8)) == (
        "rank 0  F0F1F2F3......B0W0F4B1W1F5B2W2F6B3W3F7B4W4B5W5B6W6B7W7\n"
        "rank 1  ..F0F1F2....B0F3B1W0F4B2W1F5B3W2F6B4W3F7B5W4B6W5B7W6W7\n"
        "rank 2  ....F0F1..B0F2B1F3B2W0F4B3W1F5B4W2F6B5W3F7B6W4B7W5W6W7\n"
        "rank 3  ......F0B0F1B1F2B2F3B3W0F4B4W1F5B5W2F6B6W3F7B7W4W5W6W7\n"
    )


def test_the_papers_figure_of_zb_h2_is_a_parallelogram() -> None:
    # Figure 3: no rank waits once it has begun.
    lines = timeline_text(pipeline("zb2p", 4, 8)).splitlines()
    for rank, line in enumerate(lines):
        drawn = line.removeprefix(f"rank {rank}  ")
        assert drawn.index("F0") == 2 * rank
        assert "." not in drawn.strip(".")
        assert len(drawn.strip(".")) == 2 * 8 * 3


def test_both_ways_meet() -> None:
    # Chunks of the way up in lower case: rank 0 begins with micro-batch 0, rank 3 with micro-batch 4.
    lines = timeline_text(pipeline("dualpipe", 4, 8)).splitlines()
    assert lines[0].startswith("rank 0  F0F1F2f4b4w4")
    assert lines[3].startswith("rank 3  f4f5f6F0B0W0")


def test_a_full_pipeline_has_no_dots_on_its_first_rank() -> None:
    drawn = timeline_text(pipeline("pipedream", 3, 6)).splitlines()[0].removeprefix("rank 0  ")
    assert "." not in drawn
    assert drawn.endswith("B5--")


@pytest.mark.parametrize("schedule", [word for word, entry in SCHEDULES.items() if entry.TRAITS.update == "together"])
def test_dots_are_the_bubble(schedule: str) -> None:
    spec = pipeline(schedule, 4, 8, forward=2, inputs=3, weights=1)
    # Two characters for the shortest pass, of 2 ps, or of 1 where weight gradients run apart.
    per_ps = 2 if schedule == "dualpipe" else 1
    lines = timeline_text(spec, width=1000).splitlines()
    assert all(
        line.removeprefix(f"rank {i}  ").count(".") == per_ps * bound(spec).bubble_ps for i, line in enumerate(lines)
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("width", [60, 100, 400])
def test_lines_are_alike_in_length_and_never_wider_than_asked(schedule: str, width: int) -> None:
    lines = timeline_text(pipeline(schedule, 4, 8, forward=3, inputs=4, weights=2), width=width).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= width


def test_sends_and_gaps_are_dots() -> None:
    spec = replace(pipeline("1f1b", 2, 1, forward=2, inputs=2, weights=0), send_ps=2)
    assert timeline_text(spec).splitlines() == ["rank 0  F0........B0", "rank 1  ....F0B0...."]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="no pass takes any time"):
        timeline_text(pipeline("1f1b", 2, 2, forward=0, inputs=0, weights=0))
