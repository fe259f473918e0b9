"""Memory against published closed forms, a scalar twin, and the schedules themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.cluster import system
from simulator.lowering import Context
from simulator.memory import MemoryColumns, activations_in_flight, memory_byte
from simulator.parallelism import Parallelism
from simulator.schedules import SCHEDULES as ORDERS
from simulator.search import legal
from simulator.stack import RECOMPUTE_MODES, SHARDING_MODES, stack
from simulator.stepspec import SCHEDULES
from workloads import catalog
from workloads.optimizer import optimizer
from workloads.precision import recipe

SMALL = "gpt h1024 L24 a16"


def context(stack_id: str = "megatron-lm-2022", precision: str = "bf16_mixed", **changes: object) -> Context:
    used = replace(stack(stack_id), gradient_byte=0.0, **changes)
    return Context(cluster=system("selene").cluster, stack=used, recipe=recipe(precision), optimizer=optimizer("adam"))


def columns(*strategies: Parallelism) -> dict[str, np.ndarray]:
    plain = ("tp", "pp", "dp", "cp", "micro_batch", "micro_batches", "virtual_stages", "sequence_parallel")
    found = {name: np.array([int(getattr(s, name)) for s in strategies], dtype=np.int64) for name in plain}
    for name, words in (("schedule", SCHEDULES), ("recompute", RECOMPUTE_MODES), ("sharding", SHARDING_MODES)):
        found[name] = np.array([words.index(getattr(s, name)) for s in strategies], dtype=np.int64)
    return found


def memory(name: str, strategy: Parallelism, **how: object) -> MemoryColumns:
    return memory_byte(catalog.model(name), context(**how), columns(strategy))


def activations_of_one_layer(strategy: Parallelism, **how: object) -> float:
    """Of one micro-batch: what a model with one more layer keeps more."""
    longer = memory("gpt h1024 L25 a16", strategy, **how).activation_byte[0]
    return float(longer - memory(SMALL, strategy, **how).activation_byte[0])


# Published closed forms ------------------------------------------------------------------------------

S, B, H, A = 2048, 2, 1024, 16
SBH = S * B * H


@pytest.mark.parametrize("t", [1, 2, 4])
def test_a_layer_keeps_what_korthikanti_derives_for_tensor_parallelism(t: int) -> None:
    # Equation 2 of arXiv:2205.05198: s b h (10 + 24 / t + 5 a s / (h t)).
    kept = activations_of_one_layer(Parallelism(tp=t, micro_batch=B, global_batch=B))
    assert kept == pytest.approx(SBH * (10 + 24 / t + 5 * A * S / (H * t)))


@pytest.mark.parametrize("t", [2, 4])
def test_sequence_parallelism_divides_everything_a_layer_keeps(t: int) -> None:
    # Equation 4: s b h / t (34 + 5 a s / h).
    kept = activations_of_one_layer(Parallelism(tp=t, micro_batch=B, global_batch=B, sequence_parallel=True))
    assert kept == pytest.approx(SBH / t * (34 + 5 * A * S / H))


def test_selective_recomputation_drops_the_scores() -> None:
    # Equation 6: 34 s b h / t.
    strategy = Parallelism(tp=2, micro_batch=B, global_batch=B, sequence_parallel=True, recompute="selective")
    assert activations_of_one_layer(strategy) == pytest.approx(34 * SBH / 2)


def test_full_recomputation_keeps_one_input_a_layer() -> None:
    # Table 2: 2 s b h.
    strategy = Parallelism(tp=2, micro_batch=B, global_batch=B, recompute="full")
    assert activations_of_one_layer(strategy) == pytest.approx(2 * SBH)


def test_full_recomputation_holds_one_whole_layer_while_it_replays() -> None:
    full = memory(SMALL, Parallelism(micro_batch=B, global_batch=B, recompute="full")).activation_byte[0]
    ends = memory(SMALL, Parallelism(micro_batch=B, global_batch=B)).activation_byte[0]
    layer = activations_of_one_layer(Parallelism(micro_batch=B, global_batch=B))
    assert full == pytest.approx(ends - 24 * layer + 24 * 2 * SBH + layer)


def test_fused_attention_keeps_one_statistic_a_query_instead_of_scores() -> None:
    strategy = Parallelism(micro_batch=B, global_batch=B)
    kept = activations_of_one_layer(strategy, stack_id="megatron-core-2024")
    assert kept == pytest.approx(34 * SBH + 4 * B * A * S)


def test_four_byte_storage_doubles_activations() -> None:
    strategy = Parallelism(micro_batch=B, global_batch=B)
    wide = activations_of_one_layer(strategy, precision="fp32")
    assert wide == pytest.approx(2 * activations_of_one_layer(strategy))


def test_mixed_adam_takes_sixteen_bytes_a_parameter() -> None:
    use = memory(SMALL, Parallelism(global_batch=1))
    state = use.parameter_byte + use.gradient_byte + use.optimizer_byte
    assert state[0] == pytest.approx(16 * catalog.model(SMALL).parameters)


@pytest.mark.parametrize(
    ("sharding", "whole", "shared"), [("none", 16, 0), ("zero1", 4, 12), ("zero2", 2, 14), ("zero3", 0, 16)]
)
def test_zero_stages_share_what_they_say(sharding: str, whole: int, shared: int) -> None:
    # Figure 1 of arXiv:1910.02054.
    use = memory(SMALL, Parallelism(dp=64, global_batch=64, sharding=sharding))
    state = use.parameter_byte + use.gradient_byte + use.optimizer_byte
    assert state[0] == pytest.approx((whole + shared / 64) * catalog.model(SMALL).parameters)


def test_zero3_needs_two_gathered_blocks_besides() -> None:
    tall = "gpt h4096 L4 a32"
    block = next(layer for layer in catalog.model(tall).layers if layer.kind == "block")
    sharded = memory(tall, Parallelism(dp=8, global_batch=8, sharding="zero3")).transient_byte[0]
    table = catalog.model(tall).layers[0].parameters
    assert sharded == pytest.approx(2 * 2 * max(block.parameters, table, catalog.model(tall).layers[2].parameters))


# Laws ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sharding", ["none", "zero1"])
def test_more_tensor_parallelism_never_needs_more(sharding: str) -> None:
    totals = [
        memory("gpt3-175b", Parallelism(tp=tp, dp=8, global_batch=64, sharding=sharding)).total_byte[0]
        for tp in (1, 2, 4, 8)
    ]
    assert totals == sorted(totals, reverse=True)


def test_a_deeper_pipeline_never_needs_more() -> None:
    totals = [memory("gpt3-175b", Parallelism(pp=pp, global_batch=64)).total_byte[0] for pp in (1, 2, 4, 8, 16, 32)]
    assert totals == sorted(totals, reverse=True)


def test_accumulating_more_micro_batches_needs_no_more_memory() -> None:
    few, many = (memory(SMALL, Parallelism(pp=4, global_batch=m)).total_byte[0] for m in (4, 400))
    assert few == many


def test_gpipe_holds_every_micro_batch_and_1f1b_only_a_pipeline_of_them() -> None:
    gpipe, one = (
        memory(SMALL, Parallelism(pp=2, global_batch=16, schedule=schedule)).activation_byte[0]
        for schedule in ("gpipe", "1f1b")
    )
    assert gpipe > 7 * one


# Two ways agree --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("p", "v"), [(2, 2), (4, 2), (4, 3), (8, 6), (3, 4)])
@pytest.mark.parametrize("rounds", [1, 2, 3, 7])
def test_first_chunk_of_the_interleaved_schedule_holds_what_its_order_says(p: int, v: int, rounds: int) -> None:
    held = most = 0
    for task in ORDERS["interleaved"].order(0, p, p * rounds, v):
        if task.chunk == 0:
            held += 1 if task.kind == "forward" else -1
            most = max(most, held)
    strategy = Parallelism(pp=p, global_batch=p * rounds, virtual_stages=v, schedule="interleaved")
    found = activations_in_flight(columns(strategy), blocks_before_and_after=(np.array([1, 24, 1]), 1))
    assert found[0, 0, 0] == most


def one_strategy_bytes(name: str, used: Context, strategy: Parallelism) -> dict[str, float]:
    """The plain twin: stage by stage, layer by layer, with the schedules' own counts; the fullest stage."""
    workload = catalog.model(name)
    t, sp = strategy.tp, strategy.tp if strategy.sequence_parallel else 1
    before, block, after = workload.layers
    sharders = strategy.dp * strategy.cp
    level = SHARDING_MODES.index(strategy.sharding)
    unit = used.recipe.storage_byte * strategy.micro_batch / strategy.cp
    fused = used.stack.attention == "fused"
    divide = {"none": 1, "row": t, "heads": t, "inner": t, "column": sp, "vocab": sp, "sequence": sp}
    blocks, p = workload.num_blocks, strategy.pp

    def saved(layer, scores=True):
        core = sum((o.statistic_elements if fused else o.score_elements * scores) / t for o in layer.ops)
        return unit * (core + sum(o.saved_elements / divide[o.split] for o in layer.ops))

    def held(layer):
        return sum(o.parameters / (1 if o.split in ("none", "sequence") else t) for o in layer.ops)

    best: dict[str, float] = {}
    for stage in range(p):
        own = blocks // p if blocks % p == 0 else (blocks + 2) // p - (stage in (0, p - 1))
        shape = (p, strategy.micro_batches, strategy.virtual_stages)
        schedule = ORDERS[strategy.schedule]
        flight = schedule.activations_in_flight(stage, *shape)
        layers = [before] * (stage == 0) + [block] * own + [after] * (stage == p - 1)
        parameters = sum(held(layer) for layer in layers)
        if p == 1 and workload.tied_embeddings:
            parameters -= workload.tied_parameters / t
        activations = transient = 0.0
        whole = saved(block)
        if strategy.recompute == "full":
            each = unit * workload.tokens_per_sample * int(workload.hyper["hidden"]) / sp
            activations += whole
        else:
            each = saved(block, scores=strategy.recompute == "none")
        activations += own * flight * each
        if strategy.recompute == "selective" and not fused:
            transient = unit * sum(o.score_elements for o in block.ops) / t
        if stage == 0:
            activations += saved(before) * (
                min(2 * p, strategy.micro_batches) if strategy.virtual_stages > 1 else flight
            )
        if stage == p - 1:
            activations += saved(after) * (strategy.micro_batches if strategy.schedule == "gpipe" else 1)
            logits = sum(o.m * o.n for o in after.ops if o.name == "vocabulary")
            transient = max(transient, 2 * unit * logits / t)
        if level == 3 and sharders > 1:
            transient = max(transient, 2 * used.recipe.storage_byte * max(held(layer) for layer in layers))
        purposes = {
            "parameters": parameters * used.recipe.storage_byte / (sharders if level == 3 else 1),
            "gradients": parameters
            * (used.stack.gradient_byte or used.recipe.gradient_byte)
            / (sharders if level >= 2 else 1),
            "optimizer": parameters
            * (used.recipe.master_byte + used.recipe.state_byte * used.optimizer.state_per_parameter)
            / (sharders if level >= 1 else 1),
            "activations": activations,
            "transient": transient,
        }
        if not best or sum(purposes.values()) > sum(best.values()):
            best = purposes
    return {**best, "reserve": used.stack.framework_reserve_byte}


@pytest.mark.parametrize("stack_id", ["megatron-lm-2022", "megatron-core-2024", "jax-tpu"])
@pytest.mark.parametrize("name", ["gpt3-175b", "llama3-8b", SMALL])
def test_arrays_equal_the_plain_twin_on_a_random_sample_of_a_search(name: str, stack_id: str) -> None:
    used = replace(context(stack_id), stack=stack(stack_id))
    workload = catalog.model(name)
    found = legal(workload, used.cluster, used.stack, 256, 512)
    use = memory_byte(workload, used, found.columns)
    sample = np.random.default_rng(7).choice(len(found), size=150, replace=False)
    for index in sample:
        strategy = found.parallelism(int(index))
        mine = use.use(int(index), capacity_byte=1.0).by_purpose()
        twin = one_strategy_bytes(name, used, strategy)
        assert mine == pytest.approx(twin, rel=1e-9), strategy.words()
    assert len(sample) == 150
