"""Fused attention as PyTorch calls it, forward and backward, with and without a causal mask."""

from __future__ import annotations

from typing import Any, Final

from ..case import ELEMENT_BYTE, Call, Case, Draw, Scale, Suite, crossed, dtype_of, rounded

KINDS: Final = ("fwd", "bwd", "fwd causal", "bwd causal")
#: Products of a pass: two forward, five backward.
PRODUCTS: Final = {"fwd": 2.0, "bwd": 5.0}


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    direction, _, mask = kind.partition(" ")
    causal = int(bool(mask))
    depth = int(draw.one_of(1, (64, 32, 128, 64)))
    each = 2.0 * PRODUCTS[direction] * depth * (0.5 if causal else 1.0)
    work = draw.log(0, scale.flop[0] * 20, scale.flop[1])
    longest = min(16384.0, (work / each) ** 0.5)
    length = rounded(draw.log(2, 32, max(longest, 33.0)), int(draw.one_of(4, (64, 32, 1, 128))))
    rows = max(1.0, work / (each * length**2))
    heads = int(min(draw.one_of(3, (8, 12, 16, 4)), rows))
    batch = int(min(max(1.0, rows / heads), 512.0))
    shape: dict[str, int | str] = {
        "batch": batch, "heads": heads, "head_dim": depth, "seq_len": length, "causal": causal, "pass": direction,
    }  # fmt: skip
    tensors = 4.0 if direction == "fwd" else 8.0
    return Case(
        suite="attention", precision=precision, shape=shape, flop=each * batch * heads * length**2,
        byte=tensors * batch * heads * length * depth * ELEMENT_BYTE[precision],
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    b, h, d, n = (int(case.shape[c]) for c in ("batch", "heads", "head_dim", "seq_len"))
    dtype, causal = dtype_of(torch, case.precision), bool(case.shape["causal"])
    q, k, v = (torch.randn(b, h, n, d, device=device).to(dtype) for _ in range(3))
    attend = torch.nn.functional.scaled_dot_product_attention
    if case.shape["pass"] == "fwd":
        return lambda: attend(q, k, v, is_causal=causal)
    for x in (q, k, v):
        x.requires_grad_(True)
    with torch.enable_grad():
        out = attend(q, k, v, is_causal=causal)
    gradient = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)


SUITE: Final = Suite(
    name="attention", title="fused attention, forward and backward", strata=crossed(KINDS), case=_case,
    prepare=_prepare, most=160,
)  # fmt: skip
