"""Chakra execution traces -> the kernels and collectives of one rank's step, each after what it waits for.

A trace is a stream of protobuf messages (``.et``) or the JSON that Chakra's own tools print of it. It says how many
operations and bytes a kernel has, not its shape, so it becomes a list of kernels and not a `Workload`.

References
----------
.. [1] mlcommons/chakra schema/protobuf/et_def.proto
.. [2] astra-sim/astra-sim astra-sim/workload/Workload.cc: which attributes nodes carry
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import DataFileError
from workloads.importers.chakra_protobuf import messages_of
from workloads.importers.json_file import shown

#: Larger traces are refused: they are recorded over many steps.
MAX_BYTE: Final = 256 * 2**20
MOST_NODES: Final = 2_000_000
#: Types of nodes; METADATA and those of storage take no part in a step.
COMPUTE: Final = ("COMP_NODE",)
MEMORY: Final = ("MEM_LOAD_NODE", "MEM_STORE_NODE")
POINT_TO_POINT: Final = {"COMM_SEND_NODE": "send", "COMM_RECV_NODE": "receive"}
COLLECTIVE: Final = "COMM_COLL_NODE"
COLLECTIVES: Final = (
    "all_reduce", "reduce", "all_gather", "gather", "scatter", "broadcast", "all_to_all", "reduce_scatter",
    "reduce_scatter", "barrier",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TracedKernel:
    """A kernel: its work [FLOP], the bytes it moves [B], how long it was recorded to take [s] (0: not recorded)."""

    name: str
    flop: float
    byte: float
    recorded_s: float


@dataclass(frozen=True, kw_only=True)
class TracedMessage:
    """A collective, a send or a receive of so many bytes [B] in a group of ranks ("" where the trace names none)."""

    name: str
    kind: str
    byte: float
    group: str
    recorded_s: float


@dataclass(frozen=True, kw_only=True)
class TracedStep:
    """What one rank runs, in an order in which everything comes after what it waits for."""

    source: str
    events: tuple[TracedKernel | TracedMessage, ...]
    assumed: tuple[str, ...] = ()

    @property
    def kernels(self) -> tuple[TracedKernel, ...]:
        """The kernels."""
        return tuple(event for event in self.events if isinstance(event, TracedKernel))

    @property
    def messages(self) -> tuple[TracedMessage, ...]:
        """The collectives, sends and receives."""
        return tuple(event for event in self.events if isinstance(event, TracedMessage))

    @property
    def flop(self) -> float:
        """Work of all kernels. [FLOP]"""
        return sum(kernel.flop for kernel in self.kernels)


@dataclass(frozen=True)
class _Node:
    number: int
    name: str
    kind: str
    waits_for: tuple[int, ...]
    micros: float
    attributes: Mapping[str, Any]


def step_from_chakra(path: str | Path) -> TracedStep:
    """The step that a Chakra trace of one rank records; ``.et`` needs the extra ``[chakra]``, JSON nothing.

    Raises
    ------
    DataFileError
        For a file that is no such trace or too large; for nodes that lack their work and their bytes, wait for
        nothing that is there, or wait for each other in a circle.
    """
    label = str(path) if str(path).isprintable() else shown(str(path))
    raw = _read(path, label)
    head = raw[:64].lstrip()
    if head.startswith((b"{", b"[")):
        nodes = [_from_json(entry, label) for entry in _objects(raw, label) if "name" in entry or "type" in entry]
    else:
        nodes = [_from_message(entry) for entry in messages_of(raw, label)]
    if not nodes:
        raise DataFileError(f"{label}: the trace has no nodes.")
    if len(nodes) > MOST_NODES:
        raise DataFileError(f"{label}: the trace has {len(nodes)} nodes; at most {MOST_NODES}. Record one step.")
    assumed: dict[str, None] = {}
    events = [event for node in _ordered(nodes, label) for event in _events(node, label, assumed)]
    if not any(isinstance(event, TracedKernel) and (event.flop or event.byte) for event in events):
        raise DataFileError(f"{label}: no kernel of the trace says its operations (num_ops) or bytes (tensor_size).")
    return TracedStep(source=f"Chakra trace {Path(label).name}", events=tuple(events), assumed=tuple(assumed))


def _read(path: str | Path, label: str) -> bytes:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTE + 1)
    except FileNotFoundError:
        raise DataFileError(f"{label}: there is no such file.") from None
    except IsADirectoryError:
        raise DataFileError(f"{label}: this is a directory; name the trace of one rank in it.") from None
    except OSError as error:
        raise DataFileError(f"{label}: cannot be read: {error.strerror or 'no reason given'}.") from None
    if len(raw) > MAX_BYTE:
        raise DataFileError(f"{label}: larger than {MAX_BYTE // 2**20} MiB; record one step of one rank.")
    return raw


def _objects(raw: bytes, label: str) -> Iterator[dict[str, Any]]:
    """The objects of a JSON text: one after the other, as Chakra's tools print them, or in one list."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise DataFileError(f"{label}: not UTF-8 text.") from None
    decoder, at = json.JSONDecoder(), 0
    while True:
        while at < len(text) and text[at] in " \t\r\n,":
            at += 1
        if at == len(text):
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise DataFileError(f"{label}:{error.lineno}: not JSON: {error.msg}.") from None
        except (RecursionError, ValueError):
            raise DataFileError(f"{label}: nested too deeply, or a number is too long.") from None
        values = value if isinstance(value, list) else [value]
        for entry in values:
            if not isinstance(entry, dict):
                raise DataFileError(f"{label}: holds {type(entry).__name__}; a trace is a stream of objects.")
            if isinstance(entry.get("nodes"), list):
                raise DataFileError(
                    f"{label}: a trace as PyTorch writes it, without operations and bytes. Convert it with Chakra's "
                    "tools, or import the module itself with workload_from_module."
                )
            yield entry


def _from_json(entry: Mapping[str, Any], label: str) -> _Node:
    try:
        attributes = {}
        for attribute in entry.get("attr", ()):
            values = [value for key, value in attribute.items() if key.endswith(("Val", "_val"))]
            attributes[attribute["name"]] = values[0] if values else None
        waits = [*_either(entry, "ctrlDeps", "ctrl_deps"), *_either(entry, "dataDeps", "data_deps")]
        return _Node(
            int(entry.get("id", 0)), str(entry.get("name", "")), str(entry.get("type", "INVALID_NODE")),
            tuple(int(number) for number in waits),
            float(entry.get("durationMicros", entry.get("duration_micros", 0))), attributes,
        )  # fmt: skip
    except (TypeError, ValueError, KeyError, AttributeError):
        raise DataFileError(f"{label}: node {shown(entry.get('name'))} is not written as Chakra does.") from None


def _either(entry: Mapping[str, Any], *keys: str) -> Sequence[Any]:
    return next((entry[key] for key in keys if key in entry), ())


def _from_message(message: Any) -> _Node:
    attributes = {a.name: getattr(a, a.WhichOneof("value")) for a in message.attr if a.WhichOneof("value")}
    kind = message.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number.get(message.type)
    return _Node(
        message.id, message.name, kind.name if kind else "INVALID_NODE",
        (*message.ctrl_deps, *message.data_deps), float(message.duration_micros), attributes,
    )  # fmt: skip


def _ordered(nodes: Sequence[_Node], label: str) -> Iterator[_Node]:
    """Nodes after everything they wait for, else in the order of the file."""
    places = {node.number: index for index, node in enumerate(nodes)}
    if len(places) < len(nodes):
        raise DataFileError(f"{label}: two nodes have one id.")
    waiting = [0] * len(nodes)
    then: list[list[int]] = [[] for _ in nodes]
    for index, node in enumerate(nodes):
        for number in set(node.waits_for):
            if number not in places:
                raise DataFileError(f"{label}: node {shown(node.name)} waits for node {number}, which is not there.")
            waiting[index] += 1
            then[places[number]].append(index)
    ready = [index for index, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        index = heapq.heappop(ready)
        done += 1
        yield nodes[index]
        for other in then[index]:
            waiting[other] -= 1
            if not waiting[other]:
                heapq.heappush(ready, other)
    if done < len(nodes):
        stuck = next(node for node, count in zip(nodes, waiting, strict=True) if count)
        raise DataFileError(f"{label}: nodes wait for each other in a circle, {shown(stuck.name)} among them.")


def _events(node: _Node, label: str, assumed: dict[str, None]) -> Iterable[TracedKernel | TracedMessage]:
    given = node.attributes
    if str(given.get("is_cpu_op", False)).lower() == "true" and node.kind != COLLECTIVE:
        assumed["operations of the host are left out"] = None
        return
    seconds = node.micros * 1e-6
    if node.kind in COMPUTE or node.kind in MEMORY:
        flop, byte = _amount(node, "num_ops", label), _amount(node, "tensor_size", label)
        if flop is None and byte is None:
            raise DataFileError(
                f"{label}: node {shown(node.name)} has neither num_ops nor tensor_size: its work is not known."
            )
        yield TracedKernel(name=node.name, flop=flop or 0.0, byte=byte or 0.0, recorded_s=seconds)
    elif node.kind == COLLECTIVE or node.kind in POINT_TO_POINT:
        size = _amount(node, "comm_size", label)
        kind = POINT_TO_POINT.get(node.kind) or _collective(node, label)
        if size is None and kind != "barrier":
            raise DataFileError(f"{label}: node {shown(node.name)} has no comm_size.")
        group = shown(str(given.get("pg_name", "")))
        yield TracedMessage(
            name=node.name, kind=kind, byte=size or 0.0, group=group if given.get("pg_name") else "",
            recorded_s=seconds,
        )  # fmt: skip


def _collective(node: _Node, label: str) -> str:
    value = node.attributes.get("comm_type")
    words = {str(number): word for number, word in enumerate(COLLECTIVES)}
    found = words.get(str(value))
    if found is None:
        raise DataFileError(
            f"{label}: node {shown(node.name)}: comm_type is {shown(value)}; 0 to {len(COLLECTIVES) - 1}."
        )
    return found


def _amount(node: _Node, key: str, label: str) -> float | None:
    value = node.attributes.get(key)
    if value is None:
        return None
    try:
        amount = float(value)
    except (TypeError, ValueError, OverflowError):
        amount = -1.0
    if not 0 <= amount < 1e30:
        raise DataFileError(f"{label}: node {shown(node.name)}: {key} is {shown(value)}; a count of at least 0.")
    return amount
