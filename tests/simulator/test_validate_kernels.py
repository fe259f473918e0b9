"""`validate kernels`: every row gets its line, predictions read configuration alone, refusals say why."""

import json
import math
from pathlib import Path

import pytest
from click.testing import CliRunner

from simulator.calibration_data import CalibrationError
from simulator.cli import cli
from simulator.kernel_calibration import load_kernels, to_toml
from simulator.kernels.settings import silicon
from simulator.validation.kernel_baseline import roofline_s
from simulator.validation.kernel_rows import resolve_kernel
from simulator.validation.kernel_selection import (
    ROWS_PER_CELL,
    record_csv,
    recorded_kernels,
    select,
    selection_csv,
    shipped_kernels,
)
from simulator.validation.kernel_suites import FAMILIES
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernels import COLUMNS, HOLDS, hold_out, predict_kernels, read_kernel_table
from simulator.validation.measured_table import measured_s
from simulator.validation.runs import TableError

SHIPPED = shipped_kernels()
P100_PRODUCT = next(
    row for row in SHIPPED if row["kernel"] == "gemm" and row["chip"] == "P100 PCIe 16GB" and row["precision"] == "fp32"
)


def validated(path):
    shipped = load_kernels()
    return predict_kernels(read_kernel_table(path), constants=shipped.constants, record=shipped.record)


def test_every_row_that_ships_is_predicted_in_order(whole):
    _, lines = whole
    assert [line["row"] for line in lines] == [row["row"] for row in SHIPPED]
    assert {line["status"] for line in lines} == {"predicted"}
    for line in lines:
        low, value, high = (float(line[name]) for name in ("low", "predicted", "high"))
        assert 0.0 < low <= high
        assert math.isfinite(value)


def test_shipped_constants_beat_the_bare_roofline_in_every_suite_and_chip(whole):
    _, lines = whole
    groups = {}
    for row, line in zip(SHIPPED, lines, strict=True):
        job = resolve_kernel(row, FAMILIES)
        base = float(roofline_s([row], [job.settings[0]])[0])
        error = abs(math.log(float(line["predicted"]) / measured_s(row)))
        groups.setdefault(job.group, []).append((error, abs(math.log(base / measured_s(row)))))
    for group, pairs in groups.items():
        ours, theirs = (sum(column) / len(pairs) for column in zip(*pairs, strict=True))
        assert ours < theirs or ours < 0.15, group


def test_nothing_but_the_configuration_decides(whole, tmp_path, written, predictions):
    path, lines = whole
    blank = [{key: value if key in COLUMNS else "" for key, value in row.items()} for row in SHIPPED[::7]]
    empty = predictions(written(tmp_path / "blank.csv", blank))
    assert [line["predicted"] for line in empty] == [line["predicted"] for line in lines[::7]]
    shuffled = list(reversed(SHIPPED))
    again = predictions(written(tmp_path / "shuffled.csv", shuffled))
    assert [line["predicted"] for line in reversed(again)] == [line["predicted"] for line in lines]
    assert predictions(path) == lines


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kernel": "gemn"}, "Did you mean 'gemm'"),
        ({"chip": "V1000"}, "chip 'V1000' is not in the catalogue"),
        ({"chip": "GPU"}, "is not in the catalogue"),
        ({"precision": "fp31"}, "precision 'fp31' is not known"),
        ({"precision": "fp8"}, "has no rate for fp8"),
        ({"m": "0"}, "m is 0; a whole number from 1"),
        ({"n": "-3"}, "n is -3"),
        ({"k": "1e12"}, "k is 1e12"),
        ({"k": "deep"}, "k is 'deep'"),
        ({"m": ""}, "m is ''"),
    ],
)
def test_a_row_that_cannot_be_is_refused_in_one_line(change, reason, tmp_path, written, predictions):
    (line,) = predictions(written(tmp_path / "k.csv", [{**P100_PRODUCT, **change}]))
    assert line["status"] == "unsupported"
    assert reason in line["reason"]
    assert "\n" not in line["reason"]
    assert line["predicted"] == ""


@pytest.mark.parametrize("family", FAMILIES)
def test_absurd_shapes_of_every_family_are_refused(family):
    entry = FAMILIES[family]
    row = next(r for r in SHIPPED if resolve_kernel(r, FAMILIES).family == family)
    numbers = [c for c in entry.columns if row.get(c) and c not in ("sparsity", "causal", "pad_h", "pad_w")]
    numbers = [c for c in numbers if row[c].replace(".", "").isdigit()]
    assert numbers
    for column in numbers:
        for bad in ("0", "-1", "nan", "1e30"):
            with pytest.raises(RowError, match=column):
                resolve_kernel({**row, column: bad}, FAMILIES)


def test_a_chip_without_measured_rows_is_called_extrapolated(tmp_path, written, predictions):
    rows = [P100_PRODUCT, {**P100_PRODUCT, "chip": "Titan Xp"}]
    known, unknown = predictions(written(tmp_path / "k.csv", rows))
    assert known["extrapolated"] == ""
    assert "0 measured rows" in unknown["extrapolated"]
    # Its interval comes from chips held out whole, which are further off than shapes of known chips.
    families = load_kernels().record.families
    assert families["chips/gemm"].spread > families["shapes/gemm"].spread
    assert float(unknown["low"]) < float(unknown["predicted"]) < float(unknown["high"])


def test_a_bare_name_is_priced_on_every_chip_it_may_mean(tmp_path, written, predictions):
    row = next(r for r in SHIPPED if r["kernel"] == "gemm" and r["chip"] == "V100 PCIe")
    (line,) = predictions(written(tmp_path / "k.csv", [row]))
    assert "chip is one of v100-pcie-16gb, v100-pcie-32gb" in line["assumed"]


def test_the_selection_is_the_same_whatever_the_order_and_never_more_than_stated():
    chosen = select(SHIPPED)
    assert {row["row"] for row in chosen} == {row["row"] for row in SHIPPED}
    assert {row["row"] for row in select(tuple(reversed(SHIPPED)))} == {row["row"] for row in SHIPPED}
    cells = {}
    for row in SHIPPED:
        key = tuple(row[c] for c in ("kernel", "suite", "chip", "precision", "library", "pass", "op"))
        cells[key] = cells.get(key, 0) + 1
    assert max(cells.values()) <= ROWS_PER_CELL
    assert selection_csv(SHIPPED).count("\n") == len(SHIPPED) + 1


def test_the_record_has_every_way_of_holding_out_for_every_family():
    record = load_kernels().record
    assert {key.split("/")[0] for key in record.families} == set(HOLDS)
    for hold in HOLDS:
        for family in FAMILIES:
            entry = record.families[f"{hold}/{family}"]
            assert entry.rows > 0
            assert entry.macro < entry.baseline_macro
    held = recorded_kernels()
    assert set(held) == {row["row"] for row in SHIPPED}
    assert record_csv(SHIPPED, {"chips": {}}).count("\n") == 1


def test_constants_stay_few_and_hold_no_row():
    for family, constants in load_kernels().constants.items():
        names = {key.partition("@")[0] for key in constants.deviations}
        by_chip = {name for name in names if "chip" in FAMILIES[family].specs[name].levels}
        by_library = {name for name in names if "library" in FAMILIES[family].specs[name].levels}
        assert len(by_chip) <= 5, family
        assert len(by_library) <= 4, family


def test_a_calibration_is_written_as_it_was_read():
    found = load_kernels()
    text = to_toml(name="default", constants=found.constants, record=found.record, fitted_on=found.fitted_on)
    path = Path(__file__).parents[2] / "simulator" / "data" / "kernel_calibrations" / "default.toml"
    assert text == path.read_text(encoding="utf-8")


def test_an_unknown_calibration_is_refused_with_the_nearest():
    with pytest.raises(CalibrationError, match="Did you mean 'default'"):
        load_kernels("defualt")


def test_holding_out_needs_measured_rows(tmp_path, written):
    table = read_kernel_table(written(tmp_path / "k.csv", SHIPPED[:3]))
    with pytest.raises(TableError, match="at least 20 measured rows"):
        hold_out(table, "chips")
    with pytest.raises(TableError, match="not by 'moons'"):
        hold_out(table, "moons")


def test_a_chip_held_out_is_predicted_without_its_own_rows(tmp_path, written):
    mine = [r for r in SHIPPED if r["kernel"] == "sparse_gemm" or (r["kernel"] == "attention")]
    table = read_kernel_table(written(tmp_path / "k.csv", mine))
    held = hold_out(table, "chips")
    spoilt = [{**r, "time_s": "1.0"} if "H100" in r["chip"] else r for r in mine]
    again = hold_out(read_kernel_table(written(tmp_path / "s.csv", spoilt)), "chips")
    for i, row in enumerate(mine):
        if "H100" in row["chip"]:  # its own values changed, its prediction did not
            assert again.predicted_s[i] == held.predicted_s[i]
    others = [i for i, r in enumerate(mine) if "A100" in r["chip"]]
    assert any(again.predicted_s[i] != held.predicted_s[i] for i in others)
    chips = {silicon(table.jobs[i].settings[0].chip) for i in held.predicted_s}
    assert len(chips) >= 3


@pytest.mark.parametrize("arguments", [["validate", "kernels", "--json"], ["validate", "kernels"]])
def test_the_command_prints_the_record_of_what_ships(arguments):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    if "--json" in arguments:
        found = json.loads(result.stdout)
        assert found["rows"] == found["predicted"] == len(SHIPPED)
        assert {g["name"] for g in found["by_family"]} == set(FAMILIES)
    else:
        assert "bare roofline" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "kernals"], "Did you mean 'kernels'"),
        (["validate", "kernels", "--calibration", "defalt"], "--calibration"),
        (["validate", "kernels", "--by", "chips"], "--by: goes with"),
        (
            ["validate", "runs", "--held-out", "--by", "chips"],
            "--by: runs are held out by groups, sources; not by chips",
        ),
        (["validate", "runs", "--by", "sources"], "--by: goes with"),
        (["validate", "kernels", "--held-out", "--by", "moons"], "--by"),
        (["validate", "kernels", "absent.csv"], "absent.csv"),
    ],
)
def test_what_the_command_cannot_use_is_said(arguments, message):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
