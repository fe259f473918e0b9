"""Recurrent networks: layers of recurrent cells, and language models of vanilla, GRU, LSTM and block-sparse cells."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.layer import Layer
from workloads.op import CELLS, Op, WorkloadError, embedding, gemm, recurrent, vector
from workloads.workload import Hyper, Workload

#: Kernels of one step of a cell that a framework runs in a loop, besides none fused: product, bias, split, one for
#: each gate and each operation on the state (TensorFlow 1's BasicLSTMCell, PaddlePaddle 1's static RNN; counted from
#: their sources' operations).
LOOP_LAUNCHES: Final[Mapping[str, int]] = {"vanilla": 4, "gru": 14, "lstm": 13}


def recurrent_layer(
    *,
    name: str,
    cell: str,
    steps: int,
    width: int,
    hidden: int,
    biases: int = 2,
    keeps_input: bool = True,
    looped: bool = False,
    backwards: bool = False,
) -> tuple[Op, ...]:
    """A recurrent layer in one direction or, with ``backwards``, in both; the two share the input they keep.

    Without ``keeps_input`` the op before has kept it. ``looped`` cells are kernels of their own in a loop of the
    framework.
    """
    if steps < 1:
        raise WorkloadError(f"op '{name}': {steps} steps; at least 1.")
    one = recurrent(name=name, cell=cell, steps=steps, width=width, hidden=hidden, biases=biases)
    if looped:
        one = replace(one, launches=steps * LOOP_LAUNCHES[cell])
    shared = replace(one, saved_elements=one.saved_elements - float(steps * width))
    first = one if keeps_input else shared
    return (first, replace(shared, name=f"{name} backwards")) if backwards else (first,)


def elementwise(name: str, elements: int, *, reads: int = 1, saved: float = 0.0, launches: int = 1) -> Op:
    """A kernel that reads ``reads`` tensors of ``elements`` and writes one; ``saved`` counts in such tensors."""
    return vector(
        name=name,
        read_elements=reads * elements,
        write_elements=elements,
        saved_elements=saved * elements,
        launches=launches,
    )


def dropout(name: str, elements: int) -> Op:
    """Dropout: keeps a mask of one byte an element."""
    return elementwise(name, elements, saved=0.5)


def vocabulary_head(
    *, rows: int, hidden: int, vocab: int, bias: bool = True, keeps_input: bool = True, launches: int = 3
) -> tuple[Op, ...]:
    """The product with the vocabulary and its cross-entropy, which casts the logits to fp32 and keeps that copy."""
    logits = rows * vocab
    return (
        gemm(name="vocabulary", m=rows, n=vocab, k=hidden, bias=bias, split="vocab", keeps_input=keeps_input),
        vector(
            name="cross entropy",
            read_elements=3 * logits,
            write_elements=2 * logits,
            saved_elements=2.0 * logits,
            split="inner",
            launches=launches,
        ),
    )


def sequence_workload(
    name: str, layers: list[Layer], /, *, tokens: int, source: str, sample: str = "sequence",
    assumed: tuple[str, ...] = (), **hyper: Hyper,
) -> Workload:  # fmt: skip
    """A recurrent `Workload` from its layers; ``tokens`` is what published rates count for one sample."""
    return Workload(
        name=name, family="recurrent", sample=sample, layers=tuple(layers), tokens_per_sample=tokens, hyper=hyper,
        source=source, assumed=assumed,
    )  # fmt: skip


def language_model(
    *,
    cell: str = "lstm",
    layers: int = 2,
    hidden: int = 650,
    width: int = 0,
    vocab: int = 10000,
    seq_len: int = 35,
    biases: int = 2,
    with_dropout: bool = True,
    looped: bool = False,
) -> Workload:
    """A language model of recurrent layers on ``seq_len`` steps of truncated backpropagation [1]_.

    The table is ``width`` wide (``hidden`` when 0); its transpose is not the head. Left out: the state that is carried
    from one stretch of text to the next.

    References
    ----------
    .. [1] Zaremba, Sutskever, Vinyals, Recurrent Neural Network Regularization, 2014, arXiv:1409.2329
    """
    _check_stack(cell, layers, seq_len)
    width = width or hidden

    def dropped(elements: int) -> tuple[Op, ...]:
        return (dropout("dropout", elements),) if with_dropout else ()

    def block(name: str, inputs: int, repeat: int) -> Layer:
        # With dropout before a layer its input is a tensor of its own; without it the layer below has kept it.
        ops = recurrent_layer(
            name=f"{cell} {inputs}-{hidden}", cell=cell, steps=seq_len, width=inputs, hidden=hidden, biases=biases,
            keeps_input=with_dropout or name == "layer 1", looped=looped,
        )  # fmt: skip
        return Layer(name=name, kind="block", ops=(*ops, *dropped(seq_len * hidden)), repeat=repeat)

    table = embedding(name="embedding", rows=vocab, width=width, tokens=seq_len)
    laid = [Layer(name="embedding", kind="embedding", ops=(table, *dropped(seq_len * width)))]
    if width == hidden and with_dropout:
        laid.append(block("layers", hidden, layers))
    else:
        laid.append(block("layer 1", width, 1))
        if layers > 1:
            laid.append(block("layers above", hidden, layers - 1))
    head = vocabulary_head(rows=seq_len, hidden=hidden, vocab=vocab, keeps_input=with_dropout)
    laid.append(Layer(name="head", kind="head", ops=head))
    return sequence_workload(
        f"{cell}-{layers}x{hidden}", laid, tokens=seq_len, source="arXiv:1409.2329", cell=cell, layers=layers,
        hidden=hidden, vocab=vocab, seq_len=seq_len,
    )  # fmt: skip


def sparse_language_model(
    *,
    cell: str = "lstm",
    hidden: int = 18432,
    density: float = 0.05,
    block: int = 32,
    width: int = 64,
    vocab: int = 256,
    seq_len: int = 256,
    inner_steps: int = 1,
) -> Workload:
    """A wide recurrent layer whose recurrent weights are a pattern of dense blocks, on bytes [1]_.

    A share ``density`` of the ``block`` x ``block`` blocks is there; ``inner_steps`` products follow each other within
    a step, so that a small-world pattern connects all units. The layer is laid out as the dense one of about as many
    weights, sqrt(density) hidden units wide: its work and weights are the sparse layer's, and a kernel apart moves the
    states of the units it lacks. Left out: what a block-sparse kernel misses of a dense one's rate.

    References
    ----------
    .. [1] Gray, Radford, Kingma, GPU Kernels for Block-Sparse Weights, 2017
    """
    _check_stack(cell, 1, seq_len)
    if not 0.0 < density <= 1.0:
        raise WorkloadError(f"sparse language model: density is {density}; above 0, at most 1.")
    if hidden % block or inner_steps < 1:
        raise WorkloadError(
            f"sparse language model: blocks of {block} must divide {hidden} units, and inner_steps be at least 1."
        )
    gates, blocks = CELLS[cell], (hidden // block) ** 2
    weights = max(1, round(density * blocks)) * block**2
    dense = max(1, round(math.sqrt(weights)))
    steps = seq_len * inner_steps
    core = recurrent(name=f"block-sparse {cell} {hidden}", cell=cell, steps=steps, width=0, hidden=dense, biases=0)
    states = 2 if cell == "lstm" else 1
    core = replace(
        core,
        parameters=gates * (inner_steps * weights + hidden),
        saved_elements=float(steps * (gates + states) * hidden),
        write_elements=seq_len * hidden,
    )
    missing = (3 * gates + 3) * steps * max(hidden - dense, 0)
    table = embedding(name="embedding", rows=vocab, width=width, tokens=seq_len)
    inputs = gemm(name="inputs", m=seq_len, n=gates * hidden, k=width, bias=False)
    wide = vector(name="states", read_elements=2 * missing // 3, write_elements=missing // 3)
    head = vocabulary_head(rows=seq_len, hidden=hidden, vocab=vocab, keeps_input=False)
    laid = [
        Layer(name="embedding", kind="embedding", ops=(table,)),
        Layer(name="layer", kind="block", ops=(inputs, core, wide)),
        Layer(name="head", kind="head", ops=head),
    ]
    return sequence_workload(
        f"block-sparse-{cell}-{hidden}", laid, tokens=seq_len, source="Gray, Radford, Kingma 2017", cell=cell,
        hidden=hidden, density=density, block=block, vocab=vocab, seq_len=seq_len,
        assumed=("a block-sparse product runs at the rate of a dense one of as many weights",),
    )  # fmt: skip


def _check_stack(cell: str, layers: int, seq_len: int) -> None:
    if cell not in CELLS:
        raise WorkloadError(f"recurrent network: cell is '{cell}'. Legal: {', '.join(CELLS)}.")
    if layers < 1:
        raise WorkloadError(f"recurrent network: {layers} layers; at least 1.")
    if seq_len < 1:
        raise WorkloadError(f"recurrent network: seq_len is {seq_len}; at least 1.")


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "recurrent_language_model": language_model,
    "sparse_language_model": sparse_language_model,
}
