"""The same laws for everything that ships."""

import csv
import tomllib
from pathlib import Path

import pytest

from hwmodels import catalog
from hwmodels.chip import KINDS, Chip
from hwmodels.facts import Fact, Source
from hwmodels.link import Link
from hwmodels.server import ALONE, Server

CHIPS = [catalog.chip(id) for id in catalog.chip_ids()]
LINKS = [catalog.link(id) for id in catalog.link_ids()]
SERVERS = [catalog.server(id) for id in catalog.server_ids()]

SYSTEMS = sorted((Path(__file__).parents[2] / "simulator" / "data" / "systems").glob("*.toml"))

each_chip = pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.id)
each_link = pytest.mark.parametrize("link", LINKS, ids=lambda link: link.id)
each_server = pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.id)
each_item = pytest.mark.parametrize("item", [*CHIPS, *LINKS, *SERVERS], ids=lambda item: item.id)


def test_the_catalogue_is_not_empty() -> None:
    assert len(CHIPS) >= 119
    assert {chip.kind for chip in CHIPS} == set(KINDS)
    assert len(LINKS) >= 16
    assert len(SERVERS) >= 12
    assert len(SYSTEMS) >= 12


def test_every_file_below_data_is_read_by_the_catalogue() -> None:
    found = {path.relative_to(catalog.DATA).as_posix() for path in catalog.DATA.rglob("*") if path.is_file()}
    read = {f"chips/{chip.id}.toml" for chip in CHIPS}
    read |= {f"links/{link.id}.toml" for link in LINKS}
    read |= {f"servers/{server.id}.toml" for server in SERVERS}
    assert found == read | {"prices.csv"}


# Facts and their sources -----------------------------------------------------------------------------------------


@each_item
def test_sources_used_are_the_sources_described(item: Chip | Link | Server) -> None:
    assert item.facts
    assert {fact.source for fact in item.facts.values()} == set(item.sources)
    for source in item.sources.values():
        assert isinstance(source, Source)
        assert source.title
        assert source.where


@each_item
def test_recalled_facts_and_only_they_come_from_the_recalled_source(item: Chip | Link | Server) -> None:
    for key, source in item.sources.items():
        assert (key == "recalled") == (source.kind == "recalled")


@each_item
def test_facts_are_provisional_until_somebody_reads_the_sources_again(item: Chip | Link | Server) -> None:
    # A chip is checked when another reader has found every fact of it in print, as our file has it, and changed none.
    second = Path(__file__).parent / "second_reading" / f"{item.id}.toml"
    whole = False
    if isinstance(item, Chip) and second.exists():
        reading = tomllib.loads(second.read_text(encoding="utf-8"))
        whole = set(reading["facts"]) == set(item.facts) and not reading["corrected"]
        whole = whole and all(fact["agrees"] for fact in reading["facts"].values())
    assert item.status == ("checked" if whole else "provisional")


@each_chip
def test_every_number_of_a_chip_is_a_fact(chip: Chip) -> None:
    numbers = {f"peak.{word}": rate for word, rate in chip.peak_flop_per_s.items()} | {
        "compute.cores": float(chip.cores),
        "compute.clock": chip.clock_hz,
        "memory.capacity": chip.memory_byte,
        "memory.bandwidth": chip.memory_bandwidth_byte_per_s,
        "power.tdp": chip.tdp_w,
    }
    numbers |= {f"vector_peak.{word}": rate for word, rate in chip.vector_peak_flop_per_s.items()}
    optional = {
        "memory.l2": chip.l2_byte,
        "memory.on_chip": chip.on_chip_byte,
        "memory.on_chip_bandwidth": chip.on_chip_bandwidth_byte_per_s,
        "memory.fabric_bandwidth": chip.fabric_bandwidth_byte_per_s,
        "memory.far_capacity": chip.far_memory_byte,
        "memory.far_bandwidth": chip.far_memory_bandwidth_byte_per_s,
        "memory.host_bandwidth": chip.host_bandwidth_byte_per_s,
        "power.idle": chip.idle_w,
    }
    numbers |= {key: value for key, value in optional.items() if value}
    # A file may be silent about these two; what is not 1 must be written.
    ones = {"compute.dies": float(chip.dies), "compute.sparse_multiplier": chip.sparse_multiplier}
    numbers |= {key: value for key, value in ones.items() if value != 1 or key in chip.facts}
    assert {key: fact.value for key, fact in chip.facts.items()} == numbers


@each_item
def test_fact_says_what_is_printed(item: Chip | Link | Server) -> None:
    for key, fact in item.facts.items():
        assert isinstance(fact, Fact), key
        assert (fact.value == 0) == (fact.printed == 0), key


# Chips (their laws: test_every_chip.py) ----------------------------------------------------------------------------


def test_newer_chips_do_more_for_each_watt() -> None:
    order = ["k80-gk210", "p100-sxm2", "v100-sxm2-16gb", "a100-sxm4-40gb", "h100-sxm5"]
    chips = [catalog.chip(id) for id in order]
    per_watt = [
        max(chip.peak_flop_per_s[w] for w in chip.peak_flop_per_s if w != "int8") / chip.tdp_w for chip in chips
    ]
    assert per_watt == sorted(per_watt)


@pytest.mark.parametrize(
    ("id", "precision", "tflop_per_s", "gb_per_s"),
    [
        ("k80-gk210", "fp32", 4.368, 240),
        ("p100-sxm2", "fp16", 21.2, 732),
        ("v100-sxm2-16gb", "fp16", 125, 900),
        ("a100-sxm4-40gb", "bf16", 312, 1555),
        ("a100-sxm4-80gb", "bf16", 312, 2039),
        ("h100-sxm5", "bf16", 989.4, 3352),
        ("tpu-v2", "bf16", 46, 700),
        ("tpu-v3", "bf16", 123, 900),
        ("k40", "fp32", 5.04, 288),
        ("m40", "fp32", 6.844, 288),
        ("titan-x-pascal", "fp32", 10.9742, 480),
        ("gtx-1080-ti", "fp32", 11.3397, 484),
        ("v100-pcie-16gb", "fp16", 112.2, 900),
        ("t4", "fp16", 64.8, 320),
        ("rtx-2080-ti", "fp16", 53.8, 616),
        ("a100-pcie-80gb", "bf16", 312, 1935),
        ("a100-sxm4-80gb", "fp64", 19.5, 2039),
        ("l4", "fp32", 30.3, 300),
        ("h100-pcie", "bf16", 756.4, 2039),
        ("h200-sxm5", "bf16", 989, 4800),
        ("b200-sxm", "bf16", 2250, 7700),
        ("gb200", "fp8", 5000, 8000),
    ],
)
def test_chip_has_its_published_rates(id: str, precision: str, tflop_per_s: float, gb_per_s: float) -> None:
    chip = catalog.chip(id)
    assert chip.peak(precision) == pytest.approx(tflop_per_s * 1e12, rel=1e-12)
    assert chip.memory_bandwidth_byte_per_s == pytest.approx(gb_per_s * 1e9, rel=1e-12)


# Links -----------------------------------------------------------------------------------------------------------


@each_link
def test_link_lies_where_links_lie(link: Link) -> None:
    # Links of many lanes that are counted as one: a chip's NeuronLink, all of C2C, PCIe 6.
    most = {"neuronlink": 4e11, "pcie": 1.21e11}.get(link.family, 4.5e11 if link.id == "nvlink-c2c" else 1e11)
    assert 1e9 <= link.bandwidth_byte_per_s <= most
    assert (1e-9 if link.family == "wafer" else 1e-7) <= link.latency_s <= 5e-5


def test_each_generation_of_pcie_doubles() -> None:
    rates = [catalog.link(f"pcie{generation}-x16").bandwidth_byte_per_s for generation in (3, 4, 5)]
    assert rates[1] == 2 * rates[0]
    assert rates[2] == 2 * rates[1]


@each_link
def test_link_named_by_its_rate_has_it(link: Link) -> None:
    name = link.id.rsplit("-", 1)[-1]
    if name.endswith("g"):
        assert link.bandwidth_byte_per_s == float(name[:-1]) * 1e9 / 8


# Servers ---------------------------------------------------------------------------------------------------------


@each_server
def test_server_is_made_of_what_the_catalogue_holds(server: Server) -> None:
    assert server.chip in catalog.chip_ids()
    alone = server.scale_up in ALONE
    assert alone == (server.scale_up_links_per_chip == 0)
    assert server.scale_up_link in (*catalog.link_ids(), *([""] if alone else []))
    assert server.nic_link in (*catalog.link_ids(), *([""] if not server.nics else []))
    for link in (server.host_link, server.socket_link, server.wafer.link if server.wafer else ""):
        assert link in (*catalog.link_ids(), "")


@each_server
def test_server_lies_where_servers_lie(server: Server) -> None:
    # A rack whose chips share one domain of links (NVL72) counts as one server, with the hosts of all its trays.
    rack = server.chips > 16
    assert 1 <= server.chips <= 72
    assert 50 <= server.host_power_w <= (40_000 if rack else 8000)
    assert 4 <= server.host_cores <= (2600 if rack else 256)
    if server.scale_up in ALONE or not server.nics:
        return
    # Scale-up is for the traffic that scale-out cannot carry.
    up = server.scale_up_links_per_chip * catalog.link(server.scale_up_link).bandwidth_byte_per_s
    out = server.nics * catalog.link(server.nic_link).bandwidth_byte_per_s / server.chips
    assert up > out


@pytest.mark.parametrize(
    ("id", "gb_per_s"),
    [("dgx1-p100", 80), ("dgx1-v100", 150), ("dgx-a100", 300), ("dgx-h100", 450), ("tpu-v2-8", 248), ("tpu-v3-8", 400)],
)
def test_server_has_its_published_scale_up_rate(id: str, gb_per_s: float) -> None:
    server = catalog.server(id)
    assert server.scale_up_links_per_chip * catalog.link(server.scale_up_link).bandwidth_byte_per_s == gb_per_s * 1e9


@pytest.mark.parametrize(
    ("id", "gbit_per_s"),
    [("p2.16xlarge", 25), ("p3.16xlarge", 25), ("p4d.24xlarge", 400), ("dgx1-v100", 400), ("dgx-a100", 1600)],
)
def test_server_has_its_published_network(id: str, gbit_per_s: float) -> None:
    server = catalog.server(id)
    assert server.nics * catalog.link(server.nic_link).bandwidth_byte_per_s == gbit_per_s * 1e9 / 8


@pytest.mark.parametrize(("id", "links"), [("dgx1-p100", 16), ("dgx1-v100", 24), ("p3.16xlarge", 24)])
def test_cube_mesh_joins_four_neighbours_of_each_chip(id: str, links: int) -> None:
    mesh = catalog.server(id).cube_mesh_links
    assert sum(count for _, _, count in mesh) == links
    for chip in range(8):
        assert sum(chip in (a, b) for a, b, _ in mesh) == 4


# Prices ----------------------------------------------------------------------------------------------------------


def test_every_price_is_of_something_in_the_catalogue() -> None:
    with open(catalog.DATA / "prices.csv", encoding="utf-8", newline="") as stream:
        items = [row["item"] for row in csv.DictReader(stream)]
    assert len(items) >= 60
    assert set(items) <= set(catalog.chip_ids() + catalog.server_ids())
    assert sum(len(catalog.prices(item)) for item in set(items)) == len(items)


#: Chips of machines that nobody rents out by the hour, or whose price nobody wrote down.
WITHOUT_RENT = {
    "b200-sxm", "b300-sxm", "bow", "gaudi-2", "gaudi-3", "gb200", "gc200", "h200-sxm5", "k20x", "k40", "mi250x",
    "mi300x", "p40", "titan-x-pascal", "tpu-v7", "trainium-2", "v100-sxm3-32gb", "wse-2", "wse-3", "xeon-phi-7230",
    "xeon-phi-7250", "xeon-platinum-8160",
}  # fmt: skip


@pytest.mark.parametrize("path", SYSTEMS, ids=lambda path: path.stem)
def test_the_chips_of_every_shipped_system_can_be_rented_at_a_known_price(path: Path) -> None:
    server = catalog.server(tomllib.loads(path.read_text(encoding="utf-8"))["server"])
    rented = any(price.usd_per_chip_hour is not None for price in catalog.prices(server.chip))
    assert rented == (server.chip not in WITHOUT_RENT)


@each_chip
def test_prices_lie_where_prices_lie(chip: Chip) -> None:
    for price in catalog.prices(chip.id):
        if price.usd_per_chip_hour is not None:
            assert 0.1 <= price.usd_per_chip_hour <= 20
        if price.usd is not None:
            assert 300 <= price.usd <= 50_000 or chip.kind == "wafer"
        # Old parts are rented for years; nothing is sold before it exists.
        assert int(price.date[:4]) >= chip.year
