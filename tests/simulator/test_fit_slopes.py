"""What makes many fits cheap changes none: slices, slopes of touched runs only, slopes kept from step to step."""

from __future__ import annotations

import gc
import weakref
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import simulator
from simulator.calibration.fit import FitResult, fit
from simulator.calibration.slopes import (
    Moves,
    Owners,
    constants_at,
    corrected_slopes,
    measured_slopes,
    merged,
    moves_of,
    normal_equations,
    owners_of,
)
from simulator.constants import SPECS, Constants, name_of
from simulator.kept import once_per_object
from simulator.lowering import Lowered
from simulator.validation import fold_fits
from simulator.validation.evaluate import JobTable, job_table
from simulator.validation.fold_fits import FoldFits
from simulator.validation.rows import RunJob
from simulator.validation.runs import read_table

SHIPPED = Path(simulator.__file__).parent / "data" / "measured_runs.csv"
STEP = 1e-3


@pytest.fixture(scope="module")
def runs() -> tuple[list[RunJob], np.ndarray]:
    """Every twelfth shipped run, of all kinds and eras, and the measured step times."""
    table = read_table(SHIPPED)
    chosen = table.primary[::12]
    return [table.jobs[i] for i in chosen], np.array([table.measured_s[i] for i in chosen])


@pytest.fixture(scope="module")
def lowered(runs: tuple[list[RunJob], np.ndarray]) -> JobTable:
    return job_table(runs[0])


@pytest.fixture(scope="module")
def moves(runs: tuple[list[RunJob], np.ndarray]) -> Moves:
    return moves_of(owners_of([job.context for job in runs[0]]))


def points(moves: Moves, count: int) -> list[np.ndarray]:
    """Points in the ranges of the constants: the priors, then any."""
    random = np.random.default_rng(7)
    low, high, prior = (
        np.log([getattr(SPECS[name_of(key)], word) for key in moves.all_keys]) for word in ("low", "high", "prior")
    )
    return [prior, *(low + random.random(len(low)) * (high - low) for _ in range(count - 1))]


def test_slopes_of_touched_runs_are_those_of_all_runs(lowered: JobTable, moves: Moves) -> None:
    for point in points(moves, 3):
        before = lowered.step_s(constants_at(moves, point))
        step = np.full(len(point), STEP)
        few = measured_slopes(lambda c, keys, b=before: lowered.moved_s(c, keys, b), before, moves, point, step)  # type: ignore[misc]
        every = measured_slopes(lambda c, _: lowered.step_s(c), before, moves, point, step)
        assert np.array_equal(few, every)
        assert np.count_nonzero(every) > 0.2 * every.size


def test_moves_that_no_run_depends_on_two_of_are_made_at_once_with_the_same_slopes(
    lowered: JobTable, moves: Moves
) -> None:
    few = merged(moves, lowered.depending_on)
    assert few.all_keys == moves.all_keys
    assert sorted(key for keys in few.keys for key in keys) == sorted(key for keys in moves.keys for key in keys)
    assert len(few.keys) < 0.85 * len(moves.keys)
    for point in points(moves, 3):
        before = lowered.step_s(constants_at(moves, point))
        step = np.full(len(point), STEP)
        dense = []
        for each in (moves, few):
            slopes = measured_slopes(
                lambda c, keys, b=before: lowered.moved_s(c, keys, b),
                before,
                each,
                point,
                step,  # type: ignore[misc]
            )
            jacobian = np.zeros((len(before), len(moves.all_keys)))
            for column in range(slopes.shape[1]):
                mine = np.flatnonzero(each.touching[:, column] >= 0)
                jacobian[mine, each.touching[mine, column]] += slopes[mine, column]
            dense.append(jacobian)
        assert np.array_equal(*dense)


def test_slopes_of_moves_are_those_of_single_constants(lowered: JobTable, moves: Moves) -> None:
    """Owners that are moved together leave each other's runs alone: one at a time gives the same numbers."""
    point = points(moves, 2)[1]
    before = lowered.step_s(constants_at(moves, point))
    slopes = measured_slopes(lambda c, _: lowered.step_s(c), before, moves, point, np.full(len(point), STEP))
    dense = np.zeros((len(before), len(moves.all_keys)))
    for column in range(slopes.shape[1]):
        mine = np.flatnonzero(moves.touching[:, column] >= 0)
        dense[mine, moves.touching[mine, column]] += slopes[mine, column]
    for place in np.random.default_rng(3).choice(len(moves.all_keys), 60, replace=False):
        shifted = point.copy()
        shifted[place] += STEP
        alone = np.log(lowered.step_s(constants_at(moves, shifted)) / before) / STEP
        assert np.array_equal(dense[:, place], alone), moves.all_keys[place]


def test_no_run_has_two_constants_of_a_move() -> None:
    one = ("a", "b", "c", "a", "d")
    other = ("x", "a", "b", "c", "d")
    moves = moves_of(Owners(chip=("k",) * 5, board=("b",) * 5, stack=("s",) * 5, up_fabric=one, out_fabric=other))
    for keys in moves.keys:
        owners = {key.split(":")[1] for key in keys if key.startswith("fabric:")}
        assert all(len({a, b} & owners) <= 1 for a, b in zip(one, other, strict=True) if a != b)
    # Every run meets each of its fabrics' constants once.
    for up, out, touching in zip(one, other, moves.touching, strict=True):
        met = [moves.all_keys[place] for place in touching if place >= 0]
        assert len(met) == len(set(met))
        assert {f"fabric:{owner}:wire_scale" for owner in (up, out)} <= set(met)


def test_a_slice_of_lowered_jobs_is_what_lowering_them_gives(
    runs: tuple[list[RunJob], np.ndarray], lowered: JobTable, moves: Moves
) -> None:
    jobs, _ = runs
    positions = np.random.default_rng(5).permutation(len(jobs))[: len(jobs) // 3]
    cut, rebuilt = lowered.only(positions), job_table([jobs[i] for i in positions])
    assert cut.size == len(positions)
    for point in points(moves, 3):
        constants = constants_at(moves, point)
        got = cut.step_s(constants)
        assert np.array_equal(got, lowered.step_s(constants)[positions])
        # Workloads are joined at another width: sums of one more zero may differ in the last bit.
        assert got == pytest.approx(rebuilt.step_s(constants), rel=1e-9)
    assert sum(p.lowered.table.rows for p in cut.parts) == sum(p.lowered.table.rows for p in rebuilt.parts)
    assert sum(len(p.lowered.contexts) for p in cut.parts) <= sum(len(p.lowered.contexts) for p in rebuilt.parts)


def test_like_jobs_are_priced_once_and_all_answered(runs: tuple[list[RunJob], np.ndarray]) -> None:
    jobs = runs[0][:7]
    thrice = job_table([*jobs, *jobs, *jobs])
    assert sum(part.lowered.strategies for part in thrice.parts) == sum(
        part.lowered.strategies for part in job_table(jobs).parts
    )
    step_s = thrice.step_s(Constants())
    assert np.array_equal(step_s.reshape(3, 7), np.tile(step_s[:7], (3, 1)))


def test_corrected_slopes_explain_a_step_and_keep_their_pattern(lowered: JobTable, moves: Moves) -> None:
    start, goal = points(moves, 2)
    before = lowered.step_s(constants_at(moves, start))
    slopes = measured_slopes(
        lambda c, keys: lowered.moved_s(c, keys, before), before, moves, start, np.full(len(start), STEP)
    )
    step = 0.1 * (goal - start)
    change = np.log(lowered.step_s(constants_at(moves, start + step)) / before)
    corrected = corrected_slopes(slopes, moves, step, change)
    taken = np.where(moves.touching >= 0, step[moves.touching], 0.0)
    assert np.sum(corrected * taken, axis=1) == pytest.approx(change, abs=1e-12)
    assert np.abs(np.sum(slopes * taken, axis=1) - change).max() > 1e-3
    assert np.array_equal(corrected != 0.0, slopes != 0.0)


def test_normal_equations_are_those_of_the_whole_jacobian(lowered: JobTable, moves: Moves) -> None:
    random = np.random.default_rng(11)
    count = len(moves.touching)
    slopes = np.where(moves.touching >= 0, random.normal(size=moves.touching.shape), 0.0)
    weight, residual = random.random(count) * (random.random(count) > 0.2), random.normal(size=count)
    jacobian = np.zeros((count, len(moves.all_keys)))
    for column in range(slopes.shape[1]):
        mine = np.flatnonzero(moves.touching[:, column] >= 0)
        jacobian[mine, moves.touching[mine, column]] = slopes[mine, column]
    normal, gradient = normal_equations(slopes, moves, weight, residual)
    assert normal == pytest.approx(jacobian.T @ (weight[:, None] * jacobian), abs=1e-10)
    assert gradient == pytest.approx(jacobian.T @ (weight * residual), abs=1e-10)


def test_a_fit_without_word_of_what_is_touched_is_the_same_to_the_bit(
    runs: tuple[list[RunJob], np.ndarray], lowered: JobTable
) -> None:
    jobs, measured = runs
    owners, groups = owners_of([job.context for job in jobs]), [job.group for job in jobs]
    few = fit(lowered.step_s, measured, owners, groups, moved_s=lowered.moved_s, max_steps=4)
    every = fit(lowered.step_s, measured, owners, groups, max_steps=4)
    assert few.constants == every.constants
    assert few.cost == every.cost


@pytest.fixture(scope="module")
def fits(runs: tuple[list[RunJob], np.ndarray], lowered: JobTable) -> FoldFits:
    """The runs of one part, the largest of one chip each, dealt to five folds."""
    alone = [p.positions for p in lowered.parts if (p.lowered.tp * p.lowered.pp * p.lowered.dp == 1).all()]
    positions = max(alone, key=len)
    jobs, measured = [runs[0][i] for i in positions], runs[1][positions]
    groups = tuple(job.group for job in jobs)
    return FoldFits(
        lowered=lowered.only(positions), measured_s=measured, owners=owners_of([job.context for job in jobs]),
        groups=groups, folds=np.array([sorted(set(groups)).index(group) % 5 for group in groups]),
    )  # fmt: skip


def test_no_fit_begins_with_one_that_saw_its_fold(fits: FoldFits, monkeypatch: pytest.MonkeyPatch) -> None:
    left_out: dict[int, frozenset[int]] = {}
    begun: list[tuple[frozenset[int], frozenset[int]]] = []

    def noted(self: FoldFits, task: tuple[tuple[int, ...], FitResult | None]) -> FitResult:
        folds, start = task
        result = FitResult(
            constants=Constants(), residuals=np.zeros(0), steps=0, cost=0.0,
            measured=0, slopes=np.zeros(0),
        )  # fmt: skip
        left_out[id(result)] = frozenset(folds)
        kept.append(result)
        if start is not None:
            begun.append((frozenset(folds), left_out[id(start)]))
        return result

    kept: list[FitResult] = []
    monkeypatch.setattr(FoldFits, "without", noted)
    assert [fold for fold, _ in fits.without_each()] == [0, 1, 2, 3, 4]
    assert [own for own, _ in begun] == [frozenset({fold}) for fold in range(5)]
    assert all(own <= unseen for own, unseen in begun)


@pytest.fixture(scope="module")
def each_fit(fits: FoldFits) -> dict[int, Constants]:
    return dict(fits.without_each())


def test_fits_on_several_cores_are_those_on_one(
    fits: FoldFits, each_fit: dict[int, Constants], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fold_fits, "_PARALLEL_FROM", 0)
    monkeypatch.setattr(fold_fits.os, "cpu_count", lambda: 2)
    assert dict(fits.without_each()) == each_fit


def test_a_fold_is_fitted_as_well_from_its_block_as_from_the_priors(
    fits: FoldFits, each_fit: dict[int, Constants]
) -> None:
    for fold in (0, 3):
        cold = fits.without(((fold,), None))
        outside = fits.folds != fold
        errors = [
            np.abs(np.log(fits.lowered.step_s(constants) / fits.measured_s))[outside]
            for constants in (each_fit[fold], cold.constants)
        ]
        assert np.mean(errors[0]) == pytest.approx(np.mean(errors[1]), abs=2e-3)


def test_what_is_kept_with_an_object_is_worked_out_once_and_goes_with_it(lowered: JobTable) -> None:
    calls = []

    @once_per_object
    def strategies(one: Lowered) -> int:
        calls.append(1)
        return one.strategies

    part = lowered.parts[0].lowered
    assert strategies(part) == strategies(part) == part.strategies
    assert len(calls) == 1
    other, _ = part.only(np.arange(2))
    assert strategies(other) == 2
    gone = weakref.ref(other)
    del other
    gc.collect()
    assert gone() is None


def test_every_column_of_a_lowered_job_is_cut_with_it(lowered: JobTable) -> None:
    part = max((p.lowered for p in lowered.parts), key=lambda low: low.strategies)
    rows = np.array([part.strategies - 1, 0])
    cut, shapes = part.only(rows)
    old, new = {"K": len(part.shape_context), "S": part.strategies}, {"K": len(shapes), "S": 2}
    assert old["K"] > new["K"]
    for f in fields(Lowered):
        before, after = getattr(part, f.name), getattr(cut, f.name)
        if isinstance(before, np.ndarray):
            assert len(before) in old.values()
            assert len(after) in new.values(), f.name
    assert np.array_equal(cut.held_parameters, part.held_parameters[rows])
    assert [cut.contexts[i] for i in cut.context] == [part.contexts[i] for i in part.context[rows]]
