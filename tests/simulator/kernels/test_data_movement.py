"""Kernels that move bytes: laws over every GPU, closed forms, and micro-benchmarks."""

from dataclasses import fields, replace

import numpy as np
import pytest

from hwmodels import catalog
from simulator.kernels.data_movement import (
    ATOMIC_CYCLES,
    CHIP_TO_HOST,
    HOST_TO_CHIP,
    ON_CHIP,
    SPECS,
    TENSORS_PER_LAUNCH,
    CopyShapes,
    GatherShapes,
    UpdateShapes,
    cached_share,
    copy_time,
    distinct_rows,
    gather_time,
    prior_values,
    update_time,
)
from simulator.kernels.settings import Setting, Settings
from workloads.optimizer import OPTIMIZERS

GPUS = [chip for chip in map(catalog.chip, catalog.chip_ids()) if chip.kind == "gpu"]
A100 = catalog.chip("a100-sxm4-80gb")
each_gpu = pytest.mark.parametrize("chip", GPUS, ids=lambda chip: chip.id)
KIND = {"way": np.int64, "pinned": bool, "warm": bool, "add": bool, "fused": bool}


def settings(chip, rows=1):
    return Settings.of([Setting(chip=chip, precision="fp32", library="")] * rows)


def build(kind, rows, **columns):
    made = {name: np.broadcast_to(np.asarray(v, dtype=KIND.get(name, float)), (rows,)) for name, v in columns.items()}
    return kind(**made)


def copies(rows=1, **columns):
    return build(CopyShapes, rows, **({"way": ON_CHIP, "byte": 1e8, "pinned": True, "warm": False} | columns))


def gathers(rows=1, **columns):
    base = {"add": False, "table": 1e6, "width": 64.0, "lookups": 1e5, "hottest": 0.0, "index_byte": 8.0}
    return build(GatherShapes, rows, **(base | columns))


def updates(rows=1, **columns):
    base = {"parameters": 1e8, "tensors": 100.0, "words": 7.0, "flop": 12.0, "word_byte": 4.0, "copy_byte": 0.0}
    return build(UpdateShapes, rows, **(base | {"fused": True} | columns))


def grids(chip):
    """Shapes of every kind over many sizes, with the function that prices them and its columns of work."""
    host = chip.host_bandwidth_byte_per_s is not None
    ways = [ON_CHIP, HOST_TO_CHIP, CHIP_TO_HOST] if host else [ON_CHIP]
    way, byte, pinned, warm = np.meshgrid(ways, np.geomspace(1.0, 1e10, 30), [False, True], [False, True])
    yield (
        copy_time,
        copies(way.size, way=way.ravel(), byte=byte.ravel(), pinned=pinned.ravel(), warm=warm.ravel()),
        ("byte",),
    )
    add, table, width, lookups, hottest = np.meshgrid(
        [False, True], [10.0, 1e4, 1e8], [1.0, 32.0, 100.0], [1.0, 1e3, 1e6], [0.0, 1.0]
    )
    hottest = hottest * lookups
    yield gather_time, gathers(
        add.size, add=add.ravel(), table=table.ravel(), width=width.ravel(), lookups=lookups.ravel(),
        hottest=hottest.ravel(),
    ), ("lookups", "width", "hottest")  # fmt: skip
    parameters, tensors, fused = np.meshgrid(np.geomspace(10, 1e11, 20), [1.0, 37.0, 1e4], [False, True])
    yield update_time, updates(
        fused.size, parameters=parameters.ravel(), tensors=tensors.ravel(), fused=fused.ravel()
    ), ("parameters", "tensors", "words", "copy_byte")  # fmt: skip


@each_gpu
@pytest.mark.parametrize("edge", ["prior", "low", "high"])
def test_time_is_above_its_bound_and_is_the_sum_of_its_parts(chip, edge):
    for price, call, _ in grids(chip):
        rows = len(getattr(call, fields(call)[0].name))
        time = price(call, settings(chip, rows), {n: np.full(rows, getattr(s, edge)) for n, s in SPECS.items()})
        assert np.all(time.bound_s <= time.device_s)
        assert np.all(time.device_s > 0)
        np.testing.assert_allclose(sum(time.parts.values()), time.device_s, rtol=1e-9)
        assert min(np.min(part / time.device_s) for part in time.parts.values()) > -1e-9


@each_gpu
def test_more_work_is_never_faster_and_a_faster_chip_never_slower(chip):
    quicker = replace(
        chip,
        memory_bandwidth_byte_per_s=2 * chip.memory_bandwidth_byte_per_s,
        clock_hz=2 * chip.clock_hz,
        host_bandwidth_byte_per_s=chip.host_bandwidth_byte_per_s and 2 * chip.host_bandwidth_byte_per_s,
    )
    for price, call, columns in grids(chip):
        rows = len(getattr(call, fields(call)[0].name))
        of = settings(chip, rows)
        before = price(call, of, prior_values(of)).device_s
        faster = settings(quicker, rows)
        assert np.all(price(call, faster, prior_values(faster)).device_s <= before * (1 + 1e-9))
        for column in columns:
            more = replace(call, **{column: 2 * getattr(call, column)})
            assert np.all(price(more, of, prior_values(of)).device_s >= before * (1 - 1e-9)), column


@each_gpu
def test_rows_are_priced_in_any_order(chip):
    for price, call, _ in grids(chip):
        rows = len(getattr(call, fields(call)[0].name))
        order = np.random.default_rng(3).permutation(rows)
        mixed = type(call)(**{f.name: getattr(call, f.name)[order] for f in fields(call)})
        of = settings(chip, rows)
        together = price(call, of, prior_values(of)).device_s
        np.testing.assert_array_equal(price(mixed, of, prior_values(of)).device_s, together[order])


#: te42kyfo/gpu-benches@1c36d50 (chip; bytes read and written together; microseconds of one kernel of a graph): one
#: size that a launch bounds, one that the shared cache serves, one that memory does.
SMALL_KERNELS = [
    ("a100-sxm4-80gb", 65536, 1.337), ("a100-sxm4-80gb", 12265648, 4.556), ("a100-sxm4-80gb", 671000704, 386.1),
    ("l40", 375840, 1.065), ("l40", 71180704, 16.0), ("l40", 408825120, 533.7),
    ("a40", 375840, 1.232), ("a40", 71180704, 110.9), ("a40", 408825120, 628.0),
    ("h200-sxm5", 375840, 1.314), ("h200-sxm5", 12393392, 3.35), ("h200-sxm5", 408825120, 121.5),
    ("mi210", 305120, 2.104), ("mi210", 30886880, 25.44), ("mi210", 671000704, 503.4),
]  # fmt: skip


def test_copies_on_a_chip_meet_micro_benchmarks_without_a_fit():
    of = Settings.of([Setting(chip=catalog.chip(row[0]), precision="fp32", library="") for row in SMALL_KERNELS])
    byte, measured = (np.array([row[i] for row in SMALL_KERNELS], float) for i in (1, 2))
    call = copies(len(byte), byte=byte / 2, warm=True)
    error = np.log(copy_time(call, of, prior_values(of)).device_s / (measured * 1e-6))
    assert np.mean(np.abs(error)) < 0.20
    assert np.max(np.abs(error)) < 0.45


def test_large_copies_from_the_host_meet_the_measured_rate():
    """V100 PCIe: 12.35 GB/s on PCIe 3.0 x16 (te42kyfo/gpu-benches@1c36d50, cuda-memcpy)."""
    of = settings(catalog.chip("v100-pcie-16gb"))
    time = copy_time(copies(way=HOST_TO_CHIP, byte=1e10), of, prior_values(of))
    assert 1e10 / time.device_s[0] == pytest.approx(12.35e9, rel=0.03)


def test_a_small_copy_from_the_host_is_latency_and_pageable_memory_is_slower():
    of = settings(A100, 3)
    time = copy_time(
        copies(3, way=CHIP_TO_HOST, byte=[1.0, 1e9, 1e9], pinned=[True, True, False]), of, prior_values(of)
    )
    assert time.device_s[0] == pytest.approx(SPECS["movement_host_latency"].prior, rel=1e-3)
    assert time.device_s[2] > 1.5 * time.device_s[1]


def test_a_chip_without_a_host_link_is_refused_in_one_line():
    of = settings(replace(A100, host_bandwidth_byte_per_s=None))
    with pytest.raises(ValueError, match=r"chip 'a100-sxm4-80gb' has no host_bandwidth; its data file needs one"):
        copy_time(copies(way=HOST_TO_CHIP), of, prior_values(of))
    assert copy_time(copies(), of, prior_values(of)).device_s[0] > 0


@pytest.mark.parametrize(("table", "lookups"), [(50, 10), (50, 50), (1000, 5000), (7, 1)])
def test_distinct_rows_agree_with_drawing_them(table, lookups):
    draws = np.random.default_rng(2).integers(0, table, (4000, lookups))
    counted = np.mean([len(set(row)) for row in draws])
    assert distinct_rows(np.array([table]), np.array([lookups]))[0] == pytest.approx(counted, rel=0.02)


@each_gpu
def test_the_cache_serves_small_sets_whole_and_large_ones_not_at_all(chip):
    size = chip.l2_byte
    share = cached_share(np.array([0.5 * size, 0.9 * size, 1.1 * size]), settings(chip, 3))
    assert list(share[[0, 2]]) == ([1.0, 0.0] if size else [0.0, 0.0])
    assert share[1] == pytest.approx(0.5 if size else 0.0)


def test_duplicates_of_one_row_serialise_additions_but_not_look_ups():
    of = settings(A100, 4)
    call = gathers(4, add=[True, True, False, False], hottest=[0.0, 1e6, 0.0, 1e6], lookups=1e6, width=8.0)
    even, hot, read, reread = gather_time(call, of, prior_values(of)).device_s
    assert hot > 2 * even
    assert hot == pytest.approx(1e6 * ATOMIC_CYCLES / A100.clock_hz, rel=0.01)
    assert read == reread


def test_narrow_rows_pay_for_whole_bursts():
    of = settings(A100, 2)
    one, sixteen = gather_time(gathers(2, width=[1.0, 16.0], table=1e8, lookups=1e7), of, prior_values(of)).dram_byte
    extra = 1e7 * 15 * 4  # the results written
    assert sixteen - one == pytest.approx(extra)


@pytest.mark.parametrize("rule", OPTIMIZERS.values(), ids=lambda rule: rule.name)
def test_a_large_update_moves_the_words_of_its_rule_once(rule):
    count = np.array([1e9])
    of = settings(A100)
    time = update_time(UpdateShapes.of(rule, parameters=count, tensors=np.array([36.0])), of, prior_values(of))
    assert time.dram_byte[0] == pytest.approx(1e9 * 4 * rule.read_write_words_per_parameter)
    rate = time.dram_byte[0] / time.device_s[0] / A100.memory_bandwidth_byte_per_s
    assert rate == pytest.approx(SPECS["movement_dram"].prior, rel=0.01)
    apart = update_time(
        UpdateShapes.of(rule, parameters=count, tensors=np.array([36.0]), fused=False), of, prior_values(of)
    )
    assert apart.device_s[0] > time.device_s[0]


def test_small_updates_cost_their_launches():
    of = settings(A100, 3)
    tensors = np.array([1.0, TENSORS_PER_LAUNCH, TENSORS_PER_LAUNCH + 1])
    time = update_time(updates(3, parameters=1.0, tensors=tensors), of, prior_values(of))
    np.testing.assert_allclose(time.device_s / SPECS["movement_launch"].prior, [1.0, 1.0, 2.0], rtol=1e-4)


def test_adding_reads_and_writes_each_distinct_row():
    of = settings(A100, 2)
    read, add = gather_time(gathers(2, add=[False, True], table=1e9, lookups=1e6), of, prior_values(of)).dram_byte
    assert add - read == pytest.approx(1e6 * 64 * 4, rel=1e-3)
