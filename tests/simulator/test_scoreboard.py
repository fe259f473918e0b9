"""The scoreboard: made-up runs whose scores are known, laws of its yardsticks, and what its page says."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import simulator
from simulator import validation
from simulator.calibration_data import load_constants
from simulator.validation.baseline import baseline_step_s, utilisation_s
from simulator.validation.conventions import CONVENTIONS_OF_SOURCES
from simulator.validation.group_errors import Scored, group_error
from simulator.validation.record_files import recorded_runs
from simulator.validation.runs import (
    FOLDS,
    HOLDS,
    OUTPUT_COLUMNS,
    CrossFit,
    TableError,
    cross_fit,
    fold_of,
    predictions_csv,
    read_table,
)
from simulator.validation.scoreboard.board import scoreboard
from simulator.validation.scoreboard.claims import FIGURES, REFUSAL, refused_runs, stated
from simulator.validation.scoreboard.dimensions import DIMENSIONS, scale_word, strategy_words
from simulator.validation.scoreboard.page import page
from simulator.validation.scoreboard.parts import scores
from simulator.validation.scoreboard.runs_scored import runs_scored
from simulator.validation.scoreboard.scaling import scaling_scores
from simulator.validation.scoreboard.stored import read_predictions, store
from simulator.validation.scoreboard.worst import (
    NOT_EXPLAINED,
    explanations,
    group_errors_of,
    worse_than_utilisation,
    worst_runs,
)
from simulator.validation.scoreboard.yardsticks import conformal_ends, interval_score, roofline_s

SHIPPED = Path(simulator.__file__).parent / "data" / "measured_runs.csv"
#: Every so many of the shipped runs.
STRIDE = 12


@pytest.fixture(scope="module")
def table():
    chosen = set(list(recorded_runs())[::STRIDE])
    return read_table(SHIPPED, keep=lambda row: row["row"] in chosen)


@pytest.fixture(scope="module")
def predictions(table, tmp_path_factory):
    """The stored held-out predictions of those runs, as a file of `validate runs --held-out --out`."""
    path = tmp_path_factory.mktemp("scoreboard") / "groups.csv"
    recorded = recorded_runs()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(OUTPUT_COLUMNS)
        for row in table.rows:
            one = recorded[row["row"]]
            numbers = (f"{v:.6g}" for v in (one.predicted, one.low, one.high))
            writer.writerow([row["row"], row["value"], *numbers, "predicted", "", "", "analytic", ""])
    return path


@pytest.fixture(scope="module")
def result(table, predictions):
    return read_predictions(table, predictions, hold="groups")


@pytest.fixture(scope="module")
def runs(result):
    return runs_scored(result)


def crossed_with(result, **changes):
    return replace(result, crossed=replace(result.crossed, **changes))


# --- what is held out together --------------------------------------------------------------------------------------


def test_all_groups_of_a_source_leave_together_where_sources_are_held_out():
    groups = [("one", model, chip) for model in "abcdef" for chip in "xyz"]
    assert len({fold_of(g, "sources") for g in groups}) == 1
    assert len({fold_of(g) for g in groups}) > 1
    assert {fold_of((str(i), "m", "c"), "sources") for i in range(500)} == set(range(FOLDS))


# --- yardsticks -----------------------------------------------------------------------------------------------------


def test_the_roofline_is_never_faster_than_the_peak_and_is_it_where_memory_is_free(table):
    job = next(j for j in table.jobs.values() if j.family == "llm")
    assert roofline_s(job) > utilisation_s(job)
    chip = replace(job.context.cluster.chip, memory_bandwidth_byte_per_s=1e30)
    free = replace(job, context=replace(job.context, cluster=replace(job.context.cluster, chip=chip)))
    assert roofline_s(free) == pytest.approx(utilisation_s(free), rel=1e-9)


@given(
    low=st.floats(-3, 3), width=st.floats(0, 3), factor=st.floats(1.0, 5.0)
)  # fmt: skip
def test_an_interval_costs_its_width_and_ten_times_what_it_misses_by(low, width, factor):
    ends = np.array([low]), np.array([low + width])
    missed = max(low, -(low + width), 0.0)
    assert interval_score(*ends)[0] == pytest.approx(width + 10.0 * missed)
    scaled = interval_score(factor * ends[0], factor * ends[1])[0]
    assert scaled == pytest.approx(factor * interval_score(*ends)[0], abs=1e-9)


def test_the_true_quantiles_have_the_best_score_of_intervals_around_a_normal_error():
    error = np.random.default_rng(0).normal(size=20_000)

    def score(half):
        return interval_score(-half - error, half - error).mean()

    assert score(1.2816) < min(score(1.0), score(1.6))


def test_conformal_ends_hold_what_they_say_and_do_not_see_their_own_fold(table):
    job = next(iter(table.jobs.values()))
    jobs = [replace(job, group=(str(i), "m", "c")) for i in range(600)]
    error = np.random.default_rng(1).normal(0.3, 0.5, size=600)
    folds = np.arange(600) % 10
    low, high = conformal_ends(jobs, error, folds)
    assert np.mean((low <= 0.0) & (high >= 0.0)) == pytest.approx(0.8, abs=0.05)
    mine = folds == 3
    moved = np.where(mine, error + 5.0, error)
    again = conformal_ends(jobs, moved, folds)
    assert np.allclose(again[0][mine] - moved[mine], low[mine] - error[mine])
    assert not np.allclose(again[1][~mine], high[~mine])


def test_a_fold_does_not_widen_its_own_intervals(result, runs):
    fold = np.array([fold_of(job.group) for job in runs.jobs])
    mine = fold == np.bincount(fold).argmax()
    moved = runs_scored(crossed_with(result, step_s=np.where(mine, 3.0, 1.0) * result.crossed.step_s))
    width = runs.high - runs.low
    assert np.allclose((moved.high - moved.low)[mine], width[mine])
    assert not np.allclose((moved.high - moved.low)[~mine], width[~mine])


# --- parts ----------------------------------------------------------------------------------------------------------


def test_every_run_counts_once_under_every_dimension_but_strategies(runs):
    found = scores(runs, load_constants())
    assert found.keys() == DIMENSIONS.keys()
    for dimension, parts in found.items():
        count = sum(part.runs for part in parts)
        assert count >= len(runs.index) if dimension == "strategy" else count == len(runs.index)
    assert [p.name for p in found["chips"]] == list(map(scale_word, (1, 8, 64, 512, 2048, 9999)))
    assert all(p.median <= p.p90 and p.mean >= abs(p.bias) for parts in found.values() for p in parts)
    whole = found["all"][0]
    assert all(0 < p.constants <= whole.constants <= len(load_constants().values) for p in found["stack"])


def test_perfect_predictions_have_no_error_full_skill_and_no_regret(runs):
    half = np.full(len(runs.index), 0.1)
    perfect = replace(runs, step_s=runs.measured_s, error=0.0 * half, low=-half, high=half)
    (whole,) = scores(perfect, load_constants())["all"]
    assert (whole.macro, whole.p90, whole.bias, whole.skill) == (0.0, 0.0, 0.0, 1.0)
    assert whole.held == 1.0
    if whole.sweeps:
        assert whole.rank == pytest.approx(1.0)
        assert whole.regret == pytest.approx(0.0)


def test_a_factor_on_every_prediction_is_bias_and_does_not_change_the_order(result, runs):
    slow = runs_scored(crossed_with(result, step_s=1.5 * result.crossed.step_s))
    before, after = (scores(r, load_constants())["all"][0] for r in (runs, slow))
    assert after.bias == pytest.approx(before.bias + np.log(1.5))
    assert (after.rank, after.regret, after.utilisation) == (before.rank, before.regret, before.utilisation)


def test_skill_is_against_the_better_yardstick(runs):
    for parts in scores(runs, load_constants()).values():
        for p in parts:
            assert p.skill == pytest.approx(1.0 - p.macro / min(p.utilisation, p.roofline))


def test_scores_without_anything_held_out_are_refused(result):
    with pytest.raises(ValueError, match="nothing was held out"):
        runs_scored(replace(result, crossed=None))


def test_a_run_counts_under_every_way_it_is_cut(table):
    job = next(j for j in table.jobs.values() if j.parallelism.tp > 1 and j.parallelism.pp > 1)
    assert {"tensor", "pipeline"} <= set(strategy_words(job))
    alone = next(j for j in table.jobs.values() if j.parallelism.chips == 1)
    assert strategy_words(alone) == ("one chip",)
    assert [scale_word(n) for n in (1, 2, 8, 9, 2048, 2049)] == [
        "1", "2 to 8", "2 to 8", "9 to 64", "513 to 2,048", "over 2,048",
    ]  # fmt: skip


def test_the_bias_of_a_rate_is_that_of_its_time():
    def scored(predicted, measured, is_rate):
        return Scored(
            group=("s", "m", "c"), measured=measured, predicted=predicted, low=None, high=None, baseline=0.5,
            is_rate=is_rate,
        )  # fmt: skip

    times = group_error("times", [scored(2.0, 1.0, False), scored(1.0, 1.0, False)])
    rates = group_error("rates", [scored(1.0, 2.0, True), scored(1.0, 1.0, True)])
    assert times.bias == pytest.approx(rates.bias) == pytest.approx(np.log(2.0) / 2)
    assert times.p90 == pytest.approx(np.log(2.0))
    assert times.skill == pytest.approx(1.0 - times.macro / 0.5)


# --- curves ---------------------------------------------------------------------------------------------------------


def curve(runs, chips, measured_s, predicted_s):
    """A curve of a run at several numbers of chips."""
    first = next(p for p, job in enumerate(runs.jobs) if job.parallelism.chips == 1)
    one, row = runs.jobs[first], runs.table.rows[runs.index[first]]
    jobs = [
        replace(one, parallelism=replace(one.parallelism, dp=n, global_batch=one.parallelism.global_batch * n))
        for n in chips
    ]
    table = replace(runs.table, rows=tuple(row for _ in chips))
    return replace(
        runs, table=table, index=tuple(range(len(chips))), jobs=tuple(jobs), measured_s=np.array(measured_s),
        step_s=np.array(predicted_s),
    )  # fmt: skip


def test_efficiency_is_missed_by_what_it_differs_and_linear_scaling_by_what_is_lost(runs):
    (whole, by_source), (program,) = scaling_scores(
        curve(runs, (1, 2, 4), (1.0, 1.25, 2.0), (3.0, 3.0, 6.0)), {"any": ".", "none": "^no such source$"}
    )
    assert (whole.curves, whole.points, by_source.points, program.points) == (1, 2, 2, 2)
    # Measured 80 % and 50 %, predicted 100 % and 50 %.
    assert whole.error == pytest.approx(0.1)
    assert whole.linear == pytest.approx(0.35)
    assert whole.skill == pytest.approx(1.0 - 0.1 / 0.35)


def test_a_curve_whose_first_point_stalled_is_left_out_and_counted(runs):
    (whole, _), _ = scaling_scores(curve(runs, (1, 2), (9.0, 1.0), (1.0, 1.0)), {})
    assert (whole.curves, whole.stalled, whole.points) == (0, 1, 0)


# --- what is wanted -------------------------------------------------------------------------------------------------


def test_a_refused_run_is_charged_and_one_with_another_metric_predicted_is_not(table, runs):
    refused = replace(table, refused={0: "a reason"}, jobs={i: j for i, j in table.jobs.items() if i != 0})
    assert refused_runs(refused) == (0,)
    assert refused_runs(table) == ()
    flagged = replace(refused, rows=({**table.rows[0], "flag": "1"}, *table.rows[1:]))
    assert refused_runs(flagged) == ()
    before = {s.name: s for s in stated(runs, "groups")}
    charged = {s.name: s for s in stated(replace(runs, table=refused), "groups")}
    assert sum(s.refused for s in charged.values()) > sum(s.refused for s in before.values()) == 0
    name = next(n for n, s in charged.items() if s.refused)
    # One run more in one group: the macro error moves towards the charge by at most its share.
    assert abs(charged[name].macro - before[name].macro) <= REFUSAL


def test_every_figure_is_held_out_one_way_and_has_a_name_of_its_own():
    assert len({f.name for f in FIGURES}) == len(FIGURES)
    assert {f.hold for f in FIGURES} == set(HOLDS)


# --- the worst ------------------------------------------------------------------------------------------------------


def test_the_worst_are_in_order_and_of_groups_of_their_own(runs):
    worst, groups = worst_runs(runs), group_errors_of(runs)
    assert [w.size for w in worst] == sorted((w.size for w in worst), reverse=True)
    assert worst[0].size == pytest.approx(np.abs(runs.error).max())
    assert len({(w.source, w.model, w.chip) for w in worst}) == len(worst)
    assert sum(g.runs for g in groups) == len(runs.index)
    assert all(w.size > w.utilisation for w in worse_than_utilisation(groups))


def test_explanations_are_sentences_and_say_whether_the_mechanism_is_known():
    for group, (mechanism, sentence) in explanations().items():
        assert mechanism in ("known", "suspected", "unknown"), group
        assert sentence.endswith("."), group


# --- stored, read and shown -----------------------------------------------------------------------------------------


def test_a_file_of_predictions_reads_back_as_the_validation_that_wrote_it(table, result, tmp_path):
    path = tmp_path / "again.csv"
    path.write_text(predictions_csv(result.predictions), encoding="utf-8")
    again = read_predictions(table, path, hold="groups")
    assert np.array_equal(again.crossed.step_s, result.crossed.step_s)
    assert again.predictions == result.predictions


def test_predictions_of_another_table_are_refused_in_one_line(table, predictions, tmp_path):
    shorter = replace(table, rows=table.rows[:-1])
    with pytest.raises(TableError, match=r"predictions; the table has"):
        read_predictions(shorter, predictions, hold="groups")
    swapped = replace(table, rows=(table.rows[1], table.rows[0], *table.rows[2:]))
    with pytest.raises(TableError, match="line 2 is no prediction of row"):
        read_predictions(swapped, predictions, hold="groups")
    with pytest.raises(TableError, match="No such file"):
        read_predictions(table, tmp_path / "none.csv", hold="groups")


def test_baselines_of_sources_held_out_differ_from_those_of_groups(table, predictions):
    by = {hold: read_predictions(table, predictions, hold=hold).crossed for hold in HOLDS}
    assert isinstance(by["groups"], CrossFit)
    assert not np.allclose(by["groups"].baseline_s, by["sources"].baseline_s)
    assert np.array_equal(by["groups"].step_s, by["sources"].step_s)


def test_the_stored_board_keeps_the_other_way_of_holding_out_and_makes_a_page(result, table, predictions, tmp_path):
    store(tmp_path, load_constants(), result)
    store(tmp_path, load_constants(), read_predictions(table, predictions, hold="sources"))
    board = json.loads((tmp_path / "scoreboard.json").read_text(encoding="utf-8"))
    assert {hold: board[hold]["hold"] for hold in HOLDS} == {hold: hold for hold in HOLDS}
    made = page(board, {})
    assert NOT_EXPLAINED in made
    worst = board["groups"]["worst_groups"][0]
    told = page(board, {(worst["source"], worst["model"], worst["chip"]): ("known", "The reason.")})
    assert "Known: The reason." in told
    assert not any(cell in made for cell in ("| nan |", "| None |", "nan%"))
    # A table has as many cells in every line as in its head.
    for block in made.split("\n\n"):
        lines = [line for line in block.split("\n") if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) <= 1, lines[0]
    assert "have not been made yet" in page({**board, "sources": None}, {})


def test_a_held_out_validation_carries_the_scoreboard_in_json_and_its_new_columns_in_text(result, monkeypatch):
    asked = {}
    monkeypatch.setattr(validation, "predict_runs", lambda path, **options: asked.update(options) or result)
    summary = validation.validate_runs(SHIPPED, held_out=True, hold="sources")
    assert (asked["held_out"], asked["hold"]) == (True, "sources")
    plain = summary.as_json()
    assert plain["scoreboard"] == scoreboard(result, load_constants())
    assert {"p90", "bias", "skill"} <= plain["by_era"][0].keys()
    head = next(line for line in summary.text().split("\n") if line.startswith("group"))
    assert head.split()[5:10] == ["median", "p90", "bias", "baseline", "skill"]
    json.dumps(plain)


def test_the_board_counts_every_row_once(result):
    coverage = scoreboard(result, load_constants())["coverage"]
    refused = sum(one["rows"] for one in coverage["refused"])
    assert coverage["rows"] == coverage["predicted"] + refused
    assert coverage["steps"] == coverage["scored"] + coverage["not_scored"] + coverage["flagged"]


def test_every_row_in_flops_has_a_convention_of_the_table(result):
    used = scoreboard(result, load_constants())["conventions"]
    assert sum(one["rows"] for one in used) == sum(
        job.metric in ("tflops_per_chip", "pflops_total", "mfu", "hfu") for job in result.table.jobs.values()
    )
    assert len(used) <= len(CONVENTIONS_OF_SOURCES)


def test_one_efficiency_of_any_ideal_time_is_fitted_on_the_other_folds(table):
    jobs = [table.jobs[i] for i in table.primary]
    measured = np.array([table.measured_s[i] for i in table.primary])
    folds = np.array([fold_of(job.group) for job in jobs])
    # A yardstick that is right up to one factor is right.
    assert baseline_step_s(jobs, measured, folds, ideal_s=0.1 * measured) == pytest.approx(measured)


def test_a_table_of_one_source_cannot_be_held_out_by_sources():
    table = read_table(SHIPPED)
    source = table.jobs[table.primary[0]].group[0]
    alone = [i for i in table.primary if table.jobs[i].group[0] == source]
    with pytest.raises(TableError, match="left out at once"):
        cross_fit(replace(table, primary=alone), hold="sources")
