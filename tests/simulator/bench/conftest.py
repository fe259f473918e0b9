"""The command line, called in this process."""

import sys
from typing import NamedTuple

import pytest

from simulator import cli


class Done(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs `trainyard` with some words; returns its exit code, what it printed and what it said."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["trainyard", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Done(int(ended.value.code or 0), printed.out, printed.err)

    return run
