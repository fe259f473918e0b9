"""Rows looked up in a table, and their gradients added into one as large."""

from __future__ import annotations

from typing import Any, Final

from ..case import ELEMENT_BYTE, Call, Case, Draw, Scale, Suite, crossed, dtype_of, rounded

KINDS: Final = ("fwd", "bwd")


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    element = ELEMENT_BYTE[precision]
    width = rounded(draw.log(1, 16, 4096), 16)
    lookups = int(max(16.0, draw.log(0, scale.byte[0], scale.byte[1] / 8) / (2.0 * width * element)))
    table = int(min(draw.log(2, 1e3, 1e6), scale.byte[1] / (width * element)))
    moved = 2.0 * lookups * width * element
    # The backward pass writes a gradient of the whole table: zeros, then the rows that were looked up.
    moved += table * width * element if kind == "bwd" else 0.0
    return Case(
        suite="embedding", precision=precision,
        shape={"lookups": lookups, "width": width, "table_rows": table, "pass": kind},
        flop=float(lookups * width) if kind == "bwd" else 0.0, byte=moved,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    n, width, rows = (int(case.shape[c]) for c in ("lookups", "width", "table_rows"))
    table = torch.randn(rows, width, device=device).to(dtype_of(torch, case.precision))
    places = torch.randint(0, rows, (n,), device=device)
    if case.shape["pass"] == "fwd":
        return lambda: torch.nn.functional.embedding(places, table)
    gradient = torch.randn(n, width, device=device).to(table.dtype)
    return lambda: torch.ops.aten.embedding_dense_backward(gradient, places, rows, -1, False)


SUITE: Final = Suite(
    name="embedding", title="embedding tables", strata=crossed(KINDS), case=_case, prepare=_prepare, most=64
)  # fmt: skip
