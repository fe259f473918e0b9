"""Spellings of published tables that name a transformer, and the shapes behind them."""

from itertools import pairwise

import pytest

from hwmodels.datafile import DataFileError
from workloads.catalog import entries, model, model_names, read_models, resolve_model
from workloads.op import WorkloadError


@pytest.mark.parametrize(
    ("spelling", "name", "parameters"),
    [
        ("Transformer-XL base", "Transformer-XL base", 191_950_298),
        ("Transformer-XL large", "Transformer-XL large", 285_167_482),
        ("Transformer-XL base (full softmax)", "Transformer-XL base (full softmax)", 191_948_759),
        ("Transformer-XL large (full softmax)", "Transformer-XL large (full softmax)", 519_963_095),
        ("BART-large", "BART-large", 406_291_456),
        ("BART fine-tuning", "BART-base (paraphrases)", 139_420_416),
        ("Transformer", "Transformer-base", 63_082_496),
        ("Transformer big", "Transformer-big", 210_874_368),
        ("T5-v1.1-small", "T5-v1.1-small", 76_961_152),
        ("T5-v1.1-large", "T5-v1.1-large", 783_150_080),
        ("T5-v1.1-xl", "T5-v1.1-xl", 2_849_757_184),
        ("T5-v1.1-xxl", "T5-v1.1-xxl", 11_135_332_352),
        ("BERT (XNLI fine-tuning)", "BERT-Base (XNLI)", 102_269_955),
        ("BERT SQuAD fine-tuning", "BERT-Large (SQuAD)", 334_094_338),
        ("ViT", "ViT-B/16", 86_567_656),
        ("ViT-Base fine-tuning", "ViT-B/16", 86_567_656),
        ("CLIP-Base fine-tuning", "CLIP-ViT-B/32", 151_277_313),
        ("GPT-J-6B", "GPT-J-6B", 6_050_882_784),
        ("Falcon-7B", "Falcon-7B", 6_921_720_704),
        ("Falcon-40B", "Falcon-40B", 41_303_293_952),
        ("GPT-NeoX-20B", "GPT-NeoX-20B", 20_554_567_680),
        ("Pythia-1B", "Pythia-1B", 1_011_781_632),
        ("Gemma3-12B", "Gemma3-12B", 11_765_788_416),
    ],
)
def test_a_spelling_leads_to_a_model_of_the_published_count(spelling: str, name: str, parameters: int) -> None:
    assert resolve_model(spelling) == name
    assert model(name).parameters == parameters


@pytest.mark.parametrize(
    ("spelling", "billions", "within"),
    [
        ("16B (MaxText scale)", 16, 0.02),
        ("32B (MaxText scale)", 32, 0.02),
        ("64B (MaxText scale)", 64, 0.02),
        ("128B (MaxText scale)", 128, 0.03),
        ("256B (MaxText scale)", 256, 0.03),
        ("512B (MaxText scale)", 512, 0.03),
        ("1024B (MaxText scale)", 1024, 0.03),
        ("BS-183B (h14400 topology scan)", 183, 0.005),
        ("BS-191B (h14400 topology scan)", 191 + 3.6, 0.005),
        ("BS-194B (h14400 topology scan)", 194 + 3.6, 0.005),
        ("BS-205B (h14400 topology scan)", 205, 0.005),
        ("GPT2-50B (BigScience)", 50, 0.05),
        ("GPT2-78B (BigScience)", 78, 0.05),
        ("1T (ZeRO-3 Offload)", 1000, 0.01),
        ("Transformer-XL 277M", 0.277, 0.015),
        ("ViT-G/14", 1.843, 0.002),
        ("T5-11B", 11.3, 0.002),
        ("mT5-3B (NeMo)", 3.2, 0.02),
        ("Llama-like 7B (Colossal-AI)", 6.74, 0.001),
        ("Llama-like 70B (Colossal-AI)", 69.0, 0.001),
        ("PaLM-540B", 540.35, 0.001),
    ],
)
def test_a_size_in_a_spelling_is_that_of_the_shape(spelling: str, billions: float, within: float) -> None:
    # Two sizes of the scan leave out the vocabulary of 250,880, which is 3.6 billion of their parameters.
    name = resolve_model(spelling)
    assert model(name).parameters / 1e9 == pytest.approx(billions, rel=within)


def test_maxtext_doubles_heads_and_mlp_then_width_then_depth() -> None:
    sizes = [model(f"{2**power}B (MaxText scale)").hyper for power in range(4, 11)]
    for before, after in pairwise(sizes):
        grown = {key for key in ("heads", "ffn", "hidden", "layers") if after[key] == 2 * int(before[key])}
        assert grown in ({"heads", "ffn"}, {"hidden"}, {"layers"})
        assert after["head_dim"] == 128


@pytest.mark.parametrize("size", [183, 191, 194, 195, 205])
def test_layers_of_the_topology_scan_make_its_printed_seconds_and_rates(size: int) -> None:
    # Table of bigscience chronicles-prequel: replicas x tensor x stages, batch, seconds, TFLOP/s at 8 N tokens.
    replicas, stages, batch, seconds, tflops = {
        183: (4, 12, 2048, 172.40, 90.84), 191: (6, 7, 2046, 202.99, 94.20), 194: (8, 6, 2048, 183.64, 92.38),
        195: (4, 11, 2048, 197.15, 92.67), 205: (5, 9, 2045, 199.14, 94.23),
    }[size]  # fmt: skip
    shape = model(f"BS-{size}B (h14400 topology scan)")
    blocks = shape.layers[1].repeat * shape.layers[1].parameters
    assert shape.layers[1].repeat % stages == 0
    assert 8 * blocks * 2048 * batch / (seconds * replicas * 8 * stages * 1e12) == pytest.approx(tflops, rel=1e-3)


@pytest.mark.parametrize("name", [n for n in model_names() if entries()[n].family in ("transformer", "bert")])
def test_every_option_of_a_data_file_is_one_that_builds(name: str) -> None:
    assert model(name, seq_len=256).tokens_per_sample == 256


@pytest.mark.parametrize(
    ("name", "seq_len"),
    [
        ("Transformer-XL base", 384),
        ("Transformer-base", 64),
        ("BART-large", 128),
        ("T5-v1.1-xl", 256),
        ("ELECTRA-base", 128),
    ],
)
def test_networks_of_sequences_take_a_length(name: str, seq_len: int) -> None:
    workload = model(name, seq_len=seq_len)
    assert workload.tokens_per_sample == seq_len
    assert entries()[name].note in workload.assumed
    with pytest.raises(WorkloadError, match="does not take an image: leave image_size out"):
        model(name, image_size=224)


@pytest.mark.parametrize("name", ["ViT-B/16", "CLIP-ViT-B/32", "Vision-Perceiver-Conv"])
def test_networks_of_images_take_a_size(name: str) -> None:
    assert model(name, image_size=448).forward_flop > model(name).forward_flop
    with pytest.raises(WorkloadError, match="does not take a sequence: leave seq_len out"):
        model(name, seq_len=128)


def test_a_word_of_the_wrong_type_is_named_with_its_place(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("models") / "some.toml"
    path.write_text(
        'schema = 1\nfamily = "transformer"\n[[models]]\nname = "x"\nlayers = 2\nhidden = 64\nheads = 4\n'
        'source = "a paper"\nkind = "published"\nwindow = "wide"\nblok = "parallel"\n',
        encoding="utf-8",
    )
    with pytest.raises(DataFileError, match=r"window: is 'wide'; expected int") as caught:
        read_models(path)
    assert "Did you mean 'block'" in str(caught.value)
