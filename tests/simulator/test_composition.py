"""The scalar closed form against cases worked by hand, and its laws."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.composition import bound, exposed_reduce_ps
from simulator.stepspec import GRADIENT_MODES, PARTS, BlockSpec, StageSpec, StepSpec, StepSpecError


def block(forward: int, backward: int, *, repeat: int = 1, **more: int) -> BlockSpec:
    return BlockSpec(name="block", repeat=repeat, forward_ps=forward, backward_ps=backward, **more)


def stage(*blocks: BlockSpec, **more: int) -> StageSpec:
    return StageSpec(name="stage", chunks=(blocks,), **more)


def test_one_stage_takes_its_micro_batches_one_after_another() -> None:
    # 4 x (3 x (1 + 2) + 3 x (0 + 1)) = 48, of it 4 x 9 compute and 4 x 3 tensor-parallel.
    step = bound(StepSpec(stages=(stage(block(1, 2, repeat=3, backward_tensor_ps=1)),), micro_batches=4))
    assert (step.total_ps, step.compute_ps, step.tensor_ps, step.bubble_ps) == (48, 36, 12, 0)
    assert step.engine == "bound"


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_two_like_stages_by_hand(schedule: str) -> None:
    # m (F + B) + (p - 1) (F + B) = 2 x 3 + 3 = 9, a third of it bubble.
    spec = StepSpec(stages=(stage(block(1, 2)),) * 2, micro_batches=2, schedule=schedule)
    assert (bound(spec).total_ps, bound(spec).bubble_ps) == (9, 3)


def test_a_send_is_paid_by_the_stage_that_sends() -> None:
    # 3 stages, F = 10, B = 20, send 1: forward 11, 11, 10 and backward 20, 21, 21; the middle stage is busy 32, the
    # ends 31. On the middle one: 11 before it, 3 x 32, the first micro-batch away for 31 and one forward pass of 11 run
    # meanwhile, the last away for 31 and one backward pass of 21 run meanwhile, 20 behind it: 157.
    # On the last one 22 + 3 x 31 + 41 = 156. Seen from the middle 90 compute, 6 sends, 61 bubble.
    step = bound(StepSpec(stages=(stage(block(10, 20)),) * 3, micro_batches=3, send_ps=1))
    assert (step.total_ps, step.compute_ps, step.pipeline_ps, step.bubble_ps) == (157, 90, 6, 61)


def test_gpipe_follows_the_slowest_forward_and_the_slowest_backward_pass() -> None:
    # (m - 1) (max F + max B) + sum F + sum B = 3 x (10 + 10) + 12 + 12.
    stages = (stage(block(10, 2)), stage(block(2, 10)))
    assert bound(StepSpec(stages=stages, micro_batches=4, schedule="gpipe")).total_ps == 84


def test_a_slow_first_stage_hides_the_others_in_1f1b() -> None:
    # Stage 0: F 0-10, F 10-20; stage 1 is back at 10 + 1 + 2 = 13; B 20-40, B 40-60: never idle.
    step = bound(StepSpec(stages=(stage(block(10, 20)), stage(block(1, 2))), micro_batches=2))
    assert (step.total_ps, step.bubble_ps) == (60, 0)


def test_a_slow_stage_feeds_the_next_late_in_1f1b() -> None:
    # F = 6, 1, 1 and B = 1, 9, 1; 3 micro-batches. On stage 1, with its T = 10 the slowest: 6 + 3 x 10 + 1 = 37, the
    # first micro-batch is away for 2, under the next forward pass but for 1. But that pass begins at 12, not at 7, for
    # stage 0 feeds it 5 late: 42; and the last micro-batch's 2 hide under a backward pass of 9.
    stages = tuple(stage(block(f, b)) for f, b in ((6, 1), (1, 9), (1, 1)))
    assert bound(StepSpec(stages=stages, micro_batches=3)).total_ps == 42


def test_the_first_of_equally_slow_stages_sets_the_pace() -> None:
    stages = (stage(block(3, 6)), stage(block(2, 4, forward_tensor_ps=1, backward_tensor_ps=2)))
    step = bound(StepSpec(stages=stages, micro_batches=2))
    assert (step.compute_ps, step.tensor_ps) == (18, 0)


def test_interleaving_waits_for_one_chunk_of_the_stages_before() -> None:
    # v = 2: F + B of stage 0 is 2 x (3 + 6) = 18, of stage 1 (3 + 6) + (3 + 5) = 17.
    # Stage 1 waits for stage 0's first chunk at either end, 3 + 4 x 17 + 6 = 77; stage 0 waits less: the first
    # micro-batch is away for 3 + 5, 2 of them beyond the two forward passes run meanwhile, 4 x 18 + 2 = 74.
    even = StageSpec(name="even", chunks=((block(3, 6),), (block(3, 6),)))
    odd = StageSpec(name="odd", chunks=((block(3, 6),), (block(3, 5),)))
    step = bound(StepSpec(stages=(even, odd), micro_batches=4, schedule="interleaved"))
    assert (step.total_ps, step.compute_ps, step.bubble_ps) == (77, 72, 5)


def test_interleaving_divides_the_bubble_by_the_chunks() -> None:
    # p = 4, F = 2, B = 4 per stage. In one chunk 3 x 6 of bubble, in two 3 x 3.
    whole = StepSpec(stages=(stage(block(2, 4)),) * 4, micro_batches=8)
    halves = (StageSpec(name="halves", chunks=((block(1, 2),), (block(1, 2),))),) * 4
    assert bound(whole).bubble_ps == 18
    assert bound(replace(whole, stages=halves, schedule="interleaved")).bubble_ps == 9


def test_interleaving_sends_once_per_chunk_but_not_past_the_ends() -> None:
    # p = 2, v = 2: stage 0 sends forward 2 and backward 1, stage 1 forward 1 and backward 2: F + B + 3 s = 18 + 3.
    # Stage 1 waits for stage 0's first chunk, forward with a send, backward without: 4 + 2 x 21 + 6 = 52.
    even = StageSpec(name="even", chunks=((block(3, 6),), (block(3, 6),)))
    step = bound(StepSpec(stages=(even, even), micro_batches=2, schedule="interleaved", send_ps=1))
    assert (step.total_ps, step.pipeline_ps) == (52, 6)


def test_chunks_on_one_rank_send_nothing() -> None:
    even = StageSpec(name="even", chunks=((block(3, 6),), (block(3, 6),)))
    step = bound(StepSpec(stages=(even,), micro_batches=2, schedule="interleaved", send_ps=1))
    assert (step.total_ps, step.pipeline_ps) == (36, 0)


def test_exchange_after_the_last_pass_begins_earlier_on_later_stages() -> None:
    # Pipeline 9. Stage 1 is done B_0 = 2 earlier, at 7, and exchanges for 5: 12. Stage 0: 9 + 1 = 10.
    early, late = stage(block(1, 2), reduce_after_ps=1), stage(block(1, 2), reduce_after_ps=5)
    step = bound(StepSpec(stages=(early, late), micro_batches=2, gradient_mode="after"))
    assert (step.total_ps, step.data_ps) == (12, 3)


def test_exchange_that_a_later_stage_finishes_in_time_costs_nothing() -> None:
    early, late = stage(block(1, 2)), stage(block(1, 2), reduce_after_ps=2)
    assert bound(StepSpec(stages=(early, late), micro_batches=2, gradient_mode="after")).data_ps == 0


def test_exchange_under_the_last_pass_by_hand() -> None:
    # Backward order: b (20, reduce 5), then a (10, reduce 30).
    # b ready at 20: 20 + 5 + 30 = 55. a ready at 30: 30 + 30 = 60. Exposed 60 - 30.
    a, b = block(1, 10, reduce_ps=30), block(1, 20, reduce_ps=5)
    assert exposed_reduce_ps(stage(a, b)) == 30
    # With b's exchange at 40 the stream is late already: 20 + 40 + 30 = 90.
    assert exposed_reduce_ps(stage(a, replace(b, reduce_ps=40))) == 60


def test_exchange_of_repeated_blocks_hides_all_but_the_last() -> None:
    # 4 blocks of 10 with exchanges of 7: each hides under the next block, the last one shows.
    assert exposed_reduce_ps(stage(block(1, 10, repeat=4, reduce_ps=7))) == 7
    # Exchanges of 12: 10 + 4 x 12 = 58, 18 more than the 40 of compute.
    assert exposed_reduce_ps(stage(block(1, 10, repeat=4, reduce_ps=12))) == 18


def test_gradients_of_other_chunks_go_first_in_the_last_window() -> None:
    # The last pass is chunk 0's: 10 long. Chunk 1's exchange takes 25 from its start, chunk 0's 5 behind it.
    chunks = ((block(1, 10, reduce_ps=5),), (block(1, 10, reduce_ps=25),))
    assert exposed_reduce_ps(StageSpec(name="two", chunks=chunks)) == 20


def test_exchange_runs_beside_the_send_behind_the_last_pass() -> None:
    assert exposed_reduce_ps(stage(block(1, 20, reduce_ps=25)), send_ps=3) == 22
    assert exposed_reduce_ps(stage(block(1, 20, reduce_ps=2)), send_ps=3) == 0


def test_sharded_step_by_hand() -> None:
    # Two blocks, gather 4, forward 3, backward 6, reduce 5.
    #   forward 1:  gathered 4,                      computes 4-7
    #   forward 2:  gathered 4 + 4 = 8,              computes 8-11
    #   backward 2: gathered 8 + 4 = 12,             computes 12-18
    #   backward 1: gathered 12 + 4 = 16,            computes 18-24
    #   reduce 2:   max(16, 18) + 5 = 23;  reduce 1: max(23, 24) + 5 = 29
    layer = block(3, 6, repeat=2, gather_ps=4, reduce_ps=5)
    step = bound(StepSpec(stages=(stage(layer),), micro_batches=1, gradient_mode="sharded"))
    assert (step.total_ps, step.compute_ps, step.data_ps, step.bubble_ps) == (29, 18, 11, 0)


def test_sharded_gather_of_the_next_block_goes_before_the_reduce() -> None:
    # One block, two micro-batches, gather 4, forward 3, backward 6, reduce 20:
    #   forward 0 gathered 4, 4-7; backward 0 gathered 4 + 4 = 8, 8-14; forward 1 gathered 8 + 4 = 12, 14-17
    #   reduce 0: max(12, 14) + 20 = 34; backward 1 gathered max(34, 14) + 4 = 38, 38-44; reduce 1: 64
    layer = block(3, 6, gather_ps=4, reduce_ps=20)
    spec = StepSpec(stages=(stage(layer),), micro_batches=2, gradient_mode="sharded")
    assert bound(spec).total_ps == 64


def test_sharded_step_without_communication_is_plain() -> None:
    plain = StepSpec(stages=(stage(block(3, 6, repeat=5)),), micro_batches=3)
    assert bound(replace(plain, gradient_mode="sharded")) == bound(plain)


def test_sharding_refuses_a_pipeline() -> None:
    with pytest.raises(StepSpecError, match='"sharded" with 2 pipeline stages; it needs 1'):
        bound(StepSpec(stages=(stage(block(1, 2)),) * 2, micro_batches=2, gradient_mode="sharded"))


def test_update_and_fixed_costs_are_added_once() -> None:
    # The slowest update 7 and the slowest fetch 5 need not be the same stage's.
    stages = (stage(block(1, 2), optimizer_ps=7, update_gather_ps=1), stage(block(1, 2), update_gather_ps=5))
    step = bound(StepSpec(stages=stages, micro_batches=2, fixed_ps=100))
    assert (step.optimizer_ps, step.fixed_ps, step.total_ps) == (12, 100, 121)


def test_a_step_of_nothing_takes_no_time() -> None:
    for mode in GRADIENT_MODES:
        assert bound(StepSpec(stages=(stage(block(0, 0)),), micro_batches=3, gradient_mode=mode)).total_ps == 0


def test_no_part_is_negative_for_unlike_stages() -> None:
    stages = tuple(stage(block(f, 2 * f, reduce_ps=f), reduce_after_ps=3 * f) for f in (1, 9, 4))
    for mode in ("none", "after", "backward"):
        step = bound(StepSpec(stages=stages, micro_batches=2, gradient_mode=mode, send_ps=2))
        assert all(getattr(step, f"{part}_ps") >= 0 for part in PARTS)
