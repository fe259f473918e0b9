"""Element-wise operators, normalisations and softmax, forward; and the backward passes that networks call most."""

from __future__ import annotations

from typing import Any, Final

from ..case import ELEMENT_BYTE, Call, Case, Draw, Scale, Suite, crossed, dtype_of

#: Tensors that a call reads and writes. "_bwd" are backward passes, which the table of measured kernels has not.
TENSORS: Final = {
    "add": 3, "relu": 2, "gelu": 2, "softmax": 2, "layernorm": 2, "mul": 3, "tanh": 2, "div": 3, "relu_bwd": 3,
    "gelu_bwd": 3, "softmax_bwd": 3, "layernorm_bwd": 4,
}  # fmt: skip
#: FLOPs of an element.
_FLOP: Final = {"gelu": 8.0, "tanh": 4.0, "softmax": 4.0, "layernorm": 7.0, "gelu_bwd": 12.0, "layernorm_bwd": 12.0}


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    element = ELEMENT_BYTE[precision]
    moved = draw.log(0, *scale.byte)
    cells = max(64.0, moved / (TENSORS[kind] * element))
    columns = int(min(draw.one_of(1, (1024, 256, 4096, 768, 64, 1000)), cells))
    rows = max(1, int(cells / columns))
    return Case(
        suite="vector", precision=precision, shape={"op": kind, "rows": rows, "cols": columns},
        flop=_FLOP.get(kind, 1.0) * rows * columns, byte=TENSORS[kind] * element * rows * columns,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    rows, columns, op = int(case.shape["rows"]), int(case.shape["cols"]), str(case.shape["op"])
    dtype, f = dtype_of(torch, case.precision), torch.nn.functional
    x, y = (torch.rand(rows, columns, device=device).add(0.5).to(dtype) for _ in range(2))
    weight = torch.ones(columns, device=device, dtype=dtype)
    forward = {
        "add": lambda: torch.add(x, y),
        "mul": lambda: torch.mul(x, y),
        "div": lambda: torch.div(x, y),
        "relu": lambda: torch.relu(x),
        "gelu": lambda: f.gelu(x),
        "tanh": lambda: torch.tanh(x),
        "softmax": lambda: torch.softmax(x, -1),
        "layernorm": lambda: f.layer_norm(x, (columns,), weight, weight),
    }
    name, _, backward = op.partition("_")
    if not backward:
        return forward[name]
    x.requires_grad_(True)
    with torch.enable_grad():
        out = forward[name]()
    return lambda: torch.autograd.grad(out, x, y, retain_graph=True)


SUITE: Final = Suite(
    name="vector", title="element-wise operators and normalisations", strata=crossed(tuple(TENSORS)), case=_case,
    prepare=_prepare, most=240,
)  # fmt: skip
