"""What a training command said: given, assumed, not honoured, unknown, ignored; as text and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..command_line.answer import KINDS, Said
from .tables import fold, table

WIDTH: Final = 100

_HEADINGS: Final = {
    "given": "GIVEN",
    "assumed": "ASSUMED (the command does not say)",
    "not honoured": "NOT HONOURED (changes time or memory; what is taken instead)",
    "unknown": "UNKNOWN (not followed)",
    "ignored": "IGNORED (changes neither time nor memory)",
}


def command_text(program: str, said: Sequence[Said], *, colour: bool = False) -> str:
    """Every word under what became of it, ending in an empty line."""
    lines = [f"Read from the command line of {program}:", ""]
    for kind in ("given", "assumed", "not honoured", "unknown", "ignored"):
        mine = [one for one in said if one.kind == kind]
        if mine:
            lines.append(f"\x1b[1m{_HEADINGS[kind]}\x1b[0m" if colour else _HEADINGS[kind])
            lines += _ignored(mine) if kind == "ignored" else _rows(mine)
            lines.append("")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def command_mapping(program: str, said: Sequence[Said]) -> dict[str, Any]:
    """The same values, for JSON."""
    return {
        "program": program,
        **{
            kind.replace(" ", "_"): [
                {"what": one.what, "value": one.value, "note": one.note} for one in said if one.kind == kind
            ]
            for kind in KINDS
        },
    }


def _rows(said: Sequence[Said]) -> list[str]:
    rows = [[one.what[:60], one.value, one.note] for one in said]
    return table(["word", "value", "note"], rows, left=(0, 1, 2), width=WIDTH)


def _ignored(said: Sequence[Said]) -> list[str]:
    """Words by their reason: there are many, and none matters."""
    lines: list[str] = []
    for note in dict.fromkeys(one.note for one in said):
        words = ", ".join(one.what[:60] for one in said if one.note == note)
        lines += fold(f"{note}: {words}", WIDTH, first="  - ", rest="    ")
    return lines
