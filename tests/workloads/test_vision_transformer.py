"""ViT, CLIP and Perceivers against published counts and PyTorch's own modules and counter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.op import WorkloadError
from workloads.perceiver import language_perceiver, vision_perceiver_conv
from workloads.vision_transformer import clip, vision_transformer
from workloads.workload import Workload


@pytest.mark.parametrize(
    ("workload", "parameters"),
    [
        (vision_transformer(), 86_567_656),  # torchvision vit_b_16
        (vision_transformer(layers=24, hidden=1024, heads=16, ffn=4096), 304_326_632),  # torchvision vit_l_16
        (vision_transformer(patch=32), 88_224_232),  # torchvision vit_b_32
        (clip(), 151_277_313),  # Hugging Face openai/clip-vit-base-patch32
        (language_perceiver(task="masked"), 201_108_230),  # Hugging Face deepmind/language-perceiver
    ],
    ids=["ViT-B/16", "ViT-L/16", "ViT-B/32", "CLIP ViT-B/32", "language perceiver"],
)
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int) -> None:
    assert workload.parameters == parameters


def test_the_largest_vit_has_the_size_its_paper_prints() -> None:
    # arXiv:2106.04560, Table 2: 1843M parameters, with attention pooling instead of a class token.
    workload = vision_transformer(layers=48, hidden=1664, heads=16, ffn=8192, patch=14)
    assert workload.parameters / 1e6 == pytest.approx(1843, rel=2e-3)


def test_the_convolutional_perceiver_has_the_work_its_paper_prints() -> None:
    # arXiv:2107.14795, Table 6: 369 billion FLOPs.
    assert vision_perceiver_conv().forward_flop / 1e9 == pytest.approx(369, abs=0.5)


def counted(network: Any, *example: Any) -> int:
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        network(*example)
    return int(counter.get_total_flops())


def tower(torch: Any, hidden: int, heads: int, layers: int) -> Any:
    return torch.nn.Sequential(
        *(
            torch.nn.TransformerEncoderLayer(hidden, heads, 4 * hidden, 0.0, norm_first=True, batch_first=True)
            for _ in range(layers)
        )
    )


def test_a_vit_has_the_flops_and_parameters_pytorch_counts() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    nn = torch.nn

    class Vit(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.cut = nn.Conv2d(3, 192, 16, 16)
            self.token = nn.Parameter(torch.empty(1, 1, 192))
            self.positions = nn.Parameter(torch.empty(1, 37, 192))
            self.blocks = tower(torch, 192, 3, 4)
            self.norm, self.head = nn.LayerNorm(192), nn.Linear(192, 10)

        def forward(self, image: Any) -> Any:
            x = torch.cat([self.token, self.cut(image).flatten(2).transpose(1, 2)], 1) + self.positions
            return self.head(self.norm(self.blocks(x))[:, 0])

    with torch.device("meta"):
        network, image = Vit(), torch.empty(1, 3, 96, 96)
    workload = vision_transformer(layers=4, hidden=192, heads=3, ffn=768, image_size=96, num_classes=10)
    assert sum(p.numel() for p in network.parameters()) == workload.parameters
    with torch.no_grad():
        assert counted(network, image) == workload.forward_flop


def test_both_towers_of_clip_have_the_flops_pytorch_counts() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    with torch.device("meta"):
        cut, image = torch.nn.Conv2d(3, 128, 16, 16, bias=False), torch.empty(1, 3, 64, 64)
        towers = [
            (tower(torch, 128, 2, 3), torch.empty(1, 17, 128)), (tower(torch, 64, 2, 2), torch.empty(1, 20, 64))
        ]  # fmt: skip
    workload = clip(
        layers=3, hidden=128, heads=2, patch=16, image_size=64, text_layers=2, text_hidden=64, text_heads=2,
        text_len=20, vocab=100, width=32,
    )  # fmt: skip
    projections = 2 * 32 * (128 + 64)
    with torch.no_grad():
        expected = counted(cut, image) + sum(counted(*pair) for pair in towers) + projections
    assert workload.forward_flop == expected


def test_a_perceiver_has_the_flops_and_parameters_pytorch_counts() -> None:
    torch = pytest.importorskip("torch", reason="compares with PyTorch's own counter")
    nn = torch.nn

    class Attend(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self, width: int, memory: int, keys: int, values: int, own: bool) -> None:
            super().__init__()
            self.norm, self.memory_norm = nn.LayerNorm(width), None if own else nn.LayerNorm(memory)
            self.q, self.k, self.v = nn.Linear(width, keys), nn.Linear(memory, keys), nn.Linear(memory, values)
            self.out, self.mlp_norm = nn.Linear(values, width), nn.LayerNorm(width)
            self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

        def forward(self, x: Any, memory: Any) -> Any:
            def apart(t: Any) -> Any:
                return t.view(1, t.shape[1], 4, -1).transpose(1, 2)

            y = self.norm(x)
            memory = self.memory_norm(memory) if self.memory_norm else y
            q, k, v = apart(self.q(y)), apart(self.k(memory)), apart(self.v(memory))
            read = (q @ k.transpose(-1, -2)).softmax(-1) @ v
            x = x + self.out(read.transpose(1, 2).reshape(1, x.shape[1], -1))
            return x + self.mlp(self.mlp_norm(x))

    class Perceiver(nn.Module):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.bytes, self.positions = nn.Embedding(262, 48), nn.Embedding(2048, 48)
            self.latents, self.queries = nn.Parameter(torch.empty(1, 16, 80)), nn.Embedding(2048, 48)
            self.read = Attend(80, 48, 32, 80, own=False)
            self.think = nn.ModuleList(Attend(80, 80, 32, 80, own=True) for _ in range(3))
            self.write = Attend(48, 80, 32, 48, own=False)
            self.bias = nn.Parameter(torch.empty(262))

        def forward(self, text: Any) -> Any:
            x = self.read(self.latents.detach(), self.bytes(text) + self.positions.weight[None, :60])
            for block in self.think:
                x = block(x, x)
            return self.write(self.queries.weight[None, :60].detach(), x) @ self.bytes.weight.T + self.bias

    with torch.device("meta"):
        network, text = Perceiver(), torch.empty(1, 60, dtype=torch.long)
    workload = language_perceiver(
        seq_len=60, width=48, latents=16, latent_width=80, layers=3, heads=4, key_width=32, task="masked"
    )  # fmt: skip
    assert sum(p.numel() for p in network.parameters()) == workload.parameters
    with torch.no_grad():
        assert counted(network, text) == workload.forward_flop


@given(factor=st.integers(1, 4))
def test_products_grow_with_the_patches_and_scores_with_their_square(factor: int) -> None:
    def parts(side: int) -> tuple[int, int]:
        ops = vision_transformer(image_size=side).layers[1].ops
        return (
            sum(op.forward_flop for op in ops if op.kind == "gemm"),
            sum(op.forward_flop for op in ops if op.kind == "attention"),
        )

    rows = [(16 * side // 16) ** 2 + 1 for side in (2, 2 * factor)]
    (products, scores), (more_products, more_scores) = parts(32), parts(32 * factor)
    assert more_products * rows[0] == products * rows[1]
    assert more_scores * rows[0] ** 2 == scores * rows[1] ** 2


def test_passes_of_a_perceiver_share_their_parameters() -> None:
    once, eight = vision_perceiver_conv(passes=1), vision_perceiver_conv(passes=8)
    assert once.parameters == eight.parameters
    (latent,) = [layer for layer in once.layers if layer.name == "latent block"]
    assert eight.forward_flop - once.forward_flop == 7 * 6 * latent.forward_flop


def test_the_position_table_alone_grows_with_the_image() -> None:
    larger, own = vision_transformer(image_size=384), vision_transformer()
    assert larger.parameters - own.parameters == (24**2 - 14**2) * 768


@pytest.mark.parametrize(
    ("build", "changes", "message"),
    [
        (vision_transformer, {"image_size": 225}, "image_size 225 is not a multiple of the patch of 16"),
        (vision_transformer, {"heads": 7}, "hidden 768 is not a multiple of 7 heads"),
        (vision_transformer, {"layers": 0}, "layers is 0; at least 1"),
        (vision_transformer, {"activation": "tanh"}, "activation is 'tanh'. Legal: gelu"),
        (clip, {"image_size": 220}, "is not a multiple of the patch of 32"),
        (clip, {"text_len": 0}, "text_len is 0"),
        (language_perceiver, {"task": "span"}, "Legal: classification, masked"),
        (vision_perceiver_conv, {"image_size": 2}, "Try a larger image_size"),
    ],
)
def test_impossible_sizes_are_refused(build: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(WorkloadError, match=message):
        build(**changes)
