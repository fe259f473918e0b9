"""Imagen: text-to-image diffusion of pixels by U-Nets, and by efficient U-Nets for larger images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from workloads.diffusion_ops import Conditions, DenoiserOps
from workloads.image_ops import Tensor
from workloads.layer import Layer
from workloads.mobile_blocks import group_norm
from workloads.op import WorkloadError
from workloads.prediction_ops import image_of
from workloads.workload import Workload

SOURCE: Final = "arXiv:2205.11487; NVIDIA/JAX-Toolbox rosetta/rosetta/projects/imagen"
#: Words and their width of the frozen text encoder (T5 v1.1 XXL); its servers are other machines.
TEXT: Final = (128, 4096)


def imagen_unet(
    *,
    width: int = 256,
    multipliers: Sequence[int] = (1, 2, 3, 4),
    blocks: Sequence[int] = (3, 3, 3, 3),
    vector: int = 1024,
    text_width: int = 512,
    heads: int = 4,
    head_dim: int = 64,
    attended: Sequence[int] = (32, 16, 8),
    enlarges: bool = False,
    image_size: int = 64,
) -> Workload:
    """A U-Net of Imagen [1]_ in the style of Nichol and Dhariwal, with pixel shuffles for changes of size [2]_.

    A sample is an image and 128 words that the text encoder has encoded elsewhere.

    Parameters
    ----------
    width, multipliers, blocks
        Channels of the finest level, factors of the levels, residual blocks a level.
    vector, text_width
        Numbers of the steering vector and of each word as attention sees it.
    attended
        Sides of the image at which pixels attend to pixels and words.
    enlarges
        Whether a small image is an input besides (super-resolution).

    Raises
    ------
    WorkloadError
        For unequally many multipliers and blocks, or an image that cannot be halved between all levels.

    References
    ----------
    .. [1] Saharia et al., Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding, 2022,
       arXiv:2205.11487
    .. [2] NVIDIA/JAX-Toolbox rosetta/rosetta/projects/imagen/network.py
    """
    _check("imagen_unet", multipliers, blocks, image_size, len(multipliers) - 1)
    text = Conditions(vector=vector, width=text_width, length=TEXT[0], heads=heads, head_dim=head_dim)
    widths = [width * factor for factor in multipliers]
    layers = [_conditions(text, width, text_width, enlarges)]
    ops = DenoiserOps()
    x = ops.conv(image_of(6 if enlarges else 3, (image_size, image_size)), widths[0], 3, padding=1, bias=True)
    layers.append(ops.layer("in", "conv"))
    skips = [x]

    def block(x: Tensor, channels: int, *, joins: Tensor | None = None, up: bool = False) -> tuple[Tensor, DenoiserOps]:
        ops = DenoiserOps()
        if joins is not None:
            x = ops.concatenate(x, joins)
        x = ops.residual(x, channels, vector)
        if x.hw[0] in attended:
            x = ops.attend(x, text)
        if up:
            x = ops.residual(x, channels, vector, resample="up")
        return x, ops

    for level, channels in enumerate(widths):
        for repeat in _runs(x, channels, blocks[level]):
            x, ops = block(x, channels)
            layers.append(ops.layer(f"down{level} {x.hw[0]}", "block", repeat=repeat))
            skips += [x] * repeat
        if level < len(widths) - 1:
            ops = DenoiserOps()
            x = ops.residual(x, channels, vector, resample="down")
            layers.append(ops.layer(f"down{level} halve", "block"))
            skips.append(x)
    ops = DenoiserOps()
    x = ops.residual(ops.attend(ops.residual(x, x.channels, vector), text), x.channels, vector)
    layers.append(ops.layer("middle", "block"))
    for level, channels in reversed(list(enumerate(widths))):
        runs = _joined(skips, blocks[level] + 1)
        for index, (repeat, skip) in enumerate(runs):
            x, ops = block(x, channels, joins=skip, up=level > 0 and index == len(runs) - 1)
            layers.append(ops.layer(f"up{level} {index}", "block", repeat=repeat))
        del skips[-blocks[level] - 1 :]
    return _unet("imagen-unet", layers, x, norm=True, image_size=image_size, width=width)


def _runs(x: Tensor, channels: int, count: int) -> tuple[int, ...]:
    """Repeats of the blocks of a level: all alike, or the first, which changes the channels, apart."""
    return tuple(repeat for repeat in ((count,) if x.channels == channels else (1, count - 1)) if repeat)


def _joined(skips: Sequence[Tensor], count: int) -> list[tuple[int, Tensor]]:
    """The skips that the blocks of a level join, from the last: the first and last alone, alike ones between as one."""
    mine = list(reversed(skips[-count:]))
    runs = [(1, mine[0])]
    if count > 2:
        runs.append((count - 2, mine[1]))
    return [*runs, (1, mine[-1])] if count > 1 else runs


def imagen_efficient_unet(
    *,
    width: int = 128,
    multipliers: Sequence[int] = (1, 2, 4, 8, 8),
    blocks: Sequence[int] = (2, 4, 8, 8, 2),
    vector: int = 512,
    text_width: int = 1024,
    heads: int = 8,
    head_dim: int = 64,
    attended: Sequence[int] = (8, 16),
    attention: str = "fused",
    image_size: int = 256,
) -> Workload:
    """The efficient U-Net of Imagen's super-resolution [1]_: halves the image before the blocks of a level [2]_.

    A sample is an image (a crop of it where the image is 1024 wide) with its small version and 128 encoded words.

    Parameters
    ----------
    blocks
        Residual blocks a level; the last entry is those of the middle, which are laid out twice.
    attended
        By how much the image is divided where a level attends, once after its blocks.
    attention
        ``fused`` attends to pixels and words, ``cross`` to words only.

    Raises
    ------
    WorkloadError
        As `imagen_unet`, and for another attention.

    References
    ----------
    .. [1] Saharia et al., Photorealistic Text-to-Image Diffusion Models with Deep Language Understanding, 2022,
       arXiv:2205.11487
    .. [2] NVIDIA/JAX-Toolbox rosetta/rosetta/projects/imagen/network_sr.py
    """
    _check("imagen_efficient_unet", multipliers, blocks, image_size, len(multipliers) - 1)
    if attention not in ("fused", "cross"):
        raise WorkloadError(f"imagen_efficient_unet: attention is '{attention}'. Legal: fused, cross.")
    text = Conditions(vector=vector, width=text_width, length=TEXT[0], heads=heads, head_dim=head_dim)
    *widths, middle = (width * factor for factor in multipliers)
    layers = [_conditions(text, width, vector, enlarges=True)]
    ops = DenoiserOps()
    x = ops.conv(image_of(6, (image_size, image_size)), widths[0], 3, padding=1, bias=True)
    layers.append(ops.layer("in", "conv"))

    def stage(
        name: str, x: Tensor, channels: int, count: int, attends: bool, *, joins: Tensor | None = None,
        step: int = 0, up: int = 0,
    ) -> Tensor:  # fmt: skip
        """A level: a convolution with stride ``step``, blocks, attention, a transposed convolution by ``up``."""
        ops = DenoiserOps()
        if joins is not None:
            x = ops.concatenate(x, joins)
        if step:
            x = ops.conv(x, channels, 3, stride=step, padding=1, bias=True)
        if ops.ops and x.channels == channels:
            layers.append(ops.layer(f"{name} in", "conv"))
            ops = DenoiserOps()
        for repeat in _runs(x, channels, count):
            x = ops.residual(x, channels, vector, projects=True)
            layers.append(ops.layer(f"{name} {x.hw[0]}", "block", repeat=repeat))
            ops = DenoiserOps()
        if attends:
            x = ops.attend(x, text, kind=attention)
        if up:
            # A window of 3 padded so that the image grows by the step: rows overlap by one, as with a window of step.
            x = ops.up_conv(x, channels, 3, stride=up, padding=1)
        if ops.ops:
            layers.append(ops.layer(f"{name} out", "conv"))
        return x

    skips = []
    for level, channels in enumerate(widths):
        x = stage(f"down{level}", x, channels, blocks[level], 2**level in attended, step=2)
        skips.append(x)
    at_middle = 2 ** len(widths) in attended
    x = stage("middle down", x, middle, blocks[-1], at_middle, step=1)
    x = stage("middle up", x, middle, blocks[-1], at_middle, up=1)
    for level, channels in reversed(list(enumerate(widths))):
        x = stage(f"up{level}", x, channels, blocks[level], 2**level in attended, joins=skips.pop(), up=2)
    return _unet("imagen-efficient-unet", layers, x, norm=False, image_size=image_size, width=width)


def _conditions(text: Conditions, width: int, pooled: int, enlarges: bool) -> Layer:
    """The steering vector, of the time, the noise of the small image and the pooled text; and the words."""
    ops = DenoiserOps()
    ops.vector_of("time", width, text.vector)
    if enlarges:
        ops.vector_of("noise", width, text.vector)
    ops.pooled_text(text, TEXT[1], pooled)
    return ops.layer("conditions", "embedding")


def _unet(name: str, layers: list[Layer], x: Tensor, *, norm: bool, image_size: int, width: int) -> Workload:
    ops = DenoiserOps()
    if norm:
        x = ops.activate(group_norm(ops, x), "swish")
    x = ops.conv(x, 3, 3, padding=1, bias=True)
    ops.loss("weighted squared error", reads=6 * x.elements, writes=4 * x.elements, saved=2.0 * x.elements, launches=8)
    return Workload(
        name=name, family="generative", sample="image", layers=(*layers, ops.layer("out", "head")),
        hyper={"image_size": image_size, "width": width}, source=SOURCE,
    )  # fmt: skip


def _check(where: str, multipliers: Sequence[int], blocks: Sequence[int], image_size: int, halvings: int) -> None:
    if len(multipliers) != len(blocks) or len(blocks) < 2 or min(*blocks, *multipliers) < 1:
        raise WorkloadError(
            f"{where}: {len(multipliers)} multipliers and {len(blocks)} blocks; as many of each, at least 2 above 0."
        )
    if image_size % 2**halvings:
        raise WorkloadError(
            f"{where}: image_size is {image_size}. Legal: multiples of {2**halvings}, the sides are halved {halvings} "
            "times."
        )


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "imagen_efficient_unet": imagen_efficient_unet,
    "imagen_unet": imagen_unet,
}
