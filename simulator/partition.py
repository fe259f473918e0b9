"""Workload x parallelism -> the kernels and messages of one rank, for many shapes of the work at once.

A *shape* is what changes a rank's kernels: micro-batch, tensor-parallel and context-parallel degree, sequence
parallelism. The backward pass is derived here from the forward description: every product has a gradient with
respect to its input and one with respect to its parameters, attention costs 2.5 forwards, element-wise kernels
read one tensor more than forward.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwmodels.chip import Chip
from workloads.op import Op
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .kernels import conv_algorithms as conv
from .kernels.optable import BACKWARD, FORWARD, MATRIX, REPLAY, VECTOR, Floats, Ints, OpTable
from .priced_rows import ATTENTION_BACKWARD, Rows, Shapes
from .stack import Stack

#: Passes over the score matrix that an unfused attention makes besides its two products: scale and mask, softmax,
#: dropout, each reading and writing; backward likewise.
UNFUSED_SCORE_PASSES_FORWARD = 6.0
UNFUSED_SCORE_PASSES_BACKWARD = 8.0


#: Splits of which every tensor-parallel rank holds a share; the others are replicated (or split by sequence).
TENSOR_SPLITS = ("column", "row", "vocab", "heads", "inner")


def lower_ops(
    workload: Workload, *, chip: Chip, stack: Stack, recipe: PrecisionRecipe, shapes: Shapes, frozen: bool = False
) -> OpTable:
    """All kernels of one micro-batch on one rank: forward, backward and what selective recomputation replays.

    Block g of the table is ``workload.layers[g]`` (ONE repeat of it). With ``frozen`` no parameter
    gradient is computed. Leaves out: the optimizer, collectives.
    """
    rows = Rows(chip=chip, stack=stack, recipe=recipe, shapes=shapes, frozen=frozen)
    for block, layer in enumerate(workload.layers):
        for op in layer.ops:
            if op.kind == "gemm":
                _gemm(rows, block, op)
            elif op.kind == "conv":
                _conv(rows, block, op)
            elif op.kind == "attention":
                _attention(rows, block, op)
            else:
                _vector(rows, block, op)
    return rows.table()


def _gemm(rows: Rows, block: int, op: Op) -> None:
    s = rows.shapes
    m = s.micro_batch * op.m / s.cp
    n = op.n / (s.tp if op.split in ("column", "vocab") else 1.0)
    k = op.k / (s.tp if op.split == "row" else 1.0)
    gradient_byte = 2.0 * rows.recipe.gradient_byte * k * n * op.batch if op.parameters else 0.0
    rows.product(block=block, phase=FORWARD, kind=MATRIX, rate=0, batch=op.batch, m=m, n=n, k=k)
    rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=0, batch=op.batch, m=m, n=k, k=n)
    if op.trainable and not rows.frozen:
        rows.product(
            block=block, phase=BACKWARD, kind=MATRIX, rate=0, batch=op.batch, m=k, n=n, k=m, extra_byte=gradient_byte
        )
    cast_byte = rows.recipe.cast_byte
    if cast_byte:
        # Inputs are cast by the op before them, gradients by kernels of their own; parameters once per update.
        for phase, elements, launches in ((FORWARD, m * k, 0.0), (BACKWARD, m * n, 1.0)):
            rows.add(
                block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0,
                byte=cast_byte * elements * op.batch, launches=launches,
            )  # fmt: skip


def _conv(rows: Rows, block: int, op: Op) -> None:
    # Windows overlap: each pass reads and writes the images and the parameters once, not once per tap.
    pixels = op.in_hw[0] * op.in_hw[1]
    elements = rows.shapes.micro_batch * (pixels * op.c_in + op.m * op.c_out) + float(op.k) * op.n * op.batch
    byte = rows.recipe.storage_byte * elements
    rows.convolution(op, block=block, phase=FORWARD, direction=conv.FORWARD, byte=byte)
    if op.input_needs_gradient:
        rows.convolution(op, block=block, phase=BACKWARD, direction=conv.BACKWARD_DATA, byte=byte)
    rows.convolution(op, block=block, phase=BACKWARD, direction=conv.BACKWARD_WEIGHTS, byte=byte)


def _attention(rows: Rows, block: int, op: Op) -> None:
    s = rows.shapes
    heads = s.micro_batch * op.heads / s.tp
    queries, keys = op.seq_len / s.cp, float(op.context)
    element = rows.recipe.storage_byte
    if rows.stack.attention == "fused":
        byte = element * s.micro_batch / s.tp * op.head_dim * (2.0 * op.heads * queries + 2.0 * op.kv_heads * keys)
        for phase, factor in ((FORWARD, 1.0), (BACKWARD, ATTENTION_BACKWARD)):
            rows.attention(op, heads=heads, block=block, phase=phase, byte=byte * factor)
        return
    scores = heads * queries * keys * element
    for phase in (FORWARD, REPLAY):
        rows.product(block=block, phase=phase, kind=MATRIX, rate=1, batch=heads, m=queries, n=keys, k=op.head_dim)
        rows.product(block=block, phase=phase, kind=MATRIX, rate=1, batch=heads, m=queries, n=op.head_dim, k=keys)
        rows.add(
            block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0,
            byte=scores * UNFUSED_SCORE_PASSES_FORWARD, launches=3.0,
        )  # fmt: skip
    for m, n, k in (
        (queries, op.head_dim, keys), (keys, op.head_dim, queries), (queries, keys, op.head_dim),
        (keys, op.head_dim, queries),
    ):  # fmt: skip
        rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=1, batch=heads, m=m, n=n, k=k)
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0,
        byte=scores * UNFUSED_SCORE_PASSES_BACKWARD, launches=3.0,
    )  # fmt: skip


def vector_share(op: Op, shapes: Shapes) -> Floats:
    """Share of an element-wise op's elements that one rank holds; shape (shapes,)."""
    if op.split in TENSOR_SPLITS:
        tensor = 1.0 / shapes.tp
    elif op.split == "sequence":
        tensor = np.where(shapes.sequence_parallel, 1.0 / shapes.tp, 1.0)
    else:
        tensor = np.ones(len(shapes))
    return np.asarray(tensor / shapes.cp)


def _vector(rows: Rows, block: int, op: Op) -> None:
    element = 4.0 if rows.stack.vector_fp32 else rows.recipe.storage_byte
    share = vector_share(op, rows.shapes) * rows.shapes.micro_batch * element
    rows.add(
        block=block, phase=FORWARD, kind=VECTOR, rate=1, flop=0.0,
        byte=share * (op.read_elements + op.write_elements), launches=float(op.launches),
    )  # fmt: skip
    parameter_byte = 2.0 * rows.recipe.gradient_byte * op.parameters / rows.shapes.tp if op.kind == "embedding" else 0.0
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0,
        byte=share * (op.read_elements + 2.0 * op.write_elements) + parameter_byte, launches=float(op.launches),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class BlockMessages:
    """What the blocks of a workload exchange and hold, per shape; arrays have shape (shapes, blocks).

    ``forward_calls`` counts the tensor-parallel all-reduces of a block's forward pass and ``forward_byte`` their
    size each [B] (the mean where they differ); ``backward_*`` likewise. ``parameters`` is what one rank holds of a
    block, ``shared_parameters`` what of it an earlier block holds too (a tied table, on one stage).
    ``boundary_byte`` has shape (shapes,): activations at a stage boundary [B].
    """

    forward_calls: Ints
    forward_byte: Floats
    backward_calls: Ints
    backward_byte: Floats
    parameters: Floats
    shared_parameters: Floats
    boundary_byte: Floats
    context_byte: Floats


def lower_messages(workload: Workload, *, recipe: PrecisionRecipe, shapes: Shapes) -> BlockMessages:
    """Messages of one micro-batch: tensor-parallel all-reduces per block, activations at stage boundaries.

    A product split by rows leaves partial sums (one all-reduce forward); its column-split partner needs its input's
    gradient summed (one all-reduce backward). A vocabulary-split embedding sums forward, a vocabulary-split head
    backward. Context parallelism exchanges every block's keys and values.
    """
    count, blocks = len(shapes), len(workload.layers)
    tokens = shapes.micro_batch * workload.tokens_per_sample / shapes.cp
    zero = np.zeros((count, blocks))
    forward_calls, backward_calls = np.zeros((count, blocks), np.int64), np.zeros((count, blocks), np.int64)
    forward_byte, backward_byte, parameters, context_byte = zero.copy(), zero.copy(), zero.copy(), zero.copy()
    split = shapes.tp > 1
    for block, layer in enumerate(workload.layers):
        forward = backward = 0
        width_forward = width_backward = 0.0
        for op in layer.ops:
            sharded = op.split in TENSOR_SPLITS
            parameters[:, block] += op.parameters / (shapes.tp if sharded else 1.0)
            if op.kind == "gemm" and op.split == "row":
                forward, width_forward = forward + 1, width_forward + op.n
                backward, width_backward = backward + 1, width_backward + op.n
            elif op.kind == "gemm" and op.split == "vocab":
                backward, width_backward = backward + 1, width_backward + op.k
            elif op.kind == "embedding" and op.split == "vocab":
                forward, width_forward = forward + 1, width_forward + op.write_elements / workload.tokens_per_sample
            elif op.kind == "attention":
                context_byte[:, block] += (
                    2.0 * recipe.storage_byte * shapes.micro_batch * op.context * op.kv_heads * op.head_dim / shapes.tp
                )
        forward_calls[:, block], backward_calls[:, block] = forward * split, backward * split
        forward_byte[:, block] = recipe.storage_byte * tokens * (width_forward / forward if forward else 0.0)
        backward_byte[:, block] = recipe.storage_byte * tokens * (width_backward / backward if backward else 0.0)
    shared = zero.copy()
    # A tied head multiplies by the embedding's table: one tensor where both stand on one stage.
    shared[:, -1] = workload.tied_parameters / shapes.tp
    hidden = float(workload.hyper.get("hidden", 0) or 0)
    boundary = recipe.storage_byte * tokens * hidden / np.where(shapes.sequence_parallel, shapes.tp, 1.0)
    return BlockMessages(
        forward_calls=forward_calls, forward_byte=forward_byte, backward_calls=backward_calls,
        backward_byte=backward_byte, parameters=parameters, shared_parameters=shared,
        boundary_byte=np.asarray(boundary),
        context_byte=np.where((shapes.cp > 1)[:, None], context_byte, 0.0),
    )  # fmt: skip
