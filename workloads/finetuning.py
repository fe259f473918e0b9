"""What fine-tuning changes of a workload: adapters, frozen parameters, documents shorter than the sequence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, vector
from workloads.workload import Workload

#: The products that low-rank adapters sit on unless told: those of attention.
LORA_TARGETS: Final = ("qkv", "projection")


def trainable_parameters(workload: Workload) -> int:
    """Parameters that get a gradient; a tied table counts once."""
    count = sum(layer.repeat * op.parameters for layer in workload.layers for op in layer.ops if op.trainable)
    table = next((op for op in workload.layers[0].ops if op.kind == "embedding"), None)
    return count - (workload.tied_parameters if table is not None and table.trainable else 0)


def lora(workload: Workload, *, rank: int, targets: Sequence[str] = LORA_TARGETS) -> Workload:
    """Low-rank adapters on the products named in ``targets``; all else is frozen [1]_.

    A product [m, k] x [k, n] gets two more, [m, k] x [k, rank] and [m, rank] x [rank, n], and a scaled sum;
    rank (k + n) parameters each, times the experts where it has any. An adapter needs its product's input, so that
    stays; a frozen product without one needs no input in the backward pass and lets go of it. Leaves out: the
    adapters' dropout.

    Raises
    ------
    WorkloadError
        For a rank below one or a name that no product has.

    References
    ----------
    .. [1] Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, arXiv:2106.09685
    """
    if rank < 1:
        raise WorkloadError(f"lora of '{workload.name}': rank is {rank}; at least 1.")
    products = _products(workload)
    for target in targets:
        if target not in products:
            legal = ", ".join(products)
            raise WorkloadError(f"lora of '{workload.name}': no product is named '{target}'. Legal: {legal}.")
    if not targets:
        raise WorkloadError(f"lora of '{workload.name}': no targets. Legal: {', '.join(products)}.")

    def adapt(op: Op, frozen_op: Op) -> tuple[Op, ...]:
        if op.kind != "gemm" or op.name not in targets or not op.parameters:
            return (frozen_op,)
        return (replace(frozen_op, saved_elements=op.saved_elements), *_adapter(op, rank))

    layers = tuple(
        replace(layer, ops=tuple(new for op, held in _frozen_pairs(layer) for new in adapt(op, held)))
        for layer in workload.layers
    )
    note = f"low-rank adapters of rank {rank} on {', '.join(targets)}; all else frozen"
    return replace(workload, layers=layers, assumed=(*workload.assumed, note))


def frozen(workload: Workload, *, trained: Iterable[str] = ()) -> Workload:
    """All parameters frozen but those of the layers whose name or kind stands in ``trained``.

    Frozen products let go of their inputs, which only their own parameters' gradient needs. Leaves out: that layers
    before the first trained one need no backward pass at all.

    Raises
    ------
    WorkloadError
        For a word that no layer has as its name or kind.
    """
    words = tuple(trained)
    known = list(dict.fromkeys(word for layer in workload.layers for word in (layer.name, layer.kind)))
    for word in words:
        if word not in known:
            raise WorkloadError(f"frozen '{workload.name}': no layer is named '{word}'. Legal: {', '.join(known)}.")
    layers = tuple(
        layer
        if layer.name in words or layer.kind in words
        else replace(layer, ops=tuple(held for _, held in _frozen_pairs(layer)))
        for layer in workload.layers
    )
    return replace(workload, layers=layers, assumed=(*workload.assumed, f"trained: {', '.join(words) or 'nothing'}"))


def packed(workload: Workload, *, mean_length: float, variation: float = 0.0) -> Workload:
    """Documents of ``mean_length`` positions, end to end in every sequence or one per sequence; attention stays inside.

    A token sees on average E[l^2] / E[l] = mean (1 + variation^2) positions (half of them behind a causal mask), where
    ``variation`` is the lengths' standard deviation over their mean: 0 for equal lengths, 1 for exponential ones. All
    other work goes with the tokens and does not change: for one unpadded document per sequence, lay the workload out at
    ``seq_len`` = mean length first. A window narrower than that stays what it is. Attention to another sequence
    (cross attention) is taken the same way.

    Raises
    ------
    WorkloadError
        For a mean length below one or above the sequence, or a negative variation.
    """
    longest = max((op.seq_len for layer in workload.layers for op in layer.ops if op.kind == "attention"), default=0)
    if not longest:
        raise WorkloadError(f"packed '{workload.name}': it has no attention, lengths of documents change nothing.")
    if not 1 <= mean_length <= longest:
        raise WorkloadError(f"packed '{workload.name}': mean_length is {mean_length:g}; 1 to its {longest} positions.")
    if not (math.isfinite(variation) and variation >= 0):
        raise WorkloadError(f"packed '{workload.name}': variation is {variation:g}; 0 or more.")
    seen = max(1, round(mean_length * (1 + variation**2)))
    layers = tuple(
        replace(layer, ops=tuple(_seen(op, seen) if op.kind == "attention" else op for op in layer.ops))
        for layer in workload.layers
    )
    note = f"documents of mean length {mean_length:g}, variation {variation:g}: a token sees {seen} positions"
    return replace(workload, layers=layers, assumed=(*workload.assumed, note))


def _seen(op: Op, keys: int) -> Op:
    # A window, or a compressed history, may be narrower than the document.
    context = min(op.context, keys) if op.context < op.seq_len else keys
    scores = op.heads * op.seq_len * context
    return replace(
        op,
        context=context,
        forward_flop=2 * scores * (op.head_dim + op.value_width),
        score_elements=op.score_elements * context / op.context,
        softmax_elements=scores,
    )


def _products(workload: Workload) -> list[str]:
    names = (op.name for layer in workload.layers for op in layer.ops if op.kind == "gemm" and op.parameters)
    return list(dict.fromkeys(names))


def _frozen_pairs(layer: Layer) -> list[tuple[Op, Op]]:
    """Every op and what it is frozen; the input stays where the op before needs it as its own output."""
    pairs, before = [], None
    for op in layer.ops:
        kept = op.saved_elements
        # Attention's backward pass reads its output; so does ReLU's. Both leave keeping it to the product behind.
        if op.kind == "gemm" and op.parameters and not (before and (before.kind == "attention" or _is_relu(before))):
            kept = 0.0
        pairs.append((op, replace(op, trainable=False, saved_elements=kept)))
        before = op
    return pairs


def _is_relu(op: Op) -> bool:
    return op.name.split(" ")[-1] == "relu"


def _adapter(op: Op, rank: int) -> tuple[Op, ...]:
    """Two narrow products and their sum; the narrow side is split as the product it belongs to."""
    down_split, up_split = ("row", "none") if op.split == "row" else ("none", op.split)
    elements = op.m * op.n * op.batch
    return (
        gemm(
            name=f"{op.name} lora down", m=op.m, n=rank, k=op.k, split=down_split, keeps_input=False, experts=op.experts
        ),
        gemm(name=f"{op.name} lora up", m=op.m, n=op.n, k=rank, split=up_split, experts=op.experts),
        vector(
            name=f"{op.name} lora sum",
            read_elements=2 * elements,
            write_elements=elements,
            split="inner" if op.split in ("column", "heads", "vocab") else "sequence",
            launches=2,
        ),
    )
