"""Inception-v3 as a workload."""

from __future__ import annotations

from workloads.image_ops import ImageOps, Pair, Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.workload import Workload


def inception_v3(*, image_size: int = 299, num_classes: int = 1000, auxiliary: bool = True) -> Workload:
    """Inception-v3 as torchvision ships it: 27,161,264 parameters, 23,834,568 without the auxiliary classifier.

    References
    ----------
    .. [1] Szegedy et al., Rethinking the Inception Architecture for Computer Vision, 2015, arXiv:1512.00567
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 32, 3, stride=2)
    x = ops.conv_norm_relu(x, 32, 3)
    x = ops.conv_norm_relu(x, 64, 3, padding=1)
    x = ops.max_pool(x, 3, stride=2)
    layers = [ops.layer("stem1", "conv")]
    ops = ImageOps()
    x = ops.conv_norm_relu(x, 80, 1)
    x = ops.conv_norm_relu(x, 192, 3)
    x = ops.max_pool(x, 3, stride=2)
    layers.append(ops.layer("stem2", "conv"))

    def block(name: str, branches: tuple[Branch, ...], x: Tensor) -> Tensor:
        ops = ImageOps()
        tensors = [tensor for branch in branches for tensor in branch(ops, x)]
        ops.fork(x, len(branches))
        out = ops.concatenate(*tensors)
        layers.append(ops.layer(name, "block"))
        return out

    for name, pool_features in (("mixed5b", 32), ("mixed5c", 64), ("mixed5d", 64)):
        x = block(name, _inception_a(pool_features), x)
    x = block("mixed6a", _inception_b(), x)
    for name, width in (("mixed6b", 128), ("mixed6c", 160), ("mixed6d", 160), ("mixed6e", 192)):
        x = block(name, _inception_c(width), x)
    if auxiliary:
        layers.append(_inception_auxiliary(x, num_classes))
    x = block("mixed7a", _inception_d(), x)
    for name in ("mixed7b", "mixed7c"):
        x = block(name, _inception_e(), x)
    ops = ImageOps()
    x = ops.dropout(ops.pool_to(x, 1))
    ops.softmax_loss(ops.dense(x, num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "inception-v3-auxiliary" if auxiliary else "inception-v3",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1512.00567; torchvision inception_v3",
        auxiliary=auxiliary,
    )


class Branch:
    """One branch of an inception block: convolutions (width, kernel, padding, stride), after an optional pooling.

    ``split`` holds parallel last convolutions instead of one.
    """

    def __init__(
        self,
        *convs: tuple[int, int | Pair, int | Pair, int],
        pool: str = "",
        split: tuple[tuple[int, Pair, Pair], ...] = (),
    ) -> None:
        self.convs, self.pool, self.split = convs, pool, split

    def __call__(self, ops: ImageOps, x: Tensor) -> tuple[Tensor, ...]:
        if self.pool == "average":
            x = ops.average_pool(x, 3, stride=1, padding=1)
        elif self.pool == "max":
            x = ops.max_pool(x, 3, stride=2)
        for width, kernel, padding, stride in self.convs:
            x = ops.conv_norm_relu(x, width, kernel, padding=padding, stride=stride)
        if self.split:
            tensors = tuple(ops.conv_norm_relu(x, width, kernel, padding=pad) for width, kernel, pad in self.split)
            ops.fork(x, len(self.split))
            return tensors
        return (x,)


def _inception_a(pool_features: int) -> tuple[Branch, ...]:
    return (
        Branch((64, 1, 0, 1)),
        Branch((48, 1, 0, 1), (64, 5, 2, 1)),
        Branch((64, 1, 0, 1), (96, 3, 1, 1), (96, 3, 1, 1)),
        Branch((pool_features, 1, 0, 1), pool="average"),
    )


def _inception_b() -> tuple[Branch, ...]:
    return (
        Branch((384, 3, 0, 2)),
        Branch((64, 1, 0, 1), (96, 3, 1, 1), (96, 3, 0, 2)),
        Branch(pool="max"),
    )


_ROW, _ROW_PAD, _COLUMN, _COLUMN_PAD = (1, 7), (0, 3), (7, 1), (3, 0)


def _inception_c(width: int) -> tuple[Branch, ...]:
    return (
        Branch((192, 1, 0, 1)),
        Branch((width, 1, 0, 1), (width, _ROW, _ROW_PAD, 1), (192, _COLUMN, _COLUMN_PAD, 1)),
        Branch(
            (width, 1, 0, 1),
            (width, _COLUMN, _COLUMN_PAD, 1),
            (width, _ROW, _ROW_PAD, 1),
            (width, _COLUMN, _COLUMN_PAD, 1),
            (192, _ROW, _ROW_PAD, 1),
        ),
        Branch((192, 1, 0, 1), pool="average"),
    )


def _inception_d() -> tuple[Branch, ...]:
    return (
        Branch((192, 1, 0, 1), (320, 3, 0, 2)),
        Branch((192, 1, 0, 1), (192, _ROW, _ROW_PAD, 1), (192, _COLUMN, _COLUMN_PAD, 1), (192, 3, 0, 2)),
        Branch(pool="max"),
    )


def _inception_e() -> tuple[Branch, ...]:
    pair = ((384, (1, 3), (0, 1)), (384, (3, 1), (1, 0)))
    return (
        Branch((320, 1, 0, 1)),
        Branch((384, 1, 0, 1), split=pair),
        Branch((448, 1, 0, 1), (384, 3, 1, 1), split=pair),
        Branch((192, 1, 0, 1), pool="average"),
    )


def _inception_auxiliary(x: Tensor, num_classes: int) -> Layer:
    ops = ImageOps()
    y = ops.average_pool(x, 5, stride=3)
    y = ops.conv_norm_relu(y, 128, 1)
    y = ops.conv_norm_relu(y, 768, 5)
    ops.softmax_loss(ops.dense(ops.pool_to(y, 1), num_classes))
    return ops.layer("auxiliary", "head")
