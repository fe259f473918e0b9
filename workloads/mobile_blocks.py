"""Blocks of networks found by search: inverted residuals, their fused form, and runs of alike blocks as one layer.

What is kept for the backward pass follows `prediction_ops`; hard swish keeps its input, like swish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from workloads.image_ops import ImageOps, Tensor
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps

#: Kernels of fake quantisation in eager PyTorch: scale, round, clamp, scale back.
QUANTISER_LAUNCHES = 4


@dataclass(frozen=True, kw_only=True)
class MobileBlock:
    """One block: a 1 x 1 convolution to ``inner`` channels, one of each channel alone, a 1 x 1 to ``width``.

    Attributes
    ----------
    kernel, stride
        Of the convolution in the middle.
    inner
        Channels in the middle; the first convolution is left out where they are those of the input, unless
        ``always_expands``.
    squeezed
        Channels that squeeze-and-excite narrows to; 0 leaves it out.
    activation, gate
        ``relu``, ``swish`` or ``hard_swish``; the gate of squeeze-and-excite ends in a sigmoid, hard or not (which cost
        the same) and has the activation ``gate`` between its two products.
    fused
        The first two convolutions are one of all channels. Without expansion it is the only one.
    group_width
        Channels of a group of the middle convolution; 1 is depth-wise.
    norm
        ``batch``, or ``group``.
    residual
        Whether the input is added where shapes allow; ``drop_path`` then drops the sum for a share of samples.
    padded
        Whether the middle convolution is padded.
    quantised
        Whether inputs of convolutions, gates and sums pass a fake quantiser.
    """

    kernel: int
    inner: int
    width: int
    stride: int = 1
    squeezed: int = 0
    activation: str = "swish"
    gate: str = "swish"
    fused: bool = False
    always_expands: bool = False
    group_width: int = 1
    norm: str = "batch"
    residual: bool = True
    drop_path: bool = False
    padded: bool = True
    quantised: bool = False

    def __post_init__(self) -> None:
        if self.group_width < 1 or self.inner % self.groups:
            raise WorkloadError(f"mobile block: groups of {self.group_width} channels do not divide {self.inner}.")

    @property
    def groups(self) -> int:
        """Groups of the middle convolution; one where there are too few channels for two."""
        return max(self.inner // self.group_width, 1)


class MobileOps(PredictionOps):
    """`PredictionOps` with what these blocks add."""

    def norm(self, x: Tensor, kind: str = "batch") -> Tensor:
        """A norm: ``group``, or one that `PredictionOps` knows."""
        return group_norm(self, x) if kind == "group" else super().norm(x, kind)

    def activate(self, x: Tensor, kind: str = "relu") -> Tensor:
        """An activation: ``hard_swish``, or one that `PredictionOps` knows."""
        return super().activate(x, "swish" if kind == "hard_swish" else kind)

    def gated(self, x: Tensor, squeezed: int, activation: str) -> Tensor:
        """Squeeze-and-excite: pooled, two 1 x 1 convolutions with bias, and a gate on every channel."""
        gate = self.activate(self.conv(self.pool_to(x, 1), squeezed, 1, bias=True), activation)
        return self.scale(x, self.sigmoid(self.conv(gate, x.channels, 1, bias=True)))

    def quantise(self, x: Tensor, quantised: bool) -> Tensor:
        """Fake quantisation: rounded to 256 steps and scaled back; it keeps its input to know what was clamped."""
        if not quantised:
            return x
        out = Tensor(x.channels, x.hw)
        self.loss(
            "fake quantiser", reads=QUANTISER_LAUNCHES * x.elements, writes=QUANTISER_LAUNCHES * x.elements,
            saved=x.keep(), launches=QUANTISER_LAUNCHES,
        )  # fmt: skip
        return out

    def block(self, x: Tensor, block: MobileBlock) -> Tensor:
        """One block."""
        shortcut, y = x, x
        expands = block.inner != x.channels or block.always_expands

        def unit(z: Tensor, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, activation: str) -> Tensor:
            return self.unit(
                self.quantise(z, block.quantised), c_out, kernel, stride=stride, groups=groups,
                padding=None if block.padded or kernel == 1 or stride == 1 else 0, norm=block.norm,
                activation=activation,
            )  # fmt: skip

        if block.fused:
            if not expands:
                y = unit(y, block.width, block.kernel, stride=block.stride, activation=block.activation)
                return self._closed(y, shortcut, block)
            y = unit(y, block.inner, block.kernel, stride=block.stride, activation=block.activation)
        else:
            if expands:
                y = unit(y, block.inner, 1, activation=block.activation)
            y = unit(
                y, block.inner, block.kernel, stride=block.stride, groups=block.groups, activation=block.activation
            )
        if block.squeezed:
            y = self.gated(self.quantise(y, block.quantised), block.squeezed, block.gate)
        return self._closed(unit(y, block.width, 1, activation="none"), shortcut, block)

    def _closed(self, y: Tensor, x: Tensor, block: MobileBlock) -> Tensor:
        if not block.residual or (x.channels, x.hw) != (y.channels, y.hw):
            return y
        if block.drop_path:
            # A coin for every sample, and its product with all elements.
            self.pass_over("drop path", y, reads=y.elements, launches=3)
        return self.add(y, self.quantise(x, block.quantised))


def group_norm(ops: PredictionOps, x: Tensor) -> Tensor:
    """Group normalisation, which reads its input twice as others do; it keeps its input."""
    out = Tensor(x.channels, x.hw)
    ops.pass_over("group norm", out, reads=2 * x.elements, saved=x.keep(), parameters=2 * x.channels)
    return out


def lay_out(x: Tensor, blocks: Sequence[MobileBlock]) -> tuple[Tensor, list[Layer]]:
    """Blocks in forward order; blocks in a row that do the same on the same shape are one `Layer`."""
    layers: list[Layer] = []
    for block, run in groupby(blocks):
        count = len(list(run))
        same_shape = x.channels == block.width and block.stride == 1
        for repeat in (count,) if same_shape else (1, count - 1):
            if repeat:
                ops = MobileOps()
                x = ops.block(x, block)
                layers.append(ops.layer(f"block{len(layers) + 1}", "block", repeat=repeat))
    return x, layers


def classifier(ops: ImageOps, x: Tensor, num_classes: int, *, drops: bool = True) -> None:
    """Mean over the image, dropout, one dense layer and its loss."""
    x = ops.pool_to(x, 1)
    ops.softmax_loss(ops.dense(ops.dropout(x) if drops else x, num_classes))
