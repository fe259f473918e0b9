"""`trainyard modes`: a job's replicas in a mode of training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS, JSON, OUT, F, asks
from .command_lines import command_mapping, command_text, settled
from .printing import as_json_text, deliver
from .question import question_of

if TYPE_CHECKING:
    from ..one_mode import ModeRequest

_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "mode": ("WORD", "synchronous, asynchronous, stale-synchronous, elastic-averaging, gossip, groups, local-sgd."),
    "spread": ("KIND:X", "Durations vary, as lognormal:0.2 (standard deviation over mean)."),
    "backups": ("N|best", "Of synchronous: workers more than gradients waited for."),
    "bound": ("N", "Of stale-synchronous: steps ahead of the slowest. Default: 0."),
    "period": ("N", "Of local-sgd and elastic-averaging: steps between exchanges."),
    "groups": ("N", "Of groups: how many, synchronous inside. Default: 1."),
    "updates": ("N", "Updates to simulate. Default: 4000."),
    "seed": ("N", "Of the draws. Default: 0."),
}


def _mode_options(command: F) -> F:
    for key, (metavar, text) in reversed(list(_OPTIONS.items())):
        command = click.option(f"--{key}", f"mode_{key}", metavar=metavar, help=text)(command)
    return command


@click.command()
@asks("top", "tokens", "samples", "epochs", "dataset_samples", commands=True)
@_mode_options
@JSON
@OUT
def modes(job: str | None, pins: Sequence[str], as_json: bool, out: str | None, **flags: Any) -> int:
    """Run a job's replicas step after step, waiting for each other or not.

    Throughput, and how stale the gradients are, event by event beside the closed form.
    """
    given = {key: value for key in _OPTIONS if (value := flags.pop(f"mode_{key}")) is not None}
    asked = _request(given)
    question = question_of(job, flags, [*pins, "updates=asynchronous"], out)
    from ..one_mode import simulate_mode
    from ..report.mode_text import mode_mapping, mode_text

    found = simulate_mode(question.query, asked)
    said = settled(question)
    if as_json:
        deliver(as_json_text({**mode_mapping(found), **command_mapping(question, said)}), out)
    else:
        deliver(command_text(question, said) + mode_text(found), out)
    return 0 if found.run is not None else EXIT_NOTHING_FITS


def _request(given: Mapping[str, str]) -> ModeRequest:
    """What is asked of a mode. `InputError` with everything that is wrong."""
    from ..modes.spread import SPREADS
    from ..one_mode import JOB_MODES, ModeRequest

    problems = []
    if "mode" not in given:
        problems.append(f"--mode: missing; legal: {', '.join(JOB_MODES)}.")
    elif given["mode"] not in JOB_MODES:
        problems.append(_mode_problem(given["mode"], JOB_MODES))
    values: dict[str, Any] = {"mode": given.get("mode", "")}
    for key in ("backups", "bound", "period", "groups", "updates", "seed"):
        if key not in given:
            continue
        if key == "backups" and given[key] == "best":
            values[key] = -1
        elif given[key].isascii() and given[key].isdigit() and len(given[key]) < 10:
            values[key] = int(given[key])
        else:
            words = "a whole number, or best" if key == "backups" else "a whole number"
            problems.append(f"--{key}: is {given[key]!a}; legal: {words}.")
    if "spread" in given:
        kind, _, size = given["spread"].partition(":")
        try:
            values |= {"spread": kind, "variation": float(size) if size else 0.0}
        except ValueError:
            kind = ""
        if kind not in SPREADS:
            legal = ", ".join(f"{word}:0.2" for word in SPREADS if word != "constant")
            problems.append(f"--spread: is {given['spread']!a}; legal: constant, {legal} and so on.")
    if problems:
        raise InputError(*problems)
    return ModeRequest(**values)


def _mode_problem(mode: str, legal: Sequence[str]) -> str:
    from hwmodels.datafile import did_you_mean

    if mode == "hogwild":
        return (
            "--mode: hogwild is threads of one memory, which a job's replicas are not; "
            "legal: ModeJob(mode='hogwild') with run_mode in Python."
        )
    return f"--mode: is {mode!a}; legal: {', '.join(legal)}.{did_you_mean(mode, legal)}"
