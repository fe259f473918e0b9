"""Transformers: decoder-only language models and BERT-like encoders as workloads."""

from __future__ import annotations

import re

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, embedding, gemm, vector
from workloads.workload import Hyper, Workload

#: Activation word -> (gated, elements saved per inner element, kernels an eager framework launches).
#: ReLU keeps its output, which the next product keeps anyway.
ACTIVATIONS = {
    "gelu": (False, 1, 1),
    "relu": (False, 0, 1),
    "squared_relu": (False, 1, 2),
    "silu": (False, 1, 1),
    "swiglu": (True, 2, 2),
    "geglu": (True, 2, 2),
}
#: Norm word -> (parameters per channel, kernels an eager framework launches).
NORMS = {"layernorm": (2, 1), "rmsnorm": (1, 6)}
POSITIONS = ("learned", "rotary", "alibi", "none")


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
    causal: bool = True,
    dropout: bool = True,
    embedding_norm: bool = False,
    token_types: int = 0,
    mlm_head: bool = False,
    max_predictions: int | None = None,
    source: str = "",
    assumed: tuple[str, ...] = (),
) -> Workload:
    """A stack of identical transformer blocks between an embedding and a vocabulary head.

    A block is norm, queries-keys-values product, rotary (if any), attention, projection, dropout and residual; norm,
    inner product up (gate and up are one product), activation, inner product down, dropout and residual. Activations
    kept for the backward pass follow [1]_: with GELU, ffn = 4 hidden and dropout a block keeps
    s h (34 + 5 a s / h) bytes per sequence of s, the second term being attention's `score_elements`.

    Parameters
    ----------
    kv_heads, head_dim, ffn
        Default to ``heads``, ``hidden / heads`` and ``4 hidden``. With a gated activation ``ffn`` is the inner width.
    norm_position
        ``pre`` (a final norm closes the stack) or ``post`` (BERT: norm after each residual, no final norm).
    max_positions
        Rows of a learned position table; defaults to ``seq_len``.
    biases, qkv_biases
        Biases on all products of the blocks, or on queries, keys and values only.
    token_types, mlm_head
        BERT's segment table and its heads: pooler and next-sentence product, transform and decoder bias.
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
    Leaves out: parallel attention and MLP (taken one after the other), sliding windows, norms of queries and keys,
    mixtures of experts, encoder-decoder stacks.

    References
    ----------
    .. [1] Korthikanti et al., Reducing Activation Recomputation in Large Transformer Models, 2022, equation 1,
       arXiv:2205.05198
    """
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
    for word, size in sizes.items():
        if size < 1:
            raise WorkloadError(f"transformer '{name}': {word} is {size}; at least 1.")
    for word, value, legal in (
        ("activation", activation, tuple(ACTIVATIONS)),
        ("norm", norm, tuple(NORMS)),
        ("positions", positions, POSITIONS),
        ("norm_position", norm_position, ("pre", "post")),
    ):
        if value not in legal:
            raise WorkloadError(f"transformer '{name}': {word} is '{value}'. Legal: {', '.join(legal)}.")
    if head_dim is None:
        if hidden % heads:
            raise WorkloadError(f"transformer '{name}': hidden {hidden} is not a multiple of {heads} heads.")
        head_dim = hidden // heads
    if heads % kv_heads:
        raise WorkloadError(f"transformer '{name}': {heads} heads are not a multiple of {kv_heads} kv_heads.")
    max_positions = seq_len if max_positions is None else max_positions
    if positions == "learned" and seq_len > max_positions:
        raise WorkloadError(f"transformer '{name}': seq_len {seq_len} is longer than max_positions {max_positions}.")
    predictions = seq_len if max_predictions is None else max_predictions
    if not 1 <= predictions <= seq_len:
        raise WorkloadError(f"transformer '{name}': max_predictions is {predictions}; 1 to seq_len {seq_len}.")

    def norm_op(op_name: str, rows: int = seq_len, split: str = "sequence") -> Op:
        per_channel, launches = NORMS[norm]
        elements = rows * hidden
        return vector(
            name=op_name,
            read_elements=elements,
            write_elements=elements,
            saved_elements=float(elements),
            parameters=per_channel * hidden,
            split=split,
            launches=launches,
        )

    embedding_ops = _embedding_ops(
        vocab=vocab,
        hidden=hidden,
        seq_len=seq_len,
        position_rows=max_positions if positions == "learned" else 0,
        token_types=token_types,
        norm_ops=(norm_op("embedding norm"),) if embedding_norm else (),
        dropout=dropout,
    )
    attention_ops = _attention_ops(
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        rotary=positions == "rotary",
        causal=causal,
        biases=biases,
        qkv_biases=biases if qkv_biases is None else qkv_biases,
        dropout=dropout,
    )
    mlp_ops = _mlp_ops(hidden=hidden, ffn=ffn, seq_len=seq_len, activation=activation, biases=biases, dropout=dropout)
    norms = (norm_op("attention norm"), norm_op("mlp norm"))
    if norm_position == "pre":
        block_ops = (norms[0], *attention_ops, norms[1], *mlp_ops)
        head_ops: tuple[Op, ...] = (norm_op("final norm"),)
    else:
        block_ops = (*attention_ops, norms[0], *mlp_ops, norms[1])
        head_ops = ()
    if mlm_head:
        transform = _mlm_ops(hidden=hidden, seq_len=seq_len, rows=predictions)
        head_ops = (*head_ops, *transform, norm_op("transform norm", rows=predictions, split="none"))
    head_ops = (*head_ops, *_vocabulary_ops(rows=predictions, hidden=hidden, vocab=vocab, bias=mlm_head))

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
        tied_embeddings=tied_embeddings,
        causal=causal,
        source=source,
        assumed=assumed,
    )


def _embedding_ops(
    *,
    vocab: int,
    hidden: int,
    seq_len: int,
    position_rows: int,
    token_types: int,
    norm_ops: tuple[Op, ...],
    dropout: bool,
) -> tuple[Op, ...]:
    elements = seq_len * hidden
    ops = [embedding(name="token embedding", rows=vocab, width=hidden, tokens=seq_len)]
    tables = (("position embedding", position_rows), ("token type embedding", token_types))
    for name, rows in tables:
        if rows:
            ops.append(
                vector(
                    name=name,
                    read_elements=2 * elements,
                    write_elements=elements,
                    parameters=rows * hidden,
                    split="sequence",
                    launches=2,
                )
            )
    ops.extend(norm_ops)
    if dropout:
        ops.append(
            vector(
                name="embedding dropout",
                read_elements=elements,
                write_elements=elements,
                saved_elements=0.5 * elements,
                split="sequence",
            )
        )
    return tuple(ops)


def _attention_ops(
    *,
    hidden: int,
    heads: int,
    kv_heads: int,
    head_dim: int,
    seq_len: int,
    rotary: bool,
    causal: bool,
    biases: bool,
    qkv_biases: bool,
    dropout: bool,
) -> tuple[Op, ...]:
    width = heads * head_dim
    qkv = gemm(name="qkv", m=seq_len, n=width + 2 * kv_heads * head_dim, k=hidden, bias=qkv_biases, split="column")
    turned = seq_len * (heads + kv_heads) * head_dim
    # Eager rotary: negate, concatenate, two products and a sum, for queries and for keys. Nothing is kept: attention
    # keeps the turned queries and keys.
    turn = (
        (vector(name="rotary", read_elements=turned, write_elements=turned, split="inner", launches=10),)
        if rotary
        else ()
    )
    core = attention(
        name="attention",
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        seq_len=seq_len,
        context=seq_len,
        causal=causal,
        dropout=dropout,
    )
    projection = gemm(name="projection", m=seq_len, n=hidden, k=width, bias=biases, split="row")
    return (qkv, *turn, core, projection, _residual("attention residual", seq_len * hidden, dropout=dropout))


def _mlp_ops(*, hidden: int, ffn: int, seq_len: int, activation: str, biases: bool, dropout: bool) -> tuple[Op, ...]:
    gated, saved, launches = ACTIVATIONS[activation]
    up_width = 2 * ffn if gated else ffn
    return (
        gemm(name="mlp up", m=seq_len, n=up_width, k=hidden, bias=biases, split="column"),
        vector(
            name=activation,
            read_elements=seq_len * up_width,
            write_elements=seq_len * ffn,
            saved_elements=float(saved * seq_len * ffn),
            split="inner",
            launches=launches,
        ),
        gemm(name="mlp down", m=seq_len, n=hidden, k=ffn, bias=biases, split="row"),
        _residual("mlp residual", seq_len * hidden, dropout=dropout),
    )


def _residual(name: str, elements: int, *, dropout: bool) -> Op:
    # The one-byte dropout mask is all that is kept.
    return vector(
        name=f"dropout and {name}" if dropout else name,
        read_elements=2 * elements,
        write_elements=elements,
        saved_elements=0.5 * elements if dropout else 0.0,
        split="sequence",
        launches=2 if dropout else 1,
    )


def _mlm_ops(*, hidden: int, seq_len: int, rows: int) -> tuple[Op, ...]:
    """BERT's pooler and next-sentence product on the first position, and the transform of the masked ones."""
    gather = vector(name="masked positions", read_elements=rows * hidden, write_elements=rows * hidden)
    return (
        gemm(name="pooler", m=1, n=hidden, k=hidden, bias=True),
        vector(name="tanh", read_elements=hidden, write_elements=hidden, saved_elements=float(hidden)),
        gemm(name="next sentence", m=1, n=2, k=hidden, bias=True, keeps_input=False),
        *((gather,) if rows < seq_len else ()),
        gemm(name="transform", m=rows, n=hidden, k=hidden, bias=True),
        vector(
            name="transform gelu",
            read_elements=rows * hidden,
            write_elements=rows * hidden,
            saved_elements=float(rows * hidden),
        ),
    )


def _vocabulary_ops(*, rows: int, hidden: int, vocab: int, bias: bool) -> tuple[Op, ...]:
    logits = rows * vocab
    # The loss casts the logits to fp32 (two 2-byte elements each), keeps that copy and writes its log-softmax.
    return (
        gemm(name="vocabulary", m=rows, n=vocab, k=hidden, bias=bias, split="vocab"),
        vector(
            name="cross entropy",
            read_elements=3 * logits,
            write_elements=2 * logits,
            saved_elements=2.0 * logits,
            split="inner",
            launches=3,
        ),
    )


#: Masked positions per sequence in BERT pre-training, by sequence length (Devlin et al. 2019's published recipe).
BERT_PREDICTIONS = {128: 20, 512: 80}


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
    source: str = "",
    assumed: tuple[str, ...] = (),
) -> Workload:
    """BERT for pre-training, with the masked-language-model and next-sentence heads.

    `Workload.parameters` is the count of Hugging Face's ``BertForPreTraining``, tied decoder once: 110,106,428 (base)
    and 336,226,108 (large) with 30,522 words; papers print 110M and 340M. The position table has 512 rows, more only
    for longer sequences. Without ``max_predictions``, 20 positions are predicted at 128, 80 at 512, and the recipes'
    masking rate of 15 %, rounded up, at other lengths.
    """
    if max_predictions is None:
        max_predictions = BERT_PREDICTIONS.get(seq_len, -(-15 * seq_len // 100))
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
