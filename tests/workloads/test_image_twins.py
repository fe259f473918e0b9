"""Image networks equal, in FLOPs, parameters and kept tensors, the same networks written out in PyTorch here."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from workloads.classic_convnets import network_in_network, overfeat_accurate, overfeat_fast, squeezenet1_0, vgg_cifar
from workloads.densenet import DENSENETS, densenet
from workloads.faces import arcface_mobilefacenet, arcface_resnet
from workloads.googlenet import googlenet, inception_bn, inception_bn_small, inception_v4
from workloads.residual import resnet18, resnet34, resnet_preactivation, resnext
from workloads.residual_cifar import baidunet9p, basenet, kakao_resnet9, resnet9, resnet_cifar, resnet_wide, wide_resnet
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def conv(c_in: int, c_out: int, kernel: Any, stride: int = 1, padding: Any = 0, **options: Any) -> Any:
    return nn.Conv2d(c_in, c_out, kernel, stride, padding, **{"bias": False, **options})


def unit(c_in: int, c_out: int, kernel: Any, stride: int = 1, padding: Any = 0, **options: Any) -> Any:
    return nn.Sequential(conv(c_in, c_out, kernel, stride, padding, **options), nn.BatchNorm2d(c_out), nn.ReLU(True))


def plain(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> Any:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, stride, padding), nn.ReLU(True))


def ready(channels: int) -> Any:
    return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(True))


class Sum(nn.Module):  # type: ignore[misc,name-defined]
    """body(x) + shortcut(x), both after ``first`` when given, the shortcut before it when it is bare; then ``last``."""

    def __init__(self, body: Any, shortcut: Any = None, first: Any = None, last: Any = None) -> None:
        super().__init__()
        self.body, self.shortcut, self.first, self.last = body, shortcut, first, last

    def forward(self, x: Any) -> Any:
        y = self.first(x) if self.first else x
        out = self.body(y) + (self.shortcut(y) if self.shortcut else x)
        return self.last(out) if self.last else out


class Gate(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, squeezed), nn.ReLU(True),
            nn.Linear(squeezed, channels), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        return x * self.gate(x)[:, :, None, None]


class Cat(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, *branches: Any) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.branches], 1)


def projected(c_in: int, c_out: int, stride: int) -> Any:
    return None if c_in == c_out and stride == 1 else nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


def basic(c: int, w: int, s: int) -> tuple[Any, int]:
    body = nn.Sequential(unit(c, w, 3, s, 1), conv(w, w, 3, 1, 1), nn.BatchNorm2d(w))
    return Sum(body, projected(c, w, s), last=nn.ReLU(True)), w


def grouped(groups: int, width: int, squeeze: int) -> Callable[[int, int, int], tuple[Any, int]]:
    def block(c: int, w: int, s: int) -> tuple[Any, int]:
        inner = groups * width * w // 64
        body = [unit(c, inner, 1), unit(inner, inner, 3, s, 1, groups=groups), conv(inner, 4 * w, 1)]
        body += [nn.BatchNorm2d(4 * w), *([Gate(4 * w, 4 * w // squeeze)] if squeeze else [])]
        return Sum(nn.Sequential(*body), projected(c, 4 * w, s), last=nn.ReLU(True)), 4 * w

    return block


def pre_basic(c: int, w: int, s: int) -> tuple[Any, int]:
    shortcut = None if c == w and s == 1 else conv(c, w, 1, s)
    return Sum(nn.Sequential(conv(c, w, 3, s, 1), ready(w), conv(w, w, 3, 1, 1)), shortcut, first=ready(c)), w


def pre_bottleneck(c: int, w: int, s: int, stem: bool = False) -> tuple[Any, int]:
    shortcut = None if c == 4 * w and s == 1 else conv(c, 4 * w, 1, s)
    body = nn.Sequential(conv(c, w, 1), ready(w), conv(w, w, 3, s, 1), ready(w), conv(w, 4 * w, 1))
    return Sum(body, shortcut, first=None if stem else ready(c)), 4 * w


def face_unit(c: int, w: int, s: int) -> tuple[Any, int]:
    body = [nn.BatchNorm2d(c), conv(c, w, 3, 1, 1), nn.BatchNorm2d(w), nn.PReLU(w), conv(w, w, 3, s, 1)]
    return Sum(nn.Sequential(*body, nn.BatchNorm2d(w)), projected(c, w, s)), w


def staged(
    block: Callable[..., tuple[Any, int]], c: int, counts: Iterable[int], widths: Iterable[int], first: int = 1
) -> tuple[list[Any], int]:
    layers = []
    for stage, (count, width) in enumerate(zip(counts, widths, strict=True)):
        for index in range(count):
            layer, c = block(c, width, 1 if index else first if stage == 0 else 2)
            layers.append(layer)
    return layers, c


def imagenet(block: Callable[..., tuple[Any, int]], counts: tuple[int, ...], preactivated: bool = False) -> Any:
    layers, c = staged(block, 64, counts, (64, 128, 256, 512))
    if preactivated:
        layers[0] = pre_bottleneck(64, 64, 1, stem=True)[0]
        layers.append(ready(c))
    stem = [unit(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    return nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))


def small(block: Callable[..., tuple[Any, int]], stem: int, counts: Any, widths: Any, preactivated: bool) -> Any:
    layers, c = staged(block, stem, counts, widths)
    first = conv(3, stem, 3, 1, 1) if preactivated else unit(3, stem, 3, 1, 1)
    last = [ready(c)] if preactivated else []
    return nn.Sequential(first, *layers, *last, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))


def torch_wide() -> Any:
    layers, c = staged(pre_basic, 16, (3, 3, 3), (96, 192, 384))
    return nn.Sequential(conv(3, 16, 3, 1, 1), *layers, nn.AdaptiveAvgPool2d(1), ready(c), conv(c, 10, 1))


def torch_basenet() -> Any:
    layers, c = staged(pre_basic, 64, (2, 2, 2, 2), (64, 128, 256, 256))
    pools = Cat(nn.AdaptiveAvgPool2d(1), nn.MaxPool2d(4))
    return nn.Sequential(unit(3, 64, 3, 1, 1), *layers, pools, nn.Flatten(), nn.Linear(2 * c, 10))


def pair(w: int) -> Any:
    return Sum(nn.Sequential(unit(w, w, 3, 1, 1), unit(w, w, 3, 1, 1)))


def pooled(c: int, w: int) -> list[Any]:
    return [unit(c, w, 3, 1, 1), nn.MaxPool2d(2)]


def torch_resnet9() -> Any:
    body = [*pooled(64, 128), pair(128), *pooled(128, 256), *pooled(256, 512), pair(512), nn.MaxPool2d(4)]
    return nn.Sequential(unit(3, 64, 3, 1, 1), *body, nn.Flatten(), nn.Linear(512, 10, bias=False))


def torch_kakao() -> Any:
    body = [unit(64, 128, 5, 2, 2), pair(128), *pooled(128, 256), pair(256), unit(256, 128, 3), nn.MaxPool2d(6)]
    return nn.Sequential(unit(3, 64, 3, 1, 1), *body, nn.Flatten(), nn.Linear(128, 10, bias=False))


def torch_baidu() -> Any:
    body = [*pooled(64, 128), pair(128), unit(128, 256, 3, 1, 1), *pooled(256, 384), pair(384), nn.MaxPool2d(8)]
    return nn.Sequential(unit(3, 64, 3, 1, 1), *body, nn.Flatten(), nn.Linear(384, 10))


def torch_arcface() -> Any:
    layers, _ = staged(face_unit, 64, (3, 13, 30, 3), (64, 128, 256, 512), first=2)
    return nn.Sequential(
        conv(3, 64, 3, 1, 1), nn.BatchNorm2d(64), nn.PReLU(64), *layers, nn.BatchNorm2d(512), nn.Dropout(0.4),
        nn.Flatten(), nn.Linear(512 * 49, 512), nn.BatchNorm1d(512), nn.Linear(512, 85742, bias=False),
    )  # fmt: skip


def torch_mobilefacenet() -> Any:
    def act(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> Any:
        parts = (conv(c_in, c_out, kernel, stride, padding, groups=groups), nn.BatchNorm2d(c_out), nn.PReLU(c_out))
        return nn.Sequential(*parts)

    def inverted(c_in: int, c_out: int, inner: int, stride: int) -> Any:
        return nn.Sequential(
            act(c_in, inner, 1), act(inner, inner, 3, stride, 1, inner), conv(inner, c_out, 1), nn.BatchNorm2d(c_out)
        )

    body = [act(3, 64, 3, 2, 1), act(64, 64, 3, 1, 1, 64)]
    c = 64
    for c_out, first, inner, count in ((64, 128, 128, 4), (128, 256, 256, 6), (128, 512, 256, 2)):
        body += [inverted(c, c_out, first, 2), *(Sum(inverted(c_out, c_out, inner, 1)) for _ in range(count))]
        c = c_out
    return nn.Sequential(
        *body, act(128, 512, 1), conv(512, 512, 7, groups=512), nn.BatchNorm2d(512), nn.Flatten(),
        nn.Linear(512, 128), nn.BatchNorm1d(128), nn.Linear(128, 85742, bias=False),
    )  # fmt: skip


def torch_overfeat(fast: bool) -> Any:
    if fast:
        convs = [plain(3, 96, 11, 4), nn.MaxPool2d(2), plain(96, 256, 5), nn.MaxPool2d(2), plain(256, 512, 3, 1, 1)]
        convs += [plain(512, 1024, 3, 1, 1), plain(1024, 1024, 3, 1, 1), nn.MaxPool2d(2)]
        features, hidden = 1024 * 36, 3072
    else:
        convs = [plain(3, 96, 7, 2), nn.MaxPool2d(3), plain(96, 256, 7), nn.MaxPool2d(2), plain(256, 512, 3, 1, 1)]
        convs += [plain(512, 512, 3, 1, 1), plain(512, 1024, 3, 1, 1), plain(1024, 1024, 3, 1, 1), nn.MaxPool2d(3)]
        features, hidden = 1024 * 25, 4096
    dense = [nn.Linear(features, hidden), nn.ReLU(True), nn.Linear(hidden, 4096), nn.ReLU(True), nn.Linear(4096, 1000)]
    return nn.Sequential(*convs, nn.Flatten(), *dense)


def torch_nin() -> Any:
    layers: list[Any] = []
    for c, w, kernel, stride, padding in ((3, 96, 11, 4, 0), (96, 256, 5, 1, 2), (256, 384, 3, 1, 1)):
        layers += [
            plain(c, w, kernel, stride, padding),
            plain(w, w, 1),
            plain(w, w, 1),
            nn.MaxPool2d(3, 2, 0, ceil_mode=True),
        ]
    head = [plain(384, 1024, 3, 1, 1), plain(1024, 1024, 1), plain(1024, 1000, 1)]
    return nn.Sequential(*layers, nn.Dropout(), *head, nn.AdaptiveAvgPool2d(1))


def torch_squeezenet() -> Any:
    def fire(c: int, s: int, e: int) -> Any:
        return nn.Sequential(plain(c, s, 1), Cat(plain(s, e, 1), plain(s, e, 3, 1, 1)))

    def pool() -> Any:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        plain(3, 96, 7, 2), pool(), fire(96, 16, 64), fire(128, 16, 64), fire(128, 32, 128), pool(),
        fire(256, 32, 128), fire(256, 48, 192), fire(384, 48, 192), fire(384, 64, 256), pool(), fire(512, 64, 256),
        nn.Dropout(), plain(512, 1000, 1), nn.AdaptiveAvgPool2d(1),
    )  # fmt: skip


def torch_vgg_cifar() -> Any:
    layers: list[Any] = []
    for c, w in ((3, 50), (50, 100)):
        layers += [plain(c, w, 3, 1, 1), nn.Conv2d(w, w, 3, 1, 1), nn.MaxPool2d(2), nn.ReLU(True), nn.Dropout(0.25)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(6400, 512), nn.ReLU(True), nn.Dropout(), nn.Linear(512, 10))


def torch_googlenet() -> Any:
    def module(c: int, a: int, b3: int, b: int, d5: int, d: int, p: int) -> Any:
        return Cat(
            plain(c, a, 1), nn.Sequential(plain(c, b3, 1), plain(b3, b, 3, 1, 1)),
            nn.Sequential(plain(c, d5, 1), plain(d5, d, 5, 1, 2)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), plain(c, p, 1)),
        )  # fmt: skip

    def pool() -> Any:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    return nn.Sequential(
        plain(3, 64, 7, 2, 3), pool(), plain(64, 64, 1), plain(64, 192, 3, 1, 1), pool(),
        module(192, 64, 96, 128, 16, 32, 32), module(256, 128, 128, 192, 32, 96, 64), pool(),
        module(480, 192, 96, 208, 16, 48, 64), module(512, 160, 112, 224, 24, 64, 64),
        module(512, 128, 128, 256, 24, 64, 64), module(512, 112, 144, 288, 32, 64, 64),
        module(528, 256, 160, 320, 32, 128, 128), pool(),
        module(832, 256, 160, 320, 32, 128, 128), module(832, 384, 192, 384, 48, 128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Dropout(0.4), nn.Flatten(), nn.Linear(1024, 1000),
    )  # fmt: skip


def biased(c_in: int, c_out: int, kernel: int, stride: int = 1, padding: int = 0) -> Any:
    return unit(c_in, c_out, kernel, stride, padding, bias=True)


def torch_inception_bn() -> Any:
    def pool() -> Any:
        return nn.MaxPool2d(3, 2, ceil_mode=True)

    def module(c: int, a: int, b3: int, b: int, d3: int, d: int, p: int, pooling: Any) -> Any:
        double = nn.Sequential(biased(c, d3, 1), biased(d3, d, 3, 1, 1), biased(d, d, 3, 1, 1))
        return Cat(
            biased(c, a, 1), nn.Sequential(biased(c, b3, 1), biased(b3, b, 3, 1, 1)), double,
            nn.Sequential(pooling(3, 1, 1), biased(c, p, 1)),
        )  # fmt: skip

    def halving(c: int, b3: int, b: int, d3: int, d: int) -> Any:
        double = nn.Sequential(biased(c, d3, 1), biased(d3, d, 3, 1, 1), biased(d, d, 3, 2, 1))
        return Cat(nn.Sequential(biased(c, b3, 1), biased(b3, b, 3, 2, 1)), double, pool())

    mean, most = nn.AvgPool2d, nn.MaxPool2d
    return nn.Sequential(
        biased(3, 64, 7, 2, 3), pool(), biased(64, 64, 1), biased(64, 192, 3, 1, 1), pool(),
        module(192, 64, 64, 64, 64, 96, 32, mean), module(256, 64, 64, 96, 64, 96, 64, mean),
        halving(320, 128, 160, 64, 96),
        module(576, 224, 64, 96, 96, 128, 128, mean), module(576, 192, 96, 128, 96, 128, 128, mean),
        module(576, 160, 128, 160, 128, 160, 128, mean), module(608, 96, 128, 192, 160, 192, 128, mean),
        halving(608, 128, 192, 192, 256), module(1056, 352, 192, 320, 160, 224, 128, mean),
        module(1024, 352, 192, 320, 192, 224, 128, most), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 1000),
    )  # fmt: skip


def torch_inception_bn_small() -> Any:
    layers: list[Any] = [biased(3, 96, 3, 1, 1)]
    c = 96
    shapes = ((32, 32), (32, 48), 80, (112, 48), (96, 64), (80, 80), (48, 96), 96, (176, 160), (176, 160))
    for shape in shapes:
        if isinstance(shape, int):
            layers.append(Cat(biased(c, shape, 3, 2, 1), nn.MaxPool2d(3, 2, ceil_mode=True)))
            c += shape
        else:
            layers.append(Cat(biased(c, shape[0], 1), biased(c, shape[1], 3, 1, 1)))
            c = sum(shape)
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 10))


def torch_inception_v4() -> Any:
    def row(c: int, w: int, k: int = 7) -> Any:
        return unit(c, w, (1, k), 1, (0, k // 2))

    def column(c: int, w: int, k: int = 7) -> Any:
        return unit(c, w, (k, 1), 1, (k // 2, 0))

    def chain(*parts: Any) -> Any:
        return nn.Sequential(*parts)

    def a() -> Any:
        return Cat(
            unit(384, 96, 1), chain(unit(384, 64, 1), unit(64, 96, 3, 1, 1)),
            chain(unit(384, 64, 1), unit(64, 96, 3, 1, 1), unit(96, 96, 3, 1, 1)),
            chain(nn.AvgPool2d(3, 1, 1), unit(384, 96, 1)),
        )  # fmt: skip

    def b() -> Any:
        return Cat(
            unit(1024, 384, 1), chain(unit(1024, 192, 1), row(192, 224), column(224, 256)),
            chain(unit(1024, 192, 1), column(192, 192), row(192, 224), column(224, 224), row(224, 256)),
            chain(nn.AvgPool2d(3, 1, 1), unit(1024, 128, 1)),
        )  # fmt: skip

    def c() -> Any:
        def split(w: int) -> Any:
            return Cat(row(w, 256, 3), column(w, 256, 3))

        return Cat(
            unit(1536, 256, 1), chain(unit(1536, 384, 1), split(384)),
            chain(unit(1536, 384, 1), column(384, 448, 3), row(448, 512, 3), split(512)),
            chain(nn.AvgPool2d(3, 1, 1), unit(1536, 256, 1)),
        )  # fmt: skip

    return nn.Sequential(
        unit(3, 32, 3, 2), unit(32, 32, 3), unit(32, 64, 3, 1, 1), Cat(nn.MaxPool2d(3, 2), unit(64, 96, 3, 2)),
        Cat(
            chain(unit(160, 64, 1), unit(64, 96, 3)),
            chain(unit(160, 64, 1), row(64, 64), column(64, 64), unit(64, 96, 3)),
        ),
        Cat(unit(192, 192, 3, 2), nn.MaxPool2d(3, 2)), a(), a(), a(), a(),
        Cat(
            unit(384, 384, 3, 2), chain(unit(384, 192, 1), unit(192, 224, 3, 1, 1), unit(224, 256, 3, 2)),
            nn.MaxPool2d(3, 2),
        ),
        *(b() for _ in range(7)),
        Cat(
            chain(unit(1024, 192, 1), unit(192, 192, 3, 2)),
            chain(unit(1024, 256, 1), row(256, 256), column(256, 320), unit(320, 320, 3, 2)), nn.MaxPool2d(3, 2),
        ),
        c(), c(), c(), nn.AdaptiveAvgPool2d(1), nn.Dropout(0.2), nn.Flatten(), nn.Linear(1536, 1000),
    )  # fmt: skip


class DenseBlock(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, c: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                ready(c + i * growth), conv(c + i * growth, 4 * growth, 1), ready(4 * growth),
                conv(4 * growth, growth, 3, 1, 1),
            )
            for i in range(count)
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        parts = [x]
        for layer in self.layers:
            parts.append(layer(torch.cat(parts, 1) if len(parts) > 1 else x))
        return torch.cat(parts, 1)


def torch_densenet(depth: int) -> Any:
    counts, growth, c = DENSENETS[depth]
    layers: list[Any] = [unit(3, c, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    for index, count in enumerate(counts):
        layers.append(DenseBlock(c, growth, count))
        c += count * growth
        if index < 3:
            layers += [ready(c), conv(c, c // 2, 1), nn.AvgPool2d(2)]
            c //= 2
    return nn.Sequential(*layers, ready(c), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, 1000))


TWINS: list[tuple[Workload, Callable[[], Any]]] = [
    (resnet18(), lambda: imagenet(basic, (2, 2, 2, 2))),
    (resnet34(image_size=160), lambda: imagenet(basic, (3, 4, 6, 3))),
    (resnet_preactivation(depth=200), lambda: imagenet(pre_bottleneck, (3, 24, 36, 3), preactivated=True)),
    (resnext(depth=50), lambda: imagenet(grouped(32, 4, 0), (3, 4, 6, 3))),
    (resnext(depth=101, group_width=8), lambda: imagenet(grouped(32, 8, 0), (3, 4, 23, 3))),
    (resnext(depth=101, squeeze=16), lambda: imagenet(grouped(32, 4, 16), (3, 4, 23, 3))),
    (resnet_cifar(depth=56), lambda: small(basic, 16, (9, 9, 9), (16, 32, 64), False)),
    (resnet_cifar(depth=164, preactivation=True), lambda: small(pre_basic, 16, (27,) * 3, (16, 32, 64), True)),
    (
        resnet_cifar(depth=164, preactivation=True, bottleneck=True),
        lambda: small(pre_bottleneck, 16, (18,) * 3, (16, 32, 64), True),
    ),
    (resnet_wide(depth=34), lambda: small(basic, 64, (3, 4, 6, 3), (64, 128, 256, 512), False)),
    (wide_resnet(), torch_wide),
    (basenet(), torch_basenet),
    (resnet9(), torch_resnet9),
    (kakao_resnet9(), torch_kakao),
    (baidunet9p(), torch_baidu),
    (arcface_resnet(), torch_arcface),
    (arcface_mobilefacenet(), torch_mobilefacenet),
    (overfeat_fast(), lambda: torch_overfeat(True)),
    (overfeat_accurate(), lambda: torch_overfeat(False)),
    (network_in_network(), torch_nin),
    (squeezenet1_0(), torch_squeezenet),
    (vgg_cifar(), torch_vgg_cifar),
    (googlenet(auxiliary=False, response_norm=False), torch_googlenet),
    (inception_bn(), torch_inception_bn),
    (inception_bn_small(), torch_inception_bn_small),
    (inception_v4(), torch_inception_v4),
    *((densenet(depth=depth), lambda depth=depth: torch_densenet(depth)) for depth in DENSENETS),
]
IDS = [workload.name for workload, _ in TWINS]


def on_meta(workload: Workload, build: Callable[[], Any]) -> tuple[Any, Any]:
    side = workload.hyper["image_size"]
    with torch.device("meta"):
        return build(), torch.empty(2, 3, side, side)


@pytest.mark.parametrize(("workload", "build"), TWINS, ids=IDS)
def test_flops_and_parameters_are_pytorchs(workload: Workload, build: Callable[[], Any]) -> None:
    from torch.utils.flop_counter import FlopCounterMode

    network, images = on_meta(workload, build)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(images)
    assert counter.get_total_flops() == 2 * workload.forward_flop
    assert sum(p.numel() for p in network.parameters()) == workload.parameters


def kept_elements(network: Any, images: Any) -> int:
    """Elements of distinct tensors that autograd keeps for the backward pass, per image.

    Left out as in `workloads.image_ops`: parameters, indices, and what is of a channel's size (statistics).
    """
    own = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    kept: dict[int, Any] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage._cdata not in own and tensor.is_floating_point() and tensor.dim() > 1:
            kept[storage._cdata] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    return int(sum(storage.nbytes() // 4 for storage in kept.values())) // len(images)


#: Where a max-pool's output is read by nothing that keeps it (a concatenation, dropout, a ReLU in place), cuDNN's
#: pooling keeps it and PyTorch's keeps indices instead: so much more is kept at most.
POOLED_APART = {
    "basenet": 0.001,
    "inception-bn": 0.01,
    "inception-bn-small": 0.023,
    "inception-v4": 0.019,
    "network-in-network": 0.007,
    "vgg-cifar": 0.1,
}


@pytest.mark.parametrize(("workload", "build"), TWINS, ids=IDS)
def test_kept_tensors_are_those_pytorch_keeps(workload: Workload, build: Callable[[], Any]) -> None:
    network, images = on_meta(workload, build)
    # The loss and ArcFace's scalings are not in the twins; dropout off the GPU keeps its noise as numbers, not bytes.
    ours = sum(
        layer.repeat * (op.write_elements if op.name == "dropout" else op.saved_elements)
        for layer in workload.layers
        for op in layer.ops
        if op.name not in ("softmax loss", "multiply")
    )
    theirs = kept_elements(network, images)
    assert theirs <= ours <= theirs * (1 + POOLED_APART.get(workload.name, 0.0))
