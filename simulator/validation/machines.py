"""The machines that measured runs name in words: which server, which wires between servers."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache
from typing import Final

import hwmodels.catalog as hardware
from hwmodels.server import Server

from ..cluster import Cluster, build_cluster, torus_out_byte_per_s

#: Servers of cards whatever the card, by what a card's slot carries [B/s]; the file names one such card.
_CARD_SERVERS: Final = (
    (8.0e9, "pcie2-cards"), (15.75e9, "pcie3-cards"), (31.5e9, "pcie4-cards"), (math.inf, "pcie5-cards"),
)  # fmt: skip

#: Published runs of these chips sit on fewer network cards than the maker's server has room for: Gbit/s of a server.
_FEWER_CARDS: Final = {"k80-gk210": 20.0, "p100-sxm2": 100.0, "v100-sxm2-16gb": 100.0}

#: What a server's network is called where the row is silent, by the kind of card.
_FABRIC_OF_CARD: Final = (
    ("infiniband-(fdr|edr|hdr|ndr|xdr)", ""), ("omni-path", "omni-path"), ("efa", "efa"), ("slingshot", "slingshot"),
    ("ethernet-(10|25|40)g", "ethernet-cloud"), ("ethernet", "roce"),
)  # fmt: skip

#: So many cards of so many Gbit/s each, in two orders of words.
_CARDS_TIMES_RATE: Final = re.compile(
    r"(\d)x (?:BF3|Slingshot-11|MT43244 BlueField-3) (\d+) ?Gb"
    r"|(\d+)x [^0-9]*(?:ConnectX-\d|CX\d)?[^0-9]*(\d+) ?Gb/s per node"
)

#: GeForce cards since Turing copy to one another through host memory: their driver has no peer access over PCIe.
_WITHOUT_PEERS: Final = re.compile(r"rtx-[234]0\d0")

#: One way, both cards of a bridged pair [B/s]: two links of NVLink 2, four and twelve of NVLink 3.
_BRIDGE_BYTE_PER_S: Final = {"turing": 50e9, "ampere": 56e9, "a30": 100e9, "a100": 300e9, "h100": 300e9}


@cache
def server_for(chip: str) -> Server:
    """The server a chip usually sits in: of those that name it the one with the widest network, else one for cards.

    A chip that no server names is a card in a PCIe tree of its own generation, by the rate of its slot or its year.
    """
    generic = {id for _, id in _CARD_SERVERS}
    every = map(hardware.server, hardware.server_ids())
    own = [s for s in every if s.chip == chip and s.id not in generic and not s.one_machine]
    if own:
        return max(own, key=lambda s: s.nics * hardware.link(s.nic_link).bandwidth_byte_per_s if s.nics else 0.0)
    facts = hardware.chip(chip)
    slot = facts.host_bandwidth_byte_per_s
    if slot is None:
        slot = 15.75e9 if facts.year < 2020 else 31.5e9 if facts.year < 2022 else 63e9
    server = hardware.server(next(id for most, id in _CARD_SERVERS if slot <= most * 1.02))
    return replace(server, chip=chip)


@cache
def cluster_for(*, chip: str, chips_per_server: int, chips: int, inside: str, outside: str, source: str) -> Cluster:
    """The cluster a row's words describe."""
    server = server_for(chip)
    count = chips_per_server or min(server.chips, max(chips, 1))
    if server.scale_up == "hybrid_cube_mesh" and chip.startswith("v100") and count in (4, 16):
        # Servers of four fully wired chips, and rows that put DGX-2 down as V100: all six links reach every neighbour.
        server = replace(server, scale_up="fully_connected", cube_mesh_links=(), chips=count)
    if server.scale_up == "fully_connected" and chip.startswith("a100") and "PCIe" in inside:
        server = replace(server, scale_up="pcie_tree", scale_up_link="pcie4-x16", scale_up_links_per_chip=1)
    if server.scale_up == "torus" and chip.startswith("tpu"):
        return build_cluster(
            id="tpu", name="TPU slice", server=server, servers=100_000, out_fabric="ici", network="torus",
            out_byte_per_s=torus_out_byte_per_s(server),
        )  # fmt: skip
    gbit, fabric = _network(server, count, outside or f" {source}", inside)
    if server.id.endswith("nvl72"):
        # Rows count trays of four; the domain of the links is the rack, of which jobs take all or 64 chips.
        tray, count = count, min(chips, 64 if chips % 72 else 72) if chips > 4 else count
        gbit *= count / (tray if outside else server.chips)
    cluster = build_cluster(
        id=f"{chip} x {count}", name="as the row describes", server=server, servers=100_000,
        out_byte_per_s=gbit * 1e9 / 8, out_fabric=fabric, chips_per_server=count,
    )  # fmt: skip
    return _in_a_tree(cluster, server, inside) if server.scale_up == "pcie_tree" else cluster


def _in_a_tree(cluster: Cluster, server: Server, inside: str) -> Cluster:
    """What words on bridges, and cards without peer access, change about cards in a PCIe tree."""
    rates = list(cluster.up_byte_per_s)
    if re.search("bridge|nvlink", inside, re.IGNORECASE) and len(rates) > 2:
        name = server.chip.split("-")[0]
        bridge = _BRIDGE_BYTE_PER_S.get(name) or _BRIDGE_BYTE_PER_S.get(cluster.chip.architecture)
        rates[2] = bridge or rates[2]
        return replace(cluster, up_byte_per_s=tuple(rates))
    if _WITHOUT_PEERS.fullmatch(server.chip[:8]):
        return replace(cluster, up_fabric=f"{server.scale_up_link}-host")
    return cluster


def _default_network(server: Server) -> tuple[float, str]:
    """Gbit/s of a server's cards together and the fabric's name, where a row does not say."""
    if not server.nics:
        return 100.0, "infiniband-edr"
    gbit = server.nics * hardware.link(server.nic_link).bandwidth_byte_per_s * 8e-9
    for pattern, fabric in _FABRIC_OF_CARD:
        if match := re.match(pattern, server.nic_link):
            return _FEWER_CARDS.get(server.chip, gbit), fabric or match[0]
    return _FEWER_CARDS.get(server.chip, gbit), server.nic_link


def _network(server: Server, count: int, words: str, inside: str) -> tuple[float, str]:
    """Gbit/s of a server's cards together and the fabric's name, from a row's words."""
    gbit, default_fabric = _default_network(server)
    if server.chip.startswith("gaudi") and "Mellanox" in words:
        # Gaudi cards carry their own ports; the host's cards serve storage.
        return gbit, default_fabric
    if match := re.search(r"(\d)x (?:BF3 )?(?:NVIDIA |NDR |Quantum-2 )*(?:ConnectX-7|CX7|NVIDIA Quantum-2)", words):
        gbit = 400.0 * float(match[1])
    elif match := re.search(r"(\d)x ConnectX-8", words):
        gbit = 800.0 * float(match[1])
    elif match := re.search(r"(\d)x ConnectX-6", words.split("Compute:")[-1]):
        gbit = 200.0 * float(match[1])
    elif match := re.search(_CARDS_TIMES_RATE, words):
        cards, rate = (float(number) for number in match.groups() if number)
        gbit = cards * rate
    elif match := re.search(r"(\d+)x(\d+) GbE RoCE per chip", words):
        gbit = float(match[1]) * float(match[2]) * count
    elif match := re.search(r"EFA (\d+)(?:/\d+)? Gb/s", words):
        gbit = float(match[1])
    elif match := re.search(r"(\d+) Gb/s per GPU", words):
        gbit = float(match[1]) * count
    elif match := re.search(r"(\d+) Gb/s per node", words):
        gbit = float(match[1])
    elif match := re.search(r"RoCE (\d) Tb/s", words):
        gbit = float(match[1]) * 1000
    elif match := re.search(r"^(\d+)Gb(?:E|IB) with", words) or re.search(r"^(\d+) Gb/s RoCE", words):
        gbit = float(match[1])
    elif match := re.search(r"(\d+) ?Gb/s Ethernet|Ethernet (\d+) ?Gb", words):
        gbit = float(match[1] or match[2])
    elif match := re.search(r"InfiniBand (\d+) Gb/s|1 x mlx5", words):
        gbit = float(match[1] or 100)
    elif match := re.search(r"RDMA (\d+) Gb/s measured", words):
        gbit = float(match[1])
    elif match := re.search(r"EDR x2", words):
        gbit = 200.0
    if "p3.16xlarge" in words + inside or re.search(r"horovod issue|aws-samples/deep|DAWNBench|imagenet18", words):
        gbit, default_fabric = 25.0, "ethernet-cloud"
    if re.search(r"p2\.\d*xlarge|e-bug", words):
        gbit, default_fabric = {16: 20.0, 8: 10.0}.get(count, 1.25), "ethernet-cloud"
    for pattern, fabric in (
        ("^10GbE with TCP", "ethernet-tcp-10g"), ("^100GbE with TCP", "ethernet-tcp-100g"),
        ("^100GbIB with RDMA", "infiniband-edr"), ("EFA", "efa"), ("GbE RoCE|RoCE|RDMA|ROCE", "roce"),
        ("Omni-Path", "omni-path"), ("Slingshot", "slingshot"), ("HDR", "infiniband-hdr"),
        ("EDR|mlx5", "infiniband-edr"), ("XDR", "infiniband-xdr"),
        ("ConnectX-7|CX7|NDR|400 Gb/s per node .DGX", "infiniband-ndr"), ("Ethernet", "ethernet-cloud"),
    ):  # fmt: skip
        if re.search(pattern, words):
            return gbit, fabric
    return gbit, default_fabric
