"""The curve of one collective: its numbers, its limits, its three forms, and every bad question in one line."""

from __future__ import annotations

import json
import os
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from simulator import scale_collective
from simulator.cli import cli
from simulator.cluster import system, system_ids
from simulator.collective_calibration import CollectiveCalibration, CollectiveRecord, load_collectives
from simulator.collective_curve import CollectiveCurve, bus_factor, busiest_wire_s, name_in_record
from simulator.collective_question import DEFAULT_BYTE, LIBRARIES, MOST_FLOW_RANKS, default_ranks, sizes_of
from simulator.collectives.algorithms import ALGORITHMS
from simulator.collectives.exchange import COLLECTIVES
from simulator.collectives.library_cost import CHOICES, LIMITS
from simulator.errors import InputError
from simulator.group_wires import wires_of
from simulator.report.collective_page import collective_html
from simulator.report.collective_text import collective_mapping, collective_text, size_word
from simulator.report.figures import collective_curve
from simulator.report.json_form import dumps
from simulator.validation.collective_software import _LIBRARIES

KIB, MIB, GIB = 2**10, 2**20, 2**30
SYSTEMS = system_ids()
REDUCTIONS = ("all_reduce", "all_gather", "reduce_scatter")
#: Bus bandwidth of large all-reduces on 2 .. 8 chips of a V100 cube mesh [GB/s], as the library reaches it.
PLATEAUS = {2: 22.5, 3: 45.0, 4: 86.0, 5: 37.0, 6: 46.0, 7: 87.0, 8: 134.5}


@cache
def curve(collective: str, name: str, *ranks: int, **asked: Any) -> CollectiveCurve:
    return scale_collective(collective, system=name, ranks=ranks or None, **asked)


def run(*args: str) -> Result:
    result = CliRunner().invoke(cli, ["scale", *args])
    assert "Traceback" not in result.output
    assert all(line.startswith("trainyard: ") for line in result.stderr.splitlines() if line)
    return result


def refused(*args: str) -> list[str]:
    result = run(*args)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    return [line.removeprefix("trainyard: ") for line in result.stderr.splitlines()]


# --- numbers ------------------------------------------------------------------------------------------------------


def plateau(ranks: int) -> float:
    (line,) = curve("all_reduce", "dgx1-v100", ranks, message_byte=(GIB,)).lines
    return line.points[0].bus_byte_per_s / 1e9


@pytest.mark.parametrize("ranks", [n for n in PLATEAUS if n != 5])
def test_the_v100_cube_mesh_has_the_plateaus_of_its_rings(ranks: int) -> None:
    assert plateau(ranks) == pytest.approx(PLATEAUS[ranks], rel=0.1)


def test_five_chips_of_the_cube_mesh_have_relayed_rings_or_the_host_and_the_line_says_which() -> None:
    (line,) = curve("all_reduce", "dgx1-v100", 5).lines
    text = collective_text(curve("all_reduce", "dgx1-v100", 5))
    if line.wires.up_byte_per_s < 25e9:
        assert "no ring of direct links, 15.8 GB/s through the host" in text
    else:
        assert plateau(5) == pytest.approx(PLATEAUS[5], rel=0.1)


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_point_holds_together(name: str, collective: str) -> None:
    cluster = system(name).cluster
    counts = sorted({n for n in (2, *default_ranks(cluster), 2 * cluster.chips_per_server) if n >= 2})
    found = curve(collective, name, *(n for n in counts if n <= cluster.max_chips))
    for line in found.lines:
        assert [p.message_byte for p in line.points] == list(DEFAULT_BYTE)
        for p in line.points:
            assert p.seconds > 0
            assert p.algorithm_byte_per_s == pytest.approx(p.message_byte / p.seconds)
            assert p.bus_byte_per_s == pytest.approx(bus_factor(collective, line.ranks) * p.algorithm_byte_per_s)
            assert p.choice in CHOICES
            assert p.limit in LIMITS
            assert (p.choice == "sends") == (collective in ("all_to_all", "permute"))
            assert 0 < p.wire_share <= 1.0
            assert p.low_s is None or p.low_s < p.seconds * 1.2
            assert p.low_s is None or p.high_s is None or p.low_s < p.high_s
    assert dumps(collective_mapping(found))


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("collective", REDUCTIONS)
def test_a_tiny_message_is_latency_and_more_bytes_take_longer_by_one_algorithm(name: str, collective: str) -> None:
    cluster = system(name).cluster
    for line in curve(collective, name, *default_ranks(cluster)).lines:
        assert line.points[0].limit == "latency"
        for less, more in zip(line.points, line.points[1:], strict=False):
            assert more.seconds > less.seconds or less.choice != more.choice
            assert more.seconds >= less.seconds  # the least of several that grow


@pytest.mark.parametrize("name", SYSTEMS)
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_a_huge_message_is_wires(name: str, collective: str) -> None:
    cluster = system(name).cluster
    for n in default_ranks(cluster):
        (line,) = curve(collective, name, n, message_byte=(64 * GIB,)).lines
        bound = {"links of a chip"} if line.domains == 1 else {"network cards"}
        # A library's channels may be slower than the wires; for sends only.
        more = set() if collective in REDUCTIONS else {"channels of the library"}
        assert line.points[0].limit in bound | more


def test_bus_factors_are_what_a_rank_must_send() -> None:
    assert [bus_factor(c, 4) for c in COLLECTIVES] == [1.5, 0.75, 0.75, 0.75, 1.0]
    for collective in REDUCTIONS:
        rounds = ALGORITHMS["ring"].rounds(collective, 8, 8 * KIB)
        sent = sum(int(r.byte[r.source == 0].sum()) * r.repeat for r in rounds)
        assert sent == bus_factor(collective, 8) * 8 * KIB


def test_the_busiest_wire_by_hand() -> None:
    import numpy as np

    size = np.array([1e9])
    inside = wires_of(system("dgx-a100").cluster, ranks=8, library="nccl")  # 300 GB/s a chip
    assert busiest_wire_s(inside, "all_reduce", ["ring, large-message protocol"], size)[0] == pytest.approx(1.75 / 300)
    assert busiest_wire_s(inside, "all_gather", ["ring, small-message protocol"], size)[0] == pytest.approx(0.875 / 300)
    assert busiest_wire_s(inside, "all_reduce", ["tree, large-message protocol"], size)[0] == pytest.approx(2 / 300)
    assert busiest_wire_s(inside, "all_reduce", ["reduction in the switches"], size)[0] == pytest.approx(1.125 / 300)
    assert busiest_wire_s(inside, "all_to_all", ["sends"], size)[0] == pytest.approx(0.875 / 300)
    across = wires_of(system("dgx-a100").cluster, ranks=32, library="nccl")  # 8 cards of 25 GB/s a server
    assert busiest_wire_s(across, "all_reduce", ["ring, large-message protocol"], size)[0] == pytest.approx(
        2 * 31 / 32 / 200
    )
    assert busiest_wire_s(across, "all_to_all", ["sends"], size)[0] == pytest.approx(8 * 0.75 / 200)
    pair = wires_of(system("dgx-a100").cluster, ranks=16, library="nccl")
    assert busiest_wire_s(pair, "all_reduce", ["tree, large-message protocol"], size)[0] == pytest.approx(
        max(2 / 300, 1 / 200)
    )


# --- the question -------------------------------------------------------------------------------------------------


def test_defaults_are_the_chips_of_a_server_and_the_library_of_the_maker() -> None:
    assert [line.ranks for line in curve("all_reduce", "dgx1-v100").lines] == [8]
    assert [line.ranks for line in curve("all_reduce", "gb200-nvl72").lines] == [4, 72]
    assert [line.ranks for line in curve("all_reduce", "deepbench-knl").lines] == [8]
    assert curve("all_reduce", "dgx1-v100").question.library == "nccl"
    assert curve("all_reduce", "frontier").question.library == "rccl"
    assert curve("all_reduce", "tpu-v4-pod").question.library == "other"


def test_every_library_that_rows_name_can_be_asked_for() -> None:
    assert {word for _, word in _LIBRARIES} | {"other"} == set(LIBRARIES)


@pytest.mark.parametrize(
    ("text", "sizes"),
    [
        ("1KiB..8KiB", (1024, 2048, 4096, 8192)),
        ("1KiB .. 9KiB", (1024, 2048, 4096, 8192)),
        ("64MiB,1MiB", (MIB, 64 * MIB)),
        ("1KB", (1000,)),
        ("1kB,1MB,1GB", (1000, 10**6, 10**9)),
        ("3 B..13 B", (3, 6, 12)),
    ],
)
def test_sizes_are_read_as_they_are_written(text: str, sizes: tuple[int, ...]) -> None:
    assert sizes_of(text) == sizes


@pytest.mark.parametrize(
    "text", ["", "1", "1Kb", "1KiB..", "2KiB..1KiB", "0B", "0.5B", "1 PB..2PB", "-1B", "1KiB,,2KiB"]
)
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"1KiB\.\.1GiB"):
        sizes_of(text)


@pytest.mark.parametrize("word", ["all_reduce", "all-reduce", "AllReduce", "allreduce"])
def test_a_collective_may_be_spelled_as_people_do(word: str) -> None:
    assert curve(word, "dgx1-v100").question.collective == "all_reduce"


def test_one_mistake_is_one_line_and_all_are_told_together() -> None:
    lines = refused(
        "--collective", "all_reduse", "--system", "dgx1-v10", "--bytes", "1Kb", "--chips", "0", "--stride", "x",
        "--library", "ncl", "--algorithm", "rign", "--cards", "-1", "--degraded", "2",
    )  # fmt: skip
    places = ["chips", "bytes", "stride", "cards", "collective", "algorithm", "library", "degraded", "system"]
    assert [line.partition(":")[0].removeprefix("--") for line in lines] == places
    for meant in ("'all_reduce'", "'dgx1-v100'", "'kB'", "'nccl'", "'ring'"):
        assert sum(f"{meant}" in line for line in lines if "Did you mean" in line) == 1, meant


ON_V100 = ("--collective", "all_reduce", "--system", "dgx1-v100")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ((*ON_V100, "--chips", "1"), "--chips: is 1; a collective needs at least 2."),
        ((*ON_V100, "--chips", "8192"), "--chips: is 8192, but dgx1-v100 has 4096 chips; legal: 2 to 4096."),
        (
            (*ON_V100, "--chips", "1024", "--stride", "8"),
            "--stride: is 8: 8 groups of 1024 ranks take 8192 chips, but dgx1-v100 has 4096; legal: 1 to 4.",
        ),
        ((*ON_V100, "--stride", "0"), "--stride: is 0; legal: a whole number from 1."),
        ((*ON_V100, "--cards", "5"), "--cards: is 5, but a server of dgx1-v100 has 4; legal: 1 to that."),
        ((*ON_V100, "--cards", "0"), "--cards: is 0; legal: a whole number from 1."),
        ((*ON_V100, "--degraded", "0"), "--degraded: is 0; legal: the share that is left, above 0 and at most 1."),
        ((*ON_V100, "--algorithm", "nvls"), "--algorithm: no switch of dgx1-v100 reduces; legal: auto, ring, tree."),
        (
            (*ON_V100, "--algorithm", "tree", "--library", "nccl-2.0-mpi"),
            "--algorithm: nccl-2.0-mpi has rings alone; legal: auto, ring.",
        ),
        (
            ("--collective", "all_gather", "--system", "dgx1-v100", "--algorithm", "tree"),
            "--algorithm: all_gather has no tree; legal: auto, ring.",
        ),
        (
            ("--collective", "all_to_all", "--system", "dgx1-v100", "--algorithm", "ring"),
            "--algorithm: all_to_all is made of sends; legal: auto.",
        ),
        ((*ON_V100, "--library", "rccl"), "--library: rccl does not run on NVIDIA chips; legal there: "),
        ((*ON_V100, "--chips", ",".join(map(str, range(2, 67)))), "--chips: is '2,3,"),
        ((*ON_V100, "--bytes", ",".join(f"{n}B" for n in range(1, 66))), "--bytes: 65 sizes; legal: 1 to 64."),
        ((*ON_V100, "--bytes", "1KiB,x"), "--bytes: 'x' is not a number and a unit"),
        ((*ON_V100, "--flows", "--chips", "512"), "--flows: 512 ranks are too many flows; legal: at most 256 ranks"),
        (
            ("--collective", "all_reduce", "--system", "dgx-h100", "--algorithm", "nvls", "--flows"),
            "--flows: nvls reduces in switches and has no rounds; legal: auto, ring, tree.",
        ),
        (ON_V100[:2], "--system: is missing; it goes with --collective."),
        (
            (*ON_V100, "job.toml", "--model", "resnet50", "--mode", "strong", "--set", "tp=8"),
            "'job.toml', --model, --mode, --set: of a job; --collective shows one collective without a job.",
        ),
        ((*ON_V100, "--html", "none/x.html"), "'none/x.html': there is no directory"),
        (
            ("--system", "dgx1-v100", "--chips", "8", "--stride", "2", "--html", "x", "--flows"),
            "--stride, --flows, --html: only with --collective;",
        ),
        (("--system", "dgx1-v100", "--model", "resnet50"), "missing option '--chips'."),
    ],
)
def test_a_question_that_cannot_be_is_one_line(args: tuple[str, ...], said: str) -> None:
    (line,) = refused(*args)
    assert line.startswith(said)


HALVES: list[Any] = [0.5]
NO_NUMBERS: list[Any] = [float("nan")]


def test_python_names_its_own_arguments() -> None:
    with pytest.raises(InputError) as found:
        scale_collective("all_reduce", system="dgx1", ranks=[1], message_byte=HALVES, degraded_share=2.0, cards=-1)
    assert [line.partition(":")[0] for line in found.value.problems] == ["message_byte", "degraded_share", "system"]
    with pytest.raises(InputError) as found:
        scale_collective("all_reduce", system="dgx1-v100", ranks=[], message_byte=[], cards=9)
    assert [line.partition(":")[0] for line in found.value.problems] == ["message_byte", "ranks"]
    with pytest.raises(InputError) as found:
        scale_collective(
            "all_reduce", system="dgx1-v100", ranks=[*HALVES, 2], message_byte=NO_NUMBERS, stride=HALVES[0]
        )
    assert [line.partition(":")[0] for line in found.value.problems] == ["message_byte", "stride", "ranks"]


def test_nothing_from_a_flag_steers_the_terminal() -> None:
    result = run("--collective", "\x1b[2J", "--system", "\x1b[31m", "--library", "\x07", "--algorithm", "\x07")
    assert result.exit_code == 2
    assert "\x1b" not in result.output
    assert "\x07" not in result.output


# --- placement ----------------------------------------------------------------------------------------------------


def seconds_of(*args: Any, size: int = GIB, **asked: Any) -> float:
    (line,) = scale_collective(*args, message_byte=[size], **asked).lines
    return line.points[0].seconds


def test_groups_side_by_side_share_the_cards() -> None:
    alone = seconds_of("all_reduce", system="selene", ranks=[16], algorithm="ring")
    members = seconds_of("all_reduce", system="selene", ranks=[16], stride=8, algorithm="ring")
    assert members > 3 * alone  # one member of each server has an eighth of its cards


def test_fewer_cards_take_longer() -> None:
    times = [seconds_of("all_reduce", system="selene", ranks=[64], cards=n, algorithm="ring") for n in (1, 2, 4, 8)]
    assert times == sorted(times, reverse=True)
    assert times[0] > 3 * times[-1]


@pytest.mark.parametrize("name", ["dgx1-v100", "dgx-h100", "selene", "frontier", "tpu-v4-pod"])
@pytest.mark.parametrize("collective", COLLECTIVES)
def test_a_degraded_link_sets_the_pace_of_all(name: str, collective: str) -> None:
    ranks = [2 * system(name).cluster.chips_per_server]
    asked: dict[str, Any] = {"system": name, "ranks": ranks, "message_byte": [64 * GIB]}
    (whole,), (half,) = (scale_collective(collective, **asked, degraded_share=s).lines for s in (1.0, 0.5))
    assert half.points[0].seconds == pytest.approx(2 * whole.points[0].seconds, rel=0.05)
    assert half.points[0].wire_share == pytest.approx(whole.points[0].wire_share / 2, rel=0.05)
    text = collective_text(scale_collective(collective, **asked, degraded_share=0.5))
    assert "slowest card have 50 % of their rate" in text


def test_a_forced_algorithm_is_never_quicker_than_the_choice() -> None:
    for n in (8, 64):
        for word in ("ring", "tree", "nvls", "nvls_tree"):
            forced = curve("all_reduce", "dgx-h100", n, algorithm=word).lines[0].points
            free = curve("all_reduce", "dgx-h100", n).lines[0].points
            assert all(p.choice.split(",")[0] in (word, "reduction in the switches") for p in forced)
            assert all(a.seconds >= b.seconds for a, b in zip(forced, free, strict=True))


# --- what it rests on ---------------------------------------------------------------------------------------------


def test_rows_of_the_same_wires_are_counted_and_others_said_to_be_none() -> None:
    record = load_collectives().record
    (line,) = curve("all_reduce", "dgx1-v100").lines
    assert line.measured_rows == record.fabrics["nvlink2-cube_mesh|"]
    text = collective_text(curve("all_reduce", "dgx1-v100"))
    assert f"Rests on {line.measured_rows} measured rows of nvlink2-cube_mesh." in text
    (none,) = curve("all_reduce", "andromeda").lines
    assert none.measured_rows == 0
    text = " ".join(collective_text(curve("all_reduce", "andromeda")).split())
    assert "Rests on 0 measured rows of " in text
    assert "Extrapolated where there are 0 measured rows" in text


def test_the_interval_is_the_records() -> None:
    record = load_collectives().record
    (line,) = curve("all_reduce", "dgx1-v100").lines
    for p in line.points:
        size_class = "small" if p.message_byte < MIB else "inside"
        factors = record.factors(size_class, fabric="nvlink2-cube_mesh|")
        assert factors is not None
        assert p.low_s == pytest.approx(p.seconds * factors[0])
        assert p.high_s == pytest.approx(p.seconds * factors[1])
    entry = record.classes["systems/inside"]
    assert f"{100 * entry.macro:.1f} % from 1 MiB in one server" in collective_text(curve("all_reduce", "dgx1-v100"))


def test_without_a_record_there_is_no_interval_and_the_text_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import simulator.collective_curve

    known = load_collectives()
    bare = CollectiveCalibration(name="bare", constants=known.constants, record=CollectiveRecord(), fitted_on={})
    monkeypatch.setattr(simulator.collective_curve, "load_collectives", lambda: bare)
    found = scale_collective("all_reduce", system="dgx1-v100")
    assert {(p.low_s, p.high_s) for p in found.lines[0].points} == {(None, None)}
    assert "No interval (-) where no collective of the kind was measured." in collective_text(found)
    assert '"low_s": null' in dumps(collective_mapping(found))
    assert len([t for t in collective_curve(found)["data"] if "80 %" in t["name"]]) == 0
    assert collective_html(found)


def test_a_system_is_found_in_the_record_by_its_name_alone_or_after_its_owners() -> None:
    record = load_collectives().record
    known = {name: name_in_record(system(name).cluster, record) for name in SYSTEMS}
    assert known["gb200-nvl72"] == "GB200 NVL72"
    assert known["p6-b200.48xlarge"] == "AWS p6-b200.48xlarge"
    assert known["oci-bm.gpu4.8"] == "OCI BM.GPU4.8"
    assert known["dgx1-v100"] == known["selene"] == ""
    assert {name for name in known.values() if name} <= set(record.systems)


# --- the second way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collective", REDUCTIONS)
@pytest.mark.parametrize("ranks", [2, 4, 6, 8])
def test_flows_on_the_cube_mesh_run_its_rings_at_their_nominal_rate(collective: str, ranks: int) -> None:
    (line,) = curve(collective, "dgx1-v100", ranks, message_byte=(GIB,), flows=True, algorithm="ring").lines
    (p,) = line.points
    assert p.flow_algorithm == "ring"
    nominal_s = bus_factor(collective, ranks) * GIB / line.wires.up_byte_per_s
    assert p.flow_s == pytest.approx(nominal_s, rel=0.01)
    assert nominal_s < p.flow_s < p.seconds


@pytest.mark.parametrize("name", ["dgx1-v100", "dgx-a100", "dgx-h100", "summit", "frontier", "perlmutter"])
def test_rings_through_two_servers_fill_all_cards(name: str) -> None:
    """The ring of the cost model at nominal rates is what flows find, though one knows rates and the other wires."""
    chips = system(name).cluster.chips_per_server
    asked = {"message_byte": (GIB,), "flows": True, "algorithm": "ring"}
    (line,) = curve("all_gather", name, 2 * chips, **asked).lines
    (p,) = line.points
    assert p.flow_s == pytest.approx(p.wire_share * p.seconds, rel=0.02)


def test_rounds_of_the_table_take_what_the_rings_of_flows_take() -> None:
    from simulator.cluster_topology import cluster_topology, tier_rates
    from simulator.flows import Wires, run_rounds

    cluster = system("dgx-a100").cluster
    wires = Wires.of(cluster_topology(cluster, servers=1), tier_rates(cluster), routing="sprayed")
    for size in (KIB, 1000, MIB):
        (line,) = curve("all_reduce", "dgx-a100", 8, message_byte=(size,), flows=True, algorithm="ring").lines
        table = run_rounds(wires, ALGORITHMS["ring"].rounds("all_reduce", 8, size)).seconds
        assert line.points[0].flow_s == pytest.approx(table, rel=1e-4)


def test_flows_of_all_groups_share_the_wires() -> None:
    asked = {"message_byte": (GIB,), "flows": True}
    (alone,) = curve("all_to_all", "dgx-a100", 4, **asked).lines
    (beside,) = curve("all_to_all", "dgx-a100", 4, stride=4, **asked).lines
    assert beside.points[0].flow_s > 3 * alone.points[0].flow_s  # its members are in two servers, with 3 other groups


@pytest.mark.parametrize("collective", COLLECTIVES)
def test_every_collective_has_a_second_way_and_says_which(collective: str) -> None:
    found = curve(collective, "dgx-a100", 2, 5, 8, message_byte=(KIB, 10**6, MIB), flows=True)
    for line in found.lines:
        for p in line.points:
            assert 0 < p.flow_s < p.seconds
            assert p.flow_algorithm in (*ALGORITHMS, "neighbours")
    text = collective_text(found)
    assert "as flows" in text
    assert "nominal rates" in text
    assert 'flow_s": ' in dumps(collective_mapping(found))
    assert "flow_s" not in dumps(collective_mapping(curve(collective, "dgx-a100", 8)))


def test_flows_are_refused_beyond_so_many_ranks_of_all_groups() -> None:
    with pytest.raises(InputError, match=f"8 groups of 64 ranks are too many flows; legal: at most {MOST_FLOW_RANKS}"):
        scale_collective("all_reduce", system="selene", ranks=[64], stride=8, flows=True)


# --- text, JSON, page ---------------------------------------------------------------------------------------------


def test_the_text_names_wires_and_shows_every_point() -> None:
    found = curve("all_reduce", "dgx1-v100")
    text = collective_text(found)
    assert text.startswith("all_reduce on dgx1-v100: 8 ranks, library nccl, which chooses the algorithm\n")
    assert "8 ranks in 1 server: 6 rings of 25 GB/s (NVLink 2)" in text
    rows = [line.split() for line in text.splitlines() if re.match(r" *\d+ [KMG]iB .* us|.* ms", line)]
    assert [" ".join(row[:2]) for row in rows] == [size_word(size) for size in DEFAULT_BYTE]
    last = found.lines[0].points[-1]
    assert rows[-1][2] == f"{1e3 * last.seconds:.1f}"
    assert f"{last.bus_byte_per_s / 1e9:.0f}" in rows[-1]
    assert rows[0][-3:] == ["latency", "ring,", "large"] or "latency" in rows[0]
    assert "links of a chip" in " ".join(rows[-1])
    assert all(len(line) <= 100 for line in text.splitlines())


@pytest.mark.parametrize(
    ("name", "ranks", "said"),
    [
        ("dgx-h100", 16, "16 ranks in 2 servers: 18 links of 25 GB/s a chip through switches (NVLink 4); 8 cards of "
         "50 GB/s out of each server (infiniband-ndr)"),
        ("oam-mi300x", 8, "8 ranks in 1 server: 7 pairs of 64 GB/s a chip"),
        ("gb200-nvl72", 72, "72 ranks in 1 rack: 18 links of 50 GB/s a chip through switches (NVLink 5)"),
        ("deepbench-knl", 8, "8 ranks in 8 servers: 1 card of 12.5 GB/s out of each server (omni-path)"),
    ],
)  # fmt: skip
def test_the_wires_are_told_as_they_are_built(name: str, ranks: int, said: str) -> None:
    assert said in " ".join(collective_text(curve("all_reduce", name, ranks)).split())


def test_the_plot_rises_to_its_largest_value() -> None:
    lines = collective_text(curve("all_reduce", "dgx1-v100")).splitlines()
    rows = [line.partition("|")[2] for line in lines if re.match(r"[ \d.,]{9} \|", line)]
    height = [max(i for i, row in enumerate(reversed(rows)) if column < len(row) and row[column] == "o")
              for column in range(0, 4 * len(DEFAULT_BYTE) - 3, 4)]  # fmt: skip
    assert height == sorted(height)
    assert (height[0], height[-1]) == (0, len(rows) - 1)
    several = collective_text(curve("all_reduce", "dgx1-v100", 2, 8))
    assert "(a 2, b 8 ranks; * several)" in several


def test_a_curve_of_one_size_or_many_counts_can_be_told() -> None:
    assert "1 GiB" in collective_text(curve("all_reduce", "dgx1-v100", message_byte=(GIB,)))
    many = collective_text(curve("all_reduce", "dgx1-v100", *range(2, 66), message_byte=tuple(range(1, 65))))
    assert many.count(" ranks in ") == 64
    assert max(map(len, many.splitlines())) <= 100


def test_json_of_the_command_holds_the_numbers_of_python() -> None:
    args = ("--collective", "all_gather", "--system", "selene", "--chips", "8..64", "--bytes", "1MiB,1GiB", "--json")
    value = json.loads(run(*args).stdout)
    found = curve("all_gather", "selene", 8, 16, 32, 64, message_byte=(MIB, GIB))
    assert value == json.loads(dumps(collective_mapping(found)))
    assert [line["ranks"] for line in value["lines"]] == [8, 16, 32, 64]
    for line, told in zip(found.lines, value["lines"], strict=True):
        assert [p["seconds"] for p in told["points"]] == [p.seconds for p in line.points]
        assert told["extrapolated"] == (line.measured_rows == 0)


def test_results_go_to_files_all_or_nothing(tmp_path: Path) -> None:
    out, html = tmp_path / "curve.txt", tmp_path / "curve.html"
    result = run(*ON_V100, "--out", str(out), "--html", str(html))
    assert result.exit_code == 0
    assert result.stdout == ""
    assert out.read_text("utf-8") == run(*ON_V100).stdout
    assert html.read_text("utf-8").startswith("<!doctype html>")


def test_the_page_stands_alone_and_is_the_same_twice() -> None:
    from plotly.graph_objects import Figure
    from plotly.offline import get_plotlyjs

    found = curve("all_reduce", "dgx1-v100", 2, 8, flows=True, message_byte=(KIB, MIB, GIB))
    whole = collective_html(found)
    assert whole == collective_html(scale_collective("all_reduce", system="dgx1-v100", ranks=[8, 2], flows=True,
                                                     message_byte=[GIB, MIB, KIB]))  # fmt: skip
    assert whole.count(get_plotlyjs()) == 1
    page = whole.replace(get_plotlyjs(), "")
    assert "default-src 'none';" in page
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    assert "http" not in policy
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "6 rings of 25 GB/s" in page
    figure = collective_curve(found)
    Figure(figure)
    named = [trace for trace in figure["data"] if "80 %" not in trace["name"]]
    for line in found.lines:
        time, bus, flows = [t for t in named if t["name"].startswith(f"{line.ranks} ranks")]
        assert time["y"] == [p.seconds for p in line.points]
        assert bus["y"] == [p.bus_byte_per_s / 1e9 for p in line.points]
        assert flows["y"] == [p.flow_s for p in line.points]
    bands = [trace for trace in figure["data"] if "80 %" in trace["name"]]
    assert len(bands) == 2
    assert figure["layout"]["yaxis"]["type"] == figure["layout"]["xaxis2"]["type"] == "log"


def test_in_a_browser_the_page_draws_its_figure_and_asks_for_nothing(tmp_path: Path) -> None:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = os.environ.get("TRAINYARD_BROWSER") or next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no chromium on this machine")
    path = tmp_path / "curve.html"
    path.write_text(collective_html(curve("all_reduce", "dgx1-v100", 2, 8)), encoding="utf-8")
    requests, complaints = [], []
    with playwright.sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(path.as_uri())
        page.wait_for_function("document.querySelectorAll('#curve .main-svg').length >= 1")
        assert page.locator("#curve .scatterlayer .trace").count() == 6
        chromium.close()
    assert requests == [path.as_uri()]
    assert complaints == []
