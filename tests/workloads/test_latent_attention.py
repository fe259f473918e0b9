"""Latent and compressed attention: counts of published checkpoints, FLOPs that PyTorch counts, laws, refusals."""

from typing import Any

import pytest

from workloads.catalog import model
from workloads.compressed_attention import CompressedAttention, compressed_mixture
from workloads.expert_ops import active_parameters
from workloads.latent_attention import LatentAttention, latent_mixture
from workloads.op import WorkloadError
from workloads.workload import Workload

SMALL: dict[str, Any] = {
    "layers": 3, "hidden": 96, "heads": 4, "query_rank": 48, "key_rank": 32, "head_dim": 16, "rotary_dim": 8,
    "value_dim": 24, "vocab": 256, "seq_len": 64, "dense_layers": 1, "dense_ffn": 128, "experts": 8, "top_k": 2,
    "expert_ffn": 40, "shared_ffn": 80,
}  # fmt: skip
COMPRESSED: dict[str, Any] = {
    "pattern": "wwscs", "hidden": 128, "heads": 4, "query_rank": 32, "output_rank": 16, "output_groups": 2,
    "chosen": 64, "experts": 8, "top_k": 2, "expert_ffn": 64, "shared_ffn": 64, "vocab": 256, "seq_len": 1024,
}  # fmt: skip


def small(**options: Any) -> Workload:
    return latent_mixture(**{**SMALL, **options})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Sums of the safetensors of the checkpoints on Hugging Face, without quantisation scales.
        ("DeepSeek-V2-Lite-16B", 15_706_484_224),
        ("DeepSeek-V2-236B", 235_741_434_880),
        ("DeepSeek-V3-671B (one token)", 671_026_419_200),
        ("Kimi-K2-1T", 1_026_408_232_448),
        # With their module of multi-token prediction, whose table and head are the model's.
        ("DeepSeek-V4-Flash", 290_942_289_362),
        ("DeepSeek-V4-Pro", 1_598_837_347_742),
    ],
)
def test_parameters_are_those_of_the_published_checkpoint(name: str, parameters: int) -> None:
    assert model(name).parameters == parameters


@pytest.mark.parametrize(
    ("name", "active"),
    [
        ("DeepSeek-V2-236B", 21_375_800_320),
        ("DeepSeek-V3-671B (one token)", 37_552_297_472),
        ("DeepSeek-V4-Flash", 14_118_225_362),
        ("DeepSeek-V4-Pro", 50_648_438_174),
    ],
)
def test_active_parameters_count_the_experts_a_token_uses(name: str, active: int) -> None:
    assert active_parameters(model(name)) == pytest.approx(active, rel=1e-9)


def test_a_module_of_multi_token_prediction_has_11_point_5_billion_parameters() -> None:
    # DeepSeek-V3's README_WEIGHTS: 11.5B unique parameters, table and head shared with the model.
    one, two = model("DeepSeek-V3-671B (one token)"), model("DeepSeek-V3-671B")
    assert (two.parameters - one.parameters) / 1e9 == pytest.approx(11.6, abs=0.1)
    block = one.layers[2].forward_flop
    head = one.layers[-1].forward_flop
    join = 2 * 4096 * 2 * 7168 * 7168
    assert two.forward_flop - one.forward_flop == block + head + join


def torch_twin(options: dict[str, Any]) -> tuple[int, int]:
    """Parameters and FLOPs of latent attention and experts written out in PyTorch."""
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    nn, f = torch.nn, torch.nn.functional
    o = {**SMALL, **options}
    h, heads, s, nope, rope, wide = (
        o[k] for k in ("hidden", "heads", "seq_len", "head_dim", "rotary_dim", "value_dim")
    )

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
                    "norm1": nn.RMSNorm(h), "norm2": nn.RMSNorm(h),
                    "kv_down": nn.Linear(h, o["key_rank"] + rope, bias=False), "kv_norm": nn.RMSNorm(o["key_rank"]),
                    "kv_up": nn.Linear(o["key_rank"], heads * (nope + wide), bias=False),
                    "out": nn.Linear(heads * wide, h, bias=False),
                }  # fmt: skip
                if o["query_rank"]:
                    block["q_down"] = nn.Linear(h, o["query_rank"], bias=False)
                    block["q_norm"] = nn.RMSNorm(o["query_rank"])
                block["q_up"] = nn.Linear(o["query_rank"] or h, heads * (nope + rope), bias=False)
                if index < o["dense_layers"]:
                    block["mlp"] = mlp(o["dense_ffn"])
                else:
                    block["router"] = nn.Linear(h, o["experts"], bias=False)
                    block["experts"] = nn.ModuleList(mlp(o["expert_ffn"]) for _ in range(o["experts"]))
                    block["shared"] = mlp(o["shared_ffn"])
                self.blocks.append(nn.ModuleDict(block))

        def forward(self, tokens: Any) -> Any:
            x = self.table(tokens)
            for block in self.blocks:
                y = block["norm1"](x)
                narrow = block["q_norm"](block["q_down"](y)) if "q_down" in block else y
                q = block["q_up"](narrow).view(1, s, heads, nope + rope).transpose(1, 2)
                latent, turned = block["kv_down"](y).split([o["key_rank"], rope], -1)
                kv = block["kv_up"](block["kv_norm"](latent)).view(1, s, heads, nope + wide).transpose(1, 2)
                k, v = kv.split([nope, wide], -1)
                k = torch.cat([k, turned[:, None].expand(1, heads, s, rope)], -1)
                seen = (q @ k.transpose(-1, -2)).softmax(-1) @ v
                x = x + block["out"](seen.transpose(1, 2).reshape(1, s, -1))
                y = block["norm2"](x)
                if "mlp" in block:
                    x = x + run(block["mlp"], y)
                    continue
                block["router"](y)
                rows = y.repeat_interleave(o["top_k"], 1).reshape(o["experts"], -1, h)
                sent = torch.cat([run(e, r) for e, r in zip(block["experts"], rows, strict=True)])
                x = x + sent.view(1, s, o["top_k"], h).sum(2) + run(block["shared"], y)
            return self.head(self.final(x))

    with torch.device("meta"):
        twin, tokens = Twin(), torch.empty(1, s, dtype=torch.long)
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        twin(tokens)
    return sum(p.numel() for p in twin.parameters()), int(counter.get_total_flops())


@pytest.mark.parametrize(
    "options", [{}, {"query_rank": 0}, {"value_dim": 8, "dense_layers": 2}], ids=["V3", "V2-Lite", "narrow values"]
)
def test_latent_attention_has_the_parameters_and_flops_pytorch_counts(options: dict[str, Any]) -> None:
    workload = small(**options)
    assert (workload.parameters, workload.forward_flop) == torch_twin(options)


def test_a_decoder_of_several_depths_shares_table_and_head() -> None:
    none, one, two = small(), small(next_tokens=1), small(next_tokens=2)
    assert one.parameters - none.parameters == two.parameters - one.parameters
    assert none.layers[-1].parameters == two.layers[-1].parameters
    further = one.layers[-2]
    assert further.parameters < none.layers[2].parameters + 3 * 96 * 96
    assert one.num_blocks == none.num_blocks == 3


@pytest.mark.parametrize("seq_len", [512, 2048, 8192])
def test_what_a_query_sees_of_a_compressed_history(seq_len: int) -> None:
    shape: dict[str, Any] = {"heads": 4, "query_rank": 32, "output_rank": 16, "output_groups": 2, "chosen": 64}
    for ratio in (0, 4, 128):
        seen = []
        for query in range(seq_len):
            window, pool = min(query + 1, 128), (query + 1) / ratio if ratio else 0
            seen.append(window + (min(pool, 64) if ratio == 4 else pool))
        context = CompressedAttention(**shape, ratio=ratio).context(seq_len)
        assert context / 2 == pytest.approx(sum(seen) / seq_len, abs=2)


def test_compressed_attention_grows_slower_than_the_square() -> None:
    short, long = compressed_mixture(**COMPRESSED), compressed_mixture(**{**COMPRESSED, "seq_len": 4096})
    latent = small(seq_len=4096).forward_flop / small(seq_len=1024).forward_flop
    assert 4 < long.forward_flop / short.forward_flop < latent < 16
    assert long.parameters == short.parameters


def test_streams_are_handed_on_whole() -> None:
    workload = compressed_mixture(**COMPRESSED)
    blocks = [layer for layer in workload.layers if layer.kind == "block"]
    assert {layer.ops[-1].write_elements for layer in blocks} == {4 * 128 * 1024}
    assert workload.num_blocks == 5


def test_only_hashed_blocks_have_no_balance_numbers() -> None:
    learned, hashed = (compressed_mixture(**COMPRESSED, hashed_layers=n) for n in (0, 5))
    assert learned.parameters - hashed.parameters == 5 * 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 0}, "heads is 0; at least 1"),
        ({"key_rank": 0}, "key_rank is 0; at least 1"),
        ({"query_rank": -1}, "query_rank is -1; 0"),
        ({"dense_layers": 3}, "dense_layers is 3; 0 to 2"),
        ({"next_tokens": -1}, "next_tokens is -1; 0"),
        ({"top_k": 9}, "top_k is 9; at most the 8"),
        ({"dense_ffn": 0}, "dense_ffn is 0; at least 1"),
    ],
)
def test_impossible_latent_mixtures_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        small(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": ""}, "pattern is ''. Legal: letters w, s, c"),
        ({"pattern": "wx"}, "pattern is 'wx'"),
        ({"output_groups": 3}, "4 heads are not a multiple of 3 output_groups"),
        ({"chosen": 0}, "chosen is 0; at least 1"),
        ({"streams": 0}, "streams is 0; at least 1"),
    ],
)
def test_impossible_compressed_mixtures_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        compressed_mixture(**{**COMPRESSED, **options})


def test_latent_keys_and_values_are_expanded_for_training() -> None:
    ops = LatentAttention(heads=4, query_rank=16).ops(hidden=64, seq_len=32)
    (core,) = [op for op in ops if op.kind == "attention"]
    assert (core.head_dim, core.value_width, core.kv_heads) == (192, 128, 4)
