"""Multi-head latent attention and the decoders built on it: DeepSeek-V2, -V2-Lite, -V3 and Kimi K2."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from workloads.decoder_ops import decoder, half_block, mlp_ops, norm_op, runs, vocabulary_ops
from workloads.expert_ops import RoutedMlp
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, embedding, gemm, vector
from workloads.transformer_blocks import check_sizes
from workloads.workload import Workload


@dataclass(frozen=True, kw_only=True)
class LatentAttention:
    """Queries, keys and values out of narrow latents [1]_.

    With latents of ``query_rank`` (0: queries come straight from the input) and ``key_rank``, per head ``head_dim``
    channels without position and ``rotary_dim`` with, values of ``value_dim``; the turned keys are one for all heads.

    References
    ----------
    .. [1] DeepSeek-AI, DeepSeek-V2, 2024, section 2.1, arXiv:2405.04434
    """

    heads: int
    query_rank: int = 0
    key_rank: int = 512
    head_dim: int = 128
    rotary_dim: int = 64
    value_dim: int = 128

    def __post_init__(self) -> None:
        check_sizes("latent attention", heads=self.heads, key_rank=self.key_rank, head_dim=self.head_dim)
        check_sizes("latent attention", rotary_dim=self.rotary_dim, value_dim=self.value_dim)
        if self.query_rank < 0:
            raise WorkloadError(f"latent attention: query_rank is {self.query_rank}; 0 (none) or more.")

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the projection's output, as training computes it: keys and values are expanded."""
        width = self.head_dim + self.rotary_dim
        turned = seq_len * self.heads * width
        query: tuple[Op, ...]
        if self.query_rank:
            norm = norm_op("query norm", rows=seq_len, width=self.query_rank)
            query = (
                gemm(name="query down", m=seq_len, n=self.query_rank, k=hidden, keeps_input=False),
                # The block's normed input is kept here: latents are computed on the sequence's own share.
                replace(norm, saved_elements=norm.saved_elements + seq_len * hidden),
                gemm(name="query up", m=seq_len, n=self.heads * width, k=self.query_rank, split="column"),
            )
        else:
            query = (gemm(name="query", m=seq_len, n=self.heads * width, k=hidden, split="column"),)
        return (
            *query,
            gemm(name="key value down", m=seq_len, n=self.key_rank + self.rotary_dim, k=hidden, keeps_input=False),
            norm_op("key value norm", rows=seq_len, width=self.key_rank),
            gemm(
                name="key value up",
                m=seq_len,
                n=self.heads * (self.head_dim + self.value_dim),
                k=self.key_rank,
                split="column",
            ),
            # The shared turned key is copied to all heads: queries and keys are read and written whole.
            vector(name="rotary", read_elements=2 * turned, write_elements=2 * turned, split="inner", launches=14),
            attention(
                name="attention",
                heads=self.heads,
                kv_heads=self.heads,
                head_dim=width,
                value_dim=self.value_dim,
                seq_len=seq_len,
                context=seq_len,
                causal=True,
                dropout=False,
            ),
            gemm(name="projection", m=seq_len, n=hidden, k=self.heads * self.value_dim, split="row"),
        )


def next_token_layer(block: tuple[Op, ...], *, vocab: int, hidden: int, seq_len: int) -> Layer:
    """A module that predicts one token further: two norms, a product of both, one more block, the shared head [1]_.

    Table and head are those of the model: looked up and multiplied again, counted once.

    References
    ----------
    .. [1] DeepSeek-AI, DeepSeek-V3 Technical Report, 2024, section 2.2, arXiv:2412.19437
    """
    table = embedding(name="token embedding", rows=vocab, width=hidden, tokens=seq_len)
    return Layer(
        name="next token",
        kind="head",
        ops=(
            vector(name="shared table", read_elements=table.read_elements, write_elements=table.write_elements),
            norm_op("embedding norm", rows=seq_len, width=hidden),
            norm_op("hidden norm", rows=seq_len, width=hidden),
            gemm(name="next token product", m=seq_len, n=hidden, k=2 * hidden),
            *block,
            norm_op("final norm", rows=seq_len, width=hidden),
            *vocabulary_ops(vocab=vocab, hidden=hidden, seq_len=seq_len, shared=True),
        ),
    )


def latent_mixture(
    *,
    layers: int,
    hidden: int,
    heads: int,
    query_rank: int = 0,
    key_rank: int = 512,
    head_dim: int = 128,
    rotary_dim: int = 64,
    value_dim: int = 128,
    vocab: int,
    seq_len: int = 4096,
    dense_layers: int = 1,
    dense_ffn: int,
    experts: int,
    top_k: int,
    expert_ffn: int,
    shared_ffn: int,
    correction_bias: bool = False,
    next_tokens: int = 0,
) -> Workload:
    """A decoder with latent attention and, after the first ``dense_layers``, routed and shared experts.

    Parameters
    ----------
    shared_ffn
        Inner width of all shared experts together.
    correction_bias
        One number per expert that balances the load without a loss (DeepSeek-V3, Kimi K2).
    next_tokens
        Modules of multi-token prediction; each is one more block and one more use of the head.

    Notes
    -----
    Leaves out: the auxiliary losses, groups of experts a token is limited to (they change who sends, not how much).
    """
    where = "latent_mixture"
    check_sizes(where, layers=layers, hidden=hidden, vocab=vocab, seq_len=seq_len, dense_ffn=dense_ffn)
    if not 0 <= dense_layers < layers:
        raise WorkloadError(f"{where}: dense_layers is {dense_layers}; 0 to {layers - 1}, one layer less than all.")
    if next_tokens < 0:
        raise WorkloadError(f"{where}: next_tokens is {next_tokens}; 0 (none) or more.")
    latent = LatentAttention(
        heads=heads,
        query_rank=query_rank,
        key_rank=key_rank,
        head_dim=head_dim,
        rotary_dim=rotary_dim,
        value_dim=value_dim,
    )
    routed = RoutedMlp(
        experts=experts, top_k=top_k, ffn=expert_ffn, shared_ffn=shared_ffn, correction_bias=correction_bias
    )

    def block(kind: str) -> tuple[Op, ...]:
        if kind == "dense":
            mlp = mlp_ops(hidden=hidden, ffn=dense_ffn, seq_len=seq_len, activation="swiglu")
        else:
            mlp = routed.ops(hidden=hidden, seq_len=seq_len)
        attended = latent.ops(hidden=hidden, seq_len=seq_len)
        return (
            *half_block("attention", attended, hidden=hidden, seq_len=seq_len),
            *half_block("mlp", mlp, hidden=hidden, seq_len=seq_len),
        )

    kinds = ["dense"] * dense_layers + ["experts"] * (layers - dense_layers)
    further = next_token_layer(block("experts"), vocab=vocab, hidden=hidden, seq_len=seq_len)
    return decoder(
        where,
        (
            *runs(kinds, block),
            *([further] * next_tokens),
        ),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": heads,
            "head_dim": head_dim + rotary_dim,
            "ffn": dense_ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "experts": experts,
            "top_k": top_k,
            "expert_ffn": expert_ffn,
            "next_tokens": next_tokens,
            "activation": "swiglu",
            "norm": "rmsnorm",
        },
    )


NETWORKS: Final = {"latent_mixture": latent_mixture}
