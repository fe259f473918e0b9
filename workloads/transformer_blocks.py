"""Pieces that transformers of every shape are laid out from: norms, attention, feed-forward, residual, vocabulary."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.op import Op, WorkloadError, attention, gemm, vector

#: Activation word -> (gated, elements saved per inner element, kernels an eager framework launches).
#: ReLU keeps its output, which the next product keeps anyway.
ACTIVATIONS: Final = {
    "gelu": (False, 1, 1),
    "relu": (False, 0, 1),
    "squared_relu": (False, 1, 2),
    "silu": (False, 1, 1),
    "swiglu": (True, 2, 2),
    "geglu": (True, 2, 2),
    "quick_gelu": (False, 1, 3),
}
#: Norm word -> (parameters per channel, kernels an eager framework launches).
NORMS: Final = {"layernorm": (2, 1), "rmsnorm": (1, 6)}


def check_words(where: str, *words: tuple[str, str, tuple[str, ...]]) -> None:
    """Refuse a word that is not among the legal ones; ``words`` are (key, word, legal words)."""
    for key, word, legal in words:
        if word not in legal:
            raise WorkloadError(f"{where}: {key} is '{word}'. Legal: {', '.join(w or repr('') for w in legal)}.")


def check_sizes(where: str, **sizes: int) -> None:
    """Refuse sizes below 1."""
    for word, size in sizes.items():
        if size < 1:
            raise WorkloadError(f"{where}: {word} is {size}; at least 1.")


def head_width(where: str, *, hidden: int, heads: int, head_dim: int | None, kv_heads: int | None = None) -> int:
    """Width of a head, hidden / heads unless given; refuses heads that do not divide."""
    if head_dim is None and hidden % heads:
        raise WorkloadError(f"{where}: hidden {hidden} is not a multiple of {heads} heads.")
    if kv_heads is not None and heads % kv_heads:
        raise WorkloadError(f"{where}: {heads} heads are not a multiple of {kv_heads} kv_heads.")
    return hidden // heads if head_dim is None else head_dim


def mean_context(where: str, *, seq_len: int, window: int | None, share: float, causal: bool) -> int:
    """Keys that a query sees, averaged over layers of which a share has a sliding window.

    .. math:: C = (1 - p) s + p \\bar c, \\quad \\bar c = 2 w - w^2 / s

    (causal; else min(2 w - 1, s)) with p share of windowed layers, w window [keys], s sequence [positions]. A causal
    sequence without windows has C = s, of which a mask leaves half; so the windowed mean is twice the keys that a
    causal query sees, (w s - w^2 / 2) / s.
    Left out: that windowed and full layers run at different speeds; only their mean work counts.
    """
    if window is None or window >= seq_len:
        return seq_len
    if window < 1 or not 0 <= share <= 1:
        raise WorkloadError(f"{where}: window is {window} in {share:g} of the layers; at least 1 key, in 0 to 1.")
    seen = 2 * window - window**2 / seq_len if causal else min(2 * window - 1, seq_len)
    return max(1, round((1 - share) * seq_len + share * seen))


def norm(
    name: str, *, rows: int, width: int, word: str = "layernorm", split: str = "sequence", keeps_input: bool = True
) -> Op:
    """A normalisation of ``rows`` vectors; it keeps its input unless another op does."""
    per_channel, launches = NORMS[word]
    return vector(
        name=name,
        read_elements=rows * width,
        write_elements=rows * width,
        saved_elements=float(rows * width) if keeps_input else 0.0,
        parameters=per_channel * width,
        split=split,
        launches=launches,
    )


def dropout(name: str, elements: int, *, split: str = "sequence") -> Op:
    """Dropout; a one-byte mask is kept."""
    return vector(
        name=name,
        read_elements=elements,
        write_elements=elements,
        saved_elements=0.5 * elements,
        split=split,
    )


def residual(name: str, elements: int, *, dropout: bool) -> Op:
    """A residual sum, after dropout where there is any; only the one-byte mask is kept."""
    return vector(
        name=f"dropout and {name}" if dropout else name,
        read_elements=2 * elements,
        write_elements=elements,
        saved_elements=0.5 * elements if dropout else 0.0,
        split="sequence",
        launches=2 if dropout else 1,
    )


def table_sum(name: str, *, rows: int, elements: int, width: int) -> Op:
    """Looking up a small table (positions, segments) of ``rows`` and adding it to the embeddings."""
    return vector(
        name=name,
        read_elements=2 * elements,
        write_elements=elements,
        parameters=rows * width,
        split="sequence",
        launches=2,
    )


def self_attention(
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    seq_len: int,
    context: int | None = None,
    rotary: bool = False,
    qk_norm: str = "",
    causal: bool,
    biases: bool = True,
    qkv_biases: bool | None = None,
    dropout: bool,
    keeps_input: bool = True,
    closing: tuple[Op, ...] = (),
) -> tuple[Op, ...]:
    """One product for queries, keys and values, the core, the output product; ``closing`` ops end it.

    ``qk_norm`` normalises queries and keys (RMS): over each ``head`` or over the whole ``width``.
    """
    width, kv_width = heads * head_dim, kv_heads * head_dim
    qkv = gemm(
        name="qkv",
        m=seq_len,
        n=width + 2 * kv_width,
        k=hidden,
        bias=biases if qkv_biases is None else qkv_biases,
        split="column",
        keeps_input=keeps_input,
    )
    turned = seq_len * (width + kv_width)
    between: list[Op] = []
    if qk_norm:
        between.append(
            vector(
                name="query and key norm",
                read_elements=turned,
                write_elements=turned,
                saved_elements=float(turned),
                parameters=2 * head_dim if qk_norm == "head" else width + kv_width,
                split="inner",
                launches=2 * NORMS["rmsnorm"][1],
            )
        )
    if rotary:
        # Eager rotary: negate, concatenate, two products and a sum, for queries and for keys. Nothing is kept:
        # attention keeps the turned queries and keys.
        between.append(vector(name="rotary", read_elements=turned, write_elements=turned, split="inner", launches=10))
    core = attention(
        name="attention",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        context=seq_len if context is None else context,
        causal=causal,
        dropout=dropout,
    )
    projection = gemm(name="projection", m=seq_len, n=hidden, k=width, bias=biases, split="row")
    return (qkv, *between, core, projection, *closing)


def cross_attention(
    *,
    hidden: int,
    heads: int,
    head_dim: int,
    seq_len: int,
    context: int,
    memory_width: int | None = None,
    value_dim: int | None = None,
    out_width: int | None = None,
    biases: bool,
    dropout: bool,
    keeps_memory: bool = False,
    name: str = "cross",
) -> tuple[Op, ...]:
    """Queries of one sequence over keys and values of another, up to the output product.

    Every decoder block reads the same encoder output, so the block does not keep it unless told
    (``keeps_memory``): whoever lays out the stack counts it once.
    """
    memory_width = hidden if memory_width is None else memory_width
    value_dim = head_dim if value_dim is None else value_dim
    return (
        gemm(name=f"{name} queries", m=seq_len, n=heads * head_dim, k=hidden, bias=biases, split="column"),
        gemm(
            name=f"{name} keys and values",
            m=context,
            n=heads * (head_dim + value_dim),
            k=memory_width,
            bias=biases,
            split="column",
            keeps_input=keeps_memory,
        ),
        attention(
            name=f"{name} attention",
            heads=heads,
            kv_heads=heads,
            head_dim=head_dim,
            seq_len=seq_len,
            context=context,
            causal=False,
            dropout=dropout,
            value_dim=0 if value_dim == head_dim else value_dim,
        ),
        gemm(
            name=f"{name} projection",
            m=seq_len,
            n=hidden if out_width is None else out_width,
            k=heads * value_dim,
            bias=biases,
            split="row",
        ),
    )


def feed_forward(
    *,
    hidden: int,
    ffn: int,
    seq_len: int,
    activation: str,
    biases: bool = True,
    inner_dropout: bool = False,
    keeps_input: bool = True,
    closing: tuple[Op, ...] = (),
) -> tuple[Op, ...]:
    """Product up (gate and up are one), activation, product down; ``closing`` ops end it."""
    gated, saved, launches = ACTIVATIONS[activation]
    if inner_dropout:
        saved = max(saved, 1)  # ReLU's output is no longer what the next product keeps
    up_width = 2 * ffn if gated else ffn
    return (
        gemm(name="mlp up", m=seq_len, n=up_width, k=hidden, bias=biases, split="column", keeps_input=keeps_input),
        vector(
            name=activation,
            read_elements=seq_len * up_width,
            write_elements=seq_len * ffn,
            saved_elements=float(saved * seq_len * ffn),
            split="inner",
            launches=launches,
        ),
        *((dropout("inner dropout", seq_len * ffn, split="inner"),) if inner_dropout else ()),
        gemm(name="mlp down", m=seq_len, n=hidden, k=ffn, bias=biases, split="row"),
        *closing,
    )


def cross_entropy(logits: int) -> Op:
    """Softmax loss: casts the logits to fp32 (two 2-byte elements each), keeps that copy, writes its log-softmax."""
    return vector(
        name="cross entropy",
        read_elements=3 * logits,
        write_elements=2 * logits,
        saved_elements=2.0 * logits,
        split="inner",
        launches=3,
    )


def vocabulary(*, rows: int, hidden: int, vocab: int, bias: bool) -> tuple[Op, ...]:
    """The vocabulary product of ``rows`` positions and its loss."""
    return (
        gemm(name="vocabulary", m=rows, n=vocab, k=hidden, bias=bias, split="vocab"),
        cross_entropy(rows * vocab),
    )


def classifier(name: str, *, rows: int, width: int, classes: int) -> tuple[Op, ...]:
    """A small product with bias that keeps its input, and its loss."""
    return (
        gemm(name=name, m=rows, n=classes, k=width, bias=True),
        replace(cross_entropy(rows * classes), split="none"),
    )
