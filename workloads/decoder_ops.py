"""Pieces of modern decoders, per sequence: norms, grouped attention, gated MLPs, embedding, head, runs of like blocks.

Names and conventions are those of `workloads.transformer`; what is added are per-head norms, attention sinks, output
gates, sliding windows and norms after each half of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, embedding, gemm, vector
from workloads.transformer_blocks import (
    ACTIVATIONS,
    NORMS,
    check_sizes,
    check_words,
    mean_context,
    norm,
    residual,
    vocabulary,
)
from workloads.workload import Hyper, Workload

#: Norm words of these decoders: the ones of `transformer_blocks`, and a layer norm without bias.
NORM_WORDS: Final = (*NORMS, "layernorm_no_bias")
#: Where queries and keys are normed: nowhere, per head (parameters of one head), over all heads together.
QK_NORMS: Final = ("", "head", "width")


def norm_op(name: str, *, rows: int, width: int, word: str = "rmsnorm", split: str = "sequence") -> Op:
    """A norm over ``width`` channels of ``rows`` positions; keeps its input."""
    if word == "layernorm_no_bias":
        return replace(norm(name, rows=rows, width=width, word="layernorm", split=split), parameters=width)
    return norm(name, rows=rows, width=width, word=word, split=split)


@dataclass(frozen=True, kw_only=True)
class GroupedAttention:
    """Attention of one block: heads that share keys and values, and what modern decoders add.

    Attributes
    ----------
    window
        Keys a query sees at most; 0 for all before it.
    biases, output_bias
        On queries, keys and values; on the projection.
    qk_norm
        One of `QK_NORMS`.
    sinks
        One learned logit per head that softmax sums too.
    shared_values
        Values are the keys before their norm: one product less.
    gated
        The output is multiplied by the sigmoid of a gate, as wide, from the same product as the queries.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window: int = 0
    biases: bool = False
    output_bias: bool = False
    qk_norm: str = ""
    sinks: bool = False
    shared_values: bool = False
    gated: bool = False
    rotary: bool = True

    def __post_init__(self) -> None:
        check_sizes("attention", heads=self.heads, kv_heads=self.kv_heads, head_dim=self.head_dim)
        check_words("attention", ("qk_norm", self.qk_norm, QK_NORMS))
        if self.heads % self.kv_heads:
            raise WorkloadError(f"attention: {self.heads} heads are not a multiple of {self.kv_heads} kv_heads.")
        if self.window < 0:
            raise WorkloadError(f"attention: window is {self.window}; 0 (none) or more.")

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the projection's output, without norm and residual."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        turned = seq_len * (queries + keys)
        width = queries * (2 if self.gated else 1) + keys * (1 if self.shared_values else 2)
        ops = [gemm(name="qkv", m=seq_len, n=width, k=hidden, bias=self.biases, split="column")]
        if self.qk_norm:
            ops.append(
                vector(
                    name="query and key norm",
                    read_elements=turned,
                    write_elements=turned,
                    saved_elements=float(turned),
                    parameters=2 * self.head_dim if self.qk_norm == "head" else queries + keys,
                    split="none" if self.qk_norm == "head" else "inner",
                    launches=12,
                )
            )
        if self.rotary:
            ops.append(vector(name="rotary", read_elements=turned, write_elements=turned, split="inner", launches=10))
        ops.append(self._core(seq_len))
        if self.gated:
            gated = seq_len * queries
            ops.append(
                vector(
                    name="output gate",
                    read_elements=2 * gated,
                    write_elements=gated,
                    saved_elements=2.0 * gated,
                    split="inner",
                    launches=2,
                )
            )
        ops.append(gemm(name="projection", m=seq_len, n=hidden, k=queries, bias=self.output_bias, split="row"))
        return tuple(ops)

    def _core(self, seq_len: int) -> Op:
        core = attention(
            name="attention",
            heads=self.heads,
            kv_heads=self.kv_heads,
            head_dim=self.head_dim,
            seq_len=seq_len,
            context=mean_context("attention", seq_len=seq_len, window=self.window or None, share=1.0, causal=True),
            causal=True,
            dropout=False,
        )
        # All keys are read and kept, whatever a query sees of them.
        held = seq_len * (self.heads + 2 * self.kv_heads) * self.head_dim
        return replace(core, parameters=self.heads if self.sinks else 0, read_elements=held, saved_elements=float(held))


def mlp_ops(
    *,
    name: str = "mlp",
    hidden: int,
    ffn: int,
    seq_len: int,
    activation: str,
    biases: bool = False,
    keeps_input: bool = True,
) -> tuple[Op, ...]:
    """Product up (gate and up in one), activation, product down."""
    gated, saved, launches = ACTIVATIONS[activation]
    up = 2 * ffn if gated else ffn
    return (
        gemm(name=f"{name} up", m=seq_len, n=up, k=hidden, bias=biases, split="column", keeps_input=keeps_input),
        vector(
            name=activation,
            read_elements=seq_len * up,
            write_elements=seq_len * ffn,
            saved_elements=float(saved * seq_len * ffn),
            split="inner",
            launches=launches,
        ),
        gemm(name=f"{name} down", m=seq_len, n=hidden, k=ffn, bias=biases, split="row"),
    )


def half_block(
    name: str, inner: tuple[Op, ...], *, hidden: int, seq_len: int, word: str = "rmsnorm", post_norm: bool = False
) -> tuple[Op, ...]:
    """norm, ``inner``, a second norm if any, residual."""
    after = (norm_op(f"{name} post norm", rows=seq_len, width=hidden, word=word),) if post_norm else ()
    return (
        norm_op(f"{name} norm", rows=seq_len, width=hidden, word=word),
        *inner,
        *after,
        residual(f"{name} residual", seq_len * hidden, dropout=False),
    )


def embedding_layer(*, vocab: int, hidden: int, seq_len: int) -> Layer:
    """The token table alone."""
    table = embedding(name="token embedding", rows=vocab, width=hidden, tokens=seq_len)
    return Layer(name="embedding", kind="embedding", ops=(table,))


def vocabulary_ops(*, vocab: int, hidden: int, seq_len: int, shared: bool = False) -> tuple[Op, ...]:
    """Logits and loss at every position; with ``shared`` the parameters are those of another head."""
    product, loss = vocabulary(rows=seq_len, hidden=hidden, vocab=vocab, bias=False)
    return (replace(product, parameters=0) if shared else product, loss)


def head_layer(*, vocab: int, hidden: int, seq_len: int, word: str = "rmsnorm") -> Layer:
    """Final norm, logits, loss."""
    final = norm_op("final norm", rows=seq_len, width=hidden, word=word)
    return Layer(name="head", kind="head", ops=(final, *vocabulary_ops(vocab=vocab, hidden=hidden, seq_len=seq_len)))


def runs(kinds: Sequence[str], build: Callable[[str], tuple[Op, ...]]) -> tuple[Layer, ...]:
    """Blocks in order; neighbours of one kind are one layer, laid out once and repeated."""
    built = {kind: build(kind) for kind in dict.fromkeys(kinds)}
    return tuple(
        Layer(name=f"{kind} {index + 1}", kind="block", ops=built[kind], repeat=len(list(group)))
        for index, (kind, group) in enumerate(groupby(kinds))
    )


def decoder(
    name: str,
    blocks: Sequence[Layer],
    *,
    vocab: int,
    hidden: int,
    seq_len: int,
    hyper: Mapping[str, Hyper],
    norm: str = "rmsnorm",
    tied_embeddings: bool = False,
) -> Workload:
    """A causal language model: the token table, its blocks, final norm and head."""
    return Workload(
        name=name,
        family="transformer",
        sample="sequence",
        layers=(
            embedding_layer(vocab=vocab, hidden=hidden, seq_len=seq_len),
            *blocks,
            head_layer(vocab=vocab, hidden=hidden, seq_len=seq_len, word=norm),
        ),
        tokens_per_sample=seq_len,
        hyper=hyper,
        tied_embeddings=tied_embeddings,
        causal=True,
    )
