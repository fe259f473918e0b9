"""Gated delta networks, linear attention whose state is written and erased: Qwen3-Next, Kimi Delta Attention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workloads.decoder_ops import GroupedAttention, decoder, half_block, mlp_ops, runs
from workloads.expert_ops import RoutedMlp
from workloads.latent_attention import next_token_layer
from workloads.op import Op, WorkloadError, gemm, product, vector
from workloads.transformer_blocks import check_sizes, check_words
from workloads.workload import Workload

#: How a state decays: one number per head and position [1]_, or one per key channel [2]_.
DECAYS: Final = ("head", "channel")


@dataclass(frozen=True, kw_only=True)
class DeltaAttention:
    """A gated delta network, computed in chunks: decay per head [1]_ or per channel of the keys [2]_.

    Per value head and chunk of C positions with keys of K and values of V channels: two products of keys and queries
    with keys (2 C C K each), the triangular inverse times keys (2 C C K) and values (2 C C V), scores times values
    (2 C C V), keys and queries times the state (2 C K V each), the update (2 C K V) [FLOP]. Leaves out: the triangular
    inverse itself, which libraries do not count.

    References
    ----------
    .. [1] Yang, Kautz, Hatamizadeh, Gated Delta Networks, 2024, arXiv:2412.06464
    .. [2] Kimi Team, Kimi Linear, 2025, arXiv:2510.26692
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    decay: str = "head"
    kernel: int = 4
    chunk: int = 64

    def __post_init__(self) -> None:
        check_sizes("delta attention", key_heads=self.key_heads, value_heads=self.value_heads)
        check_sizes(
            "delta attention", key_dim=self.key_dim, value_dim=self.value_dim, chunk=self.chunk, kernel=self.kernel
        )
        check_words("delta attention", ("decay", self.decay, DECAYS))
        if self.value_heads % self.key_heads:
            raise WorkloadError(
                f"delta attention: {self.value_heads} value heads are not a multiple of {self.key_heads} key heads."
            )

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the output product.

        Kept are the first product's output, the convolved queries, keys and values, the triangular inverses of all
        chunks and the output; states are computed again in the backward pass.
        """
        keys, values = self.key_heads * self.key_dim, self.value_heads * self.value_dim
        mixed = 2 * keys + values
        chunks = -(-seq_len // self.chunk)
        size = min(self.chunk, seq_len)
        per_channel = self.decay == "channel"
        # Gates come straight from the input, or through a latent as wide as one head's values.
        gates = 2 * self.value_dim + self.value_heads if per_channel else values + 2 * self.value_heads
        width, decays = mixed + gates, keys if per_channel else self.value_heads
        expanded = (
            (
                gemm(name="decay up", m=seq_len, n=keys, k=self.value_dim, split="column", keeps_input=False),
                gemm(name="gate up", m=seq_len, n=values, k=self.value_dim, split="column", keeps_input=False),
            )
            if per_channel
            else ()
        )
        turned = seq_len * (2 * self.value_heads * self.key_dim + values)

        def chunked(name: str, times: int, m: int, n: int, k: int) -> Op:
            batch = times * self.value_heads * chunks
            return product(name=name, batch=batch, m=m, n=n, k=k, saved_elements=0.0, split="heads")

        return (
            gemm(name="delta in", m=seq_len, n=width, k=hidden, split="column"),
            *expanded,
            vector(
                name="short convolution",
                read_elements=seq_len * mixed,
                write_elements=seq_len * mixed,
                saved_elements=float(seq_len * width),
                parameters=mixed * self.kernel,
                split="inner",
                launches=2,
            ),
            # Queries and keys are normed to length one; decays (fp32) are summed within a chunk.
            vector(
                name="delta gates",
                read_elements=turned + 2 * seq_len * decays,
                write_elements=turned + 4 * seq_len * decays,
                saved_elements=float(seq_len * mixed + 2 * seq_len * decays),
                parameters=self.value_heads + decays,
                split="inner",
                launches=6,
            ),
            chunked("delta scores", 2, size, size, self.key_dim),
            vector(
                name="triangular inverse",
                read_elements=chunks * self.value_heads * size * size,
                write_elements=chunks * self.value_heads * size * size,
                saved_elements=float(chunks * self.value_heads * size * size),
                split="inner",
                launches=2,
            ),
            chunked("delta keys", 1, size, self.key_dim, size),
            chunked("delta values", 2, size, self.value_dim, size),
            chunked("delta states", 2, size, self.value_dim, self.key_dim),
            chunked("delta update", 1, self.key_dim, self.value_dim, size),
            vector(
                name="gated norm",
                read_elements=2 * seq_len * values,
                write_elements=seq_len * values,
                saved_elements=float(seq_len * values),
                parameters=self.value_dim,
                split="inner",
                launches=2,
            ),
            gemm(name="delta out", m=seq_len, n=hidden, k=values, split="row"),
        )


def delta_decoder(
    *,
    layers: int,
    hidden: int,
    ffn: int,
    key_heads: int,
    value_heads: int,
    key_dim: int,
    value_dim: int,
    decay: str = "head",
    vocab: int,
    seq_len: int = 2048,
    tied_embeddings: bool = True,
) -> Workload:
    """A decoder of gated delta networks and gated MLPs only, without positions."""
    where = "delta_decoder"
    check_sizes(where, layers=layers, hidden=hidden, ffn=ffn, vocab=vocab, seq_len=seq_len)
    delta = DeltaAttention(
        key_heads=key_heads, value_heads=value_heads, key_dim=key_dim, value_dim=value_dim, decay=decay
    )
    mlp = mlp_ops(hidden=hidden, ffn=ffn, seq_len=seq_len, activation="swiglu")
    block = (
        *half_block("delta", delta.ops(hidden=hidden, seq_len=seq_len), hidden=hidden, seq_len=seq_len),
        *half_block("mlp", mlp, hidden=hidden, seq_len=seq_len),
    )
    return decoder(
        where,
        (*runs(["delta"] * layers, lambda _: block),),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": value_heads,
            "kv_heads": key_heads,
            "ffn": ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "decay": decay,
        },
        tied_embeddings=tied_embeddings,
    )


def gated_hybrid(
    *,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    full_every: int = 4,
    key_heads: int = 16,
    value_heads: int = 32,
    key_dim: int = 128,
    value_dim: int = 128,
    experts: int,
    top_k: int,
    expert_ffn: int,
    shared_ffn: int,
    vocab: int,
    seq_len: int = 4096,
    next_tokens: int = 0,
) -> Workload:
    """Qwen3-Next and Qwen3.5: gated delta networks, every ``full_every``-th block gated attention; experts in all.

    Leaves out: the vision tower of Qwen3.5.
    """
    where = "gated_hybrid"
    check_sizes(where, layers=layers, hidden=hidden, vocab=vocab, seq_len=seq_len, full_every=full_every)
    delta = DeltaAttention(key_heads=key_heads, value_heads=value_heads, key_dim=key_dim, value_dim=value_dim)
    attention = GroupedAttention(heads=heads, kv_heads=kv_heads, head_dim=head_dim, qk_norm="head", gated=True)
    routed = RoutedMlp(experts=experts, top_k=top_k, ffn=expert_ffn, shared_ffn=shared_ffn, shared_gate=shared_ffn > 0)

    def block(kind: str) -> tuple[Op, ...]:
        inner = attention if kind == "full" else delta
        return (
            *half_block(
                "attention" if kind == "full" else "delta",
                inner.ops(hidden=hidden, seq_len=seq_len),
                hidden=hidden,
                seq_len=seq_len,
            ),
            *half_block("mlp", routed.ops(hidden=hidden, seq_len=seq_len), hidden=hidden, seq_len=seq_len),
        )

    further = next_token_layer(block("full"), vocab=vocab, hidden=hidden, seq_len=seq_len)
    return decoder(
        where,
        (
            *runs(["full" if (index + 1) % full_every == 0 else "delta" for index in range(layers)], block),
            *([further] * next_tokens),
        ),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "ffn": shared_ffn or expert_ffn,
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


NETWORKS: Final = {"delta_decoder": delta_decoder, "gated_hybrid": gated_hybrid}
