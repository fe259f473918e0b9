"""Convolutions as other frameworks describe them: any number of directions, dilated, transposed, several images."""

from __future__ import annotations

from math import prod

from workloads.op import Op

Sides = tuple[int, ...]


def conv_op(
    *,
    name: str,
    channels: tuple[int, int],
    sides: tuple[Sides, Sides],
    taps: Sides,
    stride: Sides,
    padding: Sides,
    groups: int,
    turned: bool,
    images: int,
) -> Op:
    """A convolution of ``images`` inputs of one sample from its (input, output) channels and sides; no parameters yet.

    One side is a row, three are a volume. A dilated window is laid out undilated, with the padding that gives the same
    output; several images (frames of a film) stand one behind the other along the depth.
    """
    inner, outer = sides
    rank = len(inner)
    large, small = (outer, inner) if turned else (inner, outer)
    c_in, c_out = reversed(channels) if turned else channels
    steps = stride * (rank if len(stride) == 1 else 1)
    given = padding * (rank if len(padding) == 1 else 1)
    pads = tuple(
        p if (big + 2 * p - t) // s + 1 == little else max(0, -(-((little - 1) * s + t - big) // 2))
        for p, big, t, s, little in zip(given, large, taps, steps, small, strict=True)
    )
    one, zero = (1,) * (3 - rank), (0,) * (3 - rank)
    d, h, w = zip(one + taps, one + steps, zero + pads, one + large, one + small, strict=True)
    m, n, k = prod(small) * images, c_out // groups, c_in // groups * prod(taps)
    return Op(
        name=name, kind="conv", m=m, n=n, k=k, batch=groups, kernel=(h[0], w[0]), stride=(h[1], w[1]),
        padding=(h[2], w[2]), in_hw=(h[3], w[3]), out_hw=(h[4], w[4]), c_in=c_in, c_out=c_out,
        depth=(d[0], d[1], d[2], d[3] * images, d[4] * images), transposed=turned,
        forward_flop=2 * m * n * k * groups, read_elements=prod(inner) * channels[0] * images,
        write_elements=prod(outer) * channels[1] * images,
    )  # fmt: skip
