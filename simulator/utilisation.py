"""MFU and HFU: which share of the chips' peak a step's work comes to, by a stated convention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workloads.layer import COUNTED_KINDS
from workloads.workload import Workload

#: Forward and backward against forward: every product has a gradient for its input and one for its parameters.
TRAINING_FACTOR: Final = 3.0

CONVENTION: Final = (
    "products and attention of forward and backward passes (3 x forward), causal attention halved, nothing recomputed "
    "(HFU counts it); over the dense peak of the multiply precision"
)


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """Shares of the peak; see `utilisation`."""

    mfu: float
    mfu_full_attention: float
    hfu: float


def forward_flop(workload: Workload, *, halved: bool, blocks_only: bool = False, attention_only: bool = False) -> float:
    """Forward work of one sample, causal attention halved or in full. [FLOP]"""
    total = 0.0
    for layer in workload.layers:
        if blocks_only and layer.kind != "block":
            continue
        for op in layer.ops:
            if op.kind not in COUNTED_KINDS or (attention_only and op.kind != "attention"):
                continue
            total += layer.repeat * op.forward_flop * (0.5 if halved and op.kind == "attention" and op.causal else 1.0)
    return total


def utilisation(
    workload: Workload,
    *,
    global_batch: int,
    step_s: float,
    peak_flop_per_s: float,
    chips: int,
    recompute: str,
    fused: bool,
) -> Utilisation:
    """MFU, MFU with attention in full, and HFU of one step.

    .. math:: MFU = \\frac{3 F B}{t \\, n \\, P}, \\quad HFU = \\frac{(3 F + R) B}{t \\, n \\, P}

    with F the forward work of a sample, B the global batch, t the step, n chips of peak P, and R what is run again: the
    blocks ("full") or their attention ("selective", where attention is not fused).
    """
    rate = global_batch / (step_s * chips * peak_flop_per_s)
    halved = forward_flop(workload, halved=True)
    again = 0.0
    if recompute == "full":
        again = forward_flop(workload, halved=True, blocks_only=True)
    elif recompute == "selective" and not fused:
        again = forward_flop(workload, halved=True, blocks_only=True, attention_only=True)
    return Utilisation(
        mfu=TRAINING_FACTOR * halved * rate,
        mfu_full_attention=TRAINING_FACTOR * forward_flop(workload, halved=False) * rate,
        hfu=(TRAINING_FACTOR * halved + again) * rate,
    )
