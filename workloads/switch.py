"""Switch Transformers: encoder and decoder of T5's kind, every other MLP with experts of which a token uses one."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.decoder_ops import embedding_layer, half_block, head_layer, mlp_ops, runs
from workloads.expert_ops import RoutedMlp
from workloads.op import Op, WorkloadError, attention, gemm, vector
from workloads.transformer_blocks import check_sizes
from workloads.workload import Workload


def switch(
    *,
    layers: int = 24,
    hidden: int = 1024,
    heads: int = 32,
    head_dim: int = 128,
    ffn: int = 16384,
    experts: int = 4,
    capacity: int = 0,
    moe_every: int = 2,
    buckets: int = 32,
    vocab: int = 32128,
    seq_len: int = 512,
    target_len: int = 0,
) -> Workload:
    """A Switch Transformer with ``layers`` blocks in the encoder and as many in the decoder [1]_.

    ``seq_len`` are the positions of the source, which a sample is counted in; the target has ``target_len`` (0: as
    many). Every expert multiplies ``capacity`` rows per sequence, filled or not; 0 for as many as tokens choose it.

    References
    ----------
    .. [1] Fedus, Zoph, Shazeer, Switch Transformers, 2021, arXiv:2101.03961; sizes of Hugging Face's
       ``SwitchTransformersForConditionalGeneration``
    """
    where = "switch"
    check_sizes(where, layers=layers, hidden=hidden, ffn=ffn, seq_len=seq_len, moe_every=moe_every, buckets=buckets)
    check_sizes(where, vocab=vocab)
    if target_len < 0:
        raise WorkloadError(f"{where}: target_len is {target_len}; 0 (as long as the source) or more.")
    target = target_len or seq_len
    routed = RoutedMlp(experts=experts, top_k=1, ffn=ffn, activation="relu", capacity_rows=capacity)

    def attended(name: str, queries: int, keys: int, *, causal: bool, bias: bool) -> tuple[Op, ...]:
        width, own = heads * head_dim, queries == keys and name == "attention"
        core = attention(
            name=name, heads=heads, kv_heads=heads, head_dim=head_dim, seq_len=queries, context=keys, causal=causal,
            dropout=True,
        )  # fmt: skip
        products = (
            (gemm(name="qkv", m=queries, n=3 * width, k=hidden, split="column"),)
            if own
            else (
                gemm(name="cross query", m=queries, n=width, k=hidden, split="column"),
                gemm(name="cross key value", m=keys, n=2 * width, k=hidden, split="column", keeps_input=False),
            )
        )
        # Relative positions: a table of buckets x heads, added to every layer's scores, learned by the first.
        position = vector(
            name="position bias", read_elements=queries * keys, write_elements=heads * queries * keys,
            parameters=buckets * heads if bias else 0, split="heads", launches=20 if bias else 1,
        )  # fmt: skip
        return half_block(
            name,
            (
                *products,
                *((position,) if own else ()),
                core,
                gemm(name="projection", m=queries, n=hidden, k=width, split="row"),
            ),
            hidden=hidden,
            seq_len=queries,
        )

    def block(kind: str) -> tuple[Op, ...]:
        side, inner = kind.split(" ")[:2]
        rows, encodes = (seq_len, True) if side == "encoder" else (target, False)
        first = kind.endswith("first")
        mlp = (
            routed.ops(hidden=hidden, seq_len=rows)
            if inner == "experts"
            else mlp_ops(hidden=hidden, ffn=ffn, seq_len=rows, activation="relu")
        )
        cross = () if encodes else attended("cross attention", rows, seq_len, causal=False, bias=False)
        return (
            *attended("attention", rows, rows, causal=not encodes, bias=first),
            *cross,
            *half_block("mlp", mlp, hidden=hidden, seq_len=rows),
        )

    def kinds(side: str) -> list[str]:
        inner = ["experts" if (index + 1) % moe_every == 0 else "dense" for index in range(layers)]
        return [f"{side} {word}{' first' if not index else ''}" for index, word in enumerate(inner)]

    source = embedding_layer(vocab=vocab, hidden=hidden, seq_len=seq_len)
    again = embedding_layer(vocab=vocab, hidden=hidden, seq_len=target).ops[0]
    closing = head_layer(vocab=vocab, hidden=hidden, seq_len=seq_len).ops[0]
    encoder, decoder = runs(kinds("encoder"), block), runs(kinds("decoder"), block)
    # The encoder's last norm stays with its last block; the decoder looks up the same table.
    encoder = (*encoder[:-1], replace(encoder[-1], ops=(*encoder[-1].ops, replace(closing, name="encoder norm"))))
    second = vector(name="target embedding", read_elements=again.read_elements, write_elements=again.write_elements)
    decoder = (replace(decoder[0], ops=(second, *decoder[0].ops)), *decoder[1:])
    return Workload(
        name=where,
        family="transformer",
        sample="sequence",
        layers=(source, *encoder, *decoder, head_layer(vocab=vocab, hidden=hidden, seq_len=target)),
        tokens_per_sample=seq_len,
        hyper={
            "layers": 2 * layers,
            "hidden": hidden,
            "heads": heads,
            "head_dim": head_dim,
            "ffn": ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "target_len": target,
            "experts": experts,
            "top_k": 1,
            "activation": "relu",
            "norm": "rmsnorm",
        },
        tied_embeddings=True,
    )


NETWORKS: Final = {"switch": switch}
