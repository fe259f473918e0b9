"""Transformers against published parameter counts and published memory formulas."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.layer import Layer
from workloads.op import Op, WorkloadError
from workloads.transformer import bert, gpt_by_name, transformer
from workloads.workload import Workload

SMALL = {"name": "x", "layers": 2, "hidden": 16, "heads": 4, "vocab": 100, "seq_len": 8}


def small(**changes: Any) -> Workload:
    return transformer(**{**SMALL, **changes})


def llama(**sizes: Any) -> Workload:
    return transformer(
        name="llama", activation="swiglu", norm="rmsnorm", tied_embeddings=False, positions="rotary", biases=False,
        dropout=False, **sizes,
    )  # fmt: skip


def decoder(**sizes: Any) -> Workload:
    return transformer(**{"name": "x", "seq_len": 2048, "positions": "rotary", "biases": False, **sizes})


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        (transformer(name="gpt2", layers=12, hidden=768, heads=12, vocab=50257, seq_len=1024), 124_439_808),
        (llama(layers=32, hidden=4096, heads=32, ffn=11008, vocab=32000, seq_len=4096), 6_738_415_616),
        (llama(layers=32, hidden=4096, heads=32, kv_heads=8, ffn=14336, vocab=128256, seq_len=8192), 8_030_261_248),
        (llama(layers=80, hidden=8192, heads=64, kv_heads=8, ffn=28672, vocab=128256, seq_len=8192), 70_553_706_496),
        (bert(name="base", layers=12, hidden=768, heads=12), 110_106_428),
        (bert(name="large", layers=24, hidden=1024, heads=16), 336_226_108),
    ],
    ids=["GPT-2", "Llama-2-7B", "Llama-3-8B", "Llama-3-70B", "BERT-base", "BERT-large"],
)
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int) -> None:
    assert workload.parameters == parameters


def test_bert_base_parameters_part_by_part() -> None:
    # Words, positions, segments and their norm; 12 blocks; pooler, transform, decoder bias and next sentence.
    workload = bert(name="base", layers=12, hidden=768, heads=12)
    embedding, block, head = workload.layers
    h, v = 768, 30522
    assert embedding.parameters == (v + 512 + 2) * h + 2 * h == 23_837_184
    assert block.parameters == 12 * h * h + 13 * h
    assert head.parameters == (h * h + h) + (h * h + h) + 2 * h + (v * h + v) + (2 * h + 2)
    assert workload.tied_parameters == v * h


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        # Hugging Face's GPTJForCausalLM, FalconForCausalLM, GPTNeoXForCausalLM (Pythia-1B) and Olmo2ForCausalLM.
        (
            decoder(
                layers=28, hidden=4096, heads=16, vocab=50400, tied_embeddings=False, biases=True,
                attention_biases=False, head_bias=True, block="parallel_one_norm",
            ),
            6_050_882_784,
        ),
        (decoder(layers=32, hidden=4544, heads=71, kv_heads=1, vocab=65024, block="parallel_one_norm"), 6_921_720_704),
        (decoder(layers=60, hidden=8192, heads=128, kv_heads=8, vocab=65024, block="parallel"), 41_303_293_952),
        (
            decoder(
                layers=16, hidden=2048, heads=8, vocab=50304, tied_embeddings=False, biases=True, block="parallel"
            ),
            1_011_781_632,
        ),
        (
            decoder(
                layers=32, hidden=4096, heads=32, ffn=11008, vocab=100352, tied_embeddings=False, activation="swiglu",
                norm="rmsnorm", qk_norm="width",
            ),
            7_298_617_344,
        ),
        # Gemma3ForCausalLM of 12B with 262,144 words.
        (
            decoder(
                layers=48, hidden=3840, heads=16, kv_heads=8, head_dim=256, ffn=15360, vocab=262144,
                activation="geglu", norm="rmsnorm", norm_position="sandwich", qk_norm="head",
            ),
            11_765_788_416,
        ),
    ],
    ids=["GPT-J-6B", "Falcon-7B", "Falcon-40B", "Pythia-1B", "OLMo-2-7B", "Gemma3-12B"],
)  # fmt: skip
def test_parameter_counts_of_other_blocks_are_the_published_ones(workload: Workload, parameters: int) -> None:
    assert workload.parameters == parameters


@pytest.mark.parametrize("block", ["parallel", "parallel_one_norm"])
def test_side_by_side_a_block_works_as_much_and_keeps_less(block: str) -> None:
    serial, parallel = small().layers[1], small(block=block).layers[1]
    assert parallel.forward_flop == serial.forward_flop
    tensor = 8 * 16
    # Both halves read one tensor; with one norm its output is one tensor too.
    assert serial.saved_elements - parallel.saved_elements == (2 if block == "parallel_one_norm" else 1) * tensor


def pairs(seq_len: int, window: int) -> int:
    """Pairs of a causal query and a key it sees, counted one by one."""
    return sum(1 for query in range(seq_len) for key in range(query + 1) if query - key < window)


@pytest.mark.parametrize("window", [1, 16, 48, 64, 200])
def test_half_of_the_windowed_work_is_that_of_the_pairs_a_mask_leaves(window: int) -> None:
    seq_len, width = 64, 16
    (core,) = [op for op in small(seq_len=seq_len, window=window).layers[1].ops if op.kind == "attention"]
    # The diagonal, half of which a causal half leaves out, and the rounding of the mean.
    assert 0.5 * core.forward_flop == pytest.approx(4 * pairs(seq_len, window) * width, abs=4 * seq_len * width)


@given(share=st.floats(0, 1), window=st.integers(1, 64))
def test_windows_lie_between_none_and_all_layers(share: float, window: int) -> None:
    def work(part: float) -> int:
        return small(seq_len=64, window=window, windowed_share=part).forward_flop

    assert work(1.0) <= work(share) <= work(0.0) == small(seq_len=64).forward_flop


def test_norms_of_queries_and_keys_split_as_heads_do() -> None:
    plain, normed = small().layers[1], small(qk_norm="head", kv_heads=2).layers[1]
    (op,) = [op for op in normed.ops if op.name == "query and key norm"]
    assert (op.parameters, op.split) == (2 * 4, "inner")
    assert op.saved_elements == 8 * (4 + 2) * 4
    assert plain.forward_flop > normed.forward_flop  # fewer key/value heads, nothing else


def on_rank(op: Op, *, tp: int, sp: bool) -> float:
    """Saved elements of one rank, by the table at the head of `workloads.op`."""
    if op.split in ("row", "heads", "inner"):
        return op.saved_elements / tp
    if op.split in ("column", "vocab", "sequence"):
        return op.saved_elements / (tp if sp else 1)
    return op.saved_elements


def block_byte(block: Layer, *, tp: int, sp: bool, unfused: bool) -> float:
    scores = block.score_elements / tp if unfused else 0.0
    return 2.0 * (sum(on_rank(op, tp=tp, sp=sp) for op in block.ops) + scores)


@pytest.mark.parametrize(("hidden", "heads", "s"), [(12288, 96, 2048), (6144, 64, 2048), (1024, 16, 512)])
@pytest.mark.parametrize("tp", [1, 2, 8])
@pytest.mark.parametrize("norm_position", ["pre", "post"])
def test_a_gpt_block_keeps_what_korthikanti_et_al_count(
    hidden: int, heads: int, s: int, tp: int, norm_position: str
) -> None:
    # arXiv:2205.05198, equations 1, 2 and 4, per sequence.
    workload = transformer(
        name="x", layers=3, hidden=hidden, heads=heads, vocab=51200, seq_len=s, norm_position=norm_position
    )
    block = workload.layers[1]
    sh, scores = s * hidden, 5 * heads * s * s
    assert block_byte(block, tp=1, sp=False, unfused=True) == 34 * sh + scores
    assert block_byte(block, tp=tp, sp=False, unfused=True) == 10 * sh + (24 * sh + scores) / tp
    assert block_byte(block, tp=tp, sp=True, unfused=True) == (34 * sh + scores) / tp
    assert block_byte(block, tp=tp, sp=True, unfused=False) == 34 * sh / tp


def test_embedding_and_head_keep_what_korthikanti_et_al_count() -> None:
    # Section 4.3: the embedding's dropout mask s h; final norm 2 s h, head input 2 s h, fp32 logits 4 s v.
    s, h, v = 2048, 6144, 51200
    embedding, _, head = transformer(name="x", layers=1, hidden=h, heads=64, vocab=v, seq_len=s).layers
    assert 2 * embedding.saved_elements == s * h
    assert 2 * head.saved_elements == 4 * s * h + 4 * s * v


def test_without_dropout_no_mask_is_kept() -> None:
    with_masks, without = small().layers[1], small(dropout=False).layers[1]
    assert with_masks.saved_elements - without.saved_elements == 2 * 0.5 * 8 * 16
    assert with_masks.score_elements == 2.5 * without.score_elements


def test_fused_statistics_are_one_four_byte_number_per_query_and_head() -> None:
    (core,) = [op for op in small().layers[1].ops if op.kind == "attention"]
    assert 2 * core.statistic_elements == 4 * 4 * 8


@settings(max_examples=30)
@given(layers=st.integers(1, 20))
def test_work_is_linear_in_layers(layers: int) -> None:
    one, two, many = (small(layers=n).forward_flop for n in (1, 2, layers))
    assert many == one + (layers - 1) * (two - one)


def test_forward_work_is_the_closed_form_of_the_megatron_paper() -> None:
    # arXiv:2104.04473, section 5.1: one forward pass is 24 s l h^2 (1 + s / (6 h)) + 2 s h V, per sequence.
    s, layers, h, v = 2048, 96, 12288, 51200
    workload = transformer(name="x", layers=layers, hidden=h, heads=96, vocab=v, seq_len=s)
    assert workload.forward_flop == 24 * s * layers * h * h + 4 * s * s * layers * h + 2 * s * h * v


def test_two_flops_per_parameter_and_token_when_sequences_are_short() -> None:
    workload = llama(layers=32, hidden=4096, heads=32, ffn=11008, vocab=32000, seq_len=1)
    table = 32000 * 4096  # looked up, not multiplied
    assert workload.forward_flop == pytest.approx(2 * (workload.parameters - table), rel=1e-3)


@given(factor=st.integers(1, 16))
def test_everything_but_attention_scores_grows_linearly_with_the_sequence(factor: int) -> None:
    def parts(seq_len: int) -> tuple[float, float, int]:
        block = small(seq_len=seq_len).layers[1]
        products = sum(op.forward_flop for op in block.ops if op.kind == "gemm")
        return block.saved_elements, block.score_elements, products

    saved, scores, products = parts(8)
    assert parts(8 * factor) == (saved * factor, scores * factor**2, products * factor)


def test_gate_and_up_are_one_product_of_twice_the_inner_width() -> None:
    gated, plain = small(activation="swiglu", ffn=40), small(activation="gelu", ffn=40)
    ups = [next(op for op in w.layers[1].ops if op.name == "mlp up") for w in (gated, plain)]
    assert [op.n for op in ups] == [80, 40]
    assert ups[0].forward_flop == 2 * ups[1].forward_flop


def test_ops_of_a_block_come_in_the_order_tensor_parallelism_needs() -> None:
    splits = [(op.kind, op.split) for op in small(positions="rotary").layers[1].ops]
    assert splits == [
        ("vector", "sequence"), ("gemm", "column"), ("vector", "inner"), ("attention", "heads"), ("gemm", "row"),
        ("vector", "sequence"), ("vector", "sequence"), ("gemm", "column"), ("vector", "inner"), ("gemm", "row"),
        ("vector", "sequence"),
    ]  # fmt: skip


def test_a_tied_table_is_held_by_both_ends_and_counted_once() -> None:
    tied, untied = small(tied_embeddings=True), small(tied_embeddings=False)
    assert untied.parameters - tied.parameters == 100 * 16
    assert tied.layers[-1].parameters == untied.layers[-1].parameters


def test_masked_positions_alone_meet_the_vocabulary() -> None:
    def vocabulary_flop(**changes: Any) -> int:
        head = bert(name="x", layers=1, hidden=768, heads=12, **changes).layers[-1]
        return next(op.forward_flop for op in head.ops if op.name == "vocabulary")

    assert vocabulary_flop(seq_len=128) == 2 * 20 * 768 * 30522
    assert vocabulary_flop(seq_len=512) == 2 * 80 * 768 * 30522
    assert vocabulary_flop(seq_len=384) == 2 * 58 * 768 * 30522
    assert vocabulary_flop(seq_len=128, max_predictions=128) == 2 * 128 * 768 * 30522


def test_a_gpt_is_found_by_its_spelled_shape() -> None:
    workload = gpt_by_name("gpt h2048 L24 a16")
    shape = {key: workload.hyper[key] for key in ("hidden", "layers", "heads", "ffn", "vocab", "seq_len")}
    assert shape == {"hidden": 2048, "layers": 24, "heads": 16, "ffn": 8192, "vocab": 51200, "seq_len": 2048}
    assert workload.assumed


def test_another_spelling_is_not_a_gpt_shape() -> None:
    with pytest.raises(LookupError, match="Expected for example 'gpt h2048 L24 a16'"):
        gpt_by_name("gpt 2048x24")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 3}, "hidden 16 is not a multiple of 3 heads"),
        ({"kv_heads": 3}, "4 heads are not a multiple of 3 kv_heads"),
        ({"layers": 0}, "layers is 0; at least 1"),
        ({"activation": "swish"}, "activation is 'swish'. Legal: gelu, relu"),
        ({"norm": "batchnorm"}, "Legal: layernorm, rmsnorm"),
        ({"positions": "sinus"}, "Legal: learned, rotary, alibi, none"),
        ({"norm_position": "mid"}, "Legal: pre, post"),
        ({"max_positions": 4}, "seq_len 8 is longer than max_positions 4"),
        ({"max_predictions": 9}, "max_predictions is 9; 1 to seq_len 8"),
        ({"block": "twin"}, "Legal: serial, parallel, parallel_one_norm"),
        ({"block": "parallel", "norm_position": "post"}, "block 'parallel' needs norm_position 'pre', not 'post'"),
        ({"qk_norm": "both"}, "Legal: '', head, width"),
        ({"window": 0}, "window is 0 in 1 of the layers; at least 1 key"),
        ({"window": 4, "windowed_share": 1.5}, "in 1.5 of the layers"),
        ({"task": "ner"}, "Legal: pretraining, span, classification"),
    ],
)
def test_impossible_shapes_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        small(**changes)
