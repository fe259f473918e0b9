"""`validate convergence`: every row gets its line, predictions read configuration alone, the record is what ships."""

import csv
import math
from dataclasses import asdict

import pytest
from click.testing import CliRunner

from hwmodels.datafile import DataFileError
from simulator.cli import cli
from simulator.convergence_calibration import (
    ConvergenceRecord,
    load_convergence,
    read_convergence,
    shipped_points,
    shipped_rows,
    to_toml,
)
from simulator.outcome.convergence.points import COLUMNS, HOLDS, read_point
from simulator.outcome.convergence.pooling import Pool
from simulator.validation.convergence import (
    NO_POINT,
    hold_out,
    members_of,
    predict_convergence,
    predict_convergence_held_out,
    read_convergence_table,
)
from simulator.validation.convergence_baseline import interpolated
from simulator.validation.convergence_selection import recorded_convergence
from simulator.validation.runs import TableError

ROWS = shipped_rows()


def written(path, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, list(ROWS[0]))
        out.writeheader()
        out.writerows(rows)
    return path


def validated(path):
    shipped = load_convergence()
    return predict_convergence(read_convergence_table(path), constants=shipped.constants, record=shipped.record)


def line(prediction):
    return prediction.predicted, prediction.low, prediction.high, prediction.reason, prediction.extrapolated


@pytest.fixture(scope="module")
def all_lines(tmp_path_factory):
    return [line(p) for p in validated(written(tmp_path_factory.mktemp("c") / "all.csv", ROWS)).predictions]


def test_every_shipped_row_is_predicted_within_its_interval_ends(all_lines):
    assert all(low <= predicted <= high for predicted, low, high, _, _ in all_lines)


def test_predictions_do_not_change_when_rows_are_shuffled_dropped_or_stripped(tmp_path, all_lines):
    order = list(range(len(ROWS)))[::-3]
    stripped = [{k: v if k in COLUMNS else "" for k, v in ROWS[i].items()} for i in order]
    assert [line(p) for p in validated(written(tmp_path / "few.csv", stripped)).predictions] == [
        all_lines[i] for i in order
    ]


def test_how_often_a_source_ran_and_how_far_apart_never_enters(tmp_path, all_lines):
    cut = [row | {"source": row["source"].partition(";")[0]} for row in ROWS]
    assert [line(p) for p in validated(written(tmp_path / "cut.csv", cut)).predictions] == all_lines


def test_a_task_never_measured_and_a_unit_of_error_are_refused_with_the_reason(tmp_path):
    rows = [ROWS[0] | {"task": "haruspicy"}, ROWS[0] | {"unit": "% error"}, ROWS[0]]
    refused = [p.reason for p in validated(written(tmp_path / "x.csv", rows)).predictions]
    assert refused[0] == NO_POINT
    assert "legal: epochs, samples, steps, tokens" in refused[1]
    assert refused[2] == ""


def test_a_batch_beyond_the_largest_measured_is_predicted_and_called_extrapolated(tmp_path):
    (far,) = validated(written(tmp_path / "x.csv", [ROWS[0] | {"batch": "1000000"}])).predictions
    assert "reached up to" in far.extrapolated
    assert far.high / far.low > 1.5


@pytest.fixture(scope="module")
def some(tmp_path_factory):
    """Two tasks, enough rows to hold out."""
    rows = [
        row for row in ROWS if row["task"] in ("language modelling (masked)", "speech recognition", "text to image")
    ]
    return read_convergence_table(written(tmp_path_factory.mktemp("c") / "some.csv", rows))


@pytest.fixture(scope="module")
def held(some):
    return hold_out(some, "points")


def test_a_held_out_answer_does_not_follow_the_row_it_is_of(some, held, tmp_path):
    target = some.used[0]
    rows = [dict(row) for row in some.rows]
    rows[target]["value"] = str(float(rows[target]["value"]) * 50)
    again = hold_out(read_convergence_table(written(tmp_path / "x.csv", rows)), "points")
    assert again.predicted_s[target] == pytest.approx(held.predicted_s[target], rel=1e-9)
    assert again.predicted_s != held.predicted_s


def test_rows_without_a_measured_value_are_predicted_beside_held_out_ones(some, tmp_path):
    rows = [dict(row) for row in some.rows]
    rows[3]["value"] = ""
    result = predict_convergence_held_out(read_convergence_table(written(tmp_path / "x.csv", rows)), "points")
    assert result.predictions[3].predicted > 0
    assert 3 not in result.baseline_s


def test_the_yardstick_interpolates_between_neighbours_in_log_batch():
    row = ROWS[0] | {"model": "N", "task": "t", "dataset": "d", "unit": "epochs"}
    members = [(read_point(row | {"batch": b}), v) for b, v in (("100", 10.0), ("400", 40.0))]
    assert interpolated(read_point(row | {"batch": "200"}), members) == pytest.approx(20.0)
    assert interpolated(read_point(row | {"batch": "9000"}), members) == pytest.approx(40.0)
    assert interpolated(read_point(row | {"task": "other"}), members) is None


def test_a_table_too_small_to_hold_out_and_one_of_something_else_are_refused(tmp_path):
    with pytest.raises(TableError, match="at least 20"):
        hold_out(read_convergence_table(written(tmp_path / "x.csv", ROWS[:5])), "points")
    (tmp_path / "y.csv").write_text("a,b\n1,2\n")
    with pytest.raises(TableError, match="columns missing: task"):
        read_convergence_table(tmp_path / "y.csv")


@pytest.mark.parametrize("hold", HOLDS)
def test_the_stored_record_is_that_of_the_stored_held_out_predictions(hold):
    recorded, classes = recorded_convergence(), load_convergence().record.classes
    errors = [abs(math.log(recorded[row["row"]][hold] / float(row["value"]))) for row in ROWS if row["row"] in recorded]
    rows = [classes[key] for key in classes if key.startswith(hold)]
    mean = sum(entry.rows * entry.mean for entry in rows) / sum(entry.rows for entry in rows)
    if hold == "points":
        assert sum(entry.rows for entry in rows) >= len(errors)
    assert mean == pytest.approx(sum(errors) / len(errors), rel=0.15)


def test_held_out_batches_of_benchmarks_are_off_by_less_than_a_tenth_and_less_than_interpolation():
    entry = load_convergence().record.classes["points/benchmark rounds"]
    assert entry.mean < 0.10
    assert entry.macro < 0.75 * entry.baseline_macro


def test_a_calibration_is_read_as_it_was_written_and_a_wrong_one_is_refused_by_line(tmp_path):
    shipped = load_convergence()
    text = to_toml(name="x", constants=shipped.constants, record=shipped.record, fitted_on={}, points=shipped_points())
    path = tmp_path / "x.toml"
    path.write_text(text)
    assert read_convergence(str(path), "x").constants == shipped.constants
    assert set(read_convergence(str(path), "x").record.classes) == set(shipped.record.classes)
    path.write_text(text.replace("noise = ", "nois = "))
    with pytest.raises(DataFileError, match=r"constants\.nois: no such constant.*'noise'"):
        read_convergence(str(path), "x")
    path.write_text(text.replace("noise = 0", "noise = -0"))
    with pytest.raises(DataFileError, match=r"legal: a number above 0\.0"):
        read_convergence(str(path), "x")


def test_without_a_record_there_is_no_interval():
    shipped = load_convergence()
    point, _ = shipped_points()[0]
    answer = Pool(shipped_points(), shipped.constants).answer(point)
    assert ConvergenceRecord().interval(answer, point) is None
    assert len(asdict(shipped.constants)) == 11


def test_members_are_in_the_unit_of_their_curves(some):
    assert [v for _, v in members_of(some)] == [some.measured_s[i] * some.jobs[i].point.per_unit for i in some.used]


def test_the_command_writes_a_line_for_every_row_and_sums_up(tmp_path):
    out = tmp_path / "pred.csv"
    result = CliRunner().invoke(cli, ["validate", "convergence", "--out", str(out)])
    assert result.exit_code == 0, result.output
    with out.open(encoding="utf-8", newline="") as stream:
        assert [r["row"] for r in csv.DictReader(stream)] == [row["row"] for row in ROWS]
    assert "interpolation in log batch" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--by", "sources"], "--by: goes with --held-out"),
        (["--held-out", "--by", "systems"], "convergence are held out by points, sources"),
        (["--calibration", "defalt"], "--calibration"), (["absent.csv"], "absent.csv"),
    ],
)  # fmt: skip
def test_what_the_command_cannot_use_is_said(arguments, message):
    result = CliRunner().invoke(cli, ["validate", "convergence", *arguments])
    assert result.exit_code == 2
    assert message in result.output
