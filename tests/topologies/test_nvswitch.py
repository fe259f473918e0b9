import pytest

from topologies.metrics import bisection_links, degree, diameter, exact_bisection_links, links_by_tier
from topologies.nvswitch import dgx2, dgx_a100, dgx_b200, dgx_h100, nvl72, nvswitch
from topologies.rings import ring_capacity
from topologies.topology import TopologyError

# builder, chips, switches, links per chip, ports of a switch in use, gigabytes per second of a link one way,
# published bisection of both directions together in terabytes per second (aggregate / 2 for NVL72)
SERVERS = [
    (dgx2, 16, 12, 6, {16}, 25, 2.4),
    (dgx_a100, 8, 6, 12, {16}, 25, 2.4),
    (dgx_h100, 8, 4, 18, {32, 40}, 25, 3.6),
    (dgx_b200, 8, 2, 18, {72}, 50, 7.2),
    (nvl72, 72, 18, 18, {72}, 50, 64.8),
]


@pytest.mark.parametrize(("build", "chips", "switches", "links", "ports", "rate", "bisection"), SERVERS)
def test_a_server_has_the_chips_switches_ports_and_bisection_of_its_data_sheet(
    build, chips, switches, links, ports, rate, bisection
):
    server = build()
    assert server.endpoints == tuple(range(chips))
    assert len(server.vertices("switch")) == switches
    assert {degree(server, chip) for chip in server.endpoints} == {links}
    assert {degree(server, switch) for switch in server.vertices("switch")} == ports
    assert bisection_links(server) * 2 * rate / 1000 == pytest.approx(bisection)
    assert diameter(server) == (3 if build is dgx2 else 2)
    trunks = 48 if build is dgx2 else 0
    assert links_by_tier(server) == {"scale_up": chips * links + trunks}


@pytest.mark.parametrize("build", [row[0] for row in SERVERS])
def test_folding_the_switches_of_a_board_changes_no_count(build):
    whole, folded = build(), build(folded=True)
    assert len(folded.vertices("switch")) == (2 if build is dgx2 else 1)
    assert links_by_tier(folded) == links_by_tier(whole)
    assert bisection_links(folded) == bisection_links(whole)
    assert diameter(folded) == diameter(whole)
    assert [degree(folded, chip) for chip in folded.endpoints] == [degree(whole, chip) for chip in whole.endpoints]


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize(
    ("chips", "links", "boards", "trunk"),
    [(2, (1,), 1, 0), (7, (2, 1), 1, 0), (8, (5, 4), 1, 0), (8, (1, 1), 2, 4), (8, (1, 2), 2, 3), (6, (1, 1), 2, 9)],
)
def test_the_closed_form_of_the_bisection_equals_the_exact_cut(chips, links, boards, trunk, folded):
    server = nvswitch(chips, links_to_switches=links, boards=boards, trunk_links=trunk, folded=folded)
    assert bisection_links(server) == exact_bisection_links(server)


def test_the_folded_dgx2_is_cut_exactly_between_its_boards():
    assert exact_bisection_links(dgx2(folded=True)) == bisection_links(dgx2()) == 48


@pytest.mark.parametrize("folded", [True, False])
def test_a_board_holds_a_ring_per_link_of_a_chip(folded):
    assert ring_capacity(dgx_h100(folded=folded), range(8)) == 18
    assert ring_capacity(dgx2(folded=folded), range(8)) == 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chips": 0}, "chips is 0; a whole number, at least 1"),
        ({"links_to_switches": ()}, "links_to_switches is empty"),
        ({"links_to_switches": (1, 0)}, r"links_to_switches\[1\] is 0"),
        ({"boards": 3}, "boards is 3; 1 or 2"),
        ({"boards": 2}, "trunk_links is 0; a whole number, at least 1"),
        ({"boards": 1, "trunk_links": 8}, "one board has no other to reach"),
        ({"chips": 7, "boards": 2, "trunk_links": 8}, "7 chips on 2 boards; an even number"),
        ({"ports": 7}, "a switch with 8 chips and 0 links to the other board needs 8 ports; it has 7"),
    ],
)
def test_a_server_that_cannot_be_is_refused(change, message):
    arguments = {"chips": 8, "links_to_switches": (1, 1), **change}
    with pytest.raises(TopologyError, match=message):
        nvswitch(arguments.pop("chips"), **arguments)
