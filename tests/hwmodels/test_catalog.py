"""Names find the right variant, or an error that says which there are."""

import subprocess
import sys

import pytest

from hwmodels import catalog
from hwmodels.catalog import CatalogError


def test_chip_is_found_by_its_id_and_read_once() -> None:
    assert catalog.chip("h100-sxm5").id == "h100-sxm5"
    assert catalog.chip("h100-sxm5") is catalog.chip("h100-sxm5")


@pytest.mark.parametrize(("alias", "id"), [("h100", "h100-sxm5"), ("k80", "k80-gk210"), ("v100-sxm2-16gb",) * 2])
def test_start_of_one_id_is_enough(alias: str, id: str) -> None:
    assert catalog.chip(alias).id == id


@pytest.mark.parametrize("alias", ["v100", "V100", "a100", "a100-sxm4", "p100", "tpu"])
def test_alias_of_several_chips_is_refused_naming_them(alias: str) -> None:
    with pytest.raises(CatalogError) as refusal:
        catalog.chip(alias)
    assert str(refusal.value).endswith("; name the variant.")
    for chip in catalog.match_chips(alias):
        assert repr(chip.id) in str(refusal.value)


def test_unknown_chip_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        CatalogError, match=r"no chip 'v1000' in the catalogue\. Did you mean 'v100-sxm2-16gb'\? Known: "
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
    assert [chip.id for chip in catalog.match_chips("v100")] == ["v100-sxm2-16gb", "v100-sxm2-32gb"]
    assert [chip.id for chip in catalog.match_chips("A100")] == ["a100-sxm4-40gb", "a100-sxm4-80gb"]
    assert catalog.match_chips("v1") == ()
    assert len(catalog.match_chips("")) == len(catalog.chip_ids())


@pytest.mark.parametrize(
    ("spelling", "memory_gb", "link", "ids"),
    [
        ("A100", None, "", ("a100-sxm4-40gb", "a100-sxm4-80gb")),
        ("A100", 80.0, "", ("a100-sxm4-80gb",)),
        ("A100", 40.0, "NVLink3/NVSwitch", ("a100-sxm4-40gb",)),
        ("A100-SXM4", None, "NVLink3", ("a100-sxm4-40gb", "a100-sxm4-80gb")),
        ("NVIDIA A100-SXM4-40GB", None, "", ("a100-sxm4-40gb",)),
        ("A100 SXM4 80GB", None, "", ("a100-sxm4-80gb",)),
        ("A100-PCIe", 80.0, "NVLINK BRIDGE", ()),
        ("A800", 80.0, "", ()),
        ("K80", None, "PCIe", ("k80-gk210",)),
        ("K80 (one GK210 die)", 12.0, "", ("k80-gk210",)),
        ("P100", None, "", ("p100-pcie-16gb", "p100-sxm2")),
        ("P100", None, "PCIe", ("p100-pcie-16gb",)),
        ("P100", 16.0, "NVLink (Big Basin)", ("p100-sxm2",)),
        ("P100 PCIe 16GB", None, "", ("p100-pcie-16gb",)),
        ("P100-SXM2", 16.0, "NVLink1 hybrid cube mesh (DGX-1)", ("p100-sxm2",)),
        ("V100", None, "", ("v100-sxm2-16gb", "v100-sxm2-32gb")),
        ("V100", 32.0, "NVLink2", ("v100-sxm2-32gb",)),
        ("V100", None, "PCIe switches (4 GPUs per switch)", ()),
        ("V100 SXM2 16GB", None, "", ("v100-sxm2-16gb",)),
        ("V100-32GB", 32.0, "", ("v100-sxm2-32gb",)),
        ("V100-SXM3", 32.0, "", ()),
        ("H100", 80.0, "NVLink4/NVSwitch", ("h100-sxm5",)),
        ("H100", 96.0, "", ("nvidia-h100-96gb-hbm2e",)),
        ("H100 SXM5 80GB", None, "", ("h100-sxm5",)),
        ("NVIDIA H100 80GB HBM3", None, "", ("h100-sxm5",)),
        ("H200", 141.0, "", ()),
        ("TPU v2", None, "", ("tpu-v2",)),
        ("TPUv3", 32.0, "ICI 2D torus", ("tpu-v3",)),
        ("TPU v4", 32.0, "", ()),
        ("", None, "", ()),
        ("   ", None, "", ()),
        ("RTX 3090", 24.0, "", ()),
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


def test_importing_the_catalogue_loads_nothing_heavy_and_reads_no_file() -> None:
    code = (
        "import sys, hwmodels, hwmodels.catalog as c;"
        "print(sorted({'numpy', 'networkx', 'pydantic', 'scipy', 'plotly'} & set(sys.modules)));"
        "print(c._ids.cache_info().currsize + c._chip.cache_info().currsize)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[:2] == ["[]", "0"]
