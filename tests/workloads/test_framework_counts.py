"""Forward FLOPs and parameters equal what PyTorch counts itself, on networks written out by hand here."""

from collections.abc import Callable
from typing import Any

import pytest

from workloads import convnet
from workloads.transformer import bert, transformer
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn
F = torch.nn.functional


def counted(network: Any, example: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(example)
    return int(counter.get_total_flops())


def parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def conv_relu(c_in: int, c_out: int, kernel: int, **options: Any) -> list[Any]:
    return [nn.Conv2d(c_in, c_out, kernel, **options), nn.ReLU(inplace=True)]


def classifier(features: int) -> list[Any]:
    hidden = [nn.Linear(features, 4096), nn.ReLU(), nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout()]
    return [nn.Flatten(), *hidden, nn.Linear(4096, 1000)]


def torch_alexnet() -> Any:
    return nn.Sequential(
        *conv_relu(3, 64, 11, stride=4, padding=2), nn.MaxPool2d(3, 2),
        *conv_relu(64, 192, 5, padding=2), nn.MaxPool2d(3, 2),
        *conv_relu(192, 384, 3, padding=1), *conv_relu(384, 256, 3, padding=1), *conv_relu(256, 256, 3, padding=1),
        nn.MaxPool2d(3, 2), *classifier(256 * 36),
    )  # fmt: skip


def torch_alexnet_grouped() -> Any:
    return nn.Sequential(
        *conv_relu(3, 96, 11, stride=4), nn.MaxPool2d(3, 2),
        *conv_relu(96, 256, 5, padding=2, groups=2), nn.MaxPool2d(3, 2),
        *conv_relu(256, 384, 3, padding=1), *conv_relu(384, 384, 3, padding=1, groups=2),
        *conv_relu(384, 256, 3, padding=1, groups=2), nn.MaxPool2d(3, 2), *classifier(256 * 36),
    )  # fmt: skip


def torch_vgg(*stages: tuple[int, int]) -> Any:
    layers: list[Any] = []
    channels = 3
    for width, count in stages:
        for _ in range(count):
            layers += conv_relu(channels, width, 3, padding=1)
            channels = width
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, *classifier(512 * 49))


class Bottleneck(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, c_in: int, width: int, stride: int, version: str) -> None:
        super().__init__()
        first, second = (stride, 1) if version == "v1" else (1, stride)
        self.body = nn.Sequential(
            nn.Conv2d(c_in, width, 1, first, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, second, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        self.shortcut = nn.Identity()
        if c_in != 4 * width or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))

    def forward(self, x: Any) -> Any:
        return F.relu(self.body(x) + self.shortcut(x))


def torch_resnet(blocks: tuple[int, ...], version: str) -> Any:
    layers: list[Any] = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for stage, count in enumerate(blocks):
        for index in range(count):
            layers.append(Bottleneck(channels, 64 * 2**stage, 2 if stage and not index else 1, version))
            channels = 256 * 2**stage
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def cbr(c_in: int, c_out: int, kernel: int | tuple[int, int], **options: Any) -> Any:
    return nn.Sequential(nn.Conv2d(c_in, c_out, kernel, bias=False, **options), nn.BatchNorm2d(c_out), nn.ReLU())


class Branches(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, *branches: Any) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Any) -> Any:
        return torch.cat([branch(x) for branch in self.branches], 1)


def inception_a(c: int, pooled: int) -> Any:
    return Branches(
        cbr(c, 64, 1),
        nn.Sequential(cbr(c, 48, 1), cbr(48, 64, 5, padding=2)),
        nn.Sequential(cbr(c, 64, 1), cbr(64, 96, 3, padding=1), cbr(96, 96, 3, padding=1)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), cbr(c, pooled, 1)),
    )


def inception_c(w: int) -> Any:
    row, column = {"kernel": (1, 7), "padding": (0, 3)}, {"kernel": (7, 1), "padding": (3, 0)}
    return Branches(
        cbr(768, 192, 1),
        nn.Sequential(cbr(768, w, 1), cbr(w, w, **row), cbr(w, 192, **column)),
        nn.Sequential(cbr(768, w, 1), cbr(w, w, **column), cbr(w, w, **row), cbr(w, w, **column), cbr(w, 192, **row)),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), cbr(768, 192, 1)),
    )


def inception_e(c: int) -> Any:
    def pair() -> Any:
        return Branches(cbr(384, 384, (1, 3), padding=(0, 1)), cbr(384, 384, (3, 1), padding=(1, 0)))

    return Branches(
        cbr(c, 320, 1),
        nn.Sequential(cbr(c, 384, 1), pair()),
        nn.Sequential(cbr(c, 448, 1), cbr(448, 384, 3, padding=1), pair()),
        nn.Sequential(nn.AvgPool2d(3, 1, 1), cbr(c, 192, 1)),
    )


class TorchInception(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, auxiliary: bool) -> None:
        super().__init__()
        self.early = nn.Sequential(
            cbr(3, 32, 3, stride=2), cbr(32, 32, 3), cbr(32, 64, 3, padding=1), nn.MaxPool2d(3, 2),
            cbr(64, 80, 1), cbr(80, 192, 3), nn.MaxPool2d(3, 2),
            inception_a(192, 32), inception_a(256, 64), inception_a(288, 64),
            Branches(
                cbr(288, 384, 3, stride=2),
                nn.Sequential(cbr(288, 64, 1), cbr(64, 96, 3, padding=1), cbr(96, 96, 3, stride=2)),
                nn.MaxPool2d(3, 2),
            ),
            inception_c(128), inception_c(160), inception_c(160), inception_c(192),
        )  # fmt: skip
        self.auxiliary = (
            nn.Sequential(
                nn.AvgPool2d(5, 3), cbr(768, 128, 1), cbr(128, 768, 5), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                nn.Linear(768, 1000),
            ) if auxiliary else None
        )  # fmt: skip
        self.late = nn.Sequential(
            Branches(
                nn.Sequential(cbr(768, 192, 1), cbr(192, 320, 3, stride=2)),
                nn.Sequential(
                    cbr(768, 192, 1), cbr(192, 192, (1, 7), padding=(0, 3)), cbr(192, 192, (7, 1), padding=(3, 0)),
                    cbr(192, 192, 3, stride=2),
                ),
                nn.MaxPool2d(3, 2),
            ),
            inception_e(1280), inception_e(2048), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000),
        )  # fmt: skip

    def forward(self, x: Any) -> Any:
        x = self.early(x)
        if self.auxiliary is not None:
            self.auxiliary(x)
        return self.late(x)


CNNS: list[tuple[str, Workload, Callable[[], Any]]] = [
    ("alexnet", convnet.alexnet(), torch_alexnet),
    ("alexnet grouped", convnet.alexnet_grouped(), torch_alexnet_grouped),
    ("vgg-a", convnet.vgg_a(), lambda: torch_vgg((64, 1), (128, 1), (256, 2), (512, 2), (512, 2))),
    ("vgg16", convnet.vgg16(), lambda: torch_vgg((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))),
    ("resnet50 v1", convnet.resnet50(version="v1"), lambda: torch_resnet((3, 4, 6, 3), "v1")),
    ("resnet50 v1.5", convnet.resnet50(), lambda: torch_resnet((3, 4, 6, 3), "v1.5")),
    ("resnet50 at 288", convnet.resnet50(image_size=288), lambda: torch_resnet((3, 4, 6, 3), "v1.5")),
    ("resnet152", convnet.resnet152(), lambda: torch_resnet((3, 8, 36, 3), "v1.5")),
    ("inception-v3", convnet.inception_v3(auxiliary=False), lambda: TorchInception(False)),
    ("inception-v3 auxiliary", convnet.inception_v3(), lambda: TorchInception(True)),
]


@pytest.mark.parametrize(("workload", "build"), [c[1:] for c in CNNS], ids=[c[0] for c in CNNS])
def test_a_convnet_has_the_flops_and_parameters_pytorch_counts(workload: Workload, build: Callable[[], Any]) -> None:
    size = workload.hyper["image_size"]
    with torch.device("meta"):
        network = build().eval()
        example = torch.empty(1, 3, size, size)
    assert parameters(network) == workload.parameters
    assert counted(network, example) == workload.forward_flop


class TorchDecoder(nn.Module):  # type: ignore[misc,name-defined]
    """A GPT or Llama without norms and activations' details: every product it makes is counted by PyTorch."""

    def __init__(
        self, *, h: int, heads: int, kv: int, dim: int, ffn: int, vocab: int, layers: int, gated: bool
    ) -> None:
        super().__init__()
        self.heads, self.kv, self.dim, self.gated = heads, kv, dim, gated
        self.table = nn.Embedding(vocab, h)
        self.blocks = nn.ModuleList(
            nn.ModuleDict(
                {
                    "qkv": nn.Linear(h, (heads + 2 * kv) * dim),
                    "out": nn.Linear(heads * dim, h),
                    "up": nn.Linear(h, 2 * ffn if gated else ffn),
                    "down": nn.Linear(ffn, h),
                }
            )
            for _ in range(layers)
        )
        self.head = nn.Linear(h, vocab, bias=False)

    def forward(self, tokens: Any) -> Any:
        x = self.table(tokens)
        samples, length, _ = x.shape
        for block in self.blocks:
            q, k, v = block["qkv"](x).split([self.heads * self.dim, self.kv * self.dim, self.kv * self.dim], -1)
            q, k, v = (t.view(samples, length, -1, self.dim).transpose(1, 2) for t in (q, k, v))
            k, v = (t.repeat_interleave(self.heads // self.kv, 1) for t in (k, v))
            scores = (q @ k.transpose(-1, -2)).softmax(-1)
            x = x + block["out"]((scores @ v).transpose(1, 2).reshape(samples, length, -1))
            inner = block["up"](x)
            if self.gated:
                gate, up = inner.chunk(2, -1)
                inner = F.silu(gate) * up
            x = x + block["down"](inner)
        return self.head(x)


@pytest.mark.parametrize(
    ("h", "heads", "kv", "dim", "ffn", "gated"),
    [(256, 8, 8, 32, 1024, False), (256, 8, 2, 32, 704, True), (256, 4, 1, 128, 1024, False)],
    ids=["GPT", "Llama with grouped queries", "multi-query with wide heads"],
)
def test_a_decoder_has_the_flops_pytorch_counts(h: int, heads: int, kv: int, dim: int, ffn: int, gated: bool) -> None:
    workload = transformer(
        name="x", layers=3, hidden=h, heads=heads, kv_heads=kv, head_dim=dim, ffn=ffn, vocab=1000, seq_len=64,
        activation="swiglu" if gated else "gelu",
    )  # fmt: skip
    with torch.device("meta"):
        network = TorchDecoder(h=h, heads=heads, kv=kv, dim=dim, ffn=ffn, vocab=1000, layers=3, gated=gated)
        tokens = torch.empty(1, 64, dtype=torch.long)
    assert counted(network, tokens) == workload.forward_flop


def test_a_bert_encoder_has_the_parameters_of_pytorchs_own_layers() -> None:
    workload = bert(name="x", layers=12, hidden=768, heads=12)
    with torch.device("meta"):
        encoder = nn.TransformerEncoderLayer(768, 12, 3072)
    assert parameters(encoder) == workload.layers[1].parameters
