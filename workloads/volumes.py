"""Networks for volumes: 3D U-Net and nnU-Net, and the latter for slices."""

from __future__ import annotations

from typing import Final

from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.volume_ops import Volume, VolumeOps, volume_workload
from workloads.workload import Workload

#: Channels from the finest level to the coarsest: doubling from 32 up to 320 (Isensee et al. 2018, arXiv:1809.10486).
WIDTHS: Final = (32, 64, 128, 256, 320, 320)


def unet_3d(*, image_size: int = 128, channels: int = 4, num_classes: int = 3, output_kernel: int = 3) -> Workload:
    """3D U-Net for brain tumours as DeepLearningExamples has it; ``image_size`` is the side of the cube.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples TensorFlow/Segmentation/UNet_3D_Medical, model/unet3d.py
    """
    layers = _unet(Volume(channels, (image_size,) * 3, is_input=True), num_classes, output_kernel, flat=False)
    return volume_workload(
        "unet-3d", layers, image_size=image_size, num_classes=num_classes,
        source="NVIDIA/DeepLearningExamples TensorFlow/Segmentation/UNet_3D_Medical",
    )  # fmt: skip


def unet_3d_kits19(*, image_size: int = 128) -> Workload:
    """3D U-Net for kidney tumours, MLPerf Training v1.0 on: one input channel, three classes, a 1 x 1 x 1 output.

    References
    ----------
    .. [1] mlcommons/training image_segmentation/pytorch, model/unet3d.py
    """
    layers = _unet(Volume(1, (image_size,) * 3, is_input=True), 3, 1, flat=False)
    return volume_workload(
        "unet-3d-kits19", layers, image_size=image_size, num_classes=3,
        source="mlcommons/training image_segmentation/pytorch",
    )  # fmt: skip


def nnunet_3d(*, image_size: int = 128, channels: int = 4, num_classes: int = 4) -> Workload:
    """nnU-Net for volumes, as planned for the brain tumour task: patches of 128 cubed, four channels, four classes.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples PyTorch/Segmentation/nnUNet, models/unet.py, data_preprocessing/configs.py
    """
    layers = _unet(Volume(channels, (image_size,) * 3, is_input=True), num_classes, 1, flat=False)
    return volume_workload(
        "nnunet-3d", layers, image_size=image_size, num_classes=num_classes,
        source="NVIDIA/DeepLearningExamples PyTorch/Segmentation/nnUNet",
    )  # fmt: skip


def nnunet_2d(*, image_size: int = 192, channels: int = 4, num_classes: int = 4) -> Workload:
    """nnU-Net for slices of the brain tumour task: 192 x 160 pixels; another height keeps the width at 5/6 of it.

    References
    ----------
    .. [1] NVIDIA/DeepLearningExamples PyTorch/Segmentation/nnUNet, models/unet.py, data_preprocessing/configs.py
    """
    width = image_size * 5 // 6
    layers = _unet(Volume(channels, (1, image_size, width), is_input=True), num_classes, 1, flat=True)
    return volume_workload(
        "nnunet-2d", layers, sample="image", image_size=image_size, num_classes=num_classes,
        source="NVIDIA/DeepLearningExamples PyTorch/Segmentation/nnUNet",
    )  # fmt: skip


def _unet(x: Volume, num_classes: int, output_kernel: int, *, flat: bool) -> list[Layer]:
    """Six levels of two convolutions, the first of each strided; transposed convolutions and joins on the way up."""
    halvings = len(WIDTHS) - 1
    for side in x.dhw[1:] if flat else x.dhw:
        if side < 2**halvings or side % 2**halvings:
            nearest = max(1, round(side / 2**halvings)) * 2**halvings
            raise WorkloadError(
                f"u-net: a side of {side} cannot be halved {halvings} times; it must be a multiple of {2**halvings}. "
                f"The nearest is {nearest}."
            )
    layers, skips = [], []
    for level, width in enumerate(WIDTHS):
        ops = VolumeOps(flat=flat)
        x = ops.unit(x, width, stride=1 if level == 0 else 2)
        x = ops.unit(x, width)
        layers.append(ops.layer(f"down{level}", "block"))
        skips.append(x)
    for level in reversed(range(halvings)):
        width = WIDTHS[level]
        ops = VolumeOps(flat=flat)
        x = ops.concatenate(ops.up_conv(x, width), skips[level])
        x = ops.unit(ops.unit(x, width), width)
        layers.append(ops.layer(f"up{level}", "block"))
    ops = VolumeOps(flat=flat)
    ops.voxel_loss(ops.conv(x, num_classes, output_kernel, padding=output_kernel // 2, bias=True))
    layers.append(ops.layer("head", "head"))
    return layers


NETWORKS: Final = {
    "nnunet_2d": nnunet_2d,
    "nnunet_3d": nnunet_3d,
    "unet_3d": unet_3d,
    "unet_3d_kits19": unet_3d_kits19,
}
