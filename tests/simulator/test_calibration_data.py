"""Calibration files: ranges, budget, and that a file written and read again is the same."""

from __future__ import annotations

from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest

import simulator.calibration_data as calibrations
from hwmodels.catalog import chip, chip_ids
from hwmodels.datafile import DataFileError
from simulator.calibration_data import (
    Calibration,
    CalibrationError,
    Record,
    calibration_names,
    load,
    load_constants,
    load_record,
    row_ranges,
    to_toml,
)
from simulator.constants import SPECS, Constants, name_of
from simulator.stack import stack_ids


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package folder of its own, so that a test may write calibrations into it."""
    where = tmp_path / "data" / "calibrations"
    where.mkdir(parents=True)
    monkeypatch.setattr(calibrations, "files", lambda _: tmp_path)
    return where


def reread(folder: Path, text: str, name: str = "made") -> Calibration:
    (folder / f"{name}.toml").write_text(text, "utf-8")
    calibrations._shipped.cache_clear()
    return load(name)


@pytest.mark.parametrize("name", calibration_names())
def test_shipped_constants_are_inside_their_ranges_and_budget(name: str) -> None:
    values = load(name).constants.values
    assert values
    per_owner: Counter[str] = Counter()
    for key, value in values.items():
        spec = SPECS[name_of(key)]
        assert spec.low * 0.999 <= value <= spec.high * 1.001, key
        scope, _, owner = key.removesuffix(f":{spec.name}").partition(":")
        assert (scope, bool(owner)) == (spec.scope, True) if ":" in key else spec.scope == "global"
        # One owner and no more: a product of owners (chip x stack) would be a cell of a table.
        assert ":" not in owner
        per_owner[key.rpartition(":")[0] or "global"] += 1
    budget = {"global": 40, "chip": 5, "board": 1, "stack": 4, "fabric": 3}
    assert all(count <= budget[owner.partition(":")[0]] for owner, count in per_owner.items())


@pytest.mark.parametrize("name", calibration_names())
def test_shipped_constants_belong_to_chips_and_stacks_that_ship(name: str) -> None:
    families = {chip(c).architecture for c in chip_ids()}
    owners = {"chip": families, "stack": set(stack_ids())}
    for key in load(name).constants.values:
        scope, _, rest = key.partition(":")
        if scope in owners:
            assert rest.rpartition(":")[0] in owners[scope], key


@pytest.mark.parametrize("name", calibration_names())
def test_a_shipped_calibration_names_what_it_was_fitted_on_and_its_record(name: str) -> None:
    one = load(name)
    assert one.constants.fitted_on
    assert one.fitted_on["rows"]
    assert set(one.record.families) == {"llm", "bert", "cnn", "other"}
    assert all(entry.macro < entry.baseline_macro for entry in one.record.families.values())
    assert all(entry.low < 0.0 < entry.high for entry in one.record.families.values())
    assert set(one.record.stack_spread) == set(one.record.stack_groups)


@pytest.mark.parametrize("name", calibration_names())
def test_a_shipped_calibration_written_again_is_the_same_but_for_comments(name: str) -> None:
    one = load(name)
    text = to_toml(name=name, constants=one.constants, record=one.record, fitted_on=one.fitted_on)
    shipped = (files("simulator") / "data" / "calibrations" / f"{name}.toml").read_text("utf-8")
    assert [line.split("  #")[0] for line in text.splitlines()] == [
        line.split("  #")[0] for line in shipped.splitlines()
    ]


@pytest.mark.parametrize("name", calibration_names())
def test_a_calibration_written_and_read_is_the_same(folder: Path, name: str) -> None:
    one = load(name)
    assert reread(
        folder, to_toml(name=name, constants=one.constants, record=one.record, fitted_on=one.fitted_on), name
    ) == one  # fmt: skip


def test_a_calibration_without_a_record_is_read_back(folder: Path) -> None:
    constants = Constants(values={"call_s": 2e-05, "chip:volta:matrix_fraction": 1.0}, name="made", fitted_on="nothing")
    text = to_toml(name="made", constants=constants, record=Record(), fitted_on={"what": "nothing"})
    assert reread(folder, text) == Calibration(
        name="made", constants=constants, record=Record(), fitted_on={"what": "nothing"}
    )


def test_what_was_seen_survives_without_families(folder: Path) -> None:
    record = Record(seen=frozenset({"llm/volta/nanotron"}), largest={"volta": 64})
    text = to_toml(name="made", constants=Constants(name="made"), record=record, fitted_on={})
    assert reread(folder, text).record == record


def test_names_with_quotes_survive(folder: Path) -> None:
    text = to_toml(name="made", constants=Constants(name="made"), record=Record(), fitted_on={"what": 'a "b" \\ c'})
    assert reread(folder, text).fitted_on == {"what": 'a "b" \\ c'}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            '"chip:volta:matrix_fraction" = 1.2',
            "made.toml:2: constants.chip:volta:matrix_fraction: 1.2 is outside 0.4 to 1.0",
        ),
        ("call_s = -1.0", "made.toml:2: constants.call_s: -1.0 is outside"),
        ("cal_s = 1e-5", "made.toml:2: constants.cal_s: no such constant. Did you mean 'call_s'"),
    ],
)  # fmt: skip
def test_a_constant_that_cannot_be_is_refused_with_its_line(folder: Path, line: str, message: str) -> None:
    with pytest.raises(DataFileError) as refusal:
        reread(folder, f"[constants]\n{line}\n")
    assert message in str(refusal.value)


def test_an_unknown_calibration_is_refused_with_the_nearest() -> None:
    with pytest.raises(CalibrationError, match="Did you mean 'default'"):
        load("defualt")


def test_constants_and_record_come_from_the_same_file() -> None:
    assert load_constants() == load().constants
    assert load_record() == load().record


def test_an_interval_is_wider_outside_what_was_checked() -> None:
    record = load_record()
    inside, outside = (record.factors("llm", "megatron-lm-2021", extrapolated=e) for e in (False, True))
    assert inside is not None
    assert outside is not None
    assert outside[0] < inside[0] < 1.0 < inside[1] < outside[1]
    assert record.factors("nothing of the kind", "megatron-lm-2021") is None


@pytest.mark.parametrize(
    ("rows", "text"), [([], ""), ([3], "3"), ([5, 4, 3, 9, 12, 11], "3-5,9,11-12"), ([1, 1, 2], "1-2")]
)
def test_row_numbers_are_written_as_ranges(rows: list[int], text: str) -> None:
    assert row_ranges(rows) == text
