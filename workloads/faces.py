"""Networks for recognising faces: a backbone, an embedding, and a classifier over every person of the training set."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.residual_blocks import stages
from workloads.workload import Workload

#: Persons in MS1M-ArcFace ("faces_emore"), which the published throughputs are trained on.
EMORE_CLASSES: Final = 85742
#: Blocks of InsightFace's ResNets by depth.
ARCFACE_BLOCKS: Final = {50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}


def _unit(ops: ImageOps, x: Tensor, width: int, stride: int) -> Tensor:
    """InsightFace's third kind of unit: normalised first, no rectifier after the sum."""
    y = ops.conv(ops.batch_norm(x), width, 3, padding=1)
    y = ops.conv(ops.prelu(ops.batch_norm(y)), width, 3, stride=stride, padding=1)
    y = ops.batch_norm(y)
    if x.channels != width or stride != 1:
        x = ops.batch_norm(ops.conv(x, width, 1, stride=stride))
    return ops.add(y, x)


def arcface_resnet(
    *, depth: int = 100, image_size: int = 112, num_classes: int = EMORE_CLASSES, embedding: int = 512
) -> Workload:
    """ArcFace's ResNet: an unstrided stem, four halving stages, an embedding of all 7 x 7 features, a margin softmax.

    65,156,160 parameters of 100 layers in the backbone, 512 for every person in the classifier. Left out: dividing the
    classifier's weights by their norms, once a step and not per sample.

    References
    ----------
    .. [1] Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2018, arXiv:1801.07698
    .. [2] deepinsight/insightface, recognition/symbol/fresnet.py @1a20194 (network r100: unit 3, input 1, output E)

    Raises
    ------
    WorkloadError
        For another depth than 50, 100.
    """
    if depth not in ARCFACE_BLOCKS:
        raise WorkloadError(f"arcface_resnet: depth is {depth}. Legal: {', '.join(map(str, ARCFACE_BLOCKS))}.")
    ops = ImageOps()
    x = ops.prelu(ops.batch_norm(ops.conv(image_tensor(image_size), 64, 3, padding=1)))
    layers = [ops.layer("stem", "conv")]
    x, blocks = stages(x, _unit, ARCFACE_BLOCKS[depth], widths=(64, 128, 256, 512), strides=(2, 2, 2, 2))
    ops = ImageOps()
    x = ops.dense(ops.dropout(ops.batch_norm(x)), embedding)
    x = ops.batch_norm(x)
    layers = [*layers, *blocks, ops.layer("embedding", "dense"), _margin_head(x, num_classes)]
    return image_workload(
        f"arcface-resnet{depth}",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1801.07698; deepinsight/insightface fresnet",
    )


def _margin_head(x: Tensor, num_classes: int) -> Layer:
    """The embedding at unit length, its cosine with every person's weights, the margin and the softmax."""
    ops = ImageOps()
    logits = ops.dense(ops.multiply(x), num_classes, bias=False)
    # The margin shifts one logit and scales all of them.
    ops.softmax_loss(ops.multiply(logits))
    return ops.layer("head", "head")


def _depthwise_unit(ops: ImageOps, x: Tensor, c_out: int, *, inner: int, stride: int) -> Tensor:
    y = ops.prelu(ops.batch_norm(ops.conv(x, inner, 1)))
    y = ops.prelu(ops.batch_norm(ops.conv(y, inner, 3, stride=stride, padding=1, groups=inner)))
    return ops.batch_norm(ops.conv(y, c_out, 1))


def arcface_mobilefacenet(*, image_size: int = 112, num_classes: int = EMORE_CLASSES, embedding: int = 128) -> Workload:
    """MobileFaceNet as InsightFace's network y1: inverted bottlenecks, a depth-wise 7 x 7 over what is left, ArcFace.

    References
    ----------
    .. [1] Chen et al., MobileFaceNets, 2018, arXiv:1804.07573
    .. [2] deepinsight/insightface, recognition/symbol/fmobilefacenet.py @1813610 (network y1: output GDC)
    """
    ops = ImageOps()
    x = ops.prelu(ops.batch_norm(ops.conv(image_tensor(image_size), 64, 3, stride=2, padding=1)))
    x = ops.prelu(ops.batch_norm(ops.conv(x, 64, 3, padding=1, groups=64)))
    layers = [ops.layer("stem", "conv")]
    for stage, (c_out, first, inner, count) in enumerate(
        ((64, 128, 128, 4), (128, 256, 256, 6), (128, 512, 256, 2)), start=1
    ):
        ops = ImageOps()
        x = _depthwise_unit(ops, x, c_out, inner=first, stride=2)
        layers.append(ops.layer(f"stage{stage} first", "block"))
        ops = ImageOps()
        x = ops.add(_depthwise_unit(ops, x, c_out, inner=inner, stride=1), x)
        layers.append(ops.layer(f"stage{stage} rest", "block", repeat=count))
    ops = ImageOps()
    x = ops.prelu(ops.batch_norm(ops.conv(x, 512, 1)))
    x = ops.batch_norm(ops.conv(x, 512, x.hw, groups=512))
    x = ops.batch_norm(ops.dense(x, embedding))
    layers += [ops.layer("embedding", "dense"), _margin_head(x, num_classes)]
    return image_workload(
        "arcface-mobilefacenet",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1804.07573; deepinsight/insightface fmobilefacenet",
    )
