"""Durations of lowered jobs, by hand where they can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from simulator.cluster import system
from simulator.collectives.library_constants import library_constants
from simulator.collectives.library_point_to_point import slower
from simulator.collectives.library_specs import SPECS as LIBRARY_SPECS
from simulator.constants import SPECS, Constants, key_of
from simulator.kernels.kernel_constants import KernelConstants
from simulator.kernels.optable import FORWARD, MATRIX, UNREAD
from simulator.lowering import Context, Lowered, join, lower
from simulator.parallelism import Parallelism
from simulator.priced_rows import storage_word
from simulator.pricing import Durations, machines_of, price, rates_of, ticks
from simulator.stack import Stack, stack
from simulator.traffic import gradient_byte_of, traffic_of
from workloads.optimizer import optimizer
from workloads.precision import recipe
from workloads.transformer import transformer
from workloads.workload import Workload

TP_BYTE = 2.0 * 1024 * 1024  # one sequence's activations in bf16
OUT_BYTE_PER_S, UP_BYTE_PER_S = 200e9, 300e9


def running_ring(*rates: float) -> float:
    """Rate of a ring over wires of two rates [B/s]: the slower's, a little less where both are alike."""
    return float(slower(*map(np.array, rates)))


#: A step that adds nothing to what the library takes.
IDEAL = Constants(values={"call_s": 1e-300, key_of("step_s", system("selene").cluster.out_fabric): 1e-300})
#: What an ideal library has of a constant; shares and rates as given, nothing of all else. Its trees and switches are
#: useless, so that rings run, whose volume is known by hand.
IDEAL_VALUES = {
    "bulk_share": 1.0, "fast_share": 1.0, "pair_share": 1.0, "exchange_share": 1.0, "out_share": 1.0,
    "tree_out_share": 1.0, "switch_tree_share": 1.0, "tree_share": 1e-12, "switch_share": 1e-12,
    "small_channel_byte_per_s": 1e30, "large_channel_byte_per_s": 1e30,
}  # fmt: skip


def ideal_library(**values: float) -> KernelConstants:
    """A library that drives wires at exactly their nominal rate and starts at once, but for what is told."""
    known = dict.fromkeys(LIBRARY_SPECS, 1e-300) | IDEAL_VALUES | values
    specs = {name: replace(spec, prior=v, low=v, high=v) for name, spec in LIBRARY_SPECS.items() for v in [known[name]]}
    return KernelConstants(specs=specs)


@pytest.fixture(autouse=True)
def nominal_wires(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.traffic.library_constants", ideal_library)


def gpt(*, tied: bool = True, **changes: int) -> Workload:
    sizes: dict[str, Any] = {"layers": 8, "hidden": 1024, "heads": 16, "vocab": 51200, "seq_len": 1024} | changes
    return transformer(name="gpt small", tied_embeddings=tied, **sizes)


def software(**changes: object) -> Stack:
    """A stack that overlaps nothing, whose gradients go after the passes, without a host that could be late."""
    plain: dict[str, object] = {
        "gradient_exchange": "after", "bucket_byte": 0.0, "graph_capture": True, "tensor_overlap": False,
        "send_overlap": False, "pipelined_call_host_s": 0.0, "pipeline_stall_s": 0.0, "gradient_byte": 0.0,
    }  # fmt: skip
    return replace(stack("megatron-lm-2021"), **(plain | changes))  # type: ignore[arg-type]


def context(**changes: object) -> Context:
    cluster = system("selene").cluster
    assert (cluster.out_byte_per_s, cluster.up_byte_per_s[8]) == (OUT_BYTE_PER_S, UP_BYTE_PER_S)
    return Context(cluster=cluster, stack=software(**changes), recipe=recipe("bf16_mixed"), optimizer=optimizer("adam"))


def strategy(**parts: object) -> Parallelism:
    return Parallelism(**({"global_batch": 64} | parts))  # type: ignore[arg-type]


def priced(
    *strategies: Parallelism, workload: Workload | None = None, constants: Constants = IDEAL,
    frozen: bool = False, **changes: object,
) -> Durations:  # fmt: skip
    lowered = lower(workload or gpt(), context(**changes), strategies, frozen=frozen)
    return price(lowered, constants)


def test_full_recomputation_adds_one_forward_pass_of_the_repeated_blocks_and_its_exchange() -> None:
    durations = priced(strategy(tp=2), strategy(tp=2, recompute="full"))
    wrapped = np.array([0.0, 1.0, 0.0])  # embedding and head keep what they saved
    assert durations.backward_s[1] == pytest.approx(durations.backward_s[0] + wrapped * durations.forward_s[0])
    assert durations.backward_tensor_s[1] == pytest.approx(
        durations.backward_tensor_s[0] + wrapped * durations.forward_tensor_s[0]
    )


def test_a_replay_that_stops_early_leaves_out_the_product_that_ends_each_repeated_block() -> None:
    strategies = strategy(tp=2), strategy(tp=2, recompute="full")
    whole, early = (priced(*strategies, replay_stops_early=stops) for stops in (False, True))
    assert np.array_equal(whole.forward_s, early.forward_s)
    assert np.array_equal(whole.backward_s[0], early.backward_s[0])
    saved = whole.backward_s[1] - early.backward_s[1]
    assert saved[0] == saved[2] == 0.0
    assert 0.0 < saved[1] < whole.forward_s[1, 1] / 3


def test_what_an_early_end_leaves_out_is_a_third_of_a_blocks_products() -> None:
    table = lower(gpt(), context(replay_stops_early=True), [strategy()]).table
    here = (table.block == 1) & (table.kind == MATRIX) & (table.rate == 0)
    left, forward = (float(np.sum(table.flop[here & (table.phase == phase)])) for phase in (UNREAD, FORWARD))
    assert left == pytest.approx(forward / 3)
    assert not np.any(table.block[table.phase == UNREAD] != 1)


def test_fewer_parameter_servers_than_hosts_serve_several_hosts_each() -> None:
    # 64 ranks on 8 servers: one parameter server takes eight times as long as one on every host.
    many, one = (
        price(
            lower(gpt(), context(gradient_exchange="backward"), [strategy(dp=64, parameter_servers=n)]),
            IDEAL,
        )
        for n in (8, 1)
    )
    assert one.reduce_s == pytest.approx(8.0 * many.reduce_s)


def test_recomputation_leaves_the_forward_pass_alone() -> None:
    durations = priced(strategy(tp=2), strategy(tp=2, recompute="full"))
    assert np.array_equal(durations.forward_s[0], durations.forward_s[1])


def test_selective_recomputation_adds_less_than_a_forward_pass_and_only_to_blocks() -> None:
    durations = priced(strategy(), strategy(recompute="selective"))
    added = durations.backward_s[1] - durations.backward_s[0]
    assert added[0] == added[2] == 0.0
    assert 0.0 < added[1] < durations.forward_s[0, 1]


def test_fused_attention_has_nothing_to_recompute_selectively() -> None:
    durations = priced(strategy(), strategy(recompute="selective"), attention="fused")
    assert np.array_equal(durations.backward_s[0], durations.backward_s[1])


def test_a_block_exchanges_its_activations_twice_each_way() -> None:
    # Two all-reduces of 2 MiB over four ranks: 2 x 2 x 3/4 x 2 MiB at 300 GB/s.
    durations = priced(strategy(tp=4))
    expected = 2 * 2 * 3 / 4 * TP_BYTE / UP_BYTE_PER_S
    assert durations.forward_tensor_s[0] == pytest.approx([expected / 2, expected, 0.0])
    assert durations.backward_tensor_s[0] == pytest.approx([0.0, expected, expected / 2])


def test_overlapped_exchange_leaves_the_share_that_nothing_hides() -> None:
    share = SPECS["tensor_exposed"].prior
    exposed = priced(strategy(tp=4), tensor_overlap=True).forward_tensor_s[0, 1]
    assert exposed == pytest.approx(share * priced(strategy(tp=4)).forward_tensor_s[0, 1])


def test_compute_hides_no_more_than_its_own_length() -> None:
    # Wires a thousand times slower: nearly all of the exchange is left, but for what one block's compute covers.
    slow = Constants(values={**IDEAL.values, key_of("wire_scale", "nvlink3-switch"): 1e3})
    alone, over = (priced(strategy(tp=4), constants=slow, tensor_overlap=o) for o in (False, True))
    hidden = alone.forward_tensor_s - over.forward_tensor_s
    assert hidden[0, 1] == pytest.approx(alone.forward_s[0, 1])


def test_compute_hides_tensor_and_context_exchange_one_at_a_time() -> None:
    slow = Constants(values={**IDEAL.values, key_of("wire_scale", "nvlink3-switch"): 1e3})
    alone, over = (priced(strategy(tp=2, cp=2), constants=slow, tensor_overlap=o) for o in (False, True))
    # Context exchange hides under compute in both; overlapping tensor exchange takes that cover away.
    assert over.forward_tensor_s[0, 1] == pytest.approx(alone.forward_tensor_s[0, 1])


def test_context_parallel_ranks_exchange_keys_and_values_once_forward_and_twice_backward() -> None:
    # Half of 2 x 2 MiB round the ring of two; the exposed share of it where compute is long enough.
    share = SPECS["tensor_exposed"].prior
    durations = priced(strategy(cp=2, micro_batch=8))
    ring_s = 8 * 2 * TP_BYTE / 2 / UP_BYTE_PER_S
    assert durations.forward_tensor_s[0] == pytest.approx([0.0, share * ring_s, 0.0])
    assert durations.backward_tensor_s[0] == pytest.approx([0.0, 2 * share * ring_s, 0.0])


def test_gradients_move_their_volume_after_the_passes() -> None:
    workload = gpt()
    durations = priced(strategy(dp=8), strategy(dp=16))
    for row, (ranks, rate) in enumerate(((8, UP_BYTE_PER_S), (16, running_ring(UP_BYTE_PER_S, OUT_BYTE_PER_S)))):
        expected = 2 * (ranks - 1) / ranks * workload.parameters * 2.0 / rate
        assert durations.reduce_after_s[row, 0] == pytest.approx(expected)


@pytest.mark.parametrize("mode", ["after", "backward"])
def test_the_gradient_of_a_tied_table_is_exchanged_once_per_stage(mode: str) -> None:
    tied, untied = gpt(), gpt(tied=False)
    table = 51200 * 1024
    assert untied.parameters - tied.parameters == table

    def exchanged(workload: Workload, pp: int) -> float:
        durations = priced(strategy(dp=8, pp=pp), workload=workload, gradient_exchange=mode)
        repeat = lower(workload, context(), [strategy(dp=8, pp=pp)]).repeat[0]
        whole = float(np.sum(durations.reduce_after_s) + np.sum(repeat * durations.reduce_s))
        return whole / (2 * 7 / 8 * 2.0 / UP_BYTE_PER_S)

    assert exchanged(tied, 1) == pytest.approx(tied.parameters)
    assert exchanged(untied, 1) == pytest.approx(untied.parameters)
    # On two stages each holds a copy; the stages' own groups run at once, so that their sums add up here.
    assert exchanged(tied, 2) == pytest.approx(untied.parameters)


def test_a_tied_table_is_updated_and_fetched_once_per_stage() -> None:
    tied, untied = gpt(), gpt(tied=False)
    update = {
        name: priced(strategy(dp=8, sharding="zero1"), strategy(dp=8, pp=2, sharding="zero1"), workload=workload)
        for name, workload in (("tied", tied), ("untied", untied))
    }
    ratio = tied.parameters / untied.parameters
    for part in ("optimizer_s", "update_gather_s", "reduce_after_s"):
        got = {name: getattr(durations, part) for name, durations in update.items()}
        assert got["tied"][0, 0] == pytest.approx(ratio * got["untied"][0, 0])
        assert np.array_equal(got["tied"][1], got["untied"][1])


def test_a_tied_table_is_gathered_once_by_sharded_ranks() -> None:
    tied, untied = (priced(strategy(dp=8, sharding="zero3"), workload=gpt(tied=t)).gather_s[0] for t in (True, False))
    assert tied[:2].tolist() == untied[:2].tolist()
    assert tied[2] < 1e-3 * untied[2]


def test_sharded_updates_replace_an_all_reduce_by_its_two_halves() -> None:
    # bf16 gradients and bf16 parameters: reduce-scatter + all-gather = all-reduce.
    whole, sharded = priced(strategy(dp=8)), priced(strategy(dp=8, sharding="zero1"))
    assert sharded.reduce_after_s + sharded.update_gather_s == pytest.approx(whole.reduce_after_s)
    assert not whole.update_gather_s.any()


def test_wider_gradients_take_longer_on_the_wire() -> None:
    narrow, wide = priced(strategy(dp=8)), priced(strategy(dp=8), gradient_byte=4.0)
    assert wide.reduce_after_s[0, 0] == pytest.approx(2.0 * narrow.reduce_after_s[0, 0])


def test_a_stacks_gradient_words_count_under_mixed_precision_only() -> None:
    mixed = context(gradient_byte=4.0)
    assert gradient_byte_of(mixed.stack, mixed.recipe) == 4.0
    assert gradient_byte_of(software(gradient_byte=2.0), recipe("fp32")) == 4.0


def test_the_update_is_shared_by_the_ranks_that_shard_it() -> None:
    durations = priced(strategy(dp=8), strategy(dp=8, sharding="zero1"), strategy(dp=8, sharding="zero3"))
    assert durations.optimizer_s[0, 0] == pytest.approx(8 * durations.optimizer_s[1, 0])
    assert np.array_equal(durations.optimizer_s[1], durations.optimizer_s[2])


def test_the_update_reads_and_writes_the_optimizers_words() -> None:
    workload, bandwidth = gpt(), system("selene").cluster.chip.memory_bandwidth_byte_per_s
    # Adam: 7 words of 4 bytes, and the 2-byte copy of a mixed recipe.
    byte = workload.parameters * (7 * 4 + 2) * SPECS["optimizer_traffic"].prior
    expected = byte / (bandwidth * SPECS["memory_fraction"].prior)
    assert priced(strategy()).optimizer_s[0, 0] == pytest.approx(expected)


def test_frozen_parameters_are_not_exchanged_and_hardly_updated() -> None:
    kept, frozen = (priced(strategy(dp=8), frozen=f) for f in (False, True))
    assert not frozen.reduce_after_s.any()
    assert frozen.optimizer_s[0, 0] == pytest.approx(0.01 * kept.optimizer_s[0, 0])


def test_small_blocks_share_a_buckets_latency() -> None:
    calls = Constants(values={**IDEAL.values, "call_s": 1e-4})
    gradient = gpt().layers[1].parameters * 2.0
    lone, fused = (
        priced(strategy(dp=8), constants=calls, gradient_exchange="backward", bucket_byte=b)
        for b in (0.0, 4 * gradient)
    )
    assert lone.reduce_s[0, 1] - fused.reduce_s[0, 1] == pytest.approx(0.75e-4)


def test_sharding_inside_a_server_never_gathers_over_the_network() -> None:
    near, far = strategy(dp=64, sharding="zero3", shard_ranks=8), strategy(dp=64, sharding="zero3")
    durations = priced(near, far)
    gathered = gpt().layers[1].parameters * 2.0
    assert durations.gather_s[0, 1] == pytest.approx(7 / 8 * gathered / UP_BYTE_PER_S)
    assert durations.gather_s[1, 1] == pytest.approx(63 / 64 * gathered / running_ring(UP_BYTE_PER_S, OUT_BYTE_PER_S))


def test_pipelines_do_not_gather_parameters_block_by_block() -> None:
    # ZeRO-3 under a pipeline is priced as ZeRO-1: gathered once, after the update.
    durations = priced(strategy(dp=8, pp=2, sharding="zero3"), strategy(dp=8, pp=2, sharding="zero1"))
    assert not durations.gather_s.any()
    assert np.array_equal(durations.update_gather_s[0], durations.update_gather_s[1])


def test_stages_next_door_send_over_the_chips_links_and_far_ones_over_their_share_of_cards() -> None:
    # Ranks of a stage stand together: tensor, context and data parallel ones lie between two stages.
    far = [strategy(pp=2, tp=8), strategy(pp=2, dp=8), strategy(pp=2, cp=8), strategy(pp=2, dp=2, tp=4)]
    durations = priced(strategy(pp=2), strategy(pp=1), *far)
    assert durations.send_s[:2] == pytest.approx([TP_BYTE / UP_BYTE_PER_S, 0.0])
    sent = np.array([1.0, 1.0, 1 / 8, 1.0]) * TP_BYTE
    assert durations.send_s[2:] == pytest.approx(sent / (OUT_BYTE_PER_S / 8))


def test_overlapped_sends_cost_at_most_their_call() -> None:
    calls = Constants(values={**IDEAL.values, "call_s": 1e-6})
    assert priced(strategy(pp=2, tp=8), constants=calls, send_overlap=True).send_s[0] == 1e-6


def test_the_host_shows_only_where_the_device_is_done_sooner() -> None:
    captured = priced(strategy(micro_batch=64, global_batch=64))
    busy = priced(strategy(micro_batch=64, global_batch=64), graph_capture=False, host_s_per_launch=1e-6)
    assert busy.forward_s == pytest.approx(captured.forward_s, rel=1e-3)
    late = priced(strategy(), graph_capture=False, host_s_per_launch=1e-3)
    lowered = lower(gpt(), context(), [strategy()])
    forward = (lowered.table.phase == 0) * lowered.repeats[0][lowered.table.block]
    assert float(np.sum(late.forward_s * lowered.repeats)) == pytest.approx(
        float(np.sum(forward * lowered.table.launches)) * 1e-3, rel=1e-3
    )


def test_host_time_of_a_step_is_zero_where_graphs_are_captured() -> None:
    assert priced(strategy()).fixed_s[0] == 0.0
    launches = SPECS["fixed_launches"].prior
    late = priced(strategy(), graph_capture=False, host_s_per_launch=1e-5)
    assert late.fixed_s[0] == pytest.approx(launches * 1e-5)


@pytest.mark.parametrize(
    ("chip_system", "word", "name"),
    [
        ("selene", "bf16", "matrix_fraction"), ("selene", "tf32", "narrow_fraction"),
        ("selene", "fp32", "plain_fraction"),
        ("eos", "fp8", "narrow_fraction"), ("dgx1-p100", "fp16", "plain_fraction"),
    ],
)  # fmt: skip
def test_products_reach_the_fraction_of_their_units(chip_system: str, word: str, name: str) -> None:
    one = replace(context(), cluster=system(chip_system).cluster, recipe=replace(context().recipe, matmul=word))
    chip = one.cluster.chip
    own = Constants(values={key_of(name, chip.architecture): 0.123})
    assert rates_of(machines_of((one,)), own).product_flop_per_s[0, 0] == 0.123 * chip.peak(word)


def test_attention_stays_out_of_fp8() -> None:
    hopper = system("eos").cluster.chip
    for narrow in ("fp8", "mxfp8", "nvfp4", "int8_mixed"):
        assert storage_word(hopper, recipe(narrow)) == "bf16"
    assert storage_word(hopper, recipe("fp16")) == "fp16"


def test_a_stack_that_drives_few_cards_has_their_share_of_the_network() -> None:
    all_cards, one = (priced(strategy(dp=64), network_cards=n).reduce_after_s[0, 0] for n in (0, 1))
    cards = system("selene").cluster.network_cards
    assert cards == 8
    rates = [running_ring(UP_BYTE_PER_S, OUT_BYTE_PER_S / n) for n in (1, cards)]
    assert rates[1] == pytest.approx(OUT_BYTE_PER_S / cards)
    assert one == pytest.approx(rates[0] / rates[1] * all_cards)


@pytest.mark.parametrize(
    ("fabric", "inside", "outside"),
    [("nvlink3-switch", 3.0, 1.0), ("infiniband-hdr", 1.0, 3.0), ("nvlink4-switch", 1.0, 1.0)],
)
def test_messages_are_scaled_with_the_wires_their_group_needs(fabric: str, inside: float, outside: float) -> None:
    near, far = strategy(dp=8), strategy(dp=16)
    plain = priced(near, far).reduce_after_s[:, 0]
    scaled = priced(near, far, constants=Constants(values={**IDEAL.values, key_of("wire_scale", fabric): 3.0}))
    assert scaled.reduce_after_s[:, 0] == pytest.approx(plain * [inside, outside])


def test_a_stacks_exchanges_are_scaled_on_all_wires_and_what_a_call_adds_is_not() -> None:
    layouts = strategy(dp=8), strategy(dp=16), strategy(tp=4, pp=2)
    plain = priced(*layouts)
    own = Constants(values={"call_s": 1e-4, key_of("exchange_scale", software().id): 2.0})
    scaled = priced(*layouts, constants=own)
    assert scaled.reduce_after_s[:2, 0] == pytest.approx(1e-4 + 2.0 * plain.reduce_after_s[:2, 0])
    assert scaled.send_s[2] == pytest.approx(1e-4 + 2.0 * plain.send_s[2])
    # Two all-reduces of a block; nothing where nothing is sent.
    assert scaled.forward_tensor_s[2, 1] == pytest.approx(2e-4 + 2.0 * plain.forward_tensor_s[2, 1])
    assert not scaled.reduce_after_s[2].any()
    assert not scaled.forward_tensor_s[:2].any()


def test_what_the_library_takes_to_start_is_paid_by_every_message(monkeypatch: pytest.MonkeyPatch) -> None:
    layouts = strategy(dp=8), strategy(dp=8, sharding="zero1"), strategy(pp=2)
    plain = priced(*layouts)
    monkeypatch.setattr(
        "simulator.traffic.library_constants",
        lambda: ideal_library(fast_base_s=1e-3, fast_share=1e-9, send_base_s=1e-3),
    )
    late = priced(*layouts)
    assert late.reduce_after_s[:2, 0] == pytest.approx(1e-3 + plain.reduce_after_s[:2, 0])
    assert late.update_gather_s[1, 0] == pytest.approx(1e-3 + plain.update_gather_s[1, 0])
    assert late.send_s[2] == pytest.approx(1e-3 + plain.send_s[2])


def test_a_library_takes_a_tree_where_it_beats_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    # Two servers: a ring sends 2 x 15/16 of the message through the cards, a tree sends it once each way.
    byte = gpt().parameters * 2.0
    ring_s = 2 * 15 / 16 * byte / running_ring(UP_BYTE_PER_S, OUT_BYTE_PER_S)
    assert priced(strategy(dp=16)).reduce_after_s[0, 0] == pytest.approx(ring_s)
    monkeypatch.setattr("simulator.traffic.library_constants", lambda: ideal_library(tree_share=2.0))
    assert priced(strategy(dp=16)).reduce_after_s[0, 0] == pytest.approx(byte / OUT_BYTE_PER_S)


def test_messages_priced_beforehand_are_priced_the_same() -> None:
    lowered = lower(gpt(), context(), [strategy(tp=4, dp=4, pp=2), strategy(dp=16, sharding="zero3")])
    own = Constants(values={"call_s": 2e-5, key_of("exchange_scale", software().id): 1.5})
    at_once, reused = price(lowered, own), price(lowered, own, traffic_of(lowered))
    for name in Durations.__dataclass_fields__:
        assert np.array_equal(getattr(at_once, name), getattr(reused, name)), name


def test_jobs_priced_together_cost_what_they_cost_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("simulator.traffic.library_constants", library_constants)
    other = replace(context(), cluster=system("dgx1-v100").cluster, recipe=recipe("fp16_mixed"))
    parts: list[Lowered] = [
        lower(gpt(), context(), [strategy(tp=2, dp=4), strategy(pp=4)]),
        lower(gpt(layers=4), other, [strategy(dp=8)]),
    ]
    together = price(join(parts), Constants())
    row = 0
    for part in parts:
        alone = price(part, Constants())
        for name in Durations.__dataclass_fields__:
            mine, whole = getattr(alone, name), getattr(together, name)
            assert np.array_equal(whole[row : row + part.strategies], mine), name
        row += part.strategies


def test_nothing_to_join_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one lowered job"):
        join([])


def test_ticks_are_whole_picoseconds() -> None:
    assert ticks(np.array([1.0, 1.6e-12, 0.0])).tolist() == [10**12, 2, 0]
