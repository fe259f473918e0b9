"""Single-stage detectors against published counts and against PyTorch's own counter."""

from collections.abc import Callable
from typing import Any

import pytest

from workloads import detection, efficientdet, yolo
from workloads.catalog import model, resolve_model
from workloads.op import WorkloadError
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def counted(network: Any, *shape: int) -> tuple[int, int]:
    """FLOPs of one image and parameters of a module on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network.eval()(torch.empty(1, *shape, device="meta"))
    return int(counter.get_total_flops()), sum(p.numel() for p in network.parameters())


def conv_norm(c_in: int, c_out: int, kernel: int, stride: int = 1, groups: int = 1, frozen: bool = False) -> Any:
    norm: Any = nn.BatchNorm2d(c_out, affine=not frozen)
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False), norm)


class Residual(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, c_in: int, width: int, c_out: int, stride: int, groups: int, frozen: bool) -> None:
        super().__init__()
        if c_out == width:
            parts = [conv_norm(c_in, width, 3, stride), nn.ReLU(), conv_norm(width, width, 3)]
        else:
            parts = [
                conv_norm(c_in, width, 1, 1, 1, frozen), nn.ReLU(),
                conv_norm(width, width, 3, stride, groups, frozen), nn.ReLU(),
                conv_norm(width, c_out, 1, 1, 1, frozen),
            ]  # fmt: skip
        self.body = nn.Sequential(*parts)
        same = c_in == c_out and stride == 1
        self.shortcut = nn.Identity() if same else conv_norm(c_in, c_out, 1, stride, 1, frozen)

    def forward(self, x: Any) -> Any:
        return torch.relu(self.body(x) + self.shortcut(x))


class Body(nn.Module):  # type: ignore[misc,name-defined]
    """ResNet stages; returns every stage's output."""

    def __init__(
        self, blocks: tuple[int, ...], strides: tuple[int, ...], *, basic: bool = False, groups: int = 1,
        base: int = 64, frozen: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 64, 7, 2, 1, frozen), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList()
        c_in = 64
        for stage, (count, stride) in enumerate(zip(blocks, strides, strict=True)):
            width = (64 if basic else base * groups) * 2**stage
            c_out = width if basic else 256 * 2**stage
            layers = []
            for index in range(count):
                layers.append(Residual(c_in, width, c_out, stride if index == 0 else 1, groups, frozen))
                c_in = c_out
            self.stages.append(nn.Sequential(*layers))

    def forward(self, x: Any) -> list[Any]:
        x = self.stem(x)
        outputs = []
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs


class Ssd300(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, *, basic: bool, classes: int = 81) -> None:
        super().__init__()
        self.body = Body((3, 4, 6), (1, 2, 1), basic=basic)
        widths = (256 if basic else 1024, 512, 512, 256, 256, 256)
        self.extras = nn.ModuleList()
        for index, hidden in enumerate((256, 256, 128, 128, 128)):
            stride, padding = (2, 1) if index < 3 else (1, 0)
            first = nn.Conv2d(widths[index], hidden, 1, bias=basic)
            second = nn.Conv2d(hidden, widths[index + 1], 3, stride, padding, bias=basic)
            norms = [nn.Identity(), nn.Identity()]
            if not basic:
                norms = [nn.BatchNorm2d(hidden), nn.BatchNorm2d(widths[index + 1])]
            self.extras.append(nn.Sequential(first, norms[0], nn.ReLU(), second, norms[1], nn.ReLU()))
        boxes = (4, 6, 6, 6, 4, 4)
        self.heads = nn.ModuleList(
            nn.Conv2d(width, count * out, 3, padding=1)
            for width, count in zip(widths, boxes, strict=True)
            for out in (4, classes)
        )

    def forward(self, x: Any) -> None:
        maps = [self.body(x)[-1]]
        for extra in self.extras:
            maps.append(extra(maps[-1]))
        assert [m.shape[-1] for m in maps] == [38, 19, 10, 5, 3, 1]
        for index, head in enumerate(self.heads):
            head(maps[index // 2])


class RetinaNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, *, groups: int, base: int, classes: int) -> None:
        super().__init__()
        self.body = Body((3, 4, 6, 3), (1, 2, 2, 2), groups=groups, base=base, frozen=True)
        self.laterals = nn.ModuleList(nn.Conv2d(width, 256, 1) for width in (512, 1024, 2048))
        self.smooths = nn.ModuleList(nn.Conv2d(256, 256, 3, padding=1) for _ in range(3))
        self.coarse = nn.ModuleList(nn.Conv2d(256, 256, 3, 2, 1) for _ in range(2))
        self.heads = nn.ModuleList()
        for out in (9 * classes, 36):
            tower: list[Any] = []
            for _ in range(4):
                tower += [nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()]
            self.heads.append(nn.Sequential(*tower, nn.Conv2d(256, out, 3, padding=1)))

    def forward(self, x: Any) -> None:
        sums = [lateral(y) for lateral, y in zip(self.laterals, self.body(x)[1:], strict=True)]
        for index in (1, 0):
            sums[index] = sums[index] + nn.functional.interpolate(sums[index + 1], size=sums[index].shape[-2:])
        levels = [smooth(y) for smooth, y in zip(self.smooths, sums, strict=True)]
        for conv in self.coarse:
            levels.append(conv(torch.relu(levels[-1])))
        for level in levels:
            for head in self.heads:
                head(level)


TWINS: list[tuple[Callable[..., Workload], dict[str, Any], Callable[[], Any], int]] = [
    (detection.ssd300_resnet50, {}, lambda: Ssd300(basic=False), 300),
    (detection.ssd300_resnet34, {}, lambda: Ssd300(basic=True), 300),
    (detection.retinanet, {}, lambda: RetinaNet(groups=32, base=4, classes=264), 800),
    (
        detection.retinanet,
        {"body": "resnet50", "num_classes": 91},
        lambda: RetinaNet(groups=1, base=64, classes=91),
        800,
    ),
]


@pytest.mark.parametrize(("network", "options", "twin", "side"), TWINS)
def test_flops_and_parameters_are_pytorchs(
    network: Callable[..., Workload], options: dict[str, Any], twin: Callable[[], Any], side: int
) -> None:
    with torch.device("meta"):
        flop, parameters = counted(twin(), 3, side, side)
    workload = network(**options)
    assert (workload.forward_flop, workload.parameters) == (flop, parameters)


def test_parameters_are_the_published_ones() -> None:
    # torchvision's weights list for RetinaNet; training logs for YOLOv3; YOLOX prints 8.97 M and 26.8 GFLOP.
    assert detection.retinanet(body="resnet50", num_classes=91).parameters == 34_014_999
    third = yolo.yolov3()
    assert third.parameters == 61_949_149
    # Redmon's page prints 65.86 billion operations for 416 pixels.
    assert third.forward_flop == pytest.approx(65.86e9, rel=0.0002)
    yolox = yolo.yolox()
    assert yolox.parameters == 8_968_255
    assert yolox.forward_flop == pytest.approx(26.8e9, rel=0.01)


@pytest.mark.parametrize(
    ("size", "parameters", "flop"), [("m", 25.3e6, 73.8e9), ("l", 54.2e6, 155.6e9), ("x", 99.1e6, 281.9e9)]
)
def test_larger_yolox_have_the_published_sizes(size: str, parameters: float, flop: float) -> None:
    # YOLOX model zoo, standard models at 640 pixels.
    workload = yolo.yolox(size=size)
    assert workload.parameters == pytest.approx(parameters, rel=0.002)
    assert workload.forward_flop == pytest.approx(flop, rel=0.01)


def test_efficientdet_has_published_parameters() -> None:
    # Recalled: 3,880,067 for the TensorFlow port, which has a bias of 64 in 36 convolutions before norms.
    workload = efficientdet.efficientdet_d0()
    assert workload.parameters + 36 * 64 == 3_880_067
    # The paper prints 2.5 billion multiply-adds.
    assert workload.forward_flop / 2 == pytest.approx(2.5e9, rel=0.02)


def test_ssd300_has_8732_boxes_and_retinanet_120087_anchors() -> None:
    assert detection.ssd300_resnet50().hyper["default_boxes"] == 8732
    assert detection.ssd300_resnet34().hyper["default_boxes"] == 8732
    assert detection.retinanet().hyper["anchors"] == 120_087
    # 40, 20, 10, 5, 3 squared, six each.
    assert detection.ssd320_resnet50_fpn().hyper["anchors"] == 6 * (1600 + 400 + 100 + 25 + 9)


def test_frozen_stages_have_no_gradient_and_keep_nothing() -> None:
    layers = detection.retinanet().layers
    still = [layer for layer in layers if layer.name.startswith(("stem", "stage1"))]
    assert [layer.name for layer in still] == ["stem", "stage1 first", "stage1 rest"]
    assert all(not op.trainable and not op.input_needs_gradient for layer in still for op in layer.ops)
    assert sum(layer.saved_elements for layer in still) == 0
    # The first trained block keeps its input, but nothing needs that input's gradient.
    convs = [op for op in layers[3].ops if op.kind == "conv"]
    assert [op.input_needs_gradient for op in convs] == [False, True, True, False]
    assert convs[0].saved_elements == 256 * 200 * 200
    assert all(op.trainable for op in convs)


def test_all_stages_train_when_none_is_frozen() -> None:
    half, full = detection.retinanet(), detection.retinanet(frozen_stages=0)
    assert (half.parameters, half.forward_flop) == (full.parameters, full.forward_flop)
    assert sum(layer.saved_elements for layer in full.layers) > sum(layer.saved_elements for layer in half.layers)
    images = [op for layer in full.layers for op in layer.ops if op.kind == "conv" and not op.input_needs_gradient]
    assert [op.c_in for op in images] == [3]


@pytest.mark.parametrize("network", [detection.retinanet, detection.ssd320_resnet50_fpn, efficientdet.efficientdet_d0])
def test_a_shared_head_has_its_products_parameters_once(network: Callable[..., Workload]) -> None:
    heads = [layer for layer in network().layers if layer.name.startswith("heads level")]
    assert len(heads) == 5
    products = [sum(op.parameters for op in layer.ops if op.kind == "conv") for layer in heads]
    assert products[0] > 0
    assert products[1:] == [0, 0, 0, 0]
    # Every level does the same products on fewer positions.
    flops = [layer.forward_flop for layer in heads]
    assert flops == sorted(flops, reverse=True)


@pytest.mark.parametrize("network", [yolo.yolov3, yolo.yolox, efficientdet.efficientdet_d0])
def test_work_quadruples_with_twice_the_side(network: Callable[..., Workload]) -> None:
    def windows(side: int) -> int:
        layers = network(image_size=side).layers
        return sum(layer.repeat * sum(op.forward_flop for op in layer.ops if op.in_hw != (1, 1)) for layer in layers)

    assert windows(1024) == 4 * windows(512)


def test_a_repeated_block_equals_it_written_out() -> None:
    # YOLOv3's stages 3 and 4 have eight blocks each: the repeated layer's work times eight, stage 4's half a side.
    layers = {layer.name: layer for layer in yolo.yolov3().layers}
    third, fourth = layers["stage3 blocks"], layers["stage4 blocks"]
    assert third.repeat == fourth.repeat == 8
    assert third.forward_flop == fourth.forward_flop
    assert fourth.parameters == 512 * 256 + 256 * 512 * 9 + 2 * (256 + 512)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: detection.ssd300_resnet50(image_size=100), "does not fit an input of"),
        (lambda: yolo.yolov3(image_size=410), "multiple of 32. The nearest is 416"),
        (lambda: yolo.yolox(size="q"), "size is 'q'. Legal: s, m, l, x"),
        (lambda: detection.retinanet(body="vgg"), "body is 'vgg'. Legal: resnet50, resnext50"),
        (lambda: detection.ssd320_resnet50_fpn(image_size=0), "at least 1 of each"),
    ],
)
def test_impossible_detectors_are_refused(call: Callable[[], Workload], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        call()


SPELLINGS = {
    "SSD300 ResNet-50": "ssd300-resnet50",
    "SSD300 ResNet-34": "ssd300-resnet34",
    "SSD ResNet-34": "ssd300-resnet34",
    "SSD320 ResNet-50-FPN": "ssd320-resnet50-fpn",
    "RetinaNet ResNeXt-50 (MLPerf v2.0 ssd)": "retinanet-resnext50",
    "Mask R-CNN R50-FPN": "mask-rcnn-r50-fpn",
    "EfficientDet-D0": "efficientdet-d0",
    "YOLOv3": "yolov3",
    "YOLOX": "yolox-s",
    "U-Net Medical (2D)": "unet-medical",
    "U-Net Industrial": "unet-industrial",
    "U-Net(5,64)": "unet (5,64)",
    "U-Net (11,128)": "unet (11,128)",
    "U-Net (24,128)": "unet (24,128)",
    "U-Net (24,160)": "unet (24,160)",
    "U-Net (48,160)": "unet (48,160)",
    "DeepLab V3+": "deeplab-v3plus",
    "3D U-Net": "3d-unet",
    "nnU-Net 2D": "nnunet-2d",
    "nnU-Net 3D": "nnunet-3d",
    "U-Net 2D": "nnunet-2d",
    "U-Net 3D": "nnunet-3d",
    "CosmoFlow 3D CNN (128^3)": "cosmoflow",
    "CosmoFlow 3D CNN (large volume)": "cosmoflow-volume",
    "HEP CNN": "hep-cnn",
    "HEP / climate CNN": "hep-cnn",
    "climate semi-supervised CNN": "climate-cnn",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_published_tables_resolve(spelling: str) -> None:
    assert resolve_model(spelling) == SPELLINGS[spelling]
    workload = model(spelling)
    assert workload.parameters > 0
    assert len(workload.layers) < 60
