"""ResNet bodies as detectors use them (cut, frozen, dilated of strides), and the feature pyramid on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from workloads.image_ops import Tensor
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, detached

#: Residual blocks of each stage, and whether they are bottlenecks (He et al. 2015, arXiv:1512.03385, table 1).
BODIES: Final = {18: ((2, 2, 2, 2), False), 34: ((3, 4, 6, 3), False), 50: ((3, 4, 6, 3), True)}


@dataclass(frozen=True, kw_only=True)
class Body:
    """How a ResNet is used as a detector's body.

    Attributes
    ----------
    depth
        18, 34 or 50.
    norm
        Kind of norm, as in `PredictionOps.norm`.
    groups, group_width
        Groups of the 3 x 3 convolution and the width of one in the first stage (ResNeXt-50 32x4d: 32 and 4).
    stride_in_first
        Bottlenecks stride in their first 1 x 1 convolution, as the paper's, and not in the 3 x 3.
    stages
        How many stages are built.
    stage3_stride
        Stride of the third stage; SSD sets 1.
    frozen_stages
        The stem and so many stages minus one are never trained; 0 trains all.
    """

    depth: int = 50
    norm: str = "batch"
    groups: int = 1
    group_width: int = 64
    stride_in_first: bool = False
    stages: int = 4
    stage3_stride: int = 2
    frozen_stages: int = 0

    def __post_init__(self) -> None:
        if self.depth not in BODIES:
            raise WorkloadError(f"body: depth is {self.depth}. Legal: {', '.join(map(str, BODIES))}.")

    def layers(self, image: Tensor) -> tuple[list[Layer], list[Tensor]]:
        """The layers of stem and stages, and each stage's output."""
        ops = PredictionOps()
        x = ops.unit(image, 64, 7, stride=2, norm=self.norm)
        x = ops.max_pool(x, 3, stride=2, padding=1)
        x, layers = self._closed(ops, x, "stem", frozen=self.frozen_stages > 0)
        outputs = []
        counts, bottleneck = BODIES[self.depth]
        for stage, count in enumerate(counts[: self.stages]):
            stride = (1, 2, self.stage3_stride, 2)[stage]
            still = stage + 1 < self.frozen_stages
            block = self._bottleneck if bottleneck else self._basic
            first = PredictionOps()
            x = block(first, x, stage, stride)
            x, new = self._closed(first, x, f"stage{stage + 1} first", frozen=still)
            layers += new
            rest = PredictionOps()
            x = block(rest, x, stage, 1)
            x, new = self._closed(rest, x, f"stage{stage + 1} rest", frozen=still, repeat=count - 1)
            layers += new
            outputs.append(x)
        return layers, outputs

    def _closed(
        self, ops: PredictionOps, x: Tensor, name: str, *, frozen: bool, repeat: int = 1
    ) -> tuple[Tensor, list[Layer]]:
        kind = "conv" if name == "stem" else "block"
        if frozen:
            return detached(x), [ops.frozen_layer(name, kind, repeat=repeat)]
        return x, [ops.layer(name, kind, repeat=repeat)]

    def _basic(self, ops: PredictionOps, x: Tensor, stage: int, stride: int) -> Tensor:
        width = 64 * 2**stage
        y = ops.unit(x, width, 3, stride=stride, norm=self.norm)
        y = ops.unit(y, width, 3, norm=self.norm, activation="none")
        return ops.relu(ops.add(y, self._shortcut(ops, x, width, stride)))

    def _bottleneck(self, ops: PredictionOps, x: Tensor, stage: int, stride: int) -> Tensor:
        width = self.groups * self.group_width * 2**stage
        first, second = (stride, 1) if self.stride_in_first else (1, stride)
        y = ops.unit(x, width, 1, stride=first, norm=self.norm)
        y = ops.unit(y, width, 3, stride=second, groups=self.groups, norm=self.norm)
        y = ops.unit(y, 256 * 2**stage, 1, norm=self.norm, activation="none")
        return ops.relu(ops.add(y, self._shortcut(ops, x, 256 * 2**stage, stride)))

    def _shortcut(self, ops: PredictionOps, x: Tensor, c_out: int, stride: int) -> Tensor:
        if x.channels == c_out and stride == 1:
            return x
        return ops.unit(x, c_out, 1, stride=stride, norm=self.norm, activation="none")


def top_down(
    features: list[Tensor], *, norm: str = "none", activation: str = "none", smooth_top: bool = True
) -> tuple[Layer, list[Tensor]]:
    """A feature pyramid of 256 channels: 1 x 1 laterals with bias, nearest up-sampling, sums, 3 x 3 convolutions [1]_.

    ``features`` and the result run from the finest to the coarsest. ``norm`` and ``activation`` follow the 3 x 3
    convolutions, which then have no bias; without ``smooth_top`` the coarsest level has none.

    References
    ----------
    .. [1] Lin et al., Feature Pyramid Networks for Object Detection, 2016, arXiv:1612.03144
    """
    ops = PredictionOps()
    laterals = [ops.conv(x, 256, 1, bias=True) for x in features]
    merged = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        merged.append(ops.add(lateral, ops.resize(merged[-1], lateral.hw)))
    outputs = []
    for index, x in enumerate(reversed(merged)):
        if index == len(merged) - 1 and not smooth_top:
            outputs.append(x)
        else:
            outputs.append(ops.unit(x, 256, 3, bias=norm == "none", norm=norm, activation=activation))
    return ops.layer("pyramid", "block"), outputs
