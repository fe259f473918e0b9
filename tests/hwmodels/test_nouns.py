"""Chips, links, servers and prices that cannot be are refused at construction."""

import dataclasses
import pickle
from typing import Any

import pytest

from hwmodels import catalog
from hwmodels.chip import ARCHITECTURES, Chip, ChipError
from hwmodels.datafile import DataFileError, parse_toml
from hwmodels.link import Link, LinkError
from hwmodels.price import COLUMNS, Price, PriceError, read_prices
from hwmodels.server import Server, ServerError, Wafer, read_server

CHIP: dict[str, Any] = {
    "id": "toy",
    "name": "Toy",
    "vendor": "Nobody",
    "year": 2020,
    "architecture": "volta",
    "kind": "gpu",
    "peak_flop_per_s": {"fp32": 1e13, "fp16": 1e14},
    "cores": 80,
    "clock_hz": 1.5e9,
    "memory_byte": 16e9,
    "memory_bandwidth_byte_per_s": 9e11,
    "tdp_w": 300.0,
}
LINK: dict[str, Any] = {
    "id": "toy",
    "name": "Toy",
    "family": "nvlink",
    "bandwidth_byte_per_s": 25e9,
    "latency_s": 1e-6,
}
SERVER: dict[str, Any] = {
    "id": "toy",
    "name": "Toy",
    "chip": "toy",
    "chips": 3,
    "scale_up": "hybrid_cube_mesh",
    "scale_up_link": "toy",
    "scale_up_links_per_chip": 2,
    "nics": 1,
    "nic_link": "toy",
    "host_cores": 8,
    "host_power_w": 100.0,
    "cube_mesh_links": ((0, 1, 1), (0, 2, 1), (1, 2, 1)),
}


def test_peak_of_a_missing_precision_names_the_legal_ones() -> None:
    with pytest.raises(ChipError, match=r"no rate for precision 'bf16'.*Legal: fp32, fp16\."):
        Chip(**CHIP).peak("bf16")


def test_peak_of_a_known_precision_is_its_rate() -> None:
    assert Chip(**CHIP).peak("fp16") == 1e14


@pytest.mark.parametrize(
    ("architecture", "matrix"),
    [("pascal", False), ("volta", True), ("vega", False), ("cdna", True), ("skylake", False)],
)
def test_lineage_holds_the_architecture_and_matrix_units_follow_it(architecture: str, matrix: bool) -> None:
    chip = Chip(**CHIP | {"architecture": architecture})
    assert architecture in chip.lineage
    assert chip.has_matrix_units == matrix


def test_every_architecture_stands_in_one_lineage() -> None:
    assert len(set(ARCHITECTURES)) == len(ARCHITECTURES)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("peak_flop_per_s", {}, "give at least one precision"),
        ("peak_flop_per_s", {"fp23": 1.0}, "precision 'fp23' is not one of"),
        ("peak_flop_per_s", {"fp32": 0.0}, "above 0"),
        ("clock_hz", float("inf"), "clock_hz is inf; a finite number above 0"),
        ("memory_byte", -1.0, "memory_byte is -1.0"),
        ("l2_byte", -1.0, "l2_byte is -1.0"),
        ("cores", 0, "cores is 0"),
        ("architecture", "voltas", "Did you mean 'volta'"),
        ("kind", "fpga", "one of gpu, systolic, sram, wafer, cpu"),
        ("vector_peak_flop_per_s", {"fp16": 2e14}, r"vector_peak_flop_per_s\['fp16'\] is 2e\+14; at most the peak"),
        ("vector_peak_flop_per_s", {"fp64": 1e12}, "at most the peak of 'fp64'"),
        ("vector_peak_flop_per_s", {"fp16": 0.0}, "above 0"),
        ("sparse_multiplier", 0.5, "sparse_multiplier is 0.5; from 1 to 16"),
        ("dies", 0, "dies is 0"),
        ("host_bandwidth_byte_per_s", 0.0, "host_bandwidth_byte_per_s is 0.0"),
        ("on_chip_bandwidth_byte_per_s", float("nan"), "on_chip_bandwidth_byte_per_s is nan"),
        ("far_memory_byte", 1e12, "far memory needs both a capacity and a bandwidth"),
        ("status", "done", "one of provisional, checked"),
        ("idle_w", 300.0, "below tdp_w = 300 W"),
        ("matrix_tile", (128, 128), "matrix_tile goes with kind 'systolic'"),
    ],
)
def test_chip_that_cannot_be_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ChipError, match=message):
        Chip(**CHIP | {field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("family", "nvlnk", "Did you mean 'nvlink'"),
        ("bandwidth_byte_per_s", 0.0, "above 0"),
        ("latency_s", -1e-6, "0 or more"),
        ("latency_s", float("nan"), "finite"),
        ("status", "", "one of provisional, checked"),
    ],
)
def test_link_that_cannot_be_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        Link(**LINK | {field: value})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("chips", 0, "chips is 0; at least 1"),
        ("nics", -1, "nics is -1; at least 0"),
        ("host_power_w", float("nan"), "host_power_w is nan"),
        ("scale_up", "cube", "scale_up is 'cube'; one of fully_connected"),
        ("scale_up", "torus", "goes with scale_up 'hybrid_cube_mesh'"),
        ("scale_up_links_per_chip", 0, "'none' goes with scale_up_links_per_chip = 0"),
        ("scale_up_links_per_chip", 3, r"gives the chips \[2, 2, 2\] links"),
        ("cube_mesh_links", (), "goes with scale_up 'hybrid_cube_mesh'"),
        ("cube_mesh_links", ((0, 1, 1), (0, 1, 1), (1, 2, 1)), "each pair once"),
        ("cube_mesh_links", ((1, 0, 1), (0, 2, 1), (1, 2, 1)), "0 <= a < b < 3"),
        ("cube_mesh_links", ((0, 3, 1), (0, 2, 1), (1, 2, 1)), "0 <= a < b < 3"),
        ("cube_mesh_links", ((0, 1, 0), (0, 2, 1), (1, 2, 1)), "at least 1 link"),
    ],
)
def test_server_that_cannot_be_is_refused(field: str, value: object, message: str) -> None:
    with pytest.raises(ServerError, match=message):
        Server(**SERVER | {field: value})


SWITCHED = SERVER | {"scale_up": "nvswitch", "cube_mesh_links": (), "chips": 4, "switches": 2}
MESH = SERVER | {"scale_up": "mesh", "cube_mesh_links": (), "mesh_links": ((0, 1, 1), (1, 2, 1))}
TREE = SERVER | {"scale_up": "pcie_tree", "cube_mesh_links": ()}
WAFER = SERVER | {
    "scale_up": "wafer", "cube_mesh_links": (), "chips": 1, "scale_up_links_per_chip": 0,
    "wafer": Wafer(core_rows=9, core_columns=9, reticle_rows=3, reticle_columns=3, link="toy"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        (SWITCHED, {"switches": 0}, "switches is 0; at least 1 with scale_up 'nvswitch'"),
        (SWITCHED, {"switches": 3}, "3 switches on 1 boards cannot each have one of the 2 links of a chip"),
        (SWITCHED, {"switch_boards": 2}, "switch_boards is 2 and trunk_links is 0; 1 and 0, or 2 and at least 1"),
        (SWITCHED, {"switch_boards": 2, "trunk_links": 1, "chips": 3}, "even number of chips"),
        (MESH, {"mesh_links": ()}, "mesh_links goes with scale_up 'mesh'"),
        (MESH, {"mesh_links": ((0, 1, 2), (1, 2, 1))}, r"mesh_links gives the chips \[2, 3, 1\] links"),
        (MESH, {"mesh_links": ((0, 1, 1),)}, r"mesh_links gives the chips \[1, 1, 0\] links"),
        (TREE, {"mesh_links": ((0, 1, 1),)}, "mesh_links goes with scale_up 'mesh'"),
        (TREE, {"chips_per_switch": 2}, "chips_per_switch and switches_per_root are 2 and 0; both at least 1"),
        (SWITCHED, {"chips_per_switch": 2, "switches_per_root": 1}, "with scale_up 'pcie_tree', only"),
        (TREE, {"torus_dims": (3,)}, r"torus_dims is \[3\]; goes with scale_up 'torus'"),
        (TREE | {"scale_up": "torus"}, {"torus_dims": (2, 2)}, "multiplies to chips = 3"),
        (WAFER, {"wafer": None}, "a wafer table goes with scale_up 'wafer'"),
        (WAFER, {"chips": 2}, "a wafer table goes with scale_up 'wafer' and chips = 1"),
        (TREE, {"wafer": WAFER["wafer"]}, "a wafer table goes with scale_up 'wafer'"),
        (TREE, {"sockets": 0}, "sockets is 0; at least 1"),
        (TREE, {"host_links_per_chip": 0}, "host_links_per_chip is 0; at least 1"),
        (TREE, {"socket_link": "toy"}, "socket_link is 'toy', but there is 1 socket"),
    ],
)
def test_server_whose_wires_cannot_be_is_refused(base: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    assert Server(**base)
    with pytest.raises(ServerError, match=message):
        Server(**base | changes)


def test_more_reticles_than_cores_are_refused() -> None:
    with pytest.raises(ServerError, match="reticle_rows is 10; from 1 to core_rows = 9"):
        Wafer(core_rows=9, core_columns=9, reticle_rows=10, reticle_columns=3, link="toy")


def test_problems_of_a_server_file_are_said_together_with_their_lines() -> None:
    text = """schema = 1
id = "box"
name = "Box"
chip = "toy"
status = "provisional"
one_machine = "yes"
chips = { value = 4, unit = "1", source = "s", locator = "l" }

[scale_up]
shape = "pcie_tree"
link = "toy"
links_per_chip = { value = 1, unit = "1", source = "s", locator = "l" }
switches = { value = 2, unit = "1", source = "s", locator = "l" }

[scale_up.torus]
dims = [2, 0]

[scale_up.mesh]
links = [[0, 1]]

[scale_out]
nics = { value = 0, unit = "1", source = "s", locator = "l" }

[host]
cores = { value = 4, unit = "1", source = "s", locator = "l" }
power = { value = 100, unit = "W", source = "s", locator = "l" }
socket_lnk = "toy"

[sources.s]
title = "t"
where = "w"
kind = "vendor"
"""
    with pytest.raises(DataFileError) as refusal:
        read_server(parse_toml(text, name="box.toml"))
    for expected in (
        "box.toml:6: one_machine: is 'yes'; true or false.",
        "box.toml:13: scale_up.switches: goes with shape fully_connected or nvswitch, only.",
        "box.toml:16: scale_up.torus.dims: a list of whole numbers, at least 1 each, is needed.",
        "box.toml:19: scale_up.mesh.links: a list of [chip, chip, links] is needed.",
    ):
        assert expected in refusal.value.problems
    assert any(line.startswith("box.toml:27: host.socket_lnk: ") for line in refusal.value.problems)


@pytest.mark.parametrize("noun", [Chip(**CHIP), Link(**LINK), Server(**SERVER)], ids=["chip", "link", "server"])
def test_noun_is_frozen_hashable_and_survives_pickling(noun: Any) -> None:
    assert pickle.loads(pickle.dumps(noun)) == noun
    assert {noun: 1}[pickle.loads(pickle.dumps(noun))] == 1
    with pytest.raises(dataclasses.FrozenInstanceError):
        noun.id = "other"


def test_peaks_of_a_chip_cannot_be_changed_from_outside() -> None:
    peaks = {"fp32": 1e13}
    chip = Chip(**CHIP | {"peak_flop_per_s": peaks, "vector_peak_flop_per_s": peaks})
    peaks["fp32"] = 1.0
    assert chip.peak("fp32") == 1e13
    assert chip.vector_peak_flop_per_s == {"fp32": 1e13}


PRICE: dict[str, Any] = {
    "item": "toy",
    "kind": "rent",
    "usd_per_chip_hour": 1.0,
    "date": "2020",
    "region": "moon",
    "source": "list",
    "locator": "page 1",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "lease"}, "kind is 'lease'; one of rent, buy"),
        ({"kind": "buy"}, "kind 'buy' needs usd above 0"),
        ({"usd": 5.0}, "needs usd_per_chip_hour above 0, and nothing else"),
        ({"usd_per_chip_hour": 0.0}, "above 0"),
        ({"usd_per_chip_hour": float("inf")}, "above 0"),
        ({"date": "yesterday"}, "date is 'yesterday'; write 2024, 2024-03 or 2024-03-18"),
        ({"date": "2020-13"}, "date is '2020-13'"),
        ({"region": ""}, "may be empty"),
        ({"source_kind": "rumour"}, "source_kind is 'rumour'"),
    ],
)
def test_price_that_cannot_be_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PriceError, match=message):
        Price(**PRICE | change)


@pytest.mark.parametrize("date", ["2020", "2020-02", "2020-02-29"])
def test_price_date_may_be_a_year_a_month_or_a_day(date: str) -> None:
    assert Price(**PRICE | {"date": date}).date == date


HEADER = ",".join(COLUMNS)


def test_price_is_converted_to_an_hour() -> None:
    (price,) = read_prices([HEADER, "toy,rent,24,USD/day,2020,moon,list,vendor,page 1"], name="p.csv")
    assert price.usd_per_chip_hour == 1.0
    assert price.usd is None


def test_every_bad_price_is_reported_with_its_line() -> None:
    lines = [
        HEADER,
        "toy,rent,1,USD/h,2020,moon,list,vendor,page 1",
        "toy,rent,1,USD,2020,moon,list,vendor,page 1",
        "toy,rent,x,USD/h,2020,moon,list,vendor,page 1",
        "toy,rint,1,USD/h,2020,moon,list,vendor,page 1",
        "toy,rent,1",
        "toy,rent,nan,USD/h,2020,moon,list,vendor,page 1",
    ]
    with pytest.raises(DataFileError) as refusal:
        read_prices(lines, name="p.csv")
    assert [problem.split(":")[1] for problem in refusal.value.problems] == ["3", "4", "5", "6", "7"]
    assert "Did you mean 'rent'?" in refusal.value.problems[2]


def test_price_table_with_other_columns_is_refused() -> None:
    with pytest.raises(DataFileError, match=r"p\.csv:1: the columns are 'a,b'; they must be"):
        read_prices(["a,b"], name="p.csv")


def test_one_die_has_its_share_of_a_chip_of_two() -> None:
    whole = catalog.chip("mi250x")
    die = whole.one_die
    assert (whole.dies, die.dies) == (2, 1)
    assert die.cores * 2 == whole.cores
    assert die.peak("fp16") * 2 == whole.peak("fp16")
    assert die.memory_bandwidth_byte_per_s * 2 == whole.memory_bandwidth_byte_per_s
    assert catalog.chip("mi300x").one_die is catalog.chip("mi300x")
