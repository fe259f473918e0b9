"""Layer files: networks written by hand against the zoo and PyTorch, the way back, and what is wrong with a file."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.datafile import DataFileError
from workloads import convnet, dlrm, interest, recommender
from workloads.importers.layer_file import to_layer_file, workload_from_layer_file
from workloads.importers.layer_ops import OPS
from workloads.layer import Layer
from workloads.op import conv, conv3d, product, transposed
from workloads.transformer import bert, transformer
from workloads.workload import Workload

TINY = """
schema = 1
name = "tiny"
family = "convnet"
sample = "image"
input = [3, 32, 32]

[[layers]]
name = "stem"
kind = "conv"
[[layers.ops]]
op = "conv"
channels = 16
kernel = 3
padding = 1
[[layers.ops]]
op = "norm"
norm = "batch"
[[layers.ops]]
op = "activation"

[[layers]]
name = "block"
repeat = 3
[[layers.ops]]
op = "conv"
channels = 16
kernel = 3
padding = 1
[[layers.ops]]
op = "norm"
norm = "batch"
[[layers.ops]]
op = "add"
[[layers.ops]]
op = "activation"

[[layers]]
name = "head"
kind = "head"
[[layers.ops]]
op = "pool"
pool = "global"
[[layers.ops]]
op = "dense"
units = 10
[[layers.ops]]
op = "loss"
"""


def read(text: str | dict[str, Any], folder: Path | None = None) -> Workload:
    if isinstance(text, dict):
        return workload_from_layer_file(text)
    assert folder is not None
    path = folder / "net.toml"
    path.write_text(text, encoding="utf-8")
    return workload_from_layer_file(path)


def net(*ops: Any, shape: list[int], sample: str = "image", **more: Any) -> dict[str, Any]:
    return {"family": "convnet", "sample": sample, "input": shape, "layers": [{"ops": list(ops), **more}]}


def test_a_small_network_part_by_part(tmp_path: Path) -> None:
    workload = read(TINY, tmp_path)
    stem, block, head = workload.layers
    assert (workload.name, block.repeat, workload.num_blocks) == ("tiny", 3, 3)
    assert stem.parameters == 3 * 16 * 9 + 2 * 16
    assert block.parameters == 16 * 16 * 9 + 2 * 16
    assert head.parameters == 16 * 10 + 10
    assert workload.forward_flop == 2 * 32 * 32 * 9 * (3 * 16 + 3 * 16 * 16) + 2 * 16 * 10
    # Kept: the picture, what the norm reads, what the activation writes; the block's input is the stem's output.
    assert stem.saved_elements == (3 + 16 + 16) * 32 * 32
    assert block.saved_elements == 2 * 16 * 32 * 32
    assert [op.input_needs_gradient for layer in workload.layers for op in layer.ops if op.kind == "conv"] == [
        False,
        True,
    ]


def test_the_same_file_in_json(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(tomllib.loads(TINY)), encoding="utf-8")
    assert workload_from_layer_file(path) == read(TINY, tmp_path)


def test_vgg16_by_hand_is_the_zoos() -> None:
    ops: list[dict[str, Any]] = []
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            ops += [{"op": "conv", "channels": channels, "kernel": 3, "padding": 1, "bias": True}, {"op": "activation"}]
        ops.append({"op": "pool", "kernel": 2, "stride": 2})
    ops.append({"op": "flatten"})
    for units in (4096, 4096):
        ops += [{"op": "dense", "units": units}, {"op": "activation"}, {"op": "dropout"}]
    ops += [{"op": "dense", "units": 1000}, {"op": "loss"}]
    hand, zoo = read(net(*ops, shape=[3, 224, 224])), convnet.vgg16()
    assert (hand.parameters, hand.forward_flop) == (zoo.parameters, zoo.forward_flop) == (138_357_544, zoo.forward_flop)
    convs = [op.saved_elements for layer in zoo.layers for op in layer.ops if op.kind == "conv"]
    assert [op.saved_elements for op in hand.layers[0].ops if op.kind == "conv"] == convs


def test_a_block_by_hand_is_the_transformers() -> None:
    ops = [
        {"op": "norm"}, {"op": "dense", "units": 3 * 64, "split": "column"},
        {"op": "attention", "heads": 4, "causal": True}, {"op": "dense", "units": 64, "split": "row"}, {"op": "add"},
        {"op": "norm"}, {"op": "dense", "units": 256, "split": "column"},
        {"op": "activation", "activation": "gelu"}, {"op": "dense", "units": 64, "split": "row"}, {"op": "add"},
    ]  # fmt: skip
    hand = read(net(*ops, shape=[32, 64], sample="sequence")).layers[0]
    zoo = transformer(name="x", layers=1, hidden=64, heads=4, vocab=10, seq_len=32, dropout=False).layers[1]
    assert (hand.parameters, hand.forward_flop) == (zoo.parameters, zoo.forward_flop)
    assert hand.saved_elements == zoo.saved_elements
    assert [op.split for op in hand.ops if op.kind == "gemm"] == [op.split for op in zoo.ops if op.kind == "gemm"]


def test_a_repeated_layer_that_reads_data_is_laid_out_twice() -> None:
    ops = [{"op": "conv", "channels": 3, "kernel": 3, "padding": 1}, {"op": "activation"}]
    first, again = read(net(*ops, shape=[3, 8, 8], repeat=4, name="body")).layers
    assert ((first.name, first.repeat), (again.name, again.repeat)) == (("body", 1), ("body again", 3))
    assert first.ops[0].input_needs_gradient is False
    assert again.ops[0].input_needs_gradient is True
    assert first.saved_elements - again.saved_elements == 3 * 8 * 8  # the picture


@pytest.mark.parametrize("sides", [[9, 7], [5, 9, 7]])
def test_transposed_convolutions_undo_the_shape(sides: list[int]) -> None:
    down = {"op": "conv", "channels": 8, "kernel": 3, "stride": 2, "padding": 1}
    up = {"op": "conv", "channels": 4, "kernel": 3, "stride": 2, "padding": 1, "transposed": True, "bias": True}
    ops = read(net({**down}, {**up}, {"op": "norm"}, shape=[4, *sides])).layers[0].ops
    assert ops[1].transposed
    assert ops[1].forward_flop == ops[0].forward_flop
    assert ops[1].parameters == ops[0].parameters + 4
    assert ops[2].read_elements == 4 * (9 * 7 if len(sides) == 2 else 5 * 9 * 7)


def test_torch_counts_the_same() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    nn = torch.nn
    with torch.device("meta"):
        network = nn.Sequential(
            nn.Conv2d(3, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 8, 3, 1, 1, groups=4, bias=False), nn.MaxPool2d(2),
            nn.ConvTranspose2d(8, 6, 2, 2), nn.Flatten(), nn.Linear(6 * 16 * 16, 20),
        )  # fmt: skip
        counter = FlopCounterMode(display=False)
        with counter:
            network(torch.zeros(1, 3, 32, 32))
    ops = [
        {"op": "conv", "channels": 8, "kernel": 5, "stride": 2, "padding": 2, "bias": True}, {"op": "activation"},
        {"op": "conv", "channels": 8, "kernel": [3, 3], "padding": [1, 1], "groups": 4},
        {"op": "pool", "kernel": 2, "stride": 2},
        {"op": "conv", "channels": 6, "kernel": 2, "stride": 2, "transposed": True, "bias": True}, {"op": "flatten"},
        {"op": "dense", "units": 20},
    ]  # fmt: skip
    hand = read(net(*ops, shape=[3, 32, 32]))
    assert hand.forward_flop == counter.get_total_flops()
    assert hand.parameters == sum(p.numel() for p in network.parameters())


def test_recurrent_layers_and_embeddings() -> None:
    ops = [
        {"op": "embedding", "rows": 100, "width": 12}, {"op": "recurrent", "units": 16, "bidirectional": True},
        {"op": "recurrent", "units": 8, "cell": "gru", "biases": 1}, {"op": "dense", "units": 100}, {"op": "loss"},
    ]  # fmt: skip
    workload = read({**net(*ops, shape=[20], sample="sequence"), "family": "recurrent"})
    assert workload.tokens_per_sample == 20
    lstm, gru = 4 * 16 * (12 + 16 + 2), 3 * 8 * (32 + 8 + 1)
    assert workload.parameters == 100 * 12 + 2 * lstm + gru + 8 * 100 + 100


# --- the way back ------------------------------------------------------------------------------------------------

WORKLOADS = [
    convnet.resnet50(), convnet.alexnet_grouped(), convnet.inception_v3(), recommender.neumf(),
    dlrm.dlrm(interaction="cross"), interest.sim(), bert(name="b", layers=2, hidden=64, heads=4),
    transformer(
        name="x", layers=2, hidden=64, heads=4, vocab=50, seq_len=8, positions="rotary", assumed=("a", 'b "c"\\'),
    ),
    Workload(
        name="odd \u00e9", family="scientific", sample="volume", hyper={"a b": 1.5, "c": True, "d": "\u00fc"},
        layers=read(net({"op": "conv", "channels": 4, "kernel": 3}, shape=[1, 4, 6, 6])).layers,
    ),
]  # fmt: skip


@pytest.mark.parametrize("workload", WORKLOADS, ids=[w.name for w in WORKLOADS])
def test_a_workload_comes_back_exactly(workload: Workload, tmp_path: Path) -> None:
    text = to_layer_file(workload)
    assert read(text, tmp_path) == workload
    assert workload_from_layer_file(tomllib.loads(text)) == workload


def test_every_kind_of_op_comes_back(tmp_path: Path) -> None:
    volume = conv3d(name="v", in_dhw=(4, 6, 8), c_in=2, c_out=4, kernel=(3, 3, 3), padding=(1, 1, 1))
    up = transposed(conv(name="c", in_hw=(8, 8), c_in=2, c_out=4, kernel=(2, 2), stride=(2, 2)), name="up", bias=True)
    dots = product(name="p", batch=2, m=3, n=4, k=5)
    layer = Layer(name="l", kind="block", ops=(volume, up, dots))
    workload = Workload(name="ops", family="convnet", sample="image", layers=(layer,))
    assert read(to_layer_file(workload), tmp_path) == workload


def test_work_of_an_exact_op_is_that_of_its_shape() -> None:
    ops = [
        {"kind": "gemm", "m": 3, "n": 4, "k": 5, "batch": 2},
        {"kind": "attention", "heads": 2, "head_dim": 4, "seq_len": 8, "context": 6, "value_dim": 2},
        {"kind": "recurrent", "cell": "gru", "seq_len": 3, "n": 4, "k": 5}, {"kind": "vector", "read_elements": 7},
    ]  # fmt: skip
    made = read(net(*ops, shape=[3])).layers[0].ops
    assert [op.forward_flop for op in made] == [240, 2 * 8 * 6 * 2 * 6, 2 * 3 * 3 * 4 * 9, 0]


# --- refusals ----------------------------------------------------------------------------------------------------


def refusal(source: Any) -> str:
    with pytest.raises(DataFileError) as caught:
        workload_from_layer_file(source)
    return str(caught.value)


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([{"op": "cov"}], "layers[0].ops[0].op: is cov. Legal: conv, dense,"),
        ([{}], "layers[0].ops[0]: lacks op."),
        ([{"op": "conv", "channels": 4}], "layers[0].ops[0]: lacks kernel."),
        ([{"op": "conv", "channels": 4, "kernel": 9}], "layers[0].ops[0]: op 'conv': a 9-wide window"),
        ([{"op": "conv", "channels": 4, "kernel": [3, 3, 3]}], "kernel: expected 2 whole numbers of at least 1"),
        ([{"op": "conv", "channels": 4, "kernel": 3, "groups": 2}], "2 groups must divide 3 input and 4 output"),
        ([{"op": "dense", "units": 0}], "layers[0].ops[0].units: is 0; expected a whole number from 1"),
        ([{"op": "dense", "unit": 4}], "layers[0].ops[0]: lacks units."),
        ([{"op": "dense", "units": 4, "biases": True}], "biases: is not a known key. Did you mean 'bias'? Known:"),
        ([{"op": "attention", "heads": 3}], "its input is [3, 8, 8]; expected [positions, width]"),
        ([{"op": "reshape", "shape": [5, 5]}], "shape [5, 5] does not hold the 192 elements of its input [3, 8, 8]"),
        ([{"op": "flatten"}], "layers[0].ops: hold nothing but changes of shape"),
        (
            [{"kind": "gemm", "m": 2, "n": 2, "k": 2, "forward_flop": 7}],
            "forward_flop is 7, but its gemm shape makes 16",
        ),
        ([{"kind": "gemm", "m": -2}], "layers[0].ops[0].m: is -2; expected a whole number from 0"),
        ([{"kind": "gem"}], "kind: is gem. Legal: gemm, conv"),
        ([{"kind": "conv", "kernel": [3]}], "kernel: expected 2 whole numbers."),
        ([{"kind": "gemm", "shape": 3}], "shape: is not a known key."),
        ([{"kind": "vector"}, {"op": "norm"}], "layers[0].ops[1].input: its shape is not known here; give input"),
        ([{"op": "norm", "input": [0]}], "layers[0].ops[0].input: is "),
        ([{"op": "norm", "norm": "wave"}], "norm: is wave. Legal: batch, layer, group, instance, rms."),
        ([{"op": "dense", "units": 2**40}], "units: is 1099511627776; expected a whole number from 1 to 2147483648."),
        ([1], "layers[0].ops: is list; expected a list of at most 10000 tables."),
    ],
)
def test_what_is_wrong_with_an_op(ops: list[Any], message: str) -> None:
    assert message in refusal(net(*ops, shape=[3, 8, 8]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"family": "convnets"}, "layers: family: is convnets. Legal: convnet,"),
        ({"family": None}, "layers: lacks family."),
        ({"sample": "picture"}, "layers: sample: is picture. Legal: image,"),
        ({"layers": []}, "layers: layers: expected at least one [[layers]] table."),
        ({"layers": [{"ops": []}]}, "layers: layers[0].ops: expected at least one op."),
        ({"layers": [{"ops": [{"op": "norm"}], "repeats": 3}]}, "repeats: is not a known key. Did you mean 'repeat'?"),
        ({"layers": [{"ops": [{"op": "flatten"}, {"op": "dense", "units": 4}], "repeat": 2}]},
         "layers[0].repeat: is 2, but the layer makes [4] out of [3, 8, 8]."),
        ({"schema": 2}, "schema: is 2; expected a whole number from 1 to 1."),
        ({"hyper": {"a": [1]}}, "hyper.a: is list; expected a number, a text, true or false."),
        ({"input": [3, "8"]}, "input: is list; expected a list of at most 4 whole numbers."),
        ({"tokens_per_sample": 0}, "tokens_per_sample: is 0; expected a whole number from 1"),
        ({"colour": "red"}, "layers: colour: is not a known key."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file(changes: dict[str, Any], message: str) -> None:
    assert message in refusal({**net({"op": "norm"}, shape=[3, 8, 8]), **changes})


def test_all_problems_are_said_with_their_lines(tmp_path: Path) -> None:
    text = TINY.replace("channels = 16\nkernel = 3", "channels = -1\nkernel = 0", 1).replace(
        "units = 10", 'units = "x"'
    )
    path = tmp_path / "net.toml"
    path.write_text(text, encoding="utf-8")
    lines = refusal(path).splitlines()
    number = {
        word: i
        for i, line in enumerate(text.splitlines(), 1)
        for word in ("channels = -1", "kernel = 0")
        if word in line
    }
    assert lines[0].startswith(f"{path}:{number['channels = -1']}: layers[0].ops[0].channels: is -1;")
    assert lines[1].startswith(f"{path}:{number['kernel = 0']}: layers[0].ops[0].kernel: is 0;")
    assert any("layers[1].ops[0].input: its shape is not known here" in line for line in lines)


def test_an_op_of_every_name_is_known() -> None:
    shapes = {"embedding": [4], "attention": [4, 12], "recurrent": [4, 6]}
    keys: dict[str, dict[str, Any]] = {
        "conv": {"channels": 2, "kernel": 1}, "dense": {"units": 2}, "pool": {"pool": "average", "kernel": 2},
        "embedding": {"rows": 3, "width": 2}, "attention": {"heads": 2}, "recurrent": {"units": 2},
        "reshape": {"shape": [192]},
    }  # fmt: skip
    for word in OPS:
        ops = [{"op": word, **keys.get(word, {})}, {"op": "norm"}]
        assert read(net(*ops, shape=shapes.get(word, [3, 8, 8]))).layers[0].ops


# --- fuzz --------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats() | st.text(max_size=6)
    | st.sampled_from([*OPS, "gemm", "image", "relu"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
OP_KEYS = st.sampled_from(
    ["op", "kind", "input", "units", "channels", "kernel", "stride", "heads", "rows", "m", "n", "k"]
)
OP = st.dictionaries(OP_KEYS, VALUES, max_size=4) | st.fixed_dictionaries(
    {"op": st.sampled_from(sorted(OPS))},
    optional={k: st.integers(0, 9) for k in ("units", "channels", "kernel", "heads")},
)


@settings(max_examples=300, deadline=None)
@given(
    ops=st.lists(OP, max_size=4),
    top=st.dictionaries(st.sampled_from(["input", "layers", "family", "hyper", "x"]), VALUES, max_size=2),
    shape=st.lists(st.integers(1, 9), min_size=1, max_size=4), repeat=st.integers(1, 3),
)  # fmt: skip
def test_anything_is_built_or_refused_in_single_lines(ops: Any, top: Any, shape: Any, repeat: int) -> None:
    try:
        workload = workload_from_layer_file({**net(*ops, shape=shape, repeat=repeat), **top})
    except DataFileError as error:
        said = str(error).splitlines()
    else:
        said = []
        assert workload_from_layer_file(tomllib.loads(to_layer_file(workload))) == workload
    assert all(line.isascii() and len(line) < 1000 for line in said)


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(TINY) - 1), what=st.text(max_size=3), length=st.integers(0, 30))
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, at: int, what: str, length: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.toml"
    path.write_text(TINY[:at] + what + TINY[at + length :], encoding="utf-8", errors="replace")
    said = ["read"]
    try:
        workload_from_layer_file(path)
    except DataFileError as error:
        said = str(error).splitlines()
    assert 0 < len(said) <= 30
