"""The stored record: what is written, what is refused, what is read back."""

import csv
import io
from pathlib import Path

import pytest

from simulator.validation import predict_runs
from simulator.validation.record_files import (
    COVERAGE_FILE,
    GROUPS_FILE,
    RUNS_FILE,
    record_tables,
    recorded_runs,
    write_record,
)
from simulator.validation.summary import summarise


@pytest.fixture(scope="module")
def held_out(tmp_path_factory) -> tuple:
    """Thirty shipped runs of several sources, held out by group."""
    rows = [run.row for run in recorded_runs().values() if run.row["unit"] == "images/s"][::12][:30]
    path: Path = tmp_path_factory.mktemp("record") / "runs.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    result = predict_runs(path, held_out=True)
    return path, result, [row["row"] for row in rows]


def test_every_shipped_row_has_a_line_and_every_set_its_errors(held_out, tmp_path):
    _, result, numbers = held_out
    write_record(result, summarise(result), tmp_path, numbers)
    runs = list(csv.DictReader(io.StringIO((tmp_path / RUNS_FILE).read_text(encoding="utf-8"))))
    groups = list(csv.DictReader(io.StringIO((tmp_path / GROUPS_FILE).read_text(encoding="utf-8"))))
    covered = dict(csv.reader(io.StringIO((tmp_path / COVERAGE_FILE).read_text(encoding="utf-8"))))
    assert [line["row"] for line in runs] == numbers
    assert covered.pop("rows") == "number"
    assert covered.pop("predicted") == "30"
    assert set(covered.values()) == {"0"}
    assert all(float(line["low"]) < float(line["predicted"]) < float(line["high"]) for line in runs)
    assert groups[0]["set"] == "all"
    assert int(groups[0]["runs"]) == sum(int(g["runs"]) for g in groups if g["set"] == "kind") == len(numbers)


def test_predictions_that_saw_their_own_runs_make_no_record(held_out):
    path, _, numbers = held_out
    shipped = predict_runs(path)
    with pytest.raises(ValueError, match="hold them out"):
        record_tables(shipped, summarise(shipped), numbers)


def test_a_shipped_row_that_the_corpus_lacks_is_named(held_out):
    _, result, numbers = held_out
    with pytest.raises(ValueError, match="row 999999 has no prediction"):
        record_tables(result, summarise(result), [*numbers, "999999"])
