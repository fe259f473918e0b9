"""What a second reader found in print of the chips' facts, against the catalogue.

Each file of `second_reading/` is of one chip and accounts for each of its facts: read (value, unit, where, whether it
agrees), or in `not_read`. Facts that the reader changed are in `corrected` as well: of those he is the first reader.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from hwmodels import catalog
from hwmodels.units import to_si

FILES = sorted((Path(__file__).parent / "second_reading").glob("*.toml"))
READINGS: dict[str, dict[str, Any]] = {path.stem: tomllib.loads(path.read_text(encoding="utf-8")) for path in FILES}

#: Two prints of one figure are rounded differently; what is further apart is another figure.
ALIKE = 0.005

each_reading = pytest.mark.parametrize("id", READINGS)


def dimension(key: str) -> str:
    """The dimension of the fact `key` of a chip: its table says it, or its last word."""
    table, word = key.split(".")
    if table in ("peak", "vector_peak"):
        return "flop/s"
    if table == "power":
        return "w"
    if table == "memory":
        return "byte/s" if word.endswith("bandwidth") else "byte"
    return "hz" if word == "clock" else "1"


def test_most_of_the_chips_with_the_most_measurements_were_read_again() -> None:
    assert len(READINGS) >= 60
    checked = {id for id in catalog.chip_ids() if catalog.chip(id).status == "checked"}
    assert checked >= {"p100-sxm2", "v100-sxm2-16gb", "v100-sxm2-32gb", "a100-sxm4-40gb", "a100-sxm4-80gb", "h100-sxm5"}


@each_reading
def test_a_reading_is_of_a_chip_and_has_nothing_else(id: str) -> None:
    reading = READINGS[id]
    assert set(reading) == {"schema", "id", "not_read", "corrected", "facts"}
    assert reading["schema"] == 1
    assert reading["id"] == id
    assert id in catalog.chip_ids()


@each_reading
def test_every_fact_is_read_or_said_not_to_be(id: str) -> None:
    reading = READINGS[id]
    facts = catalog.chip(id).facts
    read, not_read = set(reading["facts"]), set(reading["not_read"])
    assert read
    assert read | not_read == set(facts)
    assert not read & not_read
    assert set(reading["corrected"]) <= read
    for key, fact in reading["facts"].items():
        assert set(fact) - {"note"} == {"value", "unit", "where", "agrees"}, key
        assert fact["where"].strip(), key


@each_reading
def test_what_was_read_agrees_with_the_catalogue_where_it_says_so_and_only_there(id: str) -> None:
    facts = catalog.chip(id).facts
    for key, fact in READINGS[id]["facts"].items():
        value = to_si(float(fact["value"]), fact["unit"], dimension(key))
        assert (abs(value / facts[key].value - 1) <= ALIKE) == fact["agrees"], key


@each_reading
def test_a_reading_that_disagrees_says_more(id: str) -> None:
    for key, fact in READINGS[id]["facts"].items():
        assert fact["agrees"] or fact.get("note"), key
