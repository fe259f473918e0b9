"""The options of `trainyard simulate --mode`: a job's replicas in a mode of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from ..errors import InputError
from .asking import EXIT_NOTHING_FITS

if TYPE_CHECKING:
    from ..one_mode import ModeRequest

F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "mode": ("WORD", "Replicas in a mode of training: synchronous, asynchronous, stale-synchronous, ..."),
    "spread": ("KIND:X", "With --mode: durations vary, as lognormal:0.2 (standard deviation over mean)."),
    "backups": ("N|best", "With --mode synchronous: workers more than gradients waited for."),
    "bound": ("N", "With --mode stale-synchronous: steps ahead of the slowest. Default: 0."),
    "period": ("N", "With --mode local-sgd, elastic-averaging: steps between exchanges."),
    "groups": ("N", "With --mode groups: groups, synchronous inside. Default: 1."),
    "updates": ("N", "With --mode: updates to simulate. Default: 4000."),
    "seed": ("N", "With --mode: of the draws. Default: 0."),
}


def mode_options(command: F) -> F:
    """Options that reach the command as one mapping, ``mode_flags``."""
    for key, (metavar, text) in reversed(list(_OPTIONS.items())):
        command = click.option(f"--{key}", f"mode_{key}", metavar=metavar, help=text)(command)
    return command


def taken(flags: dict[str, str | None]) -> dict[str, str]:
    """The options of a mode that were given, taken out of a command's flags."""
    given = {key: flags.pop(f"mode_{key}", None) for key in _OPTIONS}
    return {key: value for key, value in given.items() if value is not None}


def request_of(given: Mapping[str, str], *, step_options: Sequence[str]) -> ModeRequest:
    """What is asked of a mode; ``step_options`` were given too. `InputError` with everything that is wrong."""
    from ..modes.spread import SPREADS
    from ..one_mode import JOB_MODES, ModeRequest

    legal_modes = ", ".join(JOB_MODES)
    problems = [f"--{key}: goes with --mode; legal: one of {legal_modes}." for key in given if "mode" not in given]
    problems += [f"--{name}: shows a step; it does not go with --mode." for name in step_options]
    if "mode" in given and given["mode"] not in JOB_MODES:
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


def simulated_mode(query: Any, asked: ModeRequest, *, as_json: bool) -> tuple[dict[str, Any] | str, int]:
    """What is printed of a run, and the exit code."""
    from ..one_mode import simulate_mode
    from ..report.mode_text import mode_mapping, mode_text

    found = simulate_mode(query, asked)
    code = 0 if found.run is not None else EXIT_NOTHING_FITS
    return (mode_mapping(found) if as_json else mode_text(found)), code
