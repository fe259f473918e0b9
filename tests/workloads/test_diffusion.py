"""Imagen, Wan and Mini DALL-E: published counts, PyTorch's own on networks written out here, laws, refusals."""

from collections.abc import Callable

import pytest

from workloads.catalog import model, resolve_model
from workloads.dalle import mini_dalle
from workloads.diffusion import imagen_efficient_unet, imagen_unet
from workloads.op import WorkloadError
from workloads.wan import wan
from workloads.workload import Workload

#: Catalogue name, parameters as its name or source prints them, how near.
PRINTED = [
    ("Imagen-base-500M", 500e6, 0.03),
    ("Imagen-base-2B", 2e9, 0.04),
    ("Imagen-SR1-600M-EffUNet", 600e6, 0.01),
    ("Imagen-SR2-600M-EffUNet", 600e6, 0.04),
    ("Imagen-SR1-430M-UNet", 430e6, 0.011),
]


@pytest.mark.parametrize(("name", "parameters", "near"), PRINTED)
def test_imagens_have_the_parameters_of_their_names(name: str, parameters: float, near: float) -> None:
    workload = model(name)
    assert workload.name == resolve_model(name) == name.lower()
    assert workload.parameters == pytest.approx(parameters, rel=near)
    assert len(workload.layers) < 60
    assert (workload.family, workload.sample) == ("generative", "image")


def test_wan_has_the_parameters_of_its_checkpoints() -> None:
    # Hugging Face Wan-AI/Wan2.1-T2V-14B-Diffusers and -1.3B-Diffusers (recalled).
    assert model("Wan-2.1-14B").parameters == 14_288_491_584
    assert model("wan2.1-1.3B").parameters == 1_418_996_800


def test_longer_videos_make_attention_grow_with_the_square() -> None:
    short, long = wan(seq_len=37440), wan(seq_len=75600)

    def own(workload: Workload) -> int:
        return next(op.forward_flop for op in workload.layers[1].ops if op.name == "attention")

    assert own(long) / own(short) == pytest.approx((75600 / 37440) ** 2)
    assert long.parameters == short.parameters
    assert long.tokens_per_sample == 75600
    assert long.num_blocks == 40
    assert not long.causal


@pytest.mark.parametrize("network", [imagen_unet, imagen_efficient_unet])
def test_twice_the_image_is_four_times_the_convolutions(network: Callable[..., Workload]) -> None:
    def flop(side: int) -> int:
        layers = network(image_size=side, attended=(1,)).layers
        return sum(x.repeat * op.forward_flop for x in layers for op in x.ops if op.kind == "conv")

    assert flop(128) == 4 * flop(64)


def test_more_blocks_add_alike_blocks() -> None:
    def parameters(count: int) -> int:
        return imagen_unet(blocks=(3, count, 3, 3)).parameters

    assert parameters(5) - parameters(4) == parameters(4) - parameters(3)
    counts = [imagen_unet(blocks=(3, count, 3, 3)).num_blocks for count in (3, 4)]
    assert counts[1] - counts[0] == 2  # one going down, one coming up


def test_a_frozen_encoder_learns_nothing_and_is_most_of_a_picture() -> None:
    workload = mini_dalle()
    encoder = [x for x in workload.layers if x.name.startswith("encode")]
    assert all(not op.trainable and op.saved_elements == 0.0 for x in encoder for op in x.ops)
    work = sum(x.forward_flop for x in encoder)
    assert 0.5 < work / workload.forward_flop < 0.8
    assert mini_dalle(full_layers=16).forward_flop > workload.forward_flop
    assert [x.repeat for x in workload.layers if x.kind == "block"] == [14, 2]
    assert resolve_model("Mini DALL-E") == "mini-dall-e"


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"imagen_unet: 4 multipliers and 2 blocks"):
        imagen_unet(blocks=(3, 3))
    with pytest.raises(WorkloadError, match=r"imagen_unet: image_size is 60. Legal: multiples of 8"):
        imagen_unet(image_size=60)
    with pytest.raises(WorkloadError, match=r"imagen_efficient_unet: attention is 'own'. Legal: fused, cross"):
        imagen_efficient_unet(attention="own")
    with pytest.raises(WorkloadError, match=r"wan: hidden 100 is not a multiple of 40 heads"):
        wan(hidden=100)
    with pytest.raises(WorkloadError, match=r"wan: text_len is 0; at least 1"):
        wan(text_len=0)
    with pytest.raises(WorkloadError, match=r"mini_dalle: full_layers is 3 of 2 layers"):
        mini_dalle(layers=2, full_layers=3)
    with pytest.raises(WorkloadError, match=r"mini_dalle: image_size is 250. Legal: multiples of 16"):
        mini_dalle(image_size=250)


def test_keys_of_axial_blocks_are_the_mean_over_positions() -> None:
    workload = mini_dalle()
    axial, full = (
        next(op for op in x.ops if op.kind == "attention") for x in workload.layers if x.kind == "block"
    )  # fmt: skip
    text, side = 80, 16
    exact = (text * text + side**2 * (text + 1 + side)) / (text + side**2)
    assert axial.context == pytest.approx(exact, abs=0.5)
    assert full.context == text + side**2
