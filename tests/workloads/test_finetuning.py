"""Adapters, frozen parameters and packed documents: counts by hand, laws, refusals."""

import random
from typing import Any

import pytest

from workloads.catalog import model
from workloads.finetuning import LORA_TARGETS, frozen, lora, packed, trainable_parameters
from workloads.mixture import mixture
from workloads.op import Op, WorkloadError
from workloads.state_space import hybrid
from workloads.workload import Workload

MIXED = mixture(
    layers=2, hidden=128, heads=8, kv_heads=2, vocab=512, seq_len=256, experts=4, top_k=2, expert_ffn=64,
)  # fmt: skip
MODELS = {
    "dense": model("Llama-3-8B"),
    "tied, with biases": model("GPT2-125M"),
    "experts": MIXED,
    "latent attention": model("DeepSeek-V2-Lite-16B"),
    "windows": model("GPT-OSS-20B"),
}
every_model = pytest.mark.parametrize("workload", MODELS.values(), ids=MODELS.keys())


def ops_of(workload: Workload) -> list[tuple[int, Op]]:
    return [(layer.repeat, op) for layer in workload.layers for op in layer.ops]


def saved(workload: Workload) -> float:
    return sum(layer.repeat * layer.saved_elements for layer in workload.layers)


def test_adapters_on_llama_2_70b_have_the_parameters_mlperf_trains() -> None:
    # MLPerf Training 4.0, Llama 2 70B LoRA, rank 16 on attention: 44,564,480 = 80 x 16 x (8192 + 10240 + 2 x 8192).
    tuned = lora(model("Llama-2-70B"), rank=16)
    assert trainable_parameters(tuned) == 44_564_480
    assert tuned.parameters - model("Llama-2-70B").parameters == 44_564_480


@every_model
def test_without_adapters_everything_trains(workload: Workload) -> None:
    assert trainable_parameters(workload) == workload.parameters
    assert trainable_parameters(frozen(workload)) == 0


@pytest.mark.parametrize("rank", [1, 8, 64])
def test_adapters_grow_with_their_rank_and_train_alone(rank: int) -> None:
    one, many = lora(MIXED, rank=1), lora(MIXED, rank=rank)
    assert trainable_parameters(many) == rank * trainable_parameters(one) == many.parameters - MIXED.parameters
    assert many.forward_flop - MIXED.forward_flop == rank * (one.forward_flop - MIXED.forward_flop)
    for _, op in ops_of(many):
        assert op.trainable == (" lora " in op.name), op.name


def test_every_expert_has_an_adapter_of_its_own() -> None:
    tuned = lora(MIXED, rank=4, targets=("expert up",))
    assert trainable_parameters(tuned) == 2 * 4 * 4 * (128 + 2 * 64)
    adapters = [op for _, op in ops_of(tuned) if op.experts and op.trainable]
    assert {op.experts for op in adapters} == {4}
    assert {op.m for op in adapters} == {2 * 256}


def test_adapters_fit_products_of_state_space_layers_too() -> None:
    nets: dict[str, Any] = {
        "pattern": "M-M*-", "hidden": 64, "heads": 4, "kv_heads": 2, "head_dim": 16, "mamba_heads": 8, "groups": 2,
        "mamba_head_dim": 16, "state": 16, "ffn": 96, "vocab": 128, "seq_len": 64,
    }  # fmt: skip
    tuned = lora(hybrid(**nets), rank=2, targets=("mamba in", "mamba out", "mlp up", "mlp down"))
    inner = 8 * 16
    width = 2 * inner + 2 * 2 * 16 + 8
    assert trainable_parameters(tuned) == 2 * 2 * ((64 + width) + (inner + 64) + 2 * (64 + 96))


@every_model
def test_an_adapter_splits_as_the_product_it_sits_on(workload: Workload) -> None:
    target = "projection"
    tuned = lora(workload, rank=4, targets=(target,))
    for layer in tuned.layers:
        by_name = {op.name: op for op in layer.ops}
        if target not in by_name:
            continue
        down, up = by_name[f"{target} lora down"], by_name[f"{target} lora up"]
        # A product split by rows meets inputs that are split: the narrow product behind is whole.
        assert (by_name[target].split, down.split, up.split) == ("row", "row", "none")
        assert (down.k, down.n, up.k, up.n) == (by_name[target].k, 4, 4, by_name[target].n)


@every_model
def test_frozen_products_let_go_of_inputs_but_attention_keeps_its_output(workload: Workload) -> None:
    held = frozen(workload)
    assert saved(held) < saved(workload)
    # Norms, activations and attention keep what they need for their input's gradient.
    for (_, before), (_, after) in zip(ops_of(workload), ops_of(held), strict=True):
        if before.kind != "gemm" or before.name == "projection":
            assert after.saved_elements == before.saved_elements, before.name
        else:
            assert after.saved_elements in (0.0, before.saved_elements)
    assert held.forward_flop == workload.forward_flop
    assert held.parameters == workload.parameters


def test_a_trained_head_on_a_frozen_model() -> None:
    head_only = frozen(MIXED, trained=("head",))
    assert trainable_parameters(head_only) == MIXED.layers[-1].parameters
    assert trainable_parameters(frozen(MIXED, trained=("block", "head", "embedding"))) == MIXED.parameters


@every_model
def test_one_document_per_sequence_changes_no_work(workload: Workload) -> None:
    same = packed(workload, mean_length=workload.tokens_per_sample)
    assert same.forward_flop == workload.forward_flop
    assert same.parameters == workload.parameters


@every_model
def test_shorter_documents_lower_attention_alone(workload: Workload) -> None:
    shorter = packed(workload, mean_length=workload.tokens_per_sample / 4)
    assert shorter.forward_flop < workload.forward_flop
    for (_, before), (_, after) in zip(ops_of(workload), ops_of(shorter), strict=True):
        assert after == before or before.kind == "attention"
        if before.kind == "attention" and before.context == before.seq_len:
            assert after.forward_flop * 4 == before.forward_flop
            assert after.score_elements * 4 == before.score_elements
            assert after.saved_elements == before.saved_elements
        elif before.kind == "attention":  # a window narrower than the documents
            assert after.forward_flop == before.forward_flop


@pytest.mark.parametrize("seed", range(5))
def test_a_mean_of_squares_is_what_documents_really_cost(seed: int) -> None:
    drawn = random.Random(seed)
    lengths = [drawn.randint(1, 2048) for _ in range(500)]
    mean = sum(lengths) / len(lengths)
    variance = sum((length - mean) ** 2 for length in lengths) / len(lengths)
    workload = model("Llama-3-8B", seq_len=8192)
    by_hand = sum(length**2 for length in lengths) / sum(lengths)  # mean positions a token sees
    (core,) = [op for _, op in ops_of(packed(workload, mean_length=mean, variation=variance**0.5 / mean))
               if op.kind == "attention"]  # fmt: skip
    assert core.context == pytest.approx(by_hand, abs=1)
    # The same documents cost less than as many of the longest, more than as many of the mean.
    assert mean < core.context < max(lengths)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lora(MIXED, rank=0), "rank is 0; at least 1"),
        (lambda: lora(MIXED, rank=4, targets=("query",)), "no product is named 'query'. Legal: qkv, projection"),
        (lambda: lora(MIXED, rank=4, targets=()), "no targets. Legal: qkv"),
        (lambda: frozen(MIXED, trained=("heads",)), "no layer is named 'heads'. Legal: embedding"),
        (lambda: packed(MIXED, mean_length=0.5), "mean_length is 0.5; 1 to its 256"),
        (lambda: packed(MIXED, mean_length=257), "mean_length is 257; 1 to its 256"),
        (lambda: packed(MIXED, mean_length=64, variation=-1), "variation is -1; 0 or more"),
        (lambda: packed(MIXED, mean_length=64, variation=float("nan")), "variation is nan"),
        (lambda: packed(model("resnet50"), mean_length=1), "it has no attention"),
    ],
)
def test_impossible_fine_tuning_is_refused(call: Any, message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        call()


def test_what_was_changed_is_said() -> None:
    tuned = packed(lora(MIXED, rank=8), mean_length=64)
    assert any("rank 8 on qkv, projection" in phrase for phrase in tuned.assumed)
    assert any("mean length 64" in phrase for phrase in tuned.assumed)
    assert LORA_TARGETS == ("qkv", "projection")
