"""Memory against published closed forms, a scalar twin, and the schedules themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.cluster import system
from simulator.lowering import Context
from simulator.memory import (
    MOMENTS,
    MemoryColumns,
    activations_in_flight,
    largest_micro_batch,
    memory_byte,
    stage_memory,
)
from simulator.memory.columns import ALLOCATED, OUTSIDE
from simulator.memory.stages import stage_blocks
from simulator.parallelism import Parallelism, columns_of
from simulator.schedules import SCHEDULES as ORDERS
from simulator.search import legal
from simulator.stack import RECOMPUTE_MODES, SHARDING_MODES, stack
from simulator.traffic import gradient_byte_of
from workloads import catalog
from workloads.optimizer import optimizer
from workloads.precision import recipe

SMALL = "gpt h1024 L24 a16"


def context(stack_id: str = "megatron-lm-2022", precision: str = "bf16_mixed", **changes: object) -> Context:
    used = replace(stack(stack_id), gradient_byte=0.0, **changes)
    return Context(cluster=system("selene").cluster, stack=used, recipe=recipe(precision), optimizer=optimizer("adam"))


def columns(*strategies: Parallelism) -> dict[str, np.ndarray]:
    return columns_of(strategies)


def memory(name: str, strategy: Parallelism, **how: object) -> MemoryColumns:
    return memory_byte(catalog.model(name), context(**how), columns(strategy))


def kept(name: str, strategy: Parallelism, **how: object) -> float:
    """Activations of the first stage with all its micro-batches in flight."""
    stages = stage_memory(catalog.model(name), context(**how), columns(strategy))
    return float(stages.activation_byte[0, 0, MOMENTS.index("passes")])


def activations_of_one_layer(strategy: Parallelism, **how: object) -> float:
    """Of one micro-batch: what a model with one more layer keeps more."""
    return kept("gpt h1024 L25 a16", strategy, **how) - kept(SMALL, strategy, **how)


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
    strategy = Parallelism(micro_batch=B, global_batch=B, recompute="full")
    layer = activations_of_one_layer(Parallelism(micro_batch=B, global_batch=B))
    stages = stage_memory(catalog.model(SMALL), context(), columns(strategy))
    replayed = stages.transient_byte[0, 0, MOMENTS.index("passes")]
    plain = stage_memory(catalog.model(SMALL), context(), columns(replace(strategy, recompute="none")))
    assert replayed - plain.transient_byte[0, 0, MOMENTS.index("passes")] == pytest.approx(layer)


@pytest.mark.parametrize("every", [2, 4, 8])
def test_one_input_for_several_blocks_trades_inputs_for_a_longer_replay(every: int) -> None:
    one = Parallelism(micro_batch=B, global_batch=B, recompute="full")
    several = replace(one, recompute_every=every)
    ends = kept(SMALL, one) - 24 * 2 * SBH
    assert kept(SMALL, several) == pytest.approx(ends + 24 / every * 2 * SBH)
    passes = MOMENTS.index("passes")
    transients = [stage_memory(catalog.model(SMALL), context(), columns(s)).transient_byte for s in (one, several)]
    layer = activations_of_one_layer(Parallelism(micro_batch=B, global_batch=B))
    assert transients[1][0, 0, passes] - transients[0][0, 0, passes] == pytest.approx((every - 1) * layer)


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
    state = use.parameter_byte + use.gradient_byte + use.master_byte + use.optimizer_byte
    assert state[0] == pytest.approx(16 * catalog.model(SMALL).parameters)


@pytest.mark.parametrize(
    ("sharding", "whole", "shared"), [("none", 16, 0), ("zero1", 4, 12), ("zero2", 2, 14), ("zero3", 0, 16)]
)
def test_zero_stages_share_what_they_say(sharding: str, whole: int, shared: int) -> None:
    # Figure 1 of arXiv:1910.02054.
    use = memory(SMALL, Parallelism(dp=64, global_batch=64, sharding=sharding))
    state = use.parameter_byte + use.gradient_byte + use.master_byte + use.optimizer_byte
    assert state[0] == pytest.approx((whole + shared / 64) * catalog.model(SMALL).parameters)


def loss_transient(strategy: Parallelism, name: str) -> float:
    stages = stage_memory(catalog.model(name), context(), columns(strategy))
    return float(stages.transient_byte[0, 0, MOMENTS.index("loss")])


def test_zero3_needs_two_gathered_blocks_and_one_whole_gradient_besides() -> None:
    tall = "gpt h4096 L4 a32"
    most = max(layer.parameters for layer in catalog.model(tall).layers)
    strategy = Parallelism(dp=8, global_batch=8, sharding="zero3")
    assert loss_transient(strategy, tall) == pytest.approx(2 * (2 + 1) * most)
    assert loss_transient(replace(strategy, sharding="zero2"), tall) == 0.0


def test_zero3_in_a_pipeline_keeps_its_stage_gathered() -> None:
    strategy = Parallelism(dp=8, pp=4, global_batch=32, sharding="zero3")
    first = catalog.model(SMALL).layers[0].parameters + 6 * catalog.model(SMALL).layers[1].parameters
    assert loss_transient(strategy, SMALL) == pytest.approx(2 * 2 * first)


def test_hybrid_sharding_shares_state_inside_its_group_only() -> None:
    strategy = Parallelism(dp=64, global_batch=64, sharding="zero3")
    all_ranks, group = (memory(SMALL, replace(strategy, shard_ranks=ranks)).optimizer_byte[0] for ranks in (0, 8))
    assert group == pytest.approx(8 * all_ranks)


@pytest.mark.parametrize("purpose", ["master_byte", "optimizer_byte"])
def test_an_offloaded_optimizer_is_not_on_the_chip(purpose: str) -> None:
    strategy = Parallelism(global_batch=1, offload="optimizer")
    assert getattr(memory(SMALL, strategy), purpose)[0] == 0.0
    assert (
        memory(SMALL, strategy).parameter_byte[0] == memory(SMALL, replace(strategy, offload="none")).parameter_byte[0]
    )


def test_offloaded_activations_leave_two_blocks_on_the_chip() -> None:
    strategy = Parallelism(micro_batch=B, global_batch=B)
    layer = activations_of_one_layer(strategy)
    assert kept(SMALL, strategy) - kept(SMALL, replace(strategy, offload="activations")) == pytest.approx(22 * layer)


def test_frozen_parameters_take_no_gradient_and_no_state() -> None:
    stages = stage_memory(catalog.model(SMALL), context(), columns(Parallelism(global_batch=1)), frozen=True)
    for purpose in ("gradient_byte", "master_byte", "optimizer_byte"):
        assert not getattr(stages, purpose).any()
    assert stages.parameter_byte[0, 0].all()


def test_eight_bit_products_keep_two_narrow_copies_of_matrices() -> None:
    plain, narrow = (memory(SMALL, Parallelism(global_batch=1), precision=p).parameter_byte[0] for p in ("bf16", "fp8"))
    matrices = sum(
        layer.repeat * op.parameters for layer in catalog.model(SMALL).layers for op in layer.ops if op.kind == "gemm"
    )
    # The decoder's matrix is the embedding's table, which a product reads too.
    assert narrow - plain == pytest.approx(2 * matrices, rel=0.01)


# Sources' figures ------------------------------------------------------------------------------------

#: MooreThreads/SimuMax@4dcaae5, docs/b200/b200_release_v1.2_summary.json, Llama-3-70B with 12 layers: tp, pp, dp, cp,
#: positions, peak allocated [GiB].
SIMUMAX = (
    (1, 2, 4, 1, 4096, 66.55), (2, 1, 4, 1, 4096, 60.68), (4, 1, 2, 1, 4096, 39.07), (8, 1, 1, 1, 4096, 28.29),
    (2, 1, 1, 4, 32768, 68.43), (1, 1, 1, 8, 32768, 104.51), (2, 1, 1, 4, 131072, 112.67),
    (1, 1, 1, 8, 131072, 147.99),
)  # fmt: skip


def simumax_error(tp: int, pp: int, dp: int, cp: int, seq_len: int, measured: float) -> float:
    workload = catalog.model("Llama-3-70B proxy (12 layers)", seq_len=seq_len)
    used = Context(
        cluster=system("selene").cluster, stack=stack("megatron-core-2025-plain"), recipe=recipe("bf16"),
        optimizer=optimizer("adam"),
    )  # fmt: skip
    strategy = Parallelism(tp=tp, pp=pp, dp=dp, cp=cp, global_batch=4 * dp, sharding="zero1", sequence_parallel=tp > 1)
    return abs(np.log(memory_byte(workload, used, columns(strategy)).allocated_byte[0] / 2**30 / measured))


@pytest.mark.parametrize("row", SIMUMAX)
def test_every_simumax_case_is_within_four_percent(row: tuple[float, ...]) -> None:
    assert simumax_error(*row) < 0.04


def test_simumax_is_within_two_percent_on_the_mean() -> None:
    assert np.mean([simumax_error(*row) for row in SIMUMAX]) < 0.02


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
    gpipe, one = (kept(SMALL, Parallelism(pp=2, global_batch=16, schedule=schedule)) for schedule in ("gpipe", "1f1b"))
    assert gpipe > 7 * one


def test_the_peak_is_the_fullest_stage_at_its_fullest_moment() -> None:
    strategies = [
        Parallelism(pp=pp, dp=4, global_batch=64, micro_batch=b, sharding=z) for pp in (1, 2, 4) for b in (1, 4)
        for z in ("none", "zero1", "zero3")
    ]  # fmt: skip
    stages = stage_memory(catalog.model(SMALL), context(), columns(*strategies))
    peak = stages.peak()
    rows = np.arange(len(strategies))
    assert (peak.allocated_byte == stages.allocated_byte[rows, peak.role, peak.moment]).all()
    there = np.where(stages.present[:, :, None] > 0, stages.allocated_byte, 0.0)
    assert (peak.allocated_byte == there.max(axis=(1, 2))).all()


def test_a_lone_update_is_where_a_stack_with_temporaries_peaks() -> None:
    strategy = Parallelism(global_batch=1)
    moments = [memory(SMALL, strategy, update_byte=byte).moment[0] for byte in (0.0, 32.0)]
    assert [MOMENTS[m] for m in moments] == ["loss", "update"]


def test_gradients_of_one_pass_stand_beside_what_is_left_of_the_activations() -> None:
    stages = stage_memory(catalog.model(SMALL), context(pass_gradient_byte=2.0), columns(Parallelism(global_batch=1)))
    end = MOMENTS.index("gradients")
    assert stages.activation_byte[0, 0, end] == 0.0
    assert stages.transient_byte[0, 0, end] == pytest.approx(2 * catalog.model(SMALL).parameters)


@pytest.mark.parametrize(("field", "value"), [("allocator_share", 0.1), ("framework_reserve_byte", 9e9)])
def test_what_stands_outside_of_tensors_is_never_called_allocated(field: str, value: float) -> None:
    plain, changed = (
        memory(SMALL, Parallelism(global_batch=1)),
        memory(SMALL, Parallelism(global_batch=1), **{field: value}),
    )
    assert changed.allocated_byte[0] == plain.allocated_byte[0]
    assert changed.total_byte[0] > plain.total_byte[0]


@pytest.mark.parametrize("ep", [2, 4, 8])
def test_experts_are_shared_by_expert_parallel_ranks(ep: int) -> None:
    workload = catalog.model("mixtral-8x7b")
    spread = sum(layer.repeat * layer.spread_parameters for layer in workload.layers)
    used = context("megatron-core-2024")
    one, many = (
        memory_byte(workload, used, columns(Parallelism(dp=8, ep=n, global_batch=8))).parameter_byte[0] for n in (1, ep)
    )
    assert one - many == pytest.approx(2 * spread * (1 - 1 / ep))
    sharded = [
        memory_byte(workload, used, columns(Parallelism(dp=8, ep=n, global_batch=8, sharding="zero1"))).optimizer_byte[
            0
        ]
        for n in (1, ep)
    ]
    assert sharded[0] == pytest.approx(sharded[1])


def test_a_stack_that_cuts_by_cost_counts_the_head() -> None:
    # 16 blocks of 67.1 M parameters and a head of 268 M, which costs as much as 4 blocks.
    workload = catalog.model("nanotron-1.34B")
    for pp, first in ((2, 10), (4, 5), (8, 3)):
        stages = [
            stage_memory(workload, context("nanotron", cuts_by_cost=cuts), columns(Parallelism(pp=pp, global_batch=64)))
            for cuts in (False, True)
        ]
        blocks = [s.activation_byte[0, 0, 0] for s in stages]
        assert blocks[1] / blocks[0] == pytest.approx(first / (16 / pp), rel=0.03)


@pytest.mark.parametrize("recompute", RECOMPUTE_MODES)
@pytest.mark.parametrize("tp", [1, 8])
def test_the_largest_micro_batch_fits_and_the_next_does_not(recompute: str, tp: int) -> None:
    used, workload = context(), catalog.model(SMALL)
    strategy = Parallelism(tp=tp, global_batch=1, recompute=recompute)
    most = largest_micro_batch(workload, used, strategy, capacity_byte=40e9)
    need = [
        memory_byte(workload, used, columns(replace(strategy, micro_batch=b, global_batch=b))).total_byte[0]
        for b in (most, most + 1)
    ]
    assert need[0] <= 40e9 < need[1]


def test_a_model_that_does_not_fit_has_no_largest_micro_batch() -> None:
    assert largest_micro_batch(catalog.model("gpt3-175b"), context(), Parallelism(global_batch=1)) == 0


def test_replaying_more_never_makes_the_largest_micro_batch_smaller() -> None:
    most = [
        largest_micro_batch(catalog.model(SMALL), context(), Parallelism(global_batch=1, recompute=word))
        for word in RECOMPUTE_MODES
    ]
    assert most == sorted(most)
    assert most[0] < most[-1]


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
    """The plain twin: stage by stage, layer by layer, with the schedules' own counts; the fullest stage and moment."""
    workload = catalog.model(name)
    t, sp = strategy.tp, strategy.tp if strategy.sequence_parallel else 1
    before, block, after = workload.layers
    sharders = strategy.dp * strategy.cp
    level = SHARDING_MODES.index(strategy.sharding)
    gathers = level == 3 and sharders > 1
    unit = used.recipe.storage_byte * strategy.micro_batch / strategy.cp
    fused = used.stack.attention == "fused"
    divide = {"none": 1, "row": t, "heads": t, "inner": t, "column": sp, "vocab": sp, "sequence": sp}
    blocks, p, m = workload.num_blocks, strategy.pp, strategy.micro_batches

    def saved(layer, scores=True):
        core = sum((o.statistic_elements if fused else o.score_elements * scores) / t for o in layer.ops)
        kept = sum(o.saved_elements / divide[o.split] for o in layer.ops if o.name != "cross entropy")
        return unit * (core + kept)

    def held(layer):
        return sum(o.parameters / (1 if o.split in ("none", "sequence") else t) for o in layer.ops)

    def widest(layer):
        most = 0.0
        for o in layer.ops:
            if o.name in ("cross entropy", "vocabulary"):
                continue
            whole_in, whole_out = o.split not in ("row", "heads", "inner"), o.split not in (
                "column", "vocab", "heads", "inner")  # fmt: skip
            steps = o.launches if o.kind == "vector" else 1
            gradients = o.read_elements / (1 if whole_in else t) + o.write_elements / (1 if whole_out else t)
            most = max(most, gradients / steps)
        return unit * most

    best: dict[str, float] = {}
    for stage in range(p):
        own = blocks // p if blocks % p == 0 else (blocks + 2) // p - (stage in (0, p - 1))
        flight = ORDERS[strategy.schedule].activations_in_flight(stage, p, m, strategy.virtual_stages)
        layers = [before] * (stage == 0) + [block] * own + [after] * (stage == p - 1)
        parameters = sum(held(layer) for layer in layers)
        if p == 1 and workload.tied_embeddings:
            parameters -= workload.tied_parameters / t
        each, replay = saved(block), 0.0
        if strategy.recompute == "full":
            each, replay = unit * workload.tokens_per_sample * int(workload.hyper["hidden"]) / sp, saved(block)
        elif strategy.recompute == "selective" and not fused:
            each, replay = saved(block, scores=False), saved(block) - saved(block, scores=False)
        ends = {before: min(2 * p, m) if strategy.virtual_stages > 1 else flight, block: flight,
                after: m if strategy.schedule == "gpipe" else 1}  # fmt: skip

        def activations(gone, layers=layers, ends=ends, each=each):
            return sum(max(ends[layer] - gone, 0) * (each if layer is block else saved(layer)) for layer in layers)

        logits = strategy.micro_batch / strategy.cp * sum(o.m * o.n for o in after.ops if o.name == "vocabulary") / t
        gathered = 0.0
        if gathers:
            tall = max(held(layer) for layer in layers)
            stored = used.recipe.storage_byte
            wide = max(used.stack.gradient_byte or used.recipe.gradient_byte, stored)
            gathered = (stored + wide) * parameters if p > 1 else 3 * stored * tall
        keys = sum(o.kv_heads * o.head_dim * 2 * o.context for o in block.ops) / t * (strategy.cp > 1)
        buffers = 2 * strategy.cp if strategy.context_exchange == "all_gather" else 4
        boundary = 2 * unit * workload.tokens_per_sample * int(workload.hyper["hidden"]) / sp * (p > 1)
        bucket = used.stack.bucket_byte * (sharders > 1)
        working = max(widest(layer) + (replay if layer is block else 0.0) for layer in layers)
        common = {
            "parameters": parameters * used.recipe.storage_byte / (sharders if level == 3 else 1),
            "gradients": parameters
            * (used.stack.gradient_byte or used.recipe.gradient_byte)
            / (sharders if level >= 2 else 1),
            "master": parameters * used.recipe.master_byte / (sharders if level >= 1 else 1),
            "optimizer": parameters
            * used.recipe.state_byte
            * used.optimizer.state_per_parameter
            / (sharders if level >= 1 else 1),
        }
        moments = [
            {"activations": activations(0), "loss": 0.0, "transient": gathered + working,
             "exchange": boundary + bucket + buffers * unit * keys},
            {"activations": activations(1), "loss": 0.0, "transient": gathered, "exchange": boundary + bucket},
            {"activations": activations(0), "loss": used.stack.loss_byte * logits * (stage == p - 1),
             "transient": gathered, "exchange": boundary + bucket},
            {"activations": 0.0, "loss": 0.0, "transient": 0.0, "exchange": bucket},
        ]  # fmt: skip
        for moment in moments:
            purposes = {**common, **moment}
            if not best or sum(purposes.values()) > sum(best.values()):
                best = purposes
    groups = sum(n > 1 for n in (t, sharders, p, strategy.cp))
    channels = 16 * 2 * 5.7 * 2**20 * groups if used.cluster.chip.kind == "gpu" else 0.0
    return {**best, "fragmentation": 0.0, "communicator": channels, "reserve": used.stack.framework_reserve_byte}


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


def test_every_purpose_is_printed_and_added_up() -> None:
    columns_found = memory(SMALL, Parallelism(dp=2, global_batch=2), allocator_share=0.1)
    use = columns_found.use(0, capacity_byte=1.0)
    assert len(use.by_purpose()) == len((*ALLOCATED, *OUTSIDE))
    assert use.total_byte == pytest.approx(columns_found.total_byte[0])
    assert use.total_byte - columns_found.allocated_byte[0] == pytest.approx(
        use.fragmentation_byte + use.communicator_byte + use.reserve_byte
    )


@pytest.mark.parametrize("word", ["gpipe", "1f1b"])
def test_a_schedule_without_a_closed_form_is_asked_for_every_stage(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    strategies = [Parallelism(pp=pp, global_batch=m, schedule=word) for pp in (1, 2, 4, 7) for m in (1, 3, 16)]
    blocks = (np.array([1, 24, 1]), 1)
    closed = activations_in_flight(columns(*strategies), blocks_before_and_after=blocks)
    monkeypatch.setattr("simulator.memory.in_flight._CLOSED", ("interleaved",))
    asked = activations_in_flight(columns(*strategies), blocks_before_and_after=blocks)
    there = [[True, s.pp > 2, s.pp > 1] for s in strategies]
    assert (closed[there][:, 1] == asked[there][:, 1]).all()


# Habits of frameworks --------------------------------------------------------------------------------


def with_habit(name: str, **habits: object) -> Context:
    used = context(name)
    return replace(used, stack=replace(used.stack, **habits))  # type: ignore[arg-type]


def test_unrolled_recurrences_hold_one_weight_gradient_a_step() -> None:
    """Measured on a V100: 6.4 GB for two LSTM layers of 1,500 over 35 steps at batch 20, of which 4.9 are these."""
    workload = catalog.model("PaddingRNN LSTM large (PTB, static)")
    steps = [op.seq_len for layer in workload.layers for op in layer.ops if op.kind == "recurrent"]
    cells = sum(layer.repeat * op.parameters for layer in workload.layers for op in layer.ops if op.kind == "recurrent")
    where = columns(Parallelism(micro_batch=20, global_batch=20))
    plain, unrolled = (
        stage_memory(workload, with_habit("megatron-lm-2022", unrolls_recurrence=on), where).transient_byte
        for on in (False, True)
    )
    width = (unrolled - plain).max() / (cells * (steps[0] - 1))
    assert width == pytest.approx(gradient_byte_of(context("megatron-lm-2022").stack, context().recipe))


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_what_is_kept_gathered_is_the_input_of_every_column_split_product(tp: int) -> None:
    workload = catalog.model("llama3-8b")
    where = columns(Parallelism(tp=tp, global_batch=1, sequence_parallel=True))
    anew, kept = (
        memory_byte(workload, with_habit("megatron-core-2024", gathered_share=on), where).activation_byte[0]
        for on in (0.0, 1.0)
    )
    inputs = 2 * 2.0 * 4096 * workload.tokens_per_sample * workload.num_blocks
    assert kept - anew == pytest.approx(inputs * (1.0 - 1.0 / tp))


def test_without_tensor_parallelism_nothing_is_gathered() -> None:
    workload = catalog.model("llama3-8b")
    where = columns(Parallelism(global_batch=1))
    anew, kept = (
        memory_byte(workload, with_habit("megatron-core-2024", gathered_share=on), where).total_byte[0]
        for on in (False, True)
    )
    assert kept == anew


def test_logits_of_a_head_that_is_not_split_count_at_the_loss() -> None:
    workload = catalog.model("Transformer-XL base (full softmax)")
    where = columns(Parallelism(micro_batch=4, global_batch=4))
    found = stage_memory(workload, context(), where)
    logits = 4 * workload.tokens_per_sample * int(workload.hyper["vocab"])
    assert found.loss_byte.max() == pytest.approx(context().stack.loss_byte * logits)


def test_whole_gradients_of_a_sharded_pipeline_are_as_wide_as_stored_ones() -> None:
    workload = catalog.model("llama3-8b")
    where = columns(Parallelism(pp=2, dp=4, global_batch=16, sharding="zero3"))
    wide, narrow = (
        stage_memory(workload, with_habit("megatron-core-2024", gradient_byte=width), where).transient_byte[0, 0, 2]
        for width in (4.0, 2.0)
    )
    stage = sum(layer.repeat * layer.parameters for layer in workload.layers[:1]) + (
        workload.num_blocks // 2 * workload.layers[1].parameters
    )
    assert wide - narrow == pytest.approx(2.0 * stage)


def test_offloaded_shards_leave_what_is_gathered() -> None:
    workload = catalog.model("llama3-8b")
    where = columns(Parallelism(dp=8, global_batch=8, sharding="zero3"))
    habits = {"offloads_parameters": True, "offloads_optimizer": True}
    found = stage_memory(workload, with_habit("megatron-core-2024", **habits), where)
    for purpose in ("parameter_byte", "gradient_byte", "master_byte", "optimizer_byte"):
        assert getattr(found, purpose).max() == 0.0
    assert found.transient_byte.max() > 0.0


@pytest.mark.parametrize("pp", [1, 2, 4, 5, 8, 16])
@pytest.mark.parametrize("name", ["deepseek-v3", "deepseek-v2-lite", "llama3-8b"])
def test_blocks_of_several_kinds_fill_the_stages_in_order(name: str, pp: int) -> None:
    workload = catalog.model(name)
    found = stage_blocks(workload, context().stack, np.array([pp]))[0]
    kinds = [i for i, layer in enumerate(workload.layers) if layer.kind == "block"]
    held = found[:, kinds].sum(axis=1)
    if pp == 1:
        assert held[0] == workload.num_blocks
        return
    assert held.max() <= np.ceil(workload.num_blocks / pp)
    first = workload.layers[kinds[0]]
    assert found[0, kinds[0]] == min(first.repeat, held[0])
    assert found[2, kinds[-1]] == min(workload.layers[kinds[-1]].repeat, held[2])
