"""Fields: the keys of one table, read with their type and range; every problem is kept and reported together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from hwmodels.datafile import DataFileError, KeyPath, TomlFile, did_you_mean, dotted
from workloads.importers.json_file import shown

#: No size of a network is larger.
LARGEST: Final = 2**31


class Fields:
    """One table of a file. Readers give a legal value whatever the file holds; `finish` raises what was wrong.

    A key that is null counts as missing, as it does where such files come from.
    """

    def __init__(self, file: TomlFile, where: KeyPath = (), data: Mapping[str, Any] | None = None) -> None:
        self.file = file
        self.where = where
        self.data: Mapping[str, Any] = file.data if data is None else data
        self.problems: list[str] = []
        self.read: set[str] = set()

    def problem(self, key: str, text: str) -> None:
        """Note that something is wrong with a key ("" for the table itself)."""
        path = (*self.where, key) if key else self.where
        line = self.file.line_of(path)
        place = self.file.name if line is None else f"{self.file.name}:{line}"
        plain = dotted(tuple(part if isinstance(part, int) else shown(part) for part in path))
        self.problems.append(f"{place}: {plain}: {text}" if plain else f"{place}: {text}")

    def _value(self, keys: Sequence[str]) -> tuple[str, Any]:
        """The first of the keys (spellings of one thing) that is there and not null, and its value."""
        self.read.update(keys)
        for key in keys:
            if self.data.get(key) is not None:
                return key, self.data[key]
        return keys[0], None

    def has(self, *keys: str) -> bool:
        """Whether one of the keys is there and not null."""
        return any(self.data.get(key) is not None for key in keys)

    def count(self, *keys: str, default: int | None = None, least: int = 1, most: int = LARGEST) -> int:
        """A whole number; without a ``default`` the key must be there."""
        key, value = self._value(keys)
        fallback = max(least, 1) if default is None else default
        if value is None:
            if default is None:
                self.problem("", f"lacks {' or '.join(keys)}.")
            return fallback
        if type(value) is not int or not least <= value <= most:
            self.problem(key, f"is {shown(value)}; expected a whole number from {least} to {most}.")
            return fallback
        return value

    def flag(self, *keys: str, default: bool) -> bool:
        """true or false."""
        key, value = self._value(keys)
        if value is None or type(value) is bool:
            return default if value is None else value
        self.problem(key, f"is {shown(value)}; expected true or false.")
        return default

    def number(self, *keys: str, default: float, least: float = 0.0, most: float = float(LARGEST)) -> float:
        """A number."""
        key, value = self._value(keys)
        if value is None:
            return default
        if type(value) not in (int, float) or not least <= value <= most:
            self.problem(key, f"is {shown(value)}; expected a number from {least:g} to {most:g}.")
            return default
        return float(value)

    def word(self, *keys: str, legal: Iterable[str], default: str | None = None) -> str:
        """One of the legal words."""
        words = tuple(legal)
        key, value = self._value(keys)
        if value is None:
            if default is None:
                self.problem("", f"lacks {' or '.join(keys)}.")
            return words[0] if default is None else default
        if isinstance(value, str) and value in words:
            return value
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        self.problem(key, f"is {shown(value)}. Legal: {', '.join(w or '(empty)' for w in words)}.{hint}")
        return words[0] if default is None else default

    def text(self, *keys: str, default: str = "") -> str:
        """A text of one line, of at most 2,000 characters."""
        key, value = self._value(keys)
        if value is None:
            return default
        if isinstance(value, str) and len(value) <= 2000 and value.isprintable():
            return value
        self.problem(key, f"is {shown(value)}; expected a text of one line.")
        return default

    def items(self, *keys: str, kind: type, most: int = 100_000) -> list[Any]:
        """A list of values of one type; empty when missing."""
        key, value = self._value(keys)
        if value is None:
            return []
        if isinstance(value, list) and len(value) <= most and all(type(item) is kind for item in value):
            return value
        names = {dict: "tables", int: "whole numbers", str: "words"}
        self.problem(key, f"is {shown(value)}; expected a list of at most {most} {names.get(kind, kind.__name__)}.")
        return []

    def table(self, key: str) -> Fields | None:
        """The fields of an inner table, None when missing; its problems are this table's."""
        _, value = self._value((key,))
        if value is None:
            return None
        if not isinstance(value, dict):
            self.problem(key, f"is {shown(value)}; expected a table.")
            return None
        inner = Fields(self.file, (*self.where, key), value)
        inner.problems = self.problems
        return inner

    def skip(self, *keys: str) -> None:
        """Keys that change nothing here."""
        self.read.update(keys)

    def unread(self) -> list[str]:
        """Keys that nobody asked for."""
        return [key for key in self.data if key not in self.read]

    def finish(self) -> None:
        """Raise everything that was wrong.

        Raises
        ------
        DataFileError
            One line per problem.
        """
        if self.problems:
            raise DataFileError(*self.problems[:30])
