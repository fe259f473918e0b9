"""Whole servers of known machines: chips, processors, PCIe switches and NICs, and every link between them.

Tiers: "scale_up" is the link that chips are joined by (NVLink, Infinity Fabric), in Summit and Sierra to the
processors too; "pcie" a PCIe link; "chip_host" a link of its own kind between a chip and its processor; "host" the
link between processors. Vertices: chips 0 .. n-1, ("host", i), ("switch", i), ("nic", i). The end points are the chips.
With `chips_only` a server is its chips and the links between them: what `nested` wants, which adds NICs of its own.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import combinations
from typing import Final

import networkx as nx

from topologies.cube_mesh import DGX1_P100_LINKS, DGX1_V100_LINKS
from topologies.topology import Topology, TopologyError, check_count, nearest

Wire = tuple[Hashable, Hashable, int, str]

#: (GCD a, GCD b, parallel links) of four MI250X in one node. The pairs: ROCm/rccl@0f59f1f,
#: tools/topo_expl/models/topo_8p_90a.xml. Four links within a module and one or two between modules: Frontier user
#: guide (200 GB/s; 50 to 100 GB/s). Which pairs have two follows from three such links at every GCD and is otherwise
#: recalled; with these, any two modules are joined by two links.
MI250X_LINKS: Final = (
    *((0, 1, 4), (2, 3, 4), (4, 5, 4), (6, 7, 4)),
    *((0, 6, 2), (1, 5, 2), (2, 4, 2), (3, 7, 2)),
    *((0, 2, 1), (1, 3, 1), (4, 6, 1), (5, 7, 1)),
)


def dgx1_node(generation: str = "v100", *, nics: int = 4, chips_only: bool = False) -> Topology:
    """DGX-1: the NVLink cube mesh over a PCIe tree of four switches, with two chips and a NIC each, on two processors.

    Parameters
    ----------
    generation
        "v100" or "p100".
    nics
        Spread over the switches: 4 in a DGX-1, 1 in Big Basin and p3.16xlarge.

    Source: NVIDIA/go-gpuallocator@876e7b7 for NVLink; NVIDIA DGX-1 documentation (recalled) for PCIe.
    """
    meshes = {"v100": DGX1_V100_LINKS, "p100": DGX1_P100_LINKS}
    if generation not in meshes:
        raise TopologyError(f"dgx1_node: generation is {generation!r}; v100 or p100.{nearest(generation, meshes)}")
    check_count("dgx1_node", "nics", nics, least=0)
    return _node(
        f"DGX-1 {generation.upper()}",
        _mesh(meshes[generation]),
        [(chip, ("switch", chip // 2), 1, "pcie") for chip in range(8)],
        [(("switch", i), ("host", i // 2), 1, "pcie") for i in range(4)],
        [(("nic", i), ("switch", i * 4 // nics % 4), 1, "pcie") for i in range(nics)],
        [(("host", 0), ("host", 1), 1, "host")],
        chips_only=chips_only,
    )


def summit_node(*, chips_only: bool = False) -> Topology:
    """Summit: two Power9 with three V100 each; a triangle of two-link NVLink bricks to each other and to the Power9.

    An X-bus between the processors, a rail of EDR at each. Source: OLCF user guide.
    """
    return _power9_node("Summit node", chips=3, links=2, chips_only=chips_only)


def sierra_node(*, chips_only: bool = False) -> Topology:
    """Sierra: as Summit with two V100 to a Power9 and three links in a brick (LLNL pages, recalled)."""
    return _power9_node("Sierra node", chips=2, links=3, chips_only=chips_only)


def _power9_node(name: str, *, chips: int, links: int, chips_only: bool) -> Topology:
    sockets = [range(chips), range(chips, 2 * chips)]
    return _node(
        name,
        [(a, b, links, "scale_up") for socket in sockets for a, b in combinations(socket, 2)],
        [(chip, ("host", i), links, "scale_up") for i, socket in enumerate(sockets) for chip in socket],
        [(("host", 0), ("host", 1), 1, "host")],
        [(("nic", i), ("host", i), 1, "pcie") for i in range(2)],
        chips_only=chips_only,
    )


def perlmutter_node(*, chips_only: bool = False) -> Topology:
    """Perlmutter: four A100 all to all on four NVLink3 per pair; each, and each of four NICs, on PCIe to one processor.

    Source: NERSC documentation.
    """
    return _node(
        "Perlmutter node",
        [(a, b, 4, "scale_up") for a, b in combinations(range(4), 2)],
        [(chip, ("host", 0), 1, "pcie") for chip in range(4)],
        [(("nic", i), ("host", 0), 1, "pcie") for i in range(4)],
        chips_only=chips_only,
    )


def frontier_node(*, chips_only: bool = False) -> Topology:
    """Frontier: the eight GCDs of four MI250X (see `MI250X_LINKS`), one processor, a NIC at each module.

    Source: OLCF Frontier guide; that the NIC is at the odd GCD of its module is recalled.
    """
    return _node(
        "Frontier node",
        _mesh(MI250X_LINKS),
        [(chip, ("host", 0), 1, "chip_host") for chip in range(8)],
        [(("nic", i), 2 * i + 1, 1, "pcie") for i in range(4)],
        chips_only=chips_only,
    )


def mi300x_node(*, chips_only: bool = False) -> Topology:
    """MI300X platform: eight chips, one xGMI link per pair; each with a NIC on a PCIe switch; two processors.

    Source: stas00/ml-engineering@744d01e for xGMI; the PCIe part is recalled.
    """
    return _node(
        "MI300X node",
        [(a, b, 1, "scale_up") for a, b in combinations(range(8), 2)],
        [(chip, ("switch", chip), 1, "pcie") for chip in range(8)],
        [(("nic", i), ("switch", i), 1, "pcie") for i in range(8)],
        [(("switch", i), ("host", i // 4), 1, "pcie") for i in range(8)],
        [(("host", 0), ("host", 1), 1, "host")],
        chips_only=chips_only,
    )


def _mesh(links: Iterable[tuple[int, int, int]]) -> list[Wire]:
    return [(a, b, count, "scale_up") for a, b, count in links]


def _node(name: str, mesh: list[Wire], *others: list[Wire], chips_only: bool) -> Topology:
    """The mesh tells the chips; the kind of every other vertex is the first word of its name."""
    wires = mesh if chips_only else [wire for part in (mesh, *others) for wire in part]
    chips = tuple(sorted({vertex for a, b, *_ in mesh for vertex in (a, b) if isinstance(vertex, int)}))
    graph = nx.Graph()
    graph.add_nodes_from(chips, kind="chip")
    for a, b, count, tier in wires:
        for vertex in (a, b):
            if isinstance(vertex, tuple):
                graph.add_node(vertex, kind=vertex[0])
        graph.add_edge(a, b, tier=tier, count=count, derate=1.0)
    return Topology(name=name, graph=graph, endpoints=chips)
