"""Whole networks in PyTorch, written from their papers, that what ships is compared with; no pretrained weights.

`FAMILIES` maps a name to what builds the network and to its inputs for a number of samples. Networks return their
logits (or what stands before the loss); wrap them in `WithLoss` for a training step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

F: Any = torch.nn.functional

# --- images -----------------------------------------------------------------------------------------------------------


def unit(c_in: int, c_out: int, kernel: Any, stride: int = 1, padding: Any = 0, **options: Any) -> nn.Sequential:
    conv = nn.Conv2d(c_in, c_out, kernel, stride, padding, bias=False, **options)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU(inplace=True))


class Bottleneck(nn.Module):
    def __init__(self, c_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            unit(c_in, width, 1), unit(width, width, 3, stride, 1), nn.Conv2d(width, 4 * width, 1, bias=False),
            nn.BatchNorm2d(4 * width),
        )  # fmt: skip
        self.shortcut = nn.Sequential()
        if c_in != 4 * width or stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(c_in, 4 * width, 1, stride, bias=False), nn.BatchNorm2d(4 * width))
        self.last = nn.ReLU(inplace=True)

    def forward(self, x: Any) -> Any:
        return self.last(self.body(x) + self.shortcut(x))


def resnet50() -> nn.Module:
    blocks, channels = [], 64
    for stage, count in enumerate((3, 4, 6, 3)):
        stack = []
        for index in range(count):
            stack.append(Bottleneck(channels, 64 * 2**stage, 2 if stage and not index else 1))
            channels = 256 * 2**stage
        blocks.append(nn.Sequential(*stack))
    stem = nn.Sequential(unit(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1))
    return nn.Sequential(stem, *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2048, 1000))


def vgg16() -> nn.Module:
    layers: list[nn.Module] = []
    channels = 3
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head: list[nn.Module] = [nn.Flatten()]
    for width in (512 * 49, 4096):
        head += [nn.Linear(width, 4096), nn.ReLU(inplace=True), nn.Dropout()]
    return nn.Sequential(nn.Sequential(*layers), nn.Sequential(*head, nn.Linear(4096, 1000)))


class DenseLayer(nn.Module):
    def __init__(self, channels: int, growth: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        self.squeeze = nn.Conv2d(channels, 4 * growth, 1, bias=False)
        self.second = nn.Sequential(nn.BatchNorm2d(4 * growth), nn.ReLU(inplace=True))
        self.grow = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, parts: list[Any]) -> Any:
        return self.grow(self.second(self.squeeze(self.first(torch.cat(parts, 1)))))


class DenseBlock(nn.Module):
    def __init__(self, channels: int, growth: int, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseLayer(channels + i * growth, growth) for i in range(count))

    def forward(self, x: Any) -> Any:
        parts = [x]
        for layer in self.layers:
            parts.append(layer(parts))
        return torch.cat(parts, 1)


def densenet121() -> nn.Module:
    layers: list[nn.Module] = [unit(3, 64, 7, 2, 3), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for index, count in enumerate((6, 12, 24, 16)):
        layers.append(DenseBlock(channels, 32, count))
        channels += 32 * count
        if index < 3:
            squeeze = nn.Conv2d(channels, channels // 2, 1, bias=False)
            layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), squeeze, nn.AvgPool2d(2)]
            channels //= 2
    layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(channels, 1000))


class UNet3d(nn.Module):
    """Six levels of two convolutions with instance norm, transposed convolutions and joins on the way up."""

    def __init__(self) -> None:
        super().__init__()

        def cell(a: int, b: int, stride: int = 1) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv3d(a, b, 3, stride, 1, bias=False), nn.InstanceNorm3d(b, affine=True), nn.LeakyReLU(inplace=True)
            )

        widths = (32, 64, 128, 256, 320, 320)
        ends = zip((1, *widths), widths, strict=False)
        self.downs = nn.ModuleList(
            nn.Sequential(cell(a, b, 2 if i else 1), cell(b, b)) for i, (a, b) in enumerate(ends)
        )
        self.lifts = nn.ModuleList(nn.ConvTranspose3d(widths[i + 1], widths[i], 2, 2) for i in range(5))
        self.ups = nn.ModuleList(nn.Sequential(cell(2 * w, w), cell(w, w)) for w in widths[:5])
        self.out = nn.Conv3d(32, 3, 1)

    def forward(self, x: Any) -> Any:
        skips = []
        for down in self.downs:
            x = down(x)
            skips.append(x)
        for level in reversed(range(5)):
            x = self.ups[level](torch.cat((self.lifts[level](x), skips[level]), 1))
        return self.out(x).movedim(1, -1)


class UNet(nn.Module):
    """Images down by four halvings in pairs of padded convolutions, and up again by copying (`unet_simplified`)."""

    def __init__(self, convolutions: int = 2, base: int = 16, levels: int = 4) -> None:
        super().__init__()

        def cell(a: int, hidden: int, b: int) -> nn.Sequential:
            channels = (a, *(hidden,) * (convolutions - 1), b)
            steps: list[nn.Module] = []
            for i in range(convolutions):
                steps += [nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, bias=False), nn.Dropout2d(0.2)]
                steps += [nn.InstanceNorm2d(channels[i + 1]), nn.LeakyReLU(0.01)]
            return nn.Sequential(*steps)

        wide = [base * 2**i for i in range(levels)]
        self.downs = nn.ModuleList(cell(a, b, b) for a, b in zip((3, *wide), wide, strict=False))
        deepest = base * 2**levels
        self.bottom = cell(wide[-1], deepest, deepest // 2)
        self.ups = nn.ModuleList(cell(2 * w, w // 2, w // 2) for w in wide)
        self.out = nn.Conv2d(base // 2, 1, 1, bias=False)

    def forward(self, x: Any) -> Any:
        skips = []
        for down in self.downs:
            skips.append(down(x))
            x = F.max_pool2d(skips[-1], 2)
        x = self.bottom(x)
        for up, skip in zip(reversed(self.ups), reversed(skips), strict=True):
            x = up(torch.cat((F.interpolate(x, scale_factor=2), skip), 1))
        return self.out(x)


# --- sequences --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """Sizes of a stack of transformer blocks."""

    hidden: int
    heads: int
    ffn: int
    kv_heads: int = 0
    head_dim: int = 0
    dropout: float = 0.1
    bias: bool = True
    rms: bool = False
    gated: bool = False
    rotary: bool = False
    relu: bool = False


def norm_of(shape: Shape) -> nn.Module:
    return nn.RMSNorm(shape.hidden) if shape.rms else nn.LayerNorm(shape.hidden)


class Attention(nn.Module):
    def __init__(self, shape: Shape, *, causal: bool = False, crossed: bool = False) -> None:
        super().__init__()
        self.dim = shape.head_dim or shape.hidden // shape.heads
        self.heads, self.kv, self.causal, self.shape = shape.heads, shape.kv_heads or shape.heads, causal, shape
        width, kv_width = self.heads * self.dim, 2 * self.kv * self.dim
        self.crossed = crossed
        if crossed:
            self.q = nn.Linear(shape.hidden, width, bias=shape.bias)
            self.kv_products = nn.Linear(shape.hidden, kv_width, bias=shape.bias)
        else:
            self.qkv = nn.Linear(shape.hidden, width + kv_width, bias=shape.bias)
        self.out = nn.Linear(width, shape.hidden, bias=shape.bias)

    def split(self, x: Any, heads: int) -> Any:
        return x.view(x.shape[0], x.shape[1], heads, self.dim).transpose(1, 2)

    def forward(self, x: Any, memory: Any = None) -> Any:
        width, kv_width = self.heads * self.dim, self.kv * self.dim
        if self.crossed:
            q, (k, v) = self.q(x), self.kv_products(memory).split([kv_width, kv_width], -1)
        else:
            q, k, v = self.qkv(x).split([width, kv_width, kv_width], -1)
        q, k, v = self.split(q, self.heads), self.split(k, self.kv), self.split(v, self.kv)
        if self.shape.rotary:
            q, k = rotated(q), rotated(k)
        drop = self.shape.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(
            q, k, v, dropout_p=drop, is_causal=self.causal, enable_gqa=self.kv != self.heads
        )
        return self.out(y.transpose(1, 2).reshape(x.shape[0], x.shape[1], -1))


def rotated(x: Any) -> Any:
    """Rotary positions; angles are made on the fly."""
    angle = torch.arange(x.shape[2], device=x.device)[:, None] * torch.ones(x.shape[3], device=x.device, dtype=x.dtype)
    left, right = x.chunk(2, -1)
    return x * angle.cos() + torch.cat((-right, left), -1) * angle.sin()


class Mlp(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.hidden, 2 * shape.ffn if shape.gated else shape.ffn, bias=shape.bias)
        self.down = nn.Linear(shape.ffn, shape.hidden, bias=shape.bias)
        self.gated, self.relu = shape.gated, shape.relu

    def forward(self, x: Any) -> Any:
        y = self.up(x)
        if self.gated:
            gate, y = y.chunk(2, -1)
            y = F.silu(gate) * y
        else:
            y = F.relu(y) if self.relu else F.gelu(y)
        return self.down(y)


class Experts(nn.Module):
    """Experts under even routing, whose work does not depend on the numbers: rows sorted, one batched product."""

    def __init__(self, shape: Shape, experts: int, top_k: int) -> None:
        super().__init__()
        self.router = nn.Linear(shape.hidden, experts, bias=False)
        self.up = nn.Parameter(torch.empty(experts, shape.hidden, 2 * shape.ffn))
        self.down = nn.Parameter(torch.empty(experts, shape.ffn, shape.hidden))
        self.experts, self.top_k = experts, top_k

    def forward(self, x: Any) -> Any:
        rows = x.flatten(0, 1)
        weights, chosen = self.router(rows).softmax(-1).topk(self.top_k, -1)
        order = chosen.flatten().argsort()
        sent = rows[order // self.top_k].view(self.experts, -1, x.shape[-1])
        gate, y = torch.bmm(sent, self.up).chunk(2, -1)
        back = torch.bmm(F.silu(gate) * y, self.down).flatten(0, 1)
        scaled = back * weights.flatten()[order, None]
        return torch.zeros_like(rows).index_add(0, order // self.top_k, scaled).view_as(x)


class Block(nn.Module):
    """Pre-norm (or, with ``post``, post-norm) attention, cross-attention where there is a memory, MLP."""

    def __init__(
        self, shape: Shape, *, causal: bool, crossed: bool = False, post: bool = False, mlp: Any = None
    ) -> None:
        super().__init__()
        self.attention, self.mlp = Attention(shape, causal=causal), mlp or Mlp(shape)
        self.norms = nn.ModuleList(norm_of(shape) for _ in range(3 if crossed else 2))
        self.cross = Attention(shape, crossed=True) if crossed else None
        self.drop = nn.Dropout(shape.dropout)
        self.post = post

    def halved(self, norm: Any, work: Callable[[Any], Any], x: Any) -> Any:
        return norm(x + self.drop(work(x))) if self.post else x + self.drop(work(norm(x)))

    def forward(self, x: Any, memory: Any = None) -> Any:
        x = self.halved(self.norms[0], self.attention, x)
        cross = self.cross
        if cross is not None:
            x = self.halved(self.norms[2], lambda y: cross(y, memory), x)
        return self.halved(self.norms[1], self.mlp, x)


class Decoder(nn.Module):
    """A causal language model: GPT-2 with learned positions and a tied head, Llama and Mixtral without either."""

    def __init__(
        self, shape: Shape, layers: int, vocab: int, positions: int = 0, experts: int = 0, top_k: int = 0
    ) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, shape.hidden)
        self.positions = nn.Embedding(positions, shape.hidden) if positions else None
        self.drop = nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(
            Block(shape, causal=True, mlp=Experts(shape, experts, top_k) if experts else None) for _ in range(layers)
        )
        self.norm = norm_of(shape)
        self.head = nn.Linear(shape.hidden, vocab, bias=False)
        if positions:
            self.head.weight = self.table.weight

    def forward(self, words: Any) -> Any:
        x = self.table(words)
        if self.positions is not None:
            x = x + self.positions(torch.arange(words.shape[1], device=words.device))
        x = self.drop(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Bert(nn.Module):
    """BERT with its pre-training heads; ``predictions`` masked positions, here the first ones, are predicted."""

    def __init__(self, shape: Shape, layers: int, vocab: int, predictions: int) -> None:
        super().__init__()
        h = shape.hidden
        words = nn.Embedding(vocab, h)
        self.tables = nn.ModuleList((words, nn.Embedding(512, h), nn.Embedding(2, h)))
        self.norm, self.drop = nn.LayerNorm(h), nn.Dropout(shape.dropout)
        self.blocks = nn.ModuleList(Block(shape, causal=False, post=True) for _ in range(layers))
        self.pooler, self.next = nn.Linear(h, h), nn.Linear(h, 2)
        self.transform, self.transform_norm = nn.Linear(h, h), nn.LayerNorm(h)
        self.head = nn.Linear(h, vocab)
        self.head.weight = words.weight
        self.predictions = predictions

    def forward(self, words: Any) -> Any:
        places = torch.arange(words.shape[1], device=words.device)
        x = self.tables[0](words) + self.tables[1](places) + self.tables[2](words * 0)
        x = self.drop(self.norm(x))
        for block in self.blocks:
            x = block(x)
        following = self.next(torch.tanh(self.pooler(x[:, 0])))
        masked = self.transform_norm(F.gelu(self.transform(x[:, : self.predictions])))
        return self.head(masked) + 0.0 * following.mean()


class EncoderDecoder(nn.Module):
    """T5's shape without its table of distances: RMS norms, no biases, one table for both sides."""

    def __init__(self, shape: Shape, layers: int, vocab: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, shape.hidden)
        self.encoder = nn.ModuleList(Block(shape, causal=False) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(shape, causal=True, crossed=True) for _ in range(layers))
        self.norms = nn.ModuleList((norm_of(shape), norm_of(shape)))
        self.distances = nn.ModuleList((nn.Embedding(32, shape.heads), nn.Embedding(32, shape.heads)))
        self.head = nn.Linear(shape.hidden, vocab, bias=False)

    def forward(self, source: Any, target: Any) -> Any:
        x, y = self.table(source), self.table(target)
        for block in self.encoder:
            x = block(x)
        x = self.norms[0](x)
        for block in self.decoder:
            y = block(y, x)
        unused: Any = sum(p.sum() for p in self.distances.parameters())
        return self.head(self.norms[1](y)) + 0.0 * unused


class VisionTransformer(nn.Module):
    def __init__(self, shape: Shape, layers: int, image_size: int, patch: int, classes: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, shape.hidden, patch, patch)
        self.token = nn.Parameter(torch.empty(1, 1, shape.hidden))
        self.places = nn.Parameter(torch.empty(1, (image_size // patch) ** 2 + 1, shape.hidden))
        self.blocks = nn.ModuleList(Block(shape, causal=False) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, classes)

    def forward(self, images: Any) -> Any:
        x = self.patches(images).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(len(x), -1, -1), x), 1) + self.places
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


class LanguageModel(nn.Module):
    def __init__(self, cell: Any, width: int, hidden: int, layers: int, vocab: int) -> None:
        super().__init__()
        self.table, self.drop = nn.Embedding(vocab, width), nn.Dropout(0.5)
        self.layers = cell(width, hidden, layers, batch_first=True, dropout=0.5)
        self.head = nn.Linear(hidden, vocab)

    def forward(self, words: Any) -> Any:
        return self.head(self.drop(self.layers(self.drop(self.table(words)))[0]))


class WithLoss(nn.Module):
    """A network and its cross-entropy, as a training step has it; the last input holds the classes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Any) -> Any:
        logits = self.network(*inputs[:-1])
        return F.cross_entropy(logits.flatten(0, -2), inputs[-1].flatten())


# --- all of them ------------------------------------------------------------------------------------------------------

GPT = Shape(hidden=256, heads=8, ffn=1024)
LLAMA = Shape(hidden=256, heads=8, kv_heads=2, ffn=704, dropout=0.0, bias=False, rms=True, gated=True, rotary=True)
MIXTRAL = Shape(hidden=128, heads=8, kv_heads=2, ffn=192, dropout=0.0, bias=False, rms=True, gated=True, rotary=True)
T5 = Shape(hidden=128, heads=4, head_dim=32, ffn=256, bias=False, rms=True, gated=True)
BERT_LARGE = Shape(hidden=1024, heads=16, ffn=4096)
VIT_B = Shape(hidden=768, heads=12, ffn=3072, dropout=0.0)


def images(*shape: int) -> Callable[[int], tuple[Any, ...]]:
    return lambda samples: (torch.empty(samples, *shape),)


def words(*lengths: int) -> Callable[[int], tuple[Any, ...]]:
    return lambda samples: tuple(torch.zeros(samples, length, dtype=torch.long) for length in lengths)


@dataclass(frozen=True)
class Family:
    """A network and its inputs for a number of samples; ``classes`` the shape of a sample's classes."""

    build: Callable[[], nn.Module]
    inputs: Callable[[int], tuple[Any, ...]]
    classes: Sequence[int]


FAMILIES: dict[str, Family] = {
    "resnet50": Family(resnet50, images(3, 224, 224), ()),
    "vgg16": Family(vgg16, images(3, 224, 224), ()),
    "densenet121": Family(densenet121, images(3, 224, 224), ()),
    "unet": Family(UNet, images(3, 64, 64), (1, 64)),
    "unet-3d": Family(UNet3d, images(1, 64, 64, 64), (64, 64, 64)),
    "vit-b-16": Family(lambda: VisionTransformer(VIT_B, 12, 224, 16, 1000), images(3, 224, 224), ()),
    "bert-large": Family(lambda: Bert(BERT_LARGE, 24, 30522, 80), words(512), (80,)),
    "gpt-2": Family(lambda: Decoder(GPT, 6, 1000, positions=128), words(128), (128,)),
    "llama": Family(lambda: Decoder(LLAMA, 5, 1000), words(96), (96,)),
    "mixtral": Family(lambda: Decoder(MIXTRAL, 3, 500, experts=8, top_k=2), words(64), (64,)),
    "t5": Family(lambda: EncoderDecoder(T5, 3, 600), words(48, 20), (20,)),
    "lstm": Family(lambda: LanguageModel(nn.LSTM, 96, 128, 3, 500), words(35), (35,)),
    "gru": Family(lambda: LanguageModel(nn.GRU, 96, 128, 3, 500), words(35), (35,)),
}


def on_meta(name: str, samples: int, *, loss: bool = False) -> tuple[nn.Module, tuple[Any, ...]]:
    """A network in training mode and its inputs, on the meta device; with ``loss`` it returns its loss."""
    family = FAMILIES[name]
    with torch.device("meta"):
        network, inputs = family.build(), family.inputs(samples)
        if loss:
            classes = torch.zeros(samples, *family.classes, dtype=torch.long)
            return WithLoss(network), (*inputs, classes)
        return network, inputs
