"""Memory bandwidth by the size of what is touched: copied, read, written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

KINDS: Final = ("copy", "read", "write", "triad")
#: Bytes that move for one byte of a tensor.
_MOVED: Final = {"copy": 2.0, "read": 1.0, "write": 1.0, "triad": 3.0}


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS)


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    # Half of the sizes are beyond every cache: those decide the bandwidth of the main memory.
    low, high = scale.byte
    large = draw.index % 2 == 0
    touched = draw.log(0, high / 8 if large else low, high if large else high / 8)
    size = max(1, int(touched / (_MOVED[kind] * 4.0)))
    return Case(
        suite="memory", precision=precision, shape={"kind": kind, "elements": size}, flop=0.0,
        byte=_MOVED[kind] * 4.0 * size,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    size = int(case.shape["elements"])
    a, b, c = (torch.ones(size, device=device) for _ in range(3))
    return {
        "copy": lambda: a.copy_(b),
        "read": lambda: b.sum(),
        "write": lambda: a.fill_(1.0),
        "triad": lambda: torch.add(b, c, alpha=0.5, out=a),
    }[str(case.shape["kind"])]


SUITE: Final = Suite(
    name="memory", title="memory bandwidth by size", strata=_strata, case=_case, prepare=_prepare, most=64
)  # fmt: skip
