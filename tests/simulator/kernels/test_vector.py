"""Element-wise kernels, normalisation and softmax: laws over every GPU, limits, and a few measured rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from hwmodels.catalog import chip, chip_ids
from hwmodels.chip import ARCHITECTURES, LINEAGES, Chip
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.kernel_time import KernelTime
from simulator.kernels.optable import Floats
from simulator.kernels.settings import Setting, Settings
from simulator.kernels.vector import (
    NEAR_SHARE,
    OP_WORDS,
    OPS,
    RAMP_S,
    RESIDENT_THREADS,
    SPECS,
    VectorShapes,
    found,
    softmax_walk,
    vector_time,
)
from simulator.validation.kernel_suites.family import RowError
from simulator.validation.kernel_suites.vector import FAMILY
from simulator.validation.kernel_suites.vector import SPECS as SUITE_SPECS

GPUS = [name for name in chip_ids() if chip(name).kind == "gpu" and "fp32" in chip(name).peak_flop_per_s]
EXTENTS = ((1, 1), (3, 17), (300, 768), (8192, 1024), (5000, 1280), (2404, 3001), (65536, 2048), (16384, 16384))
#: Relative slack where cores are taken whole.
QUANTUM = 1e-9


def settings_on(machine: Chip | str, rows: int, library: str = "torch-2.1") -> Settings:
    found_chip = chip(machine) if isinstance(machine, str) else machine
    return Settings.of([Setting(chip=found_chip, precision="fp32", library=library)] * rows)


def shapes_of(*cells: tuple[str, float, float]) -> VectorShapes:
    return VectorShapes(
        op=np.array([OP_WORDS.index(op) for op, _, _ in cells]),
        rows=np.array([float(rows) for _, rows, _ in cells]),
        cols=np.array([float(cols) for _, _, cols in cells]),
    )


def priced(machine: Chip | str, *cells: tuple[str, float, float], **changed: float) -> KernelTime:
    settings = settings_on(machine, len(cells))
    values: dict[str, Floats] = KernelConstants(specs=SPECS).rows(settings)
    for name, value in changed.items():
        values[name] = np.full(len(cells), value)
    return vector_time(shapes_of(*cells), settings, values)


EVERY = tuple((op, rows, cols) for op in OPS for rows, cols in EXTENTS)


def test_every_gpu_architecture_has_its_facts() -> None:
    makers = [word for line in ("nvidia", "amd") for word in LINEAGES[line]]
    assert sorted(RESIDENT_THREADS) == sorted(makers) == sorted(NEAR_SHARE)
    assert set(makers) <= set(ARCHITECTURES)


@pytest.mark.parametrize("name", GPUS)
def test_parts_add_up_and_no_time_is_below_its_bound(name: str) -> None:
    time = priced(name, *EVERY)
    assert np.all(np.isfinite(time.device_s))
    assert np.all(time.device_s > 0)
    np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-12)
    assert all(np.all(part >= 0) for part in time.parts.values())
    assert np.all(time.bound_s <= time.device_s)


@pytest.mark.parametrize("name", GPUS)
def test_the_bound_holds_at_the_ends_of_every_constants_range(name: str) -> None:
    low = {key: spec.low for key, spec in SPECS.items()}
    high = {key: spec.high for key, spec in SPECS.items()}
    # What makes kernels fast: large shares, few cycles.
    fast = {key: high[key] if key.endswith(("share", "keep")) else low[key] for key in SPECS}
    for ends in (low, high, fast):
        time = priced(name, *EVERY, **ends)
        assert np.all(time.bound_s <= time.device_s)


@pytest.mark.parametrize("name", GPUS)
def test_more_rows_are_never_faster(name: str) -> None:
    rows = np.unique(np.round(np.geomspace(1, 1e6, 60)))
    device_s = priced(name, *((op, float(n), 1280.0) for op in OPS for n in rows)).device_s.reshape(len(OPS), -1)
    assert np.all(np.diff(device_s, axis=1) >= -QUANTUM * device_s[:, :-1])


@pytest.mark.parametrize("name", GPUS)
def test_longer_rows_are_never_faster(name: str) -> None:
    # Softmax is left out: its number of threads steps with the row's length.
    words = [op for op in OPS if op != "softmax"]
    cols = np.arange(1, 40) * 512.0
    device_s = priced(name, *((op, 8192.0, float(n)) for op in words for n in cols)).device_s.reshape(len(words), -1)
    assert np.all(np.diff(device_s, axis=1) >= -QUANTUM * device_s[:, :-1])


@pytest.mark.parametrize("name", GPUS)
@pytest.mark.parametrize("field", ["memory_bandwidth_byte_per_s", "clock_hz"])
def test_twice_the_bandwidth_or_clock_is_never_slower(name: str, field: str) -> None:
    one = chip(name)
    twice = replace(one, **{field: 2.0 * getattr(one, field)})
    assert np.all(priced(twice, *EVERY).device_s <= priced(one, *EVERY).device_s * (1 + QUANTUM))


@pytest.mark.parametrize("name", GPUS)
def test_huge_tensors_run_at_the_sustained_dram_rate_and_tiny_ones_take_the_ramp(name: str) -> None:
    one = chip(name)
    huge = priced(name, ("add", 1e6, 1e5))
    rate = 3 * 4 * 1e11 / huge.device_s[0] / one.memory_bandwidth_byte_per_s
    share = SPECS["vector_slot_dram_share" if one.tdp_w <= 75 else "vector_dram_share"].prior
    assert 0.75 * share <= rate <= share
    tiny = priced(name, ("relu", 1, 1))
    assert tiny.device_s[0] == pytest.approx(RAMP_S, rel=0.05)


def test_a_tensor_that_fits_the_cache_beats_the_dram() -> None:
    time = priced("a100-pcie-40gb", ("relu", 1024, 512), ("relu", 65536, 4096))
    assert time.dram_byte[0] < 0.02 * time.cache_byte[0]
    assert time.dram_byte[1] > 0.98 * time.cache_byte[1]


def test_the_cache_never_holds_more_than_its_size() -> None:
    size = np.geomspace(1e3, 1e12, 200)
    for steepness in (1.0, 4.0, 12.0):
        assert np.all(found(size, np.full(200, 1e7), np.full(200, steepness)) * size <= 1e7 * (1 + 1e-12))


def test_softmax_walks_short_rows_once_and_long_ones_three_times() -> None:
    cols = np.array([1.0, 33.0, 1024.0, 1025.0, 2048.0, 4096.0, 1280.0])
    threads, steps, walks = softmax_walk(cols, np.full(7, 4.0))
    np.testing.assert_array_equal(walks, [1, 1, 1, 3, 3, 3, 3])
    np.testing.assert_array_equal(threads, [32, 32, 32, 128, 256, 512, 256])
    # 33 elements are padded to 64; rows of 2,048 and 4,096 are two whole rounds; 1,280 leaves a remainder.
    np.testing.assert_array_equal(steps[[0, 1, 2, 4, 5]], [1, 2, 32, 2, 2])
    assert steps[6] > 2


def test_rows_that_outgrow_the_caches_are_read_again() -> None:
    time = priced("v100-pcie-16gb", ("softmax", 65536, 2048), ("softmax", 65536, 16384), ("layernorm", 65536, 16384))
    ratio = time.dram_byte / (2 * 4 * 65536 * np.array([2048, 16384, 16384]))
    assert ratio[0] < 1.2
    assert ratio[1] == pytest.approx(2.0, rel=0.05)
    assert ratio[2] == pytest.approx(1.5, rel=0.05)


def test_one_by_one_equals_all_together_in_any_order() -> None:
    together = priced("l4", *EVERY).device_s
    alone = np.array([priced("l4", cell).device_s[0] for cell in EVERY])
    np.testing.assert_array_equal(together, alone)
    order = np.random.default_rng(3).permutation(len(EVERY))
    np.testing.assert_array_equal(priced("l4", *(EVERY[i] for i in order)).device_s, together[order])


def row(**cells: str) -> dict[str, str]:
    return {"kernel": "vector", "op": "add", "rows": "8", "cols": "8", "pass": "fwd", **cells}


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ({"op": "sofmax"}, "op is 'sofmax'; one of add, .*softmax"),
        ({"rows": "0"}, "rows is 0; a whole number from 1"),
        ({"cols": "1.5"}, "cols is 1.5; a whole number from 1"),
        ({"cols": ""}, "cols is ''; a whole number from 1"),
        ({"pass": "bwd"}, "pass is 'bwd'; .*'fwd' or empty"),
    ],
)
def test_a_row_that_cannot_be_is_refused_in_one_line(cells: dict[str, str], message: str) -> None:
    with pytest.raises(RowError, match=message) as caught:
        FAMILY.check(row(**cells))
    assert "\n" not in str(caught.value)


def test_a_row_that_can_be_passes() -> None:
    FAMILY.check(row())


#: op, chip, rows, columns, seconds: NeuSight@6945927, single launches of PyTorch between timer events.
MEASURED = (
    ("softmax", "v100-pcie-16gb", 32768, 768, 274.669e-6),
    ("softmax", "a100-pcie-40gb", 131072, 4096, 3296.397e-6),
    ("layernorm", "a100-pcie-40gb", 131072, 10240, 11796.281e-6),
    ("layernorm", "v100-pcie-16gb", 65536, 5120, 4980.544e-6),
    ("layernorm", "l4", 16384, 4096, 2264.448e-6),
    ("softmax", "p4", 8192, 16384, 14701.037e-6),
    ("softmax", "a100-pcie-40gb", 43, 7, 33.581e-6),
)


def test_unfitted_priors_are_within_a_third_of_measured_rows() -> None:
    rows = [{"op": op, "rows": str(n), "cols": str(m)} for op, _, n, m, _ in MEASURED]
    settings = Settings.of(
        [Setting(chip=chip(name), precision="fp32", library="torch-2.1") for _, name, _, _, _ in MEASURED]
    )
    values = KernelConstants(specs=SUITE_SPECS).rows(settings)
    predicted = FAMILY.observed_s(FAMILY.read(rows), settings, values)
    off = np.log(predicted / np.array([seconds for *_, seconds in MEASURED]))
    assert np.all(np.abs(off) < 0.33), off
    assert np.mean(np.abs(off)) < 0.15


def test_the_floor_of_the_timer_never_enters_the_device_time() -> None:
    settings = settings_on("v100-pcie-16gb", 1)
    values = KernelConstants(specs=SUITE_SPECS).rows(settings)
    shapes = FAMILY.read([row(rows="1", cols="1")])
    assert FAMILY.observed_s(shapes, settings, values)[0] > 2e-5
    assert FAMILY.time(shapes, settings, values).device_s[0] < 4e-6
