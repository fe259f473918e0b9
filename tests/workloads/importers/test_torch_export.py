"""Modules into workloads: every kind of call against PyTorch's own counter, and clear refusals of what has no shape."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

from workloads.importers.torch_export import workload_from_module
from workloads.op import Op, WorkloadError
from workloads.workload import Workload

torch = pytest.importorskip("torch", reason="imports PyTorch modules")
nn = torch.nn
F = torch.nn.functional
Module: Any = nn.Module


class Call(Module):  # type: ignore[misc]
    """Parameters by name and a function of them and the inputs."""

    def __init__(self, work: Callable[..., Any], **parameters: tuple[int, ...]) -> None:
        super().__init__()
        self.work = work
        for name, shape in parameters.items():
            setattr(self, name, nn.Parameter(torch.empty(shape)))

    def forward(self, *inputs: Any) -> Any:
        return self.work(self, *inputs)


def meta(build: Callable[[], Any], *shapes: tuple[int, ...], whole: bool = False) -> tuple[Any, tuple[Any, ...]]:
    with torch.device("meta"):
        inputs = tuple(torch.zeros(shape, dtype=torch.long) if whole else torch.empty(shape) for shape in shapes)
        return build(), inputs


def ops(workload: Workload, kind: str = "") -> list[Op]:
    return [op for layer in workload.layers for op in layer.ops for _ in range(layer.repeat) if kind in ("", op.kind)]


def counted(network: Any, inputs: tuple[Any, ...]) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*inputs)
    return int(counter.get_total_flops())


def linear(*sizes: int) -> Any:
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))


SMALL: dict[str, tuple[Callable[[], Any], tuple[tuple[int, ...], ...]]] = {
    "linear without bias": (lambda: nn.Linear(8, 12, bias=False), ((4, 8),)),
    "linear of a sequence": (lambda: nn.Linear(8, 12), ((4, 5, 8),)),
    "matmul from the left": (lambda: Call(lambda m, x: m.w @ x, w=(12, 8)), ((4, 8, 5),)),
    "transposed parameter": (lambda: Call(lambda m, x: x @ m.w.t(), w=(12, 8)), ((4, 8),)),
    "einsum": (lambda: Call(lambda m, x: torch.einsum("bth,ehf->betf", x, m.w), w=(3, 8, 6)), ((4, 5, 8),)),
    "product of activations": (lambda: Call(lambda m, x, y: x @ y, w=(1,)), ((4, 3, 5, 8), (4, 3, 8, 6))),
    "baddbmm": (lambda: Call(lambda m, x, y, z: torch.baddbmm(z, x, y), w=(1,)), ((4, 5, 8), (4, 8, 6), (4, 5, 6))),
    "conv 1d": (lambda: nn.Conv1d(8, 12, 3, 2, 1), ((4, 8, 20),)),
    "conv 2d of groups": (lambda: nn.Conv2d(8, 12, 3, 2, 1, groups=4), ((4, 8, 20, 14),)),
    "conv 2d same": (lambda: nn.Conv2d(8, 12, 3, padding="same"), ((4, 8, 20, 14),)),
    "conv 2d dilated": (lambda: nn.Conv2d(8, 12, 3, dilation=4), ((4, 8, 20, 14),)),
    "conv 3d": (lambda: nn.Conv3d(3, 4, (3, 5, 1), (1, 2, 3), (1, 0, 2)), ((4, 3, 10, 12, 9),)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(8, 6, 4, 2, 1), ((4, 8, 20),)),
    "transposed 2d": (lambda: nn.ConvTranspose2d(8, 6, 3, 2, 1, output_padding=1, groups=2), ((4, 8, 10, 7),)),
    "transposed 3d": (lambda: nn.ConvTranspose3d(8, 6, 2, 2), ((4, 8, 5, 6, 7),)),
    "lstm": (lambda: nn.LSTM(8, 6, 2, bidirectional=True), ((9, 4, 8),)),
    "gru without biases": (lambda: nn.GRU(8, 6, bias=False, batch_first=True), ((4, 9, 8),)),
    "vanilla": (lambda: nn.RNN(8, 6, nonlinearity="relu", batch_first=True), ((4, 9, 8),)),
    "lstm cell": (lambda: nn.LSTMCell(8, 6), ((4, 8),)),
    "gru cell": (lambda: nn.GRUCell(8, 6), ((4, 8),)),
    "multi-head attention": (lambda: Call(lambda m, x: m.a(x, x, x)[0]), ((4, 5, 8),)),
    "encoder layer": (lambda: nn.TransformerEncoderLayer(16, 4, 32, batch_first=True), ((4, 5, 16),)),
    "deep and wide": (lambda: linear(8, 8, 8, 8, 8, 3), ((4, 8),)),
}  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_calls_have_pytorchs_flops_and_parameters(name: str) -> None:
    build, shapes = SMALL[name]
    network, inputs = meta(build, *shapes)
    if name == "multi-head attention":
        with torch.device("meta"):
            network.a = nn.MultiheadAttention(8, 2, batch_first=True)
    samples = 4
    workload = workload_from_module(network, inputs, name=name, samples=samples)
    assert workload.forward_flop * samples == counted(network, inputs) > 0
    unused = 1 if any("no call uses" in phrase for phrase in workload.assumed) else 0
    assert workload.parameters + unused == sum(p.numel() for p in network.parameters())
    assert unused == (name in ("product of activations", "baddbmm"))


def test_fused_attention_is_one_op_with_its_heads() -> None:
    def work(m: Any, q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q @ m.w, k, v, is_causal=True, enable_gqa=True)

    network, inputs = meta(lambda: Call(work, w=(16, 16)), (2, 8, 20, 16), (2, 4, 30, 16), (2, 4, 30, 24))
    (op,) = ops(workload_from_module(network, inputs, name="x", samples=2), "attention")
    assert (op.heads, op.kv_heads, op.head_dim, op.value_dim) == (8, 4, 16, 24)
    assert (op.seq_len, op.context, op.causal) == (20, 30, True)
    # The queries come from a product, the keys and values from outside; each is kept once.
    assert op.saved_elements == 8 * 20 * 16 + 4 * 30 * 16 + 4 * 30 * 24


def test_a_mask_is_counted_in_full_and_said() -> None:
    def work(m: Any, q: Any, mask: Any) -> Any:
        return F.scaled_dot_product_attention(q @ m.w, q, q, attn_mask=mask)

    network, inputs = meta(lambda: Call(work, w=(16, 16)), (2, 8, 20, 16), (20, 20))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert not workload.causal
    assert any("mask" in phrase for phrase in workload.assumed)


class Tower(Module):  # type: ignore[misc]
    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(8), nn.Linear(8, width), nn.GELU(), nn.Linear(width, 8)) for width in widths
        )
        self.head = nn.Linear(8, 5)

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + block(x)
        return self.head(x)


@pytest.mark.parametrize(
    ("widths", "repeats"),
    [((16,) * 6, [5, 1, 1]), ((16, 32) * 3, [1, 1, 1]), ((16, 16, 32, 16, 16, 16), [2, 1, 3, 1])],
)
def test_like_modules_in_a_list_are_one_layer(widths: tuple[int, ...], repeats: list[int]) -> None:
    network, inputs = meta(lambda: Tower(widths), (2, 3, 8))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert workload.forward_flop * 2 == counted(network, inputs)
    assert sum(layer.repeat for layer in workload.layers) <= len(widths) + 1
    if len(set(widths)) == 1:
        assert workload.layers[0].repeat >= len(widths) - 1
        assert workload.layers[0].kind == "block"
    assert workload.layers[-1].kind == "head"


def test_a_tied_table_is_carried_by_both_ends_and_counted_once() -> None:
    class Tied(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.table, self.inner = nn.Embedding(50, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 50, bias=False)
            self.head.weight = self.table.weight

        def forward(self, words: Any) -> Any:
            return self.head(self.inner(self.table(words)))

    network, inputs = meta(Tied, (2, 7), whole=True)
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert workload.tied_embeddings
    assert workload.parameters == sum(p.numel() for p in network.parameters())
    assert workload.layers[-1].parameters == 50 * 8
    assert (workload.sample, workload.tokens_per_sample) == ("sequence", 7)


def test_a_layer_used_twice_has_its_parameters_once_and_its_work_twice() -> None:
    network, inputs = meta(lambda: Call(lambda m, x: (x @ m.w).relu() @ m.w, w=(8, 8)), (2, 8))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert (workload.parameters, workload.forward_flop) == (64, 2 * 2 * 64)
    assert any("count once" in phrase for phrase in workload.assumed)


def test_frozen_parameters_do_not_learn() -> None:
    network, inputs = meta(lambda: linear(8, 8, 8), (2, 8))
    network[0].requires_grad_(False)
    first, second = ops(workload_from_module(network, inputs, name="x", samples=2), "gemm")
    assert (first.trainable, second.trainable) == (False, True)
    assert first.parameters == 8 * 8 + 8


def test_only_the_first_convolution_reads_data() -> None:
    network, inputs = meta(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)), (2, 3, 9, 9))
    convs = ops(workload_from_module(network, inputs, name="x", samples=2), "conv")
    assert [op.input_needs_gradient for op in convs] == [False, True]


def test_a_table_of_bags_writes_one_row_a_bag() -> None:
    class Bags(Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.bags, self.top = nn.EmbeddingBag(100, 16, mode="sum"), nn.Linear(16, 1)

        def forward(self, ids: Any) -> Any:
            return self.top(self.bags(ids))

    network, inputs = meta(Bags, (2, 30), whole=True)
    (op,) = ops(workload_from_module(network, inputs, name="x", samples=2), "embedding")
    assert (op.m, op.n, op.k, op.parameters) == (30, 16, 100, 1600)
    assert op.write_elements == 16


def test_experts_in_one_grouped_product_have_a_matrix_each() -> None:
    if not hasattr(torch, "_grouped_mm"):
        pytest.skip("this PyTorch has no grouped product")

    def work(m: Any, x: Any) -> Any:
        ends = torch.arange(8, 33, 8, dtype=torch.int32, device=x.device)
        return torch._grouped_mm(x, m.w, offs=ends)

    network, inputs = meta(lambda: Call(work, w=(4, 16, 32)).to(torch.bfloat16), (32, 16))
    workload = workload_from_module(network, (inputs[0].to(torch.bfloat16),), name="x", samples=2)
    (op,) = ops(workload, "gemm")
    assert (op.m, op.n, op.k, op.experts, op.parameters) == (16, 32, 16, 4, 4 * 16 * 32)


def test_weights_that_are_computed_keep_their_parameters() -> None:
    def build() -> Any:
        return nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3))

    network, inputs = meta(build, (2, 3, 9, 9))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert workload.parameters == sum(p.numel() for p in network.parameters())
    assert workload.forward_flop == 2 * 49 * 4 * 27


def test_parts_without_gradient_and_in_other_formats_are_followed() -> None:
    def work(m: Any, x: Any) -> Any:
        with torch.no_grad():
            angles = torch.arange(8, device=x.device).float().cos()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = F.linear(x, m.w)
        return (y.float() * angles).sum()

    network, inputs = meta(lambda: Call(work, w=(8, 8)), (2, 8))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    (op,) = ops(workload, "gemm")
    assert op.parameters == 64
    assert workload.forward_flop == 2 * 64


def test_checkpoints_are_left_to_the_strategy() -> None:
    from torch.utils.checkpoint import checkpoint

    def work(m: Any, x: Any) -> Any:
        return checkpoint(lambda y: (y @ m.w).relu(), x, use_reentrant=False).sum()

    network, inputs = meta(lambda: Call(work, w=(8, 8)), (2, 8))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert workload.forward_flop == 2 * 64


def test_the_module_is_left_as_it_was() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    workload_from_module(network, (torch.ones(2, 4),), name="x", samples=2)
    assert network.training
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_module_with_numbers_and_one_without_give_the_same() -> None:
    def build() -> Any:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 49, 5))

    network, inputs = meta(build, (2, 3, 9, 9))
    real = workload_from_module(build(), (torch.zeros(2, 3, 9, 9),), name="x", samples=2)
    assert real == workload_from_module(network, inputs, name="x", samples=2)


def test_evaluation_mode_is_said() -> None:
    network, inputs = meta(lambda: nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)).eval(), (2, 4))
    workload = workload_from_module(network, inputs, name="x", samples=2)
    assert any("evaluation" in phrase for phrase in workload.assumed)
    assert not any("dropout" in op.name for op in ops(workload))


@contextmanager
def custom(name: str, schema: str, work: Callable[..., Any]) -> Iterator[Any]:
    library = torch.library.Library("trainyard_test", "FRAGMENT")
    library.define(f"{name}{schema}")
    library.impl(name, work, "CompositeExplicitAutograd")
    library._register_fake_impl = None
    torch.library.register_fake(f"trainyard_test::{name}", work, lib=library)
    yield getattr(torch.ops.trainyard_test, name)
    library._destroy()


@pytest.mark.parametrize(
    ("name", "result"),
    [("fancy_matmul", lambda x, y: x.new_empty(x.shape)), ("mixer", lambda x, y: x.new_empty(x.shape[0], y.shape[1]))],
    ids=["by its name", "by the dimension it contracts"],
)
def test_an_unknown_call_that_looks_like_a_product_is_refused(name: str, result: Callable[..., Any]) -> None:
    with custom(name, "(Tensor x, Tensor y) -> Tensor", result) as call:
        network, inputs = meta(lambda: Call(lambda m, x: call(x @ m.w, m.v), w=(8, 6), v=(6, 5)), (4, 8))
        with pytest.raises(WorkloadError, match=f"trainyard_test::{name}' looks like a product"):
            workload_from_module(network, inputs, name="x", samples=4)


def test_another_unknown_call_is_listed() -> None:
    with custom("squash", "(Tensor x) -> Tensor", lambda x: x.new_empty(x.shape)) as call:
        network, inputs = meta(lambda: Call(lambda m, x: call(x @ m.w), w=(8, 6)), (4, 8))
        workload = workload_from_module(network, inputs, name="x", samples=4)
    assert any("trainyard_test::squash" in phrase for phrase in workload.assumed)
    assert any(op.name == "squash" and op.read_elements == op.write_elements == 6 for op in ops(workload))


def branch(m: Any, x: Any) -> Any:
    return x @ m.w if x.sum() > 0 else x


def pick(m: Any, x: Any) -> Any:
    return (x @ m.w)[x[:, 0] > 0]


BAD: list[tuple[str, Callable[[], Any], Any, str]] = [
    ("no module", lambda: 3, ((4, 8),), "expected a torch.nn.Module, got int"),
    ("control flow", lambda: Call(branch, w=(8, 8)), ((4, 8),), "cannot trace"),
    ("sizes from numbers", lambda: Call(pick, w=(8, 8)), ((4, 8),), "depend"),
    ("no work", lambda: nn.ReLU(), ((4, 8),), "no product"),
    ("wrong inputs", lambda: nn.Linear(8, 8), ((4, 9),), "cannot trace"),
    ("projection", lambda: nn.LSTM(8, 6, proj_size=3), ((9, 4, 8),), "proj_size"),
    ("three inputs in one product", lambda: nn.Bilinear(8, 8, 5), ((4, 8), (4, 8)), "_trilinear' looks like"),
    ("samples", lambda: nn.Linear(8, 8), ((6, 8),), "4 samples do not share evenly"),
]


@pytest.mark.parametrize(("build", "shapes", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_be_followed_is_refused_in_one_line(build: Any, shapes: Any, message: str) -> None:
    network, inputs = meta(build, *shapes)
    with pytest.raises(WorkloadError, match=message) as caught:
        workload_from_module(network, inputs, name="x", samples=4)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("samples", [0, -1, 1.5, "2", True])
def test_samples_is_a_count(samples: Any) -> None:
    with pytest.raises(WorkloadError, match="at least 1"):
        workload_from_module(nn.Linear(2, 2), (torch.ones(2, 2),), name="x", samples=samples)


def test_a_bare_tensor_is_no_tuple_of_inputs() -> None:
    with pytest.raises(WorkloadError, match="example_inputs is a tuple"):
        workload_from_module(nn.Linear(2, 2), torch.ones(2, 2), name="x")


def test_without_pytorch_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(WorkloadError, match=r"trainyard\[torch\]"):
        workload_from_module(object(), (), name="x")
