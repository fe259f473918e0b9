"""Roles: the coarsest classes of ranks that do the same, and steps that are the same folded and unfolded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.events import Differences, Grid, Surroundings, find_roles, simulate
from simulator.schedules import SCHEDULES
from simulator.stepspec import BlockSpec, StageSpec, StepSpec, StepSpecError

MODES = ("none", "after", "backward", "sharded")
FEW = settings(max_examples=80, deadline=None)


def block(draw: st.DrawFn) -> BlockSpec:
    backward_ps = draw(st.integers(0, 60))
    return BlockSpec(
        name=draw(st.sampled_from(["block", "experts"])), repeat=draw(st.integers(1, 3)),
        forward_ps=draw(st.integers(0, 60)), backward_ps=backward_ps, weight_ps=draw(st.integers(0, backward_ps)),
        forward_tensor_ps=draw(st.integers(0, 9)), backward_tensor_ps=draw(st.integers(0, 9)),
        gather_ps=draw(st.integers(0, 60)), reduce_ps=draw(st.integers(0, 60)),
    )  # fmt: skip


@st.composite
def steps(draw: st.DrawFn) -> StepSpec:
    """Any small step."""
    schedule, mode = draw(st.sampled_from(sorted(SCHEDULES))), draw(st.sampled_from(MODES))
    stages = 1 if mode == "sharded" else draw(st.integers(1, 3))
    chunks = draw(st.integers(1, 2)) if schedule == "interleaved" else 2 if schedule == "zbv" else 1
    micro_batches = draw(st.integers(1, 4)) * (stages if schedule == "interleaved" else 1)
    if schedule == "dualpipe":
        mode, stages, micro_batches = "none" if mode == "sharded" else mode, 2, 2 * (2 + micro_batches)

    def stage() -> StageSpec:
        return StageSpec(
            name="stage", chunks=tuple((block(draw),) for _ in range(chunks)),
            reduce_after_ps=draw(st.integers(0, 90)), optimizer_ps=draw(st.integers(0, 30)),
            update_gather_ps=draw(st.integers(0, 30)),
        )  # fmt: skip

    return StepSpec(
        stages=tuple(stage() for _ in range(stages)), micro_batches=micro_batches, schedule=schedule,
        gradient_mode=mode, send_ps=draw(st.integers(0, 9)), fixed_ps=draw(st.integers(0, 5)),
    )  # fmt: skip


@st.composite
def grids(draw: st.DrawFn, stages: int) -> Grid:
    inner = draw(st.integers(1, 4))
    lanes = draw(st.sampled_from([n for n in range(1, inner + 1) if inner % n == 0]))
    return Grid(stages=stages, replicas=draw(st.integers(1, 4)), inner=inner, lanes=lanes)


@st.composite
def unlike(draw: st.DrawFn, grid: Grid) -> Differences:
    some = st.dictionaries(st.integers(0, grid.ranks - 1), st.sampled_from([0.5, 1.25, 2.0]), max_size=2)
    uneven = st.fixed_dictionaries({"experts": st.sampled_from([1.5, 3.0])})
    return Differences(
        compute=draw(some), links=draw(some),
        blocks=draw(st.dictionaries(st.integers(0, grid.ranks - 1), uneven, max_size=2)),
    )  # fmt: skip


@FEW
@given(st.data())
def test_folded_and_unfolded_steps_are_the_same_where_nothing_differs(data: st.DataObject) -> None:
    spec = data.draw(steps())
    grid = data.draw(grids(len(spec.stages)))
    folded = simulate(spec)
    assert simulate(spec, Surroundings(roles=find_roles(grid))) == folded
    assert simulate(spec, Surroundings(roles=find_roles(grid, unfold=True))) == folded


@FEW
@given(st.data())
def test_folded_and_unfolded_steps_are_the_same_where_ranks_differ(data: st.DataObject) -> None:
    spec = data.draw(steps())
    grid = data.draw(grids(len(spec.stages)))
    differences = data.draw(unlike(grid))
    roles = find_roles(grid, differences)
    assert sum(role.ranks for role in roles.roles) == grid.ranks
    whole = find_roles(grid, differences, unfold=True)
    folded, unfolded = simulate(spec, Surroundings(roles=roles)), simulate(spec, Surroundings(roles=whole))
    assert folded.total_ps == unfolded.total_ps


def sees(grid: Grid, numbers: np.ndarray, rank: int) -> tuple[object, ...]:
    """The roles that a rank meets in its groups, counted by brute force."""
    at = numbers.reshape(grid.stages, grid.replicas, grid.inner)
    stage, rest = divmod(rank, grid.replicas * grid.inner)
    replica, inner = divmod(rest, grid.inner)
    lane = at[stage, :, inner % grid.lane_count :: grid.lane_count]
    return (
        tuple(sorted(at[stage, replica].tolist())),
        tuple(sorted(lane.ravel().tolist())),
        tuple(at[:, replica, inner].tolist()),
    )


@FEW
@given(st.data())
def test_ranks_of_a_role_see_the_same_and_those_of_two_roles_do_not(data: st.DataObject) -> None:
    grid = data.draw(grids(data.draw(st.integers(1, 3))))
    differences = data.draw(unlike(grid))
    roles = find_roles(grid, differences)
    numbers = np.array([roles.role_of(rank) for rank in range(grid.ranks)])
    kinds = {}
    for rank in range(grid.ranks):
        own = (
            differences.compute.get(rank, 1.0), differences.links.get(rank, 1.0),
            tuple(differences.blocks.get(rank, {}).items()), rank // (grid.replicas * grid.inner),
        )  # fmt: skip
        kinds.setdefault(int(numbers[rank]), set()).add((own, sees(grid, numbers, rank)))
    assert all(len(kind) == 1 for kind in kinds.values())
    # Coarsest: merging what cannot be told apart, from one colour a stage on, ends at as many roles.
    assert len(kinds) == brute_force_cells(grid, differences)


def brute_force_cells(grid: Grid, differences: Differences) -> int:
    """Cells of the coarsest equitable partition by naive refinement with sorted multisets."""

    def own(rank: int) -> object:
        blocks = tuple(differences.blocks.get(rank, {}).items())
        stage = rank // (grid.replicas * grid.inner)
        return stage, differences.compute.get(rank, 1.0), differences.links.get(rank, 1.0), blocks

    def numbered(keys: list[object]) -> np.ndarray:
        places: dict[object, int] = {}
        return np.array([places.setdefault(key, len(places)) for key in keys])

    numbers = numbered([own(rank) for rank in range(grid.ranks)])
    while True:
        finer = numbered([(int(numbers[r]), sees(grid, numbers, r)) for r in range(grid.ranks)])
        if finer.max() == numbers.max():
            return int(finer.max()) + 1
        numbers = finer


def a_step(stages: int = 4) -> StepSpec:
    each = BlockSpec(
        name="block", repeat=3, forward_ps=1000, backward_ps=2000, forward_tensor_ps=300, backward_tensor_ps=310,
        reduce_ps=700,
    )  # fmt: skip
    return StepSpec(
        stages=(StageSpec(name="stage", chunks=((each,),), optimizer_ps=100),) * stages, micro_batches=6,
        gradient_mode="backward", send_ps=40,
    )  # fmt: skip


def test_where_nothing_differs_a_stage_is_a_role_however_many_ranks_there_are() -> None:
    roles = find_roles(Grid(stages=8, replicas=1600, inner=8))
    assert [(role.stage, role.ranks) for role in roles.roles] == [(s, 12_800) for s in range(8)]


def test_one_slow_chip_splits_each_stage_into_who_shares_a_replica_or_a_lane_with_it() -> None:
    grid = Grid(stages=4, replicas=3, inner=2)
    roles = find_roles(grid, Differences(compute={9: 1.5}))
    by_stage = [sorted(role.ranks for role in roles.roles if role.stage == s) for s in range(4)]
    assert by_stage == [[1, 1, 2, 2]] * 4
    assert [role.first_rank for role in roles.roles if role.compute == 1.5] == [9]


@pytest.mark.parametrize("what", ["compute", "links"])
def test_one_slow_rank_never_makes_a_step_shorter_and_a_slow_chip_sets_the_pace(what: str) -> None:
    spec, grid = a_step(), Grid(stages=4, replicas=3, inner=2)
    slow = simulate(spec, Surroundings(roles=find_roles(grid, Differences(**{what: {9: 1.5}}))))
    assert slow.total_ps > simulate(spec).total_ps
    if what == "compute":
        # The slowest stage works without a pause between its first and its last pass.
        assert slow.compute_ps == pytest.approx(1.5 * simulate(spec).compute_ps)


def test_a_whole_slow_generation_is_the_step_at_its_speed() -> None:
    spec, grid = a_step(), Grid(stages=4, replicas=3, inner=2)
    old = find_roles(grid, Differences(compute=dict.fromkeys(range(grid.ranks), 2.0)))
    assert len(old.roles) == 4
    assert simulate(spec, Surroundings(roles=old)).compute_ps == 2 * simulate(spec).compute_ps


def test_replicas_kept_apart_do_not_change_a_step_without_chance() -> None:
    grid = Grid(stages=4, replicas=8, inner=2)
    roles = find_roles(grid, explicit_replicas=4)
    assert len(roles.roles) == 16
    assert simulate(a_step(), Surroundings(roles=roles)) == simulate(a_step())


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        (Differences(compute={24: 2.0}), "there is no rank 24; legal: 0 to 23"),
        (Differences(links={0: 0.0}), "rank 0 has factor 0.0"),
        (Differences(blocks={3: {"experts": float("nan")}}), "rank 3 has factor nan"),
    ],
)
def test_differences_that_cannot_be_are_refused(differences: Differences, words: str) -> None:
    with pytest.raises(StepSpecError, match=words):
        find_roles(Grid(stages=4, replicas=3, inner=2), differences)


@pytest.mark.parametrize("counts", [{"stages": 0}, {"stages": 1, "inner": 4, "lanes": 3}])
def test_grids_that_cannot_be_are_refused(counts: dict[str, int]) -> None:
    with pytest.raises(StepSpecError, match="Grid"):
        Grid(**counts)
