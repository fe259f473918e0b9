"""Convolutional networks against published parameter counts, sizes and what frameworks keep."""

from collections.abc import Callable

import pytest

from workloads import convnet
from workloads.op import WorkloadError
from workloads.workload import Workload

NETWORKS: list[tuple[Callable[..., Workload], dict[str, object], int]] = [
    (convnet.alexnet, {}, 61_100_840),
    (convnet.alexnet_grouped, {}, 60_965_224),
    (convnet.vgg_a, {}, 132_863_336),
    (convnet.vgg16, {}, 138_357_544),
    (convnet.vgg19, {}, 143_667_240),
    (convnet.resnet50, {"version": "v1"}, 25_557_032),
    (convnet.resnet50, {"version": "v1.5"}, 25_557_032),
    (convnet.resnet101, {}, 44_549_160),
    (convnet.resnet152, {}, 60_192_808),
    (convnet.inception_v3, {"auxiliary": True}, 27_161_264),
    (convnet.inception_v3, {"auxiliary": False}, 23_834_568),
]
NAMES = [f"{network.__name__} {options}" for network, options, _ in NETWORKS]


@pytest.mark.parametrize(("network", "options", "parameters"), NETWORKS, ids=NAMES)
def test_parameter_counts_are_the_published_ones(
    network: Callable[..., Workload], options: dict[str, object], parameters: int
) -> None:
    assert network(**options).parameters == parameters


@pytest.mark.parametrize(("network", "options", "parameters"), NETWORKS, ids=NAMES)
def test_only_the_convolution_on_the_image_needs_no_input_gradient(
    network: Callable[..., Workload], options: dict[str, object], parameters: int
) -> None:
    convs = [op for layer in network(**options).layers for op in layer.ops if op.kind == "conv"]
    assert [op.name for op in convs if not op.input_needs_gradient] == [convs[0].name]
    assert convs[0].c_in == 3


def test_resnet50_v15_does_8_18_gflop_per_image() -> None:
    assert convnet.resnet50().forward_flop == 8_178_368_512


def test_resnet_v1_strides_earlier_and_does_less() -> None:
    v1, v15 = convnet.resnet50(version="v1"), convnet.resnet50(version="v1.5")
    assert v1.forward_flop < v15.forward_flop
    strided_v1, strided_v15 = (
        [op.kernel for op in w.layers[3].ops if op.kind == "conv" and op.stride == (2, 2)] for w in (v1, v15)
    )
    assert strided_v1 == [(1, 1), (1, 1)]  # the second is the shortcut
    assert strided_v15 == [(3, 3), (1, 1)]


def test_resnet50_stages_have_the_papers_sizes() -> None:
    # He et al. 2015, table 1: 112, 56, 28, 14, 7.
    last = [layer.ops[-1].write_elements for layer in convnet.resnet50().layers[:-1]]
    assert last[0] == 64 * 56 * 56  # the stem ends in pooling
    assert last[1::2] == last[2::2] == [256 * 56 * 56, 512 * 28 * 28, 1024 * 14 * 14, 2048 * 7 * 7]


def test_alexnet_of_2012_has_the_papers_sizes() -> None:
    convs = [op for layer in convnet.alexnet_grouped().layers for op in layer.ops if op.kind == "conv"]
    assert [op.out_hw[0] for op in convs] == [55, 27, 13, 13, 13]
    assert [op.batch for op in convs] == [1, 2, 1, 2, 2]


def test_vgg_keeps_every_tensor_once() -> None:
    # First two layers of VGG-16 on 224 pixels: image, two ReLU outputs of 64 channels, the pooled one; nothing else.
    layers = convnet.vgg16().layers[:2]
    assert sum(layer.saved_elements for layer in layers) == 3 * 224**2 + 2 * 64 * 224**2 + 64 * 112**2


def test_a_residual_block_keeps_convolution_outputs_and_relu_outputs() -> None:
    # A repeated block of stage 1: its input is kept by the block before; kept here are the inputs of three
    # batch-norms (64, 64, 256 channels) and three ReLU outputs (64, 64, 256) at 56 x 56.
    block = convnet.resnet50().layers[2]
    assert block.repeat == 2
    assert block.saved_elements == 2 * (64 + 64 + 256) * 56 * 56


def test_depth_counts_blocks() -> None:
    assert [convnet.resnet(depth=depth).num_blocks for depth in (50, 101, 152)] == [16, 33, 50]
    assert convnet.inception_v3().num_blocks == 11


def test_convolution_work_quadruples_with_twice_the_image() -> None:
    def conv_flop(image_size: int) -> int:
        layers = convnet.vgg16(image_size=image_size).layers
        return sum(op.forward_flop for layer in layers for op in layer.ops if op.kind == "conv")

    assert conv_flop(448) == 4 * conv_flop(224)


def test_an_image_too_small_for_the_network_is_refused() -> None:
    with pytest.raises(WorkloadError, match="does not fit an input of"):
        convnet.inception_v3(image_size=40)


def test_unknown_depths_and_versions_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"depth is 51. Legal: 50, 56, 101, 152, 200"):
        convnet.resnet(depth=51)
    with pytest.raises(WorkloadError, match=r"version is 'v2'. Legal: v1, v1.5"):
        convnet.resnet50(version="v2")
