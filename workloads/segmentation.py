"""U-Nets for images; the three-dimensional ones are in `volumes`."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import Tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.workload import Workload

#: U-Net Industrial's variants: input and output filters, the down blocks', the bottleneck's.
INDUSTRIAL: Final = {"original": (64, (128, 256, 512), 1024), "tiny": (32, (32, 64, 128), 256)}


def unet_medical(*, image_size: int = 572, num_classes: int = 2) -> Workload:
    """U-Net of 2015 on 572 pixels, unpadded: the output has 388 [1]_; transposed convolutions of 3 x 3 as in [2]_.

    References
    ----------
    .. [1] Ronneberger, Fischer, Brox, U-Net, 2015, arXiv:1505.04597
    .. [2] NVIDIA/DeepLearningExamples TensorFlow2/Segmentation/UNet_Medical, model/layers.py
    """
    x = image_of(1, (image_size, image_size))
    layers, skips = [], []
    for index, width in enumerate((64, 128, 256, 512)):
        ops = PredictionOps()
        x = _pair(ops, x, width, padding=0)
        skips.append(x)
        x = ops.max_pool(x, 2, stride=2)
        layers.append(ops.layer(f"down{index + 1}", "block"))
    ops = PredictionOps()
    x = ops.dropout(_pair(ops, x, 1024, padding=0))
    x = ops.relu(ops.up_conv(x, 512, 3, padding=1))
    layers.append(ops.layer("bottleneck", "block"))
    for index, width in enumerate((512, 256, 128, 64)):
        ops = PredictionOps()
        x = _pair(ops, ops.concatenate(x, ops.crop(skips[-1 - index], x.hw)), width, padding=0)
        if width > 64:
            x = ops.relu(ops.up_conv(x, width // 2, 3, padding=1))
        layers.append(ops.layer(f"up{index + 1}", "block"))
    ops = PredictionOps()
    _pixel_loss(ops, ops.conv(x, num_classes, 1, bias=True))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "unet-medical", layers, image_size=image_size, num_classes=num_classes,
        source="arXiv:1505.04597; NVIDIA/DeepLearningExamples TensorFlow2/Segmentation/UNet_Medical",
    )  # fmt: skip


def unet_industrial(*, image_size: int = 512, variant: str = "tiny") -> Workload:
    """U-Net for surface defects: padded, up-sampled by copying and a 2 x 2 convolution; one channel in, one out.

    ``tiny``, the one of the published runs, has 1,850,305 parameters by its layers; a comment in the code prints
    1,824,945.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples TensorFlow/Segmentation/UNet_Industrial, model/unet.py
    """
    if variant not in INDUSTRIAL:
        raise WorkloadError(f"unet-industrial: variant is '{variant}'. Legal: {', '.join(INDUSTRIAL)}.")
    _check_halvings("unet-industrial", image_size, 4)
    edge, widths, deepest = INDUSTRIAL[variant]
    x = image_of(1, (image_size, image_size))
    layers, skips = [], []
    for index, width in enumerate((edge, *widths)):
        ops = PredictionOps()
        x = _pair(ops, x, width)
        skips.append(x)
        x = ops.max_pool(x, 2, stride=2)
        layers.append(ops.layer(f"down{index + 1}", "block"))
    ops = PredictionOps()
    x = _copied_up(ops, _pair(ops, x, deepest), deepest // 2)
    layers.append(ops.layer("bottleneck", "block"))
    for index, width in enumerate(reversed(widths)):
        ops = PredictionOps()
        x = ops.unit(ops.concatenate(x, skips[-1 - index]), width, 3, bias=True, norm="none")
        x = ops.unit(x, width // 2, 3, bias=True, norm="none")
        x = _copied_up(ops, x, width // 2)
        layers.append(ops.layer(f"up{index + 1}", "block"))
    ops = PredictionOps()
    x = _pair(ops, ops.concatenate(x, skips[0]), edge)
    _pixel_loss(ops, ops.conv(x, 1, 1, bias=True))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        "unet-industrial", layers, image_size=image_size, num_classes=1, variant=variant,
        source="NVIDIA/DeepLearningExamples TensorFlow/Segmentation/UNet_Industrial",
    )  # fmt: skip


def _pair(ops: PredictionOps, x: Tensor, width: int, *, padding: int = 1) -> Tensor:
    for _ in range(2):
        x = ops.unit(x, width, 3, padding=padding, bias=True, norm="none")
    return x


def _copied_up(ops: PredictionOps, x: Tensor, width: int) -> Tensor:
    """Doubled by copying, then a 2 x 2 convolution padded at the far edges, ReLU."""
    doubled = ops.double(x)
    padded = Tensor(doubled.channels, (doubled.hw[0] + 1, doubled.hw[1] + 1))
    ops.pass_over("pad", padded, reads=doubled.elements)
    return ops.unit(padded, width, 2, padding=0, bias=True, norm="none")


def unet_simplified(
    *, image_size: int = 192, convolutions: int = 5, base_channels: int = 64, levels: int = 5
) -> Workload:
    """torchgpipe's simplified U-Net (B, C): B convolutions a cell, C channels at the first of five levels [1]_.

    After each convolution (no bias): dropout of whole channels, instance norm without parameters, leaky ReLU.
    Published sizes: (5, 64) runs; (6, 72) 362.2 million parameters, (11, 128) 2.21 billion, (24, 128) 4.99, (24, 160)
    7.80, (48, 160) 15.82 billion.

    References
    ----------
    .. [1] kakaobrain/torchgpipe benchmarks/models/unet
    """
    if convolutions < 2:
        raise WorkloadError(f"unet: convolutions is {convolutions}; at least 2 a cell.")
    _check_halvings("unet", image_size, levels)
    x = image_of(3, (image_size, image_size))
    layers, skips = [], []
    for level in range(levels):
        width = base_channels * 2**level
        x, cell = _cell(PredictionOps(), f"down{level + 1}", x, width, width, convolutions)
        layers += cell
        skips.append(x)
        ops = PredictionOps()
        x = ops.max_pool(x, 2, stride=2)
        layers.append(ops.layer(f"pool{level + 1}", "pool"))
    deepest = base_channels * 2**levels
    x, cell = _cell(PredictionOps(), "bottleneck", x, deepest, deepest // 2, convolutions)
    layers += cell
    for level in reversed(range(levels)):
        ops = PredictionOps()
        x = ops.concatenate(ops.double(x), skips[level])
        width = base_channels * 2**level // 2
        x, cell = _cell(ops, f"up{level + 1}", x, width, width, convolutions)
        layers += cell
    ops = PredictionOps()
    _pixel_loss(ops, ops.conv(x, 1, 1))
    layers.append(ops.layer("head", "head"))
    return image_workload(
        f"unet ({convolutions},{base_channels})", layers, image_size=image_size, num_classes=1,
        source="kakaobrain/torchgpipe benchmarks/models/unet", convolutions=convolutions, base_channels=base_channels,
    )  # fmt: skip


def _cell(
    ops: PredictionOps, name: str, x: Tensor, hidden: int, width: int, convolutions: int
) -> tuple[Tensor, list[Layer]]:
    """First convolution, ``convolutions`` - 2 alike in the middle (one layer, repeated), last."""
    x = _dropped(ops, x, hidden)
    layers = [ops.layer(f"{name} first", "block")]
    if convolutions > 2:
        ops = PredictionOps()
        x = _dropped(ops, x, hidden)
        layers.append(ops.layer(f"{name} middle", "block", repeat=convolutions - 2))
    ops = PredictionOps()
    x = _dropped(ops, x, width)
    layers.append(ops.layer(f"{name} last", "block"))
    return x, layers


def _dropped(ops: PredictionOps, x: Tensor, width: int) -> Tensor:
    y = ops.conv(x, width, 3, padding=1)
    out = Tensor(width, y.hw)
    ops.pass_over("dropout of channels", out, reads=y.elements, launches=3)
    return ops.activate(ops.norm(out, "plain instance"), "leaky")


def _pixel_loss(ops: PredictionOps, x: Tensor) -> None:
    """Cross-entropy and Dice of every pixel in fp32 (two 2-byte elements a number)."""
    ops.loss("pixel loss", reads=9 * x.elements, writes=6 * x.elements, saved=4.0 * x.elements, launches=16)


def _check_halvings(name: str, image_size: int, halvings: int) -> None:
    step = 2**halvings
    if image_size < step or image_size % step:
        nearest = max(1, round(image_size / step)) * step
        raise WorkloadError(
            f"{name}: image_size is {image_size}; it must be a multiple of {step}. The nearest is {nearest}."
        )


NETWORKS: Final = {
    "unet_industrial": unet_industrial,
    "unet_medical": unet_medical,
    "unet_simplified": unet_simplified,
}
