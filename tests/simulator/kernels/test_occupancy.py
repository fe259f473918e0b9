"""What cores keep in flight: it follows threads, width and clock, and bounds element-wise kernels only."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hwmodels.catalog import chip, chip_ids
from simulator.kernels.occupancy import THREADS, in_flight_byte_per_s, resident_threads

GPUS = [name for name in chip_ids() if chip(name).kind == "gpu"]


def rate(name: str, *, element_byte: float = 4.0, elements_per_clock: float = 6.0) -> float:
    return in_flight_byte_per_s(chip(name), element_byte=element_byte, elements_per_clock=elements_per_clock)


@pytest.mark.parametrize("name", GPUS)
def test_twice_the_clock_or_the_width_keep_twice_as_much_in_flight(name: str) -> None:
    fast = replace(chip(name), clock_hz=2.0 * chip(name).clock_hz)
    assert in_flight_byte_per_s(fast, element_byte=4.0, elements_per_clock=6.0) == pytest.approx(2.0 * rate(name))
    assert rate(name, element_byte=2.0) == pytest.approx(0.5 * rate(name))
    assert rate(name, elements_per_clock=12.0) == pytest.approx(2.0 * rate(name))


@pytest.mark.parametrize("name", GPUS)
def test_no_core_holds_more_threads_than_the_largest(name: str) -> None:
    assert 0.0 < resident_threads(chip(name)) <= THREADS


def test_the_two_dies_of_ampere_hold_what_their_compute_capability_says() -> None:
    assert resident_threads(chip("a100-sxm4-40gb")) == 2048
    assert resident_threads(chip("rtx-3090")) == 1536
    assert resident_threads(chip("rtx-2080-ti")) == 1024


@pytest.mark.parametrize("name", [name for name in chip_ids() if chip(name).kind != "gpu"])
def test_other_chips_are_bound_by_their_memory_alone(name: str) -> None:
    assert rate(name) == float("inf")
