"""Speech and synthesis against PyTorch modules written out by hand: parameters and forward FLOPs."""

from collections.abc import Callable
from typing import Any

import pytest

from workloads import conformer, speech, synthesis
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn
F = torch.nn.functional


def counted(network: Any, *inputs: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return int(counter.get_total_flops())


def parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


def time_conv(c_in: int, c_out: int, kernel: int, *, stride: int = 1, groups: int = 1, dilation: int = 1) -> Any:
    padding = kernel // 2 * dilation
    return nn.Conv1d(
        c_in, c_out, kernel, stride=stride, padding=padding, groups=groups, dilation=dilation, bias=False
    )  # fmt: skip


class TimeBlock(nn.Module):  # type: ignore[misc,name-defined]
    """A block of Jasper or QuartzNet; `panes` are the widths of the inputs of its residuals."""

    def __init__(
        self, c_in: int, c_out: int, kernel: int, *, repeat: int, separable: bool, panes: list[int], stride: int = 1,
        dilation: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        ops: list[Any] = []
        for index in range(repeat):
            width = c_in if index == 0 else c_out
            if separable:
                ops += [
                    time_conv(width, width, kernel, stride=stride, groups=width, dilation=dilation),
                    time_conv(width, c_out, 1),
                ]
            else:
                ops += [time_conv(width, c_out, kernel, stride=stride, dilation=dilation)]
            ops += [nn.BatchNorm1d(c_out)] + ([nn.ReLU()] if index < repeat - 1 else [])
        self.main = nn.Sequential(*ops)
        self.sides = nn.ModuleList([nn.Sequential(time_conv(p, c_out, 1), nn.BatchNorm1d(c_out)) for p in panes])

    def forward(self, panes: list[Any]) -> Any:
        x = self.main(panes[-1])
        for side, pane in zip(self.sides, panes[-len(self.sides) :], strict=False):
            x = x + side(pane)
        return torch.relu(x)


class TimeNetwork(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, stages: tuple[speech.Stage, ...], *, separable: bool, dense: bool) -> None:
        super().__init__()
        first, last = (33, ((512, 87), (1024, 1))) if separable else (11, ((896, 29), (1024, 1)))
        plain: dict[str, Any] = {"repeat": 1, "panes": []}
        blocks = [TimeBlock(64, stages[0].filters, first, stride=2, separable=separable, **plain)]
        widths = [stages[0].filters]
        for stage in stages:
            for _ in range(stage.count):
                panes = list(widths) if dense else widths[-1:]
                blocks.append(
                    TimeBlock(widths[-1], stage.filters, stage.kernel, repeat=5, separable=separable, panes=panes)
                )
                widths.append(stage.filters)
        self.blocks = nn.ModuleList(blocks)
        self.epilogue = nn.ModuleList([
            TimeBlock(widths[-1], last[0][0], last[0][1], separable=separable, dilation=2, **plain),
            TimeBlock(last[0][0], last[1][0], last[1][1], separable=False, **plain),
        ])  # fmt: skip
        self.head = nn.Conv1d(last[1][0], 29, 1)

    def forward(self, x: Any) -> Any:
        panes = [self.blocks[0]([x])]
        for block in self.blocks[1:]:
            panes.append(block(panes))
        y = panes[-1]
        for block in self.epilogue:
            y = block([y])
        return self.head(y)


class DeepSpeech(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, hidden: int, layers: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            nn.Conv2d(1, 32, (41, 11), stride=(2, 2), padding=(20, 5)), nn.BatchNorm2d(32), nn.Hardtanh(0, 20),
            nn.Conv2d(32, 32, (21, 11), stride=(2, 1), padding=(10, 5)), nn.BatchNorm2d(32), nn.Hardtanh(0, 20),
        )  # fmt: skip
        widths = [32 * 41] + [hidden] * (layers - 1)
        self.layers = nn.ModuleList([nn.GRU(w, hidden, bidirectional=True, batch_first=True) for w in widths])
        self.norms = nn.ModuleList([nn.BatchNorm1d(hidden) for _ in range(layers)])
        self.head = nn.Linear(hidden, 29, bias=False)

    def forward(self, x: Any) -> Any:
        x = self.convs(x).flatten(1, 2).transpose(1, 2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            y = layer(x)[0]
            x = norm((y[..., : y.shape[-1] // 2] + y[..., y.shape[-1] // 2 :]).transpose(1, 2)).transpose(1, 2)
        return self.head(x)


class WaveNet(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, half: int, channels: int, layers: int) -> None:
        super().__init__()
        norm = nn.utils.parametrizations.weight_norm
        self.start, self.end = norm(nn.Conv1d(half, channels, 1)), nn.Conv1d(channels, 2 * half, 1)
        self.inner, self.conditions, self.outer = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i in range(layers):
            self.inner.append(norm(nn.Conv1d(channels, 2 * channels, 3, dilation=2**i, padding=2**i)))
            self.conditions.append(norm(nn.Conv1d(640, 2 * channels, 1)))
            self.outer.append(norm(nn.Conv1d(channels, channels if i == layers - 1 else 2 * channels, 1)))

    def forward(self, x: Any, mel: Any) -> Any:
        x, total = self.start(x), 0
        for inner, condition, outer in zip(self.inner, self.conditions, self.outer, strict=True):
            a, b = (inner(x) + condition(mel)).chunk(2, 1)
            y = outer(torch.tanh(a) * torch.sigmoid(b))
            if y.shape[1] > x.shape[1]:
                x = x + y[:, : x.shape[1]]
                y = y[:, x.shape[1] :]
            total = total + y
        return self.end(total)


class WaveGlow(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.upsample = nn.ConvTranspose1d(80, 80, 1024, stride=256)
        widths = [8 - 2 * (i // 4) for i in range(12)]
        self.mixes = nn.ModuleList([nn.Conv1d(w, w, 1, bias=False) for w in widths])
        self.nets = nn.ModuleList([WaveNet(w // 2, channels, layers) for w in widths])

    def forward(self, mel: Any, sound: Any) -> Any:
        mel = self.upsample(mel)[..., : sound.shape[1]]
        mel = mel.unfold(2, 8, 8).permute(0, 1, 3, 2).flatten(1, 2)
        x = sound.unfold(1, 8, 8).transpose(1, 2)
        for mix, net in zip(self.mixes, self.nets, strict=True):
            x = mix(x[:, x.shape[1] - mix.in_channels :])
            half = x.shape[1] // 2
            scale, shift = net(x[:, :half], mel).chunk(2, 1)
            x = torch.cat((x[:, :half], torch.exp(scale) * x[:, half:] + shift), 1)
        return x


class SharedAttention(nn.Module):  # type: ignore[misc,name-defined]
    """Keys and values from one projection; with positions their product with the queries joins the scores."""

    def __init__(self, width: int, heads: int, *, positions: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.both, self.out = (nn.Linear(width, width) for _ in range(3))
        if positions:
            self.place = nn.Linear(width, width, bias=False)
            self.biases = nn.Parameter(torch.empty(2, width))

    def split(self, x: Any) -> Any:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Any, y: Any, places: Any = None) -> Any:
        query, key, value = self.split(self.query(x)), self.split(self.both(y)), self.split(self.both(y))
        scores = query @ key.transpose(2, 3)
        if places is not None:
            scores = scores + query @ self.split(self.place(places)).transpose(2, 3)
        return self.out((torch.softmax(scores, -1) @ value).transpose(1, 2).flatten(2))


class ConformerLayer(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, width: int, heads: int, ffn: int, kernel: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(6)])
        self.feeds = nn.ModuleList(
            [nn.Sequential(nn.Linear(width, ffn), nn.SiLU(), nn.Linear(ffn, width)) for _ in range(2)]
        )
        self.attention = SharedAttention(width, heads, positions=True)
        self.into = nn.Conv1d(width, 2 * width, 1, bias=False)
        self.deep = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width, bias=False)
        self.out = nn.Conv1d(width, width, 1, bias=False)

    def forward(self, x: Any) -> Any:
        x = x + 0.5 * self.feeds[0](self.norms[0](x))
        y = self.norms[1](x)
        x = x + self.attention(y, y, y)
        y = self.deep(F.glu(self.into(self.norms[2](x).transpose(1, 2)), 1)).transpose(1, 2)
        x = x + self.out(F.silu(self.norms[3](y)).transpose(1, 2)).transpose(1, 2)
        return self.norms[5](x + 0.5 * self.feeds[1](self.norms[4](x)))


class DecoderLayer(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(3)])
        self.own, self.other = SharedAttention(width, heads), SharedAttention(width, heads)
        self.feed = nn.Sequential(nn.Linear(width, ffn), nn.ReLU(), nn.Linear(ffn, width))

    def forward(self, x: Any, memory: Any) -> Any:
        y = self.norms[0](x)
        x = x + self.own(y, y)
        x = x + self.other(self.norms[1](x), memory)
        return x + self.feed(self.norms[2](x))


class Conformer(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, layers: int, decoder_layers: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 256, 3, 2), nn.ReLU(), nn.Conv2d(256, 256, 3, 2), nn.ReLU())
        self.entry = nn.Linear(256 * 19, 256)
        self.encoder = nn.ModuleList([ConformerLayer(256, 4, 2048, 15) for _ in range(layers)])
        self.decoder = nn.ModuleList([DecoderLayer(256, 4, 2048) for _ in range(decoder_layers)])
        self.norms = nn.ModuleList([nn.LayerNorm(256) for _ in range(2)])
        self.table = nn.Embedding(4233, 256)
        self.ctc, self.head = nn.Linear(256, 4233), nn.Linear(256, 4233)

    def forward(self, frames: Any, letters: Any) -> Any:
        x = self.stem(frames)
        x = self.entry(x.transpose(1, 2).flatten(2))
        for layer in self.encoder:
            x = layer(x)
        x, y = self.norms[0](x), self.table(letters)
        for layer in self.decoder:
            y = layer(y, x)
        return self.ctc(x), self.head(self.norms[1](y))


def words(*size: int) -> Any:
    return torch.zeros(size, dtype=torch.long)


TWINS: list[tuple[str, Callable[[], tuple[Any, tuple[Any, ...]]], Workload]] = [
    (
        "quartznet",
        lambda: (TimeNetwork(speech.QUARTZNET, separable=True, dense=False), (torch.zeros(1, 64, 400),)),
        speech.quartznet(seq_len=400),
    ),
    (
        "jasper",
        lambda: (TimeNetwork(speech.JASPER, separable=False, dense=True), (torch.zeros(1, 64, 400),)),
        speech.jasper(seq_len=400),
    ),
    (
        "deepspeech2",
        lambda: (DeepSpeech(800, 5), (torch.zeros(1, 1, 161, 200),)),
        speech.deepspeech2(seq_len=200),
    ),
    (
        "waveglow",
        lambda: (WaveGlow(64, 3), (torch.zeros(1, 80, 16), torch.zeros(1, 4000))),
        synthesis.waveglow(channels=64, layers=3),
    ),
]


@pytest.mark.parametrize(("build", "workload"), [t[1:] for t in TWINS], ids=[t[0] for t in TWINS])
def test_parameters_and_flops_are_pytorchs_own(
    build: Callable[[], tuple[Any, tuple[Any, ...]]], workload: Workload
) -> None:
    with torch.device("meta"):
        network, inputs = build()
        network.eval()
        assert parameters(network) == workload.parameters
        assert counted(network, *inputs) == workload.forward_flop


def test_conformer_is_pytorchs_own_but_for_the_positions_of_a_batch() -> None:
    workload = conformer.conformer(layers=3, decoder_layers=2, seq_len=403, target_len=20)
    with torch.device("meta"):
        network = Conformer(3, 2).eval()
        assert parameters(network) == workload.parameters
        steps = 100
        projected_positions = 3 * 2 * steps * 256**2  # once for a whole batch
        frames = torch.zeros(1, 1, 403, 80)
        assert counted(network, frames, words(1, 20)) == workload.forward_flop + projected_positions
