"""Meshes and tori of any number of dimensions: TPU pods, Cray Gemini, a wafer's cores."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeVar

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count

Value = TypeVar("Value", bool, int)


@dataclass(frozen=True, kw_only=True)
class TorusShape:
    """Routers at integer coordinates, each joined to its neighbours along every dimension.

    Parameters
    ----------
    dims
        Routers along each dimension.
    wrap
        For each dimension: joined at its ends (a torus) or not (a mesh).
    links
        For each dimension: parallel links between neighbours.
    endpoints_per_router
        0: every router is a chip itself. Else that many end points hang on every router by one link each, in order.
    """

    dims: tuple[int, ...]
    wrap: tuple[bool, ...]
    links: tuple[int, ...]
    endpoints_per_router: int = 0
    tier: str = "scale_up"
    tier_endpoint: str = "scale_out"

    @property
    def routers(self) -> int:
        """Places of the grid."""
        return math.prod(self.dims)

    @property
    def endpoints(self) -> int:
        """Chips, or what hangs on the routers."""
        return self.routers * max(1, self.endpoints_per_router)

    @property
    def diameter(self) -> int:
        """The most links between two end points: floor(k/2) for each dimension with wrap-around, k-1 without."""
        between = sum(size // 2 if wrap else size - 1 for size, wrap in zip(self.dims, self.wrap, strict=True))
        return between + (2 if self.endpoints_per_router and self.endpoints > 1 else 0)


def torus_shape(
    dims: tuple[int, ...],
    *,
    wrap: bool | Sequence[bool] = True,
    links: int | Sequence[int] = 1,
    endpoints_per_router: int = 0,
    tier: str = "scale_up",
    tier_endpoint: str = "scale_out",
) -> TorusShape:
    """The shape of a torus, with one value for all dimensions given once."""
    where = "torus"
    dims = check_dims(where, dims)
    check_count(where, "endpoints_per_router", endpoints_per_router, least=0)
    shape = TorusShape(
        dims=dims,
        wrap=_per_axis("wrap", (wrap,) * len(dims) if isinstance(wrap, bool) else wrap, dims),
        links=_per_axis("links", (links,) * len(dims) if isinstance(links, int) else links, dims),
        endpoints_per_router=endpoints_per_router,
        tier=tier,
        tier_endpoint=tier_endpoint,
    )
    for axis in range(len(dims)):
        if not isinstance(shape.wrap[axis], bool):
            raise TopologyError(f"{where}: wrap[{axis}] is {shape.wrap[axis]!r}; True or False.")
        check_count(where, f"links[{axis}]", shape.links[axis])
    return shape


def torus(
    dims: tuple[int, ...],
    *,
    tier: str = "scale_up",
    wrap: bool | Sequence[bool] = True,
    links: int | Sequence[int] = 1,
) -> Topology:
    """Chips at integer coordinates (x, y, ...), each joined to its neighbours along every dimension.

    Parameters
    ----------
    dims
        Chips along each dimension, each at least 1.
    wrap
        True: a torus. Its wrap-around link on a dimension of 2 joins a pair that is joined already: one edge of
        count 2. (A machine that leaves that link out has it as a mesh.) False: a mesh. Or one of the two for each
        dimension.
    links
        Parallel links between neighbours, for all dimensions or for each.

    Notes
    -----
    Bisection of a mesh with k_1 >= k_2 >= ... (dimensions of 1 left out), where e is the first even dimension, or the
    last one if all are odd:

    .. math:: \\sum_{i=1}^{e} \\prod_{j>i} k_j

    and twice that with wrap-around; N / k_1 and 2 N / k_1 where the longest dimension is even. Where dimensions differ
    in wrap-around or links there is a closed form if the narrowest cut lies across an even dimension, else none
    (`bisection_links` tries small ones).

    References
    ----------
    .. [1] J. A. Aroca and A. Fernandez Anta, Bisection (Band)Width of Product Networks with Application to Data
       Centers, IEEE Transactions on Parallel and Distributed Systems, 2014 (recalled; held here by comparison with
       exact cuts of small tori).
    """
    shape = torus_shape(dims, wrap=wrap, links=links, tier=tier)
    coordinates = tuple(itertools.product(*(range(size) for size in shape.dims)))
    graph = nx.Graph()
    graph.add_nodes_from(coordinates, kind="chip")
    for at in coordinates:
        for axis, size in enumerate(shape.dims):
            count = shape.links[axis]
            if at[axis] + 1 < size:
                count *= 2 if shape.wrap[axis] and size == 2 else 1
                graph.add_edge(at, _moved(at, axis, at[axis] + 1), tier=tier, count=count, derate=1.0)
            elif shape.wrap[axis] and size > 2:
                graph.add_edge(at, _moved(at, axis, 0), tier=tier, count=count, derate=1.0)
    name = f"{'x'.join(map(str, shape.dims))} {shape_word(shape)}"
    return Topology(name=name, graph=graph, endpoints=coordinates, bisection=torus_bisection(shape))


def shape_word(shape: TorusShape) -> str:
    """ "torus", "mesh", or what is between the two."""
    wraps = {wrap for size, wrap in zip(shape.dims, shape.wrap, strict=True) if size > 1}
    return "torus" if wraps <= {True} and any(shape.wrap) else "mesh" if wraps <= {False} else "partly wrapped torus"


def torus_bisection(shape: TorusShape) -> int | None:
    """Links across the narrowest split of the end points into halves, or None where no closed form is known.

    Between neighbouring places of a dimension of k lie w links, and all-to-all traffic of one unit per ordered pair of
    the N places puts N l / w of it on the busiest, where l = k/4 without wrap-around (k even), (k - 1/k)/4 (k odd), and
    half of that with it. Any split has N^2/4 units to carry one way, so it cuts at least N / (4 max l/w) links [1]_;
    across the middle of an even dimension it cuts N w (1 + wrap) / k, and where that is no more, it is the bisection.
    With n end points on routers it is n/2 where that is less: all of one half send to the other, so their own links
    carry n/2 units each, and half of them can be cut.

    References
    ----------
    .. [1] F. T. Leighton, Introduction to Parallel Algorithms and Architectures, 1992, section 1.9 (recalled).
    """
    axes = [a for a in zip(shape.dims, shape.wrap, shape.links, strict=True) if a[0] > 1]
    if not shape.endpoints_per_router and len({(wrap, links) for _, wrap, links in axes}) <= 1:
        wrap, links = (axes[0][1], axes[0][2]) if axes else (False, 1)
        return links * _bisection(shape.dims, wrap=wrap)
    n = shape.endpoints
    if not axes:  # one router
        return n // 2
    load = max(Fraction(k * k - k % 2, 4 * k * links * (1 + wrap)) for k, wrap, links in axes)
    least = math.ceil(shape.routers / (4 * load))
    across = [shape.routers * links * (1 + wrap) // k for k, wrap, links in axes if k % 2 == 0]
    if shape.endpoints_per_router and least >= n // 2:
        return n // 2
    return least if least in across else None


def _per_axis(name: str, values: Sequence[Value], dims: tuple[int, ...]) -> tuple[Value, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or len(values) != len(dims):
        raise TopologyError(
            f"torus: {name} is {values!r}; one value for all, or one for each of the {len(dims)} dimensions."
        )
    return tuple(values)


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
