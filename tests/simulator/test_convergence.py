"""Samples and steps to a target: laws of the curves, how points are read, what pooling makes of few of them."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.convergence_calibration import shipped_points, shipped_pool, shipped_rows
from simulator.outcome import OutcomeError
from simulator.outcome.convergence.curve import (
    critical_batch,
    crossing,
    excess_product,
    samples_to_target,
    steps_to_target,
)
from simulator.outcome.convergence.points import COLUMNS, PointError, read_point
from simulator.outcome.convergence.pooling import Pool, PoolConstants, fit_pool

BATCH = st.floats(min_value=1.0, max_value=1e7)
ROW = {
    "task": "image classification", "model": "ResNet-50 v1.5 [lars]", "dataset": "ImageNet-1k", "batch": "4096",
    "target": "75.9% top-1", "unit": "epochs", "optimizer": "", "source": "mlcommons/training_results_v0.7 commit x",
}  # fmt: skip


# --- the curve -------------------------------------------------------------------------------------------------------


@given(batch=BATCH, least=BATCH, critical=BATCH)
def test_samples_are_steps_times_batch(batch, least, critical):
    samples = samples_to_target(batch, least_samples=least, critical_batch=critical)
    steps = steps_to_target(batch, least_steps=least / critical, critical_batch=critical)
    assert samples == pytest.approx(steps * batch, rel=1e-12)


@given(critical=BATCH, least=BATCH)
def test_samples_never_fall_and_steps_never_rise_with_batch(critical, least):
    batch = np.logspace(0, 7, 50)
    assert np.all(np.diff(samples_to_target(batch, least_samples=least, critical_batch=critical)) >= 0)
    assert np.all(np.diff(steps_to_target(batch, least_steps=least, critical_batch=critical)) <= 0)


def test_at_the_critical_batch_samples_and_steps_are_twice_their_least():
    assert samples_to_target(512, least_samples=10.0, critical_batch=512) == 20.0
    assert steps_to_target(512, least_steps=7.0, critical_batch=512) == 14.0
    assert critical_batch(least_samples=10.0, least_steps=0.5) == 20.0


@given(batch=BATCH, least=BATCH)
def test_the_excesses_of_steps_and_samples_multiply_to_one(batch, least):
    critical = 300.0
    samples = samples_to_target(batch, least_samples=least, critical_batch=critical)
    steps = steps_to_target(batch, least_steps=least / critical, critical_batch=critical)
    product = excess_product(samples, steps, least_samples=least, least_steps=least / critical)
    # The difference from 1 of a quotient near 1 loses digits.
    assert product == pytest.approx(1.0, rel=1e-6)


def test_a_crossing_is_seen_at_the_next_evaluation_and_one_at_an_evaluation_there():
    assert crossing([3.9, 4.0, 4.1, 0.5], every=4.0).tolist() == [4.0, 4.0, 8.0, 4.0]
    assert crossing([1.0, 3.0, 3.5], every=4.0, first=3.0).tolist() == [3.0, 3.0, 7.0]


@given(samples=BATCH, every=BATCH)
def test_a_crossing_is_never_seen_before_it_nor_an_interval_late(samples, every):
    seen = float(crossing(samples, every=every))
    assert seen >= samples * (1 - 1e-8)
    assert seen - samples < every * (1 + 1e-8)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("name", ["batch", "least_samples", "critical_batch"])
def test_what_cannot_be_a_batch_or_an_amount_is_refused_by_name(name, wrong):
    values = {"batch": 1.0, "least_samples": 1.0, "critical_batch": 1.0, name: wrong}
    with pytest.raises(OutcomeError, match=f"{name} is .*legal: numbers above 0"):
        samples_to_target(values.pop("batch"), **values)


# --- points ----------------------------------------------------------------------------------------------------------


def test_a_model_is_read_as_network_optimizer_and_division():
    point = read_point(ROW | {"model": "ResNet-50 v1.5 [THOR] OPEN division"})
    assert (point.network, point.optimizer, point.open_division) == ("ResNet-50 v1.5", "thor", True)
    assert read_point(ROW | {"model": "ResNet-50 v1.5", "optimizer": "LARS"}).optimizer == "lars"


@pytest.mark.parametrize(
    ("batch", "expected", "in_tokens"),
    [
        ("4096", 4096.0, False), ("81920 tokens", 81920.0, True), ("<16384", 16384.0, False),
        ("128x10ep / 64x10ep", 20 / (10 / 128 + 10 / 64), False), ("", None, False),
    ],
)  # fmt: skip
def test_a_batch_is_read_as_its_source_writes_it(batch, expected, in_tokens):
    point = read_point(ROW | {"batch": batch})
    assert point.batch == (pytest.approx(expected) if expected else None)
    assert point.batch_in_tokens is in_tokens


def test_steps_samples_and_epochs_of_one_run_are_one_answer():
    epochs = 40.0
    units = {"epochs": epochs, "samples": epochs * 1281167, "steps": epochs * 1281167 / 4096, "epochs (recalled)": 40.0}
    answers = {unit: value * read_point(ROW | {"unit": unit}).per_unit for unit, value in units.items()}
    assert answers == pytest.approx(dict.fromkeys(units, epochs))
    assert {read_point(ROW | {"unit": unit}).curve for unit in units} == {read_point(ROW).curve}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"unit": "% top-1 error"}, "unit is '% top-1 error'; legal: epochs, samples, steps, tokens"),
        ({"unit": "steps", "batch": ""}, "steps at a batch that is not stated"),
        ({"batch": "many"}, "batch is 'many'; legal"), ({"batch": "0"}, "batch is '0'"),
        ({"task": ""}, "task is blank"),
        ({"batch": "0x5ep"}, "batch is '0x5ep'"), ({"batch": "1" * 400}, "batch is '1111"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_read_says_why(change, message):
    with pytest.raises(PointError) as error:
        read_point(ROW | change)
    assert message in str(error.value)


def test_nothing_behind_a_sources_first_semicolon_is_read():
    plain = read_point(ROW)
    assert read_point(ROW | {"source": ROW["source"] + "; mean of 5 runs (min 60, max 64), sd 3"}) == plain
    assert read_point(ROW | {"value": "1", "flag": "1", "row": "7", "provenance": "guess"}) == plain
    assert set(COLUMNS) & {"value", "flag", "row", "provenance"} == set()


def test_entries_of_a_round_share_a_recipe_and_other_sources_have_their_own():
    shared = read_point(ROW | {"source": "MLPerf Training v0.7"})
    assert (shared.recipe, shared.own_recipe) == (read_point(ROW).recipe, False)
    assert read_point(ROW | {"source": "arXiv 1709.05011 abstract"}).own_recipe
    assert not read_point(ROW | {"source": ""}).own_recipe


# --- pooling ---------------------------------------------------------------------------------------------------------


def measured(batches, *, least=40.0, critical=4000.0, **change):
    points = [read_point(ROW | change | {"batch": str(b)}) for b in batches]
    return [(p, float(samples_to_target(p.batch, least_samples=least, critical_batch=critical))) for p in points]


def test_points_of_a_hyperbola_give_the_hyperbola_back():
    pool = Pool(measured([256, 512, 1024, 2048, 8192]), PoolConstants(smooth=0.001, noise=0.005))
    answer = pool.answer(read_point(ROW | {"batch": "4096"}))
    assert math.exp(answer.log_mean) == pytest.approx(40 * (1 + 4096 / 4000), rel=0.01)
    assert math.exp(answer.log_critical) == pytest.approx(4000, rel=0.1)


def test_one_point_has_an_answer_and_its_interval_widens_away_from_it():
    pool = Pool(measured([1024]), PoolConstants())
    spreads = [pool.answer(read_point(ROW | {"batch": str(b)})).log_spread for b in (1024, 2048, 8192, 65536)]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 2 * spreads[0]


def test_a_task_without_a_point_has_no_answer():
    pool = Pool(measured([1024]), PoolConstants())
    assert pool.answer(read_point(ROW | {"task": "haruspicy"})) is None


def test_an_answer_does_not_depend_on_the_order_of_the_points():
    members = list(shipped_points())
    constants = PoolConstants()
    point = read_point(ROW)
    assert Pool(members, constants).answer(point) == Pool(members[::-1], constants).answer(point)


def test_points_left_out_are_as_points_that_never_were():
    members, constants = list(shipped_points()), PoolConstants()
    point = read_point(ROW)
    key = point.key("points")
    rest = [m for m in members if m[0].key("points") != key]
    assert len(rest) < len(members)
    assert Pool(members, constants).answer(point, without=frozenset({key})) == Pool(rest, constants).answer(point)


def test_more_measured_points_leave_no_wider_an_interval():
    near = read_point(ROW | {"batch": "3000"})
    few, more = measured([256]), measured([256, 2048, 4096])
    assert Pool(more, PoolConstants()).answer(near).log_spread < Pool(few, PoolConstants()).answer(near).log_spread


def test_the_fit_finds_noise_where_there_is_noise():
    rng = np.random.default_rng(0)
    members = [
        (p, v * math.exp(rng.normal(0.0, 0.3)))
        for task in range(8)
        for p, v in measured([2**k for k in range(5, 13)], task=f"task {task}")
    ]
    clean = [m for task in range(8) for m in measured([2**k for k in range(5, 13)], task=f"task {task}")]
    assert fit_pool(members).noise > 3 * fit_pool(clean).noise


@pytest.mark.parametrize("index", range(0, len(shipped_rows()), 9))
def test_every_shipped_curve_needs_more_samples_at_four_times_its_largest_batch(index):
    point, _ = shipped_points()[index]
    at = shipped_pool().answer(point)
    wide = [replace(point, batch=at.largest_batch * factor) for factor in (1.0, 4.0)]
    low, high = (shipped_pool().answer(p).log_mean for p in wide)
    assert low < high < low + math.log(4.0)
