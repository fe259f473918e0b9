"""What training needs in a chip's memory, by purpose, for whole batches of strategies at once.

Parameters, gradients and optimizer state follow from counts (arXiv:1910.02054); activations from what each op keeps for
its backward pass (arXiv:2205.05198), times the micro-batches that the schedule holds in flight. Every stage of a
pipeline is looked at (first, middle, last); the fullest counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from workloads.layer import Layer
from workloads.workload import Workload

from .kernels.optable import Floats, Ints
from .lowering import ROLES, Context, stage_repeats
from .plan_report import MemoryUse
from .stack import RECOMPUTE_MODES, SHARDING_MODES
from .stepspec import SCHEDULES
from .traffic import gradient_byte_of

#: Splits whose work, parameters and kept elements are always divided by tp; the table is at the head of `workloads.op`.
_SPLIT: Final = ("row", "heads", "inner")
#: Splits whose kept elements are divided by tp with sequence parallelism only.
_SEQUENCE: Final = ("column", "vocab", "sequence")
#: Splits whose parameters are divided by tp.
_SHARDED: Final = ("column", "row", "heads", "vocab", "inner")

#: Blocks whose gathered parameters are there at once in ZeRO-3: the one at work and the one being fetched.
GATHERED_BLOCKS: Final = 2

_FULL: Final = RECOMPUTE_MODES.index("full")
_SELECTIVE: Final = RECOMPUTE_MODES.index("selective")


@dataclass(frozen=True, kw_only=True)
class MemoryColumns:
    """Bytes on the fullest chip of every strategy, by purpose; fields as in `MemoryUse`, shape (S,) [B]."""

    parameter_byte: Floats
    gradient_byte: Floats
    optimizer_byte: Floats
    activation_byte: Floats
    transient_byte: Floats
    reserve_byte: Floats

    @property
    def total_byte(self) -> Floats:
        """Sum of all purposes; shape (S,) [B]."""
        return np.asarray(sum(getattr(self, f.name) for f in fields(self)))

    def use(self, index: int, *, capacity_byte: float) -> MemoryUse:
        """One strategy's bytes against what a chip holds."""
        return MemoryUse(
            **{f.name: float(getattr(self, f.name)[index]) for f in fields(self)}, capacity_byte=capacity_byte
        )


def memory_byte(workload: Workload, context: Context, columns: Mapping[str, Ints]) -> MemoryColumns:
    """Memory of many strategies by purpose, on the fullest stage of each.

    With P the parameters of a stage on one rank, d = dp cp the ranks that may shard, and z the ZeRO stage:

    ==========  ============================================================================ =====
    parameters  P storage / (d if z = 3)                                                       [B]
    gradients   P gradient / (d if z >= 2)                                                     [B]
    optimizer   P (master + state x words) / (d if z >= 1)                                     [B]
    activations kept elements x storage x micro-batch / (tp, cp) x micro-batches in flight     [B]
    transient   logits and their gradient; gathered parameters of two blocks (z = 3); the
                scores of one block being replayed (selective recomputation)                   [B]
    reserve     the stack's own                                                                [B]
    ==========  ============================================================================ =====

    Full recomputation keeps one block input per block and all of the one block being replayed. Embedding and head are
    never replayed.

    Leaves out: workspace of convolutions, fragmentation, buckets of gradients in exchange, key/value buffers of context
    parallelism.

    Parameters
    ----------
    columns
        tp, pp, dp, cp, micro_batch, micro_batches, virtual_stages, schedule, recompute, sharding, sequence_parallel as
        a search makes them; words as indices into their tuples. Shape (S,) each.

    References
    ----------
    Rajbhandari et al. 2020, ZeRO, section 3, arXiv:1910.02054; Korthikanti et al. 2022, section 4, arXiv:2205.05198.
    """
    stack, recipe = context.stack, context.recipe
    tp, cp, pp = (columns[name].astype(float) for name in ("tp", "cp", "pp"))
    repeats = np.array([layer.repeat for layer in workload.layers], dtype=np.int64)
    repeat = stage_repeats(repeats, columns["pp"]).astype(float)  # (S, R, G)
    present = np.stack([np.ones_like(pp, bool), pp > 2, pp > 1], axis=1)

    sums = [_LayerSums.of(layer) for layer in workload.layers]
    parameters = np.stack([s.sharded / tp + s.replicated for s in sums], axis=1)  # (S, G)
    stage = np.einsum("srg,sg->sr", repeat, parameters)
    # A tied table on one rank is one table, though both its layers carry it.
    stage[:, 0] -= np.where(pp == 1, workload.tied_parameters / tp, 0.0)
    ranks = (columns["dp"] * columns["cp"]).astype(float)[:, None]
    shards = {z: np.where((columns["sharding"] >= z)[:, None], ranks, 1.0) for z in (1, 2, 3)}
    parameter_byte = stage * recipe.storage_byte / shards[SHARDING_MODES.index("zero3")]
    gradient_byte = stage * gradient_byte_of(stack, recipe) / shards[SHARDING_MODES.index("zero2")]
    state = recipe.master_byte + recipe.state_byte * context.optimizer.state_per_parameter
    optimizer_byte = stage * state / shards[SHARDING_MODES.index("zero1")]

    zero3 = (columns["sharding"] == SHARDING_MODES.index("zero3")) & (ranks[:, 0] > 1)
    gathered = GATHERED_BLOCKS * recipe.storage_byte * np.max(np.where(repeat > 0, parameters[:, None, :], 0.0), axis=2)
    transient_byte = np.where(zero3[:, None], gathered, 0.0)

    activation_byte = np.zeros_like(stage)
    replayed = np.zeros_like(stage)
    samples = columns["micro_batch"] / cp
    sequence = np.where(columns["sequence_parallel"] > 0, tp, 1.0)
    in_flight = activations_in_flight(columns, blocks_before_and_after=(repeats, int(np.argmax(repeats))))  # (S, R, G)
    unit = recipe.storage_byte * samples
    for block, (layer, one) in enumerate(zip(workload.layers, sums, strict=True)):
        kept = unit * (one.split_saved / tp + one.sequence_saved / sequence + one.whole_saved)
        scores = unit * one.scores / tp
        statistics = unit * one.statistics / tp
        core = statistics if stack.attention == "fused" else scores
        held = repeat[:, :, block]
        some = held > 0
        everything = kept + core
        may_replay = layer.kind == "block"
        dropped = (columns["recompute"] == _SELECTIVE) & (stack.attention == "unfused")
        each = np.where(dropped, kept, everything)
        if may_replay:
            full = columns["recompute"] == _FULL
            each = np.where(full, unit * one.input_elements / sequence, each)
            replayed = np.maximum(replayed, np.where(some & full[:, None], everything[:, None], 0.0))
            transient_byte = np.maximum(transient_byte, np.where(some & dropped[:, None], scores[:, None], 0.0))
        activation_byte += held * in_flight[:, :, block] * each[:, None]
        # The loss's logits as multiplied, and their gradient in the same format.
        logits = 2.0 * unit * one.logits / tp
        transient_byte = np.maximum(transient_byte, np.where(some, logits[:, None], 0.0))
    activation_byte += replayed

    purposes = (parameter_byte, gradient_byte, optimizer_byte, activation_byte, transient_byte)
    fullest = np.argmax(np.where(present, sum(purposes), -1.0), axis=1)
    rows = np.arange(len(pp))
    names = ("parameter_byte", "gradient_byte", "optimizer_byte", "activation_byte", "transient_byte")
    return MemoryColumns(
        **{name: purpose[rows, fullest] for name, purpose in zip(names, purposes, strict=True)},
        reserve_byte=np.full(len(pp), stack.framework_reserve_byte),
    )


@dataclass(frozen=True, kw_only=True)
class _LayerSums:
    """What one repeat of a layer holds for one sample, added up by how tensor parallelism divides it.

    ``*_saved``, ``scores`` and ``statistics`` are elements of two bytes in a 16-bit recipe; ``logits`` the elements
    that a vocabulary-split product writes; ``input_elements`` what enters the layer.
    """

    split_saved: float
    sequence_saved: float
    whole_saved: float
    scores: float
    statistics: float
    sharded: float
    replicated: float
    logits: float
    input_elements: float

    @classmethod
    def of(cls, layer: Layer) -> _LayerSums:
        ops = layer.ops
        return cls(
            split_saved=sum(op.saved_elements for op in ops if op.split in _SPLIT),
            sequence_saved=sum(op.saved_elements for op in ops if op.split in _SEQUENCE),
            whole_saved=sum(op.saved_elements for op in ops if op.split == "none"),
            scores=sum(op.score_elements for op in ops),
            statistics=sum(op.statistic_elements for op in ops),
            sharded=float(sum(op.parameters for op in ops if op.split in _SHARDED)),
            replicated=float(sum(op.parameters for op in ops if op.split not in _SHARDED)),
            logits=float(sum(op.m * op.n for op in ops if op.kind == "gemm" and op.split == "vocab")),
            input_elements=float(ops[0].read_elements),
        )


def activations_in_flight(columns: Mapping[str, Ints], *, blocks_before_and_after: tuple[Ints, int]) -> Floats:
    """Micro-batches whose activations a stage holds at once, by role and block; shape (S, R, G).

    For the blocks of a stage these are the schedules' own formulas (`simulator.schedules`) on stage 0, 1 and p - 1.
    Layers before the blocks belong to the first chunk, of which the interleaved schedule holds up to 2 p micro-batches;
    layers after them to the last, whose backward pass follows at once.
    """
    repeats, spread = blocks_before_and_after
    p, m, v = columns["pp"], columns["micro_batches"], columns["virtual_stages"]
    gpipe = (columns["schedule"] == SCHEDULES.index("gpipe"))[:, None]
    interleaved = (columns["schedule"] == SCHEDULES.index("interleaved"))[:, None]
    stage = np.stack([np.zeros_like(p), np.minimum(1, p - 1), p - 1], axis=1)
    left = p[:, None] - stage
    many, chunks = m[:, None], v[:, None]
    warm_up = 2 * (left - 1) + (chunks - 1) * p[:, None]
    blocks = np.where(interleaved, np.minimum(warm_up + 1, many * chunks) / chunks, np.minimum(left, many))
    blocks = np.where(gpipe, many, blocks)
    first = np.where(interleaved & (chunks > 1), np.minimum(2 * p[:, None], many), blocks)
    last = np.where(gpipe, many, np.ones_like(blocks))
    index = np.arange(len(repeats))[None, None, :]
    result = np.where(index < spread, first[:, :, None], np.where(index > spread, last[:, :, None], blocks[:, :, None]))
    assert result.shape[1] == ROLES
    return np.asarray(result, dtype=np.float64)
