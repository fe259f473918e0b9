"""Times to train, epochs, speed-ups of `validate runs`: samples over rate, held out by group, refused with a reason."""

import csv
import io
import math
from dataclasses import replace

import pytest

from simulator.calibration_data import load
from simulator.validation import validate_runs
from simulator.validation.cells import Unsupported
from simulator.validation.rows import COLUMNS, resolve
from simulator.validation.rows import Unsupported as StepUnsupported
from simulator.validation.runs import Table, predict, read_table
from simulator.validation.shipped_tables import shipped_table
from simulator.validation.training_constants import load_training, to_toml
from simulator.validation.training_lengths import LengthPool, pooled, shipped_lengths, to_csv
from simulator.validation.training_record import hold_out_trainings, record_of
from simulator.validation.training_rows import METRICS, resolve_training
from simulator.validation.training_runs import NO_LENGTH, HeldOutPools, predict_training, read_trainings

COLUMNS_OF_RUNS = list(shipped_table("measured_runs.csv")[0])
RESNET = {
    "era": "cnn2015_2018", "source": "MLPerf Training v1.1", "year": "2021", "model": "ResNet-50 v1.5",
    "image_size": "224", "chip": "A100-SXM4", "chip_memory_gb": "80", "num_chips": "8", "chips_per_node": "8",
    "intra_node_link": "NVLink", "software": "MXNet NVIDIA Release 21.09", "precision": "fp16_mixed",
    "global_batch": "3264", "optimizer": "lars", "metric": "time_to_train_s", "unit": "s", "value": "1783.2",
}  # fmt: skip
EPOCHS = RESNET | {"metric": "epochs", "unit": "epochs", "value": "35"}
SPEEDUP = RESNET | {
    "source": "somewhere", "metric": "speedup", "unit": "x vs 1 GPU", "global_batch": "", "micro_batch": "208",
    "value": "7.5",
}  # fmt: skip


def written(path, *rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        out = csv.DictWriter(stream, COLUMNS_OF_RUNS, extrasaction="ignore")
        out.writeheader()
        out.writerows({c: row.get(c, "") for c in COLUMNS_OF_RUNS} | {"row": str(i)} for i, row in enumerate(rows))
    return path


def validated(tmp_path, *rows):
    """(status, predicted, low, high, reason) of rows."""
    out = tmp_path / "pred.csv"
    summary = validate_runs(written(tmp_path / "runs.csv", *rows), out)
    with out.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream)), summary


def test_a_time_epochs_and_a_speed_up_are_predicted_near_what_was_measured(tmp_path):
    lines, summary = validated(tmp_path, RESNET, EPOCHS, SPEEDUP)
    for line, row, near in zip(lines, (RESNET, EPOCHS, SPEEDUP), (0.25, 0.15, 0.2), strict=True):
        assert line["status"] == "predicted"
        assert abs(math.log(float(line["predicted"]) / float(row["value"]))) < near
        assert float(line["low"]) <= float(line["predicted"]) <= float(line["high"])
    assert [g.name for g in summary.trainings] == ["time to train", "epochs", "speed-up"]
    assert "-- whole trainings" in summary.text()
    assert summary.as_json()["trainings"][0]["name"] == "time to train"
    assert summary.predicted == 3


def test_a_time_is_the_samples_of_its_recipe_over_the_predicted_rate(tmp_path):
    rate_row = RESNET | {"metric": "samples_per_s", "unit": "images/s", "value": "1"}
    lines, _ = validated(tmp_path, RESNET, rate_row)
    training = resolve_training(RESNET)
    samples = math.exp(LengthPool(shipped_lengths(), load_training().constants).answer(training.point).log_mean)
    assert float(lines[0]["predicted"]) == pytest.approx(samples / float(lines[1]["predicted"]), rel=1e-4)


def test_predictions_read_configuration_columns_alone_in_any_order(tmp_path):
    lines, _ = validated(tmp_path, RESNET, EPOCHS, SPEEDUP)
    bare = [{k: v for k, v in row.items() if k in COLUMNS} for row in (SPEEDUP, EPOCHS, RESNET)]
    again, _ = validated(tmp_path, *bare)
    assert [line["predicted"] for line in again] == [line["predicted"] for line in lines][::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"source": "a diary", "model": "AlexNet"}, NO_LENGTH), ({"model": "Zebra-7"}, "is not in the catalogue"),
        ({"chip": "abacus"}, "is not in the catalogue"),
        ({"metric": "speedup", "unit": "x"}, "over which run is not stated"),
        ({"num_chips": ""}, "the number of chips is not stated"),
        ({"metric": "comm_fraction"}, "does not follow from a step time"),
    ],
)  # fmt: skip
def test_a_row_that_cannot_be_predicted_is_refused_with_the_reason(tmp_path, change, message):
    (line, kept), summary = validated(tmp_path, RESNET | change, RESNET)
    assert line["status"] == "unsupported"
    assert message in line["reason"]
    assert kept["status"] == "predicted"
    assert any(message in reason for reason, _ in summary.refusals)


def test_a_table_of_steps_is_predicted_as_it_was(tmp_path):
    rows = shipped_table("measured_runs.csv")[:20]
    path = written(tmp_path / "steps.csv", *rows)
    shipped = load()
    table = read_table(path)
    plain = predict(table, constants=shipped.constants, record=shipped.record)
    out = tmp_path / "pred.csv"
    summary = validate_runs(path, out)
    with out.open(encoding="utf-8", newline="") as stream:
        assert [float(line["predicted"]) for line in csv.DictReader(stream)] == pytest.approx(
            [p.predicted for p in plain], rel=1e-5
        )
    assert summary.trainings == ()


def test_metrics_of_steps_and_of_whole_trainings_have_none_in_common():
    for metric in METRICS:
        with pytest.raises(StepUnsupported):
            resolve(RESNET | {"metric": metric})
    assert StepUnsupported is Unsupported


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six trainings on four chips, one of them with a measured rate."""
    rows = []
    for chip, memory, seconds in (("A100-SXM4", "80", 1783), ("A100-SXM4", "40", 1820), ("V100-SXM2", "32", 6800),
                                  ("H100-SXM5", "80", 880), ("A100-PCIe", "40", 2100)):  # fmt: skip
        config = {"chip": chip, "chip_memory_gb": memory, "value": str(seconds), "run_id": chip + memory}
        rows += [RESNET | config, EPOCHS | config | {"value": "35"}]
    rows.append(rows[0] | {"metric": "samples_per_s", "unit": "images/s", "value": "26000"})
    table = read_table(written(tmp_path_factory.mktemp("t") / "runs.csv", *rows))
    return table, read_trainings(table, lambda _: load().constants)


def test_a_measured_rate_of_the_same_run_gives_the_length_and_a_predicted_one_else(corpus):
    table, trainings = corpus
    lengths = trainings.lengths(table)
    assert lengths[0].measured_rate
    assert lengths[0].value == pytest.approx(1783 * 26000)
    assert not lengths[4].measured_rate
    assert lengths[4].value == pytest.approx(6800 * 3264 / trainings.step_s[4])


def test_a_held_out_answer_does_not_follow_the_row_it_is_of(corpus):
    table, trainings = corpus
    constants = load_training().constants
    lengths = trainings.lengths(table)
    wrong = {i: replace(v, value=v.value * 99) if v.group == lengths[0].group else v for i, v in lengths.items()}
    answers = [
        predict_training(0, trainings.rows[0], trainings, HeldOutPools(known, constants).without(trainings.rows[0]))
        for known in (lengths, wrong)
    ]
    assert answers[0] == answers[1]


def test_the_record_splits_the_error_of_a_time_into_rate_and_length(corpus):
    table, trainings = corpus
    held, unanswered = hold_out_trainings(table, trainings, load_training().constants)
    assert unanswered == 0
    (split,) = [h for h in held if h.rate_error is not None]
    assert split.rate_error == pytest.approx(math.log(26000 * trainings.step_s[0] / 3264))
    assert record_of(held)["epochs"]["mean"] < 0.05


def test_flagged_and_unmeasured_rows_are_predicted_and_taught_nothing(corpus):
    table, _ = corpus
    rows = [dict(row) for row in table.rows]
    rows[0]["flag"], rows[2]["value"] = "1", ""
    changed = replace(table, rows=tuple(rows))
    trainings = read_trainings(changed, lambda _: load().constants)
    assert isinstance(changed, Table)
    assert set(trainings.lengths(changed)) == set(trainings.rows) - {0, 2}


def test_lengths_that_ship_are_read_as_they_were_written(corpus):
    table, trainings = corpus
    points = pooled(trainings.lengths(table).values())
    assert to_csv(points).count("\n") == len(points) + 1
    assert pooled(trainings.lengths(table).values()) == points
    again = csv.DictReader(io.StringIO(to_csv(shipped_lengths())))
    assert list(again) == list(shipped_table("training_lengths.csv"))


def test_the_file_of_constants_names_both_units_and_how_steps_were_priced():
    found = load_training()
    assert set(found.constants) == {"epochs", "samples"}
    assert "constants" in found.steps
    assert f"[record.{METRICS[0]}]" in to_toml(found)
    assert found.record["time_to_train_s"]["rate_median"] < 0.12
    assert found.quantiles("nothing") == (-1.2816, 1.2816)
