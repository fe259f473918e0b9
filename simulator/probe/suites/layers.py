"""The three passes of dense and convolutional layers as networks have them: whole multiples of 16 channels, batches of
rows and images, so that a step is priced from shapes like its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..case import Call, Case, Draw, Scale, Strata, Suite, rounded
from .convolution import SUITE as CONVOLUTION
from .gemm import SUITE as GEMM

#: Passes of a dense layer by the layout of their product, and of a convolution; "first" has images of three channels.
DENSE: Final = {"dense fwd": "NT", "dense data": "NN", "dense weights": "TN"}
CONVS: Final = {"conv fwd": "fwd", "conv data": "bwd_data", "conv weights": "bwd_weights"}
FIRST: Final = {"first fwd": "fwd", "first weights": "bwd_weights"}
KINDS: Final = (*DENSE, *CONVS)
_SIDES: Final = (8, 16, 32, 14, 28, 56, 64, 7)
_FILTERS: Final = (3, 3, 1, 3)
#: Largest work of a call against the largest of a device's scale.
_LARGEST: Final = 4.0


def _strata(precisions: Sequence[str], device: str) -> Strata:
    return tuple(("fp32", kind) for kind in (*KINDS, *FIRST)) if "fp32" in precisions else ()


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    return _dense(precision, kind, draw, scale) if kind in DENSE else _conv(precision, kind, draw, scale)


def _dense(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    outputs, inputs = (rounded(draw.log(axis, 32, 4096), 32) for axis in (0, 1))
    most = max(8.0, _LARGEST * scale.flop[1] / (2.0 * outputs * inputs))
    rows = round(draw.log(2, 8, min(most, 16384.0)))
    m, n, k = {
        "dense fwd": (rows, outputs, inputs), "dense data": (rows, inputs, outputs),
        "dense weights": (outputs, inputs, rows),
    }[kind]  # fmt: skip
    return Case(
        suite="layers", precision=precision, shape={"kind": kind, "m": m, "n": n, "k": k}, flop=2.0 * m * n * k,
        byte=4.0 * (m * k + k * n + m * n),
    )  # fmt: skip


def _conv(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    first = kind in FIRST
    taps = int(draw.one_of(1, _FILTERS)) if not first else int(draw.one_of(1, (3, 3, 7, 5)))
    side = int(draw.one_of(2, _SIDES)) if not first else int(draw.one_of(2, (32, 64, 56, 112)))
    stride = int(draw.one_of(3, (1, 1, 2, 1)))
    out = (side + 2 * (taps // 2) - taps) // stride + 1
    channels = 3 if first else rounded(draw.log(4, 16, 512), 16)
    # A stage has twice the channels of the one before, or as many.
    filters = rounded(draw.log(5, 16, 128), 16) if first else channels * int(draw.one_of(5, (1, 2, 1)))
    each = 2.0 * out * out * filters * channels * taps**2
    images = int(min(max(1.0, _LARGEST * scale.flop[1] / each), draw.one_of(0, (4, 16, 8, 32))))
    shape: dict[str, int | str] = {
        "kind": kind, "conv_n": images, "conv_c": channels, "conv_h": side, "conv_w": side, "conv_k": filters,
        "filt_h": taps, "filt_w": taps, "pad_h": taps // 2, "pad_w": taps // 2, "stride_h": stride,
        "stride_w": stride,
    }  # fmt: skip
    byte = 4.0 * (images * (channels * side**2 + filters * out**2) + filters * channels * taps**2)
    return Case(suite="layers", precision=precision, shape=shape, flop=each * images, byte=byte)


def _prepare(torch: Any, device: str, case: Case) -> Call:
    s, kind = dict(case.shape), str(case.shape["kind"])
    if kind in DENSE:
        s |= {"layout": DENSE[kind], "batch": 1}
    else:
        s |= {"pass": {**CONVS, **FIRST}[kind]}
    suite = GEMM if kind in DENSE else CONVOLUTION
    same = Case(suite=suite.name, precision=case.precision, shape=s, flop=case.flop, byte=case.byte)
    return suite.prepare(torch, device, same)


SUITE: Final = Suite(
    name="layers", title="passes of dense and convolutional layers at shapes of networks", strata=_strata, case=_case,
    prepare=_prepare, most=448,
)  # fmt: skip
