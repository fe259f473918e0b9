"""EfficientDet-D0: EfficientNet-B0 without its head, a bidirectional pyramid of three cells, separable heads."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.prediction_ops import PredictionOps, image_of
from workloads.workload import Workload

#: EfficientNet-B0's stages: kernel, expansion, channels, stride, blocks (Tan and Le 2019, arXiv:1905.11946, table 1).
B0_STAGES: Final = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 2, 3),
    (5, 6, 112, 1, 3),
    (5, 6, 192, 2, 4),
    (3, 6, 320, 1, 1),
)
#: Nodes of one cell: level (3 is the finest), inputs. 0-4 are the cell's inputs P3-P7, 5 on the nodes before.
NODES: Final = (
    (6, (3, 4)), (5, (2, 5)), (4, (1, 6)), (3, (0, 7)), (4, (1, 7, 8)), (5, (2, 6, 9)), (6, (3, 5, 10)), (7, (4, 11)),
)  # fmt: skip
WIDTH: Final = 64
ANCHORS: Final = 9


def efficientdet_d0(*, image_size: int = 512, num_classes: int = 90) -> Workload:
    """EfficientDet-D0, 3,877,763 parameters with 90 classes [1]_; no biases before norms, as in [2]_.

    TensorFlow's has a bias in 36 convolutions of 64 channels that a norm follows, 3,880,067 in all.

    References
    ----------
    .. [1] Tan, Pang, Le, EfficientDet: Scalable and Efficient Object Detection, 2019, arXiv:1911.09070
    .. [2] NVIDIA/DeepLearningExamples PyTorch/Detection/Efficientdet, effdet/model.py
    """
    layers, features = _body(image_of(3, (image_size, image_size)))
    ops = PredictionOps()
    coarse = ops.unit(features[-1], WIDTH, 1, activation="none")
    for _ in range(2):
        coarse = ops.max_pool(coarse, 3, stride=2, padding=1)
        features.append(coarse)
    layers.append(ops.layer("coarse levels", "block"))
    ops = PredictionOps()
    features = _cell(ops, features)
    layers.append(ops.layer("pyramid first", "block"))
    ops = PredictionOps()
    features = _cell(ops, features)
    layers.append(ops.layer("pyramid rest", "block", repeat=2))
    layers += _heads(features, num_classes)
    boxes = sum(ANCHORS * x.hw[0] * x.hw[1] for x in features)
    layers.append(_loss(boxes, num_classes))
    return image_workload(
        "efficientdet-d0",
        layers,
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1911.09070; NVIDIA/DeepLearningExamples PyTorch/Detection/Efficientdet",
        anchors=boxes,
    )


def _body(image: Tensor) -> tuple[list[Layer], list[Tensor]]:
    """The layers, and the outputs at strides 8, 16 and 32 (the last before each change of stride)."""
    ops = PredictionOps()
    x = ops.unit(image, 32, 3, stride=2, activation="swish")
    layers = [ops.layer("stem", "conv")]
    outputs = {}
    for index, (kernel, expansion, channels, stride, blocks) in enumerate(B0_STAGES):
        ops = PredictionOps()
        x = _mobile_block(ops, x, kernel, expansion, channels, stride)
        layers.append(ops.layer(f"stage{index + 1} first", "block"))
        if blocks > 1:
            ops = PredictionOps()
            x = _mobile_block(ops, x, kernel, expansion, channels, 1)
            layers.append(ops.layer(f"stage{index + 1} rest", "block", repeat=blocks - 1))
        outputs[channels] = x
    return layers, [outputs[40], outputs[112], outputs[320]]


def _mobile_block(ops: PredictionOps, x: Tensor, kernel: int, expansion: int, channels: int, stride: int) -> Tensor:
    y = ops.unit(x, expansion * x.channels, 1, activation="swish") if expansion > 1 else x
    y = ops.unit(y, y.channels, kernel, stride=stride, groups=y.channels, activation="swish")
    y = ops.excite(y, x.channels // 4)
    y = ops.unit(y, channels, 1, activation="none")
    return ops.add(y, x) if stride == 1 and x.channels == channels else y


def _cell(ops: PredictionOps, features: list[Tensor]) -> list[Tensor]:
    nodes = list(features)
    sizes = {level: x.hw for level, x in zip(range(3, 8), features, strict=True)}
    for level, inputs in NODES:
        parts = []
        for x in (nodes[index] for index in inputs):
            y = ops.unit(x, WIDTH, 1, activation="none") if x.channels != WIDTH else x
            if y.hw[0] > sizes[level][0]:
                y = ops.max_pool(y, 3, stride=2, padding=1)
            elif y.hw[0] < sizes[level][0]:
                y = ops.resize(y, sizes[level])
            parts.append(y)
        x = ops.activate(_weighted_sum(ops, parts), "swish")
        nodes.append(ops.norm(ops.separable(x, WIDTH)))
    # The last node of every level, from the finest to the coarsest.
    return [nodes[8], *nodes[-4:]]


def _weighted_sum(ops: PredictionOps, parts: list[Tensor]) -> Tensor:
    """A sum with learned, normalised weights: each part times its weight, over their sum, stacked, summed."""
    out = Tensor(WIDTH, parts[0].hw)
    count = len(parts)
    ops.loss(
        "weighted sum",
        reads=4 * count * out.elements,
        writes=(3 * count + 1) * out.elements,
        saved=sum(part.keep() for part in parts) + count * out.elements,
        parameters=count,
        launches=6 + 2 * count,
    )
    return out


def _heads(levels: list[Tensor], num_classes: int) -> list[Layer]:
    """Classes and boxes on every level; the convolutions are shared, each level has norms of its own."""
    layers = []
    for index, level in enumerate(levels):
        ops = PredictionOps()
        results = 0
        with ops.shared(again=index > 0):
            for width in (num_classes, 4):
                x = level
                for _ in range(3):
                    x = ops.activate(ops.norm(ops.separable(x, WIDTH)), "swish")
                results += ops.separable(x, ANCHORS * width, bias=True).elements
        ops.loss("arrange outputs", reads=2 * results, writes=2 * results, launches=4)
        layers.append(ops.layer(f"heads level {index + 3}", "head"))
    return layers


def _loss(boxes: int, num_classes: int) -> Layer:
    """Labels come with the data; one-hot targets, focal loss in fp32 (scripted, half fused), Huber loss."""
    ops = PredictionOps()
    scores = boxes * num_classes
    ops.loss("focal loss", reads=14 * scores, writes=8 * scores, saved=6.0 * scores, launches=40)
    ops.loss("box loss", reads=12 * 4 * boxes, writes=6 * 4 * boxes, saved=4.0 * 4 * boxes, launches=40)
    return ops.layer("loss", "head")


NETWORKS: Final = {"efficientdet_d0": efficientdet_d0}
