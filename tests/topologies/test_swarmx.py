import networkx as nx
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, hops, links_by_tier
from topologies.swarmx import swarmx
from topologies.topology import TopologyError


@pytest.mark.parametrize(
    ("systems", "fan_out", "levels"), [(1, 2, 1), (2, 2, 1), (4, 4, 1), (5, 4, 2), (16, 4, 2), (64, 4, 3), (64, 16, 2)]
)
@pytest.mark.parametrize("memories", [0, 1, 3])
def test_a_tree_has_its_levels_and_one_root(systems, fan_out, levels, memories):
    tree = swarmx(systems, fan_out=fan_out, memories=memories)
    assert tree.endpoints == (*range(systems), *(("memory", i) for i in range(memories)))
    switches = tree.vertices("switch")
    assert max(level for _, level, _ in switches) == levels
    assert sum(level == levels for _, level, _ in switches) == 1
    assert nx.is_tree(tree.graph)
    if memories:
        assert {hops(tree, ("memory", 0), system) for system in range(systems)} == {levels + 1}
    if systems > 1:
        assert diameter(swarmx(systems, fan_out=fan_out, memories=0)) == 2 * levels


@pytest.mark.parametrize("links", [1, 12])
def test_the_same_stream_passes_every_link(links):
    tree = swarmx(16, fan_out=4, links_per_system=links)
    assert {d["count"] for *_, d in tree.graph.edges(data=True)} == {links}
    assert links_by_tier(tree) == {"scale_out": links * (16 + 4 + 1)}
    assert [degree(tree, system) for system in range(16)] == [links] * 16
    assert bisection_links(swarmx(16, fan_out=4, links_per_system=links, memories=0)) == 2 * links


@settings(deadline=None)
@given(
    systems=st.integers(1, 9),
    fan_out=st.integers(2, 5),
    links=st.integers(1, 3),
    memories=st.integers(0, 2),
    stores=st.booleans(),
)
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(systems, fan_out, links, memories, stores):
    tree = swarmx(systems, fan_out=fan_out, links_per_system=links, memories=memories, stores_are_endpoints=stores)
    assert len(tree.endpoints) == systems + (memories if stores else 0)
    assume(len(tree.graph) <= 18)
    assert bisection_links(tree) == exact_bisection_links(tree)


@pytest.mark.parametrize(("systems", "fan_out"), [(7, 3), (64, 4), (100, 7)])
def test_no_switch_has_more_below_than_its_fan_out(systems, fan_out):
    tree = swarmx(systems, fan_out=fan_out, memories=0)
    for switch in tree.vertices("switch"):
        below = [v for v in tree.graph[switch] if isinstance(v, int) or v[1] < switch[1]]
        assert 1 <= len(below) <= fan_out


@pytest.mark.parametrize(
    ("name", "value", "least"), [("systems", 0, 1), ("fan_out", 1, 2), ("links_per_system", 0, 1), ("memories", -1, 0)]
)
def test_every_count_is_checked(name, value, least):
    counts = {"systems": 4, name: value}
    with pytest.raises(TopologyError, match=f"swarmx: {name} is {value}; a whole number, at least {least}"):
        swarmx(counts.pop("systems"), **counts)
