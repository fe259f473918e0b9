"""Without PyTorch one line says so; a stored bench reads as it was written, and a damaged one is refused."""

import json
import math
from dataclasses import replace

import pytest

from simulator.bench.run import BenchReport, BenchResult, pooled, read_bench, write_bench
from simulator.bench.text import bench_markdown, bench_text
from simulator.errors import InputError
from simulator.probe import device

RESULT = {
    "name": "lstm small", "ranks": 1, "measured_s": 0.01, "low_quartile_s": 0.009, "high_quartile_s": 0.011,
    "steps": 9, "predicted_s": 0.011, "largest": {"recurrent fwd": 0.004}, "unpriced": {},
}  # fmt: skip
MACHINE = {"name": "A CPU", "cores": 2, "capability": "AVX512", "torch": "2.13.0"}


@pytest.fixture
def report():
    two = {**RESULT, "name": "lstm x2", "ranks": 2, "predicted_s": 0.02, "overlap_measured": 0.5,
           "overlap_predicted": 0.4, "exchange_share": 0.3}  # fmt: skip
    return BenchReport(
        date="2026-11-22", machine=MACHINE, load=1.0, laws={"step memory": 0.1},
        results=(BenchResult(**RESULT), BenchResult(**two)),
    )  # fmt: skip


def test_a_report_reads_as_it_was_written(report, tmp_path):
    write_bench(tmp_path / "b.json", report)
    assert read_bench(tmp_path / "b.json") == report


def test_a_second_sitting_counts_as_much_as_the_first_and_does_not_touch_the_prediction(report):
    first = report.results[0]
    again = pooled(first, replace(first, measured_s=0.0225, high_quartile_s=0.03))
    assert again.measured_s == pytest.approx(0.015)
    assert (again.sittings, again.steps) == (2, 2 * first.steps)
    assert (again.low_quartile_s, again.high_quartile_s) == (first.low_quartile_s, 0.03)
    assert again.predicted_s == first.predicted_s


def test_medians_are_of_each_kind_of_case(report):
    assert report.median_error(False) == pytest.approx(math.log(1.1))
    assert report.median_error(True) == pytest.approx(math.log(2.0))


def test_text_and_table_have_every_case(report):
    for made in (bench_text(report), bench_markdown(report)):
        assert all(r.name in made for r in report.results)
        assert "+10.0%" in made


@pytest.mark.parametrize(
    "change", [{"kind": "x"}, {"schema": 9}, {"results": [{"name": "x"}]}, {"results": [{**RESULT, "measured_s": 0}]}]
)
def test_a_damaged_report_is_refused_in_one_line(report, tmp_path, change):
    path = tmp_path / "b.json"
    write_bench(path, report)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=r"b\.json: "):
        read_bench(path)


def test_without_torch_one_line_says_how_to_get_it(run, monkeypatch):
    def none(name):
        raise ImportError("No module named 'torch'")

    monkeypatch.setattr(device.importlib, "import_module", none)
    done = run("bench", "--short")
    assert done.code == 2
    assert "bench: needs PyTorch" in done.err
    assert "Traceback" not in done.err
