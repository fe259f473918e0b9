"""What moves mixtures of experts: copies on the wire, launches, fusion, overlap, and stages of alternating blocks."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from simulator.activation_rows import fused_activations, is_scan
from simulator.cluster import system
from simulator.constants import Constants
from simulator.expert_dispatch import distinct_groups, sent_share
from simulator.kernels.optable import BACKWARD, FORWARD, MATRIX, SCAN, VECTOR, OpTable
from simulator.lowering import Context, lower, ranges_of_stages, stage_repeats
from simulator.parallelism import Parallelism
from simulator.partition import are_spread
from simulator.pricing import ROUTING_WAIT_LAUNCHES, Durations, price
from simulator.stack import stack, stack_ids
from simulator.traffic import traffic_of
from workloads.catalog import model
from workloads.mixture import mixture
from workloads.optimizer import optimizer
from workloads.precision import recipe
from workloads.state_space import hybrid
from workloads.workload import Workload

EXPERTS, TOP_K = 16, 4


def small(**changes: Any) -> Workload:
    parts: dict[str, Any] = {
        "layers": 4, "hidden": 512, "heads": 8, "vocab": 1000, "seq_len": 512, "experts": EXPERTS, "top_k": TOP_K,
        "expert_ffn": 256,
    }  # fmt: skip
    return mixture(**(parts | changes))


def scanning(pattern: str = "MEMEM*E") -> Workload:
    return hybrid(
        pattern=pattern, hidden=512, heads=8, mamba_heads=16, experts=EXPERTS, top_k=TOP_K, expert_ffn=256,
        shared_ffn=256, vocab=1000, seq_len=512,
    )  # fmt: skip


def context(recipe_name: str = "bf16_mixed", *, on: str = "selene", **changes: Any) -> Context:
    plain: dict[str, Any] = {
        "expert_dispatch": "all_to_all", "expert_launches": False, "fuses_experts": False, "expert_overlap": False,
        "routing_waits": False, "graph_capture": True,
    }  # fmt: skip
    return Context(
        cluster=system(on).cluster, stack=replace(stack("megatron-bridge-2025"), **(plain | changes)),
        recipe=recipe(recipe_name), optimizer=optimizer("adam"),
    )  # fmt: skip


def strategy(**parts: Any) -> Parallelism:
    return Parallelism(**({"global_batch": 64} | parts))


def durations(where: Context, workload: Workload | None = None, **parts: Any) -> Durations:
    return price(lower(workload or small(), where, [strategy(**parts)]), Constants())


def table(where: Context, workload: Workload | None = None, **parts: Any) -> OpTable:
    return lower(workload or small(), where, [strategy(**parts)]).table


@pytest.mark.parametrize(("groups", "experts", "chosen"), [(2, 8, 3), (4, 8, 2), (8, 8, 3), (3, 9, 4), (5, 10, 1)])
def test_distinct_groups_are_what_counting_all_choices_gives(groups: int, experts: int, chosen: int) -> None:
    each = experts // groups
    visits = [len({e // each for e in choice}) for choice in combinations(range(experts), chosen)]
    found = distinct_groups(np.array(float(groups)), np.array(float(experts)), np.array(float(chosen)))
    assert float(found) == pytest.approx(np.mean(visits))


def test_distinct_groups_lie_between_one_and_the_least_of_groups_and_choices() -> None:
    groups = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0])
    found = distinct_groups(groups, np.array(64.0), np.array(8.0))
    assert found[0] == pytest.approx(1.0)
    assert found[-1] == pytest.approx(8.0)
    assert np.all(np.diff(found) > 0)
    assert np.all(found <= np.minimum(groups, 8.0) + 1e-9)
    assert sent_share(groups, np.array(64.0), np.array(8.0))[-1] == pytest.approx(1.0)
    assert float(distinct_groups(np.array(4.0), np.array(1.0), np.array(0.0))) == 0.0


@pytest.mark.parametrize("on", ["selene", "dgx-h100", "dgx-b200"])
@pytest.mark.parametrize("ep", [2, 4, 8])
def test_rows_sent_once_to_a_rank_never_take_longer_than_one_copy_for_each_expert(on: str, ep: int) -> None:
    found = []
    for word in ("all_to_all", "once_per_rank"):
        lowered = lower(small(), context(on=on, expert_dispatch=word), [strategy(dp=8, ep=ep)])
        found.append(traffic_of(lowered).expert.seconds[0, 1])
    assert 0.0 < found[1] < found[0]


def test_over_servers_a_row_crosses_the_network_once_for_each() -> None:
    wide = small(hidden=4096, heads=32, seq_len=4096, experts=64, top_k=8)
    plain, once = (
        traffic_of(lower(wide, context(expert_dispatch=word), [strategy(dp=16, ep=16)])).expert
        for word in ("all_to_all", "once_per_rank")
    )
    assert plain.outside.tolist() == once.outside.tolist() == [True]
    # Two servers hold the experts: nearly every row goes to both, two copies instead of eight.
    assert once.seconds[0, 1] < 0.5 * plain.seconds[0, 1]


def test_one_group_of_experts_for_each_choice_costs_the_same_both_ways() -> None:
    every = small(experts=8, top_k=8)
    plain, once = (
        traffic_of(lower(every, context(expert_dispatch=word), [strategy(dp=8, ep=8)])).expert.seconds[0, 1]
        for word in ("all_to_all", "once_per_rank")
    )
    assert once == pytest.approx(plain)


@pytest.mark.parametrize(("recipe_name", "each"), [("bf16_mixed", 1), ("fp8", 1), ("mxfp8", 3)])
@pytest.mark.parametrize("ep", [1, 4])
def test_experts_apart_are_issued_one_by_one_but_run_side_by_side(recipe_name: str, each: int, ep: int) -> None:
    where = {apart: context(recipe_name, on="dgx-b200", expert_launches=apart) for apart in (False, True)}
    grouped, apart = (table(where[word], dp=8, ep=ep) for word in (False, True))
    assert np.array_equal(grouped.launches, apart.launches)
    assert np.array_equal(grouped.flop, apart.flop)
    products = (apart.kind == MATRIX) & (apart.block == 1) & (apart.phase == FORWARD)
    more = np.sum((apart.issued - grouped.issued)[products])
    assert more == pytest.approx(2 * (each * EXPERTS / ep - 1))


def test_a_fused_grouped_product_takes_in_the_gated_activation_and_its_casts() -> None:
    block = small().layers[1].ops
    inside = fused_activations(block)
    assert [block[i].name for i in inside] == ["expert swiglu"]
    assert not fused_activations(small(expert_biases=True).layers[1].ops)
    assert not any(fused_activations(layer.ops) for layer in scanning().layers)
    plain, fused = (table(context("mxfp8", on="dgx-b200", fuses_experts=word)) for word in (False, True))
    moved = [float(np.sum(t.byte[t.kind == VECTOR])) for t in (plain, fused)]
    assert moved[1] < moved[0]
    assert np.sum(plain.flop) == np.sum(fused.flop)
    rows = 512 * TOP_K
    element, cast, share = 2.0, recipe("mxfp8").cast_byte, 1.0
    activation = share * element * rows * ((512 + 256) + (512 + 2 * 256))
    casts = cast * rows * (256 + 512)
    assert moved[0] - moved[1] == pytest.approx(activation + casts)


def test_an_exchange_under_compute_costs_no_more_than_alone_and_hybrids_have_none() -> None:
    parts: dict[str, Any] = {"dp": 8, "ep": 8}
    alone, under = (durations(context(expert_overlap=word), **parts) for word in (False, True))
    assert np.all(under.forward_tensor_s <= alone.forward_tensor_s)
    assert under.forward_tensor_s[0, 1] < alone.forward_tensor_s[0, 1]
    both = [durations(context(expert_overlap=word), scanning(), **parts) for word in (False, True)]
    assert np.array_equal(both[0].forward_tensor_s, both[1].forward_tensor_s)


def test_reading_counts_on_the_host_holds_up_the_forward_pass_of_routed_blocks_only() -> None:
    where = [context(graph_capture=False, routing_waits=word) for word in (False, True)]
    free, waits = (durations(w) for w in where)
    added = ROUTING_WAIT_LAUNCHES * where[0].stack.host_s_per_launch
    assert (waits.forward_s - free.forward_s)[0].tolist() == pytest.approx([0.0, added, 0.0])
    assert np.array_equal(waits.backward_s, free.backward_s)


def test_products_of_a_chunked_scan_stay_in_16_bit_and_are_computed_again() -> None:
    names = {op.name for layer in scanning().layers for op in layer.ops if is_scan(op)}
    assert names == {"chunk scores", "chunk inputs", "chunk states", "state outputs"}
    rows = table(context("fp8", on="dgx-b200"), scanning())
    scan = rows.kind == SCAN
    assert set(rows.rate[scan].tolist()) == {1}
    forward = np.sum(rows.flop[scan & (rows.phase == FORWARD)])
    assert np.sum(rows.flop[scan & (rows.phase == BACKWARD)]) == pytest.approx(3.0 * forward)


def test_a_slower_scan_takes_longer_and_touches_no_other_network() -> None:
    for workload, slower in ((scanning(), True), (small(), False)):
        lowered = lower(workload, context(), [strategy()])
        fast, slow = (price(lowered, Constants(values={"scan_fraction": f})).forward_s for f in (1.0, 0.1))
        assert bool(np.any(slow > fast)) == slower
        assert np.all(slow >= fast)


@pytest.mark.parametrize("stages", [1, 2, 3, 4, 6])
def test_alternating_blocks_are_cut_in_equal_runs(stages: int) -> None:
    repeats = np.array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    spread = np.array([False, *[True] * 12, False])
    cut = ranges_of_stages(repeats, np.array([stages]), spread)[0]
    blocks = cut[:, 1:-1].sum(axis=1)
    assert blocks[0] == 12 // stages
    assert cut[0, 0] == 1
    assert cut[2 if stages > 1 else 0, -1] == 1
    assert blocks[0] + blocks[2] + (stages - 2) * blocks[1] * (stages > 2) == 12


@pytest.mark.parametrize("name", ["DeepSeek-V3-671B", "Qwen3-235B-A22B", "Llama-3-70B"])
def test_networks_of_one_kind_of_block_are_cut_as_before(name: str) -> None:
    network = model(name)
    repeats = np.array([layer.repeat for layer in network.layers])
    pp = np.array([1, 2, 4, 8])
    lowered = lower(network, context(), [strategy(pp=int(p)) for p in pp])
    assert np.array_equal(lowered.repeat, stage_repeats(repeats, pp))
    assert np.array_equal(are_spread(network), repeats == np.max(repeats))


def test_full_recomputation_wraps_all_blocks_of_a_network_that_alternates() -> None:
    network = scanning("MEM*E" * 3)
    none, full = (durations(context(), network, recompute=word) for word in ("none", "full"))
    again = full.backward_s[0] - none.backward_s[0]
    blocks = [layer.kind == "block" for layer in network.layers]
    assert (again > 0).tolist() == blocks


@pytest.mark.parametrize("stack_id", stack_ids())
def test_stacks_that_overlap_experts_name_a_dispatcher_that_can(stack_id: str) -> None:
    found = stack(stack_id)
    assert not found.expert_overlap or found.expert_dispatch == "once_per_rank"
    assert not (found.fuses_experts and found.expert_launches)
