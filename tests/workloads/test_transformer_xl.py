"""Transformer-XL against the counts its training program prints, and PyTorch's counter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.op import WorkloadError
from workloads.transformer_xl import SAMPLES_PER_STEP, tail_share, transformer_xl
from workloads.workload import Workload

LARGE: dict[str, Any] = {"layers": 18, "hidden": 1024, "heads": 16, "ffn": 4096, "attention_dropout": True}
CUTOFFS = (19997, 39997, 199997)


@pytest.mark.parametrize(
    ("workload", "blocks", "parameters"),
    [
        # "n_nonemb_param" and "n_all_param" in the logs of lambdal/deeplearning-benchmark.
        (transformer_xl(), 54_599_680, 191_948_759),
        (transformer_xl(**LARGE, seq_len=256), 245_532_672, 519_963_095),
        # The adaptive softmax of width 1 adds a column and a bias for each of three tails.
        (transformer_xl(cutoffs=CUTOFFS), 54_599_680, 191_948_759 + 3 * 512 + 3),
        # Tables of 1024, 256, 64, 16 columns, each with a projection; the head has one of its own.
        (
            transformer_xl(**LARGE, seq_len=384, cutoffs=CUTOFFS, shrink=4),
            245_532_672,
            245_532_672 + 2 * 1024
            + (19997 * 1024 + 20000 * 256 + 160000 * 64 + 67738 * 16) + 1024 * (1024 + 256 + 64 + 16)
            + 1024 * 1024 + 3 * 1024 + 267738,
        ),
    ],
    ids=["base", "large", "base adaptive", "large adaptive"],
)  # fmt: skip
def test_parameter_counts_are_those_the_program_prints(workload: Workload, blocks: int, parameters: int) -> None:
    _, block, _ = workload.layers
    assert block.repeat * block.parameters == blocks
    assert workload.parameters == parameters


def test_a_segment_has_the_flops_pytorch_counts() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    nn = torch.nn
    hidden, heads, ffn, rows, memory, vocab, samples = 64, 4, 128, 24, 40, 300, SAMPLES_PER_STEP
    width = hidden // heads

    class Segment(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(vocab, hidden)
            self.qkv, self.positions, self.out = (nn.Linear(hidden, n * hidden, bias=False) for n in (3, 1, 1))
            self.up, self.down = nn.Linear(hidden, ffn), nn.Linear(ffn, hidden)
            self.attention_norm, self.mlp_norm = nn.LayerNorm(hidden), nn.LayerNorm(hidden)

        def forward(self, words: Any, past: Any, places: Any) -> Any:
            x = self.table(words)
            both = torch.cat([past, x], 0)
            q, k, v = (t.view(-1, samples, heads, width) for t in self.qkv(both).chunk(3, -1))
            q, r = q[-rows:], self.positions(places).view(-1, heads, width)
            content = torch.einsum("ibnd,jbnd->bnij", q, k)
            place = torch.einsum("ibnd,jnd->bnij", q, r)
            weights = (content + place).softmax(-1)
            x = self.attention_norm(
                x + self.out(torch.einsum("bnij,jbnd->ibnd", weights, v).reshape(rows, samples, -1))
            )
            x = self.mlp_norm(x + self.down(torch.relu(self.up(x))))
            return x @ self.table.weight.T

    with torch.device("meta"):
        network = Segment()
        example = (
            torch.empty(rows, samples, dtype=torch.long), torch.empty(memory, samples, hidden),
            torch.empty(memory + rows, hidden),
        )  # fmt: skip
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*example)
    workload = transformer_xl(
        layers=1, hidden=hidden, heads=heads, ffn=ffn, seq_len=rows, memory=memory, vocab=vocab
    )  # fmt: skip
    assert counter.get_total_flops() == samples * workload.forward_flop
    biases = 2 * hidden + vocab  # of the queries, and of the words
    assert sum(p.numel() for p in network.parameters()) == workload.parameters - biases


def small(**changes: Any) -> Workload:
    return transformer_xl(
        **{"layers": 2, "hidden": 64, "heads": 4, "ffn": 128, "seq_len": 32, "vocab": 1000, **changes}
    )


def products(workload: Workload, name: str) -> int:
    return sum(op.forward_flop for layer in workload.layers for op in layer.ops if op.name == name)


@given(factor=st.integers(1, 9))
def test_scores_grow_with_memory_and_segment_together(factor: int) -> None:
    one, more = small(memory=32), small(memory=32 * factor)
    for name in ("content scores", "position scores", "weighted values", "qkv"):
        assert products(more, name) * 2 == products(one, name) * (factor + 1)


def test_the_memory_is_as_long_as_the_segment_unless_told() -> None:
    assert small() == small(memory=32)


def test_an_adaptive_softmax_works_less_and_holds_as_many_words() -> None:
    full, adaptive = small(), small(cutoffs=(100, 500))
    assert adaptive.forward_flop < full.forward_flop
    assert adaptive.parameters - full.parameters == 2 * 64 + 2
    narrow = small(cutoffs=(100, 500), shrink=2)
    assert narrow.parameters < adaptive.parameters


def test_shares_of_ranks_add_up() -> None:
    parts = sum(tail_share(a, b, vocab=267735) for a, b in ((19997, 39997), (39997, 199997), (199997, 267735)))
    assert parts == pytest.approx(tail_share(19997, 267735, vocab=267735))
    assert 0.02 < parts < 0.08


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "hidden 64 is not a multiple of 3 heads"),
        ({"cutoffs": (500, 100)}, r"cutoffs \[500, 100\] must rise between 0 and the vocabulary of 1000"),
        ({"cutoffs": (1000,)}, "must rise"),
        ({"cutoffs": (100,), "shrink": 3}, "hidden 64 is not a multiple of 3 to the power 1"),
        ({"layers": 0}, "layers is 0; at least 1"),
    ],
)
def test_impossible_sizes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        small(**changes)
