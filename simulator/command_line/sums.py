"""Whole-number arithmetic of ``$(( ))`` by names and numbers alone; nothing is evaluated as code."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_TOKEN: Final = re.compile(
    r"\s*(?:(?P<number>[0-9]{1,18})|\$?\{?(?P<name>[A-Za-z_]\w*)\}?|(?P<sign>[-+*/%()]))", re.ASCII
)
_LARGEST: Final = 10**18
_LONGEST: Final = 200
_DEEPEST: Final = 20


class _UnknownError(Exception):
    """A sum that cannot be worked out."""


def whole_number(text: str, names: Mapping[str, str]) -> int | None:
    """The value of a sum, division rounded towards zero; None where a name is unknown or it is no such sum."""
    if len(text) > _LONGEST:
        return None
    tokens: list[str] = []
    place = 0
    text = text.strip()
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            return None
        place = match.end()
        if match["name"]:
            value = names.get(match["name"], "").strip()
            if not re.fullmatch(r"-?[0-9]{1,18}", value, re.ASCII):
                return None
            tokens.append(value)
        else:
            tokens.append(match["number"] or match["sign"])
    try:
        value_of, rest = _sum(tokens, 0)
    except _UnknownError:
        return None
    return None if rest else value_of


def _sum(tokens: list[str], depth: int) -> tuple[int, list[str]]:
    value, tokens = _product(tokens, depth)
    while tokens and tokens[0] in ("+", "-"):
        other, rest = _product(tokens[1:], depth)
        value, tokens = _small(value + other if tokens[0] == "+" else value - other), rest
    return value, tokens


def _product(tokens: list[str], depth: int) -> tuple[int, list[str]]:
    value, tokens = _single(tokens, depth)
    while tokens and tokens[0] in ("*", "/", "%"):
        other, rest = _single(tokens[1:], depth)
        if tokens[0] == "*":
            value = value * other
        elif not other:
            raise _UnknownError
        else:
            whole = abs(value) // abs(other) * (1 if (value < 0) == (other < 0) else -1)
            value = whole if tokens[0] == "/" else value - whole * other
        value, tokens = _small(value), rest
    return value, tokens


def _single(tokens: list[str], depth: int) -> tuple[int, list[str]]:
    if not tokens or depth > _DEEPEST:
        raise _UnknownError
    first, rest = tokens[0], tokens[1:]
    if first == "(":
        value, rest = _sum(rest, depth + 1)
        if rest[:1] != [")"]:
            raise _UnknownError
        return value, rest[1:]
    if first in ("-", "+"):
        value, rest = _single(rest, depth + 1)
        return (-value if first == "-" else value), rest
    if first in ("*", "/", "%", ")"):
        raise _UnknownError
    return int(first), rest


def _small(value: int) -> int:
    if abs(value) > _LARGEST:
        raise _UnknownError
    return value
