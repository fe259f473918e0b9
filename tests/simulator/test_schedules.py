"""Orders against a list scheduler that knows nothing but the order and what each pass needs."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import islice

import pytest

from simulator.schedules import SCHEDULES, Task

SHAPES = [
    (schedule, stages, micro_batches, virtual_stages)
    for schedule in SCHEDULES
    for stages in (1, 2, 3, 4)
    for micro_batches in (1, 2, 3, 4, 6, 8, 12)
    for virtual_stages in (1, 2, 3)
    if (micro_batches % stages == 0 if schedule == "interleaved" else virtual_stages == 1)
]


def finish_times(
    schedule: str, stages: int, micro_batches: int, virtual_stages: int, forward: int, backward: int
) -> list[dict[Task, int]]:
    """When each task ends if every rank runs its order as soon as inputs allow; fails on a deadlock."""
    orders = [list(SCHEDULES[schedule].order(i, stages, micro_batches, virtual_stages)) for i in range(stages)]
    done: list[dict[Task, int]] = [{} for _ in range(stages)]
    clock = [0] * stages
    top = stages * virtual_stages - 1
    while any(len(done[i]) < len(orders[i]) for i in range(stages)):
        progress = False
        for i in range(stages):
            while len(done[i]) < len(orders[i]):
                task = orders[i][len(done[i])]
                place = task.chunk * stages + i
                needs = []
                if task.kind == "forward" and place > 0:
                    needs = [(place - 1, "forward")]
                if task.kind == "backward":
                    needs = [(place, "forward")] + ([(place + 1, "backward")] if place < top else [])
                ends = [done[q % stages].get(Task(kind, task.micro_batch, q // stages)) for q, kind in needs]
                if None in ends:
                    break
                begin = max([clock[i], *(end for end in ends if end is not None)])
                clock[i] = begin + (forward if task.kind == "forward" else backward)
                done[i][task] = clock[i]
                progress = True
        assert progress, "deadlock"
    return done


@pytest.mark.parametrize(("schedule", "stages", "micro_batches", "virtual_stages"), SHAPES)
def test_every_rank_runs_every_pass_once(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> None:
    wanted = {
        Task(kind, micro_batch, chunk)
        for kind in ("forward", "backward")
        for micro_batch in range(micro_batches)
        for chunk in range(virtual_stages)
    }
    for stage in range(stages):
        counts = Counter(SCHEDULES[schedule].order(stage, stages, micro_batches, virtual_stages))
        assert set(counts) == wanted
        assert set(counts.values()) == {1}


@pytest.mark.parametrize(("schedule", "stages", "micro_batches", "virtual_stages"), SHAPES)
@pytest.mark.parametrize(("forward", "backward"), [(1, 1), (1, 2), (3, 7), (5, 2)])
def test_bubble_fraction_is_what_a_list_scheduler_finds(
    schedule: str, stages: int, micro_batches: int, virtual_stages: int, forward: int, backward: int
) -> None:
    done = finish_times(schedule, stages, micro_batches, virtual_stages, forward, backward)
    useful = micro_batches * virtual_stages * (forward + backward)
    idle = max(max(times.values()) for times in done) - useful
    assert idle == (stages - 1) * (forward + backward)
    fraction = SCHEDULES[schedule].bubble_fraction(stages, micro_batches, virtual_stages)
    assert fraction == float(Fraction(idle, useful))


@pytest.mark.parametrize(("schedule", "stages", "micro_batches", "virtual_stages"), SHAPES)
def test_activations_in_flight_is_the_peak_of_the_order(
    schedule: str, stages: int, micro_batches: int, virtual_stages: int
) -> None:
    for stage in range(stages):
        held = peak = 0
        for task in SCHEDULES[schedule].order(stage, stages, micro_batches, virtual_stages):
            held += 1 if task.kind == "forward" else -1
            peak = max(peak, held)
        assert held == 0
        told = SCHEDULES[schedule].activations_in_flight(stage, stages, micro_batches, virtual_stages)
        assert told == peak / virtual_stages


@pytest.mark.parametrize(("stages", "virtual_stages"), [(2, 2), (4, 2), (8, 3), (64, 2)])
def test_interleaving_holds_the_published_factor_more_than_1f1b(stages: int, virtual_stages: int) -> None:
    many = 4 * stages
    interleaved = SCHEDULES["interleaved"].activations_in_flight(0, stages, many, virtual_stages)
    plain = SCHEDULES["1f1b"].activations_in_flight(0, stages, many, 1)
    assert interleaved / plain == pytest.approx(1 + (stages - 1) / (stages * virtual_stages))


def spelled(schedule: str, stage: int, stages: int, micro_batches: int, virtual_stages: int) -> str:
    """F2b is the forward pass of micro-batch 2 through chunk b."""
    order = SCHEDULES[schedule].order(stage, stages, micro_batches, virtual_stages)
    return " ".join(f"{task.kind[0].upper()}{task.micro_batch}{'abc'[task.chunk]}" for task in order)


def test_gpipe_order_by_hand() -> None:
    assert spelled("gpipe", 0, 2, 3, 1) == "F0a F1a F2a B0a B1a B2a"


def test_1f1b_order_by_hand() -> None:
    # Stage 0 of 3 warms up with 2 forward passes, the last stage with none.
    assert spelled("1f1b", 0, 3, 4, 1) == "F0a F1a F2a B0a F3a B1a B2a B3a"
    assert spelled("1f1b", 2, 3, 4, 1) == "F0a B0a F1a B1a F2a B2a F3a B3a"


def test_interleaved_order_by_hand() -> None:
    # Warm-up 2 (p - i - 1) + (v - 1) p: 4 on stage 0, 2 on stage 1; groups of 2 micro-batches.
    assert spelled("interleaved", 0, 2, 4, 2) == ("F0a F1a F0b F1b F2a B0b F3a B1b F2b B0a F3b B1a B2b B3b B2a B3a")
    assert spelled("interleaved", 1, 2, 4, 2) == ("F0a F1a F0b B0b F1b B1b F2a B0a F3a B1a F2b B2b F3b B3b B2a B3a")


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_order_is_made_as_it_is_asked_for(schedule: str) -> None:
    order = SCHEDULES[schedule].order(0, 10, 10**12, 1)
    assert [task.kind for task in islice(order, 5)] == ["forward"] * 5


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_plain_schedules_refuse_virtual_stages(schedule: str) -> None:
    with pytest.raises(ValueError, match=f'{schedule}: 2 virtual stages.*"interleaved"'):
        SCHEDULES[schedule].order(0, 2, 4, 2)


def test_interleaving_refuses_micro_batches_that_do_not_fill_groups() -> None:
    with pytest.raises(ValueError, match=r"7 micro-batches on 4 stages.*for example 8"):
        SCHEDULES["interleaved"].order(0, 4, 7, 2)


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_a_stage_outside_the_pipeline_is_refused_before_the_first_task(schedule: str) -> None:
    with pytest.raises(ValueError, match="stage is 4; legal: 0 to 3"):
        SCHEDULES[schedule].order(4, 4, 4, 1)
    with pytest.raises(ValueError, match="micro_batches is 0"):
        SCHEDULES[schedule].order(0, 4, 0, 1)
