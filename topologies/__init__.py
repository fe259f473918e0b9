"""Which chips are joined to which, and by how many links: counts, without rates or seconds."""

from topologies.clos import ClosShape, clos, clos_shape
from topologies.cloud import ethernet_cloud
from topologies.cube_mesh import DGX1_P100_LINKS, DGX1_V100_LINKS, hybrid_cube_mesh
from topologies.dragonfly import aries, aries_shape, dragonfly, dragonfly_of, slingshot, slingshot_shape
from topologies.dragonfly_plus import DragonflyPlusShape, dragonfly_plus, dragonfly_plus_shape
from topologies.dragonfly_shape import DragonflyShape, dragonfly_shape
from topologies.fat_tree import FatTreeShape, fat_tree, fat_tree_shape
from topologies.fully_connected import fully_connected
from topologies.gemini import gemini, gemini_shape
from topologies.graph_file import read_graph
from topologies.hypercube import HypercubeShape, hypercube
from topologies.ipu_pod import ipu_pod
from topologies.link_table import NO_LINK, LinkTable, table_of
from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, hops, links_by_tier
from topologies.nested import nested
from topologies.node import (
    MI250X_LINKS,
    dgx1_node,
    frontier_node,
    mi300x_node,
    perlmutter_node,
    sierra_node,
    summit_node,
)
from topologies.nvswitch import dgx2, dgx_a100, dgx_b200, dgx_h100, nvl72, nvswitch
from topologies.pcie_tree import pcie_tree
from topologies.rail import RailShape, rail_optimised, rail_shape
from topologies.ring import ring
from topologies.rings import Relay, RingSet, edge_disjoint_rings, ring_capacity, rings_with_relays
from topologies.routing import fat_tree_route, fat_tree_routes, shortest_route, torus_route
from topologies.routing_adaptive import adaptive_routes, link_byte
from topologies.routing_hash import ecmp_choice
from topologies.routing_regular import choices, ecmp_routes, links, routes, valiant_routes
from topologies.routing_search import ecmp_router, valiant_router
from topologies.small_world import small_world
from topologies.swarmx import swarmx
from topologies.topology import Topology, TopologyError
from topologies.torus import TorusShape, torus, torus_shape
from topologies.tpu import tpu_slice, tpu_slice_shape
from topologies.wafer import wafer, wse

__all__ = [
    "DGX1_P100_LINKS",
    "DGX1_V100_LINKS",
    "MI250X_LINKS",
    "NO_LINK",
    "ClosShape",
    "DragonflyPlusShape",
    "DragonflyShape",
    "FatTreeShape",
    "HypercubeShape",
    "LinkTable",
    "RailShape",
    "Relay",
    "RingSet",
    "Topology",
    "TopologyError",
    "TorusShape",
    "adaptive_routes",
    "aries",
    "aries_shape",
    "bisection_links",
    "choices",
    "clos",
    "clos_shape",
    "degree",
    "dgx1_node",
    "dgx2",
    "dgx_a100",
    "dgx_b200",
    "dgx_h100",
    "diameter",
    "dragonfly",
    "dragonfly_of",
    "dragonfly_plus",
    "dragonfly_plus_shape",
    "dragonfly_shape",
    "ecmp_choice",
    "ecmp_router",
    "ecmp_routes",
    "edge_disjoint_rings",
    "ethernet_cloud",
    "exact_bisection_links",
    "fat_tree",
    "fat_tree_route",
    "fat_tree_routes",
    "fat_tree_shape",
    "frontier_node",
    "fully_connected",
    "gemini",
    "gemini_shape",
    "hops",
    "hybrid_cube_mesh",
    "hypercube",
    "ipu_pod",
    "link_byte",
    "links",
    "links_by_tier",
    "mi300x_node",
    "nested",
    "nvl72",
    "nvswitch",
    "pcie_tree",
    "perlmutter_node",
    "rail_optimised",
    "rail_shape",
    "read_graph",
    "ring",
    "ring_capacity",
    "rings_with_relays",
    "routes",
    "shortest_route",
    "sierra_node",
    "slingshot",
    "slingshot_shape",
    "small_world",
    "summit_node",
    "swarmx",
    "table_of",
    "torus",
    "torus_route",
    "torus_shape",
    "tpu_slice",
    "tpu_slice_shape",
    "valiant_router",
    "valiant_routes",
    "wafer",
    "wse",
]
