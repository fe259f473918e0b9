"""MobileNet in its three versions, and GPUNet: mobile blocks chosen for small chips and for large ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from workloads.efficientnet import efficientnet, rounded
from workloads.image_ops import image_tensor, image_workload
from workloads.mobile_blocks import MobileBlock, MobileOps, classifier, lay_out
from workloads.op import WorkloadError
from workloads.prediction_ops import frozen
from workloads.workload import Workload

#: MobileNet: channels and stride of each pair of a depth-wise and a 1 x 1 convolution (Howard et al. 2017,
#: arXiv:1704.04861, table 1).
V1_PAIRS: Final = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *(((512, 1),) * 5), (1024, 2), (1024, 1))
#: MobileNetV2: expansion, channels, blocks, stride (Sandler et al. 2018, arXiv:1801.04381, table 2).
V2_STAGES: Final = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
)  # fmt: skip
#: MobileNetV3: kernel, expanded channels, channels, squeeze-and-excite, hard swish, stride of each block; channels of
#: the last convolution and of the dense layer after it (Howard et al. 2019, arXiv:1905.02244, tables 1 and 2).
V3_BLOCKS: Final[Mapping[str, tuple[tuple[int, int, int, bool, bool, int], ...]]] = {
    "large": (
        (3, 16, 16, False, False, 1), (3, 64, 24, False, False, 2), (3, 72, 24, False, False, 1),
        (5, 72, 40, True, False, 2), (5, 120, 40, True, False, 1), (5, 120, 40, True, False, 1),
        (3, 240, 80, False, True, 2), (3, 200, 80, False, True, 1), (3, 184, 80, False, True, 1),
        (3, 184, 80, False, True, 1), (3, 480, 112, True, True, 1), (3, 672, 112, True, True, 1),
        (5, 672, 160, True, True, 2), (5, 960, 160, True, True, 1), (5, 960, 160, True, True, 1),
    ),
    "small": (
        (3, 16, 16, True, False, 2), (3, 72, 24, False, False, 2), (3, 88, 24, False, False, 1),
        (5, 96, 40, True, True, 2), (5, 240, 40, True, True, 1), (5, 240, 40, True, True, 1),
        (5, 120, 48, True, True, 1), (5, 144, 48, True, True, 1), (5, 288, 96, True, True, 2),
        (5, 576, 96, True, True, 1), (5, 576, 96, True, True, 1),
    ),
}  # fmt: skip
V3_DENSE: Final = {"large": 1280, "small": 1024}
#: GPUNet: side of the image, channels of the stem, its 3 x 3 convolutions, and stages of kernel, expansion, channels,
#: stride, blocks, activation, squeeze-and-excite, fused (NVIDIA/DeepLearningExamples PyTorch/Classification/GPUNet
#: configs/batch1/GV100/{0.65ms,0.85ms,1.75ms}.json @68c33b3f).
GPUNETS: Final[Mapping[int, tuple[int, int, int, tuple[tuple[int, int, int, int, int, str, bool, bool], ...]]]] = {
    0: (
        320, 32, 2,
        (
            (3, 5, 32, 2, 2, "relu", False, True), (3, 5, 64, 2, 3, "relu", False, True),
            (3, 5, 256, 2, 3, "swish", False, False), (3, 5, 704, 2, 2, "relu", True, False),
        ),
    ),
    1: (
        288, 24, 1,
        (
            (3, 4, 64, 2, 2, "swish", False, True), (3, 4, 96, 2, 2, "swish", False, True),
            (3, 2, 160, 2, 1, "swish", True, False), (3, 5, 288, 1, 4, "relu", False, False),
            (3, 4, 448, 2, 4, "relu", True, False),
        ),
    ),
    2: (
        384, 32, 3,
        (
            (5, 6, 32, 2, 1, "swish", True, True), (3, 3, 112, 2, 3, "swish", False, True),
            (3, 6, 144, 2, 6, "swish", False, False), (5, 3, 160, 1, 4, "relu", False, False),
            (3, 3, 224, 2, 8, "swish", True, False), (5, 2, 832, 1, 7, "relu", False, False),
        ),
    ),
}  # fmt: skip
#: Distilled GPUNets: side of the image, channels of the stem, its 3 x 3 convolutions, teacher (a size of EfficientNet),
#: and blocks of kernel, expansion, channels, stride (configs/batch1/GV100/{1.25ms-D,2.25ms-D}.json @68c33b3f).
DISTILLED: Final[Mapping[str, tuple[int, int, int, str, tuple[tuple[int, int, int, int], ...]]]] = {
    "d1": (
        456, 33, 0, "b5",
        (
            (3, 1, 33, 1), (3, 3, 44, 2), (5, 4, 44, 1), (3, 3, 44, 1), (5, 4, 67, 2), (5, 4, 67, 1), (3, 6, 67, 1),
            (5, 3, 67, 1), (7, 6, 134, 2), (5, 6, 134, 1), (3, 3, 134, 1), (5, 4, 134, 1), (3, 6, 190, 1),
            (5, 6, 190, 1), (7, 6, 190, 1), (3, 4, 190, 1), (3, 6, 268, 2), (3, 6, 268, 1), (5, 6, 268, 1),
            *(((3, 3, 268, 1),) * 3),
        ),
    ),
    "d2": (
        528, 48, 2, "b6",
        (
            (3, 1, 48, 1), (3, 3, 64, 2), (5, 4, 64, 1), (3, 3, 64, 1), (5, 4, 96, 2), (5, 4, 96, 1), (3, 6, 96, 1),
            (5, 3, 96, 1), (7, 6, 192, 2), (5, 6, 192, 1), (3, 3, 192, 1), (5, 4, 192, 1), (5, 4, 192, 1),
            (3, 6, 272, 1), (5, 6, 272, 1), (7, 6, 272, 1), (5, 6, 272, 1), (3, 4, 272, 1), (3, 6, 384, 2),
            (3, 6, 384, 1), (5, 6, 384, 1), *(((3, 3, 384, 1),) * 4),
        ),
    ),
}  # fmt: skip
#: Channels of the last two 1 x 1 convolutions of a distilled GPUNet, before and after the mean over the image.
DISTILLED_WIDTHS: Final = (1152, 1984)


def mobilenet(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """MobileNet [1]_, 4,231,976 parameters: pairs of a depth-wise 3 x 3 and a 1 x 1 convolution, normed, with ReLU.

    References
    ----------
    .. [1] Howard et al., MobileNets, 2017, arXiv:1704.04861; Keras MobileNet
    """
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), 32, 3, stride=2)
    layers = [ops.layer("stem", "conv")]
    runs: list[tuple[int, int, int]] = []
    for width, stride in V1_PAIRS:
        if runs and runs[-1][:2] == (width, stride):
            runs[-1] = (width, stride, runs[-1][2] + 1)
        else:
            runs.append((width, stride, 1))
    for width, stride, count in runs:
        for repeat in (count,) if x.channels == width else (1, count - 1):
            if repeat:
                ops = MobileOps()
                x = ops.unit(ops.unit(x, x.channels, 3, stride=stride, groups=x.channels), width, 1)
                layers.append(ops.layer(f"pair{len(layers)}", "block", repeat=repeat))
    ops = MobileOps()
    classifier(ops, x, num_classes)
    return image_workload(
        "mobilenet-v1", [*layers, ops.layer("head", "head")], image_size=image_size, num_classes=num_classes,
        source="arXiv:1704.04861 table 1",
    )  # fmt: skip


def mobilenet_v2(*, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """MobileNetV2 [1]_, 3,504,872 parameters.

    References
    ----------
    .. [1] Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, arXiv:1801.04381; torchvision
       mobilenet_v2
    """
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), 32, 3, stride=2)
    layers = [ops.layer("stem", "conv")]
    blocks: list[MobileBlock] = []
    before = x.channels
    for ratio, width, count, stride in V2_STAGES:
        for index in range(count):
            block = MobileBlock(
                kernel=3, inner=before * ratio, width=width, stride=1 if index else stride, activation="relu"
            )
            blocks.append(block)
            before = width
    x, laid = lay_out(x, blocks)
    ops = MobileOps()
    classifier(ops, ops.unit(x, 1280, 1), num_classes)
    return image_workload(
        "mobilenet-v2", [*layers, *laid, ops.layer("head", "head")], image_size=image_size, num_classes=num_classes,
        source="arXiv:1801.04381 table 2",
    )  # fmt: skip


def mobilenet_v3(*, size: str = "large", image_size: int = 224, num_classes: int = 1000) -> Workload:
    """MobileNetV3 [1]_: 5,483,032 parameters as large, 2,542,856 as small.

    Raises
    ------
    WorkloadError
        For another size than large, small.

    References
    ----------
    .. [1] Howard et al., Searching for MobileNetV3, 2019, arXiv:1905.02244; torchvision mobilenet_v3_large, _small
    """
    if size not in V3_BLOCKS:
        raise WorkloadError(f"mobilenet_v3: size is '{size}'. Legal: {', '.join(V3_BLOCKS)}.")
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), 16, 3, stride=2, activation="hard_swish")
    layers = [ops.layer("stem", "conv")]
    blocks = [
        MobileBlock(
            kernel=kernel, inner=inner, width=width, stride=stride, squeezed=rounded(inner // 4) if excites else 0,
            activation="hard_swish" if hard else "relu", gate="relu",
        )
        for kernel, inner, width, excites, hard, stride in V3_BLOCKS[size]
    ]  # fmt: skip
    x, laid = lay_out(x, blocks)
    ops = MobileOps()
    x = ops.pool_to(ops.unit(x, 6 * x.channels, 1, activation="hard_swish"), 1)
    x = ops.dropout(ops.activate(ops.dense(x, V3_DENSE[size]), "hard_swish"))
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        f"mobilenet-v3-{size}", [*layers, *laid, ops.layer("head", "head")], image_size=image_size,
        num_classes=num_classes, source="arXiv:1905.02244 tables 1 and 2",
    )  # fmt: skip


def gpunet(*, version: str = "0", image_size: int = 0, num_classes: int = 1000) -> Workload:
    """GPUNet [1]_ as its program trains it: 11.9, 12.7 and 25.8 million parameters.

    Its fused blocks of stride 2 ask for padding that keeps the size but get none, and so write one row and column less.

    Parameters
    ----------
    image_size
        Side of the image, the version's own when 0. [pixels]

    Raises
    ------
    WorkloadError
        For another version than those of `GPUNETS`.

    References
    ----------
    .. [1] Wang et al., GPUNet: Searching the Deployable Convolution Neural Networks for GPUs, 2022, arXiv:2205.00841;
       NVIDIA/DeepLearningExamples PyTorch/Classification/GPUNet
    """
    if not version.isdigit() or int(version) not in GPUNETS:
        raise WorkloadError(f"gpunet: version is '{version}'. Legal: {', '.join(map(str, GPUNETS))}.")
    side, width, convs, stages = GPUNETS[int(version)]
    image_size = image_size or side
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), width, 3, stride=2, activation="swish")
    for _ in range(convs):
        x = ops.unit(x, width, 3)
    layers = [ops.layer("stem", "conv")]
    blocks: list[MobileBlock] = []
    before = width
    for kernel, ratio, channels, stride, count, activation, excites, fused in stages:
        for index in range(count):
            block = MobileBlock(
                kernel=kernel, inner=before * ratio, width=channels, stride=1 if index else stride,
                squeezed=round(before / 4) if excites else 0, activation=activation, gate=activation, fused=fused,
                drop_path=True, padded=not fused,
            )  # fmt: skip
            blocks.append(block)
            before = channels
    x, laid = lay_out(x, blocks)
    ops = MobileOps()
    classifier(ops, ops.unit(x, 1280, 1), num_classes)
    return image_workload(
        f"gpunet-{version}", [*layers, *laid, ops.layer("head", "head")], image_size=image_size,
        num_classes=num_classes, source="arXiv:2205.00841; NVIDIA/DeepLearningExamples PyTorch/Classification/GPUNet",
    )  # fmt: skip


def gpunet_distilled(
    *, version: str = "d1", teacher: bool = True, image_size: int = 0, num_classes: int = 1000
) -> Workload:
    """A GPUNet that learns from a frozen EfficientNet, which runs forward on the same images [1]_.

    10,589,859 and 19,036,728 parameters learn; the teacher's 30.4 and 43.0 million are counted besides.

    Raises
    ------
    WorkloadError
        For another version than d1, d2.

    References
    ----------
    .. [1] Wang et al., GPUNet: Searching the Deployable Convolution Neural Networks for GPUs, 2022, arXiv:2205.00841;
       NVIDIA/DeepLearningExamples PyTorch/Classification/GPUNet
    """
    if version not in DISTILLED:
        raise WorkloadError(f"gpunet_distilled: version is '{version}'. Legal: {', '.join(DISTILLED)}.")
    side, width, convs, size, shapes = DISTILLED[version]
    image_size = image_size or side
    ops = MobileOps()
    x = ops.unit(image_tensor(image_size), width, 3, stride=2)
    for _ in range(convs):
        x = ops.unit(x, width, 3)
    layers = [ops.layer("stem", "conv")]
    blocks: list[MobileBlock] = []
    before = width
    for kernel, ratio, channels, stride in shapes:
        block = MobileBlock(
            kernel=kernel, inner=before * ratio, width=channels, stride=stride, activation="relu", always_expands=True
        )
        blocks.append(block)
        before = channels
    x, laid = lay_out(x, blocks)
    ops = MobileOps()
    last, features = DISTILLED_WIDTHS
    x = ops.pool_to(ops.unit(x, last, 1), 1)
    classifier(ops, ops.relu(ops.conv(x, features, 1)), num_classes)
    if teacher:
        network = efficientnet(size=size, image_size=image_size, num_classes=num_classes, drop_path=False)
        layers = [
            *(replace(x, name=f"teacher {x.name}", kind="conv", ops=tuple(map(frozen, x.ops))) for x in network.layers),
            *layers,
        ]
    return image_workload(
        f"gpunet-{version}", [*layers, *laid, ops.layer("head", "head")], image_size=image_size,
        num_classes=num_classes, source="arXiv:2205.00841; NVIDIA/DeepLearningExamples PyTorch/Classification/GPUNet",
        teacher=teacher,
    )  # fmt: skip


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {
    "gpunet": gpunet,
    "gpunet_distilled": gpunet_distilled,
    "mobilenet": mobilenet,
    "mobilenet_v2": mobilenet_v2,
    "mobilenet_v3": mobilenet_v3,
}
