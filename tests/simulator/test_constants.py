"""Named constants: scopes, ranges, priors, and the budget of how many there may be."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import simulator
from simulator.constants import SCOPES, SPECS, Constants, key_of, log_prior, name_of

#: How many kinds of constant a scope may have: per chip family, stack release and fabric, and in all.
BUDGET = {"global": 40, "chip": 5, "board": 1, "stack": 4, "fabric": 3}


@pytest.mark.parametrize("scope", SCOPES)
def test_the_budget_of_constants_is_kept(scope: str) -> None:
    names = [spec.name for spec in SPECS.values() if spec.scope == scope]
    assert 1 <= len(names) <= BUDGET[scope]


@pytest.mark.parametrize("name", SPECS)
def test_a_constant_says_what_it_is_and_where_it_may_be(name: str) -> None:
    spec = SPECS[name]
    assert spec.meaning
    assert spec.unit
    assert 0.0 < spec.low <= spec.prior <= spec.high
    assert 0.0 < spec.spread <= 1.0
    assert (spec.unit == "s") == name.endswith("_s")


@pytest.mark.parametrize("name", SPECS)
def test_a_constant_is_used_by_the_simulator(name: str) -> None:
    folder = Path(simulator.__file__).parent
    read = re.compile(rf'(get|on_chip|of_chip|of_stack)\(\s*"{name}"')
    uses = [path for path in folder.rglob("*.py") if read.search(path.read_text("utf-8"))]
    by_choice = {"matrix_fraction", "narrow_fraction", "plain_fraction"}  # named together, chosen by the units
    assert uses or name in by_choice


@pytest.mark.parametrize(
    ("name", "owner", "key"),
    [("call_s", "", "call_s"), ("matrix_fraction", "volta", "chip:volta:matrix_fraction"),
     ("host_scale", "nanotron", "stack:nanotron:host_scale"), ("wire_scale", "roce", "fabric:roce:wire_scale")],
)  # fmt: skip
def test_a_key_names_scope_owner_and_constant(name: str, owner: str, key: str) -> None:
    assert key_of(name, owner) == key
    assert name_of(key) == name


def test_a_silent_key_has_its_prior() -> None:
    fitted = Constants(values={"chip:volta:matrix_fraction": 0.5})
    assert fitted.get("matrix_fraction", "volta") == 0.5
    assert fitted.get("matrix_fraction", "hopper") == SPECS["matrix_fraction"].prior


def test_an_unknown_constant_is_an_error() -> None:
    with pytest.raises(KeyError):
        Constants().get("matrix_fractoin", "volta")


def test_distance_from_the_prior_is_in_its_own_spread() -> None:
    spec = SPECS["call_s"]
    assert log_prior("call_s", spec.prior) == 0.0
    assert log_prior("call_s", spec.prior * 2.718281828**spec.spread) == pytest.approx(1.0)


def test_a_constant_of_no_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="scope is 'model'; legal: global, chip, board, stack, fabric"):
        replace(SPECS["call_s"], scope="model")


def test_a_prior_outside_its_range_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 0 < low <= prior <= high"):
        replace(SPECS["call_s"], prior=1.0)
