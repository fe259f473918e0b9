"""A shell text -> the one training command in it, read by the program it starts."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hwmodels.datafile import DataFileError, did_you_mean, read_text

from ..errors import InputError
from . import megatron, torchtitan
from .answer import Notebook, Said, TrainingCommand
from .launch import Launch, read_launch
from .shell import Command, Script, read_script

Reader = Callable[[str, Sequence[str], Launch, Notebook], TrainingCommand]

#: Programs that are understood, by the end of their path or the name of their module.
PROGRAMS: Final[tuple[str, ...]] = (*megatron.PROGRAMS, *torchtitan.PROGRAMS)

#: A word that names a program to train with.
_LOOKS_LIKE: Final = re.compile(r"[\w./\\-]*?[\w-]+\.py|[\w.]*train[\w.]*", re.ASCII)
_INNER: Final = ("-c", "-lc", "-xc", "-ec")
#: Variables of the environment that change the time, and those that may be left out without a word.
_ENVIRONMENT: Final[Mapping[str, str]] = {
    "CUDA_DEVICE_MAX_CONNECTIONS": "streams are taken as the stack orders them",
    "NCCL_ALGO": "the library chooses its algorithm",
    "NCCL_PROTO": "the library chooses its protocol",
    "NVTE_FUSED_ATTN": "the stack says how attention is computed",
    "NVTE_FLASH_ATTN": "the stack says how attention is computed",
    "PYTORCH_CUDA_ALLOC_CONF": "the stack says what the allocator holds",
    "CUDA_LAUNCH_BLOCKING": "launches are asynchronous",
}


def read_command_file(path: str, *, chips: int = 0) -> TrainingCommand:
    """As `read_command`, of a file.

    Raises
    ------
    InputError
        With every problem, the file's among them.
    """
    try:
        text = read_text(path, name=path, too_large="a launch script is a small text", directory="")
    except DataFileError as error:
        raise InputError(*(f"--from-command-file: {problem}" for problem in error.problems)) from None
    return read_command(text, name=path, folder=str(Path(path).parent), label="--from-command-file", chips=chips)


def read_command(
    text: str, *, name: str = "the command", folder: str = ".", label: str = "--from-command", chips: int = 0
) -> TrainingCommand:
    """The training job that a shell text starts. Nothing of it is run.

    Parameters
    ----------
    name
        What the text is called in messages.
    folder
        Where files that it names are looked for.
    label
        The option that brought it; messages begin with it.
    chips
        How many chips the question names itself; 0 where the text says.

    Raises
    ------
    InputError
        With every problem.
    """
    try:
        script = read_script(text, name=name)
        program, before, after, command, others = _training(script, name)
        notes = Notebook()
        reader, launch = _READERS[program], read_launch(before, script.directives, notes)
        launch = replace(launch, chips=chips or launch.chips)
        if reader is torchtitan.read_torchtitan:
            variables = {**script.variables, **dict(command.environment)}
            found = torchtitan.read_torchtitan(program, after, launch, notes, folder=folder, variables=variables)
        else:
            found = reader(program, after, launch, notes)
    except InputError as error:
        raise InputError(*(f"{label}: {problem}" for problem in error.problems)) from None
    said = [*found.said, *_environment(script, command)]
    said += [Said(kind="ignored", what="script", value="", note=note) for note in (*script.notes, *others)]
    return replace(found, said=tuple(said))


_READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(megatron.PROGRAMS, megatron.read_megatron),
    **dict.fromkeys(torchtitan.PROGRAMS, torchtitan.read_torchtitan),
}


def _training(script: Script, name: str) -> tuple[str, list[str], list[str], Command, list[str]]:
    """Program, words before it, words behind it, its command, and notes on further training commands."""
    commands = [inner for command in script.commands for inner in _unwrapped(command, script, name)]
    found: list[tuple[str, list[str], list[str], Command]] = []
    for command in commands:
        place, program = _program(command.words)
        if program:
            found.append((program, list(command.words[:place]), list(command.words[place + 1 :]), command))
    if not found:
        words = [word for command in commands for word in command.words[:40] if _LOOKS_LIKE.fullmatch(word)]
        started = next((os.path.basename(word) for word in words if word.endswith(".py")), "")
        started = started or next(iter(words), "")
        shown = f"{started[:60]!a} is not understood" if started else "no training program is started"
        raise InputError(f"{shown}; legal: {', '.join(PROGRAMS)}.{did_you_mean(started, PROGRAMS)}")
    others = [f"line {command.line}: a further {program} is not read" for program, _, _, command in found[1:]]
    return (*found[0], others)


def _program(words: Sequence[str]) -> tuple[int, str]:
    """Place and name of the program among the words of a command; "" where none is known."""
    for place, word in enumerate(words):
        if word in PROGRAMS or (known := next((p for p in PROGRAMS if word.endswith(f"/{p}")), "")):
            return place, word if word in PROGRAMS else known
    return 0, ""


def _unwrapped(command: Command, script: Script, name: str) -> list[Command]:
    """The commands inside ``bash -c '...'``, or a word that holds a whole command; else the command itself."""
    if _program(command.words)[1]:
        return [command]
    for place, word in enumerate(command.words):
        if any(program in word for program in PROGRAMS) and any(c.isspace() for c in word.strip()):
            inner = read_script(word, name=name, variables=script.variables)
            before = [w for w in command.words[:place] if w not in _INNER]
            return [
                replace(one, words=(*before, *one.words), line=command.line)
                if _program(one.words)[1]
                else replace(one, line=command.line)
                for one in inner.commands
            ]
    return [command]


def _environment(script: Script, command: Command) -> list[Said]:
    known = {**script.variables, **dict(command.environment)}
    return [
        Said(kind="not honoured", what=key, value=value[:60], note=_ENVIRONMENT[key])
        for key, value in known.items()
        if key in _ENVIRONMENT and (key, value) != ("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    ]
