"""NASNet equals, in FLOPs, parameters and kept tensors, the same network written out in PyTorch here."""

from typing import Any

import pytest

from workloads.nasnet import SIZES, nasnet

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def squeeze(c_in: int, c_out: int) -> Any:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(c_in, c_out, 1, bias=False), nn.BatchNorm2d(c_out))


def branch(c_in: int, c_out: int, kernel: int, stride: int = 1) -> Any:
    parts: list[Any] = []
    for c, step in ((c_in, stride), (c_out, 1)):
        parts += [nn.ReLU(), nn.Conv2d(c, c, kernel, step, kernel // 2, groups=c, bias=False)]
        parts += [nn.Conv2d(c, c_out, 1, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*parts)


def average(stride: int = 1) -> Any:
    return nn.AvgPool2d(3, stride, 1, count_include_pad=False)


class Halve(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.AvgPool2d(1, 2), nn.Conv2d(c_in, c_out // 2, 1, bias=False))
        # PyTorch of 2019 let the last window hang over the edge; today one row and column of zeros does the same.
        self.second = nn.Sequential(nn.AvgPool2d(1, 2), nn.Conv2d(c_in, c_out // 2, 1, bias=False))
        self.norm = nn.BatchNorm2d(c_out)

    def forward(self, x: Any) -> Any:
        x = x.relu()
        return self.norm(torch.cat([self.first(x), self.second(nn.functional.pad(x[:, :, 1:, 1:], (0, 1, 0, 1)))], 1))


class Normal(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, left: Any, right: Any, w: int) -> None:
        super().__init__()
        self.left, self.right, self.pool = left, right, average()
        self.branches = nn.ModuleList([branch(w, w, kernel) for kernel in (5, 3, 5, 3, 3)])

    def forward(self, before: Any, x: Any) -> Any:
        left, right, b = self.left(before), self.right(x), self.branches
        sums = [b[0](right) + b[1](left), b[2](left) + b[3](left), self.pool(right) + left]
        return torch.cat([left, *sums, self.pool(left) + self.pool(left), b[4](right) + right], 1)


class Reduction(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, left: Any, right: Any, w: int, c_right: int = 0) -> None:
        super().__init__()
        self.left, self.right, c = left, right, c_right or w
        self.branches = nn.ModuleList(
            [branch(w, w, 5, 2), branch(c, w, 7, 2), branch(c, w, 7, 2), branch(c, w, 5, 2), branch(w, w, 3)]
        )
        self.halve, self.smooth, self.most = average(2), average(), nn.MaxPool2d(3, 2, 1)

    def forward(self, before: Any, x: Any) -> Any:
        left, right, b = self.left(x), self.right(before), self.branches
        first = b[0](left) + b[1](right)
        second, third = self.most(left) + b[2](right), self.halve(left) + b[3](right)
        return torch.cat([second, third, self.smooth(first) + second, b[4](first) + self.most(left)], 1)


class NasNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, size: str) -> None:
        super().__init__()
        stem, cells, w, self.skips = SIZES[size]
        self.enter = nn.Sequential(nn.Conv2d(3, stem, 3, 2, bias=False), nn.BatchNorm2d(stem))
        self.stem0 = Reduction(squeeze(stem, w // 4), nn.Identity(), w // 4, stem)
        self.stem1 = Reduction(squeeze(w, w // 2), Halve(stem, w // 2), w // 2)
        before, c = w, 2 * w
        self.groups, self.reductions = nn.ModuleList(), nn.ModuleList()
        for group in range(3):
            made = [Normal(Halve(before, w), squeeze(c, w), w)]
            before, c = c, 6 * w
            for _ in range(cells - 1):
                made.append(Normal(squeeze(before, w), squeeze(c, w), w))
                before = c
            self.groups.append(nn.ModuleList(made))
            w *= 2
            if group < 2:
                self.reductions.append(Reduction(squeeze(c, w), squeeze(c, w), w))
                c = 4 * w
        self.leave = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))

    def forward(self, x: Any) -> Any:
        first = self.enter(x)
        before = self.stem0(first, first)
        x = self.stem1(first, before)
        for index, group in enumerate(self.groups):
            for cell in group:
                before, x = x, cell(before, x)
            if index < 2:
                before, x = (before if self.skips else x), self.reductions[index](before, x)
        return self.leave(x)


@pytest.mark.parametrize("size", list(SIZES))
def test_flops_parameters_and_kept_tensors_are_pytorchs(size: str) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    workload = nasnet(size=size, auxiliary=False)
    with torch.device("meta"):
        network, images = NasNet(size), torch.empty(2, 3, 224, 224)
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network(images)
    assert counter.get_total_flops() == 2 * workload.forward_flop
    assert sum(p.numel() for p in network.parameters()) == workload.parameters
    kept: dict[int, Any] = {}
    own = {p.untyped_storage()._cdata for p in network.parameters()}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tensor.is_floating_point() and tensor.dim() > 1:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    theirs = sum(storage.nbytes() // 4 for storage in kept.values()) // 2
    ours = sum(x.repeat * op.saved_elements for x in workload.layers for op in x.ops if op.name != "softmax loss")
    # cuDNN's max-pooling keeps its output too, where PyTorch's keeps indices.
    assert ours == pytest.approx(theirs, rel=0.02)


def test_a_halved_image_needs_pixels_to_shift() -> None:
    first = next(x for x in nasnet().layers if x.name == "group1 first")
    shift = next(op for op in first.ops if op.name == "shift")
    assert shift.write_elements == 44 * 55**2  # the stem's output of 56 pixels without its first row and column
