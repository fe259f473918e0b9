"""Residual networks, those for small images and for faces: published counts, laws, refusals."""

from collections.abc import Callable

import pytest

from workloads import residual
from workloads.faces import EMORE_CLASSES, arcface_mobilefacenet, arcface_resnet
from workloads.op import WorkloadError
from workloads.residual_cifar import baidunet9p, basenet, kakao_resnet9, resnet9, resnet_cifar, resnet_wide, wide_resnet
from workloads.workload import Workload

#: Workload, parameters, where they are published.
COUNTS: list[tuple[Workload, int, str]] = [
    (residual.resnet18(), 11_689_512, "torchvision resnet18"),
    (residual.resnet34(), 21_797_672, "torchvision resnet34"),
    (residual.resnet(depth=200), 64_673_832, "timm resnet200"),
    (residual.resnext(depth=50), 25_028_904, "torchvision resnext50_32x4d"),
    (residual.resnext(depth=101), 44_177_704, "timm resnext101_32x4d"),
    (residual.resnext(depth=101, group_width=8), 88_791_336, "torchvision resnext101_32x8d"),
    (residual.resnext(depth=50, squeeze=16), 27_559_896, "timm seresnext50_32x4d"),
    (residual.resnext(depth=101, squeeze=16), 48_955_416, "timm legacy_seresnext101_32x4d"),
    (resnet_cifar(depth=56), 855_770, "chenyaofo/pytorch-cifar-models cifar10_resnet56"),
    (resnet_cifar(depth=164, bottleneck=True, preactivation=True), 1_703_258, "bearpaw preresnet-164"),
    (resnet_wide(depth=18), 11_173_962, "kuangliu/pytorch-cifar ResNet18"),
    (resnet_wide(depth=34), 21_282_122, "kuangliu/pytorch-cifar ResNet34"),
    (resnet9(), 6_573_120, "davidcpage/cifar10-fast"),
    (arcface_resnet(), 65_156_160 + 512 * EMORE_CLASSES, "insightface iresnet100 and its classifier"),
]
ALL: list[Workload] = [
    residual.resnet18(), residual.resnet34(), residual.resnet56_imagenet(), residual.resnet_preactivation(),
    residual.resnext(depth=50), residual.resnext(depth=101, squeeze=16), resnet_cifar(depth=56),
    resnet_cifar(depth=164, preactivation=True), resnet_cifar(depth=164, preactivation=True, bottleneck=True),
    resnet_wide(depth=18), resnet_wide(depth=34, kervolution=True), wide_resnet(), basenet(), resnet9(),
    kakao_resnet9(), baidunet9p(), arcface_resnet(), arcface_mobilefacenet(),
]  # fmt: skip


@pytest.mark.parametrize(("workload", "parameters", "source"), COUNTS, ids=[c[0].name for c in COUNTS])
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int, source: str) -> None:
    assert workload.parameters == parameters, source


@pytest.mark.parametrize(
    ("workload", "gigabytes", "batch"),
    [
        (residual.resnet18(), 8.43, 256),
        (residual.resnet50(), 19.23, 128),
        (residual.resnext(depth=50), 24.28, 128),
        (residual.resnext(depth=101), 18.25, 64),
    ],
    ids=["resnet18", "resnet50", "resnext50", "resnext101"],
)
def test_layer_outputs_are_as_large_as_pipedream_profiled_them(
    workload: Workload, gigabytes: float, batch: int
) -> None:
    # msr-fiddle/pipedream profiler/image_classification/profiles/*/graph.txt @7db6a1c: outputs of all layers, fp32.
    elements = sum(
        layer.repeat * op.write_elements for layer in workload.layers for op in layer.ops if op.name != "softmax loss"
    )
    assert 4 * batch * elements / 1e9 == pytest.approx(gigabytes, abs=0.006)


@pytest.mark.parametrize("workload", ALL, ids=[w.name for w in ALL])
def test_only_the_convolution_on_the_image_needs_no_input_gradient(workload: Workload) -> None:
    convs = [op for layer in workload.layers for op in layer.ops if op.kind == "conv"]
    assert [op for op in convs if not op.input_needs_gradient] == [convs[0]]
    assert convs[0].c_in == 3


@pytest.mark.parametrize("workload", ALL, ids=[w.name for w in ALL])
def test_a_network_has_few_distinct_layers_and_blocks_to_cut_at(workload: Workload) -> None:
    assert workload.num_blocks >= 3
    assert len(workload.layers) < 20


def conv_flop(workload: Workload) -> int:
    return sum(y.repeat * op.forward_flop for y in workload.layers for op in y.ops if op.kind == "conv")


@pytest.mark.parametrize(
    ("network", "side"),
    [
        (residual.resnet18, 224), (residual.resnet_preactivation, 224),
        (lambda **size: residual.resnext(depth=50, squeeze=16, **size), 224),
        (lambda **size: resnet_cifar(depth=56, **size), 32), (wide_resnet, 32), (resnet9, 32),
    ],
)  # fmt: skip
def test_convolution_work_quadruples_with_twice_the_image(network: Callable[..., Workload], side: int) -> None:
    assert conv_flop(network(image_size=2 * side)) == pytest.approx(4 * conv_flop(network(image_size=side)), rel=1e-4)


@pytest.mark.parametrize("bottleneck", [False, True])
def test_depth_adds_alike_blocks(bottleneck: bool) -> None:
    step = 9 if bottleneck else 6

    def network(blocks: int) -> Workload:
        return resnet_cifar(depth=2 + step * blocks, bottleneck=bottleneck, preactivation=True)

    two, three, four = (network(blocks) for blocks in (2, 3, 4))
    assert four.parameters - three.parameters == three.parameters - two.parameters
    assert four.forward_flop - three.forward_flop == three.forward_flop - two.forward_flop
    assert [w.num_blocks for w in (two, three, four)] == [6, 9, 12]


def test_layers_of_a_resnet_are_those_of_its_name() -> None:
    def depth(workload: Workload) -> int:
        # Shortcuts are the 1 x 1 convolutions that change channels or stride beside the block; they do not count.
        return sum(
            layer.repeat * sum(op.kind in ("conv", "gemm") for op in layer.ops) for layer in workload.layers
        ) - sum(layer.name.endswith("first") for layer in workload.layers)

    # The first stage of a basic ResNet keeps its channels and has no projection.
    assert depth(residual.resnet18()) + 1 == 18
    assert depth(residual.resnet34()) + 1 == 34
    assert [depth(residual.resnet(depth=d)) for d in residual.PLAIN_DEPTHS] == list(residual.PLAIN_DEPTHS)
    assert depth(residual.resnet_preactivation(depth=200)) == 200


def test_groups_save_work_and_squeeze_and_excite_adds_little() -> None:
    plain, grouped = residual.resnet50(), residual.resnext(depth=50)
    # Xie et al. 2016, table 1: 32x4d has about the work and the parameters of ResNet-50.
    assert grouped.parameters == pytest.approx(plain.parameters, rel=0.03)
    assert grouped.forward_flop == pytest.approx(plain.forward_flop, rel=0.05)
    excited = residual.resnext(depth=50, squeeze=16)
    assert 1.0 < excited.forward_flop / grouped.forward_flop < 1.001
    assert excited.parameters / grouped.parameters == pytest.approx(1.1, abs=0.02)


def test_every_person_adds_one_embedding_to_a_face_network() -> None:
    for network, embedding in ((arcface_resnet, 512), (arcface_mobilefacenet, 128)):
        more, fewer = network(num_classes=2000), network(num_classes=1000)
        assert more.parameters - fewer.parameters == 1000 * embedding
        assert more.forward_flop - fewer.forward_flop == 2 * 1000 * embedding


def test_unknown_depths_and_shapes_are_refused() -> None:
    with pytest.raises(WorkloadError, match=r"resnet_cifar: depth is 57. Legal: 2 \+ 6 n, such as 110"):
        resnet_cifar(depth=57)
    with pytest.raises(WorkloadError, match="set preactivation"):
        resnet_cifar(depth=164, bottleneck=True)
    with pytest.raises(WorkloadError, match=r"resnext: depth is 18. Legal: 50, 101, 152"):
        residual.resnext(depth=18)
    with pytest.raises(WorkloadError, match="0 groups of width 4"):
        residual.resnext(depth=50, groups=0)
    with pytest.raises(WorkloadError, match=r"resnet_preactivation: depth is 20. Legal: 50"):
        residual.resnet_preactivation(depth=20)
    with pytest.raises(WorkloadError, match=r"resnet_wide: depth is 50. Legal: 18, 34"):
        resnet_wide(depth=50)
    with pytest.raises(WorkloadError, match="0 times as wide"):
        wide_resnet(widening=0)
    with pytest.raises(WorkloadError, match=r"arcface_resnet: depth is 34. Legal: 50, 100"):
        arcface_resnet(depth=34)


def test_an_image_too_small_for_the_network_is_refused() -> None:
    for network in (resnet9, arcface_mobilefacenet):
        with pytest.raises(WorkloadError, match="does not fit an input of"):
            network(image_size=4 if network is resnet9 else 0)
