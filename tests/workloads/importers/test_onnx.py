"""ONNX files into workloads: graphs written here against the networks that ship, and clear refusals."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hwmodels.datafile import DataFileError
from workloads.convnet import vgg16
from workloads.importers.onnx import workload_from_onnx
from workloads.op import Op, WorkloadError
from workloads.workload import Workload

onnx = pytest.importorskip("onnx", reason="imports ONNX files")
helper = onnx.helper
FLOAT, INT64 = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64


class Graph:
    """Writes a graph node by node; weights stand in a file that is not there."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.inputs: list[Any] = []

    def input(self, name: str, shape: Any, kind: int = FLOAT) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def weight(self, name: str, *shape: int) -> str:
        tensor = onnx.TensorProto(name=name, data_type=FLOAT, dims=shape, data_location=onnx.TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value="../never/opened")
        self.weights.append(tensor)
        return name

    def node(self, word: str, *read: str, name: str = "", domain: str = "", outputs: int = 1, **options: Any) -> str:
        out = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(word, read, out, name=name, domain=domain, **options))
        return out[0]

    def save(self, folder: Path, out: str, *, name: str = "graph") -> Path:
        outputs = [onnx.ValueInfoProto(name=out)]
        graph = helper.make_graph(self.nodes, name, self.inputs, outputs, self.weights)
        opsets = [helper.make_opsetid("", 23), helper.make_opsetid("custom", 1)]
        path = folder / "graph.onnx"
        path.write_bytes(helper.make_model(graph, opset_imports=opsets).SerializeToString())
        return path


def ops(workload: Workload, kind: str = "") -> list[Op]:
    return [op for layer in workload.layers for op in layer.ops for _ in range(layer.repeat) if kind in ("", op.kind)]


def test_vgg16_is_the_one_that_ships(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("images", ("batch", 3, 224, 224))
    channels, index = 3, 0
    for width, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            weights = g.weight(f"w{index}", width, channels, 3, 3), g.weight(f"b{index}", width)
            x = g.node("Relu", g.node("Conv", x, *weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1]))
            channels, index = width, index + 1
        x = g.node("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = g.node("Flatten", x)
    for index, (k, n) in enumerate(((512 * 49, 4096), (4096, 4096), (4096, 1000))):
        x = g.node("Gemm", x, g.weight(f"d{index}", n, k), g.weight(f"e{index}", n), transB=1)
        x = g.node("Relu", x) if index < 2 else x
    workload = workload_from_onnx(g.save(tmp_path, x), sizes={"batch": 4}, samples=4)
    shipped = vgg16()
    assert workload.parameters == shipped.parameters
    assert workload.forward_flop == shipped.forward_flop
    assert (workload.sample, workload.family) == ("image", "convnet")
    assert [op.input_needs_gradient for op in ops(workload, "conv")] == [False] + [True] * 12
    # But for dropout, which exports leave out, and the loss, what is kept is the same.
    kept = sum(op.saved_elements for op in ops(workload))
    theirs = sum(op.saved_elements for op in ops(shipped) if op.name not in ("softmax loss", "dropout"))
    assert kept == pytest.approx(theirs, rel=1e-3)


def block(g: Graph, x: str, index: int, h: int, heads: int, seq: int) -> str:
    def at(word: str) -> str:
        return f"/blocks.{index}/{word}"

    def dense(y: str, k: int, n: int, word: str) -> str:
        y = g.node("MatMul", y, g.weight(f"{index}.{word}.w", k, n), name=at(f"{word}/MatMul"))
        return g.node("Add", y, g.weight(f"{index}.{word}.b", n), name=at(f"{word}/Add"))

    def norm(y: str, word: str) -> str:
        weights = g.weight(f"{index}.{word}.scale", h), g.weight(f"{index}.{word}.shift", h)
        return g.node("LayerNormalization", y, *weights, name=at(f"{word}/LayerNormalization"))

    y = norm(x, "norm1")
    q, k, v = (dense(y, h, h, word) for word in ("q", "k", "v"))
    y = g.node("Attention", q, k, v, name=at("Attention"), q_num_heads=heads, kv_num_heads=heads, is_causal=1)
    x = g.node("Add", x, dense(y, h, h, "out"), name=at("Add"))
    y = g.node("Gelu", dense(norm(x, "norm2"), h, 4 * h, "up"), name=at("Gelu"))
    return g.node("Add", x, dense(y, 4 * h, h, "down"), name=at("Add_1"))


def test_a_transformer_folds_into_its_blocks(tmp_path: Path) -> None:
    g = Graph()
    h, heads, seq, layers, vocab = 32, 4, 10, 5, 50
    words = g.input("words", ("batch", "sequence"), INT64)
    x = g.node("Gather", g.weight("table", vocab, h), words)
    for index in range(layers):
        x = block(g, x, index, h, heads, seq)
    x = g.node("MatMul", x, g.weight("head", h, vocab))
    workload = workload_from_onnx(g.save(tmp_path, x), sizes={"batch": 3, "sequence": seq}, samples=3, name="tiny")
    assert workload.parameters == 2 * vocab * h + layers * (12 * h * h + 13 * h)
    products = layers * 12 * h * h + vocab * h
    assert workload.forward_flop == 2 * seq * products + layers * 4 * seq * seq * h
    assert [layer.repeat for layer in workload.layers] == [1, layers, 1]
    assert (workload.causal, workload.tokens_per_sample, workload.name) == (True, seq, "tiny")


def test_recurrent_and_turned_layers_have_their_work(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", (9, 4, 8))
    weights = g.weight("w", 2, 4 * 6, 8), g.weight("r", 2, 4 * 6, 6), g.weight("b", 2, 8 * 6)
    y = g.node("LSTM", x, *weights, hidden_size=6, direction="bidirectional")
    workload = workload_from_onnx(g.save(tmp_path, y), samples=4)
    assert workload.forward_flop == 2 * (2 * 9 * 4 * 6 * 14)
    assert workload.parameters == 2 * 4 * 6 * (8 + 6 + 2)
    g = Graph()
    x = g.input("x", (2, 8, 10, 7))
    y = g.node("ConvTranspose", x, g.weight("w", 8, 3, 3, 3), strides=[2, 2], pads=[1, 1, 1, 1], group=2)
    (op,) = ops(workload_from_onnx(g.save(tmp_path, y), samples=2), "conv")
    assert op.transposed
    assert (op.in_hw, op.out_hw, op.c_in, op.c_out) == ((19, 13), (10, 7), 6, 8)
    assert op.forward_flop == 2 * 10 * 7 * 8 * 3 * 9


def test_einsum_contracts_what_both_have_and_the_output_lacks(tmp_path: Path) -> None:
    g = Graph()
    x = g.input("x", (2, 5, 8))
    y = g.node("Einsum", x, g.weight("w", 3, 8, 6), equation="bth,ehf->betf")
    (op,) = ops(workload_from_onnx(g.save(tmp_path, y), samples=2), "gemm")
    assert op.forward_flop == 2 * 5 * 8 * 3 * 6
    assert op.parameters == 3 * 8 * 6


def matmul(g: Graph, x: str) -> str:
    return g.node("MatMul", x, g.weight("w", 8, 6))


def unknown(g: Graph) -> str:
    return g.node("Mystery", matmul(g, g.input("x", (4, 8))), domain="custom")


def loop(g: Graph) -> str:
    inner = helper.make_graph([], "body", [], [])
    return g.node("Loop", matmul(g, g.input("x", (4, 8))), body=inner)


def cyclic(g: Graph) -> str:
    g.input("x", (4, 8))
    g.nodes += [helper.make_node("Add", ["x", "b"], ["a"], "one"), helper.make_node("Relu", ["a"], ["b"], "two")]
    return "b"


def loose_end(g: Graph) -> str:
    g.nodes.append(helper.make_node("Relu", ["nowhere"], ["y"], name="one"))
    return "y"


def quantised(g: Graph) -> str:
    g.input("x", (4, 8), onnx.TensorProto.INT8)
    return g.node("MatMulInteger", "x", "x")


BAD: list[tuple[str, Callable[[Graph], str], dict[str, Any], str]] = [
    ("open size", lambda g: matmul(g, g.input("x", ("batch", 8))), {}, r"are open; give sizes=\{'batch': \.\.\.\}"),
    ("no such size", lambda g: matmul(g, g.input("x", (4, 8))), {"sizes": {"bach": 2}}, "bach, which is no open"),
    ("a bad size", lambda g: matmul(g, g.input("x", ("b", 8))), {"sizes": {"b": 0}}, "a whole number of at least 1"),
    ("no shape", lambda g: matmul(g, g.input("x", None)), {}, "input x has no shape"),
    ("shapes that do not fit", lambda g: matmul(g, g.input("x", (4, 9))), {}, "shapes cannot be inferred"),
    ("an unknown operator", unknown, {}, "is missing and cannot be inferred|cannot be inferred"),
    ("a loop", loop, {}, "Loop is control flow"),
    ("a cycle", cyclic, {}, "node one reads b, but the graph is cyclic or out of order"),
    ("a loose end", loose_end, {}, "reads nowhere, but nothing makes it"),
    ("whole numbers", quantised, {}, "import the graph before quantisation"),
    ("no work", lambda g: g.node("Relu", g.input("x", (4, 8))), {}, "no product"),
    ("samples", lambda g: matmul(g, g.input("x", (4, 8))), {"samples": 3}, "3 samples do not share evenly"),
    ("no samples", lambda g: matmul(g, g.input("x", (4, 8))), {"samples": 0}, "at least 1"),
]  # fmt: skip


@pytest.mark.parametrize(("build", "options", "message"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_what_cannot_be_imported_is_refused_in_one_line(
    build: Callable[[Graph], str], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    g = Graph()
    path = g.save(tmp_path, build(g))
    with pytest.raises(DataFileError, match=message) as caught:
        workload_from_onnx(path, **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\xff" * 50, bytes([0x3A, 0x02] * 500)])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        workload_from_onnx(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        workload_from_onnx(tmp_path / "none.onnx")
    with pytest.raises(DataFileError, match="directory"):
        workload_from_onnx(tmp_path)


def test_weights_in_the_file_count_like_those_beside_it(tmp_path: Path) -> None:
    g = Graph()
    path = g.save(tmp_path, matmul(g, g.input("x", (4, 8))))
    beside = workload_from_onnx(path, samples=4)
    model = onnx.load(str(path), load_external_data=False)
    (weight,) = model.graph.initializer
    weight.ClearField("external_data")
    weight.ClearField("data_location")
    weight.raw_data = bytes(4 * 48)
    path.write_bytes(model.SerializeToString())
    assert workload_from_onnx(path, samples=4) == beside
    assert beside.parameters == 48


def test_without_the_package_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(WorkloadError, match=r"trainyard\[onnx\]"):
        workload_from_onnx(tmp_path / "x.onnx")
