"""Every published system of the fact tables is in the catalogue under its published name, as large as it was built."""

from __future__ import annotations

import pytest

from simulator.cluster import Cluster, UnknownSystemError, system, system_ids

#: Published name, chip, chips in one server, chips of the whole machine (None: rented or bought by the server).
PUBLISHED: tuple[tuple[str, str, int, int | None], ...] = (
    ("DGX-1 (P100)", "p100-sxm2", 8, None),
    ("DGX-1 (V100)", "v100-sxm2-32gb", 8, None),
    ("DGX-2", "v100-sxm3-32gb", 16, None),
    ("DGX A100", "a100-sxm4-80gb", 8, None),
    ("DGX H100", "h100-sxm5", 8, None),
    ("DGX B200", "b200-sxm", 8, None),
    ("DGX B300", "b300-sxm", 8, None),
    ("GB200 NVL72", "gb200", 72, None),
    ("Facebook Big Basin cluster (ImageNet in 1 hour)", "p100-sxm2", 8, 256),
    ("Summit", "v100-sxm2-16gb", 6, 27648),
    ("Sierra", "v100-sxm2-16gb", 4, 17280),
    ("Titan (Cray XK7)", "k20x", 1, 18688),
    ("Blue Waters XK partition", "k20x", 1, 4228),
    ("Piz Daint (XC50 hybrid)", "p100-pcie-16gb", 1, 5320),
    ("Cori KNL (XC40)", "xeon-phi-7250", 1, 9688),
    ("Theta (XC40)", "xeon-phi-7230", 1, 4392),
    ("Stampede2 KNL", "xeon-phi-7250", 1, 4200),
    ("Frontier", "mi250x", 4, 37632),
    ("Perlmutter GPU", "a100-sxm4-40gb", 4, 7168),
    ("Polaris", "a100-sxm4-40gb", 4, 2240),
    ("Aurora", "max-1550", 6, 63744),
    ("JUWELS Booster", "a100-sxm4-40gb", 4, 3744),
    ("ABCI 1.0", "v100-sxm2-16gb", 4, 4352),
    ("Tencent ImageNet cluster", "p40", 8, 2048),
    ("Preferred Networks MN-1", "p100-pcie-16gb", 8, 1024),
    ("Selene", "a100-sxm4-80gb", 8, 4480),
    ("Eos", "h100-sxm5", 8, 4608),
    ("Meta RSC", "a100-sxm4-80gb", 8, 16000),
    ("Meta 24k H100 RoCE cluster", "h100-sxm5", 8, 24576),
    ("Meta 24k H100 InfiniBand cluster", "h100-sxm5", 8, 24576),
    ("CoreWeave GB200 20 racks", "gb200", 72, 1440),
    ("TPU v2 pod", "tpu-v2", 4, 256),
    ("TPU v3 pod", "tpu-v3", 4, 1024),
    ("TPU v4 pod", "tpu-v4", 4, 4096),
    ("TPU v5e pod", "tpu-v5e", 8, 256),
    ("TPU v5p pod", "tpu-v5p", 4, 8960),
    ("TPU v6e pod", "tpu-v6e", 8, 256),
    ("TPU v7 pod", "tpu-v7", 4, 9216),
    ("IPU-POD16", "gc200", 4, 16),
    ("IPU-POD64", "gc200", 4, 64),
    ("Bow Pod256", "bow", 4, 256),
    ("Cerebras CS-2", "wse-2", 1, None),
    ("Andromeda", "wse-2", 1, 16),
    ("Condor Galaxy 1", "wse-2", 1, 64),
    ("Condor Galaxy 3", "wse-3", 1, 64),
    ("AWS p2.16xlarge", "k80-gk210", 16, None),
    ("AWS p3.16xlarge", "v100-sxm2-16gb", 8, None),
    ("AWS p3dn.24xlarge", "v100-sxm2-32gb", 8, None),
    ("AWS p4d.24xlarge", "a100-sxm4-40gb", 8, None),
    ("AWS p5.48xlarge", "h100-sxm5", 8, None),
    ("AWS p5en.48xlarge", "h200-sxm5", 8, None),
    ("AWS p6-b200.48xlarge", "b200-sxm", 8, None),
    ("AWS trn1.32xlarge", "trainium-1", 16, None),
    ("AWS trn2.48xlarge", "trainium-2", 16, None),
    ("GCP A3 High", "h100-sxm5", 8, None),
    ("GCP A3 Mega", "h100-sxm5", 8, None),
    ("OCI BM.GPU4.8", "a100-sxm4-40gb", 8, None),
    ("OCI BM.GPU.MI300X.8", "mi300x", 8, None),
    ("MI300X platform node", "mi300x", 8, None),
    ("Gaudi 2 node (HLS-Gaudi2)", "gaudi-2", 8, None),
    ("Gaudi 3 node", "gaudi-3", 8, None),
    ("DeepBench 8x TitanX/M40/P100 node", "p100-pcie-16gb", 8, None),
    ("DeepBench 10-GPU node", "titan-x-pascal", 10, 10),
    ("DeepBench KNL cluster", "xeon-phi-7250", 1, 32),
)
#: Published, but of a chip that the catalogue does not hold yet.
CHIP_MISSING = ("Aurora",)
PRESENT = [row for row in PUBLISHED if row[0] not in CHIP_MISSING]

#: Network of one server, one way [GB/s], as published.
INJECTION = {
    "Facebook Big Basin cluster (ImageNet in 1 hour)": 6.25, "Summit": 25, "Sierra": 25, "Titan (Cray XK7)": 8.3,
    "Piz Daint (XC50 hybrid)": 10, "Cori KNL (XC40)": 10, "Theta (XC40)": 10, "Stampede2 KNL": 12.5, "Frontier": 100,
    "Perlmutter GPU": 100, "Polaris": 50, "JUWELS Booster": 100, "ABCI 1.0": 25, "Tencent ImageNet cluster": 12.5,
    "Preferred Networks MN-1": 13.6, "Selene": 200, "Eos": 400, "Meta RSC": 200, "Meta 24k H100 RoCE cluster": 400,
    "Meta 24k H100 InfiniBand cluster": 400, "CoreWeave GB200 20 racks": 3600, "IPU-POD16": 25, "Bow Pod256": 25,
    "Andromeda": 150, "Condor Galaxy 3": 150, "AWS p3.16xlarge": 3.125, "AWS p3dn.24xlarge": 12.5,
    "AWS p4d.24xlarge": 50, "AWS p5.48xlarge": 400, "AWS p5en.48xlarge": 400, "AWS p6-b200.48xlarge": 400,
    "AWS trn1.32xlarge": 100, "AWS trn2.48xlarge": 400, "GCP A3 High": 100, "GCP A3 Mega": 200, "OCI BM.GPU4.8": 200,
    "OCI BM.GPU.MI300X.8": 400, "MI300X platform node": 400, "Gaudi 2 node (HLS-Gaudi2)": 300, "Gaudi 3 node": 600,
    "DeepBench 8x TitanX/M40/P100 node": 6.8, "DeepBench KNL cluster": 12.5, "DGX-2": 100, "DGX B200": 400,
    "DGX B300": 800,
}  # fmt: skip

#: Rate of one chip into its own server, one way [GB/s], as published.
INSIDE = {
    "DGX-1 (P100)": 80, "DGX-1 (V100)": 150, "DGX-2": 150, "DGX A100": 300, "DGX H100": 450, "DGX B200": 900,
    "GB200 NVL72": 900, "Summit": 100, "Sierra": 75, "Frontier": 350, "Perlmutter GPU": 300, "Polaris": 300,
    "JUWELS Booster": 300, "ABCI 1.0": 150, "TPU v2 pod": 248, "TPU v3 pod": 400, "TPU v4 pod": 270,
    "TPU v5e pod": 180, "TPU v5p pod": 540, "TPU v6e pod": 360, "TPU v7 pod": 600, "IPU-POD64": 160,
    "AWS trn1.32xlarge": 192, "AWS trn2.48xlarge": 640, "MI300X platform node": 448, "Gaudi 2 node (HLS-Gaudi2)": 262.5,
    "Gaudi 3 node": 525,
}  # fmt: skip


def test_the_list_is_whole() -> None:
    assert len(PUBLISHED) == len({name for name, *_ in PUBLISHED}) == 64


@pytest.mark.parametrize(("name", "chip", "per_server", "total"), PRESENT, ids=[row[0] for row in PRESENT])
def test_a_published_system_is_in_the_catalogue(name: str, chip: str, per_server: int, total: int | None) -> None:
    cluster = system(name).cluster
    assert isinstance(cluster, Cluster)
    assert cluster.chip.id == chip
    assert cluster.chips_per_server == per_server
    if total is not None:
        assert cluster.max_chips == total
    else:
        assert cluster.max_servers > 1


@pytest.mark.parametrize("name", CHIP_MISSING)
def test_a_system_whose_chip_is_missing_leaves_this_list_when_it_ships(name: str) -> None:
    with pytest.raises(LookupError):
        system(name)


@pytest.mark.parametrize("name", INJECTION)
def test_a_server_sends_what_is_published(name: str) -> None:
    cluster = system(name).cluster
    assert cluster.out_byte_per_s == pytest.approx(INJECTION[name] * 1e9, rel=0.005)


@pytest.mark.parametrize("name", INSIDE)
def test_a_chip_has_the_links_that_are_published(name: str) -> None:
    assert system(name).cluster.up_byte_per_s[0] == pytest.approx(INSIDE[name] * 1e9, rel=1e-9)


@pytest.mark.parametrize("name", system_ids())
def test_a_group_is_never_faster_than_its_chips(name: str) -> None:
    rates = system(name).cluster.up_byte_per_s
    assert all(0.0 <= rate <= rates[0] for rate in rates)
    assert (rates[0] > 0) or system(name).cluster.chips_per_server == 1


def test_names_are_known_in_capitals_or_not_and_published_ones_are_suggested() -> None:
    assert system("SUMMIT") == system("summit") == system("OLCF-Summit")
    with pytest.raises(UnknownSystemError, match=r"Did you mean 'juwels-booster'\?"):
        system("JUWELS Boster")
    with pytest.raises(UnknownSystemError, match=r"Did you mean 'Facebook Big Basin cluster"):
        system("Facebook Big Basin")


def test_a_system_is_called_by_its_file_and_read_without_the_others() -> None:
    from simulator import cluster

    cluster._system_at.cache_clear()
    assert system("summit").cluster.id == "summit"
    assert cluster._system_at.cache_info().currsize == 1
