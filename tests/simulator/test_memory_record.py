"""The memory record: constants fitted without the rows they predict, intervals of their errors, lines for people."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmodels.datafile import parse_toml
from simulator.validation.memory_fit import LINEAR, MemoryTable, fit, memory_table
from simulator.validation.memory_record import (
    MemoryFit,
    baseline,
    constants_toml,
    cross_fit_memory,
    measured_memory,
    memory_summary,
)
from simulator.validation.memory_rows import memory_gb, memory_job
from simulator.validation.memory_software import RANGES
from simulator.validation.rows import RunJob, resolve
from simulator.validation.runs import Prediction, Table

ROW = {
    "source": "lambdal/deeplearning-benchmark", "year": "2020", "chip": "Quadro RTX 8000", "chip_memory_gb": "48",
    "num_chips": "1", "chips_per_node": "8", "software": "PyTorch 1.9.0a0+df837d0", "precision": "fp16_mixed",
    "dp": "1", "seq_len": "384", "unit": "GB", "metric": "memory_gb_per_chip", "flag": "",
}  # fmt: skip
PLANTED = {"framework_reserve_byte": 1.2e9, "eager_kept_share": 0.5, "loss_byte": 10.0, "allocator_share": 0.05,
           "gathered_share": 0.0}  # fmt: skip


def rows() -> list[dict[str, str]]:
    return [
        {**ROW, "model": model, "chip": chip, "chip_memory_gb": memory, "micro_batch": str(b), "global_batch": str(b)}
        for model in ("BERT-base", "BERT-large", "Transformer-XL base")
        for chip, memory in (("Quadro RTX 8000", "48"), ("A100-SXM4", "80"))
        for b in (2, 8, 16)
    ]


@pytest.fixture(scope="module")
def jobs() -> dict[int, RunJob]:
    return {i: resolve(row) for i, row in enumerate(rows())}


@pytest.fixture(scope="module")
def table(jobs: dict[int, RunJob]) -> MemoryTable:
    return memory_table([memory_job(job, fitted=False) for job in jobs.values()])[0]


@pytest.fixture(scope="module")
def crossed(jobs: dict[int, RunJob], table: MemoryTable) -> MemoryFit:
    noise = np.exp(np.random.default_rng(3).normal(0.0, 0.05, len(jobs)))
    return cross_fit_memory(jobs, dict(enumerate((table.predicted(PLANTED) * noise).tolist())))


@pytest.mark.parametrize("name", RANGES)
def test_the_table_of_arrays_equals_the_memory_model(name: str, jobs: dict[int, RunJob], table: MemoryTable) -> None:
    """Linear constants are linear: two ways of predicting one row agree at other values of every constant."""
    constants = {**PLANTED, name: 0.3 * RANGES[name][0] + 0.7 * RANGES[name][1]}
    for index, predicted in enumerate(table.predicted(constants)):
        one = memory_job(jobs[index], fitted=False).with_constants(constants)
        assert one.reading(one.stages()) == pytest.approx(predicted, rel=1e-9)


@pytest.mark.parametrize("name", RANGES)
def test_more_of_a_constant_never_takes_less(name: str, table: MemoryTable) -> None:
    values = np.linspace(*RANGES[name], 5)
    found = np.stack([table.predicted({**PLANTED, name: float(v)}) for v in values])
    assert (np.diff(found, axis=0) >= -1e-9).all()
    # One chip gathers nothing.
    assert bool(found[-1].sum() > found[0].sum()) is (name != "gathered_share")


def test_planted_constants_predict_again(jobs: dict[int, RunJob], table: MemoryTable) -> None:
    measured = table.predicted(PLANTED)
    found = fit(table, measured, [job.group for job in jobs.values()], PLANTED)
    assert np.mean(np.abs(np.log(table.predicted(found) / measured))) < 0.03
    assert all(RANGES[name][0] <= found[name] <= RANGES[name][1] for name in RANGES)


def test_a_fit_is_no_worse_than_the_usual_values(jobs: dict[int, RunJob], table: MemoryTable) -> None:
    measured = 1.3 * table.predicted(PLANTED)
    groups = [job.group for job in jobs.values()]
    usual = {**PLANTED, **table.software.usual}
    found = fit(table, measured, groups, usual)

    def error(constants: dict[str, float]) -> float:
        return float(np.mean(np.abs(np.log(table.predicted(constants) / measured))))

    assert error(dict(found)) < error(usual)


def test_rows_that_are_left_out_do_not_move_the_constants(jobs: dict[int, RunJob], table: MemoryTable) -> None:
    measured = table.predicted(PLANTED)
    groups = [job.group for job in jobs.values()]
    used = np.array([group != groups[0] for group in groups])
    first = fit(table, measured, groups, PLANTED, used=used)
    second = fit(table, np.where(used, measured, 7.0 * measured), groups, PLANTED, used=used)
    assert first == second


def test_a_held_out_group_has_no_part_in_its_own_prediction(jobs: dict[int, RunJob], table: MemoryTable) -> None:
    measured = dict(enumerate(table.predicted(PLANTED).tolist()))
    wrong = {i: value * (5.0 if jobs[i].group == jobs[0].group else 1.0) for i, value in measured.items()}
    one, other = cross_fit_memory(jobs, measured).rows[0], cross_fit_memory(jobs, wrong).rows[0]
    assert one.predicted == pytest.approx(other.predicted)
    # Only through the others' constants: nothing like the factor of 5.
    assert one.high / one.low == pytest.approx(other.high / other.low, rel=0.1)


def test_intervals_hold_most_of_what_is_held_out(crossed: MemoryFit) -> None:
    held = [row.low <= row.measured <= row.high for row in crossed.rows.values()]
    assert 0.5 <= np.mean(held) <= 1.0
    assert all(low < 1.0 < high for low, high in crossed.intervals.values())


def test_the_file_of_constants_reads_back(crossed: MemoryFit) -> None:
    data = parse_toml(constants_toml(crossed), name="constants").data
    for name, constants in crossed.constants.items():
        if constants:
            assert data["constants"][name] == pytest.approx(dict(constants), rel=1e-4)
    assert data["intervals"]["pytorch-1.10-transformer"]["rows"] == len(crossed.rows)
    assert data["intervals"]["pytorch-1.10-transformer"]["groups"] == 6


def table_of(jobs: dict[int, RunJob], values: dict[int, float]) -> Table:
    read = [{**row, "value": str(values.get(i, ""))} for i, row in enumerate(rows())]
    return Table(rows=tuple(read), jobs={}, memory_jobs=jobs, refused={}, primary=(), measured_s={})


def test_the_summary_says_what_it_rests_on(jobs: dict[int, RunJob], crossed: MemoryFit) -> None:
    read = table_of(jobs, {i: row.measured for i, row in crossed.rows.items()})
    lines = []
    for index, job in jobs.items():
        found = memory_gb(job)
        lines.append(
            Prediction(
                row=str(index), measured="", predicted=found.predicted, low=found.low, high=found.high, reason="",
                extrapolated="", assumed="",
            )
        )  # fmt: skip
    for held in (None, crossed):
        summary = memory_summary(read, lines, held=held)
        assert summary.overall[0].runs == len(jobs)
        assert summary.overall[0].groups == 6
        assert "lambdal" in summary.text()
        assert ("predicted without it" in summary.text()) is (held is not None)
        assert summary.as_json()["held_out"] is (held is not None)
        assert [part["name"] for part in summary.as_json()["by_reading"]] == ["device"]  # type: ignore[attr-defined]


def test_rows_without_a_measured_figure_are_no_record(jobs: dict[int, RunJob]) -> None:
    empty = table_of(jobs, {})
    assert measured_memory(empty) == {}
    nothing = Prediction(
        row="", measured="", predicted=1.0, low=None, high=None, reason="", extrapolated="", assumed=""
    )
    assert memory_summary(empty, [nothing] * len(jobs)).text() == ""


def test_flagged_rows_are_left_out(jobs: dict[int, RunJob]) -> None:
    read = table_of(jobs, dict.fromkeys(jobs, 10.0))
    flagged = replace(read, rows=({**read.rows[0], "flag": "odd"}, *read.rows[1:]))
    assert set(measured_memory(read)) - set(measured_memory(flagged)) == {0}


def test_the_baseline_is_sixteen_bytes_a_parameter(jobs: dict[int, RunJob]) -> None:
    found = memory_job(jobs[0])
    assert baseline(found) == pytest.approx((16.0 * found.job.workload.parameters + 2e9) / 1e9)


def test_linear_constants_are_fields_of_the_range_table() -> None:
    assert set(LINEAR) < set(RANGES)
