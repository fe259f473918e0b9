"""What a topology accepts, refuses and keeps."""

import networkx as nx
import pytest

from topologies import Topology, TopologyError, degree, fat_tree, fully_connected, nested, pcie_tree, ring, torus


def pair(*, kind="chip", endpoints=(0, 1), bisection=None, **link):
    graph = nx.Graph()
    graph.add_nodes_from((0, 1), kind=kind)
    graph.add_edge(0, 1, **({"tier": "scale_up"} | link))
    return Topology(name="pair", graph=graph, endpoints=endpoints, bisection=bisection)


def test_count_and_derate_have_defaults():
    assert pair().graph.edges[0, 1] == {"tier": "scale_up", "count": 1, "derate": 1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "chop"}, r"kind 'chop'; one of chip, .* Did you mean 'chip'\?"),
        ({"tier": ""}, "link 0 - 1 has tier ''; a word such as"),
        ({"count": 0}, "count is 0; a whole number, at least 1"),
        ({"count": 1.5}, "count is 1.5; a whole number"),
        ({"count": True}, "count is True; a whole number"),
        ({"derate": 0}, "derate is 0; above 0 and at most 1"),
        ({"derate": 1.1}, "derate is 1.1; above 0 and at most 1"),
        ({"derate": float("nan")}, "derate is nan"),
        ({"endpoints": ()}, "no end points; at least 1"),
        ({"endpoints": (0, 2)}, "end point 2 is not a vertex"),
        ({"endpoints": (0, 0)}, "end point 0 is listed twice"),
        ({"kind": "switch"}, "end point 0 is a switch"),
        ({"bisection": -1}, "bisection is -1; a whole number, at least 0"),
    ],
)
def test_what_cannot_be_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        pair(**change)


def test_a_link_needs_two_ends():
    graph = nx.Graph()
    graph.add_node(0, kind="chip")
    graph.add_edge(0, 0, tier="scale_up")
    with pytest.raises(TopologyError, match="joins a vertex to itself"):
        Topology(name="loop", graph=graph, endpoints=(0,))


@pytest.mark.parametrize("kind", [nx.DiGraph, nx.MultiGraph])
def test_only_a_plain_graph_is_taken(kind):
    with pytest.raises(TopologyError, match=f"graph is {kind.__name__}; a networkx.Graph"):
        Topology(name="other", graph=kind(), endpoints=(0,))


def test_the_graph_is_a_frozen_copy():
    graph = nx.Graph()
    graph.add_node(0, kind="chip")
    topology = Topology(name="one", graph=graph, endpoints=(0,))
    graph.add_node(1, kind="chip")
    assert list(topology.graph) == [0]
    with pytest.raises(nx.NetworkXError, match=r"[Ff]rozen"):
        topology.graph.add_node(1)


def test_a_degraded_link_leaves_the_original_as_it_was():
    whole = ring(4)
    degraded = whole.degraded(0, 1, derate=0.5)
    assert degraded.graph.edges[0, 1]["derate"] == 0.5
    assert degraded.graph.edges[1, 2]["derate"] == 1.0
    assert whole.graph.edges[0, 1]["derate"] == 1.0
    assert degraded.degraded(0, 1, derate=1.0).graph.edges[0, 1]["derate"] == 1.0
    assert degraded.bisection == whole.bisection


def test_only_a_link_that_exists_can_be_degraded():
    with pytest.raises(TopologyError, match="link 0 - 2 does not exist"):
        ring(4).degraded(0, 2, derate=0.5)
    with pytest.raises(TopologyError, match=r"derate is 0\.0"):
        ring(4).degraded(0, 1, derate=0.0)


def test_vertices_are_listed_by_kind():
    tree = pcie_tree(4, chips_per_switch=2, switches_per_root=2)
    assert tree.vertices("chip") == (0, 1, 2, 3)
    assert tree.vertices("switch") == (("switch", 0), ("switch", 1))
    assert tree.vertices("nic") == ()
    with pytest.raises(TopologyError, match=r"kind is 'hots'.*Did you mean 'host'"):
        tree.vertices("hots")


EVERY_BUILDER = [
    fully_connected(4),
    fully_connected(4, switched=False),
    ring(5),
    torus((3, 4)),
    torus((3, 4), wrap=False),
    fat_tree(endpoints=10, radix=4, levels=3),
    pcie_tree(8, chips_per_switch=2, switches_per_root=2),
    nested(fully_connected(4), fat_tree(endpoints=6, radix=4), nics_per_server=2),
]


@pytest.mark.parametrize("topology", EVERY_BUILDER, ids=lambda topology: topology.name)
def test_every_link_has_a_tier_a_count_and_no_derate(topology):
    links = [link for _, _, link in topology.graph.edges(data=True)]
    assert links
    assert all(link["tier"] in topology.tiers and link["count"] >= 1 and link["derate"] == 1.0 for link in links)


@pytest.mark.parametrize("topology", EVERY_BUILDER, ids=lambda topology: topology.name)
def test_every_link_has_two_ends(topology):
    links = sum(link["count"] for _, _, link in topology.graph.edges(data=True))
    assert sum(degree(topology, vertex) for vertex in topology.graph) == 2 * links


@pytest.mark.parametrize("topology", EVERY_BUILDER, ids=lambda topology: topology.name)
def test_end_points_are_the_chips(topology):
    assert set(topology.endpoints) == set(topology.vertices("chip"))
