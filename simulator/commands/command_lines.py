"""What a training command said, before the answer it led to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..command_line import Said
    from .question import Question


def settled(question: Question) -> tuple[Said, ...]:
    """Every word of the command with what became of it, once the software stack is known."""
    if question.command is None:
        return ()
    from ..command_line.settle import settle
    from ..job import resolve

    return settle(question.command, resolve(question.query).context)


def command_text(question: Question, said: tuple[Said, ...], *, colour: bool = False) -> str:
    """The table of words, ending in an empty line; nothing without a command."""
    if question.command is None:
        return ""
    from ..report.command_text import command_text as as_text

    return as_text(question.command.program, said, colour=colour)


def command_mapping(question: Question, said: tuple[Said, ...]) -> dict[str, Any]:
    """The same values for JSON, under ``command``; nothing without a command."""
    if question.command is None:
        return {}
    from ..report.command_text import command_mapping as as_mapping

    return {"command": as_mapping(question.command.program, said)}
