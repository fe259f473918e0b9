"""Which chips are joined to which, and by how many links: counts, without rates or seconds."""

from topologies.cube_mesh import hybrid_cube_mesh
from topologies.fat_tree import FatTreeShape, fat_tree, fat_tree_shape
from topologies.fully_connected import fully_connected
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, hops, links_by_tier
from topologies.nested import nested
from topologies.pcie_tree import pcie_tree
from topologies.ring import ring
from topologies.rings import edge_disjoint_rings, ring_capacity
from topologies.routing import fat_tree_route, fat_tree_routes, shortest_route, torus_route
from topologies.topology import Topology, TopologyError
from topologies.torus import torus

__all__ = [
    "FatTreeShape",
    "Topology",
    "TopologyError",
    "bisection_links",
    "degree",
    "diameter",
    "edge_disjoint_rings",
    "exact_bisection_links",
    "fat_tree",
    "fat_tree_route",
    "fat_tree_routes",
    "fat_tree_shape",
    "fully_connected",
    "hops",
    "hybrid_cube_mesh",
    "links_by_tier",
    "nested",
    "pcie_tree",
    "ring",
    "ring_capacity",
    "shortest_route",
    "torus",
    "torus_route",
]
