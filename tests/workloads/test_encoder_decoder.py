"""Encoder-decoder transformers against published counts and PyTorch's own modules and counter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.encoder_decoder import encoder_decoder, t5
from workloads.op import WorkloadError
from workloads.workload import Workload

BART: dict[str, Any] = {
    "layers": 12, "hidden": 1024, "heads": 16, "ffn": 4096, "vocab": 50265, "seq_len": 512, "activation": "gelu",
    "positions": "learned", "max_positions": 1026, "embedding_norm": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        # Hugging Face's T5ForConditionalGeneration and BartForConditionalGeneration.
        (t5(layers=8, hidden=512, heads=6, ffn=1024), 76_961_152),
        (t5(layers=24, hidden=1024, heads=16, ffn=2816), 783_150_080),
        (t5(layers=24, hidden=2048, heads=32, ffn=5120), 2_849_757_184),
        (t5(layers=24, hidden=4096, heads=64, ffn=10240), 11_135_332_352),
        (t5(layers=6, hidden=512, heads=8, ffn=2048, version="1.0"), 60_506_624),
        (t5(layers=24, hidden=1024, heads=128, head_dim=128, ffn=65536, version="1.0"), 11_307_321_344),
        (t5(layers=24, hidden=2048, heads=32, ffn=5120, vocab=250112), 3_742_619_648),
        (encoder_decoder(**BART), 406_291_456),
    ],
    ids=["v1.1 small", "v1.1 large", "v1.1 xl", "v1.1 xxl", "small", "11B", "mT5 xl", "BART large"],
)
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int) -> None:
    assert workload.parameters == parameters


def test_the_first_transformer_is_pytorchs_own() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    source, target = 30, 20
    workload = encoder_decoder(seq_len=source, target_len=target, final_norm=True)
    with torch.device("meta"):
        network = torch.nn.Transformer(512, 8, 6, 6, 2048, dropout=0.0, batch_first=True)
        pair = torch.empty(1, source, 512), torch.empty(1, target, 512)
    table = 37000 * 512
    assert workload.parameters - table == sum(p.numel() for p in network.parameters()) == 44_140_544
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(*pair)
    head = 2 * target * table
    assert workload.forward_flop - head == counter.get_total_flops()


def small(**changes: Any) -> Workload:
    return encoder_decoder(**{"layers": 2, "hidden": 16, "heads": 4, "ffn": 32, "vocab": 100, "seq_len": 8, **changes})


def layers_of(workload: Workload) -> dict[str, Any]:
    return {layer.name: layer for layer in workload.layers}


@given(factor=st.integers(1, 8))
def test_the_encoder_does_not_see_the_target(factor: int) -> None:
    one, more = layers_of(small(target_len=8)), layers_of(small(target_len=8 * factor))
    assert one["encoder"] == more["encoder"]
    products = [
        sum(op.forward_flop for op in layers["decoder"].ops if op.kind == "gemm" and "keys" not in op.name)
        for layers in (one, more)
    ]
    assert products[1] == factor * products[0]


def test_cross_attention_reads_the_source_once_for_each_block() -> None:
    (core,) = [op for op in layers_of(small(seq_len=8, target_len=3))["decoder"].ops if op.name == "cross attention"]
    assert (core.seq_len, core.context, core.causal) == (3, 8, False)
    keys = {op.name: op for op in layers_of(small(target_len=3))["decoder"].ops}["cross keys and values"]
    assert (keys.m, keys.saved_elements) == (8, 0)


def test_the_encoders_output_is_kept_once_for_all_decoder_blocks() -> None:
    def kept(depth: int) -> float:
        workload = small(decoder_layers=depth, target_len=1)
        return sum(layer.repeat * layer.saved_elements for layer in workload.layers)

    wide = layers_of(small(target_len=1))["decoder"].saved_elements
    assert kept(3) - kept(2) == wide
    entrance = layers_of(small(target_len=1))["decoder embedding"]
    assert entrance.ops[0].saved_elements == 8 * 16


def test_depth_is_linear_on_either_side() -> None:
    def flop(**depths: int) -> int:
        return small(**depths).forward_flop

    assert (
        flop(layers=3, decoder_layers=2) - flop(layers=2, decoder_layers=2)
        == layers_of(small())["encoder"].forward_flop
    )
    assert (
        flop(layers=2, decoder_layers=3) - flop(layers=2, decoder_layers=2)
        == layers_of(small())["decoder"].forward_flop
    )


def test_a_tied_table_is_counted_once_though_both_sides_look_words_up() -> None:
    tied, untied = small(tied_embeddings=True), small(tied_embeddings=False)
    assert untied.parameters - tied.parameters == 100 * 16


def test_dropout_inside_a_relu_keeps_what_relu_needs() -> None:
    # ReLU's output, the one-byte mask and the product's input, instead of one tensor for all.
    plain, dropped = (layers_of(small(inner_dropout=inner))["encoder"] for inner in (False, True))
    assert dropped.saved_elements - plain.saved_elements == 8 * 32 * 1.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "hidden 16 is not a multiple of 3 heads"),
        ({"layers": 0}, "layers is 0; at least 1"),
        ({"seq_len": 0}, "seq_len is 0; at least 1"),
        ({"positions": "rotary"}, "Legal: learned, sinusoidal, relative"),
        ({"norm_position": "sandwich"}, "Legal: pre, post"),
        ({"positions": "learned", "max_positions": 4}, "8 positions are more than max_positions 4"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        small(**changes)


def test_an_unknown_version_of_t5_is_refused() -> None:
    with pytest.raises(WorkloadError, match=r"version is '2'. Legal: 1.0, 1.1"):
        t5(layers=1, hidden=64, heads=1, ffn=64, version="2")
