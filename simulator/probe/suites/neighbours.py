"""Kernels while every other rank runs the same: what sharing a memory and a cache costs each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

#: What runs, on all ranks at once and (on rank 0 alone) beside nothing. Cases of one shape differ in nothing else.
KINDS: Final = ("triad", "triad alone", "product", "product alone")


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS) if device == "cpu" else ()


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    # The same places for the kinds of one work, so that they can be set against each other.
    work = kind.partition(" ")[0]
    same = Draw(index=draw.index, seed=draw.seed, stratum=0 if work == "triad" else 1)
    if work == "triad":
        cells = int(same.log(0, 2.0**14, 2.0**26) / 12.0)
        return Case(
            suite="neighbours", precision=precision, shape={"kind": kind, "elements": cells, "side": 0}, flop=0.0,
            byte=12.0 * cells,
        )  # fmt: skip
    side = int((same.log(0, scale.flop[1] / 100, scale.flop[1] / 2) / 2.0) ** (1.0 / 3.0)) // 8 * 8
    return Case(
        suite="neighbours", precision=precision, shape={"kind": kind, "elements": 0, "side": side},
        flop=2.0 * side**3, byte=12.0 * side**2,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    """The call of one rank; ranks other than the first do nothing where the first runs alone."""
    import torch.distributed as dist

    work, _, alone = str(case.shape["kind"]).partition(" ")
    if alone and dist.get_rank() > 0:
        return lambda: None
    if work == "triad":
        a, b, c = (torch.ones(int(case.shape["elements"]), device=device) for _ in range(3))
        return lambda: torch.add(b, c, alpha=0.5, out=a)
    side = int(case.shape["side"])
    x, y = (torch.ones(side, side, device=device) for _ in range(2))
    out = torch.empty(side, side, device=device)
    return lambda: torch.mm(x, y, out=out)


SUITE: Final = Suite(
    name="neighbours", title="kernels beside the same on other ranks", strata=_strata, case=_case, prepare=_prepare,
    most=48, between_ranks=True,
)  # fmt: skip
