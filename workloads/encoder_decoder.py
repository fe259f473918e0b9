"""Encoder-decoder transformers: the first one, T5 and BART."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, vector
from workloads.transformer_blocks import (
    ACTIVATIONS,
    NORMS,
    check_sizes,
    check_words,
    cross_attention,
    dropout,
    feed_forward,
    head_width,
    norm,
    residual,
    self_attention,
    table_sum,
    vocabulary,
)
from workloads.workload import Workload

NORM_POSITIONS: Final = ("pre", "post")
#: Learned tables, a fixed table added to the embeddings, or T5's learned bias of the scores by distance.
POSITIONS: Final = ("learned", "sinusoidal", "relative")
#: Distances that T5 tells apart.
RELATIVE_BUCKETS: Final = 32


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What the encoder and the decoder have in common."""

    hidden: int
    heads: int
    head_dim: int
    ffn: int
    activation: str
    norm: str
    norm_position: str
    biases: bool
    dropout: bool
    inner_dropout: bool
    positions: str
    max_positions: int

    def norm_op(self, name: str, rows: int) -> Op:
        """A norm over rows of the model's width."""
        return norm(name, rows=rows, width=self.hidden, word=self.norm)

    def half(self, name: str, rows: int, ops: tuple[Op, ...]) -> tuple[Op, ...]:
        """Ops between their norm and their residual, in the order of ``norm_position``."""
        closing = residual(f"{name} residual", rows * self.hidden, dropout=self.dropout)
        own = self.norm_op(f"{name} norm", rows)
        return (own, *ops, closing) if self.norm_position == "pre" else (*ops, closing, own)

    def attention(self, rows: int, *, causal: bool) -> tuple[Op, ...]:
        """The first half of a block of either stack."""
        ops = self_attention(
            hidden=self.hidden,
            heads=self.heads,
            kv_heads=self.heads,
            head_dim=self.head_dim,
            seq_len=rows,
            causal=causal,
            biases=self.biases,
            dropout=self.dropout,
        )
        return self.half("attention", rows, ops)

    def cross(self, rows: int, context: int) -> tuple[Op, ...]:
        """The decoder's look at the encoder's output."""
        ops = cross_attention(
            hidden=self.hidden,
            heads=self.heads,
            head_dim=self.head_dim,
            seq_len=rows,
            context=context,
            biases=self.biases,
            dropout=self.dropout,
        )
        return self.half("cross attention", rows, ops)

    def mlp(self, rows: int) -> tuple[Op, ...]:
        """The last half of a block of either stack."""
        ops = feed_forward(
            hidden=self.hidden,
            ffn=self.ffn,
            seq_len=rows,
            activation=self.activation,
            biases=self.biases,
            inner_dropout=self.inner_dropout,
        )
        return self.half("mlp", rows, ops)

    def entrance(self, rows: int, *, causal: bool, embedding_norm: bool) -> tuple[Op, ...]:
        """What stands between the look-up of a stack's tokens and its first block."""
        elements = rows * self.hidden
        ops: list[Op] = []
        if self.positions == "relative":
            # The bias of all pairs is looked up once for all samples of a step; each block adds it to its scores.
            buckets = RELATIVE_BUCKETS * self.heads
            ops.append(
                vector(
                    name=f"{'decoder' if causal else 'encoder'} relative bias",
                    read_elements=self.heads * rows,
                    write_elements=self.heads * rows,
                    parameters=buckets,
                    launches=4,
                )
            )
        else:
            table = self.max_positions if self.positions == "learned" else 0
            ops.append(table_sum("position embedding", rows=table, elements=elements, width=self.hidden))
        if embedding_norm:
            ops.append(self.norm_op("embedding norm", rows))
        if self.dropout:
            ops.append(dropout("embedding dropout", elements))
        return tuple(ops)


def encoder_decoder(
    *,
    layers: int = 6,
    decoder_layers: int = 0,
    hidden: int = 512,
    heads: int = 8,
    head_dim: int = 0,
    ffn: int = 2048,
    vocab: int = 37000,
    seq_len: int = 30,
    target_len: int = 0,
    target_share: float = 1.0,
    activation: str = "relu",
    norm: str = "layernorm",
    norm_position: str = "post",
    positions: str = "sinusoidal",
    max_positions: int = 0,
    tied_embeddings: bool = True,
    biases: bool = True,
    embedding_norm: bool = False,
    final_norm: bool = False,
    dropout: bool = True,
    inner_dropout: bool = False,
    head_bias: bool = False,
) -> Workload:
    """An encoder over ``seq_len`` source positions and a decoder over the target that looks at its output.

    A sample is a pair of sequences; its tokens are those of the source. The target has ``target_len`` positions, or
    ``target_share`` of the source when that is 0. Both sides share one embedding table, which the vocabulary product
    shares too when it is tied. A decoder block is self-attention, attention over the encoder's output (kept once for
    all blocks) and the feed-forward part, each with its norm.

    Parameters
    ----------
    decoder_layers, head_dim
        As many as ``layers`` and hidden / heads unless given.
    norm_position, final_norm
        ``pre`` closes each stack with a norm, ``post`` only with ``final_norm``.
    max_positions
        Rows of each side's learned position table, as the implementation has them (BART: 1,024 + 2).
    inner_dropout
        Dropout on the activation as well.

    Raises
    ------
    WorkloadError
        For a word that is not known or sizes that do not divide.

    Notes
    -----
    Leaves out: padding and masks of it; label smoothing, which reads the logits once more.

    References
    ----------
    .. [1] Vaswani et al., Attention Is All You Need, 2017, arXiv:1706.03762
    .. [2] Raffel et al., Exploring the Limits of Transfer Learning, 2020, arXiv:1910.10683
    .. [3] Lewis et al., BART, 2020, arXiv:1910.13461
    """
    where = "encoder-decoder"
    decoder_layers = decoder_layers or layers
    target = target_len or max(1, round(target_share * seq_len))
    sizes = {"layers": layers, "hidden": hidden, "heads": heads, "ffn": ffn, "vocab": vocab, "seq_len": seq_len}
    check_sizes(where, **sizes, decoder_layers=decoder_layers, target_len=target)
    check_words(
        where,
        ("activation", activation, tuple(ACTIVATIONS)),
        ("norm", norm, tuple(NORMS)),
        ("norm_position", norm_position, NORM_POSITIONS),
        ("positions", positions, POSITIONS),
    )
    if positions == "learned" and max(seq_len, target) > max_positions:
        raise WorkloadError(f"{where}: {max(seq_len, target)} positions are more than max_positions {max_positions}.")
    shape = _Shape(
        hidden=hidden,
        heads=heads,
        head_dim=head_width(where, hidden=hidden, heads=heads, head_dim=head_dim or None),
        ffn=ffn,
        activation=activation,
        norm=norm,
        norm_position=norm_position,
        biases=biases,
        dropout=dropout,
        inner_dropout=inner_dropout,
        positions=positions,
        max_positions=max_positions,
    )
    closes = norm_position == "pre" or final_norm
    table = embedding(name="token embedding", rows=vocab, width=hidden, tokens=seq_len)
    # The decoder looks up the encoder's table; what it keeps is the encoder's output, once for all its blocks.
    targets = replace(
        embedding(name="target embedding", rows=vocab, width=hidden, tokens=target),
        parameters=0,
        saved_elements=float(seq_len * hidden),
    )
    return Workload(
        name=where,
        family="transformer",
        sample="sequence",
        layers=(
            Layer(
                name="embedding",
                kind="embedding",
                ops=(table, *shape.entrance(seq_len, causal=False, embedding_norm=embedding_norm)),
            ),
            Layer(
                name="encoder",
                kind="block",
                ops=(*shape.attention(seq_len, causal=False), *shape.mlp(seq_len)),
                repeat=layers,
            ),
            Layer(
                name="decoder embedding",
                kind="embedding",
                ops=(
                    *((shape.norm_op("encoder norm", seq_len),) if closes else ()),
                    targets,
                    *shape.entrance(target, causal=True, embedding_norm=embedding_norm),
                ),
            ),
            Layer(
                name="decoder",
                kind="block",
                ops=(*shape.attention(target, causal=True), *shape.cross(target, seq_len), *shape.mlp(target)),
                repeat=decoder_layers,
            ),
            Layer(
                name="head",
                kind="head",
                ops=(
                    *((shape.norm_op("decoder norm", target),) if closes else ()),
                    *vocabulary(rows=target, hidden=hidden, vocab=vocab, bias=head_bias),
                ),
            ),
        ),
        tokens_per_sample=seq_len,
        hyper={**sizes, "kv_heads": heads, "head_dim": shape.head_dim, "target_len": target},
        tied_embeddings=tied_embeddings,
        causal=True,
    )


def t5(
    *,
    layers: int,
    hidden: int,
    heads: int,
    ffn: int,
    head_dim: int = 64,
    vocab: int = 32128,
    seq_len: int = 512,
    target_len: int = 114,
    version: str = "1.1",
) -> Workload:
    """T5 of version 1.0 (ReLU, tied table) or 1.1 (gated GELU, untied): RMS norms, no biases, relative positions.

    Parameters are those of Hugging Face's ``T5ForConditionalGeneration``: 76,961,152 for v1.1 small.
    """
    if version not in ("1.0", "1.1"):
        raise WorkloadError(f"t5: version is '{version}'. Legal: 1.0, 1.1.")
    return encoder_decoder(
        layers=layers,
        hidden=hidden,
        heads=heads,
        ffn=ffn,
        head_dim=head_dim,
        vocab=vocab,
        seq_len=seq_len,
        target_len=target_len,
        activation="geglu" if version == "1.1" else "relu",
        norm="rmsnorm",
        norm_position="pre",
        positions="relative",
        tied_embeddings=version == "1.0",
        biases=False,
        inner_dropout=True,
    )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"encoder_decoder": encoder_decoder, "t5": t5}
