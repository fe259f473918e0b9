"""The wires under groups of ranks of every system that ships: who shares cards, what a mesh leaves a small group."""

from __future__ import annotations

from dataclasses import replace

import pytest

import hwmodels.catalog as hardware
from simulator.cluster import Cluster, ClusterError, system, system_ids
from simulator.collectives.exchange import UP_KINDS, Wires
from simulator.collectives.library_constants import library_constants
from simulator.collectives.switch_rules import reduces_in_switch
from simulator.group_wires import generation_word, library_of, out_word, up_kind, wires_of
from simulator.stack import stack, stack_ids
from simulator.stepspec import PICOSECONDS_PER_SECOND


def cluster(name: str = "selene") -> Cluster:
    return system(name).cluster


def of(name: str, ranks: int, stride: int = 1, **more: object) -> Wires:
    return wires_of(cluster(name), ranks=ranks, stride=stride, **more)


every_system = pytest.mark.parametrize("name", system_ids())
#: Slices of a torus are one domain each; elsewhere a server (or a rack) is.
SLICES = tuple(n for n in system_ids() if cluster(n).out_fabric == "ici" and up_kind(cluster(n)) == "torus")
of_servers = [n for n in system_ids() if n not in SLICES]


@pytest.mark.parametrize("name", SLICES)
def test_a_slice_of_a_torus_is_one_domain_whichever_host_its_chips_sit_on(name: str) -> None:
    most, chips = cluster(name).max_chips, cluster(name).chips_per_server
    links = hardware.server(cluster(name).server).scale_up_links_per_chip
    for ranks, stride in ((2, 1), (chips, 1), (most, 1), (2, chips), (most // 8, 8)):
        wires = of(name, ranks, stride)
        assert (wires.domain_ranks, wires.out_link, wires.axes) == (ranks, "", links // 2)
        assert wires.up_byte_per_s == pytest.approx(cluster(name).up_byte_per_s[chips])
        assert wires.pair_byte_per_s == pytest.approx(wires.up_byte_per_s / links)
    assert {of(n, 2).axes for n in ("tpu-v3-pod", "tpu-v4-pod", "selene")} == {1, 2, 3}


@every_system
def test_every_group_that_fits_has_wires_and_one_member_more_has_none(name: str) -> None:
    chips, most = cluster(name).chips_per_server, cluster(name).max_chips
    for stride in sorted({1, 2, 3, chips, 2 * chips}):
        largest = (most - 1) // stride + 1
        for ranks in sorted({1, min(2, largest), min(chips, largest), largest}):
            wires = of(name, ranks, stride)
            assert wires.ranks == ranks
            assert wires.domain_ranks == (ranks if name in SLICES else max(1, min(chips // stride, ranks)))
            assert wires.up_kind in UP_KINDS
            assert (wires.out_link == "") == (wires.ranks <= wires.domain_ranks)
        with pytest.raises(ClusterError, match=f"has {most} chips"):
            of(name, largest + 1, stride)


def test_a_group_larger_than_the_system_is_refused_in_one_line() -> None:
    with pytest.raises(ClusterError) as refused:
        of("dgx1-v100", 4097)
    assert str(refused.value) == "Cluster 'dgx1-v100': a group of 4097 ranks, 1 apart, does not fit; it has 4096 chips."
    with pytest.raises(ClusterError, match="a group of 513 ranks, 8 apart, does not fit"):
        of("dgx1-v100", 513, 8)
    assert of("dgx1-v100", 512, 8).ranks == 512


@pytest.mark.parametrize(("ranks", "stride"), [(0, 1), (-1, 1), (2, 0), (2, -8)])
def test_no_ranks_and_no_stride_are_refused(ranks: int, stride: int) -> None:
    with pytest.raises(ClusterError, match=f"a group of {ranks} ranks, {stride} apart; at least 1 each"):
        of("selene", ranks, stride)


@pytest.mark.parametrize("name", [n for n in of_servers if cluster(n).max_servers > 1])
def test_a_group_of_whole_servers_uses_all_cards(name: str) -> None:
    chips = cluster(name).chips_per_server
    for servers in {2, cluster(name).max_servers}:
        wires = of(name, servers * chips)
        assert wires.out_byte_per_s == pytest.approx(cluster(name).out_byte_per_s)
        assert (wires.domain_ranks, wires.up_byte_per_s) == (
            chips, pytest.approx(cluster(name).up_byte_per_s[chips]) if chips > 1 else wires.up_byte_per_s
        )  # fmt: skip


@pytest.mark.parametrize("name", [n for n in system_ids() if cluster(n).max_servers > 2])
def test_groups_side_by_side_share_the_cards_and_use_all_of_them_together(name: str) -> None:
    chips, whole = cluster(name).chips_per_server, cluster(name).out_byte_per_s
    for stride in (s for s in range(1, chips + 1) if chips % s == 0):
        share = of(name, 2 * chips // stride, stride).out_byte_per_s
        assert stride * share == pytest.approx(whole)
    # Groups farther apart than a server is wide meet no more neighbours.
    assert of(name, 2, chips).out_byte_per_s == of(name, 2, 2 * chips).out_byte_per_s


def test_fewer_members_in_a_server_than_cards_cannot_drive_all_of_them() -> None:
    # Groups three apart have two members each in a server of eight: two of its eight cards of 25 GB/s have no chip.
    assert of("selene", 16, 3).out_byte_per_s == pytest.approx(6 * 25e9 / 3)
    assert of("selene", 16, 5).out_byte_per_s == pytest.approx(5 * 25e9 / 5)
    assert of("selene", 16).out_byte_per_s == pytest.approx(8 * 25e9)


@pytest.mark.parametrize(("name", "cards"), [("p5.48xlarge", 32), ("oci-bm.gpu4.8", 16), ("hls-gaudi2", 24)])
def test_a_chip_drives_all_of_its_own_cards_where_there_are_more_cards_than_chips(name: str, cards: int) -> None:
    whole = cluster(name).out_byte_per_s
    assert (cluster(name).network_cards, cluster(name).chips_per_server) == (cards, 8)
    assert of(name, 64).out_byte_per_s == pytest.approx(whole)
    assert of(name, 8, 8).out_byte_per_s == pytest.approx(whole / 8)


@pytest.mark.parametrize(("cards", "share"), [(0, 1.0), (1, 1 / 8), (4, 0.5), (8, 1.0), (99, 1.0)])
def test_software_that_drives_few_cards_has_their_share(cards: int, share: float) -> None:
    whole = cluster().out_byte_per_s
    assert of("selene", 64, cards=cards).out_byte_per_s == pytest.approx(share * whole)
    # Groups side by side share what the software drives, too.
    assert of("selene", 8, 8, cards=cards).out_byte_per_s == pytest.approx(share * whole / 8)


@every_system
def test_wires_are_as_fast_as_the_cluster_says(name: str) -> None:
    # A question may ask for other rates than the catalogue's: every rate of the wires follows them.
    faster = replace(
        cluster(name), up_byte_per_s=tuple(2.0 * rate for rate in cluster(name).up_byte_per_s),
        out_byte_per_s=2.0 * cluster(name).out_byte_per_s,
    )  # fmt: skip
    chips, most = cluster(name).chips_per_server, cluster(name).max_chips
    for ranks in {min(2, most), chips, min(2 * chips, most)}:
        base, twice = of(name, ranks), wires_of(faster, ranks=ranks)
        assert twice.out_byte_per_s == pytest.approx(2.0 * base.out_byte_per_s)
        if base.domain_ranks > 1:
            assert twice.up_byte_per_s == pytest.approx(2.0 * base.up_byte_per_s)
            assert twice.pair_byte_per_s == pytest.approx(2.0 * base.pair_byte_per_s)


@every_system
def test_more_cards_driven_never_carry_less(name: str) -> None:
    chips, most = cluster(name).chips_per_server, cluster(name).max_chips
    for stride in (1, max(1, chips // 2), chips):
        ranks = min(2 * chips, (most - 1) // stride + 1)
        rates = [of(name, ranks, stride, cards=cards).out_byte_per_s for cards in (1, 2, 4, 8, 64)]
        assert rates == sorted(rates)


@pytest.mark.parametrize(
    ("name", "stride", "inside", "sharing"),
    [("selene", 2, 4, 2), ("selene", 3, 2, 3), ("selene", 4, 2, 4), ("selene", 5, 1, 5), ("selene", 8, 1, 8),
     ("selene", 64, 1, 8), ("abci", 2, 2, 2), ("gb200-nvl72", 8, 9, 8), ("gb200-nvl72", 72, 1, 72)],
)  # fmt: skip
def test_members_that_stand_apart_are_fewer_in_a_server_and_share_it(
    name: str, stride: int, inside: int, sharing: int
) -> None:
    wires = of(name, 20, stride)
    assert wires.domain_ranks == inside
    assert wires.out_byte_per_s <= cluster(name).out_byte_per_s / sharing * (1 + 1e-12)
    if inside > 1:
        assert wires.up_byte_per_s == cluster(name).up_byte_per_s[-1]


@pytest.mark.parametrize("name", ["dgx1-v100", "dgx1-p100", "abci", "juwels-booster", "summit"])
def test_a_group_in_a_mesh_has_the_rings_of_its_own_links(name: str) -> None:
    assert up_kind(cluster(name)) == "cube_mesh"
    for ranks in range(2, cluster(name).chips_per_server + 1):
        assert of(name, ranks).up_byte_per_s == cluster(name).up_byte_per_s[ranks]
    # Two neighbours of a DGX-1 share one or two links, all eight chips six rings.
    assert of("dgx1-v100", 2).up_byte_per_s < of("dgx1-v100", 8).up_byte_per_s == 150e9


@pytest.mark.parametrize("name", [n for n in system_ids() if up_kind(cluster(n)) == "pairs"])
def test_a_mesh_of_pairs_gives_a_group_the_links_to_its_own_members(name: str) -> None:
    chips = cluster(name).chips_per_server
    pair = cluster(name).up_byte_per_s[chips] / (chips - 1)
    for ranks in range(2, chips + 1):
        wires = of(name, ranks)
        assert wires.pair_byte_per_s == pytest.approx(pair)
        assert wires.up_byte_per_s == pytest.approx((ranks - 1) * pair)
    apart = of(name, 2, chips // 2)
    assert apart.up_byte_per_s == pytest.approx(pair)


@pytest.mark.parametrize("name", [n for n in system_ids() if up_kind(cluster(n)) in ("switch", "rack")])
def test_behind_a_switch_every_group_has_a_chips_whole_rate(name: str) -> None:
    chips = cluster(name).chips_per_server
    for ranks in {2, 3, chips // 2, chips}:
        wires = of(name, ranks)
        assert wires.up_byte_per_s == wires.pair_byte_per_s == cluster(name).up_byte_per_s[-1]


def test_two_neighbours_of_a_mesh_or_torus_have_the_links_between_them() -> None:
    # Two of the six NVLink 2 of a V100 join the chips that are joined twice, one the others; a torus has one each way.
    assert of("dgx1-v100", 8).pair_byte_per_s == of("dgx1-v100", 2).up_byte_per_s == 25e9
    for name in (n for n in system_ids() if up_kind(cluster(n)) == "torus"):
        wires = of(name, cluster(name).chips_per_server)
        link = hardware.link(wires.up_link)
        assert wires.pair_byte_per_s == link.bandwidth_byte_per_s <= wires.up_byte_per_s


def test_a_rack_of_72_chips_is_one_domain_of_trays_of_four() -> None:
    whole, few, several = of("gb200-nvl72", 72), of("gb200-nvl72", 3), of("gb200-nvl72", 144)
    assert (whole.domain_ranks, whole.host_ranks, whole.out_link) == (72, 4, "")
    assert (few.domain_ranks, few.host_ranks) == (3, 3)
    assert (several.domain_ranks, several.host_ranks) == (72, 4)
    assert several.out_byte_per_s == pytest.approx(72 * 50e9)
    assert of("dgx-b200", 16).host_ranks == 8


@pytest.mark.parametrize("name", of_servers)
def test_one_member_in_a_server_never_sees_the_wires_inside(name: str) -> None:
    chips = cluster(name).chips_per_server
    faster = replace(cluster(name), up_byte_per_s=tuple(3.0 * rate for rate in cluster(name).up_byte_per_s))
    wires = of(name, min(2, cluster(name).max_servers), chips)
    assert wires.domain_ranks == 1
    assert wires == wires_of(faster, ranks=wires.ranks, stride=chips)
    # No message is so large that wires nobody uses take a nanosecond a gigabyte.
    assert min(wires.up_byte_per_s, wires.pair_byte_per_s) >= 1e18
    assert 1e9 / wires.up_byte_per_s <= 1000 / PICOSECONDS_PER_SECOND


@pytest.mark.parametrize(
    ("name", "ranks", "stride", "library", "year", "reduces"),
    [
        ("eos", 8, 1, "nccl", 2023, True), ("eos", 5, 1, "nccl", 2023, True), ("eos", 4, 1, "nccl", 2023, False),
        ("eos", 64, 1, "nccl", 2024, True), ("eos", 64, 2, "nccl", 2024, False), ("eos", 8, 1, "nccl", 2022, False),
        ("eos", 8, 1, "other", 2024, False), ("eos", 8, 1, "nccl-2.0-mpi", 2024, False),
        ("eos", 8, 1, "xla+nccl", 2024, True), ("selene", 8, 1, "nccl", 2024, False),
        ("dgx-2", 16, 1, "nccl", 2024, False), ("dgx1-v100", 8, 1, "nccl", 2024, False),
        ("oam-mi300x", 8, 1, "rccl", 2024, False), ("gb200-nvl72", 72, 1, "nccl", 2025, True),
        ("dgx-b200", 8, 1, "nccl", 2025, True), ("gb200-nvl72", 64, 16, "nccl", 2025, False),
    ],
)  # fmt: skip
def test_switches_reduce_for_five_members_from_the_fourth_nvlink_and_2023_on(
    name: str, ranks: int, stride: int, library: str, year: int, reduces: bool
) -> None:
    assert of(name, ranks, stride, library=library, year=year).in_switch == reduces


@pytest.mark.parametrize("name", [n for n in system_ids() if up_kind(cluster(n)) in ("switch", "rack")])
@pytest.mark.parametrize("library", ["nccl", "xla+nccl", "nccl-2.0-mpi", "other"])
def test_steps_follow_the_rules_of_measured_rows_for_switches_that_reduce(name: str, library: str) -> None:
    chips, link = cluster(name).chips_per_server, cluster(name).up_fabric.removesuffix("-switch")
    for members in {2, 4, 5, 8, chips}:
        by_rule = reduces_in_switch(library=library, link=link, kind="switch", chips=chips, members=members)
        assert of(name, members, library=library).in_switch == by_rule
        assert not of(name, members, library=library, year=2022).in_switch


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("selene", "switch"),
        ("dgx-2", "switch"),
        ("gb200-nvl72", "rack"),
        ("oam-mi300x", "pairs"),
        ("frontier", "pairs"),
        ("hls-gaudi2", "pairs"),
        ("dgx1-v100", "cube_mesh"),
        ("summit", "cube_mesh"),
        ("p2.16xlarge", "pcie_tree"),
        ("deepbench-8-gpu", "pcie_tree"),
        ("tpu-v4-pod", "torus"),
        ("trn1.32xlarge", "torus"),
        ("titan", "none"),
        ("cs-2", "none"),
    ],
)
def test_how_the_chips_of_a_server_are_joined(name: str, kind: str) -> None:
    assert up_kind(cluster(name)) == kind
    assert (of(name, 2).up_link == "") == (kind == "none")


@every_system
def test_a_server_of_several_chips_has_wires_between_them(name: str) -> None:
    if cluster(name).chips_per_server > 1:
        assert up_kind(cluster(name)) != "none"
        assert of(name, 2).up_byte_per_s > 1e9


@pytest.mark.parametrize(
    ("fabric", "word"),
    [("efa", "efa"), ("efa-200g", "efa"), ("omni-path", "omni-path"), ("ethernet-tcp-100g", "ethernet"),
     ("roce", "ethernet"), ("slingshot", "slingshot"), ("aries", "aries"), ("ici", "ici")],
)  # fmt: skip
def test_the_word_for_the_wires_between_servers(fabric: str, word: str) -> None:
    assert out_word(fabric) == word


@pytest.mark.parametrize("name", system_ids())
def test_both_ways_to_the_word_for_the_wires_between_servers_agree(name: str) -> None:
    # From the fabric of a system, and from the family and rate of a card as tables of measured collectives have them.
    fabric = cluster(name).out_fabric
    if fabric in hardware.link_ids():
        link = hardware.link(fabric)
        assert generation_word(link.family, link.bandwidth_byte_per_s) == out_word(fabric)


def test_what_was_fitted_on_measured_collectives_reaches_steps() -> None:
    # A deviation whose owner no system's wires name would be fitted and never used.
    fitted = {tuple(key.partition("@")[2].split("=")) for key in library_constants().deviations if "@" in key}
    out = {out_word(cluster(name).out_fabric) for name in system_ids()}
    assert {owner for level, owner in fitted if level == "out"} <= out
    largest = {name: of(name, cluster(name).chips_per_server) for name in system_ids()}
    fabrics = {wires.fabric for wires in largest.values()}
    # Both halves of a DGX-1-like box of PCIe cards, joined by the processors' own wire, are told apart in tables only.
    assert {owner for level, owner in fitted if level == "fabric"} - {"qpi-pcie_tree", "xgmi4-pairs"} <= fabrics


@pytest.mark.parametrize("name", ["gb200-nvl72", "coreweave-gb200"])
def test_a_rack_has_the_constants_that_were_fitted_on_racks(name: str) -> None:
    assert of(name, 72).fabric in {k.partition("@fabric=")[2] for k in library_constants().deviations}


@pytest.mark.parametrize("stack_id", stack_ids())
def test_a_stack_calls_the_library_of_the_chips_maker(stack_id: str) -> None:
    used = stack(stack_id)
    nvidia, amd, google = (library_of(used, cluster(name)) for name in ("selene", "frontier", "tpu-v4-pod"))
    assert nvidia.removeprefix("xla+") == ("nccl" if used.year >= 2019 else "nccl-2.0-mpi")
    assert amd.removeprefix("xla+") == "rccl"
    assert google == "other"
    assert amd.startswith("xla+") == (used.framework == "JAX")


def test_a_placement_is_worked_out_once() -> None:
    assert of("selene", 24, 2) is of("selene", 24, 2)
