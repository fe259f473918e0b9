"""Work beside other work: a product beside a copy, together and apart."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

#: What is timed: each alone, and both at once. Cases of one shape differ in nothing else.
KINDS: Final = ("together", "product", "copy")


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS)


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    # The same places for the three kinds, so that they can be set against each other.
    same = Draw(index=draw.index, seed=draw.seed, stratum=0)
    side = int((same.log(0, scale.flop[1] / 30, scale.flop[1]) / 2.0) ** (1.0 / 3.0)) // 8 * 8
    size = int(same.log(1, scale.byte[1] / 64, scale.byte[1] / 4) / 4.0)
    product = kind != "copy"
    return Case(
        suite="overlap", precision=precision, shape={"kind": kind, "side": side, "elements": size},
        flop=2.0 * side**3 if product else 0.0, byte=8.0 * size if kind != "product" else 12.0 * side**2,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    side, size, kind = int(case.shape["side"]), int(case.shape["elements"]), case.shape["kind"]
    a, b = (torch.randn(side, side, device=device) for _ in range(2))
    out = torch.empty(side, side, device=device)
    on_device = device != "cpu"
    source = torch.ones(size, pin_memory=on_device)
    target = torch.ones(size, device=device)

    def product() -> object:
        return torch.mm(a, b, out=out)

    if on_device:
        stream = torch.cuda.Stream()

        def copy() -> object:
            with torch.cuda.stream(stream):
                target.copy_(source, non_blocking=True)
            return torch.cuda.current_stream().wait_stream(stream)

        def together() -> object:
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                target.copy_(source, non_blocking=True)
            product()
            return torch.cuda.current_stream().wait_stream(stream)

    else:

        def copy() -> object:
            return target.copy_(source)

        def together() -> object:
            beside = threading.Thread(target=copy)
            beside.start()
            product()
            beside.join()
            return None

    return {"together": together, "product": product, "copy": copy}[str(kind)]


SUITE: Final = Suite(
    name="overlap", title="a product beside a copy, together and apart", strata=_strata, case=_case, prepare=_prepare,
    most=36,
)  # fmt: skip
