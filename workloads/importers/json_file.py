"""Reading JSON from strangers: every failure is one `DataFileError` whose lines say file, line, key and the way out."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from hwmodels.datafile import MAX_DEPTH, DataFileError, KeyPath, TomlFile, read_text

#: Digits of an integer that is read at all; the largest of 64 bits has 19.
_MAX_DIGITS: Final = 20
_MAX_INTEGER: Final = 2**63 - 1
_LONGEST_SHOWN: Final = 60
_TOKEN: Final = re.compile(r'"(?:\\.|[^"\\])*+"|[\[\]{},:]|\n|[^\s"\[\]{},:]++')


def shown(value: object) -> str:
    """A value or key as one short line of ASCII."""
    if isinstance(value, str) and re.fullmatch(r"[\w.\-]{1,60}", value, re.ASCII):
        return value
    text = ascii(value) if isinstance(value, str | int | float | bool | None) else type(value).__name__
    return text if len(text) <= _LONGEST_SHOWN else text[: _LONGEST_SHOWN - 3] + "..."


def read_json(path: str | Path, *, name: str | None = None) -> TomlFile:
    """Read a JSON file whose outermost value is an object, with the line of every key.

    Refused, each with a `DataFileError`: files that are missing, unreadable, directories, over 10 MiB, not UTF-8 or not
    JSON; keys that stand twice; nesting deeper than 32; integers beyond 64 bits; NaN and infinities.
    """
    label = str(path) if name is None else name
    label = label if label.isprintable() and label.isascii() else ascii(label)
    text = read_text(path, name=label, directory="this is a directory; name a JSON file in it")
    return parse_json(text, name=label)


def from_mapping(mapping: Mapping[str, Any], *, name: str) -> TomlFile:
    """As `read_json`, for what is in memory already."""
    if len(mapping) > 10_000:
        raise DataFileError(f"{name}: holds {len(mapping)} keys; a configuration has a few dozen.")
    try:
        text = json.dumps(dict(mapping))
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise DataFileError(f"{name}: is not a plain mapping as JSON has it: {shown(str(error))}.") from None
    return parse_json(text, name=name, located=False)


def parse_json(text: str, *, name: str, located: bool = True) -> TomlFile:
    """As `read_json`, for a text already in memory; messages name no lines unless ``located``."""
    _check_depth(text, name)
    try:
        data = json.loads(text, parse_constant=_Refused, parse_int=_integer, parse_float=_number)
    except json.JSONDecodeError as error:
        raise DataFileError(f"{name}:{error.lineno}: not JSON: {error.msg} (column {error.colno}).") from None
    except RecursionError:
        raise DataFileError(f"{name}: nested too deeply; at most {MAX_DEPTH} levels.") from None
    if not isinstance(data, dict):
        raise DataFileError(f"{name}: holds {_kind(data)}; expected an object, {{...}}.")
    lines: dict[KeyPath, int] = {}
    problems = _locate(text, name, lines)
    file = TomlFile(name=name, data=data, lines=lines if located else {})
    problems += _value_problems(file)
    if problems:
        raise DataFileError(*problems[:20])
    return file


class _Refused(str):
    """The text of a number that is legal in JSON and not here."""


def _integer(text: str) -> int | _Refused:
    return int(text) if len(text) <= _MAX_DIGITS and abs(int(text)) <= _MAX_INTEGER else _Refused(text)


def _number(text: str) -> float | _Refused:
    value = float(text)
    return value if math.isfinite(value) else _Refused(text)


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a text" if type(value) is str else "a number")


def _check_depth(text: str, name: str) -> None:
    """Before the parser, whose own stack ends earlier than the file's depth may."""
    depth, line = 0, 1
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
        elif token in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise DataFileError(f"{name}:{line}: nested too deeply; at most {MAX_DEPTH} levels.")
        elif token in "]}":
            depth -= 1


def _locate(text: str, name: str, lines: dict[KeyPath, int]) -> list[str]:
    """The line of every key and inner list or object of a text known to be JSON; returns keys that stand twice."""
    problems: list[str] = []
    path: list[str | int] = []
    seen: list[set[str] | None] = []  # of each open object its keys; None for a list
    line, key = 1, ""
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token == "\n":
            line += 1
            continue
        if token in "[{" and seen and seen[-1] is None:  # of plain values in a list, the list's line must do
            lines.setdefault(tuple(path), line)
        if token in "[{":
            seen.append(None if token == "[" else set())
            path.append(0 if token == "[" else "")
        elif token in "]}":
            seen.pop()
            path.pop()
        elif token == ",":
            if seen[-1] is None:
                path[-1] = int(path[-1]) + 1
        elif token == ":":
            keys = seen[-1]
            assert keys is not None
            if key in keys:
                where = ".".join(shown(part) for part in (*path[:-1], key))
                problems.append(f"{name}:{line}: {where}: stands twice.")
            keys.add(key)
            path[-1] = key
            lines[tuple(path)] = line
        elif token[0] == '"':
            key = json.loads(token)
    return problems


def _value_problems(file: TomlFile) -> list[str]:
    problems: list[str] = []
    stack: list[tuple[KeyPath, Any]] = [((), file.data)]
    while stack:
        path, value = stack.pop()
        if isinstance(value, dict):
            stack.extend(((*path, key), inner) for key, inner in reversed(value.items()))
        elif isinstance(value, list):
            doubtful = (pair for pair in enumerate(value) if isinstance(pair[1], dict | list | _Refused))
            stack.extend(((*path, i), inner) for i, inner in reversed(list(doubtful)))
        elif isinstance(value, _Refused):
            where = tuple(part if isinstance(part, int) else shown(part) for part in path)
            line = file.line_of(path)
            place = file.name if line is None else f"{file.name}:{line}"
            plain = TomlFile(name=place, data={}, lines={})
            problems.append(plain.problem(where, f"is {shown(str(value))}; expected a finite number of 64 bits."))
    return problems
