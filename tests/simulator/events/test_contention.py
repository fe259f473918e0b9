"""Work that shares wires and cores: never faster, its own time where it fits, near the closed form where not."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.analytic import batch, step_times
from simulator.calibration_data import load_constants
from simulator.contention import contention_of, grid_of, least_volume
from simulator.events import Contention, Grid, Surroundings, Timeline, find_roles, simulate
from simulator.job import resolve
from simulator.lowering import lower
from simulator.parallelism import Parallelism
from simulator.query import PlanQuery
from simulator.ranking import search
from simulator.schedules import SCHEDULES
from simulator.staging import staged
from simulator.stepspec import BlockSpec, StageSpec, StepSpec, StepTime

from .test_roles import steps

FEW = settings(max_examples=60, deadline=None)

#: Jobs whose exchanges share cards, wires and cores: data, tensor, pipeline parallel, sharded and not.
CONTENDED = (
    ("resnet50", "dgx1-v100", 64, 2048),
    ("bert-large", "selene", 64, 2048),
    ("llama2-70b", "selene", 256, 256),
    ("llama2-7b", "selene", 64, 256),
    ("gpt3-175b", "selene", 1024, 1536),
)
BEST_OF_EACH = 8


@FEW
@given(steps())
def test_work_that_fits_beside_all_other_work_takes_its_own_time(spec: StepSpec) -> None:
    fits = Contention(demands={"reduce": {"cards_out": 0.3}, "send": {"cards_out": 0.5}}, chips_per_server=8)
    assert simulate(spec, Surroundings(contention=fits)).total_ps == simulate(spec).total_ps


@FEW
@given(steps(), st.floats(0.0, 0.9))
def test_sharing_never_makes_a_step_shorter(spec: StepSpec, taken: float) -> None:
    everything = {kind: {"cards_out": 1.0, "cards_in": 1.0} for kind in ("reduce", "send", "tensor", "gather")}
    around = Surroundings(contention=Contention(demands=everything, chips_per_server=8, taken=taken))
    # A pipeline that never drains is counted between two passes, and both may be late.
    if SCHEDULES[spec.schedule].TRAITS.update != "each_micro_batch":
        assert simulate(spec, around).total_ps >= simulate(spec).total_ps


def one_stage(**durations: int) -> StepSpec:
    each = BlockSpec(name="block", repeat=2, **durations)
    return StepSpec(stages=(StageSpec(name="stage", chunks=((each,),)),), micro_batches=1, gradient_mode="backward")


def test_an_exchange_takes_its_cores_from_compute_by_hand() -> None:
    spec = one_stage(forward_ps=0, backward_ps=1000, reduce_ps=400)
    half = Contention(demands={}, chips_per_server=8, taken=0.5)
    # The first block's exchange runs beside the second block, which loses half of 400 ps; the second's runs alone.
    assert simulate(spec).total_ps == 1000 + 1000 + 400
    assert simulate(spec, Surroundings(contention=half)).total_ps == 1000 + 1200 + 400


def test_two_groups_on_the_same_cards_each_get_half_by_hand() -> None:
    spec = one_stage(forward_ps=0, backward_ps=100, backward_tensor_ps=300, reduce_ps=600)
    both = {kind: {"cards_out": 1.0} for kind in ("tensor", "reduce")}
    shared = simulate(spec, Surroundings(contention=Contention(demands=both, chips_per_server=8)))
    # At 400 the first exchange of gradients begins; from 500 to 1100 it shares with the second block's of tensors.
    assert simulate(spec).total_ps == 400 + 600 + 600
    assert shared.total_ps == 400 + 100 + 600 + 200 + 600


def test_ranks_of_two_stages_on_one_server_share_its_cards() -> None:
    each = BlockSpec(name="block", repeat=1, forward_ps=10, backward_ps=10, reduce_ps=1000)
    spec = StepSpec(
        stages=(StageSpec(name="a", chunks=((each,),)), StageSpec(name="b", chunks=((each,),))), micro_batches=1,
        gradient_mode="backward",
    )  # fmt: skip
    cards = Contention(demands={"reduce": {"cards_out": 1.0}}, chips_per_server=8)
    apart = Surroundings(roles=find_roles(Grid(stages=2, replicas=8)), contention=cards)
    together = Surroundings(roles=find_roles(Grid(stages=2, replicas=4)), contention=cards)
    assert simulate(spec, apart) == simulate(spec)
    # Each stage's four ranks fill half of the server and are priced with what the cards of a whole server carry.
    assert simulate(spec, together).total_ps == simulate(spec).total_ps


@cache
def contended_set() -> dict[str, tuple[StepTime, StepTime, StepTime]]:
    """Bound, closed form and events with contention of the best strategies of the stated jobs."""
    constants = load_constants()
    found = {}
    for model, system, chips, global_batch in CONTENDED:
        job = resolve(PlanQuery(model=model, system=system, chips=chips, global_batch=global_batch, top=BEST_OF_EACH))
        ranked = search(job, constants)
        for place in range(min(BEST_OF_EACH, len(ranked.order))):
            strategy = ranked.parallelism(place)
            low = staged(job.workload, lower(job.workload, job.context, [strategy]))
            steps, bare = batch(low, constants), batch(low, constants, contention=False)
            around = Surroundings(
                roles=find_roles(grid_of(low, 0)), contention=contention_of(low, 0, bare.spec(0), constants)
            )  # fmt: skip
            times = step_times(bare)[0], step_times(steps)[0], simulate(bare.spec(0), around)
            found[f"{model} {strategy.words()}"] = times
    return found


def test_events_are_never_below_the_bound() -> None:
    assert {job: events.total_ps >= bound.total_ps for job, (bound, _, events) in contended_set().items()} == (
        dict.fromkeys(contended_set(), True)
    )


def test_the_closed_form_of_contention_is_within_three_percent_of_events() -> None:
    errors = {job: abs(events.total_ps / form.total_ps - 1.0) for job, (_, form, events) in contended_set().items()}
    assert len(errors) >= 30
    assert sorted(errors.values())[int(0.9 * len(errors))] <= 0.03
    # The worst: exchanges of an image network queue beside later blocks; the closed form looks at each block alone.
    assert max(errors.values()) <= 0.09


def test_the_grid_of_a_strategy_has_all_its_ranks() -> None:
    job = resolve(PlanQuery(model="mixtral-8x7b", system="selene", chips=64, global_batch=64))
    strategy = Parallelism(tp=2, pp=4, dp=8, ep=4, micro_batch=1, global_batch=64)
    low = lower(job.workload, job.context, [strategy])
    grid = grid_of(low, 0)
    assert (grid.ranks, grid.inner, grid.lane_count) == (64, 4, 2)


@pytest.mark.parametrize(
    ("collective", "volume"),
    [("all_reduce", 1.5), ("all_gather", 0.75), ("reduce_scatter", 0.75), ("all_to_all", 1.5), ("permute", 2.0)],
)
def test_least_volumes_of_four_parts_of_two(collective: str, volume: float) -> None:
    assert least_volume(collective, 4.0, 2.0) == volume
    assert least_volume(collective, 1.0, 2.0) == 0.0


@pytest.mark.parametrize(
    "wrong",
    [
        {"demands": {"thinking": {}}, "chips_per_server": 8},
        {"demands": {"send": {"spine": 1.0}}, "chips_per_server": 8},
        {"demands": {"send": {"cards_out": 1.5}}, "chips_per_server": 8},
        {"demands": {}, "chips_per_server": 0},
        {"demands": {}, "chips_per_server": 8, "taken": 1.0},
    ],
)
def test_contention_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Contention"):
        Contention(**wrong)


@FEW
@given(steps(), st.booleans(), st.booleans())
def test_what_ran_is_chains_without_gaps_from_the_beginning(spec: StepSpec, unfold: bool, shared: bool) -> None:
    timeline = Timeline(every_block=True)
    roles = find_roles(Grid(stages=len(spec.stages), replicas=2, inner=2), unfold=unfold)
    contention = Contention(demands={"reduce": {"cards_out": 1.0}, "send": {"cards_out": 1.0}}, chips_per_server=8)
    simulate(spec, Surroundings(roles=roles, contention=contention if shared else None), timeline=timeline)
    for piece in timeline.slices:
        if piece.category == "pass":
            continue
        cause = timeline.slices[piece.cause] if piece.cause >= 0 else None
        assert piece.start_ps == (cause.start_ps + cause.duration_ps if cause else 0), (piece, cause)
