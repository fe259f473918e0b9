"""DenseNets as workloads."""

from __future__ import annotations

from typing import Final

from workloads.image_ops import ImageOps, Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.workload import Workload

#: Depth -> layers per dense block, channels each adds, channels of the stem (Huang et al. 2016, table 1).
DENSENETS: Final = {
    121: ((6, 12, 24, 16), 32, 64),
    161: ((6, 12, 36, 24), 48, 96),
    169: ((6, 12, 32, 32), 32, 64),
    201: ((6, 12, 48, 32), 32, 64),
}
#: Dense layers that go into one `Layer`: no two are alike, and a pipeline is hardly ever cut between them.
_TOGETHER: Final = 2


def densenet(*, depth: int, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """DenseNet: every layer reads the outputs of all layers before it in its block.

    7,978,856 parameters for 121 layers, 28,681,000 for 161, 14,149,480 for 169, 20,013,928 for 201. Each layer copies
    what it reads into one tensor and keeps the copy, as torchvision does without checkpoints.

    References
    ----------
    .. [1] Huang et al., Densely Connected Convolutional Networks, 2016, arXiv:1608.06993

    Raises
    ------
    WorkloadError
        For another depth than 121, 161, 169, 201.
    """
    if depth not in DENSENETS:
        raise WorkloadError(f"densenet: depth is {depth}. Legal: {', '.join(map(str, DENSENETS))}.")
    counts, growth, stem = DENSENETS[depth]
    ops = ImageOps()
    x = ops.conv_norm_relu(image_tensor(image_size), stem, 7, stride=2, padding=3)
    x = ops.max_pool(x, 3, stride=2, padding=1)
    layers = [ops.layer("stem", "conv")]
    for block, count in enumerate(counts, start=1):
        x = _dense_block(layers, block, x, count=count, growth=growth)
        if block < len(counts):
            ops = ImageOps()
            x = ops.average_pool(ops.norm_relu_conv(x, x.channels // 2, 1), 2, stride=2)
            layers.append(ops.layer(f"transition{block}", "conv"))
    ops = ImageOps()
    x = ops.pool_to(ops.relu(ops.batch_norm(x)), 1)
    ops.softmax_loss(ops.dense(x, num_classes))
    return image_workload(
        f"densenet{depth}",
        [*layers, ops.layer("head", "head")],
        image_size=image_size,
        num_classes=num_classes,
        source="arXiv:1608.06993 table 1; torchvision densenet",
    )


def _dense_block(layers: list[Layer], block: int, x: Tensor, *, count: int, growth: int) -> Tensor:
    """Appends the layers of one block; returns everything they put out, in one tensor."""
    parts = [x]
    ops = ImageOps()
    for index in range(1, count + 1):
        # The first layer reads the block's input as it is.
        read = ops.concatenate(*parts) if len(parts) > 1 else x
        new = ops.norm_relu_conv(ops.norm_relu_conv(read, 4 * growth, 1), growth, 3, padding=1)
        # Gradients of what earlier layers put out are added to those of the layers after.
        ops.fork(read, 2)
        parts.append(new)
        if index == count:
            x = ops.concatenate(*parts)
        if index % _TOGETHER == 0 or index == count:
            layers.append(ops.layer(f"dense{block}_{index}", "block"))
            ops = ImageOps()
    return x


NETWORKS: Final = {"densenet": densenet}
