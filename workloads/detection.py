"""Single-stage detectors on a ResNet body: SSD300, SSD with a pyramid, RetinaNet."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.pyramid import Body, top_down
from workloads.workload import Workload

#: Default boxes per position of SSD300's six maps (Liu et al. 2015, arXiv:1512.02325).
SSD_BOXES: Final = (4, 6, 6, 6, 4, 4)
#: Mean number of labelled objects of a COCO image (7.3), rounded.
OBJECTS_PER_IMAGE: Final = 8


def ssd300_resnet50(*, image_size: int = 300, num_classes: int = 81) -> Workload:
    """SSD300 on ResNet-50 without its last stage, extra layers with batch norm.

    The third stage keeps 38 x 38: its stride is 1. Parameters: 22,894,902 with COCO's 81 classes.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples PyTorch/Detection/SSD, model.py
    """
    return _ssd300(
        "ssd300-resnet50", depth=50, extra_norm="batch", image_size=image_size, num_classes=num_classes,
        source="NVIDIA/DeepLearningExamples PyTorch/Detection/SSD",
    )  # fmt: skip


def ssd300_resnet34(*, image_size: int = 300, num_classes: int = 81) -> Workload:
    """SSD300 on ResNet-34 without its last stage, extra layers with bias and no norm.

    References
    ----------
    .. [1] mlcommons/training single_stage_detector (MLPerf Training v0.5 to v1.1), ssd300.py
    """
    return _ssd300(
        "ssd300-resnet34", depth=34, extra_norm="none", image_size=image_size, num_classes=num_classes,
        source="mlcommons/training single_stage_detector (v0.5 to v1.1)",
    )  # fmt: skip


def _ssd300(name: str, *, depth: int, extra_norm: str, image_size: int, num_classes: int, source: str) -> Workload:
    layers, stages = Body(depth=depth, stages=3, stage3_stride=1).layers(image_of(3, (image_size, image_size)))
    maps = [stages[-1]]
    for index, (hidden, width) in enumerate(((256, 512), (256, 512), (128, 256), (128, 256), (128, 256))):
        ops = PredictionOps()
        biased = extra_norm == "none"
        x = ops.unit(maps[-1], hidden, 1, bias=biased, norm=extra_norm)
        stride, padding = (2, 1) if index < 3 else (1, 0)
        maps.append(ops.unit(x, width, 3, stride=stride, padding=padding, bias=biased, norm=extra_norm))
        layers.append(ops.layer(f"extra{index + 1}", "block"))
    ops = PredictionOps()
    boxes = 0
    for x, count in zip(maps, SSD_BOXES, strict=True):
        ops.conv(x, 4 * count, 3, padding=1, bias=True)
        ops.conv(x, num_classes * count, 3, padding=1, bias=True)
        boxes += count * x.hw[0] * x.hw[1]
    outputs = boxes * (4 + num_classes)
    ops.loss("join outputs", reads=outputs, writes=outputs, launches=2)
    layers.append(ops.layer("heads", "head"))
    layers.append(_ssd_loss(boxes, num_classes))
    return image_workload(
        name, layers, image_size=image_size, num_classes=num_classes, source=source, default_boxes=boxes
    )


def _ssd_loss(boxes: int, num_classes: int) -> Layer:
    """Cross-entropy and smooth L1 in fp32 (two 2-byte elements a number), hard negatives by sorting twice."""
    ops = PredictionOps()
    scores = boxes * num_classes
    # To fp32, log-softmax, pick the label; the log-softmax is kept, the boxes' offsets and their differences too.
    ops.loss("class loss", reads=5 * scores, writes=4 * scores, saved=2.0 * scores, launches=4)
    ops.loss("box loss", reads=12 * 4 * boxes, writes=8 * 4 * boxes, saved=4.0 * 4 * boxes, launches=18)
    # Two segmented radix sorts, each a few passes over keys and indices.
    ops.select("hard negatives", reads=48 * boxes, writes=40 * boxes, launches=28)
    return ops.layer("loss", "head")


def ssd320_resnet50_fpn(*, image_size: int = 320, num_classes: int = 90) -> Workload:
    """SSD320 of TensorFlow's object detection: ResNet-50 v1, pyramid, a head shared by five levels, focal loss.

    Batch norms use running statistics. The bodies' strides come before a stage, as in a first 1 x 1 with stride 2.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples TensorFlow/Detection/SSD, configs/ssd320_full_8gpus.config
    """
    norm = "fixed"
    layers, stages = Body(norm=norm, stride_in_first=True).layers(image_of(3, (image_size, image_size)))
    pyramid, levels = top_down(stages[1:], norm=norm, activation="relu", smooth_top=False)
    layers.append(pyramid)
    ops = PredictionOps()
    for _ in range(2):
        levels.append(ops.unit(levels[-1], 256, 3, stride=2, norm=norm))
    layers.append(ops.layer("coarse levels", "block"))
    anchors = 6
    layers += _shared_heads(levels, anchors=anchors, outputs=num_classes + 1, norm=norm)
    boxes = sum(anchors * x.hw[0] * x.hw[1] for x in levels)
    layers.append(_focal_loss(boxes, num_classes + 1, passes=6))
    return image_workload(
        "ssd320-resnet50-fpn",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="NVIDIA/DeepLearningExamples TensorFlow/Detection/SSD",
        anchors=boxes,
    )


def retinanet(
    *, image_size: int = 800, num_classes: int = 264, body: str = "resnext50", frozen_stages: int = 2
) -> Workload:
    """RetinaNet on ResNeXt-50 32x4d with pyramid, frozen norms; the stem and the first stage are not trained.

    The focal loss is counted as one fused kernel, as the submissions to MLPerf have it. With ``body="resnet50"`` and 91
    classes it is torchvision's, 34,014,999 parameters.

    References
    ----------
    .. [1] mlcommons/training single_stage_detector (v2.0 on), model/retinanet.py
    """
    if body not in ("resnext50", "resnet50"):
        raise WorkloadError(f"retinanet: body is '{body}'. Legal: resnet50, resnext50.")
    groups, width = (32, 4) if body == "resnext50" else (1, 64)
    layers, stages = Body(norm="frozen", groups=groups, group_width=width, frozen_stages=frozen_stages).layers(
        image_of(3, (image_size, image_size))
    )
    pyramid, levels = top_down(stages[1:])
    layers.append(pyramid)
    ops = PredictionOps()
    for activation in ("none", "relu"):
        x = ops.activate(levels[-1], activation)
        levels.append(ops.conv(x, 256, 3, stride=2, padding=1, bias=True))
    layers.append(ops.layer("coarse levels", "block"))
    anchors = 9
    layers += _shared_heads(levels, anchors=anchors, outputs=num_classes, norm="none")
    boxes = sum(anchors * x.hw[0] * x.hw[1] for x in levels)
    layers.append(_focal_loss(boxes, num_classes, passes=1))
    return image_workload(
        f"retinanet-{body}",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="mlcommons/training single_stage_detector (v2.0)",
        anchors=boxes,
    )


def _shared_heads(levels: list[Tensor], *, anchors: int, outputs: int, norm: str) -> list[Layer]:
    """Two towers of four 3 x 3 convolutions and one more on every level; parameters but the norms' are shared."""
    layers = []
    for index, level in enumerate(levels):
        ops = PredictionOps()
        results = 0
        with ops.shared(again=index > 0):
            for width in (outputs, 4):
                x = level
                for _ in range(4):
                    x = ops.unit(x, 256, 3, bias=norm == "none", norm=norm)
                results += ops.conv(x, anchors * width, 3, padding=1, bias=True).elements
        # To one row per anchor, then next to the other levels'.
        ops.loss("arrange outputs", reads=2 * results, writes=2 * results, launches=4)
        layers.append(ops.layer(f"heads level {index + 3}", "head"))
    return layers


def _focal_loss(boxes: int, outputs: int, *, passes: int) -> Layer:
    """Matching of anchors to objects, focal loss of all scores, L1 of the boxes; in fp32.

    ``passes`` is the number of element-wise kernels over the scores: 1 fused, 6 as a compiled graph has them.
    """
    ops = PredictionOps()
    pairs = boxes * OBJECTS_PER_IMAGE
    ops.select("match anchors", reads=16 * pairs, writes=8 * pairs, launches=40)
    scores = boxes * outputs
    ops.loss(
        "focal loss", reads=(2 * passes + 1) * scores, writes=2 * passes * scores, saved=2.0 * scores,
        launches=passes + 3,
    )  # fmt: skip
    ops.loss("box loss", reads=12 * 4 * boxes, writes=6 * 4 * boxes, saved=2.0 * 4 * boxes, launches=12)
    return ops.layer("loss", "head")


NETWORKS: Final = {
    "retinanet": retinanet,
    "ssd300_resnet34": ssd300_resnet34,
    "ssd300_resnet50": ssd300_resnet50,
    "ssd320_resnet50_fpn": ssd320_resnet50_fpn,
}
