"""Meshes and tori of any number of dimensions: TPU pods, Cray Gemini, a wafer's cores."""

from __future__ import annotations

import itertools
import math

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


def torus(dims: tuple[int, ...], *, tier: str = "scale_up", wrap: bool = True) -> Topology:
    """Chips at integer coordinates (x, y, ...), each joined to its neighbours along every dimension.

    Parameters
    ----------
    dims
        Chips along each dimension, each at least 1.
    wrap
        True: a torus. Its wrap-around link on a dimension of 2 joins a pair that is joined already: one edge of
        count 2. (A machine that leaves that link out has it as a mesh.) False: a mesh.

    Notes
    -----
    Bisection of a mesh with k_1 >= k_2 >= ... (dimensions of 1 left out), where e is the first even dimension, or the
    last one if all are odd:

    .. math:: \\sum_{i=1}^{e} \\prod_{j>i} k_j

    and twice that with wrap-around; N / k_1 and 2 N / k_1 where the longest dimension is even.

    References
    ----------
    .. [1] J. A. Aroca and A. Fernandez Anta, Bisection (Band)Width of Product Networks with Application to Data
       Centers, IEEE Transactions on Parallel and Distributed Systems, 2014 (recalled; held here by comparison with
       exact cuts of small tori).
    """
    dims = check_dims("torus", dims)
    coordinates = tuple(itertools.product(*(range(size) for size in dims)))
    graph = nx.Graph()
    graph.add_nodes_from(coordinates, kind="chip")
    for at in coordinates:
        for axis, size in enumerate(dims):
            if at[axis] + 1 < size:
                count = 2 if wrap and size == 2 else 1
                graph.add_edge(at, _moved(at, axis, at[axis] + 1), tier=tier, count=count, derate=1.0)
            elif wrap and size > 2:
                graph.add_edge(at, _moved(at, axis, 0), tier=tier, count=1, derate=1.0)
    name = f"{'x'.join(map(str, dims))} {'torus' if wrap else 'mesh'}"
    return Topology(name=name, graph=graph, endpoints=coordinates, bisection=_bisection(dims, wrap=wrap))


def check_dims(where: str, dims: tuple[int, ...]) -> tuple[int, ...]:
    """`dims` as a tuple, or a `TopologyError` that names the dimension that is wrong."""
    if isinstance(dims, int) or not tuple(dims):
        raise TopologyError(f"{where}: dims is {dims!r}; one whole number per dimension, such as (4, 4).")
    for axis, size in enumerate(dims):
        check_count(where, f"dims[{axis}]", size)
    return tuple(dims)


def _moved(at: tuple[int, ...], axis: int, to: int) -> tuple[int, ...]:
    return (*at[:axis], to, *at[axis + 1 :])


def _bisection(dims: tuple[int, ...], *, wrap: bool) -> int:
    longest_first = sorted((size for size in dims if size > 1), reverse=True)
    links = 0
    for i, size in enumerate(longest_first):
        links += math.prod(longest_first[i + 1 :])
        if size % 2 == 0:
            break
    return 2 * links if wrap else links
