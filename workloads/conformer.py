"""Conformer: convolutions and attention over speech, an attention decoder beside the CTC head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer
from workloads.op import Op, WorkloadError, attention, conv, embedding, gemm, product, vector
from workloads.recurrent import dropout, elementwise, vocabulary_head
from workloads.workload import Workload

Dense = Callable[[str, int, int, int], Op]


def conformer(
    *,
    layers: int = 12,
    decoder_layers: int = 6,
    hidden: int = 256,
    heads: int = 4,
    ffn: int = 2048,
    kernel: int = 15,
    vocab: int = 4233,
    features: int = 80,
    seq_len: int = 1220,
    target_len: int = 48,
) -> Workload:
    """A Conformer encoder [1]_ with a Transformer decoder, as graphcore/examples trains it [2]_.

    Utterances are padded to ``seq_len`` frames and ``target_len`` characters. Keys and values share one projection.
    Left out: the product that projects the positions, once for a whole batch (its parameters are counted).

    References
    ----------
    .. [1] Gulati et al., Conformer, 2020, arXiv:2005.08100
    .. [2] graphcore/examples@3cc8f81f speech/conformer/pytorch
    """
    if hidden % heads or kernel % 2 == 0:
        raise WorkloadError(
            f"conformer: {heads} heads must divide {hidden} channels, and the kernel of {kernel} must be odd."
        )
    if seq_len < 7 or target_len < 1:
        raise WorkloadError(f"conformer: {seq_len} frames and {target_len} characters; at least 7 and 1.")
    ops = ImageOps()
    x = Tensor(1, (seq_len, features), is_image=True)
    for _ in range(2):
        x = ops.relu(ops.conv(x, hidden, 3, stride=2, bias=True))
    steps, width = x.hw[0], x.channels * x.hw[1]
    stem = (
        *ops.ops,
        gemm(name="input projection", m=steps, n=hidden, k=width, bias=True),
        dropout("positions and dropout", steps * hidden),
    )
    norm = _norm(steps, hidden)
    encoder = (
        *_feed_forward(steps, hidden, ffn, activation="swish"),
        norm,
        *_relative_attention(steps, hidden, heads),
        *_convolution(steps, hidden, kernel),
        *_feed_forward(steps, hidden, ffn, activation="swish"),
        norm,
    )
    text = _norm(target_len, hidden)
    decoder = (
        text,
        *_attention(target_len, target_len, hidden, heads, causal=True),
        text,
        *_attention(target_len, steps, hidden, heads, causal=False),
        *_feed_forward(target_len, hidden, ffn, activation="relu"),
    )
    classes = (
        gemm(name="CTC characters", m=steps, n=vocab, k=hidden, bias=True, split="vocab"),
        vector(
            name="CTC loss", read_elements=3 * steps * vocab, write_elements=2 * steps * vocab,
            saved_elements=4.0 * steps * vocab, launches=8,
        ),
    )  # fmt: skip
    table = embedding(name="characters", rows=vocab, width=hidden, tokens=target_len)
    head = vocabulary_head(rows=target_len, hidden=hidden, vocab=vocab)
    laid = (
        Layer(name="subsampling", kind="conv", ops=stem),
        Layer(name="encoder", kind="block", ops=encoder, repeat=layers),
        Layer(name="CTC head", kind="head", ops=(norm, *classes)),
        Layer(name="character embedding", kind="embedding", ops=(table, dropout("dropout", target_len * hidden))),
        Layer(name="decoder", kind="block", ops=decoder, repeat=decoder_layers),
        Layer(name="head", kind="head", ops=(text, *head)),
    )
    return Workload(
        name=f"conformer-{layers}x{hidden}", family="transformer", sample="utterance", layers=laid,
        tokens_per_sample=seq_len,
        hyper={"layers": layers, "hidden": hidden, "heads": heads, "vocab": vocab, "seq_len": seq_len},
        source="arXiv:2005.08100; graphcore/examples@3cc8f81f",
    )  # fmt: skip


def _norm(rows: int, hidden: int) -> Op:
    return vector(
        name="layer-norm", read_elements=rows * hidden, write_elements=rows * hidden,
        saved_elements=float(rows * hidden), parameters=2 * hidden, split="sequence",
    )  # fmt: skip


def _residual(rows: int, hidden: int) -> tuple[Op, ...]:
    return (dropout("dropout", rows * hidden), elementwise("residual", rows * hidden, reads=2))


def _feed_forward(rows: int, hidden: int, ffn: int, *, activation: str) -> tuple[Op, ...]:
    return (
        _norm(rows, hidden),
        gemm(name="feed-forward up", m=rows, n=ffn, k=hidden, bias=True, split="column"),
        elementwise(activation, rows * ffn, saved=1.0),
        dropout("dropout", rows * ffn),
        gemm(name="feed-forward down", m=rows, n=hidden, k=ffn, bias=True, split="row"),
        *_residual(rows, hidden),
    )


def _attention(rows: int, keys: int, hidden: int, heads: int, *, causal: bool) -> tuple[Op, ...]:
    """Query, and one projection that makes both keys and values; core; output; residual."""
    shared = gemm(name="keys and values", m=2 * keys, n=hidden, k=hidden, bias=True, split="column")
    return (
        gemm(name="query", m=rows, n=hidden, k=hidden, bias=True, split="column", keeps_input=rows != keys),
        replace(shared, saved_elements=float(keys * hidden) if rows == keys else 0.0),
        attention(
            name="attention", heads=heads, kv_heads=heads, head_dim=hidden // heads, seq_len=rows, context=keys,
            causal=causal, dropout=False,
        ),
        gemm(name="attention output", m=rows, n=hidden, k=hidden, bias=True, split="row"),
        *_residual(rows, hidden),
    )  # fmt: skip


def _relative_attention(rows: int, hidden: int, heads: int) -> tuple[Op, ...]:
    """Attention whose scores add the product of queries and projected positions."""
    plain = _attention(rows, rows, hidden, heads, causal=False)
    positions = vector(
        name="position biases", read_elements=2 * rows * hidden, write_elements=2 * rows * hidden,
        saved_elements=float(rows * hidden), parameters=hidden * hidden + 2 * hidden, split="inner", launches=3,
    )  # fmt: skip
    by_position = product(
        name="position scores", batch=heads, m=rows, n=rows, k=hidden // heads, saved_elements=0.0, split="heads"
    )  # fmt: skip
    return (*plain[:2], positions, by_position, *plain[2:])


def _convolution(rows: int, hidden: int, kernel: int) -> tuple[Op, ...]:
    """Point-wise convolution, gate, depth-wise convolution, layer-norm, swish, point-wise convolution."""
    depthwise = conv(
        name=f"depth-wise conv {kernel}", in_hw=(1, rows), c_in=hidden, c_out=hidden, kernel=(1, kernel),
        padding=(0, kernel // 2), groups=hidden,
    )  # fmt: skip
    return (
        _norm(rows, hidden),
        gemm(name="point-wise in", m=rows, n=2 * hidden, k=hidden),
        vector(
            name="gated linear unit", read_elements=2 * rows * hidden, write_elements=rows * hidden,
            saved_elements=2.0 * rows * hidden, launches=2,
        ),
        depthwise,
        _norm(rows, hidden),
        elementwise("swish", rows * hidden, saved=1.0),
        gemm(name="point-wise out", m=rows, n=hidden, k=hidden),
        *_residual(rows, hidden),
    )  # fmt: skip
