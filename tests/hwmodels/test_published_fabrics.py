"""Every published fabric of the fact tables is a link of the catalogue, at its published rate."""

from __future__ import annotations

import pytest

from hwmodels import catalog

#: Published name, link, how many of it make the published rate of one link or chip, that rate one way [GB/s].
PUBLISHED: tuple[tuple[str, str, int, float], ...] = (
    ("NVLink 1", "nvlink1", 4, 80), ("NVLink 2", "nvlink2", 6, 150), ("NVLink 3", "nvlink3", 12, 300),
    ("NVLink 4", "nvlink4", 18, 450), ("NVLink 5", "nvlink5", 18, 900), ("NVLink 6", "nvlink6", 36, 1800),
    ("NVLink-C2C", "nvlink-c2c", 1, 450), ("PCIe 3.0 x16", "pcie3-x16", 1, 15.75),
    ("PCIe 4.0 x16", "pcie4-x16", 1, 31.5), ("PCIe 5.0 x16", "pcie5-x16", 1, 63), ("PCIe 6.0 x16", "pcie6-x16", 1, 121),
    ("QPI 9.6 GT/s", "qpi-9.6", 2, 38.4), ("UPI 10.4 GT/s", "upi-10.4", 3, 62.4), ("UPI 16 GT/s", "upi-16", 4, 96),
    ("AMD inter-socket Infinity Fabric", "xgmi-socket", 1, 16), ("Power9 SMP (X-bus)", "x-bus", 1, 64),
    ("InfiniBand FDR 4x", "infiniband-fdr", 1, 6.8), ("InfiniBand EDR 4x", "infiniband-edr-100g", 1, 12.5),
    ("InfiniBand HDR 4x", "infiniband-hdr-200g", 1, 25), ("InfiniBand NDR 4x", "infiniband-ndr-400g", 1, 50),
    ("InfiniBand XDR 4x", "infiniband-xdr-800g", 1, 100), ("10G Ethernet TCP", "ethernet-10g", 1, 1.25),
    ("25G Ethernet RoCE", "ethernet-25g", 1, 3.125), ("40G Ethernet RoCE", "ethernet-40g", 1, 5),
    ("50G Ethernet RoCE (Big Basin)", "ethernet-50g", 1, 6.25), ("100G Ethernet RoCE", "ethernet-100g", 1, 12.5),
    ("200G Ethernet RoCE", "ethernet-200g", 1, 25), ("400G Ethernet RoCE", "ethernet-400g", 1, 50),
    ("800G Ethernet RoCE", "ethernet-800g", 1, 100), ("Omni-Path 100", "omni-path-100g", 1, 12.5),
    ("Omni-Path 400 (CN5000)", "omni-path-400g", 1, 50), ("Cray Gemini", "gemini", 1, 8.3),
    ("Cray Aries", "aries-local", 1, 5.25), ("Slingshot 10", "slingshot-10-100g", 1, 12.5),
    ("Slingshot 11", "slingshot-11-200g", 1, 25), ("TPU ICI v2", "tpu-ici-v2", 4, 248),
    ("TPU ICI v3", "tpu-ici-v3", 4, 400), ("TPU ICI v4", "tpu-ici-v4", 6, 270), ("TPU ICI v5e", "tpu-ici-v5e", 4, 180),
    ("TPU ICI v5p", "tpu-ici-v5p", 6, 540), ("TPU ICI v6e", "tpu-ici-v6e", 4, 360),
    ("TPU ICI v7", "tpu-ici-v7", 6, 600),
    ("TPU DCN", "tpu-dcn", 1, 25), ("Graphcore IPU-Link", "ipu-link", 5, 160),
    ("Graphcore GW-Link", "gw-link", 1, 12.5), ("Cerebras SwarmX", "swarmx", 12, 150),
    ("Cerebras on-wafer fabric", "wafer-fabric-2", 8 * 850_000, 27.5e6),
    ("Cerebras on-wafer fabric (WSE-3)", "wafer-fabric-3", 8 * 900_000, 26.75e6),
    ("AMD Infinity Fabric (MI250X)", "xgmi2", 7, 350), ("AMD Infinity Fabric (MI300X)", "xgmi3", 7, 448),
    ("AMD Infinity Fabric (MI355X)", "xgmi4", 7, 535.5), ("AWS EFA v1 (p4d)", "efa-100g", 4, 50),
    ("AWS EFA v2 (p5)", "efa-100g", 32, 400), ("AWS EFA v3 (p5en/trn2)", "efa-200g", 16, 400),
    ("AWS EFA v4 (p6-b200)", "efa-400g", 8, 400), ("GCP A3 High TCPX", "tcpx-200g", 4, 100),
    ("GCP A3 Mega TCPXO", "tcpxo-200g", 8, 200), ("AWS NeuronLink v2 (Trn1)", "neuronlink-v2", 4, 192),
    ("AWS NeuronLink v3 (Trn2)", "neuronlink-v3", 4, 640), ("Gaudi 2 RoCE", "gaudi2-roce", 24, 300),
    ("Gaudi 3 RoCE", "gaudi3-roce", 24, 600), ("Huawei HCCS (910)", "hccs", 3, 90),
)  # fmt: skip
#: Switch chips are counts of a server, not links: published name, server, switch chips.
SWITCHES: tuple[tuple[str, str, int], ...] = (
    ("NVSwitch 1", "dgx-2", 12), ("NVSwitch 2", "dgx-a100", 6), ("NVSwitch 3", "dgx-h100", 4),
    ("NVSwitch 4", "gb200-nvl72", 18),
)  # fmt: skip


def test_the_list_is_whole() -> None:
    assert len({name for name, *_ in (*PUBLISHED, *SWITCHES)}) == 66


@pytest.mark.parametrize(("name", "link", "count", "gb_per_s"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_a_published_fabric_is_a_link_of_the_catalogue(name: str, link: str, count: int, gb_per_s: float) -> None:
    # Rates are printed to two or three digits.
    assert count * catalog.link(link).bandwidth_byte_per_s == pytest.approx(gb_per_s * 1e9, rel=3e-3)


@pytest.mark.parametrize(("name", "server", "count"), SWITCHES, ids=[row[0] for row in SWITCHES])
def test_a_published_switch_is_counted_in_its_server(name: str, server: str, count: int) -> None:
    assert catalog.server(server).switches == count
