"""Recurrent networks against PyTorch modules written out by hand: parameters and forward FLOPs."""

from collections.abc import Callable
from typing import Any

import pytest

from workloads import reading, recurrent, speech, translation
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
nn = torch.nn


def counted(network: Any, *inputs: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return int(counter.get_total_flops())


def parameters(network: Any) -> int:
    return sum(p.numel() for p in network.parameters())


class LanguageModel(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, kind: Any, width: int, hidden: int, layers: int, vocab: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, width)
        self.layers = kind(width, hidden, layers)
        self.head = nn.Linear(hidden, vocab)

    def forward(self, words: Any) -> Any:
        return self.head(self.layers(self.table(words))[0])


class AdditiveAttention(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
        self.vector, self.bias = nn.Parameter(torch.empty(width)), nn.Parameter(torch.empty(width))
        self.scale = nn.Parameter(torch.empty(1))

    def forward(self, queries: Any, keys: Any) -> Any:
        sums = self.query(queries).unsqueeze(2) + self.key(keys).unsqueeze(1) + self.bias
        scores = (torch.tanh(sums) * (self.vector / self.vector.norm() * self.scale)).sum(-1)
        return torch.bmm(torch.softmax(scores, -1), keys)


class Gnmt(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self, width: int, layers: int, vocab: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab, width)
        self.both = nn.LSTM(width, width, bidirectional=True, batch_first=True)
        above = [nn.LSTM(2 * width if i == 0 else width, width, batch_first=True) for i in range(layers - 1)]
        self.encoder = nn.ModuleList(above)
        self.first = nn.LSTM(width, width, batch_first=True)
        self.attention = AdditiveAttention(width)
        self.decoder = nn.ModuleList([nn.LSTM(2 * width, width, batch_first=True) for _ in range(layers - 1)])
        self.head = nn.Linear(width, vocab)

    def forward(self, source: Any, target: Any) -> Any:
        x = self.encoder[0](self.both(self.table(source))[0])[0]
        for layer in self.encoder[1:]:
            x = x + layer(x)[0]
        y = self.first(self.table(target))[0]
        context = self.attention(y, x)
        y = self.decoder[0](torch.cat((y, context), 2))[0]
        for layer in self.decoder[1:]:
            y = y + layer(torch.cat((y, context), 2))[0]
        return self.head(y)


class RnnT(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.before = nn.LSTM(240, 1024, 2, batch_first=True)
        self.after = nn.LSTM(2048, 1024, 3, batch_first=True)
        self.table = nn.Embedding(1023, 512)
        self.prediction = nn.LSTM(512, 512, 2, batch_first=True)
        self.encoded, self.predicted = nn.Linear(1024, 512), nn.Linear(512, 512)
        self.joint = nn.Linear(512, 1024)

    def forward(self, frames: Any, labels: Any) -> Any:
        x = self.before(frames)[0]
        x = self.after(x.reshape(x.shape[0], x.shape[1] // 2, -1))[0]
        y = self.prediction(self.table(labels))[0]
        return self.joint(torch.relu(self.encoded(x).unsqueeze(2) + self.predicted(y).unsqueeze(1)))


class DrQa(nn.Module):  # type: ignore[misc,name-defined]
    def __init__(self) -> None:
        super().__init__()
        self.table, self.tags, self.entities = nn.Embedding(1000, 300), nn.Embedding(50, 12), nn.Embedding(19, 8)
        self.match = nn.Linear(300, 300)
        self.paragraph = nn.ModuleList(self.stack(624))
        self.question = nn.ModuleList(self.stack(300))
        self.weights = nn.Linear(768, 1)
        self.start, self.end = nn.Linear(768, 768), nn.Linear(768, 768)

    @staticmethod
    def stack(width: int) -> list[Any]:
        return [nn.LSTM(w, 128, bidirectional=True, batch_first=True) for w in (width, 256, 256)]

    @staticmethod
    def encode(layers: Any, x: Any) -> Any:
        outputs = []
        for layer in layers:
            x = layer(x)[0]
            outputs.append(x)
        return torch.cat(outputs, 2)

    def forward(self, words: Any, asked: Any, features: Any) -> Any:
        x, q = self.table(words), self.table(asked)
        scores = torch.relu(self.match(x)).bmm(torch.relu(self.match(q)).transpose(1, 2))
        tags, entities = self.tags(words % 50), self.entities(words % 19)
        told = torch.cat((x, features, torch.softmax(scores, -1).bmm(q), tags, entities), 2)
        paragraph, question = self.encode(self.paragraph, told), self.encode(self.question, q)
        merged = torch.softmax(self.weights(question), 1).transpose(1, 2).bmm(question).squeeze(1)
        return [paragraph.bmm(end(merged).unsqueeze(2)) for end in (self.start, self.end)]


def words(*size: int) -> Any:
    return torch.zeros(size, dtype=torch.long)


def lm(kind: Any) -> Callable[[], tuple[Any, tuple[Any, ...]]]:
    return lambda: (LanguageModel(kind, 96, 128, 3, 500), (words(1, 35),))


TWINS: list[tuple[str, Callable[[], tuple[Any, tuple[Any, ...]]], Workload]] = [
    *(
        (cell, lm(kind), recurrent.language_model(cell=cell, layers=3, hidden=128, width=96, vocab=500))
        for cell, kind in (("vanilla", nn.RNN), ("gru", nn.GRU), ("lstm", nn.LSTM))
    ),
    (
        "gnmt",
        lambda: (Gnmt(1024, 4, 32320), (words(1, 30), words(1, 30))),
        translation.gnmt(),
    ),
    (
        "gnmt of 8 layers",
        lambda: (Gnmt(64, 8, 300), (words(1, 17), words(1, 17))),
        translation.gnmt(layers=8, hidden=64, vocab=300, seq_len=17),
    ),
    (
        "rnn-t",
        lambda: (RnnT(), (torch.zeros(1, 100, 240), words(1, 13))),
        speech.rnnt(seq_len=300, labels_per_frame=0.04),
    ),
    (
        "drqa",
        lambda: (DrQa(), (words(1, 120), words(1, 11), torch.zeros(1, 120, 4))),
        reading.drqa(vocab=1000, seq_len=120, question_len=11),
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
