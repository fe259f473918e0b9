"""A made-up machine whose constants are known: its cases are those of the probe, its times those of the laws."""

import math

import numpy as np
import pytest

from hwmodels.chip import Chip
from simulator.machine_fit.observations import Observation, of_record
from simulator.probe.case import Scale
from simulator.probe.record import Measurement, ProbeRecord
from simulator.probe.suites import SUITES
from simulator.probe.timing import timing_of

MACHINE = {
    "device": "cpu", "name": "A made-up CPU", "vendor": "Intel", "capability": "AVX512", "cores": 8, "threads": 4,
    "memory_byte": 2**35, "torch": "2.13.0", "last_cache_byte": 2**24, "on_chip_byte": 32768,
    "highest_clock_mhz": 3000.0, "precisions": ["fp32", "bf16"],
}  # fmt: skip
SCALE = Scale(flop=(2e5, 6e9), byte=(1 << 12, 2.0**28))
PEAK = {"fp32": 4e11, "bf16": 8e11}
BANDWIDTH = 3e10


@pytest.fixture
def chip():
    return Chip(
        id="this-machine", name="A made-up CPU", vendor="Intel (CPU)", year=2020, architecture="vectors-512",
        kind="cpu", peak_flop_per_s=PEAK, cores=4, clock_hz=3e9, memory_byte=2.0**35,
        memory_bandwidth_byte_per_s=BANDWIDTH, l2_byte=2.0**24, on_chip_byte=131072.0, tdp_w=40.0,
    )  # fmt: skip


def cases(suite, count=None, precisions=("fp32", "bf16")):
    made = SUITES[suite].cases(precisions, "cpu", 0, SCALE)
    return made[:count]


def noise(count, scale=0.03, seed=0):
    return np.exp(np.random.default_rng(seed).normal(0.0, scale, count))


def seconds_of(case):
    """A plausible time of any case: rates below the peaks, a start, a rate of bytes."""
    share = {"gemm": 0.7, "convolution": 0.4, "attention": 0.3}.get(case.suite, 0.5)
    rate = PEAK.get(case.precision, PEAK["fp32"]) * share
    return (
        4e-6
        + max(case.flop / rate, case.byte / BANDWIDTH)
        + (5e-6 * case.shape["operators"] * 4 if case.suite == "launch" else 0.0)
    )


def measurement(case, seconds):
    shared = case.suite == "collectives"
    return Measurement(
        case=case, timing=timing_of([seconds * f for f in (0.99, 1.0, 1.01)], 1), ranks=2 if shared else 1,
        threads=4, library="gloo" if shared else "",
    )  # fmt: skip


@pytest.fixture
def record():
    """A whole probe of the machine, with noise of three per cent."""

    def make(suites=tuple(SUITES), count=60, precisions=("fp32", "bf16")):
        found = {}
        for suite in suites:
            chosen = cases(suite, count, precisions)
            for case, factor in zip(chosen, noise(len(chosen), seed=len(suite)), strict=True):
                found[case.id] = measurement(case, seconds_of(case) * float(factor))
        return ProbeRecord(machine=MACHINE, seed=0, measurements=found)

    return make


@pytest.fixture
def observed():
    """Observations of cases whose times are what a law says of planted constants, with noise."""

    def make(suite_cases, seconds, scale=0.03):
        measured = {c.id: measurement(c, 1.0) for c in suite_cases}
        rows = of_record(ProbeRecord(machine=MACHINE, seed=0, measurements=measured))
        times = seconds(rows) * noise(len(rows), scale)
        fields = [f for f in Observation.__dataclass_fields__ if f != "seconds"]
        return [
            Observation(**{f: getattr(o, f) for f in fields}, seconds=float(t))
            for o, t in zip(rows, times, strict=True)
        ]

    return make


def within(constant, planted):
    """Whether an interval holds what was planted, three of its half-widths allowed for (several are looked at)."""
    half = math.log(constant.high / constant.low) / 2.0
    return abs(math.log(constant.value / planted)) <= max(2.0 * half, 0.02)
