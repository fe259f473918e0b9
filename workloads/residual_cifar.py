"""Residual networks for images of 32 x 32: those of the ResNet papers and the short ones of DAWNBench."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.residual_blocks import basic_block, preactivated_basic, preactivated_bottleneck, stages
from workloads.workload import Workload

#: Blocks of `resnet_wide`, by depth.
WIDE_BLOCKS: Final = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}


def resnet_cifar(
    *,
    depth: int,
    bottleneck: bool = False,
    preactivation: bool = False,
    image_size: int = 32,
    num_classes: int = 10,
) -> Workload:
    """ResNet of three stages of 16, 32, 64 channels (He et al. 2015, section 4.2; pre-activation: arXiv:1603.05027).

    Shortcuts are projected where they change size, as in DAWNBench's PyTorch models. 855,770 parameters for 56
    layers.

    Raises
    ------
    WorkloadError
        When the depth is not 2 plus whole blocks (6 layers a block of each stage, 9 with bottlenecks), or for
        bottlenecks without pre-activation.
    """
    per_block = 9 if bottleneck else 6
    if depth < per_block + 2 or (depth - 2) % per_block:
        raise WorkloadError(f"resnet_cifar: depth is {depth}. Legal: 2 + {per_block} n, such as {18 * per_block + 2}.")
    if bottleneck and not preactivation:
        raise WorkloadError("resnet_cifar: bottlenecks come in pre-activation order: set preactivation.")
    ops = ImageOps()
    x = ops.conv(image_tensor(image_size), 16, 3, padding=1)
    if not preactivation:
        x = ops.relu(ops.batch_norm(x))
    layers = [ops.layer("stem", "conv")]
    unit = preactivated_bottleneck if bottleneck else preactivated_basic if preactivation else basic_block
    counts = ((depth - 2) // per_block,) * 3
    x, blocks = stages(x, unit, counts, widths=(16, 32, 64), strides=(1, 2, 2))
    ops = ImageOps()
    if preactivation:
        x = ops.relu(ops.batch_norm(x))
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    return image_workload(
        f"resnet{depth}-cifar" + ("-bottleneck" if bottleneck else "") + ("-preactivation" if preactivation else ""),
        [*layers, *blocks, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1512.03385 section 4.2; stanford-futuredata/dawn-bench-models",
    )


def wide_resnet(*, blocks: int = 3, widening: int = 6, image_size: int = 32, num_classes: int = 10) -> Workload:
    """fast.ai's wide ResNet: pre-activation blocks of 16 k, 32 k, 64 k channels (k = ``widening``), a 1 x 1 head.

    The features are pooled *before* the last normalisation; the classifier is a convolution without bias. With three
    blocks a stage it has 22 layers (fastai/imagenet-fast, cifar10/models/wideresnet.py, wrn_22).

    Raises
    ------
    WorkloadError
        For no blocks or no width.
    """
    if blocks < 1 or widening < 1:
        raise WorkloadError(f"wide_resnet: {blocks} blocks, {widening} times as wide; both are at least 1.")
    ops = ImageOps()
    x = ops.conv(image_tensor(image_size), 16, 3, padding=1)
    layers = [ops.layer("stem", "conv")]
    widths = tuple(16 * widening * 2**stage for stage in range(3))
    x, body = stages(x, preactivated_basic, (blocks,) * 3, widths=widths, strides=(1, 2, 2))
    ops = ImageOps()
    ops.softmax_loss(ops.norm_relu_conv(ops.pool_to(x, 1), num_classes, 1))
    return image_workload(
        f"wide-resnet{6 * blocks + 4}-{widening}",
        [*layers, *body, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="fastai/imagenet-fast cifar10/models/wideresnet.py",
    )


def resnet_wide(*, depth: int, kervolution: bool = False, image_size: int = 32, num_classes: int = 10) -> Workload:
    """ResNet-18 or 34 with ImageNet's channels on small images: a 3 x 3 stem, no pooling (kuangliu/pytorch-cifar).

    11,173,962 parameters for 18 layers, 21,282,122 for 34. With ``kervolution`` the stem's convolution is followed by
    its polynomial kernel, one pass over its output (Wang et al. 2019, arXiv:1904.03955).

    Raises
    ------
    WorkloadError
        For another depth than 18, 34.
    """
    if depth not in WIDE_BLOCKS:
        raise WorkloadError(f"resnet_wide: depth is {depth}. Legal: {', '.join(map(str, WIDE_BLOCKS))}.")
    ops = ImageOps()
    x = ops.conv(image_tensor(image_size), 64, 3, padding=1)
    if kervolution:
        x = ops.power(x)
    x = ops.relu(ops.batch_norm(x))
    layers = [ops.layer("stem", "conv")]
    x, blocks = stages(x, basic_block, WIDE_BLOCKS[depth], widths=(64, 128, 256, 512), strides=(1, 2, 2, 2))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    return image_workload(
        f"{'kerv' if kervolution else ''}resnet{depth}-cifar",
        [*layers, *blocks, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="kuangliu/pytorch-cifar resnet" + ("; arXiv:1904.03955" if kervolution else ""),
    )


def basenet(*, image_size: int = 32, num_classes: int = 10) -> Workload:
    """Pre-activation ResNet-18 whose last stage stays 256 wide; mean and maximum of its features are classified.

    References
    ----------
    .. [1] bkj/basenet, examples/cifar10.py @49b2b61
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 3, padding=1)
    layers = [ops.layer("stem", "conv")]
    x, blocks = stages(x, preactivated_basic, (2, 2, 2, 2), widths=(64, 128, 256, 256), strides=(1, 2, 2, 2))
    ops = ImageOps()
    features = ops.concatenate(ops.pool_to(x, 1), ops.max_pool(x, x.hw[0], stride=x.hw[0]))
    ops.softmax_loss(ops.dense(features, num_classes))
    return image_workload(
        "basenet",
        [*layers, *blocks, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="bkj/basenet examples/cifar10.py @49b2b61",
    )


def _pooled_unit(ops: ImageOps, x: Tensor, width: int) -> Tensor:
    return ops.max_pool(ops.conv_norm_relu(x, width, 3, padding=1), 2, stride=2)


def _residual_pair(ops: ImageOps, x: Tensor) -> Tensor:
    y = ops.conv_norm_relu(x, x.channels, 3, padding=1)
    return ops.add(x, ops.conv_norm_relu(y, x.channels, 3, padding=1))


def resnet9(*, image_size: int = 32, num_classes: int = 10) -> Workload:
    """Page's ResNet of nine layers for DAWNBench, 6,573,120 parameters.

    Convolutions of 64, 128, 256, 512 channels, halving pools after all but the first, a pair of residual convolutions
    after the second and the fourth, a maximum over what is left, and a classifier without bias, scaled.

    References
    ----------
    .. [1] davidcpage/cifar10-fast, dawn.py (recalled)
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 3, padding=1)
    layers = [ops.layer("prep", "conv")]
    for index, (width, paired) in enumerate(((128, True), (256, False), (512, True)), start=1):
        ops = ImageOps()
        x = _pooled_unit(ops, x, width)
        if paired:
            x = _residual_pair(ops, x)
        layers.append(ops.layer(f"layer{index}", "block"))
    layers.append(_maximum_head(x, num_classes=num_classes))
    return image_workload(
        "resnet9",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="davidcpage/cifar10-fast dawn.py (recalled)",
    )


def _maximum_head(x: Tensor, *, num_classes: int) -> Layer:
    ops = ImageOps()
    x = ops.max_pool(x, x.hw[0], stride=x.hw[0])
    ops.softmax_loss(ops.multiply(ops.dense(x, num_classes, bias=False)))
    return ops.layer("head", "head")


def kakao_resnet9(*, image_size: int = 32, num_classes: int = 10) -> Workload:
    """Kakao Brain's nine layers: a strided 5 x 5 convolution early, 128 channels last.

    References
    ----------
    .. [1] wbaek/torchskeleton v0.2.1_dawnbench_cifar10_release
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 3, padding=1)
    layers = [ops.layer("prep", "conv")]
    ops = ImageOps()
    x = _residual_pair(ops, ops.conv_norm_relu(x, 128, 5, stride=2, padding=2))
    layers.append(ops.layer("layer1", "block"))
    ops = ImageOps()
    x = _residual_pair(ops, _pooled_unit(ops, x, 256))
    layers.append(ops.layer("layer2", "block"))
    ops = ImageOps()
    x = ops.conv_norm_relu(x, 128, 3)
    layers.append(ops.layer("layer3", "block"))
    layers.append(_maximum_head(x, num_classes=num_classes))
    return image_workload(
        "kakao-resnet9",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="wbaek/torchskeleton v0.2.1_dawnbench_cifar10_release",
    )


def baidunet9p(*, image_size: int = 32, num_classes: int = 10) -> Workload:
    """Baidu's nine layers: Page's with 384 channels last, no pooling after the third convolution, a bias.

    References
    ----------
    .. [1] BAIDU-USA-GAIT-LEOPARD/CIFAR10-Distributed-Training-BaiduNet9P, BaiduNet.py @df05b74
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 3, padding=1)
    layers = [ops.layer("prep", "conv")]
    ops = ImageOps()
    x = _residual_pair(ops, _pooled_unit(ops, x, 128))
    layers.append(ops.layer("layer1", "block"))
    ops = ImageOps()
    x = ops.conv_norm_relu(x, 256, 3, padding=1)
    layers.append(ops.layer("layer2", "block"))
    ops = ImageOps()
    x = _residual_pair(ops, _pooled_unit(ops, x, 384))
    layers.append(ops.layer("layer3", "block"))
    ops = ImageOps()
    x = ops.max_pool(x, x.hw[0], stride=x.hw[0])
    ops.softmax_loss(ops.dense(x, num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "baidunet9p",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="BAIDU-USA-GAIT-LEOPARD/CIFAR10-Distributed-Training-BaiduNet9P @df05b74",
    )
