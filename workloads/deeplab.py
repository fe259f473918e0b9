"""DeepLab V3+ on Xception-65 for photographs, and DeepCAM, its relative for climate data."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.workload import Workload

#: Blocks in Xception's middle flow.
MIDDLE: Final = 16


def deeplab_v3plus(*, image_size: int = 513, num_classes: int = 19) -> Workload:
    """DeepLab V3+ on Xception-65 at output stride 16, with separable pyramid and decoder [1]_.

    Every separable convolution has a norm after each of its two parts; only the pyramid's, the decoder's and the last
    block's have a ReLU there.

    References
    ----------
    .. [1] Chen et al., Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation, 2018,
       arXiv:1802.02611
    """
    ops = PredictionOps()
    x = ops.unit(image_of(3, (image_size, image_size)), 32, 3, stride=2)
    x = ops.unit(x, 64, 3)
    layers = [ops.layer("stem", "conv")]
    low_level = x
    for index, width in enumerate((128, 256, 728)):
        ops = PredictionOps()
        x, inner = _photo_block(ops, x, (width, width, width), stride=2)
        layers.append(ops.layer(f"entry{index + 1}", "block"))
        if width == 256:
            low_level = inner
    ops = PredictionOps()
    x, _ = _photo_block(ops, x, (728, 728, 728), skip="sum")
    layers.append(ops.layer("middle", "block", repeat=MIDDLE))
    ops = PredictionOps()
    x, _ = _photo_block(ops, x, (728, 1024, 1024))
    layers.append(ops.layer("exit1", "block"))
    ops = PredictionOps()
    for width in (1536, 1536, 2048):
        x = ops.separable(x, width, between=True)
    layers.append(ops.layer("exit2", "block"))
    ops = PredictionOps()
    pooled = ops.unit(ops.pool_to(x, 1), 256, 1)
    branches = [ops.unit(x, 256, 1)] + [ops.separable(x, 256, between=True) for _ in range(3)]
    x = ops.concatenate(ops.resize(pooled, x.hw), *branches)
    x = ops.dropout(ops.unit(x, 256, 1))
    layers.append(ops.layer("pyramid", "block"))
    ops = PredictionOps()
    x = ops.concatenate(ops.resize(x, low_level.hw), ops.unit(low_level, 48, 1))
    for _ in range(2):
        x = ops.separable(x, 256, between=True)
    x = ops.conv(x, num_classes, 1, bias=True)
    layers.append(ops.layer("decoder", "block"))
    ops = PredictionOps()
    ops.softmax_loss(ops.resize(x, (image_size, image_size)))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "deeplab-v3plus", layers, image_size=image_size, num_classes=num_classes, source="arXiv:1802.02611"
    )


def _photo_block(
    ops: PredictionOps, x: Tensor, widths: tuple[int, int, int], *, stride: int = 1, skip: str = "conv"
) -> tuple[Tensor, Tensor]:
    """ReLU, depthwise, norm, pointwise, norm, three times, plus a shortcut; what block and second unit write."""
    y = inner = x
    for index, width in enumerate(widths):
        y = ops.relu(y)
        step = stride if index == 2 else 1
        y = ops.norm(ops.conv(y, y.channels, 3, stride=step, padding=1, groups=y.channels))
        y = ops.norm(ops.conv(y, width, 1))
        if index == 1:
            inner = y
    if skip == "conv":
        x = ops.unit(x, widths[-1], 1, stride=stride, activation="none")
    return ops.add(y, x), inner


def deepcam(*, image_size: int = 768, long_side: int = 1152, channels: int = 16, num_classes: int = 3) -> Workload:
    """DeepCAM of MLPerf HPC: an aligned Xception, a pyramid of full convolutions, transposed convolutions [1]_.

    ``image_size`` is the height; 768 x 1152 pixels of 16 channels, three classes.

    References
    ----------
    .. [1] mlcommons/hpc deepcam, architecture/deeplab_xception.py; Kurth et al., Exascale Deep Learning for Climate
       Analytics, 2018, arXiv:1810.01993
    """
    for word, side in (("image_size", image_size), ("long_side", long_side)):
        if side < 16 or side % 16:
            nearest = max(16, round(side / 16) * 16)
            raise WorkloadError(f"deepcam: {word} is {side}; it must be a multiple of 16. The nearest is {nearest}.")
    ops = PredictionOps()
    x = ops.unit(image_of(channels, (image_size, long_side)), 32, 3, stride=2)
    x = ops.unit(x, 64, 3)
    layers = [ops.layer("stem", "conv")]
    ops = PredictionOps()
    # The first block ends without a ReLU; one in place follows, and the decoder reads what it leaves.
    x = low_level = ops.relu(_climate_block(ops, x, (128, 128), stride=2))
    layers.append(ops.layer("entry1", "block"))
    for index, width in enumerate((256, 728)):
        ops = PredictionOps()
        x = ops.relu(_climate_block(ops, x, (width, width), stride=2))
        layers.append(ops.layer(f"entry{index + 2}", "block"))
    ops = PredictionOps()
    x = ops.relu(_climate_block(ops, x, (728, 728, 728)))
    layers.append(ops.layer("middle", "block", repeat=MIDDLE))
    ops = PredictionOps()
    x = _climate_block(ops, x, (728, 1024), last=True)
    for width in (1536, 1536, 2048):
        x = ops.relu(ops.norm(ops.separable(x, width)))
    layers.append(ops.layer("exit", "block"))
    ops = PredictionOps()
    # The pooled branch has a scale and a shift of its own in place of a norm.
    pooled = ops.conv(ops.pool_to(x, 1), 256, 1)
    ops.pass_over("scale and shift", pooled, reads=pooled.elements, parameters=512, saved=pooled.keep(), launches=2)
    pooled = ops.relu(pooled)
    branches = [ops.unit(x, 256, kernel) for kernel in (1, 3, 3, 3)]
    x = ops.unit(ops.concatenate(*branches, ops.resize(pooled, x.hw)), 256, 1)
    layers.append(ops.layer("pyramid", "block"))
    layers += _climate_decoder(x, low_level, num_classes)
    workload = image_workload(
        "deepcam", layers, image_size=image_size, num_classes=num_classes, source="mlcommons/hpc deepcam",
        long_side=long_side, channels=channels,
    )  # fmt: skip
    return replace(workload, family="scientific")


def _climate_block(
    ops: PredictionOps, x: Tensor, widths: tuple[int, ...], *, stride: int = 1, last: bool = False
) -> Tensor:
    """Separable convolutions with norm and ReLU (not after the last), one more where it strides or ends; a shortcut."""
    y = x
    for index, width in enumerate(widths):
        y = ops.norm(ops.separable(y, width))
        if index < len(widths) - 1:
            y = ops.relu(y)
    # The third entry block strides and is marked as the last as well: it still has one such convolution.
    if stride > 1 or last:
        y = ops.separable(y, widths[-1], stride=stride)
    if x.channels != widths[-1] or stride > 1:
        x = ops.unit(x, widths[-1], 1, stride=stride, activation="none")
    return ops.add(y, x)


def _climate_decoder(x: Tensor, low_level: Tensor, num_classes: int) -> list[Layer]:
    ops = PredictionOps()
    low_level = ops.unit(low_level, 48, 1)
    for _ in range(2):
        x = ops.relu(ops.norm(ops.up_conv(x, 256, 3, padding=1, bias=False)))
    x = ops.concatenate(x, low_level)
    for _ in range(2):
        x = ops.unit(x, 256, 3)
    x = ops.conv(x, 256, 1, bias=True)
    layers = [ops.layer("decoder", "block")]
    ops = PredictionOps()
    x = ops.relu(ops.norm(ops.up_conv(x, 256, 3, padding=1, bias=False)))
    x = ops.up_conv(x, num_classes, 3, padding=1, bias=False)
    layers.append(ops.layer("last up", "block"))
    ops = PredictionOps()
    ops.softmax_loss(x)
    layers.append(ops.layer("head", "head"))
    return layers


NETWORKS: Final = {"deepcam": deepcam, "deeplab_v3plus": deeplab_v3plus}
