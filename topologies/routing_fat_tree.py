"""Routes by formula on fat trees of two and three levels, all at once, as arrays of links."""

from __future__ import annotations

from typing import Any

import numpy as np

from topologies.fat_tree import FatTreeShape
from topologies.link_table import NO_LINK, Ints, LinkTable, as_endpoints, left_packed, link_table


def fat_tree_links(shape: FatTreeShape, *, tier_leaf: str = "scale_out", tier_spine: str = "spine") -> LinkTable:
    """The links of a fat tree: end point - leaf, leaf - middle, middle - core, each in the order of the lower switch.

    Vertices are the end points, the leaves, the middles (of two levels: the spines) pod by pod, and the cores.
    """
    ends, leaves = np.arange(shape.endpoints), np.arange(shape.leaves)
    middles = np.arange(shape.pods * shape.middles)
    leaf, middle, core = _first_vertices(shape)
    leaf_up, index = (x.ravel() for x in np.meshgrid(leaves, np.arange(shape.middles), indexing="ij"))
    middle_up, peer = (x.ravel() for x in np.meshgrid(middles, np.arange(shape.cores_per_middle), indexing="ij"))
    return link_table(
        core + shape.middles * shape.cores_per_middle,
        [
            (ends, leaf + ends // shape.downlinks, tier_leaf, 1),
            (
                leaf + leaf_up,
                middle + leaf_up // shape.leaves_per_pod * shape.middles + index,
                tier_spine,
                shape.leaf_links,
            ),
            (
                middle + middle_up,
                core + middle_up % max(1, shape.middles) * shape.cores_per_middle + peer,
                tier_spine,
                shape.core_links,
            ),
        ],
    )


def fat_tree_link_routes(shape: FatTreeShape, a: Any, b: Any, choice: Any = 0) -> Ints:
    """(T, H) the links from a[t] to b[t], NO_LINK behind the last: up to where they meet, and down.

    `choice` picks one of the `fat_tree_choices` routes of equal length, modulo their number, as in `fat_tree_route`.
    """
    a, b = as_endpoints("fat tree", a, shape.endpoints), as_endpoints("fat tree", b, shape.endpoints)
    choice = np.asarray(choice, np.int64) % fat_tree_choices(shape, a, b)
    leaf_a, leaf_b = a // shape.downlinks, b // shape.downlinks
    pod_a, pod_b = leaf_a // shape.leaves_per_pod, leaf_b // shape.leaves_per_pod
    middles, cores = max(1, shape.middles), max(1, shape.cores_per_middle)
    middle, core = choice % middles, choice // middles
    above_leaf = shape.endpoints
    above_middle = above_leaf + shape.leaves * shape.middles
    edges = above_middle + shape.pods * shape.middles * shape.cores_per_middle
    route = np.stack(
        [
            a,
            above_leaf + leaf_a * middles + middle,
            above_middle + (pod_a * middles + middle) * cores + core,
            above_middle + (pod_b * middles + middle) * cores + core + edges,
            above_leaf + leaf_b * middles + middle + edges,
            b + edges,
        ],
        axis=1,
    )
    taken = np.stack([a != b, leaf_a != leaf_b, pod_a != pod_b], axis=1)
    return left_packed(np.where(np.concatenate([taken, taken[:, ::-1]], axis=1), route, NO_LINK))


def fat_tree_choices(shape: FatTreeShape, a: Any, b: Any) -> Ints:
    """(T,) routes of equal length: one per switch at the level where two end points meet."""
    a, b = as_endpoints("fat tree", a, shape.endpoints), as_endpoints("fat tree", b, shape.endpoints)
    leaf_a, leaf_b = a // shape.downlinks, b // shape.downlinks
    over_core = leaf_a // shape.leaves_per_pod != leaf_b // shape.leaves_per_pod
    most = np.where(over_core, shape.middles * shape.cores_per_middle, shape.middles)
    return np.where(leaf_a == leaf_b, 1, most)


def fat_tree_names(shape: FatTreeShape) -> list[Any]:
    """The name that `fat_tree` gives to each vertex number."""
    middles = [shape.middle(pod, index) for pod in range(shape.pods) for index in range(shape.middles)]
    cores = [("core", index, core) for index in range(shape.middles) for core in range(shape.cores_per_middle)]
    return [*range(shape.endpoints), *(("leaf", leaf) for leaf in range(shape.leaves)), *middles, *cores]


def _first_vertices(shape: FatTreeShape) -> tuple[int, int, int]:
    leaf = shape.endpoints
    middle = leaf + shape.leaves
    return leaf, middle, middle + shape.pods * shape.middles
