"""Workload x parallelism -> the kernels and messages of one rank, for many shapes of the work at once.

A *shape* is what changes a rank's kernels: micro-batch, tensor-parallel and context-parallel degree, sequence
parallelism. The backward pass is derived here from the forward description: every product has a gradient with
respect to its input and one with respect to its parameters, attention costs 2.5 forwards, element-wise kernels
read one tensor more than forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip
from workloads.op import Op
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .kernels.optable import ATTENTION, BACKWARD, CONV, FORWARD, MATRIX, REPLAY, VECTOR, WINOGRAD, Floats, Ints, OpTable
from .kernels.tiles import alignment_rate, systolic_flop, tiled_flop
from .stack import Stack

#: Backward work of fused attention against its forward work (five products against two), FlashAttention,
#: arXiv:2205.14135.
ATTENTION_BACKWARD = 2.5

#: Passes over the score matrix that an unfused attention makes besides its two products: scale and mask, softmax,
#: dropout, each reading and writing; backward likewise.
UNFUSED_SCORE_PASSES_FORWARD = 6.0
UNFUSED_SCORE_PASSES_BACKWARD = 8.0


#: Splits of which every tensor-parallel rank holds a share; the others are replicated (or split by sequence).
TENSOR_SPLITS = ("column", "row", "vocab", "heads", "inner")


@dataclass(frozen=True, kw_only=True)
class Shapes:
    """Distinct shapes of the work; every field has shape (shapes,)."""

    micro_batch: Floats
    tp: Floats
    cp: Floats
    sequence_parallel: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.micro_batch)


@dataclass
class _Rows:
    """Collects rows while one workload is lowered."""

    chip: Chip
    stack: Stack
    recipe: PrecisionRecipe
    shapes: Shapes
    frozen: bool = False
    columns: dict[str, list[Floats]] = field(
        default_factory=lambda: {n: [] for n in ("flop", "work", "byte", "launches")}
    )
    labels: dict[str, list[int]] = field(default_factory=lambda: {n: [] for n in ("block", "phase", "kind", "rate")})

    def add(
        self, *, block: int, phase: int, kind: int, rate: int, flop: Floats | float, work: Floats | float,
        byte: Floats | float, launches: float,
    ) -> None:  # fmt: skip
        ones = np.ones(len(self.shapes))
        if kind == VECTOR:
            launches *= self.stack.vector_launch_share
        for name, value in (("flop", flop), ("work", work), ("byte", byte), ("launches", launches)):
            self.columns[name].append(ones * value)
        for name, label in (("block", block), ("phase", phase), ("kind", kind), ("rate", rate)):
            self.labels[name].append(label)

    def product(
        self, *, block: int, phase: int, kind: int, rate: int, batch: Floats | float, m: Floats | float,
        n: Floats | float, k: Floats | float, extra_byte: Floats | float = 0.0, elements: Floats | None = None,
        useful: Floats | float = 1.0,
    ) -> None:  # fmt: skip
        """One matrix product: its waste on this chip, its operands' traffic (``elements`` where operands overlap).

        ``useful`` is the share of the product that is nominal work, the rest being padding.
        """
        ones = np.ones(len(self.shapes))
        batch, m, n, k = ones * batch, ones * m, ones * n, ones * k
        flop = 2.0 * batch * m * n * k * useful
        if self.chip.matrix_tile is not None and self.chip.kind == "systolic":
            work = systolic_flop(batch=batch, m=m, n=n, k=k, side=float(self.chip.matrix_tile[0]))
        else:
            matrix_unit = self.recipe.matmul != "fp32" and self.chip.has_matrix_units
            work = tiled_flop(batch=batch, m=m, n=n, k=k, cores=ones * self.chip.cores, matrix_unit=matrix_unit)
            if matrix_unit and kind == MATRIX:
                work = work / alignment_rate(n, k)
        moved = batch * (m * k + k * n + m * n) if elements is None else elements
        byte = self.recipe.storage_byte * moved + extra_byte
        self.add(block=block, phase=phase, kind=kind, rate=rate, flop=flop, work=work, byte=byte, launches=1.0)

    def table(self) -> OpTable:
        shapes = len(self.shapes)
        rows = len(self.labels["block"])
        label = {name: np.repeat(np.array(values, dtype=np.int64), shapes) for name, values in self.labels.items()}
        column = {name: np.concatenate(values) if values else np.zeros(0) for name, values in self.columns.items()}
        return OpTable(
            shape=np.tile(np.arange(shapes, dtype=np.int64), rows), block=label["block"], phase=label["phase"],
            kind=label["kind"], rate=label["rate"], flop=column["flop"], work=column["work"], byte=column["byte"],
            launches=column["launches"],
        )  # fmt: skip


def lower_ops(
    workload: Workload, *, chip: Chip, stack: Stack, recipe: PrecisionRecipe, shapes: Shapes, frozen: bool = False
) -> OpTable:
    """All kernels of one micro-batch on one rank: forward, backward and what selective recomputation replays.

    Block g of the table is ``workload.layers[g]`` (ONE repeat of it). With ``frozen`` no parameter
    gradient is computed. Leaves out: the optimizer, collectives.
    """
    rows = _Rows(chip=chip, stack=stack, recipe=recipe, shapes=shapes, frozen=frozen)
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


def _gemm(rows: _Rows, block: int, op: Op) -> None:
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


def _conv(rows: _Rows, block: int, op: Op) -> None:
    b = rows.shapes.micro_batch
    in_pixels = op.in_hw[0] * op.in_hw[1]
    # Matrix units read channels in eights; an image's three channels are padded.
    matrix_unit = rows.recipe.matmul != "fp32" and rows.chip.has_matrix_units
    lane = 8 if matrix_unit else 1
    padded_k = float(op.k) * np.ceil(op.c_in / op.batch / lane) * lane / (op.c_in / op.batch)
    winograd = (
        rows.stack.winograd
        and not matrix_unit
        and rows.chip.kind == "gpu"
        and tuple(op.kernel) == (3, 3)
        and tuple(op.stride) == (1, 1)
        and op.batch == 1
        and op.c_in >= 16
    )
    kind = WINOGRAD if winograd else CONV
    # Windows overlap: each pass reads and writes the images and the parameters once, not once per tap.
    elements = b * (in_pixels * op.c_in + op.m * op.c_out) + float(op.k) * op.n * op.batch
    product = partial(rows.product, block=block, kind=kind, rate=0, batch=op.batch, elements=elements)
    useful = float(op.k) / padded_k
    product(phase=FORWARD, m=b * op.m, n=op.n, k=padded_k, useful=useful)
    if op.input_needs_gradient:
        depth = op.m * op.n * op.k / (in_pixels * op.c_in / op.batch)
        product(phase=BACKWARD, m=b * in_pixels, n=op.c_in / op.batch, k=depth)
    product(phase=BACKWARD, m=op.n, n=padded_k, k=b * op.m, useful=useful)


def _attention(rows: _Rows, block: int, op: Op) -> None:
    s = rows.shapes
    heads = s.micro_batch * op.heads / s.tp
    queries, keys = op.seq_len / s.cp, float(op.context)
    element = rows.recipe.storage_byte
    if rows.stack.attention == "fused":
        # A fused causal kernel skips the masked half; the diagonal tiles are paid in full.
        half = 0.5 + 64.0 / keys if op.causal else 1.0
        flop = 4.0 * heads * queries * keys * op.head_dim * min(half, 1.0)
        byte = element * s.micro_batch / s.tp * op.head_dim * (2.0 * op.heads * queries + 2.0 * op.kv_heads * keys)
        launches = 1.0
        for phase, factor in ((FORWARD, 1.0), (BACKWARD, ATTENTION_BACKWARD)):
            rows.add(
                block=block, phase=phase, kind=ATTENTION, rate=1, flop=flop * factor, work=flop * factor,
                byte=byte * factor, launches=launches,
            )  # fmt: skip
        return
    scores = heads * queries * keys * element
    for phase in (FORWARD, REPLAY):
        rows.product(block=block, phase=phase, kind=MATRIX, rate=1, batch=heads, m=queries, n=keys, k=op.head_dim)
        rows.product(block=block, phase=phase, kind=MATRIX, rate=1, batch=heads, m=queries, n=op.head_dim, k=keys)
        rows.add(
            block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0, work=0.0,
            byte=scores * UNFUSED_SCORE_PASSES_FORWARD, launches=3.0,
        )  # fmt: skip
    for m, n, k in (
        (queries, op.head_dim, keys), (keys, op.head_dim, queries), (queries, keys, op.head_dim),
        (keys, op.head_dim, queries),
    ):  # fmt: skip
        rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=1, batch=heads, m=m, n=n, k=k)
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0, work=0.0,
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


def _vector(rows: _Rows, block: int, op: Op) -> None:
    element = 4.0 if rows.stack.vector_fp32 else rows.recipe.storage_byte
    share = vector_share(op, rows.shapes) * rows.shapes.micro_batch * element
    rows.add(
        block=block, phase=FORWARD, kind=VECTOR, rate=1, flop=0.0, work=0.0,
        byte=share * (op.read_elements + op.write_elements), launches=float(op.launches),
    )  # fmt: skip
    parameter_byte = 2.0 * rows.recipe.gradient_byte * op.parameters / rows.shapes.tp if op.kind == "embedding" else 0.0
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0, work=0.0,
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
