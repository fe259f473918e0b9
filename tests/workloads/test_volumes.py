"""Networks for volumes and the supercomputer runs' networks against published counts and PyTorch's own counter."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from workloads import science_nets, volumes
from workloads.op import WorkloadError
from workloads.volume_ops import Volume, VolumeOps
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def counted(network: Any, *shape: int) -> tuple[int, int]:
    """FLOPs of one volume and parameters of a module on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops()), sum(p.numel() for p in network.parameters())


class UNet(nn.Module):  # type: ignore[misc,name-defined]
    """Six levels of two convolutions with instance norm, in two or three dimensions."""

    def __init__(self, channels: int, classes: int, output: int, dimensions: int) -> None:
        super().__init__()
        conv, up, norm = (
            (nn.Conv3d, nn.ConvTranspose3d, nn.InstanceNorm3d)
            if dimensions == 3
            else (nn.Conv2d, nn.ConvTranspose2d, nn.InstanceNorm2d)
        )

        def unit(a: int, b: int, stride: int = 1) -> Any:
            return nn.Sequential(conv(a, b, 3, stride, 1, bias=False), norm(b, affine=True), nn.LeakyReLU())

        widths = (32, 64, 128, 256, 320, 320)
        self.downs = nn.ModuleList()
        for level, width in enumerate(widths):
            self.downs.append(nn.Sequential(unit(channels, width, 2 if level else 1), unit(width, width)))
            channels = width
        self.lifts, self.ups = nn.ModuleList(), nn.ModuleList()
        for level in (4, 3, 2, 1, 0):
            self.lifts.append(up(widths[level + 1], widths[level], 2, 2))
            self.ups.append(nn.Sequential(unit(2 * widths[level], widths[level]), unit(widths[level], widths[level])))
        self.out = conv(32, classes, output, padding=output // 2)

    def forward(self, x: Any) -> Any:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        for index, (lift, up) in enumerate(zip(self.lifts, self.ups, strict=True)):
            x = up(torch.cat([lift(x), skips[4 - index]], 1))
        return self.out(x)


def cosmoflow() -> Any:
    parts: list[Any] = []
    channels = 1
    for width, window, stride, pooled in (
        (16, 3, 1, True), (32, 4, 1, True), (64, 4, 1, True), (128, 3, 2, False), (256, 3, 1, False),
        (256, 2, 1, False), (256, 2, 1, False),
    ):  # fmt: skip
        parts += [nn.Conv3d(channels, width, window, stride), nn.LeakyReLU()] + [nn.AvgPool3d(2)] * pooled
        channels = width
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(2048, 2048), nn.Linear(2048, 256), nn.Linear(256, 3))


def cosmoflow_volume(side: int) -> Any:
    parts: list[Any] = []
    channels, pools = 4, {128: 5, 256: 6, 512: 7}[side]
    for index, width in enumerate((16, 32, 64, 128, 256, 256, 256)):
        parts.append(nn.Conv3d(channels, width, 3, 2 if index == 3 else 1, 1, bias=False))
        parts += [nn.AvgPool3d(3, 2, 1)] * (index < pools)
        channels = width
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(2048, 2048), nn.Linear(2048, 256), nn.Linear(256, 4))


def cosmoflow_mlperf() -> Any:
    parts: list[Any] = []
    for index in range(5):
        parts += [nn.Conv3d(4 if index == 0 else 16 * 2**index, 32 * 2**index, 3, 1, 1), nn.MaxPool3d(2)]
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(512 * 64, 128), nn.Linear(128, 64), nn.Linear(64, 4))


def hep() -> Any:
    parts: list[Any] = []
    for index in range(5):
        parts += [nn.Conv2d(128 if index else 3, 128, 3, padding=1)] + [nn.MaxPool2d(2)] * (index < 4)
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 2))


class Climate(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        widths = (16, 128, 256, 512, 768, 1024)
        pairs = list(pairwise(widths))
        self.encoder = nn.Sequential(*(nn.Conv2d(a, b, 5, 2, 2) for a, b in pairs))
        self.storms = nn.Conv2d(1024, 1280, 3, padding=1)
        self.outputs = nn.ModuleList(nn.Conv2d(1280, out, 3, padding=1) for out in (4, 4, 2))
        self.decoder = nn.Sequential(*(nn.ConvTranspose2d(b, a, 5, 2, 2, output_padding=1) for a, b in reversed(pairs)))

    def forward(self, x: Any) -> Any:
        code = self.encoder(x)
        storms = self.storms(code)
        for output in self.outputs:
            output(storms)
        return self.decoder(code)


TWINS: list[tuple[Callable[..., Workload], dict[str, Any], Callable[[], Any], tuple[int, ...]]] = [
    (volumes.unet_3d, {}, lambda: UNet(4, 3, 3, 3), (4, 128, 128, 128)),
    (volumes.unet_3d_kits19, {}, lambda: UNet(1, 3, 1, 3), (1, 128, 128, 128)),
    (volumes.nnunet_3d, {}, lambda: UNet(4, 4, 1, 3), (4, 128, 128, 128)),
    (volumes.nnunet_2d, {}, lambda: UNet(4, 4, 1, 2), (4, 192, 160)),
    (science_nets.cosmoflow, {}, cosmoflow, (1, 128, 128, 128)),
    (science_nets.cosmoflow_volume, {}, lambda: cosmoflow_volume(512), (4, 512, 512, 512)),
    (science_nets.cosmoflow_volume, {"image_size": 256}, lambda: cosmoflow_volume(256), (4, 256, 256, 256)),
    (science_nets.cosmoflow_mlperf, {}, cosmoflow_mlperf, (4, 128, 128, 128)),
    (science_nets.hep_cnn, {}, hep, (3, 224, 224)),
    (science_nets.climate_cnn, {}, Climate, (16, 768, 768)),
]


@pytest.mark.parametrize(("network", "options", "twin", "shape"), TWINS)
def test_flops_and_parameters_are_pytorchs(
    network: Callable[..., Workload], options: dict[str, Any], twin: Callable[[], Any], shape: tuple[int, ...]
) -> None:
    with torch.device("meta"):
        flop, parameters = counted(twin(), *shape)
    workload = network(**options)
    assert (workload.forward_flop, workload.parameters) == (flop, parameters)


def test_parameters_are_the_published_ones() -> None:
    # NERSC/CosmoFlow's code prints 7,041,443; the paper on large volumes 9.44 million; the 15-petaflop paper 2.3 and
    # 302.1 MiB of fp32.
    assert science_nets.cosmoflow().parameters == 7_041_443
    assert science_nets.cosmoflow_volume().parameters == pytest.approx(9.44e6, rel=0.001)
    assert science_nets.hep_cnn().parameters == 594_178
    assert round(4 * science_nets.hep_cnn().parameters / 2**20, 1) == 2.3
    assert round(4 * science_nets.climate_cnn().parameters / 2**20, 1) == 302.1


def test_cosmoflow_takes_about_the_published_work() -> None:
    # The paper states 69.33 GFLOP a sample, forward and backward; the first layer needs no data gradient.
    convs = [op for layer in science_nets.cosmoflow().layers for op in layer.ops if op.forward_flop]
    trained = sum(op.forward_flop * (2 + op.input_needs_gradient) for op in convs)
    assert 0.88 < trained / 69.33e9 < 1.0


def test_flat_volumes_are_images() -> None:
    ops = VolumeOps(flat=True)
    x = ops.unit(Volume(4, (1, 64, 48), is_input=True), 8, stride=2)
    up = ops.up_conv(x, 4)
    assert (x.dhw, up.dhw) == ((1, 32, 24), (1, 64, 48))
    assert all(op.depth == (1, 1, 0, 1, 1) for op in ops.ops)
    assert ops.max_pool(x).dhw == (1, 16, 12)


def test_every_tensor_is_kept_once() -> None:
    # Convolution, norm, leaky ReLU: the input, the convolution's output, the ReLU's output; then a pool's output.
    ops = VolumeOps()
    x = Volume(2, (8, 8, 8))
    ops.max_pool(ops.unit(x, 4))
    assert sum(op.saved_elements for op in ops.ops) == (2 + 4 + 4) * 512 + 4 * 64
    assert x.keep() == 0


@pytest.mark.parametrize("network", [volumes.unet_3d, volumes.unet_3d_kits19, volumes.nnunet_3d])
def test_work_grows_with_the_cube_of_the_side(network: Callable[..., Workload]) -> None:
    small, large = network(image_size=64), network(image_size=128)
    assert large.forward_flop == 8 * small.forward_flop
    assert large.parameters == small.parameters
    assert sum(x.saved_elements for x in large.layers) == 8 * sum(x.saved_elements for x in small.layers)


def test_slices_grow_with_the_square_of_the_side() -> None:
    small, large = volumes.nnunet_2d(), volumes.nnunet_2d(image_size=384)
    small_flop, large_flop = small.forward_flop, large.forward_flop
    assert large_flop == 4 * small_flop


def test_what_one_sample_is() -> None:
    assert volumes.unet_3d().sample == science_nets.cosmoflow().sample == "volume"
    assert volumes.nnunet_2d().sample == science_nets.hep_cnn().sample == "image"
    assert {n().family for n in (science_nets.cosmoflow, science_nets.hep_cnn, science_nets.climate_cnn)} == {
        "scientific"
    }


@pytest.mark.parametrize("network", [*volumes.NETWORKS.values(), *science_nets.NETWORKS.values()])
def test_only_convolutions_on_the_input_need_no_input_gradient(network: Callable[..., Workload]) -> None:
    convs = [op for layer in network().layers for op in layer.ops if op.kind == "conv"]
    assert [op.input_needs_gradient for op in convs] == [False, *[True] * (len(convs) - 1)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: volumes.unet_3d(image_size=100), "side of 100 cannot be halved 5 times.* The nearest is 96"),
        (lambda: volumes.nnunet_2d(image_size=128), "side of 106 cannot be halved"),
        (lambda: science_nets.cosmoflow(image_size=32), "does not fit an input of"),
        (lambda: science_nets.cosmoflow_volume(image_size=300), "Legal: 128, 256, 512; the nearest is 256"),
        (lambda: science_nets.hep_cnn(image_size=8), "does not fit an input of"),
        (lambda: VolumeOps().norm(Volume(1, (1, 1, 1)), "layer"), "Legal: batch, instance, none"),
        (lambda: VolumeOps().concatenate(Volume(1, (1, 1, 1)), Volume(1, (2, 1, 1))), "cannot join volumes"),
    ],
)
def test_impossible_questions_are_refused(call: Callable[[], object], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        call()
