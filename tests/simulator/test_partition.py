"""What one rank computes, stores and sends: counts against the workload's own, splits that add up to the whole."""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest

import hwmodels.catalog as hardware
from simulator.kernels.optable import (
    ATTENTION,
    BACKWARD,
    CONV,
    FORWARD,
    LOSSES,
    MATRIX,
    REPLAY,
    VECTOR,
    WEIGHTS,
    OpTable,
)
from simulator.lowering import stage_repeats
from simulator.partition import BlockMessages, lower_messages, lower_ops, vector_share
from simulator.priced_rows import ATTENTION_BACKWARD, Shapes
from simulator.stack import Stack, stack
from workloads.catalog import model
from workloads.op import Op
from workloads.precision import recipe
from workloads.transformer import bert, transformer
from workloads.workload import Workload

FUSED, UNFUSED = "megatron-core-2024", "megatron-lm-2021"


@cache
def gpt(*, tied: bool = True, kv_heads: int = 16, activation: str = "gelu") -> Workload:
    return transformer(
        name="gpt small", layers=4, hidden=1024, heads=16, kv_heads=kv_heads, vocab=51200, seq_len=1024,
        activation=activation, tied_embeddings=tied,
    )  # fmt: skip


WORKLOADS = {
    "gpt": gpt,
    "llama": lambda: gpt(tied=False, kv_heads=4, activation="swiglu"),
    "bert": lambda: bert(name="bert small", layers=3, hidden=768, heads=12, seq_len=128),
    "resnet": lambda: model("ResNet-50"),
    "inception": lambda: model("Inception v3"),
}


shapes = partial(Shapes.one, micro_batch=1)


def rows(
    workload: Workload, *, chip: str = "a100-sxm4-80gb", stack_id: str = UNFUSED, recipe_name: str = "bf16_mixed",
    frozen: bool = False, **shape: int | bool,
) -> OpTable:  # fmt: skip
    return lower_ops(
        workload, chip=hardware.chip(chip), stack=stack(stack_id), recipe=recipe(recipe_name),
        shapes=shapes(**shape), frozen=frozen,
    )  # fmt: skip


def messages(workload: Workload, **shape: int | bool) -> BlockMessages:
    return lower_messages(workload, recipe=recipe("bf16_mixed"), shapes=shapes(**shape))


def nominal(workload: Workload, table: OpTable, *, phase: int = FORWARD, kind: int | None = None) -> float:
    """FLOPs of all blocks in one pass."""
    repeat = np.array([layer.repeat for layer in workload.layers])[table.block]
    # The backward pass is that of activations and that of parameters.
    chosen = (table.phase == phase) | ((phase == BACKWARD) & (table.phase == WEIGHTS))
    if kind is not None:
        chosen &= table.kind == kind
    return float(np.sum((table.flop * repeat)[chosen]))


def attention_flop(workload: Workload) -> float:
    return float(
        sum(op.forward_flop * layer.repeat for layer in workload.layers for op in layer.ops if op.kind == "attention")
    )


@pytest.mark.parametrize("chip", ["a100-sxm4-80gb", "v100-sxm2-16gb", "p100-sxm2", "k80-gk210", "tpu-v3"])
@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("micro_batch", [1, 6])
def test_forward_rows_hold_the_workloads_flop(name: str, chip: str, micro_batch: int) -> None:
    workload = WORKLOADS[name]()
    word = {"a100-sxm4-80gb": "bf16_mixed", "v100-sxm2-16gb": "fp16_mixed", "tpu-v3": "bf16_mixed"}.get(chip, "fp32")
    table = rows(workload, chip=chip, recipe_name=word, micro_batch=micro_batch)
    assert nominal(workload, table) == pytest.approx(workload.forward_flop * micro_batch)


@pytest.mark.parametrize("name", WORKLOADS)
def test_work_with_its_waste_is_never_less_than_the_nominal(name: str) -> None:
    table = rows(WORKLOADS[name](), micro_batch=2)
    assert np.all(table.work >= table.flop * (1 - 1e-9))
    assert np.all(table.byte >= 0.0)


def test_fused_causal_attention_skips_the_masked_half_but_for_the_diagonal() -> None:
    workload = gpt()
    fused, unfused = rows(workload, stack_id=FUSED), rows(workload, stack_id=UNFUSED)
    skipped = nominal(workload, unfused) - nominal(workload, fused)
    # Half of all pairs but for the diagonal itself: 1,024 of 1,024 x 1,024. What tiles compute beside it is lost work.
    assert skipped == pytest.approx(attention_flop(workload) * (0.5 - 0.5 / 1024))
    assert np.sum(fused.lost[fused.kind == ATTENTION, LOSSES.index("padding")]) > 0.0


def test_fused_attention_without_a_mask_is_paid_in_full() -> None:
    workload = WORKLOADS["bert"]()
    assert nominal(workload, rows(workload, stack_id=FUSED)) == pytest.approx(workload.forward_flop)


@pytest.mark.parametrize("name", ["gpt", "llama", "bert"])
def test_products_cost_twice_their_forward_work_backward(name: str) -> None:
    workload = WORKLOADS[name]()
    table = rows(workload, micro_batch=2)
    assert nominal(workload, table, phase=BACKWARD) == pytest.approx(2.0 * nominal(workload, table))


@pytest.mark.parametrize("chip", ["a100-sxm4-80gb", "p100-sxm2"])
def test_convolutions_cost_twice_their_forward_work_backward_but_for_the_images_own_gradient(chip: str) -> None:
    workload = WORKLOADS["resnet"]()
    table = rows(workload, chip=chip, recipe_name="fp32" if chip.startswith("p100") else "bf16_mixed")
    first = next(op for op in workload.layers[0].ops if op.kind == "conv")
    assert not first.input_needs_gradient
    expected = 2.0 * workload.forward_flop - first.forward_flop
    assert nominal(workload, table, phase=BACKWARD) == pytest.approx(expected)


def test_fused_attention_costs_two_and_a_half_forwards_backward() -> None:
    workload = gpt()
    table = rows(workload, stack_id=FUSED)
    forward, backward = (nominal(workload, table, phase=phase, kind=ATTENTION) for phase in (FORWARD, BACKWARD))
    assert backward == pytest.approx(ATTENTION_BACKWARD * forward)


def test_frozen_parameters_get_no_gradient() -> None:
    workload = gpt()
    kept, frozen = rows(workload), rows(workload, frozen=True)
    products = workload.forward_flop - attention_flop(workload)
    saved = nominal(workload, kept, phase=BACKWARD) - nominal(workload, frozen, phase=BACKWARD)
    assert saved == pytest.approx(products)
    assert nominal(workload, frozen) == nominal(workload, kept)


def test_selective_recomputation_replays_unfused_attention_and_nothing_else() -> None:
    workload = gpt()
    table = rows(workload)
    assert nominal(workload, table, phase=REPLAY) == pytest.approx(attention_flop(workload))
    replayed, forward = table.phase == REPLAY, (table.phase == FORWARD) & (table.rate == 1) & (table.flop > 0)
    assert np.sum(table.work[replayed]) == np.sum(table.work[forward])
    fused = rows(workload, stack_id=FUSED)
    assert not np.any(fused.phase == REPLAY)


@pytest.mark.parametrize("name", ["gpt", "llama"])
@pytest.mark.parametrize("stack_id", [FUSED, UNFUSED])
@pytest.mark.parametrize("tp", [2, 4])
def test_tensor_parallel_ranks_together_do_the_whole_work(name: str, stack_id: str, tp: int) -> None:
    workload = WORKLOADS[name]()
    whole, split = rows(workload, stack_id=stack_id), rows(workload, stack_id=stack_id, tp=tp)
    for phase in (FORWARD, BACKWARD, REPLAY):
        assert tp * nominal(workload, split, phase=phase) == pytest.approx(nominal(workload, whole, phase=phase))


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_context_parallel_ranks_together_do_the_whole_work(name: str) -> None:
    workload = WORKLOADS[name]()
    whole, split = rows(workload), rows(workload, cp=4)
    for phase in (FORWARD, BACKWARD):
        assert 4 * nominal(workload, split, phase=phase) == pytest.approx(nominal(workload, whole, phase=phase))


def test_sequence_parallelism_splits_the_traffic_between_products() -> None:
    workload = gpt()
    plain, split = rows(workload, tp=4), rows(workload, tp=4, sequence_parallel=True)
    element_wise = plain.kind == VECTOR
    assert np.sum(split.byte[element_wise]) < np.sum(plain.byte[element_wise])
    assert np.array_equal(split.byte[~element_wise], plain.byte[~element_wise])
    assert np.array_equal(split.work, plain.work)


@pytest.mark.parametrize(
    ("split", "sequence_parallel", "share"),
    [
        ("none", False, 1 / 2), ("none", True, 1 / 2), ("sequence", False, 1 / 2), ("sequence", True, 1 / 8),
        ("inner", False, 1 / 8), ("heads", False, 1 / 8), ("vocab", True, 1 / 8),
    ],
)  # fmt: skip
def test_a_rank_holds_its_share_of_element_wise_work(split: str, sequence_parallel: bool, share: float) -> None:
    op = Op(name="made", kind="vector", read_elements=8, write_elements=8, split=split)
    assert vector_share(op, shapes(tp=4, cp=2, sequence_parallel=sequence_parallel))[0] == share


def test_winograd_saves_products_of_fp32_three_by_three_convolutions_only() -> None:
    workload = WORKLOADS["resnet"]()
    saved = LOSSES.index("algorithm")
    plain = rows(workload, chip="p100-sxm2", recipe_name="fp32", stack_id="tf1-horovod")
    assert np.any(plain.lost[plain.kind == CONV, saved] < 0.0)
    assert not np.any(plain.lost[plain.kind != CONV, saved])
    fast = rows(workload, chip="v100-sxm2-16gb", recipe_name="fp16_mixed", stack_id="tf1-horovod")
    assert not np.any(fast.lost[:, saved] < 0.0)


@pytest.mark.parametrize("chip", ["a100-sxm4-80gb", "p100-sxm2", "tpu-v3", "gc200", "wse-2", "xeon-phi-7250", "mi300x"])
@pytest.mark.parametrize("name", WORKLOADS)
def test_work_is_the_nominal_work_and_what_is_lost(name: str, chip: str) -> None:
    word = "fp32" if chip in ("p100-sxm2", "xeon-phi-7250") else "fp16_mixed" if chip in ("gc200", "wse-2") else "bf16"
    table = rows(WORKLOADS[name](), chip=chip, recipe_name=word, micro_batch=2)
    assert np.allclose(table.work, table.flop + np.sum(table.lost, axis=1))
    assert np.all(table.work >= 0.3 * table.flop)
    products = (table.kind == MATRIX) | (table.kind == CONV) | (table.kind == ATTENTION)
    assert np.all(table.work[products] > 0.0)
    assert not np.any(table.lost[~products])


def test_many_shapes_at_once_are_the_same_rows_as_one_by_one() -> None:
    workload = gpt()
    both = Shapes(
        micro_batch=np.array([1.0, 4.0]), tp=np.array([1.0, 2.0]), cp=np.ones(2),
        sequence_parallel=np.array([False, True]), ep=np.ones(2), etp=np.ones(2), hybrid=np.ones(2),
    )  # fmt: skip
    together = lower_ops(
        workload, chip=hardware.chip("a100-sxm4-80gb"), stack=stack(UNFUSED), recipe=recipe("bf16_mixed"), shapes=both
    )
    for index, shape in enumerate(({"micro_batch": 1}, {"micro_batch": 4, "tp": 2, "sequence_parallel": True})):
        alone = rows(workload, **shape)
        mine = together.shape == index
        for name in ("block", "phase", "kind", "flop", "work", "byte", "launches"):
            assert np.array_equal(getattr(together, name)[mine], getattr(alone, name))


# Messages.


@pytest.mark.parametrize("name", ["gpt", "llama"])
def test_a_block_sums_over_tensor_parallel_ranks_twice_forward_and_twice_backward(name: str) -> None:
    workload = WORKLOADS[name]()
    sent = messages(workload, tp=4, micro_batch=2)
    assert sent.forward_calls[0].tolist() == [1, 2, 0]  # embedding, block, head
    assert sent.backward_calls[0].tolist() == [0, 2, 1]
    # Each carries the micro-batch's activations: 2 x 1,024 positions x 1,024 wide x 2 bytes.
    assert sent.forward_byte[0].tolist() == [2 * 1024 * 1024 * 2.0] * 2 + [0.0]
    assert sent.backward_byte[0].tolist() == [0.0] + [2 * 1024 * 1024 * 2.0] * 2


def test_one_tensor_parallel_rank_sums_nothing() -> None:
    sent = messages(gpt())
    assert not sent.forward_calls.any()
    assert not sent.backward_calls.any()


def test_context_parallel_ranks_pass_keys_and_values_on() -> None:
    workload = gpt(tied=False, kv_heads=4, activation="swiglu")
    # Keys and values of the whole sequence: 2 x 1,024 positions x 4 heads x 64 wide x 2 bytes, over two ranks of heads.
    assert messages(workload, cp=2, tp=2).context_byte[0].tolist() == [0.0, 2 * 1024 * 4 * 64 * 2 / 2, 0.0]
    assert not messages(workload, tp=2).context_byte.any()


def test_a_stage_boundary_carries_the_activations_of_a_micro_batch() -> None:
    workload = gpt()
    whole = 4 * 1024 * 1024 * 2.0
    assert messages(workload, micro_batch=4).boundary_byte[0] == whole
    assert messages(workload, micro_batch=4, tp=2).boundary_byte[0] == whole
    assert messages(workload, micro_batch=4, tp=2, sequence_parallel=True).boundary_byte[0] == whole / 2
    assert messages(workload, micro_batch=4, cp=4).boundary_byte[0] == whole / 4


@pytest.mark.parametrize("name", WORKLOADS)
@pytest.mark.parametrize("tp", [1, 4])
def test_what_ranks_hold_adds_up_to_the_models_parameters(name: str, tp: int) -> None:
    workload = WORKLOADS[name]()
    held = messages(workload, tp=tp)
    repeat = np.array([layer.repeat for layer in workload.layers])
    on_one_stage = float(np.sum((held.parameters - held.shared_parameters)[0] * repeat))
    replicated = sum(
        layer.repeat * op.parameters
        for layer in workload.layers
        for op in layer.ops
        if op.split not in ("column", "row", "vocab", "heads", "inner")
    )
    assert tp * on_one_stage - (tp - 1) * replicated == pytest.approx(workload.parameters)


@pytest.mark.parametrize("tied", [True, False])
def test_only_a_tied_head_shares_its_table(tied: bool) -> None:
    shared = messages(gpt(tied=tied), tp=2).shared_parameters[0]
    assert shared.tolist() == [0.0, 0.0, 51200 * 1024 / 2 if tied else 0.0]


# Stages.


@pytest.mark.parametrize("blocks", [2, 9, 24, 50, 78, 96, 126])
def test_stages_hold_every_block_once_and_keep_the_pace(blocks: int) -> None:
    for stages in range(1, min(blocks, 64) + 1):
        held = stage_repeats(np.array([1, blocks, 2]), np.array([stages]))[0]
        count = np.array([1, max(stages - 2, 0), int(stages > 1)])
        most = -(-blocks // stages)
        assert held[:, 1].max() == most
        assert held[:, 0].tolist() == [1, 0, 0]
        assert held[:, 2].tolist() == ([2, 0, 0] if stages == 1 else [0, 0, 2])
        # Middle stages are alike: where they cannot be and the ends are empty, they hold what is left, rounded up.
        over = int(np.sum(held[:, 1] * count)) - blocks
        assert over == max(0, most * (stages - 2) - blocks) if blocks % stages > 2 else over == 0


@pytest.mark.parametrize(
    ("blocks", "stages", "held"),
    [(24, 4, (6, 6, 6)), (24, 1, (24, 0, 0)), (126, 8, (15, 16, 15)), (78, 12, (7, 7, 1)), (9, 8, (2, 1, 1)),
     (50, 16, (4, 3, 4)), (5, 2, (3, 0, 2))],
)  # fmt: skip
def test_uneven_pipelines_are_cut_as_stated(blocks: int, stages: int, held: tuple[int, int, int]) -> None:
    assert tuple(stage_repeats(np.array([1, blocks, 1]), np.array([stages]))[0, :, 1].tolist()) == held


def test_stacks_that_keep_vectors_in_fp32_move_twice_the_bytes() -> None:
    def traffic(chosen: Stack) -> float:
        table = lower_ops(
            gpt(),
            chip=hardware.chip("a100-sxm4-80gb"),
            stack=chosen,
            recipe=recipe("bf16_mixed"),
            shapes=shapes(),
        )
        forward = (table.kind == VECTOR) & (table.phase == FORWARD) & (table.block == 1)
        return float(np.sum(table.byte[forward]))

    narrow = replace(stack(FUSED), vector_fp32=False)
    assert traffic(replace(narrow, vector_fp32=True)) == 2.0 * traffic(narrow)


def test_products_with_rows_off_alignment_cost_more_on_matrix_units_only() -> None:
    odd = transformer(name="odd", layers=1, hidden=1024, heads=16, vocab=50257, seq_len=1024)
    even = transformer(name="even", layers=1, hidden=1024, heads=16, vocab=50264, seq_len=1024)

    def waste(workload: Workload, chip: str, word: str) -> float:
        table = rows(workload, chip=chip, recipe_name=word)
        head = (table.block == 2) & (table.kind == MATRIX) & (table.phase == FORWARD)
        return float(np.sum(table.work[head]) / np.sum(table.flop[head]))

    # Off alignment loads of 16-bit operands are narrow; 32-bit operands of four bytes suffer less.
    assert waste(odd, "a100-sxm4-80gb", "bf16_mixed") > 1.02 * waste(even, "a100-sxm4-80gb", "bf16_mixed")
    assert waste(odd, "p100-sxm2", "fp32") == pytest.approx(waste(even, "p100-sxm2", "fp32"), rel=0.10)


def test_heads_that_start_off_16_bytes_miss_the_matrix_units_where_scores_stand_in_memory() -> None:
    def work_per_flop(heads: int, stack_id: str, word: str, chip: str = "a100-sxm4-80gb") -> float:
        one = transformer(name="one", layers=1, hidden=1728, heads=heads, vocab=51200, seq_len=2048)
        block = next(layer for layer in one.layers if layer.kind == "block")
        only = replace(block, ops=tuple(op for op in block.ops if op.kind == "attention"))
        table = rows(replace(one, layers=(only,)), chip=chip, recipe_name=word, stack_id=stack_id)
        products = np.isin(table.kind, (MATRIX, ATTENTION))
        return float(np.sum(table.work[products]) / np.sum(table.flop[products]))

    # 1728 / 16 = 108 elements are 216 bytes, 1728 / 12 = 144 are 288, of which 16 is a divisor.
    assert work_per_flop(16, UNFUSED, "bf16_mixed") > 4.0 * work_per_flop(12, UNFUSED, "bf16_mixed")
    assert work_per_flop(16, UNFUSED, "fp32") < 1.5 * work_per_flop(12, UNFUSED, "fp32")
    assert work_per_flop(16, UNFUSED, "fp32", "p100-sxm2") < 1.5 * work_per_flop(12, UNFUSED, "fp32", "p100-sxm2")
    assert work_per_flop(16, FUSED, "bf16_mixed") < 1.5 * work_per_flop(12, FUSED, "bf16_mixed")
