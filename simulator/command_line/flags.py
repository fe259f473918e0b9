"""Words of a command line -> flags with their values, in argparse's dialect: every problem is kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from hwmodels.datafile import did_you_mean

from .answer import Notebook, shown_value

T = TypeVar("T")

_WHOLE: Final = re.compile(r"[0-9]{1,15}", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?", re.ASCII)
_VALUE: Final = re.compile(r"-[0-9.]")


@dataclass(frozen=True, kw_only=True)
class Flag:
    """One flag as it stands: its name with dashes, its values."""

    name: str
    values: tuple[str, ...]

    @property
    def text(self) -> str:
        """Its values as one text."""
        return " ".join(self.values)


def split_flags(words: Sequence[str]) -> tuple[list[Flag], list[str]]:
    """Flags in order, and words that belong to none. ``--a=b`` is ``--a b``; ``_`` in a name is ``-``."""
    flags: list[Flag] = []
    stray: list[str] = []
    pieces: list[str] = []
    for word in words:
        # An element of an array with a flag and its value between one pair of quotes.
        pieces += word.split() if word.startswith("--") and " " in word and "=" not in word else [word]
    for word in pieces:
        if word.startswith("-") and not _VALUE.match(word) and word != "-":
            name, sign, value = word.partition("=")
            flags.append(Flag(name=_dashed(name), values=(value,) if sign else ()))
        elif flags:
            flags[-1] = Flag(name=flags[-1].name, values=(*flags[-1].values, word))
        else:
            stray.append(word)
    return flags, stray


def _dashed(name: str) -> str:
    return name.replace("_", "-")


@dataclass
class Flags:
    """The flags of one program by name; the last of several counts, as argparse has it.

    Readers return a legal value whatever stands there and write a line into the notebook; problems are kept.
    """

    given: Mapping[str, Flag]
    notes: Notebook
    defaults_of: str
    read: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, flags: Iterable[Flag], notes: Notebook, defaults_of: str) -> Flags:
        """Flags in order; one that comes again replaces the one before, and that is said."""
        given: dict[str, Flag] = {}
        for flag in flags:
            if flag.name in given and given[flag.name].values != flag.values:
                notes.note("ignored", flag.name, given[flag.name].text, "given again later; the last one counts")
            given[flag.name] = flag
        return cls(given=given, notes=notes, defaults_of=defaults_of)

    def has(self, *names: str, note: str = "") -> bool:
        """Whether one of the switches is there."""
        for name in names:
            self.read.add(name)
        for name in names:
            flag = self.given.get(name)
            if flag is not None:
                self.notes.note("given", name, "" if not flag.values else flag.text, note)
                return True
        return False

    def count(self, *names: str, default: int | None = None, note: str = "", least: int = 1) -> int:
        """A whole number of at least `least`; a default is written down as assumed, no default is a problem."""

        def read(text: str) -> int:
            if not _WHOLE.fullmatch(text) or int(text) < least:
                raise ValueError(f"a whole number from {least}")
            return int(text)

        found = self._value(names, read, note)
        if found is not None:
            return found
        if default is None:
            if not any(name in self.given for name in names):
                self.notes.problems.append(f"{names[0]}: is missing; legal: a whole number from {least}.")
            return max(least, 1)
        self.assume(names[0], default, note)
        return default

    def optional(self, *names: str, note: str = "", least: int = 1) -> int | None:
        """A whole number, None where nothing is said."""
        return self.count(*names, note=note, least=least) if any(name in self.given for name in names) else None

    def number(self, *names: str, default: float, note: str = "") -> float:
        """A number of 0 or more."""

        def read(text: str) -> float:
            if not _NUMBER.fullmatch(text) or not 0 <= float(text) < 1e30:
                raise ValueError("a number from 0")
            return float(text)

        found = self._value(names, read, note)
        if found is None:
            self.assume(names[0], f"{default:g}", note)
            return default
        return found

    def word(self, *names: str, legal: Iterable[str], default: str | None = None, note: str = "") -> str:
        """One of the legal words; "" where nothing is said and there is no default."""
        words = tuple(legal)

        def read(text: str) -> str:
            if text not in words:
                raise ValueError(f"{', '.join(words)}.{did_you_mean(text, words)}".rstrip("."))
            return text

        found = self._value(names, read, note)
        if found is None and default is not None:
            self.assume(names[0], default, note)
        return found or default or ""

    def text(self, *names: str, note: str = "") -> str:
        """Any text; "" where nothing is said."""
        return self._value(names, str, note) or ""

    def assume(self, what: str, value: object, note: str = "") -> None:
        """Write down a default of the program."""
        source = f"default of {self.defaults_of}"
        self.notes.note("assumed", what, value, f"{note}; {source}" if note else source)

    def _value(self, names: Sequence[str], read: Callable[[str], T], note: str) -> T | None:
        self.read.update(names)
        name = next((name for name in names if name in self.given), None)
        if name is None:
            return None
        flag = self.given[name]
        if not flag.values:
            self.notes.problems.append(f"{name}: has no value behind it.")
            return None
        if "$" in flag.values[0] or "`" in flag.values[0]:
            self.notes.problems.append(
                f"{name}: is {shown_value(flag.values[0])}, which the text does not define; write the value."
            )
            return None
        try:
            value = read(flag.values[0])
        except ValueError as error:
            self.notes.problems.append(f"{name}: is {shown_value(flag.values[0])!a}; legal: {error}.")
            return None
        self.notes.note("given", name, flag.values[0], note)
        for extra in flag.values[1:]:
            self.notes.note("unknown", extra, "", f"stands behind {name}, which takes one value")
        return value

    def unread(self) -> list[Flag]:
        """Flags that nobody asked for, in order."""
        return [flag for name, flag in self.given.items() if name not in self.read]
