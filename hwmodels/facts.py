"""A fact is a number with its unit and where it was read; a file of facts is checked as a whole.

Datasheet facts live in `data/*.toml`, one line each:

    bandwidth = { value = 3.35, unit = "TB/s", source = "datasheet", locator = "page 2, 'Memory bandwidth'" }

A bare number is an error, and so is a source that is not described in the same file, or described and not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from hwmodels.datafile import DataFileError, KeyPath, TomlFile, did_you_mean, dotted
from hwmodels.units import UnitError, to_si

#: How a source knows: its maker says so; it was published with a method; somebody repeats it; somebody remembers it;
#: the user measured it.
SOURCE_KINDS: Final = ("vendor", "paper", "secondary", "recalled", "measured")
#: "checked" once a second person has read the sources without looking at our file.
STATUSES: Final = ("provisional", "checked")

K = TypeVar("K")
V = TypeVar("V")


class FrozenMapping(Mapping[K, V]):
    """A read-only copy of a mapping. Unlike `types.MappingProxyType` it can be pickled, so chips reach workers."""

    __slots__ = ("_items",)

    def __init__(self, items: Mapping[K, V]) -> None:
        self._items = dict(items)

    def __getitem__(self, key: K) -> V:
        return self._items[key]

    def __iter__(self) -> Iterator[K]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(frozenset(self._items.items()))

    def __repr__(self) -> str:
        return repr(self._items)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """One number from a source: `value` in SI, and `printed` in `unit` as the source prints it."""

    value: float
    unit: str
    printed: float
    source: str
    locator: str
    note: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.value) and self.value >= 0):
            raise ValueError(f"Fact: value is {self.value!r}; a finite number, 0 or more.")
        if not self.source or not self.locator:
            raise ValueError("Fact: source and locator say where the number was read; neither may be empty.")


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where facts come from. `where` is enough to find it: repository and commit, title and page, or a URL."""

    key: str
    title: str
    where: str
    kind: str

    def __post_init__(self) -> None:
        if self.kind not in SOURCE_KINDS:
            raise ValueError(f"Source {self.key!r}: kind is {self.kind!r}; one of {', '.join(SOURCE_KINDS)}.")


class FactReader:
    """Takes the keys of one data file one by one and collects every problem; `finish` raises them together.

    After a problem the take-methods return a stand-in (0.0, "", ...) that never leaves the reader, because
    `finish` then raises.
    """

    def __init__(self, file: TomlFile) -> None:
        self.file = file
        self.problems: list[str] = []
        self.facts: dict[str, Fact] = {}
        self._taken: set[KeyPath] = set()
        self.sources = self._take_sources()

    def problem(self, key: Sequence[str | int], text: str) -> None:
        """Note a problem with the value at `key`; the line number is found here."""
        self.problems.append(self.file.problem(key, text))

    def raw(self, *key: str) -> Any:
        """The value at `key`, None if it is absent. Marks the key as known."""
        for length in range(1, len(key) + 1):
            self._taken.add(key[:length])
        value: Any = self.file.data
        for part in key:
            if not isinstance(value, Mapping) or part not in value:
                return None
            value = value[part]
        return value

    def text(self, *key: str, legal: Sequence[str] = (), default: str | None = None) -> str:
        """The text at `key`: one of `legal` if given; `default` if the file is silent, else silence is a problem."""
        value = self.raw(*key)
        if value is None and default is not None:
            return default
        if not isinstance(value, str) or not value.strip():
            self.problem(key, "is missing." if value is None else f"is {value!r}; a text is needed.")
            return ""
        if legal and value not in legal:
            self.problem(key, f"is {value!r}; one of {', '.join(legal)}.{did_you_mean(value, legal)}")
        return value

    def texts(self, *key: str) -> tuple[str, ...]:
        """The list of texts at `key`, () if the file is silent."""
        value = self.raw(*key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
            self.problem(key, "a list of texts is needed.")
            return ()
        return tuple(value)

    def fact(self, *key: str, dimension: str, default: float | None = None) -> float:
        """The SI value of the fact at `key`; `default` if the file is silent, else silence is a problem."""
        value = self.raw(*key)
        if value is None:
            if default is None:
                self.problem(key, "is missing.")
            return 0.0 if default is None else default
        return self._fact(key, value, dimension)

    def optional_fact(self, *key: str, dimension: str) -> float | None:
        """As `fact`, None if the file is silent: unknown, which is not zero."""
        return None if self.raw(*key) is None else self.fact(*key, dimension=dimension)

    def count(self, *key: str, default: int | None = None) -> int:
        """A fact that is a whole number, unit "1"."""
        value = self.fact(*key, dimension="1", default=None if default is None else float(default))
        if value != math.floor(value):
            self.problem(key, f"is {value!r}; a whole number is needed.")
        return int(value)

    def fact_table(self, *key: str, dimension: str, legal: Sequence[str]) -> dict[str, float]:
        """A table whose keys are words out of `legal` and whose values are facts."""
        table = self.raw(*key)
        if not isinstance(table, Mapping) or not table:
            self.problem(key, "a table of facts is needed.")
            return {}
        values = {}
        for word, value in table.items():
            self._taken.add((*key, word))
            if word in legal:
                values[word] = self._fact((*key, word), value, dimension)
            else:
                self.problem((*key, word), f"is not known; one of {', '.join(legal)}.{did_you_mean(word, legal)}")
        return values

    def finish(self) -> None:
        """Check what is left over, then raise everything that was found.

        Raises
        ------
        DataFileError
        """
        self._check_unknown((), self.file.data)
        used = {fact.source for fact in self.facts.values()}
        for key in self.sources:
            if key not in used:
                self.problem(("sources", key), "is described but no fact names it.")
        if self.problems:
            raise DataFileError(*self.problems)

    def use_source(self, key: Sequence[str | int], source: str, locator: str, number: float) -> None:
        """Note a source for something that is not a plain number (an adjacency): checked as facts are."""
        self._check_source(key, source)
        if source and locator:
            fact = Fact(value=number, unit="1", printed=number, source=source, locator=locator)
            self.facts[dotted(key)] = fact
        else:
            self.problem(key, "needs source and locator.")

    def _fact(self, key: KeyPath, value: Any, dimension: str) -> float:
        if not isinstance(value, Mapping):
            self.problem(key, f"is the bare value {value!r}; write {{ value, unit, source, locator }}.")
            return 0.0
        known = ("value", "unit", "source", "locator", "note")
        for part in value:
            self._taken.add((*key, part))
            if part not in known:
                self.problem((*key, part), f"is not known; one of {', '.join(known)}.{did_you_mean(part, known)}")
        printed, unit = value.get("value"), value.get("unit")
        if isinstance(printed, bool) or not isinstance(printed, int | float) or printed < 0:
            self.problem(key, f"value is {printed!r}; a number, 0 or more, is needed.")
            return 0.0
        words = {part: value.get(part, "") for part in ("source", "locator", "note")}
        for part, word in words.items():
            if not isinstance(word, str) or (part != "note" and not word.strip()):
                self.problem(key, f"{part} is {word!r}; a text is needed.")
                return 0.0
        if not isinstance(unit, str):
            self.problem(key, "has no unit." if unit is None else f"unit is {unit!r}; a text is needed.")
            return 0.0
        self._check_source(key, words["source"])
        try:
            si = to_si(float(printed), unit, dimension)
        except UnitError as error:
            self.problem(key, str(error))
            return 0.0
        self.facts[dotted(key)] = Fact(value=si, unit=unit, printed=float(printed), **words)
        return si

    def _check_source(self, key: Sequence[str | int], source: str) -> None:
        if source not in self.sources:
            self.problem(key, f"source {source!r} is not described in [sources].{did_you_mean(source, self.sources)}")

    def _take_sources(self) -> dict[str, Source]:
        table = self.raw("sources")
        if not isinstance(table, Mapping):
            self.problem(("sources",), "is missing; describe every source as a table [sources.<key>].")
            return {}
        sources = {}
        for key, value in table.items():
            if not isinstance(value, Mapping):
                self.problem(("sources", key), "a table with title, where and kind is needed.")
                continue
            words = {part: self.text("sources", key, part) for part in ("title", "where")}
            kind = self.text("sources", key, "kind", legal=SOURCE_KINDS)
            if kind in SOURCE_KINDS:
                sources[key] = Source(key=key, kind=kind, **words)
        return sources

    def _check_unknown(self, path: KeyPath, table: Mapping[str, Any]) -> None:
        for key, value in table.items():
            inner = (*path, key)
            if inner not in self._taken:
                inside = {p[: len(inner)] for p in self._taken if len(p) >= len(inner)}
                known = sorted(str(p[-1]) for p in inside if p[:-1] == path)
                self.problem(inner, f"is not known here.{did_you_mean(key, known)} Known: {', '.join(known)}.")
            elif isinstance(value, Mapping) and any(p[: len(inner)] == inner and p != inner for p in self._taken):
                self._check_unknown(inner, value)
