"""Calls that stay whole on their way from PyTorch, since chips run them as one: attention, recurrent layers, dropout.

Each takes a call's arguments by name and lays out its ops; what comes out has the shape that tracing found.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import prod
from typing import Any, Final

from workloads.importers.torch_kernels import Laying, storage
from workloads.op import CELLS, WorkloadError, attention, recurrent, vector

Outputs = tuple[Any, ...]
Call = Callable[[Laying, Mapping[str, Any], Outputs], None]


def _dropout(laying: Laying, given: Mapping[str, Any], out: Outputs) -> None:
    """One kernel and a mask of one byte, as on a GPU; elsewhere PyTorch keeps the noise as numbers."""
    x = given["input"]
    if not given["train"] or not given["p"]:
        return
    elements = laying.elements([x])
    laying.add(
        vector(
            name="dropout", read_elements=elements, write_elements=elements,
            saved_elements=0.5 * x.numel() / laying.samples,
        )
    )  # fmt: skip


def _rms_norm(laying: Laying, given: Mapping[str, Any], out: Outputs) -> None:
    x = given["input"]
    elements = laying.elements([x])
    parameters = laying.claim(given["weight"])
    laying.add(
        vector(
            name="rms_norm", read_elements=elements, write_elements=elements, saved_elements=laying.keep([x]),
            parameters=parameters,
        )
    )  # fmt: skip


def _attention(laying: Laying, given: Mapping[str, Any], out: Outputs) -> None:
    q, k, v = given["query"], given["key"], given["value"]
    heads = laying.share(prod(q.shape[:-2]), "the product of samples and heads")
    kv_heads = laying.share(prod(k.shape[:-2]), "the product of samples and key/value heads")
    if heads % kv_heads:
        raise WorkloadError(f"{laying.place}: attention of {heads} heads on {kv_heads} key/value heads.")
    causal = bool(given["is_causal"])
    if given["attn_mask"] is not None:
        laying.assumed["what attention masks hide is not known: attention is counted in full, as not causal"] = None
    op = attention(
        name="attention", heads=heads, kv_heads=kv_heads, head_dim=q.shape[-1], seq_len=q.shape[-2],
        context=k.shape[-2], causal=causal, dropout=bool(given["dropout_p"]),
        value_dim=v.shape[-1] if v.shape[-1] != q.shape[-1] else 0,
    )  # fmt: skip
    laying.add(replace(op, saved_elements=laying.keep([q, k, v]), split="none"))


def _recurrent(cell: str) -> Call:
    def lay(laying: Laying, given: Mapping[str, Any], out: Outputs) -> None:
        if "input" not in given or "params" not in given:
            raise WorkloadError(
                f"{laying.place}: recurrent layers of packed sequences are not known; pass padded ones."
            )
        x, params = given["input"], list(given["params"])
        directions, count = 2 if given["bidirectional"] else 1, int(given["num_layers"])
        of_one = len(params) // (directions * count)
        if of_one not in (2, 4) or params[1].shape[1] * CELLS[cell] != params[1].shape[0]:
            raise WorkloadError(f"{laying.place}: recurrent layers with a projection (proj_size) are not known.")
        length, rows = (x.shape[1], x.shape[0]) if given["batch_first"] else (x.shape[0], x.shape[1])
        if x.dim() != 3:
            length, rows = x.shape[0], 1
        steps = length * laying.share(rows, "the batch of a recurrent layer")
        hidden, kept = params[1].shape[1], laying.keep([x])
        for layer in range(count):
            for direction in range(directions):
                at = of_one * (layer * directions + direction)
                own = params[at : at + of_one]
                op = recurrent(
                    name=f"{cell} layer {layer}{' backwards' if direction else ''}", cell=cell, steps=steps,
                    width=own[0].shape[1], hidden=hidden, biases=2 if of_one == 4 else 0,
                )  # fmt: skip
                # The input of an inner layer is among the states that the layer before keeps.
                states = op.saved_elements - steps * own[0].shape[1]
                laying.add(
                    replace(
                        op, parameters=laying.claim(*own), saved_elements=states + kept, launches=length,
                        trainable=laying.trains(own[0]),
                    )
                )  # fmt: skip
                kept = 0.0
            if given["dropout"] and given["train"] and layer < count - 1:
                size = steps * hidden * directions
                laying.add(
                    vector(name="dropout", read_elements=size, write_elements=size, saved_elements=1.5 * size)
                )  # fmt: skip
        laying.kept.add(storage(out[0]))

    return lay


def _cell(cell: str) -> Call:
    def lay(laying: Laying, given: Mapping[str, Any], out: Outputs) -> None:
        x, own = given["input"], [given[key] for key in ("w_ih", "w_hh", "b_ih", "b_hh")]
        rows = laying.share(x.shape[0] if x.dim() > 1 else 1, "the batch of a recurrent cell")
        hidden, width = own[1].shape[1], own[0].shape[1]
        op = recurrent(name=f"{cell} cell", cell=cell, steps=rows, width=width, hidden=hidden)
        states = op.saved_elements - rows * width
        kept = laying.keep([x])
        laying.add(
            replace(
                op, parameters=laying.claim(*own), saved_elements=states + kept, launches=1,
                trainable=laying.trains(own[0]),
            )
        )  # fmt: skip
        laying.kept.update(storage(t) for t in out)

    return lay


#: Names of calls -> how they are laid out.
WHOLE: Final[Mapping[str, Call]] = {
    "aten::dropout": _dropout,
    "aten::dropout_": _dropout,
    "aten::rms_norm": _rms_norm,
    "aten::scaled_dot_product_attention": _attention,
    "aten::lstm": _recurrent("lstm"),
    "aten::gru": _recurrent("gru"),
    "aten::rnn_tanh": _recurrent("vanilla"),
    "aten::rnn_relu": _recurrent("vanilla"),
    "aten::lstm_cell": _cell("lstm"),
    "aten::gru_cell": _cell("gru"),
    "aten::rnn_tanh_cell": _cell("vanilla"),
    "aten::rnn_relu_cell": _cell("vanilla"),
}
