from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from topologies import (
    TopologyError,
    bisection_links,
    degree,
    diameter,
    exact_bisection_links,
    fat_tree,
    fat_tree_shape,
    links_by_tier,
)


@pytest.mark.parametrize("radix", [2, 4, 8, 12])
def test_two_full_levels_hold_half_the_radix_squared(radix):
    n = radix * radix // 2
    tree = fat_tree(endpoints=n, radix=radix)
    assert len(tree.vertices("switch")) == radix + radix // 2
    assert all(degree(tree, switch) == radix for switch in tree.vertices("switch"))
    assert links_by_tier(tree) == {"scale_out": n, "spine": n}
    assert bisection_links(tree) == n // 2
    assert diameter(tree) == 4
    with pytest.raises(TopologyError, match=f"hold at most {n}. Try levels=3"):
        fat_tree(endpoints=n + 1, radix=radix)


@pytest.mark.parametrize("radix", [2, 4, 8])
def test_three_full_levels_hold_a_quarter_of_the_radix_cubed(radix):
    n = radix**3 // 4
    tree = fat_tree(endpoints=n, radix=radix, levels=3)
    assert len(tree.vertices("switch")) == 5 * radix * radix // 4  # Al-Fares et al.: k^2/2 + k^2/2 + k^2/4
    assert all(degree(tree, switch) == radix for switch in tree.vertices("switch"))
    assert links_by_tier(tree) == {"scale_out": n, "spine": 2 * n}
    assert bisection_links(tree) == n // 2
    assert diameter(tree) == 6
    with pytest.raises(TopologyError, match=f"hold at most {n}. Try a larger radix"):
        fat_tree(endpoints=n + 1, radix=radix, levels=3)


@pytest.mark.parametrize(("oversubscription", "down", "up"), [(1, 20, 20), (3, 30, 10), (2, 26, 13), (1.5, 24, 16)])
def test_oversubscription_divides_the_uplinks_and_the_bisection(oversubscription, down, up):
    shape = fat_tree_shape(endpoints=4 * down, radix=40, oversubscription=oversubscription)
    assert (shape.downlinks, shape.uplinks) == (down, up)
    tree = fat_tree(endpoints=4 * down, radix=40, oversubscription=oversubscription)
    assert bisection_links(tree) * oversubscription == 2 * down


@settings(deadline=None)
@given(
    endpoints=st.integers(1, 200),
    radix=st.integers(2, 16),
    levels=st.sampled_from([2, 3]),
    oversubscription=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
)
def test_no_switch_has_more_links_than_ports_and_the_shape_counts_them(endpoints, radix, levels, oversubscription):
    arguments = {"endpoints": endpoints, "radix": radix, "levels": levels, "oversubscription": oversubscription}
    try:
        shape = fat_tree_shape(**arguments)
    except TopologyError:
        assume(False)
    tree = fat_tree(**arguments)
    assert len(tree.vertices("switch")) == shape.switches
    assert all(degree(tree, switch) <= radix for switch in tree.vertices("switch"))
    assert all(degree(tree, endpoint) == 1 for endpoint in tree.endpoints)
    if shape.leaves > 1:
        up = [degree(tree, ("leaf", leaf)) for leaf in range(shape.leaves)]
        assert sum(up) == endpoints + shape.leaves * shape.uplinks


@settings(deadline=None)
@given(
    endpoints=st.integers(1, 10),
    radix=st.integers(2, 7),
    levels=st.sampled_from([2, 3]),
    oversubscription=st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),
)
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(endpoints, radix, levels, oversubscription):
    try:
        tree = fat_tree(endpoints=endpoints, radix=radix, levels=levels, oversubscription=oversubscription)
    except TopologyError:
        assume(False)
    assume(len(tree.graph) <= 16)
    assert bisection_links(tree) == exact_bisection_links(tree)


def test_one_leaf_has_nothing_above_it():
    tree = fat_tree(endpoints=3, radix=8)
    assert tree.vertices("switch") == (("leaf", 0),)
    assert diameter(tree) == 2
    assert bisection_links(tree) == 1


def test_few_leaves_share_fewer_spines_with_bundled_links():
    # Two leaves of 4 uplinks need 8 spine ports: one switch of radix 8, joined to each leaf by 4 links.
    tree = fat_tree(endpoints=8, radix=8)
    assert [v for v in tree.graph if isinstance(v, tuple) and v[0] == "spine"] == [("spine", 0)]
    assert tree.graph.edges[("leaf", 0), ("spine", 0)]["count"] == 4


def test_its_tiers_can_be_named():
    tree = fat_tree(endpoints=8, radix=4, tier_leaf="edge", tier_spine="trunk")
    assert links_by_tier(tree) == {"edge": 8, "trunk": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endpoints": 0}, "fat_tree: endpoints is 0; a whole number, at least 1"),
        ({"radix": 1}, "fat_tree: radix is 1; a whole number, at least 2"),
        ({"levels": 4}, "fat_tree: levels is 4; 2 or 3"),
        ({"oversubscription": 0.0}, "oversubscription is 0.0; a finite number above 0"),
        ({"oversubscription": float("inf")}, "oversubscription is inf; a finite number"),
        ({"oversubscription": 100.0}, "oversubscription is 100.0; .* from 1/7 to 7"),
        ({"oversubscription": 1.2345678}, "a ratio of two whole numbers that add up to 8"),
    ],
)
def test_what_cannot_be_built_is_refused(change, message):
    with pytest.raises(TopologyError, match=message):
        fat_tree(**({"endpoints": 16, "radix": 8} | change))


def test_a_shape_whose_links_do_not_add_up_is_refused():
    with pytest.raises(TopologyError, match="middles x leaf_links = 3 x 1, but a leaf has 4 uplinks"):
        replace(fat_tree_shape(endpoints=32, radix=8), middles=3)
    with pytest.raises(TopologyError, match="FatTreeShape: leaves is 0; a whole number, at least 1"):
        replace(fat_tree_shape(endpoints=32, radix=8), leaves=0)
