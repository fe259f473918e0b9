"""NASNet-A: cells of five pairs of branches each, found by search, on the outputs of the two cells before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from workloads.image_ops import Tensor, image_tensor, image_workload
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.prediction_ops import PredictionOps
from workloads.workload import Workload

#: Size -> channels of the stem, cells of a group, channels of a branch in the first group, and whether a cell that
#: halves the image leaves itself out of its successor's second input (Zoph et al. 2017, arXiv:1707.07012).
SIZES: Final[Mapping[str, tuple[int, int, int, bool]]] = {"mobile": (32, 4, 44, False), "large": (96, 6, 168, True)}
GROUPS: Final = 3


class CellOps(PredictionOps):
    """`PredictionOps` with the pieces of a cell; a ReLU stands before a convolution and is not in place."""

    def squeeze(self, x: Tensor, width: int) -> Tensor:
        """ReLU, a 1 x 1 convolution, batch-norm."""
        return self.batch_norm(self.conv(self.relu(x), width, 1))

    def branch(self, x: Tensor, width: int, kernel: int, *, stride: int = 1, stem: bool = False) -> Tensor:
        """ReLU, a depth-wise and a 1 x 1 convolution and batch-norm, twice; the first keeps its channels or not."""
        for out, step in ((width if stem else x.channels, stride), (width, 1)):
            y = self.conv(self.relu(x), x.channels, kernel, stride=step, padding=kernel // 2, groups=x.channels)
            x = self.batch_norm(self.conv(y, out, 1))
        return x

    def halve(self, x: Tensor, width: int) -> Tensor:
        """Two paths of every second pixel, one shifted by a pixel, each with a 1 x 1 convolution; joined and normed."""
        x = self.relu(x)
        pooled = self.average_pool(x, 1, stride=2)
        first = self.conv(pooled, width // 2, 1)
        shifted = Tensor(x.channels, (x.hw[0] - 1, x.hw[1] - 1))
        self.pass_over("shift", shifted, reads=shifted.elements)
        # The last window may hang over the edge, as PyTorch of then allowed: both paths have the same size.
        other = Tensor(pooled.channels, pooled.hw)
        self.pass_over("average-pool", other, reads=shifted.elements, saved=shifted.keep())
        second = self.conv(other, width // 2, 1)
        return self.batch_norm(self.concatenate(first, second))

    def smooth(self, x: Tensor, *, stride: int = 1) -> Tensor:
        """Average pooling over 3 x 3."""
        return self.average_pool(x, 3, stride=stride, padding=1)

    def normal_cell(self, left: Tensor, right: Tensor) -> Tensor:
        """Sums of branches of two inputs of the same shape, joined with the left one."""
        width = right.channels
        sums = (
            self.add(self.branch(right, width, 5), self.branch(left, width, 3)),
            self.add(self.branch(left, width, 5), self.branch(left, width, 3)),
            self.add(self.smooth(right), left),
            self.add(self.smooth(left), self.smooth(left)),
            self.add(self.branch(right, width, 3), right),
        )
        return self.concatenate(left, *sums)

    def reduction_cell(self, left: Tensor, right: Tensor, width: int, *, stem: bool = False) -> Tensor:
        """Sums of branches with stride 2; ``stem`` branches of the right input change its channels first."""
        first = self.add(self.branch(left, width, 5, stride=2), self.branch(right, width, 7, stride=2, stem=stem))
        pooled = self.max_pool(left, 3, stride=2, padding=1)
        second = self.add(pooled, self.branch(right, width, 7, stride=2, stem=stem))
        third = self.add(self.smooth(left, stride=2), self.branch(right, width, 5, stride=2, stem=stem))
        fourth = self.add(self.smooth(first), second)
        again = self.max_pool(left, 3, stride=2, padding=1)
        fifth = self.add(self.branch(first, width, 3), again)
        return self.concatenate(second, third, fourth, fifth)


def nasnet(*, size: str = "mobile", auxiliary: bool = True, image_size: int = 224, num_classes: int = 1000) -> Workload:
    """NASNet-A [1]_: 5,289,978 parameters as mobile, 88,753,150 as large; 8,585,954 and 92,239,590 with ``auxiliary``.

    Parameters
    ----------
    auxiliary
        Whether the classifier after the second group is trained along; it takes images of about 224 pixels.

    Raises
    ------
    WorkloadError
        For another size than mobile, large.

    References
    ----------
    .. [1] Zoph et al., Learning Transferable Architectures for Scalable Image Recognition, 2017, arXiv:1707.07012;
       msr-fiddle/pipedream profiler/image_classification/models/nasnet.py
    """
    if size not in SIZES:
        raise WorkloadError(f"nasnet: size is '{size}'. Legal: {', '.join(SIZES)}.")
    stem_width, cells, width, skips = SIZES[size]
    layers: list[Layer] = []
    ops = CellOps()
    first = ops.batch_norm(ops.conv(image_tensor(image_size), stem_width, 3, stride=2))
    before = ops.reduction_cell(ops.squeeze(first, width // 4), first, width // 4, stem=True)
    layers.append(ops.layer("stem", "conv"))
    ops = CellOps()
    x = ops.reduction_cell(ops.squeeze(before, width // 2), ops.halve(first, width // 2), width // 2)
    layers.append(ops.layer("stem cell", "block"))
    for group in range(GROUPS):
        name = f"group{group + 1}"
        ops = CellOps()
        before, x = x, ops.normal_cell(ops.halve(before, width), ops.squeeze(x, width))
        layers.append(ops.layer(f"{name} first", "block"))
        for cell, repeat in (("second", 1), ("rest", cells - 2)):
            ops = CellOps()
            before, x = x, ops.normal_cell(ops.squeeze(before, width), ops.squeeze(x, width))
            layers.append(ops.layer(f"{name} {cell}", "block", repeat=repeat))
        if group == 1 and auxiliary:
            layers.append(_auxiliary(x, num_classes))
        width *= 2
        if group < GROUPS - 1:
            ops = CellOps()
            right = ops.squeeze(before, width)
            reduced = ops.reduction_cell(ops.squeeze(x, width), right, width)
            layers.append(ops.layer(f"{name} reduction", "block"))
            before, x = (before if skips else x), reduced
    ops = CellOps()
    ops.softmax_loss(ops.dense(ops.pool_to(ops.relu(x), 1), num_classes))
    return image_workload(
        f"nasnet-{size}", [*layers, ops.layer("head", "head")], image_size=image_size, num_classes=num_classes,
        source="arXiv:1707.07012; msr-fiddle/pipedream profiler/image_classification/models/nasnet.py",
        auxiliary=auxiliary,
    )  # fmt: skip


def _auxiliary(x: Tensor, num_classes: int) -> Layer:
    ops = CellOps()
    y = ops.average_pool(ops.relu(x), 5, stride=3, padding=2)
    y = ops.unit(ops.unit(y, 128, 1), 768, 5, padding=0)
    ops.softmax_loss(ops.dense(y, num_classes))
    return ops.layer("auxiliary", "head")


NETWORKS: Final[Mapping[str, Callable[..., Workload]]] = {"nasnet": nasnet}
