"""Workload x parallelism -> the kernels and messages of one rank, for many shapes of the work at once.

A *shape* is what changes a rank's kernels: micro-batch, tensor-parallel and context-parallel degree, sequence
parallelism. The backward pass is derived here from the forward description: every product has a gradient with
respect to its input and one with respect to its parameters, attention costs 2.5 forwards, element-wise kernels
read one tensor more than forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwmodels.chip import Chip
from workloads.op import CELLS, KEPT_BY_SEQUENCE, KEPT_DIVIDED, TENSOR_SPLITS, Op
from workloads.optimizer import Optimizer
from workloads.precision import PrecisionRecipe
from workloads.workload import Workload

from .activation_rows import add_activation_product, fused_activations, is_scan
from .kernels import conv_algorithms as conv
from .kernels.optable import BACKWARD, FORWARD, MATRIX, REPLAY, UNREAD, VECTOR, WEIGHTS, Floats, Ints, OpTable
from .priced_rows import ATTENTION_BACKWARD, Rows, Shapes
from .recurrent_rows import add_recurrent
from .stack import Stack

#: Passes over the score matrix that an unfused attention makes besides its two products: scale and mask, softmax,
#: dropout, each reading and writing; backward likewise.
UNFUSED_SCORE_PASSES_FORWARD = 6.0
UNFUSED_SCORE_PASSES_BACKWARD = 8.0
#: Bytes from memory that a byte is worth which overlapping windows read again: it comes from the cache that cores
#: share, about three times as fast (half of 64 B a clock and core on P100, V100 and A100). Plausible: 0.1 to 1.
CACHED_READ = 1.0 / 3.0


#: Kinds of layers that ranks may cut among them in hybrid data and model parallelism.
DENSE_LAYERS = ("dense", "head")


def lower_ops(
    workload: Workload, *, chip: Chip, stack: Stack, recipe: PrecisionRecipe, shapes: Shapes, frozen: bool = False
) -> OpTable:
    """All kernels of one micro-batch on one rank: forward, backward and what selective recomputation replays.

    Block g of the table is ``workload.layers[g]`` (ONE repeat of it). With ``frozen`` no parameter
    gradient is computed. Leaves out: the optimizer, collectives.
    """
    rows = Rows(chip=chip, stack=stack, recipe=recipe, shapes=shapes, frozen=frozen)
    for block, layer in enumerate(workload.layers):
        fused = fused_activations(layer.ops) if stack.fuses_experts else ()
        unread = _unread_product(layer.ops) if stack.replay_stops_early else -1
        for place, op in enumerate(layer.ops):
            if op.kind == "gemm" and op.batch > 1 and not op.parameters:
                add_activation_product(rows, block, op)
            elif op.kind == "gemm":
                beside = (place + 1 in fused, place - 1 in fused)
                _gemm(rows, block, op, dense=layer.kind in DENSE_LAYERS, fused=beside, unread=place == unread)
            elif op.exchanged_elements and op.kind == "vector":
                _permutation(rows, block, op)
            elif place in fused:
                continue
            elif op.kind == "conv":
                _conv(rows, block, op)
            elif op.kind == "attention":
                _attention(rows, block, op)
            elif op.kind == "recurrent":
                add_recurrent(rows, block, op)
            else:
                _vector(rows, block, op)
    return rows.table()


def _unread_product(ops: Sequence[Op]) -> int:
    """Place of the product that ends a block and whose result no backward pass reads, -1 where there is none.

    Its backward pass needs its input and its parameters, the sum that follows it needs nothing. Experts' results are
    read by the gradient of the weights that they are summed with.
    """
    reading = (i for i, op in enumerate(ops) if op.kind != "vector" or op.saved_elements >= op.write_elements)
    last = max(reading, default=-1)
    return last if last >= 0 and ops[last].kind == "gemm" and ops[last].parameters and not ops[last].experts else -1


def accumulation_byte(stack: Stack, recipe: PrecisionRecipe) -> float:
    """Bytes that adding one micro-batch's gradient to the stored one moves, per parameter [B].

    The stored gradient is read and written. Where a pass writes one of its own first, that is written and read too
    (autograd's gradient in 16 bit, added to an fp32 buffer by a kernel of its own).
    """
    mixed = recipe.storage_byte < 4.0
    stored = stack.gradient_byte if mixed and stack.gradient_byte else recipe.gradient_byte
    return 2.0 * (stored + (stack.pass_gradient_byte if mixed else 0.0))


def _runs_forward_only(op: Op) -> bool:
    """Whether nothing in or before an op learns, so that it has no backward pass."""
    return not (op.trainable or op.input_needs_gradient)


def _permutation(rows: Rows, block: int, op: Op) -> None:
    """Rows put in the order of their experts, or back: both directions move the same bytes, nothing else is read."""
    share = vector_share(op, rows.shapes) * rows.shapes.micro_batch * rows.recipe.storage_byte
    byte = share * (op.read_elements + op.write_elements)
    for phase in (FORWARD,) if _runs_forward_only(op) else (FORWARD, BACKWARD):
        rows.add(block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0, byte=byte, launches=float(op.launches))


def _gemm(
    rows: Rows, block: int, op: Op, *, dense: bool, fused: tuple[bool, bool] = (False, False), unread: bool = False
) -> None:
    """A product with its gradients; ``fused``: whether the op after it, and the one before it, run inside it.

    ``unread``: replays of the block leave it out.
    """
    s = rows.shapes
    hybrid = s.hybrid if dense else 1.0
    if op.experts:
        # Rows are spread evenly over the experts, and so over the ranks that hold them: as many arrive as leave.
        routed = s.micro_batch * op.m / s.cp * s.etp / s.tp
        batch = np.maximum(1.0, np.minimum(op.experts / s.ep, routed))
        m, tensor = routed / batch, s.etp
    else:
        # What has fewer positions than ranks share them is done by all.
        positions = np.maximum(op.m / s.cp, 1.0)
        batch, m, tensor = np.full(len(s), float(op.batch)), s.micro_batch * hybrid * positions, s.tp
        if op.split == "heads":
            batch = batch / s.tp
    n = op.n / (tensor if op.split in ("column", "vocab") else 1.0) / hybrid
    k = op.k / (tensor if op.split == "row" else 1.0)
    gradient_byte = accumulation_byte(rows.stack, rows.recipe) * k * n * batch if op.parameters else 0.0
    # Experts' products are one grouped kernel, or a kernel each on a few streams; scales of blocks are put in the order
    # that the matrix units read, a kernel for either operand.
    apart = bool(op.experts) and rows.stack.expert_launches
    blocked = rows.recipe.scaling == "block"
    issued = batch * (3.0 if blocked else 1.0) if apart else 1.0
    for phase in (FORWARD, UNREAD) if unread else (FORWARD,):
        rows.product(block=block, phase=phase, kind=MATRIX, rate=0, batch=batch, m=m, n=n, k=k, issued=issued)
    if _runs_forward_only(op):
        return
    if op.input_needs_gradient:
        rows.product(block=block, phase=BACKWARD, kind=MATRIX, rate=0, batch=batch, m=m, n=k, k=n, issued=issued)
    if not op.parameters or (op.trainable and not rows.frozen):
        # Of a product of two activations this is the gradient of the other one, which waits for nobody.
        phase = WEIGHTS if op.parameters else BACKWARD
        rows.product(
            block=block, phase=phase, kind=MATRIX, rate=0, batch=batch, m=k, n=n, k=m, extra_byte=gradient_byte,
            issued=issued,
        )  # fmt: skip
    cast_byte = rows.recipe.cast_byte
    if cast_byte:
        # Inputs are cast by the op before them, gradients by kernels of their own; parameters once per update. Rows
        # with scales of blocks are cast expert by expert.
        casts = batch if apart and blocked else 1.0
        for phase, elements, launches, inside in ((FORWARD, m * k, 0.0, fused[1]), (BACKWARD, m * n, 1.0, fused[0])):
            if not inside:
                rows.add(
                    block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0, byte=cast_byte * elements * batch,
                    launches=launches, issued=casts if apart else None,
                )  # fmt: skip


def _conv(rows: Rows, block: int, op: Op) -> None:
    # Windows overlap: each pass reads and writes the images and the parameters once, not once per tap.
    pixels = op.in_hw[0] * op.in_hw[1] * op.depth[3]
    images = rows.shapes.micro_batch / rows.shapes.cp
    elements = images * (pixels * op.c_in + op.m * op.c_out) + float(op.k) * op.n * op.batch
    byte = rows.recipe.storage_byte * elements
    # A transposed convolution is the data gradient of the one it is laid out as, and that is its own.
    forward, backward = (conv.BACKWARD_DATA, conv.FORWARD) if op.transposed else (conv.FORWARD, conv.BACKWARD_DATA)
    rows.convolution(op, block=block, phase=FORWARD, direction=forward, byte=byte)
    if op.input_needs_gradient:
        rows.convolution(op, block=block, phase=BACKWARD, direction=backward, byte=byte)
    if op.trainable and not rows.frozen:
        rows.convolution(op, block=block, phase=WEIGHTS, direction=conv.BACKWARD_WEIGHTS, byte=byte)


def _attention(rows: Rows, block: int, op: Op) -> None:
    s = rows.shapes
    heads = s.micro_batch * op.heads / s.tp
    queries, keys = op.seq_len / s.cp, float(op.context)
    element = rows.recipe.storage_byte
    if rows.stack.attention == "fused":
        width = op.head_dim + op.value_width
        byte = element * s.micro_batch / s.tp * width * (op.heads * queries + op.kv_heads * keys)
        for phase, factor in ((FORWARD, 1.0), (BACKWARD, ATTENTION_BACKWARD)):
            rows.attention(op, heads=heads, block=block, phase=phase, byte=byte * factor)
        return
    scores = heads * queries * keys * element
    # Heads stand side by side in one tensor, so that a width decides where their rows start.
    narrow, values = rows.misses_matrix_units(op.head_dim), rows.misses_matrix_units(op.value_width)
    forward = ((keys, float(op.head_dim), narrow), (float(op.value_width), keys, values))
    for phase in (FORWARD, REPLAY):
        for across, depth, off in forward:
            rows.product(
                block=block, phase=phase, kind=MATRIX, rate=1, batch=heads, m=queries, n=across, k=depth, off_matrix=off
            )  # fmt: skip
        rows.add(
            block=block, phase=phase, kind=VECTOR, rate=1, flop=0.0,
            byte=scores * UNFUSED_SCORE_PASSES_FORWARD, launches=3.0,
        )  # fmt: skip
    backward: tuple[tuple[Floats | float, Floats | float, Floats | float, bool], ...] = (
        (queries, op.head_dim, keys, narrow), (keys, op.head_dim, queries, narrow),
        (queries, keys, op.value_width, values), (keys, op.value_width, queries, values),
    )  # fmt: skip
    for m, n, k, off in backward:
        rows.product(
            block=block, phase=BACKWARD, kind=MATRIX, rate=1, batch=heads, m=m, n=n, k=k, off_matrix=off
        )  # fmt: skip
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0,
        byte=scores * UNFUSED_SCORE_PASSES_BACKWARD, launches=3.0,
    )  # fmt: skip


def update_flop(workload: Workload, optimizer: Optimizer, shapes: Shapes) -> Floats:
    """Work of one update on one rank beyond its elements, for ONE repeat of every layer; (shapes, blocks) [FLOP].

    Every rank updates the part of a matrix that tensor parallelism leaves it. Leaves out: gathering such a part.
    """
    flop = np.zeros((len(shapes), len(workload.layers)))
    if not optimizer.matrix_rule:
        return flop
    for block, layer in enumerate(workload.layers):
        for op in layer.ops:
            if not (op.parameters and op.trainable) or op.kind not in ("gemm", "conv", "recurrent"):
                continue
            count = op.experts / shapes.ep if op.experts else np.full(len(shapes), float(op.batch))
            tensor = shapes.etp if op.experts else shapes.tp
            n = op.n / np.where(op.split in ("column", "vocab"), tensor, 1.0)
            k = op.k / np.where(op.split == "row", tensor, 1.0)
            if op.kind == "recurrent":
                n, k = n * CELLS[op.cell], k + op.n
            each = np.array([optimizer.matrix_flop(rows, columns) for rows, columns in zip(k, n, strict=True)])
            flop[:, block] += count * each
    return flop


def held_by(op: Op, shapes: Shapes) -> Floats:
    """Over how many ranks an op's parameters are spread; shape (shapes,)."""
    if op.experts:
        tensor = shapes.etp if op.split in ("column", "row") else np.ones(len(shapes))
        return np.asarray(tensor * shapes.ep)
    if op.split == "table":
        return shapes.ep
    return shapes.tp if op.split in TENSOR_SPLITS else np.ones(len(shapes))


def halo_elements(op: Op) -> float:
    """Elements of a sample that the neighbours of a slab need on both its sides, forward.

    Slabs are cut along the first axis: depth of a volume, else height. A window of w rows needs w - 1 rows that are not
    its own.
    """
    if op.depth[0] > 1 or op.depth[3] > 1:
        return float((op.depth[0] - 1) * op.in_hw[0] * op.in_hw[1] * op.c_in)
    return float((op.kernel[0] - 1) * op.in_hw[1] * op.c_in)


def vector_share(op: Op, shapes: Shapes) -> Floats:
    """Share of an element-wise op's elements that one rank holds; shape (shapes,)."""
    if op.split in TENSOR_SPLITS:
        tensor = 1.0 / shapes.tp
    elif op.split == "sequence":
        tensor = np.where(shapes.sequence_parallel, 1.0 / shapes.tp, 1.0)
    else:
        tensor = np.ones(len(shapes))
    return np.asarray(tensor / shapes.cp)


def kept_share(op: Op, shapes: Shapes) -> Floats:
    """Share of what an op keeps for its backward pass that one rank holds; shape (shapes,)."""
    if op.split in KEPT_DIVIDED:
        return np.asarray(1.0 / (shapes.tp * shapes.cp))
    divided = shapes.sequence_parallel & (op.split in KEPT_BY_SEQUENCE)
    return np.asarray(np.where(divided, 1.0 / shapes.tp, 1.0) / shapes.cp)


def _vector(rows: Rows, block: int, op: Op) -> None:
    share = vector_share(op, rows.shapes) * rows.shapes.micro_batch * rows.stack.vector_byte(rows.recipe.storage_byte)
    launches = op.launches + (np.maximum(rows.shapes.micro_batch, 1.0) - 1.0) * op.sample_launches
    again = CACHED_READ * op.window_elements
    if not op.sum_elements:
        rows.add(
            block=block, phase=FORWARD, kind=VECTOR, rate=1, flop=0.0,
            byte=share * (op.read_elements + op.write_elements + again), launches=launches,
        )  # fmt: skip
    if _runs_forward_only(op):
        return
    parameter_byte = _table_update_byte(rows, op)
    rows.add(
        block=block, phase=BACKWARD, kind=VECTOR, rate=1, flop=0.0,
        byte=share * (op.read_elements + 2.0 * op.write_elements + again + op.sum_elements) + parameter_byte,
        launches=launches,
    )  # fmt: skip


def _table_update_byte(rows: Rows, op: Op) -> Floats:
    """Traffic of a table's gradient: the whole table where it is dense, the rows looked up where it is spread."""
    s = rows.shapes
    if op.kind != "embedding":
        return np.zeros(len(s))
    touched = s.micro_batch * op.m * op.n if op.split == "table" else op.parameters / s.tp
    return np.asarray(2.0 * rows.recipe.gradient_byte * touched)


@dataclass(frozen=True, kw_only=True)
class BlockMessages:
    """What the blocks of a workload exchange and hold, per shape; arrays have shape (shapes, blocks).

    ``forward_calls`` counts the tensor-parallel all-reduces of a block's forward pass and ``forward_byte`` their
    size each [B] (the mean where they differ); ``backward_*`` likewise. ``routed``: rows of the block choose among
    experts; ``scans``: a block of the network has a chunked scan; ``wrapped``: full recomputation computes the block
    again. ``expert_calls`` all-to-alls of a block's
    forward pass (as many come back) carry ``expert_byte`` each from every rank, one copy of a row for each of the
    ``chosen_experts`` among ``experts``. ``hybrid_byte``: what enters the dense
    layers of a block on all ranks that cut them. ``halo_calls`` exchanges of a block's forward pass between neighbours
    that share a sample carry ``halo_byte`` each. ``context_byte``: keys and values of the whole sample, ``query_byte``:
    its queries and results of attention. ``offloaded_byte``: what one repeat keeps for its backward pass, without the
    scores of attention.

    ``parameters`` is what one rank holds of a block, without tables that are spread: they have no dense gradient.
    ``shared_parameters`` is what of it an earlier block holds too (a tied table, on one stage), ``spread_parameters``
    what not all ranks hold (experts, dense layers that are cut). ``boundary_byte`` has shape (shapes,): activations at
    a stage boundary [B].
    """

    forward_calls: Ints
    forward_byte: Floats
    backward_calls: Ints
    backward_byte: Floats
    parameters: Floats
    shared_parameters: Floats
    spread_parameters: Floats
    routed: NDArray[np.bool_]
    scans: NDArray[np.bool_]
    wrapped: NDArray[np.bool_]
    expert_calls: Ints
    expert_byte: Floats
    experts: Floats
    chosen_experts: Floats
    hybrid_byte: Floats
    halo_calls: Ints
    halo_byte: Floats
    boundary_byte: Floats
    context_byte: Floats
    query_byte: Floats
    offloaded_byte: Floats


def _tied_head(workload: Workload) -> int:
    """The layer that carries the embedding's table a second time: the last with a product that large."""
    table = workload.tied_parameters
    holders = [
        place
        for place, layer in enumerate(workload.layers)
        if any(op.kind == "gemm" and op.parameters >= table for op in layer.ops)
    ]
    return holders[-1] if holders else len(workload.layers) - 1


def are_spread(workload: Workload) -> NDArray[np.bool_]:
    """Blocks that a pipeline is cut at and that full recomputation wraps; shape (blocks,).

    All blocks of a network that alternates between kinds, the one kind that stands most often in any other.
    """
    repeats = np.array([layer.repeat for layer in workload.layers])
    alike = repeats == np.max(repeats)
    blocks = np.array([layer.kind == "block" for layer in workload.layers])
    alternates = np.max(repeats) < 0.5 * np.sum(repeats[blocks])
    return np.asarray(blocks if alternates else alike)


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
    expert_calls = np.zeros((count, blocks), np.int64)
    forward_byte, backward_byte, parameters, context_byte = zero.copy(), zero.copy(), zero.copy(), zero.copy()
    spread_parameters, expert_byte, hybrid_byte, query_byte = (zero.copy() for _ in range(4))
    experts, chosen = zero.copy(), zero.copy()
    halo_calls, halo_byte, offloaded_byte = np.zeros((count, blocks), np.int64), zero.copy(), zero.copy()
    split, several = shapes.tp > 1, shapes.ep > 1
    for block, layer in enumerate(workload.layers):
        forward = backward = exchanges = 0
        width_forward = width_backward = exchanged = 0.0
        for op in layer.ops:
            # What is 0 is not added: most ops have no parameters, and no op but a dense product is cut in two ways.
            dense = op.kind == "gemm" and layer.kind in DENSE_LAYERS
            if dense:
                cut_byte = recipe.storage_byte * shapes.micro_batch * shapes.hybrid * op.m * op.k
                hybrid_byte[:, block] += np.where(shapes.hybrid > 1, cut_byte, 0.0)
            if op.saved_elements:
                offloaded_byte[:, block] += 2.0 * op.saved_elements * shapes.micro_batch * kept_share(op, shapes)
            if op.parameters:
                held = op.parameters / held_by(op, shapes) / (shapes.hybrid if dense else 1.0)
                # A spread table's gradient is the rows that were looked up, which its owner has.
                parameters[:, block] += held if op.split != "table" else 0.0
                if op.experts or dense:
                    spread_parameters[:, block] += held if op.experts else np.where(shapes.hybrid > 1, held, 0.0)
            if op.kind == "conv" and (edge := halo_elements(op)):
                halo_calls[:, block] += (shapes.cp > 1).astype(np.int64)
                halo_byte[:, block] += recipe.storage_byte * shapes.micro_batch * edge
            if op.exchanged_elements:
                exchanges, exchanged = exchanges + 1, exchanged + op.exchanged_elements
            if op.experts:
                experts[:, block], chosen[:, block] = op.experts, min(op.m / workload.tokens_per_sample, op.experts)
                continue
            if op.kind == "gemm" and op.split == "row":
                forward, width_forward = forward + 1, width_forward + op.n
                backward, width_backward = backward + 1, width_backward + op.n
            elif op.kind == "gemm" and op.split == "vocab":
                backward, width_backward = backward + 1, width_backward + op.k
            elif op.kind == "embedding" and op.split == "vocab":
                forward, width_forward = forward + 1, width_forward + op.write_elements / workload.tokens_per_sample
            elif op.kind == "attention":
                context_byte[:, block] += (
                    recipe.storage_byte
                    * shapes.micro_batch
                    * op.context
                    * op.kv_heads
                    * (op.head_dim + op.value_width)
                    / shapes.tp
                )
                query_byte[:, block] += (
                    recipe.storage_byte
                    * shapes.micro_batch
                    * op.seq_len
                    * op.heads
                    * (op.head_dim + op.value_width)
                    / shapes.tp
                )
        forward_calls[:, block], backward_calls[:, block] = forward * split, backward * split
        forward_byte[:, block] = recipe.storage_byte * tokens * (width_forward / forward if forward else 0.0)
        backward_byte[:, block] = recipe.storage_byte * tokens * (width_backward / backward if backward else 0.0)
        halo_byte[:, block] /= np.maximum(halo_calls[:, block], 1)
        expert_calls[:, block] = exchanges * several
        mean = exchanged / exchanges if exchanges else 0.0
        expert_byte[:, block] = recipe.storage_byte * mean * shapes.micro_batch / shapes.cp * shapes.etp / shapes.tp
    shared = zero.copy()
    # A tied head multiplies by the embedding's table: one tensor where both stand on one stage.
    shared[:, _tied_head(workload)] = workload.tied_parameters / shapes.tp
    # What the last op of a repeated block hands on is what a stage hands on.
    repeated = max(workload.layers, key=lambda layer: layer.repeat)
    handed = shapes.micro_batch * repeated.handed_elements / shapes.cp
    boundary = recipe.storage_byte * handed / np.where(shapes.sequence_parallel, shapes.tp, 1.0)
    scans = np.full((count, blocks), any(is_scan(op) for layer in workload.layers for op in layer.ops))
    wrapped = np.tile(are_spread(workload), (count, 1))
    routed = np.array([any(op.experts for op in layer.ops) for layer in workload.layers])
    return BlockMessages(
        forward_calls=forward_calls, forward_byte=forward_byte, backward_calls=backward_calls,
        backward_byte=backward_byte, parameters=parameters, shared_parameters=shared,
        spread_parameters=spread_parameters, routed=np.tile(routed, (count, 1)), scans=scans,
        wrapped=wrapped, expert_calls=expert_calls, expert_byte=expert_byte,
        experts=experts, chosen_experts=np.rint(chosen),
        hybrid_byte=hybrid_byte, halo_calls=halo_calls, halo_byte=halo_byte, boundary_byte=np.asarray(boundary),
        context_byte=np.where((shapes.cp > 1)[:, None], context_byte, 0.0),
        query_byte=np.where((shapes.cp > 1)[:, None], query_byte, 0.0), offloaded_byte=offloaded_byte,
    )  # fmt: skip
