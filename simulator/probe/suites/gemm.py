"""Matrix products in the layouts that the three passes of a dense layer call, and batched ones."""

from __future__ import annotations

from typing import Any, Final

from ..case import ELEMENT_BYTE, Call, Case, Draw, Scale, Suite, crossed, dtype_of, rounded

#: How A and B lie in memory, row by row: "NN" as written, "NT" a forward pass (weights stored by output), "TN" the
#: gradient of weights; "bmm" many products at once.
KINDS: Final = ("NT", "TN", "NN", "bmm")
_LARGEST: Final = 32768


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    work = draw.log(0, *scale.flop)
    batch = int(draw.log(3, 2, 128)) if kind == "bmm" else 1
    side = (work / (2.0 * batch)) ** (1.0 / 3.0)
    # Aspect ratios up to 32; the side that is left over carries the rest of the work.
    m, n = side * draw.log(1, 1 / 32, 32), side * draw.log(2, 1 / 32, 32)
    m, n = min(max(m, 1.0), _LARGEST), min(max(n, 4.0), _LARGEST)
    k = min(max(work / (2.0 * batch * m * n), 8.0), _LARGEST)
    # Layers are multiples of 64, batches of anything.
    multiple = draw.one_of(4, (64, 8, 1, 64))
    sizes = [rounded(x, multiple if x > 4 * multiple else 1) for x in (m, n, k)]
    shape: dict[str, int | str] = {"m": sizes[0], "n": sizes[1], "k": sizes[2], "batch": batch, "layout": kind}
    m_, n_, k_ = sizes
    return Case(
        suite="gemm", precision=precision, shape=shape, flop=2.0 * batch * m_ * n_ * k_,
        byte=batch * (m_ * k_ + k_ * n_ + m_ * n_) * ELEMENT_BYTE[precision],
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    m, n, k, batch = (int(case.shape[c]) for c in ("m", "n", "k", "batch"))
    layout, dtype = case.shape["layout"], dtype_of(torch, case.precision)
    rows = (batch,) if layout == "bmm" else ()
    a = torch.randn(*rows, *((k, m) if layout == "TN" else (m, k)), device=device).to(dtype)
    b = torch.randn(*rows, *((n, k) if layout == "NT" else (k, n)), device=device).to(dtype)
    left, right = (a.t() if layout == "TN" else a), (b.t() if layout == "NT" else b)
    out = torch.empty(*rows, m, n, device=device, dtype=dtype)
    multiply = torch.bmm if layout == "bmm" else torch.mm
    return lambda: multiply(left, right, out=out)


SUITE: Final = Suite(
    name="gemm", title="matrix products", strata=crossed(KINDS, products=True), case=_case, prepare=_prepare, most=320
)  # fmt: skip
