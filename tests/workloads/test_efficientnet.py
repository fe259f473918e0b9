"""EfficientNet, MobileNet, GPUNet and NASNet: published counts, PyTorch's own, laws, refusals."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from workloads.catalog import model, resolve_model
from workloads.efficientnet import B0_STAGES, SCALES, V2_STAGES, efficientnet, efficientnet_v2, rounded
from workloads.mobile import DISTILLED, GPUNETS, gpunet, gpunet_distilled, mobilenet, mobilenet_v2, mobilenet_v3
from workloads.mobile_blocks import MobileBlock, MobileOps, lay_out
from workloads.nasnet import nasnet
from workloads.op import WorkloadError
from workloads.prediction_ops import image_of
from workloads.workload import Workload

#: Workload, parameters, where they are published.
COUNTS: list[tuple[Workload, int, str]] = [
    (efficientnet(size="b0"), 5_288_548, "torchvision efficientnet_b0"),
    (efficientnet(size="b1"), 7_794_184, "torchvision efficientnet_b1"),
    (efficientnet(size="b2"), 9_109_994, "torchvision efficientnet_b2"),
    (efficientnet(size="b3"), 12_233_232, "torchvision efficientnet_b3"),
    (efficientnet(size="b4"), 19_341_616, "torchvision efficientnet_b4"),
    (efficientnet(size="b5"), 30_389_784, "torchvision efficientnet_b5"),
    (efficientnet(size="b6"), 43_040_704, "torchvision efficientnet_b6"),
    (efficientnet(size="b7"), 66_347_960, "torchvision efficientnet_b7"),
    (efficientnet_v2(size="s"), 21_458_488, "torchvision efficientnet_v2_s"),
    (efficientnet_v2(size="m"), 54_139_356, "torchvision efficientnet_v2_m"),
    (efficientnet_v2(size="l"), 118_515_272, "torchvision efficientnet_v2_l"),
    (mobilenet(), 4_231_976, "Keras MobileNet, trainable"),
    (mobilenet_v2(), 3_504_872, "torchvision mobilenet_v2"),
    (mobilenet_v3(size="large"), 5_483_032, "torchvision mobilenet_v3_large"),
    (mobilenet_v3(size="small"), 2_542_856, "torchvision mobilenet_v3_small"),
    (nasnet(size="mobile", auxiliary=False), 5_289_978, "Cadene pretrained-models nasnetamobile"),
    (nasnet(size="large", auxiliary=False), 88_753_150, "Cadene pretrained-models nasnetalarge"),
]
ALL = [workload for workload, _, _ in COUNTS] + [gpunet(version=v) for v in "012"]


@pytest.mark.parametrize(("workload", "parameters", "source"), COUNTS, ids=[c[0].name for c in COUNTS])
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int, source: str) -> None:
    assert workload.parameters == parameters, source


@pytest.mark.parametrize(
    ("workload", "giga_multiply_adds"),
    [
        (efficientnet(size="b0"), 0.386),  # torchvision: 0.39, 37.75, 8.37, 24.58 and 56.08 at its own sizes
        (efficientnet(size="b7"), 37.75),
        (efficientnet_v2(size="s", image_size=384), 8.37),
        (efficientnet_v2(size="m", image_size=480), 24.58),
        (efficientnet_v2(size="l", image_size=480), 56.08),
        (mobilenet(), 0.569),  # arXiv:1704.04861 table 8
        (mobilenet_v2(), 0.30),  # arXiv:1801.04381 table 4
        (mobilenet_v3(), 0.219),  # arXiv:1905.02244 table 3
        (nasnet(auxiliary=False), 0.564),  # arXiv:1707.07012 table 3
        (gpunet(version="0"), 3.25),  # arXiv:2205.00841 table 5
        (gpunet(version="1"), 3.3),
        (gpunet(version="2"), 8.37),
    ],
    ids=lambda value: value.name if isinstance(value, Workload) else "",
)
def test_work_is_the_published_work(workload: Workload, giga_multiply_adds: float) -> None:
    assert workload.forward_flop / 2e9 == pytest.approx(giga_multiply_adds, rel=0.012)


@pytest.mark.parametrize(("version", "millions"), [("0", 11.9), ("1", 12.7), ("2", 25.8)])
def test_gpunets_have_the_parameters_of_their_paper(version: str, millions: float) -> None:
    assert gpunet(version=version).parameters / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize(("size", "gigabytes", "batch"), [("mobile", 14.05, 128), ("large", 8.58, 16)])
def test_layer_outputs_are_as_large_as_pipedream_profiled_them(size: str, gigabytes: float, batch: int) -> None:
    # msr-fiddle/pipedream profiler/image_classification/profiles/*/graph.txt @7db6a1c: outputs of all layers, fp32.
    layers = nasnet(size=size).layers
    elements = sum(x.repeat * op.write_elements for x in layers for op in x.ops if op.name != "softmax loss")
    assert 4 * batch * elements / 1e9 == pytest.approx(gigabytes, rel=6e-4)


@pytest.mark.parametrize("workload", ALL, ids=[w.name for w in ALL])
def test_only_the_convolution_on_the_image_needs_no_input_gradient(workload: Workload) -> None:
    convs = [op for layer in workload.layers for op in layer.ops if op.kind == "conv"]
    assert [op for op in convs if not op.input_needs_gradient] == [convs[0]]
    assert len(workload.layers) < 20


@pytest.mark.parametrize(
    "network",
    [efficientnet, efficientnet_v2, mobilenet, mobilenet_v2, mobilenet_v3, lambda **k: efficientnet(size="b4", **k)],
)
def test_convolution_work_quadruples_with_twice_the_image(network: Callable[..., Workload]) -> None:
    def flop(side: int) -> int:
        layers = network(image_size=side).layers
        return sum(x.repeat * op.forward_flop for x in layers for op in x.ops if op.kind == "conv" and op.m > 1)

    assert flop(448) == 4 * flop(224)


def test_depth_and_width_of_a_size_are_those_of_its_factors() -> None:
    for size, (wide, deep, side) in SCALES.items():
        workload = efficientnet(size=size)
        assert workload.hyper["image_size"] == side
        assert workload.num_blocks == sum(-int(-(count * deep) // 1) for *_, count in B0_STAGES)
        stem = workload.layers[0].ops[0]
        assert stem.c_out % 8 == 0
        assert stem.c_out == pytest.approx(32 * wide, rel=0.11)
    assert [rounded(c) for c in (1, 11, 12, 35, 36, 105)] == [8, 16, 16, 32, 40, 104]


def test_repeated_blocks_are_the_blocks_written_out() -> None:
    block = MobileBlock(kernel=5, inner=96, width=16, squeezed=4, drop_path=True)
    x, layers = lay_out(image_of(16, (14, 14)), [block] * 3)
    ops = MobileOps()
    y = image_of(16, (14, 14))
    for _ in range(3):
        y = ops.block(y, block)
    assert [layer.repeat for layer in layers] == [3]
    assert (x.channels, x.hw) == (y.channels, y.hw) == (16, (14, 14))
    assert 3 * layers[0].forward_flop == sum(op.forward_flop for op in ops.ops)
    assert 3 * layers[0].parameters == sum(op.parameters for op in ops.ops)
    assert 3 * layers[0].saved_elements == sum(op.saved_elements for op in ops.ops)


def test_variants_change_what_they_say() -> None:
    plain, wide = efficientnet(size="b4"), efficientnet(size="b4", wide_squeeze=True)
    assert wide.parameters > 1.5 * plain.parameters
    assert 1.0 < wide.forward_flop / plain.forward_flop < 1.01
    grouped = efficientnet(size="b4", group_width=16, expansion=4, norm="group")
    middles = [op for x in grouped.layers for op in x.ops if op.kind == "conv" and op.kernel[0] > 1 and op.c_in > 3]
    assert {op.c_in // op.batch for op in middles} == {16, 24}  # 24 channels are too few for two groups
    quantised = efficientnet(size="b4", quantised=True)
    assert (quantised.parameters, quantised.forward_flop) == (plain.parameters, plain.forward_flop)

    def moved(workload: Workload) -> int:
        return sum(x.repeat * (op.read_elements + op.write_elements) for x in workload.layers for op in x.ops)

    assert 1.5 < moved(quantised) / moved(plain) < 3.0
    dropless = efficientnet(size="b4", drop_path=False)
    assert sum(op.name == "drop path" for x in plain.layers for op in x.ops) > 0
    assert moved(dropless) < moved(plain)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("EfficientNet-B4", "efficientnet-b4"),
        ("EfficientNet-WideSE-B0", "efficientnet-widese-b0"),
        ("EfficientNet-WideSE-B4", "efficientnet-widese-b4"),
        ("EfficientNetV2-S", "efficientnet-v2-s"),
        ("EfficientNet-B4 (G16)", "efficientnet-b4-g16"),
        ("EfficientNet-quant-B0", "efficientnet-quant-b0"),
        ("EfficientNet-quant-B4", "efficientnet-quant-b4"),
        ("GPUNet-0", "gpunet-0"),
        ("GPUNet-1", "gpunet-1"),
        ("GPUNet-2", "gpunet-2"),
        ("nasnetalarge", "nasnet-a-large"),
        ("nasnetamobile", "nasnet-a-mobile"),
        ("MobileNet v1", "mobilenet-v1"),
        ("MobileNetV2", "mobilenet-v2"),
        ("MobileNetV3-Large", "mobilenet-v3-large"),
    ],
)
def test_spellings_of_measured_runs_are_resolved(spelling: str, name: str) -> None:
    assert resolve_model(spelling) == name
    assert model(spelling).name == name


def test_a_teacher_runs_forward_only() -> None:
    alone, taught = gpunet_distilled(teacher=False), gpunet_distilled()
    teacher = efficientnet(size="b5", image_size=456)
    assert taught.parameters - alone.parameters == teacher.parameters
    assert taught.forward_flop - alone.forward_flop == teacher.forward_flop
    frozen = [op for x in taught.layers if x.name.startswith("teacher") for op in x.ops]
    assert frozen
    assert all(not op.trainable and op.saved_elements == 0.0 for op in frozen)
    assert taught.num_blocks == alone.num_blocks


def test_unknown_sizes_and_impossible_shapes_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"efficientnet: size is 'b8'. Legal: b0, b1"):
        efficientnet(size="b8")
    with pytest.raises(WorkloadError, match=r"efficientnet_v2: size is 'xl'. Legal: s, m, l"):
        efficientnet_v2(size="xl")
    with pytest.raises(WorkloadError, match=r"mobilenet_v3: size is 'tiny'. Legal: large, small"):
        mobilenet_v3(size="tiny")
    with pytest.raises(WorkloadError, match=r"gpunet: version is 'D9'. Legal: 0, 1, 2"):
        gpunet(version="D9")
    with pytest.raises(WorkloadError, match=r"gpunet_distilled: version is '0'. Legal: d1, d2"):
        gpunet_distilled(version="0")
    with pytest.raises(WorkloadError, match=r"nasnet: size is 'huge'. Legal: mobile, large"):
        nasnet(size="huge")
    with pytest.raises(WorkloadError, match="groups of 9 channels do not divide 48"):
        MobileBlock(kernel=3, inner=48, width=8, group_width=9)
    with pytest.raises(WorkloadError, match=r"norm 'weight'. Legal: batch"):
        efficientnet(norm="weight")
    with pytest.raises(WorkloadError, match="does not fit an input of"):
        nasnet(image_size=2)


torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def unit(c_in: int, c_out: int, kernel: int, stride: int = 1, act: Any = None, groups: int = 1, pad: Any = None) -> Any:
    pad = kernel // 2 if pad is None else pad
    parts = [nn.Conv2d(c_in, c_out, kernel, stride, pad, groups=groups, bias=False), nn.BatchNorm2d(c_out)]
    return nn.Sequential(*parts, *([act()] if act else []))


class Excite(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, channels: int, squeezed: int, act: Any) -> None:
        super().__init__()
        narrow, wide = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), narrow, act(), wide, nn.Sigmoid())

    def forward(self, x: Any) -> Any:
        return x * self.gate(x)


class Inverted(nn.Module):  # type: ignore[misc,name-defined]
    """An inverted residual written out anew; ``act`` and ``gate`` are module classes."""

    def __init__(
        self, c_in: int, inner: int, c_out: int, kernel: int, stride: int, *, squeezed: int = 0, act: Any = nn.SiLU,
        gate: Any = nn.SiLU, fused: bool = False, groups: int = 0, pad: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.adds = stride == 1 and c_in == c_out
        if fused and inner == c_in:
            self.body = unit(c_in, c_out, kernel, stride, act)
            return
        if fused:
            parts = [unit(c_in, inner, kernel, stride, act, pad=pad)]
        else:
            parts = [unit(c_in, inner, 1, 1, act)] if inner != c_in else []
            parts.append(unit(inner, inner, kernel, stride, act, groups or inner))
        parts += [Excite(inner, squeezed, gate)] if squeezed else []
        self.body = nn.Sequential(*parts, unit(inner, c_out, 1))

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.adds else self.body(x)


def classified(body: Sequence[Any], channels: int, features: int, act: Any = nn.SiLU) -> Any:
    head = [unit(channels, features, 1, 1, act)] if features else []
    features = features or channels
    return nn.Sequential(*body, *head, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 1000))


def torch_efficientnet(size: str, wide_squeeze: bool = False, group: int = 1, expansion: int = 6) -> Any:
    wide, deep, _ = SCALES[size]
    c = rounded(32 * wide)
    body = [unit(3, c, 3, 2, nn.SiLU)]
    for kernel, ratio, channels, stride, count in B0_STAGES:
        width = rounded(channels * wide)
        for index in range(-int(-(count * deep) // 1)):
            inner = c * (1 if ratio == 1 else expansion)
            body.append(
                Inverted(
                    c, inner, width, kernel, 1 if index else stride, groups=max(inner // group, 1),
                    squeezed=(inner if wide_squeeze else c) // 4,
                )
            )  # fmt: skip
            c = width
    return classified(body, c, rounded(1280 * wide))


def torch_v2(size: str) -> Any:
    stages = V2_STAGES[size]
    c = stages[0][2]
    body = [unit(3, c, 3, 2, nn.SiLU)]
    for fused, ratio, width, stride, count in stages:
        for index in range(count):
            step, squeezed = 1 if index else stride, 0 if fused else c // 4
            body.append(Inverted(c, c * ratio, width, 3, step, squeezed=squeezed, fused=fused))
            c = width
    return classified(body, c, 1280)


def torch_gpunet(version: int) -> Any:
    _, c, convs, stages = GPUNETS[version]
    body = [unit(3, c, 3, 2, nn.SiLU), *(unit(c, c, 3, 1, nn.ReLU) for _ in range(convs))]
    for kernel, ratio, width, stride, count, act, excites, fused in stages:
        module = nn.SiLU if act == "swish" else nn.ReLU
        for index in range(count):
            step = 1 if index else stride
            body.append(
                Inverted(
                    c, c * ratio, width, kernel, step, squeezed=round(c / 4) if excites else 0, act=module,
                    gate=module, fused=fused, pad=0 if fused and step == 2 else None,
                )
            )  # fmt: skip
            c = width
    return classified(body, c, 1280, nn.ReLU)


def torch_distilled(version: str) -> Any:
    _, c, convs, _, shapes = DISTILLED[version]
    body = [unit(3, c, 3, 2, nn.ReLU), *(unit(c, c, 3, 1, nn.ReLU) for _ in range(convs))]
    for kernel, ratio, width, stride in shapes:
        parts = (unit(c, ratio * c, 1, 1, nn.ReLU), unit(ratio * c, ratio * c, kernel, stride, nn.ReLU, ratio * c))
        body.append(Sum(nn.Sequential(*parts, unit(ratio * c, width, 1)), stride == 1 and c == width))
        c = width
    head = [unit(c, 1152, 1, 1, nn.ReLU), nn.AdaptiveAvgPool2d(1), nn.Conv2d(1152, 1984, 1, bias=False), nn.ReLU()]
    return nn.Sequential(*body, *head, nn.Flatten(), nn.Linear(1984, 1000))


class Sum(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, body: Any, adds: bool) -> None:
        super().__init__()
        self.body, self.adds = body, adds

    def forward(self, x: Any) -> Any:
        return x + self.body(x) if self.adds else self.body(x)


def torch_mobilenet() -> Any:
    body, c = [unit(3, 32, 3, 2, nn.ReLU)], 32
    for width, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)):  # noqa: E501 # fmt: skip
        body += [unit(c, c, 3, stride, nn.ReLU, c), unit(c, width, 1, 1, nn.ReLU)]
        c = width
    return classified(body, c, 0)


TWINS: list[tuple[Workload, Callable[[], Any]]] = [
    (efficientnet(size="b0"), lambda: torch_efficientnet("b0")),
    (efficientnet(size="b4", wide_squeeze=True), lambda: torch_efficientnet("b4", True)),
    (efficientnet(size="b4", group_width=16, expansion=4), lambda: torch_efficientnet("b4", group=16, expansion=4)),
    (efficientnet_v2(size="s"), lambda: torch_v2("s")),
    (efficientnet_v2(size="m"), lambda: torch_v2("m")),
    (mobilenet(), torch_mobilenet),
    *((gpunet(version=str(v)), lambda v=v: torch_gpunet(v)) for v in GPUNETS),
    *((gpunet_distilled(version=v, teacher=False), lambda v=v: torch_distilled(v)) for v in DISTILLED),
]
IDS = [f"{workload.name} {index}" for index, (workload, _) in enumerate(TWINS)]


@pytest.mark.parametrize(("workload", "build"), TWINS, ids=IDS)
def test_flops_and_parameters_are_pytorchs(workload: Workload, build: Callable[[], Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    side = workload.hyper["image_size"]
    counter = FlopCounterMode(display=False)
    with torch.device("meta"), torch.no_grad():
        network = build()
        with counter:
            network(torch.empty(2, 3, side, side))
    assert counter.get_total_flops() == 2 * workload.forward_flop
    assert sum(p.numel() for p in network.parameters()) == workload.parameters


@pytest.mark.parametrize(("workload", "build"), TWINS, ids=IDS)
def test_kept_tensors_are_those_pytorch_keeps(workload: Workload, build: Callable[[], Any]) -> None:
    side = workload.hyper["image_size"]
    with torch.device("meta"):
        network, images = build(), torch.empty(2, 3, side, side)
    own = {p.untyped_storage()._cdata for p in network.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tensor.is_floating_point() and tensor.dim() > 1:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    theirs = sum(storage.nbytes() // 4 for storage in kept.values()) // 2
    # Neither has dropout or a loss here; dropping paths keeps one number a sample.
    ours = sum(
        x.repeat * op.saved_elements
        for x in workload.layers
        for op in x.ops
        if op.name not in ("softmax loss", "dropout")
    )
    assert ours == pytest.approx(theirs, rel=2e-3)
