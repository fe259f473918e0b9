"""Image classifiers of 2012 to 2016, the Inception family and DenseNets: published counts and sizes, laws, refusals."""

from collections.abc import Callable
from functools import partial

import pytest

from workloads import classic_convnets, convnet, densenet, googlenet
from workloads.op import WorkloadError
from workloads.workload import Workload

COUNTS: list[tuple[Workload, int, str]] = [
    (convnet.vgg13(), 133_047_848, "torchvision vgg13"),
    (classic_convnets.overfeat_fast(), 145_920_872, "arXiv:1312.6229 table 4: 145 million"),
    (classic_convnets.overfeat_accurate(), 144_656_488, "arXiv:1312.6229 table 4: 144 million"),
    (classic_convnets.squeezenet1_0(), 1_248_424, "torchvision squeezenet1_0"),
    (googlenet.googlenet(), 13_378_280, "Caffe bvlc_googlenet, both auxiliary classifiers"),
    (googlenet.googlenet(auxiliary=False), 6_998_552, "Caffe bvlc_googlenet deploy"),
    (googlenet.inception_v4(), 42_679_816, "timm inception_v4"),
    (densenet.densenet(depth=121), 7_978_856, "torchvision densenet121"),
    (densenet.densenet(depth=161), 28_681_000, "torchvision densenet161"),
    (densenet.densenet(depth=169), 14_149_480, "torchvision densenet169"),
    (densenet.densenet(depth=201), 20_013_928, "torchvision densenet201"),
]
NETWORKS: dict[str, Callable[..., Workload]] = {
    **classic_convnets.NETWORKS,
    **googlenet.NETWORKS,
    **{f"densenet{depth}": partial(densenet.densenet, depth=depth) for depth in densenet.DENSENETS},
}


@pytest.mark.parametrize(("workload", "parameters", "source"), COUNTS, ids=[c[0].name for c in COUNTS])
def test_parameter_counts_are_the_published_ones(workload: Workload, parameters: int, source: str) -> None:
    assert workload.parameters == parameters, source


def test_files_of_weights_have_the_published_sizes() -> None:
    # FireCaffe (arXiv:1511.00175): 53 MB of GoogLeNet, 30 MB of Network in Network, in fp32.
    assert 4 * googlenet.googlenet().parameters / 1e6 == pytest.approx(53, abs=0.6)
    assert 4 * classic_convnets.network_in_network().parameters / 1e6 == pytest.approx(30, abs=0.6)


@pytest.mark.parametrize(("workload", "gigabytes", "batch"), [
    (classic_convnets.squeezenet1_0(), 12.32, 256), (densenet.densenet(depth=121), 12.49, 64),
    (convnet.vgg16(), 14.68, 128),
], ids=["squeezenet1_0", "densenet121", "vgg16"])  # fmt: skip
def test_layer_outputs_are_as_large_as_pipedream_profiled_them(
    workload: Workload, gigabytes: float, batch: int
) -> None:
    # msr-fiddle/pipedream profiler/image_classification/profiles/*/graph.txt @7db6a1c: outputs of all layers, fp32.
    elements = sum(
        layer.repeat * op.write_elements for layer in workload.layers for op in layer.ops if op.name != "softmax loss"
    )
    assert 4 * batch * elements / 1e9 == pytest.approx(gigabytes, rel=1.5e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_only_the_convolution_on_the_image_needs_no_input_gradient(name: str) -> None:
    convs = [op for layer in NETWORKS[name]().layers for op in layer.ops if op.kind == "conv"]
    assert [op for op in convs if not op.input_needs_gradient] == [convs[0]]
    assert convs[0].c_in == 3


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_stay_few(name: str) -> None:
    assert len(NETWORKS[name]().layers) < 60


@pytest.mark.parametrize("name", NETWORKS)
def test_a_larger_image_is_more_work(name: str) -> None:
    own = NETWORKS[name]()
    side = int(own.hyper["image_size"])
    assert 3.0 < NETWORKS[name](image_size=2 * side).forward_flop / own.forward_flop < 5.0


@pytest.mark.parametrize("name", NETWORKS)
def test_an_image_too_small_for_the_network_is_refused(name: str) -> None:
    # A global pool takes what is left; the others need an image that survives their windows.
    with pytest.raises(WorkloadError, match="does not fit an input of"):
        NETWORKS[name](image_size=-9)


def test_googlenet_has_the_papers_sizes() -> None:
    # Szegedy et al. 2014, table 1: 28 x 28 x 256, 28 x 28 x 480, then 14, then 7 x 7 x 1024.
    blocks = [layer for layer in googlenet.googlenet().layers if layer.kind == "block"]
    joined = [next(op for op in reversed(layer.ops) if op.name == "concatenate") for layer in blocks]
    sizes = [256 * 28**2, 480 * 28**2, *(c * 14**2 for c in (512, 512, 512, 528, 832)), 832 * 7**2, 1024 * 7**2]
    assert [op.write_elements for op in joined] == sizes


def test_inception_v4_has_the_papers_sizes() -> None:
    # Szegedy et al. 2016, figure 9: 35 x 35 x 384, 17 x 17 x 1024, 8 x 8 x 1536, with 4, 7 and 3 repeated modules.
    layers = {layer.name: layer for layer in googlenet.inception_v4().layers}
    for name, size, repeat in (("a", 384 * 35**2, 4), ("b", 1024 * 17**2, 7), ("c", 1536 * 8**2, 3)):
        layer = layers[f"inception-{name}"]
        assert (layer.ops[-1].write_elements, layer.repeat) == (size, repeat)


def test_small_inception_halves_its_images_twice() -> None:
    last = [layer.ops[-1].write_elements for layer in googlenet.inception_bn_small().layers if layer.kind == "block"]
    assert last[0] == 64 * 28**2
    assert last[2] == (80 + 80) * 14**2
    assert last[-1] == 336 * 7**2


def test_auxiliary_classifiers_and_response_norm_are_extra() -> None:
    full, bare = googlenet.googlenet(), googlenet.googlenet(auxiliary=False, response_norm=False)
    assert full.forward_flop > bare.forward_flop
    assert full.num_blocks == bare.num_blocks == 9
    names = [op.name for layer in full.layers for op in layer.ops]
    assert names.count("softmax loss") == 3
    assert names.count("local response norm") == 2


def test_a_dense_block_reads_all_that_came_before_it() -> None:
    # Channels that the first convolution of each layer of the first block reads: 64, 96, ... 224.
    convs = [op for layer in densenet.densenet(depth=121).layers[1:4] for op in layer.ops if op.kind == "conv"]
    assert [op.c_in for op in convs[::2]] == [64 + 32 * i for i in range(6)]
    assert {op.c_out for op in convs[1::2]} == {32}


def test_depth_of_a_densenet_counts_its_layers() -> None:
    for depth in densenet.DENSENETS:
        layers = densenet.densenet(depth=depth).layers
        assert sum(op.kind in ("conv", "gemm") for layer in layers for op in layer.ops) == depth
    with pytest.raises(WorkloadError, match=r"densenet: depth is 264. Legal: 121, 161, 169, 201"):
        densenet.densenet(depth=264)


def test_batch_norm_instead_of_response_norm_keeps_alexnets_work() -> None:
    normed, old = classic_convnets.alexnet_batchnorm(), convnet.alexnet_grouped()
    assert normed.forward_flop == old.forward_flop
    assert normed.parameters - old.parameters == 2 * (96 + 256 + 384 + 384 + 256)


def test_benchmarks_of_overfeat_do_five_and_a_half_gflop() -> None:
    # arXiv:1312.6229 table 4: 2.8 billion connections (multiply-adds) of the fast model, 5.4 of the accurate one.
    assert classic_convnets.overfeat_fast().forward_flop / 2e9 == pytest.approx(2.8, abs=0.05)
    assert classic_convnets.overfeat_accurate().forward_flop / 2e9 == pytest.approx(5.4, abs=0.06)
