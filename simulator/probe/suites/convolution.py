"""Convolutions of real networks' shapes: forward, gradient of the image, gradient of the filters; and depth-wise."""

from __future__ import annotations

from typing import Any, Final

from ..case import ELEMENT_BYTE, Call, Case, Draw, Scale, Suite, crossed, dtype_of, rounded

#: Passes, as the table of measured kernels calls them; "thin" is a depth-wise convolution, forward and backward in one.
KINDS: Final = ("fwd", "bwd_weights", "bwd_data", "thin")
_FILTERS: Final = (3, 1, 3, 1, 5, 7)
_SIDES: Final = (7, 14, 28, 56, 8, 16, 32, 112)


def _case(precision: str, kind: str, draw: Draw, scale: Scale) -> Case:
    work = draw.log(0, *scale.flop)
    filter_side = int(draw.one_of(1, _FILTERS)) if kind != "thin" else int(draw.one_of(1, (3, 5)))
    side = int(draw.one_of(2, _SIDES))
    stride = int(draw.one_of(3, (1, 1, 1, 2))) if side > filter_side else 1
    pad = filter_side // 2
    out = (side + 2 * pad - filter_side) // stride + 1
    if kind == "thin":
        channels = filters = rounded(draw.log(4, 16, 512), 8)
        taps = filter_side**2
    else:
        channels = rounded(draw.log(4, 3, 1024), 8) if draw.share(4) > 0.08 else 3
        filters = rounded(draw.log(5, 16, 1024), 8)
        taps = filter_side**2 * channels
    each = 2.0 * out * out * filters * taps
    # Few channels of a large work would need a batch that nobody has; many of a small one are cut to fit.
    while each > scale.flop[1] and filters > 16:
        filters = max(16, filters // 2)
        channels = filters if kind == "thin" else max(8, channels // 2) if channels > 3 else 3
        each = 2.0 * out * out * filters * filter_side**2 * (1 if kind == "thin" else channels)
    images = int(min(max(work / each, 1.0), 256.0))
    shape: dict[str, int | str] = {
        "conv_n": images, "conv_c": channels, "conv_h": side, "conv_w": side, "conv_k": filters,
        "filt_h": filter_side, "filt_w": filter_side, "pad_h": pad, "pad_w": pad, "stride_h": stride,
        "stride_w": stride, "pass": kind,
    }  # fmt: skip
    image, result = images * channels * side**2, images * filters * out**2
    weights = filters * filter_side**2 * (1 if kind == "thin" else channels)
    times = 3.0 if kind == "thin" else 1.0
    return Case(
        suite="convolution", precision=precision, shape=shape, flop=times * each * images,
        byte=times * (image + result + weights) * ELEMENT_BYTE[precision],
    )  # fmt: skip


def _prepare(torch: Any, device: str, case: Case) -> Call:
    s, dtype = case.shape, dtype_of(torch, case.precision)
    n, c, h, k, f = (int(s[x]) for x in ("conv_n", "conv_c", "conv_h", "conv_k", "filt_h"))
    stride, pad = [int(s["stride_h"])] * 2, [int(s["pad_h"])] * 2
    groups = c if s["pass"] == "thin" else 1
    image = torch.randn(n, c, h, h, device=device).to(dtype)
    weight = torch.randn(k, c // groups, f, f, device=device).to(dtype)
    forward = torch.nn.functional.conv2d
    gradient = torch.randn_like(forward(image, weight, None, stride, pad, 1, groups))

    def backward(want: list[bool]) -> object:
        return torch.ops.aten.convolution_backward(
            gradient, image, weight, None, stride, pad, [1, 1], False, [0, 0], groups, want
        )

    def thin() -> object:
        forward(image, weight, None, stride, pad, 1, groups)
        return backward([True, True, False])

    return {
        "fwd": lambda: forward(image, weight, None, stride, pad, 1, groups),
        "bwd_data": lambda: backward([True, False, False]),
        "bwd_weights": lambda: backward([False, True, False]),
        "thin": thin,
    }[str(s["pass"])]


SUITE: Final = Suite(
    name="convolution", title="convolutions, three passes and depth-wise", strata=crossed(KINDS, products=True),
    case=_case, prepare=_prepare, most=240,
)  # fmt: skip
