"""Names find the right variant, or an error that says which there are."""

import subprocess
import sys

import pytest

from hwmodels import catalog
from hwmodels.catalog import CatalogError


def test_chip_is_found_by_its_id_and_read_once() -> None:
    assert catalog.chip("h100-sxm5").id == "h100-sxm5"
    assert catalog.chip("h100-sxm5") is catalog.chip("h100-sxm5")


@pytest.mark.parametrize(("alias", "id"), [("gh200", "gh200-96gb"), ("k80", "k80-gk210"), ("v100-sxm2-16gb",) * 2])
def test_start_of_one_id_is_enough(alias: str, id: str) -> None:
    assert catalog.chip(alias).id == id


@pytest.mark.parametrize("alias", ["v100", "V100", "a100", "a100-sxm4", "h100", "p100", "tpu"])
def test_alias_of_several_chips_is_refused_naming_them(alias: str) -> None:
    with pytest.raises(CatalogError) as refusal:
        catalog.chip(alias)
    assert str(refusal.value).endswith("; name the variant.")
    for chip in catalog.match_chips(alias):
        assert repr(chip.id) in str(refusal.value)


def test_unknown_chip_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        CatalogError, match=r"no chip 'v1000' in the catalogue\. Did you mean 'v100-\w+-\d+gb'\? Known: "
    ):
        catalog.chip("v1000")


@pytest.mark.parametrize("name", ["", "../chips/h100-sxm5", "h100-sxm5.toml", "x" * 10**5, "\0", "v10", "100"])
def test_strange_name_is_refused(name: str) -> None:
    with pytest.raises(CatalogError) as refusal:
        catalog.chip(name)
    assert len(str(refusal.value)) < 1000


def test_unknown_link_is_refused_with_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"no link 'nvlink9' in the catalogue\. Did you mean 'nvlink\d'\?"):
        catalog.link("nvlink9")


def test_unknown_server_is_refused_with_the_nearest() -> None:
    with pytest.raises(CatalogError, match=r"no server 'dgxh100' in the catalogue\. Did you mean 'dgx-h100'\?"):
        catalog.server("dgxh100")


def test_prices_of_an_unknown_item_are_refused() -> None:
    with pytest.raises(CatalogError, match="no chip or server 'v100-sxm2'"):
        catalog.prices("v100-sxm2")


def test_match_shows_every_variant() -> None:
    assert [chip.id for chip in catalog.match_chips("V100-SXM2")] == ["v100-sxm2-16gb", "v100-sxm2-32gb"]
    ids = ["a100-pcie-40gb", "a100-pcie-80gb", "a100-sxm4-40gb", "a100-sxm4-80gb"]
    assert [chip.id for chip in catalog.match_chips("A100")] == ids
    assert catalog.match_chips("v1") == ()
    assert len(catalog.match_chips("")) == len(catalog.chip_ids())


@pytest.mark.parametrize(
    ("spelling", "memory_gb", "link", "ids"),
    [
        ("A100", None, "", ("a100-pcie-40gb", "a100-pcie-80gb", "a100-sxm4-40gb", "a100-sxm4-80gb")),
        ("A100", 80.0, "", ("a100-pcie-80gb", "a100-sxm4-80gb")),
        ("A100", 40.0, "NVLink3/NVSwitch", ("a100-sxm4-40gb",)),
        ("A100", 80.0, "PCIe 4.0", ("a100-pcie-80gb",)),
        ("A100-SXM4", None, "NVLink3", ("a100-sxm4-40gb", "a100-sxm4-80gb")),
        ("A100-SXM4", 80.0, "PCIe 4.0", ("a100-sxm4-80gb",)),
        ("NVIDIA A100-SXM4-40GB", None, "", ("a100-sxm4-40gb",)),
        ("NVIDIA A100 80GB PCIe", None, "", ("a100-pcie-80gb",)),
        ("A100 SXM4 80GB", None, "", ("a100-sxm4-80gb",)),
        ("A100-PCIe", 80.0, "NVLINK BRIDGE", ("a100-pcie-80gb",)),
        ("A800", 80.0, "NVLink3 (A800)", ("a800-sxm4-80gb",)),
        ("K80", None, "PCIe", ("k80-gk210",)),
        ("K80 (one GK210 die)", 12.0, "", ("k80-gk210",)),
        ("K520 (GRID)", None, "PCIe", ("k520-gk104",)),
        ("K20 (K20X on Titan, recalled)", None, "", ("k20x",)),
        ("M60", 8.0, "", ("m60-gm204",)),
        ("P100", None, "", ("p100-pcie-16gb", "p100-sxm2")),
        ("P100", None, "PCIe", ("p100-pcie-16gb",)),
        ("P100", 16.0, "NVLink (Big Basin)", ("p100-sxm2",)),
        ("P100 PCIe 16GB", None, "", ("p100-pcie-16gb",)),
        ("P100-SXM2", 16.0, "NVLink1 hybrid cube mesh (DGX-1)", ("p100-sxm2",)),
        ("Titan X (Maxwell)", 12.0, "PCIe3 x16 to host", ("titan-x-maxwell",)),
        ("Titan X (Pascal)", None, "", ("titan-x-pascal",)),
        ("Titan X", None, "", ()),
        ("Titan X (Pascal) / 1080 Ti", None, "", ("gtx-1080-ti", "titan-x-pascal")),
        ("V100", 16.0, "NVLink2 hybrid cube mesh", ("v100-sxm2-16gb",)),
        ("V100", 32.0, "NVLink2", ("v100-sxm2-32gb", "v100-sxm3-32gb")),
        ("V100", 32.0, "NVLink2/NVSwitch 300 GB/s", ("v100-sxm3-32gb",)),
        ("V100", None, "PCIe switches (4 GPUs per switch)", ("v100-pcie-16gb", "v100-pcie-32gb")),
        ("V100 PCIe", None, "", ("v100-pcie-16gb", "v100-pcie-32gb")),
        ("Tesla V100-PCIE-32GB", None, "", ("v100-pcie-32gb",)),
        ("V100 SXM2 16GB", None, "", ("v100-sxm2-16gb",)),
        ("V100-32GB", 32.0, "", ("v100-pcie-32gb", "v100-sxm2-32gb", "v100-sxm3-32gb")),
        ("V100-SXM3", 32.0, "NVLink2+NVSwitch (DGX-2)", ("v100-sxm3-32gb",)),
        ("V100-SXM3 (DGX-2H)", 32.0, "", ("v100-sxm3-32gb-450w",)),
        ("RTX2080Ti", None, "", ("rtx-2080-ti",)),
        ("RTX 2080 Ti", 12.0, "", ()),
        ("RTX 2080", None, "", ("rtx-2080",)),
        ("RTX 2080 with Max-Q Design", 8.0, "", ("rtx-2080-max-q",)),
        ("NVIDIA GeForce RTX 3090", 24.0, "PCIe", ("rtx-3090",)),
        ("RTX 3080 Laptop GPU", 16.0, "", ("rtx-3080-laptop",)),
        ("A6000", None, "", ("rtx-a6000",)),
        ("RTX 6000 Ada", 48.0, "PCIe", ("rtx-6000-ada",)),
        ("RTX 6000", None, "", ()),
        ("H100", 80.0, "NVLink4/NVSwitch", ("h100-sxm5",)),
        ("H100", 80.0, "", ("h100-pcie", "h100-sxm5")),
        ("H100", 96.0, "", ("nvidia-h100-96gb-hbm2e",)),
        ("H100 SXM5 80GB", None, "", ("h100-sxm5",)),
        ("H100-PCIe", 80.0, "PCIe Gen5", ("h100-pcie",)),
        ("NVIDIA H100 80GB HBM3", None, "", ("h100-sxm5",)),
        ("H100/H200-SXM", None, "", ("h100-sxm5", "h200-sxm5")),
        ("H200", 141.0, "NVLink4/NVSwitch", ("h200-sxm5",)),
        ("GH200", 96.0, "", ("gh200-96gb",)),
        ("GH200 (96GB HBM3)", None, "", ("gh200-96gb",)),
        ("GH200", 144.0, "", ()),
        ("B200", 180.0, "NVLink5/NVSwitch", ("b200-sxm",)),
        ("B200", 192.0, "", ("b200-sxm",)),
        ("B300", 288.0, "NVLink5/NVSwitch", ("b300-sxm",)),
        ("GB200 (per GPU)", None, "", ("gb200",)),
        ("TPU v2", None, "", ("tpu-v2",)),
        ("TPUv3", 32.0, "ICI 2D torus", ("tpu-v3",)),
        ("TPU v4", 32.0, "", ("tpu-v4",)),
        ("Graphcore Bow IPU", 32.0, "IPULINK", ("bow",)),
        ("AMD Instinct MI100", None, "", ("mi100",)),
        ("Pascal (not named)", None, "", ()),
        ("one modern GPU", None, "", ()),
        ("GPU", None, "", ()),
        ("CPU core", None, "", ()),
        ("", None, "", ()),
        ("   ", None, "", ()),
    ],
)
def test_spelling_in_a_table_resolves_to_its_variants(
    spelling: str, memory_gb: float | None, link: str, ids: tuple[str, ...]
) -> None:
    assert catalog.resolve_chip(spelling, memory_gb=memory_gb, link=link) == ids


@pytest.mark.parametrize("id", catalog.chip_ids())
def test_chip_resolves_from_its_own_id_and_spellings(id: str) -> None:
    chip = catalog.chip(id)
    for spelling in (id, *chip.measured_as):
        assert id in catalog.resolve_chip(spelling, memory_gb=chip.memory_byte / 2**30)


@pytest.mark.parametrize("id", catalog.chip_ids())
def test_no_other_chip_answers_to_the_id_of_a_chip(id: str) -> None:
    assert catalog.resolve_chip(id) == (id,)


def test_a_name_that_very_many_chips_start_with_shows_some_of_them() -> None:
    with pytest.raises(CatalogError, match=r" or another of \d+; name the variant\.$"):
        catalog.chip("rtx")


def test_importing_the_catalogue_loads_nothing_heavy_and_reads_no_file() -> None:
    code = (
        "import sys, hwmodels, hwmodels.catalog as c;"
        "print(sorted({'numpy', 'networkx', 'pydantic', 'scipy', 'plotly'} & set(sys.modules)));"
        "print(c._chip_at.cache_info().currsize)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "0"]
