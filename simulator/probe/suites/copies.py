"""Copies between host and device; on a CPU, copies inside its memory by one thread, as a loader of data makes them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

KINDS: Final = ("to_device pinned", "to_host pinned", "to_device", "to_host")


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in (KINDS if device != "cpu" else ("inside",)))


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    size = max(1, int(draw.log(0, scale.byte[0], scale.byte[1] / 4) / 4.0))
    return Case(suite="copies", precision=precision, shape={"kind": kind, "elements": size}, flop=0.0, byte=4.0 * size)


def _prepare(torch: Any, device: str, case: Case) -> Call:
    kind, _, pinned = str(case.shape["kind"]).partition(" ")
    size = int(case.shape["elements"])
    if kind == "inside":
        read, written = memoryview(bytearray(4 * size)), memoryview(bytearray(4 * size))

        def inside() -> None:
            written[:] = read

        return inside
    host = torch.ones(size, pin_memory=bool(pinned))
    there = torch.ones(size, device=device)
    to, source = (there, host) if kind == "to_device" else (host, there)
    return lambda: to.copy_(source, non_blocking=bool(pinned))


SUITE: Final = Suite(
    name="copies", title="copies between host and device", strata=_strata, case=_case, prepare=_prepare, most=48
)  # fmt: skip
