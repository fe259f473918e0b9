"""The machines that measured runs name in words: which server, which wires between servers."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from typing import Final

import hwmodels.catalog as hardware

from ..cluster import Cluster, build_cluster

_SERVER_OF_CHIP: Final = {
    "k80-gk210": "p2.16xlarge", "p100-sxm2": "dgx1-p100", "p100-pcie-16gb": "pcie-p100",
    "v100-sxm2-16gb": "dgx1-v100-16gb", "v100-sxm2-32gb": "dgx1-v100", "a100-sxm4-40gb": "dgx-a100-40gb",
    "a100-sxm4-80gb": "dgx-a100", "h100-sxm5": "dgx-h100", "nvidia-h100-96gb-hbm2e": "dgx-h100",
    "tpu-v2": "tpu-v2-8", "tpu-v3": "tpu-v3-8",
}  # fmt: skip

#: Where a row does not name its network: Gbit/s of all cards of a server, and the fabric, by chip.
_DEFAULT_NETWORK: Final = {
    "k80-gk210": (20.0, "ethernet-cloud"), "p100-sxm2": (100.0, "infiniband-edr"),
    "p100-pcie-16gb": (100.0, "infiniband-edr"),
    "v100-sxm2-16gb": (100.0, "infiniband-edr"), "v100-sxm2-32gb": (400.0, "infiniband-edr"),
    "a100-sxm4-40gb": (1600.0, "infiniband-hdr"), "a100-sxm4-80gb": (1600.0, "infiniband-hdr"),
    "h100-sxm5": (3200.0, "infiniband-ndr"), "nvidia-h100-96gb-hbm2e": (3200.0, "roce"),
}  # fmt: skip


@cache
def cluster_for(*, chip: str, chips_per_server: int, chips: int, inside: str, outside: str, source: str) -> Cluster:
    """The cluster a row's words describe."""
    server = replace(hardware.server(_SERVER_OF_CHIP[chip]), chip=chip)
    count = chips_per_server or min(server.chips, max(chips, 1))
    if chip.startswith("v100") and (count == 16 or count == 4):
        # DGX-2 (all pairs through switches) and servers of four fully wired chips: all six links reach every neighbour.
        server = replace(server, scale_up="fully_connected", cube_mesh_links=(), chips=count)
    if chip.startswith("a100") and "PCIe" in inside:
        server = replace(server, scale_up="pcie_tree", scale_up_link="pcie4-x16", scale_up_links_per_chip=1)
    gbit, fabric = _network(chip, count, outside or f" {source}", inside)
    if chip.startswith("tpu"):
        cluster = build_cluster(
            id="tpu", name="TPU slice", server=replace(server, scale_up="torus"), servers=1024, out_fabric="ici",
            network="torus",
            out_byte_per_s=4.0 * hardware.link(server.scale_up_link).bandwidth_byte_per_s * max(1, server.chips // 2),
        )  # fmt: skip
        return cluster
    return build_cluster(
        id=f"{chip} x {count}", name="as the row describes", server=server, servers=100_000,
        out_byte_per_s=gbit * 1e9 / 8, out_fabric=fabric, chips_per_server=count,
    )  # fmt: skip


def _network(chip: str, count: int, words: str, inside: str) -> tuple[float, str]:
    """Gbit/s of a server's cards together and the fabric's name, from a row's words."""
    default_gbit, default_fabric = _DEFAULT_NETWORK.get(chip, (100.0, "infiniband-edr"))
    gbit = default_gbit
    if match := re.search(r"(\d)x (?:BF3 )?(?:NVIDIA |NDR |Quantum-2 )*(?:ConnectX-7|CX7|NVIDIA Quantum-2)", words):
        gbit = 400.0 * float(match[1])
    elif match := re.search(r"(\d)x ConnectX-6", words.split("Compute:")[-1]):
        gbit = 200.0 * float(match[1])
    elif match := re.search(r"(\d+)x [^0-9]*(?:ConnectX-\d|CX\d)?[^0-9]*(\d+) ?Gb/s per node", words):
        gbit = float(match[1]) * float(match[2])
    elif match := re.search(r"(\d+) Gb/s per GPU", words):
        gbit = float(match[1]) * count
    elif match := re.search(r"(\d+) Gb/s per node", words):
        gbit = float(match[1])
    elif match := re.search(r"RoCE (\d) Tb/s", words):
        gbit = float(match[1]) * 1000
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
        ("EFA", "efa"), ("RoCE|RDMA|ROCE", "roce"), ("Omni-Path", "omni-path"), ("HDR", "infiniband-hdr"),
        ("EDR|mlx5", "infiniband-edr"),
        ("ConnectX-7|CX7|NDR|400 Gb/s per node .DGX", "infiniband-ndr"), ("Ethernet", "ethernet-cloud"),
    ):  # fmt: skip
        if re.search(pattern, words):
            return gbit, fabric
    return gbit, default_fabric
