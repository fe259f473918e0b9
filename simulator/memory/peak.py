"""Every purpose on every stage at every moment, and the peak of a strategy.

Parameters, gradients and optimizer state follow from counts (arXiv:1910.02054); activations from what each op keeps for
its backward pass (arXiv:2205.05198), times the micro-batches that the schedule holds in flight.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from workloads.workload import Workload

from ..kernels.optable import Floats, Ints
from ..lowering import Context
from ..parallelism import CONTEXT_EXCHANGES, OFFLOADS, UPDATES, whole_columns
from ..stack import RECOMPUTE_MODES, SHARDING_MODES
from ..traffic import gradient_byte_of
from .columns import MOMENTS, MemoryColumns, StageMemory
from .in_flight import activations_in_flight
from .layer_sums import LayerSums
from .stages import stage_blocks

#: Blocks whose gathered parameters are there at once in ZeRO-3: the one at work and the one being fetched.
GATHERED_BLOCKS: Final = 2
#: What NCCL holds for every group of ranks a chip is a member of: 16 channels, each with a send and a receive buffer of
#: 4 MiB (NCCL_BUFFSIZE) and what its two low-latency protocols have besides, 0.5 and 1.2 MiB. [B]
COMMUNICATOR_BYTE: Final = 16 * 2 * (4.0 + 0.5 + 1.2) * 2**20
#: Buffers of one activation that a pipeline stage sends and receives, and of a ring's keys and values with their
#: gradients: one at work, one on the wire.
BOUNDARY_BUFFERS: Final = 2
RING_BUFFERS: Final = 4
#: Blocks whose activations are on the chip when activations are offloaded: one at work, one on the way.
OFFLOADED_BLOCKS: Final = 2

_FULL: Final = RECOMPUTE_MODES.index("full")
_SELECTIVE: Final = RECOMPUTE_MODES.index("selective")
_ZERO: Final = {level: SHARDING_MODES.index(f"zero{level}") for level in (1, 2, 3)}


def memory_byte(workload: Workload, context: Context, columns: Mapping[str, Ints]) -> MemoryColumns:
    """Memory of many strategies by purpose, on the fullest stage of each at its fullest moment.

    See `stage_memory` for the formulas and the columns.
    """
    return stage_memory(workload, context, columns).peak()


def stage_memory(
    workload: Workload, context: Context, columns: Mapping[str, Ints], *, frozen: bool = False
) -> StageMemory:
    """Memory of many strategies by purpose, stage and moment.

    With P the parameters of a stage on one rank, d = dp cp the ranks that may share (``shard_ranks`` of them where that
    column is not 0; d / ep for experts), z the ZeRO stage:

    ============  ========================================================================== =====
    parameters    P storage / (d if z = 3), and the narrow copies that products read           [B]
    gradients     P gradient / (d if z >= 2) and the stack's second copies                     [B]
    master        P master / (d if z >= 1)                                                     [B]
    optimizer     P state x words / (d if z >= 1)                                              [B]
    activations   kept elements x storage x micro-batch / (tp, cp) x micro-batches in flight   [B]
    loss          logits x the stack's bytes a logit, at the loss                              [B]
    transient     gathered parameters and whole gradients (z = 3); one block replayed and the
                  widest gradients of an op, in the passes; gradients of one pass at its end;
                  the stack's temporaries, at the update                                       [B]
    exchange      gradient bucket, activations at stage boundaries, keys and values of a ring  [B]
    communicator  the library's channel buffers, by groups                                     [B]
    reserve       the stack's own                                                              [B]
    ============  ========================================================================== =====

    Full recomputation keeps one block input per block. Embedding and head are never replayed. In a pipeline FSDP keeps
    the gathered parameters and whole gradients of its stage from the first micro-batch to the last. A format that the
    chip multiplies narrower than it stores keeps a copy of matrices (two where it is transposed) except under ZeRO-3,
    which casts what it gathers. A stack that unrolls recurrences holds one gradient of their weights a step until it
    adds them.

    Leaves out: workspace of convolutions beyond the reserve, allocator holes beyond the stack's share, unequal load of
    experts.

    Parameters
    ----------
    columns
        tp, pp, dp, cp, micro_batch, micro_batches, virtual_stages, schedule, recompute, sharding, sequence_parallel as
        a search makes them, words as indices into their tuples; and whatever else a `Parallelism` has, at its default
        where it is not there. Shape (S,) each.
    frozen
        Parameters get no gradient and no state (LoRA).

    References
    ----------
    Rajbhandari et al. 2020, ZeRO, section 3, arXiv:1910.02054; Korthikanti et al. 2022, section 4, arXiv:2205.05198;
    Zhao et al. 2023, PyTorch FSDP, arXiv:2304.11277.
    """
    stack, recipe = context.stack, context.recipe
    columns = whole_columns(columns)
    tp, pp, ep, etp, hybrid = (columns[name].astype(float) for name in ("tp", "pp", "ep", "etp", "hybrid"))
    repeat = stage_blocks(workload, stack, columns["pp"])  # (S, R, G)
    present = np.stack([np.ones_like(pp), pp > 2, pp > 1], axis=1).astype(float)
    sums = [LayerSums.of(layer) for layer in workload.layers]

    common = np.stack([s.common_parameters(tp, hybrid) for s in sums], axis=1)  # (S, G)
    spread = np.stack([s.spread_parameters(tp, ep, etp, hybrid) for s in sums], axis=1)
    held = common + spread
    stage, experts = (np.einsum("srg,sg->sr", repeat, each) for each in (held, spread))
    # A tied table on one rank is one table, though both its layers carry it.
    stage[:, 0] -= np.where(pp == 1, workload.tied_parameters / tp, 0.0)
    everybody = (columns["dp"] * columns["cp"]).astype(float)
    limit = np.where(columns["shard_ranks"] > 0, columns["shard_ranks"], np.inf)
    ranks = np.minimum(everybody, limit)
    of_spread = np.minimum(np.maximum(tp * everybody / (ep * etp * hybrid), 1.0), limit)
    of_spread = np.where(ep * etp * hybrid > 1, of_spread, ranks)

    def shared(level: int) -> Floats:
        on = columns["sharding"] >= _ZERO[level]
        d, e = np.where(on, ranks, 1.0), np.where(on, of_spread, 1.0)
        return np.asarray((stage - experts) / d[:, None] + experts / e[:, None])

    learns = 0.0 if frozen else 1.0
    # Shards in the host's memory come when they are gathered.
    here = np.where(stack.offloads_parameters & (columns["sharding"] == _ZERO[3]) & (ranks > 1), 0.0, 1.0)[:, None]
    zero3 = (columns["sharding"] == _ZERO[3]) & (ranks > 1)
    copies = 0.0
    if recipe.matmul_byte < recipe.storage_byte:
        copies = recipe.matmul_byte * (2.0 if recipe.transposed_copy else 1.0)
    narrow = held * np.array([one.matrix_share for one in sums])
    copied = copies * np.where(zero3[:, None], 0.0, np.einsum("srg,sg->sr", repeat, narrow))
    gradient = gradient_byte_of(stack, recipe)
    second = stack.gradient_copy_byte if recipe.storage_byte < 4.0 and recipe.scaling != "loss" else 0.0
    away = (columns["offload"] == OFFLOADS.index("optimizer")) | stack.offloads_optimizer
    # Parameter servers that nobody waits for update what they hold.
    away = away | (columns["updates"] == UPDATES.index("asynchronous"))
    of_pass = learns * (stack.pass_gradient_byte if recipe.storage_byte < 4.0 else 0.0)
    held_state = learns * np.where(away, 0.0, 1.0)[:, None]
    state = recipe.state_byte * context.optimizer.state_per_parameter
    # Of parameters that are gathered while a pipeline runs, the whole stage is there; without one, two blocks.
    tall = np.max(np.where(repeat > 0, held[:, None, :], 0.0), axis=2)
    through = np.where((pp > 1)[:, None], stage, GATHERED_BLOCKS * tall)
    # Whole gradients that wait for the last micro-batch are added up as they are stored.
    whole = np.where((pp > 1)[:, None], max(gradient, recipe.storage_byte) * stage, recipe.storage_byte * tall)
    gathered = np.where(zero3[:, None], recipe.storage_byte * through + learns * whole, 0.0)
    unrolled = np.einsum("srg,g->sr", repeat, np.array([one.unrolled for one in sums]))
    unrolled = unrolled * (gradient * learns if stack.unrolls_recurrence else 0.0)

    activation, left, loss, working, ring = _passes(workload, context, columns, sums, repeat)
    shape = (len(pp), repeat.shape[1], len(MOMENTS))
    update = learns * stack.update_byte * shared(1)
    boundary = np.where((pp > 1)[:, None], BOUNDARY_BUFFERS * _boundary(workload, context, columns)[:, None], 0.0)
    bucket = np.where(ranks > 1, stack.bucket_byte * learns, 0.0)[:, None]
    groups = (columns["tp"] > 1).astype(float) + (everybody > 1) + (pp > 1)
    groups += (columns["cp"] > 1).astype(float) + (ep > 1)

    def over(*moments: Floats) -> Floats:
        return np.stack([np.broadcast_to(value, shape[:2]) for value in moments], axis=2)

    def always(value: Floats) -> Floats:
        return np.broadcast_to(value[:, :, None], shape)

    none = np.zeros(shape[:2])
    return StageMemory(
        parameter_byte=always(here * shared(3) * recipe.storage_byte + copied),
        gradient_byte=always(learns * here * (shared(2) * gradient + stage * second)),
        master_byte=always(shared(1) * recipe.master_byte * held_state),
        optimizer_byte=always(shared(1) * state * held_state),
        activation_byte=over(activation, left, activation, none),
        loss_byte=over(none, none, loss, none),
        transient_byte=over(gathered + working, gathered + stage * of_pass + unrolled, gathered, update),
        exchange_byte=over(boundary + bucket + ring, boundary + bucket, boundary + bucket, bucket),
        communicator_byte=groups * COMMUNICATOR_BYTE if context.cluster.chip.kind == "gpu" else 0.0 * groups,
        reserve_byte=np.full(len(pp), stack.framework_reserve_byte),
        present=present,
        allocator_share=stack.allocator_share,
    )


def _passes(
    workload: Workload, context: Context, columns: Mapping[str, Ints], sums: list[LayerSums], repeat: Floats
) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """Kept activations, those left after a backward pass, loss, working set, ring buffers; shape (S, R) each [B]."""
    stack, recipe = context.stack, context.recipe
    tp, cp, etp, hybrid = (columns[name].astype(float) for name in ("tp", "cp", "etp", "hybrid"))
    repeats = np.array([layer.repeat for layer in workload.layers], dtype=np.int64)
    in_flight = activations_in_flight(columns, blocks_before_and_after=(repeats, int(np.argmax(repeats))))
    sequence = np.where(columns["sequence_parallel"] > 0, tp, 1.0)
    unit = recipe.storage_byte * columns["micro_batch"] / cp
    full, selective = columns["recompute"] == _FULL, columns["recompute"] == _SELECTIVE
    every = columns["recompute_every"].astype(float)
    offloaded = columns["offload"] == OFFLOADS.index("activations")
    unfused = stack.attention == "unfused" or stack.keeps_scores
    share = 1.0 if unfused else stack.selective_share
    activation, left, loss, working, ring = (np.zeros(repeat.shape[:2]) for _ in range(5))
    for block, (layer, one) in enumerate(zip(workload.layers, sums, strict=True)):
        kept = unit * (one.split_saved / tp + one.sequence_saved / sequence + one.whole_saved)
        kept = kept + unit * (one.expert_saved * etp / tp + one.dense_saved * (hybrid - 1.0))
        kept = kept + stack.gathered_share * unit * one.gathered_saved * (1.0 - 1.0 / sequence)
        scores = unit * one.scores / tp
        if layer.kind == "block":
            kept = kept * (1.0 + stack.eager_kept_share)
        everything = kept + (scores if unfused else unit * one.statistics / tp)
        each, replayed = everything, np.zeros_like(kept)
        if layer.kind == "block":
            each = np.where(selective, share * (kept if unfused else everything), each)
            replayed = np.where(selective, everything - each, replayed)
            each = np.where(full, unit * one.input_elements / sequence / every, each)
            replayed = np.where(full, every * everything, replayed)
        held, some = repeat[:, :, block], repeat[:, :, block] > 0
        flight = in_flight[:, :, block]
        for total, many in ((activation, flight), (left, np.maximum(flight - 1.0, 0.0))):
            here = np.where(offloaded[:, None], np.minimum(held * many, OFFLOADED_BLOCKS), held * many)
            total += here * each[:, None]
        back = replayed + unit * one.widest_gradients(tp)
        working = np.maximum(working, np.where(some, back[:, None], 0.0))
        ring = np.maximum(ring, np.where(some, _exchanged_keys(columns, unit * one.keys / tp)[:, None], 0.0))
        if one.logits:
            logits = columns["micro_batch"] / cp * one.logits / tp
            # All but the micro-batch at its loss keep their copy of the logits (GPipe).
            waiting = (flight - 1.0) * (unit * one.loss_saved / tp)[:, None]
            loss += np.where(some, (logits * loss_byte_of(context))[:, None] + waiting, 0.0)
        elif one.loss_saved:
            loss += np.where(some, (unit * one.loss_saved / tp)[:, None], 0.0)
    return activation, left, loss, working, ring


def _exchanged_keys(columns: Mapping[str, Ints], keys: Floats) -> Floats:
    """Buffers of context parallelism for one rank's ``keys`` [B]; shape (S,) [B].

    A ring has two blocks of keys and values and two of their gradients; gathered, those of all ranks and their
    gradients; Ulysses exchanges as many in place of one another.
    """
    cp = columns["cp"].astype(float)
    gathered = columns["context_exchange"] == CONTEXT_EXCHANGES.index("all_gather")
    return np.where(cp > 1, np.where(gathered, 2.0 * cp, RING_BUFFERS) * keys, 0.0)


def loss_byte_of(context: Context) -> float:
    """Bytes a logit takes at the loss: the stack's in 16-bit recipes, twice the stored ones at least [B]."""
    return max(context.stack.loss_byte, 0.0) * max(context.recipe.storage_byte / 2.0, 1.0)


def _boundary(workload: Workload, context: Context, columns: Mapping[str, Ints]) -> Floats:
    """Activations of one micro-batch at a stage boundary on one rank; shape (S,) [B]."""
    hidden = float(workload.hyper.get("hidden", 0) or 0)
    tokens = columns["micro_batch"] * workload.tokens_per_sample / columns["cp"]
    sequence = np.where(columns["sequence_parallel"] > 0, columns["tp"], 1.0)
    return np.asarray(context.recipe.storage_byte * tokens * hidden / sequence)
