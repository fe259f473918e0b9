"""Decoders whose MLPs are routed experts: Mixtral, Qwen3, GPT-OSS, Grok-1, DBRX, OLMoE, Llama 4, Gemma 4 and alike."""

from __future__ import annotations

from typing import Final

from workloads.decoder_ops import (
    NORM_WORDS,
    GroupedAttention,
    decoder,
    half_block,
    mlp_ops,
    norm_op,
    runs,
)
from workloads.expert_ops import RoutedMlp
from workloads.op import Op, WorkloadError, vector
from workloads.transformer_blocks import check_sizes, check_words, residual
from workloads.workload import Workload


def mixture(
    *,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int = 0,
    head_dim: int = 0,
    vocab: int,
    seq_len: int = 4096,
    experts: int,
    top_k: int,
    expert_ffn: int,
    shared_ffn: int = 0,
    dense_ffn: int = 0,
    dense_layers: int = 0,
    moe_every: int = 1,
    window: int = 0,
    full_every: int = 0,
    activation: str = "swiglu",
    norm: str = "rmsnorm",
    post_norms: bool = False,
    qk_norm: str = "",
    attention_biases: bool = False,
    expert_biases: bool = False,
    sinks: bool = False,
    tied_embeddings: bool = False,
) -> Workload:
    """A decoder with experts in every ``moe_every``-th block after the first ``dense_layers``.

    Parameters
    ----------
    kv_heads, head_dim
        Default to ``heads`` and ``hidden / heads``.
    expert_ffn, shared_ffn, dense_ffn
        Inner width of one expert, of all shared experts together, of the MLP of blocks without experts.
    window, full_every
        Blocks see ``window`` keys (0: all) but for every ``full_every``-th (0: none), which sees all.
    post_norms
        A second norm after attention and after the MLP, before the sum.
    attention_biases, expert_biases
        On all four products of attention; on router and experts (GPT-OSS has both).
    sinks
        One learned logit per head.

    Raises
    ------
    WorkloadError
        For sizes that do not divide, more experts per token than there are, or a word that is not known.

    Notes
    -----
    Experts follow Shazeer et al. 2017 (arXiv:1701.06538) as Mixtral (arXiv:2401.04088) and Megatron compute them: no
    token is dropped, routing is even. Leaves out: chunks of attention (Llama 4: the same up to 8,192 tokens).
    """
    where = "mixture"
    check_sizes(where, layers=layers, hidden=hidden, heads=heads, vocab=vocab, seq_len=seq_len)
    check_sizes(where, moe_every=moe_every)
    if min(window, full_every) < 0:
        raise WorkloadError(f"{where}: window is {window}, full_every is {full_every}; 0 (none) or more.")
    check_words(where, ("norm", norm, NORM_WORDS))
    if not head_dim and hidden % heads:
        raise WorkloadError(f"{where}: hidden {hidden} is not a multiple of {heads} heads.")
    if not 0 <= dense_layers < layers:
        raise WorkloadError(f"{where}: dense_layers is {dense_layers}; 0 to {layers - 1}, one layer less than all.")
    if (dense_layers or moe_every > 1) and dense_ffn < 1:
        raise WorkloadError(f"{where}: dense_ffn is {dense_ffn}; blocks without experts need at least 1.")
    head_dim, kv_heads = head_dim or hidden // heads, kv_heads or heads
    routed = RoutedMlp(
        experts=experts,
        top_k=top_k,
        ffn=expert_ffn,
        shared_ffn=shared_ffn,
        activation=activation,
        router_bias=expert_biases,
        expert_biases=expert_biases,
    )

    def block(kind: str) -> tuple[Op, ...]:
        sight, inner = kind.split(" ")
        attention = GroupedAttention(
            heads=heads,
            kv_heads=kv_heads,
            head_dim=head_dim,
            window=window if sight == "windowed" else 0,
            biases=attention_biases,
            output_bias=attention_biases,
            qk_norm=qk_norm,
            sinks=sinks,
        )
        mlp = (
            mlp_ops(hidden=hidden, ffn=dense_ffn, seq_len=seq_len, activation=activation)
            if inner == "dense"
            else routed.ops(hidden=hidden, seq_len=seq_len)
        )
        return (
            *half_block(
                "attention",
                attention.ops(hidden=hidden, seq_len=seq_len),
                hidden=hidden,
                seq_len=seq_len,
                word=norm,
                post_norm=post_norms,
            ),
            *half_block("mlp", mlp, hidden=hidden, seq_len=seq_len, word=norm, post_norm=post_norms),
        )

    kinds = []
    for index in range(layers):
        whole = not window or (full_every > 0 and (index + 1) % full_every == 0)
        dense = index < dense_layers or (index + 1 - dense_layers) % moe_every != 0
        kinds.append(f"{'full' if whole else 'windowed'} {'dense' if dense else 'experts'}")
    return decoder(
        "mixture",
        (*runs(kinds, block),),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        norm=norm,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": kv_heads,
            "head_dim": head_dim,
            "ffn": dense_ffn or shared_ffn or expert_ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "experts": experts,
            "top_k": top_k,
            "expert_ffn": expert_ffn,
            "activation": activation,
            "norm": norm,
        },
        tied_embeddings=tied_embeddings,
    )


def gemma4_mixture(
    *,
    layers: int = 30,
    hidden: int = 2816,
    heads: int = 16,
    kv_heads: int = 8,
    head_dim: int = 256,
    full_kv_heads: int = 2,
    full_head_dim: int = 512,
    window: int = 1024,
    full_every: int = 6,
    ffn: int = 2112,
    experts: int = 128,
    top_k: int = 8,
    expert_ffn: int = 704,
    vocab: int = 262144,
    seq_len: int = 4096,
) -> Workload:
    """Gemma 4 26B-A4B's text decoder: an MLP and routed experts side by side, each between norms of its own.

    Every ``full_every``-th block sees all keys, with wider heads whose values are its keys; the others see ``window``
    keys. Leaves out: the vision tower (573 million parameters), the soft cap of the logits.
    """
    where = "gemma4_mixture"
    check_sizes(where, layers=layers, hidden=hidden, ffn=ffn, vocab=vocab, seq_len=seq_len, full_every=full_every)
    elements = seq_len * hidden

    def whole_norm(name: str) -> Op:
        return norm_op(name, rows=seq_len, width=hidden)

    routed = RoutedMlp(experts=experts, top_k=top_k, ffn=expert_ffn, activation="geglu")

    def block(kind: str) -> tuple[Op, ...]:
        whole = kind == "full"
        attention = GroupedAttention(
            heads=heads,
            kv_heads=full_kv_heads if whole else kv_heads,
            head_dim=full_head_dim if whole else head_dim,
            window=0 if whole else window,
            qk_norm="head",
            shared_values=whole,
        )
        # The router norms its own input, scales it per channel, and scales each expert's weight.
        router_scale = vector(
            name="router norm",
            read_elements=elements,
            write_elements=elements,
            parameters=hidden + experts,
            split="sequence",
            launches=8,
        )
        return (
            *half_block(
                "attention",
                attention.ops(hidden=hidden, seq_len=seq_len),
                hidden=hidden,
                seq_len=seq_len,
                post_norm=True,
            ),
            whole_norm("mlp norm"),
            *mlp_ops(hidden=hidden, ffn=ffn, seq_len=seq_len, activation="geglu"),
            whole_norm("mlp inner norm"),
            router_scale,
            whole_norm("experts norm"),
            *routed.ops(hidden=hidden, seq_len=seq_len),
            whole_norm("experts inner norm"),
            residual("mlp and experts sum", elements, dropout=False),
            whole_norm("mlp post norm"),
            residual("mlp residual", elements, dropout=False),
        )

    return decoder(
        "gemma4_mixture",
        (*runs(["full" if (index + 1) % full_every == 0 else "windowed" for index in range(layers)], block),),
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": full_kv_heads,
            "head_dim": head_dim,
            "ffn": ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "experts": experts,
            "top_k": top_k,
            "expert_ffn": expert_ffn,
            "activation": "geglu",
            "norm": "rmsnorm",
        },
        tied_embeddings=True,
    )


NETWORKS: Final = {"mixture": mixture, "gemma4_mixture": gemma4_mixture}
