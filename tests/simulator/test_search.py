"""Which strategies a search looks at, why it leaves others out, and that arrays price them as one by one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from simulator.analytic import batch, step_times
from simulator.cluster import system
from simulator.composition import bound
from simulator.constants import Constants
from simulator.lowering import Context, lower, lower_columns
from simulator.memory import memory_byte
from simulator.parallelism import Parallelism
from simulator.search import closest, divisors, legal, too_big
from simulator.stack import stack
from workloads import catalog
from workloads.optimizer import optimizer
from workloads.precision import recipe


def job(model: str, system_name: str, stack_id: str) -> tuple:
    cluster = system(system_name).cluster
    precision = "bf16" if "bf16" in cluster.chip.peak_flop_per_s else "fp16"
    used = Context(cluster=cluster, stack=stack(stack_id), recipe=recipe(precision), optimizer=optimizer("adam"))
    return catalog.model(model), used


def search(model: str, system_name: str, stack_id: str, chips: int, global_batch: int, **fixed):
    workload, used = job(model, system_name, stack_id)
    return legal(workload, used.cluster, used.stack, chips, global_batch, fixed)


def test_the_search_finds_every_strategy_that_nested_loops_find() -> None:
    found = search("gpt h1024 L24 a16", "selene", "megatron-lm-2022", 16, 24)
    expected = set()
    powers = (1, 2, 4, 8, 16)
    for tp, pp in itertools.product(powers, powers):
        if tp * pp > 16 or tp > 8 or (24 % pp and (pp == 2 or 26 % pp)):
            continue
        dp = 16 // (tp * pp)
        for micro_batch in range(1, 25):
            if 24 % (dp * micro_batch):
                continue
            m = 24 // (dp * micro_batch)
            chunks = [1] + [v for v in range(2, 13) if pp > 1 and 24 % pp == 0 and 24 // pp % v == 0 and m % pp == 0]
            for v, recompute, sharding, sp in itertools.product(
                chunks, ("none", "selective", "full"), ("none", "zero1"), (False, True)
            ):
                if (sp and tp == 1) or (sharding != "none" and dp == 1):
                    continue
                expected.add(
                    Parallelism(
                        tp=tp, pp=pp, dp=dp, micro_batch=micro_batch, global_batch=24, virtual_stages=v,
                        schedule="interleaved" if v > 1 else "1f1b", recompute=recompute, sharding=sharding,
                        sequence_parallel=sp,
                    )
                )  # fmt: skip
    assert {found.parallelism(i) for i in range(len(found))} == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize("number", [1, 2, 12, 97, 1536, 5040])
def test_divisors_divide_and_none_is_missing(number: int) -> None:
    assert divisors(number) == tuple(n for n in range(1, number + 1) if number % n == 0)


def test_convolutional_networks_are_cut_by_data_only() -> None:
    found = search("resnet50", "dgx1-v100", "tf1-horovod", 64, 8192)
    assert {s.words() for s in map(found.parallelism, range(len(found)))} == {
        f"tp=1 pp=1 dp=64 micro-batch={b} recompute=none sharding=none" for b in (1, 2, 4, 8, 16, 32, 64, 128)
    }


def test_a_fused_stack_has_nothing_to_recompute_selectively() -> None:
    found = search("llama3-8b", "dgx-h100", "megatron-core-2024", 8, 8)
    assert {found.parallelism(i).recompute for i in range(len(found))} == {"none", "full"}


def test_long_sequences_may_be_cut_too() -> None:
    long, short = (search(name, "dgx-h100", "megatron-core-2024", 16, 16) for name in ("llama3-8b", "gpt3-175b"))
    assert set(long.columns["cp"]) == {1, 2, 4, 8}
    assert set(short.columns["cp"]) == {1}


def test_zero3_goes_without_a_pipeline_and_not_with_megatron() -> None:
    sharded = search("gpt h1024 L24 a16", "selene", "pytorch-fsdp", 16, 16)
    full = sharded.columns["sharding"] == 3
    assert full.any()
    assert set(sharded.columns["pp"][full]) == {1}
    assert not (search("gpt h1024 L24 a16", "selene", "megatron-lm-2022", 16, 16).columns["sharding"] == 3).any()


@pytest.mark.parametrize(
    "pins",
    [
        {"tp": 16}, {"pp": 5}, {"dp": 5}, {"cp": 2}, {"micro_batch": 4}, {"virtual_stages": 3}, {"schedule": "gpipe"},
        {"schedule": "interleaved", "virtual_stages": 2}, {"recompute": "full"}, {"sharding": "zero2"},
        {"sequence_parallel": True}, {"tp": 2, "pp": 4, "dp": 10, "micro_batch": 1},
    ],
)  # fmt: skip
def test_a_pin_holds_in_every_strategy(pins: dict) -> None:
    found = search("gpt h1024 L24 a16", "selene", "megatron-lm-2022", 80, 160, **pins)
    assert len(found) > 0
    for index in range(len(found)):
        strategy = found.parallelism(index)
        assert {key: getattr(strategy, key) for key in pins} == pins
        assert strategy.chips == 80


def test_layouts_that_do_not_divide_are_counted_by_the_first_limit_they_break() -> None:
    found = search("gpt h768 L10 a12", "selene", "megatron-lm-2022", 16, 6)
    said = {group.limit: group for group in found.rejected}
    heads = said["layouts: tensor-parallel ranks do not divide the model"]
    assert (heads.count, heads.by) == (2, "tp=8 leaves 4 of 12 heads over")
    assert said["layouts: pipeline stages do not divide the blocks"].by == "pp=8 leaves 2 of 10 blocks over"
    assert said["layouts: replicas do not divide the global batch"].example is None


def test_what_is_too_big_is_grouped_by_purpose_with_the_nearest_example() -> None:
    workload, used = job("gpt3-175b", "selene", "megatron-lm-2022")
    found = legal(workload, used.cluster, used.stack, 64, 64)
    use = memory_byte(workload, used, found.columns)
    capacity = used.cluster.chip.memory_byte
    groups = too_big(found, use, capacity_byte=capacity)
    assert sum(group.count for group in groups) == int(np.sum(use.total_byte > capacity))
    activations = next(group for group in groups if group.limit.endswith("activations"))
    assert activations.by.startswith("needs ")
    assert "of 80.0 GiB (activations " in activations.by
    assert closest(found, use, capacity_byte=capacity).startswith("Closest: tp=8 pp=8")


def test_nothing_is_too_big_for_a_chip_without_limits() -> None:
    workload, used = job("gpt h1024 L24 a16", "selene", "megatron-lm-2022")
    found = legal(workload, used.cluster, used.stack, 8, 8)
    assert too_big(found, memory_byte(workload, used, found.columns), capacity_byte=float("inf")) == ()


def test_a_search_without_a_legal_strategy_is_empty_and_says_why() -> None:
    found = search("resnet50", "dgx1-v100", "tf1-horovod", 64, 100)
    assert len(found) == 0
    assert [group.by for group in found.rejected] == ["dp=64 leaves 36 of 100 samples over"]


@pytest.mark.parametrize(
    ("model", "system_name", "stack_id", "chips", "global_batch"),
    [
        ("gpt3-175b", "selene", "megatron-lm-2022", 1024, 1536),
        ("llama3-8b", "dgx-h100", "megatron-core-2024", 64, 128),
        ("gpt h2048 L24 a16", "dgx-a100", "pytorch-fsdp", 32, 64),
        ("llama3-8b", "tpu-v3-pod", "jax-tpu", 64, 64),
        ("resnet50", "dgx1-v100", "tf1-horovod", 64, 8192),
    ],
)
def test_every_strategy_of_a_search_equals_the_scalar_path(
    model: str, system_name: str, stack_id: str, chips: int, global_batch: int
) -> None:
    workload, used = job(model, system_name, stack_id)
    found = legal(workload, used.cluster, used.stack, chips, global_batch)
    lowered = lower_columns(workload, used, found.columns)
    times = step_times(batch(lowered, Constants()))
    sample = np.random.default_rng(1).permutation(len(found))[:40]
    for index in sample:
        strategy = found.parallelism(int(index))
        alone = batch(lower(workload, used, [strategy]), Constants())
        assert bound(alone.spec(0)).total_ps == times.total_ps[index], strategy.words()


def test_a_search_prices_distinct_shapes_only() -> None:
    workload, used = job("gpt3-175b", "selene", "megatron-lm-2022")
    found = legal(workload, used.cluster, used.stack, 1024, 1536)
    lowered = lower_columns(workload, used, found.columns)
    assert 20 * len(lowered.shape_tp) < len(found)


def values(found, name: str) -> set[object]:
    """What a search varies of a field, in words."""
    return {getattr(found.parallelism(index), name) for index in range(len(found))}


def test_a_mixture_spreads_its_experts_over_ranks_that_divide_them() -> None:
    found = search("mixtral-8x7b", "dgx-h100", "megatron-core-2024", 16, 16)
    assert values(found, "ep") == {1, 2, 4, 8}
    assert values(search("llama3-8b", "dgx-h100", "megatron-core-2024", 16, 16), "ep") == {1}


def test_tables_are_whole_or_spread_over_all_ranks() -> None:
    assert values(search("dlrm-mlperf", "dgx-a100", "pytorch-2024", 16, 4096), "ep") == {1, 16}


def test_stages_may_be_a_little_uneven() -> None:
    # 58 like blocks on 16 stages: ten hold four, as the published run of 61 layers does.
    found = search("deepseek-v3-671b", "eos", "megatron-core-2024", 2048, 4096)
    assert 16 in values(found, "pp")
    assert 32 not in values(found, "pp")


@pytest.mark.parametrize(
    ("stack_id", "exchanges"),
    [
        ("megatron-core-2024", {"ring", "all_gather", "ulysses"}),
        ("llama3-meta", {"all_gather"}),
        ("jax-gpu", {"ring"}),
    ],
)
def test_sequences_are_exchanged_as_the_stack_does(stack_id: str, exchanges: set[str]) -> None:
    found = search("llama3-8b", "dgx-h100", stack_id, 16, 16)
    several = found.take(found.columns["cp"] > 1)
    assert values(several, "context_exchange") == exchanges
    assert values(found.take(found.columns["cp"] == 1), "context_exchange") == {"ring"}


def test_a_schedule_is_searched_where_the_stack_has_it() -> None:
    zero_bubble = values(search("gpt h1024 L24 a16", "selene", "zero-bubble", 16, 64), "schedule")
    assert zero_bubble == {"1f1b", "interleaved", "zb1p", "zb2p", "zbv"}
    assert values(search("gpt h1024 L24 a16", "selene", "megatron-lm-2022", 16, 64), "schedule") == {
        "1f1b",
        "interleaved",
    }


def test_offload_and_fewer_kept_inputs_are_a_last_resort() -> None:
    workload, used = job("gpt3-175b", "selene", "megatron-lm-2022")
    usual, more = (legal(workload, used.cluster, used.stack, 32, 32, last_resort=last) for last in (False, True))
    assert (values(usual, "offload"), values(usual, "recompute_every")) == ({"none"}, {1})
    assert values(more, "offload") == {"none", "optimizer", "activations"}
    assert values(more.take(more.columns["recompute_every"] > 1), "recompute") == {"full"}
    plain = {usual.parallelism(i) for i in range(len(usual))}
    assert plain < {more.parallelism(i) for i in range(len(more))}
    assert memory_byte(workload, used, usual.columns).total_byte.min() > used.cluster.chip.memory_byte
    assert memory_byte(workload, used, more.columns).total_byte.min() < used.cluster.chip.memory_byte


def test_where_habits_leave_nothing_every_layout_is_looked_at() -> None:
    # One sample on 16 chips: 3 blocks make no even stages, and tp ends at the 8 chips of a server.
    only = search("gpt h1024 L3 a16", "dgx-a100", "megatron-lm-2022", 16, 1)
    assert len(only) > 0
    assert max(values(only, "tp")) == 16


def test_strategies_that_a_rule_forbids_are_counted_with_the_least_example() -> None:
    found = search("gpt h1024 L24 a16", "selene", "megatron-lm-2022", 64, 128, context_exchange="ulysses")
    said = {group.limit: group for group in found.rejected}
    heads = said["strategies: ranks do not divide the heads that ulysses exchanges"]
    assert heads.count > 0
    assert heads.by.endswith("of 16 heads over")
    assert heads.example is not None


def test_networks_whose_blocks_differ_are_cut_between_any_layers() -> None:
    found = search("t5-11b", "selene", "megatron-lm-2022", 16, 16)
    assert values(found, "pp") == {1, 2, 4, 8, 16}


def test_a_pipeline_that_is_even_but_for_room_for_embedding_and_head_is_searched_interleaved() -> None:
    # Llama 3 405B was trained with 126 blocks on 16 stages: one short of 8 on the first and on the last.
    found = search("Llama-3.1-405B", "meta-24k-roce", "llama3-meta", 2048, 256, pp=16, tp=8)
    virtual = {found.parallelism(i).virtual_stages for i in range(len(found))}
    assert virtual == {1, 2, 4}
