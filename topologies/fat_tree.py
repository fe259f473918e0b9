"""Fat trees (folded Clos networks) of equal switches, two or three levels, tapered at the leaf, partly filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


@dataclass(frozen=True, kw_only=True)
class FatTreeShape:
    """How many switches a fat tree has and how they are joined; all fields are counts.

    Parameters
    ----------
    downlinks, uplinks
        Of one leaf switch: to end points, and to the level above.
    leaves_per_pod, pods
        A pod is the set of leaves that meet one level up. Two levels are one pod.
    middles
        Switches of the middle level in one pod: the spines of two levels, the aggregation switches of three.
    leaf_links
        Parallel links from a leaf to each of its middle switches; middles x leaf_links = uplinks.
    cores_per_middle, core_links
        Core switches that the i-th middle switch of every pod is joined to, and the links to each. 0 where one pod
        is all there is.
    """

    endpoints: int
    levels: int
    downlinks: int
    uplinks: int
    leaves: int
    leaves_per_pod: int
    pods: int
    middles: int
    leaf_links: int
    cores_per_middle: int
    core_links: int

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            above_leaf = name in ("middles", "leaf_links", "cores_per_middle", "core_links")
            check_count("FatTreeShape", name, value, least=0 if above_leaf else 1)
        if self.leaves > 1 and self.middles * self.leaf_links != self.uplinks:
            raise TopologyError(
                f"FatTreeShape: middles x leaf_links = {self.middles} x {self.leaf_links}, but a leaf has "
                f"{self.uplinks} uplinks."
            )

    @property
    def switches(self) -> int:
        """Switches of all levels."""
        return self.leaves + self.pods * self.middles + self.middles * self.cores_per_middle

    def leaf_of(self, endpoint: int) -> int:
        """The leaf switch of an end point; leaves fill in order."""
        return endpoint // self.downlinks

    def pod_of(self, endpoint: int) -> int:
        """The pod of an end point; pods fill in order."""
        return self.leaf_of(endpoint) // self.leaves_per_pod

    def leaf(self, endpoint: int) -> tuple[str, int]:
        """The vertex of an end point's leaf switch."""
        return ("leaf", self.leaf_of(endpoint))

    def middle(self, pod: int, index: int) -> tuple[str | int, ...]:
        """The vertex of a spine (two levels) or an aggregation switch (three)."""
        return ("spine", index) if self.levels == 2 else ("aggregation", pod, index)


def fat_tree_shape(*, endpoints: int, radix: int, levels: int = 2, oversubscription: float = 1.0) -> FatTreeShape:
    """The switches and links that `fat_tree` builds for the same arguments."""
    where = "fat_tree"
    check_count(where, "endpoints", endpoints)
    check_count(where, "radix", radix, least=2)
    if levels not in (2, 3):
        raise TopologyError(f"{where}: levels is {levels!r}; 2 or 3.")
    downlinks, uplinks = _leaf_ports(radix, oversubscription)
    half = radix // 2
    leaves_per_pod = radix if levels == 2 else half
    most = downlinks * leaves_per_pod * (1 if levels == 2 else radix)
    if endpoints > most:
        way_out = "Try levels=3 or a larger radix." if levels == 2 else "Try a larger radix."
        raise TopologyError(
            f"{where}: {endpoints} endpoints, but {levels} levels of radix {radix} with oversubscription "
            f"{oversubscription:g} hold at most {most}. {way_out}"
        )
    leaves = math.ceil(endpoints / downlinks)
    pods = math.ceil(leaves / leaves_per_pod)
    if leaves == 1:  # one switch joins all; there is nothing to reach above it
        middles = leaf_links = 0
    elif levels == 2:
        middles = _fewest_switches(links=uplinks, below=leaves, radix=radix)
        leaf_links = uplinks // middles
    else:
        middles, leaf_links = uplinks, 1
    cores = _fewest_switches(links=half, below=pods, radix=radix) if pods > 1 else 0
    return FatTreeShape(
        endpoints=endpoints,
        levels=levels,
        downlinks=downlinks,
        uplinks=uplinks,
        leaves=leaves,
        leaves_per_pod=leaves_per_pod,
        pods=pods,
        middles=middles,
        leaf_links=leaf_links,
        cores_per_middle=cores,
        core_links=half // cores if cores else 0,
    )


def fat_tree(
    *,
    endpoints: int,
    radix: int,
    levels: int = 2,
    oversubscription: float = 1.0,
    tier_leaf: str = "scale_out",
    tier_spine: str = "spine",
) -> Topology:
    """End points 0 .. n-1 on leaf switches, in order, below one or two more levels of switches of the same radix.

    Parameters
    ----------
    radix
        Ports of every switch.
    levels
        Levels of switches: 2 (leaf, spine) or 3 (leaf, aggregation, core).
    oversubscription
        Downlinks / uplinks of a leaf, a ratio of small whole numbers; 1 is non-blocking. The largest leaf of that ratio
        is taken; ports that do not fit it stay empty. Nothing above the leaf is tapered.
    tier_leaf, tier_spine
        Tier of the links from end points to leaves, and of all links between switches.

    Notes
    -----
    Leaves fill one after the other, so the last leaf and the last pod may be partly empty; a switch has all its uplinks
    however little hangs below it. Where few leaves (pods) leave ports of the top level free, the fewest top switches
    that divide the uplinks evenly are taken and links are bundled. A single leaf has nothing above it; a single
    pod no core. Holds d r end points on two levels and d (r/2) r on three, with d downlinks per leaf and radix r: r^2/2
    and r^3/4 if not tapered.

    Bisection, with u uplinks per leaf: levels above the leaf do not block, so a cut that puts l of L leaves on one side
    costs u min(l, L-l), plus 1 for each end point that must leave its leaf's side to make the halves equal; the
    least over all l is exact for any filling. n/2 / oversubscription where an even number of leaves is full.

    Raises
    ------
    TopologyError
        If the end points do not fit, or the radix is too small for the oversubscription.
    """
    shape = fat_tree_shape(endpoints=endpoints, radix=radix, levels=levels, oversubscription=oversubscription)
    graph = nx.Graph()
    graph.add_nodes_from(range(endpoints), kind="chip")
    for endpoint in range(endpoints):
        graph.add_node(shape.leaf(endpoint), kind="switch")
        graph.add_edge(endpoint, shape.leaf(endpoint), tier=tier_leaf, count=1, derate=1.0)
    for leaf in range(shape.leaves):
        for index in range(shape.middles):
            middle = shape.middle(leaf // shape.leaves_per_pod, index)
            graph.add_node(middle, kind="switch")
            graph.add_edge(("leaf", leaf), middle, tier=tier_spine, count=shape.leaf_links, derate=1.0)
    for index in range(shape.middles):
        for core in range(shape.cores_per_middle):
            graph.add_node(("core", index, core), kind="switch")
            for pod in range(shape.pods):
                middle = shape.middle(pod, index)
                graph.add_edge(middle, ("core", index, core), tier=tier_spine, count=shape.core_links, derate=1.0)
    name = f"{levels}-level fat tree of {endpoints}"
    return Topology(name=name, graph=graph, endpoints=tuple(range(endpoints)), bisection=_bisection(shape))


def _leaf_ports(radix: int, oversubscription: float) -> tuple[int, int]:
    where = f"fat_tree: oversubscription is {oversubscription!r}"
    if not (math.isfinite(oversubscription) and oversubscription > 0):
        raise TopologyError(f"{where}; a finite number above 0, such as 1.0 or 3.0.")
    ratio = Fraction(oversubscription).limit_denominator(radix)
    if not math.isclose(ratio, oversubscription, rel_tol=1e-9) or ratio.numerator + ratio.denominator > radix:
        raise TopologyError(
            f"{where}; downlinks / uplinks of one leaf of radix {radix}, so a ratio of two whole numbers that add up "
            f"to {radix} at most, from 1/{radix - 1} to {radix - 1}."
        )
    share = radix // (ratio.numerator + ratio.denominator)
    return ratio.numerator * share, ratio.denominator * share


def _fewest_switches(*, links: int, below: int, radix: int) -> int:
    """Fewest top switches that split each lower switch's `links` evenly and have ports for all `below` of them."""
    return next(top for top in range(1, links + 1) if links % top == 0 and below * (links // top) <= radix)


def _bisection(shape: FatTreeShape) -> int:
    full, rest = divmod(shape.endpoints, shape.downlinks)
    half = shape.endpoints // 2
    return min(
        shape.uplinks * min(leaves, shape.leaves - leaves) + abs(half - inside)
        for partial in range(2 if rest else 1)
        for leaves in range(partial, full + partial + 1)
        for inside in [(leaves - partial) * shape.downlinks + partial * rest]
    )
