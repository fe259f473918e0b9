"""EfficientNet: the seven sizes of the first version and its variants, and the three of the second."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final

from workloads.image_ops import Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.mobile_blocks import MobileBlock, MobileOps, classifier, lay_out
from workloads.op import WorkloadError
from workloads.workload import Workload

#: Stages of B0: kernel, expansion, channels, stride, blocks (Tan and Le 2019, arXiv:1905.11946, table 1).
B0_STAGES: Final = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 2, 3),
    (5, 6, 112, 1, 3),
    (5, 6, 192, 2, 4),
    (3, 6, 320, 1, 1),
)
#: Size -> factor of channels, factor of blocks, side of the image.
SCALES: Final[Mapping[str, tuple[float, float, int]]] = {
    "b0": (1.0, 1.0, 224),
    "b1": (1.0, 1.1, 240),
    "b2": (1.1, 1.2, 260),
    "b3": (1.2, 1.4, 300),
    "b4": (1.4, 1.8, 380),
    "b5": (1.6, 2.2, 456),
    "b6": (1.8, 2.6, 528),
    "b7": (2.0, 3.1, 600),
}
#: Stages of the second version: fused, expansion, channels, stride, blocks; all kernels are 3 x 3 (Tan and Le 2021,
#: arXiv:2104.00298, table 4; M and L: google/automl efficientnetv2/effnetv2_configs.py). Fused stages have no
#: squeeze-and-excite.
V2_STAGES: Final[Mapping[str, tuple[tuple[bool, int, int, int, int], ...]]] = {
    "s": (
        (True, 1, 24, 1, 2), (True, 4, 48, 2, 4), (True, 4, 64, 2, 4), (False, 4, 128, 2, 6), (False, 6, 160, 1, 9),
        (False, 6, 256, 2, 15),
    ),
    "m": (
        (True, 1, 24, 1, 3), (True, 4, 48, 2, 5), (True, 4, 80, 2, 5), (False, 4, 160, 2, 7), (False, 6, 176, 1, 14),
        (False, 6, 304, 2, 18), (False, 6, 512, 1, 5),
    ),
    "l": (
        (True, 1, 32, 1, 4), (True, 4, 64, 2, 7), (True, 4, 96, 2, 7), (False, 4, 192, 2, 10), (False, 6, 224, 1, 19),
        (False, 6, 384, 2, 25), (False, 6, 640, 1, 7),
    ),
}  # fmt: skip
#: Side of the images that the sizes of the second version are trained on at the end.
V2_SIDES: Final[Mapping[str, int]] = {"s": 300, "m": 384, "l": 384}


def rounded(channels: float, divisor: int = 8) -> int:
    """The nearest multiple of a divisor, never below nine tenths of the channels asked for."""
    whole = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return whole + divisor if whole < 0.9 * channels else whole


def efficientnet(
    *,
    size: str = "b0",
    image_size: int = 0,
    num_classes: int = 1000,
    wide_squeeze: bool = False,
    group_width: int = 1,
    expansion: int = 6,
    norm: str = "batch",
    drop_path: bool = True,
    quantised: bool = False,
) -> Workload:
    """EfficientNet [1]_: 5,288,548 parameters as B0, 19,341,616 as B4.

    Parameters
    ----------
    image_size
        Side of the image, the size's own when 0. [pixels]
    wide_squeeze
        Squeeze-and-excite narrows to a quarter of the expanded channels instead of the block's input (WideSE [2]_).
    group_width, expansion, norm
        1, 6 and ``batch``; 16, 4 and ``group`` make the variant that Graphcore trains [3]_.
    drop_path
        Whether residuals are dropped at random (B0 of [2]_ does not).
    quantised
        Fake quantisers before convolutions, gates and sums, as quantisation-aware training inserts [2]_.

    Raises
    ------
    WorkloadError
        For another size than those of `SCALES`, or a norm that is not known.

    References
    ----------
    .. [1] Tan, Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, arXiv:1905.11946
    .. [2] NVIDIA/DeepLearningExamples@729963dd PyTorch/Classification/ConvNets/image_classification/models
    .. [3] Masters et al., Making EfficientNet More Efficient, 2021, arXiv:2106.03640; graphcore/examples@32fc7bd3
       applications/tensorflow/cnns/training
    """
    if size not in SCALES:
        raise WorkloadError(f"efficientnet: size is '{size}'. Legal: {', '.join(SCALES)}.")
    wide, deep, side = SCALES[size]
    image_size = image_size or side
    ops = MobileOps()
    stem = ops.quantise(image_tensor(image_size), quantised)
    stem.is_image = True
    x = ops.unit(stem, rounded(32 * wide), 3, stride=2, norm=norm, activation="swish")
    layers = [ops.layer("stem", "conv")]
    blocks: list[MobileBlock] = []
    before = x.channels
    for kernel, ratio, channels, stride, count in B0_STAGES:
        width = rounded(channels * wide)
        for index in range(math.ceil(count * deep)):
            inner = before * (ratio if ratio == 1 else expansion)
            block = MobileBlock(
                kernel=kernel, inner=inner, width=width, stride=1 if index else stride,
                squeezed=max(1, (inner if wide_squeeze else before) // 4), group_width=group_width, norm=norm,
                drop_path=drop_path, quantised=quantised,
            )  # fmt: skip
            blocks.append(block)
            before = width
    return _finished(
        f"efficientnet-{size}", layers, x, blocks, rounded(1280 * wide), norm=norm, quantised=quantised,
        image_size=image_size, num_classes=num_classes, source="arXiv:1905.11946 table 1",
    )  # fmt: skip


def efficientnet_v2(
    *, size: str = "s", image_size: int = 0, num_classes: int = 1000, drop_path: bool = True
) -> Workload:
    """EfficientNetV2 [1]_: 21,458,488 parameters as S, 54,139,356 as M, 118,515,272 as L.

    The first stages fuse the expanding and the depth-wise convolution into one.

    Raises
    ------
    WorkloadError
        For another size than s, m, l.

    References
    ----------
    .. [1] Tan, Le, EfficientNetV2: Smaller Models and Faster Training, 2021, arXiv:2104.00298; torchvision
       efficientnet_v2_s, _m, _l
    """
    if size not in V2_STAGES:
        raise WorkloadError(f"efficientnet_v2: size is '{size}'. Legal: {', '.join(V2_STAGES)}.")
    image_size = image_size or V2_SIDES[size]
    stages = V2_STAGES[size]
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), stages[0][2], 3, stride=2, activation="swish")
    layers = [ops.layer("stem", "conv")]
    blocks: list[MobileBlock] = []
    before = x.channels
    for fused, ratio, width, stride, count in stages:
        for index in range(count):
            block = MobileBlock(
                kernel=3, inner=before * ratio, width=width, stride=1 if index else stride, fused=fused,
                squeezed=0 if fused else before // 4, drop_path=drop_path,
            )  # fmt: skip
            blocks.append(block)
            before = width
    return _finished(
        f"efficientnet-v2-{size}", layers, x, blocks, 1280, image_size=image_size, num_classes=num_classes,
        source="arXiv:2104.00298 table 4",
    )  # fmt: skip


def _finished(
    name: str, layers: list[Layer], x: Tensor, blocks: list[MobileBlock], features: int, *, image_size: int,
    num_classes: int, source: str, norm: str = "batch", quantised: bool = False,
) -> Workload:  # fmt: skip
    x, laid = lay_out(x, blocks)
    ops = MobileOps()
    x = ops.unit(ops.quantise(x, quantised), features, 1, norm=norm, activation="swish")
    classifier(ops, ops.quantise(x, quantised), num_classes)
    return image_workload(
        name, [*layers, *laid, ops.layer("head", "head")], image_size=image_size, num_classes=num_classes, source=source
    )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "efficientnet": efficientnet,
    "efficientnet_v2": efficientnet_v2,
}
