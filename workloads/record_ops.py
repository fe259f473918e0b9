"""Ops that recommenders are made of: look-ups in tables of embeddings, dense layers on one record, the loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from workloads.layer import Layer
from workloads.op import Op, WorkloadError, embedding, gemm, vector
from workloads.workload import Hyper, Workload

#: Activation word -> (learned slopes per channel, whether it keeps a tensor of its own). ReLU, tanh and sigmoid keep
#: their output, which the next product keeps anyway; PReLU keeps its input.
ACTIVATIONS = {"relu": (0, False), "tanh": (0, False), "sigmoid": (0, False), "prelu": (1, True)}


def checked(network: str, **counts: int | Sequence[int]) -> None:
    """Refuse sizes that are not whole numbers of at least 1, and empty lists of sizes.

    Raises
    ------
    WorkloadError
        Naming the network, the size and its value.
    """
    for name, value in counts.items():
        items = tuple(value) if isinstance(value, list | tuple) else (value,)
        wrong = [item for item in items if type(item) is not int or item < 1]
        if wrong or not items:
            shown = f"{wrong[0]!r}" if wrong else "empty"
            raise WorkloadError(f"{network}: {name} is {shown}; whole numbers of at least 1.")


def look_up(
    *, name: str, rows: int, width: int, lookups: int = 1, outputs: int = 0, spread: bool = False, launches: int = 1
) -> Op:
    """``lookups`` rows of a table (or of several that one kernel reads), pooled to ``outputs`` (default: not pooled).

    A ``spread`` table lives on one of the ranks, which sends the pooled rows to those that own the records; its update
    touches only the rows that were read. The others are copied to every rank and updated whole, as frameworks do with
    dense gradients.
    """
    outputs = outputs or lookups
    op = embedding(
        name=name,
        rows=rows,
        width=width,
        tokens=lookups,
        split="table" if spread else "vocab",
        exchanged_elements=float(outputs * width) if spread else 0.0,
    )
    return replace(op, write_elements=outputs * width, launches=launches)


def dense(
    *,
    name: str,
    k: int,
    n: int,
    activation: str = "",
    rows: int = 1,
    dropout: bool = False,
    bias: bool = True,
    keeps_input: bool = True,
) -> tuple[Op, ...]:
    """A dense layer on ``rows`` vectors of one record, with its activation and dropout (mask of one byte)."""
    ops = [gemm(name=name, m=rows, n=n, k=k, bias=bias, keeps_input=keeps_input)]
    elements = rows * n
    if activation:
        slopes, keeps = ACTIVATIONS[activation]
        ops.append(
            vector(
                name=f"{name} {activation}",
                read_elements=elements,
                write_elements=elements,
                saved_elements=float(elements) if keeps or dropout else 0.0,
                parameters=slopes * n,
            )
        )
    if dropout:
        ops.append(
            vector(
                name=f"{name} dropout", read_elements=elements, write_elements=elements, saved_elements=0.5 * elements
            )
        )
    return tuple(ops)


def mlp(*, name: str, k: int, sizes: Sequence[int], activation: str = "relu", last: str | None = None) -> list[Op]:
    """Dense layers in a row, each with the activation; ``last`` is that of the last one ("" for none)."""
    ops: list[Op] = []
    for index, n in enumerate(sizes):
        word = activation if index < len(sizes) - 1 or last is None else last
        ops += dense(name=f"{name} {index + 1}", k=k, n=n, activation=word)
        k = n
    return ops


def concatenation(name: str, elements: int) -> Op:
    """Tensors put side by side: everything is read and written once; the next product keeps the result."""
    return vector(name=name, read_elements=elements, write_elements=elements)


def binary_loss(logits: int = 1) -> Op:
    """Sigmoid, binary cross entropy with the label and mean; keeps logit and label in fp32."""
    return vector(
        name="binary cross entropy",
        read_elements=4 * logits,
        write_elements=2 * logits,
        saved_elements=4.0 * logits,
        launches=3,
    )


def padded(size: int, multiple: int) -> int:
    """The next multiple: tensor cores like widths of 8."""
    return -(-size // multiple) * multiple


def record_workload(name: str, layers: Sequence[Layer], **hyper: Hyper) -> Workload:
    """A recommender of these layers; one sample is one record."""
    return Workload(name=name, family="recommender", sample="record", layers=tuple(layers), hyper=hyper)
