"""A network as a table: what every layer holds, computes, keeps and moves, per sample."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from workloads.layer import COUNTED_KINDS, Layer
from workloads.op import Op
from workloads.workload import Workload

#: Bytes of one activation, parameter and gradient where nothing else is said: 16-bit numbers. [B]
ELEMENT_BYTE: Final = 2.0


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """One layer, or one op of it; figures are per sample and of ONE of its `repeat` copies.

    Attributes
    ----------
    parameters, trained
        Learned parameters, and those of them that get a gradient.
    forward_flop, backward_flop
        Products, convolutions and (full, not causally halved) attention. [FLOP]
    activation_byte, score_byte
        What is kept for the backward pass; what attention that writes its scores keeps on top. [B]
    moved_byte
        Operands read and results written in the forward pass, every op by itself. [B]
    """

    name: str
    kind: str
    repeat: int
    parameters: int
    trained: int
    forward_flop: int
    backward_flop: int
    activation_byte: float
    score_byte: float
    moved_byte: float

    @property
    def intensity(self) -> float:
        """Forward work of one sample over what it moves; 0 where nothing is moved. [FLOP/B]"""
        return self.forward_flop / self.moved_byte if self.moved_byte else 0.0

    @property
    def gradient_byte(self) -> float:
        """Gradients of one copy that data-parallel ranks must exchange. [B]"""
        return ELEMENT_BYTE * self.trained

    @property
    def flop_per_gradient_byte(self) -> float:
        """Work of one sample per byte of gradient: how well data parallelism suits the layer; 0 without gradients.

        Times the samples a rank runs in a step it is the work under which one exchanged byte can hide. [FLOP/B]
        """
        return (self.forward_flop + self.backward_flop) / self.gradient_byte if self.trained else 0.0

    def as_mapping(self) -> Mapping[str, object]:
        """The values by name, in printing order."""
        return {
            "name": self.name, "kind": self.kind, "repeat": self.repeat, "parameters": self.parameters,
            "trained_parameters": self.trained, "forward_flop": self.forward_flop,
            "backward_flop": self.backward_flop, "activation_byte": self.activation_byte,
            "score_byte": self.score_byte, "moved_byte": self.moved_byte,
            "intensity_flop_per_byte": self.intensity, "gradient_byte": self.gradient_byte,
            "flop_per_gradient_byte": self.flop_per_gradient_byte,
        }  # fmt: skip


def layer_rows(workload: Workload) -> tuple[LayerRow, ...]:
    """One row per layer, in forward order."""
    return tuple(_row(layer.name, layer.kind, layer.repeat, layer.ops) for layer in workload.layers)


def op_rows(layer: Layer) -> tuple[LayerRow, ...]:
    """One row per op of a layer, in forward order."""
    return tuple(_row(op.name, op.kind, layer.repeat, (op,)) for op in layer.ops)


def total_row(workload: Workload) -> LayerRow:
    """All copies of all layers; a table that two layers share counts once.

    Its intensity is that of all forward work over all that is moved.
    """
    rows = layer_rows(workload)
    shared = workload.tied_parameters
    table = next((op for op in workload.layers[0].ops if op.kind == "embedding"), None)
    return LayerRow(
        name="all",
        kind="",
        repeat=1,
        parameters=sum(row.repeat * row.parameters for row in rows) - shared,
        trained=sum(row.repeat * row.trained for row in rows)
        - (shared if table is not None and table.trainable else 0),
        forward_flop=sum(row.repeat * row.forward_flop for row in rows),
        backward_flop=sum(row.repeat * row.backward_flop for row in rows),
        activation_byte=sum(row.repeat * row.activation_byte for row in rows),
        score_byte=sum(row.repeat * row.score_byte for row in rows),
        moved_byte=sum(row.repeat * row.moved_byte for row in rows),
    )


def backward_flop(op: Op) -> int:
    """Work of an op's backward pass for one sample. [FLOP]

    A product has as much again for the gradient of its input, where that is needed, and as much for the gradient of
    its other operand: its parameters if they are trained, or a second activation. Attention and recurrent layers have
    both. Leaves out: that nothing before the first trained layer needs any; work done again.
    """
    if op.kind not in COUNTED_KINDS:
        return 0
    second = op.trainable or (op.kind == "gemm" and not op.parameters) or op.kind in ("attention", "recurrent")
    return op.forward_flop * (int(op.input_needs_gradient) + int(second))


def _row(name: str, kind: str, repeat: int, ops: Iterable[Op]) -> LayerRow:
    held = tuple(ops)
    return LayerRow(
        name=name,
        kind=kind,
        repeat=repeat,
        parameters=sum(op.parameters for op in held),
        trained=sum(op.parameters for op in held if op.trainable),
        forward_flop=sum(op.forward_flop for op in held if op.kind in COUNTED_KINDS),
        backward_flop=sum(backward_flop(op) for op in held),
        activation_byte=2.0 * sum(op.saved_elements for op in held),
        score_byte=2.0 * sum(op.score_elements for op in held),
        moved_byte=ELEMENT_BYTE * sum(op.read_elements + op.write_elements + _read_parameters(op) for op in held),
    )


def _read_parameters(op: Op) -> int:
    """Parameters that the forward pass reads beside its input: of a table only the rows that are looked up."""
    return 0 if op.kind == "embedding" else op.parameters
