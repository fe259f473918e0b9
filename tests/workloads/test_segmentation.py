"""Networks that label pixels against published counts and against PyTorch's own counter."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from workloads import deeplab, segmentation
from workloads.op import WorkloadError
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn
F = torch.nn.functional


def counted(network: Any, *shape: int) -> tuple[int, int]:
    """FLOPs of one image and parameters of a module on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops()), sum(p.numel() for p in network.parameters())


def convs(*channels: int, kernel: int = 3, padding: int = 1) -> Any:
    return nn.Sequential(*(nn.Conv2d(a, b, kernel, padding=padding) for a, b in pairwise(channels)))


class Medical(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        widths = (1, 64, 128, 256, 512, 1024)
        self.downs = nn.ModuleList(convs(a, b, b, padding=0) for a, b in pairwise(widths))
        pairs = ((1024, 512), (512, 256), (256, 128), (128, 64))
        self.lifts = nn.ModuleList(nn.ConvTranspose2d(a, b, 3, 2, 1, output_padding=1) for a, b in pairs)
        self.ups = nn.ModuleList(convs(a, b, b, padding=0) for a, b in pairs)
        self.out = nn.Conv2d(64, 2, 1)

    def forward(self, x: Any) -> Any:
        skips = []
        for index, down in enumerate(self.downs):
            x = down(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        for index, (lift, up) in enumerate(zip(self.lifts, self.ups, strict=True)):
            x = lift(x)
            skip = skips[3 - index]
            edge = (skip.shape[-1] - x.shape[-1]) // 2
            x = up(torch.cat([x, skip[..., edge : edge + x.shape[-1], edge : edge + x.shape[-1]]], 1))
        assert x.shape[-1] == 388
        return self.out(x)


class Industrial(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.downs = nn.ModuleList(convs(a, b, b) for a, b in ((1, 32), (32, 32), (32, 64), (64, 128), (128, 256)))
        self.lifts = nn.ModuleList(nn.Conv2d(a, b, 2) for a, b in ((256, 128), (64, 64), (32, 32), (16, 16)))
        self.ups = nn.ModuleList([convs(256, 128, 64), convs(128, 64, 32), convs(64, 32, 16), convs(48, 32, 32)])
        self.out = nn.Conv2d(32, 1, 1)

    def forward(self, x: Any) -> Any:
        skips = []
        for index, down in enumerate(self.downs):
            x = down(F.max_pool2d(x, 2) if index else x)
            skips.append(x)
        for index, (lift, up) in enumerate(zip(self.lifts, self.ups, strict=True)):
            x = lift(F.pad(F.interpolate(x, scale_factor=2), (0, 1, 0, 1)))
            x = up(torch.cat([x, skips[3 - index]], 1))
        return self.out(x)


class Simplified(nn.Module):  # type: ignore[misc,name-defined]
    """torchgpipe's U-Net with B convolutions a cell and C channels."""

    def __init__(self, convolutions: int, base: int) -> None:
        super().__init__()

        def cell(c_in: int, hidden: int, c_out: int) -> Any:
            widths = [c_in, *[hidden] * (convolutions - 1), c_out]
            return nn.Sequential(*(nn.Conv2d(a, b, 3, 1, 1, bias=False) for a, b in pairwise(widths)))

        self.downs = nn.ModuleList(cell(base * 2**i // 2 if i else 3, base * 2**i, base * 2**i) for i in range(5))
        self.middle = cell(base * 16, base * 32, base * 16)
        self.ups = nn.ModuleList(cell(base * 2**i * 2, base * 2**i // 2, base * 2**i // 2) for i in range(5))
        self.out = nn.Conv2d(base // 2, 1, 1, bias=False)

    def forward(self, x: Any) -> Any:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
            x = F.max_pool2d(x, 2)
        x = self.middle(x)
        for index in reversed(range(5)):
            x = self.ups[index](torch.cat([F.interpolate(x, scale_factor=2), skips[index]], 1))
        return self.out(x)


TWINS: list[tuple[Callable[..., Workload], dict[str, Any], Callable[[], Any], tuple[int, int]]] = [
    (segmentation.unet_medical, {}, Medical, (1, 572)),
    (segmentation.unet_industrial, {}, Industrial, (1, 512)),
    (segmentation.unet_simplified, {}, lambda: Simplified(5, 64), (3, 192)),
    (segmentation.unet_simplified, {"convolutions": 2, "base_channels": 16}, lambda: Simplified(2, 16), (3, 192)),
]


@pytest.mark.parametrize(("network", "options", "twin", "image"), TWINS)
def test_flops_and_parameters_are_pytorchs(
    network: Callable[..., Workload], options: dict[str, Any], twin: Callable[[], Any], image: tuple[int, int]
) -> None:
    with torch.device("meta"):
        flop, parameters = counted(twin(), image[0], image[1], image[1])
    workload = network(**options)
    assert (workload.forward_flop, workload.parameters) == (flop, parameters)


@pytest.mark.parametrize(
    ("convolutions", "base_channels", "billions"),
    [(6, 72, 0.3622), (11, 128, 2.21), (24, 128, 4.99), (24, 160, 7.80), (48, 160, 15.82)],
)
def test_simplified_unets_have_the_published_sizes(convolutions: int, base_channels: int, billions: float) -> None:
    # kakaobrain/torchgpipe docs/benchmarks.rst, U-Net memory.
    workload = segmentation.unet_simplified(convolutions=convolutions, base_channels=base_channels)
    assert workload.parameters / 1e9 == pytest.approx(billions, abs=0.005 if billions > 1 else 0.0001)


def test_a_repeated_middle_equals_it_written_out() -> None:
    three, four = (segmentation.unet_simplified(convolutions=count) for count in (3, 4))
    middle = [layer for layer in three.layers if layer.name.endswith("middle")]
    assert len(middle) == 11
    assert four.parameters - three.parameters == sum(layer.parameters for layer in middle)
    assert four.forward_flop - three.forward_flop == sum(layer.forward_flop for layer in middle)
    assert segmentation.unet_simplified(convolutions=2).num_blocks == 22


def test_deeplab_does_the_published_work() -> None:
    # TensorFlow's DeepLab model zoo: xception_65 on 513 pixels, 21 classes, 54.17 billion multiply-adds.
    workload = deeplab.deeplab_v3plus(num_classes=21)
    assert workload.forward_flop / 2 == pytest.approx(54.17e9, rel=0.003)
    # The paper's model files hold about 41 million parameters.
    assert workload.parameters == pytest.approx(41.05e6, rel=0.001)


def test_deepcam_equals_pytorch() -> None:
    def norm(c: int) -> Any:
        return nn.BatchNorm2d(c)

    def separable(a: int, b: int, stride: int = 1) -> Any:
        return nn.Sequential(nn.Conv2d(a, a, 3, stride, 1, groups=a, bias=False), nn.Conv2d(a, b, 1, bias=False))

    class Block(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, c_in: int, widths: tuple[int, ...], stride: int = 1, extra: bool = False) -> None:
            super().__init__()
            parts, a = [], c_in
            for b in widths:
                parts += [separable(a, b), norm(b)]
                a = b
            if extra:
                parts.append(separable(a, a, stride))
            self.body = nn.Sequential(*parts)
            self.skip = nn.Identity()
            if c_in != a or stride > 1:
                self.skip = nn.Sequential(nn.Conv2d(c_in, a, 1, stride, bias=False), norm(a))

        def forward(self, x: Any) -> Any:
            return self.body(x) + self.skip(x)

    def unit(a: int, b: int, kernel: int = 1, stride: int = 1, dilation: int = 1) -> Any:
        pad = dilation * (kernel // 2)
        return nn.Sequential(nn.Conv2d(a, b, kernel, stride, pad, dilation, bias=False), norm(b))

    def lift(b: int) -> Any:
        return nn.ConvTranspose2d(256, b, 3, 2, 1, output_padding=1, bias=False)

    class DeepCam(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(unit(16, 32, 3, 2), unit(32, 64, 3), Block(64, (128, 128), 2, True))
            self.body = nn.Sequential(
                Block(128, (256, 256), 2, True), Block(256, (728, 728), 2, True),
                *(Block(728, (728,) * 3) for _ in range(16)), Block(728, (728, 1024), 1, True),
                separable(1024, 1536), norm(1536), separable(1536, 1536), norm(1536), separable(1536, 2048), norm(2048),
            )  # fmt: skip
            self.branches = nn.ModuleList([unit(2048, 256), *(unit(2048, 256, 3, 1, rate) for rate in (6, 12, 18))])
            self.pooled = nn.Conv2d(2048, 256, 1, bias=False)
            self.scale, self.shift = nn.Parameter(torch.ones(256, 1, 1)), nn.Parameter(torch.zeros(256, 1, 1))
            self.project, self.low = unit(1280, 256), unit(128, 48)
            self.lifts = nn.Sequential(lift(256), norm(256), lift(256), norm(256))
            self.decode = nn.Sequential(unit(304, 256, 3), unit(256, 256, 3), nn.Conv2d(256, 256, 1))
            self.last = nn.Sequential(lift(256), norm(256), lift(3))

        def forward(self, x: Any) -> Any:
            low = self.first(x)
            x = self.body(low)
            pooled = self.scale * self.pooled(F.adaptive_avg_pool2d(x, 1)) + self.shift
            x = torch.cat([*(branch(x) for branch in self.branches), pooled.expand(-1, -1, *x.shape[-2:])], 1)
            x = torch.cat([self.lifts(self.project(x)), self.low(low)], 1)
            x = self.last(self.decode(x))
            assert x.shape[1:] == (3, 768, 1152)
            return x

    with torch.device("meta"):
        flop, parameters = counted(DeepCam(), 16, 768, 1152)
    workload = deeplab.deepcam()
    assert (workload.forward_flop, workload.parameters) == (flop, parameters)


def test_unpadded_convolutions_shrink_as_the_paper_draws_them() -> None:
    # Ronneberger et al. 2015, figure 1: 572 in, 388 out.
    layers = segmentation.unet_medical().layers
    convs_of = {layer.name: [op.out_hw[0] for op in layer.ops if op.kind == "conv"] for layer in layers}
    assert convs_of["down1"] == [570, 568]
    assert convs_of["bottleneck"][:2] == [30, 28]
    assert convs_of["head"] == [388]


def test_deepcam_is_scientific_and_rectangular() -> None:
    workload = deeplab.deepcam()
    assert workload.family == "scientific"
    first = next(op for op in workload.layers[0].ops if op.kind == "conv")
    assert (first.in_hw, first.c_in, first.input_needs_gradient) == ((768, 1152), 16, False)


@pytest.mark.parametrize(
    ("network", "side"),
    [(segmentation.unet_industrial, 512), (segmentation.unet_simplified, 192), (segmentation.unet_simplified, 64)],
)
def test_work_quadruples_with_twice_the_side(network: Callable[..., Workload], side: int) -> None:
    small, large = network(image_size=side), network(image_size=2 * side)
    small_flop, large_flop = small.forward_flop, large.forward_flop
    assert large_flop == 4 * small_flop
    assert large.parameters == small.parameters


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: segmentation.unet_medical(image_size=100), "does not fit an input of"),
        (lambda: segmentation.unet_industrial(image_size=500), "multiple of 16. The nearest is 496"),
        (lambda: segmentation.unet_industrial(variant="huge"), "variant is 'huge'. Legal: original, tiny"),
        (lambda: segmentation.unet_simplified(convolutions=1), "convolutions is 1; at least 2"),
        (lambda: segmentation.unet_simplified(image_size=200), "multiple of 32. The nearest is 192"),
        (lambda: deeplab.deepcam(long_side=1150), "long_side is 1150; it must be a multiple of 16"),
    ],
)
def test_impossible_questions_are_refused(call: Callable[[], Workload], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        call()
