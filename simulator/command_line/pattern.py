"""Which blocks have something: ``2`` (every second, from the first), or ``([0]*3+[1]*29)``, read without evaluating."""

from __future__ import annotations

import re
from typing import Final

_TOKEN: Final = re.compile(r"\s*([0-9]{1,6}|[][()+*,])", re.ASCII)
_DEEPEST: Final = 20


def block_pattern(text: str, layers: int) -> tuple[bool, ...] | None:
    """One truth per block; None for a text that is no such pattern or of another length.

    A number N marks blocks 0, N, 2N, ...; lists are repeated by ``*`` and joined by ``+`` or ``,``.
    """
    text = text.strip()
    if re.fullmatch(r"[0-9]{1,6}", text, re.ASCII):
        return tuple(index % int(text) == 0 for index in range(layers)) if int(text) else None
    tokens: list[str] = []
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None or len(tokens) > 1000:
            return None
        tokens.append(match[1])
        place = match.end()
    try:
        found, rest = _sum(tokens, layers, 0)
    except ValueError:
        return None
    if rest or len(found) != layers or any(value not in (0, 1) for value in found):
        return None
    return tuple(value == 1 for value in found)


def _sum(tokens: list[str], most: int, depth: int) -> tuple[list[int], list[str]]:
    found, tokens = _product(tokens, most, depth)
    while tokens[:1] == ["+"]:
        other, tokens = _product(tokens[1:], most, depth)
        found = found + other
        if len(found) > most:
            raise ValueError
    return found, tokens


def _product(tokens: list[str], most: int, depth: int) -> tuple[list[int], list[str]]:
    found, tokens = _single(tokens, most, depth)
    while tokens[:1] == ["*"]:
        if len(tokens) < 2 or not tokens[1].isdigit() or len(found) * int(tokens[1]) > most:
            raise ValueError
        found, tokens = found * int(tokens[1]), tokens[2:]
    return found, tokens


def _single(tokens: list[str], most: int, depth: int) -> tuple[list[int], list[str]]:
    if depth > _DEEPEST or not tokens:
        raise ValueError
    if tokens[0] == "(":
        found, rest = _sum(tokens[1:], most, depth + 1)
        if rest[:1] != [")"]:
            raise ValueError
        return found, rest[1:]
    if tokens[0] != "[" or "]" not in tokens:
        raise ValueError
    end = tokens.index("]")
    inner = [token for token in tokens[1:end] if token != ","]
    if not all(token.isdigit() for token in inner) or len(inner) > most:
        raise ValueError
    return [int(token) for token in inner], tokens[end + 1 :]
