"""Imagen, Wan and Mini DALL-E equal, in FLOPs and parameters, the same networks written out in PyTorch here."""

from typing import Any

import pytest

from workloads.dalle import mini_dalle
from workloads.diffusion import TEXT, imagen_efficient_unet, imagen_unet
from workloads.wan import wan
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn
F = nn.functional


def counted(network: Any, *inputs: Any) -> tuple[int, int]:
    """FLOPs of the forward pass and parameters, on the meta device."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return int(counter.get_total_flops()), sum(p.numel() for p in network.parameters())


def same(workload: Workload, network: Any, *inputs: Any) -> None:
    flop, parameters = counted(network, *inputs)
    assert workload.parameters == parameters
    assert workload.forward_flop == flop


def attended(qkv: tuple[Any, ...], heads: int) -> Any:
    q, k, v = (t.reshape(t.shape[0], t.shape[1], heads, -1).transpose(1, 2) for t in qkv)
    out = (q @ k.transpose(-1, -2)).softmax(-1) @ v
    return out.transpose(1, 2).flatten(2)


class Pixels(nn.Module):  # type: ignore[misc,name-defined]
    """Pixels attend to pixels and words, or to words only."""

    def __init__(self, channels: int, text: int, heads: int, dim: int, cross: bool) -> None:
        super().__init__()
        width = heads * dim
        self.heads, self.cross = heads, cross
        self.norm, self.words = nn.GroupNorm(32, channels), nn.GroupNorm(32, text)
        self.other = nn.Identity() if cross else nn.GroupNorm(32, channels)
        self.q, self.out = nn.Linear(channels, width), nn.Linear(width, channels)
        self.kv = nn.Identity() if cross else nn.Linear(channels, 2 * width)
        self.text = nn.Linear(text, 2 * width)

    def forward(self, x: Any, text: Any) -> Any:
        def rows(y: Any) -> Any:
            return y.flatten(2).transpose(1, 2)

        kv = self.text(self.words(text.transpose(1, 2)).transpose(1, 2))
        if not self.cross:
            kv = torch.cat([self.kv(rows(self.other(x))), kv], 1)
        y = self.out(attended((self.q(rows(self.norm(x))), *kv.chunk(2, -1)), self.heads))
        return x + y.transpose(1, 2).reshape(x.shape)


class Res(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, c_in: int, c_out: int, steer: int, resample: str = "", projects: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.GroupNorm(32, c_in), nn.GroupNorm(32, c_out)
        self.conv1, self.conv2 = nn.Conv2d(c_in, c_out, 3, padding=1), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.steer = nn.Linear(steer, 2 * c_out) if steer else None
        self.skip = nn.Conv2d(c_in, c_out, 1) if projects or c_in != c_out else nn.Identity()
        self.scale = nn.Identity()
        if resample == "down":
            self.scale = nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * c_in, c_in, 1))
        if resample == "up":
            parts = (nn.Conv2d(c_in, 4 * c_in, 1), nn.GroupNorm(32, 4 * c_in), nn.SiLU(), nn.PixelShuffle(2))
            self.scale = nn.Sequential(*parts)

    def forward(self, x: Any, vector: Any = None) -> Any:
        y = self.second(self.conv1(self.scale(F.silu(self.first(x)))))
        if self.steer is not None:
            shift, scale = self.steer(F.silu(vector))[:, :, None, None].chunk(2, 1)
            y = y * (scale + 1) + shift
        return self.conv2(F.silu(y)) + self.skip(self.scale(x))


class Steering(nn.Module):  # type: ignore[misc,name-defined]
    """The steering vector and the projected words."""

    def __init__(self, width: int, vector: int, text: int, pooled: int, heads: int, dim: int, enlarges: bool) -> None:
        super().__init__()
        words = TEXT[1]

        def embedding(inputs: int) -> Any:
            return nn.Sequential(nn.Linear(inputs, vector), nn.SiLU(), nn.Linear(vector, vector))

        self.width, self.heads = width, heads
        self.times = nn.ModuleList([embedding(width) for _ in range(2 if enlarges else 1)])
        self.q, self.kv = nn.Linear(words, heads * dim, False), nn.Linear(words, 2 * heads * dim, False)
        self.bias, self.out = nn.Embedding(32, heads), nn.Linear(heads * dim, words, False)
        self.pool = nn.Sequential(
            nn.LayerNorm(words), nn.Linear(words, pooled), nn.LayerNorm(pooled), embedding(pooled)
        )
        self.project = nn.Linear(words, text)

    def forward(self, text: Any) -> tuple[Any, Any]:
        mean = text.mean(1, keepdim=True)
        k, v = self.kv(torch.cat([mean, text], 1)).chunk(2, -1)
        pooled = self.pool(self.out(attended((self.q(mean), k, v), self.heads))[:, 0])
        time = text.new_empty(text.shape[0], self.width)
        return sum((embed(time) for embed in self.times), pooled), self.project(text)


class UNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(
        self, width: int, factors: Any, blocks: Any, vector: int, text: int, heads: int, dim: int, sides: Any,
        side: int, enlarges: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [width * f for f in factors]
        self.sides, self.side = sides, side
        self.steering = Steering(width, vector, text, text, heads, dim, enlarges)

        def block(c_in: int, c_out: int, level: int, always: bool = False) -> Any:
            attends = always or side // 2**level in sides
            pixels = Pixels(c_out, text, heads, dim, False) if attends else None
            return nn.ModuleList([Res(c_in, c_out, vector), *([pixels] if pixels else [])])

        self.enter = nn.Conv2d(6 if enlarges else 3, widths[0], 3, padding=1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        c, skips = widths[0], [widths[0]]
        for level, w in enumerate(widths):
            for _ in range(blocks[level]):
                self.down.append(block(c, w, level))
                c = w
                skips.append(c)
            if level < len(widths) - 1:
                self.down.append(nn.ModuleList([Res(c, c, vector, "down")]))
                skips.append(c)
        self.middle = nn.ModuleList([Res(c, c, vector), Pixels(c, text, heads, dim, False), Res(c, c, vector)])
        for level, w in reversed(list(enumerate(widths))):
            for index in range(blocks[level] + 1):
                more = block(c + skips.pop(), w, level)
                if level and index == blocks[level]:
                    more.append(Res(w, w, vector, "up"))
                self.up.append(more)
                c = w
        self.leave = nn.Sequential(nn.GroupNorm(32, c), nn.SiLU(), nn.Conv2d(c, 3, 3, padding=1))

    def forward(self, x: Any, text: Any) -> Any:
        vector, words = self.steering(text)

        def run(modules: Any, x: Any) -> Any:
            for module in modules:
                x = module(x, vector if isinstance(module, Res) else words)
            return x

        x = self.enter(x)
        skips = [x]
        for modules in self.down:
            x = run(modules, x)
            skips.append(x)
        x = run(self.middle, x)
        for modules in self.up:
            x = run(modules, torch.cat([x, skips.pop()], 1))
        return self.leave(x)


class EfficientUNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(
        self, width: int, factors: Any, blocks: Any, vector: int, text: int, heads: int, dim: int, divisors: Any,
        cross: bool,
    ) -> None:  # fmt: skip
        super().__init__()
        *widths, middle = [width * f for f in factors]
        self.steering = Steering(width, vector, text, vector, heads, dim, True)
        self.enter, self.leave = nn.Conv2d(6, widths[0], 3, padding=1), nn.Conv2d(widths[0], 3, 3, padding=1)

        def stage(c_in: int, w: int, count: int, attends: bool, down: int = 0, up: int = 0) -> Any:
            parts = [nn.Conv2d(c_in, w, 3, down, 1)] if down else []
            c_in = w if down else c_in
            parts += [Res(c_in if index == 0 else w, w, vector, projects=True) for index in range(count)]
            parts += [Pixels(w, text, heads, dim, cross)] if attends else []
            return nn.ModuleList([*parts, *([nn.ConvTranspose2d(w, w, 3, up, 1, up - 1)] if up else [])])

        self.down, self.up, c = nn.ModuleList(), nn.ModuleList(), widths[0]
        for level, w in enumerate(widths):
            self.down.append(stage(c, w, blocks[level], 2**level in divisors, down=2))
            c = w
        at = 2 ** len(widths) in divisors
        middles = [stage(c, middle, blocks[-1], at, down=1), stage(middle, middle, blocks[-1], at, up=1)]
        self.middle = nn.ModuleList(middles)
        c = middle
        for level, w in reversed(list(enumerate(widths))):
            self.up.append(stage(c + w, w, blocks[level], 2**level in divisors, up=2))
            c = w

    def forward(self, x: Any, text: Any) -> Any:
        vector, words = self.steering(text)

        def run(modules: Any, x: Any) -> Any:
            for module in modules:
                more = {Res: (vector,), Pixels: (words,)}.get(type(module), ())
                x = module(x, *more)
            return x

        x, skips = self.enter(x), []
        for modules in self.down:
            x = run(modules, x)
            skips.append(x)
        for modules in self.middle:
            x = run(modules, x)
        for modules in self.up:
            x = run(modules, torch.cat([x, skips.pop()], 1))
        return self.leave(x)


@pytest.mark.parametrize("enlarges", [False, True])
def test_a_u_net_is_pytorchs(enlarges: bool) -> None:
    with torch.device("meta"):
        network = UNet(64, (1, 2, 3), (2, 1, 3), 96, 64, 2, 32, (16, 8), 32, enlarges)
        image, text = torch.empty(1, 6 if enlarges else 3, 32, 32), torch.empty(1, *TEXT)
    workload = imagen_unet(
        width=64, multipliers=(1, 2, 3), blocks=(2, 1, 3), vector=96, text_width=64, heads=2, head_dim=32,
        attended=(16, 8), enlarges=enlarges, image_size=32,
    )  # fmt: skip
    same(workload, network, image, text)


@pytest.mark.parametrize("attention", ["fused", "cross"])
def test_an_efficient_u_net_is_pytorchs(attention: str) -> None:
    with torch.device("meta"):
        network = EfficientUNet(32, (1, 2, 4, 4), (2, 1, 3, 2), 96, 64, 2, 32, (4, 8), attention == "cross")
        image, text = torch.empty(1, 6, 64, 64), torch.empty(1, *TEXT)
    workload = imagen_efficient_unet(
        width=32, multipliers=(1, 2, 4, 4), blocks=(2, 1, 3, 2), vector=96, text_width=64, heads=2, head_dim=32,
        attended=(4, 8), attention=attention, image_size=64,
    )  # fmt: skip
    same(workload, network, image, text)


class WanBlock(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, hidden: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.heads = heads
        self.own, self.cross = (nn.ModuleList([nn.Linear(hidden, hidden) for _ in range(4)]) for _ in range(2))
        self.norms = nn.ModuleList([nn.RMSNorm(hidden) for _ in range(4)])
        self.affine = nn.LayerNorm(hidden)
        self.mlp = nn.Sequential(nn.Linear(hidden, ffn), nn.GELU("tanh"), nn.Linear(ffn, hidden))
        self.modulation = nn.Parameter(torch.empty(1, 6, hidden))

    def forward(self, x: Any, e: Any, words: Any) -> Any:
        e = (self.modulation + e).chunk(6, 1)
        plain = (x.shape[-1],)

        def looks(parts: Any, norms: Any, q: Any, kv: Any) -> Any:
            out = attended((norms[0](parts[0](q)), norms[1](parts[1](kv)), parts[2](kv)), self.heads)
            return parts[3](out)

        y = F.layer_norm(x, plain) * (1 + e[1]) + e[0]
        x = x + looks(self.own, self.norms[:2], y, y) * e[2]
        x = x + looks(self.cross, self.norms[2:], self.affine(x), words)
        return x + self.mlp(F.layer_norm(x, plain) * (1 + e[4]) + e[3]) * e[5]


class Wan(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, layers: int, hidden: int, heads: int, ffn: int, text: int) -> None:
        super().__init__()
        self.patch = nn.Conv3d(16, hidden, (1, 2, 2), (1, 2, 2))
        self.words = nn.Sequential(nn.Linear(text, hidden), nn.GELU("tanh"), nn.Linear(hidden, hidden))
        self.time = nn.Sequential(nn.Linear(256, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.project = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 6 * hidden))
        self.blocks = nn.ModuleList([WanBlock(hidden, heads, ffn) for _ in range(layers)])
        self.modulation, self.head = nn.Parameter(torch.empty(1, 2, hidden)), nn.Linear(hidden, 64)

    def forward(self, video: Any, text: Any, time: Any) -> Any:
        x = self.patch(video).flatten(2).transpose(1, 2)
        vector, words = self.time(time), self.words(text)
        for block in self.blocks:
            x = block(x, self.project(vector).unflatten(1, (6, -1)) if block is self.blocks[0] else 0.0, words)
        shift, scale = (self.modulation + vector[:, None]).chunk(2, 1)
        return self.head(F.layer_norm(x, (x.shape[-1],)) * (1 + scale) + shift)


def test_wan_is_pytorchs() -> None:
    with torch.device("meta"):
        network = Wan(3, 96, 4, 200, 48)
        inputs = torch.empty(1, 16, 5, 8, 12), torch.empty(1, 20, 48), torch.empty(1, 256)
    workload = wan(layers=3, hidden=96, heads=4, ffn=200, text_len=20, text_width=48, seq_len=5 * 4 * 6)
    same(workload, network, *inputs)


class Encoder(nn.Module):  # type: ignore[misc,name-defined]
    """VQGAN's encoder up to the distances to all codes."""

    def __init__(self, codes: int) -> None:
        super().__init__()
        parts, c = [nn.Conv2d(3, 128, 3, padding=1)], 128
        for level, width in enumerate((128, 128, 256, 256, 512)):
            for _ in range(2):
                parts.append(Res(c, width, 0))
                c = width
                parts += [OneHead(c)] if level == 4 else []
            parts += [nn.Conv2d(c, c, 3, 2, 1)] if level < 4 else []
        parts += [
            Res(c, c, 0),
            OneHead(c),
            Res(c, c, 0),
            nn.GroupNorm(32, c),
            nn.SiLU(),
            nn.Conv2d(c, 256, 3, padding=1),
        ]
        self.body, self.codes = nn.Sequential(*parts, nn.Conv2d(256, 256, 1)), nn.Linear(256, codes, False)

    def forward(self, x: Any) -> Any:
        return self.codes(self.body(x).flatten(2).transpose(1, 2))


class OneHead(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, channels)
        self.parts = nn.ModuleList([nn.Conv2d(channels, channels, 1) for _ in range(4)])

    def forward(self, x: Any) -> Any:
        y = self.norm(x)
        q, k, v = (part(y).flatten(2) for part in self.parts[:3])
        out = v @ (q.transpose(1, 2) @ k).softmax(-1).transpose(1, 2)
        return x + self.parts[3](out.reshape(x.shape))


class Dalle(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(
        self, layers: int, hidden: int, heads: int, dim: int, words: int, codes: int, text: int, side: int
    ) -> None:
        super().__init__()
        self.heads = heads
        self.encode, self.table = Encoder(codes), nn.Embedding(words + text + codes, hidden)
        self.places = nn.Parameter(torch.empty(text + 1 + 2 * side, hidden))

        def block() -> Any:
            return nn.ModuleDict(
                {
                    "norm1": nn.LayerNorm(hidden), "qkv": nn.Linear(hidden, 3 * heads * dim, False),
                    "out": nn.Linear(heads * dim, hidden), "norm2": nn.LayerNorm(hidden),
                    "up": nn.Linear(hidden, 8 * hidden), "down": nn.Linear(4 * hidden, hidden),
                    "scales": nn.Embedding(2, hidden),
                }
            )  # fmt: skip

        self.blocks = nn.ModuleList([block() for _ in range(layers)])
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, words + text + codes))

    def forward(self, image: Any, ids: Any) -> Any:
        self.encode(image)
        x = self.table(ids)
        for b in self.blocks:
            x = x + b["out"](attended(b["qkv"](b["norm1"](x)).chunk(3, -1), self.heads))
            value, gate = b["up"](b["norm2"](x)).chunk(2, -1)
            x = x + b["down"](value * F.gelu(gate))
        return self.head(x)


def test_mini_dalle_of_full_attention_is_pytorchs() -> None:
    with torch.device("meta"):
        network = Dalle(2, 64, 2, 32, 100, 50, 12, 4)
        inputs = torch.empty(1, 3, 64, 64), torch.empty(1, 12 + 16, dtype=torch.long)
    workload = mini_dalle(
        layers=2, full_layers=2, hidden=64, heads=2, head_dim=32, text_len=12, text_vocab=100, codes=50, image_size=64
    )
    same(workload, network, *inputs)
