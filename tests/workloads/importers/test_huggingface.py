"""Hugging Face configurations: published totals, the library's own counts, and one clear line for everything else."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwmodels.datafile import DataFileError
from workloads.catalog import model
from workloads.importers.huggingface import KINDS, workload_from_config
from workloads.layer import Layer
from workloads.op import WorkloadError
from workloads.workload import Workload

HERE = Path(__file__).parent
#: Totals of parameters that model cards show (Hugging Face's safetensors totals; tied tables once; without the module
#: that predicts further tokens), recalled.
PUBLISHED = json.loads((HERE / "published_totals.json").read_text(encoding="utf-8"))
#: Counted on small configurations with transformers 4.57.6: ``sum(p.numel())`` and torch's FlopCounterMode on one
#: sequence of 32 with eager attention, less the product that makes the table of rotary angles.
COUNTED = json.loads((HERE / "transformers_counts.json").read_text(encoding="utf-8"))
#: Kinds whose library cannot be asked: its code is in the model's own repository.
REMOTE = {"internlm2", "ministral"}

LLAMA: dict[str, Any] = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 4,
    "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 200, "max_position_embeddings": 128,
}  # fmt: skip


def length(case: dict[str, Any], seq_len: int) -> int | None:
    """Pictures have no sequence."""
    return None if case["config"]["model_type"] == "vit" else seq_len


def llama(**changes: Any) -> Workload:
    return workload_from_config({**LLAMA, **changes})


@pytest.mark.parametrize("case", PUBLISHED, ids=[case["name"] for case in PUBLISHED])
def test_parameters_are_the_published_total(case: dict[str, Any]) -> None:
    assert workload_from_config(case["config"], seq_len=length(case, 128)).parameters == case["parameters"]


@pytest.mark.parametrize("case", COUNTED, ids=[f"{i} {case['config']['model_type']}" for i, case in enumerate(COUNTED)])
def test_parameters_and_work_are_what_the_library_counts(case: dict[str, Any]) -> None:
    workload = workload_from_config(case["config"], seq_len=length(case, 32))
    # DeepSeek-V3's checkpoints hold one correction per expert, which the library registers as a buffer.
    corrections = 3 * 8 if case["config"]["model_type"] == "deepseek_v3" else 0
    assert workload.parameters == case["parameters"] + corrections
    assert workload.forward_flop == case["forward_flop"]


def test_every_kind_is_counted_or_published() -> None:
    known = {case["config"]["model_type"] for case in (*COUNTED, *PUBLISHED)}
    assert set(KINDS) - known <= REMOTE
    assert known <= set(KINDS)


def block_ops(layers: tuple[Layer, ...]) -> list[tuple[Any, ...]]:
    return [tuple(replace(op, name="") for op in layer.ops) for layer in layers]


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("Llama-3-8B", {**LLAMA, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256}),
        ("GPT2-125M", {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}),
    ],
)  # fmt: skip
def test_an_imported_model_is_the_catalogues(name: str, config: dict[str, Any]) -> None:
    shipped = model(name, seq_len=1024)
    imported = workload_from_config({**config, "vocab_size": shipped.hyper["vocab"]}, seq_len=1024)
    assert block_ops(imported.layers) == block_ops(shipped.layers)
    assert [layer.repeat for layer in imported.layers] == [layer.repeat for layer in shipped.layers]


# --- laws --------------------------------------------------------------------------------------------------------


def test_a_window_costs_less_and_holds_the_same_parameters() -> None:
    config = {**LLAMA, "model_type": "mistral"}
    whole, windowed = (workload_from_config({**config, "sliding_window": window}, seq_len=128) for window in (None, 16))
    assert windowed.parameters == whole.parameters
    assert windowed.forward_flop < whole.forward_flop
    assert workload_from_config({**config, "sliding_window": 128}, seq_len=128).layers == whole.layers


def test_windows_in_every_second_block_are_runs_of_blocks() -> None:
    workload = workload_from_config({**LLAMA, "model_type": "gemma2", "sliding_window": 16}, seq_len=64)
    assert workload.num_blocks == 4
    assert [layer.repeat for layer in workload.layers if layer.kind == "block"] == [1, 1, 1, 1]
    listed = ["sliding_attention"] * 2 + ["full_attention"] * 2
    by_list = workload_from_config(
        {**LLAMA, "model_type": "gemma2", "sliding_window": 16, "layer_types": listed}, seq_len=64
    )
    assert [layer.repeat for layer in by_list.layers if layer.kind == "block"] == [2, 2]


@given(layers=st.integers(1, 200))
def test_parameters_are_linear_in_blocks(layers: int) -> None:
    one, two, many = (llama(num_hidden_layers=n).parameters for n in (1, 2, layers))
    assert many == one + (layers - 1) * (two - one)


def test_tying_saves_one_table() -> None:
    assert llama().parameters - llama(tie_word_embeddings=True).parameters == 200 * 64


def test_the_default_sequence_is_stated() -> None:
    assert llama().tokens_per_sample == 128
    assert llama().assumed == ("seq_len = 128: the file does not say what was trained",)
    assert llama(max_position_embeddings=131072).tokens_per_sample == 4096
    assert workload_from_config(LLAMA, seq_len=8).assumed == ()


def test_dropout_keeps_masks() -> None:
    off, on = (
        workload_from_config({"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 8, "vocab_size": 200,
                              "attn_pdrop": rate, "resid_pdrop": rate, "embd_pdrop": rate}, seq_len=32)
        for rate in (0.0, 0.1)
    )  # fmt: skip
    assert on.layers[1].score_elements == 2.5 * off.layers[1].score_elements
    assert on.layers[1].saved_elements - off.layers[1].saved_elements == 2 * 0.5 * 32 * 64


def test_blocks_that_share_parameters_count_them_once() -> None:
    config = next(case["config"] for case in COUNTED if case["config"]["model_type"] == "albert")
    deep, one = (workload_from_config({**config, "num_hidden_layers": n}, seq_len=32) for n in (12, 1))
    assert deep.parameters == one.parameters
    assert deep.num_blocks == 12 * one.num_blocks
    assert deep.forward_flop - one.forward_flop == 11 * one.layers[1].forward_flop


def test_heads_that_nobody_named_are_those_of_pre_training() -> None:
    config = next(case["config"] for case in COUNTED if case["config"]["model_type"] == "bert")
    bare = {key: value for key, value in config.items() if key != "architectures"}
    trained = {**bare, "architectures": ["BertForPreTraining"]}
    assert workload_from_config(bare, seq_len=32).layers == workload_from_config(trained, seq_len=32).layers


def test_keys_of_a_users_file_that_change_nothing_are_accepted(tmp_path: Path) -> None:
    text = {
        **LLAMA, "_name_or_path": "acme/tiny", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16",
        "rope_scaling": {"rope_type": "llama3", "factor": 8.0}, "bos_token_id": 1, "eos_token_id": [2, 3],
        "transformers_version": "4.57.6", "some_new_switch": False, "another": None,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text("\ufeff" + json.dumps(text, indent=2), encoding="utf-8")
    workload = workload_from_config(path)
    assert workload.name == "acme/tiny"
    assert workload.layers == llama().layers


# --- refusals ----------------------------------------------------------------------------------------------------


def refusal(source: Any, **options: Any) -> str:
    with pytest.raises((DataFileError, WorkloadError)) as caught:
        workload_from_config(source, **options)
    return str(caught.value)


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "config.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "lama"}, "config: model_type: is lama, which is not known. Did you mean 'llama'? Known"),
        ({"model_type": None}, "config: lacks model_type, the kind of network. Known:"),
        ({"model_type": 7}, "config: model_type: is 7, which is not known. Known:"),
        ({"model_type": "gemma3"}, "config: model_type: is gemma3, a language model among others; import what its"),
        ({"hidden_size": "64"}, "config: hidden_size: is 64; expected a whole number from 1 to 2147483648."),
        ({"hidden_size": -64}, "config: hidden_size: is -64; expected a whole number"),
        ({"hidden_size": 64.5}, "config: hidden_size: is 64.5; expected a whole number"),
        ({"hidden_size": True}, "config: hidden_size: is True; expected a whole number"),
        ({"hidden_size": 10**30}, "config: hidden_size: is 1000000000000000000000000000000; expected a finite number"),
        ({"hidden_size": float("nan")}, "config: hidden_size: is NaN; expected a finite number"),
        ({"vocab_size": None}, "config: lacks vocab_size."),
        ({"num_attention_heads": 7}, "config: the hidden size 64 is not a multiple of 7 heads."),
        ({"num_key_value_heads": 3}, "config: 8 heads are not a multiple of 3 key and value heads."),
        ({"hidden_act": "sillu"}, "config: hidden_act: is sillu. Legal: gelu, gelu_new,"),
        ({"hidden_act": "relu"}, "config: hidden_act: is relu. Legal: gelu,"),
        ({"attention_bias": "yes"}, "config: attention_bias: is yes; expected true or false."),
        ({"num_local_expert": 8}, "config: num_local_expert: is not understood for llama and may change the network."),
        ({"attention_dropout": 3}, "config: attention_dropout: is 3; expected a number from 0 to 1."),
        ({"layer_types": ["full"]}, "config: layer_types: expected 4 words out of full_attention, sliding_attention."),
        ({"vocab_size": None, "hidden_size": 0}, "config: lacks vocab_size.\nconfig: hidden_size: is 0; expected"),
        ({"model_type": "mixtral", "num_experts_per_tok": 9}, "config: num_experts_per_tok: is 9; at most the 8"),
        ({"model_type": "bert", "architectures": ["BertForNothing"]}, "architectures: expected a word that ends in"),
        ({"model_type": "t5", "feed_forward_proj": "gated-relu"}, "feed_forward_proj: is gated-relu. Legal: relu,"),
        ({"model_type": "bart", "decoder_ffn_dim": 8}, "decoder_ffn_dim: is not 4096 as the encoder's; only alike"),
        ({"model_type": "vit", "patch_size": 15}, "patch_size: is 15, which does not divide the picture's 224 pixels."),
        ({"model_type": "deepseek_v3", "moe_intermediate_size": 8, "attention_bias": True}, "attention_bias: is true;"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(changes: dict[str, Any], message: str) -> None:
    assert message in refusal({**LLAMA, **changes})


def test_a_problem_names_its_line(tmp_path: Path) -> None:
    text = json.dumps({**LLAMA, "hidden_size": [1, {"a": 2}], "num_experts": 8}, indent=2)
    path = written(tmp_path, text)
    number = next(i for i, line in enumerate(text.splitlines(), 1) if "hidden_size" in line)
    assert f"{path}:{number}: hidden_size: is list; expected a whole number" in refusal(path)
    last = next(i for i, line in enumerate(text.splitlines(), 1) if "num_experts" in line)
    assert f"{path}:{last}: num_experts: is not understood" in refusal(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "1: not JSON: Expecting value (column 1)."),
        ("[1, 2]", "holds a list; expected an object, {...}."),
        ("null", "holds null; expected an object"),
        ('{"a": 1,\n "a": 2}', "2: a: stands twice."),
        ('{"a": 1,\n b: 2}', "2: not JSON: Expecting property name"),
        ('{"a": NaN}', "1: a: is NaN; expected a finite number of 64 bits."),
        ('{"a": [1, -Infinity]}', "1: a[1]: is -Infinity; expected a finite number"),
        ('{"a": 1e999}', "1: a: is 1e999; expected a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "1: a: is '99999"),
        ("[" * 100_000, "1: nested too deeply; at most 32 levels."),
        ('{"a":' * 50 + "1" + "}" * 50, "1: nested too deeply"),
        (b'{"a": "\xff"}', "1: not UTF-8 text (byte 0xff)."),
        ('{"model_type": "\\ud800\\nx"}', r"model_type: is '\ud800\nx', which is not known"),
    ],
    ids=range(13),
)
def test_hostile_texts(tmp_path: Path, text: str | bytes, message: str) -> None:
    said = refusal(written(tmp_path, text))
    assert message in said
    assert said.startswith(str(tmp_path))
    assert len(said.splitlines()) == 1


def test_files_that_are_not_there_or_too_large(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none.json").endswith("there is no such file.")
    assert "this is a directory; name a JSON file in it" in refusal(tmp_path)
    assert "larger than 10 MiB" in refusal(written(tmp_path, b" " * (10 * 2**20 + 1)))
    assert "\n" not in refusal("a\nb\0")


@pytest.mark.parametrize("seq_len", [0, -1, 2.5, "8", True, 10**12])
def test_impossible_lengths(seq_len: Any) -> None:
    assert "a whole number of at least 1" in refusal(LLAMA, seq_len=seq_len)


def test_a_picture_has_no_length() -> None:
    assert "takes pictures, not sequences: leave seq_len out" in refusal({"model_type": "vit"}, seq_len=8)


def test_a_learned_position_table_ends() -> None:
    config = {"model_type": "gpt2", "n_embd": 64, "n_layer": 1, "n_head": 8, "vocab_size": 200, "n_positions": 64}
    assert "seq_len 65 is longer than the 64 positions it has" in refusal(config, seq_len=65)


@pytest.mark.parametrize("source", [{1: 2}, {"a": {1, 2}}, {"a": object()}, {"a": b"x"}])
def test_mappings_that_are_not_plain(source: Any) -> None:
    assert len(refusal(source).splitlines()) == 1


# --- fuzz --------------------------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["silu", "gelu", "full_attention", 2**31, 2**31 + 1]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = sorted({key for case in (*COUNTED, *PUBLISHED) for key in case["config"]} | {"layer_types", "attn_config", "x"})


def answers(call: Callable[[], Workload]) -> None:
    try:
        assert call().parameters > 0
    except (DataFileError, WorkloadError) as error:
        lines = str(error).splitlines()
        assert 0 < len(lines) <= 30
        assert all(line.isascii() and len(line) < 1500 for line in lines)


@settings(max_examples=300, deadline=None)
@given(
    case=st.sampled_from(COUNTED), changes=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=3),
    seq_len=st.none() | st.integers(-1, 5000),
)  # fmt: skip
def test_changed_configurations_are_built_or_refused(case: Any, changes: Any, seq_len: int | None) -> None:
    answers(lambda: workload_from_config({**case["config"], **changes}, seq_len=seq_len))


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=10), VALUES, max_size=5), st.sampled_from(sorted(KINDS)))
def test_anything_else_is_refused(config: Any, kind: str) -> None:
    answers(lambda: workload_from_config({**config, "model_type": kind}))
