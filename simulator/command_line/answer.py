"""What a command line of another program says: a model, keys of a question, and a line for every word of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from workloads.workload import Workload

#: What became of a word. "given": taken as it is; "assumed": not said, the program's own default taken; "not honoured":
#: changes the time or the memory and cannot be followed here; "ignored": changes neither; "unknown": not one of the
#: program's words that we know.
KINDS: Final = ("given", "assumed", "not honoured", "ignored", "unknown")


@dataclass(frozen=True, kw_only=True)
class Said:
    """One word of a command line with its value, what became of it (a word of `KINDS`) and why or how."""

    kind: str
    what: str
    value: str
    note: str


@dataclass(frozen=True, kw_only=True)
class Switch:
    """A word that a software stack has or has not: it is compared when the stack is known.

    ``field`` is one of `simulator.stack.Stack`, ``wanted`` what the command line asks for.
    """

    said: Said
    field: str
    wanted: tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class TrainingCommand:
    """A training command read: ``job`` and ``strategy`` hold keys of a question's tables.

    ``workload`` is the network; its batch, layout and amount of data stand in the tables. ``nodes`` and ``per_node``
    say how many servers and chips of each; 0 where the command does not say.
    """

    program: str
    workload: Workload
    job: Mapping[str, Any]
    strategy: Mapping[str, Any]
    said: tuple[Said, ...]
    switches: tuple[Switch, ...] = ()
    nodes: int = 0
    per_node: int = 0
    chips: int = 0


@dataclass
class Notebook:
    """What has been said so far and what was wrong with it."""

    said: list[Said] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, kind: str, what: str, value: object = "", note: str = "") -> None:
        """Add a line."""
        self.said.append(Said(kind=kind, what=what, value=shown_value(value), note=note))


def shown_value(value: object) -> str:
    """A value in one short line of printable ASCII."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = value if isinstance(value, str) else str(value)
    text = "".join(c if c.isascii() and c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= 60 else f"{text[:57]}..."
