"""The catalogue: every model builds, every spelling leads somewhere, every mistake is named."""

import subprocess
import sys
from pathlib import Path

import pytest

from hwmodels.datafile import DataFileError
from workloads.catalog import DATA, entries, model, model_names, read_models, resolve_model
from workloads.op import WorkloadError

NAMES = model_names()


def test_the_catalogue_is_not_empty() -> None:
    assert len(NAMES) > 200
    assert {entry.family for entry in entries().values()} == {"transformer", "bert", "network"}


@pytest.mark.parametrize("name", NAMES)
def test_every_model_builds_says_its_source_and_is_found_by_its_own_name(name: str) -> None:
    workload = model(name)
    assert workload.name == name
    assert resolve_model(name) == name == resolve_model(name.upper())
    assert workload.parameters > 1e4
    assert workload.forward_flop > 0
    assert workload.source
    kind = entries()[name].kind
    assert kind == "recalled" or not any(word in workload.source for word in ("recalled arXiv", "recalled ("))


@pytest.mark.parametrize("name", [n for n in NAMES if entries()[n].family != "network"])
def test_what_a_source_left_open_is_listed_as_assumed(name: str) -> None:
    entry, workload = entries()[name], model(name)
    assert all(any(phrase.startswith(f"{key} = ") for phrase in workload.assumed) for key in entry.filled)
    assert "vocab" in entry.printed or any(phrase.startswith("vocab = ") for phrase in workload.assumed)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("ResNet-50 v1.5", "resnet50-v1.5"),
        ("ResNet50", "resnet50-v1.5"),
        ("resnet-50 V1", "resnet50-v1"),
        ("VGG16", "vgg16"),
        ("VGG-A", "vgg-a"),
        ("Inception v3", "inception-v3"),
        ("AlexNet", "alexnet"),
        ("BERT-Large", "BERT-Large"),
        ("bert_large", "BERT-Large"),
        ("BERT base", "BERT-Base"),
        ("gpt3-175b", "GPT3-175B"),
        ("GPT-3 175B", "GPT3-175B"),
        ("gpt2_large", "GPT2-774M"),
        ("llama2-7b", "Llama-2-7B"),
        ("meta-llama", ""),
        ("nanotron-1.34B", "nanotron-1.34B"),
        ("gpt h2048 L24 a16", "gpt h2048 L24 a16"),
        ("", ""),
    ],
)
def test_spellings_of_published_tables_are_resolved(spelling: str, name: str) -> None:
    assert resolve_model(spelling) == name


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("gpt2", 124_439_808),
        ("Llama-2-7B", 6_738_415_616),
        ("Llama-3-8B", 8_030_261_248),
        ("Llama-3-70B", 70_553_706_496),
        ("BLOOM-176B", 176_247_271_424),
        ("GPT-NeoX-20B", 20_554_567_680),
        ("BERT-Base", 110_106_428),
        ("MPT-125m", 125_311_488),
        ("MPT-70b", 64_862_437_376),
        ("inception-v3", 23_834_568),
        ("resnet50", 25_557_032),
    ],
)
def test_catalogue_models_have_the_published_parameter_counts(name: str, parameters: int) -> None:
    assert model(name).parameters == parameters


def test_sizes_in_names_are_those_of_the_shapes() -> None:
    # The names of these series carry the size their authors printed, rounded.
    for name, billions in [
        ("GPT3-175B", 175), ("Megatron-1T", 1008), ("Megatron-22B", 22), ("MT-NLG-530B", 530),
        ("GPT-462B (MCore r0.8)", 462),
        ("GPT-76B (Megatron SC21)", 76), ("Llama-3.1-405B", 405), ("nanotron-8.86B", 8.86), ("OPT-175B", 175),
        ("BERT-480B (Google open)", 481.8),
    ]:  # fmt: skip
        assert model(name).parameters / 1e9 == pytest.approx(billions, rel=0.01), name


def test_another_sequence_length_changes_work_and_only_a_learned_position_table() -> None:
    longer, own = model("GPT3-175B", seq_len=4096), model("GPT3-175B")
    assert longer.tokens_per_sample == 4096
    assert longer.parameters - own.parameters == 2048 * 12288
    assert model("GPT3-175B", seq_len=512).parameters == own.parameters
    assert model("Llama-3-8B", seq_len=512).parameters == model("Llama-3-8B").parameters


def test_another_image_size_changes_work_but_not_parameters() -> None:
    larger, own = model("resnet50", image_size=320), model("resnet50")
    assert larger.parameters == own.parameters
    assert larger.forward_flop > 2 * own.forward_flop


def test_sizes_a_model_does_not_take_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"'resnet50-v1.5' does not take a sequence: leave seq_len out"):
        model("resnet50", seq_len=128)
    for name in ("BERT-Large", "gpt h2048 L24 a16"):
        with pytest.raises(WorkloadError, match="does not take an image: leave image_size out"):
            model(name, image_size=224)
    with pytest.raises(WorkloadError, match="seq_len is 0; at least 1"):
        model("GPT3-175B", seq_len=0)
    with pytest.raises(WorkloadError, match="image_size is -1"):
        model("resnet50", image_size=-1)


def test_an_unknown_model_is_refused_with_the_nearest() -> None:
    with pytest.raises(LookupError, match=r"no model 'Lama-3-8B' in the catalogue. Did you mean 'Llama-3-8B'"):
        model("Lama-3-8B")


GOOD = """
schema = 1
family = "transformer"
[[models]]
name = "x"
layers = 2
hidden = 64
heads = 4
source = "a paper"
kind = "published"
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "some.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_blank_inner_width_is_four_times_the_hidden(tmp_path: Path) -> None:
    (entry,) = read_models(write(tmp_path, GOOD))
    assert entry.filled["ffn"] == 256
    assert entry.filled["vocab"] == 51200


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "heads = 4",
            "heads = 4\nhiden = 3",
            r"some.toml:9: models\[0\].hiden: is not a known key. Did you mean 'hidden'",
        ),
        ("heads = 4", 'heads = "4"', r"heads: is '4'; expected int"),
        ("heads = 4", "heads = true", r"heads: is True; expected int"),
        ("heads = 4", "heads = 0", r"heads: is 0; at least 1"),
        ("heads = 4", "", r"lacks heads"),
        ('kind = "published"', 'kind = "heard"', r"kind: is not one of published, recalled"),
        ('family = "transformer"', 'family = "rnn"', r"family: is 'rnn'. Legal: transformer, bert, network"),
        ("schema = 1", "modles = 1", r"modles: is not a known key"),
    ],
)
def test_a_mistake_in_a_data_file_is_named_with_its_place(tmp_path: Path, old: str, new: str, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        read_models(write(tmp_path, GOOD.replace(old, new)))


def test_all_problems_of_a_file_come_together(tmp_path: Path) -> None:
    text = GOOD.replace("heads = 4", "heads = -4").replace("layers = 2", "layer = 2")
    with pytest.raises(DataFileError) as caught:
        read_models(write(tmp_path, text))
    assert len(caught.value.problems) == 3  # unknown layer, missing layers, negative heads


def test_every_data_file_holds_models() -> None:
    files = sorted(DATA.glob("*.toml"))
    assert len(files) >= 10
    assert all(read_models(path) for path in files)


def test_importing_workloads_reads_no_data_and_no_heavy_library() -> None:
    code = (
        "import sys, workloads, workloads.catalog as c;"
        "print([m for m in ('numpy', 'networkx', 'scipy', 'pydantic', 'torch') if m in sys.modules],"
        "c.entries.cache_info().currsize)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=DATA.parents[2])
    assert done.stdout.split() == ["[]", "0"]
