"""What issuing work costs the host: chains of tiny operators, whose time grows by the cost of one with each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

#: A bare operator in place; one that makes its result; a linear layer forward; the same forward and backward; modules
#: of unlike kinds after each other, forward and backward, as a network has them.
KINDS: Final = ("in_place", "operator", "layer", "layer_and_gradient", "network")
#: Operators that a layer, a layer and its gradients, or a block of modules and its gradients issues.
ISSUED: Final = {"in_place": 1, "operator": 1, "layer": 1, "layer_and_gradient": 4, "network": 10}
_WIDTH: Final = 8


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS)


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    chain = round(draw.log(0, 4, 256))
    return Case(suite="launch", precision=precision, shape={"kind": kind, "operators": chain}, flop=0.0, byte=0.0)


def _prepare(torch: Any, device: str, case: Case) -> Call:
    chain, kind = int(case.shape["operators"]), str(case.shape["kind"])
    x = torch.ones(_WIDTH, _WIDTH, device=device)
    weights = [torch.eye(_WIDTH, device=device) for _ in range(chain)]

    def in_place() -> object:
        for _ in range(chain):
            x.add_(0.0)
        return x

    def operator() -> object:
        y = x
        for _ in range(chain):
            y = torch.add(y, x)
        return y

    def layer() -> Any:
        y = x
        for weight in weights:
            y = torch.nn.functional.linear(y, weight)
        return y

    def both() -> object:
        for weight in weights:
            weight.requires_grad_(True)
            weight.grad = None
        with torch.enable_grad():
            return layer().sum().backward()

    def network() -> object:
        with torch.enable_grad():
            y = x
            for product, norm in blocks:
                y = y + gelu(norm(product(y)))
            return torch.autograd.grad(y.sum(), parameters)

    if kind == "network":
        blocks = [
            (torch.nn.Linear(_WIDTH, _WIDTH).to(device), torch.nn.LayerNorm(_WIDTH).to(device))
            for _ in range(max(1, chain // 4))
        ]
        gelu = torch.nn.GELU()
        parameters = [p for pair in blocks for module in pair for p in module.parameters()]
        return network
    return {"in_place": in_place, "operator": operator, "layer": layer, "layer_and_gradient": both}[kind]


SUITE: Final = Suite(
    name="launch", title="host time to issue work", strata=_strata, case=_case, prepare=_prepare, most=30,
    host_timed=True,
)  # fmt: skip
