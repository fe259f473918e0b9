"""Cray Gemini: a three-dimensional torus of routers with two nodes on each (Titan, Blue Waters)."""

from __future__ import annotations

import itertools

from topologies.link_table import topology_of
from topologies.routing_torus import torus_links
from topologies.topology import Topology, TopologyError
from topologies.torus import TorusShape, torus_bisection, torus_shape

#: Links between neighbours along x, y and z: y has half the width (euroben.nl, overview of recent supercomputers).
GEMINI_LINKS = (2, 1, 2)


def gemini_shape(
    dims: tuple[int, int, int] = (25, 16, 24),
    *,
    nodes_per_router: int = 2,
    tier_node: str = "scale_out",
    tier_torus: str = "torus",
) -> TorusShape:
    """The shape that `gemini` builds for the same arguments."""
    if len(dims) != 3:
        raise TopologyError(f"gemini: dims is {dims!r}; routers along x, y and z, such as (25, 16, 24).")
    if nodes_per_router < 1:
        raise TopologyError(f"gemini: nodes_per_router is {nodes_per_router!r}; a whole number, at least 1.")
    return torus_shape(
        dims, links=GEMINI_LINKS, endpoints_per_router=nodes_per_router, tier=tier_torus, tier_endpoint=tier_node
    )


def gemini(
    dims: tuple[int, int, int] = (25, 16, 24),
    *,
    nodes_per_router: int = 2,
    tier_node: str = "scale_out",
    tier_torus: str = "torus",
) -> Topology:
    """End points 0 .. n-1, two on each router ("router", x, y, z) of a torus; the default is Titan's.

    Links along x and z have count 2, along y count 1. Titan has 9,600 routers and so 19,200 places, of which 18,688
    were compute nodes; which places held the others is left out.

    Notes
    -----
    Bisection: that of the routers, as `torus_bisection` says; 1,200 links (across y) for Titan.
    A Gemini routes x, then y, then z, as the formula for tori does.
    """
    shape = gemini_shape(dims, nodes_per_router=nodes_per_router, tier_node=tier_node, tier_torus=tier_torus)
    routers = [("router", *at) for at in itertools.product(*(range(size) for size in shape.dims))]
    return topology_of(
        torus_links(shape),
        name=f"Gemini torus of {'x'.join(map(str, shape.dims))} routers",
        endpoints=shape.endpoints,
        names=[*range(shape.endpoints), *routers],
        bisection=torus_bisection(shape),
    )
