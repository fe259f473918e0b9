"""Transformer-XL: segments that look back at the hidden states of the one before, over a large vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, product, vector
from workloads.transformer_blocks import check_sizes, dropout, feed_forward, head_width, norm, residual
from workloads.workload import Workload

#: Word counts fall as rank to this power; its last words occur so often; all words of WikiText-103 (recalled).
_ZIPF: Final = 1.5
_RAREST: Final = 3.0
_WORDS: Final = 103.2e6
#: Projecting the relative positions is done once for all samples of a step; each is charged this share of it.
SAMPLES_PER_STEP: Final = 32


def transformer_xl(
    *,
    layers: int = 16,
    hidden: int = 512,
    heads: int = 8,
    ffn: int = 2048,
    seq_len: int = 192,
    memory: int = 0,
    vocab: int = 267735,
    cutoffs: tuple[int, ...] = (),
    shrink: int = 1,
    attention_dropout: bool = False,
) -> Workload:
    """Transformer-XL [1]_ as the published runs trained it [2]_; a sample is one segment of ``seq_len`` words.

    Queries are those of the segment; keys and values those of the ``memory`` before it (as many as the segment when
    0) and of the segment itself. Scores are two products, of contents and of relative positions, whose rows are
    shifted against each other; the implementation runs them unfused, so they stand here one by one. The product for
    queries, keys and values runs over the memory too, which keeps the hidden states for the next segment.

    Without ``cutoffs`` every position meets the whole vocabulary. With them the softmax is adaptive: all positions
    meet the words up to the first cutoff and one column for each tail, a tail's words only the positions whose
    target is in it. ``shrink`` divides the width of each next group of words (then every group has a projection).
    Table and head share their words.

    `Workload.parameters` is the count that the training program prints: 191,948,759 (base) and 519,963,095 (large)
    without cutoffs.

    Raises
    ------
    WorkloadError
        For sizes that do not divide, or cutoffs that do not rise within the vocabulary.

    Notes
    -----
    Leaves out: the wait of the host for the positions of each tail, sinusoids (once a step).

    References
    ----------
    .. [1] Dai et al., Transformer-XL, 2019, arXiv:1901.02860
    .. [2] NVIDIA/DeepLearningExamples PyTorch/LanguageModeling/Transformer-XL
    """
    where = "transformer-xl"
    memory = memory or seq_len
    check_sizes(where, layers=layers, hidden=hidden, heads=heads, ffn=ffn, seq_len=seq_len, vocab=vocab, shrink=shrink)
    edges = (0, *cutoffs, vocab)
    if any(after <= before for before, after in pairwise(edges)):
        raise WorkloadError(f"{where}: cutoffs {list(cutoffs)} must rise between 0 and the vocabulary of {vocab}.")
    if hidden % shrink ** len(cutoffs):
        raise WorkloadError(f"{where}: hidden {hidden} is not a multiple of {shrink} to the power {len(cutoffs)}.")
    groups = _groups(edges, hidden=hidden, shrink=shrink, rows=seq_len)
    elements = seq_len * hidden
    block = _unsplit(
        *_attention(
            hidden=hidden,
            heads=heads,
            head_dim=head_width(where, hidden=hidden, heads=heads, head_dim=None),
            rows=seq_len,
            keys=memory + seq_len,
            attention_dropout=attention_dropout,
        ),
        *feed_forward(hidden=hidden, ffn=ffn, seq_len=seq_len, activation="relu", inner_dropout=True),
        residual("mlp residual", elements, dropout=True),
        norm("mlp norm", rows=seq_len, width=hidden),
    )
    return Workload(
        name=where,
        family="transformer",
        sample="sequence",
        layers=(
            Layer(name="embedding", kind="embedding", ops=_embedding(groups, hidden=hidden, rows=seq_len)),
            Layer(name="block", kind="block", ops=block, repeat=layers),
            Layer(name="head", kind="head", ops=_head(groups, hidden=hidden, rows=seq_len)),
        ),
        tokens_per_sample=seq_len,
        hyper={
            "layers": layers,
            "hidden": hidden,
            "heads": heads,
            "kv_heads": heads,
            "ffn": ffn,
            "vocab": vocab,
            "seq_len": seq_len,
            "memory": memory,
        },
        # A table in pieces is held by the embedding alone; see `_head`.
        tied_embeddings=shrink == 1,
        causal=True,
    )


class _Group:
    """Words of neighbouring rank: how many, how wide, and the positions of a segment whose word is among them."""

    def __init__(self, *, words: int, width: int, rows: int) -> None:
        self.words, self.width, self.rows = words, width, rows


def _groups(edges: tuple[int, ...], *, hidden: int, shrink: int, rows: int) -> tuple[_Group, ...]:
    vocab = edges[-1]
    groups = []
    for index, (first, last) in enumerate(pairwise(edges)):
        share = tail_share(first, last, vocab=vocab) if index else 1.0
        groups.append(
            _Group(words=last - first, width=hidden // shrink**index, rows=rows if not index else _some(share, rows))
        )
    return tuple(groups)


def _some(share: float, rows: int) -> int:
    return max(1, round(share * rows))


def tail_share(first: int, last: int, *, vocab: int) -> float:
    """Share of running words whose rank is between two cutoffs.

    .. math:: p = \\frac{1}{T} \\int_a^b c (V / r)^z dr = \\frac{c V^z}{T (z - 1)} (a^{1 - z} - b^{1 - z})

    a, b ranks, V vocabulary [words], c how often its rarest word occurs, T running words, z = 1.5: the tail of
    WikiText-103, whose words occur three times at least.
    """
    power = 1.0 - _ZIPF
    return float(_RAREST * vocab**_ZIPF / (_WORDS * -power) * (first**power - last**power))


def _embedding(groups: tuple[_Group, ...], *, hidden: int, rows: int) -> tuple[Op, ...]:
    elements = rows * hidden
    ops: list[Op] = []
    if len({group.width for group in groups}) == 1:
        words = sum(group.words for group in groups)
        ops.append(embedding(name="word embedding", rows=words, width=hidden, tokens=rows, split="none"))
    else:
        for group in groups:
            ops += [
                vector(name="words of a group", read_elements=4 * rows, write_elements=4 * rows, launches=6),
                embedding(name="word embedding", rows=group.words, width=group.width, tokens=group.rows, split="none"),
                gemm(name="embedding projection", m=group.rows, n=hidden, k=group.width),
                _copy("place embeddings", group.rows * hidden),
            ]
    # The two biases of the queries belong to all blocks; they are held here.
    scale = replace(_copy("scale and biases of queries", elements), parameters=2 * hidden)
    return (*ops, scale, dropout("embedding dropout", elements, split="none"))


def _attention(
    *, hidden: int, heads: int, head_dim: int, rows: int, keys: int, attention_dropout: bool
) -> tuple[Op, ...]:
    width, scores = heads * head_dim, heads * rows * keys
    masked = (
        vector(
            name="attention dropout", read_elements=scores, write_elements=scores, saved_elements=1.5 * scores
        ),
    )  # fmt: skip
    return (
        # What the next segment will look back at stays allocated.
        replace(_copy("memory of the next segment", rows * hidden), saved_elements=float(rows * hidden)),
        _copy("memory and segment", keys * hidden),
        gemm(name="qkv", m=keys, n=3 * width, k=hidden),
        gemm(name="positions", m=-(-keys // SAMPLES_PER_STEP), n=width, k=hidden, keeps_input=False),
        vector(
            name="query biases",
            read_elements=2 * rows * width,
            write_elements=2 * rows * width,
            saved_elements=2.0 * rows * width,
            launches=2,
        ),
        replace(_copy("keys and values in order", 2 * keys * width), launches=2),
        product(name="content scores", batch=heads, m=rows, n=keys, k=head_dim, saved_elements=float(keys * width)),
        product(name="position scores", batch=heads, m=rows, n=keys, k=head_dim, saved_elements=0.0),
        # Pad and shift, sum and scale, mask.
        vector(name="shift, sum, mask", read_elements=4 * scores, write_elements=3 * scores, launches=4),
        vector(name="softmax", read_elements=scores, write_elements=scores, saved_elements=float(scores)),
        *(masked if attention_dropout else ()),
        product(name="weighted values", batch=heads, m=rows, n=head_dim, k=keys, saved_elements=float(keys * width)),
        _copy("heads side by side", rows * width),
        gemm(name="projection", m=rows, n=hidden, k=width),
        residual("attention residual", rows * hidden, dropout=True),
        norm("attention norm", rows=rows, width=hidden),
    )


def _head(groups: tuple[_Group, ...], *, hidden: int, rows: int) -> tuple[Op, ...]:
    """The (adaptive) softmax.

    One table in one piece is tied as in other models: the head counts it again. Tables of several widths stay with
    the embedding; the head adds biases, the columns of the tails and the first group's projection.
    """
    first, tails = groups[0], groups[1:]
    shrinks = any(group.width != hidden for group in tails)
    columns = first.words + len(tails)
    ops: list[Op] = [dropout("output dropout", rows * hidden, split="none")]
    if shrinks:
        ops.append(gemm(name="output projection", m=rows, n=hidden, k=hidden))
    shortlist = gemm(name="vocabulary", m=rows, n=columns, k=hidden, bias=True)
    if shrinks:
        shortlist = replace(shortlist, parameters=columns + len(tails) * hidden)
    ops += [shortlist, _log_softmax(rows * columns)]
    for group in tails:
        ops.append(vector(name="targets of a tail", read_elements=6 * rows, write_elements=4 * rows, launches=12))
        ops.append(_copy("hidden states of a tail", group.rows * hidden))
        if shrinks:
            ops.append(replace(gemm(name="tail projection", m=group.rows, n=group.width, k=hidden), parameters=0))
        tail = gemm(name="tail vocabulary", m=group.rows, n=group.words, k=group.width, bias=True)
        ops += [replace(tail, parameters=group.words) if shrinks else tail, _log_softmax(group.rows * group.words)]
    return tuple(ops)


def _log_softmax(logits: int) -> Op:
    # Log-softmax in the type of the logits, kept; its negative; the target's.
    return vector(
        name="log-softmax",
        read_elements=2 * logits,
        write_elements=2 * logits,
        saved_elements=float(logits),
        launches=3,
    )


def _copy(name: str, elements: int) -> Op:
    return vector(name=name, read_elements=elements, write_elements=elements)


def _unsplit(*ops: Op) -> tuple[Op, ...]:
    """The same ops replicated: nobody split this network over tensor-parallel ranks."""
    return tuple(replace(op, split="none") for op in ops)


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"transformer_xl": transformer_xl}
