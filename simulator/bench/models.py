"""Small real networks: each a PyTorch module that returns its loss, with its batch and its optimizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

#: Optimizers of a case.
OPTIMIZERS: Final = ("momentum", "adam")


@dataclass(frozen=True, kw_only=True)
class BenchCase:
    """One network to train.

    ``sizes`` are those of its kind: see `NETWORKS`. ``ranks`` processes each train their own copy on ``batch`` samples
    and share gradients.
    """

    name: str
    kind: str
    sizes: Mapping[str, int]
    batch: int
    optimizer: str
    ranks: int = 1


def _convnet(torch: Any, s: Mapping[str, int], batch: int) -> tuple[Any, tuple[Any, ...]]:
    """Residual blocks of two 3x3 convolutions with batch norm, in stages that halve the image; Section 3.4 of He et al.
    (2016, arXiv:1512.03385) has this shape for small images."""
    nn = torch.nn

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            stride = 1 if inputs == outputs else 2
            self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            self.first_norm = nn.BatchNorm2d(outputs)
            self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.second_norm = nn.BatchNorm2d(outputs)
            self.skip = nn.Identity()
            if inputs != outputs:
                self.skip = nn.Sequential(nn.Conv2d(inputs, outputs, 1, 2, bias=False), nn.BatchNorm2d(outputs))

        def forward(self, x: Any) -> Any:
            y = torch.relu(self.first_norm(self.first(x)))
            return torch.relu(self.second_norm(self.second(y)) + self.skip(x))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            width = s["width"]
            stem = [nn.Conv2d(3, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2)]
            blocks, inputs = [], width
            for stage in range(s["stages"]):
                for _ in range(s["blocks"]):
                    blocks.append(Block(inputs, width << stage))
                    inputs = width << stage
            self.body = nn.Sequential(*stem, *blocks)
            self.head = nn.Linear(inputs, s["classes"])

        def forward(self, x: Any, target: Any) -> Any:
            y = self.body(x).mean((2, 3))
            return nn.functional.cross_entropy(self.head(y), target)

    images = torch.randn(batch, 3, s["image"], s["image"])
    return Net(), (images, torch.randint(0, s["classes"], (batch,)))


def _decoder(torch: Any, s: Mapping[str, int], batch: int) -> tuple[Any, tuple[Any, ...]]:
    """A pre-norm decoder: embeddings of tokens and places, causal attention, GELU of four times the width."""
    nn, functional = torch.nn, torch.nn.functional
    width, heads = s["width"], s["heads"]

    class Block(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.other = nn.LayerNorm(width), nn.LayerNorm(width)
            self.operands, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
            self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x: Any) -> Any:
            b, n, _ = x.shape
            q, k, v = self.operands(self.norm(x)).view(b, n, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
            y = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(y.transpose(1, 2).reshape(b, n, width))
            return x + self.down(functional.gelu(self.up(self.other(x))))

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(s["vocabulary"], width), nn.Embedding(s["length"], width)
            self.blocks = nn.Sequential(*(Block() for _ in range(s["layers"])))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, s["vocabulary"], bias=False)

        def forward(self, tokens: Any, target: Any) -> Any:
            x = self.tokens(tokens) + self.places(torch.arange(tokens.shape[1]))
            logits = self.head(self.norm(self.blocks(x)))
            return functional.cross_entropy(logits.view(-1, s["vocabulary"]), target.view(-1))

    tokens = torch.randint(0, s["vocabulary"], (batch, s["length"]))
    return Net(), (tokens, torch.roll(tokens, -1, 1))


def _recurrent(torch: Any, s: Mapping[str, int], batch: int) -> tuple[Any, tuple[Any, ...]]:
    """A word-level language model: embedding, LSTM layers, a product with all words."""
    nn = torch.nn

    class Net(nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(s["vocabulary"], s["width"])
            self.layers = nn.LSTM(s["width"], s["width"], s["layers"])
            self.head = nn.Linear(s["width"], s["vocabulary"])

        def forward(self, words: Any, target: Any) -> Any:
            logits = self.head(self.layers(self.words(words))[0])
            return nn.functional.cross_entropy(logits.view(-1, s["vocabulary"]), target.view(-1))

    words = torch.randint(0, s["vocabulary"], (s["length"], batch))
    return Net(), (words, torch.roll(words, -1, 0))


#: Kind -> (torch, sizes, samples) -> (module that returns its loss, what it is called with).
NETWORKS: Final[Mapping[str, Callable[[Any, Mapping[str, int], int], tuple[Any, tuple[Any, ...]]]]] = {
    "convnet": _convnet, "decoder": _decoder, "lstm": _recurrent,
}  # fmt: skip


def built(torch: Any, case: BenchCase) -> tuple[Any, tuple[Any, ...], Any]:
    """The module of a case, what it is called with, and its optimizer."""
    torch.manual_seed(0)
    module, inputs = NETWORKS[case.kind](torch, case.sizes, case.batch)
    return module, inputs, optimizer_of(torch, case.optimizer, module.parameters())


def optimizer_of(torch: Any, word: str, parameters: Any) -> Any:
    """An optimizer by its word."""
    if word == "adam":
        return torch.optim.Adam(parameters, lr=1e-4)
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9)


def _conv(width: int, blocks: int, stages: int, image: int) -> dict[str, int]:
    return {"width": width, "blocks": blocks, "stages": stages, "image": image, "classes": 100}


def _dec(width: int, heads: int, layers: int, length: int, vocabulary: int) -> dict[str, int]:
    return {"width": width, "heads": heads, "layers": layers, "length": length, "vocabulary": vocabulary}


def _lstm(width: int, layers: int, length: int, vocabulary: int) -> dict[str, int]:
    return {"width": width, "layers": layers, "length": length, "vocabulary": vocabulary}


CONVNETS: Final = {
    "small": (_conv(16, 2, 3, 32), 32), "middle": (_conv(32, 2, 3, 64), 16), "large": (_conv(64, 2, 4, 64), 16),
}  # fmt: skip
DECODERS: Final = {
    "small": (_dec(128, 4, 2, 64, 1000), 8), "middle": (_dec(256, 8, 4, 128, 4000), 4),
    "large": (_dec(512, 8, 6, 256, 8000), 2),
}  # fmt: skip
LSTMS: Final = {
    "small": (_lstm(128, 1, 32, 1000), 16), "middle": (_lstm(256, 2, 35, 4000), 20),
    "large": (_lstm(512, 2, 35, 8000), 20),
}  # fmt: skip


def single_cases() -> list[BenchCase]:
    """One process: every network in three sizes, with both optimizers."""
    return [
        BenchCase(name=f"{kind} {size} {word}", kind=kind, sizes=sizes, batch=batch, optimizer=word)
        for kind, table in (("convnet", CONVNETS), ("decoder", DECODERS), ("lstm", LSTMS))
        for size, (sizes, batch) in table.items()
        for word in OPTIMIZERS
    ]


def shared_cases() -> list[BenchCase]:
    """Two processes that share gradients over gloo; the networks with more parameters exchange longer."""
    chosen = (
        ("convnet", "middle", CONVNETS["middle"], "momentum"), ("convnet", "large", CONVNETS["large"], "momentum"),
        ("decoder", "middle", DECODERS["middle"], "adam"), ("decoder", "large", DECODERS["large"], "momentum"),
        ("lstm", "middle", LSTMS["middle"], "momentum"), ("lstm", "large", LSTMS["large"], "adam"),
        # Few tokens for many parameters: the exchange is half of the step.
        ("decoder", "wide", (_dec(512, 8, 6, 64, 8000), 1), "momentum"),
        ("lstm", "wide", (_lstm(512, 2, 8, 8000), 8), "adam"),
    )  # fmt: skip
    return [
        BenchCase(name=f"{kind} {size} {word} x2", kind=kind, sizes=sizes, batch=batch, optimizer=word, ranks=2)
        for kind, size, (sizes, batch), word in chosen
    ]


def short_cases() -> list[BenchCase]:
    """What runs in seconds anywhere: each network as small as it gets, one of them in two processes."""
    tiny = [
        BenchCase(name="convnet tiny", kind="convnet", sizes=_conv(8, 1, 2, 16), batch=4, optimizer="momentum"),
        BenchCase(name="decoder tiny", kind="decoder", sizes=_dec(32, 2, 1, 16, 100), batch=2, optimizer="adam"),
        BenchCase(name="lstm tiny", kind="lstm", sizes=_lstm(32, 1, 8, 100), batch=4, optimizer="adam"),
    ]
    shared = BenchCase(
        name="decoder tiny x2", kind="decoder", sizes=_dec(32, 2, 1, 16, 100), batch=2, optimizer="adam", ranks=2
    )
    return [*tiny, shared]
