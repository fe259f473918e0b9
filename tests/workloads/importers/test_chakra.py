"""Chakra traces: both forms give one step; what has no work, no order or no end is refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hwmodels.datafile import DataFileError
from workloads.importers import chakra
from workloads.importers.chakra import step_from_chakra

Entry = dict[str, Any]


def node(number: int, kind: str, *waits: int, name: str = "", **attributes: Any) -> Entry:
    def of(key: str, value: Any) -> Entry:
        word = {bool: "boolVal", str: "stringVal", float: "doubleVal"}.get(type(value), "int64Val")
        return {"name": key, word: str(value) if type(value) is int else value}

    return {
        "id": str(number), "name": name or f"node {number}", "type": kind, "dataDeps": [str(w) for w in waits],
        "durationMicros": "5", "attr": [of(key, value) for key, value in attributes.items()],
    }  # fmt: skip


STEP = [
    node(7, "COMP_NODE", 3, name="second", num_ops=2000, tensor_size=64, is_cpu_op=False),
    node(3, "COMP_NODE", name="first", num_ops=1000, tensor_size=32, is_cpu_op=False),
    node(8, "COMM_COLL_NODE", 7, name="sum", comm_type=0, comm_size=4096, pg_name="dp", is_cpu_op=False),
    node(9, "METADATA_NODE", name="process group"),
    node(10, "COMP_NODE", 8, name="host", is_cpu_op=True),
    node(11, "MEM_LOAD_NODE", 8, name="load", tensor_size=10),
    node(12, "COMM_SEND_NODE", 11, name="send", comm_size=77),
]


def as_json(folder: Path, entries: list[Entry]) -> Path:
    path = folder / "trace.json"
    path.write_text("".join(json.dumps(entry, indent=1) for entry in [{"version": "0.0.4"}, *entries]))
    return path


def as_protobuf(folder: Path, entries: list[Entry]) -> Path:
    from importlib import import_module

    from workloads.importers.chakra_protobuf import node_class

    def framed(message: bytes) -> bytes:
        size, head = len(message), b""
        while size >= 0x80:
            head, size = head + bytes([size & 0x7F | 0x80]), size >> 7
        return head + bytes([size]) + message

    raw = framed(b"\x0a\x050.0.4")
    for entry in entries:
        raw += framed(import_module("google.protobuf.json_format").ParseDict(entry, node_class()()).SerializeToString())
    path = folder / "trace.0.et"
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("write", [as_json, as_protobuf])
def test_a_step_is_read_in_an_order_that_respects_what_waits(
    write: Callable[[Path, list[Entry]], Path], tmp_path: Path
) -> None:
    if write is as_protobuf:
        pytest.importorskip("google.protobuf", reason="reads .et files")
    step = step_from_chakra(write(tmp_path, STEP))
    assert [event.name for event in step.events] == ["first", "second", "sum", "load", "send"]
    assert (step.flop, [kernel.byte for kernel in step.kernels]) == (3000, [32, 64, 10])
    assert [(m.kind, m.byte, m.group) for m in step.messages] == [("all_reduce", 4096, "dp"), ("send", 77, "")]
    assert step.kernels[0].recorded_s == pytest.approx(5e-6)
    assert any("host" in phrase for phrase in step.assumed)


@pytest.mark.parametrize(
    ("number", "kind"), list(enumerate(("all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast",
                                        "all_to_all", "reduce_scatter", "reduce_scatter", "barrier"))),
)  # fmt: skip
def test_every_collective_has_its_name(number: int, kind: str, tmp_path: Path) -> None:
    entries = [STEP[1], node(20, "COMM_COLL_NODE", comm_type=number, comm_size=8)]
    (message,) = step_from_chakra(as_json(tmp_path, entries)).messages
    assert (message.name, message.kind, message.byte, message.group) == ("node 20", kind, 8, "")


def without(entry: Entry, key: str) -> Entry:
    return {**entry, "attr": [a for a in entry["attr"] if a["name"] != key]}


BAD: dict[str, tuple[list[Entry], str]] = {
    "circle": ([node(1, "COMP_NODE", 2, num_ops=1), node(2, "COMP_NODE", 1, num_ops=1)], "in a circle, 'node 1'"),
    "itself": ([node(1, "COMP_NODE", 1, num_ops=1)], "in a circle"),
    "not there": ([node(1, "COMP_NODE", 5, num_ops=1)], "waits for node 5, which is not there"),
    "one id twice": ([node(1, "COMP_NODE", num_ops=1)] * 2, "two nodes have one id"),
    "no work": ([node(1, "COMP_NODE", name="gemm")], "node gemm has neither num_ops nor tensor_size"),
    "no kernels": ([node(1, "METADATA_NODE")], "no kernel of the trace"),
    "no nodes": ([], "has no nodes"),
    "no size": ([STEP[1], without(STEP[2], "comm_size") | {"dataDeps": []}], "node sum has no comm_size"),
    "bad collective": ([node(1, "COMM_COLL_NODE", comm_type=12, comm_size=1)], "comm_type is '?12'?; 0 to 9"),
    "negative": ([node(1, "COMP_NODE", num_ops=-4)], "num_ops is '?-4'?; a count"),
    "not a number": ([node(1, "COMP_NODE", num_ops="many")], "num_ops is many; a count"),
    "not finite": ([node(1, "COMP_NODE", num_ops=float("nan"))], "num_ops is nan; a count"),
    "deps": ([node(1, "COMP_NODE", num_ops=1) | {"dataDeps": ["x"]}], "is not written as Chakra does"),
    "PyTorch's own": ([{"schema": "1.1.1-chakra.0.0.4", "nodes": []}], "as PyTorch writes it"),
}  # fmt: skip


@pytest.mark.parametrize(("entries", "message"), BAD.values(), ids=BAD.keys())
def test_impossible_traces_are_refused_in_one_line(entries: list[Entry], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=message) as caught:
        step_from_chakra(as_json(tmp_path, entries))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b'{"a": ', b"[" * 100_000, b"{" + b'"a":{' * 100_000, b"[1, 2]", b'{"name": ' + b"9" * 5000 + b"}", b"{\xff}"],
    ids=["cut off", "deep lists", "deep objects", "numbers", "a long number", "not UTF-8"],
)
def test_hostile_json_is_refused_in_one_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_bytes(content)
    with pytest.raises(DataFileError) as caught:
        step_from_chakra(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("content", [b"\x05ab", b"\xff" * 20, b"\x01a\x7f\x00", b"\x01a\x03\xff\xff\xff"])
def test_other_binary_files_are_refused(content: bytes, tmp_path: Path) -> None:
    pytest.importorskip("google.protobuf", reason="reads .et files")
    path = tmp_path / "trace.et"
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=r"not a Chakra trace|cannot be read"):
        step_from_chakra(path)


def test_gigantic_missing_and_foreign_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataFileError, match="no such file"):
        step_from_chakra(tmp_path / "none.et")
    with pytest.raises(DataFileError, match="directory"):
        step_from_chakra(tmp_path)
    monkeypatch.setattr(chakra, "MAX_BYTE", 100)
    with pytest.raises(DataFileError, match="larger than"):
        step_from_chakra(as_json(tmp_path, STEP))


def test_a_long_chain_is_ordered(tmp_path: Path) -> None:
    """Depth is no recursion."""
    count = 20_000
    entries: list[Mapping[str, Any]] = [
        node(i, "COMP_NODE", *([i + 1] if i + 1 < count else []), num_ops=1) for i in range(count)
    ]
    step = step_from_chakra(as_json(tmp_path, [dict(entry) for entry in entries]))
    assert step.events[0].name == f"node {count - 1}"
    assert len(step.events) == count
