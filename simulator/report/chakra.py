"""A step as Chakra execution traces, one file per rank of the pipeline, for simulators of networks.

Nodes are the tasks of `simulator.events.task_graph`: ``COMP_NODE``, ``COMM_COLL_NODE``, ``COMM_SEND_NODE`` and
``COMM_RECV_NODE`` with control dependencies (order on a stream) and data dependencies (whose result is used). Chakra
counts whole microseconds; the attribute ``duration_ps`` has the exact time. Sends and receives name the file of the
other rank. The meetings of all ranks before and after the update are barriers in the group "pipeline"; the collectives
of groups that lie across the files (tensor, data) are in groups of those names, which the reader must fill.

References
----------
.. [1] mlcommons/chakra schema/protobuf/et_def.proto
.. [2] mlcommons/chakra et_feeder/et_feeder_node.cpp: which type of value each attribute has
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from workloads.importers.chakra import COLLECTIVES, MOST_NODES
from workloads.importers.chakra_protobuf import node_class

from ..errors import InputError
from ..events.task_graph import RankTask, rank_tasks
from ..output import whole_file
from ..schedules import SCHEDULES
from ..schedules.route import Stop, blocks_at, stop_chunks
from ..step_work import StepWork
from ..stepspec import StepSpec

VERSION: Final = "0.0.4"
_TYPES: Final = {
    "compute": "COMP_NODE", "host": "COMP_NODE", "collective": "COMM_COLL_NODE", "meeting": "COMM_COLL_NODE",
    "send": "COMM_SEND_NODE", "receive": "COMM_RECV_NODE",
}  # fmt: skip
_GROUPS: Final = {"tensor": "tensor", "data": "data", "optimizer": "data"}
_INT32: Final = ("comm_src", "comm_dst", "comm_tag")


def write_chakra(spec: StepSpec, path: str | os.PathLike[str], *, work: StepWork | None = None) -> list[Path]:
    """Write ``NAME.0.et``, ``NAME.1.et`` and so on for a path ``NAME.et``; the same with ``.json`` for readable text.

    Without ``work`` nodes have durations but no operations and no bytes. The same step gives the same bytes.

    Raises
    ------
    InputError
        For a name of another kind; for more nodes in a file than readers take.
    WorkloadError
        For ``.et`` without the ``protobuf`` package.
    OSError
        If a file cannot be written; those before it are there.
    """
    place = Path(path)
    if place.suffix not in (".et", ".json"):
        raise InputError(f"{os.fspath(path)!a}: is no name of a Chakra trace; legal: one that ends in .et or .json.")
    binary = place.suffix == ".et"
    paths = []
    for rank in range(len(spec.stages)):
        paths.append(place.with_name(f"{place.stem}.{rank}{place.suffix}"))
        with whole_file(paths[-1]) as file:
            version = VERSION.encode("ascii")
            file.write(_framed(b"\x0a" + bytes([len(version)]) + version) if binary else _text({"version": VERSION}))
            for count, node in enumerate(chakra_nodes(spec, rank, work or StepWork())):
                if count == MOST_NODES:
                    raise InputError(
                        f"--chakra: rank {rank} has more than {MOST_NODES:,} tasks; give the step fewer micro-batches."
                    )
                file.write(_framed(_message(node)) if binary else _text(node))
    return paths


def chakra_nodes(spec: StepSpec, rank: int, work: StepWork) -> Iterator[dict[str, Any]]:
    """The nodes of one rank in the form in which protobuf prints a message as JSON."""
    traits = SCHEDULES[spec.schedule].TRAITS
    chunks = range(stop_chunks(traits.route, spec.virtual_stages))
    held = {blocks_at(traits.route, Stop(rank, chunk), len(spec.stages)).rank for chunk in chunks}
    repeats: dict[str, int] = {}
    for stage in sorted(held):
        for block in spec.stages[stage].blocks:
            repeats[block.name] = repeats.get(block.name, 0) + block.repeat
    for task in rank_tasks(spec, rank):
        # What is only order is not said twice.
        after = [number for number in task.after if number not in task.needs]
        yield {
            "id": str(task.number),
            "name": task.name,
            "type": _TYPES[task.kind],
            "ctrlDeps": [str(number) for number in after],
            "dataDeps": [str(number) for number in task.needs],
            "durationMicros": str((task.duration_ps + 500_000) // 10**6),
            "attr": [_attribute(key, value) for key, value in _attributes(task, rank, repeats, work).items()],
        }


def _attributes(task: RankTask, rank: int, repeats: Mapping[str, int], work: StepWork) -> dict[str, bool | int | str]:
    found: dict[str, bool | int | str] = {"is_cpu_op": task.kind == "host"}
    if task.kind == "compute":
        flop, byte = work.kernels.get((task.block, task.direction), (0, 0))
        if task.purpose == "optimizer":
            flop, byte = _summed(work.update_flop, repeats), 2 * _summed(work.reduce_byte, repeats)
        if flop or byte:
            found |= {"num_ops": flop, "tensor_size": byte}
    elif task.kind in ("send", "receive"):
        ends = (rank, task.peer) if task.kind == "send" else (task.peer, rank)
        found |= {"comm_src": ends[0], "comm_dst": ends[1], "comm_tag": task.tag, "comm_size": work.send_byte}
    elif task.kind != "host":
        found |= {
            "comm_type": COLLECTIVES.index(task.collective),
            "comm_size": _collective_byte(task, repeats, work),
            "pg_name": "pipeline" if task.kind == "meeting" else _GROUPS[task.purpose],
        }
    found["duration_ps"] = task.duration_ps
    return found


def _collective_byte(task: RankTask, repeats: Mapping[str, int], work: StepWork) -> int:
    if task.kind == "meeting":
        return 0
    if task.purpose == "tensor":
        return work.tensor_byte.get((task.block, task.direction), 0)
    amounts = work.gather_byte if task.collective == "all_gather" else work.reduce_byte
    return amounts.get(task.block, 0) if task.block else _summed(amounts, repeats)


def _summed(amounts: Mapping[str, int], repeats: Mapping[str, int]) -> int:
    return sum(times * amounts.get(name, 0) for name, times in repeats.items())


def _attribute(name: str, value: bool | int | str) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"name": name, "boolVal": value}
    if isinstance(value, str):
        return {"name": name, "stringVal": value}
    return {"name": name, "int32Val": value} if name in _INT32 else {"name": name, "int64Val": str(value)}


def _message(node: Mapping[str, Any]) -> bytes:
    kind = node_class()
    message = kind(
        id=int(node["id"]), name=node["name"], type=kind.DESCRIPTOR.fields_by_name["type"].enum_type.values_by_name[
            node["type"]
        ].number,
        ctrl_deps=[int(number) for number in node["ctrlDeps"]], data_deps=[int(number) for number in node["dataDeps"]],
        duration_micros=int(node["durationMicros"]),
    )  # fmt: skip
    for attribute in node["attr"]:
        added = message.attr.add(name=attribute["name"])
        (key,) = (word for word in attribute if word != "name")
        value = int(attribute[key]) if key == "int64Val" else attribute[key]
        setattr(added, key.replace("Val", "_val").lower(), value)
    return bytes(message.SerializeToString(deterministic=True))


def _framed(message: bytes) -> bytes:
    """A message after its length, seven bits a byte, the lowest first."""
    size, head = len(message), bytearray()
    while size >= 0x80:
        head.append(size & 0x7F | 0x80)
        size >>= 7
    head.append(size)
    return bytes(head) + message


def _text(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, allow_nan=False) + "\n").encode("ascii")
