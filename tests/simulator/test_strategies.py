"""Laws of the ways to cut a job beyond tensor, data and pipeline: work is conserved, exchanges are the method's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.cluster import system
from simulator.constants import Constants
from simulator.lowering import Context, lower
from simulator.parallelism import (
    COLUMNS,
    COMPRESSIONS,
    CONTEXT_EXCHANGES,
    Parallelism,
    ParallelismError,
    columns_of,
    strategy_at,
    whole_columns,
)
from simulator.pricing import HOST_LINK_SHARE, Durations, price
from simulator.stack import stack
from simulator.traffic import gradient_share, traffic_of
from workloads.catalog import model
from workloads.layer import Layer
from workloads.op import attention, embedding, gemm, vector
from workloads.optimizer import optimizer
from workloads.precision import recipe
from workloads.workload import Workload

HIDDEN, WIDE, EXPERTS, TOKENS = 512, 1024, 8, 256


def mixture(*, experts: int = EXPERTS, topk: int = 2) -> Workload:
    """Blocks of attention and routed experts."""
    rows = TOKENS * topk
    routed = float(rows * HIDDEN)
    block = (
        gemm(name="qkv", m=TOKENS, n=3 * HIDDEN, k=HIDDEN, split="column"),
        attention(
            name="attention",
            heads=8,
            kv_heads=8,
            head_dim=64,
            seq_len=TOKENS,
            context=TOKENS,
            causal=True,
            dropout=False,
        ),
        gemm(name="projection", m=TOKENS, n=HIDDEN, k=HIDDEN, split="row"),
        replace(vector(name="dispatch", read_elements=rows, write_elements=rows), exchanged_elements=routed),
        gemm(name="up", m=rows, n=WIDE, k=HIDDEN, split="column", experts=experts),
        gemm(name="down", m=rows, n=HIDDEN, k=WIDE, split="row", experts=experts),
        replace(
            vector(name="combine", read_elements=rows * HIDDEN, write_elements=TOKENS * HIDDEN),
            exchanged_elements=routed,
        ),
    )
    table = embedding(name="e", rows=1000, width=HIDDEN, tokens=TOKENS)
    return Workload(
        name="mixture", family="transformer", sample="sequence", tokens_per_sample=TOKENS, causal=True,
        layers=(
            Layer(name="embedding", kind="embedding", ops=(table,)),
            Layer(name="block", kind="block", ops=block, repeat=4),
            Layer(name="head", kind="head", ops=(gemm(name="v", m=TOKENS, n=1000, k=HIDDEN, split="vocab"),)),
        ),
    )  # fmt: skip


def context(stack_id: str = "megatron-core-2024", **changes: object) -> Context:
    used: Any = {"graph_capture": True, **changes}
    return Context(
        cluster=system("selene").cluster, stack=replace(stack(stack_id), **used), recipe=recipe("bf16_mixed"),
        optimizer=optimizer("adam"),
    )  # fmt: skip


def strategy(**parts: Any) -> Parallelism:
    return Parallelism(**({"global_batch": 64} | parts))


def priced(workload: Workload, *strategies: Parallelism, where: Context | None = None) -> Durations:
    return price(lower(workload, where or context(), strategies), Constants())


def test_every_field_of_a_strategy_goes_through_columns_and_back() -> None:
    odd = strategy(
        tp=2, pp=4, dp=4, cp=2, ep=2, etp=2, micro_batch=2, virtual_stages=2, schedule="interleaved", recompute="full",
        recompute_every=3, sharding="zero1", shard_ranks=2, sequence_parallel=True, context_exchange="ulysses",
        offload="optimizer", compression="qsgd4", local_steps=4, parameter_servers=3,
        updates="asynchronous",
    )  # fmt: skip
    columns = columns_of([strategy(), odd, strategy(dp=4, hybrid=2)])
    assert set(columns) == {*COLUMNS, "micro_batches"}
    for index, expected in enumerate((strategy(), odd, strategy(dp=4, hybrid=2))):
        assert strategy_at(columns, index, global_batch=64) == expected


def test_a_column_that_is_not_there_has_its_fields_default() -> None:
    found = whole_columns({"tp": np.array([2, 4])})
    plain = strategy(tp=4)
    assert all(strategy_at(found, 1, global_batch=64).__dict__[name] == getattr(plain, name) for name in COLUMNS)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"dp": 4, "ep": 3}, "does not divide the ranks of a stage"),
        ({"tp": 4, "etp": 2, "dp": 4, "ep": 2}, "legal: 1 or tp = 4"),
        ({"dp": 4, "hybrid": 3}, "a divisor of dp = 4"),
        ({"dp": 4, "hybrid": 2, "ep": 2}, "and ep = 1"),
        ({"recompute_every": 2}, "legal: 1, or recompute 'full'"),
        ({"local_steps": 0}, "at least 1"),
        ({"parameter_servers": -1}, "at least 0"),
        ({"compression": "zip"}, "legal: none, fp16"),
        ({"context_exchange": "rings"}, "legal: ring, all_gather, ulysses"),
        ({"offload": "weights"}, "legal: none, optimizer, activations"),
    ],
)
def test_a_strategy_that_cannot_be_is_refused_with_what_is_legal(parts: dict[str, Any], words: str) -> None:
    with pytest.raises(ParallelismError, match=words):
        strategy(**parts)


@pytest.mark.parametrize(
    ("tp", "ep", "etp"), [(1, 1, 1), (1, 8, 1), (1, 2, 1), (2, 4, 1), (2, 4, 2), (4, 8, 1), (4, 2, 4)]
)
def test_experts_are_spread_and_their_work_is_not_lost(tp: int, ep: int, etp: int) -> None:
    workload = mixture()
    ranks = strategy(tp=tp, dp=8, ep=ep, etp=etp)
    lowered = lower(workload, context(), [ranks])
    block = workload.layers[1]
    assert lowered.spread_parameters[0, 1] == pytest.approx(block.spread_parameters / (ep * etp))
    rest = block.parameters - block.spread_parameters
    assert lowered.parameters[0, 1] - lowered.spread_parameters[0, 1] == pytest.approx(rest / tp)
    # What a rank multiplies, forward, times the ranks of a replica, is what its samples take.
    table = lowered.table
    forward = (table.phase == 0) & (table.block == 1)
    whole = sum(op.forward_flop for op in block.ops if op.kind == "gemm")
    attention_flop = 0.5 * sum(op.forward_flop for op in block.ops if op.kind == "attention")
    assert float(np.sum(table.flop[forward])) * tp == pytest.approx(whole + attention_flop, rel=0.01)
    assert lowered.spread_ranks[0] == tp * 8 // (ep * etp)


def test_rows_cross_the_wires_only_where_experts_are_elsewhere() -> None:
    lowered = lower(mixture(), context(), [strategy(dp=8), strategy(dp=8, ep=8), strategy(dp=8, ep=8, micro_batch=2)])
    calls, byte = lowered.expert_calls[lowered.shape, 1], lowered.expert_byte[lowered.shape, 1]
    assert calls.tolist() == [0, 2, 2]
    assert byte[1:] == pytest.approx(np.array([1.0, 2.0]) * 2.0 * TOKENS * 2 * HIDDEN)
    durations = priced(mixture(), strategy(dp=8), strategy(dp=8, ep=8))
    assert durations.forward_tensor_s[0, 1] == 0.0 < durations.forward_tensor_s[1, 1]


def test_gradients_of_experts_are_summed_among_the_ranks_that_hold_them() -> None:
    traffic = traffic_of(lower(mixture(), context(), [strategy(dp=8), strategy(dp=8, ep=8), strategy(dp=8, ep=2)]))
    spread = traffic.spread_reduce.seconds[:, 1] * traffic.spread_share[:, 1]
    assert spread[1] == 0.0 < spread[2] < spread[0]


def test_more_experts_of_the_same_work_cost_memory_traffic_not_flops() -> None:
    few, many = (priced(mixture(experts=e), strategy(dp=1, global_batch=1)) for e in (8, 64))
    assert many.forward_s[0, 1] > few.forward_s[0, 1]
    assert mixture(experts=64).forward_flop == mixture(experts=8).forward_flop


def test_slabs_of_an_image_share_its_work_and_exchange_their_edges() -> None:
    net = model("vgg16", image_size=512)
    one, four = (lower(net, context(), [strategy(cp=cp, micro_batch=4, global_batch=4)]) for cp in (1, 4))
    conv = [g for g, layer in enumerate(net.layers) if layer.kind == "conv"]
    for block in conv:
        flop = [float(np.sum(x.table.flop[(x.table.block == block) & (x.table.phase == 0)])) for x in (one, four)]
        assert flop[1] == pytest.approx(flop[0] / 4)
    assert not one.halo_calls.any()
    assert all(four.halo_calls[0, block] == 1 for block in conv)
    # Two rows of the first convolution's input: one for each neighbour.
    assert four.halo_byte[0, conv[0]] == pytest.approx(2.0 * 4 * 2 * 512 * 3)


def test_a_one_by_one_convolution_needs_no_neighbour() -> None:
    net = model("resnet50")
    lowered = lower(net, context(), [strategy(cp=2, micro_batch=2, global_batch=2)])
    rest = next(g for g, layer in enumerate(net.layers) if layer.name == "stage1 rest")
    assert lowered.halo_calls[0, rest] == 1


def test_dense_layers_cut_among_replicas_hold_their_share_and_do_the_same_work() -> None:
    net = model("vgg16")
    plain, cut = (lower(net, context(), [strategy(dp=8, hybrid=h)]) for h in (1, 8))
    dense = [g for g, layer in enumerate(net.layers) if layer.kind == "dense"]
    for block in dense:
        assert cut.parameters[0, block] == pytest.approx(plain.parameters[0, block] / 8)
        flop = [float(np.sum(x.table.flop[x.table.block == block])) for x in (plain, cut)]
        assert flop[1] == pytest.approx(flop[0])
    exchanged = [float(np.sum(t.bucket_share * t.reduce.seconds)) for t in (traffic_of(plain), traffic_of(cut))]
    # Nine tenths of VGG-16's parameters are in its dense layers: what is left to sum is a tenth.
    assert exchanged[1] < 0.2 * exchanged[0]
    before, after = (priced(net, strategy(dp=8, hybrid=h)) for h in (1, 8))
    assert not before.forward_tensor_s.any()
    assert after.forward_tensor_s[0, dense[0]] > 0.0


@pytest.mark.parametrize("word", CONTEXT_EXCHANGES)
def test_every_context_exchange_costs_something_and_only_where_sequences_are_shared(word: str) -> None:
    gpt = model("gpt h2048 L24 a16", seq_len=8192)
    alone, shared = priced(
        gpt,
        strategy(dp=2, context_exchange=word, global_batch=2),
        strategy(cp=2, context_exchange=word, global_batch=2),
    ).forward_tensor_s[:, 1]
    assert alone == 0.0 < shared


def test_all_heads_to_all_moves_less_than_all_keys_where_ranks_are_many() -> None:
    gpt = model("gpt h2048 L24 a16", seq_len=65536)
    gathered, heads = priced(
        gpt, *(strategy(cp=8, context_exchange=w, global_batch=1) for w in ("all_gather", "ulysses"))
    ).forward_tensor_s[:, 1]
    assert heads < gathered


def test_activations_that_leave_hide_under_compute_until_the_link_is_too_slow() -> None:
    gpt = model("gpt h4096 L24 a32")
    here = context()
    kept, gone = priced(gpt, strategy(), strategy(offload="activations"), where=here).forward_s[:, 1]
    lowered = lower(gpt, here, [strategy()])
    link = HOST_LINK_SHARE * float(here.cluster.chip.host_bandwidth_byte_per_s or 0.0)
    assert gone == pytest.approx(max(kept, lowered.offloaded_byte[0, 1] / link))


def test_an_update_on_the_host_is_slower_than_one_on_the_chip() -> None:
    chip, host = priced(mixture(), strategy(), strategy(offload="optimizer")).optimizer_s[:, 0]
    assert host > 5.0 * chip


def test_steps_between_exchanges_share_one_exchange() -> None:
    often, seldom = priced(mixture(), strategy(dp=8, local_steps=1), strategy(dp=8, local_steps=10)).reduce_s.sum(
        axis=1
    )
    after = priced(mixture(), strategy(dp=8, local_steps=10)).reduce_after_s.sum()
    assert (seldom, often > 0.0) == (0.0, True)
    assert 0.0 < after < often


@pytest.mark.parametrize("word", COMPRESSIONS)
def test_a_code_never_sends_more_than_the_gradient_itself(word: str) -> None:
    lowered = lower(mixture(), context(), [strategy(dp=n, compression=word, global_batch=1024) for n in (2, 64, 1024)])
    share = gradient_share(lowered, np.full((3, 1), 4.0))
    assert np.all(share <= 1.0)
    assert np.all(share == 1.0) == (word == "none")


def test_an_update_that_multiplies_matrices_costs_its_products_and_is_shared() -> None:
    gpt = model("gpt h2048 L24 a16")
    plain, muon = context(), replace(context(), optimizer=optimizer("muon"))
    one, shared = strategy(dp=8), strategy(dp=8, sharding="zero1")
    low = lower(gpt, muon, [one])
    # Per block: three products of h x h at least, each 5 (4 + 2) h^3.
    assert low.update_flop[0, 1] >= 3 * 30.0 * 2048**3
    assert not lower(gpt, plain, [one]).update_flop.any()
    elements = priced(gpt, one, shared, where=plain).optimizer_s[:, 0]
    whole, part = priced(gpt, one, shared, where=muon).optimizer_s[:, 0]
    assert whole > elements[0]
    assert part < whole / 4.0
