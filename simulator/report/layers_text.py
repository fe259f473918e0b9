"""The report of layers: a network's parameters, work, activations and intensities, as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from workloads.report import ELEMENT_BYTE, LayerRow, layer_rows, op_rows, total_row
from workloads.workload import Workload

from .quantities import byte, digits, many, scaled
from .tables import fold, table

WIDTH: Final = 120

_HEADER: Final = ("layer", "x", "parameters", "forward", "backward", "kept", "FLOP/B", "FLOP/B of gradient")


def layers_text(workload: Workload, *, ops: bool = False) -> str:
    """A line per layer (and, with ``ops``, per op) under a line about the network, ending in a newline."""
    total = total_row(workload)
    lines = [f"{workload.name}: {many(total.parameters)} parameters; a sample is {_sample(workload)}"]
    if total.trained != total.parameters:
        lines.append(f"  trained    {total.trained:,} parameters")
    lines += fold(f"source     {workload.source}", WIDTH, first="  ", rest="             ") if workload.source else []
    for text in workload.assumed:
        lines += fold(f"assumed    {text}", WIDTH, first="  ", rest="             ")
    rows: list[Sequence[str]] = []
    for layer, row in zip(workload.layers, layer_rows(workload), strict=True):
        rows.append(_cells(row, row.name, f"{row.repeat}"))
        if ops:
            rows += [_cells(inner, f"  {inner.name}", "") for inner in op_rows(layer)]
    rows.append(_cells(total, "all", ""))
    lines += ["", *table(_HEADER, rows, left=(0,), width=WIDTH)]
    notes = (
        "Per sample; figures of one copy of a layer, the last line of all copies. Products, convolutions and full "
        f"attention are counted, numbers take {ELEMENT_BYTE:g} bytes. 'kept': activations for the backward pass; "
        "'FLOP/B': forward work over what every op reads and writes by itself; 'FLOP/B of gradient': forward and "
        "backward work of one sample over the gradients that replicas exchange."
    )
    if total.score_byte:
        notes += f" Attention that writes its scores keeps {byte(total.score_byte)} more."
    return "\n".join(line.rstrip() for line in [*lines, "", *fold(notes, WIDTH)]) + "\n"


def layers_mapping(workload: Workload, *, ops: bool = False) -> dict[str, Any]:
    """The same values, for JSON."""
    layers = []
    for layer, row in zip(workload.layers, layer_rows(workload), strict=True):
        found = dict(row.as_mapping())
        if ops:
            found["ops"] = [dict(inner.as_mapping()) for inner in op_rows(layer)]
        layers.append(found)
    return {
        "schema": 1,
        "kind": "layers",
        "model": workload.name,
        "family": workload.family,
        "sample": workload.sample,
        "tokens_per_sample": workload.tokens_per_sample,
        "element_byte": ELEMENT_BYTE,
        "source": workload.source,
        "assumed": list(workload.assumed),
        "layers": layers,
        "total": dict(total_row(workload).as_mapping()),
    }


def _sample(workload: Workload) -> str:
    if workload.tokens_per_sample > 1:
        return f"one {workload.sample} of {workload.tokens_per_sample:,} tokens"
    return f"one {workload.sample}"


def _cells(row: LayerRow, name: str, repeat: str) -> list[str]:
    return [
        name, repeat, f"{row.parameters:,}" if row.parameters else "-", _flop(row.forward_flop),
        _flop(row.backward_flop), byte(row.activation_byte) if row.activation_byte else "-", digits(row.intensity),
        digits(row.flop_per_gradient_byte) if row.trained else "-",
    ]  # fmt: skip


def _flop(value: int) -> str:
    return scaled(value, "FLOP") if value else "-"
