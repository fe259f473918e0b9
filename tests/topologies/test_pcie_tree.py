import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topologies import TopologyError, bisection_links, degree, diameter, exact_bisection_links, links_by_tier, pcie_tree


def test_the_tree_of_a_dgx1():
    tree = pcie_tree(8, chips_per_switch=2, switches_per_root=2)
    assert len(tree.vertices("switch")) == 4
    assert len(tree.vertices("host")) == 2
    assert links_by_tier(tree) == {"host": 1, "scale_up": 8 + 4}
    assert all(degree(tree, chip) == 1 for chip in tree.endpoints)
    assert diameter(tree) == 5  # chip, switch, host, host, switch, chip
    assert bisection_links(tree) == 1  # the link between the hosts


def test_one_host_has_no_link_to_another():
    tree = pcie_tree(8, chips_per_switch=4, switches_per_root=2, tier="pcie")
    assert tree.tiers == ("pcie",)
    assert diameter(tree) == 4
    assert bisection_links(tree) == 1  # one switch's uplink


def test_one_switch_is_cut_at_half_its_chips():
    assert bisection_links(pcie_tree(7, chips_per_switch=8, switches_per_root=1)) == 3


def test_nics_stand_beside_the_chips_of_a_switch():
    tree = pcie_tree(8, chips_per_switch=2, switches_per_root=2, nics_per_switch=2)
    assert tree.vertices("nic") == tuple(("nic", i) for i in range(8))
    assert tree.endpoints == tuple(range(8))
    assert all(set(tree.graph["nic", i]) == {("switch", i // 2)} for i in range(8))
    assert links_by_tier(tree) == {"host": 1, "scale_up": 8 + 4 + 8}
    assert bisection_links(tree) == exact_bisection_links(pcie_tree(8, chips_per_switch=2, switches_per_root=2))


@settings(deadline=None)
@given(chips=st.integers(1, 10), per_switch=st.integers(1, 5), per_root=st.integers(1, 4))
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(chips, per_switch, per_root):
    tree = pcie_tree(chips, chips_per_switch=per_switch, switches_per_root=per_root)
    assume(len(tree.graph) <= 16)
    assert bisection_links(tree) == exact_bisection_links(tree)


@pytest.mark.parametrize("name", ["chips", "chips_per_switch", "switches_per_root"])
def test_every_count_is_checked(name):
    counts = {"chips": 4, "chips_per_switch": 2, "switches_per_root": 2, name: 0}
    with pytest.raises(TopologyError, match=f"pcie_tree: {name} is 0; a whole number, at least 1"):
        pcie_tree(counts.pop("chips"), **counts)


def test_fewer_than_no_nics_are_refused():
    with pytest.raises(TopologyError, match="pcie_tree: nics_per_switch is -1; a whole number, at least 0"):
        pcie_tree(4, chips_per_switch=2, switches_per_root=2, nics_per_switch=-1)
