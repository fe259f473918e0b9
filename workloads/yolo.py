"""YOLOv3 and YOLOX: three scales on a Darknet body."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.workload import Workload

#: Residual blocks after each of Darknet-53's five strided convolutions (Redmon and Farhadi 2018, table 1).
DARKNET53: Final = (1, 2, 8, 8, 4)
#: YOLOX's depth and width multipliers by size (arXiv:2107.08430).
YOLOX_SIZES: Final = {"s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1.0, 1.0), "x": (1.33, 1.25)}


def yolov3(*, image_size: int = 416, num_classes: int = 80) -> Workload:
    """YOLOv3, 61,949,149 parameters with 80 classes [1]_.

    References
    ----------
    .. [1] Redmon, Farhadi, YOLOv3: An Incremental Improvement, 2018, arXiv:1804.02767
    """
    _check_side("yolov3", image_size)
    ops = PredictionOps()
    x = ops.unit(image_of(3, (image_size, image_size)), 32, 3, activation="leaky")
    layers = [ops.layer("stem", "conv")]
    outputs = []
    for stage, blocks in enumerate(DARKNET53):
        width = 64 * 2**stage
        ops = PredictionOps()
        x = ops.unit(x, width, 3, stride=2, activation="leaky")
        layers.append(ops.layer(f"stage{stage + 1} stride", "conv"))
        ops = PredictionOps()
        y = ops.unit(x, width // 2, 1, activation="leaky")
        x = ops.add(x, ops.unit(y, width, 3, activation="leaky"))
        layers.append(ops.layer(f"stage{stage + 1} blocks", "block", repeat=blocks))
        outputs.append(x)
    boxes = 0
    for index, width in enumerate((512, 256, 128)):
        ops = PredictionOps()
        if index:
            x = ops.double(ops.unit(x, width, 1, activation="leaky"))
            x = ops.concatenate(x, outputs[-1 - index])
        for kernel_of, kernel in ((1, 1), (2, 3), (1, 1), (2, 3), (1, 1)):
            x = ops.unit(x, kernel_of * width, kernel, activation="leaky")
        y = ops.unit(x, 2 * width, 3, activation="leaky")
        y = ops.conv(y, 3 * (5 + num_classes), 1, bias=True)
        boxes += 3 * y.hw[0] * y.hw[1]
        layers.append(ops.layer(f"scale{index + 1}", "head"))
    layers.append(_loss(boxes, 5 + num_classes, launches=150))
    return image_workload(
        "yolov3", layers, image_size=image_size, num_classes=num_classes, source="arXiv:1804.02767", boxes=boxes
    )


def yolox(*, image_size: int = 640, num_classes: int = 80, size: str = "s") -> Workload:
    """YOLOX; size ``s`` has 8,968,255 parameters with 80 classes [1]_.

    References
    ----------
    .. [1] Ge et al., YOLOX: Exceeding YOLO Series in 2021, arXiv:2107.08430
    """
    if size not in YOLOX_SIZES:
        raise WorkloadError(f"yolox: size is '{size}'. Legal: {', '.join(YOLOX_SIZES)}.")
    _check_side("yolox", image_size)
    depth, width = YOLOX_SIZES[size]
    base, repeats = int(64 * width), max(round(3 * depth), 1)
    image = image_of(3, (image_size, image_size))
    ops = PredictionOps()
    # Every second pixel of every second row becomes a channel of its own.
    focus = Tensor(12, (image_size // 2, image_size // 2), is_image=True)
    ops.pass_over("focus", focus, reads=image.elements, launches=5)
    x = ops.unit(focus, base, 3, activation="swish")
    layers = [ops.layer("stem", "conv")]
    outputs = []
    for stage, blocks in enumerate((repeats, 3 * repeats, 3 * repeats, repeats)):
        ops = PredictionOps()
        x = ops.unit(x, base * 2 ** (stage + 1), 3, stride=2, activation="swish")
        if stage == 3:
            x = _pooled(ops, x)
        x = _partial(ops, x, x.channels, blocks, residual=stage < 3)
        layers.append(ops.layer(f"dark{stage + 2}", "block"))
        outputs.append(x)
    levels, neck = _path_aggregation(outputs[1:], repeats)
    layers += neck
    boxes = 0
    for index, level in enumerate(levels):
        ops = PredictionOps()
        stem = ops.unit(level, int(256 * width), 1, activation="swish")
        for results in ((num_classes,), (4, 1)):
            x = stem
            for _ in range(2):
                x = ops.unit(x, x.channels, 3, activation="swish")
            for outputs_of in results:
                ops.conv(x, outputs_of, 1, bias=True)
        boxes += level.hw[0] * level.hw[1]
        layers.append(ops.layer(f"head{index + 1}", "head"))
    layers.append(_loss(boxes, 5 + num_classes, launches=200))
    return image_workload(
        f"yolox-{size}", layers, image_size=image_size, num_classes=num_classes, source="arXiv:2107.08430", boxes=boxes
    )


def _path_aggregation(outputs: list[Tensor], repeats: int) -> tuple[list[Tensor], list[Layer]]:
    """Down from the coarsest output to the finest and up again; the three levels, finest first."""
    layers, reduced = [], []
    x = outputs[-1]
    for index, fine in enumerate((outputs[1], outputs[0])):
        ops = PredictionOps()
        lateral = ops.unit(x, fine.channels, 1, activation="swish")
        reduced.append(lateral)
        x = ops.concatenate(ops.double(lateral), fine)
        x = _partial(ops, x, fine.channels, repeats, residual=False)
        layers.append(ops.layer(f"neck down{index + 1}", "block"))
    levels = [x]
    for index, lateral in enumerate(reversed(reduced)):
        ops = PredictionOps()
        x = ops.unit(levels[-1], levels[-1].channels, 3, stride=2, activation="swish")
        x = ops.concatenate(x, lateral)
        levels.append(_partial(ops, x, 2 * lateral.channels, repeats, residual=False))
        layers.append(ops.layer(f"neck up{index + 1}", "block"))
    return levels, layers


def _partial(ops: PredictionOps, x: Tensor, c_out: int, blocks: int, *, residual: bool) -> Tensor:
    """A cross-stage partial block: one half through ``blocks`` bottlenecks, the other past them, then joined."""
    hidden = c_out // 2
    y = ops.unit(x, hidden, 1, activation="swish")
    past = ops.unit(x, hidden, 1, activation="swish")
    for _ in range(blocks):
        z = ops.unit(y, hidden, 1, activation="swish")
        z = ops.unit(z, hidden, 3, activation="swish")
        y = ops.add(z, y) if residual else z
    return ops.unit(ops.concatenate(y, past), c_out, 1, activation="swish")


def _pooled(ops: PredictionOps, x: Tensor) -> Tensor:
    """Spatial pyramid pooling with windows of 5, 9 and 13."""
    y = ops.unit(x, x.channels // 2, 1, activation="swish")
    pools = [ops.max_pool(y, window, stride=1, padding=window // 2) for window in (5, 9, 13)]
    return ops.unit(ops.concatenate(y, *pools), x.channels, 1, activation="swish")


def _loss(boxes: int, outputs: int, *, launches: int) -> Layer:
    """Decoding, assignment of boxes to objects, and the losses, in fp32."""
    ops = PredictionOps()
    numbers = boxes * outputs
    ops.select("assign boxes", reads=32 * boxes * 8, writes=16 * boxes * 8, launches=launches // 2)
    ops.loss("loss", reads=8 * numbers, writes=6 * numbers, saved=4.0 * numbers, launches=launches // 2)
    return ops.layer("loss", "head")


def _check_side(name: str, image_size: int) -> None:
    if image_size < 32 or image_size % 32:
        nearest = max(32, round(image_size / 32) * 32)
        raise WorkloadError(
            f"{name}: image_size is {image_size}; it must be a multiple of 32. The nearest is {nearest}."
        )


NETWORKS: Final = {"yolov3": yolov3, "yolox": yolox}
