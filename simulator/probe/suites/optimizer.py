"""The step of an optimizer over tensors of one size: fp32 parameters, as PyTorch steps them by default."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite

#: fp32 words that a rule reads and writes for one parameter (state, gradient, parameter).
WORDS: Final = {"adam": 7, "momentum": 5, "sgd": 3, "adamw": 7}


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", rule) for rule in WORDS)


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    # The parameters, their gradients and state have to lie in memory together.
    parameters = draw.log(0, 1e4, min(scale.byte[1] / 8.0, 5e8))
    tensors = int(min(draw.log(1, 1, 128), parameters / 64))
    size = max(1, int(parameters / tensors))
    return Case(
        suite="optimizer", precision=precision, shape={"rule": kind, "tensors": tensors, "size": size},
        flop=10.0 * tensors * size, byte=4.0 * WORDS[kind] * tensors * size,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    values = [
        torch.zeros(int(case.shape["size"]), device=device, requires_grad=True)
        for _ in range(int(case.shape["tensors"]))
    ]
    for value in values:
        value.grad = torch.ones_like(value)
    rules = {
        "adam": lambda: torch.optim.Adam(values, lr=1e-6),
        "adamw": lambda: torch.optim.AdamW(values, lr=1e-6),
        "sgd": lambda: torch.optim.SGD(values, lr=1e-6),
        "momentum": lambda: torch.optim.SGD(values, lr=1e-6, momentum=0.9),
    }
    step: Call = rules[str(case.shape["rule"])]().step
    return step


SUITE: Final = Suite(
    name="optimizer", title="optimizer steps", strata=_strata, case=_case, prepare=_prepare, most=64
)  # fmt: skip
