"""Mamba-2 layers and the hybrids built on them: Nemotron-H and Nemotron 3."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Final

from workloads.decoder_ops import GroupedAttention, decoder, half_block, mlp_ops, runs
from workloads.expert_ops import RoutedMlp
from workloads.latent_attention import next_token_layer
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, gemm, product, vector
from workloads.transformer_blocks import ACTIVATIONS, check_sizes, check_words
from workloads.workload import Workload

#: Letter of a pattern -> half a block: Mamba-2, attention, MLP, experts.
LETTERS: Final = "M*-E"


@dataclass(frozen=True, kw_only=True)
class Mamba:
    """A Mamba-2 layer, computed in chunks as its authors' kernels do [1]_.

    With c chunks of Q positions, N states, P channels per head, per chunk: scores C B' per group (2 Q Q N), their
    product with the inputs per head (2 Q Q P), the chunk's state (2 Q N P), the earlier state's output (2 Q N P)
    [FLOP].

    References
    ----------
    .. [1] Dao and Gu, Transformers are SSMs, 2024, section 6, arXiv:2405.21060
    """

    heads: int
    head_dim: int = 64
    groups: int = 8
    state: int = 128
    kernel: int = 4
    chunk: int = 128

    def __post_init__(self) -> None:
        check_sizes("mamba", heads=self.heads, head_dim=self.head_dim, groups=self.groups, state=self.state)
        check_sizes("mamba", kernel=self.kernel, chunk=self.chunk)
        if self.heads % self.groups:
            raise WorkloadError(f"mamba: {self.heads} heads are not a multiple of {self.groups} groups.")

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the output product.

        What is kept are the first product's output and the scan's; the convolution's output and the chunks' states
        are computed again in the backward pass, as in the authors' kernels. The short convolution reads and writes
        memory and is counted so, without its 2 x ``kernel`` FLOPs per element.
        """
        inner = self.heads * self.head_dim
        mixed = inner + 2 * self.groups * self.state
        width = inner + mixed + self.heads
        chunks = -(-seq_len // self.chunk)
        states = chunks * self.heads * self.state * self.head_dim
        size = min(self.chunk, seq_len)
        return (
            gemm(name="mamba in", m=seq_len, n=width, k=hidden, split="column"),
            vector(
                name="short convolution",
                read_elements=seq_len * mixed,
                write_elements=seq_len * mixed,
                saved_elements=float(seq_len * width),
                parameters=mixed * (self.kernel + 1),
                split="inner",
            ),
            # Step sizes in fp32, their running sums within a chunk; A, D and the bias are one number per head.
            vector(
                name="chunk decay",
                read_elements=2 * seq_len * self.heads,
                write_elements=4 * seq_len * self.heads,
                parameters=3 * self.heads,
                split="inner",
            ),
            self._product("chunk scores", self.groups * chunks, size, size, self.state),
            self._product("chunk inputs", self.heads * chunks, size, self.head_dim, size),
            self._product("chunk states", self.heads * chunks, self.state, self.head_dim, size),
            vector(name="state passing", read_elements=2 * states, write_elements=2 * states, split="inner"),
            self._product("state outputs", self.heads * chunks, size, self.head_dim, self.state),
            vector(
                name="gated norm",
                read_elements=2 * seq_len * inner,
                write_elements=seq_len * inner,
                saved_elements=float(seq_len * inner),
                parameters=inner,
                split="inner",
                launches=2,
            ),
            gemm(name="mamba out", m=seq_len, n=hidden, k=inner, split="row"),
        )

    @staticmethod
    def _product(name: str, batch: int, m: int, n: int, k: int) -> Op:
        return product(name=name, batch=batch, m=m, n=n, k=k, saved_elements=0.0, split="heads")


def blocks_of(pattern: str) -> list[str]:
    """A pattern cut after every MLP and every layer of experts; what is left at the end is a block of its own."""
    return re.findall(r"[^-E]*[-E]|[^-E]+$", pattern)


def without_parameters(layer: Layer) -> Layer:
    """The same work with the parameters of a layer that came before: they are not counted again."""
    return replace(layer, ops=tuple(replace(op, parameters=0) for op in layer.ops))


def hybrid(
    *,
    pattern: str,
    hidden: int,
    heads: int,
    kv_heads: int = 8,
    head_dim: int = 128,
    mamba_heads: int,
    mamba_head_dim: int = 64,
    groups: int = 8,
    state: int = 128,
    ffn: int = 0,
    experts: int = 0,
    top_k: int = 0,
    expert_ffn: int = 0,
    shared_ffn: int = 0,
    latent: int = 0,
    activation: str = "squared_relu",
    vocab: int = 131072,
    seq_len: int = 8192,
    next_tokens: int = 0,
    next_pattern: str = "*E",
    next_shared: bool = True,
) -> Workload:
    """Half blocks in the order of ``pattern``: ``M`` Mamba-2, ``*`` attention, ``-`` MLP, ``E`` experts.

    A block, which a pipeline may be cut at, ends with its MLP or its experts: ``MEM*E`` is the blocks ``ME`` and
    ``M*E``. Attention has no positions, no product has a bias, embedding and head are apart.

    Parameters
    ----------
    ffn
        Inner width of ``-``.
    latent
        Width tokens have while they are with their experts (Nemotron 3 Super and Ultra); 0 for ``hidden``.
    next_tokens, next_pattern, next_shared
        Modules of multi-token prediction, their half blocks, and whether all are one set of parameters.
    """
    where = "hybrid"
    check_sizes(where, hidden=hidden, vocab=vocab, seq_len=seq_len)
    check_words(where, ("activation", activation, tuple(ACTIVATIONS)))
    for word, letters in (("pattern", pattern), ("next_pattern", next_pattern)):
        if not letters or set(letters) - set(LETTERS):
            raise WorkloadError(f"{where}: {word} is '{letters}'. Legal: letters M (Mamba-2), *, -, E, at least one.")
    used = set(pattern) | (set(next_pattern) if next_tokens else set())
    if "-" in used:
        check_sizes(where, ffn=ffn)
    routed = (
        RoutedMlp(
            experts=experts,
            top_k=top_k,
            ffn=expert_ffn,
            shared_ffn=shared_ffn,
            activation=activation,
            latent=latent,
        )
        if "E" in used
        else None
    )
    mamba = Mamba(heads=mamba_heads, head_dim=mamba_head_dim, groups=groups, state=state)
    attention = GroupedAttention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, rotary=False)

    def half(letter: str) -> tuple[Op, ...]:
        if letter == "M":
            inner, name = mamba.ops(hidden=hidden, seq_len=seq_len), "mamba"
        elif letter == "*":
            inner, name = attention.ops(hidden=hidden, seq_len=seq_len), "attention"
        elif letter == "-":
            inner, name = mlp_ops(hidden=hidden, ffn=ffn, seq_len=seq_len, activation=activation), "mlp"
        else:
            assert routed is not None
            inner, name = routed.ops(hidden=hidden, seq_len=seq_len), "experts"
        return half_block(name, inner, hidden=hidden, seq_len=seq_len)

    def block(letters: str) -> tuple[Op, ...]:
        return tuple(op for letter in letters for op in half(letter))

    further = []
    for index in range(next_tokens):
        layer = next_token_layer(block(next_pattern), vocab=vocab, hidden=hidden, seq_len=seq_len)
        further.append(without_parameters(layer) if index and next_shared else layer)
    return decoder(
        where,
        (
            *runs(blocks_of(pattern), block),
            *further,
        ),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        hyper={
            "layers": len(pattern),
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "ffn": ffn or shared_ffn or expert_ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "experts": experts,
            "top_k": top_k,
            "expert_ffn": expert_ffn,
            "mamba_heads": mamba_heads,
            "pattern": pattern,
            "next_tokens": next_tokens,
            "activation": activation,
            "norm": "rmsnorm",
        },
    )


NETWORKS: Final = {"hybrid": hybrid}
