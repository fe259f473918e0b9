"""DeepSeek-V4: one key for all heads, compressed history, a sliding window, and streams mixed between blocks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from workloads.decoder_ops import embedding_layer, norm_op, runs, vocabulary_ops
from workloads.expert_ops import RoutedMlp
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, gemm, product, vector
from workloads.transformer_blocks import check_sizes, mean_context
from workloads.workload import Workload

#: Letter of a pattern -> positions that become one compressed key: none, four (and a choice among them), 128.
RATIOS: Final = {"w": 0, "s": 4, "c": 128}


def _seen(keys: int, window: int) -> int:
    return mean_context("compressed attention", seq_len=keys, window=window, share=1.0, causal=True)


@dataclass(frozen=True, kw_only=True)
class CompressedAttention:
    """Attention to a window of keys and to a compressed history; keys are also the values, one for all heads.

    With ``ratio`` 4 an indexer scores all compressed keys and each query sees the best ``chosen``; with a greater
    ratio it sees all of them; with 0 only the window.
    """

    heads: int
    query_rank: int
    output_rank: int
    output_groups: int
    chosen: int
    ratio: int
    head_dim: int = 512
    window: int = 128
    index_heads: int = 64
    index_dim: int = 128

    def __post_init__(self) -> None:
        for word in ("heads", "query_rank", "output_rank", "output_groups", "chosen", "head_dim", "window"):
            check_sizes("compressed attention", **{word: getattr(self, word)})
        if self.heads % self.output_groups:
            raise WorkloadError(
                f"compressed attention: {self.heads} heads are not a multiple of {self.output_groups} output_groups."
            )

    def context(self, seq_len: int) -> int:
        """Keys a query sees, of the window and of compressed ones (all or the best), before a causal mask halves."""
        seen = _seen(seq_len, self.window)
        if not self.ratio:
            return seen
        pool = max(1, seq_len // self.ratio)
        return seen + _seen(pool, self.chosen if self.ratio == RATIOS["s"] else pool)

    def ops(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        """From the normed input to the second output product."""
        queries = self.heads * self.head_dim
        turned = seq_len * (queries + self.head_dim)
        group = gemm(name="output down", m=seq_len, n=self.output_rank, k=queries // self.output_groups, split="heads")
        # Each group of heads has its own narrow product.
        grouped = replace(
            group,
            batch=self.output_groups,
            parameters=self.output_groups * group.parameters,
            forward_flop=self.output_groups * group.forward_flop,
            read_elements=self.output_groups * group.read_elements,
            write_elements=self.output_groups * group.write_elements,
            saved_elements=self.output_groups * group.saved_elements,
        )
        return (
            gemm(name="query down", m=seq_len, n=self.query_rank, k=hidden),
            norm_op("query norm", rows=seq_len, width=self.query_rank, split="none"),
            gemm(name="query up", m=seq_len, n=queries, k=self.query_rank, split="column"),
            gemm(name="key", m=seq_len, n=self.head_dim, k=hidden, keeps_input=False),
            norm_op("key norm", rows=seq_len, width=self.head_dim, split="none"),
            vector(name="rotary", read_elements=turned, write_elements=turned, split="inner", launches=14),
            *(self._compressor("", hidden=hidden, seq_len=seq_len, width=self.head_dim) if self.ratio else ()),
            *(self._indexer(hidden=hidden, seq_len=seq_len) if self.ratio == RATIOS["s"] else ()),
            self._core(seq_len),
            grouped,
            gemm(name="projection", m=seq_len, n=hidden, k=self.output_groups * self.output_rank, split="row"),
        )

    def _core(self, seq_len: int) -> Op:
        core = attention(
            name="attention",
            heads=self.heads,
            kv_heads=1,
            head_dim=self.head_dim,
            seq_len=seq_len,
            context=self.context(seq_len),
            causal=True,
            dropout=False,
        )
        pool = seq_len // self.ratio if self.ratio else 0
        held = (seq_len * (self.heads + 1) + pool) * self.head_dim
        return replace(core, parameters=self.heads, read_elements=held, saved_elements=float(held))

    def _compressor(self, prefix: str, *, hidden: int, seq_len: int, width: int) -> tuple[Op, ...]:
        """Keys and weights of every position, summed over ``ratio`` of them (overlapping twice where that is 4)."""
        wide = 2 * width if self.ratio == RATIOS["s"] else width
        pool = max(1, seq_len // self.ratio)
        return (
            gemm(name=f"{prefix}compressor", m=seq_len, n=2 * wide, k=hidden, keeps_input=False),
            vector(
                name=f"{prefix}compression",
                read_elements=2 * seq_len * wide,
                write_elements=pool * width,
                saved_elements=2.0 * seq_len * wide,
                parameters=self.ratio * wide + width,
                launches=12,
            ),
        )

    def _indexer(self, *, hidden: int, seq_len: int) -> tuple[Op, ...]:
        pool = max(1, seq_len // self.ratio)
        scores = self.index_heads * seq_len * pool
        return (
            gemm(
                name="index query", m=seq_len, n=self.index_heads * self.index_dim, k=self.query_rank,
                split="column", keeps_input=False,
            ),
            gemm(name="index weights", m=seq_len, n=self.index_heads, k=hidden, keeps_input=False),
            *self._compressor("index ", hidden=hidden, seq_len=seq_len, width=self.index_dim),
            product(
                name="index scores", batch=self.index_heads, m=seq_len, n=pool, k=self.index_dim,
                saved_elements=float(seq_len * self.index_heads * self.index_dim), split="heads",
            ),
            vector(
                name="index choice", read_elements=scores + seq_len * pool, write_elements=seq_len * pool,
                saved_elements=float(seq_len * self.chosen), split="inner", launches=6,
            ),
        )  # fmt: skip


def _streams(
    name: str, inner: tuple[Op, ...], *, hidden: int, streams: int, seq_len: int, rounds: int
) -> tuple[Op, ...]:
    """Half a block between streams: mix ``streams`` copies into one, norm, ``inner``, mix back [1]_.

    Weights are ``streams`` for the way in, as many for the way out and their square between copies, from one product
    with all copies; ``rounds`` of alternate normalisation make the square one doubly stochastic.

    References
    ----------
    .. [1] Xie et al., mHC: Manifold-Constrained Hyper-Connections, 2025, arXiv:2512.24880
    """
    elements, mixes = seq_len * hidden, streams * (2 + streams)
    weights = seq_len * mixes
    return (
        gemm(name=f"{name} mixing", m=seq_len, n=mixes, k=streams * hidden),
        vector(
            name=f"{name} mixing weights",
            read_elements=2 * weights * rounds,
            write_elements=2 * weights * rounds,
            saved_elements=2.0 * weights,
            parameters=mixes + 3,
            launches=2 * rounds + 6,
        ),
        vector(name=f"{name} streams in", read_elements=streams * elements, write_elements=elements, launches=2),
        norm_op(f"{name} norm", rows=seq_len, width=hidden),
        *inner,
        vector(
            name=f"{name} streams out",
            read_elements=(streams + 1) * elements,
            write_elements=streams * elements,
            saved_elements=float(elements),
            launches=4,
        ),
    )


def compressed_mixture(
    *,
    pattern: str,
    hidden: int,
    heads: int,
    query_rank: int,
    output_rank: int = 1024,
    output_groups: int,
    chosen: int,
    experts: int,
    top_k: int = 6,
    expert_ffn: int,
    shared_ffn: int,
    hashed_layers: int = 3,
    streams: int = 4,
    rounds: int = 20,
    vocab: int = 129280,
    seq_len: int = 4096,
    next_tokens: int = 1,
) -> Workload:
    """DeepSeek-V4: blocks in the order of ``pattern``, ``w`` window only, ``s`` sparse choice, ``c`` all compressed.

    The first ``hashed_layers`` blocks choose experts by a table of token ids, without balance numbers. Each module of
    multi-token prediction is one more ``w`` block. Leaves out: tensor parallelism's own cut of the streams.
    """
    where = "compressed_mixture"
    check_sizes(where, hidden=hidden, streams=streams, rounds=rounds, vocab=vocab, seq_len=seq_len)
    if not pattern or set(pattern) - set(RATIOS):
        raise WorkloadError(f"{where}: pattern is '{pattern}'. Legal: letters {', '.join(RATIOS)}, at least one.")
    mix = {"hidden": hidden, "streams": streams, "seq_len": seq_len, "rounds": rounds}

    def block(kind: str) -> tuple[Op, ...]:
        letter, choice = kind.split(" ")
        attended = CompressedAttention(
            heads=heads,
            query_rank=query_rank,
            output_rank=output_rank,
            output_groups=output_groups,
            chosen=chosen,
            ratio=RATIOS[letter],
        )
        routed = RoutedMlp(
            experts=experts, top_k=top_k, ffn=expert_ffn, shared_ffn=shared_ffn, correction_bias=choice == "learned"
        )
        return (
            *_streams("attention", attended.ops(hidden=hidden, seq_len=seq_len), **mix),
            *_streams("mlp", routed.ops(hidden=hidden, seq_len=seq_len), **mix),
        )

    collect = (
        gemm(name="streams mixing", m=seq_len, n=streams, k=streams * hidden),
        vector(
            name="streams sum",
            read_elements=streams * seq_len * hidden,
            write_elements=seq_len * hidden,
            parameters=streams + 1,
            launches=6,
        ),
        norm_op("final norm", rows=seq_len, width=hidden),
    )
    further = Layer(
        name="next token",
        kind="head",
        ops=(
            norm_op("embedding norm", rows=seq_len, width=hidden),
            norm_op("hidden norm", rows=seq_len * streams, width=hidden),
            gemm(name="embedding product", m=seq_len, n=hidden, k=hidden),
            gemm(name="hidden product", m=seq_len * streams, n=hidden, k=hidden),
            *block("w learned"),
            *collect,
            *vocabulary_ops(vocab=vocab, hidden=hidden, seq_len=seq_len, shared=True),
        ),
    )
    head = Layer(name="head", kind="head", ops=(*collect, *vocabulary_ops(vocab=vocab, hidden=hidden, seq_len=seq_len)))
    kinds = [f"{letter} {'hashed' if index < hashed_layers else 'learned'}" for index, letter in enumerate(pattern)]
    return Workload(
        name=where,
        family="transformer",
        sample="sequence",
        layers=(
            embedding_layer(vocab=vocab, hidden=hidden, seq_len=seq_len),
            *runs(kinds, block),
            *([further] * next_tokens),
            head,
        ),
        tokens_per_sample=seq_len,
        hyper={
            "layers": len(pattern),
            "hidden": hidden,
            "heads": heads,
            "kv_heads": 1,
            "ffn": shared_ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "experts": experts,
            "top_k": top_k,
            "expert_ffn": expert_ffn,
            "streams": streams,
            "pattern": pattern,
            "next_tokens": next_tokens,
            "activation": "swiglu",
            "norm": "rmsnorm",
        },
        causal=True,
    )


NETWORKS: Final = {"compressed_mixture": compressed_mixture}
