"""Transports: what ships and says where it comes from, three limits of a rate, files that cannot be used."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from hwmodels.datafile import DataFileError, parse_toml
from simulator.collectives.flat_ring import seconds as ring_seconds
from simulator.collectives.rounds import CollectiveError
from simulator.collectives.transport import Transport, read_transports, transport, transports

EACH = pytest.mark.parametrize("one", transports().values(), ids=lambda one: one.id)
GOOD = """
[t]
name = "T"
direct = false
efficiency = { value = 0.9, unit = "1", source = "s", locator = "l" }
efficiency_low = { value = 0.5, unit = "1", source = "s", locator = "l" }
efficiency_high = { value = 1, unit = "1", source = "s", locator = "l" }
message = { value = 2, unit = "us", source = "s", locator = "l" }
message_low = { value = 1, unit = "us", source = "s", locator = "l" }
message_high = { value = 3, unit = "us", source = "s", locator = "l" }
copies = { value = 2, unit = "1", source = "s", locator = "l" }

[sources.s]
title = "T"
where = "W"
kind = "recalled"
"""


def test_the_transports_of_the_field_ship() -> None:
    assert list(transports()) == ["tcp", "grpc", "mpi", "rdma", "gpudirect", "efa"]


@EACH
def test_every_value_has_a_source_and_ranges_hold_their_values(one: Transport) -> None:
    fields = [key.split(".")[1] for key in one.facts if key.startswith(f"{one.id}.")]
    assert {"efficiency", "efficiency_low", "efficiency_high", "message", "copies"} <= set(fields)
    for found in (one.efficiency, one.message_s, one.core_byte_per_s):
        assert found is None or found.low <= found.value <= found.high


@EACH
def test_no_limit_but_the_wire_leaves_its_share(one: Transport) -> None:
    common: dict[str, Any] = {"wire_byte_per_s": 12.5e9, "host_memory_byte_per_s": 1e15, "cores": 1e6}
    rates = [float(one.byte_per_s(**common, end=end)) for end in ("low", "value", "high")]
    assert rates == sorted(rates)
    assert rates[1] == pytest.approx(one.efficiency.value * 12.5e9)
    assert rates[2] < 12.5e9


def test_copies_through_memory_and_cores_bind_where_they_must() -> None:
    grpc, direct = transport("grpc"), transport("gpudirect")
    assert grpc.host_byte_per_byte() == 8.0  # 3 copies of two passes, one pass of the chip, one of the card
    assert direct.host_byte_per_byte() == 0.0
    fast: dict[str, Any] = {"wire_byte_per_s": 50e9, "host_memory_byte_per_s": 80e9}
    assert grpc.byte_per_s(**fast, cores=[1, 4, 100]) == pytest.approx([1e9, 4e9, 10e9])
    assert direct.byte_per_s(**fast) == pytest.approx(0.966 * 50e9)


def test_only_software_transports_need_cores() -> None:
    needed = {name: float(one.cores_for(12.5e9)) for name, one in transports().items()}
    assert needed == {"tcp": 4, "grpc": 11, "mpi": 0, "rdma": 0, "gpudirect": 0, "efa": 0}


def test_grpc_is_never_faster_than_tcp_and_rdma_never_slower() -> None:
    for wire in (1.25e9, 3.125e9, 12.5e9):
        rates = {
            name: float(one.byte_per_s(wire_byte_per_s=wire, host_memory_byte_per_s=60e9))
            for name, one in transports().items()
        }
        assert rates["grpc"] < rates["tcp"] < rates["rdma"]
    messages = {name: one.message_s.value for name, one in transports().items()}
    assert messages["grpc"] > messages["tcp"] > messages["rdma"]


@EACH
def test_a_message_costs_the_host_then_the_wire(one: Transport) -> None:
    found = one.seconds([0.0, 1e6], latency_s=1e-6, byte_per_s=1e9)
    assert found[0] == 0.0
    assert found[1] == pytest.approx(one.message_s.value + 1e-6 + 1e-3)


#: What a step of BERT-base (110 M parameters in fp32, exchanged by a ring after the backward pass) loses against one
#: chip's, 4 chips a server, from HKBU-HPML/ddl-benchmarks@30de09bc38: rate of the network -> chips -> seconds.
LOST = {1.25e9: {8: 0.6859, 16: 0.7390, 32: 0.7622}, 12.5e9: {8: 0.3356, 16: 0.3798, 32: 0.4266}}


@pytest.mark.parametrize("chips", [8, 16, 32])
def test_sockets_carry_a_ring_as_measured(chips: int) -> None:
    def ring(wire_byte_per_s: float, end: str) -> float:
        rate = transport("tcp").byte_per_s(
            wire_byte_per_s=wire_byte_per_s, host_memory_byte_per_s=60e9, cores=1, end=end
        )
        return float(ring_seconds("all_reduce", ranks=chips, message_byte=440e6, latency_s=15e-6, byte_per_s=rate))

    # At 10 Gbit/s the wire binds, at 100 Gbit/s the one core that serves the socket.
    assert ring(1.25e9, "value") == pytest.approx(LOST[1.25e9][chips], rel=0.05)
    assert ring(12.5e9, "high") < LOST[12.5e9][chips] < ring(12.5e9, "low")
    assert ring(12.5e9, "value") == pytest.approx(LOST[12.5e9][chips], rel=0.35)


def test_a_good_file_is_read() -> None:
    one = read_transports(parse_toml(GOOD, name="x.toml"))["t"]
    assert (one.efficiency.low, one.message_s.value, one.copies) == (0.5, 2e-6, 2)
    assert one.core_byte_per_s is None
    assert math.isclose(one.host_byte_per_byte(), 6.0)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("value = 0.5,", "value = 0.95,", r"x.toml:5: t.efficiency: is 0.9, its range 0.95 to 1"),
        ("{ value = 1, unit = \"1\"", "{ value = 1.2, unit = \"1\"", r":5: t.efficiency: has a range of 0.5 to 1.2"),
        ("direct = false", "direct = 0", r"x.toml:4: t.direct: is 0; true or false"),
        ("value = 2, unit = \"us\"", "value = 2, unit = \"GB\"", r"t.message: unit 'GB' is a unit of byte"),
        ("copies", "copys", r"t.copies: is missing"),
        ("\"s\", locator = \"l\" }\nmessage =", "\"r\", locator = \"l\" }\nmessage =", r"source 'r' is not"),
        ("[t]", "top = 1\n[t]", r"x.toml:2: top: is not known here; every transport is a table"),
    ],
)  # fmt: skip
def test_a_bad_file_says_where_and_what(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(DataFileError, match=says):
        read_transports(parse_toml(GOOD.replace(old, new, 1), name="x.toml"))


def test_an_empty_file_is_refused() -> None:
    with pytest.raises(DataFileError, match="describes no transport"):
        read_transports(parse_toml("[sources]\n", name="x.toml"))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: transport("grcp"), "grpc"),
        (
            lambda: transport("tcp").byte_per_s(wire_byte_per_s=1, host_memory_byte_per_s=1, end="best"),
            "end is 'best'; one of low, value, high",
        ),
        (
            lambda: transport("tcp").byte_per_s(wire_byte_per_s=0, host_memory_byte_per_s=1),
            "wire_byte_per_s is 0; a finite number, above 0",
        ),
    ],
)
def test_refusals_are_one_clear_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(CollectiveError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)
