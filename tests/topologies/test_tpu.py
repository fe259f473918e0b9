import math

import pytest

from topologies.metrics import bisection_links, degree, diameter
from topologies.topology import TopologyError
from topologies.torus import torus
from topologies.tpu import TPU_GENERATIONS, tpu_slice, tpu_slice_shape

FLAT = sorted(name for name, pod in TPU_GENERATIONS.items() if not pod.cubes)
CUBES = sorted(name for name, pod in TPU_GENERATIONS.items() if pod.cubes)


@pytest.mark.parametrize(
    ("generation", "chips"),
    [("v2", 256), ("v3", 1024), ("v4", 4096), ("v5e", 256), ("v5p", 8960), ("v6e", 256), ("v7", 9216)],
)
def test_a_pod_has_its_chips_and_is_a_torus(generation, chips):
    shape = tpu_slice_shape(generation)
    assert shape.routers == shape.endpoints == chips == TPU_GENERATIONS[generation].chips
    assert all(shape.wrap)


def test_every_generation_is_looked_at():
    assert sorted(TPU_GENERATIONS) == sorted(FLAT + CUBES) == ["v2", "v3", "v4", "v5e", "v5p", "v6e", "v7"]


@pytest.mark.parametrize("generation", FLAT)
def test_two_axes_wrap_only_where_they_are_as_long_as_the_pods(generation):
    whole = TPU_GENERATIONS[generation].pod[0]
    half = tpu_slice_shape(generation, (whole // 2, whole))
    assert half.wrap == (False, True)
    assert tpu_slice_shape(generation, (whole // 2, whole // 2)).wrap == (False, False)
    assert tpu_slice_shape(generation, (whole, whole)).wrap == (True, True)
    assert tpu_slice_shape(generation, (1, 1)).wrap == (False, False)


def test_sixteen_is_no_whole_axis_of_a_v3():
    assert tpu_slice_shape("v3", (16, 16)).wrap == (False, False)
    assert tpu_slice_shape("v2", (16, 16)).wrap == (True, True)


@pytest.mark.parametrize("generation", CUBES)
@pytest.mark.parametrize(
    ("dims", "wraps"),
    [
        ((2, 2, 1), False),
        ((2, 2, 4), False),
        ((2, 4, 4), False),
        ((4, 4, 4), True),
        ((4, 4, 8), True),
        ((8, 8, 12), True),
    ],
)
def test_three_axes_wrap_where_the_slice_is_whole_cubes(generation, dims, wraps):
    shape = tpu_slice_shape(generation, dims)
    assert shape.wrap == (wraps,) * 3
    slice_ = tpu_slice(generation, dims)
    assert len(slice_.endpoints) == math.prod(dims)
    assert slice_.name == torus(dims, wrap=wraps).name
    assert diameter(slice_) == shape.diameter
    if wraps:
        assert {degree(slice_, chip) for chip in slice_.endpoints} == {6}


@pytest.mark.parametrize(
    ("generation", "links_byte_per_s", "pod_byte_per_s"),
    [("v3", 100e9, 6.4e12), ("v4", 45e9, 24e12), ("v5e", 50e9, 1.6e12), ("v6e", 100e9, 3.2e12)],
)
def test_the_bisection_of_a_pod_is_what_google_says(generation, links_byte_per_s, pod_byte_per_s):
    # Cloud TPU documentation: bisection bandwidth per pod; the links' rates are documented ones, of one direction.
    pod = tpu_slice(generation)
    assert bisection_links(pod) * links_byte_per_s == pytest.approx(pod_byte_per_s, rel=0.05)


def test_half_a_pod_of_v5e_is_cut_across_either_axis_alike():
    assert bisection_links(tpu_slice("v5e", (8, 16))) == 16


@pytest.mark.parametrize(
    ("generation", "dims", "message"),
    [
        ("v8", None, "generation is 'v8'; one of v2, v3, v4, v5e, v5p, v6e, v7"),
        ("v5", None, "generation is 'v5'.* Did you mean 'v5"),
        ("v4", (4, 4), "v4 slice 4x4 has 2 axes; 3, as in 16x16x16"),
        ("v4", (4, 4, 6), "every axis a multiple of 4 .* Nearest: 4x4x8"),
        ("v4", (2, 4, 8), "every axis a multiple of 4 .* Nearest: 4x4x8"),
        ("v4", (16, 16, 20), "has 5120 chips; a pod has 4096. Nearest: 16x16x16"),
        ("v5e", (4, 6), "powers of two, up to 16x16. Nearest: 4x8"),
        ("v5e", (16, 32), "powers of two, up to 16x16. Nearest: 16x16"),
        ("v3", (0, 4), r"dims\[0\] is 0; a whole number, at least 1"),
    ],
)
def test_slices_that_are_not_sold_are_refused(generation, dims, message):
    with pytest.raises(TopologyError, match=message):
        tpu_slice(generation, dims)
