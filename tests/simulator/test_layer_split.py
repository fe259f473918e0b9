"""Layers over pipeline stages: dynamic programming against integer programming, laws over the whole catalogue."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from simulator.events import simulate
from simulator.layer_split import (
    LayerSplit,
    balanced_split,
    given_cuts,
    quick_split,
    split_at,
    split_of,
    stage_layers,
    strategy_stages,
)
from simulator.lowering import stage_repeats
from simulator.stage_costs import crossing_elements, layer_repeats, layer_work_s
from simulator.stepspec import BlockSpec, StageSpec, StepSpec
from workloads import catalog

#: A chip to weigh layers with: four fifths of an A100's products, its memory.
RATES = {"flop_per_s": 0.8 * 312e12, "byte_per_s": 1.6e12}
ROUNDING_S = 1e-12


def fastest_by_milp(
    seconds: Sequence[int],
    send: Sequence[int],
    byte: Sequence[int],
    kept: Sequence[int],
    in_flight: Sequence[float],
    capacity: float | None,
    chunks: int = 1,
) -> float | None:
    """Slowest stage of the best split as an integer program: which interval of layers every chunk holds."""
    n, p = len(seconds), len(in_flight)
    count = p * chunks
    cost = [0, *send, 0]
    held = [(k, i, j) for k in range(count) for i in range(n) for j in range(i + 1, n + 1)]
    rows: list[tuple[np.ndarray, float, float]] = []

    def row(value: dict[int, float], low: float, high: float, slowest: float = 0.0) -> None:
        dense = np.zeros(len(held) + 1)
        dense[list(value)] = list(value.values())
        dense[-1] = slowest
        rows.append((dense, low, high))

    row({x: 1.0 for x, (k, i, _) in enumerate(held) if k == 0 and i == 0}, 1, 1)
    row({x: 1.0 for x, (k, _, j) in enumerate(held) if k == count - 1 and j == n}, 1, 1)
    for chunk in range(count):
        row({x: 1.0 for x, (k, _, _) in enumerate(held) if k == chunk}, 1, 1)
    for chunk in range(count - 1):
        for place in range(n + 1):
            ends = {x: 1.0 for x, (k, _, j) in enumerate(held) if (k, j) == (chunk, place)}
            starts = {x: -1.0 for x, (k, i, _) in enumerate(held) if (k, i) == (chunk + 1, place)}
            row(ends | starts, 0, 0)
    for stage in range(p):
        mine = {x: (i, j) for x, (k, i, j) in enumerate(held) if k % p == stage}
        row({x: sum(seconds[i:j]) + cost[i] + cost[j] for x, (i, j) in mine.items()}, -np.inf, 0, slowest=-1.0)
        if capacity is not None:
            many = in_flight[stage]
            row({x: sum(byte[i:j]) + many * sum(kept[i:j]) for x, (i, j) in mine.items()}, -np.inf, capacity + 1e-9)
    matrix, low, high = (np.array(part) for part in zip(*rows, strict=True))
    objective = np.zeros(len(held) + 1)
    objective[-1] = 1.0
    upper = np.append(np.ones(len(held)), np.inf)
    found = milp(
        objective, constraints=LinearConstraint(matrix, low, high), bounds=Bounds(0, upper),
        integrality=np.append(np.ones(len(held)), 0),
    )  # fmt: skip
    return None if found.x is None else float(found.fun)


def random_chain(rng: np.random.Generator, layers: int) -> tuple[list[int], list[int], list[int], list[int]]:
    draws = (rng.integers(1, 20, layers), rng.integers(0, 6, layers - 1), rng.integers(0, 9, layers))
    seconds, send, byte = (draw.tolist() for draw in draws)
    return seconds, send, byte, rng.integers(0, 5, layers).tolist()


@pytest.mark.parametrize("seed", range(10))
def test_the_split_is_that_of_an_integer_program(seed: int) -> None:
    rng = np.random.default_rng(seed)
    refused = 0
    for case in range(20):
        p = int(rng.integers(1, 5))
        seconds, send, byte, kept = random_chain(rng, int(rng.integers(p, 9)))
        capacity = float(rng.integers(5, 60)) if case % 2 else None
        split = balanced_split(seconds, byte, p, kept_byte=kept, send_s=send, capacity_byte=capacity)
        best = fastest_by_milp(seconds, send, byte, kept, [p - i for i in range(p)], capacity)
        refused += best is None
        assert split.exact
        assert bool(split.fits[0]) is (best is not None)
        if best is not None:
            assert split.slowest_s[0] == pytest.approx(best, abs=1e-6)
            assert capacity is None or split.stage_byte.max() <= capacity
    assert refused < 20


def test_interleaved_chunks_are_hardly_worse_than_an_integer_program() -> None:
    rng = np.random.default_rng(7)
    over = []
    for case in range(50):
        p, v = int(rng.integers(2, 4)), int(rng.integers(2, 4))
        seconds, send, byte, _ = random_chain(rng, int(rng.integers(p * v, p * v + 4)))
        send = [s * (case % 2) for s in send]
        split = balanced_split(seconds, 0.0, p, send_s=send, chunks=v)
        best = fastest_by_milp(seconds, send, byte, byte, [1.0] * p, None, v)
        assert best is not None
        over.append(split.slowest_s[0] / best - 1.0)
    assert min(over) >= -1e-9
    assert np.mean(np.array(over) < 1e-9) >= 0.9
    assert np.mean(over) < 0.01


def all_cuts(layers: int, stages: int) -> list[tuple[int, ...]]:
    if stages == 1:
        return [(0, layers)]
    return [(*rest, layers) for last in range(stages - 1, layers) for rest in all_cuts(last, stages - 1)]


@pytest.mark.parametrize("seed", range(5))
def test_equal_splits_are_told_apart_by_memory_then_by_evenness(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(20):
        seconds, send, byte, kept = random_chain(rng, 8)
        found = balanced_split(seconds, byte, 3, kept_byte=kept, send_s=send)
        every = [split_at(cut, seconds, byte, 3, kept_byte=kept, send_s=send) for cut in all_cuts(8, 3)]
        best = min(rank(split) for split in every)
        assert rank(found) == pytest.approx(best)


def rank(split: LayerSplit) -> tuple[float, float, float]:
    return (round(split.slowest_s[0], 9), float(split.stage_byte.max()), float((split.stage_s**2).sum()))


def test_where_nothing_fits_the_least_memory_is_given_and_said() -> None:
    split = balanced_split([1, 1, 1, 1], [9, 1, 1, 1], 2, capacity_byte=8)
    assert not split.fits[0]
    assert split.stage_byte.max() == 9
    assert split.cut.tolist() == [[0, 1, 4]]


def test_first_stages_hold_fewer_layers_where_activations_do_not_fit() -> None:
    free = balanced_split(np.ones(16), 0.0, 4, kept_byte=1.0)
    tight = balanced_split(np.ones(16), 0.0, 4, kept_byte=1.0, capacity_byte=13)
    assert free.stage_byte.max() == 16
    assert tight.fits[0]
    assert tight.stage_byte.max() <= 13
    assert tight.slowest_s[0] > free.slowest_s[0]


def test_a_batch_of_strategies_is_each_of_them() -> None:
    rng = np.random.default_rng(3)
    seconds, byte, send = rng.random((30, 20)), rng.random((30, 20)), rng.random((30, 19)) / 9
    whole = balanced_split(seconds, byte, 5, kept_byte=byte / 7, send_s=send, capacity_byte=3.0)
    for row in range(30):
        one = balanced_split(seconds[row], byte[row], 5, kept_byte=byte[row] / 7, send_s=send[row], capacity_byte=3.0)
        assert (one.cut[0] == whole.cut[row]).all()
        assert one.fits[0] == whole.fits[row]


@pytest.mark.parametrize("stages", [1, 2, 5, 16, 40])
@pytest.mark.parametrize("send_s", [0.0, 0.25])
def test_filling_finds_the_slowest_stage_that_the_table_finds(stages: int, send_s: float) -> None:
    seconds = np.random.default_rng(stages).random((40, 40))
    seconds[:20] = np.ceil(4 * seconds[:20])
    quick = quick_split(seconds, stages, send_s=send_s)
    exact = balanced_split(seconds, 0.0, stages, send_s=send_s)
    assert (quick.slowest_s == exact.slowest_s).all()
    assert (np.diff(quick.cut, axis=1) > 0).all()


def test_filling_leaves_the_first_stage_least() -> None:
    assert quick_split(np.ones(10), 4).cut.tolist() == [[0, 1, 4, 7, 10]]


def test_strategies_get_their_own_stages() -> None:
    workload = catalog.model("T5-11B")
    seconds = layer_work_s(workload, **RATES)
    pp, virtual = np.array([1, 4, 4, 4, 8]), np.array([1, 1, 2, 1, 1])
    scaled = seconds * np.array([1.0, 2.0, 2.0, 2.0, 3.0])[:, None]
    found = strategy_stages(workload, scaled, pp, virtual)
    assert sorted(found) == [1, 2, 3, 4]
    for index, held in found.items():
        assert held.shape == (pp[index], virtual[index], len(workload.layers))
        assert held.sum(axis=(0, 1)).tolist() == layer_repeats(workload).tolist()
    assert (found[1] == found[3]).all()
    assert (found[1] == split_of(workload, 4, seconds).stage_layers(workload)[0]).all()


@pytest.mark.parametrize("chunks", [1, 3])
def test_no_split_is_faster_than_its_bounds(chunks: int) -> None:
    rng = np.random.default_rng(5)
    seconds = rng.random((20, 24))
    split = balanced_split(seconds, 0.0, 4, chunks=chunks)
    assert (split.slowest_s >= np.maximum(seconds.sum(axis=1) / 4, seconds.max(axis=1)) - 1e-10).all()
    assert (split.unevenness >= 1.0 - 1e-12).all()


def test_chunks_of_equal_layers_make_equal_stages() -> None:
    split = balanced_split(np.ones(96), 0.0, 8, chunks=3)
    assert split.stage_s.tolist() == [[12.0] * 8]


def test_a_split_of_126_layers_over_16_stages_takes_milliseconds() -> None:
    seconds = np.array([0.1, *[1.0] * 126, 1.4])
    took = []
    for _ in range(5):
        start = time.process_time()
        balanced_split(seconds, 1.0, 16, kept_byte=0.1, send_s=0.01)
        took.append(time.process_time() - start)
    assert min(took) < 0.020  # 4 ms on an idle core


NETWORKS = catalog.model_names()


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_is_cut_at_least_as_well_as_evenly(name: str) -> None:
    workload = catalog.model(name)
    repeats, seconds = layer_repeats(workload), layer_work_s(workload, **RATES)
    assert (seconds > 0).all()
    crossing = crossing_elements(workload)
    assert len(crossing) == repeats.sum() - 1
    assert (crossing > 0).all()
    for stages in (2, 3, 4, 8):
        if stages > repeats.sum():
            continue
        split = split_of(workload, stages, seconds)
        held = split.stage_layers(workload)
        assert held.shape == (1, stages, 1, len(repeats))
        assert (held.sum(axis=(0, 1, 2)) == repeats).all()
        assert (held.sum(axis=(2, 3)) > 0).all()
        assert held[0, :, 0] @ seconds == pytest.approx(split.stage_s[0], abs=ROUNDING_S * repeats.sum())
        roles = stage_repeats(repeats, np.array([stages]))[0]
        even = np.array([roles[0], *[roles[1]] * (stages - 2), roles[2]])
        if (even.sum(axis=0) == repeats).all():
            assert split.slowest_s[0] <= (even @ seconds).max() + ROUNDING_S * repeats.sum()


def step_s(held: np.ndarray, seconds: np.ndarray, micro_batches: int) -> float:
    """Step of a 1F1B pipeline by events; ``held`` (p, G) repeats by stage, a third of the time forward."""
    ticks = np.rint(seconds * 1e12 / 3).astype(int).tolist()
    blocks = [
        tuple(
            BlockSpec(name=f"layer {g}", repeat=int(many), forward_ps=ticks[g], backward_ps=2 * ticks[g])
            for g, many in enumerate(stage)
            if many
        )
        for stage in held
    ]
    stages = tuple(StageSpec(name=f"stage {i}", chunks=(chunk,)) for i, chunk in enumerate(blocks))
    return simulate(StepSpec(stages=stages, micro_batches=micro_batches)).total_ps / 1e12


@pytest.mark.parametrize(("name", "stages"), [("T5-11B", 4), ("resnet-152", 8), ("vgg-16", 4), ("Llama-3-8B", 8)])
def test_the_step_of_a_balanced_pipeline_is_shorter_by_events(name: str, stages: int) -> None:
    workload = catalog.model(name)
    repeats, seconds = layer_repeats(workload), layer_work_s(workload, **RATES)
    roles = stage_repeats(repeats, np.array([stages]))[0]
    even = np.array([roles[0], *[roles[1]] * (stages - 2), roles[2]])
    assert (even.sum(axis=0) == repeats).all()
    split = split_of(workload, stages, seconds)
    micro_batches = 32
    before, after = (step_s(held, seconds, micro_batches) for held in (even, split.stage_layers(workload)[0, :, 0]))
    gained = (even @ seconds).max() / split.slowest_s[0]
    # All that the slowest stage gains, but for the ramps at either end.
    assert gained * (1 - stages / micro_batches) < before / after < gained * 1.05


@pytest.mark.parametrize(
    ("name", "stages", "at_least"),
    [("T5-11B", 8, 2.0), ("resnet-152", 4, 1.5), ("resnet-152", 8, 2.5), ("vgg-16", 2, 1.5), ("vgg-16", 8, 4.0)],
)
def test_networks_of_several_kinds_of_block_gain_most(name: str, stages: int, at_least: float) -> None:
    workload = catalog.model(name)
    seconds = layer_work_s(workload, **RATES)
    roles = stage_repeats(layer_repeats(workload), np.array([stages]))[0]
    even = max((roles[role] @ seconds) for role in range(3))
    assert even / split_of(workload, stages, seconds).slowest_s[0] > at_least


def test_chunks_of_stages_add_up_to_the_network() -> None:
    workload = catalog.model("gpt3-175b")
    split = split_of(workload, 8, layer_work_s(workload, **RATES), chunks=3)
    held = split.stage_layers(workload)
    assert held.shape == (1, 8, 3, 3)
    assert held.sum(axis=(0, 1, 2)).tolist() == [1, 96, 1]
    assert held[0, 0, 0, 0] == held[0, 7, 2, 2] == 1  # embedding first, head last


def test_stage_layers_counts_by_hand() -> None:
    held = stage_layers(np.array([[0, 2, 3, 6, 7]]), np.array([1, 5, 1]), 2)
    assert held.tolist() == [[[[1, 1, 0], [0, 3, 0]], [[0, 1, 0], [0, 0, 1]]]]


def test_a_slow_wire_moves_the_cut_behind_a_pooling() -> None:
    workload = catalog.model("vgg-16")
    seconds, crossing = layer_work_s(workload, **RATES), crossing_elements(workload)
    cuts = [split_of(workload, 2, seconds, element_send_s=s).cut[0, 1] for s in (0.0, 2e-9, 1e-6)]
    sent = [crossing[cut - 1] for cut in cuts]
    assert sent == sorted(sent, reverse=True)
    assert sent[-1] == crossing.min()
    assert sent[-1] < sent[0]


def test_what_crosses_a_cut() -> None:
    resnet = crossing_elements(catalog.model("resnet-50"))
    assert resnet[0] == 64 * 56 * 56
    assert resnet[-1] == 2048 * 7 * 7
    # Dense connections hand on everything so far, a batch normalisation reads it twice.
    dense = crossing_elements(catalog.model("densenet121"))
    assert dense[0] == 64 * 56 * 56
    assert dense[1] == 128 * 56 * 56
    # Skips of a 3-D U-Net: 67.1 M elements go along to the last level, then smaller ones join.
    skips = crossing_elements(catalog.model("nnunet-3d"))
    assert skips[0] == skips[-1] == 32 * 128**3
    assert skips[4] == 32 * 128**3 + 64 * 64**3 + 128 * 32**3 + 256 * 16**3 + 320 * 8**3
    # The decoder's stages hand the encoder's result on.
    t5 = catalog.model("T5-11B")
    encoder, decoder = 512 * 1024, 114 * 1024
    assert crossing_elements(t5)[[0, 24, 25, 40, 48]].tolist() == [
        encoder, encoder, encoder + decoder, encoder + decoder, encoder + decoder,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("counts", "cut"), [([7, 9, 9, 7], [0, 8, 17, 26, 34]), ([8, 9, 9, 8], [0, 8, 17, 26, 34]), ([0, 16, 16, 0], None)]
)
def test_a_split_as_given(counts: list[int], cut: list[int] | None) -> None:
    found = given_cuts(catalog.model("Llama-3-8B"), counts, 4)
    assert found.tolist() == (cut or [0, 1, 17, 33, 34])


def test_layers_between_blocks_go_with_the_second() -> None:
    workload = catalog.model("T5-11B")
    assert given_cuts(workload, [24, 24], 2).tolist() == [0, 25, 51]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([7, 9, 9, 8], r"adds up to 33, but Llama-3-8B has 32 blocks or 34 layers; for example \[8, 8, 8, 8\]"),
        ([16, 16], r"2 numbers for 4 stages; legal: 4"),
        ([0, 0, 16, 16], r"chunk 1 holds no layer"),
        ([8, 8, 8, -8], r"whole numbers of layers, 0 or more"),
        ([8, 8, 8, 8.0], r"whole numbers of layers, 0 or more"),
        ([8, 8, 8, True], r"whole numbers of layers, 0 or more"),
    ],
)
def test_a_split_that_cannot_be_is_refused(counts: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given_cuts(catalog.model("Llama-3-8B"), counts, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, 2.0], 0.0, 3), "2 layers on 3 stages; every chunk holds one, so at most 2 chunks"),
        (([1.0, 2.0], 0.0, 0), "stages is 0; at least 1"),
        (([1.0, -2.0], 0.0, 1), "seconds has numbers that are negative"),
        (([1.0, np.nan], 0.0, 1), "not finite"),
        (([1.0, 2.0], [1.0, 2.0, 3.0], 1), r"byte has shape \(3,\); legal: \(1, 2\)"),
        (([1e9, 1.0], 0.0, 1), "at most"),
    ],
)
def test_bad_numbers_are_refused(arguments: tuple[Sequence[float], float, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        balanced_split(*arguments)


def test_other_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="in_flight has 1 numbers for 2 stages"):
        balanced_split([1, 1], 0.0, 2, in_flight=[1.0])
    with pytest.raises(ValueError, match="3 layers on 2 stages of 2 chunks"):
        balanced_split([1, 1, 1], 0.0, 2, chunks=2)
    with pytest.raises(ValueError, match="2 durations for the 3 layers of GPT3-175B"):
        split_of(catalog.model("gpt3-175b"), 8, [1.0, 2.0])
