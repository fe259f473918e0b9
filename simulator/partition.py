"""Workload x parallelism -> the kernels and messages of one rank, for many shapes of the work at once.

A *shape* is what changes a rank's kernels: micro-batch, tensor-parallel and context-parallel degree, sequence
parallelism. The backward pass is derived here from the forward description: every product has a gradient with
respect to its input and one with respect to its parameters, attention costs 2.5 forwards, element-wise kernels
read one tensor more than forward.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip
from workloads.op import Op
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .kernels.optable import ATTENTION, BACKWARD, CONV, FORWARD, LOSSES, MATRIX, REPLAY, VECTOR, Floats, Ints, OpTable
from .kernels import conv_algorithms as conv
from .kernels.attention import AttentionShapes, attention_time, pairs
from .kernels.conv import conv_time
from .kernels.device_constants import device_constants
from .kernels.gemm import GemmShapes
from .kernels.kernel_time import KernelTime
from .kernels.products import product_time
from .kernels.settings import Setting, Settings
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


@dataclass(frozen=True, kw_only=True)
class _Product:
    """A product whose work is still to be priced, and its place among the rows."""

    place: int
    rate: int
    batch: Floats
    m: Floats
    n: Floats
    k: Floats


@dataclass(frozen=True, kw_only=True)
class _Convolution:
    """A pass of a convolution whose work is still to be priced, and its place among the rows."""

    place: int
    op: Op
    direction: int


#: Precisions of products only: what is not a product of parameters (attention) stays in 16 bit.
_PRODUCTS_ONLY = ("fp8", "fp4", "int8")


def storage_word(chip: Chip, recipe: PrecisionRecipe) -> str:
    """Precision of products that stay out of 8 and 4 bit (attention)."""
    if recipe.matmul not in _PRODUCTS_ONLY:
        return recipe.matmul
    return "bf16" if "bf16" in chip.peak_flop_per_s else "fp16"


def product_losses(
    *, chip: Chip, recipe: PrecisionRecipe, library: str, rate: Ints, batch: Floats, m: Floats, n: Floats, k: Floats
) -> Floats:
    """What products cost a chip beyond their FLOPs, as `LOSSES`; shape (rows, len(LOSSES)) [FLOP].

    ``rate`` says which products run in the recipe's own precision (0) and which in that of storage (1).
    """
    lost = np.zeros((len(m), len(LOSSES)))
    shapes = GemmShapes(batch=batch, m=np.maximum(m, 1.0), n=np.maximum(n, 1.0), k=np.maximum(k, 1.0))
    for index, word in enumerate((recipe.matmul, storage_word(chip, recipe))):
        rows = rate == index
        if rows.any():
            setting = Setting(chip=chip, precision=word, library=library)
            lost[rows] = losses(product_time(shapes.take(rows), setting, device_constants()), setting)
    return lost


def losses(time: KernelTime, setting: Setting) -> Floats:
    """Device time of kernels beyond their nominal work at the peak, start apart, as `LOSSES`.

    Shape (rows, len(LOSSES)) [FLOP]; they and the nominal work add up to (device time - start) x peak.
    """
    return np.stack([time.parts.get(name, np.zeros(time.rows)) for name in LOSSES], axis=1) * setting.peak_flop_per_s


@dataclass
class _Rows:
    """Collects rows while one workload is lowered."""

    chip: Chip
    stack: Stack
    recipe: PrecisionRecipe
    shapes: Shapes
    frozen: bool = False
    columns: dict[str, list[Floats]] = field(
        default_factory=lambda: {n: [] for n in ("flop", "byte", "launches")}
    )
    labels: dict[str, list[int]] = field(default_factory=lambda: {n: [] for n in ("block", "phase", "kind", "rate")})
    lost: dict[int, Floats] = field(default_factory=dict)
    products: list[_Product] = field(default_factory=list)
    convolutions: list[_Convolution] = field(default_factory=list)

    def add(
        self, *, block: int, phase: int, kind: int, rate: int, flop: Floats | float, byte: Floats | float,
        launches: float,
    ) -> None:  # fmt: skip
        ones = np.ones(len(self.shapes))
        if kind == VECTOR:
            launches *= self.stack.vector_launch_share
        for name, value in (("flop", flop), ("byte", byte), ("launches", launches)):
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
        self.products.append(_Product(place=len(self.labels["block"]), rate=rate, batch=batch, m=m, n=n, k=k))
        if elements is None:
            operand_byte = self.recipe.matmul_byte if rate == 0 else self.recipe.storage_byte
            byte = batch * (operand_byte * (m * k + k * n) + self.recipe.storage_byte * m * n) + extra_byte
        else:
            byte = self.recipe.storage_byte * elements + extra_byte
        self.add(block=block, phase=phase, kind=kind, rate=rate, flop=flop, byte=byte, launches=1.0)

    def convolution(
        self, op: Op, *, block: int, phase: int, direction: int, flop: Floats, byte: Floats
    ) -> None:  # fmt: skip
        """One pass of a convolution; groups and chips without a model of convolutions run it as products."""
        if self.chip.kind == "gpu" and op.batch == 1:
            self.convolutions.append(_Convolution(place=len(self.labels["block"]), op=op, direction=direction))
            self.add(block=block, phase=phase, kind=CONV, rate=0, flop=flop, byte=byte, launches=1.0)
            return
        b, in_pixels = self.shapes.micro_batch, op.in_hw[0] * op.in_hw[1]
        m, n, k = {
            conv.FORWARD: (b * op.m, op.n, op.k),
            conv.BACKWARD_DATA: (b * in_pixels, op.c_in / op.batch, op.m * op.n * op.k / (in_pixels * op.c_in / op.batch)),
            conv.BACKWARD_WEIGHTS: (op.n * np.ones_like(b), op.k, b * op.m),
        }[direction]
        self.product(
            block=block, phase=phase, kind=CONV, rate=0, batch=op.batch, m=m, n=n, k=k,
            elements=byte / self.recipe.storage_byte,
        )  # fmt: skip

    def _price_convolutions(self) -> None:
        """Fill in the work of all convolutions with one call."""
        if not self.convolutions:
            return
        count = len(self.shapes)

        def column(values: list[float]) -> Floats:
            return np.repeat(np.array(values, dtype=float), count)

        ops = [c.op for c in self.convolutions]
        shapes = conv.ConvShapes(
            batch=np.tile(self.shapes.micro_batch, len(ops)), channels=column([o.c_in for o in ops]),
            height=column([o.in_hw[0] for o in ops]), width=column([o.in_hw[1] for o in ops]),
            filters=column([o.c_out for o in ops]), filter_h=column([o.kernel[0] for o in ops]),
            filter_w=column([o.kernel[1] for o in ops]), pad_h=column([o.padding[0] for o in ops]),
            pad_w=column([o.padding[1] for o in ops]), stride_h=column([o.stride[0] for o in ops]),
            stride_w=column([o.stride[1] for o in ops]),
            direction=np.repeat(np.array([c.direction for c in self.convolutions], dtype=np.int64), count),
        )  # fmt: skip
        setting = Setting(chip=self.chip, precision=self.recipe.matmul, library=self.stack.kernel_library)
        settings = Settings(distinct=(setting,), row=np.zeros(shapes.rows, np.int64))
        time = conv_time(shapes, settings, device_constants()["conv"].rows(settings))
        for entry, part in zip(self.convolutions, np.split(losses(time, setting), len(ops)), strict=True):
            self.lost[entry.place] = part

    def attention(self, op: Op, *, heads: Floats, block: int, phase: int, byte: Floats) -> None:
        """One direction of fused attention; a context-parallel rank has its share of the queries."""
        keys, ones = float(op.context), np.ones(len(self.shapes))
        shapes = AttentionShapes(
            batch=ones, heads=heads, head_dim=ones * op.head_dim, seq=ones * keys, causal=ones * float(op.causal),
            forward=ones * float(phase != BACKWARD), backward=ones * float(phase == BACKWARD),
        )  # fmt: skip
        share = op.seq_len / self.shapes.cp / keys
        factor = ATTENTION_BACKWARD if phase == BACKWARD else 1.0
        flop = 4.0 * factor * op.head_dim * pairs(shapes) * share
        if self.chip.kind == "gpu":
            word = storage_word(self.chip, self.recipe)
            setting = Setting(chip=self.chip, precision=word, library=self.stack.attention_library)
            settings = Settings(distinct=(setting,), row=np.zeros(len(self.shapes), np.int64))
            time = attention_time(shapes, settings, device_constants()["attention"].rows(settings))
            self.lost[len(self.labels["block"])] = losses(time, setting) * share[:, None]
        self.add(block=block, phase=phase, kind=ATTENTION, rate=1, flop=flop, byte=byte, launches=1.0)

    def _price_products(self) -> None:
        """Fill in the work of all products with one call."""
        if not self.products:
            return
        m, n, k, batch = (np.concatenate([getattr(p, name) for p in self.products]) for name in ("m", "n", "k", "batch"))
        rate = np.repeat(np.array([p.rate for p in self.products]), len(self.shapes))
        lost = product_losses(chip=self.chip, recipe=self.recipe, library=self.stack.kernel_library, rate=rate, batch=batch, m=m, n=n, k=k)
        for product, part in zip(self.products, np.split(lost, len(self.products)), strict=True):
            self.lost[product.place] = part

    def table(self) -> OpTable:
        self._price_products()
        self._price_convolutions()
        shapes = len(self.shapes)
        rows = len(self.labels["block"])
        label = {name: np.repeat(np.array(values, dtype=np.int64), shapes) for name, values in self.labels.items()}
        column = {name: np.concatenate(values) if values else np.zeros(0) for name, values in self.columns.items()}
        none = np.zeros((shapes, len(LOSSES)))
        lost = np.concatenate([self.lost.get(row, none) for row in range(rows)]) if rows else none
        return OpTable(
            shape=np.tile(np.arange(shapes, dtype=np.int64), rows), block=label["block"], phase=label["phase"],
            kind=label["kind"], rate=label["rate"], flop=column["flop"], work=column["flop"] + np.sum(lost, axis=1), lost=lost, byte=column["byte"],
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
    cast_byte = rows.recipe.cast_byte
    if cast_byte:
        # Inputs are cast by the op before them, gradients by kernels of their own; parameters once per update.
        for phase, elements, launches in ((FORWARD, m * k, 0.0), (BACKWARD, m * n, 1.0)):
            rows.add(
                block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0,
                byte=cast_byte * elements * op.batch, launches=launches,
            )  # fmt: skip


def _conv(rows: _Rows, block: int, op: Op) -> None:
    b = rows.shapes.micro_batch
    in_pixels = op.in_hw[0] * op.in_hw[1]
    # Windows overlap: each pass reads and writes the images and the parameters once, not once per tap.
    elements = b * (in_pixels * op.c_in + op.m * op.c_out) + float(op.k) * op.n * op.batch
    flop = 2.0 * b * op.m * op.n * op.k * op.batch
    for phase, direction in ((FORWARD, conv.FORWARD), (BACKWARD, conv.BACKWARD_DATA), (BACKWARD, conv.BACKWARD_WEIGHTS)):
        if direction != conv.BACKWARD_DATA or op.input_needs_gradient:
            rows.convolution(
                op, block=block, phase=phase, direction=direction, flop=flop,
                byte=rows.recipe.storage_byte * elements,
            )  # fmt: skip


def _attention(rows: _Rows, block: int, op: Op) -> None:
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


def _vector(rows: _Rows, block: int, op: Op) -> None:
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
