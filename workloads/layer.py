"""Layer: ops that stay together on one pipeline stage."""

from __future__ import annotations

from dataclasses import dataclass

from workloads.op import Op, WorkloadError

#: Ops whose FLOPs the field counts; the rest is memory traffic.
COUNTED_KINDS = ("gemm", "conv", "attention", "recurrent")


@dataclass(frozen=True, kw_only=True)
class Layer:
    """Ops in forward order that no pipeline split separates, repeated ``repeat`` times in a row.

    ``kind`` is a word for reports and for finding places to cut: ``embedding``, ``block``, ``head``, ``conv``,
    ``dense``, ``pool``. All figures are those of ONE repeat, per sample.
    """

    name: str
    kind: str
    ops: tuple[Op, ...]
    repeat: int = 1

    def __post_init__(self) -> None:
        if self.repeat < 1:
            raise WorkloadError(f"layer '{self.name}': repeat is {self.repeat}; at least 1.")
        if not self.ops:
            raise WorkloadError(f"layer '{self.name}' has no ops; at least one.")

    @property
    def parameters(self) -> int:
        """Learned parameters of one repeat."""
        return sum(op.parameters for op in self.ops)

    @property
    def forward_flop(self) -> int:
        """Forward work of one repeat for one sample: products, convolutions and attention. [FLOP]"""
        return sum(op.forward_flop for op in self.ops if op.kind in COUNTED_KINDS)

    @property
    def handed_elements(self) -> int:
        """Activations that one repeat hands on for one sample: what its last op with a forward result writes."""
        return next((op.write_elements for op in reversed(self.ops) if op.write_elements), 0)

    @property
    def spread_parameters(self) -> int:
        """Parameters of one repeat that expert parallelism spreads."""
        return sum(op.parameters for op in self.ops if op.is_spread)

    @property
    def saved_elements(self) -> float:
        """Activations one repeat keeps for the backward pass, without attention's own scores; units of 2 bytes."""
        return sum(op.saved_elements for op in self.ops)

    @property
    def score_elements(self) -> float:
        """What unfused attention adds to `saved_elements`; units of 2 bytes."""
        return sum(op.score_elements for op in self.ops)
