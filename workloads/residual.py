"""Residual networks for images of ImageNet's size: ResNet, pre-activation ResNet, ResNeXt, with squeeze-and-excite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from workloads.faces import arcface_mobilefacenet, arcface_resnet
from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.op import WorkloadError
from workloads.residual_blocks import Block, basic_block, bottleneck, preactivated_bottleneck, stages
from workloads.residual_cifar import baidunet9p, basenet, kakao_resnet9, resnet9, resnet_cifar, resnet_wide, wide_resnet
from workloads.workload import Workload

#: Blocks per stage by depth: of two 3 x 3 convolutions, and of a 1 x 1, a 3 x 3 and a 1 x 1 (He et al. 2015,
#: arXiv:1512.03385, table 1; 200: He et al. 2016, arXiv:1603.05027; 56: Intel's two blocks more than 50).
BASIC_BLOCKS: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
BOTTLENECK_BLOCKS: Final = {
    50: (3, 4, 6, 3),
    56: (3, 4, 8, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
#: Depths that a bottleneck ResNet is published for.
PLAIN_DEPTHS: Final = tuple(BOTTLENECK_BLOCKS)
VERSIONS: Final = ("v1", "v1.5")
#: Stride of the first block of each stage.
STRIDES: Final = (1, 2, 2, 2)


def resnet(*, depth: int, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet of bottleneck blocks; ``v1.5`` strides in the 3 x 3 convolution, ``v1`` (the paper) in the first 1 x 1.

    Raises
    ------
    WorkloadError
        For another depth than those of `PLAIN_DEPTHS` or another version than v1, v1.5.
    """
    if depth not in PLAIN_DEPTHS:
        raise WorkloadError(f"resnet: depth is {depth}. Legal: {', '.join(map(str, PLAIN_DEPTHS))}.")
    if version not in VERSIONS:
        raise WorkloadError(f"resnet: version is '{version}'. Legal: {', '.join(VERSIONS)}.")
    return _imagenet(
        f"resnet{depth}-{version}",
        bottleneck(version=version),
        BOTTLENECK_BLOCKS[depth],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1512.03385 table 1" + ("; stride as in torchvision resnet" if version == "v1.5" else ""),
        version=version,
    )


def _imagenet(
    name: str,
    block: Block,
    counts: Sequence[int],
    *,
    image_size: int,
    num_classes: int,
    source: str,
    **hyper: int | str,
) -> Workload:
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, padding=1)
    layers = [ops.layer("stem", "conv")]
    x, blocks = stages(x, block, counts, widths=(64, 128, 256, 512), strides=STRIDES)
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    return image_workload(
        name,
        [*layers, *blocks, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source=source,
        **hyper,
    )


def resnet50(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-50, 25,557,032 parameters."""
    return resnet(depth=50, version=version, image_size=image_size, num_classes=num_classes)


def resnet56_imagenet(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-50 with eight instead of six blocks in its third stage, 27,791,400 parameters [1]_.

    Left out: the bias of the first convolution (64 parameters) and the stem's pooling without padding.

    References
    ----------
    .. [1] intel/caffe, models/intel_optimized_models/multinode/resnet_56_128_nodes_4k_batch @a2ebeab
    """
    return resnet(depth=56, version=version, image_size=image_size, num_classes=num_classes)


def resnet101(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-101, 44,549,160 parameters."""
    return resnet(depth=101, version=version, image_size=image_size, num_classes=num_classes)


def resnet152(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-152, 60,192,808 parameters."""
    return resnet(depth=152, version=version, image_size=image_size, num_classes=num_classes)


def resnet18(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-18, 11,689,512 parameters."""
    return _basic(18, image_size=image_size, num_classes=num_classes)


def resnet34(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-34, 21,797,672 parameters."""
    return _basic(34, image_size=image_size, num_classes=num_classes)


def _basic(depth: int, *, image_size: int, num_classes: int) -> Workload:
    return _imagenet(
        f"resnet{depth}",
        basic_block,
        BASIC_BLOCKS[depth],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1512.03385 table 1; torchvision resnet",
    )


def resnet_preactivation(*, depth: int = 200, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """Pre-activation ResNet (He et al. 2016, arXiv:1603.05027): normalise, rectify, convolve; a bare sum at the end.

    As fb.resnet.torch lays it out: the very first block has no normalisation of its own (the stem just had one), a
    projected shortcut starts from the normalised input, and the last block's sum is normalised before the pooling.

    Raises
    ------
    WorkloadError
        For another depth than those of `PLAIN_DEPTHS`.
    """
    if depth not in PLAIN_DEPTHS:
        raise WorkloadError(f"resnet_preactivation: depth is {depth}. Legal: {', '.join(map(str, PLAIN_DEPTHS))}.")
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, padding=1)
    layers = [ops.layer("stem", "conv")]

    def block(ops: ImageOps, x: Tensor, width: int, stride: int) -> Tensor:
        # 64 channels come from the stem alone: every block puts out 256 or more.
        return preactivated_bottleneck(ops, x, width, stride, normalised=x.channels == 64)

    x, blocks = stages(x, block, BOTTLENECK_BLOCKS[depth], widths=(64, 128, 256, 512), strides=STRIDES)
    ops = ImageOps()
    x = ops.pool_to(ops.relu(ops.batch_norm(x)), 1)
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        f"resnet{depth}-preactivation",
        [*layers, *blocks, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1603.05027; facebook/fb.resnet.torch preresnet (recalled)",
    )


def resnext(
    *,
    depth: int,
    groups: int = 32,
    group_width: int = 4,
    squeeze: int = 0,
    image_size: int = 224,
    num_classes: int = 1000,
) -> Workload:
    """ResNeXt (Xie et al. 2016, arXiv:1611.05431): a bottleneck ResNet whose 3 x 3 convolutions have groups.

    Parameters
    ----------
    squeeze
        By how much squeeze-and-excite narrows the channels (16 in SE-ResNeXt); left out when 0.

    Raises
    ------
    WorkloadError
        For another depth than 50, 101, 152, or groups without width.
    """
    if depth not in (50, 101, 152):
        raise WorkloadError(f"resnext: depth is {depth}. Legal: 50, 101, 152.")
    if groups < 1 or group_width < 1:
        raise WorkloadError(f"resnext: {groups} groups of width {group_width}; both are at least 1.")
    return _imagenet(
        f"{'se-' if squeeze else ''}resnext{depth}-{groups}x{group_width}d",
        bottleneck(groups=groups, group_width=group_width, squeeze=squeeze),
        BOTTLENECK_BLOCKS[depth],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1611.05431 table 1" + ("; arXiv:1709.01507" if squeeze else "; torchvision resnext"),
        groups=groups,
    )


#: Every network of the family, those for small images and for faces included.
NETWORKS: Final = {
    "arcface_mobilefacenet": arcface_mobilefacenet,
    "arcface_resnet": arcface_resnet,
    "baidunet9p": baidunet9p,
    "basenet": basenet,
    "kakao_resnet9": kakao_resnet9,
    "resnet9": resnet9,
    "resnet_cifar": resnet_cifar,
    "resnet_wide": resnet_wide,
    "wide_resnet": wide_resnet,
    "resnet": resnet,
    "resnet18": resnet18,
    "resnet34": resnet34,
    "resnet56_imagenet": resnet56_imagenet,
    "resnet_preactivation": resnet_preactivation,
    "resnext": resnext,
}
