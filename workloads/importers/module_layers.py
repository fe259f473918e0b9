"""Ops and the modules they stand in -> layers: repeated modules folded, the rest cut at products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from workloads.layer import COUNTED_KINDS, Layer
from workloads.op import Op

#: The simulator's arrays grow with the layers; stretches without repeated modules are cut coarser beyond.
MOST_LAYERS: Final = 60
#: Blocks that alternate in a pattern of at most so many are folded too.
LONGEST_PERIOD: Final = 8
#: A numbered module whose own numbered modules hold so much of its work is a stage of blocks, not a block.
_STAGE_SHARE: Final = 0.95


@dataclass(frozen=True, kw_only=True)
class Traced:
    """An op and the dotted path of the module it stands in; a part that is all digits is a place in a list."""

    path: str
    op: Op


@dataclass(frozen=True, kw_only=True)
class _Piece:
    name: str
    kind: str
    ops: tuple[Op, ...]


def layers_of(traced: Sequence[Traced]) -> tuple[Layer, ...]:
    """Layers in forward order.

    A module that stands in a list (``blocks.3``) is a layer of kind ``block``; like ones in a row, or patterns of at
    most `LONGEST_PERIOD` that repeat, are one `Layer` with ``repeat``. What stands in no list is cut before every
    op with parameters that counts work, or every second, fourth, ... when that made too many layers.
    """
    traced = _without_wrappers(traced)
    paths = _unit_paths(traced)
    units = _smoothed([_unit(entry.path, paths) for entry in traced], traced)
    stride = 1
    while True:
        folded = _joined(_folded(_pieces(traced, units, stride)), stride)
        if len(folded) <= MOST_LAYERS or stride > len(traced):
            return tuple(folded)
        stride *= 2


def _without_wrappers(traced: Sequence[Traced]) -> list[Traced]:
    """Paths without the modules that hold everything."""
    parts = [entry.path.split(".") for entry in traced if entry.path]
    common = 0
    while parts and all(len(p) > common + 1 and p[common] == parts[0][common] for p in parts):
        common += 1
    return [replace(entry, path=".".join(entry.path.split(".")[common:])) for entry in traced]


def _joined(layers: Sequence[Layer], stride: int) -> list[Layer]:
    """Layers without repeats joined, up to ``stride`` neighbours of one kind."""
    result: list[Layer] = []
    joined = 1
    for layer in layers:
        last = result[-1] if result else None
        fits = last is not None and last.repeat == layer.repeat == 1 and last.kind == layer.kind and joined < stride
        if last is not None and fits:
            name = f"{last.name.partition(' to ')[0]} to {layer.name}"
            result[-1] = replace(last, name=name, ops=last.ops + layer.ops)
            joined += 1
        else:
            result.append(layer)
            joined = 1
    return result


def _unit_paths(traced: Sequence[Traced]) -> set[str]:
    """Paths of the modules that are layers of their own."""
    below: dict[str, list[Traced]] = {}
    for entry in traced:
        parts = entry.path.split(".") if entry.path else []
        for depth in range(1, len(parts) + 1):
            below.setdefault(".".join(parts[:depth]), []).append(entry)
    work = {path: sum(entry.op.forward_flop for entry in inner) for path, inner in below.items()}
    modules = {path for path, inner in below.items() if any(entry.path != path for entry in inner)}
    listed = {path for path in modules if path.rpartition(".")[2].isdigit()}
    total = sum(entry.op.forward_flop for entry in traced)
    units: set[str] = set()
    for path in sorted(modules, key=lambda path: path.count(".")):
        if any(path.startswith(f"{unit}.") for unit in units):
            continue
        inner = [other for other in listed if other.startswith(f"{path}.")]
        outermost = [o for o in inner if not any(o.startswith(f"{other}.") for other in inner)]
        if path in listed:
            is_stage = len(outermost) > 1 and sum(work[o] for o in outermost) >= _STAGE_SHARE * work[path] > 0
            if not is_stage:
                units.add(path)
        elif not inner and 0 < work[path] < total / 2:
            units.add(path)
    return units


def _unit(path: str, units: set[str]) -> str:
    parts = path.split(".")
    for depth in range(1, len(parts) + 1):
        if (head := ".".join(parts[:depth])) in units:
            return head
    return ""


def _smoothed(units: list[str], traced: Sequence[Traced]) -> list[str]:
    """Ops outside a unit that stand between two ops of one unit, or between neighbours of one list, join the first."""
    result = list(units)
    last, start = "", 0
    for index, unit in enumerate(units):
        if not unit:
            continue
        siblings = last.rpartition(".")[0] == unit.rpartition(".")[0] and last.rpartition(".")[2].isdigit()
        if last and (unit == last or siblings):
            owner = unit.rpartition(".")[0]
            for between in range(start + 1, index):
                # Only what an enclosing module does itself: a module of its own beside the list is no part of it.
                outer = traced[between].path
                if unit == last or not outer or owner == outer or owner.startswith(f"{outer}."):
                    result[between] = last
        last, start = unit, index
    return result


def _pieces(traced: Sequence[Traced], units: list[str], stride: int) -> list[_Piece]:
    pieces: list[_Piece] = []
    for unit, group in groupby(zip(units, traced, strict=True), key=lambda pair: pair[0]):
        entries = [entry for _, entry in group]
        if unit:
            ops = tuple(replace(entry.op, name=_name(entry, unit)) for entry in entries)
            listed = unit.rpartition(".")[2].isdigit()
            pieces.append(_Piece(name=unit, kind="block" if listed else _kind(ops), ops=ops))
        else:
            pieces += _loose(entries, stride)
    return [replace(piece, kind=_end_kind(piece, i, len(pieces))) for i, piece in enumerate(pieces)]


def _name(entry: Traced, unit: str) -> str:
    path = entry.path
    inner = path[len(unit) :].lstrip(".") if path == unit or path.startswith(f"{unit}.") else ""
    return f"{inner} {entry.op.name}".strip()


def _loose(entries: Sequence[Traced], stride: int) -> list[_Piece]:
    groups: list[list[Traced]] = [[]]
    seen, working = 0, False
    for entry in entries:
        works = entry.op.kind in COUNTED_KINDS
        # Tables that are looked up one after the other stay together.
        if entry.op.parameters and (works or (working and entry.op.kind == "embedding")):
            if seen and seen % stride == 0:
                groups.append([])
            seen, working = seen + 1, False
        working = working or works
        groups[-1].append(entry)
    pieces = []
    for group in groups:
        ops = tuple(replace(entry.op, name=_name(entry, "")) for entry in group)
        first = next((entry for entry in group if entry.op.parameters), group[0])
        pieces.append(_Piece(name=first.path or first.op.name, kind=_kind(ops), ops=ops))
    return pieces


def _kind(ops: Sequence[Op]) -> str:
    kinds = {op.kind for op in ops if op.kind != "vector"}
    if len([op for op in ops if op.kind in COUNTED_KINDS]) > 1:
        return "block"
    for word, kind in (("embedding", "embedding"), ("conv", "conv"), ("gemm", "dense")):
        if word in kinds:
            return kind
    return "block" if kinds else "pool"


def _end_kind(piece: _Piece, index: int, count: int) -> str:
    return "head" if index == count - 1 and piece.kind == "dense" else piece.kind


def _folded(pieces: Sequence[_Piece]) -> list[Layer]:
    """Runs of like pieces, and of like patterns of pieces, as one layer each."""
    layers: list[Layer] = []
    index = 0
    while index < len(pieces):
        period, count = 1, 1
        for width in range(1, LONGEST_PERIOD + 1):
            times = _repeats(pieces, index, width)
            if times > 1 and times * width > period * count:
                period, count = width, times
        members = pieces[index : index + period]
        name = members[0].name if period == 1 else f"{members[0].name} to {members[-1].name}"
        kind = members[0].kind if period == 1 else "block"
        ops = tuple(op for member in members for op in member.ops)
        layers.append(Layer(name=name, kind=kind, ops=ops, repeat=count))
        index += period * count
    return layers


def _repeats(pieces: Sequence[_Piece], start: int, width: int) -> int:
    pattern = [(piece.kind, piece.ops) for piece in pieces[start : start + width]]
    count = 1
    while True:
        at = start + count * width
        if [(piece.kind, piece.ops) for piece in pieces[at : at + width]] != pattern or len(pattern) < width:
            return count
        count += 1
