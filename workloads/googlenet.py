"""The Inception family beside v3: GoogLeNet, its batch-normalised successor, and Inception-v4."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import ImageOps, Pair, Tensor, image_tensor, image_workload
from workloads.inception import Branch
from workloads.layer import Layer
from workloads.workload import Workload

#: GoogLeNet's modules: widths of the 1 x 1; of the 3 x 3 and what comes before it; of the 5 x 5 likewise; after pooling
#: (Szegedy et al. 2014, arXiv:1409.4842, table 1).
_GOOGLENET: Final[tuple[tuple[str, tuple[int, int, int, int, int, int]], ...]] = (
    ("3a", (64, 96, 128, 16, 32, 32)),
    ("3b", (128, 128, 192, 32, 96, 64)),
    ("4a", (192, 96, 208, 16, 48, 64)),
    ("4b", (160, 112, 224, 24, 64, 64)),
    ("4c", (128, 128, 256, 24, 64, 64)),
    ("4d", (112, 144, 288, 32, 64, 64)),
    ("4e", (256, 160, 320, 32, 128, 128)),
    ("5a", (256, 160, 320, 32, 128, 128)),
    ("5b", (384, 192, 384, 48, 128, 128)),
)


def googlenet(
    *, auxiliary: bool = True, response_norm: bool = True, image_size: int = 224, num_classes: int = 1000
) -> Workload:
    """GoogLeNet as Caffe ships it: 13,378,280 parameters, 6,998,552 without the two auxiliary classifiers.

    Parameters
    ----------
    auxiliary
        Whether the two auxiliary classifiers are trained along.
    response_norm
        Whether local response normalisation stands in the stem, as in the paper; throughput benchmarks left it out.

    References
    ----------
    .. [1] Szegedy et al., Going Deeper with Convolutions, 2014, arXiv:1409.4842
    .. [2] BVLC/caffe, models/bvlc_googlenet/train_val.prototxt
    """
    ops = ImageOps()
    x = ops.conv_relu(image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, ceil=True)
    if response_norm:
        x = ops.local_response_norm(x)
    layers = [ops.layer("stem1", "conv")]
    ops = ImageOps()
    x = ops.conv_relu(ops.conv_relu(x, 64, 1), 192, 3, padding=1)
    if response_norm:
        x = ops.local_response_norm(x)
    x = ops.max_pool(x, 3, stride=2, ceil=True)
    layers.append(ops.layer("stem2", "conv"))
    for name, widths in _GOOGLENET:
        ops = ImageOps()
        x = _module(ops, x, *widths)
        if name in ("3b", "4e"):
            x = ops.max_pool(x, 3, stride=2, ceil=True)
        layers.append(ops.layer(f"inception{name}", "block"))
        if auxiliary and name in ("4a", "4d"):
            layers.append(_auxiliary(x, num_classes, name))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.dropout(ops.pool_to(x, 1)), num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "googlenet" if auxiliary else "inception-v1",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1409.4842 table 1; Caffe bvlc_googlenet",
        auxiliary=auxiliary,
    )


def _module(
    ops: ImageOps, x: Tensor, one: int, before3: int, three: int, before5: int, five: int, pooled: int
) -> Tensor:
    branches = (
        ops.conv_relu(x, one, 1),
        ops.conv_relu(ops.conv_relu(x, before3, 1), three, 3, padding=1),
        ops.conv_relu(ops.conv_relu(x, before5, 1), five, 5, padding=2),
        ops.conv_relu(ops.max_pool(x, 3, stride=1, padding=1), pooled, 1),
    )
    ops.fork(x, len(branches))
    return ops.concatenate(*branches)


def _auxiliary(x: Tensor, num_classes: int, name: str) -> Layer:
    ops = ImageOps()
    y = ops.conv_relu(ops.average_pool(x, 5, stride=3, ceil=True), 128, 1)
    y = ops.dropout(ops.relu(ops.dense(y, 1024)))
    ops.softmax_loss(ops.dense(y, num_classes))
    return ops.layer(f"auxiliary{name}", "head")


def _biased(ops: ImageOps, x: Tensor, c_out: int, kernel: int, *, stride: int = 1, padding: int = 0) -> Tensor:
    # MXNet's factory of 2015 left the convolution's bias in, in front of a batch-norm.
    return ops.conv_norm_relu(x, c_out, kernel, stride=stride, padding=padding, bias=True)


#: Inception-BN's modules: widths of the 1 x 1, of the 3 x 3 and the double 3 x 3 with what comes before them, after
#: pooling, and the kind of pooling. Those without a 1 x 1 halve the image and pool without a convolution.
_BATCH_NORM: Final[tuple[tuple[str, tuple[int, int, int, int, int, int], str], ...]] = (
    ("3a", (64, 64, 64, 64, 96, 32), "average"),
    ("3b", (64, 64, 96, 64, 96, 64), "average"),
    ("3c", (0, 128, 160, 64, 96, 0), "max"),
    ("4a", (224, 64, 96, 96, 128, 128), "average"),
    ("4b", (192, 96, 128, 96, 128, 128), "average"),
    ("4c", (160, 128, 160, 128, 160, 128), "average"),
    ("4d", (96, 128, 192, 160, 192, 128), "average"),
    ("4e", (0, 128, 192, 192, 256, 0), "max"),
    ("5a", (352, 192, 320, 160, 224, 128), "average"),
    ("5b", (352, 192, 320, 192, 224, 128), "max"),
)


def inception_bn(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """Inception with batch normalisation, as MXNet's example of 2015 lays it out.

    References
    ----------
    .. [1] Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167
    .. [2] apache/mxnet, example/image-classification/symbol_inception-bn.py @26ca19b
    """
    ops = ImageOps()
    x = _biased(ops, image_tensor(image_size), 64, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, ceil=True)
    layers = [ops.layer("stem1", "conv")]
    ops = ImageOps()
    x = _biased(ops, _biased(ops, x, 64, 1), 192, 3, padding=1)
    x = ops.max_pool(x, 3, stride=2, ceil=True)
    layers.append(ops.layer("stem2", "conv"))
    for name, widths, pool in _BATCH_NORM:
        ops = ImageOps()
        x = _batch_norm_module(ops, x, *widths, pool=pool)
        layers.append(ops.layer(f"inception{name}", "block"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "inception-bn",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1502.03167; apache/mxnet symbol_inception-bn @26ca19b",
    )


def _batch_norm_module(
    ops: ImageOps,
    x: Tensor,
    one: int,
    before: int,
    three: int,
    before_double: int,
    double: int,
    pooled: int,
    *,
    pool: str,
) -> Tensor:
    stride = 1 if one else 2
    branches = [_biased(ops, x, one, 1)] if one else []
    branches.append(_biased(ops, _biased(ops, x, before, 1), three, 3, stride=stride, padding=1))
    y = _biased(ops, _biased(ops, x, before_double, 1), double, 3, padding=1)
    branches.append(_biased(ops, y, double, 3, stride=stride, padding=1))
    if one:
        pooling = ops.max_pool if pool == "max" else ops.average_pool
        branches.append(_biased(ops, pooling(x, 3, stride=1, padding=1), pooled, 1))
    else:
        branches.append(ops.max_pool(x, 3, stride=2, ceil=True))
    ops.fork(x, len(branches))
    return ops.concatenate(*branches)


def inception_bn_small(*, image_size: int = 28, num_classes: int = 10) -> Workload:
    """MXNet's Inception-BN for CIFAR-10's images cropped to 28 x 28: modules of a 1 x 1 and a 3 x 3.

    References
    ----------
    .. [1] apache/mxnet, example/image-classification/symbol_inception-bn-28-small.py @09ac5a7
    """
    ops = ImageOps()
    x = _biased(ops, image_tensor(image_size), 96, 3, padding=1)
    layers = [ops.layer("stem", "conv")]
    for index, (one, three) in enumerate(
        ((32, 32), (32, 48), (0, 80), (112, 48), (96, 64), (80, 80), (48, 96), (0, 96), (176, 160), (176, 160)), start=1
    ):
        ops = ImageOps()
        side = _biased(ops, x, one, 1) if one else ops.max_pool(x, 3, stride=2, ceil=True)
        main = _biased(ops, x, three, 3, stride=1 if one else 2, padding=1)
        ops.fork(x, 2)
        x = ops.concatenate(side, main)
        layers.append(ops.layer(f"module{index}", "block"))
    ops = ImageOps()
    ops.softmax_loss(ops.dense(ops.pool_to(x, 1), num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "inception-bn-small",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="apache/mxnet symbol_inception-bn-28-small @09ac5a7",
    )


def inception_v4(*, image_size: int = 299, num_classes: int = 1000) -> Workload:
    """Inception-v4, 42,679,816 parameters.

    References
    ----------
    .. [1] Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning, 2016,
       arXiv:1602.07261, figures 3 to 9
    """
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), 32, 3, stride=2)
    x = ops.conv_norm_relu(x, 32, 3)
    x = ops.conv_norm_relu(x, 64, 3, padding=1)
    layers = [ops.layer("stem", "conv")]
    for name, branches, count in _INCEPTION_V4:
        ops = ImageOps()
        tensors = [tensor for branch in branches for tensor in branch(ops, x)]
        ops.fork(x, len(branches))
        x = ops.concatenate(*tensors)
        layers.append(ops.layer(name, "conv" if name.startswith("stem") else "block", repeat=count))
    ops = ImageOps()
    x = ops.dropout(ops.pool_to(x, 1))
    ops.softmax_loss(ops.dense(x, num_classes))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "inception-v4", layers, image_size=image_size, num_classes=num_classes, source="arXiv:1602.07261"
    )


def _row(width: int, side: int = 7) -> tuple[int, Pair, Pair, int]:
    return width, (1, side), (0, side // 2), 1


def _column(width: int, side: int = 7) -> tuple[int, Pair, Pair, int]:
    return width, (side, 1), (side // 2, 0), 1


_PAIR: Final = ((256, (1, 3), (0, 1)), (256, (3, 1), (1, 0)))
#: Inception-v4 after its first three convolutions: branches of each module, and how often it is repeated.
_INCEPTION_V4: Final[tuple[tuple[str, tuple[Branch, ...], int], ...]] = (
    ("stem-a", (Branch(pool="max"), Branch((96, 3, 0, 2))), 1),
    ("stem-b", (
        Branch((64, 1, 0, 1), (96, 3, 0, 1)),
        Branch((64, 1, 0, 1), _row(64), _column(64), (96, 3, 0, 1)),
    ), 1),
    ("stem-c", (Branch((192, 3, 0, 2)), Branch(pool="max")), 1),
    ("inception-a", (
        Branch((96, 1, 0, 1)),
        Branch((64, 1, 0, 1), (96, 3, 1, 1)),
        Branch((64, 1, 0, 1), (96, 3, 1, 1), (96, 3, 1, 1)),
        Branch((96, 1, 0, 1), pool="average"),
    ), 4),
    ("reduction-a", (
        Branch((384, 3, 0, 2)),
        Branch((192, 1, 0, 1), (224, 3, 1, 1), (256, 3, 0, 2)),
        Branch(pool="max"),
    ), 1),
    ("inception-b", (
        Branch((384, 1, 0, 1)),
        Branch((192, 1, 0, 1), _row(224), _column(256)),
        Branch((192, 1, 0, 1), _column(192), _row(224), _column(224), _row(256)),
        Branch((128, 1, 0, 1), pool="average"),
    ), 7),
    ("reduction-b", (
        Branch((192, 1, 0, 1), (192, 3, 0, 2)),
        Branch((256, 1, 0, 1), _row(256), _column(320), (320, 3, 0, 2)),
        Branch(pool="max"),
    ), 1),
    ("inception-c", (
        Branch((256, 1, 0, 1)),
        Branch((384, 1, 0, 1), split=_PAIR),
        Branch((384, 1, 0, 1), _column(448, 3), _row(512, 3), split=_PAIR),
        Branch((256, 1, 0, 1), pool="average"),
    ), 3),
)  # fmt: skip

NETWORKS: Final = {
    "googlenet": googlenet,
    "inception_bn": inception_bn,
    "inception_bn_small": inception_bn_small,
    "inception_v4": inception_v4,
}
