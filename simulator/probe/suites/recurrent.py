"""Recurrent layers in one direction, all steps in one call, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite, rounded

KINDS: Final = ("fwd", "bwd")
#: Gates of a cell.
GATES: Final = 4


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in KINDS) if "fp32" in precisions else ()


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    hidden, inputs = rounded(draw.log(0, 32, 1024), 32), rounded(draw.log(1, 32, 1024), 32)
    each = 2.0 * GATES * hidden * (inputs + hidden)
    work = draw.log(2, scale.flop[1] / 100, scale.flop[1] / 2)
    length = int(min(draw.log(3, 4, 128), max(1.0, work / each)))
    batch = int(min(max(1.0, work / each / length), 256.0))
    times = 1.0 if kind == "fwd" else 2.0
    words = GATES * hidden * (inputs + hidden) + length * batch * (inputs + 6 * hidden)
    return Case(
        suite="recurrent", precision=precision,
        shape={"rnn_type": "lstm", "batch": batch, "timesteps": length, "inputs": inputs, "hidden": hidden,
               "pass": kind},
        flop=times * each * length * batch, byte=4.0 * times * words,
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    batch, length, inputs, hidden = (int(case.shape[k]) for k in ("batch", "timesteps", "inputs", "hidden"))
    layer = torch.nn.LSTM(inputs, hidden).to(device)
    x = torch.randn(length, batch, inputs, device=device, requires_grad=True)
    if case.shape["pass"] == "fwd":

        def forward() -> object:
            with torch.enable_grad():
                return layer(x)

        return forward
    with torch.enable_grad():
        out = layer(x)[0]
    gradient, wanted = torch.ones_like(out), (x, *layer.parameters())
    return lambda: torch.autograd.grad(out, wanted, gradient, retain_graph=True)


SUITE: Final = Suite(
    name="recurrent", title="recurrent layers, forward and backward", strata=_strata, case=_case, prepare=_prepare,
    most=72,
)  # fmt: skip
