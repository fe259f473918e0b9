"""Data, money and energy of a run, by hand and by law."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwmodels.catalog as hardware
from simulator.outcome import OutcomeError, amount, energy, latest_price
from simulator.outcome.data import IMAGENET_IMAGES
from workloads import catalog

V100 = hardware.chip("v100-sxm2-16gb")


def test_ninety_epochs_of_imagenet_are_450411_steps_of_256() -> None:
    # 90 x 1,281,167 / 256 = 450,410.3
    found = amount(catalog.model("resnet50"), global_batch=256, epochs=90)
    assert found is not None
    assert found.steps == 450_411
    assert found.samples == 90 * IMAGENET_IMAGES
    assert "1,281,167" in found.assumed


def test_three_hundred_billion_tokens_are_95368_steps_of_1536_sequences() -> None:
    # 300e9 / 2048 / 1536 = 95,367.4
    found = amount(catalog.model("gpt3-175b"), global_batch=1536, tokens=300e9)
    assert found is not None
    assert (found.steps, found.tokens, found.assumed) == (95_368, pytest.approx(300e9), "")


def test_a_whole_number_of_steps_is_not_rounded_up() -> None:
    found = amount(catalog.model("resnet50"), global_batch=100, epochs=0.1, dataset_samples=3000)
    assert found is not None
    assert found.steps == 3


def test_no_amount_asked_for_is_no_amount() -> None:
    assert amount(catalog.model("resnet50"), global_batch=256) is None


@pytest.mark.parametrize(
    ("model", "given_", "says"),
    [
        ("resnet50", {"tokens": 1e9}, "trains on images; legal: samples, epochs"),
        ("gpt3-175b", {"epochs": 1.0}, "legal: epochs with dataset_samples"),
        ("gpt3-175b", {"tokens": 1e9, "samples": 5.0}, "tokens and samples are given; legal: one of"),
        ("gpt3-175b", {"tokens": -1.0}, "tokens is -1.0"),
        ("resnet50", {"epochs": math.inf}, "epochs is inf"),
    ],
)
def test_an_amount_that_cannot_be_is_refused(model: str, given_: dict, says: str) -> None:
    with pytest.raises(OutcomeError, match=says):
        amount(catalog.model(model), global_batch=8, **given_)


def test_the_server_has_its_own_price_and_the_basis_says_where_and_when() -> None:
    price = latest_price("a100-sxm4-40gb", "p4d.24xlarge")
    assert price.usd_per_chip_hour == 4.096
    assert "AWS on-demand list price, us-east-1, 2020" in price.basis
    assert price.cost_usd(1000.0) == 4096.0


def test_the_latest_list_price_of_a_chip_counts() -> None:
    rents = [p for p in hardware.prices("a100-sxm4-40gb") if p.kind == "rent"]
    price = latest_price("a100-sxm4-40gb", "dgx-a100-40gb").price
    assert price is not None
    assert price.date == max(p.date for p in rents)


def test_without_a_price_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "prices", lambda chip_id: ())
    price = latest_price("h100-sxm5", "dgx-h100")
    assert price.usd_per_chip_hour is None
    assert price.cost_usd(5.0) is None
    assert price.basis == "no list price by the hour is known for h100-sxm5"


def test_energy_by_hand() -> None:
    # 1.1 x 3600 s x (8 x (32.3 + 0.5 x 267.7) W + 1 x 1100 W) = 3600 x 1.1 x 2429.2 W
    use = energy(chip=V100, chips=8, servers=1, host_power_w=1100.0, utilisation=0.5, time_s=3600.0)
    assert use.energy_j == pytest.approx(1.1 * 3600 * 2429.2)
    assert "PUE 1.1" in use.basis


@given(
    st.floats(0, 1), st.floats(0, 1e9), st.integers(0, 10**5), st.integers(0, 10**4), st.floats(0, 1e4), st.floats(1, 3)
)
def test_energy_lies_between_idle_and_full(
    utilisation: float, time_s: float, chips: int, servers: int, host_power_w: float, pue: float
) -> None:
    use = energy(
        chip=V100,
        chips=chips,
        servers=servers,
        host_power_w=host_power_w,
        utilisation=utilisation,
        time_s=time_s,
        pue=pue,
    )
    assert use.idle_j <= use.energy_j * (1 + 1e-12)
    assert use.energy_j <= use.peak_j * (1 + 1e-12)


def test_an_assumed_idle_power_says_so() -> None:
    chip = replace(V100, idle_w=None)
    assert "45 W idle (assumed)" in energy(chip=chip, chips=1, servers=1, host_power_w=0, utilisation=1, time_s=1).basis


@pytest.mark.parametrize("wrong", [{"utilisation": 1.1}, {"pue": 0.9}, {"time_s": -1.0}, {"chips": -1}])
def test_energy_refuses_what_cannot_be(wrong: dict) -> None:
    right = {"chips": 1, "servers": 1, "host_power_w": 1.0, "utilisation": 0.5, "time_s": 1.0, "pue": 1.1}
    with pytest.raises(ValueError, match="energy: "):
        energy(chip=V100, **{**right, **wrong})
