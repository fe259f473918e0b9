"""A file of facts is checked as a whole, and every problem has its line."""

import pickle

import pytest

from hwmodels.chip import read_chip
from hwmodels.datafile import DataFileError, parse_toml
from hwmodels.facts import Fact, FrozenMapping, Source
from hwmodels.link import read_link
from hwmodels.server import read_server

CHIP = """\
schema = 1
id = "toy"
name = "Toy chip"
vendor = "Nobody"
year = 2020
architecture = "volta"
kind = "gpu"
status = "provisional"
measured_as = ["Toy"]

[peak]
fp32 = { value = 10, unit = "TFLOP/s", source = "sheet", locator = "page 1" }

[compute]
cores = { value = 80, unit = "1", source = "sheet", locator = "page 1" }
clock = { value = 1500, unit = "MHz", source = "sheet", locator = "page 1" }

[memory]
capacity = { value = 16, unit = "GiB", source = "sheet", locator = "page 1" }
bandwidth = { value = 900, unit = "GB/s", source = "sheet", locator = "page 2", note = "HBM2" }

[power]
tdp = { value = 300, unit = "W", source = "sheet", locator = "page 1" }

[sources.sheet]
title = "Data sheet"
where = "a drawer"
kind = "vendor"
"""


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(DataFileError) as refusal:
        read_chip(parse_toml(text, name="toy.toml"))
    return refusal.value.problems


def test_facts_keep_what_the_source_prints() -> None:
    chip = read_chip(parse_toml(CHIP, name="toy.toml"))
    assert chip.memory_bandwidth_byte_per_s == 900e9
    assert chip.facts["memory.bandwidth"] == Fact(
        value=900e9, unit="GB/s", printed=900.0, source="sheet", locator="page 2", note="HBM2"
    )
    assert chip.sources["sheet"].where == "a drawer"


def test_silence_is_not_zero() -> None:
    chip = read_chip(parse_toml(CHIP, name="toy.toml"))
    assert chip.idle_w is None
    assert chip.host_bandwidth_byte_per_s is None
    assert chip.far_memory_byte is None
    assert chip.vector_peak_flop_per_s == {}
    assert (chip.dies, chip.sparse_multiplier) == (1, 1.0)
    assert chip.l2_byte == 0.0


@pytest.mark.parametrize(
    ("found", "put", "problem"),
    [
        ('unit = "GB/s"', 'unit = "TBps"', "toy.toml:20: memory.bandwidth: unit 'TBps' is not known. Did you mean"),
        ('unit = "GB/s"', 'unit = "GB"', "unit 'GB' is a unit of byte, not of byte/s"),
        ('unit = "GB/s", ', "", "toy.toml:20: memory.bandwidth: has no unit."),
        ('unit = "GB/s"', "unit = 5", "unit is 5; a text is needed"),
        ("value = 900", "value = -900", "toy.toml:20: memory.bandwidth: value is -900"),
        ("value = 900", 'value = "900"', "value is '900'"),
        ("value = 900", "value = true", "value is True"),
        ("value = 900, ", "", "value is None"),
        ('locator = "page 2", ', "", "toy.toml:20: memory.bandwidth: locator is ''"),
        ('note = "HBM2"', "note = 2", "note is 2"),
        ('note = "HBM2"', 'notes = "HBM2"', "memory.bandwidth.notes: is not known; one of value"),
        ('note = "HBM2"', 'notes = "HBM2"', "Did you mean 'note'?"),
        ('source = "sheet", locator = "page 2"', 'source = "shet", locator = "page 2"', "Did you mean 'sheet'?"),
        ("[power]", "bandwith = 1\n[power]", "toy.toml:22: memory.bandwith: is not known here. Did you mean"),
        ("[power]", "[pover]", "power.tdp: is missing."),
        ("[power]", "[pover]", "toy.toml:22: pover: is not known here. Did you mean 'power'?"),
        ("schema = 1", "schema = 2", "toy.toml:1: schema: must be 1."),
        ("year = 2020", "year = 20", "toy.toml:5: year: is 20"),
        ('"volta"', '"volt"', "toy.toml:6: architecture: is 'volt'; one of fermi, kepler"),
        ('name = "Toy chip"', "name = 3", "toy.toml:3: name: is 3; a text is needed."),
        ('name = "Toy chip"\n', "", "toy.toml: name: is missing."),
        ('measured_as = ["Toy"]', "measured_as = [1]", "toy.toml:9: measured_as: a list of texts is needed."),
        ("fp32 = {", "fp33 = {", "toy.toml:12: peak.fp33: is not known; one of fp64"),
        ("[power]", "far_bandwidth = 1\n[power]", "toy.toml:22: memory.far_bandwidth: is the bare value 1"),
        (
            "[compute]",
            "[vector_peak]\nfp33 = 1\n\n[compute]",
            "toy.toml:15: vector_peak.fp33: is not known; one of fp64",
        ),
        ("value = 80,", "value = 80.5,", "toy.toml:15: compute.cores: is 80.5; a whole number is needed."),
        ('kind = "vendor"', 'kind = "friend"', "toy.toml:28: sources.sheet.kind: is 'friend'; one of vendor"),
        ('title = "Data sheet"\n', "", "toy.toml:25: sources.sheet.title: is missing."),
        ("fp32 = {", "int8 = 3\nfp32 = {", "toy.toml:12: peak.int8: is the bare value 3; write { value, unit"),
        ("value = 10,", "value = 0,", "toy.toml: Chip 'toy': peak_flop_per_s['fp32'] is 0.0"),
    ],
)
def test_problem_of_a_chip_file_has_its_line_and_way_out(found: str, put: str, problem: str) -> None:
    assert found in CHIP
    assert any(problem in line for line in problems_of(CHIP.replace(found, put, 1)))


def test_bare_number_is_refused() -> None:
    text = CHIP.replace('{ value = 300, unit = "W", source = "sheet", locator = "page 1" }', "300")
    assert problems_of(text) == (
        "toy.toml:23: power.tdp: is the bare value 300; write { value, unit, source, locator }.",
    )


def test_every_optional_fact_is_read_in_si() -> None:
    def fact(value: float, unit: str) -> str:
        return f'{{ value = {value}, unit = "{unit}", source = "sheet", locator = "page 3" }}'

    text = CHIP.replace("[compute]", f"[vector_peak]\nfp32 = {fact(5, 'TFLOP/s')}\n\n[compute]")
    text = text.replace("[memory]", f"dies = {fact(2, '1')}\nsparse_multiplier = {fact(2, '1')}\n\n[memory]")
    added = {"on_chip_bandwidth": 9, "fabric_bandwidth": 8, "far_bandwidth": 7, "host_bandwidth": 6}
    lines = [f"{key} = {fact(value, 'TB/s')}" for key, value in added.items()]
    lines.append(f"far_capacity = {fact(1, 'TiB')}")
    chip = read_chip(parse_toml(text.replace("[power]", "\n".join([*lines, "", "[power]"])), name="toy.toml"))
    assert chip.vector_peak_flop_per_s == {"fp32": 5e12}
    assert (chip.dies, chip.sparse_multiplier) == (2, 2.0)
    assert (chip.on_chip_bandwidth_byte_per_s, chip.fabric_bandwidth_byte_per_s) == (9e12, 8e12)
    assert (chip.far_memory_byte, chip.far_memory_bandwidth_byte_per_s) == (2.0**40, 7e12)
    assert chip.host_bandwidth_byte_per_s == 6e12


def test_source_that_no_fact_names_is_refused() -> None:
    text = CHIP + '\n[sources.other]\ntitle = "x"\nwhere = "y"\nkind = "paper"\n'
    assert problems_of(text) == ("toy.toml:30: sources.other: is described but no fact names it.",)


def test_file_without_sources_is_refused() -> None:
    assert any("sources: is missing" in line for line in problems_of(CHIP.split("[sources")[0]))


def test_all_problems_of_a_file_come_together() -> None:
    text = CHIP.replace('"volta"', '"vulta"').replace('"MHz"', '"Mhz"').replace("year = 2020", "year = 1")
    assert len(problems_of(text)) == 3


@pytest.mark.parametrize("read", [read_chip, read_link, read_server])
@pytest.mark.parametrize(
    "text",
    ["", "id = 3", "peak = 3\nsources = 4", "[sources]\nx = 1", "schema = 1\n[[memory]]\ncapacity = 1", "sources = []"],
)
def test_empty_or_misshapen_file_is_refused(read: object, text: str) -> None:
    assert callable(read)
    with pytest.raises(DataFileError, match=r"x\.toml"):
        read(parse_toml(text, name="x.toml"))


def test_fact_needs_a_source_and_a_locator() -> None:
    with pytest.raises(ValueError, match="neither may be empty"):
        Fact(value=1.0, unit="W", printed=1.0, source="sheet", locator="")


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_fact_is_finite_and_not_negative(value: float) -> None:
    with pytest.raises(ValueError, match="a finite number, 0 or more"):
        Fact(value=value, unit="W", printed=1.0, source="sheet", locator="page 1")


def test_source_kind_is_one_of_four() -> None:
    with pytest.raises(ValueError, match="one of vendor, paper, secondary, recalled"):
        Source(key="x", title="x", where="x", kind="rumour")


def test_frozen_mapping_is_equal_to_its_items_and_survives_pickling() -> None:
    frozen = FrozenMapping({"a": 1})
    assert frozen == {"a": 1}
    assert pickle.loads(pickle.dumps(frozen)) == frozen
    assert hash(frozen) == hash(FrozenMapping({"a": 1}))
    assert not hasattr(frozen, "__setitem__")


def test_frozen_mapping_does_not_follow_the_mapping_it_came_from() -> None:
    items = {"a": 1}
    frozen = FrozenMapping(items)
    items["a"] = 2
    assert frozen["a"] == 1
