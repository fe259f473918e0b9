"""Transformers: decoder-only language models and BERT-like encoders as workloads."""

from __future__ import annotations

import re
from typing import Final

from workloads.encoder_heads import TASKS, bert_predictions, mlm_ops, tuned_ops
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding
from workloads.transformer_blocks import (
    ACTIVATIONS,
    NORMS,
    check_sizes,
    check_words,
    feed_forward,
    head_width,
    mean_context,
    residual,
    self_attention,
    table_sum,
    vocabulary,
)
from workloads.transformer_blocks import (
    dropout as dropout_op,
)
from workloads.transformer_blocks import (
    norm as norm_of,
)
from workloads.workload import Hyper, Workload

POSITIONS: Final = ("learned", "rotary", "alibi", "none")
#: Where norms stand: before each half of a block (and once at the end), after each residual, or on both sides.
NORM_POSITIONS: Final = ("pre", "post", "sandwich")
#: How the halves of a block are joined: one after the other, or side by side with a norm each or one for both.
BLOCKS: Final = ("serial", "parallel", "parallel_one_norm")
QK_NORMS: Final = ("", "head", "width")


def transformer(
    *,
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    kv_heads: int | None = None,
    head_dim: int | None = None,
    ffn: int | None = None,
    vocab: int,
    seq_len: int,
    activation: str = "gelu",
    norm: str = "layernorm",
    norm_position: str = "pre",
    tied_embeddings: bool = True,
    positions: str = "learned",
    max_positions: int | None = None,
    biases: bool = True,
    qkv_biases: bool | None = None,
    attention_biases: bool | None = None,
    head_bias: bool = False,
    block: str = "serial",
    qk_norm: str = "",
    window: int | None = None,
    windowed_share: float = 1.0,
    causal: bool = True,
    dropout: bool = True,
    embedding_norm: bool = False,
    token_types: int = 0,
    mlm_head: bool = False,
    task: str = "pretraining",
    classes: int = 2,
    max_predictions: int | None = None,
    source: str = "",
    assumed: tuple[str, ...] = (),
) -> Workload:
    """A stack of identical transformer blocks between an embedding and a head.

    A block is norm, queries-keys-values product, rotary (if any), attention, projection, dropout and residual; norm,
    inner product up (gate and up are one product), activation, inner product down, dropout and residual. Activations
    kept for the backward pass follow [1]_: with GELU, ffn = 4 hidden and dropout a block keeps
    s h (34 + 5 a s / h) bytes per sequence of s, the second term being attention's `score_elements`.

    Parameters
    ----------
    kv_heads, head_dim, ffn
        Default to ``heads``, ``hidden / heads`` and ``4 hidden``. With a gated activation ``ffn`` is the inner width.
    norm_position
        ``pre`` (a final norm closes the stack), ``post`` (BERT: norm after each residual, no final norm) or
        ``sandwich`` (Gemma: a norm before and after each half, and a final one).
    max_positions
        Rows of a learned position table; defaults to ``seq_len``.
    biases, attention_biases, qkv_biases
        Biases on all products of the blocks; those of attention (both products), or of its first alone, apart.
    head_bias
        A bias on the vocabulary product.
    block
        ``serial``; ``parallel``: attention and feed-forward both read the block's input and are summed, each with a
        norm of its own (GPT-NeoX), or ``parallel_one_norm`` for both (GPT-J, PaLM, Falcon-7B).
    qk_norm
        RMS norms of queries and keys: "" (none), ``head`` (Qwen3, Gemma 3) or ``width`` (OLMo 2).
    window, windowed_share
        Keys that a query of a windowed layer sees at most, and the share of layers that are windowed; all blocks get
        the mean context of the layers, `mean_context`.
    token_types, mlm_head
        BERT's segment table and its heads: pooler and next-sentence product, transform and decoder bias.
    task, classes
        ``span`` and ``classification`` replace the vocabulary head by a small one (fine-tuning).
    max_predictions
        Masked positions the vocabulary head is applied to; all positions when not given.
    assumed
        What the source left open and the caller filled in.

    Raises
    ------
    WorkloadError
        For a word that is not known or sizes that do not divide.

    Notes
    -----
    Leaves out: mixtures of experts; other shapes of transformers have modules of their own.

    References
    ----------
    .. [1] Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, 2022, equation 1,
       arXiv:2205.05198
    """
    where = f"transformer '{name}'"
    kv_heads = heads if kv_heads is None else kv_heads
    ffn = 4 * hidden if ffn is None else ffn
    sizes = {
        "layers": layers,
        "hidden": hidden,
        "heads": heads,
        "kv_heads": kv_heads,
        "ffn": ffn,
        "vocab": vocab,
        "seq_len": seq_len,
    }
    check_sizes(where, **sizes, classes=classes)
    check_words(
        where,
        ("activation", activation, tuple(ACTIVATIONS)),
        ("norm", norm, tuple(NORMS)),
        ("positions", positions, POSITIONS),
        ("norm_position", norm_position, NORM_POSITIONS),
        ("block", block, BLOCKS),
        ("qk_norm", qk_norm, QK_NORMS),
        ("task", task, TASKS),
    )
    if block != "serial" and norm_position != "pre":
        raise WorkloadError(f"{where}: block '{block}' needs norm_position 'pre', not '{norm_position}'.")
    head_dim = head_width(where, hidden=hidden, heads=heads, head_dim=head_dim, kv_heads=kv_heads)
    max_positions = seq_len if max_positions is None else max_positions
    if positions == "learned" and seq_len > max_positions:
        raise WorkloadError(f"{where}: seq_len {seq_len} is longer than max_positions {max_positions}.")
    predictions = seq_len if max_predictions is None else max_predictions
    if not 1 <= predictions <= seq_len:
        raise WorkloadError(f"{where}: max_predictions is {predictions}; 1 to seq_len {seq_len}.")

    def norm_op(op_name: str, *, keeps_input: bool = True) -> Op:
        return norm_of(op_name, rows=seq_len, width=hidden, word=norm, keeps_input=keeps_input)

    elements = seq_len * hidden
    tables = (
        ("position embedding", max_positions if positions == "learned" else 0),
        ("token type embedding", token_types),
    )
    embedding_ops = (
        embedding(name="token embedding", rows=vocab, width=hidden, tokens=seq_len),
        *(table_sum(word, rows=rows, elements=elements, width=hidden) for word, rows in tables if rows),
        *((norm_op("embedding norm"),) if embedding_norm else ()),
        *((dropout_op("embedding dropout", elements),) if dropout else ()),
    )
    sandwich, one_norm = norm_position == "sandwich", block == "parallel_one_norm"
    of_attention = biases if attention_biases is None else attention_biases
    attention_ops = self_attention(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        context=mean_context(where, seq_len=seq_len, window=window, share=windowed_share, causal=causal),
        rotary=positions == "rotary",
        qk_norm=qk_norm,
        causal=causal,
        biases=of_attention,
        qkv_biases=qkv_biases,
        dropout=dropout,
        closing=(
            *((norm_op("attention output norm"),) if sandwich else ()),
            residual("attention residual", elements, dropout=dropout),
        ),
    )
    mlp_ops = feed_forward(
        hidden=hidden,
        ffn=ffn,
        seq_len=seq_len,
        activation=activation,
        biases=biases,
        keeps_input=not one_norm,
        closing=(
            *((norm_op("mlp output norm"),) if sandwich else ()),
            residual("mlp residual", elements, dropout=dropout),
        ),
    )
    if norm_position == "post":
        block_ops: tuple[Op, ...] = (*attention_ops, norm_op("attention norm"), *mlp_ops, norm_op("mlp norm"))
        head_ops: tuple[Op, ...] = ()
    else:
        # Side by side both norms read the same tensor, which is kept once.
        second = () if one_norm else (norm_op("mlp norm", keeps_input=block == "serial"),)
        block_ops = (norm_op("attention norm"), *attention_ops, *second, *mlp_ops)
        head_ops = (norm_op("final norm"),)
    if task != "pretraining":
        head_ops = (*head_ops, *tuned_ops(task, hidden=hidden, seq_len=seq_len, classes=classes))
    else:
        if mlm_head:
            head_ops = (*head_ops, *mlm_ops(hidden=hidden, seq_len=seq_len, rows=predictions, norm=norm))
        head_ops = (*head_ops, *vocabulary(rows=predictions, hidden=hidden, vocab=vocab, bias=mlm_head or head_bias))

    hyper: dict[str, Hyper] = {
        **sizes,
        "head_dim": head_dim,
        "activation": activation,
        "norm": norm,
        "norm_position": norm_position,
        "positions": positions,
        "biases": biases,
        "dropout": dropout,
        "max_predictions": predictions,
    }
    return Workload(
        name=name,
        family="transformer",
        sample="sequence",
        layers=(
            Layer(name="embedding", kind="embedding", ops=embedding_ops),
            Layer(name="block", kind="block", ops=block_ops, repeat=layers),
            Layer(name="head", kind="head", ops=head_ops),
        ),
        tokens_per_sample=seq_len,
        hyper=hyper,
        tied_embeddings=tied_embeddings and task == "pretraining",
        causal=causal,
        source=source,
        assumed=assumed,
    )


def bert(
    *,
    name: str,
    layers: int,
    hidden: int,
    heads: int,
    ffn: int | None = None,
    vocab: int = 30522,
    seq_len: int = 512,
    activation: str = "gelu",
    max_predictions: int | None = None,
    task: str = "pretraining",
    classes: int = 2,
    source: str = "",
    assumed: tuple[str, ...] = (),
) -> Workload:
    """BERT with the masked-language-model and next-sentence heads, or the head of another ``task`` (`transformer`).

    `Workload.parameters` is the count of Hugging Face's ``BertForPreTraining``, tied decoder once: 110,106,428 (base)
    and 336,226,108 (large) with 30,522 words; papers print 110M and 340M. The position table has 512 rows, more only
    for longer sequences. Without ``max_predictions``, `bert_predictions` says how many positions are predicted.
    """
    if max_predictions is None:
        max_predictions = bert_predictions(seq_len)
    return transformer(
        name=name,
        layers=layers,
        hidden=hidden,
        heads=heads,
        ffn=ffn,
        vocab=vocab,
        seq_len=seq_len,
        activation=activation,
        norm_position="post",
        max_positions=max(512, seq_len),
        causal=False,
        embedding_norm=True,
        token_types=2,
        mlm_head=True,
        max_predictions=max_predictions,
        task=task,
        classes=classes,
        source=source,
        assumed=assumed,
    )


_GPT_NAME = re.compile(r"\s*gpt[\s_-]*h(\d{1,7})[\s_-]*L(\d{1,5})[\s_-]*a(\d{1,5})\s*", re.IGNORECASE)


def spells_gpt_shape(name: str) -> bool:
    """Whether the name is of the form ``gpt h2048 L24 a16``."""
    return _GPT_NAME.fullmatch(name) is not None


def gpt_by_name(name: str, *, seq_len: int = 2048, vocab: int = 51200) -> Workload:
    """A GPT spelled by its shape: ``gpt h2048 L24 a16`` is hidden 2048, 24 layers, 16 heads, ffn 4 x hidden.

    Raises
    ------
    LookupError
        When the name is not of that form.
    """
    match = _GPT_NAME.fullmatch(name)
    if match is None:
        raise LookupError(f"'{name}' does not spell a GPT shape. Expected for example 'gpt h2048 L24 a16'.")
    hidden, layers, heads = (int(group) for group in match.groups())
    return transformer(
        name=f"gpt h{hidden} L{layers} a{heads}",
        layers=layers,
        hidden=hidden,
        heads=heads,
        vocab=vocab,
        seq_len=seq_len,
        source="shape spelled by its name",
        assumed=("ffn = 4 hidden", f"vocab = {vocab}", "learned positions, tied embeddings, dropout"),
    )
