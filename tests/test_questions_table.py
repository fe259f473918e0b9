"""README's table of questions: every command and option is there, every function can be imported."""

import re
from importlib import import_module
from pathlib import Path

import click
import pytest

from simulator.cli import cli
from simulator.commands.ask import _QUESTIONS

TEXT = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
SECTION = TEXT.split("### Questions about whole runs\n")[1].split("\n### ")[0]
ROWS = [re.split(r"(?<!\\)\|", line)[1:4] for line in SECTION.splitlines() if line.startswith("|")][2:]


def test_the_table_has_every_question_that_ask_answers():
    asked = {match for _, commands, _ in ROWS for match in re.findall(r"`ask (\w+)", commands)}
    assert asked == set(_QUESTIONS)
    assert len(ROWS) >= 14


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_command_of_the_table_has_its_options(row):
    for typed in re.findall(r"`([a-z]+ [^`]*)`", row[1]):
        name, *words = typed.split()
        command = cli.commands[name]
        known = {option for p in command.params if isinstance(p, click.Option) for option in p.opts}
        assert {word for word in words if word.startswith("--")} <= known, typed


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0].strip()[:40])
def test_every_function_of_the_table_is_there(row):
    for path in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)*)(?:\([^`]*\))?`", row[2]):
        parts = path.split(".")
        for cut in range(len(parts), -1, -1):
            try:
                found = import_module(".".join(["simulator", *parts[:cut]]))
            except ModuleNotFoundError:
                continue
            break
        for part in parts[cut:]:
            found = getattr(found, part)
        assert found is not None
