"""Blocks of residual networks, and their repetition in stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer

#: Lays out one block: (ops, input, width, stride) -> output.
Block = Callable[[ImageOps, Tensor, int, int], Tensor]


def stages(
    x: Tensor, block: Block, counts: Sequence[int], *, widths: Sequence[int], strides: Sequence[int]
) -> tuple[Tensor, list[Layer]]:
    """Stages of residual blocks: the first of a stage may change size and channels, the rest is laid out once."""
    layers = []
    for stage, (count, width, stride) in enumerate(zip(counts, widths, strides, strict=True), start=1):
        first = ImageOps()
        x = block(first, x, width, stride)
        layers.append(first.layer(f"stage{stage} first", "block"))
        if count > 1:
            rest = ImageOps()
            x = block(rest, x, width, 1)
            layers.append(rest.layer(f"stage{stage} rest", "block", repeat=count - 1))
    return x, layers


def basic_block(ops: ImageOps, x: Tensor, width: int, stride: int) -> Tensor:
    """Two 3 x 3 convolutions and a shortcut, projected where the size or the channels change."""
    y = ops.conv_norm_relu(x, width, 3, stride=stride, padding=1)
    y = ops.batch_norm(ops.conv(y, width, 3, padding=1))
    if x.channels != width or stride != 1:
        x = ops.batch_norm(ops.conv(x, width, 1, stride=stride))
    return ops.relu(ops.add(y, x))


def bottleneck(
    *, version: str = "v1.5", groups: int = 1, group_width: int = 0, squeeze: int = 0, expansion: int = 4
) -> Block:
    """A 1 x 1, a 3 x 3 and a 1 x 1 convolution and a shortcut.

    Parameters
    ----------
    version
        ``v1.5`` strides in the 3 x 3 convolution, ``v1`` (the paper) in the first 1 x 1.
    groups, group_width
        Cardinality of a ResNeXt and the channels of a group in the first stage; the width itself when 0.
    squeeze
        By how much squeeze-and-excite narrows the channels; left out when 0.
    """

    def block(ops: ImageOps, x: Tensor, width: int, stride: int) -> Tensor:
        out = expansion * width
        inner = groups * group_width * width // 64 if group_width else width
        strides = (stride, 1) if version == "v1" else (1, stride)
        y = ops.conv_norm_relu(x, inner, 1, stride=strides[0])
        y = ops.conv_norm_relu(y, inner, 3, stride=strides[1], padding=1, groups=groups)
        y = ops.batch_norm(ops.conv(y, out, 1))
        if squeeze:
            y = ops.squeeze_excite(y, out // squeeze)
        if x.channels != out or stride != 1:
            x = ops.batch_norm(ops.conv(x, out, 1, stride=stride))
        return ops.relu(ops.add(y, x))

    return block


def preactivated_bottleneck(ops: ImageOps, x: Tensor, width: int, stride: int, *, normalised: bool = False) -> Tensor:
    """A bottleneck in pre-activation order; ``normalised`` input is convolved as it is."""
    ready = x if normalised else ops.relu(ops.batch_norm(x))
    y = ops.conv(ready, width, 1)
    y = ops.norm_relu_conv(y, width, 3, stride=stride, padding=1)
    y = ops.norm_relu_conv(y, 4 * width, 1)
    if x.channels != 4 * width or stride != 1:
        x = ops.conv(ready, 4 * width, 1, stride=stride)
    return ops.add(y, x)


def preactivated_basic(ops: ImageOps, x: Tensor, width: int, stride: int) -> Tensor:
    """Two 3 x 3 convolutions in pre-activation order."""
    ready = ops.relu(ops.batch_norm(x))
    y = ops.conv(ready, width, 3, stride=stride, padding=1)
    y = ops.norm_relu_conv(y, width, 3, padding=1)
    if x.channels != width or stride != 1:
        x = ops.conv(ready, width, 1, stride=stride)
    return ops.add(y, x)
