"""Convolutional networks for images: AlexNet, VGG and ResNet as workloads; Inception-v3 has its own file."""

from __future__ import annotations

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.inception import inception_v3
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.workload import Workload

__all__ = [
    "alexnet",
    "alexnet_grouped",
    "inception_v3",
    "resnet",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg16",
    "vgg19",
    "vgg_a",
]


def alexnet(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """AlexNet in one tower, 61,100,840 parameters (Krizhevsky 2014, arXiv:1404.5997, as torchvision ships it)."""
    x = image_tensor(image_size)
    layers = []
    for index, (c_out, kernel, stride, padding, pooled) in enumerate(
        ((64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False), (256, 3, 1, 1, True))
    ):
        ops = ImageOps()
        x = ops.conv_relu(x, c_out, kernel, stride=stride, padding=padding)
        if pooled:
            x = ops.max_pool(x, 3, stride=2)
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    layers.extend(_dense_head(x, side=6, hidden=4096, num_classes=num_classes, dropout_first=True))
    return image_workload(
        "alexnet", layers, image_size=image_size, num_classes=num_classes, source="arXiv:1404.5997; torchvision alexnet"
    )


def alexnet_grouped(*, image_size: int = 227, num_classes: int = 1000) -> Workload:
    """The 2012 AlexNet: two towers as groups, local response norm, 227 pixels, 60,965,224 parameters [1]_.

    References
    ----------
    .. [1] Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural Networks, 2012
    """
    x = image_tensor(image_size)
    layers = []
    for index, (c_out, kernel, stride, padding, groups, normed, pooled) in enumerate(
        (
            (96, 11, 4, 0, 1, True, True),
            (256, 5, 1, 2, 2, True, True),
            (384, 3, 1, 1, 1, False, False),
            (384, 3, 1, 1, 2, False, False),
            (256, 3, 1, 1, 2, False, True),
        )
    ):
        ops = ImageOps()
        x = ops.conv_relu(x, c_out, kernel, stride=stride, padding=padding, groups=groups)
        if normed:
            x = ops.local_response_norm(x)
        if pooled:
            x = ops.max_pool(x, 3, stride=2)
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    layers.extend(_dense_head(x, side=0, hidden=4096, num_classes=num_classes, dropout_first=False))
    return image_workload(
        "alexnet-grouped",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="Krizhevsky, Sutskever, Hinton 2012; Caffe bvlc_alexnet",
    )


def _dense_head(x: Tensor, *, side: int, hidden: int, num_classes: int, dropout_first: bool) -> list[Layer]:
    """Two hidden dense layers with dropout and the classifier; ``side`` > 0 pools to side x side first."""
    if side and x.hw != (side, side):
        ops = ImageOps()
        x = ops.pool_to(x, side)
        layers = [ops.layer("pool", "pool")]
    else:
        layers = []
    for index in range(2):
        ops = ImageOps()
        if dropout_first:
            x = ops.dropout(x)
        x = ops.relu(ops.dense(x, hidden))
        if not dropout_first:
            x = ops.dropout(x)
        layers.append(ops.layer(f"dense{index + 1}", "dense"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(x, num_classes))
    return [*layers, ops.layer("head", "head")]


#: Channels of VGG's convolutions, stage by stage (Simonyan and Zisserman 2014, arXiv:1409.1556, table 1: A, D, E).
VGG_STAGES = {
    "vgg-a": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg16": ((64, 64), (128, 128), (256,) * 3, (512,) * 3, (512,) * 3),
    "vgg19": ((64, 64), (128, 128), (256,) * 4, (512,) * 4, (512,) * 4),
}


def _vgg(name: str, *, image_size: int, num_classes: int) -> Workload:
    x = image_tensor(image_size)
    layers = []
    for stage, widths in enumerate(VGG_STAGES[name]):
        for index, width in enumerate(widths):
            ops = ImageOps()
            x = ops.conv_relu(x, width, 3, padding=1)
            if index == len(widths) - 1:
                x = ops.max_pool(x, 2, stride=2)
            layers.append(ops.layer(f"conv{stage + 1}_{index + 1}", "conv"))
    layers.extend(_dense_head(x, side=7, hidden=4096, num_classes=num_classes, dropout_first=False))
    return image_workload(
        name, layers, image_size=image_size, num_classes=num_classes, source="arXiv:1409.1556 table 1; torchvision vgg"
    )


def vgg_a(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration A, 11 layers, 132,863,336 parameters."""
    return _vgg("vgg-a", image_size=image_size, num_classes=num_classes)


def vgg16(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration D, 16 layers, 138,357,544 parameters."""
    return _vgg("vgg16", image_size=image_size, num_classes=num_classes)


def vgg19(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration E, 19 layers, 143,667,240 parameters."""
    return _vgg("vgg19", image_size=image_size, num_classes=num_classes)


#: Bottleneck blocks per stage (He et al. 2015, arXiv:1512.03385, table 1).
RESNET_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


def resnet(*, depth: int, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet of bottleneck blocks; ``v1.5`` strides in the 3 x 3 convolution, ``v1`` (the paper) in the first 1 x 1.

    Raises
    ------
    WorkloadError
        For another depth than 50, 101, 152 or another version than v1, v1.5.
    """
    if depth not in RESNET_BLOCKS:
        raise WorkloadError(f"resnet: depth is {depth}. Legal: {', '.join(map(str, RESNET_BLOCKS))}.")
    if version not in ("v1", "v1.5"):
        raise WorkloadError(f"resnet: version is '{version}'. Legal: v1, v1.5.")
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, padding=1)
    layers = [ops.layer("stem", "conv")]
    for stage, count in enumerate(RESNET_BLOCKS[depth]):
        width = 64 * 2**stage
        first = ImageOps()
        x = _bottleneck(first, x, width, stride=1 if stage == 0 else 2, version=version)
        layers.append(first.layer(f"stage{stage + 1} first", "block"))
        # The rest of a stage is alike: laid out once, repeated.
        rest = ImageOps()
        x = _bottleneck(rest, x, width, stride=1, version=version)
        layers.append(rest.layer(f"stage{stage + 1} rest", "block", repeat=count - 1))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        f"resnet{depth}-{version}",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1512.03385 table 1" + ("; stride as in torchvision resnet" if version == "v1.5" else ""),
        version=version,
    )


def _bottleneck(ops: ImageOps, x: Tensor, width: int, *, stride: int, version: str) -> Tensor:
    strides = (stride, 1) if version == "v1" else (1, stride)
    y = ops.conv_norm_relu(x, width, 1, stride=strides[0])
    y = ops.conv_norm_relu(y, width, 3, stride=strides[1], padding=1)
    y = ops.batch_norm(ops.conv(y, 4 * width, 1))
    if x.channels != 4 * width or stride != 1:
        x = ops.batch_norm(ops.conv(x, 4 * width, 1, stride=stride))
    return ops.relu(ops.add(y, x))


def resnet50(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-50, 25,557,032 parameters."""
    return resnet(depth=50, version=version, image_size=image_size, num_classes=num_classes)


def resnet101(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-101, 44,549,160 parameters."""
    return resnet(depth=101, version=version, image_size=image_size, num_classes=num_classes)


def resnet152(*, version: str = "v1.5", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """ResNet-152, 60,192,808 parameters."""
    return resnet(depth=152, version=version, image_size=image_size, num_classes=num_classes)


NETWORKS = {
    "alexnet": alexnet,
    "alexnet_grouped": alexnet_grouped,
    "inception_v3": inception_v3,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg_a": vgg_a,
}
