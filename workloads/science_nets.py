"""Convolutional networks of the first runs on whole supercomputers: CosmoFlow, particle collisions, climate."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from workloads.image_ops import image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps, image_of
from workloads.volume_ops import Volume, VolumeOps, volume_workload
from workloads.workload import Workload

#: Convolutions of the CosmoFlow of 2018: channels, window, stride, and whether 2 x 2 x 2 average pooling follows.
COSMOFLOW_2018: Final = (
    (16, 3, 1, True),
    (32, 4, 1, True),
    (64, 4, 1, True),
    (128, 3, 2, False),
    (256, 3, 1, False),
    (256, 2, 1, False),
    (256, 2, 1, False),
)
#: Channels of its successor for large volumes; the fourth convolution has stride 2.
COSMOFLOW_VOLUME: Final = (16, 32, 64, 128, 256, 256, 256)
#: Encoder of the climate network: channels of its 5 x 5 convolutions with stride 2.
CLIMATE_WIDTHS: Final = (128, 256, 512, 768, 1024)


def cosmoflow(*, image_size: int = 128, outputs: int = 3) -> Workload:
    """CosmoFlow of 2018, 7,041,443 parameters: seven unpadded convolutions, three average pools, three dense layers.

    The published code prints channels, windows and the 2048 inputs of the first dense layer; a cube of 128 leads to
    2048 = 2^3 x 256 when the fourth convolution has stride 2. A sample then takes a tenth less work than the
    69.33 GFLOP that the paper states.

    References
    ----------
    .. [1] Mathuriya et al., CosmoFlow: Using Deep Learning to Learn the Universe at Scale, 2018, arXiv:1808.04728
    .. [2] NERSC/CosmoFlow CosmoNet.py
    """
    x = Volume(1, (image_size,) * 3, is_input=True)
    layers = []
    for index, (width, window, stride, pooled) in enumerate(COSMOFLOW_2018):
        ops = VolumeOps()
        x = ops.unit(x, width, window, stride=stride, padding=0, bias=True, norm="none")
        if pooled:
            x = ops.average_pool(x)
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    layers += _dense(x, (2048, 256), outputs)
    return volume_workload(
        "cosmoflow", layers, family="scientific", image_size=image_size, outputs=outputs,
        source="arXiv:1808.04728; NERSC/CosmoFlow CosmoNet.py",
    )  # fmt: skip


def cosmoflow_volume(*, image_size: int = 512, channels: int = 4, outputs: int = 4) -> Workload:
    """CosmoFlow for large volumes: padded 3 x 3 x 3 convolutions without bias, pooled down to 2^3 x 256.

    Legal sides are powers of two from 128 to 512: a larger volume is pooled after more of the convolutions.

    References
    ----------
    .. [1] Oyama et al., The Case for Strong Scaling in Deep Learning: Training Large 3D CNNs with Hybrid Parallelism,
       2020, arXiv:2007.12856; LLNL/lbann applications/physics/cosmology/cosmoflow
    """
    if image_size not in (128, 256, 512):
        nearest = min((128, 256, 512), key=lambda side: abs(side - image_size))
        raise WorkloadError(f"cosmoflow: image_size is {image_size}. Legal: 128, 256, 512; the nearest is {nearest}.")
    pools = {128: 5, 256: 6, 512: 7}[image_size]
    x = Volume(channels, (image_size,) * 3, is_input=True)
    layers = []
    for index, width in enumerate(COSMOFLOW_VOLUME):
        ops = VolumeOps()
        x = ops.unit(x, width, stride=2 if index == 3 else 1, norm="none")
        if index < pools:
            x = ops.average_pool(x, 3, padding=1)
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    layers += _dense(x, (2048, 256), outputs)
    return volume_workload(
        "cosmoflow-volume", layers, family="scientific", image_size=image_size, outputs=outputs,
        source="arXiv:2007.12856; LLNL/lbann applications/physics/cosmology/cosmoflow",
    )  # fmt: skip


def cosmoflow_mlperf(*, image_size: int = 128, channels: int = 4, outputs: int = 4) -> Workload:
    """CosmoFlow of MLPerf HPC: five 3 x 3 x 3 convolutions of 32 to 512 channels, max-pools, dense 128 and 64.

    References
    ----------
    .. [1] mlcommons/hpc cosmoflow/models/cosmoflow.py; LLNL/lbann's copy of it for the sizes
    """
    x = Volume(channels, (image_size,) * 3, is_input=True)
    layers = []
    for index in range(5):
        ops = VolumeOps()
        x = ops.max_pool(ops.unit(x, 32 * 2**index, bias=True, norm="none"))
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    layers += _dense(x, (128, 64), outputs)
    return volume_workload(
        "cosmoflow-mlperf", layers, family="scientific", image_size=image_size, outputs=outputs,
        source="mlcommons/hpc cosmoflow",
    )  # fmt: skip


def _dense(x: Volume, widths: tuple[int, ...], outputs: int) -> list[Layer]:
    layers = []
    for index, width in enumerate(widths):
        ops = VolumeOps()
        x = ops.activate(ops.dense(ops.dropout(x), width))
        layers.append(ops.layer(f"dense{index + 1}", "dense"))
    ops = VolumeOps()
    ops.small_loss(ops.dense(ops.dropout(x), outputs))
    layers.append(ops.layer("head", "head"))
    return layers


def hep_cnn(*, image_size: int = 224) -> Workload:
    """The particle-physics network of the 15-petaflop run, 594,178 parameters: five convolutions of 128 channels.

    2 x 2 max-pools follow all but the last, which is pooled to one position; two classes.

    References
    ----------
    .. [1] Kurth et al., Deep Learning at 15PF, 2017, arXiv:1708.05256
    """
    x = image_of(3, (image_size, image_size))
    layers = []
    for index in range(5):
        ops = PredictionOps()
        x = ops.unit(x, 128, 3, bias=True, norm="none")
        x = ops.max_pool(x, 2, stride=2) if index < 4 else ops.pool_to(x, 1)
        layers.append(ops.layer(f"conv{index + 1}", "conv"))
    ops = PredictionOps()
    ops.softmax_loss(ops.dense(x, 2))
    layers.append(ops.layer("head", "head"))
    workload = image_workload(
        "hep-cnn", layers, image_size=image_size, num_classes=2, source="arXiv:1708.05256", channels=3
    )
    return replace(workload, family="scientific")


def climate_cnn(*, image_size: int = 768, channels: int = 16) -> Workload:
    """The semi-supervised climate network of the 15-petaflop run: an encoder, a decoder, and boxes of storms.

    The paper prints nine convolutions, five transposed ones and 302.1 MiB of parameters; widths and windows are
    recalled from the group's earlier network and chosen to give that size (79,194,138 parameters).

    References
    ----------
    .. [1] Kurth et al., Deep Learning at 15PF, 2017, arXiv:1708.05256
    """
    x = image_of(channels, (image_size, image_size))
    layers = []
    for index, width in enumerate(CLIMATE_WIDTHS):
        ops = PredictionOps()
        x = ops.unit(x, width, 5, stride=2, bias=True, norm="none")
        layers.append(ops.layer(f"encode{index + 1}", "conv"))
    ops = PredictionOps()
    shared = ops.unit(x, 1280, 3, bias=True, norm="none")
    cells = x.hw[0] * x.hw[1]
    for outputs in (4, 4, 2):  # box, class, confidence
        ops.conv(shared, outputs, 3, padding=1, bias=True)
    ops.loss("storm loss", reads=40 * cells, writes=40 * cells, saved=20.0 * cells, launches=30)
    layers.append(ops.layer("storms", "head"))
    for index, width in enumerate((*reversed(CLIMATE_WIDTHS[:-1]), channels)):
        ops = PredictionOps()
        x = ops.up_conv(x, width, 5, padding=2)
        if width != channels:
            x = ops.relu(x)
        layers.append(ops.layer(f"decode{index + 1}", "conv"))
    ops = PredictionOps()
    ops.loss("reconstruction", reads=2 * x.elements, writes=x.elements, saved=float(x.elements), launches=3)
    layers.append(ops.layer("reconstruction", "head"))
    workload = image_workload(
        "climate-cnn", layers, image_size=image_size, num_classes=4, source="arXiv:1708.05256", channels=channels
    )
    return replace(workload, family="scientific", assumed=("widths and windows are recalled",))


NETWORKS: Final = {
    "climate_cnn": climate_cnn,
    "cosmoflow": cosmoflow,
    "cosmoflow_mlperf": cosmoflow_mlperf,
    "cosmoflow_volume": cosmoflow_volume,
    "hep_cnn": hep_cnn,
}
