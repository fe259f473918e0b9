"""What to keep and what to replay: the planner against a search over all schedules, closed forms and the seeds."""

from __future__ import annotations

import heapq
import time

import numpy as np
import pytest

from simulator.memory import even_storage, recursive_storage
from simulator.recomputation import (
    Chain,
    RecomputePlan,
    Step,
    chain_of,
    frontier,
    keep_plan,
    least_byte,
    plan_chain,
    plan_recomputation,
    replay_plan,
    run_steps,
)
from workloads import catalog

State = tuple[frozenset[int], frozenset[int], int | None, int]


def fastest_schedule(chain: Chain, limit: float, *, may_drop: bool) -> float | None:
    """Seconds of the best schedule there is, by a shortest path over everything that can be held; one way to keep.

    ``may_drop``: stored inputs and kept activations may be thrown away at any time.
    """
    n, kept_byte, inputs = chain.layers, chain.kept_byte[:, 0], chain.input_byte
    heap: list[tuple[float, int, State]] = [(0.0, 0, (frozenset([0]), frozenset(), None, n))]
    seen: set[State] = set()
    count = 0
    while heap:
        seconds, _, state = heapq.heappop(heap)
        if state in seen:
            continue
        seen.add(state)
        stored, kept, moving, back = state
        if not back:
            return seconds

        def rest(layer: int, stored: frozenset[int] = stored, kept: frozenset[int] = kept) -> float:
            held = sum(inputs[x] for x in stored if x != layer) + sum(kept_byte[x] for x in kept if x != layer)
            return float(held)

        following: list[tuple[float, State]] = []
        last = back - 1
        gradients = chain.output_gradient_byte[last] + chain.gradient_byte[last] + chain.working_byte[last]
        if last in kept and rest(last) + kept_byte[last] + gradients <= limit:
            left = frozenset(x for x in stored if x < last)
            following.append((seconds + chain.backward_s[last, 0], (left, kept - {last}, None, last)))
        for layer in {*stored, *([] if moving is None else [moving])}:
            if layer >= back:
                continue
            here = rest(layer) + chain.output_byte[layer] + chain.output_gradient_byte[last]
            after = seconds + chain.forward_s[layer]
            if here + inputs[layer] <= limit:
                following.append((after, (stored | {layer}, kept, layer + 1, back)))
                if layer not in stored or may_drop:
                    following.append((after, (stored - {layer}, kept, layer + 1, back)))
            if layer not in kept and here + max(inputs[layer], kept_byte[layer]) <= limit:
                following.append((after, (stored - {layer}, kept | {layer}, layer + 1, back)))
        if may_drop:
            following += [(seconds, (stored - {x}, kept, moving, back)) for x in stored]
            following += [(seconds, (stored, kept - {x}, moving, back)) for x in kept]
        for after, new in following:
            if new not in seen:
                count += 1
                heapq.heappush(heap, (after, count, new))
    return None


def random_chain(rng: np.random.Generator, layers: int, *, working: bool = False, thin: bool = False) -> Chain:
    """``thin``: layers that may keep less than their input, gradients of any size."""
    inputs = rng.integers(1, 9 if thin else 6, layers)
    kept = rng.integers(0, 9, layers) if thin else inputs + rng.integers(0, 12, layers)
    return Chain.of(
        rng.integers(1, 10, layers), rng.integers(1, 10, layers), kept, inputs,
        working_byte=rng.integers(0, 4, layers) if working else 0.0,
        gradient_byte=rng.integers(0, 9, layers) if thin else None,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_the_plan_is_the_best_of_all_schedules(seed: int) -> None:
    rng = np.random.default_rng(seed)
    refused = planned = 0
    for case in range(20):
        chain = random_chain(rng, int(rng.integers(1, 5)), working=bool(case % 2))
        limit = float(rng.integers(int(least_byte(chain)) - 2, int(keep_plan(chain).peak_byte) + 2))
        best = fastest_schedule(chain, limit, may_drop=False)
        if best is None:
            refused += 1
            assert limit < least_byte(chain)
            with pytest.raises(ValueError, match="at least"):
                plan_chain(chain, limit)
            continue
        plan = plan_chain(chain, limit)
        planned += 1
        assert plan.peak_byte <= limit
        assert plan.step_s == pytest.approx(best)
        # Dropping stored inputs early gains nothing on chains this short.
        assert fastest_schedule(chain, limit, may_drop=True) == pytest.approx(best)
    assert refused
    assert planned


def test_layers_that_keep_less_than_their_input_are_nearly_always_planned_best() -> None:
    # A replay that starts before the layer behind has gone back is not among the stretches; it helps once in hundreds.
    rng = np.random.default_rng(0)
    best_found = cases = 0
    for case in range(150):
        chain = random_chain(rng, int(rng.integers(2, 5)), working=bool(case % 2), thin=True)
        least = int(least_byte(chain))
        limit = float(rng.integers(least - 2, max(least, int(keep_plan(chain).peak_byte)) + 2))
        best = fastest_schedule(chain, limit, may_drop=False)
        cases += 1
        if limit < least:
            best_found += best is None
            continue
        plan = plan_chain(chain, limit)
        assert plan.peak_byte <= limit
        assert best is not None
        assert plan.step_s >= best - 1e-9
        best_found += plan.step_s == pytest.approx(best)
    assert best_found >= 0.98 * cases


def test_five_layers_too() -> None:
    rng = np.random.default_rng(11)
    for _ in range(6):
        chain = random_chain(rng, 5)
        limit = float(rng.integers(int(least_byte(chain)), int(keep_plan(chain).peak_byte)))
        assert plan_chain(chain, limit).step_s == pytest.approx(fastest_schedule(chain, limit, may_drop=False))


@pytest.mark.parametrize("inputs", range(1, 7))
@pytest.mark.parametrize("depth", [2, 3, 5, 10, 17, 30])
def test_equal_layers_are_replayed_as_often_as_revolve_says(depth: int, inputs: int) -> None:
    # Room for the activations of one layer, its output and so many inputs. Revolve counts a layer's own last forward
    # pass to its reversal; here it is a replay of all but the last.
    kept = np.append(np.full(depth - 1, 100.0), 101.0)
    chain = Chain.of(np.ones(depth), np.ones(depth), kept, 1.0 + 0.0 * kept, gradient_byte=0.0)
    plan = plan_chain(chain, 101.0 + inputs)
    assert plan.replays == recursive_storage(depth, inputs).replays + depth - 1
    assert plan.extra_s == pytest.approx(plan.replays)


@pytest.mark.parametrize(("depth", "every"), [(1, 1), (4, 2), (16, 4), (30, 5), (30, 1), (30, 30), (96, 8)])
def test_every_k_layers_is_the_closed_form(depth: int, every: int) -> None:
    chain = Chain.of(np.ones(depth), 2 * np.ones(depth), np.full(depth, 10.0), np.ones(depth), gradient_byte=0.0)
    plan = replay_plan(chain, every=every)
    storage = even_storage(depth, -(-depth // every))
    assert plan.replays == storage.replays
    # Inputs of all stretches but the last, which goes back at once, and the activations of one.
    assert plan.peak_byte == pytest.approx(-(-depth // every) - 1 + 10.0 * every)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8])
def test_the_best_schedule_is_no_slower_than_every_k_layers(every: int) -> None:
    rng = np.random.default_rng(every)
    chain = random_chain(rng, 16)
    fixed = replay_plan(chain, every=every)
    best = plan_chain(chain, fixed.peak_byte)
    assert best.peak_byte <= fixed.peak_byte
    assert best.step_s <= fixed.step_s + 1e-9


def test_more_memory_never_takes_longer() -> None:
    rng = np.random.default_rng(2)
    chain = random_chain(rng, 20, working=True)
    least, most = least_byte(chain), keep_plan(chain).peak_byte
    plans = [plan_chain(chain, limit) for limit in np.linspace(least, most, 12).round()]
    seconds = [plan.step_s for plan in plans]
    assert seconds == sorted(seconds, reverse=True)
    assert plans[-1].extra_s == 0.0
    assert plans[-1].kept == (0,) * 20
    assert -1 in plans[0].kept


@pytest.mark.parametrize("seed", range(4))
def test_sizes_without_a_common_divisor_still_fit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs = rng.random(24) * 1e9 + 1e6
    chain = Chain.of(rng.random(24), rng.random(24), inputs * (1 + 9 * rng.random(24)), inputs)
    for share in (0.3, 0.6):
        limit = share * keep_plan(chain).peak_byte
        plan = plan_chain(chain, limit)
        assert plan.peak_byte <= limit
        assert plan.extra_s >= 0.0


def test_a_selective_way_is_taken_where_it_is_cheaper_than_a_replay() -> None:
    # Way 1 keeps a third for a tenth more backward time.
    n = 12
    kept, backward = np.tile([30.0, 10.0], (n, 1)), np.tile([2.0, 2.2], (n, 1))
    chain = Chain.of(np.ones(n), backward, kept, np.ones(n))
    selective = keep_plan(chain, way=1)
    assert selective.extra_s == pytest.approx(0.2 * n)
    best = plan_chain(chain, selective.peak_byte + 60.0)
    assert best.extra_s < selective.extra_s
    assert set(best.kept) == {0, 1}
    one_way = plan_recomputation(np.ones(n), 2 * np.ones(n), kept[:, 0], np.ones(n), selective.peak_byte + 60.0)
    assert best.step_s < one_way.step_s


def test_recomputation_keeps_the_order_none_selective_full_best() -> None:
    chain = chain_of(catalog.model("gpt3-175b"), batch=1)
    none, selective, full = keep_plan(chain), keep_plan(chain, way=1), replay_plan(chain)
    peaks, extra = [p.peak_byte for p in (none, selective, full)], [p.extra_s for p in (none, selective, full)]
    assert peaks == sorted(peaks, reverse=True)
    assert extra == sorted(extra)
    # Korthikanti et al. 2022, section 5: attention's scores are 70 % of GPT-3's activations. Attention is s / 6h of the
    # work of blocks (2.8 %), a third of that its forward pass.
    assert 1 - selective.peak_byte / none.peak_byte == pytest.approx(0.70, abs=0.03)
    assert selective.extra_s / chain.plain_s == pytest.approx(2048 / (6 * 12288) / 3, rel=0.05)


def test_moments_are_those_of_the_steps() -> None:
    chain = Chain.of([1, 1], [2, 2], [5, 7], [1, 2])
    plan = keep_plan(chain)
    assert [step.kind for step in plan.steps] == ["keep", "keep", "back", "back"]
    # forward 0: kept and output; forward 1: both kept; back 1: and the gradient of its input; back 0: its output's.
    assert plan.held_byte.tolist() == [5 + 2, 5 + 7, 5 + 7 + 2, 5 + 2]
    full = replay_plan(chain)
    assert [(step.kind, step.layer) for step in full.steps] == [
        ("store", 0), ("keep", 1), ("back", 1), ("keep", 0), ("back", 0),
    ]  # fmt: skip
    assert full.held_byte.tolist() == [1 + 2, 1 + 7, 1 + 7 + 2, 5 + 2 + 2, 5 + 2]
    assert full.replays == 1


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([Step("keep", 1)], "step 0, keep of layer 1: its input is not there"),
        ([Step("keep", 0), Step("back", 0)], "not what goes back next"),
        ([Step("keep", 0), Step("keep", 1), Step("back", 1)], "layer 0 does not go back"),
        ([Step("pass", 0), Step("pass", 1), Step("back", 1)], "nothing of it is kept"),
        ([Step("store", 0), Step("keep", 1), Step("back", 1), Step("store", 0), Step("keep", 1)], "has gone back"),
    ],
)
def test_a_schedule_that_cannot_be_is_refused(steps: list[Step], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run_steps(Chain.of([1, 1], [1, 1], [2, 2], [1, 1]), steps)


def shared(name: str, *, fixed: bool) -> float:
    workload = catalog.model(name)
    chain = chain_of(workload, batch=16, keeps="written", gradients=False)
    return frontier(chain, fixed_byte=2.0 * workload.parameters if fixed else 0.0).saved_share(0.25)


@pytest.mark.parametrize("name", ["resnet-50", "resnet-101", "resnet-152"])
def test_a_quarter_more_compute_saves_four_fifths_of_activations(name: str) -> None:
    # Knowles 2017: batch 16, 16-bit weights and activations, residual networks.
    assert shared(name, fixed=False) == pytest.approx(0.80, abs=0.01)


def test_with_the_weights_it_saves_three_quarters() -> None:
    assert shared("resnet-152", fixed=True) == pytest.approx(0.77, abs=0.01)


def test_a_frontier_falls_and_agrees_with_single_plans() -> None:
    chain = chain_of(catalog.model("resnet-50"), batch=16)
    found = frontier(chain)
    assert (np.diff(found.extra_share) <= 1e-12).all()
    assert found.extra_share[-1] == 0.0
    assert found.extra_for(0.0) == 0.0
    assert found.extra_for(0.999) == np.inf
    assert found.saved_share(0.0) == pytest.approx(0.0, abs=0.01)
    for place in (0, len(found.limit_byte) // 3, len(found.limit_byte) // 2):
        plan = plan_chain(chain, found.limit_byte[place] * 1.001)
        assert plan.extra_s / chain.plain_s <= found.extra_share[place] + 0.01


def test_a_chain_of_a_network_keeps_what_its_layers_say() -> None:
    workload = catalog.model("bert-large")
    chain = chain_of(workload, batch=4)
    everything = sum(layer.repeat * (layer.saved_elements + layer.score_elements) for layer in workload.layers)
    assert chain.kept_byte[:, 0].sum() == pytest.approx(2.0 * 4 * everything)
    assert chain.plain_s == pytest.approx(3.0 * 4 * workload.forward_flop)


def test_a_deep_network_is_planned_in_seconds() -> None:
    n = 98
    chain = Chain.of(np.ones(n), 2 * np.ones(n), np.full(n, 17.3), np.ones(n))
    start = time.process_time()
    plan: RecomputePlan = plan_chain(chain, 0.3 * keep_plan(chain).peak_byte)
    assert time.process_time() - start < 5.0
    assert plan.extra_s / chain.plain_s < 0.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, 1], [1, 1], [2, 2], [1, 1], 2.0), "no schedule fits into 2 B; at least 4 B"),
        (([1, 1], [1, 1], [2, 2], [1, 1], float("nan")), "no schedule fits into nan B"),
        (([1, 1], [1, 1, 1], [2, 2], [1, 1], 9.0), r"backward_s has shape \(3, 1\); legal: \(2, 1\)"),
        (([1, -1], [1, 1], [2, 2], [1, 1], 9.0), "forward_s has numbers that are negative or not finite"),
        (([], [], [], [], 9.0), "one number for every layer"),
        ((np.ones(300), np.ones(300), np.ones(300), np.ones(300), 9.0), "300 layers; at most 256. Join neighbours"),
    ],
)
def test_bad_input_is_refused(
    arguments: tuple[list[float], list[float], list[float], list[float], float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        plan_recomputation(*arguments)


def test_other_wrong_words_are_refused() -> None:
    chain = Chain.of([1], [1], [1], [1])
    with pytest.raises(ValueError, match="every is 0; at least 1"):
        replay_plan(chain, every=0)
    with pytest.raises(ValueError, match="legal: needed, written"):
        chain_of(catalog.model("resnet-50"), batch=1, keeps="some")
    with pytest.raises(ValueError, match="batch is 0"):
        chain_of(catalog.model("resnet-50"), batch=0)
