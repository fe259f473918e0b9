"""Image classifiers of 2012 to 2016 beside AlexNet, VGG and GoogLeNet: OverFeat, Network in Network, SqueezeNet."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.workload import Workload

#: OverFeat's convolutions: (channels, kernel, stride, padding, pooling window and stride; 0 for none).
_OVERFEAT_FAST: Final = (
    (96, 11, 4, 0, 2),
    (256, 5, 1, 0, 2),
    (512, 3, 1, 1, 0),
    (1024, 3, 1, 1, 0),
    (1024, 3, 1, 1, 2),
)
_OVERFEAT_ACCURATE: Final = (
    (96, 7, 2, 0, 3),
    (256, 7, 1, 0, 2),
    (512, 3, 1, 1, 0),
    (512, 3, 1, 1, 0),
    (1024, 3, 1, 1, 0),
    (1024, 3, 1, 1, 3),
)


def _overfeat(
    name: str,
    convs: tuple[tuple[int, int, int, int, int], ...],
    hidden: tuple[int, int],
    *,
    image_size: int,
    num_classes: int,
) -> Workload:
    x = image_tensor(image_size)
    layers: list[Layer] = []
    for index, (c_out, kernel, stride, padding, window) in enumerate(convs, start=1):
        ops = ImageOps()
        x = ops.conv_relu(x, c_out, kernel, stride=stride, padding=padding)
        if window:
            x = ops.max_pool(x, window, stride=window)
        layers.append(ops.layer(f"conv{index}", "conv"))
    for index, width in enumerate(hidden, start=1):
        ops = ImageOps()
        x = ops.relu(ops.dense(x, width))
        layers.append(ops.layer(f"dense{index}", "dense"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        name,
        [*layers, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1312.6229",
    )


def overfeat_fast(*, image_size: int = 231, num_classes: int = 1000) -> Workload:
    """OverFeat's fast model, 145,920,872 parameters (Sermanet et al. 2013, arXiv:1312.6229, table 1).

    Without dropout, as the benchmarks of 2014 to 2016 ran it.
    """
    return _overfeat("overfeat-fast", _OVERFEAT_FAST, (3072, 4096), image_size=image_size, num_classes=num_classes)


def overfeat_accurate(*, image_size: int = 221, num_classes: int = 1000) -> Workload:
    """OverFeat's accurate model, 144,656,488 parameters (Sermanet et al. 2013, arXiv:1312.6229, table 3)."""
    return _overfeat(
        "overfeat-accurate", _OVERFEAT_ACCURATE, (4096, 4096), image_size=image_size, num_classes=num_classes
    )


def network_in_network(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """Network in Network for ImageNet: each convolution is followed by two of 1 x 1, no dense layer.

    References
    ----------
    .. [1] Lin, Chen, Yan, Network In Network, 2013, arXiv:1312.4400; widths as in Caffe's model zoo (nin_imagenet)
    """
    x = image_tensor(image_size)
    layers = []
    for index, (widths, kernel, stride, padding) in enumerate(
        (((96, 96, 96), 11, 4, 0), ((256, 256, 256), 5, 1, 2), ((384, 384, 384), 3, 1, 1)), start=1
    ):
        ops = ImageOps()
        x = ops.conv_relu(x, widths[0], kernel, stride=stride, padding=padding)
        for width in widths[1:]:
            x = ops.conv_relu(x, width, 1)
        x = ops.max_pool(x, 3, stride=2, ceil=True)
        layers.append(ops.layer(f"mlpconv{index}", "block"))
    ops = ImageOps()
    x = ops.conv_relu(ops.dropout(x), 1024, 3, padding=1)
    x = ops.conv_relu(x, 1024, 1)
    x = ops.conv_relu(x, num_classes, 1)
    ops.softmax_loss(ops.pool_to(x, 1))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "network-in-network",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1312.4400; Caffe model zoo nin_imagenet",
    )


def _fire(ops: ImageOps, x: Tensor, squeezed: int, expanded: int) -> Tensor:
    """SqueezeNet's module: a 1 x 1 convolution, then a 1 x 1 and a 3 x 3 side by side."""
    x = ops.conv_relu(x, squeezed, 1)
    sides = (ops.conv_relu(x, expanded, 1), ops.conv_relu(x, expanded, 3, padding=1))
    ops.fork(x, len(sides))
    return ops.concatenate(*sides)


def squeezenet1_0(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """SqueezeNet 1.0, 1,248,424 parameters (Iandola et al. 2016, arXiv:1602.07360, as torchvision ships it)."""
    ops = ImageOps()
    x = ops.max_pool(ops.conv_relu(image_tensor(image_size), 96, 7, stride=2), 3, stride=2, ceil=True)
    layers = [ops.layer("stem", "conv")]
    for index, (squeezed, expanded) in enumerate(
        ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)), start=2
    ):
        ops = ImageOps()
        x = _fire(ops, x, squeezed, expanded)
        if index in (4, 8):
            x = ops.max_pool(x, 3, stride=2, ceil=True)
        layers.append(ops.layer(f"fire{index}", "block"))
    ops = ImageOps()
    x = ops.conv_relu(ops.dropout(x), num_classes, 1)
    ops.softmax_loss(ops.pool_to(x, 1))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "squeezenet1_0",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1602.07360; torchvision squeezenet1_0",
    )


def alexnet_batchnorm(*, image_size: int = 227, num_classes: int = 1000) -> Workload:
    """The 2012 AlexNet with batch normalisation instead of local response normalisation, after every convolution.

    As large-batch runs trained it (You et al. 2017, arXiv:1708.03888; layout recalled). 60,967,976 parameters.
    """
    x = image_tensor(image_size)
    layers = []
    for index, (c_out, kernel, stride, padding, groups, pooled) in enumerate(
        (
            (96, 11, 4, 0, 1, True),
            (256, 5, 1, 2, 2, True),
            (384, 3, 1, 1, 1, False),
            (384, 3, 1, 1, 2, False),
            (256, 3, 1, 1, 2, True),
        ),
        start=1,
    ):
        ops = ImageOps()
        x = ops.conv_norm_relu(x, c_out, kernel, stride=stride, padding=padding, groups=groups, bias=True)
        if pooled:
            x = ops.max_pool(x, 3, stride=2)
        layers.append(ops.layer(f"conv{index}", "conv"))
    for index in (1, 2):
        ops = ImageOps()
        x = ops.dropout(ops.relu(ops.dense(x, 4096)))
        layers.append(ops.layer(f"dense{index}", "dense"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        "alexnet-bn",
        [*layers, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1708.03888 (layout recalled)",
    )


def vgg_cifar(*, image_size: int = 32, num_classes: int = 10) -> Workload:
    """The small VGG that ilkarman/DeepLearningFrameworks runs on CIFAR-10 in every framework.

    Twice two 3 x 3 convolutions (50, then 100 channels), pooled before the second ReLU, and a hidden layer of 512.
    """
    x = image_tensor(image_size)
    layers = []
    for index, width in enumerate((50, 100), start=1):
        ops = ImageOps()
        x = ops.conv_relu(x, width, 3, padding=1)
        x = ops.max_pool(ops.conv(x, width, 3, padding=1, bias=True), 2, stride=2)
        x = ops.dropout(ops.relu(x))
        layers.append(ops.layer(f"stage{index}", "conv"))
    ops = ImageOps()
    x = ops.dropout(ops.relu(ops.dense(x, 512)))
    layers.append(ops.layer("dense", "dense"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        "vgg-cifar",
        [*layers, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="ilkarman/DeepLearningFrameworks notebooks/PyTorch_CNN.ipynb @1134a62",
    )


NETWORKS: Final = {
    "alexnet_batchnorm": alexnet_batchnorm,
    "network_in_network": network_in_network,
    "overfeat_accurate": overfeat_accurate,
    "overfeat_fast": overfeat_fast,
    "squeezenet1_0": squeezenet1_0,
    "vgg_cifar": vgg_cifar,
}
