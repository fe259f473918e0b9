"""Orders against a list scheduler that knows nothing but the order and what each pass needs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise

import pytest

from simulator.schedules import SCHEDULES, PassTimes, Task, order_alone, settled
from simulator.schedules.route import Stop, blocks_at, stop_chunks, ways

Shape = tuple[str, int, int, int]


def legal(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> bool:
    if schedule == "interleaved":
        return micro_batches % stages == 0
    if schedule == "dualpipe" and (stages % 2 or micro_batches % 2 or micro_batches < 2 * stages):
        return False
    return virtual_stages == (2 if schedule == "zbv" else 1)


SHAPES: list[Shape] = [
    shape
    for schedule in SCHEDULES
    for stages in (1, 2, 3, 4, 6)
    for micro_batches in (1, 2, 3, 4, 6, 8, 12, 13)
    for virtual_stages in (1, 2, 3)
    if legal(*(shape := (schedule, stages, micro_batches, virtual_stages)))
]
ASYNCHRONOUS = [word for word, entry in SCHEDULES.items() if entry.TRAITS.update == "each_micro_batch"]
DRAINING = [shape for shape in SHAPES if shape[0] not in ASYNCHRONOUS]
every_shape = pytest.mark.parametrize(("schedule", "stages", "micro_batches", "virtual_stages"), SHAPES)
every_draining_shape = pytest.mark.parametrize(("schedule", "stages", "micro_batches", "virtual_stages"), DRAINING)
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES)


def orders_of(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> list[list[Task]]:
    return [list(SCHEDULES[schedule].order(i, stages, micro_batches, virtual_stages)) for i in range(stages)]


def run(shape: Shape, times: PassTimes, micro_batches: int = 0) -> list[dict[Task, tuple[float, float]]]:
    """When each task begins and ends if every rank runs its order as soon as inputs allow; fails on a deadlock."""
    schedule, stages, _, virtual_stages = shape
    forward, inputs, weights = times
    takes = {"forward": forward, "backward": inputs + weights, "backward_input": inputs, "backward_weight": weights}
    orders = orders_of(schedule, stages, micro_batches or shape[2], virtual_stages)
    neighbours = {}
    for way in ways(SCHEDULES[schedule].TRAITS.route, stages, virtual_stages):
        for before, here in pairwise((None, *way)):
            neighbours["forward", here] = before
            neighbours["backward", before] = here
        neighbours["backward", way[-1]] = None
    ran: list[dict[Task, tuple[float, float]]] = [{} for _ in range(stages)]
    clock = [0.0] * stages

    def ends(stop: Stop, micro_batch: int, *kinds: str) -> list[float]:
        tasks = [Task(kind, micro_batch, stop.chunk) for kind in kinds]  # type: ignore[arg-type]
        return [ran[stop.rank][task][1] for task in tasks if task in ran[stop.rank]]

    def inputs_of(rank: int, task: Task) -> list[list[float]]:
        here = Stop(rank, task.chunk)
        if task.kind == "forward":
            before = neighbours["forward", here]
            return [ends(before, task.micro_batch, "forward")] if before else []
        if task.kind == "backward_weight":
            return [ends(here, task.micro_batch, "backward_input")]
        behind = neighbours["backward", here]
        own = ends(here, task.micro_batch, "forward")
        return [own, ends(behind, task.micro_batch, "backward", "backward_input")] if behind else [own]

    while any(len(ran[i]) < len(orders[i]) for i in range(stages)):
        progress = False
        for i in range(stages):
            while len(ran[i]) < len(orders[i]):
                task = orders[i][len(ran[i])]
                needs = inputs_of(i, task)
                if not all(needs):
                    break
                begin = max([clock[i], *(need[0] for need in needs)])
                clock[i] = begin + takes[task.kind]
                ran[i][task] = begin, clock[i]
                progress = True
        assert progress, "deadlock"
    return ran


def spans(ran: list[dict[Task, tuple[float, float]]]) -> list[float]:
    """How long each rank is at its tasks."""
    return [max(end for _, end in times.values()) - min(begin for begin, _ in times.values()) for times in ran]


@every_draining_shape
def test_every_rank_runs_every_pass_once(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> None:
    route = SCHEDULES[schedule].TRAITS.route
    chunks = range(stop_chunks(route, virtual_stages))
    half = micro_batches // 2
    here = {0: range(half), 1: range(half, micro_batches)} if route == "both_ways" else {}
    for order in orders_of(schedule, stages, micro_batches, virtual_stages):
        counts = Counter(order)
        assert set(counts.values()) == {1}
        forward = {(c, n) for kind, n, c in order if kind == "forward"}
        inputs = Counter((c, n) for kind, n, c in order if kind in ("backward", "backward_input"))
        weights = Counter((c, n) for kind, n, c in order if kind in ("backward", "backward_weight"))
        wanted = {(c, n) for c in chunks for n in here.get(c, range(micro_batches))}
        assert forward == set(inputs) == set(weights) == wanted
        assert set(inputs.values()) == set(weights.values()) == {1}


@pytest.mark.parametrize("schedule", ASYNCHRONOUS)
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_a_pipeline_that_never_drains_runs_ahead_by_what_it_holds(schedule: str, stages: int) -> None:
    for stage, order in enumerate(orders_of(schedule, stages, 7, 1)):
        backward = [n for kind, n, _ in order if kind == "backward"]
        forward = [n for kind, n, _ in order if kind == "forward"]
        ahead = SCHEDULES[schedule].activations_in_flight(stage, stages, 7, 1) - 1
        assert backward == list(range(7))
        assert forward == list(range(7 + int(ahead)))
        assert order[-1] == Task("backward", 6)


@every_shape
def test_no_order_deadlocks(schedule: str, stages: int, micro_batches: int, virtual_stages: int) -> None:
    ran = run((schedule, stages, micro_batches, virtual_stages), PassTimes(3, 4, 2))
    assert all(ran)


@every_shape
def test_activations_in_flight_is_the_peak_of_the_order(
    schedule: str, stages: int, micro_batches: int, virtual_stages: int
) -> None:
    for stage, order in enumerate(orders_of(schedule, stages, micro_batches, virtual_stages)):
        held = waiting = peak = 0
        most_waiting = set()
        for kind, _, _ in order:
            held += {"forward": 1, "backward_input": 0}.get(kind, -1)
            waiting += {"backward_input": 1, "backward_weight": -1}.get(kind, 0)
            if held > peak:
                peak, most_waiting = held, set()
            if held == peak and kind == "forward":
                most_waiting.add(waiting)
        told, told_waiting = (
            getattr(SCHEDULES[schedule], name)(stage, stages, micro_batches, virtual_stages)
            for name in ("activations_in_flight", "weight_gradients_waiting")
        )
        assert told == peak / virtual_stages
        if schedule not in ASYNCHRONOUS:
            assert held == waiting == 0
        assert told_waiting == max(most_waiting) / virtual_stages


UNIT_TIMES = (PassTimes(1, 1, 1), PassTimes(2, 2, 1), PassTimes(3, 4, 2), PassTimes(3, 7, 5), PassTimes(5, 2, 2))


def fits(schedule: str, stages: int, micro_batches: int, times: PassTimes) -> bool:
    """Whether a schedule's formula of the bubble is for this case, by what its docstring says."""
    if schedule == "zb1p":
        return micro_batches >= stages
    if schedule == "zb2p":
        return micro_batches >= 2 * stages - 1
    if schedule == "zbv":
        return micro_batches >= 2 * stages - 1 and times.forward == times.backward_input >= times.backward_weight
    forward, inputs, weights = times
    return schedule != "dualpipe" or (weights <= forward and inputs <= forward + weights)


@every_draining_shape
@pytest.mark.parametrize("times", UNIT_TIMES)
def test_bubble_fraction_is_what_a_list_scheduler_finds(
    schedule: str, stages: int, micro_batches: int, virtual_stages: int, times: PassTimes
) -> None:
    ran = run((schedule, stages, micro_batches, virtual_stages), times)
    useful = micro_batches * virtual_stages * times.all
    if SCHEDULES[schedule].TRAITS.update == "together":
        idle = max(end for tasks in ran for _, end in tasks.values()) - useful
    else:
        idle = max(spans(ran)) - useful
    fraction = SCHEDULES[schedule].bubble_fraction(stages, micro_batches, virtual_stages, times)
    if fits(schedule, stages, micro_batches, times):
        assert fraction == pytest.approx(float(Fraction(int(idle), int(useful))), abs=1e-15)
    else:
        assert fraction <= idle / useful + 1e-15


@pytest.mark.parametrize("schedule", ASYNCHRONOUS)
@pytest.mark.parametrize("times", UNIT_TIMES)
@pytest.mark.parametrize("stages", [1, 2, 5])
def test_a_full_pipeline_never_waits_in_its_steady_state(schedule: str, times: PassTimes, stages: int) -> None:
    early = settled(schedule, stages)
    for tasks in run((schedule, stages, 0, 1), times, early + 9):
        assert tasks[Task("backward", early + 8)][1] - tasks[Task("backward", early - 1)][1] == 9 * times.all
    assert SCHEDULES[schedule].bubble_fraction(stages, 9, 1, times) == 0.0


def test_the_papers_bubbles_where_passes_are_alike() -> None:
    # Qi et al.: 1F1B (p - 1) / m, ZB-H1 a third of it, ZB-H2 and ZB-V none.
    p, m = 4, 12
    told = {word: SCHEDULES[word].bubble_fraction(p, m, 1) for word in ("1f1b", "zb1p", "zb2p")}
    assert told == pytest.approx({"1f1b": 3 / 12, "zb1p": 1 / 12, "zb2p": 0.0})
    assert SCHEDULES["zbv"].bubble_fraction(p, m, 2) == 0.0


def test_the_papers_bubble_of_zb_h1_in_units_of_time() -> None:
    # p = 4, m = 8: the bubble is p - 1 times (F + B - W).
    times = PassTimes(5, 6, 3)
    assert max(spans(run(("zb1p", 4, 8, 1), times))) - 8 * times.all == 3 * (5 + 6 - 3)


def test_weight_versions_are_stashed_by_pipedream_alone() -> None:
    for word, entry in SCHEDULES.items():
        wanted = [4, 3, 2, 1] if word == "pipedream" else [1] * 4
        assert [entry.weight_versions(stage, 4, 8) for stage in range(4)] == wanted


def test_copies_of_the_model_are_those_that_ranks_hold() -> None:
    for entry in SCHEDULES.values():
        virtual = 2 if entry.TRAITS.route == "v" else 1
        stops = [stop for way in ways(entry.TRAITS.route, 4, virtual) for stop in way]
        held = Counter(blocks_at(entry.TRAITS.route, stop, 4) for stop in stops)
        assert set(held.values()) == {entry.TRAITS.parameter_copies}


@pytest.mark.parametrize(("stages", "virtual_stages"), [(2, 2), (4, 2), (8, 3), (64, 2)])
def test_interleaving_holds_the_published_factor_more_than_1f1b(stages: int, virtual_stages: int) -> None:
    many = 4 * stages
    interleaved = SCHEDULES["interleaved"].activations_in_flight(0, stages, many, virtual_stages)
    plain = SCHEDULES["1f1b"].activations_in_flight(0, stages, many, 1)
    assert interleaved / plain == pytest.approx(1 + (stages - 1) / (stages * virtual_stages))


SHORT = {"forward": "F", "backward": "B", "backward_input": "I", "backward_weight": "W"}


def spelled(schedule: str, stage: int, stages: int, micro_batches: int, virtual_stages: int = 1) -> str:
    """F2b is the forward pass of micro-batch 2 through chunk b."""
    order = SCHEDULES[schedule].order(stage, stages, micro_batches, virtual_stages)
    return " ".join(f"{SHORT[task.kind]}{task.micro_batch}{'abc'[task.chunk]}" for task in order)


def test_gpipe_order_by_hand() -> None:
    assert spelled("gpipe", 0, 2, 3) == "F0a F1a F2a B0a B1a B2a"


def test_1f1b_order_by_hand() -> None:
    # Stage 0 of 3 warms up with 2 forward passes, the last stage with none.
    assert spelled("1f1b", 0, 3, 4) == "F0a F1a F2a B0a F3a B1a B2a B3a"
    assert spelled("1f1b", 2, 3, 4) == "F0a B0a F1a B1a F2a B2a F3a B3a"


def test_interleaved_order_by_hand() -> None:
    # Warm-up 2 (p - i - 1) + (v - 1) p: 4 on stage 0, 2 on stage 1; groups of 2 micro-batches.
    assert spelled("interleaved", 0, 2, 4, 2) == ("F0a F1a F0b F1b F2a B0b F3a B1b F2b B0a F3b B1a B2b B3b B2a B3a")
    assert spelled("interleaved", 1, 2, 4, 2) == ("F0a F1a F0b B0b F1b B1b F2a B0a F3a B1a F2b B2b F3b B3b B2a B3a")


def test_zero_bubble_orders_by_hand() -> None:
    # The paper's figures 2 and 3 for 2 stages: weight gradients of stage 1 lag by one micro-batch, or by two.
    assert spelled("zb1p", 0, 2, 3) == "F0a F1a I0a W0a F2a I1a W1a I2a W2a"
    assert spelled("zb1p", 1, 2, 3) == "F0a I0a F1a I1a W0a F2a I2a W1a W2a"
    assert spelled("zb2p", 0, 2, 4) == "F0a F1a F2a I0a W0a F3a I1a W1a I2a W2a I3a W3a"
    assert spelled("zb2p", 1, 2, 4) == "F0a I0a F1a I1a F2a I2a W0a F3a I3a W1a W2a W3a"


def test_v_order_by_hand() -> None:
    # Rank 1 turns each micro-batch around: 1 forward pass, 1 turn through both chunks, 1 backward pass through chunk b.
    assert spelled("zbv", 1, 2, 3, 2) == ("F0a F0b F1a F1b I0b W0b F2a I0a W0a F2b I1b W1b I1a I2b I2a W1a W2b W2a")


def test_both_ways_order_by_hand() -> None:
    # Two ranks: rank 0 is the first stage of micro-batches 0 and 1 and the last of 2 and 3.
    assert spelled("dualpipe", 0, 2, 4) == "F0a F2b F1a B2b F3b B0a B3b I1a W1a"
    assert spelled("dualpipe", 1, 2, 4) == "F2b F0a F3b B0a F1a B2b B1a I3b W3b"


@every_schedule
def test_order_is_made_as_it_is_asked_for(schedule: str) -> None:
    order: Iterator[Task] = SCHEDULES[schedule].order(0, 10, 10**12, 2 if schedule == "zbv" else 1)
    assert [task.kind for task in islice(order, 5)] == ["forward"] * 5


def test_a_rank_alone_takes_each_micro_batch_forth_and_back() -> None:
    tasks = "".join(f"{SHORT[kind]}{n}{'ab'[chunk]}" for kind, n, chunk in order_alone("zbv", 2, 2))
    assert tasks == "F0aF0bB0bB0aF1aF1bB1bB1a"
    assert list(order_alone("gpipe", 3, 1)) == list(SCHEDULES["gpipe"].order(0, 1, 3, 1))


@pytest.mark.parametrize("schedule", [word for word in SCHEDULES if word not in ("interleaved", "zbv")])
def test_plain_schedules_refuse_virtual_stages(schedule: str) -> None:
    with pytest.raises(ValueError, match=f'{schedule}: 2 virtual stages.*"interleaved"'):
        SCHEDULES[schedule].order(0, 2, 4, 2)


def test_the_v_has_two_chunks() -> None:
    with pytest.raises(ValueError, match="zbv: 3 virtual stages; this schedule has 2"):
        SCHEDULES["zbv"].order(0, 2, 4, 3)


def test_interleaving_refuses_micro_batches_that_do_not_fill_groups() -> None:
    with pytest.raises(ValueError, match=r"7 micro-batches on 4 stages.*for example 8"):
        SCHEDULES["interleaved"].order(0, 4, 7, 2)


@pytest.mark.parametrize(
    ("stages", "micro_batches", "says"),
    [(3, 8, "3 stages; must be even, for example 4"), (4, 7, "for example 8"), (4, 6, "7?.*for example 8")],
)
def test_both_ways_refuses_what_does_not_pair(stages: int, micro_batches: int, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SCHEDULES["dualpipe"].order(0, stages, micro_batches, 1)


@every_schedule
def test_a_stage_outside_the_pipeline_is_refused_before_the_first_task(schedule: str) -> None:
    virtual = 2 if schedule == "zbv" else 1
    with pytest.raises(ValueError, match="stage is 4; legal: 0 to 3"):
        SCHEDULES[schedule].order(4, 4, 8, virtual)
    with pytest.raises(ValueError, match="micro_batches is 0"):
        SCHEDULES[schedule].order(0, 4, 0, virtual)
