"""Collectives over sizes between processes, and an all-reduce beside a product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

KINDS: Final = (
    "all_reduce", "all_gather", "reduce_scatter", "broadcast", "all_to_all", "all_reduce_beside", "product_beside",
    "together_beside",
)  # fmt: skip
#: Kinds that measure an all-reduce beside a product: the all-reduce alone, the product alone, both at once.
BESIDE: Final = ("all_reduce_beside", "product_beside", "together_beside")
#: Collectives that PyTorch's own communication between CPUs lacks in some releases are refused where they run.
_LARGEST_BYTE: Final = 2.0**26


def _strata(precisions: Sequence[str], device: str) -> Strata:
    # An all-reduce is what data-parallel training sends: every second case is one.
    order: list[str] = []
    for kind in KINDS[1:5]:
        order += ["all_reduce", kind]
    return tuple(("fp32", kind) for kind in (*order, *BESIDE))


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    if kind in BESIDE:
        # Places that the three kinds share, so that they can be set against each other.
        draw = Draw(index=draw.index, seed=draw.seed, stratum=0)
        byte = draw.log(0, 2.0**18, 2.0**24)
        side = int((draw.log(1, scale.flop[1] / 100, scale.flop[1] / 4) / 2.0) ** (1.0 / 3.0)) // 8 * 8
    else:
        byte, side = draw.log(0, 64, _LARGEST_BYTE), 0
    # A multiple of what every number of ranks divides.
    size = max(1, round(byte / 4.0 / 840)) * 840 if byte > 8192 else max(8, int(byte / 4.0) // 8 * 8)
    return Case(
        suite="collectives", precision=precision, shape={"kind": kind, "size_bytes": 4 * size, "side": side},
        flop=2.0 * side**3, byte=4.0 * size,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    """The call of one rank; all ranks prepare and make the same calls in the same order."""
    import torch.distributed as dist

    ranks = dist.get_world_size()
    size, kind, side = int(case.shape["size_bytes"]) // 4, str(case.shape["kind"]), int(case.shape["side"])
    part = max(1, size // ranks)
    whole = torch.zeros(part * ranks, device=device)
    share = torch.zeros(part, device=device)
    if kind in BESIDE:
        a, b = (torch.ones(side, side, device=device) for _ in range(2))
        out = torch.empty(side, side, device=device)

        def together() -> object:
            work = dist.all_reduce(whole, async_op=True)
            torch.mm(a, b, out=out)
            return work.wait()

        return {
            "all_reduce_beside": lambda: dist.all_reduce(whole),
            "product_beside": lambda: torch.mm(a, b, out=out),
            "together_beside": together,
        }[kind]
    other = torch.zeros_like(whole)
    # Newer releases of PyTorch call them otherwise, and warn.
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    return {
        "all_reduce": lambda: dist.all_reduce(whole),
        "all_gather": lambda: gather(whole, share),
        "reduce_scatter": lambda: scatter(share, whole),
        "broadcast": lambda: dist.broadcast(whole, 0),
        "all_to_all": lambda: dist.all_to_all_single(other, whole),
    }[kind]


SUITE: Final = Suite(
    name="collectives", title="collectives between processes, alone and beside a product", strata=_strata, case=_case,
    prepare=_prepare, most=132, between_ranks=True,
)  # fmt: skip
