"""`validate collectives`: every row gets its line, predictions read configuration alone, refusals say why."""

# ruff: noqa: E501 (tables of expected wires read by their columns)

import csv
import json
import math
import os
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import hwmodels.catalog as hardware
from hwmodels.datafile import DataFileError
from simulator.calibration_data import CalibrationError
from simulator.cli import cli
from simulator.collective_calibration import load_collectives, read_collectives, to_toml
from simulator.collectives.exchange import COLLECTIVES, UP_KINDS
from simulator.collectives.library_cost import SPECS
from simulator.validation.collective_baseline import fit_alpha_beta, ring_volume
from simulator.validation.collective_domain import ACROSS_SOCKETS
from simulator.validation.collective_record import unseen
from simulator.validation.collective_rows import CLASSES, COLUMNS, resolve_collective
from simulator.validation.collective_selection import (
    ROWS_PER_SWEEP,
    record_csv,
    recorded_collectives,
    select,
    selection_csv,
    shipped_collectives,
)
from simulator.validation.collective_software import CollectiveRowError, algorithm_of, collective_word, library_of
from simulator.validation.collectives import HOLDS, hold_out, predict_collectives, read_collective_table
from simulator.validation.measured_table import measured_s
from simulator.validation.runs import TableError

SHIPPED = shipped_collectives()
HEADER = list(SHIPPED[0])
HOPPER = {
    "collective": "all_reduce", "system": "8x Hopper node", "chip": "H100 SXM5 80GB", "nodes": "", "ranks": "8",
    "ranks_per_node": "8", "concurrent_groups": "1", "intra_fabric": "NVLink4+NVSwitch", "inter_fabric": "",
    "library": "xla+nccl", "algorithm": "", "dtype": "fp32", "size_bytes": "1048576",
}  # fmt: skip


def validated(path):
    shipped = load_collectives()
    return predict_collectives(read_collective_table(path), constants=shipped.constants, record=shipped.record)


def wires_of(**change):
    return resolve_collective({**HOPPER, **change}).wires


# --- wires from words ----------------------------------------------------------------------------------------------

#: System of the open table (its first letters), chip, ranks -> members of a domain, ranks of a host, kind, link,
#: GB/s of a member and to a neighbour, wires between domains and GB/s of a domain's cards, library, whether switches
#: of a domain and between domains reduce.
EXPECTED = [
    ("1 KNL", "Xeon", 2, 1, 1, "none", "", 12.5, 12.5, "omni-path", 12.5, "mlsl", False, False),
    ("1 KNL", "Xeon", 32, 1, 1, "none", "", 12.5, 12.5, "omni-path", 12.5, "mlsl", False, False),
    ("10-GPU", "GTX", 4, 4, 10, "pcie_tree", "pcie3-x16", 15.75, 15.75, "", None, "nccl-2.0-mpi", False, False),
    ("10-GPU", "Titan", 16, 8, 10, "pcie_tree", "pcie3-x16", 15.75, 15.75, "infiniband-fdr", 6.7875, "baidu-ring", False,
     False),
    ("8-GPU", "M40", 2, 2, 8, "pcie_tree", "qpi", 6 / 0.85, 6 / 0.85, "", None, "nccl-2.0-single", False, False),
    ("8-GPU", "M40", 8, 8, 8, "pcie_tree", "qpi", 6 / 0.85, 6 / 0.85, "", None, "nccl-2.0-mpi", False, False),
    ("8-GPU", "P100", 16, 8, 8, "pcie_tree", "qpi", 6 / 0.85, 6 / 0.85, "infiniband-fdr", 6.7875, "nccl-2.0-mpi", False, False),
    ("8-GPU", "Titan", 32, 8, 8, "pcie_tree", "qpi", 6 / 0.85, 6 / 0.85, "infiniband-fdr", 6.7875, "mpi-osu", False, False),
    ("8x A100", "A100", 4, 4, 8, "switch", "nvlink3", 300, 300, "", None, "nccl", False, False),
    ("8x A100", "A100", 8, 8, 8, "switch", "nvlink3", 300, 300, "", None, "nccl", False, False),
    ("8x B200", "B200", 8, 8, 8, "switch", "nvlink5", 900, 900, "", None, "xla+nccl", False, False),
    ("8x H200", "H200", 4, 4, 8, "switch", "nvlink4", 450, 450, "", None, "nccl", False, False),
    ("8x H200", "H200", 5, 5, 8, "switch", "nvlink4", 450, 450, "", None, "nccl", True, False),
    ("8x Hopper", "H100", 2, 2, 8, "switch", "nvlink4", 450, 450, "", None, "xla+nccl", False, False),
    ("8x Hopper", "H100", 8, 8, 8, "switch", "nvlink4", 450, 450, "", None, "xla+nccl", True, False),
    ("8x MI300X", "MI300X", 8, 8, 8, "pairs", "xgmi3", 448, 64, "", None, "rccl", False, False),
    ("8x MI355X", "MI355X", 2, 2, 8, "pairs", "xgmi4", 76.5, 76.5, "", None, "xla+rccl", False, False),
    ("8x MI355X", "MI355X", 4, 4, 8, "pairs", "xgmi4", 229.5, 76.5, "", None, "xla+rccl", False, False),
    ("8x MI355X", "MI355X", 8, 8, 8, "pairs", "xgmi4", 535.5, 76.5, "", None, "xla+rccl", False, False),
    ("8x V100", "V100", 2, 2, 8, "cube_mesh", "nvlink2", 25, 25, "", None, "nccl", False, False),
    ("8x V100", "V100", 3, 3, 8, "cube_mesh", "nvlink2", 50, 25, "", None, "nccl", False, False),
    ("8x V100", "V100", 4, 4, 8, "cube_mesh", "nvlink2", 100, 25, "", None, "nccl", False, False),
    ("8x V100", "V100", 5, 5, 8, "cube_mesh", "nvlink2", 41.11, 25, "", None, "nccl", False, False),
    ("8x V100", "V100", 7, 7, 8, "cube_mesh", "nvlink2", 100, 25, "", None, "nccl", False, False),
    ("8x V100", "V100", 8, 8, 8, "cube_mesh", "nvlink2", 150, 25, "", None, "nccl", False, False),
    ("ABCI A", "A100", 16, 8, 8, "switch", "nvlink3", 300, 300, "infiniband-hdr", 100, "nccl", False, False),
    ("AWS p4de", "A100", 16, 8, 8, "switch", "nvlink3", 300, 300, "efa", 50, "nccl", False, False),
    ("AWS p5en", "H200", 32, 8, 8, "switch", "nvlink4", 450, 450, "efa", 400, "nccl", True, False),
    ("AWS p5en", "H200", 128, 8, 8, "switch", "nvlink4", 450, 450, "efa", 400, "nccl", True, False),
    ("AWS p6", "B200", 6, 6, 8, "switch", "nvlink5", 900, 900, "", None, "nccl", True, False),
    ("AWS p6", "B200", 32, 8, 8, "switch", "nvlink5", 900, 900, "efa", 400, "nccl", True, False),
    ("CoreWeave", "GB200", 144, 72, 4, "rack", "nvlink5", 900, 900, "infiniband-ndr", 3600, "nccl", True, True),
    ("DGX A100", "A100", 16, 8, 8, "switch", "nvlink3", 300, 300, "ethernet", 100, "nccl", False, False),
    ("GB200", "GB200", 4, 4, 4, "rack", "nvlink5", 900, 900, "", None, "xla+nccl", False, False),
    ("GB200", "GB200", 72, 72, 4, "rack", "nvlink5", 900, 900, "", None, "xla+nccl", True, False),
    ("GB300", "GB300", 64, 64, 4, "rack", "nvlink5", 900, 900, "", None, "xla+nccl", True, False),
    ("OCI BM.GPU.GB200", "GB200", 128, 64, 4, "rack", "nvlink5", 900, 900, "ethernet", 3200, "nccl", True, False),
    ("OCI BM.GPU.MI300X", "MI300X", 16, 8, 8, "pairs", "xgmi3", 448, 64, "ethernet", 400, "rccl", False, False),
    ("OCI BM.GPU3", "V100", 8, 8, 8, "cube_mesh", "nvlink2", 150, 25, "", None, "nccl", False, False),
    ("OCI BM.GPU4", "A100", 8, 8, 8, "switch", "nvlink3", 300, 300, "", None, "nccl", False, False),
    ("OCI BM.GPU4", "A100", 16, 8, 8, "switch", "nvlink3", 300, 300, "ethernet", 200, "nccl", False, False),
]  # fmt: skip


@pytest.mark.parametrize("case", EXPECTED, ids=lambda c: f"{c[0]} {c[1]} {c[2]}")
def test_every_system_of_the_open_table_resolves_to_its_wires(case):
    system, chip, ranks, members, host, kind, link, up, pair, out_link, out, library, in_switch, in_network = case
    rows = [
        row for row in SHIPPED
        if row["system"].startswith(system) and row["chip"].startswith(chip) and row["ranks"] == str(ranks)
    ]  # fmt: skip
    found = [w for row in rows if (w := resolve_collective(row).wires).library == library]
    assert found
    for w in found:
        assert (w.ranks, w.domain_ranks, w.host_ranks) == (ranks, members, host)
        assert (w.up_kind, w.up_link, w.out_link) == (kind, link, out_link)
        assert (w.up_byte_per_s, w.pair_byte_per_s) == pytest.approx((up * 1e9, pair * 1e9), rel=1e-3)
        assert w.out_byte_per_s == pytest.approx(out * 1e9) if out else w.out_byte_per_s >= w.up_byte_per_s
        assert (w.in_switch, w.in_network) == (in_switch, in_network)


def test_the_table_of_expected_wires_names_every_system_that_ships():
    systems = {row["system"] for row in SHIPPED}
    assert all(any(system.startswith(case[0]) for case in EXPECTED) for system in systems)


#: Words that no open row has: what changes from a row of 8 H100 on one server, and what is expected of the wires.
UNSEEN = [
    ({"system": "AWS p5.48xlarge", "ranks": "16", "inter_fabric": "EFA v2 32x100G"}, ("switch", "nvlink4", 450),
     ("efa", 400)),
    ({"system": "AWS p5.48xlarge", "ranks": "16", "inter_fabric": "EFA 3200 Gb/s"}, ("switch", "nvlink4", 450),
     ("efa", 400)),
    ({"system": "AWS p5.48xlarge", "ranks": "16"}, ("switch", "nvlink4", 450), ("efa", 400)),
    ({"system": "GCP A3 Mega", "ranks": "16", "inter_fabric": "GPUDirect-TCPXO 8x200G"}, ("switch", "nvlink4", 450),
     ("ethernet", 200)),
    ({"system": "GCP A3 High", "ranks": "16", "inter_fabric": "GPUDirect-TCPX"}, ("switch", "nvlink4", 450),
     ("ethernet", 100)),
    ({"system": "somewhere", "ranks": "96", "inter_fabric": "InfiniBand NDR 8x400G"}, ("switch", "nvlink4", 450),
     ("infiniband-ndr", 400)),
    ({"system": "somewhere", "ranks": "96", "inter_fabric": "InfiniBand NDR"}, ("switch", "nvlink4", 450),
     ("infiniband-ndr", 400)),
    ({"system": "somewhere", "ranks": "16", "inter_fabric": "400 Gb/s per GPU InfiniBand"},
     ("switch", "nvlink4", 450), ("infiniband-ndr", 400)),
    ({"system": "somewhere", "ranks": "16", "inter_fabric": "3.2 Tb/s InfiniBand"}, ("switch", "nvlink4", 450),
     ("infiniband-ndr", 400)),
    ({"system": "somewhere", "ranks": "16", "inter_fabric": "10GbE"}, ("switch", "nvlink4", 450), ("ethernet", 1.25)),
    ({"chip": "H800 SXM5"}, ("switch", "nvlink4", 200), None),
    ({"chip": "H100", "intra_fabric": ""}, ("switch", "nvlink4", 450), None),
    ({"chip": "A100 SXM4 80GB", "system": "4x A100 node", "ranks": "4", "intra_fabric": "NVLink3"},
     ("pairs", "nvlink3", 300), None),
    ({"chip": "A100", "system": "node", "ranks": "2", "intra_fabric": "PCIe 4.0"}, ("pcie_tree", "xgmi-socket", 16 / 0.85),
     None),
    ({"chip": "RTX 4090", "system": "8x RTX 4090", "intra_fabric": "PCIe 4"}, ("pcie_tree", "xgmi-socket", 16 / 0.85), None),
    ({"chip": "RTX 3090", "system": "2x RTX 3090", "ranks": "2", "intra_fabric": "NVLink3 bridge"},
     ("pairs", "nvlink3", 50), None),
    ({"chip": "V100 SXM3 32GB", "system": "DGX-2", "ranks": "32", "ranks_per_node": "16",
      "intra_fabric": "NVLink2+NVSwitch", "inter_fabric": "8x EDR"}, ("switch", "nvlink2", 150), ("infiniband-edr", 100)),
    ({"chip": "P100 SXM2", "system": "DGX-1 (P100)", "intra_fabric": "NVLink1 hybrid cube mesh"},
     ("cube_mesh", "nvlink1", 80), None),
    ({"chip": "MI325X", "intra_fabric": "xGMI full mesh"}, ("pairs", "xgmi3", 448), None),
    ({"chip": "MI300X", "system": "2x MI300X", "ranks": "2", "intra_fabric": "xGMI"}, ("pairs", "xgmi3", 64), None),
    ({"chip": "GB300 (per GPU)", "system": "GB300 NVL72", "ranks": "144", "ranks_per_node": "4",
      "intra_fabric": "NVLink5 NVL72", "inter_fabric": "RoCE 4x800G per tray"}, ("rack", "nvlink5", 900),
     ("ethernet", 7200)),
    ({"chip": "A100 SXM4 40GB", "system": "Perlmutter", "ranks": "64", "ranks_per_node": "4",
      "intra_fabric": "NVLink3 all-to-all", "inter_fabric": "Slingshot 11 4x200G"}, ("pairs", "nvlink3", 300),
     ("slingshot", 100)),
    ({"chip": "Xeon Phi 7250 (KNL)", "system": "Cori", "ranks": "64", "ranks_per_node": "1", "intra_fabric": "",
      "inter_fabric": "Aries"}, ("none", "", 10), ("aries", 10)),
    ({"chip": "TPU v4", "system": "TPU v4 slice", "ranks": "64", "ranks_per_node": "4",
      "intra_fabric": "ICI 3D torus"}, ("torus", "tpu-ici-v4", 270), None),
]  # fmt: skip


@pytest.mark.parametrize(("change", "inside", "outside"), UNSEEN, ids=lambda c: str(c)[:60])
def test_words_that_no_open_row_has_resolve_to_wires(change, inside, outside):
    w = wires_of(**change)
    kind, link, up = inside
    assert (w.up_kind, w.up_link) == (kind, link)
    assert w.up_byte_per_s == pytest.approx(up * 1e9)
    if outside is None:
        assert (w.out_link, w.domain_ranks) == ("", w.ranks)
    else:
        assert w.out_link == outside[0]
        assert w.out_byte_per_s == pytest.approx(outside[1] * 1e9)


@pytest.mark.parametrize("chip", sorted({hardware.server(i).chip for i in hardware.server_ids()}))
def test_every_chip_of_a_server_resolves_where_all_other_words_are_blank(chip):
    blank = dict.fromkeys(("system", "intra_fabric", "inter_fabric", "library", "nodes", "ranks_per_node"), "")
    for ranks in ("2", "8", "64"):
        job = resolve_collective({**HOPPER, **blank, "chip": chip, "ranks": ranks})
        assert job.wires.up_kind in UP_KINDS
        assert job.wires.up_byte_per_s > 0
        assert job.wires.out_byte_per_s > 0
        assert job.assumed


WORDS = [
    "NVLink5", "NVLink4+NVSwitch", "NVLink2", "NVLink", "hybrid cube mesh", "xGMI", "full mesh", "PCIe", "PCIe 9",
    "QPI", "dual-root", "torus", "ICI", "bridge", "NVL72", "NVL0", "switch", "8x", "0x", "4x400G", "0x0G",
    "9999999x9999999999G", "InfiniBand", "HDR", "EFA", "RoCE", "Slingshot", "3.2 Tb/s", "0 Gb/s", "per GPU",
    "per tray", "dual rail", "()", "\u00d7", "DGX-1", "Summit", "GB200", "",
]  # fmt: skip
TEXT = st.lists(st.sampled_from(WORDS), max_size=4).map(" ".join) | st.text(max_size=20)
CHIPS = sorted({hardware.server(i).chip for i in hardware.server_ids()} | {row["chip"] for row in SHIPPED} | {"A100"})


@settings(max_examples=300, deadline=None)
@given(
    chip=st.sampled_from(CHIPS), system=TEXT, intra_fabric=TEXT, inter_fabric=TEXT, library=TEXT, algorithm=TEXT,
    ranks=st.integers(2, 5000).map(str), ranks_per_node=st.sampled_from(["", "1", "3", "8", "16", "9000"]),
    concurrent_groups=st.sampled_from(["", "1", "7", "4000"]), nodes=st.sampled_from(["", "1", "2", "500"]),
)  # fmt: skip
def test_whatever_the_words_a_row_has_wires_or_a_reason(**change):
    try:
        w = resolve_collective({**HOPPER, **change}).wires
    except CollectiveRowError:
        return
    for rate in (w.up_byte_per_s, w.pair_byte_per_s, w.out_byte_per_s):
        assert 1e5 < rate < 1e21  # thousands of ranks on one node: small shares, and many pairs
    assert (w.out_link == "") == (w.domain_ranks == w.ranks)


def test_what_crosses_between_sockets_is_known_for_every_server():
    wires = {hardware.server(i).socket_link for i in hardware.server_ids()} - {""}
    assert wires <= set(ACROSS_SOCKETS)
    assert wires


def test_a_group_has_the_cards_of_its_own_chips_and_shares_them_with_other_groups():
    words = {"system": "8x H100", "inter_fabric": "InfiniBand NDR 8x400G", "ranks": "16"}
    full = wires_of(**words)
    one = wires_of(**words, ranks_per_node="1", concurrent_groups="8")
    assert one.domain_ranks == 1
    assert one.out_byte_per_s * 8 == pytest.approx(full.out_byte_per_s)
    # One card under four chips: a group of one chip has it alone, four groups have a quarter each.
    slow = {**words, "inter_fabric": "InfiniBand 1x400G", "ranks_per_node": "1"}
    assert wires_of(**slow).out_byte_per_s == pytest.approx(50e9)
    assert wires_of(**slow, concurrent_groups="8").out_byte_per_s == pytest.approx(50e9 / 8)


@pytest.mark.parametrize(("ranks", "members"), [(72, 72), (73, 37), (128, 64), (144, 72), (145, 49), (16, 16)])
def test_racks_share_a_group_evenly(ranks, members):
    w = wires_of(
        chip="GB200 (per GPU)", system="GB200 NVL72", ranks=str(ranks), ranks_per_node="4",
        intra_fabric="NVLink5 NVL72", inter_fabric="RoCE 4x400G per tray",
    )  # fmt: skip
    assert w.domain_ranks == members
    assert w.host_ranks == 4
    if w.out_link:
        assert w.out_byte_per_s <= math.ceil(members / 4) * 200e9 * (1 + 1e-12)


# --- software words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nccl", "nccl"), ("nccl 2.27.7", "nccl"), ("NCCL 2.4.2+cuda10", "nccl"), ("NCCL 2.0 MPI", "nccl-2.0-mpi"),
        ("NCCL 2.0 Single", "nccl-2.0-single"), ("xla+nccl", "xla+nccl"), ("xla+rccl", "xla+rccl"), ("rccl", "rccl"),
        ("rccl 2.21", "rccl"), ("Baidu RingAllReduce", "baidu-ring"), ("OSU Allreduce", "mpi-osu"),
        ("Intel MLSL", "mlsl"), ("Open MPI", "mpi"), ("nccl in PyTorch", "nccl-in-framework"), ("oneCCL", "oneccl"),
    ],
)  # fmt: skip
def test_libraries_lose_their_versions(text, word):
    assert library_of(text, "NVIDIA") == (word, "")


@pytest.mark.parametrize(("maker", "word"), [("NVIDIA", "nccl"), ("AMD", "rccl"), ("Intel", "mpi"), ("", "mpi")])
def test_an_unknown_library_is_the_makers_and_said_to_be_assumed(maker, word):
    assert library_of("", maker) == (word, f"library {word}")
    assert library_of("zork 3", maker) == (word, f"library {word} for 'zork 3'")


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", ""), ("Ring", "ring"), ("Ring (NVLS off)", "ring"), ("Ring forced", "ring"), ("Ring (default)", "ring"),
        ("NVLS", "nvls"), ("NVLSTree forced", "nvls_tree"), ("NVLS Tree", "nvls_tree"), ("Tree", "tree"),
        ("default (RING LL to 1 MiB; NVLS from 2 MiB)", ""),
    ],
)  # fmt: skip
def test_forced_algorithms(text, word):
    assert algorithm_of(text) == (word, "")


def test_an_unknown_algorithm_is_left_to_the_library_and_said_to_be_assumed():
    word, note = algorithm_of("PAT")
    assert word == ""
    assert "'PAT'" in note


@pytest.mark.parametrize(("text", "word"), [
    ("all_reduce", "all_reduce"), ("AllReduce", "all_reduce"), ("all-gather", "all_gather"),
    ("reduce_scatter", "reduce_scatter"), ("alltoall", "all_to_all"), ("permute_ring", "permute"),
    ("permute_bidirectional", "permute"), ("sendrecv", "permute"),
])  # fmt: skip
def test_collectives_as_people_spell_them(text, word):
    assert collective_word(text) == word
    assert word in COLLECTIVES


@pytest.mark.parametrize(
    ("change", "used"),
    [
        ({"library": "nccl 2.27.7"}, True),
        ({"library": "nccl 2.12.12"}, False),
        ({"library": "nccl", "ranks": "4"}, False),
        ({"library": "baidu ring"}, False),
        ({"chip": "A100 SXM4 80GB", "intra_fabric": "NVLink3+NVSwitch", "library": "nccl"}, False),
        ({"chip": "B200 SXM", "intra_fabric": "NVLink5+NVSwitch", "system": "8x B200"}, False),
        ({"chip": "B200 SXM", "intra_fabric": "NVLink5+NVSwitch", "system": "8x B200", "library": "nccl"}, True),
    ],
)
def test_switches_reduce_only_where_library_and_switch_can(change, used):
    assert wires_of(**change).in_switch is used


# --- a table in, a table out ----------------------------------------------------------------------------------------


def test_every_row_that_ships_is_predicted_in_order(whole):
    _, lines = whole
    assert [line["row"] for line in lines] == [row["row"] for row in SHIPPED]
    assert {line["status"] for line in lines} == {"predicted"}
    for line in lines:
        low, value, high = (float(line[name]) for name in ("low", "predicted", "high"))
        assert 0.0 < low <= high
        assert math.isfinite(value)
        assert line["engine"] == "analytic"
        assert "algorithm " in line["assumed"]
        assert line["extrapolated"] == ""


def test_nothing_but_the_configuration_decides(whole, tmp_path, written, predictions):
    path, lines = whole
    blank = [{key: value if key in COLUMNS else "" for key, value in row.items()} for row in SHIPPED[::7]]
    empty = predictions(written(tmp_path / "blank.csv", blank))
    kept = ("predicted", "low", "high", "extrapolated", "assumed", "status")
    assert [[line[k] for k in kept] for line in empty] == [[line[k] for k in kept] for line in lines[::7]]
    again = predictions(written(tmp_path / "shuffled.csv", list(reversed(SHIPPED))))
    assert list(reversed(again)) == lines
    assert predictions(path) == lines


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"collective": "all_reduse"}, "Did you mean 'all_reduce'"),
        ({"collective": "broadcast"}, "collective 'broadcast' has no model"),
        ({"chip": "V1000"}, "chip 'V1000' is not in the catalogue"),
        ({"chip": ""}, "chip '' is not in the catalogue"),
        ({"size_bytes": ""}, "size_bytes is ''"),
        ({"size_bytes": "nan"}, "size_bytes is 'nan'"),
        ({"size_bytes": "-4"}, "size_bytes is '-4'"),
        ({"size_bytes": "1e30"}, "size_bytes is '1e30'"),
        ({"ranks": "1"}, "ranks is 1; a collective needs at least 2"),
        ({"ranks": "0"}, "ranks is '0'"),
        ({"ranks": "2.5"}, "ranks is '2.5'"),
        ({"ranks": "1e12"}, "ranks is '1e12'"),
        ({"ranks": "", "nodes": ""}, "ranks is blank"),
        ({"nodes": "some"}, "nodes is 'some'"),
        ({"concurrent_groups": "-1"}, "concurrent_groups is '-1'"),
        ({"intra_fabric": "NVLink9+NVSwitch"}, "nvlink9 is not in the catalogue"),
        ({"chip": "MI300X", "intra_fabric": "NVLink"}, "the generation of nvlink is not stated"),
    ],
)
def test_a_row_that_cannot_be_is_refused_in_one_line(change, reason, tmp_path, written, predictions):
    with pytest.raises(CollectiveRowError):
        resolve_collective({**HOPPER, **change})
    (line,) = predictions(written(tmp_path / "c.csv", [{**HOPPER, **change}]))
    assert line["status"] == "unsupported"
    assert reason in line["reason"]
    assert "\n" not in line["reason"]
    assert line["predicted"] == ""


def test_ranks_follow_from_nodes_where_they_are_blank():
    words = {"inter_fabric": "InfiniBand NDR", "system": "x"}
    assert wires_of(**words, ranks="", nodes="2", ranks_per_node="8") == wires_of(**words, ranks="16")
    assert wires_of(**words, ranks="16", nodes="2", ranks_per_node="") == wires_of(**words, ranks="16")


def test_wires_without_measured_rows_are_called_extrapolated_in_words(tmp_path, written, predictions):
    known = {**HOPPER, "size_bytes": "268435456"}
    odd = {**known, "system": "elsewhere", "intra_fabric": "PCIe 5.0", "chip": "H100 PCIe", "ranks": "2"}
    first, second = predictions(written(tmp_path / "c.csv", [known, odd]))
    assert first["extrapolated"] == ""
    assert "0 measured rows" in second["extrapolated"]
    assert float(second["low"]) < float(second["high"])
    assert unseen(load_collectives().record, resolve_collective(known)) == ""


# --- what ships -----------------------------------------------------------------------------------------------------


def test_the_selection_is_the_same_whatever_the_order_and_never_more_than_stated():
    rows = {row["row"] for row in SHIPPED}
    assert {row["row"] for row in select(SHIPPED)} == rows
    assert {row["row"] for row in select(tuple(reversed(SHIPPED)))} == rows
    assert len(SHIPPED) <= 600
    keys = ("system", "chip", "collective", "ranks", "library", "algorithm", "dtype")
    assert max(Counter(tuple(row[k] for k in keys) for row in SHIPPED).values()) <= ROWS_PER_SWEEP
    assert selection_csv(SHIPPED).count("\n") == len(SHIPPED) + 1
    assert all(row["source"] and row["locator"] and measured_s(row) for row in SHIPPED)
    assert not {"notes", "split"} & set(HEADER)


def test_the_record_has_every_way_of_holding_out_for_every_class_and_beats_alpha_beta():
    record = load_collectives().record
    assert set(record.classes) == {f"{hold}/{word}" for hold in (*HOLDS, "fabrics") for word in CLASSES}
    for name, entry in record.classes.items():
        assert entry.macro < entry.baseline_macro, name
        assert entry.low < entry.high
    assert set(record.systems) == {row["system"] for row in SHIPPED}
    assert set(recorded_collectives()) == {row["row"] for row in SHIPPED}
    assert record_csv(SHIPPED, {"systems": {}}).count("\n") == 1


def test_what_is_less_known_has_the_wider_interval():
    record = load_collectives().record
    fabric = next(iter(record.fabrics))
    for word in CLASSES:
        known = record.factors(word, fabric=fabric, hold="groups")
        new = record.factors(word, fabric=fabric, system="new")
        foreign = record.factors(word, fabric="wet string", system="new")
        width = [math.log(high / low) for low, high in (known, new, foreign)]
        assert 0 < width[0] <= width[1] <= width[2]
    inside = [record.factors("inside", fabric=f, system="new") for f in (fabric, "wet string")]
    assert inside[0] != inside[1]


def test_constants_stay_few_and_belong_to_one_owner_each():
    constants = load_collectives().constants
    owners = Counter(key.partition("@")[2] for key in constants.deviations)
    assert owners.pop("") <= 40
    for owner, count in owners.items():
        level = owner.partition("=")[0]
        assert count <= sum(level in spec.levels for spec in constants.specs.values()), owner
        assert owner.count("=") == 1, "no product of levels"


def test_a_calibration_is_written_as_it_was_read(tmp_path):
    found = load_collectives()
    text = to_toml(name="default", constants=found.constants, record=found.record, fitted_on=found.fitted_on)
    path = Path(__file__).parents[2] / "simulator" / "data" / "collective_calibrations" / "default.toml"
    assert text == path.read_text(encoding="utf-8")


def test_a_calibration_with_foreign_or_absurd_constants_is_refused_with_every_problem(tmp_path):
    path = tmp_path / "bad.toml"
    name = next(iter(SPECS))
    path.write_text(f'schema = 1\n[deviations]\n"{name[:-1]}" = 0.1\n"{name}" = 99.0\n', encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_collectives(str(path), "bad")
    assert "bad.toml:3" in str(caught.value)
    assert f"Did you mean '{name}'" in str(caught.value)
    assert "bad.toml:4" in str(caught.value)


def test_an_unknown_calibration_is_refused_with_the_nearest():
    with pytest.raises(CalibrationError, match="Did you mean 'default'"):
        load_collectives("defualt")


# --- holding out ----------------------------------------------------------------------------------------------------


def test_holding_out_needs_measured_rows(tmp_path, written):
    table = read_collective_table(written(tmp_path / "c.csv", SHIPPED[:3]))
    with pytest.raises(TableError, match="at least 20 measured rows"):
        hold_out(table, "systems")
    with pytest.raises(TableError, match="not by 'moons'"):
        hold_out(table, "moons")
    one = [row for row in SHIPPED if row["system"] == "8x MI355X node"]
    with pytest.raises(TableError, match="at least 2 systems"):
        hold_out(read_collective_table(written(tmp_path / "o.csv", one)), "systems")


@pytest.mark.parametrize("hold", HOLDS)
def test_what_is_held_out_is_predicted_without_its_own_rows(hold, tmp_path, written):
    mine = [row for row in SHIPPED if row["system"] in ("8x MI355X node", "8x A100 node", "8x V100 node")]
    spoilt_group = ("8x V100 node", "4", "all_reduce")

    def spoils(row):
        if hold == "systems":
            return row["system"] == spoilt_group[0]
        return (row["system"], row["ranks"], row["collective"]) == spoilt_group

    held = hold_out(read_collective_table(written(tmp_path / "c.csv", mine)), hold)
    changed = [{**row, "time_s": "1.0"} if spoils(row) else row for row in mine]
    again = hold_out(read_collective_table(written(tmp_path / "s.csv", changed)), hold)
    inside = [i for i, row in enumerate(mine) if spoils(row)]
    assert inside
    for i in inside:
        assert again.predicted_s[i] == held.predicted_s[i]
        assert again.baseline_s[i] == held.baseline_s[i]
    assert any(again.predicted_s[i] != held.predicted_s[i] for i in range(len(mine)) if i not in inside)


MEASURED = Path(os.environ.get("TRAINYARD_MEASURED", "")) / "collectives.csv"


@pytest.mark.skipif(not MEASURED.is_file(), reason="TRAINYARD_MEASURED names no folder with collectives.csv")
def test_the_record_that_ships_is_what_holding_out_gives():
    table = read_collective_table(MEASURED)
    held = hold_out(table, "groups")
    number = {row["row"]: i for i, row in enumerate(table.rows)}
    for row, shipped in recorded_collectives().items():
        assert held.predicted_s[number[row]] == pytest.approx(shipped["groups"], rel=1e-3)
    assert selection_csv(table.rows).count("\n") == len(SHIPPED) + 1


# --- the baseline ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_textbook_volume_of_two_ranks_and_of_many(collective):
    twice = 2.0 if collective == "all_reduce" else 1.0
    assert ring_volume(collective, 2) == (1.0 if collective in ("permute", "all_reduce") else 0.5)
    assert ring_volume(collective, 1_000_000) == pytest.approx(twice, rel=1e-5)


def test_alpha_beta_finds_the_line_that_made_the_times_and_pools_for_other_fabrics():
    jobs = [resolve_collective({**HOPPER, "size_bytes": str(2**k)}) for k in range(10, 31)]
    size = np.array([job.message_byte for job in jobs])
    measured = 2e-5 + 1.75 * size / 3e11
    fitted = fit_alpha_beta(jobs, measured)
    assert fitted.pairs[jobs[0].fabric] == pytest.approx((2e-5, 3e11), rel=1e-4)
    assert fitted.seconds(jobs) == pytest.approx(measured, rel=1e-4)
    other = [resolve_collective({**HOPPER, "chip": "MI300X", "intra_fabric": "xGMI full mesh"})]
    assert fitted.seconds(other) == pytest.approx([2e-5 + 1.75 * 2**20 / 3e11], rel=1e-4)


# --- the command ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [["validate", "collectives", "--json"], ["validate", "collectives"]])
def test_the_command_prints_the_record_of_what_ships(arguments):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    if "--json" in arguments:
        found = json.loads(result.stdout)
        assert found["rows"] == found["predicted"] == len(SHIPPED)
        assert [g["name"] for g in found["by_size"]] == list(CLASSES.values())
        assert {g["name"] for g in found["by_system"]} == {row["system"] for row in SHIPPED}
    else:
        assert "alpha-beta" in result.stdout


def test_the_command_writes_one_line_for_every_row(tmp_path, written):
    rows = [SHIPPED[0], {**SHIPPED[1], "chip": "V1000"}, SHIPPED[2]]
    out = tmp_path / "out.csv"
    result = CliRunner().invoke(
        cli, ["validate", "collectives", str(written(tmp_path / "c.csv", rows)), "--out", str(out)]
    )
    assert result.exit_code == 0, result.output
    with out.open(encoding="utf-8", newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["status"] for line in lines] == ["predicted", "unsupported", "predicted"]
    assert "refused" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["validate", "colectives"], "Did you mean 'collectives'"),
        (
            ["validate", "convergense"],
            "legal: runs, kernels, collectives, convergence, overlap, timeline. Did you mean 'convergence'?",
        ),
        (["validate", "collectives", "--calibration", "defalt"], "--calibration"),
        (["validate", "collectives", "--by", "systems"], "--by: goes with"),
        (["validate", "collectives", "--held-out", "--by", "chips"], "--by: collectives are held out by groups"),
        (["validate", "kernels", "--held-out", "--by", "systems"], "--by: kernels are held out by chips"),
        (["validate", "collectives", "--held-out", "--by", "moons"], "--by"),
        (["validate", "collectives", "absent.csv"], "absent.csv"),
    ],
)
def test_what_the_command_cannot_use_is_said(arguments, message):
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("row,collective\n0,all_reduce\n", "columns missing: chip, ranks, size_bytes"),
    ],
)
def test_a_file_that_is_no_table_of_collectives_is_refused(text, message, tmp_path):
    path = tmp_path / "c.csv"
    path.write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["validate", "collectives", str(path)])
    assert result.exit_code == 2
    assert message in result.output
