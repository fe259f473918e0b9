"""Ops of a layer file by name and shape: each reads its keys, infers its input, and says what comes out.

A tensor's shape leaves out the batch: ``[channels, height, width]`` (or ``[channels, depth, height, width]``) for
pictures, ``[positions, width]`` for sequences, ``[width]`` for records, ``[positions]`` for ids.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

from workloads.importers.fields import Fields
from workloads.op import (
    CELLS,
    Op,
    WorkloadError,
    attention,
    conv,
    conv3d,
    embedding,
    gemm,
    recurrent,
    transposed,
    vector,
    window_output,
)

Shape = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """What flows between ops: its shape, whether an op keeps it for the backward pass, whether it is the data."""

    shape: Shape
    kept: bool = False
    is_data: bool = False

    @property
    def elements(self) -> int:
        """Numbers in it."""
        return prod(self.shape)

    @property
    def unkept(self) -> float:
        """Elements that keeping it adds."""
        return 0.0 if self.kept else float(self.elements)


Step = tuple[tuple[Op, ...], Tensor]

#: Norm word -> learned numbers per channel.
NORMS: Final = {"batch": 2, "layer": 2, "group": 2, "instance": 2, "rms": 1}
#: Activation word -> (inputs per output, whether it keeps its output instead of its input).
ACTIVATIONS: Final = {
    "relu": (1, True), "sigmoid": (1, True), "tanh": (1, True), "softmax": (1, True), "gelu": (1, False),
    "silu": (1, False), "swiglu": (2, False), "geglu": (2, False),
}  # fmt: skip


def _rank(x: Tensor, legal: tuple[int, ...], what: str) -> None:
    if len(x.shape) not in legal:
        raise WorkloadError(f"its input is {list(x.shape)}; expected {what}.")


def _sizes(fields: Fields, key: str, rank: int, default: int | None, least: int) -> Shape:
    """One whole number for all directions, or a list of one per direction."""
    value = fields.data.get(key)
    if isinstance(value, list):
        items = fields.items(key, kind=int, most=3)
        if len(items) == rank and all(least <= item < 2**31 for item in items):
            return tuple(items)
        fields.problem(key, f"expected {rank} whole numbers of at least {least}, or one for all directions.")
        return (max(default or 0, 1),) * rank
    return (fields.count(key, default=default, least=least),) * rank


def _conv(fields: Fields, name: str, x: Tensor) -> Step:
    _rank(x, (3, 4), "[channels, height, width] or [channels, depth, height, width]")
    sides, rank = x.shape[1:], len(x.shape) - 1
    channels, groups = fields.count("channels"), fields.count("groups", default=1)
    kernel, stride = _sizes(fields, "kernel", rank, None, 1), _sizes(fields, "stride", rank, 1, 1)
    padding, bias = _sizes(fields, "padding", rank, 0, 0), fields.flag("bias", default=False)
    turned = fields.flag("transposed", default=False)
    c_in, c_out = (channels, x.shape[0]) if turned else (x.shape[0], channels)
    if turned:
        sides = tuple((i - 1) * s - 2 * p + k for i, k, s, p in zip(sides, kernel, stride, padding, strict=True))
    options: dict[str, Any] = {
        "name": name, "in_hw" if rank == 2 else "in_dhw": sides, "c_in": c_in, "c_out": c_out, "kernel": kernel,
        "stride": stride, "padding": padding, "groups": groups, "bias": bias and not turned,
        "keeps_input": not x.kept, "input_needs_gradient": not x.is_data,
    }  # fmt: skip
    op = conv(**options) if rank == 2 else conv3d(**options)
    if turned:
        return (transposed(op, name=name, bias=bias, keeps_input=not x.kept),), Tensor(shape=(channels, *sides))
    out = op.out_hw if rank == 2 else (op.depth[4], *op.out_hw)
    return (op,), Tensor(shape=(channels, *out))


def _dense(fields: Fields, name: str, x: Tensor) -> Step:
    units = fields.count("units")
    rows = prod(x.shape[:-1])
    split = fields.word("split", legal=("none", "column", "row", "vocab"), default="none")
    bias = fields.flag("bias", default=True)
    op = gemm(name=name, m=rows, n=units, k=x.shape[-1], bias=bias, split=split, keeps_input=not x.kept)
    return (op,), Tensor(shape=(*x.shape[:-1], units))


def _norm(fields: Fields, name: str, x: Tensor) -> Step:
    word = fields.word("norm", legal=NORMS, default="layer")
    channels = x.shape[0] if len(x.shape) > 2 else x.shape[-1]
    op = vector(
        name=name, read_elements=x.elements, write_elements=x.elements, saved_elements=x.unkept,
        parameters=NORMS[word] * channels,
    )  # fmt: skip
    return (op,), Tensor(shape=x.shape)


def _activation(fields: Fields, name: str, x: Tensor) -> Step:
    word = fields.word("activation", legal=ACTIVATIONS, default="relu")
    inputs, keeps_output = ACTIVATIONS[word]
    if x.shape[-1] % inputs:
        raise WorkloadError(f"its input is {x.shape[-1]} wide; {word} needs an even width.")
    out = Tensor(shape=(*x.shape[:-1], x.shape[-1] // inputs), kept=keeps_output)
    saved = float(out.elements) if keeps_output else x.unkept
    return (vector(name=name, read_elements=x.elements, write_elements=out.elements, saved_elements=saved),), out


def _pool(fields: Fields, name: str, x: Tensor) -> Step:
    _rank(x, (3,), "[channels, height, width]")
    word = fields.word("pool", legal=("max", "average", "global"), default="max")
    if word == "global":
        out: Shape = (x.shape[0],)
    else:
        kernel, stride = _sizes(fields, "kernel", 2, None, 1), _sizes(fields, "stride", 2, 1, 1)
        padding, ceil = _sizes(fields, "padding", 2, 0, 0), fields.flag("ceil", default=False)
        sides = window_output(
            name=name, in_hw=(x.shape[1], x.shape[2]), kernel=(kernel[0], kernel[1]), stride=(stride[0], stride[1]),
            padding=(padding[0], padding[1]), ceil=ceil,
        )  # fmt: skip
        out = (x.shape[0], *sides)
    # Max-pooling keeps its input and its output; averages keep nothing.
    saved = x.unkept + prod(out) if word == "max" else 0.0
    op = vector(name=name, read_elements=x.elements, write_elements=prod(out), saved_elements=saved)
    return (op,), Tensor(shape=out, kept=word == "max")


def _embedding(fields: Fields, name: str, x: Tensor) -> Step:
    _rank(x, (1,), "[positions]")
    rows, width = fields.count("rows"), fields.count("width")
    spread = fields.flag("spread", default=False)
    sent = float(x.elements * width) if spread else 0.0
    op = embedding(
        name=name, rows=rows, width=width, tokens=x.elements, split="table" if spread else "vocab",
        exchanged_elements=sent,
    )  # fmt: skip
    return (op,), Tensor(shape=(x.shape[0], width))


def _attention(fields: Fields, name: str, x: Tensor) -> Step:
    _rank(x, (2,), "[positions, width] of queries, keys and values side by side")
    heads = fields.count("heads")
    kv_heads = fields.count("kv_heads", default=heads)
    positions, width = x.shape
    if width % (heads + 2 * kv_heads) or heads % kv_heads:
        raise WorkloadError(
            f"its input is {width} wide; {heads} query and 2 x {kv_heads} key and value heads do not share that evenly."
        )
    head_dim = width // (heads + 2 * kv_heads)
    op = attention(
        name=name, heads=heads, kv_heads=kv_heads, head_dim=head_dim, seq_len=positions,
        context=fields.count("context", default=positions), causal=fields.flag("causal", default=False),
        dropout=fields.flag("dropout", default=False),
    )  # fmt: skip
    return (replace(op, saved_elements=x.unkept),), Tensor(shape=(positions, heads * head_dim))


def _recurrent(fields: Fields, name: str, x: Tensor) -> Step:
    _rank(x, (2,), "[steps, width]")
    units, both = fields.count("units"), fields.flag("bidirectional", default=False)
    cell, biases = fields.word("cell", legal=CELLS, default="lstm"), fields.count("biases", default=2, least=0, most=2)
    op = recurrent(name=name, cell=cell, steps=x.shape[0], width=x.shape[1], hidden=units, biases=biases)
    op = replace(op, saved_elements=op.saved_elements - (x.elements if x.kept else 0))
    back = replace(op, name=f"{name} backwards", saved_elements=op.saved_elements - x.unkept)
    # The output is among what the layer keeps.
    return (op, back) if both else (op,), Tensor(shape=(x.shape[0], units * (2 if both else 1)), kept=True)


def _dropout(fields: Fields, name: str, x: Tensor) -> Step:
    op = vector(
        name=name, read_elements=x.elements, write_elements=x.elements, saved_elements=0.5 * x.elements
    )  # fmt: skip
    return (op,), Tensor(shape=x.shape)


def _add(fields: Fields, name: str, x: Tensor) -> Step:
    return (vector(name=name, read_elements=2 * x.elements, write_elements=x.elements),), Tensor(shape=x.shape)


def _loss(fields: Fields, name: str, x: Tensor) -> Step:
    op = vector(
        name=name, read_elements=3 * x.elements, write_elements=2 * x.elements, saved_elements=2.0 * x.elements,
        launches=3,
    )  # fmt: skip
    return (op,), Tensor(shape=x.shape, kept=True)


def _reshape(fields: Fields, name: str, x: Tensor) -> Step:
    shape = tuple(fields.items("shape", kind=int, most=4))
    if min(shape, default=0) < 1 or prod(shape) != x.elements:
        raise WorkloadError(
            f"shape {list(shape)} does not hold the {x.elements} elements of its input {list(x.shape)}."
        )
    return (), replace(x, shape=shape)


def _flatten(fields: Fields, name: str, x: Tensor) -> Step:
    return (), replace(x, shape=(x.elements,))


#: What ``op`` may be -> how it is laid out.
OPS: Final[Mapping[str, Callable[[Fields, str, Tensor], Step]]] = {
    "conv": _conv,
    "dense": _dense,
    "norm": _norm,
    "activation": _activation,
    "pool": _pool,
    "embedding": _embedding,
    "attention": _attention,
    "recurrent": _recurrent,
    "dropout": _dropout,
    "add": _add,
    "loss": _loss,
    "reshape": _reshape,
    "flatten": _flatten,
}
