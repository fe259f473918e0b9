"""Mixtures of experts: counts of published checkpoints, FLOPs that PyTorch counts, laws, refusals."""

from typing import Any

import pytest

from workloads.catalog import model, resolve_model
from workloads.decoder_ops import GroupedAttention
from workloads.expert_ops import RoutedMlp, active_parameters
from workloads.mixture import mixture
from workloads.op import WorkloadError
from workloads.switch import switch
from workloads.workload import Workload

SMALL: dict[str, Any] = {
    "layers": 4, "hidden": 128, "heads": 8, "kv_heads": 2, "vocab": 512, "seq_len": 64, "experts": 8, "top_k": 2,
    "expert_ffn": 96,
}  # fmt: skip


def small(**options: Any) -> Workload:
    return mixture(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Sums of the safetensors of the checkpoints on Hugging Face; text decoders only for Llama 4 and Gemma 4.
        ("Mixtral-8x7B", 46_702_792_704),
        ("Qwen3-30B-A3B", 30_532_122_624),
        ("Qwen3-235B-A22B", 235_093_634_560),
        ("GPT-OSS-20B", 20_914_757_184),
        ("GPT-OSS-120B", 116_829_156_672),
        ("DBRX-132B", 131_596_523_520),
        ("OLMoE-1B-7B", 6_919_161_856),
        ("Llama4-Scout-17B-16E", 107_769_861_120),
        ("Llama4-Maverick-17B-128E", 400_711_848_960),
        ("Gemma4-26B", 25_233_141_760),
        ("Switch-Base-8", 619_339_008),
    ],
)
def test_parameters_are_those_of_the_published_checkpoint(name: str, parameters: int) -> None:
    assert model(name).parameters == parameters


def test_mixtral_8x22b_has_the_published_count_with_the_words_of_its_first_version() -> None:
    entry = model("Mixtral-8x22B")
    assert entry.parameters - 2 * 768 * 6144 == 140_620_634_112  # 32,000 words, as version 0.1


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        # Printed, rounded: total and active per token; embeddings are inside some of the active counts.
        ("Mixtral-8x7B", 46.7, 12.9),
        ("Mixtral-8x22B", 141, 39.2),
        ("DBRX-132B", 132, 36.5),
        ("OLMoE-1B-7B", 6.9, 1.3),
        ("Llama4-Maverick-17B-128E", 400, 17.2),
        ("MaxText-700B-MoE", 754, 123),
        ("MaxText-10T-MoE", 10_400, 376),
        ("Switch-1.5T", 1571, None),
        ("Grok-1-314B", 314, None),
        ("Gemma4-26B", 25.2, 3.8),
    ],
)
def test_sizes_are_those_that_papers_and_model_cards_print(name: str, billions: float, active: float | None) -> None:
    workload = model(name)
    assert workload.parameters / 1e9 == pytest.approx(billions, rel=0.01)
    if active is not None:
        assert active_parameters(workload) / 1e9 == pytest.approx(active, rel=0.02)


@pytest.mark.parametrize(
    ("name", "seq_len", "flop"),
    [
        # TFLOP/s over tokens/s of one line of NVIDIA-NeMo/Megatron-Bridge docs/performance-summary.md @067f987d, which
        # counts forward and backward and half of causal attention.
        ("Qwen3-30B-A3B", 4096, 2.311e10),
        ("Qwen3-235B-A22B", 4096, 1.483e11),
        ("GPT-OSS-120B", 4096, 3.260e10),
        ("DeepSeek-V3-671B", 4096, 2.604e11),
        ("Kimi-K2-1T", 4096, 2.045e11),
        ("DeepSeek-V4-Flash", 4096, 9.09e10),
        ("Nemotron-3-Super", 8192, 8.49e10),
        ("Nemotron-3-Ultra", 8192, 3.606e11),
        # The same of AI-Hypercomputer/tpu-recipes training/ironwood/README.md @c8cfe2f6.
        ("Gemma4-26B", 4096, 2.504e10),
        ("GPT-OSS-120B", 8192, 3.447e10),
    ],
)
def test_work_per_token_is_what_measured_runs_count(name: str, seq_len: int, flop: float) -> None:
    workload = model(name, seq_len=seq_len)
    halved = sum(
        layer.repeat * op.forward_flop / 2 for layer in workload.layers for op in layer.ops if op.kind == "attention"
    )
    assert 3 * (workload.forward_flop - halved) / seq_len == pytest.approx(flop, rel=0.015)


SPELLINGS = [
    "Qwen3-235B-A22B", "DeepSeek-V3-671B", "Qwen3-30B-A3B", "Nemotron-3-Super", "GPT-OSS-120B", "Nemotron-3-Nano",
    "Grok-1-314B", "DeepSeek-V2-Lite-16B", "Kimi-K2-1T", "DeepSeek-V2-236B", "Qwen3.5 truncated proxy", "Gemma4-26B",
    "DeepSeek-V2-236B proxy (4 layers)", "DeepSeek-V3-671B proxy (4 layers)", "DeepSeek-V4-Flash",
    "DeepSeek-V4-Flash (16 layers)", "GDN-300M (Primus)", "KDA-300M (Primus)", "MaxText-700B-MoE", "switchxl4",
    "Nemotron_3_5_Lightning", "Nemotron-3-Ultra", "DeepSeek-V4-Pro", "GPT-OSS-20B / Qwen3-14B", "Mixtral-8x22B",
    "MoE-2T (Primus)", "Grok-1-314B proxy (16 layers)", "MaxText-10T-MoE", "Nemotron-H-56B", "Qwen3-Next-80B-A3B",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_measured_tables_are_resolved_and_stay_small_in_layers(spelling: str) -> None:
    workload = model(resolve_model(spelling))
    assert workload.family == "transformer"
    assert len(workload.layers) < 64
    assert workload.forward_flop > 0


def torch_twin(options: dict[str, Any]) -> tuple[int, int]:
    """Parameters and FLOPs of a decoder with experts written out in PyTorch; rows go to experts evenly."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    nn, f = torch.nn, torch.nn.functional
    o = {"shared_ffn": 0, "dense_ffn": 0, "dense_layers": 0, "moe_every": 1, "qk_norm": "", **SMALL, **options}
    h, heads, kv, s = o["hidden"], o["heads"], o["kv_heads"], o["seq_len"]
    d = h // heads

    def mlp(width: int) -> Any:
        return nn.ModuleDict({"up": nn.Linear(h, 2 * width, bias=False), "down": nn.Linear(width, h, bias=False)})

    def run(block: Any, x: Any) -> Any:
        gate, up = block["up"](x).chunk(2, -1)
        return block["down"](f.silu(gate) * up)

    class Twin(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.table, self.final = nn.Embedding(o["vocab"], h), nn.RMSNorm(h)
            self.head = nn.Linear(h, o["vocab"], bias=False)
            self.blocks = nn.ModuleList()
            for index in range(o["layers"]):
                block = {
                    "norm1": nn.RMSNorm(h), "norm2": nn.RMSNorm(h), "out": nn.Linear(h, h, bias=False),
                    "qkv": nn.Linear(h, (heads + 2 * kv) * d, bias=False),
                }  # fmt: skip
                if o["qk_norm"] == "head":
                    block |= {"q": nn.RMSNorm(d), "k": nn.RMSNorm(d)}
                dense = index < o["dense_layers"] or (index + 1 - o["dense_layers"]) % o["moe_every"]
                if dense:
                    block["mlp"] = mlp(o["dense_ffn"])
                else:
                    block["router"] = nn.Linear(h, o["experts"], bias=False)
                    block["experts"] = nn.ModuleList(mlp(o["expert_ffn"]) for _ in range(o["experts"]))
                    if o["shared_ffn"]:
                        block["shared"] = mlp(o["shared_ffn"])
                self.blocks.append(nn.ModuleDict(block))

        def forward(self, tokens: Any) -> Any:
            x = self.table(tokens)
            for block in self.blocks:
                q, k, v = block["qkv"](block["norm1"](x)).split([heads * d, kv * d, kv * d], -1)
                q, k, v = (t.view(1, s, -1, d).transpose(1, 2) for t in (q, k, v))
                if "q" in block:
                    q, k = block["q"](q), block["k"](k)
                k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
                seen = (q @ k.transpose(-1, -2)).softmax(-1) @ v
                x = x + block["out"](seen.transpose(1, 2).reshape(1, s, h))
                y = block["norm2"](x)
                if "mlp" in block:
                    x = x + run(block["mlp"], y)
                    continue
                weights = block["router"](y).softmax(-1)[..., : o["top_k"]]
                rows = y.repeat_interleave(o["top_k"], 1).reshape(o["experts"], -1, h)
                sent = torch.cat([run(e, r) for e, r in zip(block["experts"], rows, strict=True)])
                mixed = (sent.view(1, s, o["top_k"], h) * weights[..., None]).sum(2)
                x = x + mixed + (run(block["shared"], y) if "shared" in block else 0)
            return self.head(self.final(x))

    with torch.device("meta"):
        twin, tokens = Twin(), torch.empty(1, s, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        twin(tokens)
    return sum(p.numel() for p in twin.parameters()), int(counter.get_total_flops())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"qk_norm": "head"},
        {"shared_ffn": 160},
        {"dense_layers": 1, "dense_ffn": 320},
        {"moe_every": 2, "dense_ffn": 320, "top_k": 1, "shared_ffn": 96},
        {"experts": 16, "top_k": 4, "kv_heads": 8},
    ],
    ids=["Mixtral", "Qwen3", "shared", "dense first", "every second", "many"],
)
def test_a_mixture_has_the_parameters_and_flops_pytorch_counts(options: dict[str, Any]) -> None:
    workload = small(**options)
    assert (workload.parameters, workload.forward_flop) == torch_twin(options)


def test_all_experts_used_is_a_dense_mlp_as_wide_as_all_of_them() -> None:
    routed = RoutedMlp(experts=4, top_k=4, ffn=32).ops(hidden=64, seq_len=16)
    products = [op for op in routed if op.experts]
    assert sum(op.forward_flop for op in products) == 2 * 16 * 64 * 3 * (4 * 32)
    assert sum(op.parameters for op in products) == 64 * 3 * (4 * 32)


def test_more_experts_change_parameters_and_router_but_not_expert_work() -> None:
    few, many = small(experts=8), small(experts=32)

    def expert_flop(workload: Workload) -> int:
        return sum(layer.repeat * op.forward_flop for layer in workload.layers for op in layer.ops if op.experts)

    assert expert_flop(few) == expert_flop(many)
    assert many.parameters > 3 * few.parameters / 2
    assert active_parameters(many) - active_parameters(few) == pytest.approx(4 * 128 * 24)
    assert (few.experts, many.experts) == (8, 32)


def test_rows_are_sent_to_experts_and_back_once() -> None:
    ops = RoutedMlp(experts=8, top_k=2, ffn=32, shared_ffn=32).ops(hidden=64, seq_len=16)
    assert [(op.name, op.exchanged_elements) for op in ops if op.exchanged_elements] == [
        ("permute", 16 * 2 * 64),
        ("unpermute", 16 * 2 * 64),
    ]
    latent = RoutedMlp(experts=8, top_k=2, ffn=32, latent=16).ops(hidden=64, seq_len=16)
    assert {op.exchanged_elements for op in latent if op.exchanged_elements} == {16 * 2 * 16}


def test_doubling_depth_doubles_what_blocks_hold_and_do() -> None:
    one, two = small(layers=4, moe_every=2, dense_ffn=64), small(layers=8, moe_every=2, dense_ffn=64)
    rest = one.layers[0].parameters + one.layers[-1].parameters
    assert two.parameters - rest == 2 * (one.parameters - rest)
    assert two.forward_flop - one.forward_flop == one.forward_flop - one.layers[-1].forward_flop


def test_blocks_written_out_are_the_repeated_ones() -> None:
    # With a window as long as the sequence alternate blocks are equal but not one layer.
    repeated, written = small(), small(window=64, full_every=2)
    assert (len(repeated.layers), len(written.layers)) == (3, 6)
    assert repeated.num_blocks == written.num_blocks == 4
    for figure in ("parameters", "forward_flop"):
        assert getattr(repeated, figure) == getattr(written, figure)
    assert sum(x.repeat * x.saved_elements for x in repeated.layers) == sum(x.saved_elements for x in written.layers)


@pytest.mark.parametrize("window", [1, 16, 128, 1000])
def test_a_window_leaves_what_a_causal_query_sees(window: int) -> None:
    seq_len = 1000
    ops = GroupedAttention(heads=4, kv_heads=2, head_dim=8, window=window).ops(hidden=32, seq_len=seq_len)
    (core,) = [op for op in ops if op.kind == "attention"]
    seen = sum(min(query + 1, window) for query in range(seq_len)) / seq_len
    assert core.context / 2 == pytest.approx(seen, abs=1)
    # All keys are kept, few are seen.
    assert core.saved_elements == seq_len * (4 + 2 * 2) * 8


def test_windows_lower_work_in_the_blocks_that_have_them() -> None:
    whole, windowed = small(seq_len=512), small(seq_len=512, window=32)
    half = small(seq_len=512, window=32, full_every=2)
    assert windowed.forward_flop < half.forward_flop < whole.forward_flop
    assert 2 * half.forward_flop == whole.forward_flop + windowed.forward_flop
    assert whole.parameters == windowed.parameters


def test_a_switch_sample_is_a_source_and_a_target() -> None:
    both, short = switch(), switch(target_len=128)
    assert both.parameters == short.parameters
    assert short.forward_flop < both.forward_flop
    assert both.tokens_per_sample == short.tokens_per_sample == 512


def test_experts_of_a_fixed_capacity_multiply_padding_too() -> None:
    fixed, chosen = switch(experts=4, capacity=256), switch(experts=4)
    up = next(op for layer in fixed.layers for op in layer.ops if op.name == "expert up")
    assert up.m == 4 * 256
    assert fixed.forward_flop > chosen.forward_flop
    assert switch(experts=4, capacity=128).forward_flop == chosen.forward_flop


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers is 0; at least 1"),
        ({"top_k": 9}, "top_k is 9; at most the 8 experts"),
        ({"experts": 0}, "experts is 0; at least 1"),
        ({"expert_ffn": 0}, "ffn is 0; at least 1"),
        ({"kv_heads": 3}, "8 heads are not a multiple of 3 kv_heads"),
        ({"heads": 7}, "hidden 128 is not a multiple of 7 heads"),
        ({"dense_layers": 4, "dense_ffn": 8}, "dense_layers is 4; 0 to 3"),
        ({"moe_every": 2}, "dense_ffn is 0; blocks without experts"),
        ({"activation": "tanh"}, "activation is 'tanh'. Legal: gelu"),
        ({"norm": "batch"}, "norm is 'batch'. Legal: layernorm"),
        ({"qk_norm": "all"}, "qk_norm is 'all'"),
        ({"window": -1}, "window is -1, full_every is 0; 0"),
        ({"shared_ffn": -1}, "shared_ffn is -1; 0"),
        ({"seq_len": 0}, "seq_len is 0; at least 1"),
    ],
)
def test_impossible_mixtures_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        small(**options)
