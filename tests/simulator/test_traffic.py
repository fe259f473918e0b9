"""Messages of lowered strategies: each is a collective of its own group on its own wires, and nothing else is."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

import simulator.traffic as traffic_module
from simulator.cluster import ClusterError, system
from simulator.collectives.exchange import Exchanges
from simulator.collectives.library_constants import library_constants
from simulator.collectives.library_cost import exchange_s
from simulator.group_wires import library_of, wires_of
from simulator.lowering import Context, join, lower
from simulator.parallelism import Parallelism
from simulator.stack import Stack, stack
from simulator.traffic import Groups, Messages, Traffic, traffic_of
from workloads.optimizer import optimizer
from workloads.precision import recipe
from workloads.transformer import transformer
from workloads.workload import Workload

GPT = transformer(name="gpt small", layers=8, hidden=1024, heads=16, vocab=51200, seq_len=1024)
ACTIVATION_BYTE = 2.0 * 1024 * 1024  # one sequence's activations in bf16


def software(**changes: object) -> Stack:
    plain: dict[str, object] = {"bucket_byte": 0.0, "gradient_byte": 0.0}
    return replace(stack("megatron-lm-2021"), **(plain | changes))  # type: ignore[arg-type]


def context(name: str = "selene", **changes: object) -> Context:
    return Context(
        cluster=system(name).cluster,
        stack=software(**changes),
        recipe=recipe("bf16_mixed"),
        optimizer=optimizer("adam"),
    )


def strategy(**parts: object) -> Parallelism:
    return Parallelism(**({"global_batch": 64} | parts))  # type: ignore[arg-type]


def traffic(
    *strategies: Parallelism, workload: Workload = GPT, where: Context | None = None, **more: object
) -> Traffic:
    return traffic_of(lower(workload, where or context(), strategies, **more))  # type: ignore[arg-type]


def library_s(collective: str, message_byte: float, ranks: int, stride: int = 1, where: Context | None = None) -> float:
    """What the library takes for one group, asked directly."""
    used = where or context()
    wires = wires_of(
        used.cluster, ranks=ranks, stride=stride, library=library_of(used.stack, used.cluster), year=used.stack.year,
        cards=used.stack.network_cards,
    )  # fmt: skip
    x = Exchanges.of([(wires, collective, "")], [message_byte])
    return float(exchange_s(x, library_constants().rows(x))[0])


def test_tensor_parallel_calls_reduce_the_activations_over_neighbours() -> None:
    got = traffic(strategy(tp=4))
    expected = library_s("all_reduce", ACTIVATION_BYTE, 4)
    assert got.tensor_forward.seconds[0, 1] == pytest.approx(expected)
    assert got.tensor_backward.seconds[0, 1] == pytest.approx(expected)
    assert not got.tensor_forward.outside.any()


def test_context_parallel_ranks_gather_keys_and_values_a_tensor_group_apart() -> None:
    got = traffic(strategy(tp=2, cp=4, micro_batch=2))
    lowered = lower(GPT, context(), [strategy(tp=2, cp=4, micro_batch=2)])
    byte = float(lowered.context_byte[0, 1])
    assert byte > 0.0
    assert got.context_ring.seconds[0, 1] == pytest.approx(library_s("all_gather", byte, 4, 2))
    # Tensor groups of 8 fill a server: the ring of context ranks goes between servers.
    assert traffic(strategy(tp=8, cp=4)).context_ring.outside.all()
    assert not got.context_ring.outside.any()


@pytest.mark.parametrize("parts", [{"dp": 8}, {"dp": 16}, {"dp": 64}, {"dp": 8, "tp": 4}, {"dp": 4, "cp": 2, "tp": 8}])
def test_gradients_go_over_data_and_context_ranks_a_tensor_group_apart(parts: dict[str, int]) -> None:
    layout = strategy(**parts)
    ranks, stride = layout.dp * layout.cp, layout.tp
    lowered, got = lower(GPT, context(), [layout]), traffic(layout)
    block = float(lowered.held_parameters[0, 1]) * 2.0
    assert got.reduce.seconds[0, 1] == pytest.approx(library_s("all_reduce", block, ranks, stride))
    assert got.scatter.seconds[0, 1] == pytest.approx(library_s("reduce_scatter", block, ranks, stride))
    assert got.gather.seconds[0, 1] == pytest.approx(library_s("all_gather", block, ranks, stride))
    whole = float(np.sum(lowered.repeat[0] * lowered.held_parameters[0])) * 2.0
    assert got.reduce_after.seconds[0, 0] == pytest.approx(library_s("all_reduce", whole, ranks, stride))
    assert got.scatter_after.seconds[0, 0] == pytest.approx(library_s("reduce_scatter", whole, ranks, stride))
    assert got.update.seconds[0, 0] == pytest.approx(library_s("all_gather", whole, ranks, stride))
    assert got.reduce.outside.tolist() == [ranks * stride > 8]


def test_wider_gradients_are_larger_messages_and_parameters_are_not() -> None:
    narrow, wide = traffic(strategy(dp=8)), traffic(strategy(dp=8), where=context(gradient_byte=4.0))
    lowered = lower(GPT, context(), [strategy(dp=8)])
    whole = float(np.sum(lowered.repeat[0] * lowered.held_parameters[0]))
    assert wide.reduce_after.seconds[0, 0] == pytest.approx(library_s("all_reduce", 4.0 * whole, 8))
    assert wide.reduce_after.seconds[0, 0] > 1.5 * narrow.reduce_after.seconds[0, 0]
    assert np.array_equal(wide.update.seconds, narrow.update.seconds)
    assert np.array_equal(wide.gather.seconds, narrow.gather.seconds)


def test_small_blocks_travel_in_a_bucket_and_pay_their_share_of_it() -> None:
    lowered = lower(GPT, context(), [strategy(dp=8)])
    block = lowered.held_parameters[0] * 2.0
    bucket = 4.0 * float(block[1])
    got = traffic(strategy(dp=8), where=context(bucket_byte=bucket))
    assert got.reduce.seconds[0, 1] == pytest.approx(library_s("all_reduce", bucket, 8))
    assert got.bucket_share[0, 1] == pytest.approx(0.25)
    # Nothing is cut: what is larger than a bucket is one message.
    assert float(block[0]) > bucket
    assert got.reduce.seconds[0, 0] == pytest.approx(library_s("all_reduce", float(block[0]), 8))
    assert got.bucket_share[0, 0] == 1.0


def test_parameters_of_shards_inside_a_server_are_gathered_there() -> None:
    near = traffic(strategy(dp=64, sharding="zero3", shard_ranks=8))
    lowered = lower(GPT, context(), [strategy(dp=64, sharding="zero3")])
    block = float(lowered.held_parameters[0, 1]) * 2.0
    assert near.gather.seconds[0, 1] == pytest.approx(library_s("all_gather", block, 8))
    assert near.reduce.seconds[0, 1] == pytest.approx(library_s("all_reduce", block, 64))
    assert (near.gather.outside[0], near.reduce.outside[0]) == (False, True)
    # More shards than ranks are as many as there are ranks.
    many = traffic(strategy(dp=8, sharding="zero3", shard_ranks=64))
    assert many.gather.seconds[0, 1] == pytest.approx(library_s("all_gather", block, 8))


@pytest.mark.parametrize("parts", [{}, {"tp": 2}, {"tp": 8}, {"dp": 4}, {"cp": 8}, {"dp": 2, "tp": 4}, {"dp": 16}])
def test_stages_send_to_the_rank_as_far_away_as_a_stage_is_wide(parts: dict[str, int]) -> None:
    layout = strategy(pp=2, **parts)
    distance = layout.tp * layout.cp * layout.dp
    got = traffic(layout)
    byte = ACTIVATION_BYTE / layout.cp
    assert got.send.seconds == pytest.approx([library_s("permute", byte, 2, distance)])
    assert got.send.outside.tolist() == [distance >= 8]


def test_one_rank_sends_nothing() -> None:
    got = traffic(strategy())
    for name in ("tensor_forward", "tensor_backward", "context_ring", "reduce", "scatter", "gather", "reduce_after",
                 "scatter_after", "update", "send"):  # fmt: skip
        messages = getattr(got, name)
        assert not messages.seconds.any(), name
        assert not messages.outside.any(), name


def test_frozen_parameters_have_no_gradients_to_exchange() -> None:
    got = traffic(strategy(dp=8), frozen=True)
    assert not got.reduce_after.seconds.any()
    assert not got.bucket_share.any()
    assert got.gather.seconds[0, 1] > 0.0


@pytest.mark.parametrize(
    ("parts", "hosts"),
    [
        ({"dp": 8}, 1),
        ({"dp": 16}, 2),
        ({"dp": 8, "tp": 4}, 4),
        ({"dp": 8, "tp": 8}, 8),
        ({"dp": 64, "tp": 1}, 8),
        ({}, 1),
    ],
)
def test_servers_that_a_gradient_spans(parts: dict[str, int], hosts: int) -> None:
    assert traffic(strategy(**parts)).hosts.tolist() == [hosts]


def test_nothing_but_the_work_and_the_wires_decides_what_messages_take() -> None:
    # What is fitted on steps must not move it, so that a fit prices its messages once.
    lowered = lower(GPT, context(), [strategy(tp=2, dp=8, pp=2)])
    slow = replace(context().stack, host_s_per_launch=1.0, vector_traffic_share=9.0)
    other = replace(lowered, contexts=(replace(context(), stack=slow),))
    for got, again in zip(messages(traffic_of(lowered)), messages(traffic_of(other)), strict=True):
        assert np.array_equal(got.seconds, again.seconds)


def messages(of: Traffic) -> list[Messages]:
    return [value for field in fields(of) if isinstance(value := getattr(of, field.name), Messages)]


def test_strategies_priced_together_cost_what_they_cost_alone() -> None:
    other = replace(context("dgx1-v100"), recipe=recipe("fp16_mixed"))
    parts = [
        lower(GPT, context(), [strategy(tp=2, dp=4), strategy(pp=4), strategy(dp=32, sharding="zero3")]),
        lower(GPT, other, [strategy(dp=8), strategy(tp=8, dp=2)]),
    ]
    together = traffic_of(join(parts))
    row = shape = 0
    for part in parts:
        alone = traffic_of(part)
        for name in ("reduce", "gather", "reduce_after", "update", "send"):
            whole = getattr(together, name)
            assert np.array_equal(whole.seconds[row : row + part.strategies], getattr(alone, name).seconds), name
            assert np.array_equal(whole.outside[row : row + part.strategies], getattr(alone, name).outside), name
        shapes = len(part.shape_context)
        assert np.array_equal(together.tensor_forward.seconds[shape : shape + shapes], alone.tensor_forward.seconds)
        row, shape = row + part.strategies, shape + shapes


def test_equal_groups_are_placed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def counted(cluster: object, *, ranks: int, stride: int, **more: object) -> object:
        asked.append((ranks, stride))
        return wires_of(cluster, ranks=ranks, stride=stride, **more)

    monkeypatch.setattr(traffic_module, "wires_of", counted)
    groups = Groups(
        contexts=(context(),), context=np.zeros(600, np.int64), ranks=np.tile([8, 16, 8], 200),
        stride=np.tile([1, 1, 1], 200),
    )  # fmt: skip
    first = groups.cost("all_reduce", np.full(600, 1e6))
    assert sorted(asked) == [(8, 1), (16, 1)]
    groups.cost("all_gather", np.full((600, 3), 1e6))
    assert len(asked) == 2
    assert first.seconds.shape == (600,)
    assert first.outside.tolist() == [False, True, False] * 200
    assert len(set(first.seconds[::3])) == len(set(first.seconds[1::3])) == 1


def test_a_table_of_messages_costs_what_each_row_costs() -> None:
    one = Groups(
        contexts=(context(),), context=np.zeros(3, np.int64), ranks=np.array([2, 8, 64]), stride=np.ones(3, np.int64)
    )
    byte = np.array([[0.0, 1.0, 1e6], [1e3, 1e6, 1e9], [1e9, 0.0, 7.0]])
    whole = one.cost("reduce_scatter", byte).seconds
    assert whole.shape == (3, 3)
    for column in range(3):
        assert np.array_equal(one.cost("reduce_scatter", byte[:, column]).seconds, whole[:, column])
    assert np.array_equal(whole > 0.0, byte > 0.0)


def test_a_strategy_larger_than_its_system_is_refused_in_one_line() -> None:
    with pytest.raises(
        ClusterError, match="Cluster 'dgx1-v100': a group of 8192 ranks, 1 apart, does not fit; it has 4096"
    ):
        traffic(strategy(dp=8192, global_batch=8192), where=replace(context("dgx1-v100"), recipe=recipe("fp16_mixed")))
