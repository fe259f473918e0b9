"""Slices of TPU pods: which shapes there are, and which of their axes wrap around."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from topologies.topology import Topology, TopologyError, nearest
from topologies.torus import TorusShape, check_dims, torus, torus_shape

#: Chips along a cube of the generations that are built of cubes joined by optical switches.
CUBE: Final = 4


@dataclass(frozen=True, kw_only=True)
class TpuGeneration:
    """The pod of a generation.

    Parameters
    ----------
    pod
        Chips along its axes.
    cubes
        True: three axes of 4 x 4 x 4 cubes, put together by optical switches. False: two axes, wired once.
    """

    pod: tuple[int, ...]
    cubes: bool

    @property
    def chips(self) -> int:
        """Chips of the whole pod."""
        return math.prod(self.pod)


#: Pods, as Google's Cloud TPU documentation and jax-ml/scaling-book@0819a7d have them; the axes of v7 are recalled.
TPU_GENERATIONS: Final = {
    "v2": TpuGeneration(pod=(16, 16), cubes=False),
    "v3": TpuGeneration(pod=(32, 32), cubes=False),
    "v4": TpuGeneration(pod=(16, 16, 16), cubes=True),
    "v5e": TpuGeneration(pod=(16, 16), cubes=False),
    "v5p": TpuGeneration(pod=(16, 20, 28), cubes=True),
    "v6e": TpuGeneration(pod=(16, 16), cubes=False),
    "v7": TpuGeneration(pod=(16, 24, 24), cubes=True),
}


def tpu_slice(generation: str, dims: tuple[int, ...] | None = None, *, tier: str = "scale_up") -> Topology:
    """The chips of a slice at their coordinates, joined to their neighbours, wrapped around where the pod is.

    Parameters
    ----------
    generation
        "v2" to "v7".
    dims
        Chips along each axis; the whole pod by default. Two axes (v2, v3, v5e, v6e): powers of two, up to the pod's
        axis. An axis wraps around if it is as long as the pod's: 16, or 32 for v3. Three axes (v4, v5p, v7): whole
        cubes of 4 x 4 x 4, which wrap around on every axis, or a piece of one cube (axes of 1, 2 or 4), which wraps on
        none.

    Notes
    -----
    Leaves out twisted tori (an option on 4x4x8 and its like) and links to other pods. That the axes are in order (4x4x8
    and not 8x4x4) is the caller's to keep. Bisection: `torus_bisection`.
    """
    shape = tpu_slice_shape(generation, dims, tier=tier)
    return torus(shape.dims, tier=tier, wrap=shape.wrap)


def tpu_slice_shape(generation: str, dims: tuple[int, ...] | None = None, *, tier: str = "scale_up") -> TorusShape:
    """The shape that `tpu_slice` builds for the same arguments."""
    if generation not in TPU_GENERATIONS:
        raise TopologyError(
            f"tpu_slice: generation is {generation!r}; one of {', '.join(TPU_GENERATIONS)}."
            f"{nearest(generation, TPU_GENERATIONS)}"
        )
    pod = TPU_GENERATIONS[generation]
    dims = check_dims("tpu_slice", pod.pod if dims is None else dims)
    where = f"tpu_slice: {generation} slice {'x'.join(map(str, dims))}"
    if len(dims) != len(pod.pod):
        raise TopologyError(f"{where} has {len(dims)} axes; {len(pod.pod)}, as in {'x'.join(map(str, pod.pod))}.")
    if pod.cubes:
        wrap = (_whole_cubes(where, dims, pod),) * len(dims)
    else:
        _check_flat(where, dims, pod)
        wrap = tuple(size == whole for size, whole in zip(dims, pod.pod, strict=True))
    return torus_shape(dims, wrap=wrap, tier=tier)


def _whole_cubes(where: str, dims: tuple[int, ...], pod: TpuGeneration) -> bool:
    if all(size in (1, 2, CUBE) for size in dims) and any(size < CUBE for size in dims):
        return False
    if any(size % CUBE for size in dims):
        near = "x".join(str(-(-size // CUBE) * CUBE) for size in dims)
        raise TopologyError(
            f"{where}: every axis a multiple of {CUBE} (whole cubes), or every axis 1, 2 or {CUBE}. Nearest: {near}."
        )
    if math.prod(dims) > pod.chips:
        raise TopologyError(
            f"{where} has {math.prod(dims)} chips; a pod has {pod.chips}. Nearest: {'x'.join(map(str, pod.pod))}."
        )
    return True


def _check_flat(where: str, dims: tuple[int, ...], pod: TpuGeneration) -> None:
    legal = [min(1 << round(math.log2(size)), whole) for size, whole in zip(dims, pod.pod, strict=True)]
    if legal != list(dims):
        raise TopologyError(
            f"{where}: powers of two, up to {'x'.join(map(str, pod.pod))}. Nearest: {'x'.join(map(str, legal))}."
        )
