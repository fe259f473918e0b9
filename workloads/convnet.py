"""Convolutional networks for images: AlexNet and VGG as workloads; ResNets and Inceptions have their own files."""

from __future__ import annotations

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.inception import inception_v3
from workloads.layer import Layer
from workloads.residual import resnet, resnet50, resnet101, resnet152
from workloads.workload import Workload

__all__ = [
    "alexnet",
    "alexnet_grouped",
    "inception_v3",
    "resnet",
    "resnet50",
    "resnet101",
    "resnet152",
    "vgg13",
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


#: Channels of VGG's convolutions, stage by stage (Simonyan and Zisserman 2014, arXiv:1409.1556, table 1: A, B, D, E).
VGG_STAGES = {
    "vgg-a": ((64,), (128,), (256, 256), (512, 512), (512, 512)),
    "vgg13": ((64, 64), (128, 128), (256, 256), (512, 512), (512, 512)),
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


def vgg13(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration B, 13 layers, 133,047,848 parameters."""
    return _vgg("vgg13", image_size=image_size, num_classes=num_classes)


def vgg16(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration D, 16 layers, 138,357,544 parameters."""
    return _vgg("vgg16", image_size=image_size, num_classes=num_classes)


def vgg19(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """VGG configuration E, 19 layers, 143,667,240 parameters."""
    return _vgg("vgg19", image_size=image_size, num_classes=num_classes)


NETWORKS = {
    "alexnet": alexnet,
    "alexnet_grouped": alexnet_grouped,
    "inception_v3": inception_v3,
    "resnet50": resnet50,
    "resnet101": resnet101,
    "resnet152": resnet152,
    "vgg13": vgg13,
    "vgg16": vgg16,
    "vgg19": vgg19,
    "vgg_a": vgg_a,
}
