"""ONNX's products, convolutions, attention and recurrent layers as ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Final

from workloads.importers.conv_shapes import conv_op
from workloads.importers.json_file import shown
from workloads.importers.onnx_ops import Attributes, Names, OnnxOps
from workloads.op import CELLS, Op, WorkloadError, attention, recurrent


def _matmul(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> Op:
    left, right = ops.shape(read[0]), ops.shape(read[1])
    left, right = (1, *left) if len(left) == 1 else left, (*right, 1) if len(right) == 1 else right
    batch = max(prod(left[:-2]), prod(right[:-2]), prod(ops.shape(written[0])[:-2]))
    shared = prod(right[:-2]) == 1
    return ops.product(read[0], read[1], batch, left[-2], right[-1], left[-1], shared=shared)


def _gemm(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> Op:
    left = ops.shape(read[0])
    m, k = reversed(left) if attributes.get("transA") else left
    n = ops.shape(written[0])[1]
    return ops.product(read[0], read[1], 1, m, n, k, bias=read[2] if len(read) > 2 else "")


def _einsum(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> Op:
    text = attributes["equation"]
    equation = (text.decode() if isinstance(text, bytes) else str(text)).replace(" ", "")
    terms, _, out = equation.partition("->")
    parts = terms.split(",")
    if len(read) != 2 or len(parts) != 2 or not out or "." in equation:
        raise WorkloadError(f"einsum {shown(equation)} is not of two operands and an output without dots.")
    sides = [dict(zip(part, ops.shape(name), strict=True)) for part, name in zip(parts, read, strict=True)]
    size = sides[0] | sides[1]

    def of(letters: set[str]) -> int:
        return prod(size[letter] for letter in letters)

    a, b, kept = set(parts[0]), set(parts[1]), set(out)
    return ops.product(read[0], read[1], of(a & b & kept), of((a - b) & kept), of((b - a) & kept), of((a & b) - kept))


def _conv(turned: bool) -> Callable[[OnnxOps, Names, Names, Attributes], Op]:
    def lay(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> Op:
        x, weight, out = ops.shape(read[0]), ops.shape(read[1]), ops.shape(written[0])
        rank = len(x) - 2
        pads = tuple(attributes.get("pads", (0,) * 2 * rank))
        op = conv_op(
            name="", channels=(x[1], out[1]), sides=(x[2:], out[2:]), taps=weight[2:],
            stride=tuple(attributes.get("strides", (1,) * rank)), padding=pads[:rank],
            groups=int(attributes.get("group", 1)), turned=turned, images=ops.share(x[0], "the batch of a convolution"),
        )  # fmt: skip
        return replace(
            op, saved_elements=ops.keep(read[0]), parameters=ops.claim(*read[1:3]),
            input_needs_gradient=ops.root(read[0]) not in ops.inputs,
        )  # fmt: skip

    return lay


def _attention(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> Op:
    q, k, v = (ops.shape(name) for name in read[:3])
    heads, kv_heads = attributes.get("q_num_heads"), attributes.get("kv_num_heads")
    if len(q) == 3:
        if not heads or not kv_heads:
            raise WorkloadError("attention of three-dimensional inputs lacks q_num_heads or kv_num_heads.")
        q, k, v = ((s[0], n, s[1], s[2] // n) for s, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
    if len(read) > 3 and read[3]:
        ops.assumed["what attention masks hide is not known: attention is counted in full, as not causal"] = None
    op = attention(
        name="", heads=ops.share(q[0] * q[1], "samples x heads"), kv_heads=ops.share(k[0] * k[1], "samples x heads"),
        head_dim=q[3], seq_len=q[2], context=k[2], causal=bool(attributes.get("is_causal")), dropout=False,
        value_dim=v[3] if v[3] != q[3] else 0,
    )  # fmt: skip
    return replace(op, saved_elements=ops.keep(*read[:3]), split="none")


def _recurrent(cell: str) -> Callable[[OnnxOps, Names, Names, Attributes], tuple[Op, ...]]:
    def lay(ops: OnnxOps, read: Names, written: Names, attributes: Attributes) -> tuple[Op, ...]:
        x, weight = ops.shape(read[0]), ops.shape(read[1])
        steps, rows = (x[1], x[0]) if attributes.get("layout") else (x[0], x[1])
        directions, width, hidden = weight[0], weight[2], weight[1] // CELLS[cell]
        biases = 2 if len(read) > 3 and read[3] else 0
        kept = ops.keep(read[0])
        length = steps * ops.share(rows, "the batch of a recurrent layer")
        op = recurrent(name="", cell=cell, steps=length, width=width, hidden=hidden, biases=biases)
        own = op.saved_elements - length * width
        parameters = ops.claim(*read[1:4]) // directions
        ops.kept.add(ops.root(written[0]))
        parts = [replace(op, saved_elements=own + kept, parameters=parameters, launches=steps)]
        parts += [replace(parts[0], name=f"{cell} backwards", saved_elements=own)] * (directions - 1)
        return tuple(parts)

    return lay


#: Operators with counted work -> how they are laid out.
PRODUCTS: Final[Mapping[str, Callable[[OnnxOps, Names, Names, Attributes], Op | tuple[Op, ...]]]] = {
    "MatMul": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Conv": _conv(False),
    "ConvTranspose": _conv(True),
    "Attention": _attention,
    "LSTM": _recurrent("lstm"),
    "GRU": _recurrent("gru"),
    "RNN": _recurrent("vanilla"),
}
