"""What "TFLOP/s" and "MFU" mean in a source, and how a step time becomes the row's own unit.

Published rates count different FLOPs. A prediction is always a step time; it is converted with the convention of the
row's source, found by measurement (published rate over published tokens/s) or by the source's own words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from workloads.workload import Workload

#: FLOPs a source counts for one sample's forward and backward pass.
#: "model": 3 forwards, attention not halved. "causal": 3 forwards, causal attention halved. "hardware": blocks 4
#: forwards (full recomputation), head 3, attention not halved (Eq. 3 of arXiv:2104.04473). "executed": "hardware" if
#: recomputed in full, else "model".
CONVENTIONS: Final = ("model", "causal", "hardware", "executed")


@dataclass(frozen=True, kw_only=True)
class Convention:
    """How one family of sources counts; ``why`` says how that is known."""

    source: str
    software: str
    tflops: str
    mfu: str
    why: str


CONVENTIONS_OF_SOURCES: Final = (
    Convention(
        source="2104.04473|1909.08053|2201.11990|NeoX|2204.06745",
        software="",
        tflops="hardware",
        mfu="model",
        why="Eq. 3 of arXiv:2104.04473 stated",
    ),
    Convention(
        source="bigscience|deepspeedai|2303.17564|2205.01068",
        software="",
        tflops="hardware",
        mfu="model",
        why="Megatron formula with recomputation; ratio 1.27 to 1.335 to 6N + 12Lhs",
    ),
    Convention(
        source="2304.11277",
        software="",
        tflops="hardware",
        mfu="model",
        why="full recomputation; 186 TFLOP/s only reconcile with hardware FLOPs",
    ),
    Convention(
        source="^NVIDIA/Megatron-LM",
        software=r"^Megatron-LM",
        tflops="hardware",
        mfu="model",
        why="tables of 2020 and 2021 use Eq. 3 of arXiv:2104.04473",
    ),
    Convention(source="DLPerf", software="", tflops="hardware", mfu="model", why="ratio 1.27 to 1.335 to 6N + 12Lhs"),
    Convention(
        source="InternEvo",
        software="",
        tflops="executed",
        mfu="model",
        why="SC21 formula, factor 4 only with recomputation",
    ),
    Convention(source="2205.05198", software="", tflops="model", mfu="model", why="Appendix A of arXiv:2205.05198"),
    Convention(
        source="Megatron-Bridge",
        software="",
        tflops="causal",
        mfu="causal",
        why="ratio 0.82 to 0.97 by s/h: attention halved",
    ),
    Convention(source="maxtext|tpu-recipes", software="", tflops="causal", mfu="causal", why="newer tables 6N + 6Lhs"),
    Convention(
        source="stas00",
        software="DeepSpeed",
        tflops="causal",
        mfu="causal",
        why="the source says: causal attention counted once",
    ),
    Convention(
        source="",
        software="",
        tflops="model",
        mfu="model",
        why="ratio 0.99 to 1.01 where both are printed; assumed elsewhere",
    ),
)


def convention_of(source: str, software: str) -> Convention:
    """The first convention whose patterns match; the last matches everything."""
    return next(c for c in CONVENTIONS_OF_SOURCES if re.search(c.source, source) and re.search(c.software, software))


def flop_per_sample(workload: Workload, convention: str, *, recompute: str) -> float:
    """FLOPs of one sample's training step as a convention counts them [FLOP]."""
    if convention not in CONVENTIONS:
        raise ValueError(f"flop_per_sample: convention is {convention!r}; legal: {', '.join(CONVENTIONS)}.")
    if convention == "executed":
        convention = "hardware" if recompute == "full" else "model"
    total = 0.0
    for layer in workload.layers:
        forward = float(layer.forward_flop)
        if convention == "causal" and workload.causal:
            forward -= 0.5 * sum(op.forward_flop for op in layer.ops if op.kind == "attention")
        passes = 4.0 if convention == "hardware" and layer.kind == "block" else 3.0
        total += passes * forward * layer.repeat
    return total
