"""Chakra's protobuf messages, defined here: only what a step needs; other fields are skipped by the library."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, Final

from hwmodels.datafile import DataFileError
from workloads.op import WorkloadError

_PACKAGE: Final = "ChakraProtoMsg"
#: Types of nodes by number.
_TYPES: Final = (
    "INVALID_NODE", "METADATA_NODE", "MEM_LOAD_NODE", "MEM_STORE_NODE", "COMP_NODE", "COMM_SEND_NODE",
    "COMM_RECV_NODE", "COMM_COLL_NODE",
)  # fmt: skip
#: Scalar values of attributes: number in the schema -> protobuf's type.
_VALUES: Final = {
    3: "DOUBLE", 5: "FLOAT", 7: "INT32", 9: "INT64", 11: "UINT32", 13: "UINT64", 15: "SINT32", 17: "SINT64",
    19: "FIXED32", 21: "FIXED64", 23: "SFIXED32", 25: "SFIXED64", 27: "BOOL", 29: "STRING",
}  # fmt: skip


@cache
def node_class() -> Any:
    """The class of a node's message.

    Raises
    ------
    WorkloadError
        Without the ``protobuf`` package.
    """
    try:
        descriptor_pb2: Any = import_module("google.protobuf.descriptor_pb2")
        descriptor_pool: Any = import_module("google.protobuf.descriptor_pool")
        message_factory: Any = import_module("google.protobuf.message_factory")
    except ImportError:
        raise WorkloadError("traces in .et files need a package: pip install 'trainyard[chakra]'.") from None
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="trainyard_chakra.proto", package=_PACKAGE, syntax="proto3")
    types = file.enum_type.add(name="NodeType")
    for number, word in enumerate(_TYPES):
        types.value.add(name=word, number=number)
    attribute = file.message_type.add(name="AttributeProto")
    attribute.field.add(name="name", number=1, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    attribute.oneof_decl.add(name="value")
    for number, word in _VALUES.items():
        attribute.field.add(
            name=f"{word.lower()}_val", number=number, type=getattr(field, f"TYPE_{word}"),
            label=field.LABEL_OPTIONAL, oneof_index=0,
        )  # fmt: skip
    node = file.message_type.add(name="Node")
    for name, number, word, repeated, kind in (
        ("id", 1, "UINT64", False, ""),
        ("name", 2, "STRING", False, ""),
        ("type", 3, "ENUM", False, "NodeType"),
        ("ctrl_deps", 4, "UINT64", True, ""),
        ("data_deps", 5, "UINT64", True, ""),
        ("duration_micros", 7, "UINT64", False, ""),
        ("attr", 10, "MESSAGE", True, "AttributeProto"),
    ):
        label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
        added = node.field.add(name=name, number=number, type=getattr(field, f"TYPE_{word}"), label=label)
        if kind:
            added.type_name = f".{_PACKAGE}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.Node"))


def messages_of(raw: bytes, label: str) -> Iterator[Any]:
    """Node messages of a ``.et`` file: each after its length as a varint; the first message, the head, is skipped.

    Raises
    ------
    DataFileError
        For a length that the file does not have, or a message that cannot be read.
    """
    make = node_class()
    at, first = 0, True
    while at < len(raw):
        size, at = _varint(raw, at, label)
        if at + size > len(raw):
            raise DataFileError(f"{label}: is not a Chakra trace, or is cut off after {at} bytes.")
        part, at = raw[at : at + size], at + size
        if first:
            first = False
            continue
        node = make()
        try:
            node.ParseFromString(part)
        except Exception:  # protobuf's own error
            raise DataFileError(f"{label}: the message before byte {at} cannot be read.") from None
        yield node


def _varint(raw: bytes, at: int, label: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(raw):
            break
        value |= (raw[at] & 0x7F) << shift
        at += 1
        if raw[at - 1] < 0x80:
            return value, at
    raise DataFileError(f"{label}: is not a Chakra trace, or is cut off after {at} bytes.")
