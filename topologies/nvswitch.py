"""Chips on NVSwitch chips, each switch a vertex of its own: DGX-2 with its two boards to the 72 chips of NVL72."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import networkx as nx

from topologies.topology import Topology, TopologyError, check_count


def nvswitch(
    chips: int,
    *,
    links_to_switches: Sequence[int],
    boards: int = 1,
    trunk_links: int = 0,
    ports: int | None = None,
    folded: bool = False,
    tier: str = "scale_up",
    name: str = "NVSwitch server",
) -> Topology:
    """Chips 0 .. n-1 on one or two boards of switches.

    Parameters
    ----------
    links_to_switches
        Links of every chip to each switch of its board, one entry per switch: (2, 2, 2, 2, 2, 2) in a DGX A100.
    boards
        1 or 2, with equally many chips each. With 2, switch i of one board is joined to switch i of the other.
    trunk_links
        Links between the two switches of such a pair.
    ports
        Ports of one switch; none may have more links. Default: not checked.
    folded
        True: the switches of a board are one vertex that has all their links, ("switch", board), as the chips see them
        when they spread packets over all of them. False: ("switch", board, i) each.

    Notes
    -----
    Bisection of one board: floor(n/2) k with k links per chip. Of two boards with m chips each, a switch pair cuts
    the trunk or one side's chips: the sum over switches of min(trunk, m links).
    """
    where = "nvswitch"
    check_count(where, "chips", chips)
    check_count(where, "boards", boards)
    if not links_to_switches:
        raise TopologyError(f"{where}: links_to_switches is empty; one number of links per switch of a board.")
    for i, links in enumerate(links_to_switches):
        check_count(where, f"links_to_switches[{i}]", links)
    if boards > 2:
        raise TopologyError(f"{where}: boards is {boards}; 1 or 2.")
    check_count(where, "trunk_links", trunk_links, least=1 if boards > 1 else 0)
    if boards == 1 and trunk_links:
        raise TopologyError(f"{where}: trunk_links is {trunk_links}, but one board has no other to reach; 0.")
    if chips % boards:
        raise TopologyError(f"{where}: {chips} chips on {boards} boards; an even number.")
    per_board = chips // boards
    _check_ports(ports, max(links_to_switches) * per_board + trunk_links, per_board, trunk_links)
    graph = nx.Graph()
    graph.add_nodes_from(range(chips), kind="chip")
    if folded:
        planes: list[tuple[tuple[Hashable, ...], int, int]] = [
            (("switch",), sum(links_to_switches), trunk_links * len(links_to_switches))
        ]
    else:
        planes = [(("switch", i), links, trunk_links) for i, links in enumerate(links_to_switches)]
    for (word, *number), links, trunk in planes:
        switches = [(word, board, *number) for board in range(boards)]
        graph.add_nodes_from(switches, kind="switch")
        for chip in range(chips):
            graph.add_edge(chip, switches[chip // per_board], tier=tier, count=links, derate=1.0)
        if boards == 2:
            graph.add_edge(*switches, tier=tier, count=trunk, derate=1.0)
    bisection = chips // 2 * sum(links_to_switches)
    if boards == 2:
        bisection = sum(min(trunk_links, per_board * links) for links in links_to_switches)
    return Topology(name=name, graph=graph, endpoints=tuple(range(chips)), bisection=bisection)


def _check_ports(ports: int | None, used: int, chips: int, trunk: int) -> None:
    if ports is None:
        return
    check_count("nvswitch", "ports", ports)
    if used > ports:
        raise TopologyError(
            f"nvswitch: a switch with {chips} chips and {trunk} links to the other board needs {used} ports; "
            f"it has {ports}."
        )


def dgx2(*, folded: bool = False) -> Topology:
    """16 chips: two boards of 8 with 6 switches each; 8 links from every switch to its twin on the other board.

    48 links between the boards, 2.4 TB/s in both directions together at 25 GB/s a link and direction (NVIDIA DGX-2
    data sheet, recalled).
    """
    return nvswitch(
        16, links_to_switches=(1,) * 6, boards=2, trunk_links=8, ports=18, folded=folded, name="DGX-2 NVSwitch"
    )


def dgx_a100(*, folded: bool = False) -> Topology:
    """8 chips, 6 switches of 36 ports, 2 links from every chip to every switch (NVIDIA data sheet, recalled)."""
    return nvswitch(8, links_to_switches=(2,) * 6, ports=36, folded=folded, name="DGX A100 NVSwitch")


def dgx_h100(*, folded: bool = False) -> Topology:
    """8 chips, 4 switches of 64 ports; of a chip's 18 links 5, 4, 4 and 5 go to them (recalled, NVIDIA documents)."""
    return nvswitch(8, links_to_switches=(5, 4, 4, 5), ports=64, folded=folded, name="DGX H100 NVSwitch")


def dgx_b200(*, folded: bool = False) -> Topology:
    """8 chips, 2 switches of 72 ports, 9 links from every chip to each (switch count recalled)."""
    return nvswitch(8, links_to_switches=(9, 9), ports=72, folded=folded, name="DGX B200 NVSwitch")


def nvl72(*, folded: bool = False) -> Topology:
    """72 chips, 18 switches of 72 ports, one link from every chip to every switch: GB200 and GB300 NVL72."""
    return nvswitch(72, links_to_switches=(1,) * 18, ports=72, folded=folded, name="NVL72 NVSwitch")
