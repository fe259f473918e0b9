"""Generation as work: what is read and kept per token, how lengths fill slots; against other ways to count it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads import catalog
from workloads.generation import at_length, cache, decode_step, window
from workloads.generation_lengths import in_waves, lengths, mean_context, refilled
from workloads.op import WorkloadError

DECODERS = ("GPT-3-175B", "Llama-3.1-8B", "Llama-3-70B", "Mixtral-8x7B", "DeepSeek-V2-Lite", "Falcon-7B")


def attention_flop(workload):
    return sum(x.repeat * op.forward_flop for x in workload.layers for op in x.ops if op.kind == "attention")


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("tokens", [256, 1024])
def test_a_network_laid_out_anew_is_the_one_that_the_catalogue_lays_out(name, tokens):
    ours, theirs = at_length(catalog.model(name), tokens), catalog.model(name, seq_len=tokens)
    assert ours.forward_flop == theirs.forward_flop
    assert ours.tokens_per_sample == theirs.tokens_per_sample == tokens
    for mine, its in zip(ours.layers, theirs.layers, strict=True):
        assert [(op.name, op.m, op.n, op.k, op.read_elements) for op in mine.ops if op.kind != "attention"] == [
            (op.name, op.m, op.n, op.k, op.read_elements) for op in its.ops if op.kind != "attention"
        ]


@pytest.mark.parametrize("name", DECODERS)
def test_what_is_not_attention_is_the_same_work_token_by_token_as_all_at_once(name):
    whole, step = at_length(catalog.model(name), 64), decode_step(catalog.model(name), 64)
    assert 64 * (step.forward_flop - attention_flop(step)) == whole.forward_flop - attention_flop(whole)


@pytest.mark.parametrize("name", ["GPT-3-175B", "Llama-3-70B"])
def test_all_steps_of_decoding_attend_as_causal_attention_does(name):
    # Full attention counts n x n pairs, the causal half with its diagonal is n (n + 1) / 2 of them.
    workload, n = catalog.model(name), 96
    steps = sum(attention_flop(decode_step(workload, context)) for context in range(1, n + 1))
    assert steps * 2 * n == attention_flop(at_length(workload, n)) * (n + 1)


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(("prompt", "new"), [(1, 1), (10, 7), (500, 32)])
def test_the_mean_position_does_the_work_of_all_positions(name, prompt, new):
    workload = catalog.model(name)
    mean = mean_context(prompt, np.array([new]))
    low = int(mean)
    at_mean = (low + 1 - mean) * decode_step(workload, low).forward_flop
    at_mean += (mean - low) * decode_step(workload, low + 1).forward_flop
    every = sum(decode_step(workload, prompt + i).forward_flop for i in range(1, new + 1))
    assert new * at_mean == pytest.approx(every, rel=1e-12)
    held = cache(workload)
    assert new * held.elements(mean) == pytest.approx(sum(held.elements(prompt + i) for i in range(1, new + 1)))


def test_the_mean_context_of_unlike_sequences_is_that_of_all_their_tokens():
    new = np.array([3, 1, 40, 12])
    every = [7 + i for long in new for i in range(1, long + 1)]
    assert mean_context(7, new) == pytest.approx(np.mean(every))


@pytest.mark.parametrize(
    ("name", "elements"),
    [
        ("GPT-3-175B", 2 * 96 * 12288),  # multi-head: keys and values as wide as the model
        ("Llama-3-70B", 2 * 80 * 8 * 128),  # eight heads of keys and values for 64 of queries
        ("DeepSeek-V3", 61 * (512 + 64)),  # a latent and the turned keys (arXiv:2412.19437, table of hyper-parameters)
        ("DeepSeek-V2-Lite", 27 * (512 + 64)),
    ],
)
def test_a_cached_token_has_the_elements_of_its_kind_of_attention(name, elements):
    held = cache(catalog.model(name))
    assert held.elements(1000) == 1000 * elements
    assert held.state == 0


def test_more_ranks_than_heads_of_keys_and_values_have_copies():
    workload = catalog.model("Llama-3-70B")
    each = [cache(workload, tp=tp).elements(100) for tp in (1, 2, 8, 16)]
    assert each == [each[0], each[0] / 2, each[0] / 8, each[0] / 8]
    latent = catalog.model("DeepSeek-V2-Lite")
    assert cache(latent, tp=8).elements(100) == cache(latent).elements(100)


def test_a_state_is_as_large_whatever_the_length_and_attention_beside_it_grows():
    hybrids = [n for n in catalog.model_names() if "Nemotron-H" in n]
    assert hybrids
    for name in hybrids:
        held = cache(catalog.model(name))
        assert held.state > 0
        assert held.elements(2000) - held.elements(1000) == pytest.approx(held.elements(1000) - held.state)


@pytest.mark.parametrize("name", ["GPT-OSS-20B", "GPT-OSS-120B"])
def test_a_window_keeps_its_last_tokens_and_no_more(name):
    workload = catalog.model(name)
    windows = [window(op) for x in workload.layers for op in x.ops if op.kind == "attention"]
    assert {round(keys) for keys in windows if np.isfinite(keys)} == {128}  # as it was laid out with
    held = cache(workload)
    # Half of the layers see all, half a window: beyond it the cache grows half as fast.
    assert held.elements(10_000) - held.elements(9_000) == pytest.approx(held.elements(100) * 10 / 2)


@pytest.mark.parametrize("name", ["BERT-large", "ResNet-50", "T5-v1.1-base", "alphago-zero", "DeepSeek-V4-Pro"])
def test_what_does_not_generate_token_by_token_is_refused_with_what_does(name):
    with pytest.raises(WorkloadError, match="legal: "):
        cache(catalog.model(name))


@given(
    new=st.lists(st.integers(1, 300), min_size=1, max_size=60), slots=st.integers(1, 70),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_slots_make_every_token_once_and_refilling_is_never_slower_than_waiting(new, slots):
    all_of = np.array(new)
    steps, active = refilled(all_of, slots)
    assert np.sum(steps * active) == all_of.sum()
    assert active.max() <= min(slots, len(new))
    assert (np.diff(active) < 0).all()
    waited, size = in_waves(all_of, slots)
    assert np.sum(steps) <= np.sum(waited)
    assert np.sum(waited * size) >= all_of.sum()
    # Work cannot be done faster than by all slots, nor than the longest sequence.
    assert np.sum(steps) >= max(all_of.sum() / slots, all_of.max())


@pytest.mark.parametrize(("slots", "steps"), [(1, 50), (2, 30), (5, 10), (9, 10)])
def test_sequences_of_one_length_end_together_either_way(slots, steps):
    new = np.full(5, 10)
    assert refilled(new, slots)[0].sum() == in_waves(new, slots)[0].sum() == steps


@given(mean=st.floats(20, 2000), variation=st.floats(0, 1.0), count=st.integers(200, 2000))
@settings(max_examples=60, deadline=None)
def test_lengths_have_the_mean_and_the_spread_that_were_asked(mean, variation, count):
    drawn = lengths(count, mean=mean, variation=variation)
    assert drawn.mean() == pytest.approx(mean, rel=0.03)
    assert drawn.std() / drawn.mean() == pytest.approx(variation, abs=0.05)
    assert (lengths(count, mean=mean, variation=variation, most=int(mean) + 1) <= mean + 1).all()
    assert (drawn == lengths(count, mean=mean, variation=variation)).all()


def test_lengths_that_cannot_be_are_refused():
    for wrong in ({"mean": 0.5}, {"mean": 5.0, "variation": -1.0}, {"mean": 9.0, "most": 8}):
        with pytest.raises(WorkloadError, match="at least 1 each"):
            lengths(10, **wrong)
