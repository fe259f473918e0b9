"""Mamba-2 hybrids and gated delta networks: published counts, FLOPs that PyTorch counts, laws, refusals."""

from typing import Any

import pytest

from workloads.catalog import model
from workloads.expert_ops import active_parameters
from workloads.linear_attention import DeltaAttention, delta_decoder, gated_hybrid
from workloads.op import Op, WorkloadError
from workloads.state_space import Mamba, blocks_of, hybrid
from workloads.workload import Workload

HYBRID: dict[str, Any] = {
    "pattern": "MEM*EM-", "hidden": 96, "heads": 4, "kv_heads": 2, "head_dim": 16, "mamba_heads": 8,
    "mamba_head_dim": 16, "groups": 2, "state": 32, "ffn": 128, "experts": 8, "top_k": 2, "expert_ffn": 48,
    "shared_ffn": 64, "vocab": 256, "seq_len": 512,
}  # fmt: skip
DELTA: dict[str, Any] = {
    "layers": 2, "hidden": 96, "ffn": 128, "key_heads": 2, "value_heads": 4, "key_dim": 16, "value_dim": 24,
    "vocab": 256, "seq_len": 256,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        # Sums of the safetensors of the checkpoints on Hugging Face, balance numbers (buffers) apart.
        ("Nemotron-3-Nano", 31_577_937_344),
        ("Qwen3-Next-80B-A3B", 79_674_391_296),
        ("Qwen3.5-35B-A3B", 34_660_610_688),
    ],
)
def test_parameters_are_those_of_the_published_checkpoint(name: str, parameters: int) -> None:
    assert model(name).parameters == parameters


def test_qwen3_nexts_module_of_multi_token_prediction_closes_the_count_of_its_checkpoint() -> None:
    options = {"layers": 48, "hidden": 2048, "heads": 16, "kv_heads": 2, "head_dim": 256, "vocab": 151936}
    mixed = {"experts": 512, "top_k": 10, "expert_ffn": 512, "shared_ffn": 512}
    assert gated_hybrid(**options, **mixed, next_tokens=1).parameters == 81_324_862_720


@pytest.mark.parametrize(
    ("name", "billions", "active"),
    [
        # Printed in model cards and reports, rounded; active with embeddings.
        ("Nemotron-3-Nano", 31.6, 3.6),
        ("Nemotron-3-Super", 123.6, None),
        ("Nemotron-H-8B", 8.1, None),
        ("Nemotron-H-47B", 46.8, None),
        ("Nemotron-H-56B", 56.3, None),
        ("Nemotron-Nano-9B-v2", 8.89, None),
        ("GDN-300M (Primus)", 0.308, None),
        ("KDA-300M (Primus)", 0.302, None),
    ],
)
def test_sizes_are_those_that_model_cards_print(name: str, billions: float, active: float | None) -> None:
    workload = model(name)
    assert workload.parameters / 1e9 == pytest.approx(billions, rel=0.006)
    if active is not None:
        assert active_parameters(workload) / 1e9 == pytest.approx(active, rel=0.02)


def test_the_truncated_proxy_does_the_work_its_benchmark_counts() -> None:
    # 80.444 TFLOP/s on each of 8 chips over 0.309433 s for 32 sequences of 1,024 tokens.
    workload = model("Qwen3.5 truncated proxy")
    halved = sum(
        layer.repeat * op.forward_flop / 2 for layer in workload.layers for op in layer.ops if op.kind == "attention"
    )
    counted = 80.444e12 * 8 * 0.309433 / (32 * 1024)
    assert 3 * (workload.forward_flop - halved) / 1024 == pytest.approx(counted, rel=0.01)


def flop_by_torch(run: Any, *shapes: tuple[int, ...]) -> int:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        run(torch, *(torch.empty(shape, device="meta") for shape in shapes))
    return int(counter.get_total_flops())


def chunked_scan(torch: Any, x: Any, b: Any, c: Any) -> Any:
    """Mamba-2's scan in chunks, written out: x [heads, chunks, Q, P], b and c [groups, chunks, Q, N]."""
    times = x.shape[0] // b.shape[0]
    scores = (c @ b.transpose(-1, -2)).repeat_interleave(times, 0)
    b, c = b.repeat_interleave(times, 0), c.repeat_interleave(times, 0)
    states = (b.transpose(-1, -2) @ x).cumsum(1)
    return scores.tril() @ x + c @ states


def chunked_delta(torch: Any, q: Any, k: Any, v: Any) -> Any:
    """A gated delta network in chunks, written out: [heads, chunks, C, K or V]."""
    mixed = (k @ k.transpose(-1, -2)).tril(-1)
    keys, values = mixed @ k, mixed @ v
    scores = (q @ k.transpose(-1, -2)).tril()
    state = torch.zeros(*k.shape[:1], k.shape[-1], v.shape[-1], device=v.device)
    outs = []
    for chunk in range(k.shape[1]):
        new = values[:, chunk] - keys[:, chunk] @ state
        outs.append(q[:, chunk] @ state + scores[:, chunk] @ new)
        state = state + k[:, chunk].transpose(-1, -2) @ new
    return torch.stack(outs, 1)


def products(ops: tuple[Op, ...]) -> int:
    return sum(op.forward_flop for op in ops if op.kind == "gemm" and not op.parameters)


@pytest.mark.parametrize("seq_len", [64, 128, 512])
def test_a_mamba_scan_has_the_flops_pytorch_counts(seq_len: int) -> None:
    mamba = Mamba(heads=8, head_dim=16, groups=2, state=32)
    chunks, size = max(1, seq_len // 128), min(seq_len, 128)
    counted = flop_by_torch(chunked_scan, (8, chunks, size, 16), (2, chunks, size, 32), (2, chunks, size, 32))
    assert products(mamba.ops(hidden=96, seq_len=seq_len)) == counted


@pytest.mark.parametrize("decay", ["head", "channel"])
def test_a_delta_network_has_the_flops_pytorch_counts(decay: str) -> None:
    delta = DeltaAttention(key_heads=2, value_heads=4, key_dim=16, value_dim=24, decay=decay)
    counted = flop_by_torch(chunked_delta, (4, 4, 64, 16), (4, 4, 64, 16), (4, 4, 64, 24))
    assert products(delta.ops(hidden=96, seq_len=256)) == counted


def test_mamba_layers_have_the_parameters_of_their_products_convolution_and_norms() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own modules")
    inner, mixed = 8 * 16, 8 * 16 + 2 * 2 * 32
    with torch.device("meta"):
        layer = torch.nn.ModuleList(
            [
                torch.nn.Linear(96, inner + mixed + 8, bias=False),
                torch.nn.Conv1d(mixed, mixed, 4, groups=mixed),
                torch.nn.RMSNorm(inner),
                torch.nn.Linear(inner, 96, bias=False),
            ]
        )
    ops = Mamba(heads=8, head_dim=16, groups=2, state=32).ops(hidden=96, seq_len=128)
    assert sum(op.parameters for op in ops) == sum(p.numel() for p in layer.parameters()) + 3 * 8


@pytest.mark.parametrize("build", ["mamba", "delta"])
def test_work_of_a_state_grows_with_the_sequence_not_its_square(build: str) -> None:
    def work(seq_len: int) -> int:
        if build == "mamba":
            ops = Mamba(heads=8, groups=2).ops(hidden=96, seq_len=seq_len)
        else:
            ops = DeltaAttention(key_heads=2, value_heads=4, key_dim=16, value_dim=24).ops(hidden=96, seq_len=seq_len)
        return sum(op.forward_flop for op in ops)

    assert work(4096) == 8 * work(512)


@pytest.mark.parametrize(
    ("pattern", "blocks"),
    [
        ("MEMEM*EMEMEM*E", ["ME", "ME", "M*E", "ME", "ME", "M*E"]),
        ("M-M*-MM-", ["M-", "M*-", "MM-"]),
        ("M---MM---M-", ["M-", "-", "-", "MM-", "-", "-", "M-"]),
        ("MM*", ["MM*"]),
        ("E", ["E"]),
    ],
)
def test_a_pattern_is_cut_after_every_mlp(pattern: str, blocks: list[str]) -> None:
    assert blocks_of(pattern) == blocks
    assert "".join(blocks_of(pattern)) == pattern


def test_the_order_of_a_pattern_changes_neither_parameters_nor_work() -> None:
    one, other = hybrid(**HYBRID), hybrid(**{**HYBRID, "pattern": "M-*EMEM"})
    assert one.parameters == other.parameters
    assert one.forward_flop == other.forward_flop


def test_a_pattern_is_the_sum_of_its_letters() -> None:
    def work(pattern: str) -> int:
        workload = hybrid(**{**HYBRID, "pattern": pattern})
        return workload.forward_flop - workload.layers[-1].forward_flop

    assert work("MEM*EM-") == 3 * work("M") + work("*") + work("-") + 2 * work("E")


def test_a_repeated_module_of_multi_token_prediction_is_counted_once_and_run_twice() -> None:
    none, one, two = (hybrid(**HYBRID, next_tokens=n) for n in (0, 1, 2))
    apart = hybrid(**HYBRID, next_tokens=2, next_shared=False)
    assert two.parameters == one.parameters > none.parameters
    assert apart.parameters - one.parameters == one.parameters - none.parameters
    assert two.forward_flop - one.forward_flop == one.forward_flop - none.forward_flop
    assert apart.forward_flop == two.forward_flop


def test_experts_of_a_narrow_latent_send_and_hold_less() -> None:
    def exchanged(workload: Workload) -> float:
        return sum(layer.repeat * op.exchanged_elements for layer in workload.layers for op in layer.ops)

    whole, latent = hybrid(**HYBRID), hybrid(**HYBRID, latent=24)
    assert exchanged(whole) == 4 * exchanged(latent)
    saved = 2 * 8 * 2 * 48 * (96 - 24)
    assert whole.parameters - latent.parameters == saved - 2 * 2 * 96 * 24


def test_doubling_depth_doubles_the_blocks() -> None:
    one, two = delta_decoder(**DELTA), delta_decoder(**{**DELTA, "layers": 4})
    assert two.parameters - one.parameters == 2 * one.layers[1].parameters
    assert two.forward_flop - one.forward_flop == 2 * one.layers[1].forward_flop


def test_decay_per_channel_goes_through_a_latent() -> None:
    head, channel = delta_decoder(**DELTA), delta_decoder(**DELTA, decay="channel")
    # Per block: gates of width V + 2 heads against two latents and a head's, and the two products behind them.
    straight = 96 * (96 + 2 * 4) + 4
    through = 96 * (2 * 24 + 4) + 24 * (32 + 96) + 32
    assert channel.parameters - head.parameters == 2 * (through - straight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": ""}, "pattern is ''. Legal: letters M"),
        ({"pattern": "MXE"}, "pattern is 'MXE'"),
        ({"ffn": 0}, "ffn is 0; at least 1"),
        ({"experts": 0}, "experts is 0; at least 1"),
        ({"groups": 3}, "8 heads are not a multiple of 3 groups"),
        ({"next_tokens": 1, "next_pattern": "Q"}, "next_pattern is 'Q'"),
        ({"activation": "step"}, "activation is 'step'"),
    ],
)
def test_impossible_hybrids_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        hybrid(**{**HYBRID, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"value_heads": 3}, "3 value heads are not a multiple of 2 key heads"),
        ({"key_dim": 0}, "key_dim is 0; at least 1"),
        ({"decay": "none"}, "decay is 'none'. Legal: head, channel"),
        ({"layers": 0}, "layers is 0; at least 1"),
    ],
)
def test_impossible_delta_networks_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        delta_decoder(**{**DELTA, **options})
